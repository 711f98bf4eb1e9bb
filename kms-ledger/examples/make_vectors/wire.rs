//! Messages.

use kms_crypto::{
    id::PolicyId,
    key::{LabelPublicKey, NodeSecret},
    policy::PolicyParams,
};
use kms_proto::{
    ledger::Head,
    message::{
        Arrange, Arranged, Command, ForwardRemovals, Handover, NodeStatus, Parcel, Query, Records,
        Reencrypt, Refusal, RemoveRekey, Removed, Response, Retire, Retiring, StoreRekey, Taken,
    },
    secret::SecretBytes,
    signed::{Address, Signed, Signer},
};
use serde_bytes::ByteBuf;

use crate::{Area, Counter, NETWORK, NOW, node, owner, person};

struct Requests<'a> {
    area: &'a Area,
    node: String,
}

impl Requests<'_> {
    fn write(&self, name: &str, spec: &str, expect: &str, bytes: Vec<u8>) {
        let now = NOW.to_string();
        let fields = [
            ("spec", spec),
            ("expect", expect),
            ("type", "request"),
            ("network", NETWORK),
            ("node", &self.node),
            ("now", &now),
        ];
        self.area.write(name, &fields, &[bytes]);
    }
}

fn signed(command: Command, to: &Address<'_>, key: &impl Signer) -> Vec<u8> {
    command
        .sign(to, key, &mut Counter(0))
        .expect("the author signs")
}

fn arrange() -> Command {
    Command::Arrange(Arrange {
        ledger_key: owner(1).public(),
        inner: [7; 32],
        expiry: NOW + 3600,
        m: 3,
        n: 5,
    })
}

fn store(index: u8) -> Command {
    let params = PolicyParams::new(
        owner(1).public(),
        LabelPublicKey::Split(owner(2).public()),
        person(1).public(),
        [9; 32],
    );
    let fragment = SecretBytes::new(vec![0xf0; 40]);
    Command::StoreRekey(StoreRekey {
        params,
        expiry: NOW + 3600,
        m: 3,
        n: 5,
        index,
        fragment,
    })
}

fn reencrypt(count: usize) -> Command {
    let capsules = vec![ByteBuf::from(vec![0xca; 20]); count];
    Command::Reencrypt(Reencrypt {
        recipient: person(1).public(),
        policy: PolicyId([5; 32]),
        capsules,
    })
}

fn remove() -> Command {
    Command::RemoveRekey(RemoveRekey {
        ledger_key: owner(1).public(),
        inner: [7; 32],
    })
}

pub(crate) fn write(area: &Area) {
    let requests = Requests {
        area,
        node: node(1).public().to_string(),
    };
    queries(&requests);
    envelopes(&requests);
    commands(&requests);
    gate(&requests);
    responses(area);
}

fn queries(to: &Requests<'_>) {
    to.write("query-status", "WIRE 3.1", "ok", Query::Status.to_bytes());
    to.write(
        "query-ledger-read",
        "WIRE 3.1",
        "ok",
        Query::LedgerRead { from: 1, max: 100 }.to_bytes(),
    );
    to.write(
        "query-ledger-submit",
        "WIRE 3.1",
        "ok",
        Query::LedgerSubmit {
            entry: vec![1, 2, 3],
        }
        .to_bytes(),
    );
    let large = Query::LedgerSubmit {
        entry: vec![0; 16 * 1024],
    };
    to.write("query-too-large", "WIRE 2.2", "too-large", large.to_bytes());
}

fn envelopes(to: &Requests<'_>) {
    let good = Query::LedgerRead { from: 1, max: 100 }.to_bytes();
    let changed = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    let body = |body: &[u8]| [&good[..7], body].concat();
    to.write("envelope-empty", "WIRE 2.2", "truncated", Vec::new());
    to.write("envelope-cut", "WIRE 2.2", "truncated", good[..6].to_vec());
    to.write("envelope-magic", "WIRE 2.2", "bad-magic", changed(0, b'k'));
    to.write(
        "envelope-version-2",
        "WIRE 2.2",
        "unknown-version",
        changed(4, 2),
    );
    to.write(
        "envelope-later-minor-version",
        "WIRE 2.2",
        "ok",
        changed(5, 1),
    );
    to.write("envelope-kind-0", "WIRE 2.2", "unknown-kind", changed(6, 0));
    to.write("envelope-kind-9", "WIRE 2.2", "unknown-kind", changed(6, 9));
    to.write(
        "request-is-a-response",
        "WIRE 3",
        "bad-request",
        changed(6, 3),
    );
    to.write("cbor-none", "WIRE 2.1", "malformed", body(&[]));
    to.write(
        "cbor-cut",
        "WIRE 2.1",
        "malformed",
        good[..good.len() - 1].to_vec(),
    );
    to.write(
        "cbor-trailing-byte",
        "WIRE 2.1",
        "not-canonical",
        [&good[..], &[0]].concat(),
    );
    to.write(
        "cbor-unknown-choice",
        "WIRE 3.1",
        "malformed",
        body(b"\x66statuz"),
    );
    to.write(
        "cbor-choice-with-needless-content",
        "WIRE 2.1",
        "not-canonical",
        body(b"\xa1\x66status\xf6"),
    );
    to.write(
        "cbor-missing-field",
        "WIRE 2.1",
        "malformed",
        body(b"\xa1\x6bledger_read\xa1\x64from\x01"),
    );
    to.write(
        "cbor-text-number",
        "WIRE 2.1",
        "malformed",
        body(b"\xa1\x6bledger_read\xa2\x64from\x611\x63max\x18\x64"),
    );
    for (name, read) in [
        (
            "cbor-fields-in-another-order",
            &b"\xa2\x63max\x18\x64\x64from\x01"[..],
        ),
        (
            "cbor-unknown-field",
            b"\xa3\x64from\x01\x63max\x18\x64\x61x\x00",
        ),
        ("cbor-long-integer", b"\xa2\x64from\x18\x01\x63max\x18\x64"),
        (
            "cbor-indefinite-map",
            b"\xbf\x64from\x01\x63max\x18\x64\xff",
        ),
    ] {
        to.write(
            name,
            "WIRE 2.1",
            "not-canonical",
            body(&[b"\xa1\x6bledger_read", read].concat()),
        );
    }
    let twice = b"\xa1\x6bledger_read\xa3\x64from\x01\x64from\x01\x63max\x18\x64";
    to.write("cbor-field-twice", "WIRE 2.1", "malformed", body(twice));
    to.write("cbor-deep", "WIRE 2.1", "malformed", body(&[0x81; 10_000]));
    to.write(
        "cbor-huge-length",
        "WIRE 2.1",
        "malformed",
        body(b"\xa1\x6dledger_submit\xa1\x65entry\x5b\x40\0\0\0\0\0\0\0"),
    );
}

fn commands(to: &Requests<'_>) {
    let address = Address {
        network: NETWORK,
        node: node(1).public(),
        deadline: NOW + 10,
    };
    let by_owner = |command| signed(command, &address, &owner(1));
    to.write("command-arrange", "WIRE 3.2", "ok", by_owner(arrange()));
    to.write("command-store-rekey", "WIRE 3.2", "ok", by_owner(store(4)));
    to.write("command-remove-rekey", "WIRE 3.2", "ok", by_owner(remove()));
    to.write(
        "command-reencrypt",
        "WIRE 3.2",
        "ok",
        signed(reencrypt(2), &address, &person(1)),
    );
    to.write(
        "command-reencrypt-nothing",
        "WIRE 3.2",
        "bad-request",
        signed(reencrypt(0), &address, &person(1)),
    );
    to.write(
        "command-reencrypt-33",
        "WIRE 3.2",
        "bad-request",
        signed(reencrypt(33), &address, &person(1)),
    );
    to.write(
        "command-store-index-n",
        "WIRE 3.2",
        "bad-request",
        by_owner(store(5)),
    );
    handing_over(to, &address);
    for (name, m, n) in [("m-0", 0, 5), ("m-over-n", 6, 5), ("n-0", 0, 0)] {
        let Command::Arrange(it) = arrange() else {
            continue;
        };
        let impossible = Command::Arrange(Arrange { m, n, ..it });
        to.write(
            &format!("command-arrange-{name}"),
            "WIRE 3.2",
            "bad-request",
            by_owner(impossible),
        );
    }
}

fn handing_over(to: &Requests<'_>, address: &Address<'_>) {
    let Command::StoreRekey(StoreRekey { params, .. }) = store(0) else {
        return;
    };
    let leaving = node(2);
    let parcel = Parcel {
        network: NETWORK,
        from: leaving.public(),
        to: node(1).public(),
        policy: params.id(),
        index: 3,
    };
    let handover = Command::Handover(Handover {
        from: leaving.public(),
        params,
        index: 3,
        challenge: [0xcc; 32],
        fragment: parcel.seal(&[0xf0; 40], &mut Counter(0)),
    });
    let by = |command, key: &_| signed(command, address, key);
    to.write("command-handover", "WIRE 7.1", "ok", by(handover, &leaving));
    let there = Address {
        node: leaving.public(),
        ..address.clone()
    };
    let removal = signed(remove(), &there, &owner(1)).split_off(7);
    let forward = |count| {
        Command::ForwardRemovals(ForwardRemovals {
            from: leaving.public(),
            removals: vec![ByteBuf::from(removal.clone()); count],
        })
    };
    to.write(
        "command-forward-removals",
        "WIRE 7.1",
        "ok",
        by(forward(2), &leaving),
    );
    to.write(
        "command-forward-no-removals",
        "WIRE 3.2",
        "bad-request",
        by(forward(0), &leaving),
    );
    to.write(
        "command-forward-33-removals",
        "WIRE 3.2",
        "bad-request",
        by(forward(33), &leaving),
    );
    let retire = |whom: &NodeSecret| {
        let wish = Retire {
            node: whom.public(),
            until: NOW,
            to: Some(node(3).public()),
        };
        by(Command::Retire(wish), whom)
    };
    to.write("command-retire", "WIRE 7.1", "ok", retire(&node(1)));
}

fn gate(to: &Requests<'_>) {
    let here = Address {
        network: NETWORK,
        node: node(1).public(),
        deadline: NOW + 10,
    };
    let send = |address: &Address<'_>| signed(remove(), address, &owner(1));
    let elsewhere = Address {
        network: "elsewhere",
        ..here.clone()
    };
    to.write(
        "gate-other-network",
        "WIRE 4.2",
        "not-for-me",
        send(&elsewhere),
    );
    let other = Address {
        node: node(2).public(),
        ..here.clone()
    };
    to.write("gate-other-node", "WIRE 4.2", "not-for-me", send(&other));
    for (name, expect, deadline) in [
        ("gate-just-in-time", "ok", NOW - 30),
        ("gate-too-late", "too-late", NOW - 31),
        ("gate-just-near-enough", "ok", NOW + 90),
        ("gate-too-far-ahead", "too-late", NOW + 91),
        ("gate-end-of-time", "too-late", u64::MAX),
    ] {
        to.write(
            name,
            "WIRE 4.2",
            expect,
            send(&Address {
                deadline,
                ..here.clone()
            }),
        );
    }
    let mut wrong = send(&here);
    *wrong.last_mut().expect("not empty") ^= 1;
    to.write("gate-wrong-signature", "WIRE 4.2", "bad-signature", wrong);
    // The author's own signature, but over other words.
    let mut changed = send(&here);
    let nonce = changed
        .windows(4)
        .position(|it| it == [1, 2, 3, 4])
        .expect("the counter's nonce");
    changed[nonce] = 99;
    to.write("gate-changed-nonce", "WIRE 4.2", "bad-signature", changed);
    let mut zero = send(&here);
    let len = zero.len();
    zero[len - 64..].fill(0);
    to.write("gate-zero-signature", "WIRE 4", "malformed", zero);
    let mut high = send(&here);
    let s = high.len() - 32;
    negate(&mut high[s..]);
    to.write("gate-high-s", "WIRE 4", "malformed", high);
    let mut no_point = send(&here);
    let key = no_point
        .windows(33)
        .position(|it| it == owner(1).public().to_bytes())
        .expect("the author's key");
    no_point[key] = 5;
    to.write("gate-author-is-no-point", "WIRE 2.1", "malformed", no_point);
}

/// The other square root, so to say: n - s verifies under a lax check.
fn negate(s: &mut [u8]) {
    const ORDER: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xfe, 0xba, 0xae, 0xdc, 0xe6, 0xaf, 0x48, 0xa0, 0x3b, 0xbf, 0xd2, 0x5e, 0x8c, 0xd0, 0x36,
        0x41, 0x41,
    ];
    let mut borrow = false;
    for (byte, order) in s.iter_mut().zip(ORDER).rev() {
        let (once, under) = order.overflowing_sub(*byte);
        let (twice, again) = once.overflowing_sub(u8::from(borrow));
        *byte = twice;
        borrow = under || again;
    }
}

fn taken() -> Signed<Taken> {
    let taken = Taken {
        network: NETWORK.into(),
        node: node(1).public(),
        from: node(2).public(),
        policy: PolicyId([5; 32]),
        index: 3,
        proof: [0xaa; 32],
        at: NOW,
    };
    Signed::sign(taken, &node(1), &mut Counter(0))
        .expect("the node signs")
        .into_signed()
}

fn responses(area: &Area) {
    let write = |name: &str, expect: &str, bytes: Vec<u8>| {
        let fields = [
            ("spec", "WIRE 3.3"),
            ("expect", expect),
            ("type", "response"),
        ];
        area.write(&format!("response-{name}"), &fields, &[bytes]);
    };
    let head = Head {
        height: 3,
        hash: [8; 32],
        time: NOW,
    };
    let status = NodeStatus {
        node: node(1).public(),
        version: "1.2.3".into(),
        network: NETWORK.into(),
        time: NOW,
        available_until: NOW + 86_400,
        fragments: 12,
        own_key: true,
        head: Some(head),
        addrs: vec!["/ip4/192.0.2.1/tcp/4100".into()],
    };
    let policy = PolicyId([5; 32]);
    let removed = Removed {
        network: NETWORK.into(),
        node: node(1).public(),
        policy,
        held: true,
        at: NOW,
    };
    let receipt = Signed::sign(removed, &node(1), &mut Counter(0))
        .expect("the node signs")
        .into_signed();
    let fragments = vec![Ok(ByteBuf::from(vec![0xcf; 30])), Err(Refusal::BadRequest)];
    let stale = NodeStatus {
        head: None,
        ..status.clone()
    };
    let removed = Response::Removed(receipt).to_bytes();
    for (name, response) in [
        ("status", Response::Status(status)),
        ("status-without-ledger", Response::Status(stale)),
        (
            "records",
            Response::Records(Records {
                head,
                records: vec![ByteBuf::from(vec![1, 2, 3])],
            }),
        ),
        ("submitted", Response::Submitted { height: 4 }),
        ("accepted", Response::Accepted),
        ("noted", Response::Noted),
        (
            "retiring",
            Response::Retiring(Retiring {
                until: NOW,
                left: 2,
                done: false,
                trouble: "no other node".into(),
            }),
        ),
        ("taken", Response::Taken(taken())),
        (
            "arranged",
            Response::Arranged(Arranged {
                policy,
                available_until: NOW + 86_400,
            }),
        ),
        ("stored", Response::Stored { policy, index: 4 }),
        ("reencrypted", Response::Reencrypted { fragments }),
        (
            "refused-revoked",
            Response::Refused(Refusal::Revoked { at: NOW, epoch: 2 }),
        ),
        (
            "refused-bad-fragment",
            Response::Refused(Refusal::BadFragment {
                why: "the proof".into(),
            }),
        ),
        ("refused-busy", Response::Refused(Refusal::Busy)),
    ] {
        write(name, "ok", response.to_bytes());
    }
    write("removed", "ok", removed.clone());
    let mut forged = removed;
    *forged.last_mut().expect("not empty") ^= 1;
    write("removed-wrong-signature", "bad-signature", forged);
    let huge = Response::Records(Records {
        head,
        records: vec![ByteBuf::from(vec![0; 64 * 1024])],
    });
    write("too-large", "too-large", huge.to_bytes());
    write("is-a-query", "unknown-kind", Query::Status.to_bytes());
    let busy = Response::Refused(Refusal::Busy).to_bytes();
    write(
        "unknown-refusal",
        "malformed",
        [&busy[..busy.len() - 4], b"lazy"].concat(),
    );
}
