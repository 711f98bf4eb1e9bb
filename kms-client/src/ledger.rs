//! The ledger itself, for whoever looks after it: how it is, whether all of it holds together, what is in it, and what an
//! entry costs.

use std::time::Duration;

use kms_crypto::id::PolicyId;
use kms_crypto::key::{LedgerKey, NodeSecret, PublicKey};
use kms_proto::ledger::{
    About, Chain, Cost, Entry, EntryStatement, Grant, Head, Heading, Ledger, LedgerError,
    LedgerSource, Order, Record, Release,
};
use kms_proto::signed::Signed;
use rand_core::Rng;
use tokio::time::Instant;

use crate::client::{Client, rng};
use crate::error::ClientError;

/// How many records are read at once.
const RECORDS_AT_ONCE: usize = 256;

/// How a ledger is.
#[derive(Clone, Debug)]
pub struct LedgerReport {
    /// Its last record.
    pub head: Head,
    /// How many nodes have promised to serve now.
    pub serving: usize,
    /// Where it is read, and how each of these places is.
    pub sources: Vec<LedgerSource>,
}

/// A record as people and their programs read it.
#[derive(Clone, Debug)]
pub struct LedgerLine {
    /// Its place.
    pub height: u64,
    /// When it was written, Unix seconds.
    pub time: u64,
    /// Its hash.
    pub hash: [u8; 32],
    /// What it is: `register_node`, `grant`, `revoke`, `release` or `handover`.
    pub kind: &'static str,
    /// The policy it is about.
    pub policy: Option<PolicyId>,
    /// Until when a node serves, or a grant lives.
    pub until: Option<u64>,
    /// How many nodes have to answer.
    pub needed: Option<u8>,
    /// The nodes it names, the author first if it is one.
    pub nodes: Vec<PublicKey>,
    /// Whether only its heading is there, because the ledger was compacted.
    pub left_out: bool,
    /// All of it, or the heading.
    pub bytes: Vec<u8>,
}

/// How long a ledger usually takes until what is written counts; nothing where that is at once.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct UsualPace {
    /// A grant.
    pub grant: Duration,
    /// A revocation.
    pub revoke: Duration,
}

impl Client {
    /// How long the ledger usually takes, as far as that is known.
    pub async fn usual_pace(&self) -> UsualPace {
        let grant = Entry::Grant(grant_of_nobody(self.now(), 1, 1).1);
        let revoke = Entry::Release(Release {
            policy: PolicyId([0; 32]),
            epoch: 1,
            secret: [0; 16],
        });
        let pace = self.read_ledger(self.deadline(), move |ledger| {
            Ok(UsualPace {
                grant: ledger.settles_within(&grant),
                revoke: ledger.settles_within(&revoke),
            })
        });
        pace.await.unwrap_or_default()
    }

    /// How the ledger is.
    pub async fn ledger_report(&self) -> Result<LedgerReport, ClientError> {
        let now = self.now();
        self.read_ledger(self.deadline(), move |ledger| {
            let nodes = ledger.nodes()?;
            Ok(LedgerReport {
                head: ledger.head()?,
                serving: nodes.iter().filter(|it| it.available_until > now).count(),
                sources: ledger.sources(),
            })
        })
        .await
    }

    /// Where the ledger is read and how each of these places is, whatever else can be said of it.
    pub async fn ledger_sources(&self) -> Result<Vec<LedgerSource>, ClientError> {
        self.read_ledger(self.deadline(), |ledger| Ok(ledger.sources()))
            .await
    }

    /// Reads all records, checks each by the rules and against the one before it, and tells them one after another. Returns
    /// the head that follows from them, which is the one the ledger says it has.
    pub async fn verify_ledger(
        &self,
        mut each: impl FnMut(&LedgerLine),
    ) -> Result<Head, ClientError> {
        let (goal, order) = self
            .read_ledger(self.deadline(), |ledger| {
                let order = match ledger.replica() {
                    Some(_) => Order::Own,
                    None => Order::One,
                };
                Ok((ledger.head()?, order))
            })
            .await?;
        let mut chain = Chain::with_order(self.network(), order);
        while chain.head().height < goal.height {
            let next = chain.head().height + 1;
            let records = self
                .read_ledger(Instant::now() + self.shared.config.timeout, move |ledger| {
                    ledger.read(next, RECORDS_AT_ONCE)
                })
                .await?;
            if records.is_empty() {
                break;
            }
            for bytes in records {
                let head = chain.accept(&bytes, self.now())?;
                match Record::from_bytes(&bytes) {
                    Ok(record) => each(&line(&record, head, bytes)),
                    Err(_) => each(&line_left_out(head, bytes)),
                }
            }
        }
        chain.settled()?;
        chain.contains(&goal)?;
        Ok(chain.head())
    }

    /// What it costs to write a grant to so many nodes, if it costs anything.
    pub async fn grant_cost(&self, needed: u8, total: u8) -> Result<Option<Cost>, ClientError> {
        // Of a policy that will never be, for the ledger looks at what it is asked to write.
        let (author, grant) = grant_of_nobody(self.now(), needed, total);
        let statement = EntryStatement {
            network: self.network().to_owned(),
            entry: Entry::Grant(grant),
        };
        let signed = Signed::sign(statement, &author, &mut rng())
            .expect("the entry names this key")
            .into_signed();
        self.read_ledger(self.deadline(), move |ledger: &dyn Ledger| {
            ledger.cost(&signed)
        })
        .await
    }
}

fn grant_of_nobody(now: u64, needed: u8, total: u8) -> (LedgerKey, Grant) {
    let (author, mut inner) = (LedgerKey::generate(&mut rng()), [0; 32]);
    rng().fill_bytes(&mut inner);
    let nodes = (0..total).map(|_| NodeSecret::generate(&mut rng()).public());
    let grant = Grant {
        ledger_key: author.public(),
        inner,
        expiry: now.saturating_add(86_400),
        m: needed,
        nodes: nodes.collect(),
        seq: 1,
        revocation: Some([0xff; 16]),
    };
    (author, grant)
}

fn line_of(head: Head, bytes: Vec<u8>) -> LedgerLine {
    LedgerLine {
        height: head.height,
        time: head.time,
        hash: head.hash,
        kind: "",
        policy: None,
        until: None,
        needed: None,
        nodes: Vec::new(),
        left_out: false,
        bytes,
    }
}

fn line_left_out(head: Head, bytes: Vec<u8>) -> LedgerLine {
    let about = Heading::from_bytes(&bytes).map(|heading| heading.about);
    let mut line = line_of(head, bytes);
    line.left_out = true;
    match about {
        Ok(About::Node { key, .. }) => {
            line.kind = "register_node";
            line.nodes = vec![key];
        }
        Ok(About::Grant { policy, expiry, .. }) => {
            line.kind = "grant";
            line.policy = Some(policy);
            line.until = Some(expiry);
        }
        Ok(About::Handover { policy }) => {
            line.kind = "handover";
            line.policy = Some(policy);
        }
        // Never left out.
        Ok(About::Revoke | About::Release) | Err(_) => {}
    }
    line
}

fn line(record: &Record, head: Head, bytes: Vec<u8>) -> LedgerLine {
    let mut line = line_of(head, bytes);
    match &record.entry.claim().entry {
        Entry::RegisterNode(it) => {
            line.kind = "register_node";
            line.until = Some(it.available_until);
            line.nodes = vec![it.key];
        }
        Entry::Grant(it) => {
            line.kind = "grant";
            line.policy = Some(it.policy());
            line.until = Some(it.expiry);
            line.needed = Some(it.m);
            line.nodes.clone_from(&it.nodes);
        }
        Entry::Revoke(it) => {
            line.kind = "revoke";
            line.policy = Some(it.policy());
        }
        Entry::Release(it) => {
            line.kind = "release";
            line.policy = Some(it.policy);
        }
        Entry::Handover(it) => {
            line.kind = "handover";
            line.policy = Some(it.policy);
            line.nodes = vec![it.from, it.to];
        }
    }
    line
}

/// What a ledger on a chain is made with.
pub struct Deployment<'a> {
    /// The JSON-RPC provider, `http://…`.
    pub provider: &'a str,
    /// The file with the account's secret, or its keystore.
    pub key: &'a std::path::Path,
    /// Who is asked for the keystore's passphrase.
    pub ask: kms_ledger_evm::Ask,
    /// The network's name.
    pub network: &'a str,
}

impl Deployment<'_> {
    /// Makes the contract; the ledger's name, to be configured. Blocks.
    pub fn make(&self) -> Result<String, LedgerError> {
        let failed =
            |error: Box<dyn std::error::Error + Send + Sync>| LedgerError::Unavailable(error);
        let provider = kms_ledger_evm::Provider::parse(self.provider)
            .map_err(|error| failed(Box::new(error)))?;
        let account = kms_ledger_evm::Account::read(self.key, None, Some(&self.ask))
            .map_err(|error| failed(Box::new(error)))?;
        let made = kms_ledger_evm::deploy(&provider, &account, self.network)
            .map_err(|error| failed(Box::new(error)))?;
        let contract: String = made.contract.iter().map(|it| format!("{it:02x}")).collect();
        Ok(format!(
            "evm:{}/0x{contract}?rpc={}&from={}",
            made.chain_id, self.provider, made.block
        ))
    }
}
