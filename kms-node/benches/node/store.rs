//! Keeping fragments: how many are acknowledged in a second, and what a million of them takes.

use std::time::Instant;

use futures::StreamExt;
use kms_crypto::scheme::KeyFrag;
use kms_node::keyfile::StorageKey;
use kms_node::store::{Fragment, RedbStore, Slots, Stored, Vault};
use kms_proto::message::Response;
use kms_proto::transport::Transport;

use crate::devnet::{Devnet, NETWORK, PATIENCE, now};
use crate::policy::Policy;
use crate::{machine, row};

const PEERS: usize = 8;
const STORED: usize = 1600;

/// Each is on the disk before it is acknowledged.
pub(crate) async fn acknowledged() {
    let devnet = Devnet::start(1);
    let (node, addresses) = (devnet.keys()[0], devnet.bootstrap.clone());
    let clients: Vec<_> = (0..PEERS).map(|_| devnet.client()).collect();
    for (at_once, stored) in [(1, 100), (64, STORED)] {
        let messages: Vec<_> = (0..stored)
            .map(|_| Policy::new(NETWORK, now(), now() + 3600, 1, 1).store(&node, 0))
            .collect();
        let before = machine::seconds(Some(devnet.pid(1)));
        let started = Instant::now();
        futures::stream::iter(messages.into_iter().zip(clients.iter().cycle()))
            .map(|(message, client)| client.call(&node, &addresses, message, PATIENCE))
            .buffer_unordered(at_once)
            .for_each(|answer| async {
                let answer = Response::from_bytes(&answer.unwrap()).unwrap();
                assert!(matches!(answer, Response::Stored { .. }), "{answer:?}");
            })
            .await;
        let took = started.elapsed().as_secs_f64();
        let used = machine::seconds(Some(devnet.pid(1))) - before;
        row(
            &format!("store_rekey, verified and durable, {at_once} at once; per second"),
            format!(
                "{:.0} ({:.2} ms of a processor each)",
                stored as f64 / took,
                1000.0 * used / stored as f64
            ),
            "",
        );
    }
}

const KEPT: u64 = 100_000;

/// What so many fragments take, in a store like a node's, in this process.
pub(crate) async fn memory() {
    let dir = tempfile::tempdir().unwrap();
    let key = StorageKey::from_bytes(&[1; 32]);
    let open = || {
        let store = RedbStore::open(dir.path().join("fragments.redb")).unwrap();
        let slots = Slots::open(&dir.path().join("record-keys")).unwrap();
        Vault::open(Box::new(store), slots, &key, now()).unwrap()
    };
    let policy = Policy::new(NETWORK, now(), now() + 3600, 3, 5);
    let given = policy.frags[0].to_bytes();
    let verified = KeyFrag::from_bytes(&given)
        .unwrap()
        .verify(&policy.params)
        .unwrap();
    let fragment = |number: u64| {
        let mut params = policy.params;
        params.salt[..8].copy_from_slice(&number.to_be_bytes());
        Fragment {
            params,
            expiry: policy.expiry,
            index: 0,
            frag: verified.to_bytes(),
            given: given.to_vec().into(),
        }
    };
    let vault = open();
    let (started, mut before) = (Instant::now(), 0.0);
    for half in [0..KEPT / 2, KEPT / 2..KEPT] {
        before = machine::resident_kib();
        futures::stream::iter(half)
            .map(|number| {
                let (vault, fragment) = (&vault, fragment(number));
                async move { vault.put(&fragment, now()).await.unwrap() }
            })
            .buffer_unordered(256)
            .for_each(|stored| async move { assert_eq!(stored, Stored::Durable) })
            .await;
    }
    let grown = machine::resident_kib() - before;
    let stored = started.elapsed().as_secs_f64();
    let whole = machine::resident_kib();
    drop(vault);
    let started = Instant::now();
    let vault = open();
    let opened = started.elapsed().as_secs_f64();
    assert_eq!(vault.held(), KEPT);
    let bytes: u64 = ["fragments.redb", "record-keys"]
        .iter()
        .map(|name| std::fs::metadata(dir.path().join(name)).unwrap().len())
        .sum();
    let million = 1_000_000.0 / KEPT as f64;
    row(
        "memory for 1,000,000 fragments, from what the second half of 100,000 took; MiB",
        format!(
            "{:.0}, and {:.0} whatever is kept",
            2.0 * million * grown / 1024.0,
            (whole - 2.0 * grown) / 1024.0
        ),
        "",
    );
    row(
        "disk for 1,000,000 fragments, from 100,000; MiB",
        format!("{:.0}", million * bytes as f64 / f64::from(1 << 20)),
        "",
    );
    row(
        "100,000 fragments: put, 256 at once, and opened after a restart; s",
        format!("{stored:.1} and {opened:.2}"),
        "",
    );
}
