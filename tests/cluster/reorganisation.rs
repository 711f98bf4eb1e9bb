//! A chain that takes a revocation back, under real nodes: nobody opens anything any more (LEDGER §5.4.3).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kms_client::{Client, ClientConfig, GrantRequest, KeyRequest, Threshold};
use kms_crypto::id::{LabelId, PolicyId, SchemeId, StoreId};
use kms_crypto::key::{DelegatingKey, IdentitySecret, LedgerKey};
use kms_crypto::policy::PolicyParams;
use kms_crypto::scheme::{LabelContext, encapsulate};
use kms_ledger_evm::anvil::Anvil;
use kms_ledger_evm::{EvmLedger, EvmName, EvmOptions};
use kms_net::NetClient;
use kms_proto::DEFAULT_NETWORK;
use kms_proto::ledger::{
    Entry, EntryStatement, Head, Ledger, LedgerError, NodeRecord, PolicyState, Receipt, Revoke,
    SignedEntry,
};
use kms_proto::signed::Signed;
use kms_tests::{Devnet, TIMEOUT, eventually};
use rand_core::UnwrapErr;
use serde_json::json;

/// Makes blocks all the time, as long as it is let.
struct Miner {
    at_work: Arc<AtomicBool>,
    over: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Miner {
    fn begin(anvil: &Arc<Anvil>) -> Self {
        let at_work = Arc::new(AtomicBool::new(true));
        let over = Arc::new(AtomicBool::new(false));
        let (anvil, works, ends) = (Arc::clone(anvil), Arc::clone(&at_work), Arc::clone(&over));
        let thread = thread::spawn(move || {
            while !ends.load(Ordering::SeqCst) {
                if works.load(Ordering::SeqCst) {
                    anvil.mine(1);
                }
                thread::sleep(Duration::from_millis(100));
            }
        });
        Self {
            at_work,
            over,
            thread: Some(thread),
        }
    }

    fn work(&self, at_work: bool) {
        self.at_work.store(at_work, Ordering::SeqCst);
        // One that was just being made.
        thread::sleep(Duration::from_millis(300));
    }
}

impl Drop for Miner {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The ledger for somebody who will not hear of revocations: he asks the nodes whatever it says.
struct Deaf {
    ledger: EvmLedger,
    granted: Mutex<Option<PolicyState>>,
}

impl Ledger for Deaf {
    fn head(&self) -> Result<Head, LedgerError> {
        self.ledger.head()
    }

    fn submit(&self, entry: &SignedEntry) -> Result<Receipt, LedgerError> {
        self.ledger.submit(entry)
    }

    fn policy(&self, id: &PolicyId) -> Result<PolicyState, LedgerError> {
        let now = self.ledger.policy(id)?;
        let mut granted = self.granted.lock().unwrap();
        if matches!(now, PolicyState::Live(_)) {
            *granted = Some(now.clone());
        }
        Ok(granted.clone().unwrap_or(now))
    }

    fn nodes(&self) -> Result<Vec<NodeRecord>, LedgerError> {
        self.ledger.nodes()
    }

    fn read(&self, from: u64, max: usize) -> Result<Vec<Vec<u8>>, LedgerError> {
        self.ledger.read(from, max)
    }
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

/// Three blocks go, and the revocation with them. One fragment would be enough to open, and the reader asks again and
/// again, whatever the ledger says; but the nodes know what they have seen, and write it again.
#[test]
fn no_node_reencrypts_what_was_revoked_in_blocks_that_are_gone() {
    let anvil = Arc::new(Anvil::start(&[]));
    let contract = anvil.deploy(DEFAULT_NETWORK);
    let place = format!("31337/{contract}?rpc={}&confirmations=4", anvil.url());
    let root = tempfile::tempdir().unwrap();
    let with_account = |number: u8| {
        let key = root.path().join(format!("account-{number}"));
        anvil.rich_key_file(&key, [number; 32]);
        format!("{place}&key={}", key.display())
    };
    let miner = Miner::begin(&anvil);
    let ledgers: Vec<_> = (1..=3)
        .map(|number| format!("evm:{}", with_account(number)))
        .collect();
    let net = Devnet::with_ledgers(root.path(), &ledgers);
    let open = |place: &str| {
        EvmLedger::open(
            EvmName::parse(place).unwrap(),
            EvmOptions::new(DEFAULT_NETWORK),
        )
        .unwrap()
    };

    let rng = &mut UnwrapErr(getrandom::SysRng);
    let (label, author) = (DelegatingKey::generate(rng), LedgerKey::generate(rng));
    let reader = IdentitySecret::generate(rng);
    let context = LabelContext {
        store: StoreId([1; 16]),
        label: LabelId([2; 16]),
        epoch: 1,
    };
    let (capsule, secret) =
        encapsulate(rng, SchemeId::SPLIT_ECIES, &label.public(), &context).unwrap();
    let salt = [3; 32];
    let params = PolicyParams::new(author.public(), label.public(), reader.public(), salt);
    let threshold = Threshold::new(1, 3).unwrap();
    let request = KeyRequest {
        params,
        threshold,
        nodes: Vec::new(),
        capsule,
        context,
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _guard = runtime.enter();
    let transport = NetClient::start(&kms_net::ClientConfig {
        network: DEFAULT_NETWORK.to_owned(),
        bootstrap: net.bootstrap.split(',').map(str::to_owned).collect(),
    });
    let deaf = Deaf {
        ledger: open(&place),
        granted: Mutex::default(),
    };
    let mut config = ClientConfig::new(
        DEFAULT_NETWORK,
        Arc::new(deaf),
        Arc::new(transport.unwrap()),
    );
    config.timeout = Duration::from_secs(60);
    let client = Client::new(config);
    let grant = GrantRequest {
        delegating_key: &label,
        ledger_key: &author,
        recipient: reader.public(),
        salt,
        threshold,
        expiry: now() + 3600,
        epoch: 1,
    };
    runtime.block_on(client.grant(&grant)).unwrap();
    let opens = || runtime.block_on(client.decrypt_key(&request, &reader));
    assert!(opens().unwrap() == secret, "what was granted opens");

    // Written by somebody else, and to the ledger alone: no node is told.
    miner.work(false);
    let revoke = EntryStatement {
        network: DEFAULT_NETWORK.to_owned(),
        entry: Entry::Revoke(Revoke {
            ledger_key: author.public(),
            inner: params.inner(),
            epoch: 2,
        }),
    };
    let revoke = Signed::sign(revoke, &author, rng).unwrap().into_signed();
    open(&with_account(9)).submit(&revoke).unwrap();
    let logs = || {
        let every = json!([{ "fromBlock": "0x0", "toBlock": "latest", "address": contract }]);
        anvil.rpc("eth_getLogs", every).as_array().unwrap().clone()
    };
    let written = logs().last().unwrap()["transactionHash"].clone();
    eventually("the revocation to bite", TIMEOUT, || opens().err());
    anvil.mine(2);
    anvil.reorganise(3);
    assert!(
        anvil
            .rpc("eth_getTransactionReceipt", json!([written]))
            .is_null(),
        "the chain knows nothing of it any more"
    );
    let stays_shut = || {
        assert!(
            opens().is_err(),
            "a node has re-encrypted after the revocation"
        )
    };
    (0..10).for_each(|_| stays_shut());
    // Some node pays for it a second time.
    let fresh = || open(&place).policy(&params.id()).unwrap();
    eventually("the revocation to be in the chain again", TIMEOUT, || {
        stays_shut();
        matches!(fresh(), PolicyState::Revoked { epoch: 2, .. }).then_some(())
    });
    miner.work(true);
    (0..10).for_each(|_| stays_shut());
}
