//! Capsules: `(E, V, s)` with `s·G = V + h·E`. SCHEMES §8.2.

use k256::elliptic_curve::ops::MulByGeneratorVartime;
use k256::elliptic_curve::{BatchNormalize, Group};
use k256::{AffinePoint, ProjectivePoint, Scalar};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::Dialect;
use crate::curve::{POINT_LEN, encode_point, hash_to_scalar, random_scalar};

/// A capsule whose equation holds.
///
/// The equation shows that whoever made it knew a combination of the discrete logarithms, so that
/// nodes do not multiply just any point by their shares.
#[derive(Clone)]
pub(crate) struct Capsule {
    pub(crate) e: ProjectivePoint,
    pub(crate) v: ProjectivePoint,
    pub(crate) s: Scalar,
    /// The challenge, known since the check.
    pub(crate) h: Scalar,
    /// E and V, encoded.
    points: [u8; 2 * POINT_LEN],
}

impl Capsule {
    /// Nothing when the equation does not hold, or when E + V is the identity: the secret would be a
    /// constant that everybody knows. Variable time: capsules are public.
    pub(crate) fn checked<D: Dialect>(e: &AffinePoint, v: &AffinePoint, s: Scalar) -> Option<Self> {
        let points = joined(e, v);
        let h = hash_to_scalar(D::CAPSULE, &[&points]);
        let (e, v) = (ProjectivePoint::from(*e), ProjectivePoint::from(*v));
        let left = ProjectivePoint::mul_by_generator_and_mul_add_vartime(&s, &-h, &e);
        let good = left == v && !bool::from((e + v).is_identity());
        good.then_some(Self { e, v, s, h, points })
    }

    /// A new capsule and the point in it, `(r + u)·A`.
    pub(crate) fn make<D: Dialect>(
        rng: &mut (impl CryptoRng + ?Sized),
        key: &ProjectivePoint,
    ) -> (Self, Zeroizing<ProjectivePoint>) {
        let r = Zeroizing::new(random_scalar(rng));
        let u = Zeroizing::new(random_scalar(rng));
        let e = ProjectivePoint::mul_by_generator(&r);
        let v = ProjectivePoint::mul_by_generator(&u);
        let [e_affine, v_affine] = ProjectivePoint::batch_normalize(&[e, v]);
        let points = joined(&e_affine, &v_affine);
        let h = hash_to_scalar(D::CAPSULE, &[&points]);
        let s = *u + *r * h;
        let sum = Zeroizing::new(*r + *u);
        let capsule = Self { e, v, s, h, points };
        (capsule, Zeroizing::new(*key * *sum))
    }

    /// The point in it, `a·(E + V)`, for the owner of `a`.
    pub(crate) fn point(&self, key: &Scalar) -> Zeroizing<ProjectivePoint> {
        Zeroizing::new((self.e + self.v) * key)
    }

    /// E and V, encoded.
    pub(crate) const fn points(&self) -> &[u8; 2 * POINT_LEN] {
        &self.points
    }
}

fn joined(e: &AffinePoint, v: &AffinePoint) -> [u8; 2 * POINT_LEN] {
    let mut points = [0; 2 * POINT_LEN];
    let (first, second) = points.split_at_mut(POINT_LEN);
    first.copy_from_slice(&encode_point(e));
    second.copy_from_slice(&encode_point(v));
    points
}
