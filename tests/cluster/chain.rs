//! The same session with the ledger on a chain: nothing but the ledger's name is another.

use std::process::Command;
use std::time::Duration;

use kms_ledger_evm::anvil::Anvil;
use kms_tests::five_minutes::appears;
use kms_tests::{Devnet, Person, TIMEOUT, eventually, program};
use serde_json::json;

use crate::{Scene, five_minutes};

/// Five nodes with accounts of their own, and people without any, on a new contract.
fn on_chain(anvil: &Anvil, confirmations: u64) -> (Scene, Vec<String>) {
    let root = tempfile::tempdir().unwrap();
    let (url, key) = (anvil.url(), Anvil::key_file(root.path()));
    let deploy = [
        "ledger",
        "deploy",
        "--rpc",
        &url,
        "--key",
        key.to_str().unwrap(),
    ];
    let made = Person::new(root.path(), "operator").run(&[&deploy[..], &["--json"]].concat());
    let made: serde_json::Value = serde_json::from_str(&made).unwrap();
    let ledger = format!(
        "{}&confirmations={confirmations}",
        made["ledger"].as_str().unwrap()
    );
    let (mut ledgers, mut accounts) = (Vec::new(), Vec::new());
    for number in 1..=5 {
        let key = root.path().join(format!("account-{number}"));
        accounts.push(anvil.rich_key_file(&key, [number; 32]));
        ledgers.push(format!("{ledger}&key={}", key.display()));
    }
    let mut net = Devnet::with_ledgers(root.path(), &ledgers);
    // People have no account: nodes write for them.
    net.ledger = ledger;
    (Scene::on(net, root), accounts)
}

/// A block a second; a grant counts when there is another one on top of its own.
#[test]
fn the_first_five_minutes_on_a_chain() {
    let anvil = Anvil::start(&["--block-time", "1"]);
    let (scene, _) = on_chain(&anvil, 1);
    let letter = scene.secure.at("letter");
    std::fs::write(&letter, "x").unwrap();
    let letter = letter.to_str().unwrap();
    let told = scene
        .alice
        .run(&["grant", "--dry-run", letter, "bob", "--json"]);
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    let gas = told["gas"].as_u64().unwrap();
    assert!((40_000..80_000).contains(&gas), "{told}");
    let status = scene.alice.run(&["ledger", "status"]);
    assert!(status.contains("is at block"), "{status}");
    scene.alice.run(&["ledger", "verify"]);
    five_minutes::replay(&scene);
}

/// Grants and revokes where an entry takes so many seconds for a block and counts three blocks later: more than any node
/// lets its clients wait for an answer, and more than a client gives its nodes. Each entry is paid for once. A keeper `also_leaves`.
fn shares_on_slow_blocks(seconds: u64, also_leaves: bool) {
    let anvil = Anvil::start(&["--block-time", &seconds.to_string()]);
    let (scene, accounts) = on_chain(&anvil, 3);
    let paid = || -> u64 {
        let count = |account: &String| {
            let count = anvil.rpc("eth_getTransactionCount", json!([account, "pending"]));
            u64::from_str_radix(count.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
        };
        accounts.iter().map(count).sum()
    };
    // Registrations are entries like others.
    let registered_within = TIMEOUT + Duration::from_secs(12 * seconds);
    eventually("the nodes to be registered", registered_within, || {
        let knows = |number| {
            let config = scene.net.node_dir(number).join("config.toml");
            let mut status = Command::new(program("kms-node"));
            status.args(["status", "--json", "--config"]).arg(config);
            let status = status.output().unwrap().stdout;
            let status: serde_json::Value = serde_json::from_slice(&status).ok()?;
            status["available_until"]
                .as_u64()
                .filter(|until| *until > 0)
        };
        (1..=5).all(|number| knows(number).is_some()).then_some(())
    });
    let letter = scene.secure.at("letter");
    std::fs::write(&letter, "x").unwrap();
    let letter = letter.to_str().unwrap();
    let share = |args: &[&str], words: &str| {
        let before = paid();
        let output = scene.alice.kmsfs(args).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{args:?}: {said}");
        assert!(said.contains(words), "{said}");
        assert_eq!(paid() - before, 1, "one node pays for one entry: {said}");
    };
    share(
        &["grant", letter, "bob", "--threshold", "2/3"],
        &format!("usually takes {} s", 4 * seconds),
    );
    let bobs = scene.bobs();
    let theirs = bobs.at("letter");
    appears(&theirs);
    assert_eq!(std::fs::read(&theirs).unwrap(), b"x");
    if also_leaves {
        let before = paid();
        let keeper = (1..=5).find(|number| scene.net.fragments(*number) > 0);
        scene.net.retire(keeper.unwrap());
        assert_eq!(paid() - before, 2, "a handover and a registration");
    }
    let told = scene.alice.run(&["revoke", "--dry-run", letter, "bob"]);
    assert!(
        told.contains("Nothing was changed") && told.contains("gas"),
        "{told}"
    );
    share(&["revoke", letter, "bob"], "");
    let shares = scene.alice.run(&["shares", "--json"]);
    assert!(shares.contains("withdrawn"), "{shares}");
    eventually("the revocation to bite", TIMEOUT, || {
        std::fs::read(&theirs).err()
    });
}

#[test]
fn slow_blocks_are_waited_for_and_every_entry_is_paid_for_once() {
    shares_on_slow_blocks(3, false);
}

/// As on the chain that most people know.
#[test]
#[ignore = "takes minutes: scripts/soak chain"]
fn blocks_of_12_seconds_are_waited_for() {
    shares_on_slow_blocks(12, true);
}
