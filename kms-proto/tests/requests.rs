//! What a node lets in.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::sync::Arc;

use getrandom::SysRng;
use kms_crypto::key::{IdentitySecret, LedgerKey, NodeSecret};
use kms_proto::{
    message::{Command, Query, Reencrypt, Refusal, RemoveRekey},
    signed::{Address, Gate, Incoming, WrongSigner},
};
use proptest::prelude::*;
use rand_core::UnwrapErr;

const NOW: u64 = 1_800_000_000;

struct World {
    node: NodeSecret,
    owner: LedgerKey,
    gate: Gate,
}

impl World {
    fn new() -> Self {
        let node = NodeSecret::generate(&mut UnwrapErr(SysRng));
        let gate = Gate::new("test", node.public());
        Self {
            node,
            owner: LedgerKey::generate(&mut UnwrapErr(SysRng)),
            gate,
        }
    }

    fn address(&self) -> Address<'static> {
        Address {
            network: "test",
            node: self.node.public(),
            deadline: NOW + 8,
        }
    }

    fn command(&self) -> Command {
        Command::RemoveRekey(RemoveRekey {
            ledger_key: self.owner.public(),
            inner: [1; 32],
        })
    }

    fn message(&self) -> Vec<u8> {
        self.command()
            .sign(&self.address(), &self.owner, &mut UnwrapErr(SysRng))
            .unwrap()
    }
}

#[test]
fn a_command_is_done_once_however_often_it_is_sent() {
    let world = World::new();
    let message = world.message();
    assert!(
        matches!(world.gate.open(&message, NOW), Ok(Incoming::Command(command)) if command == world.command())
    );
    for now in [NOW, NOW + 38] {
        assert_eq!(
            world.gate.open(&message, now).unwrap_err(),
            Refusal::TooLate { node_time: now }
        );
    }
    // The same command asked for again is another request.
    assert!(world.gate.open(&world.message(), NOW).is_ok());
}

#[test]
fn a_clock_that_is_set_back_a_little_does_not_bring_a_request_back() {
    let world = World::new();
    let message = world.message();
    assert!(world.gate.open(&message, NOW).is_ok());
    let late = NOW + 60;
    assert_eq!(
        world.gate.open(&world.message(), late).unwrap_err(),
        Refusal::TooLate { node_time: late }
    );
    let address = Address {
        deadline: late,
        ..world.address()
    };
    let newer = world
        .command()
        .sign(&address, &world.owner, &mut UnwrapErr(SysRng));
    assert!(world.gate.open(&newer.unwrap(), late).is_ok());
    assert_eq!(
        world.gate.open(&message, NOW).unwrap_err(),
        Refusal::TooLate { node_time: NOW }
    );
}

#[test]
fn a_clock_that_was_far_ahead_locks_nobody_out_when_it_is_right_again() {
    let world = World::new();
    let ahead = NOW + 100_000;
    assert!(world.gate.open(&world.message(), ahead).is_err());
    assert!(world.gate.open(&world.message(), NOW).is_ok());
}

#[test]
fn a_replay_is_refused_also_when_it_arrives_at_the_same_moment() {
    let world = Arc::new(World::new());
    let message = world.message();
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let (world, message) = (Arc::clone(&world), message.clone());
            std::thread::spawn(move || world.gate.open(&message, NOW).is_ok())
        })
        .collect();
    let done = threads
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .filter(|done| *done)
        .count();
    assert_eq!(done, 1);
}

#[test]
fn a_forged_request_does_not_use_up_the_genuine_one() {
    let world = World::new();
    let message = world.message();
    let mut forged = message.clone();
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(
        world.gate.open(&forged, NOW).unwrap_err(),
        Refusal::BadSignature
    );
    assert!(world.gate.open(&message, NOW).is_ok());
}

#[test]
fn nobody_signs_for_another() {
    let world = World::new();
    let stranger = IdentitySecret::generate(&mut UnwrapErr(SysRng));
    let signed = world
        .command()
        .sign(&world.address(), &stranger, &mut UnwrapErr(SysRng));
    assert_eq!(signed, Err(WrongSigner));
    let policy = kms_crypto::id::PolicyId([2; 32]);
    let ask = Reencrypt {
        recipient: stranger.public(),
        policy,
        capsules: vec![vec![1].into()],
    };
    let message = Command::Reencrypt(ask)
        .sign(&world.address(), &stranger, &mut UnwrapErr(SysRng))
        .unwrap();
    assert!(world.gate.open(&message, NOW).is_ok());
}

#[test]
fn no_single_byte_of_a_command_can_be_changed() {
    let world = World::new();
    let message = world.message();
    for at in 0..message.len() {
        let mut changed = message.clone();
        changed[at] ^= 0x01;
        // The minor version alone is nobody's promise.
        assert_eq!(world.gate.open(&changed, NOW).is_ok(), at == 5, "byte {at}");
    }
}

proptest! {
    #[test]
    fn garbage_is_refused_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..300), framed in any::<bool>()) {
        let gate = Gate::new("test", NodeSecret::from_bytes(&[1; 32]).unwrap().public());
        let message = if framed { [&Query::Status.to_bytes()[..6], &bytes].concat() } else { bytes };
        if let Ok(Incoming::Query(query)) = gate.open(&message, NOW) {
            prop_assert_eq!(&query.to_bytes()[6..], &message[6..]);
        }
    }
}
