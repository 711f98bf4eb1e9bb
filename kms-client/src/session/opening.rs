//! Opening what is encrypted: one's own, what a ticket lets one open, or with a key that was fetched before (API §2.3).

use std::fmt;
use std::io::{Read, Seek, Write};

use kms_crypto::error::DecodeError;
use kms_crypto::format::{Check, Header, Via};
use kms_crypto::id::LabelId;
use kms_crypto::key::{LabelSecret, PublicKey};
use kms_crypto::scheme::Capsule;
use zeroize::Zeroizing;

use super::Session;
use crate::catalogue::{ApiError, Code};
use crate::decrypt::KeyRequest;
use crate::sealed::{self, SealedError};
use crate::stream::{self, Sizes, Stop, StreamError};
use crate::ticket::TicketText;

/// By what right something is to be opened.
#[derive(Clone, Copy)]
pub enum Opening<'a> {
    /// It is one's own: nobody is asked.
    Own,
    /// Somebody shared it: the nodes are asked.
    Ticket {
        /// The ticket, as it was sent.
        ticket: &'a TicketText,
        /// Whose it must be; nothing: whoever made the ticket.
        owner: Option<&'a PublicKey>,
    },
    /// Its key was fetched before: nobody is asked.
    Key {
        /// The key.
        secret: &'a LabelSecret,
        /// Who must have signed it.
        owner: &'a PublicKey,
    },
}

/// Something that was opened.
pub struct Opened {
    /// The plaintext.
    pub data: Zeroizing<Vec<u8>>,
    /// Who made it.
    pub owner: PublicKey,
    /// Its label.
    pub label: LabelId,
}

/// What lets one open something.
pub struct ReleasedKey {
    /// The label.
    pub label: LabelId,
    /// Its secret.
    pub secret: LabelSecret,
    /// Who must have signed.
    pub owner: PublicKey,
}

impl Session {
    /// Decrypts `sealed` (bytes, all in memory).
    ///
    /// # Errors
    /// Those of API §2.5.
    ///
    /// ```
    /// use kms_client::{ApiError, Opening, Session, ticket::TicketText};
    ///
    /// async fn read(bob: Session, sealed: &[u8], ticket: &str) -> Result<Vec<u8>, ApiError> {
    ///     let ticket = TicketText::parse(ticket)?;
    ///     let opening = Opening::Ticket { ticket: &ticket, owner: None };
    ///     Ok(bob.decrypt(sealed, opening).await?.data.to_vec())
    /// }
    /// ```
    pub async fn decrypt(&self, sealed: &[u8], by: Opening<'_>) -> Result<Opened, ApiError> {
        let header = kms_crypto::format::file::inspect(sealed)?;
        let key = self.release(&header, by).await?;
        open_value(sealed, key)
    }

    /// Fetches the key of something somebody has shared; `sealed` needs to be no more than its first 4096 bytes. Whoever
    /// has the key can open it for ever.
    ///
    /// # Errors
    /// Those of API §2.5.
    ///
    /// ```
    /// use kms_client::{ApiError, Session, ticket::TicketText};
    ///
    /// async fn fetch(bob: Session, sealed: &[u8], ticket: &str) -> Result<(), ApiError> {
    ///     let key = bob.decrypt_key(sealed, &TicketText::parse(ticket)?).await?;
    ///     assert_eq!(key.secret.as_bytes().len(), 32);
    ///     Ok(())
    /// }
    /// ```
    pub async fn decrypt_key(
        &self,
        sealed: &[u8],
        ticket: &TicketText,
    ) -> Result<ReleasedKey, ApiError> {
        let header = kms_crypto::format::file::inspect(sealed)?;
        let by = Opening::Ticket {
            ticket,
            owner: None,
        };
        self.release(&header, by).await
    }

    /// The key of encrypted data whose header this is, by whatever right. Nothing in the header is believed before it opens
    /// with that key.
    ///
    /// # Errors
    /// Those of API §2.5.
    pub async fn release(&self, header: &Header, by: Opening<'_>) -> Result<ReleasedKey, ApiError> {
        match by {
            Opening::Own => self.own_key(header),
            Opening::Key { secret, owner } => release_with_key(header, secret, owner),
            Opening::Ticket { ticket, owner } => self.shared_key(header, ticket, owner).await,
        }
    }

    fn own_key(&self, header: &Header) -> Result<ReleasedKey, ApiError> {
        let store = self.inner.store.id;
        let slot = header.labels().first();
        let (Some(slot), true) = (slot, header.core().store == store) else {
            let why = "this is not your own, or was not made here: a ticket or a key is needed";
            return Err(ApiError::new(Code::NotOwner, why));
        };
        let key = self
            .inner
            .store
            .key
            .delegating_key_for(slot.scheme, &slot.id, slot.generation)
            .map_err(|_| DecodeError::Scheme(slot.scheme))?;
        let capsule = Capsule::from_bytes(&slot.capsule)?;
        let secret = key.decapsulate(&capsule, &slot.context(store))?;
        Ok(ReleasedKey {
            label: slot.id,
            secret,
            owner: self.identity(),
        })
    }

    async fn shared_key(
        &self,
        header: &Header,
        ticket: &TicketText,
        owner: Option<&PublicKey>,
    ) -> Result<ReleasedKey, ApiError> {
        if owner.is_some_and(|owner| *owner != ticket.owner) {
            let why = "the ticket is another owner's than the one named";
            let actual = ticket.owner.to_string();
            return Err(ApiError::new(Code::NotOwner, why).with("owner", actual));
        }
        let ticket = ticket.open(&self.inner.identity)?;
        let slot = header.labels().iter().find(|slot| slot.id == ticket.label);
        let slot = slot.ok_or(SealedError::OtherLabel)?;
        let request = KeyRequest::of_ticket(&ticket, slot)?;
        let secret = self
            .client()?
            .decrypt_key(&request, &self.inner.identity)
            .await?;
        Ok(ReleasedKey {
            label: ticket.label,
            secret,
            owner: ticket.owner,
        })
    }
}

/// Finds the label that a key opens. Needs no identity and asks nobody.
///
/// # Errors
/// [`Code::WrongKey`], [`Code::Tampered`], [`Code::BadData`].
pub fn release_with_key(
    header: &Header,
    secret: &LabelSecret,
    owner: &PublicKey,
) -> Result<ReleasedKey, ApiError> {
    let bytes = header.to_bytes();
    let mut error = ApiError::new(Code::NotForYou, "this is not shared by any label");
    for slot in header.labels() {
        let via = Via::Label {
            id: slot.id,
            secret,
        };
        let again = Header::parse(&bytes).map_err(kms_crypto::format::file::FileError::from)?;
        match again.open(via, Check::Signed(owner)) {
            Ok(_) => {
                return Ok(ReleasedKey {
                    label: slot.id,
                    secret: LabelSecret::from_bytes(secret.as_bytes()),
                    owner: *owner,
                });
            }
            Err(refused) => error = kms_crypto::format::file::FileError::from(refused).into(),
        }
    }
    Err(error)
}

pub(super) fn open_value(sealed: &[u8], key: ReleasedKey) -> Result<Opened, ApiError> {
    Ok(Opened {
        data: sealed::decrypt(sealed, &key.label, &key.secret, &key.owner)?,
        owner: key.owner,
        label: key.label,
    })
}

impl Opened {
    /// Opens a value in memory with a key that was released before.
    ///
    /// # Errors
    /// [`Code::WrongKey`], [`Code::Tampered`], [`Code::BadData`].
    pub fn with_key(
        sealed: &[u8],
        secret: &LabelSecret,
        owner: &PublicKey,
    ) -> Result<Self, ApiError> {
        let header = kms_crypto::format::file::inspect(sealed)?;
        open_value(sealed, release_with_key(&header, secret, owner)?)
    }
}

impl ReleasedKey {
    /// Decrypts all of `from`, from where it stands on, into `to`. Blocks. What has been written when it fails is the
    /// verified beginning of the plaintext.
    ///
    /// # Errors
    /// [`StreamError`]: which side failed, or that `stop` was told.
    pub fn open_stream(
        &self,
        from: &mut (impl Read + Seek + ?Sized),
        to: &mut (impl Write + ?Sized),
        stop: &Stop,
    ) -> Result<Sizes, StreamError> {
        let via = Via::Label {
            id: self.label,
            secret: &self.secret,
        };
        stream::open(from, to, via, Check::Signed(&self.owner), stop)
    }
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Opened({:?}, {} bytes)", self.label, self.data.len())
    }
}

impl fmt::Debug for ReleasedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReleasedKey({:?}, ..)", self.label)
    }
}
