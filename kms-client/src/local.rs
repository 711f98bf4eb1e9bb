//! A person on this machine, and at most one of their identities at work: what a program in another language opens (API §2).

use std::time::Duration;

use kms_crypto::policy::Threshold;
use serde_json::{Value, json};
use tokio::task::spawn_blocking;
use zeroize::Zeroizing;

use crate::call::{self, Reply, Right, Room};
use crate::catalogue::{ApiError, Code};
use crate::client::Client;
use crate::error::ClientError;
use crate::home::{Home, HomeError};
use crate::keyring::{DEFAULT_IDENTITY, Keyring};
use crate::params::Params;
use crate::pieces::{self, PieceReader, PieceWriter};
use crate::session::{Contacts, Session, SessionConfig};
use crate::settings::{Settings, split};

/// Identities, contacts, and the session of the one that was unlocked. Clones are one.
#[derive(Clone)]
pub struct Local {
    keyring: Keyring,
    name: String,
    session: Option<Session>,
}

impl Local {
    /// Opens what parameters say: `home` (a directory, as `KMSFS_HOME`), `identity` (a name) and its `passphrase`; without
    /// one nothing is unlocked. `ledger`, `bootstrap` (with commas), `network`, `threshold` and `timeout` (seconds) go
    /// before the variables and the file of `kmsfs`; an empty `ledger` is no network. To be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`Code::NoIdentity`], [`Code::WrongPassphrase`], [`Code::NoNetwork`], [`Code::BadParameter`], [`Code::Io`].
    ///
    /// ```no_run
    /// # async fn with() -> Result<(), kms_client::ApiError> {
    /// use kms_client::call::Wiped;
    /// use kms_client::local::Local;
    /// use kms_client::params::Params;
    ///
    /// let contacts = Local::open(&Params::default()).await?;
    /// let known = contacts.call("contacts", Params::default(), None, Wiped).await?;
    /// println!("{}", known.document);
    /// # Ok(()) }
    /// ```
    pub async fn open(params: &Params) -> Result<Self, ApiError> {
        let home = match params.maybe_text("home")? {
            Some(_) => Home::under(&params.path("home")?),
            None => Home::of_process().map_err(nowhere)?,
        };
        let name = params.text_or("identity", DEFAULT_IDENTITY)?.to_owned();
        let mut this = Self {
            keyring: Keyring::new(home),
            name,
            session: None,
        };
        if let Some(passphrase) = params.maybe_text("passphrase")? {
            let passphrase = Zeroizing::new(passphrase.to_owned());
            this.session = Some(this.unlocked(params, passphrase).await?);
        }
        Ok(this)
    }

    async fn unlocked(
        &self,
        params: &Params,
        passphrase: Zeroizing<String>,
    ) -> Result<Session, ApiError> {
        let (client, threshold) = self.network(params).await?;
        let config = SessionConfig {
            keyring: self.keyring.clone(),
            name: self.name.clone(),
            client,
            threshold,
        };
        blocking(move || {
            let secret = config.keyring.open(&config.name, &passphrase)?;
            Session::open(config, secret)
        })
        .await
    }

    async fn network(&self, params: &Params) -> Result<(Option<Client>, Threshold), ApiError> {
        let mut settings = Settings::of(self.keyring.home(), |name| std::env::var_os(name))?;
        let given = |name: &str| Ok::<_, ApiError>(params.maybe_text(name)?.map(str::to_owned));
        settings.ledger = given("ledger")?.or(settings.ledger);
        settings.bootstrap = given("bootstrap")?
            .map(|list| split(&list))
            .or(settings.bootstrap);
        settings.network = given("network")?.or(settings.network);
        settings.threshold = given("threshold")?.or(settings.threshold);
        let (mut network, threshold) = settings.resolve()?;
        let usual = network.timeout.as_secs();
        network.timeout = Duration::from_secs(params.number_or("timeout", usual)?.clamp(1, 3600));
        if network.ledger.trim().is_empty() {
            return Ok((None, threshold));
        }
        let client = Client::connect(&network).await.map_err(ClientError::from)?;
        Ok((Some(client), threshold))
    }

    /// The session of the identity that was unlocked.
    ///
    /// # Errors
    /// [`Code::Locked`], [`Code::NoIdentity`].
    pub fn session(&self) -> Result<Session, ApiError> {
        if let Some(session) = &self.session {
            return Ok(session.clone());
        }
        self.keyring.public(&self.name)?;
        let why = format!(
            "the identity {} was opened without its passphrase",
            self.name
        );
        Err(ApiError::new(Code::Locked, why).with("identity", self.name.as_str()))
    }

    /// Does an operation of API §2.1 to §2.4 by its name, but for `unlock` and `lock`. What asks the network ends within
    /// `timeout`, if there is one; the bytes of the result are made in `room`.
    ///
    /// # Errors
    /// Those of the operation.
    pub async fn call<R: Room>(
        &self,
        operation: &str,
        params: Params,
        timeout: Option<Duration>,
        room: R,
    ) -> Result<Reply<R::Bytes>, ApiError> {
        let contacts = || Contacts::new(&self.keyring.home().contacts);
        let document = match operation {
            "generate_key" => self.generate_key(&params).await?,
            "identity" => {
                json!({"name": self.name, "identity": self.keyring.public(&self.name)?.to_string()})
            }
            "identities" => self.identities()?,
            "contact_add" => {
                let (name, key) = (params.text("name")?, params.key("key")?);
                let added = contacts().add(name, key)?;
                json!({"name": name, "identity": key.to_string(), "added": added})
            }
            "contact_remove" => {
                let name = params.text("name")?;
                let key = contacts().remove(name)?;
                json!({"name": name, "identity": key.to_string()})
            }
            "contact_verify" => {
                let (name, digits) = (params.text("name")?, params.text("fingerprint")?);
                json!(contacts().verify(name, digits)?)
            }
            "contacts" => {
                let (people, groups) = contacts().list()?;
                json!({"contacts": people, "groups": groups})
            }
            _ => {
                let session = || Ok(within(self.session()?, timeout));
                return call::call(operation, params, &session, room).await;
            }
        };
        Ok(document.into())
    }

    /// Opens the encrypted file `source` for reading, by the parameters of `decrypt_file`.
    ///
    /// # Errors
    /// Those of `decrypt_file`.
    pub async fn read(
        &self,
        params: &Params,
        timeout: Option<Duration>,
    ) -> Result<PieceReader, ApiError> {
        let source = params.path("source")?;
        let right = Right::of(params)?;
        let session = || Ok(within(self.session()?, timeout));
        pieces::read(&source, right.opening()?, session).await
    }

    /// Makes a new encrypted file `target`, by the parameters of `encrypt_file`.
    ///
    /// # Errors
    /// [`Code::Locked`], [`Code::NoIdentity`], [`Code::BadParameter`], [`Code::Unsupported`].
    pub fn write(&self, params: &Params) -> Result<PieceWriter, ApiError> {
        let (target, cipher) = (params.path("target")?, params.cipher()?);
        Ok(pieces::write(self.session()?, &target, cipher))
    }

    async fn generate_key(&self, params: &Params) -> Result<Value, ApiError> {
        let passphrase = Zeroizing::new(params.text("passphrase")?.to_owned());
        let (keyring, name) = (self.keyring.clone(), self.name.clone());
        let made = blocking(move || keyring.generate_key(&name, &passphrase)).await?;
        Ok(json!({
            "name": self.name,
            "identity": made.secret.public().to_string(),
            "recovery_words": made.words.as_str(),
        }))
    }

    fn identities(&self) -> Result<Value, ApiError> {
        let known = self.keyring.identities()?.into_iter();
        let list = known.map(|(name, key)| {
            let unlocked = name == self.name && self.session.is_some();
            json!({"name": name, "identity": key.to_string(), "unlocked": unlocked, "until": null})
        });
        Ok(json!({"identities": list.collect::<Vec<_>>()}))
    }
}

fn within(session: Session, timeout: Option<Duration>) -> Session {
    match timeout {
        None => session,
        Some(timeout) => session.within(timeout),
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let done = spawn_blocking(work).await;
    done.map_err(|_| ApiError::new(Code::Internal, "the work ended without a result"))?
}

fn nowhere(error: HomeError) -> ApiError {
    ApiError::new(Code::Io, error.to_string())
}
