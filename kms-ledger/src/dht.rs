//! A ledger without a place of its own: each of some listed nodes, the keepers, has a replica (LEDGER §5.5).
//!
//! Entries carry their authors' signatures, and what they say does not depend on who tells it. So a reader asks all
//! keepers, takes the union of what they show, and goes by it when enough of them have answered; a writer is content when
//! enough of them have an entry. The two numbers are chosen so that whoever reads asks a keeper that has what was written.

mod follow;
mod merge;
mod replica;
mod write;

use std::{
    fmt,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use kms_crypto::{id::PolicyId, key::PublicKey};
use kms_proto::{
    DEFAULT_NETWORK,
    ledger::{
        Head, Ledger, LedgerError, LedgerSource, NodeRecord, PolicyState, Receipt, SignedEntry,
    },
    transport::Transport,
};
use parking_lot::Mutex;
use tokio::runtime::Handle;

use crate::{Clock, system_clock};
use follow::{Readings, Standing};
use merge::Waiting;
use replica::Replica;

/// For how long what was read counts as new, if nothing else is said.
const FRESH: Duration = Duration::from_millis(200);
/// The most keepers of one ledger.
pub const MAX_KEEPERS: usize = 64;

/// A node that has a replica.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Keeper {
    /// Its key.
    pub key: PublicKey,
    /// Where it is, as far as is known: the registry may know more.
    pub addrs: Vec<String>,
}

/// How many keepers have to answer whom.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Quorum {
    keepers: usize,
    read: usize,
}

/// A list of keepers, or a quorum of them, that is none.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum QuorumError {
    /// None, too many, or one twice.
    #[error("a dht: ledger has 1 to {MAX_KEEPERS} keepers, each named once")]
    Keepers,
    /// More have to answer than there are, or none.
    #[error("the quorum is one of 1 to {0}, the number of keepers")]
    Read(usize),
}

impl Quorum {
    /// So many of the keepers answer a reader; without a number, more than half of them.
    pub fn of(keepers: usize, read: Option<usize>) -> Result<Self, QuorumError> {
        if !(1..=MAX_KEEPERS).contains(&keepers) {
            return Err(QuorumError::Keepers);
        }
        let read = read.unwrap_or(keepers / 2 + 1);
        if (1..=keepers).contains(&read) {
            Ok(Self { keepers, read })
        } else {
            Err(QuorumError::Read(keepers))
        }
    }

    /// How many there are.
    pub const fn keepers(self) -> usize {
        self.keepers
    }

    /// How many have to answer a reader.
    pub const fn read(self) -> usize {
        self.read
    }

    /// How many have to take an entry.
    pub const fn write(self) -> usize {
        let (meets_readers, meets_writers) = (self.keepers - self.read + 1, self.keepers / 2 + 1);
        if meets_readers > meets_writers {
            meets_readers
        } else {
            meets_writers
        }
    }
}

/// How to open a ledger of keepers.
#[derive(Clone)]
pub struct DhtOptions {
    /// The network.
    pub network: String,
    /// The clock.
    pub clock: Clock,
    /// Who keeps it: everybody has to have the same list.
    pub keepers: Vec<Keeper>,
    /// How many of them have to answer; by default more than half.
    pub quorum: Option<usize>,
    /// The key of this process, if it is a node.
    pub own: Option<PublicKey>,
    /// Where this process keeps its replica; by default in memory.
    pub replica: Option<PathBuf>,
    /// A head seen earlier in that file: one that does not contain it is refused.
    pub seen: Option<Head>,
    /// For how long what was read counts as new.
    pub fresh: Duration,
    /// How keepers are reached.
    pub transport: Arc<dyn Transport>,
    /// Where that is done.
    pub runtime: Handle,
}

impl DhtOptions {
    /// The usual network, this machine's clock, nothing kept.
    pub fn new(keepers: Vec<Keeper>, transport: Arc<dyn Transport>, runtime: Handle) -> Self {
        Self {
            network: DEFAULT_NETWORK.to_owned(),
            clock: system_clock(),
            keepers,
            quorum: None,
            own: None,
            replica: None,
            seen: None,
            fresh: FRESH,
            transport,
            runtime,
        }
    }
}

/// A ledger that keepers have.
pub struct DhtLedger {
    network: String,
    clock: Clock,
    keepers: Vec<Keeper>,
    quorum: Quorum,
    /// Which of the keepers this process is.
    own: Option<usize>,
    replica: Replica,
    fresh: Duration,
    transport: Arc<dyn Transport>,
    runtime: Handle,
    state: Mutex<State>,
}

struct State {
    standings: Vec<Standing>,
    readings: Readings,
    waiting: Waiting,
    round: Option<Round>,
}

/// The last time that the keepers were asked.
struct Round {
    began: Instant,
    outcome: Result<(), TooFew>,
}

/// Not enough keepers answer.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{needed} of its {of} keepers have to {what}, and {did} did{}", told(.faults))]
struct TooFew {
    what: &'static str,
    needed: usize,
    of: usize,
    did: usize,
    faults: Arc<[(PublicKey, String)]>,
}

fn told(faults: &[(PublicKey, String)]) -> String {
    let each = faults.iter().map(|(key, fault)| format!("; {key} {fault}"));
    each.collect()
}

/// What is known of one keeper.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct KeeperReport {
    /// Its key.
    pub key: PublicKey,
    /// Whether it is this process.
    pub own: bool,
    /// The last record seen of its replica.
    pub head: Head,
    /// Why it did not count when it was asked last; nothing if it did.
    pub fault: Option<String>,
}

impl fmt::Debug for DhtLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DhtLedger")
            .field("network", &self.network)
            .field("quorum", &self.quorum)
            .finish_non_exhaustive()
    }
}

impl DhtLedger {
    /// Opens a ledger. Nobody is asked before there is a question.
    pub fn open(options: DhtOptions) -> Result<Self, LedgerError> {
        let unusable = |error: QuorumError| LedgerError::Unavailable(Box::new(error));
        let quorum = Quorum::of(options.keepers.len(), options.quorum).map_err(unusable)?;
        let mut keys: Vec<_> = options.keepers.iter().map(|it| it.key).collect();
        keys.sort();
        keys.dedup();
        if keys.len() != options.keepers.len() {
            return Err(unusable(QuorumError::Keepers));
        }
        let genesis = Head::genesis(&options.network);
        let standings = options.keepers.iter().map(|_| Standing::new(genesis));
        let own = |own| options.keepers.iter().position(|it| it.key == own);
        Ok(Self {
            replica: Replica::open(&options)?,
            quorum,
            own: options.own.and_then(own),
            state: Mutex::new(State {
                standings: standings.collect(),
                readings: Readings::default(),
                waiting: Waiting::default(),
                round: None,
            }),
            network: options.network,
            clock: options.clock,
            keepers: options.keepers,
            fresh: options.fresh,
            transport: options.transport,
            runtime: options.runtime,
        })
    }

    /// How many keepers have to answer.
    pub fn quorum(&self) -> Quorum {
        self.quorum
    }

    /// Asks all keepers, and says what is known of each.
    pub fn report(&self) -> Vec<KeeperReport> {
        // Why too few answer is in the report.
        drop(self.follow());
        let own_head = self.replica.head();
        let state = self.state.lock();
        let each = self.keepers.iter().zip(&state.standings).enumerate();
        each.map(|(index, (keeper, standing))| {
            let own = self.own == Some(index);
            KeeperReport {
                key: keeper.key,
                own,
                head: match &own_head {
                    Ok(head) if own => *head,
                    _ => standing.head(),
                },
                fault: standing.fault().filter(|_| !own),
            }
        })
        .collect()
    }

    /// Learns what is new, unless that was done just now.
    fn follow(&self) -> Result<(), LedgerError> {
        let asked = Instant::now();
        let mut state = self.state.lock();
        // Another caller may have asked while this one waited.
        if let Some(round) = &state.round
            && (round.began >= asked || round.began.elapsed() < self.fresh)
        {
            return round.outcome.clone().map_err(unavailable);
        }
        let began = Instant::now();
        let answered = self.ask_all(&mut state)?;
        let outcome = if answered >= self.quorum.read {
            Ok(())
        } else {
            Err(self.too_few("answer", self.quorum.read, answered, &state))
        };
        state.round = Some(Round {
            began,
            outcome: outcome.clone(),
        });
        outcome.map_err(unavailable)
    }

    fn too_few(&self, what: &'static str, needed: usize, did: usize, state: &State) -> TooFew {
        let each = self.keepers.iter().zip(&state.standings);
        let faults = each.filter_map(|(keeper, it)| Some((keeper.key, it.fault()?)));
        TooFew {
            what,
            needed,
            of: self.quorum.keepers,
            did,
            faults: faults.collect(),
        }
    }

    /// The keepers, with the addresses that are known by now.
    fn located(&self) -> Result<Vec<Keeper>, LedgerError> {
        let registered = self.replica.nodes()?;
        let located = self.keepers.iter().map(|keeper| {
            let mut keeper = keeper.clone();
            let known = registered.iter().find(|it| it.key == keeper.key);
            for addr in known.iter().flat_map(|it| &it.addrs) {
                if !keeper.addrs.contains(addr) {
                    keeper.addrs.push(addr.clone());
                }
            }
            keeper
        });
        Ok(located.collect())
    }
}

fn unavailable(error: TooFew) -> LedgerError {
    LedgerError::Unavailable(Box::new(error))
}

impl Ledger for DhtLedger {
    fn head(&self) -> Result<Head, LedgerError> {
        self.follow()?;
        self.replica.head()
    }

    fn submit(&self, entry: &SignedEntry) -> Result<Receipt, LedgerError> {
        self.write(entry)
    }

    fn policy(&self, id: &PolicyId) -> Result<PolicyState, LedgerError> {
        match self.replica.policy(id)? {
            // For good: nobody can say anything else.
            revoked @ PolicyState::Revoked { .. } => Ok(revoked),
            _ => {
                self.follow()?;
                self.replica.policy(id)
            }
        }
    }

    fn nodes(&self) -> Result<Vec<NodeRecord>, LedgerError> {
        self.follow()?;
        self.replica.nodes()
    }

    fn read(&self, from: u64, max: usize) -> Result<Vec<Vec<u8>>, LedgerError> {
        self.replica.read(from, max)
    }

    fn mark(&self, policy: &PolicyId, index: u8) -> Result<u64, LedgerError> {
        self.follow()?;
        self.replica.mark(policy, index)
    }

    fn replica(&self) -> Option<&dyn Ledger> {
        Some(&self.replica)
    }

    fn sources(&self) -> Vec<LedgerSource> {
        let each = self.report().into_iter();
        each.map(|it| LedgerSource {
            name: it.key.to_string(),
            state: match it.fault {
                None => Ok(format!("has {} records", it.head.height)),
                Some(fault) => Err(fault),
            },
        })
        .chain([LedgerSource {
            name: "quorum".to_owned(),
            state: Ok(format!(
                "{} of {} read, {} write",
                self.quorum.read(),
                self.quorum.keepers(),
                self.quorum.write()
            )),
        }])
        .collect()
    }
}
