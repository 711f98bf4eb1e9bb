//! What people can do who put their secrets together.

use k256::{ProjectivePoint, Scalar};

use super::*;
use crate::splitkey::Shared;

/// What a recipient computes from shares he should not have: the interpolated key, times `d`.
fn interpolate(world: &World, frags: &[&VerifiedKeyFrag]) -> Scalar {
    let commitment = &world.frags[0].frag.commitment;
    let dh = ProjectivePoint::from(commitment.share.precursor) * world.bob.scalar();
    let bound = commitment.bound(world.policy.id());
    let precursor = &commitment.share.precursor;
    let shared = Shared::new(&bound, precursor, &world.policy.recipient, &dh);
    let points: Vec<_> = frags
        .iter()
        .map(|frag| (shared.index(&frag.frag.commitment.share.id), *frag.frag.rk))
        .collect();
    let mut sum = Scalar::ZERO;
    for (i, (index, share)) in points.iter().enumerate() {
        let mut weight = Scalar::ONE;
        for (j, (other, _)) in points.iter().enumerate() {
            if i != j {
                weight *= other * &(other - index).invert().unwrap();
            }
        }
        sum += weight * share;
    }
    sum * shared.divisor()
}

#[test]
fn fewer_than_m_shares_and_the_recipients_secret_open_nothing() {
    let world = World::new(3, 5);
    for pair in [[0, 1], [1, 4], [3, 2]] {
        let frags = pair.map(|index| &world.frags[index]);
        let key = interpolate(&world, &frags);
        assert_ne!(key, *world.label.scalar(), "not the label's key");
        let point = (world.capsule.core.e + world.capsule.core.v) * key;
        let secret = capsule::label_secret(
            &point,
            &world.capsule,
            &world.label.public(),
            &world.context,
        );
        assert_ne!(secret, world.secret, "nor what the capsule holds");
    }
    // Nor does pretending that two suffice: honest answers, the threshold forged behind the checks.
    let mut frags = some(&world, [0, 1]);
    for frag in &mut frags {
        frag.frag.commitment.threshold = Threshold::new(2, 5).unwrap();
    }
    assert_eq!(world.open(&frags), Err(OpenError::Inconsistent));
}

/// The limit of every scheme of this kind, and why a label's key is used for that label alone.
#[test]
fn m_shares_and_the_recipients_secret_are_the_labels_key() {
    let world = World::new(3, 5);
    let frags = [1, 2, 4].map(|index| &world.frags[index]);
    assert_eq!(interpolate(&world, &frags), *world.label.scalar());
}

/// The places of the shares on the polynomial are secret: all nodes together, without the recipient,
/// cannot interpolate by taking the public ids for them.
#[test]
fn all_shares_without_the_recipient_are_nothing() {
    let world = World::new(2, 3);
    let eve = World {
        bob: IdentitySecret::generate(&mut rng()),
        ..World::new(2, 3)
    };
    let thieves = World {
        bob: eve.bob,
        ..world
    };
    let frags: Vec<_> = thieves.frags.iter().collect();
    assert_ne!(interpolate(&thieves, &frags), *thieves.label.scalar());
}
