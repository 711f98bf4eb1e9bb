//! Umbral: the same scheme in the encodings and hashes of umbral-pre 0.5 to 0.11, for exchanging
//! capsules and fragments with programs that use that library. UMBRAL.
//!
//! Encodings are its "simple" ones, fixed fields without a prefix: capsule 98 bytes, key fragment 260,
//! capsule fragment 359. Stores of kmsfs never contain them; [`crate::scheme`] is what binds a
//! fragment to a policy and a secret to its label.
//!
//! Stricter than umbral-pre: compressed points only and never the identity, scalars in `1..n`, low s
//! only, flags 0 or 1, no trailing bytes, 1 ≤ m ≤ n, distinct shares, U never read from a message, and a
//! node that knows all keys checks the signature meant for the recipient, too, so that nobody on the
//! way can make it answer with something that looks like its own fault.
//!
//! ```
//! use kms_crypto::key::{EcDelegatingKey, IdentitySecret, LedgerKey};
//! use kms_crypto::policy::Threshold;
//! use kms_crypto::umbral::{self, CapsuleFrag, Parties, SignedKeys};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let rng = &mut rand_core::UnwrapErr(getrandom::SysRng);
//! let (alice, signer) = (EcDelegatingKey::generate(rng), LedgerKey::generate(rng));
//! let bob = IdentitySecret::generate(rng);
//! let parties = Parties {
//!     verifying: signer.public(),
//!     delegating: alice.public(),
//!     receiving: bob.public(),
//! };
//! let (capsule, sealed) = umbral::encrypt(rng, &alice.public(), b"peace at dawn");
//! let threshold = Threshold::new(2, 3)?;
//! let frags =
//!     umbral::generate_key_frags(rng, &alice, &bob.public(), &signer, threshold, SignedKeys::BOTH)?;
//!
//! let mut answers = Vec::new();
//! for frag in frags.into_iter().take(2) {
//!     let frag = frag.verify(
//!         &parties.verifying,
//!         Some(&parties.delegating),
//!         Some(&parties.receiving),
//!     )?;
//!     answers.push(frag.reencrypt(rng, &capsule));
//! }
//!
//! let checked = CapsuleFrag::verify_all(answers, &capsule, &parties);
//! let checked = checked.into_iter().collect::<Result<Vec<_>, _>>()?;
//! let opened = umbral::decrypt_reencrypted(&bob, &parties, &capsule, &checked, &sealed)?;
//! assert_eq!(*opened, b"peace at dawn");
//! # Ok(())
//! # }
//! ```

mod capsule;
mod cfrag;
mod dem;
mod factory;
mod kfrag;
mod reader;

#[cfg(test)]
mod tests;

pub use capsule::{Capsule, decrypt_original, encrypt};
pub use cfrag::{CapsuleFrag, VerifiedCapsuleFrag, decrypt_reencrypted};
pub use factory::SecretKeyFactory;
pub use kfrag::{KeyFrag, SignedKeys, VerifiedKeyFrag, generate_key_frags};
pub use reader::Reader;

use k256::Scalar;
use thiserror::Error;

use crate::curve::{POINT_LEN, hash_to_scalar};
use crate::error::OpenError;
use crate::key::PublicKey;
use crate::splitkey::{Dialect, Statement, U_BYTES};

/// The compressed second generator, to compare with another implementation's.
pub const GENERATOR: [u8; POINT_LEN] = U_BYTES;

/// The three keys a fragment is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parties {
    /// Signed the fragments.
    pub verifying: PublicKey,
    /// What is shared was encrypted to it.
    pub delegating: PublicKey,
    /// Can open what is re-encrypted.
    pub receiving: PublicKey,
}

/// Why a message could not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum UmbralError {
    /// The fragments do not give the key.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// They do, but the message is for another key or capsule, or was altered.
    #[error("the message does not open with this key")]
    Refused,
}

/// How Umbral hashes: over points alone, bound to nothing else.
#[derive(Clone, Copy)]
struct Umbral;

impl Dialect for Umbral {
    const CAPSULE: &'static str = "CAPSULE_POINTS";
    const SHARED: &'static str = "SHARED_SECRET";
    const INDEX: &'static str = "POLYNOMIAL_ARG";

    fn binding(&self) -> &[u8] {
        &[]
    }

    fn challenge(&self, statement: &Statement<'_>) -> Scalar {
        let (e, v) = statement.capsule.points().split_at(POINT_LEN);
        let parts: [&[u8]; 9] = [
            e,
            &statement.e1,
            &statement.e2,
            v,
            &statement.v1,
            &statement.v2,
            &U_BYTES,
            &statement.u1,
            &statement.u2,
        ];
        hash_to_scalar("CFRAG_VERIFICATION", &parts)
    }
}
