//! Secrets of 32 bytes, one type per role.

use core::fmt;

use rand_core::CryptoRng;
use subtle::ConstantTimeEq;
use zeroize::ZeroizeOnDrop;

use crate::wipe::Kept;

macro_rules! secret_bytes {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        pub struct $name(Kept<[u8; 32]>);

        impl $name {
            /// A new random key.
            #[must_use]
            pub fn generate(rng: &mut (impl CryptoRng + ?Sized)) -> Self {
                let mut key = Self(Kept::new([0; 32]));
                rng.fill_bytes(key.0.as_mut());
                key
            }

            /// Copies the key from its bytes.
            #[must_use]
            pub fn from_bytes(bytes: &[u8; 32]) -> Self {
                Self(Kept::copied(bytes))
            }

            /// The bytes, for derivations and wrapping.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.0.ct_eq(other.as_bytes()).into()
            }
        }

        impl Eq for $name {}

        impl ZeroizeOnDrop for $name {}

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(..)"))
            }
        }
    };
}

secret_bytes!(
    /// The root of one store's keys; everything of the owner's is derived from it or wrapped under it.
    StoreKey
);
secret_bytes!(
    /// A directory's key of one epoch; the keys of what lies in it are wrapped under it.
    DirKey
);
secret_bytes!(
    /// A file's key of one epoch.
    FileKey
);
secret_bytes!(
    /// What a capsule holds: opens the file or directory key that stands beside it.
    LabelSecret
);
secret_bytes!(
    /// The key that encrypts the names in one directory.
    NameKey
);
