//! The same session with the ledger on a chain: nothing but the ledger's name is another.

use kms_ledger_evm::anvil::Anvil;
use kms_tests::Devnet;

use crate::{Scene, five_minutes};

/// A block a second; a grant counts when there is another one on top of its own.
#[test]
fn the_first_five_minutes_on_a_chain() {
    let anvil = Anvil::start(&["--block-time", "1"]);
    let contract = anvil.deploy("kms-main");
    let root = tempfile::tempdir().unwrap();
    let ledger = format!("evm:31337/{contract}?rpc={}&confirmations=1", anvil.url());
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
    five_minutes::replay(&Scene::on(net, root));
}
