//! Secret scalars, one type per role.

use core::fmt;
use core::str::FromStr;

use k256::{ProjectivePoint, Scalar};
use rand_core::CryptoRng;
use subtle::ConstantTimeEq;
use zeroize::{ZeroizeOnDrop, Zeroizing};

use super::PublicKey;
use crate::curve::{self, SCALAR_LEN};
use crate::error::{KeyError, KeyTextError};
use crate::kdf;
use crate::text;
use crate::wipe::{Kept, without_trace};

macro_rules! secret_scalar {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        pub struct $name {
            scalar: Kept<Scalar>,
            public: PublicKey,
        }

        impl $name {
            /// A new key.
            #[must_use]
            pub fn generate(rng: &mut (impl CryptoRng + ?Sized)) -> Self {
                without_trace(|| Self::from_scalar(curve::random_scalar(rng)))
            }

            /// Reads the 32-byte big-endian form.
            ///
            /// # Errors
            /// Zero, or not below the group order.
            pub fn from_bytes(bytes: &[u8; SCALAR_LEN]) -> Result<Self, KeyError> {
                without_trace(|| {
                    let scalar = curve::decode_scalar(bytes).ok_or(KeyError::NotAScalar)?;
                    Ok(Self::from_scalar(scalar))
                })
            }

            /// The 32-byte big-endian form.
            #[must_use]
            pub fn to_bytes(&self) -> Zeroizing<[u8; SCALAR_LEN]> {
                let mut bytes = Zeroizing::new([0; SCALAR_LEN]);
                without_trace(|| bytes.copy_from_slice(&self.scalar.to_bytes()));
                bytes
            }

            /// The public key, computed once when the secret was read or made.
            #[must_use]
            pub const fn public(&self) -> PublicKey {
                self.public
            }

            /// Wraps a scalar that is not zero; for use where the stack is wiped.
            pub(crate) fn from_scalar(scalar: Scalar) -> Self {
                curve::count_operation();
                let public = PublicKey::from_point(&ProjectivePoint::mul_by_generator(&scalar));
                Self {
                    scalar: Kept::new(scalar),
                    public,
                }
            }

            /// The scalar, for arithmetic.
            pub(crate) fn scalar(&self) -> &Scalar {
                &self.scalar
            }
        }

        impl ZeroizeOnDrop for $name {}

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.scalar.ct_eq(&other.scalar).into()
            }
        }

        impl Eq for $name {}

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(..)"))
            }
        }
    };
}

secret_scalar!(
    /// A person's key: opens what is shared with him, signs what he owns. As text
    /// `KMS-SECRET-KEY-1…`.
    IdentitySecret
);
secret_scalar!(
    /// A node's key; the same bytes make its network identity.
    NodeSecret
);
secret_scalar!(
    /// The key of one policy: signs its ledger entries and its fragments, and nothing else, so that
    /// a person's grants cannot be linked.
    LedgerKey
);
secret_scalar!(
    /// The key of one label and generation under a scheme over secp256k1; see
    /// [`DelegatingKey`](super::DelegatingKey).
    EcDelegatingKey
);

impl LedgerKey {
    /// The secret that ends the key's policy (SCHEMES §4). It is no way back to the key: whoever is given it can revoke, and
    /// nothing else.
    #[must_use]
    pub fn revocation_secret(&self) -> Zeroizing<[u8; 16]> {
        without_trace(|| kdf::derive(self.to_bytes().as_ref(), "kms/revocation-secret/1", &[]))
    }
}

impl IdentitySecret {
    /// `KMS-SECRET-KEY-1…`, in capitals so that nobody takes it for the public form.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        without_trace(|| {
            let mut text = text::encode(text::SECRET, self.to_bytes().as_ref());
            text.make_ascii_uppercase();
            text
        })
    }
}

impl FromStr for IdentitySecret {
    type Err = KeyTextError;

    fn from_str(text: &str) -> Result<Self, KeyTextError> {
        without_trace(|| {
            let bytes = text::decode::<SCALAR_LEN>(text::SECRET, text)?;
            Ok(Self::from_bytes(&bytes)?)
        })
    }
}
