//! Sharing the re-encryption key `a·d⁻¹` by a polynomial of degree m − 1. SCHEMES §8.3.

use k256::elliptic_curve::BatchNormalize;
use k256::{AffinePoint, ProjectivePoint, Scalar};
use rand_core::CryptoRng;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{Dialect, ID_LEN, Shared, mul_u};
use crate::curve::random_scalar;
use crate::error::SplitError;
use crate::key::PublicKey;
use crate::policy::Threshold;

/// The public half of a share.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Share {
    /// Names it.
    pub(crate) id: [u8; ID_LEN],
    /// X, the same for all shares of one split.
    pub(crate) precursor: AffinePoint,
    /// U₁ = rk·U.
    pub(crate) u1: AffinePoint,
}

/// All shares of one split.
pub(crate) struct Shares {
    /// Their public halves.
    pub(crate) public: Vec<Share>,
    /// rkᵢ, in the same order.
    pub(crate) secret: Zeroizing<Vec<Scalar>>,
}

/// Makes them. Constant time in every secret; the time depends on m and n.
pub(crate) fn share<D: Dialect>(
    rng: &mut (impl CryptoRng + ?Sized),
    dialect: &D,
    key: &Scalar,
    recipient: &PublicKey,
    threshold: Threshold,
) -> Result<Shares, SplitError> {
    let x = Zeroizing::new(random_scalar(rng));
    let precursor = ProjectivePoint::mul_by_generator(&x).to_affine();
    let dh = Zeroizing::new(recipient.point() * *x);
    let shared = Shared::new(dialect, &precursor, recipient, &dh);
    let divisor = Zeroizing::new(shared.divisor());
    let inverse = Option::<Scalar>::from(divisor.invert()).expect("hashes to scalars are not zero");
    let inverse = Zeroizing::new(inverse);

    let mut coefficients = Zeroizing::new(Vec::with_capacity(usize::from(threshold.needed())));
    coefficients.push(*key * *inverse);
    for _ in 1..threshold.needed() {
        coefficients.push(random_scalar(rng));
    }
    let total = usize::from(threshold.total());
    let ids = share_ids(rng, total)?;
    let mut secret = Zeroizing::new(Vec::with_capacity(total));
    for id in &ids {
        let index = Zeroizing::new(shared.index(id));
        let value = coefficients
            .iter()
            .rev()
            .fold(Scalar::ZERO, |sum, c| sum * *index + c);
        // Zero has no encoding; only a broken random number source gets here.
        if bool::from(value.ct_eq(&Scalar::ZERO)) {
            return Err(SplitError::Randomness);
        }
        secret.push(value);
    }
    let points: Vec<ProjectivePoint> = secret.iter().map(mul_u).collect();
    let commitments: Vec<AffinePoint> = ProjectivePoint::batch_normalize(points.as_slice());
    let public = ids.into_iter().zip(commitments);
    let public = public.map(|(id, u1)| Share { id, precursor, u1 }).collect();
    Ok(Shares { public, secret })
}

/// Random and distinct. A repetition means that the source of randomness is broken, and then nothing
/// made from it may leave this function.
pub(crate) fn share_ids(
    rng: &mut (impl CryptoRng + ?Sized),
    total: usize,
) -> Result<Vec<[u8; ID_LEN]>, SplitError> {
    let mut ids = vec![[0; ID_LEN]; total];
    ids.iter_mut().for_each(|id| rng.fill_bytes(id));
    let mut sorted = ids.clone();
    sorted.sort_unstable();
    sorted.dedup();
    if sorted.len() == total {
        Ok(ids)
    } else {
        Err(SplitError::Randomness)
    }
}
