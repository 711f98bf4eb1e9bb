//! A person's identities on this machine: the one that `kmsfs` uses, and further ones beside it (API §2.1).

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use kms_crypto::format::config::{FILE_NAME, LEN_MAX, NewStore, StoreConfig};
use kms_crypto::format::{DEFAULT_CHUNK_BITS, Layout};
use kms_crypto::id::{SchemeId, StoreId};
use kms_crypto::identity::{IdentityFile, PassphraseParams};
use kms_crypto::key::{IdentitySecret, PublicKey, StoreKey};
use zeroize::Zeroizing;

use crate::catalogue::{ApiError, Code};
use crate::client::rng;
use crate::contact::Petname;
use crate::home::{Existing, Home, make_private_dir, read_plain, write_private};

/// The name of the identity that `kmsfs` uses.
pub const DEFAULT_IDENTITY: &str = "default";

/// Where the identities are.
#[derive(Clone, Debug)]
pub struct Keyring {
    home: Home,
    params: PassphraseParams,
}

/// An identity that has just been made.
pub struct NewIdentity {
    /// Its secret.
    pub secret: IdentitySecret,
    /// The words that bring it back; kept nowhere.
    pub words: Zeroizing<String>,
}

/// The application store of an identity: what its labels' keys come from (API §2.3).
pub(crate) struct AppStore {
    pub(crate) dir: PathBuf,
    pub(crate) id: StoreId,
    pub(crate) key: StoreKey,
}

impl Keyring {
    /// The identities of the person whose home this is.
    #[must_use]
    pub fn new(home: Home) -> Self {
        Self {
            home,
            params: PassphraseParams::default(),
        }
    }

    /// The same where guessing a passphrase costs something else. Only for tests is less than the default right.
    #[must_use]
    pub const fn with_params(mut self, params: PassphraseParams) -> Self {
        self.params = params;
        self
    }

    /// Where everything of this person is.
    #[must_use]
    pub const fn home(&self) -> &Home {
        &self.home
    }

    /// Makes an identity and keeps it under a passphrase.
    ///
    /// # Errors
    /// [`Code::Exists`] if there is one by that name, [`Code::BadParameter`] for a name that is none or an empty
    /// passphrase, [`Code::Io`].
    ///
    /// ```
    /// use kms_client::{Keyring, home::Home};
    /// # use kms_crypto::identity::PassphraseParams;
    /// # let params = PassphraseParams { memory_kib: 64, passes: 1, lanes: 1 };
    /// # let dir = tempfile::tempdir()?;
    /// # let home = dir.path();
    /// let keyring = Keyring::new(Home::under(home));
    /// # let keyring = keyring.with_params(params);
    /// let made = keyring.generate_key("default", "correct horse")?;
    /// assert_eq!(made.words.split(' ').count(), 24);
    /// let secret = keyring.open("default", "correct horse")?;
    /// assert_eq!(secret.public(), made.secret.public());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn generate_key(&self, name: &str, passphrase: &str) -> Result<NewIdentity, ApiError> {
        let path = self.path(name)?;
        if passphrase.is_empty() {
            let why = "an empty passphrase protects nothing";
            return Err(ApiError::new(Code::BadParameter, why).with("parameter", "passphrase"));
        }
        let exists = || {
            let why = format!("there is an identity {name} already");
            ApiError::new(Code::Exists, why)
        };
        if path.symlink_metadata().is_ok() {
            return Err(exists());
        }
        let secret = IdentitySecret::generate(&mut rng());
        let created = jiff::Timestamp::now().to_string();
        let file = IdentityFile::seal(
            &secret,
            passphrase.as_bytes(),
            self.params,
            &created,
            &mut rng(),
        )?;
        match write_private(&path, file.to_text().as_bytes(), Existing::Keep) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Err(exists()),
            written => written.map_err(|error| ApiError::io("write", &path, &error))?,
        }
        let words = secret.to_words();
        Ok(NewIdentity { secret, words })
    }

    /// Opens an identity. Takes as long as guessing its passphrase once should: about a third of a second.
    ///
    /// # Errors
    /// [`Code::NoIdentity`], [`Code::WrongPassphrase`], [`Code::BadData`] if the file is none.
    pub fn open(&self, name: &str, passphrase: &str) -> Result<IdentitySecret, ApiError> {
        Ok(self.read(name)?.open(passphrase.as_bytes())?)
    }

    /// The public key of an identity; needs no passphrase.
    ///
    /// # Errors
    /// [`Code::NoIdentity`], [`Code::BadData`].
    pub fn public(&self, name: &str) -> Result<PublicKey, ApiError> {
        Ok(self.read(name)?.public())
    }

    /// All identities with their names, in the order of these; a file that is none is left out.
    ///
    /// # Errors
    /// [`Code::Io`] if they cannot be listed.
    pub fn identities(&self) -> Result<Vec<(String, PublicKey)>, ApiError> {
        let mut names = vec![DEFAULT_IDENTITY.to_owned()];
        let dir = self.beside("identities");
        match fs::read_dir(&dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(ApiError::io("list", &dir, &error)),
            Ok(entries) => names.extend(
                entries
                    .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
                    .filter(|name| name.parse::<Petname>().is_ok()),
            ),
        }
        names.sort_unstable();
        let known = |name: String| Some((self.public(&name).ok()?, name));
        let known = names.into_iter().filter_map(known);
        Ok(known.map(|(key, name)| (name, key)).collect())
    }

    fn read(&self, name: &str) -> Result<IdentityFile, ApiError> {
        let path = self.path(name)?;
        let text = fs::read_to_string(&path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => {
                let why = format!("there is no identity {name}");
                ApiError::new(Code::NoIdentity, why).with("identity", name)
            }
            _ => ApiError::io("read", &path, &error),
        })?;
        Ok(IdentityFile::parse(&text)?)
    }

    fn path(&self, name: &str) -> Result<PathBuf, ApiError> {
        if name == DEFAULT_IDENTITY {
            return Ok(self.home.identity.clone());
        }
        let name: Petname = name.parse().map_err(|error| {
            let why = format!("{error}");
            ApiError::new(Code::BadParameter, why).with("parameter", "name")
        })?;
        Ok(self.beside("identities").join(name.as_str()))
    }

    fn beside(&self, name: &str) -> PathBuf {
        let dir = self.home.identity.parent();
        dir.unwrap_or(Path::new("/")).join(name)
    }

    /// The application store of an identity, made when it is first asked for.
    pub(crate) fn app_store(
        &self,
        name: &str,
        identity: &IdentitySecret,
    ) -> Result<AppStore, ApiError> {
        self.path(name)?;
        let dir = self.beside("keys").join(name);
        let path = dir.join(FILE_NAME);
        let (config, key) = match read_store(&path, identity)? {
            Some(store) => store,
            None => {
                make_private_dir(&dir).map_err(|error| ApiError::io("make", &dir, &error))?;
                let new = NewStore {
                    cipher: Default::default(),
                    scheme: SchemeId::SPLIT_ECIES,
                    layout: Layout::new(DEFAULT_CHUNK_BITS).expect("the default chunk size exists"),
                    created: (kms_ledger::system_clock())(),
                };
                let (config, key) = StoreConfig::create(&new, identity, &mut rng());
                match write_private(&path, config.as_text().as_bytes(), Existing::Keep) {
                    // Another program was faster.
                    Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                        read_store(&path, identity)?.ok_or_else(|| unusable(&path, "it is gone"))?
                    }
                    written => {
                        written.map_err(|error| ApiError::io("write", &path, &error))?;
                        (config, key)
                    }
                }
            }
        };
        Ok(AppStore {
            dir,
            id: config.store,
            key,
        })
    }
}

fn read_store(
    path: &Path,
    identity: &IdentitySecret,
) -> Result<Option<(StoreConfig, StoreKey)>, ApiError> {
    let bytes = match read_plain(path, LEN_MAX) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        read => read.map_err(|error| ApiError::io("read", path, &error))?,
    };
    let text = std::str::from_utf8(&bytes).map_err(|error| unusable(path, error))?;
    let config = StoreConfig::parse(text).map_err(|error| unusable(path, error))?;
    let key = config
        .open(identity)
        .map_err(|error| unusable(path, error))?;
    Ok(Some((config, key)))
}

fn unusable(path: &Path, why: impl std::fmt::Display) -> ApiError {
    ApiError::new(
        Code::BadData,
        format!("cannot use {}: {why}", path.display()),
    )
}
