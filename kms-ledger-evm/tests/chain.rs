//! What only a chain can do to a ledger: reorganise, vanish and come back, be another one, be told of by liars.

#![expect(
    clippy::unwrap_used,
    reason = "a test says what it expects by unwrapping it"
)]

use std::{
    error::Error,
    io::{Read, Write},
    net::TcpListener,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use kms_crypto::key::NodeSecret;
use kms_ledger::{
    conformance::{Author, NETWORK, registration},
    system_clock,
};
use kms_ledger_evm::{EvmLedger, EvmName, EvmOptions, anvil::Anvil};
use kms_proto::ledger::{EntryRefusal, Ledger, LedgerError, PolicyState};
use serde_json::json;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);

/// A chain with a contract, and a key to an account on it.
struct Scene {
    anvil: Anvil,
    contract: String,
    dir: TempDir,
}

impl Scene {
    fn new() -> Self {
        Self::with(&[])
    }

    fn with(arguments: &[&str]) -> Self {
        let anvil = Anvil::start(arguments);
        let contract = anvil.deploy(NETWORK);
        let dir = tempfile::tempdir().unwrap();
        Anvil::key_file(dir.path());
        Self {
            anvil,
            contract,
            dir,
        }
    }

    fn place(&self, options: &str) -> String {
        format!("31337/{}?rpc={}&{options}", self.contract, self.anvil.url())
    }

    /// Opens the ledger as a node does that waits for `confirmations`.
    fn writer(&self, confirmations: u64) -> EvmLedger {
        let key = self.dir.path().join("account");
        open(&self.place(&format!(
            "confirmations={confirmations}&key={}",
            key.display()
        )))
        .unwrap()
    }

    fn reader(&self, confirmations: u64) -> EvmLedger {
        open(&self.place(&format!("confirmations={confirmations}"))).unwrap()
    }

    /// Does something while blocks go on being made.
    fn mining<T>(&self, work: impl FnOnce() -> T) -> T {
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::SeqCst) {
                    self.anvil.mine(1);
                    thread::sleep(Duration::from_millis(20));
                }
            });
            let result = work();
            done.store(true, Ordering::SeqCst);
            result
        })
    }
}

fn open(place: &str) -> Result<EvmLedger, LedgerError> {
    EvmLedger::open(EvmName::parse(place).unwrap(), EvmOptions::new(NETWORK))
}

fn in_an_hour() -> u64 {
    system_clock()() + 3600
}

fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !check() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// An error with all that caused it.
fn told<T>(result: Result<T, LedgerError>) -> String {
    let error = result.err().expect("an error");
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

fn live(ledger: &EvmLedger, author: &Author) -> bool {
    matches!(ledger.policy(&author.policy()), Ok(PolicyState::Live(_)))
}

fn revoked(ledger: &EvmLedger, author: &Author) -> bool {
    matches!(
        ledger.policy(&author.policy()),
        Ok(PolicyState::Revoked { .. })
    )
}

#[test]
fn a_grant_that_a_reorganisation_takes_away_never_counted_and_is_written_again() {
    let scene = Scene::new();
    let (node, reader, author) = (scene.writer(4), scene.reader(4), Author::new());
    // What everybody sees who does not wait.
    let grant = author.grant(1, in_an_hour());
    thread::scope(|scope| {
        let submitting = scope.spawn(|| node.submit(&grant));
        let hasty = scene.reader(0);
        eventually("the grant in the chain", || live(&hasty, &author));
        scene.anvil.mine(2);
        let counts = || live(&reader, &author) || live(&node, &author);
        assert!(!counts(), "three blocks are not four");
        scene.anvil.reorganise(3);
        assert!(!counts());
        eventually("it to be written again", || {
            let again = scene.reader(0);
            live(&again, &author)
        });
        assert!(!counts());
        scene.mining(|| submitting.join().unwrap()).unwrap();
    });
    assert!(live(&node, &author));
    eventually("the reader to see it", || live(&reader, &author));
}

#[test]
fn a_revocation_outlives_the_reorganisation_of_its_block() {
    let scene = Scene::new();
    let (node, reader, author) = (scene.writer(4), scene.reader(4), Author::new());
    scene
        .mining(|| node.submit(&author.grant(1, in_an_hour())))
        .unwrap();
    eventually("the grant to count", || live(&reader, &author));
    // At once, without a block after its own.
    node.submit(&author.revoke(2)).unwrap();
    assert!(revoked(&node, &author));
    eventually("the reader to see it", || revoked(&reader, &author));
    scene.anvil.mine(2);
    scene.anvil.reorganise(3);
    assert!(
        live(&scene.reader(0), &author),
        "the chain knows nothing of it any more"
    );
    let deadline = Instant::now() + Duration::from_secs(1);
    while Instant::now() < deadline {
        assert!(
            revoked(&reader, &author),
            "forgotten by one who has seen it"
        );
        assert!(revoked(&node, &author), "forgotten by a node");
    }
    eventually("the node to write it again", || {
        revoked(&scene.reader(0), &author)
    });
    scene.anvil.mine(5);
    assert!(revoked(&scene.reader(4), &author));
    eventually("both to be confirmed", || node.head().unwrap().height == 2);
}

#[test]
fn a_revocation_by_the_secret_outlives_the_reorganisation_of_its_grant() {
    let scene = Scene::new();
    let (node, reader, author) = (scene.writer(0), scene.reader(4), Author::new());
    node.submit(&author.sealed_grant(1, in_an_hour(), 2))
        .unwrap();
    // From another account than the one that carried the grant.
    let key = scene.dir.path().join("other");
    scene.anvil.rich_key_file(&key, [7; 32]);
    let place = scene.place(&format!("confirmations=0&key={}", key.display()));
    open(&place).unwrap().submit(&author.release(2)).unwrap();
    eventually("the reader to see it", || revoked(&reader, &author));
    scene.anvil.reorganise(2);
    eventually("the chain to know nothing of either", || {
        !revoked(&scene.reader(0), &author)
    });
    assert!(
        revoked(&reader, &author),
        "forgotten by one who has seen it"
    );
}

#[test]
fn revocations_that_one_reorganisation_takes_away_are_written_again_together() {
    let scene = Scene::new();
    let node = scene.writer(8);
    let authors: [Author; 5] = std::array::from_fn(|_| Author::new());
    scene.mining(|| {
        for author in &authors {
            let grant = author.sealed_grant(1, in_an_hour(), 2);
            node.submit(&grant).unwrap();
        }
    });
    for author in &authors {
        node.submit(&author.release(2)).unwrap();
    }
    let written = || {
        let every = json!([{ "fromBlock": "0x0", "toBlock": "latest", "address": scene.contract }]);
        let logs = scene.anvil.rpc("eth_getLogs", every);
        logs.as_array().unwrap().len()
    };
    let before = written();
    scene.anvil.reorganise(5);
    assert_eq!(written(), before - authors.len(), "they are gone");
    eventually("all to be there again", || {
        assert!(authors.iter().all(|author| revoked(&node, author)));
        let fresh = scene.reader(0);
        authors.iter().all(|author| revoked(&fresh, author))
    });
    assert_eq!(written(), before - authors.len() + 1, "one transaction");
}

#[test]
fn a_chain_without_what_was_confirmed_is_refused() {
    let scene = Scene::new();
    let ledger = scene.writer(0);
    ledger
        .submit(&Author::new().grant(1, in_an_hour()))
        .unwrap();
    scene.anvil.reorganise(2);
    eventually("the fork to be seen", || {
        matches!(ledger.head(), Err(LedgerError::Forked { height: 1 }))
    });
    // Also by one that has noted the head and starts anew.
    let other = Scene::new();
    let head = {
        let ledger = other.writer(0);
        ledger
            .submit(&Author::new().grant(1, in_an_hour()))
            .unwrap();
        ledger.head().unwrap()
    };
    let fresh = other.anvil.deploy(NETWORK);
    let name = EvmName::parse(&format!("31337/{fresh}?rpc={}", other.anvil.url())).unwrap();
    let options = EvmOptions {
        seen: Some(head),
        ..EvmOptions::new(NETWORK)
    };
    let refused = EvmLedger::open(name, options);
    assert!(matches!(
        refused,
        Err(LedgerError::Shorter { height: 0, seen: 1 })
    ));
}

#[test]
fn the_chain_goes_away_and_comes_back() {
    let state = tempfile::tempdir().unwrap();
    let state = state.path().join("state.json");
    let mut scene = Scene::with(&["--state", state.to_str().unwrap()]);
    let (ledger, author) = (scene.writer(0), Author::new());
    ledger.submit(&author.grant(1, in_an_hour())).unwrap();
    scene.anvil.stop();
    eventually("the loss to be noticed", || ledger.head().is_err());
    let text = told(ledger.policy(&author.policy()));
    assert!(
        text.contains(&scene.anvil.url()) && text.contains("no answer"),
        "{text}"
    );
    let text = told(ledger.submit(&author.revoke(2)));
    assert!(text.contains("no answer"), "{text}");
    scene.anvil.restart();
    assert!(live(&ledger, &author));
    ledger.submit(&author.revoke(2)).unwrap();
    assert!(revoked(&ledger, &author));
    assert!(
        revoked(&scene.reader(0), &author),
        "all of it can be read from the beginning"
    );
}

#[test]
fn another_chain_contract_or_network_is_not_believed() {
    let scene = Scene::new();
    let url = scene.anvil.url();
    let text = told(open(&format!("5/{}?rpc={url}", scene.contract)));
    assert!(text.contains("on chain 31337, not on 5"), "{text}");
    let text = told(open(&format!("31337/0x{}?rpc={url}", "11".repeat(20))));
    assert!(text.contains("no kms ledger"), "{text}");
    let elsewhere = scene.anvil.deploy("elsewhere");
    let text = told(open(&format!("31337/{elsewhere}?rpc={url}")));
    assert!(text.contains("the network \"elsewhere\""), "{text}");
}

#[test]
fn a_provider_that_talks_nonsense_is_passed_over() {
    let scene = Scene::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let nonsense = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        let answers = [
            "HTTP/1.1 200 OK\r\n\r\n{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"a\":[]}}",
            "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nshort",
            "garbage",
            "",
        ];
        for (stream, answer) in listener.incoming().zip(answers.iter().cycle()) {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    for _ in 0..4 {
        let text = told(open(&format!("31337/{}?rpc={nonsense}", scene.contract)));
        assert!(
            text.contains("makes no sense") && text.contains(&nonsense),
            "{text}"
        );
    }
    let key = scene.dir.path().join("account");
    let ledger = open(&format!(
        "31337/{}?rpc={nonsense},{}&confirmations=0&key={}",
        scene.contract,
        scene.anvil.url(),
        key.display()
    ))
    .unwrap();
    let author = Author::new();
    ledger.submit(&author.grant(1, in_an_hour())).unwrap();
    assert!(live(&ledger, &author));
}

#[test]
fn a_provider_that_lags_is_not_believed() {
    let (mut scene, behind) = (Scene::new(), Scene::new());
    assert_eq!(
        scene.contract, behind.contract,
        "as if they were of one chain"
    );
    scene.anvil.mine(9);
    let ledger = open(&format!(
        "31337/{}?rpc={},{}&confirmations=2",
        scene.contract,
        scene.anvil.url(),
        behind.anvil.url()
    ))
    .unwrap();
    scene.anvil.stop();
    eventually("the first provider to be missed", || ledger.head().is_err());
    let text = told(ledger.head());
    assert!(
        text.contains("no answer")
            && text.contains("it is at block 1, while block 10 has been seen"),
        "{text}"
    );
}

#[test]
fn two_processes_share_an_account_and_a_reader_has_none() {
    let scene = Scene::new();
    let (one, two, reader) = (scene.writer(0), scene.writer(0), scene.reader(0));
    thread::scope(|scope| {
        let many = |ledger| {
            move || {
                for _ in 0..5 {
                    let author = Author::new();
                    Ledger::submit(ledger, &author.grant(1, in_an_hour())).unwrap();
                }
            }
        };
        scope.spawn(many(&one));
        scope.spawn(many(&two));
    });
    eventually("all ten to be seen", || reader.head().unwrap().height == 10);
    assert!(matches!(
        reader.submit(&Author::new().grant(1, in_an_hour())),
        Err(LedgerError::ReadOnly)
    ));
}

#[test]
fn the_same_entry_from_two_nodes_stands_there_once() {
    let scene = Scene::new();
    let (one, two, author) = (scene.writer(0), scene.writer(0), Author::new());
    let grant = author.grant(1, in_an_hour());
    thread::scope(|scope| {
        let both = [&one, &two].map(|ledger| scope.spawn(|| ledger.submit(&grant).unwrap().height));
        assert_eq!(both.map(|it| it.join().unwrap()), [1, 1]);
    });
    assert_eq!(scene.reader(0).head().unwrap().height, 1);
}

#[test]
fn what_strangers_write_changes_nothing() {
    let scene = Scene::new();
    let (ledger, author, node) = (
        scene.writer(0),
        Author::new(),
        NodeSecret::generate(&mut rand_core::UnwrapErr(getrandom::SysRng)),
    );
    let until = in_an_hour();
    ledger
        .submit(&registration(&node, 1, until, &["/ip4/192.0.2.1/tcp/1"]))
        .unwrap();
    ledger.submit(&author.grant(1, until)).unwrap();
    // A registration with a changed address: the contract keeps it for an account that nobody has, readers pass over it.
    let logs = scene.anvil.rpc(
        "eth_getLogs",
        json!([{ "fromBlock": "0x0", "toBlock": "latest", "address": scene.contract }]),
    );
    let hash = &logs[0]["transactionHash"];
    let call = scene.anvil.rpc("eth_getTransactionByHash", json!([hash]));
    let call = call["input"].as_str().unwrap();
    let forged = format!("{}32{}", &call[..call.len() - 2], "");
    let from = scene.anvil.rpc("eth_accounts", json!([]))[2].clone();
    scene.anvil.rpc(
        "eth_sendTransaction",
        json!([{ "from": from, "to": scene.contract, "data": forged, "gas": "0x7a120" }]),
    );
    scene.anvil.mine(1);
    let after = scene.anvil.rpc(
        "eth_getLogs",
        json!([{ "fromBlock": "0x0", "toBlock": "latest", "address": scene.contract }]),
    );
    assert_eq!(after.as_array().unwrap().len(), 3, "the contract took it");
    let reader = scene.reader(0);
    assert_eq!(reader.nodes().unwrap()[0].addrs, ["/ip4/192.0.2.1/tcp/1"]);
    assert_eq!(reader.head().unwrap().height, 2);
    // And a node's promise still cannot be broken by repeating an older one.
    assert!(matches!(
        ledger.submit(&registration(&node, 1, until + 1, &[])),
        Err(LedgerError::Refused(EntryRefusal::Outnumbered {
            latest: 1
        }))
    ));
}
