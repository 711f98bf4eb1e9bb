//! Writes the vectors of SHARES anew into the directory given. They differ every time, for sealing is randomised: it is
//! run by hand when the format gets a new version, never by a test.

#![expect(clippy::unwrap_used, reason = "a tool for developers")]

use std::fs;
use std::path::PathBuf;

use kms_client::record::{RECORD_VERSION, Status};
use kms_client::ticket::{Mailbox, TICKET_VERSION};
use kms_client::{Kind, NodeAddress, OwnerRecord, Records, Step, Ticket};
use kms_crypto::id::{LabelId, StoreId};
use kms_crypto::key::{IdentitySecret, LabelPublicKey, PublicKey, StoreKey};
use kms_crypto::policy::PolicyParams;
use kms_crypto::{aead, seal};
use kms_proto::{codec, signed::Signed};
use rand_core::UnwrapErr;

struct Scene {
    dir: PathBuf,
    store: StoreId,
    alice: IdentitySecret,
    bob: IdentitySecret,
    key: StoreKey,
}

fn rng() -> UnwrapErr<getrandom::SysRng> {
    UnwrapErr(getrandom::SysRng)
}

fn key(number: u8) -> PublicKey {
    IdentitySecret::from_bytes(&[number; 32]).unwrap().public()
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

fn main() {
    let dir = std::env::args()
        .nth(1)
        .expect("usage: share_vectors DIRECTORY")
        .into();
    let scene = Scene {
        dir,
        store: StoreId([0x51; 16]),
        alice: IdentitySecret::from_bytes(&[0xa1; 32]).unwrap(),
        bob: IdentitySecret::from_bytes(&[0xb0; 32]).unwrap(),
        key: StoreKey::from_bytes(&[0x6b; 32]),
    };
    tickets(&scene);
    records(&scene);
}

fn step(plain: &str, backing: &str) -> Step {
    Step {
        plain: plain.into(),
        backing: backing.to_owned(),
    }
}

fn nodes() -> Vec<NodeAddress> {
    let node = |n| NodeAddress {
        key: key(n),
        addrs: vec![format!("/ip4/192.0.2.{n}/tcp/4001")],
    };
    (1..=5).map(node).collect()
}

fn ticket(scene: &Scene) -> Ticket {
    Ticket {
        version: TICKET_VERSION,
        owner: scene.alice.public(),
        store: scene.store,
        label: LabelId([0x1a; 16]),
        kind: Kind::File,
        params: PolicyParams::new(
            key(11),
            LabelPublicKey::Split(key(12)),
            scene.bob.public(),
            [7; 32],
        ),
        needed: 3,
        total: 5,
        expiry: 1_900_000_000,
        nodes: nodes(),
        sequence: 4,
        path: vec![step("letters", "bGV0dGVycw"), step("plan.txt", "cGxhbg")],
        revoked: None,
    }
}

fn tickets(scene: &Scene) {
    let write = |file: &str, expect: &str, ticket: &Ticket, signer: &IdentitySecret| {
        let name = mailbox(scene).file_name(&ticket.label);
        let bytes = codec::encode(
            Signed::sign(ticket.clone(), signer, &mut rng())
                .unwrap()
                .signed(),
        );
        write_ticket(scene, file, expect, &name, &sealed(scene, &name, &bytes));
    };
    let good = ticket(scene);
    let altered = |change: &dyn Fn(&mut Ticket)| {
        let mut ticket = good.clone();
        change(&mut ticket);
        ticket
    };
    let by_alice = |file: &str, expect: &str, change: &dyn Fn(&mut Ticket)| {
        write(file, expect, &altered(change), &scene.alice);
    };
    by_alice("ticket", "ok", &|_| {});
    by_alice("ticket-of-the-root", "ok", &|it| {
        (it.kind, it.path) = (Kind::Dir, Vec::new())
    });
    by_alice("ticket-revoked", "ok", &|it| {
        it.revoked = Some(1_800_000_000)
    });
    by_alice("ticket-of-version-2", "unknown-version", &|it| {
        it.version = 2
    });
    by_alice("ticket-of-another-store", "elsewhere", &|it| {
        it.store = StoreId([0x52; 16])
    });
    by_alice("ticket-for-somebody-else", "elsewhere", &|it| {
        it.params.recipient = key(13)
    });
    by_alice("ticket-needing-none", "implausible", &|it| it.needed = 0);
    by_alice("ticket-needing-too-many", "implausible", &|it| {
        it.needed = 6
    });
    by_alice("ticket-with-a-node-missing", "implausible", &|it| {
        it.nodes.truncate(4)
    });
    by_alice("ticket-with-a-node-twice", "implausible", &|it| {
        it.nodes[4] = it.nodes[0].clone()
    });
    by_alice("ticket-leading-up", "implausible", &|it| {
        it.path.push(step("..", "x"))
    });
    by_alice("ticket-leading-up-in-the-store", "implausible", &|it| {
        it.path.push(step("x", ".."))
    });
    by_alice("ticket-with-a-slash", "implausible", &|it| {
        it.path.push(step("x", "a/b"))
    });
    by_alice("ticket-with-an-empty-name", "implausible", &|it| {
        it.path.push(step("", "x"))
    });
    write(
        "ticket-by-somebody-else",
        "not-by-owner",
        &altered(&|it| it.owner = scene.bob.public()),
        &scene.bob,
    );

    let name = mailbox(scene).file_name(&good.label);
    let mut bytes = codec::encode(
        Signed::sign(good.clone(), &scene.alice, &mut rng())
            .unwrap()
            .signed(),
    );
    write_ticket(
        scene,
        "ticket-not-for-this-name",
        "elsewhere",
        "00.ticket",
        &sealed(scene, "00.ticket", &bytes),
    );
    let whole = sealed(scene, &name, &bytes);
    write_ticket(scene, "ticket-moved", "sealed", "00.ticket", &whole);
    write_ticket(
        scene,
        "ticket-cut",
        "sealed",
        &name,
        &whole[..whole.len() - 1],
    );
    write_ticket(scene, "ticket-empty", "sealed", &name, &[]);
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    write_ticket(
        scene,
        "ticket-with-a-wrong-signature",
        "not-by-owner",
        &name,
        &sealed(scene, &name, &bytes),
    );
    bytes[last] ^= 1;
    bytes.push(0);
    write_ticket(
        scene,
        "ticket-with-more-behind",
        "not-canonical",
        &name,
        &sealed(scene, &name, &bytes),
    );
    write_ticket(
        scene,
        "ticket-of-noise",
        "malformed",
        &name,
        &sealed(scene, &name, b"noise"),
    );
}

fn mailbox(scene: &Scene) -> Mailbox {
    Mailbox::outgoing(&scene.alice, &scene.bob.public(), scene.store)
}

fn sealed(scene: &Scene, name: &str, bytes: &[u8]) -> Vec<u8> {
    let ad: [&[u8]; 2] = [scene.store.as_bytes(), name.as_bytes()];
    seal::seal_to(
        &scene.bob.public(),
        "kms/ticket-seal/1",
        &ad,
        bytes,
        &mut rng(),
    )
}

fn write_ticket(scene: &Scene, file: &str, expect: &str, name: &str, bytes: &[u8]) {
    let text = format!(
        "spec: SHARES 2\nexpect: {expect}\ntype: ticket\nowner: {}\nrecipient: {}\nstore: {}\nname: {name}\n\n{}\n",
        scene.alice.public(),
        hex(scene.bob.to_bytes().as_slice()),
        scene.store,
        hex(bytes)
    );
    fs::write(scene.dir.join(format!("{file}.txt")), text).unwrap();
}

fn record(scene: &Scene) -> OwnerRecord {
    let ticket = ticket(scene);
    OwnerRecord {
        version: RECORD_VERSION,
        label: ticket.label,
        generation: 1,
        kind: ticket.kind,
        path: ticket.path,
        params: ticket.params,
        needed: 3,
        total: 5,
        expiry: ticket.expiry,
        created: 1_800_000_000,
        nodes: ticket.nodes,
        sequence: 4,
        status: Status::Live { height: 12 },
    }
}

fn records(scene: &Scene) {
    let good = record(scene);
    let name = Records::new(&scene.dir, &scene.key, scene.store).file_name(&good.policy());
    let seal = |name: &str, bytes: &[u8]| {
        let ad = [
            b"kms/owner-record/1".as_slice(),
            scene.store.as_bytes(),
            name.as_bytes(),
        ]
        .concat();
        aead::seal_record(&scene.key.records_key(), &ad, bytes, &mut rng())
    };
    let write = |file: &str, expect: &str, name: &str, bytes: &[u8]| {
        let text = format!(
            "spec: SHARES 3\nexpect: {expect}\ntype: record\nkey: {}\nstore: {}\nname: {name}\n\n{}\n",
            hex(scene.key.as_bytes()),
            scene.store,
            hex(bytes)
        );
        fs::write(scene.dir.join(format!("{file}.txt")), text).unwrap();
    };
    let altered = |file: &str, expect: &str, change: &dyn Fn(&mut OwnerRecord)| {
        let mut record = good.clone();
        change(&mut record);
        write(file, expect, &name, &seal(&name, &codec::encode(&record)));
    };
    let revoked = Status::Revoked {
        at: 1_850_000_000,
        epoch: 2,
        removed: vec![key(1), key(3)],
    };
    altered("record", "ok", &|_| {});
    altered("record-revoked", "ok", &|it| it.status = revoked.clone());
    altered("record-preparing", "ok", &|it| {
        (it.status, it.nodes) = (Status::Preparing, Vec::new())
    });
    altered("record-of-version-2", "unknown-version", &|it| {
        it.version = 2
    });
    altered("record-of-another-policy", "implausible", &|it| {
        it.params.salt = [8; 32]
    });
    altered("record-with-a-node-missing", "implausible", &|it| {
        it.nodes.truncate(4)
    });
    altered("record-needing-too-many", "implausible", &|it| {
        it.needed = 6
    });
    altered("record-leading-up", "implausible", &|it| {
        it.path.push(step("..", "x"))
    });
    let mut bytes = codec::encode(&good);
    let whole = seal(&name, &bytes);
    write("record-moved", "refused", "00.rec", &whole);
    write("record-cut", "refused", &name, &whole[1..]);
    bytes.push(0);
    write(
        "record-with-more-behind",
        "not-canonical",
        &name,
        &seal(&name, &bytes),
    );
    write(
        "record-of-noise",
        "malformed",
        &name,
        &seal(&name, b"noise"),
    );
}
