//! What `kmsd` works with: the keyring, the unlocked identities, the network, and what is under way.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kms_client::{
    ApiError, Client, Code, Keyring, NetworkConfig, Session, SessionConfig, Threshold,
};
use kms_crypto::key::PublicKey;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, spawn_blocking};
use zeroize::Zeroizing;

use crate::help::Place;

/// The longest time after which an identity locks itself.
pub const MAX_UNLOCK_SECONDS: u64 = 100_000_000;
/// How long is waited before a ledger that cannot be opened is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// What a daemon is made of.
#[derive(Debug)]
pub struct DaemonConfig {
    /// The person's identities and contacts.
    pub keyring: Keyring,
    /// The network; without a ledger, there is none.
    pub network: NetworkConfig,
    /// The threshold of a grant that names none.
    pub threshold: Threshold,
    /// Where the log is.
    pub log: Option<PathBuf>,
    /// Where it can be reached, for `help`.
    pub place: Place,
}

/// A running daemon.
pub struct Daemon {
    config: DaemonConfig,
    started: Instant,
    state: Mutex<State>,
    unlocked: Mutex<HashMap<String, Unlocked>>,
    active: Mutex<HashMap<u64, (&'static str, Instant)>>,
    stopping: Notify,
    stretching: Arc<Semaphore>,
}

struct State {
    client: Option<Client>,
    /// What is being done, as long as it is not ready.
    warming_up: Option<String>,
    next_call: u64,
}

struct Unlocked {
    session: Session,
    until: Option<u64>,
}

/// A call under way; over when it is dropped.
pub struct Active {
    daemon: Arc<Daemon>,
    number: u64,
}

impl Drop for Active {
    fn drop(&mut self) {
        self.daemon.active.lock().remove(&self.number);
    }
}

impl Daemon {
    /// Not ready yet: see [`Daemon::warm_up`].
    #[must_use]
    pub fn new(config: DaemonConfig) -> Arc<Self> {
        Arc::new(Self {
            config,
            started: Instant::now(),
            state: Mutex::new(State {
                client: None,
                warming_up: Some("Starting…".to_owned()),
                next_call: 0,
            }),
            unlocked: Mutex::default(),
            active: Mutex::default(),
            stopping: Notify::new(),
            stretching: Arc::new(Semaphore::new(1)),
        })
    }

    /// Opens the ledger, trying again until it can be read, and unlocks the default identity if a passphrase is given.
    pub async fn warm_up(&self, passphrase: Option<Zeroizing<String>>) -> Result<(), ApiError> {
        if !self.config.network.ledger.is_empty() {
            self.say("Opening the ledger…".to_owned());
            let client = loop {
                match self.connect().await {
                    Ok(client) => break client,
                    Err(error) => {
                        tracing::warn!(%error, "the ledger cannot be read yet");
                        self.say(format!("Opening the ledger… ({error})"));
                        tokio::time::sleep(RETRY).await;
                    }
                }
            };
            self.state.lock().client = Some(client);
        }
        if let Some(passphrase) = passphrase {
            self.say("Unlocking the identity…".to_owned());
            let name = kms_client::keyring::DEFAULT_IDENTITY;
            self.unlock(name, passphrase, 0).await?;
        }
        self.state.lock().warming_up = None;
        tracing::info!("ready");
        Ok(())
    }

    async fn connect(&self) -> Result<Client, kms_client::ClientError> {
        let client = Client::connect(&self.config.network).await?;
        client.ledger_head().await?;
        Ok(client)
    }

    fn say(&self, what: String) {
        self.state.lock().warming_up = Some(what);
    }

    /// Why nothing can be done yet.
    ///
    /// # Errors
    /// [`Code::WarmingUp`].
    pub fn check_ready(&self) -> Result<(), ApiError> {
        match &self.state.lock().warming_up {
            None => Ok(()),
            Some(what) => Err(ApiError::new(Code::WarmingUp, what.clone())),
        }
    }

    /// What it was made of.
    #[must_use]
    pub const fn config(&self) -> &DaemonConfig {
        &self.config
    }

    /// The identities.
    #[must_use]
    pub const fn keyring(&self) -> &Keyring {
        &self.config.keyring
    }

    /// The file of contacts.
    #[must_use]
    pub fn contacts(&self) -> &Path {
        &self.config.keyring.home().contacts
    }

    /// Where it can be reached.
    #[must_use]
    pub const fn place(&self) -> &Place {
        &self.config.place
    }

    /// Where the ledger is, if there is one.
    #[must_use]
    pub fn ledger(&self) -> Option<&str> {
        Some(self.config.network.ledger.as_str()).filter(|ledger| !ledger.is_empty())
    }

    /// The network, if there is one.
    #[must_use]
    pub fn client(&self) -> Option<Client> {
        self.state.lock().client.clone()
    }

    /// Seconds since the start.
    #[must_use]
    pub fn uptime(&self) -> u64 {
        self.started.elapsed().as_secs()
    }

    /// The session of an unlocked identity.
    ///
    /// # Errors
    /// [`Code::Locked`], [`Code::NoIdentity`].
    pub fn session(&self, name: &str) -> Result<Session, ApiError> {
        if let Some(session) = self.still_unlocked(name, |it| it.session.clone()) {
            return Ok(session);
        }
        self.keyring().public(name)?;
        let why = format!("the identity {name} is locked: unlock it first");
        Err(ApiError::new(Code::Locked, why).with("identity", name))
    }

    /// Whether an identity is unlocked, and until when if that is known.
    #[must_use]
    pub fn unlocked_until(&self, name: &str) -> Option<Option<u64>> {
        self.still_unlocked(name, |it| it.until)
    }

    fn still_unlocked<T>(&self, name: &str, take: impl Fn(&Unlocked) -> T) -> Option<T> {
        let mut unlocked = self.unlocked.lock();
        let now = crate::now();
        // What is over is forgotten, and its secret wiped.
        unlocked.retain(|_, it| it.until.is_none_or(|until| until > now));
        unlocked.get(name).map(take)
    }

    /// Unlocks an identity, for `timeout` seconds unless that is zero.
    ///
    /// # Errors
    /// [`Code::NoIdentity`], [`Code::WrongPassphrase`].
    pub async fn unlock(
        &self,
        name: &str,
        passphrase: Zeroizing<String>,
        timeout: u64,
    ) -> Result<(PublicKey, Option<u64>), ApiError> {
        let one = self.stretching().await;
        let config = SessionConfig {
            keyring: self.keyring().clone(),
            name: name.to_owned(),
            client: self.client(),
            threshold: self.config.threshold,
        };
        let opened = spawn_blocking(move || {
            let _one = one;
            let secret = config.keyring.open(&config.name, &passphrase)?;
            Session::open(config, secret)
        });
        let session = opened.await.map_err(gone)??;
        let key = session.identity();
        let until = (timeout > 0).then(|| crate::now().saturating_add(timeout));
        self.unlocked
            .lock()
            .insert(name.to_owned(), Unlocked { session, until });
        Ok((key, until))
    }

    /// Forgets an identity's secret. Operations under way end with it.
    pub fn lock(&self, name: &str) {
        self.unlocked.lock().remove(name);
    }

    /// Forgets the secrets whose time is over, whether anybody asks for them or not.
    pub fn lock_expired(&self) {
        self.still_unlocked("", |_| ());
    }

    /// One passphrase at a time: each takes 64 MiB, and guessing gets no faster by asking more at once. To be held by the
    /// thread that does it, which goes on when nobody waits for it any more.
    pub async fn stretching(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.stretching).acquire_owned().await.ok()
    }

    /// Notes that a method is being run.
    pub fn begin(self: &Arc<Self>, method: &'static str) -> Active {
        let number = {
            let mut state = self.state.lock();
            state.next_call += 1;
            state.next_call
        };
        self.active.lock().insert(number, (method, Instant::now()));
        Active {
            daemon: Arc::clone(self),
            number,
        }
    }

    /// What is being run, and for how many microseconds.
    #[must_use]
    pub fn active(&self) -> Vec<Value> {
        let active = self.active.lock();
        let mut list: Vec<_> = active.iter().collect();
        list.sort_by_key(|(number, _)| **number);
        let shown = list.into_iter().map(|(_, (method, since))| {
            let duration = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
            json!({"method": method, "duration": duration})
        });
        shown.collect()
    }

    /// Asks it to end.
    pub fn stop(&self) {
        self.say("Shutting down…".to_owned());
        self.stopping.notify_one();
    }

    /// Waits until it has been asked to end.
    pub async fn stopped(&self) {
        self.stopping.notified().await;
    }
}

/// A thread that ended without a result.
#[must_use]
pub fn gone(error: JoinError) -> ApiError {
    tracing::error!(%error, "a call ended without a result");
    ApiError::new(Code::Internal, "the call ended without a result")
}
