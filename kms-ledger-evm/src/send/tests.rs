//! Transactions on a real chain, one by one.

use kms_ledger::conformance::{Author, NETWORK};
use kms_proto::ledger::{Ledger, PolicyState};

use super::*;
use crate::{EvmName, EvmOptions, anvil::Anvil};

const PATIENCE: Duration = Duration::from_secs(60);

fn ledger(anvil: &Anvil, contract: &str, dir: &std::path::Path) -> EvmLedger {
    let key = Anvil::key_file(dir);
    let place = format!(
        "31337/{contract}?rpc={}&confirmations=0&key={}",
        anvil.url(),
        key.display()
    );
    let name = EvmName::parse(&place).expect("a name");
    EvmLedger::open(name, EvmOptions::new(NETWORK)).expect("a ledger")
}

#[test]
fn what_is_in_no_block_for_long_is_replaced_and_not_paid_for_twice() {
    // Providers reckon with what waits: asked what the same entry would cost, they said that the ledger has it already, and the
    // fee of a transaction that nobody wanted was never raised.
    let anvil = Anvil::start(&[]);
    let contract = anvil.deploy(NETWORK);
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = ledger(&anvil, &contract, dir.path());
    let account = ledger.account.as_ref().expect("an account");
    let author = Author::new();
    let expiry = kms_ledger::system_clock()() + 3600;
    let grant = author.grant(1, expiry).admit(NETWORK).expect("sound");
    anvil.rpc("evm_setAutomine", json!([false]));
    let first = ledger.send(account, &grant, None).expect("sent");
    let second = ledger.send(account, &grant, Some(first.clone()));
    let second = second.expect("sent again");
    assert_eq!((second.nonce, second.raised), (first.nonce, 1));
    assert!(second.taken && second.hash != first.hash);
    anvil.mine(1);
    let receipt = |sent: &Sent| ledger.ask(|source| Ok(source.receipt(&sent.hash)?));
    assert!(receipt(&first).expect("answered").is_null());
    let receipt = receipt(&second).expect("answered");
    assert_eq!(receipt["status"], "0x1", "{receipt}");
}

#[test]
fn revocations_that_wait_at_the_same_time_are_one_transaction() {
    let anvil = Anvil::start(&[]);
    let contract = anvil.deploy(NETWORK);
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = ledger(&anvil, &contract, dir.path());
    let authors: [Author; 6] = std::array::from_fn(|_| Author::new());
    let expiry = kms_ledger::system_clock()() + 3600;
    for author in &authors {
        let grant = author.sealed_grant(1, expiry, 2);
        ledger.submit(&grant).expect("accepted");
    }
    let logs = || {
        let every = json!([{ "fromBlock": "0x0", "toBlock": "latest", "address": contract }]);
        let logs = anvil.rpc("eth_getLogs", every);
        logs.as_array().expect("a list").clone()
    };
    let before = logs().len();
    thread::scope(|scope| {
        let turn = ledger.turn.lock();
        let (last, others) = authors.split_last().expect("six");
        for author in others {
            scope.spawn(|| ledger.submit(&author.release(2)).expect("accepted"));
        }
        let deadline = Instant::now() + PATIENCE;
        while ledger.waiting.lock().len() < others.len() {
            assert!(Instant::now() < deadline, "waited in vain");
            thread::sleep(LOOK_AGAIN);
        }
        drop(turn);
        // And one for itself, meanwhile or later.
        scope.spawn(|| ledger.submit(&last.release(2)).expect("accepted"));
    });
    for author in &authors {
        let state = ledger.policy(&author.policy());
        assert!(matches!(state, Ok(PolicyState::Revoked { .. })));
    }
    // Each event has what its transaction was called with. The sixth may have come first, alone.
    let logs = logs().split_off(before);
    let revoked =
        |log: &Value| hex::parse(log["data"].as_str().expect("hex")).map(|it| it.len() / 52);
    assert_eq!(logs.iter().filter_map(revoked).sum::<usize>(), 6);
    let together = logs.iter().max_by_key(|log| revoked(log)).expect("some");
    assert!(revoked(together) >= Some(5));
    let hash = &together["transactionHash"];
    let receipt = anvil.rpc("eth_getTransactionReceipt", json!([hash]));
    let gas: u64 = hex::read_number(&receipt["gasUsed"]).expect("a number");
    assert!(gas < 6 * 12_000, "{gas}");

    // One that is there already spoils it for nobody.
    let waiting = Waiting {
        call: entry::call(&authors[0].release(2), Promise::Kept).expect("a call"),
        sent: Arc::default(),
    };
    ledger.waiting.lock().push(waiting);
    let author = Author::new();
    let grant = author.sealed_grant(1, expiry, 2);
    ledger.submit(&grant).expect("accepted");
    ledger.submit(&author.release(2)).expect("accepted");
}
