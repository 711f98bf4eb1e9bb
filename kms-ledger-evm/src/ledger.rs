//! The ledger, as the trait wants it, from what the providers tell.

use std::{
    fmt,
    path::Path,
    time::{Duration, Instant},
};

use kms_crypto::id::PolicyId;
use kms_ledger::{Clock, system_clock};
use kms_proto::{
    DEFAULT_NETWORK,
    ledger::{
        Cost, Entry, Head, Ledger, LedgerError, LedgerSource, NodeRecord, PolicyState, Receipt,
        SignedEntry,
    },
};
use parking_lot::Mutex;

use crate::{
    Account, AccountError, Ask, EvmName,
    follow::{FollowError, Source, View},
    rpc::Fault,
    send::{Mending, Pace, SentLately, Waiting},
};

/// For how long what was read counts as new.
const FRESH: Duration = Duration::from_millis(200);
/// How often a provider is asked again when the chain changes meanwhile.
const UNSETTLED_TRIES: usize = 4;

/// How to open a ledger on a chain.
#[derive(Clone)]
pub struct EvmOptions {
    /// The network.
    pub network: String,
    /// The clock.
    pub clock: Clock,
    /// A head seen earlier: a ledger that does not contain it is refused.
    pub seen: Option<Head>,
    /// Who is asked for a keystore's passphrase.
    pub ask: Option<Ask>,
}

impl Default for EvmOptions {
    fn default() -> Self {
        Self {
            network: DEFAULT_NETWORK.to_owned(),
            clock: system_clock(),
            seen: None,
            ask: None,
        }
    }
}

impl EvmOptions {
    /// This machine's clock, and nothing seen before.
    pub fn new(network: &str) -> Self {
        Self {
            network: network.to_owned(),
            ..Self::default()
        }
    }
}

/// No provider is of use; why, of each.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.0.iter().map(|(who, why)| format!("{who}: {why}")).collect::<Vec<_>>().join("; "))]
pub(crate) struct NoProvider(pub(crate) Vec<(String, Fault)>);

/// A ledger on a chain.
pub struct EvmLedger {
    pub(crate) name: EvmName,
    pub(crate) network: String,
    pub(crate) clock: Clock,
    pub(crate) account: Option<Account>,
    state: Mutex<State>,
    /// Held while a transaction is given its number and sent.
    pub(crate) turn: Mutex<()>,
    /// Revocations that are to be written with the next one.
    pub(crate) waiting: Mutex<Vec<Waiting>>,
    /// What was sent lately.
    pub(crate) sent: Mutex<SentLately>,
    /// Revocations that a reorganisation took away.
    pub(crate) mending: Mutex<Mending>,
    /// How fast the chain is, and when that was looked at.
    pub(crate) pace: Mutex<Option<(Pace, Instant)>>,
}

struct State {
    view: View,
    /// Which provider answered last.
    current: usize,
    /// Which ones have shown the right chain and contract, and have not failed since.
    vouched: Vec<bool>,
    read: Option<Instant>,
}

impl fmt::Debug for EvmLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EvmLedger")
            .field("chain_id", &self.name.chain_id)
            .field("network", &self.network)
            .finish_non_exhaustive()
    }
}

impl EvmLedger {
    /// Opens a ledger to read it, or also to write to it if its name has a `key`; reads all there is.
    pub fn open(name: EvmName, options: EvmOptions) -> Result<Self, LedgerError> {
        let unusable = |error: AccountError| LedgerError::Unavailable(Box::new(error));
        let passphrase = name.passphrase.as_deref();
        let read = |key: &Path| Account::read(key, passphrase, options.ask.as_ref());
        let account = name.key.as_deref().map(read).transpose();
        let state = State {
            view: View::new(&options.network, name.confirmations, name.from),
            current: 0,
            vouched: vec![false; name.providers.len()],
            read: None,
        };
        let ledger = Self {
            account: account.map_err(unusable)?,
            network: options.network,
            clock: options.clock,
            state: Mutex::new(state),
            turn: Mutex::new(()),
            waiting: Mutex::default(),
            sent: Mutex::default(),
            mending: Mutex::default(),
            pace: Mutex::default(),
            name,
        };
        ledger.with_view(|view| {
            options
                .seen
                .map_or(Ok(()), |seen| view.confirmed().contains(&seen))
        })?;
        Ok(ledger)
    }

    /// Looks for what is new, unless that was done just now, and asks.
    fn with_view<T>(
        &self,
        ask: impl FnOnce(&View) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        let (answer, lost) = {
            let mut state = self.state.lock();
            if state.read.is_none_or(|read| read.elapsed() >= FRESH) {
                self.follow(&mut state)?;
            }
            (ask(&state.view), state.view.lost())
        };
        self.mend(lost);
        answer
    }

    /// Looks for what is new, unless that was done not longer ago than `age`, and asks.
    pub(crate) fn with_view_of<T>(
        &self,
        age: Duration,
        ask: impl FnOnce(&View) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        let mut state = self.state.lock();
        if state.read.is_none_or(|read| read.elapsed() >= age) {
            self.follow(&mut state)?;
        }
        ask(&state.view)
    }

    fn follow(&self, state: &mut State) -> Result<(), LedgerError> {
        let view = &mut state.view;
        let answered = self.each_provider(state.current, &mut state.vouched, |source| {
            let mut tries = 0;
            loop {
                match view.follow(source) {
                    Err(FollowError::Fault(Fault::Unsettled)) if tries < UNSETTLED_TRIES => {
                        tries += 1
                    }
                    ended => return ended,
                }
            }
        });
        let (_, current) = answered?;
        state.current = current;
        state.read = Some(Instant::now());
        Ok(())
    }

    /// Asks the providers in turn until one of the right chain answers.
    fn each_provider<T>(
        &self,
        first: usize,
        vouched: &mut [bool],
        mut ask: impl FnMut(&Source<'_>) -> Result<T, FollowError>,
    ) -> Result<(T, usize), LedgerError> {
        let mut faults = Vec::new();
        let order = (first..self.name.providers.len()).chain(0..first);
        for index in order {
            let Some(provider) = self.name.providers.get(index) else {
                continue;
            };
            let source = Source {
                provider,
                contract: &self.name.contract,
            };
            let known = vouched.get(index).copied().unwrap_or(false);
            let vouching = if known {
                Ok(())
            } else {
                source.vouch(self.name.chain_id, &self.network)
            };
            let fault = match vouching
                .map_err(FollowError::from)
                .and_then(|()| ask(&source))
            {
                Ok(answer) => {
                    if let Some(vouched) = vouched.get_mut(index) {
                        *vouched = true;
                    }
                    return Ok((answer, index));
                }
                Err(FollowError::Ledger(error)) => return Err(error),
                Err(FollowError::Fault(fault)) => fault,
            };
            if let Some(vouched) = vouched.get_mut(index) {
                *vouched = false;
            }
            tracing::debug!(%provider, %fault, "a provider is of no use");
            faults.push((provider.to_string(), fault));
        }
        Err(LedgerError::Unavailable(Box::new(NoProvider(faults))))
    }

    /// Asks the providers in turn, the one that answered last first.
    pub(crate) fn ask<T>(
        &self,
        ask: impl FnMut(&Source<'_>) -> Result<T, FollowError>,
    ) -> Result<T, LedgerError> {
        let (current, mut vouched) = {
            let state = self.state.lock();
            (state.current, state.vouched.clone())
        };
        Ok(self.each_provider(current, &mut vouched, ask)?.0)
    }
}

impl Ledger for EvmLedger {
    fn head(&self) -> Result<Head, LedgerError> {
        self.with_view(|view| Ok(view.confirmed().head()))
    }

    fn submit(&self, entry: &SignedEntry) -> Result<Receipt, LedgerError> {
        self.send_entry(entry)
    }

    fn policy(&self, id: &PolicyId) -> Result<PolicyState, LedgerError> {
        self.with_view(|view| {
            let now = (self.clock)();
            // A revocation counts at once, and whatever becomes of its block; all else when it is confirmed.
            let latest = view.latest().policy(id, now);
            if matches!(latest, PolicyState::Revoked { .. }) {
                return Ok(latest);
            }
            let confirmed = view.confirmed().policy(id, now);
            Ok(match view.withdrawn(id) {
                Some(it) => PolicyState::Revoked {
                    at: it.at,
                    epoch: it.epoch,
                    grant: confirmed.into_grant(),
                },
                None => confirmed,
            })
        })
    }

    fn nodes(&self) -> Result<Vec<NodeRecord>, LedgerError> {
        self.with_view(|view| Ok(view.confirmed().nodes()))
    }

    fn sources(&self) -> Vec<LedgerSource> {
        let each = self.name.providers.iter().map(|provider| {
            let source = Source {
                provider,
                contract: &self.name.contract,
            };
            let block = source
                .vouch(self.name.chain_id, &self.network)
                .and_then(|()| source.head());
            LedgerSource {
                name: provider.to_string(),
                state: block
                    .map(|block| format!("is at block {}", block.mark.number))
                    .map_err(|fault| fault.to_string()),
            }
        });
        each.collect()
    }

    fn cost(&self, entry: &SignedEntry) -> Result<Option<Cost>, LedgerError> {
        self.estimate(entry).map(Some)
    }

    fn settles_within(&self, entry: &Entry) -> Duration {
        self.pace().settles_within(entry)
    }

    fn read(&self, from: u64, max: usize) -> Result<Vec<Vec<u8>>, LedgerError> {
        let skip = usize::try_from(from.saturating_sub(1)).unwrap_or(usize::MAX);
        self.with_view(|view| {
            let records = view.records().iter().skip(skip).take(max);
            Ok(records.cloned().collect())
        })
    }
}
