//! Nodes and messengers who lie.

use k256::elliptic_curve::group::Group;
use k256::{ProjectivePoint, Scalar};

use super::*;
use crate::curve::random_scalar;
use crate::splitkey::{Proof, mul_u, u};

/// A point of an answer.
type Slot = fn(&mut CapsuleFrag) -> &mut k256::AffinePoint;
/// Something done to a fragment.
type Change<'a, F> = &'a dyn Fn(&mut F);

/// Which of the three points is not the committed share's multiple.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Lie {
    None,
    E,
    V,
    Commitment,
}

/// An answer whose proof is right but for one equation. The liar has a real, signed share and knows
/// every number; he only multiplies one point by another one.
fn forged(world: &World, node: usize, lie: Lie) -> CapsuleFrag {
    let rng = &mut rng();
    let mut answer = world.answer(node);
    let (share, other) = (*world.frags[node].frag.rk, random_scalar(rng));
    let nonce = random_scalar(rng);
    // With the lie about the commitment the *other* number is used for both E and V.
    let used = |point: Lie| {
        if lie == point || lie == Lie::Commitment {
            other
        } else {
            share
        }
    };
    answer.answer.e1 = (world.capsule.core.e * used(Lie::E)).to_affine();
    answer.answer.v1 = (world.capsule.core.v * used(Lie::V)).to_affine();
    answer.answer.proof = Proof {
        e2: (world.capsule.core.e * nonce).to_affine(),
        v2: (world.capsule.core.v * nonce).to_affine(),
        u2: mul_u(&nonce).to_affine(),
        rho: nonce,
    };
    let signed = &answer.commitment.share;
    let statement = Statement::new(&world.capsule.core, signed, &answer.answer);
    let h = answer
        .commitment
        .bound(world.policy.id())
        .challenge(&statement);
    let answered = if lie == Lie::Commitment { other } else { share };
    answer.answer.proof.rho = nonce + h * answered;
    answer
}

#[test]
fn a_proof_with_exactly_one_false_equation_is_refused_for_that_equation() {
    let world = World::new(2, 3);
    let verify = |lie| {
        forged(&world, 0, lie)
            .verify(&world.capsule, &world.policy)
            .map(|_| ())
    };
    assert_eq!(verify(Lie::None), Ok(()), "the forger can do it right");
    assert_eq!(verify(Lie::E), Err(FragError::ProofE));
    assert_eq!(verify(Lie::V), Err(FragError::ProofV));
    assert_eq!(verify(Lie::Commitment), Err(FragError::ProofCommitment));
}

/// Checked together, too, a lie is noticed wherever it stands, and only the liar is blamed.
#[test]
fn a_batch_with_exactly_one_false_equation_is_refused_for_that_equation_of_that_answer() {
    let world = World::new(2, 5);
    let capsule = any::Capsule::Split(world.capsule.clone());
    let lies = [
        (Lie::E, FragError::ProofE),
        (Lie::V, FragError::ProofV),
        (Lie::Commitment, FragError::ProofCommitment),
    ];
    for (liar, (lie, blame)) in [0, 2, 4]
        .into_iter()
        .flat_map(|at| lies.map(|lie| (at, lie)))
    {
        let answer = |node| forged(&world, node, if node == liar { lie } else { Lie::None });
        let answers = (0..5).map(answer).map(any::CapsuleFrag::Split).collect();
        let mut reader = any::Reader::new(&world.policy);
        let verdicts = reader.verify_all(answers, &capsule);
        for (node, verdict) in verdicts.into_iter().enumerate() {
            let expected = (node == liar).then_some(blame);
            assert_eq!(verdict.err(), expected, "{lie:?} by {liar}: {node}");
        }
    }
}

#[test]
fn shifting_one_point_of_the_answer_and_its_proof_is_refused() {
    let world = World::new(2, 3);
    let shift = ProjectivePoint::generator();
    let shifted = |point: &k256::AffinePoint| (ProjectivePoint::from(*point) + shift).to_affine();
    let alter: [(&str, Slot); 5] = [
        ("E1", |frag| &mut frag.answer.e1),
        ("V1", |frag| &mut frag.answer.v1),
        ("E2", |frag| &mut frag.answer.proof.e2),
        ("V2", |frag| &mut frag.answer.proof.v2),
        ("U2", |frag| &mut frag.answer.proof.u2),
    ];
    for (name, field) in alter {
        let mut answer = world.answer(0);
        let point = field(&mut answer);
        *point = shifted(point);
        let refused = answer.verify(&world.capsule, &world.policy).unwrap_err();
        assert_ne!(refused, FragError::Signature, "{name}");
    }
}

#[test]
fn everything_the_owner_signed_is_bound() {
    let world = World::new(2, 3);
    let stranger = World::new(2, 3);
    let foreign = &stranger.frags[0].frag.commitment;
    let alter: [(&str, Change<'_, CapsuleFrag>); 7] = [
        ("id", &|frag| frag.commitment.share.id[0] ^= 1),
        ("X", &|frag| {
            frag.commitment.share.precursor = foreign.share.precursor
        }),
        ("U1", &|frag| frag.commitment.share.u1 = foreign.share.u1),
        ("m", &|frag| {
            frag.commitment.threshold = Threshold::new(1, 3).unwrap()
        }),
        ("n", &|frag| {
            frag.commitment.threshold = Threshold::new(2, 4).unwrap()
        }),
        ("signature", &|frag| {
            frag.commitment.signature = foreign.signature
        }),
        ("all", &|frag| frag.commitment = foreign.clone()),
    ];
    for (name, change) in alter {
        let mut answer = world.answer(0);
        change(&mut answer);
        let refused = answer.verify(&world.capsule, &world.policy).unwrap_err();
        assert_eq!(refused, FragError::Signature, "{name}");
    }
}

#[test]
fn parts_of_two_honest_answers_do_not_make_a_third() {
    let world = World::new(2, 3);
    let (first, second) = (world.answer(0), world.answer(1));
    let verify = |answer: CapsuleFrag| answer.verify(&world.capsule, &world.policy).map(|_| ());
    let mut swapped = first.clone();
    swapped.answer.e1 = first.answer.v1;
    swapped.answer.v1 = first.answer.e1;
    assert_eq!(verify(swapped), Err(FragError::ProofE));
    let mut proof = first.clone();
    proof.answer.proof = second.answer.proof.clone();
    assert_eq!(verify(proof), Err(FragError::ProofE));
    let name = CapsuleFrag {
        commitment: second.commitment,
        ..first
    };
    assert_eq!(verify(name), Err(FragError::ProofE));
}

#[test]
fn an_answer_for_another_capsule_or_policy_is_refused() {
    let world = World::new(2, 3);
    let sibling = world.sibling();
    let (capsule, _) = Split::encapsulate(&mut rng(), &world.label.public(), &world.context);
    let refused = world.answer(0).verify(&capsule, &world.policy).unwrap_err();
    assert_eq!(refused, FragError::ProofE);
    let refused = world
        .answer(0)
        .verify(&world.capsule, &sibling.policy)
        .unwrap_err();
    assert_eq!(refused, FragError::Signature);
    for policy in altered_policies(&world) {
        let refused = world.answer(0).verify(&world.capsule, &policy).unwrap_err();
        assert_eq!(refused, FragError::Signature);
    }
}

#[test]
fn a_share_for_another_policy_is_refused() {
    let world = World::new(2, 3);
    let threshold = Threshold::new(2, 3).unwrap();
    for policy in altered_policies(&world) {
        let frags = Split::split(
            &mut rng(),
            &world.label,
            &world.policy,
            &world.signer,
            threshold,
        );
        for frag in frags.unwrap() {
            assert_eq!(frag.verify(&policy).unwrap_err(), FragError::Signature);
        }
    }
}

/// The policy with one parameter changed.
fn altered_policies(world: &World) -> [PolicyParams; 4] {
    let other = World::new(1, 1).policy;
    [
        PolicyParams {
            ledger_key: other.ledger_key,
            ..world.policy
        },
        PolicyParams {
            label_key: other.label_key,
            ..world.policy
        },
        PolicyParams {
            recipient: other.recipient,
            ..world.policy
        },
        PolicyParams {
            salt: [8; 32],
            ..world.policy
        },
    ]
}

#[test]
fn an_altered_share_is_refused() {
    let world = World::new(2, 3);
    let stranger = World::new(2, 3);
    let threshold = Threshold::new(2, 3).unwrap();
    let foreign = &stranger.frags[0].frag.commitment;
    let alter: [(&str, FragError, Change<'_, KeyFrag>); 7] = [
        ("id", FragError::Signature, &|frag| {
            frag.commitment.share.id[31] ^= 1
        }),
        ("rk", FragError::Commitment, &|frag| *frag.rk += Scalar::ONE),
        ("X", FragError::Signature, &|frag| {
            frag.commitment.share.precursor = foreign.share.precursor
        }),
        ("U1", FragError::Signature, &|frag| {
            frag.commitment.share.u1 = foreign.share.u1
        }),
        ("m", FragError::Signature, &|frag| {
            frag.commitment.threshold = Threshold::new(1, 3).unwrap();
        }),
        ("n", FragError::Signature, &|frag| {
            frag.commitment.threshold = Threshold::new(2, 4).unwrap();
        }),
        ("signature", FragError::Signature, &|frag| {
            frag.commitment.signature = foreign.signature
        }),
    ];
    for (name, expected, change) in alter {
        let made = Split::split(
            &mut rng(),
            &world.label,
            &world.policy,
            &world.signer,
            threshold,
        );
        let mut frag = made.unwrap().remove(0);
        change(&mut frag);
        assert_eq!(frag.verify(&world.policy).unwrap_err(), expected, "{name}");
    }
}

/// A share with another generator in place of U: somebody on the way replaces the share and picks the
/// generator so that the commitment fits. Ours is a constant, so it does not.
#[test]
fn a_replaced_share_does_not_fit_by_choosing_the_generator() {
    let world = World::new(2, 3);
    let threshold = Threshold::new(2, 3).unwrap();
    let made = Split::split(
        &mut rng(),
        &world.label,
        &world.policy,
        &world.signer,
        threshold,
    );
    let mut frag = made.unwrap().remove(0);
    let replaced = random_scalar(&mut rng());
    let generator = ProjectivePoint::from(frag.commitment.share.u1) * replaced.invert().unwrap();
    assert_eq!(
        generator * replaced,
        ProjectivePoint::from(frag.commitment.share.u1)
    );
    assert_ne!(generator, u());
    *frag.rk = replaced;
    assert_eq!(
        frag.verify(&world.policy).unwrap_err(),
        FragError::Commitment
    );
}
