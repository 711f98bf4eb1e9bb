//! A recipient who remembers.

use super::*;
use crate::scheme::Reader as AnyReader;

fn answers(world: &World, capsule: &Capsule) -> Vec<CapsuleFrag> {
    let frags = world.frags.iter();
    frags
        .map(|frag| Split::reencrypt(&mut rng(), frag, capsule))
        .collect()
}

#[test]
fn a_bad_answer_in_a_batch_is_named_and_the_others_open() {
    let world = World::new(2, 5);
    let capsule = any::Capsule::Split(world.capsule.clone());
    let mut reader = AnyReader::new(&world.policy);
    for _ in 0..3 {
        let mut frags = answers(&world, &world.capsule);
        frags[1].answer.proof.rho += Scalar::ONE;
        frags[2].commitment.threshold = Threshold::new(1, 5).unwrap();
        let frags = frags.into_iter().map(any::CapsuleFrag::Split).collect();
        let verdicts = reader.verify_all(frags, &capsule);
        let errors: Vec<_> = verdicts
            .iter()
            .map(|it| it.as_ref().err().copied())
            .collect();
        let expected = [
            None,
            Some(FragError::ProofE),
            Some(FragError::Signature),
            None,
            None,
        ];
        assert_eq!(errors, expected);
        let good: Vec<_> = verdicts.into_iter().flatten().collect();
        let opened = reader.open(&world.bob, &capsule, &good, &world.context);
        assert_eq!(opened.unwrap(), world.secret);
    }
}

#[test]
fn what_was_learnt_from_one_capsule_opens_the_next_and_nothing_else() {
    let world = World::new(2, 3);
    let mut reader = AnyReader::new(&world.policy);
    let mut last = None;
    for epoch in 0..4 {
        let context = LabelContext {
            epoch,
            ..world.context
        };
        let (capsule, secret) = Split::encapsulate(&mut rng(), &world.label.public(), &context);
        let frags = answers(&world, &capsule);
        let frags = frags.into_iter().map(any::CapsuleFrag::Split).collect();
        let capsule = any::Capsule::Split(capsule);
        let checked = reader.verify_all(frags, &capsule);
        let checked: Vec<_> = checked.into_iter().map(Result::unwrap).collect();
        let opened = reader.open(&world.bob, &capsule, &checked, &context);
        assert_eq!(opened.unwrap(), secret);
        let one = reader.open(&world.bob, &capsule, &checked[..1], &context);
        let too_few = OpenError::TooFew {
            needed: 2,
            found: 1,
        };
        assert_eq!(one, Err(too_few));
        let eve = IdentitySecret::generate(&mut rng());
        let other = reader.open(&eve, &capsule, &checked, &context);
        assert_eq!(other, Err(OpenError::OtherRecipient));
        if let Some(before) = last.replace(capsule) {
            let replayed = reader.open(&world.bob, &before, &checked, &context);
            assert_eq!(replayed, Err(OpenError::Mixed));
        }
    }
}
