//! What every scheme does and refuses, checked for each of them by the same code.
//!
//! [`check_scheme`] works on the types inside the crate, where mixing schemes does not compile;
//! [`boundary`] on bytes, where it is refused.

mod boundary;

use rand_core::CryptoRng;

use super::{Afgh, Bbs98, Ecies, LabelContext, Scheme, Split};
use crate::error::{FragError, OpenError, SplitError};
use crate::id::{LabelId, StoreId};
use crate::key::{DelegatingKey, IdentitySecret, Inner, LabelSecret, LedgerKey};
use crate::policy::{PolicyParams, Threshold};

pub(super) fn rng() -> impl CryptoRng {
    rand_core::UnwrapErr(getrandom::SysRng)
}

pub(super) const CONTEXT: LabelContext = LabelContext {
    store: StoreId([1; 16]),
    label: LabelId([2; 16]),
    epoch: 3,
};

/// The key as the scheme's own type, for the generic checks.
trait Own: Scheme {
    fn own(key: &DelegatingKey) -> &Self::DelegatingKey;
}

macro_rules! own {
    ($($scheme:ident)*) => {$(
        impl Own for $scheme {
            fn own(key: &DelegatingKey) -> &Self::DelegatingKey {
                match key.inner() {
                    Inner::$scheme(key) => key,
                    _ => panic!("a key of another scheme"),
                }
            }
        }
    )*};
}

own!(Split Bbs98 Ecies Afgh);

/// One label, its author, one reader, and what they agreed on.
struct World<S: Scheme> {
    label: DelegatingKey,
    signer: LedgerKey,
    bob: IdentitySecret,
    policy: PolicyParams,
    threshold: Threshold,
    capsule: S::Capsule,
    secret: LabelSecret,
    frags: Vec<S::VerifiedKeyFrag>,
}

impl<S: Own> World<S> {
    /// As many nodes as asked for, of which as many are needed as the scheme's rule says.
    fn new(needed: u8, total: u8) -> Self {
        let rng = &mut rng();
        let label = DelegatingKey::generate_for(S::ID, rng).unwrap();
        let (signer, bob) = (LedgerKey::generate(rng), IdentitySecret::generate(rng));
        Self::with(label, signer, bob, needed, total)
    }

    fn with(
        label: DelegatingKey,
        signer: LedgerKey,
        bob: IdentitySecret,
        needed: u8,
        total: u8,
    ) -> Self {
        let rng = &mut rng();
        let policy = PolicyParams::new(signer.public(), label.public(), bob.public(), [7; 32]);
        let threshold = S::RULE.adapt(Threshold::new(needed, total).unwrap());
        let own = S::narrow(&label.public()).unwrap();
        let (capsule, secret) = S::encapsulate(rng, &own, &CONTEXT);
        let frags = S::split(rng, S::own(&label), &policy, &signer, threshold).unwrap();
        let frags = frags
            .into_iter()
            .map(|frag| S::verify_key_frag(frag, &policy).unwrap())
            .collect();
        Self {
            label,
            signer,
            bob,
            policy,
            threshold,
            capsule,
            secret,
            frags,
        }
    }

    fn answer(&self, node: usize, capsule: &S::Capsule) -> S::CapsuleFrag {
        S::reencrypt(&mut rng(), &self.frags[node], capsule)
    }

    /// The checked answers of these nodes.
    fn answers(&self, nodes: impl IntoIterator<Item = usize>) -> Vec<S::VerifiedCapsuleFrag> {
        let checked = |node| {
            let answer = self.answer(node, &self.capsule);
            S::verify_capsule_frag(answer, &self.capsule, &self.policy).unwrap()
        };
        nodes.into_iter().map(checked).collect()
    }

    fn open(&self, answers: &[S::VerifiedCapsuleFrag]) -> Result<LabelSecret, OpenError> {
        S::open(
            &self.bob,
            &self.capsule,
            answers.iter(),
            &self.policy,
            &CONTEXT,
        )
    }

    fn total(&self) -> usize {
        usize::from(self.threshold.total())
    }

    fn needed(&self) -> usize {
        usize::from(self.threshold.needed())
    }
}

/// Everything that holds for every scheme.
fn check_scheme<S: Own>() {
    check_enough_answers_open::<S>();
    check_too_few_answers_do_not::<S>();
    check_the_owner_opens_alone::<S>();
    check_thresholds::<S>();
    check_fragments_belong_to_one_policy::<S>();
    check_answers_are_proved::<S>();
    check_answers_belong_together::<S>();
    check_only_the_recipient_opens::<S>();
    check_the_context_is_bound::<S>();
    check_foreign_keys_are_refused::<S>();
}

fn check_enough_answers_open<S: Own>() {
    for (needed, total) in [(1, 1), (1, 3), (2, 3), (3, 5), (5, 5)] {
        let world = World::<S>::new(needed, total);
        let secret = &world.secret;
        let last = world.answers(world.total() - world.needed()..world.total());
        assert_eq!(world.open(&last).as_ref(), Ok(secret), "{needed}/{total}");
        let mut all = world.answers(0..world.total());
        all.reverse();
        assert_eq!(world.open(&all).as_ref(), Ok(secret), "more than needed");
        // The same fragments serve every capsule of the label, made before or after them.
        let own = S::narrow(&world.label.public()).unwrap();
        let (later, secret) = S::encapsulate(&mut rng(), &own, &CONTEXT);
        let answers = (0..world.total()).map(|node| {
            let answer = world.answer(node, &later);
            S::verify_capsule_frag(answer, &later, &world.policy).unwrap()
        });
        let answers: Vec<_> = answers.collect();
        let opened = S::open(&world.bob, &later, answers.iter(), &world.policy, &CONTEXT);
        assert_eq!(opened, Ok(secret), "a later capsule");
    }
}

fn check_too_few_answers_do_not<S: Own>() {
    let world = World::<S>::new(3, 5);
    let few = world.answers(0..world.needed() - 1);
    let refused = world.open(&few);
    assert!(matches!(refused, Err(OpenError::TooFew { .. })));
    let twice = world.answers([0; 2]);
    assert_eq!(world.open(&twice), Err(OpenError::Duplicate));
}

fn check_the_owner_opens_alone<S: Own>() {
    let world = World::<S>::new(1, 1);
    let opened = S::decapsulate(S::own(&world.label), &world.capsule, &CONTEXT);
    assert_eq!(opened, world.secret);
    let other = DelegatingKey::generate_for(S::ID, &mut rng()).unwrap();
    let foreign = S::decapsulate(S::own(&other), &world.capsule, &CONTEXT);
    assert_ne!(foreign, world.secret);
}

fn check_thresholds<S: Own>() {
    let world = World::<S>::new(1, 1);
    for (needed, total) in [(1, 1), (1, 2), (2, 2), (2, 3), (1, 5), (5, 5), (255, 255)] {
        let wish = Threshold::new(needed, total).unwrap();
        let adapted = S::RULE.adapt(wish);
        assert!(S::RULE.permits(adapted) && adapted.total() == total);
        if total == 255 {
            continue;
        }
        let rng = &mut rng();
        let made = S::split(
            rng,
            S::own(&world.label),
            &world.policy,
            &world.signer,
            wish,
        );
        if S::RULE.permits(wish) {
            assert_eq!(made.unwrap().len(), usize::from(total));
        } else {
            let expected = SplitError::Rule {
                scheme: S::ID,
                rule: S::RULE,
                needed,
                total,
            };
            assert_eq!(made.err(), Some(expected));
        }
    }
}

/// A fragment is for one author, label, reader and salt.
fn check_fragments_belong_to_one_policy<S: Own>() {
    let (world, other) = (World::<S>::new(2, 3), World::<S>::new(2, 3));
    let changed = [
        PolicyParams {
            ledger_key: other.policy.ledger_key,
            ..world.policy
        },
        PolicyParams {
            label_key: other.policy.label_key,
            ..world.policy
        },
        PolicyParams {
            recipient: other.policy.recipient,
            ..world.policy
        },
        PolicyParams {
            salt: [8; 32],
            ..world.policy
        },
    ];
    for policy in changed {
        let rng = &mut rng();
        let own = S::own(&world.label);
        let frag = S::split(rng, own, &world.policy, &world.signer, world.threshold);
        let frag = frag.unwrap().remove(0);
        let refused = S::verify_key_frag(frag, &policy).err();
        assert_eq!(refused, Some(FragError::Signature));
        let answer = world.answer(0, &world.capsule);
        let refused = S::verify_capsule_frag(answer, &world.capsule, &policy).err();
        assert_eq!(refused, Some(FragError::Signature), "nor are its answers");
    }
}

fn check_answers_are_proved<S: Own>() {
    let world = World::<S>::new(2, 3);
    let own = S::narrow(&world.label.public()).unwrap();
    let (other, _) = S::encapsulate(&mut rng(), &own, &CONTEXT);
    let replayed = world.answer(0, &world.capsule);
    let refused = S::verify_capsule_frag(replayed, &other, &world.policy).err();
    let proof = [FragError::Proof, FragError::ProofE];
    assert!(
        proof.contains(&refused.unwrap()),
        "an answer for another capsule"
    );
}

fn check_answers_belong_together<S: Own>() {
    let world = World::<S>::new(2, 3);
    let own = S::narrow(&world.label.public()).unwrap();
    let (later, _) = S::encapsulate(&mut rng(), &own, &CONTEXT);
    let answers = world.answers(0..world.total());
    let elsewhere = S::open(&world.bob, &later, answers.iter(), &world.policy, &CONTEXT);
    assert_eq!(
        elsewhere,
        Err(OpenError::Mixed),
        "answers for one capsule, another opened"
    );
    // A second split of the same policy.
    let rng = &mut rng();
    let again = S::split(
        rng,
        S::own(&world.label),
        &world.policy,
        &world.signer,
        world.threshold,
    );
    let again = S::verify_key_frag(again.unwrap().remove(1), &world.policy).unwrap();
    let foreign = S::reencrypt(rng, &again, &world.capsule);
    let foreign = S::verify_capsule_frag(foreign, &world.capsule, &world.policy).unwrap();
    let mut mixed = world.answers([0]);
    mixed.push(foreign);
    assert_eq!(world.open(&mixed), Err(OpenError::Mixed));
}

fn check_only_the_recipient_opens<S: Own>() {
    let world = World::<S>::new(2, 3);
    let answers = world.answers(0..world.total());
    let eve = IdentitySecret::generate(&mut rng());
    let opened = |policy| S::open(&eve, &world.capsule, answers.iter(), policy, &CONTEXT);
    assert_eq!(opened(&world.policy), Err(OpenError::OtherRecipient));
    let claimed = PolicyParams {
        recipient: eve.public(),
        ..world.policy
    };
    assert_eq!(opened(&claimed), Err(OpenError::Mixed));
}

fn check_the_context_is_bound<S: Own>() {
    let world = World::<S>::new(1, 1);
    let answers = world.answers(0..world.total());
    for context in [
        LabelContext {
            store: StoreId([9; 16]),
            ..CONTEXT
        },
        LabelContext {
            label: LabelId([9; 16]),
            ..CONTEXT
        },
        LabelContext {
            epoch: 4,
            ..CONTEXT
        },
    ] {
        let (capsule, policy) = (&world.capsule, &world.policy);
        let opened = S::open(&world.bob, capsule, answers.iter(), policy, &context);
        assert_ne!(opened.unwrap(), world.secret);
        let opened = S::decapsulate(S::own(&world.label), capsule, &context);
        assert_ne!(opened, world.secret);
    }
}

fn check_foreign_keys_are_refused<S: Own>() {
    let (world, other) = (World::<S>::new(1, 1), World::<S>::new(1, 1));
    let split = |label: &DelegatingKey, signer| {
        let rng = &mut rng();
        S::split(rng, S::own(label), &world.policy, signer, world.threshold).err()
    };
    let refused = split(&other.label, &world.signer);
    assert_eq!(refused, Some(SplitError::OtherKey("label key")));
    let refused = split(&world.label, &other.signer);
    assert_eq!(refused, Some(SplitError::OtherKey("ledger key")));
}

#[test]
fn split_key_ecies_conforms() {
    check_scheme::<Split>();
}

#[test]
fn bbs98_conforms() {
    check_scheme::<Bbs98>();
}

#[test]
fn ecies_conforms() {
    check_scheme::<Ecies>();
}

#[test]
fn afgh_conforms() {
    check_scheme::<Afgh>();
}
