//! What somebody can do who has everything that some nodes keep: their files, their storage keys, and the program to read
//! them with.

#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

#[path = "support/policy.rs"]
#[allow(dead_code, unreachable_pub, reason = "not every test uses all of it")]
mod policy;

use std::path::Path;
use std::sync::Arc;

use kms_crypto::error::{FragError, OpenError};
use kms_crypto::key::{DelegatingKey, IdentitySecret, LabelSecret, NodeSecret};
use kms_crypto::policy::PolicyParams;
use kms_crypto::scheme::{VerifiedCapsuleFrag, VerifiedKeyFrag};
use kms_ledger::{Clock, MemoryLedger};
use kms_node::audit::AuditLog;
use kms_node::keyfile::{StorageKey, storage_key};
use kms_node::node::{Node, Parts, Service};
use kms_node::store::{Fragment, RedbStore, Slots, Vault};
use kms_proto::message::Response;
use policy::{Policy, rng};
use tempfile::TempDir;

const NETWORK: &str = "test";
const NOW: u64 = 1_800_000_000;

/// A node that has been switched off; what is left of it.
struct Seized {
    dir: TempDir,
}

impl Seized {
    fn open(dir: &Path, key: &StorageKey) -> Vault {
        let store = RedbStore::open(dir.join("fragments.redb")).unwrap();
        let slots = Slots::open(&dir.join("record-keys")).unwrap();
        Vault::open(Box::new(store), slots, key, NOW).unwrap()
    }

    /// A node takes one fragment of each policy, as it does from any owner, and is switched off.
    async fn after(policies: &[&Policy], index: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = storage_key(&dir.path().join("storage.key")).unwrap();
        let clock: Clock = Arc::new(|| NOW);
        let node = Node::new(Parts {
            secret: NodeSecret::generate(&mut rng()),
            network: NETWORK.to_owned(),
            vault: Self::open(dir.path(), &key),
            ledger: Arc::new(MemoryLedger::new(NETWORK, Arc::clone(&clock))),
            clock,
            max_fragments: 1000,
            own_key: true,
            requests: None,
            audit: AuditLog::in_memory(),
        });
        node.promise(NOW + 1000);
        let (address, service) = (node.key(), Service::new(Arc::new(node)));
        for policy in policies {
            let stored = service.answer(policy.store(&address, index)).await;
            assert!(matches!(stored, Response::Stored { .. }), "{stored:?}");
        }
        Self { dir }
    }

    /// Everything it kept, in the clear.
    fn plunder(&self) -> Vec<Fragment> {
        let key = storage_key(&self.dir.path().join("storage.key")).unwrap();
        let vault = Self::open(self.dir.path(), &key);
        let rows = vault.rows().unwrap();
        rows.iter()
            .map(|(policy, _)| vault.fragment(policy).unwrap().unwrap())
            .collect()
    }

    /// Its fragment of one policy.
    fn fragment(&self, policy: &Policy) -> Fragment {
        let mut all = self.plunder();
        let at = all.iter().position(|it| it.params == policy.params);
        all.swap_remove(at.unwrap())
    }
}

async fn seize(count: usize, policies: &[&Policy]) -> Vec<Seized> {
    let mut seized = Vec::new();
    for index in 0..count {
        seized.push(Seized::after(policies, index).await);
    }
    seized
}

/// Re-encrypts with a stolen fragment, and has the answer checked as recipients check it.
fn use_it(policy: &Policy, stolen: &[u8]) -> Result<VerifiedCapsuleFrag, FragError> {
    let frag = VerifiedKeyFrag::from_bytes_trusted(stolen).unwrap();
    let answer = frag.reencrypt(&mut rng(), &policy.capsule).unwrap();
    answer.verify(&policy.capsule, &policy.params)
}

fn open(
    policy: &Policy,
    who: &IdentitySecret,
    params: &PolicyParams,
    frags: &[VerifiedCapsuleFrag],
) -> Result<LabelSecret, OpenError> {
    who.open_reencrypted(&policy.capsule, frags, params, &policy.context)
}

/// Every scalar that stands in some bytes, taken for the label's key, opens something else or nothing.
fn no_scalar_in_it_is_the_labels_key(policy: &Policy, bytes: &[u8]) {
    for window in bytes.windows(32) {
        let Ok(key) = DelegatingKey::from_bytes(window.try_into().unwrap()) else {
            continue;
        };
        let opened = key.decapsulate(&policy.capsule, &policy.context).unwrap();
        assert!(opened != policy.secret);
    }
}

/// Where m and n stand in a stored fragment: before the signature, which is last.
fn with_threshold(fragment: &Fragment, m: u8, n: u8) -> Vec<u8> {
    let mut bytes = fragment.frag.to_vec();
    let at = bytes.len() - 66;
    bytes[at..at + 2].copy_from_slice(&[m, n]);
    bytes
}

#[tokio::test]
async fn m_minus_1_nodes_stored_data_and_the_recipients_secret_open_nothing() {
    let policy = Policy::new(NETWORK, NOW, NOW + 500, 3, 5);
    // The same nodes also hold fragments of another grant to the same person on the same label.
    let sibling = policy.sibling(3, 5);
    let seized = seize(3, &[&policy, &sibling]).await;
    let stolen: Vec<_> = seized[..2].iter().map(|it| it.fragment(&policy)).collect();
    let bob = &policy.recipient;
    let answers: Vec<_> = stolen
        .iter()
        .map(|it| use_it(&policy, &it.frag).unwrap())
        .collect();

    let too_few = Err(OpenError::TooFew {
        needed: 3,
        found: 2,
    });
    assert_eq!(open(&policy, bob, &policy.params, &answers), too_few);
    let twice = [&answers[..], &answers[..1]].concat();
    assert_eq!(
        open(&policy, bob, &policy.params, &twice),
        Err(OpenError::Duplicate)
    );
    // An answer of the other grant is none of this one, whichever parameters it is shown with.
    let other = seized[0].fragment(&sibling);
    assert_eq!(
        use_it(&policy, &other.frag).err(),
        Some(FragError::Signature)
    );
    let mixed = [
        answers.clone(),
        vec![use_it(&sibling, &other.frag).unwrap()],
    ]
    .concat();
    assert_eq!(
        open(&policy, bob, &policy.params, &mixed),
        Err(OpenError::Mixed)
    );
    // That fewer would do is not for the holders to say.
    for fragment in &stolen {
        for (m, n) in [(2, 5), (1, 5), (2, 2)] {
            let forged = use_it(&policy, &with_threshold(fragment, m, n));
            assert_eq!(forged.err(), Some(FragError::Signature), "{m}/{n}");
        }
        no_scalar_in_it_is_the_labels_key(&policy, &fragment.frag);
    }

    // The same data with one node more: it was no accident that nothing opened.
    let third = use_it(&policy, &seized[2].fragment(&policy).frag).unwrap();
    let enough = [answers, vec![third]].concat();
    assert!(open(&policy, bob, &policy.params, &enough) == Ok(policy.secret));
}

#[tokio::test]
async fn one_nodes_data_alone_opens_nothing_even_where_one_node_is_enough() {
    let policy = Policy::new(NETWORK, NOW, NOW + 500, 1, 1);
    let seized = Seized::after(&[&policy], 0).await;
    let fragment = seized.fragment(&policy);
    assert_eq!(seized.plunder().len(), 1);
    let answer = use_it(&policy, &fragment.frag).unwrap();

    // Whoever has the node can re-encrypt as much as he likes: it takes the recipient's secret to make use of it.
    let eve = IdentitySecret::generate(&mut rng());
    let answers = [answer.clone()];
    assert_eq!(
        open(&policy, &eve, &policy.params, &answers),
        Err(OpenError::OtherRecipient)
    );
    let for_eve = PolicyParams {
        recipient: eve.public(),
        ..fragment.params
    };
    assert_eq!(
        open(&policy, &eve, &for_eve, &answers),
        Err(OpenError::Mixed)
    );
    let frag = VerifiedKeyFrag::from_bytes_trusted(&fragment.frag).unwrap();
    let forged = frag.reencrypt(&mut rng(), &policy.capsule).unwrap();
    assert_eq!(
        forged.verify(&policy.capsule, &for_eve).err(),
        Some(FragError::Signature)
    );
    no_scalar_in_it_is_the_labels_key(&policy, &fragment.frag);
    assert!(open(&policy, &policy.recipient, &policy.params, &answers) == Ok(policy.secret));
}
