//! What an owner, a node, a recipient and each of them gone bad would notice.

use proptest::prelude::*;

use super::*;
use crate::error::DecodeError;
use crate::id::{LabelId, StoreId};
use crate::key::DelegatingKey;
use crate::scheme as any;

mod bytes;
mod collusion;
mod forgery;
mod reader;

fn rng() -> impl CryptoRng {
    rand_core::UnwrapErr(getrandom::SysRng)
}

/// One label shared with one person.
struct World {
    label: EcDelegatingKey,
    signer: LedgerKey,
    bob: IdentitySecret,
    policy: PolicyParams,
    context: LabelContext,
    capsule: Capsule,
    secret: LabelSecret,
    frags: Vec<VerifiedKeyFrag>,
}

impl World {
    fn new(needed: u8, total: u8) -> Self {
        let rng = &mut rng();
        let (label, signer) = (EcDelegatingKey::generate(rng), LedgerKey::generate(rng));
        let bob = IdentitySecret::generate(rng);
        let policy = PolicyParams::new(
            signer.public(),
            LabelPublicKey::Split(label.public()),
            bob.public(),
            [7; 32],
        );
        let context = LabelContext {
            store: StoreId([1; 16]),
            label: LabelId([2; 16]),
            epoch: 3,
        };
        let (capsule, secret) = Split::encapsulate(rng, &label.public(), &context);
        let threshold = Threshold::new(needed, total).unwrap();
        let frags = Split::split(rng, &label, &policy, &signer, threshold).unwrap();
        let frags = frags
            .into_iter()
            .map(|frag| frag.verify(&policy).unwrap())
            .collect();
        Self {
            label,
            signer,
            bob,
            policy,
            context,
            capsule,
            secret,
            frags,
        }
    }

    /// The label's key as it crosses the byte boundary.
    fn label(&self) -> DelegatingKey {
        DelegatingKey::from_bytes(&self.label.to_bytes()).unwrap()
    }

    fn answer(&self, index: usize) -> CapsuleFrag {
        Split::reencrypt(&mut rng(), &self.frags[index], &self.capsule)
    }

    fn verified(&self, index: usize) -> VerifiedCapsuleFrag {
        self.answer(index)
            .verify(&self.capsule, &self.policy)
            .unwrap()
    }

    fn open(&self, frags: &[VerifiedCapsuleFrag]) -> Result<LabelSecret, OpenError> {
        Split::open(
            &self.bob,
            &self.capsule,
            frags.iter(),
            &self.policy,
            &self.context,
        )
    }

    /// Another policy of the same label, for somebody else.
    fn sibling(&self) -> Self {
        let mut other = Self::new(2, 3);
        let rng = &mut rng();
        let label = EcDelegatingKey::from_bytes(&self.label.to_bytes()).unwrap();
        other.policy.label_key = LabelPublicKey::Split(label.public());
        let threshold = Threshold::new(2, 3).unwrap();
        let frags = Split::split(rng, &label, &other.policy, &other.signer, threshold).unwrap();
        other.frags = frags
            .into_iter()
            .map(|frag| frag.verify(&other.policy).unwrap())
            .collect();
        other.label = label;
        other.capsule = self.capsule.clone();
        other
    }
}

fn some<const N: usize>(world: &World, indices: [usize; N]) -> [VerifiedCapsuleFrag; N] {
    indices.map(|index| world.verified(index))
}

#[test]
fn any_m_answers_open_and_the_owner_opens_alone() {
    let world = World::new(2, 3);
    let alone = Split::decapsulate(&world.label, &world.capsule, &world.context);
    assert_eq!(alone, world.secret);
    for pair in [[0, 1], [1, 0], [0, 2], [2, 1]] {
        assert_eq!(world.open(&some(&world, pair)).unwrap(), world.secret);
    }
    assert_eq!(
        world.open(&some(&world, [2, 0, 1])).unwrap(),
        world.secret,
        "more than m are fine"
    );
}

#[test]
fn large_and_trivial_thresholds_open() {
    for (needed, total) in [(1, 1), (1, 5), (5, 5), (16, 30)] {
        let world = World::new(needed, total);
        let first = usize::from(total - needed);
        let frags: Vec<_> = (first..usize::from(total))
            .map(|i| world.verified(i))
            .collect();
        assert_eq!(
            world.open(&frags).unwrap(),
            world.secret,
            "{needed} of {total}"
        );
    }
}

#[test]
fn fewer_than_m_answers_do_not_open() {
    let world = World::new(3, 5);
    assert_eq!(
        world.open(&[]),
        Err(OpenError::TooFew {
            needed: 1,
            found: 0
        })
    );
    let two = some(&world, [0, 4]);
    assert_eq!(
        world.open(&two),
        Err(OpenError::TooFew {
            needed: 3,
            found: 2
        })
    );
}

#[test]
fn an_answer_twice_does_not_count_twice() {
    let world = World::new(2, 3);
    let once = world.verified(1);
    assert_eq!(
        world.open(&[once.clone(), once.clone()]),
        Err(OpenError::Duplicate)
    );
    let again = world.verified(1);
    assert_eq!(
        world.open(&[once, again]),
        Err(OpenError::Duplicate),
        "with another proof"
    );
}

#[test]
fn answers_of_other_policies_splits_and_capsules_do_not_mix() {
    let world = World::new(2, 3);
    let sibling = world.sibling();
    let mixed = [world.verified(0), sibling.verified(1)];
    assert_eq!(world.open(&mixed), Err(OpenError::Mixed), "another policy");

    let mut resplit = World { ..World::new(2, 3) };
    let threshold = Threshold::new(2, 3).unwrap();
    let again = Split::split(
        &mut rng(),
        &world.label,
        &world.policy,
        &world.signer,
        threshold,
    );
    resplit.frags = again
        .unwrap()
        .into_iter()
        .map(|f| f.verify(&world.policy).unwrap())
        .collect();
    let other = Split::reencrypt(&mut rng(), &resplit.frags[1], &world.capsule)
        .verify(&world.capsule, &world.policy)
        .unwrap();
    assert_eq!(
        world.open(&[world.verified(0), other]),
        Err(OpenError::Mixed),
        "another split"
    );

    let (capsule, _) = Split::encapsulate(&mut rng(), &world.label.public(), &world.context);
    let other = Split::reencrypt(&mut rng(), &world.frags[1], &capsule)
        .verify(&capsule, &world.policy)
        .unwrap();
    assert_eq!(
        world.open(&[world.verified(0), other]),
        Err(OpenError::Mixed),
        "another capsule"
    );
}

#[test]
fn somebody_else_opens_nothing() {
    let world = World::new(2, 3);
    let frags = some(&world, [0, 1]);
    let eve = IdentitySecret::generate(&mut rng());
    let open = |who, policy| Split::open(who, &world.capsule, frags.iter(), policy, &world.context);
    assert_eq!(open(&eve, &world.policy), Err(OpenError::OtherRecipient));
    let claimed = PolicyParams {
        recipient: eve.public(),
        ..world.policy
    };
    assert_eq!(
        open(&eve, &claimed),
        Err(OpenError::Mixed),
        "the policy's id binds its recipient"
    );

    // Even past those checks her number is the wrong one.
    let mut forced = frags.to_vec();
    forced
        .iter_mut()
        .for_each(|frag| frag.policy = claimed.id());
    let forced = Split::open(
        &eve,
        &world.capsule,
        forced.iter(),
        &claimed,
        &world.context,
    );
    assert_eq!(forced, Err(OpenError::Inconsistent));
}

#[test]
fn a_capsule_of_another_label_gives_nothing_of_that_label() {
    let world = World::new(2, 3);
    let other = EcDelegatingKey::generate(&mut rng());
    let (capsule, secret) = Split::encapsulate(&mut rng(), &other.public(), &world.context);
    let frags = [0, 1].map(|index| {
        Split::reencrypt(&mut rng(), &world.frags[index], &capsule)
            .verify(&capsule, &world.policy)
            .unwrap()
    });
    let opened = Split::open(
        &world.bob,
        &capsule,
        frags.iter(),
        &world.policy,
        &world.context,
    );
    assert_ne!(opened.unwrap(), secret);
    let alone = Split::decapsulate(&world.label, &capsule, &world.context);
    assert_ne!(alone, secret);
}

#[test]
fn the_secret_is_bound_to_store_label_and_epoch() {
    let world = World::new(1, 1);
    let frags = some(&world, [0]);
    for context in [
        LabelContext {
            store: StoreId([9; 16]),
            ..world.context
        },
        LabelContext {
            label: LabelId([9; 16]),
            ..world.context
        },
        LabelContext {
            epoch: 4,
            ..world.context
        },
    ] {
        let opened = Split::open(
            &world.bob,
            &world.capsule,
            frags.iter(),
            &world.policy,
            &context,
        )
        .unwrap();
        assert_ne!(opened, world.secret);
        assert_eq!(
            opened,
            Split::decapsulate(&world.label, &world.capsule, &context)
        );
    }
}

#[test]
fn one_capsule_serves_every_policy_of_its_label() {
    let world = World::new(2, 3);
    let sibling = world.sibling();
    let opened = Split::open(
        &sibling.bob,
        &world.capsule,
        some(&sibling, [0, 2]).iter(),
        &sibling.policy,
        &world.context,
    );
    assert_eq!(opened.unwrap(), world.secret);
}

#[test]
fn a_share_serves_every_capsule_of_its_label() {
    let mut world = World::new(2, 3);
    world.context.epoch = 4;
    let next = Split::encapsulate(&mut rng(), &world.label.public(), &world.context);
    (world.capsule, world.secret) = next;
    assert_eq!(world.open(&some(&world, [0, 1])).unwrap(), world.secret);
}

#[test]
fn a_split_needs_the_policys_own_keys() {
    let rng = &mut rng();
    let world = World::new(2, 3);
    let threshold = Threshold::new(2, 3).unwrap();
    let (label, signer) = (EcDelegatingKey::generate(rng), LedgerKey::generate(rng));
    let refused = Split::split(rng, &label, &world.policy, &world.signer, threshold);
    assert_eq!(refused.unwrap_err(), SplitError::OtherKey("label key"));
    let refused = Split::split(rng, &world.label, &world.policy, &signer, threshold);
    assert_eq!(refused.unwrap_err(), SplitError::OtherKey("ledger key"));
}

/// A source that always says the same.
struct Stuck;

impl rand_core::TryRng for Stuck {
    type Error = core::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        Ok(0)
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        Ok(0)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
        bytes.fill(0);
        Ok(())
    }
}

impl rand_core::TryCryptoRng for Stuck {}

#[test]
fn a_stuck_random_number_source_is_noticed_and_ends() {
    let world = World::new(2, 3);
    let threshold = Threshold::new(2, 3).unwrap();
    let made = Split::split(
        &mut Stuck,
        &world.label,
        &world.policy,
        &world.signer,
        threshold,
    );
    assert_eq!(made.unwrap_err(), SplitError::Randomness);
    // Answers to two capsules do not share a nonce even then, or the share could be computed.
    let (other, _) = Split::encapsulate(&mut rng(), &world.label.public(), &world.context);
    let first = Split::reencrypt(&mut Stuck, &world.frags[0], &world.capsule);
    let second = Split::reencrypt(&mut Stuck, &world.frags[0], &other);
    assert_ne!(first.answer.proof.u2, second.answer.proof.u2);
}

#[test]
fn operations_are_counted() {
    let world = World::new(1, 1);
    let before = crate::public_key_operations();
    let _ = world.verified(0);
    assert!(crate::public_key_operations() > before);
}

/// Few, because each makes eight key pairs and more; PROPTEST_CASES may ask for others.
fn cases() -> ProptestConfig {
    let config = ProptestConfig::default();
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => config,
        None => ProptestConfig {
            cases: 24,
            ..config
        },
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn every_choice_of_m_among_n_opens(
        (needed, total) in (1u8..8, 0u8..4).prop_map(|(m, more)| (m, m + more)),
        order in prop::collection::vec(any::<u64>(), 11),
    ) {
        let world = World::new(needed, total);
        let mut indices: Vec<usize> = (0..usize::from(total)).collect();
        indices.sort_by_key(|&index| order[index]);
        let frags: Vec<_> =
            indices[..usize::from(needed)].iter().map(|&index| world.verified(index)).collect();
        prop_assert_eq!(world.open(&frags), Ok(world.secret));
    }
}
