//! What a batch of proofs lets through, and what it does not.

use k256::{ProjectivePoint, Scalar};
use rand_core::CryptoRng;

use super::proof::all_hold;
use super::share::Shares;
use super::*;
use crate::curve::random_scalar;
use crate::key::{EcDelegatingKey, IdentitySecret};
use crate::policy::Threshold;

/// A dialect for these tests alone.
struct Plain;

impl Dialect for Plain {
    const CAPSULE: &'static str = "test/capsule";
    const SHARED: &'static str = "test/shared";
    const INDEX: &'static str = "test/index";

    fn binding(&self) -> &[u8] {
        b"binding"
    }

    fn challenge(&self, it: &Statement<'_>) -> Scalar {
        let points = [&it.u1, &it.e1, &it.v1, &it.e2, &it.v2, &it.u2];
        let points = points.map(<[u8; POINT_LEN]>::as_slice).concat();
        hash_to_scalar("test/proof", &[it.capsule.points(), &points])
    }
}

fn rng() -> impl CryptoRng {
    rand_core::UnwrapErr(getrandom::SysRng)
}

struct World {
    label: EcDelegatingKey,
    bob: IdentitySecret,
    capsule: Capsule,
    shares: Shares,
    answers: Vec<Answer>,
}

impl World {
    fn new(needed: u8, total: u8) -> Self {
        let rng = &mut rng();
        let label = EcDelegatingKey::generate(rng);
        let bob = IdentitySecret::generate(rng);
        let (capsule, _) = Capsule::make::<Plain>(rng, &label.public().point());
        let threshold = Threshold::new(needed, total).unwrap();
        let shares = share(rng, &Plain, label.scalar(), &bob.public(), threshold).unwrap();
        let pairs = shares.public.iter().zip(shares.secret.iter());
        let answers = pairs
            .map(|(share, rk)| prove(rng, &Plain, &capsule, share, rk, &[b"", b"", b""]))
            .collect();
        Self {
            label,
            bob,
            capsule,
            shares,
            answers,
        }
    }

    fn hold(&self) -> bool {
        let batch = self.shares.public.iter().zip(&self.answers);
        let batch: Vec<_> = batch.map(|(share, it)| (&Plain, share, it)).collect();
        all_hold(&self.capsule, &batch)
    }

    fn first_holds(&self) -> Result<(), crate::error::FragError> {
        equations(
            &Plain,
            &self.capsule,
            &self.shares.public[0],
            &self.answers[0],
        )
    }
}

#[test]
fn honest_answers_hold_one_by_one_and_together() {
    for total in [1, 2, 5, 16] {
        let world = World::new(1, total);
        assert!(world.hold(), "{total}");
        assert_eq!(world.first_holds(), Ok(()));
    }
    assert!(all_hold::<Plain>(&World::new(1, 1).capsule, &[]));
}

#[test]
fn one_false_equation_spoils_the_batch() {
    let lies: [fn(&mut World); 7] = [
        |world| world.answers[0].e1 = double(&world.answers[0].e1),
        |world| world.answers[0].v1 = double(&world.answers[0].v1),
        |world| world.shares.public[0].u1 = double(&world.shares.public[0].u1),
        |world| world.answers[0].proof.e2 = double(&world.answers[0].proof.e2),
        |world| world.answers[0].proof.v2 = double(&world.answers[0].proof.v2),
        |world| world.answers[0].proof.u2 = double(&world.answers[0].proof.u2),
        |world| world.answers[0].proof.rho += Scalar::ONE,
    ];
    for lie in lies {
        let mut world = World::new(2, 3);
        lie(&mut world);
        assert!(!world.hold());
        assert!(world.first_holds().is_err());
    }
}

fn double(point: &AffinePoint) -> AffinePoint {
    ProjectivePoint::from(*point).double().to_affine()
}

/// Without weights of their own, errors in two equations, or in two answers, could cancel: what is
/// added here to one is taken away from the other.
#[test]
fn errors_that_cancel_each_other_are_noticed() {
    let shift = ProjectivePoint::mul_by_generator(&random_scalar(&mut rng()));
    // No challenge covers rho, so the errors can be made to fit exactly the unweighted sum.
    let mut world = World::new(2, 3);
    world.answers[0].proof.rho += Scalar::ONE;
    world.answers[1].proof.rho -= Scalar::ONE;
    assert!(!world.hold(), "across answers");

    let mut world = World::new(2, 3);
    let base = world.answers[0].proof.clone();
    world.answers[0].proof.e2 = (ProjectivePoint::from(base.e2) + shift).to_affine();
    world.answers[0].proof.v2 = (ProjectivePoint::from(base.v2) - shift).to_affine();
    let (share, rk) = (&world.shares.public[0], world.shares.secret[0]);
    let before = Plain.challenge(&Statement::new(&world.capsule, share, &world.answers[0]));
    // The liar knows the nonce; the response to the new challenge is right for the honest points.
    let old = {
        let mut honest = world.answers[0].clone();
        honest.proof = base.clone();
        Plain.challenge(&Statement::new(&world.capsule, share, &honest))
    };
    world.answers[0].proof.rho = base.rho + (before - old) * rk;
    assert!(!world.hold(), "across equations");
}

#[test]
fn m_answers_make_the_point_of_the_capsule() {
    let world = World::new(3, 5);
    let expected = world.capsule.point(world.label.scalar());
    for chosen in [[0, 1, 2], [4, 1, 3]] {
        let first = &world.shares.public[0];
        let dh = ProjectivePoint::from(first.precursor) * world.bob.scalar();
        let shared = Shared::new(&Plain, &first.precursor, &world.bob.public(), &dh);
        let ids: Vec<_> = chosen.iter().map(|i| &world.shares.public[*i].id).collect();
        let weights = weights(&shared, &ids).unwrap();
        let answers = chosen.iter().map(|i| &world.answers[*i]);
        let public = world.label.public();
        let point = combine(&world.capsule, &public, &weights, answers.clone()).unwrap();
        assert_eq!(*point, *expected);
        assert_eq!(*combine_unchecked(&weights, answers.clone()), *expected);
        let two = combine(&world.capsule, &public, &weights[..2], answers.take(2));
        assert!(two.is_none(), "one is missing");
    }
}

#[test]
fn one_share_twice_has_no_weights() {
    let world = World::new(2, 3);
    let share = &world.shares.public[0];
    let dh = ProjectivePoint::from(share.precursor) * world.bob.scalar();
    let shared = Shared::new(&Plain, &share.precursor, &world.bob.public(), &dh);
    assert!(weights(&shared, &[&share.id, &share.id]).is_none());
}
