//! The shape of the workspace, as ARCHITECTURE.md draws it.

#![expect(
    clippy::unwrap_used,
    reason = "a test says what it expects by unwrapping it"
)]

use std::fs;
use std::path::Path;

/// Who may depend on whom among our own crates.
const ARROWS: [(&str, &[&str]); 14] = [
    ("kms-crypto", &[]),
    ("kms-proto", &["kms-crypto"]),
    ("kms-net", &["kms-crypto", "kms-proto"]),
    ("kms-ledger", &["kms-crypto", "kms-proto"]),
    ("kms-ledger-evm", &["kms-crypto", "kms-proto", "kms-ledger"]),
    (
        "kms-client",
        &[
            "kms-crypto",
            "kms-proto",
            "kms-net",
            "kms-ledger",
            "kms-ledger-evm",
        ],
    ),
    (
        "kms-node",
        &[
            "kms-crypto",
            "kms-proto",
            "kms-net",
            "kms-ledger",
            "kms-ledger-evm",
            "kms-client",
        ],
    ),
    ("kms-rpc", &["kms-crypto", "kms-client"]),
    ("kmsfs", &["kms-crypto", "kms-client"]),
    ("bindings/python", &["kms-crypto", "kms-client"]),
    ("bindings/node", &["kms-client"]),
    ("bindings/browser", &["kms-crypto", "kms-proto"]),
    ("sim", &[]),
    ("tests", &[]),
];

/// Which crates alone may know an outside world.
const EDGES: [(&str, &[&str]); 10] = [
    // The tests' recorder of power cuts is a file that serves a loop device.
    ("fuser", &["kmsfs", "tests"]),
    ("libp2p", &["kms-net"]),
    ("redb", &["kms-node", "kmsfs"]),
    ("hyper", &["kms-rpc"]),
    ("pyo3", &["bindings/python"]),
    ("napi", &["bindings/node"]),
    // The accounts of a chain are keys of the same curve.
    ("k256", &["kms-crypto", "kms-ledger-evm"]),
    ("sha3", &["kms-ledger-evm"]),
    ("frost-secp256k1", &["kms-crypto"]),
    ("frost-core", &["kms-crypto"]),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// What a crate needs to be built, tests aside.
fn dependencies(name: &str) -> Vec<String> {
    let manifest = fs::read_to_string(root().join(name).join("Cargo.toml")).unwrap();
    manifest
        .split("\n[")
        .filter(|section| {
            let title = section.lines().next().unwrap_or_default();
            title == "dependencies]" || title.ends_with("'.dependencies]")
        })
        .flat_map(str::lines)
        .filter_map(|line| {
            line.split_once('=')
                .map(|(key, _)| key.trim().trim_end_matches(".workspace").to_owned())
        })
        .collect()
}

#[test]
fn arrows_between_crates_never_turn_round() {
    for (name, allowed) in ARROWS {
        for dependency in dependencies(name) {
            if ARROWS
                .iter()
                .any(|(crate_name, _)| *crate_name == dependency)
            {
                assert!(
                    allowed.contains(&dependency.as_str()),
                    "{name} must not depend on {dependency}"
                );
            }
        }
    }
}

#[test]
fn only_one_crate_knows_each_outside_world() {
    for (outside, owners) in EDGES {
        for (name, _) in ARROWS {
            let knows = dependencies(name)
                .iter()
                .any(|dependency| dependency == outside);
            assert!(
                !knows || owners.contains(&name),
                "{name} must not depend on {outside}: that is for {owners:?}"
            );
        }
    }
}

#[test]
fn every_dependency_says_what_it_is_for() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let section = manifest
        .split("[workspace.dependencies]")
        .nth(1)
        .unwrap()
        .split("\n[")
        .next()
        .unwrap();
    let mut explained = false;
    for line in section.lines() {
        if line.starts_with('#') {
            explained = true;
        } else if line.is_empty() {
            explained = false;
        } else {
            assert!(
                explained || line.starts_with("kms-"),
                "no comment above: {line}"
            );
        }
    }
}
