//! What somebody sees who reads the whole chain, and what he cannot make of it (LEDGER §5.4.4).

use kms_crypto::{
    key::{EcDelegatingKey, IdentitySecret, LabelPublicKey, NodeSecret, PublicKey, StoreKey},
    policy::{PolicyParams, revocation},
};
use kms_ledger::conformance::{NETWORK, registration, signed};
use kms_ledger_evm::{EvmLedger, EvmName, EvmOptions, anvil::Anvil};
use kms_proto::ledger::{
    Entry, EntryStatement, Grant, Handover, Ledger, Release, Revoke, SignedEntry,
};
use serde_json::{Value, json};

type Rng = rand_core::UnwrapErr<getrandom::SysRng>;

fn rng() -> Rng {
    rand_core::UnwrapErr(getrandom::SysRng)
}

/// A policy as the product makes them: everything about it follows from the store's key and a new salt.
fn policy(store: &StoreKey, label: LabelPublicKey, recipient: PublicKey) -> PolicyParams {
    let mut salt = [0; 32];
    rand_core::Rng::fill_bytes(&mut rng(), &mut salt);
    PolicyParams::new(store.ledger_key(&salt).public(), label, recipient, salt)
}

/// All bytes that the chain shows of one range of blocks: calls, senders, events.
fn shown(anvil: &Anvil, from: u64, to: u64) -> Vec<u8> {
    let number = |it: u64| format!("{it:#x}");
    let range = json!([{ "fromBlock": number(from), "toBlock": number(to) }]);
    let mut seen = vec![anvil.rpc("eth_getLogs", range)];
    for block in from..=to {
        seen.push(anvil.rpc("eth_getBlockByNumber", json!([number(block), true])));
    }
    let mut bytes = Vec::new();
    seen.iter().for_each(|it| collect(it, &mut bytes));
    bytes
}

fn collect(value: &Value, bytes: &mut Vec<u8>) {
    match value {
        Value::String(text) => {
            let digits = text.strip_prefix("0x").unwrap_or(text);
            let padded = format!("{}{digits}", if digits.len() % 2 == 1 { "0" } else { "" });
            let found = data_encoding::HEXLOWER_PERMISSIVE.decode(padded.as_bytes());
            bytes.extend(found.unwrap_or_else(|_| text.as_bytes().to_vec()));
        }
        Value::Array(list) => list.iter().for_each(|it| collect(it, bytes)),
        Value::Object(map) => map.values().for_each(|it| collect(it, bytes)),
        _ => {}
    }
}

fn contains(all: &[u8], part: &[u8]) -> bool {
    all.windows(part.len()).any(|window| window == part)
}

#[test]
fn an_observer_who_knows_every_public_key_cannot_tell_who_shares_with_whom() {
    let anvil = Anvil::start(&[]);
    let contract = anvil.deploy(NETWORK);
    let dir = tempfile::tempdir().unwrap();
    let account = Anvil::key_file(dir.path());
    let place = format!(
        "31337/{contract}?rpc={}&confirmations=0&key={}",
        anvil.url(),
        account.display()
    );
    let name = EvmName::parse(&place).unwrap();
    let ledger = EvmLedger::open(name, EvmOptions::new(NETWORK)).unwrap();
    let height = || {
        let text = anvil.rpc("eth_blockNumber", json!([]));
        u64::from_str_radix(text.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
    };

    let store = StoreKey::generate(&mut rng());
    let people: Vec<_> = (0..3)
        .map(|_| IdentitySecret::generate(&mut rng()).public())
        .collect();
    let delegating = EcDelegatingKey::generate(&mut rng());
    let label = LabelPublicKey::Split(delegating.public());
    let nodes: Vec<_> = (0..2).map(|_| NodeSecret::generate(&mut rng())).collect();
    let expiry = kms_ledger::system_clock()() + 3600;
    for node in &nodes {
        ledger.submit(&registration(node, 1, expiry, &[])).unwrap();
    }

    // The same label to the same person twice: two policies that have nothing to do with each other.
    let before = height() + 1;
    let mut spans = Vec::new();
    let mut policies = Vec::new();
    for recipient in [people[0], people[0], people[1]] {
        let begun = height() + 1;
        let params = policy(&store, label, recipient);
        let key = store.ledger_key(&params.salt);
        let (ledger_key, inner) = (key.public(), params.inner());
        let grant = Grant {
            ledger_key,
            inner,
            expiry,
            m: 1,
            nodes: vec![nodes[0].public()],
            seq: 1,
            revocation: Some(revocation(&key.revocation_secret(), 2)),
        };
        ledger.submit(&signed(Entry::Grant(grant), &key)).unwrap();
        let moved = Handover {
            from: nodes[0].public(),
            to: nodes[1].public(),
            policy: params.id(),
            index: 0,
            after: ledger.head().unwrap().height,
        };
        ledger
            .submit(&signed(Entry::Handover(moved), &nodes[0]))
            .unwrap();
        let release = EntryStatement {
            network: NETWORK.to_owned(),
            entry: Entry::Release(Release {
                policy: params.id(),
                epoch: 2,
                secret: *key.revocation_secret(),
            }),
        };
        let release = SignedEntry::unsigned(release).unwrap();
        ledger.submit(release.signed()).unwrap();
        let revoke = Revoke {
            ledger_key,
            inner,
            epoch: 3,
        };
        ledger.submit(&signed(Entry::Revoke(revoke), &key)).unwrap();
        spans.push((begun, height()));
        policies.push(params);
    }

    let all = shown(&anvil, before, height());
    assert!(
        contains(&all, policies[0].inner().as_slice()),
        "the test looks at the right bytes"
    );
    // Nothing of a person or a label, in either form of a key.
    for known in people.iter().chain([&delegating.public()]) {
        let x = &known.to_bytes()[1..];
        assert!(!contains(&all, x), "a public key");
    }
    for it in &policies {
        assert!(!contains(&all, &it.salt), "a salt");
    }
    // What he can compute from the keys alone does not occur: without the salt there is nothing to compare with.
    let guesses = [[0; 32], [0xff; 32]];
    for recipient in &people {
        for it in &policies {
            for salt in guesses {
                let guess = PolicyParams::new(it.ledger_key, label, *recipient, salt);
                assert!(!contains(&all, &guess.inner()));
                assert!(!contains(&all, guess.id().as_bytes()));
            }
        }
    }
    // Two policies between the same two keys have no more in common than two between different ones.
    let common = |a: usize, b: usize| {
        let (one, other) = (
            shown(&anvil, spans[a].0, spans[a].1),
            shown(&anvil, spans[b].0, spans[b].1),
        );
        let words: std::collections::HashSet<&[u8]> = other.windows(12).collect();
        let public = [nodes[0].public().to_bytes(), nodes[1].public().to_bytes()].concat();
        one.windows(12)
            .filter(|word| words.contains(word) && !contains(&public, word))
            .collect::<std::collections::HashSet<_>>()
            .len()
    };
    let (same, different) = (common(0, 1), common(0, 2));
    assert!(
        same.abs_diff(different) <= 64,
        "{same} pieces are common to two policies of one pair, {different} to those of two"
    );
    assert_ne!(policies[0].ledger_key, policies[1].ledger_key);
}
