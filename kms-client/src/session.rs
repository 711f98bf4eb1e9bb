//! One person at work, without a filesystem (API §2): the same operations that every other language has.
//!
//! A [`Session`] is an unlocked identity with its application store, its contacts and, if there is one, a network. What
//! it encrypts is a file of FORMAT §9 and lies wherever the caller wants; the keys of all its labels come from the
//! application store, and so do the records of its grants.
//!
//! Every operation that asks the network is a future. Dropping it cancels it; [`Session::within`] bounds it.

pub(crate) mod files;
mod lists;
mod opening;
mod people;
mod sharing;
#[cfg(feature = "signing")]
mod signing;
mod stored;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kms_crypto::aead::Cipher;
use kms_crypto::format::LabelKey;
use kms_crypto::format::file::NewFile;
use kms_crypto::id::LabelId;
use kms_crypto::key::{IdentitySecret, PublicKey};
use kms_crypto::policy::Threshold;
use serde::Serializer;

use crate::catalogue::{ApiError, Code};
use crate::client::Client;
use crate::contact::Book;
use crate::grammar::default_threshold;
use crate::keyring::{AppStore, Keyring};
use crate::record::Records;
use crate::sealed::{self, FIRST_GENERATION, Owner, Sealed};

pub(crate) use self::files::in_background;
pub use self::files::{FileDone, OpenedFile, decrypt_file_with_key};
pub use self::lists::{
    AuditReport, AuditedNode, AuditedUse, GrantInfo, HealthReport, NodeHealth, StoredTicket,
    TicketInfo, inspect,
};
pub use self::opening::{Opened, Opening, ReleasedKey, release_with_key};
pub use self::people::{ContactInfo, Contacts, GroupInfo};
pub use self::sharing::{Granted, Revoked};
#[cfg(feature = "signing")]
pub use self::signing::SigningKey;
#[cfg(feature = "signing")]
pub use kms_crypto::scheme::signing::verify;

/// What a session is made of besides its identity.
#[derive(Clone)]
pub struct SessionConfig {
    /// Where identities, contacts and application stores are.
    pub keyring: Keyring,
    /// The name of the identity.
    pub name: String,
    /// The network, if there is one.
    pub client: Option<Client>,
    /// The threshold of a grant that names none.
    pub threshold: Threshold,
}

impl SessionConfig {
    /// The default identity of `keyring`, three of five nodes.
    #[must_use]
    pub fn new(keyring: Keyring, client: Option<Client>) -> Self {
        Self {
            keyring,
            name: crate::keyring::DEFAULT_IDENTITY.to_owned(),
            client,
            threshold: default_threshold(),
        }
    }
}

/// An unlocked identity at work. Clones are one session.
#[derive(Clone)]
pub struct Session {
    inner: Arc<Inner>,
    client: Option<Client>,
}

struct Inner {
    identity: IdentitySecret,
    contacts: PathBuf,
    store: AppStore,
    records: Records,
    threshold: Threshold,
}

impl Session {
    /// Opens the identity's application store, making it when there is none.
    ///
    /// # Errors
    /// [`Code::Io`], [`Code::BadData`] if the store is another identity's.
    ///
    /// ```
    /// use kms_client::{Keyring, Session, SessionConfig, home::Home};
    /// # use kms_crypto::identity::PassphraseParams;
    /// # let params = PassphraseParams { memory_kib: 64, passes: 1, lanes: 1 };
    /// # let dir = tempfile::tempdir()?;
    /// # let home = dir.path();
    /// let keyring = Keyring::new(Home::under(home));
    /// # let keyring = keyring.with_params(params);
    /// let me = keyring.generate_key("default", "correct horse")?;
    /// let session = Session::open(SessionConfig::new(keyring, None), me.secret)?;
    /// let sealed = session.encrypt(b"launch friday", Default::default())?;
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    /// # let plain = runtime.block_on(async {
    /// session.decrypt(&sealed.bytes, kms_client::Opening::Own).await
    /// # })?;
    /// # assert_eq!(*plain.data, b"launch friday");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open(config: SessionConfig, identity: IdentitySecret) -> Result<Self, ApiError> {
        let store = config.keyring.app_store(&config.name, &identity)?;
        let records = Records::new(&store.dir, &store.key, store.id);
        Ok(Self {
            inner: Arc::new(Inner {
                identity,
                contacts: config.keyring.home().contacts.clone(),
                store,
                records,
                threshold: config.threshold,
            }),
            client: config.client,
        })
    }

    /// The same session whose operations on the network take at most so long, each of them all in all; granting and
    /// revoking besides as long as a chain takes to confirm an entry.
    ///
    /// ```
    /// # fn with(session: kms_client::Session) {
    /// let patient = session.within(std::time::Duration::from_secs(30));
    /// # }
    /// ```
    #[must_use]
    pub fn within(&self, timeout: Duration) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            client: self.client.as_ref().map(|client| client.within(timeout)),
        }
    }

    /// The public key of the identity.
    #[must_use]
    pub fn identity(&self) -> PublicKey {
        self.inner.identity.public()
    }

    /// Encrypts `plaintext` (bytes, all in memory) under a new label, with a cipher of one's choice. Asks nobody.
    ///
    /// # Errors
    /// None that a caller could mend: [`Code::Internal`].
    ///
    /// ```
    /// # fn with(session: kms_client::Session) -> Result<(), kms_client::ApiError> {
    /// let sealed = session.encrypt(b"launch friday", Default::default())?;
    /// std::fs::write("plan.sealed", &sealed.bytes).unwrap();
    /// println!("to be granted as {}", sealed.label);
    /// # Ok(()) }
    /// ```
    pub fn encrypt(&self, plaintext: &[u8], cipher: Cipher) -> Result<Sealed, ApiError> {
        Ok(sealed::encrypt_with(plaintext, &self.owner(), cipher)?)
    }

    fn owner(&self) -> Owner<'_> {
        Owner {
            store: self.inner.store.id,
            key: &self.inner.store.key,
            identity: &self.inner.identity,
        }
    }

    /// A new label and its key.
    fn new_label(&self) -> LabelKey {
        let id = LabelId::random(&mut crate::client::rng());
        LabelKey {
            id,
            generation: FIRST_GENERATION,
            public: self.owner().delegating_key(&id).public(),
        }
    }

    /// What a file with that label is to be.
    fn new_file<'a>(&'a self, label: &'a LabelKey, cipher: Cipher) -> NewFile<'a> {
        NewFile {
            store: self.inner.store.id,
            cipher,
            label: Some(label),
            signer: Some(&self.inner.identity),
        }
    }

    /// The network, or why there is none.
    fn client(&self) -> Result<&Client, ApiError> {
        let none = || ApiError::new(Code::NoNetwork, "no network: no ledger is configured");
        self.client.as_ref().ok_or_else(none)
    }

    /// The contacts as they are now.
    fn book(&self) -> Result<Book, ApiError> {
        Ok(Book::load(&self.inner.contacts)?)
    }

    /// The contacts for showing names; when they cannot be read, there are none.
    fn names(&self) -> Book {
        self.book().unwrap_or_default()
    }

    fn now(&self) -> u64 {
        match &self.client {
            Some(client) => client.time(),
            None => (kms_ledger::system_clock())(),
        }
    }
}

/// What shows as text, in documents, too.
fn as_text<S: Serializer>(value: &impl std::fmt::Display, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(value)
}

/// The name of a person, if the contacts have one.
fn name_of(book: &Book, key: &PublicKey) -> Option<String> {
    book.name_of(key).map(str::to_owned)
}
