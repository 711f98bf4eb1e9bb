//! The suite that every kind of ledger passes, on a real chain.

#![expect(
    clippy::unwrap_used,
    reason = "a test says what it expects by unwrapping it"
)]

use std::sync::{Arc, Mutex};

use kms_crypto::id::PolicyId;
use kms_ledger::{
    Clock,
    conformance::{NETWORK, START, check_ledger},
};
use kms_ledger_evm::{EvmLedger, EvmName, EvmOptions, anvil::Anvil};
use kms_proto::ledger::{Head, Ledger, LedgerError, NodeRecord, PolicyState, Receipt, SignedEntry};
use serde_json::json;
use tempfile::TempDir;

/// A ledger on a chain of its own, whose blocks are made at the time that the test's clock shows.
struct OnAnvil {
    ledger: EvmLedger,
    clock: Clock,
    time: Mutex<u64>,
    anvil: Anvil,
    _dir: TempDir,
}

impl OnAnvil {
    fn new(clock: Clock) -> Self {
        let anvil = Anvil::start(&["--timestamp", &(START - 10).to_string()]);
        anvil.rpc("anvil_setBlockTimestampInterval", json!([0]));
        let contract = anvil.deploy(NETWORK);
        let dir = tempfile::tempdir().unwrap();
        let name = format!(
            "31337/{contract}?rpc={}&confirmations=0&key={}",
            anvil.url(),
            Anvil::key_file(dir.path()).display()
        );
        let options = EvmOptions {
            clock: Arc::clone(&clock),
            ..EvmOptions::new(NETWORK)
        };
        let ledger = EvmLedger::open(EvmName::parse(&name).unwrap(), options).unwrap();
        Self {
            ledger,
            clock,
            time: Mutex::new(START - 10),
            anvil,
            _dir: dir,
        }
    }
}

impl Ledger for OnAnvil {
    fn head(&self) -> Result<Head, LedgerError> {
        self.ledger.head()
    }

    fn submit(&self, entry: &SignedEntry) -> Result<Receipt, LedgerError> {
        let mut time = self.time.lock().unwrap();
        let now = (self.clock)();
        if now > *time {
            *time = now;
            self.anvil.rpc("evm_setNextBlockTimestamp", json!([now]));
            self.anvil.mine(1);
        }
        drop(time);
        self.ledger.submit(entry)
    }

    fn policy(&self, id: &PolicyId) -> Result<PolicyState, LedgerError> {
        self.ledger.policy(id)
    }

    fn nodes(&self) -> Result<Vec<NodeRecord>, LedgerError> {
        self.ledger.nodes()
    }

    fn read(&self, from: u64, max: usize) -> Result<Vec<Vec<u8>>, LedgerError> {
        self.ledger.read(from, max)
    }
}

#[test]
fn the_ledger_on_a_chain_conforms() {
    check_ledger(&mut |clock| Arc::new(OnAnvil::new(clock)));
}
