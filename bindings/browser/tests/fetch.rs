//! Opening what was shared, over a network in memory: nodes and a gateway that fail and lie.

#![expect(
    clippy::unwrap_used,
    reason = "a test says what it expects by unwrapping it"
)]

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use kms_browser::content::Content;
use kms_browser::evidence::Evidence;
use kms_browser::failure::Failure;
use kms_browser::fetch::Wanted;
use kms_client::fake::{Conduct, FAKE_NETWORK, FakeNetwork};
use kms_client::place::Kind;
use kms_client::sealed::{Owner, Sealed, encrypt};
use kms_client::ticket::{TICKET_VERSION, Ticket, TicketText};
use kms_client::{Client, Grant, GrantRequest, RevokeRequest, Threshold};
use kms_crypto::format::Header;
use kms_crypto::id::StoreId;
use kms_crypto::key::{IdentitySecret, NodeSecret, StoreKey};
use kms_proto::ledger::{
    Entry, EntryStatement, Handover, Ledger, PolicyState, Record, RegisterNode,
};
use kms_proto::message::Refusal;
use kms_proto::signed::{Signed, Signer};
use kms_proto::transport::{Transport, TransportError};
use rand_core::UnwrapErr;
use tokio::runtime::Runtime;
use tokio::time::Instant;

fn rng() -> UnwrapErr<getrandom::SysRng> {
    UnwrapErr(getrandom::SysRng)
}

/// Something Alice has shared with Bob over five nodes, any three of which will do.
struct Scene {
    runtime: Runtime,
    network: Arc<FakeNetwork>,
    client: Client,
    alice: IdentitySecret,
    bob: Rc<IdentitySecret>,
    store: StoreId,
    key: StoreKey,
    plain: Vec<u8>,
    sealed: Sealed,
    grant: Grant,
}

impl Scene {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let network = FakeNetwork::new(5);
        let client = network.client();
        let (alice, bob) = (
            IdentitySecret::generate(&mut rng()),
            IdentitySecret::generate(&mut rng()),
        );
        let (store, key) = (StoreId::random(&mut rng()), StoreKey::generate(&mut rng()));
        let owner = Owner {
            store,
            key: &key,
            identity: &alice,
        };
        let plain: Vec<u8> = (0..600_000_u32).flat_map(u32::to_le_bytes).collect();
        let sealed = encrypt(&plain, &owner).unwrap();
        let request = GrantRequest {
            delegating_key: &owner.delegating_key(&sealed.label),
            ledger_key: &key.ledger_key(&[7; 32]),
            recipient: bob.public(),
            salt: [7; 32],
            threshold: Threshold::new(3, 5).unwrap(),
            expiry: network.now() + 3600,
            epoch: 1,
        };
        let grant = runtime.block_on(client.grant(&request)).unwrap();
        Self {
            runtime,
            network,
            client,
            alice,
            bob: Rc::new(bob),
            store,
            key,
            plain,
            sealed,
            grant,
        }
    }

    fn ticket(&self) -> String {
        let ticket = Ticket {
            version: TICKET_VERSION,
            owner: self.alice.public(),
            store: self.store,
            label: self.sealed.label,
            kind: Kind::File,
            params: self.grant.params,
            needed: 3,
            total: 5,
            expiry: self.grant.expiry,
            nodes: self.grant.nodes.clone(),
            sequence: 1,
            path: Vec::new(),
            revoked: None,
        };
        TicketText::seal(&self.alice, &ticket, &mut rng())
            .unwrap()
            .to_string()
    }

    /// How node `number` of the grant behaves.
    fn set(&self, number: usize, conduct: Conduct) {
        let node = self.network.index(&self.grant.nodes[number].key).unwrap();
        self.network.set(node, conduct);
    }

    fn revoke(&self) {
        let request = RevokeRequest {
            ledger_key: &self.key.ledger_key(&[7; 32]),
            params: self.grant.params,
            threshold: self.grant.threshold,
            nodes: &self.grant.nodes,
            epoch: 2,
        };
        self.runtime.block_on(self.client.revoke(&request)).unwrap();
    }

    fn header(&self) -> Header {
        Header::parse(&self.sealed.bytes).unwrap()
    }

    /// What a page does; a node that says nothing is given up after a fifth of a second.
    fn open(&self) -> Result<Content, Failure> {
        let wanted = Wanted::new(
            Rc::clone(&self.bob),
            FAKE_NETWORK,
            &self.header(),
            &self.ticket(),
            Some(&self.alice.public()),
        )?;
        let (owner, label) = (wanted.owner(), wanted.label());
        let started = Instant::now();
        let now = || Duration::from_secs(self.network.now()) + started.elapsed();
        let mut fetch = wanted.fetch(now(), Duration::from_secs(60))?;
        loop {
            let asks = fetch.poll(now(), &mut rng());
            if let Some(outcome) = fetch.take_outcome() {
                return Content::open(self.header(), label, &outcome?, &owner);
            }
            let patience = Duration::from_millis(200);
            for ask in &asks {
                let call = self
                    .network
                    .call(&ask.node, &[], ask.message.clone(), patience);
                let answer = self.runtime.block_on(call);
                let answer = answer.as_deref().map_err(TransportError::clone);
                fetch.on_answer(ask.id, answer, now());
            }
            if asks.is_empty() {
                let wait = fetch.wake_at().saturating_sub(now());
                std::thread::sleep(wait.min(Duration::from_millis(50)));
            }
        }
    }

    #[track_caller]
    fn opens(&self) {
        let mut content = self.open().unwrap();
        assert_eq!(content.size(), self.plain.len() as u64);
        assert_eq!(content.sealed_size(), self.sealed.bytes.len() as u64);
        let mut plain = Vec::new();
        loop {
            let piece = self.next_piece(&content);
            if piece.is_empty() {
                break;
            }
            plain.extend_from_slice(&content.open_piece(&piece).unwrap());
        }
        content.check_len(self.sealed.bytes.len() as u64).unwrap();
        assert!(plain == self.plain);
    }

    fn next_piece(&self, content: &Content) -> Vec<u8> {
        let extents = content.next_extents().into_iter();
        let bytes = extents.map(|it| {
            let at = usize::try_from(it.offset).unwrap();
            &self.sealed.bytes[at..at + it.len]
        });
        bytes.collect::<Vec<_>>().concat()
    }

    #[track_caller]
    fn refused(&self) -> Failure {
        self.open().err().expect("it does not open")
    }
}

#[test]
fn three_of_five_nodes_are_enough_whatever_the_others_do() {
    let scene = Scene::new();
    scene.opens();
    scene.set(0, Conduct::Silent);
    scene.set(1, Conduct::Garbage);
    scene.opens();
    scene.set(0, Conduct::Copycat(4));
    scene.set(1, Conduct::Dead);
    scene.opens();
}

#[test]
fn nodes_that_have_not_read_the_grant_yet_are_asked_again() {
    let scene = Scene::new();
    (0..3).for_each(|node| scene.set(node, Conduct::Behind));
    scene.opens();
}

#[test]
fn enough_liars_are_named_as_such() {
    let scene = Scene::new();
    (0..3).for_each(|node| scene.set(node, Conduct::Garbage));
    let failure = scene.refused();
    assert_eq!(failure.name(), "BAD_PROOFS", "{failure}");
    assert_eq!(failure.data()["needed"], 3);
    assert_eq!(failure.data()["nodes"].as_array().unwrap().len(), 5);
}

#[test]
fn a_revocation_is_believed_when_the_owner_has_signed_it() {
    let scene = Scene::new();
    // All five say so, or whoever passes on what they say.
    let (at, epoch) = (1_700_000_000, 2);
    (0..5).for_each(|node| scene.set(node, Conduct::Refuses(Refusal::Revoked { at, epoch })));
    let alleged = scene.refused();
    assert_eq!(alleged.name(), "NO_QUORUM", "{alleged}");
    (0..5).for_each(|node| scene.set(node, Conduct::Honest));
    scene.opens();
    scene.revoke();
    let true_one = scene.refused();
    assert_eq!(true_one.name(), "REVOKED", "{true_one}");
    assert!(true_one.data()["at"].as_u64().unwrap() > at);
}

#[test]
fn a_grant_ends_when_the_owner_has_said() {
    let scene = Scene::new();
    scene.network.pass(3600 + 60);
    let failure = scene.refused();
    assert_eq!(failure.name(), "EXPIRED", "{failure}");
    assert_eq!(failure.data()["at"], scene.grant.expiry);
}

#[test]
fn what_was_altered_is_not_decrypted() {
    let scene = Scene::new();
    // A chunk behind the header; then the page of the next piece, one above it, and its last chunk.
    for (before, at) in [(0, 0), (1, 100), (1, 5000), (1, usize::MAX)] {
        let mut content = scene.open().unwrap();
        for _ in 0..before {
            let piece = scene.next_piece(&content);
            content.open_piece(&piece).unwrap();
        }
        let mut piece = scene.next_piece(&content);
        let at = at.min(piece.len() - 1);
        piece[at] ^= 1;
        let refused = content.open_piece(&piece).unwrap_err();
        assert_eq!(refused.name(), "TAMPERED", "piece {before}, byte {at}");
        // What is short is no crash.
        assert!(content.open_piece(&piece[..piece.len() - 1]).is_err());
    }
    let found = scene.sealed.bytes.len() as u64;
    for wrong in [found - 1, found + 1] {
        let refused = scene.open().unwrap().check_len(wrong).unwrap_err();
        assert_eq!(refused.name(), "TAMPERED");
    }
}

/// A record that nobody's ledger has taken.
fn record(entry: Entry, key: &impl Signer) -> Vec<u8> {
    let statement = EntryStatement {
        network: FAKE_NETWORK.to_owned(),
        entry,
    };
    kms_proto::codec::encode(&Record {
        version: 1,
        network: FAKE_NETWORK.to_owned(),
        height: 1,
        prev: [0; 32],
        time: 1_800_000_000,
        entry: Signed::sign(statement, key, &mut rng())
            .unwrap()
            .into_signed(),
    })
}

#[test]
fn of_a_ledger_that_somebody_passes_on_only_what_is_signed_counts() {
    let scene = Scene::new();
    let policy = scene.grant.params.id();
    let mut evidence = Evidence::new(FAKE_NETWORK, policy);
    let nodes = |evidence: &Evidence| match evidence.state(scene.network.now()) {
        PolicyState::Live(grant) => grant.nodes,
        other => panic!("{other:?}"),
    };
    let records = scene.network.ledger().read(1, 100).unwrap();
    records.iter().for_each(|it| evidence.look_at(it));
    let before = nodes(&evidence);
    assert_eq!(
        before,
        scene
            .grant
            .nodes
            .iter()
            .map(|it| it.key)
            .collect::<Vec<_>>()
    );

    // Somebody hands over what is not his, ends what is not his, or alters what the owner has signed.
    let stranger = NodeSecret::generate(&mut rng());
    let handover = |index| {
        Entry::Handover(Handover {
            from: stranger.public(),
            to: NodeSecret::generate(&mut rng()).public(),
            policy,
            index,
            after: 9,
        })
    };
    let register = Entry::RegisterNode(RegisterNode {
        key: stranger.public(),
        available_until: u64::MAX,
        addrs: Vec::new(),
        seq: 1,
    });
    for entry in [handover(0), handover(200), register] {
        evidence.look_at(&record(entry, &stranger));
    }
    for forged in &records {
        for at in (0..forged.len()).step_by(7) {
            let mut forged = forged.clone();
            forged[at] ^= 1;
            evidence.look_at(&forged);
        }
    }
    assert_eq!(nodes(&evidence), before);

    scene.revoke();
    let records = scene.network.ledger().read(1, 100).unwrap();
    records.iter().for_each(|it| evidence.look_at(it));
    let state = evidence.state(scene.network.now());
    assert!(matches!(state, PolicyState::Revoked { .. }), "{state:?}");
}
