//! Entries and chains; files of them.

mod files;

use kms_crypto::{key::LedgerKey, policy::revocation};
use kms_proto::{
    ledger::{Entry, EntryStatement, Grant, Handover, RegisterNode, Release, Revoke, SignedEntry},
    signed::{Signed, Signer},
};

use crate::{Area, Counter, NETWORK, NOW, node, owner};

fn signed(network: &str, entry: Entry, key: &impl Signer) -> SignedEntry {
    let statement = EntryStatement {
        network: network.into(),
        entry,
    };
    Signed::sign(statement, key, &mut Counter(0))
        .expect("the author signs")
        .into_signed()
}

fn grant_of(key: &LedgerKey) -> Grant {
    let nodes = (1..=3).map(|number| node(number).public()).collect();
    Grant {
        ledger_key: key.public(),
        inner: [7; 32],
        expiry: NOW + 1000,
        m: 2,
        nodes,
        seq: 1,
        revocation: None,
    }
}

fn grant(change: impl FnOnce(&mut Grant)) -> SignedEntry {
    let mut grant = grant_of(&owner(1));
    change(&mut grant);
    signed(NETWORK, Entry::Grant(grant), &owner(1))
}

fn revoke(epoch: u32) -> SignedEntry {
    signed(
        NETWORK,
        Entry::Revoke(Revoke {
            ledger_key: owner(1).public(),
            inner: [7; 32],
            epoch,
        }),
        &owner(1),
    )
}

/// What somebody writes who has a secret.
fn release(secret: u8, epoch: u32) -> SignedEntry {
    let statement = EntryStatement {
        network: NETWORK.into(),
        entry: Entry::Release(Release {
            policy: grant_of(&owner(1)).policy(),
            epoch,
            secret: [secret; 16],
        }),
    };
    Signed::unsigned(statement)
        .expect("nobody signs it")
        .into_signed()
}

fn register(seq: u64, available_until: u64, addrs: &[&str]) -> SignedEntry {
    let addrs = addrs.iter().map(|addr| (*addr).to_owned()).collect();
    signed(
        NETWORK,
        Entry::RegisterNode(RegisterNode {
            key: node(1).public(),
            available_until,
            addrs,
            seq,
        }),
        &node(1),
    )
}

pub(crate) fn write(area: &Area) {
    entries(area);
    rules(area);
    files::write(area);
}

fn submit(area: &Area, name: &str, spec: &str, expect: &str, entries: &[(u64, Vec<u8>)]) {
    let times: Vec<_> = entries.iter().map(|(time, _)| time.to_string()).collect();
    let fields = [
        ("spec", spec),
        ("expect", expect),
        ("type", "submit"),
        ("network", NETWORK),
        ("times", &times.join(" ")),
    ];
    let payloads: Vec<_> = entries.iter().map(|(_, entry)| entry.clone()).collect();
    area.write(name, &fields, &payloads);
}

fn entries(area: &Area) {
    let one = |name: &str, expect: &str, entry: Vec<u8>| {
        submit(area, name, "LEDGER 2", expect, &[(NOW, entry)])
    };
    let good = grant(|_| {}).to_bytes();
    one("entry-grant", "ok", good.clone());
    one("entry-revoke", "ok", revoke(2).to_bytes());
    one(
        "entry-register",
        "ok",
        register(1, NOW + 9, &["/ip4/192.0.2.1/tcp/4100"]).to_bytes(),
    );
    one(
        "entry-register-without-address",
        "ok",
        register(1, NOW + 9, &[]).to_bytes(),
    );
    one("entry-empty", "malformed", Vec::new());
    one("entry-cut", "malformed", good[..good.len() - 1].to_vec());
    one(
        "entry-trailing-byte",
        "malformed",
        [&good[..], &[0]].concat(),
    );
    let mut forged = good.clone();
    *forged.last_mut().expect("not empty") ^= 1;
    one("entry-wrong-signature", "bad_signature", forged);
    let stranger = |bytes: &[u8]| {
        // The stranger's own signature under the author's words.
        let other = signed(NETWORK, Entry::Grant(grant_of(&owner(2))), &owner(2)).to_bytes();
        [&bytes[..bytes.len() - 64], &other[other.len() - 64..]].concat()
    };
    one(
        "entry-signed-by-a-stranger",
        "bad_signature",
        stranger(&good),
    );
    let author = owner(1).public().to_bytes();
    let at = good
        .windows(33)
        .position(|it| it == author)
        .expect("the author's key");
    let renamed = [&good[..at], owner(2).public().as_bytes(), &good[at + 33..]].concat();
    one("entry-in-anothers-name", "bad_signature", renamed);
    let elsewhere = signed("elsewhere", Entry::Grant(grant_of(&owner(1))), &owner(1));
    one("entry-other-network", "other_network", elsewhere.to_bytes());
    one(
        "entry-grant-m-0",
        "bad_threshold",
        grant(|it| it.m = 0).to_bytes(),
    );
    one(
        "entry-grant-m-over-n",
        "bad_threshold",
        grant(|it| it.m = 4).to_bytes(),
    );
    one(
        "entry-grant-without-nodes",
        "bad_threshold",
        grant(|it| it.nodes.clear()).to_bytes(),
    );
    one(
        "entry-grant-node-twice",
        "bad_threshold",
        grant(|it| it.nodes[2] = it.nodes[0]).to_bytes(),
    );
    one(
        "entry-grant-expired",
        "already_expired",
        grant(|it| it.expiry = NOW).to_bytes(),
    );
    one(
        "entry-nine-addresses",
        "bad_addresses",
        register(1, NOW + 9, &["/dns/x"; 9]).to_bytes(),
    );
    one(
        "entry-empty-address",
        "bad_addresses",
        register(1, NOW + 9, &[""]).to_bytes(),
    );
    one(
        "entry-long-address",
        "bad_addresses",
        register(1, NOW + 9, &["x".repeat(257).as_str()]).to_bytes(),
    );
}

fn rules(area: &Area) {
    let case = |name: &str, expect: &str, entries: &[(u64, SignedEntry)]| {
        let entries: Vec<_> = entries
            .iter()
            .map(|(time, entry)| (*time, entry.to_bytes()))
            .collect();
        submit(area, name, "LEDGER 4", expect, &entries);
    };
    let again = |seq| grant(|it| it.seq = seq);
    let other = signed(
        NETWORK,
        Entry::Revoke(Revoke {
            ledger_key: owner(2).public(),
            inner: [7; 32],
            epoch: 2,
        }),
        &owner(2),
    );
    case(
        "rule-grant-then-revoke",
        "ok",
        &[(NOW, again(1)), (NOW + 1, revoke(2))],
    );
    case(
        "rule-grant-after-revoke",
        "revoked",
        &[(NOW, again(1)), (NOW + 1, revoke(2)), (NOW + 2, again(2))],
    );
    case(
        "rule-grant-after-early-revoke",
        "revoked",
        &[(NOW, revoke(2)), (NOW, again(1))],
    );
    case(
        "rule-revoke-of-another-policy-does-not-count",
        "ok",
        &[(NOW, again(1)), (NOW, other), (NOW, again(2))],
    );
    case(
        "rule-grant-repeated",
        "ok",
        &[(NOW, again(1)), (NOW + 1, again(1))],
    );
    case(
        "rule-grant-replaced",
        "ok",
        &[(NOW, again(1)), (NOW + 1, again(2))],
    );
    let longer = grant(|it| it.expiry += 1);
    case(
        "rule-grant-same-number-other-terms",
        "outnumbered",
        &[(NOW, again(1)), (NOW + 1, longer)],
    );
    case(
        "rule-grant-older-number",
        "outnumbered",
        &[(NOW, again(5)), (NOW + 1, again(4))],
    );
    case(
        "rule-revoke-later-epoch",
        "ok",
        &[(NOW, revoke(2)), (NOW, revoke(3))],
    );
    case(
        "rule-revoke-older-epoch",
        "outnumbered",
        &[(NOW, revoke(3)), (NOW, revoke(2))],
    );
    let addr = &["/ip4/192.0.2.1/tcp/4100"][..];
    case(
        "rule-register-again",
        "ok",
        &[
            (NOW, register(1, NOW + 9, &[])),
            (NOW, register(2, NOW + 9, addr)),
        ],
    );
    case(
        "rule-register-same-number",
        "outnumbered",
        &[
            (NOW, register(1, NOW + 9, &[])),
            (NOW, register(1, NOW + 9, addr)),
        ],
    );
    case(
        "rule-register-shorter",
        "ok",
        &[
            (NOW, register(1, NOW + 9, &[])),
            (NOW, register(2, NOW + 8, addr)),
        ],
    );
    case(
        "rule-register-shorter-than-a-grant",
        "shortened",
        &[
            (NOW, register(1, NOW + 2000, &[])),
            (NOW, again(1)),
            (NOW, register(2, NOW + 999, addr)),
        ],
    );
    let sealed = |seq: u32, secret: u8| {
        grant(|it| {
            it.seq = seq;
            it.revocation = Some(revocation(&[secret; 16], 2));
        })
    };
    let one = |name: &str, expect: &str, entries: &[SignedEntry]| {
        let entries: Vec<_> = entries.iter().map(|it| (NOW, it.to_bytes())).collect();
        submit(area, name, "LEDGER 4", expect, &entries);
    };
    one("rule-release", "ok", &[sealed(1, 9), release(9, 2)]);
    one(
        "rule-release-repeated",
        "ok",
        &[sealed(1, 9), release(9, 2), release(9, 2)],
    );
    one(
        "rule-release-of-nothing",
        "not_the_secret",
        &[release(9, 2)],
    );
    one(
        "rule-release-unsealed",
        "not_the_secret",
        &[grant(|_| {}), release(9, 2)],
    );
    one(
        "rule-release-other-secret",
        "not_the_secret",
        &[sealed(1, 9), release(8, 2)],
    );
    one(
        "rule-release-other-epoch",
        "not_the_secret",
        &[sealed(1, 9), release(9, 3)],
    );
    one(
        "rule-grant-sealed-otherwise",
        "not_the_secret",
        &[sealed(1, 9), sealed(2, 8)],
    );
    one(
        "rule-grant-unsealed-later",
        "not_the_secret",
        &[sealed(1, 9), grant(|it| it.seq = 2)],
    );
    let mut signed_release = release(9, 2).to_bytes();
    *signed_release.last_mut().expect("not empty") += 1;
    submit(
        area,
        "rule-release-with-a-signature",
        "LEDGER 2",
        "bad_signature",
        &[(NOW, sealed(1, 9).to_bytes()), (NOW, signed_release)],
    );
    handovers(area);
    let late = grant(|it| it.expiry = NOW + 50);
    case(
        "rule-clock-went-back",
        "already_expired",
        &[(NOW + 50, register(1, NOW + 99, &[])), (NOW, late)],
    );
}

fn handovers(area: &Area) {
    let registered = |number: u8| {
        let entry = Entry::RegisterNode(RegisterNode {
            key: node(number).public(),
            available_until: NOW + 1000,
            addrs: Vec::new(),
            seq: 1,
        });
        signed(NETWORK, entry, &node(number))
    };
    let handover = |index: u8, to: u8, after: u64| {
        let entry = Entry::Handover(Handover {
            from: node(1).public(),
            to: node(to).public(),
            policy: grant_of(&owner(1)).policy(),
            index,
            after,
        });
        signed(NETWORK, entry, &node(1))
    };
    let case = |name: &str, expect: &str, last: &[SignedEntry]| {
        let entries = [grant(|_| {}), registered(4), registered(2)];
        let entries: Vec<_> = entries
            .iter()
            .chain(last)
            .map(|entry| (NOW, entry.to_bytes()))
            .collect();
        submit(area, name, "LEDGER 4", expect, &entries);
    };
    case("rule-handover", "ok", &[handover(0, 4, 1)]);
    case(
        "rule-handover-repeated",
        "ok",
        &[handover(0, 4, 1), handover(0, 4, 1)],
    );
    case(
        "rule-handover-again-elsewhere",
        "not_holder",
        &[handover(0, 4, 1), handover(0, 2, 9)],
    );
    case(
        "rule-handover-of-anothers",
        "not_holder",
        &[handover(1, 4, 1)],
    );
    case("rule-handover-of-none", "not_holder", &[handover(3, 4, 1)]);
    case(
        "rule-handover-signed-before",
        "outnumbered",
        &[handover(0, 4, 0)],
    );
    case("rule-handover-to-nobody", "unserved", &[handover(0, 5, 1)]);
    case(
        "rule-handover-to-a-keeper",
        "bad_threshold",
        &[handover(0, 2, 1)],
    );
    case(
        "rule-handover-after-revoke",
        "revoked",
        &[revoke(2), handover(0, 4, 1)],
    );
}
