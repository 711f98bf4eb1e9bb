//! Re-encryption and its proof: that E₁, V₁ and U₁ are E, V and U times one number which the prover
//! knows. SCHEMES §8.4.
//!
//! Proving is constant time in share and nonce. Checking is variable time: all of it is public.

use k256::elliptic_curve::ops::LinearCombination;
use k256::elliptic_curve::{BatchNormalize, Group};
use k256::{AffinePoint, ProjectivePoint, Scalar};
use rand_core::CryptoRng;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{Capsule, Dialect, Share, mul_u, u};
use crate::curve::{POINT_LEN, SCALAR_LEN, encode_point, mul_pair, sum_vartime, wide_scalar};
use crate::error::FragError;
use crate::kdf;

/// A capsule times a share, with its proof.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// E₁ = rk·E.
    pub(crate) e1: AffinePoint,
    /// V₁ = rk·V.
    pub(crate) v1: AffinePoint,
    pub(crate) proof: Proof,
}

/// The prover's part of the proof; the challenge is recomputed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Proof {
    /// t·E.
    pub(crate) e2: AffinePoint,
    /// t·V.
    pub(crate) v2: AffinePoint,
    /// t·U.
    pub(crate) u2: AffinePoint,
    /// t + h·rk.
    pub(crate) rho: Scalar,
}

/// Everything a proof's challenge must cover, encoded.
pub(crate) struct Statement<'a> {
    pub(crate) capsule: &'a Capsule,
    pub(crate) share: &'a Share,
    pub(crate) u1: [u8; POINT_LEN],
    pub(crate) e1: [u8; POINT_LEN],
    pub(crate) v1: [u8; POINT_LEN],
    pub(crate) e2: [u8; POINT_LEN],
    pub(crate) v2: [u8; POINT_LEN],
    pub(crate) u2: [u8; POINT_LEN],
}

impl<'a> Statement<'a> {
    pub(crate) fn new(capsule: &'a Capsule, share: &'a Share, answer: &Answer) -> Self {
        Self {
            capsule,
            share,
            u1: encode_point(&share.u1),
            e1: encode_point(&answer.e1),
            v1: encode_point(&answer.v1),
            e2: encode_point(&answer.proof.e2),
            v2: encode_point(&answer.proof.v2),
            u2: encode_point(&answer.proof.u2),
        }
    }
}

/// Multiplies the capsule by the share `rk` and proves it; `context` goes into the nonce. Constant time
/// in share and nonce.
pub(crate) fn prove<D: Dialect>(
    rng: &mut (impl CryptoRng + ?Sized),
    dialect: &D,
    capsule: &Capsule,
    share: &Share,
    rk: &Scalar,
    context: &[&[u8]; 3],
) -> Answer {
    let nonce = Zeroizing::new(nonce(rng, rk, context));
    let [e1, e2] = mul_pair(&capsule.e, rk, &nonce);
    let [v1, v2] = mul_pair(&capsule.v, rk, &nonce);
    let points = [e1, v1, e2, v2, mul_u(&nonce)];
    let [e1, v1, e2, v2, u2] = ProjectivePoint::batch_normalize(&points);
    // The response takes the place of this zero once the challenge over everything else is known.
    let rho = Scalar::ZERO;
    let proof = Proof { e2, v2, u2, rho };
    let mut answer = Answer { e1, v1, proof };
    let h = dialect.challenge(&Statement::new(capsule, share, &answer));
    answer.proof.rho = *nonce + h * rk;
    answer
}

/// Two challenges answered with one nonce would give the share away, so the nonce depends on the
/// share, the capsule *and* fresh randomness: it repeats only with all of them.
fn nonce(rng: &mut (impl CryptoRng + ?Sized), rk: &Scalar, context: &[&[u8]; 3]) -> Scalar {
    let mut fresh = Zeroizing::new([0u8; 32]);
    rng.fill_bytes(fresh.as_mut());
    let key = Zeroizing::new(<[u8; SCALAR_LEN]>::from(rk.to_bytes()));
    let [binding, id, capsule] = *context;
    let parts: [&[u8]; 4] = [binding, id, capsule, &fresh[..]];
    wide_scalar(&kdf::derive64(&key, "kms/split/nonce/1", &parts))
}

/// The three equations, each by itself: none follows from the others, because the prover chooses the
/// points freely.
pub(crate) fn equations<D: Dialect>(
    dialect: &D,
    capsule: &Capsule,
    share: &Share,
    answer: &Answer,
) -> Result<(), FragError> {
    let h = dialect.challenge(&Statement::new(capsule, share, answer));
    let proof = &answer.proof;
    let holds = |base: ProjectivePoint, first: &AffinePoint, second: &AffinePoint| {
        let terms = [(base, proof.rho), (ProjectivePoint::from(*first), -h)];
        ProjectivePoint::lincomb_vartime(&terms) == ProjectivePoint::from(*second)
    };
    if !holds(capsule.e, &answer.e1, &proof.e2) {
        return Err(FragError::ProofE);
    }
    if !holds(capsule.v, &answer.v1, &proof.v2) {
        return Err(FragError::ProofV);
    }
    if !holds(u(), &share.u1, &proof.u2) {
        return Err(FragError::ProofCommitment);
    }
    Ok(())
}

/// An answer, and whether its share is signed.
pub(crate) struct Claim<'a, D> {
    pub(crate) signed: Result<(), FragError>,
    pub(crate) dialect: D,
    pub(crate) share: &'a Share,
    pub(crate) answer: &'a Answer,
}

/// A verdict on each of several answers to one capsule: those with a good signature are checked
/// together, and one by one when they do not hold together, to know whose fault it is.
pub(crate) fn check_all<D: Dialect>(
    capsule: &Capsule,
    claims: &[Claim<'_, D>],
) -> Vec<Result<(), FragError>> {
    let signed = claims.iter().filter(|claim| claim.signed.is_ok());
    let batch: Vec<_> = signed
        .map(|claim| (&claim.dialect, claim.share, claim.answer))
        .collect();
    let together = all_hold(capsule, &batch);
    let verdict = |claim: &Claim<'_, D>| {
        claim.signed?;
        if together {
            return Ok(());
        }
        equations(&claim.dialect, capsule, claim.share, claim.answer)
    };
    claims.iter().map(verdict).collect()
}

/// Whether all equations of all answers to one capsule hold, in one sum: each equation gets a weight of
/// its own, and the sum of the weighted differences must be the identity.
///
/// The weights are hashed from the whole batch, so a prover fixes his answers before he can know
/// them; an answer with a false equation passes with probability 2⁻¹²⁸ for each attempt. A
/// batch that fails says nothing about whose fault it is: [`equations`] does.
pub(super) fn all_hold<D: Dialect>(capsule: &Capsule, batch: &[(&D, &Share, &Answer)]) -> bool {
    let mut challenges = Vec::with_capacity(batch.len());
    let mut seed = Sha256::new_with_prefix(b"kms/batch/1");
    for (dialect, share, answer) in batch {
        // The challenge covers everything in the statement; only the response is missing in it.
        let h = dialect.challenge(&Statement::new(capsule, share, answer));
        seed.update(h.to_bytes());
        seed.update(answer.proof.rho.to_bytes());
        challenges.push(h);
    }
    let seed: [u8; 32] = seed.finalize().into();
    let mut bases = [Scalar::ZERO; 3];
    let mut terms = Vec::with_capacity(3 + 6 * batch.len());
    for (index, ((_, share, answer), h)) in (0u32..).zip(batch.iter().zip(&challenges)) {
        let proof = &answer.proof;
        let pairs = [
            (&answer.e1, &proof.e2),
            (&answer.v1, &proof.v2),
            (&share.u1, &proof.u2),
        ];
        for ((sum, (first, second)), weight) in
            bases.iter_mut().zip(pairs).zip(weights(&seed, index))
        {
            *sum += weight * proof.rho;
            terms.push((ProjectivePoint::from(*first), -(weight * h)));
            // A short scalar at a negated point costs half of a negated scalar.
            terms.push((-ProjectivePoint::from(*second), weight));
        }
    }
    terms.extend([capsule.e, capsule.v, u()].into_iter().zip(bases));
    sum_vartime(&terms).is_identity().into()
}

/// Three weights of 128 bits for the answer at `index`.
fn weights(seed: &[u8; 32], index: u32) -> [Scalar; 3] {
    let half = |equation: u8| -> [u8; 32] {
        let mut hasher = Sha256::new_with_prefix(seed);
        hasher.update(index.to_be_bytes());
        hasher.update([equation]);
        hasher.finalize().into()
    };
    let (first, last) = (half(0), half(1));
    let number = |bytes: &[u8]| {
        let bytes = <[u8; 16]>::try_from(bytes).expect("half of a digest is 16 bytes");
        Scalar::from(u128::from_be_bytes(bytes))
    };
    [
        number(&first[..16]),
        number(&first[16..]),
        number(&last[..16]),
    ]
}
