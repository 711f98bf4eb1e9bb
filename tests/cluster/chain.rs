//! The same session with the ledger on a chain: nothing but the ledger's name is another.

use kms_ledger_evm::anvil::Anvil;
use kms_tests::{Devnet, Person};

use crate::{Scene, five_minutes};

/// A block a second; a grant counts when there is another one on top of its own.
#[test]
fn the_first_five_minutes_on_a_chain() {
    let anvil = Anvil::start(&["--block-time", "1"]);
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
    let ledger = format!("{}&confirmations=1", made["ledger"].as_str().unwrap());
    let ledgers: Vec<_> = (1..=5)
        .map(|number| {
            let key = root.path().join(format!("account-{number}"));
            anvil.rich_key_file(&key, [number; 32]);
            format!("{ledger}&key={}", key.display())
        })
        .collect();
    let mut net = Devnet::with_ledgers(root.path(), &ledgers);
    // People have no account: nodes write for them.
    net.ledger = ledger;
    let scene = Scene::on(net, root);
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
