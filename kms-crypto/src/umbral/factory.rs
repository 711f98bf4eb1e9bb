//! Keys by label from one seed. UMBRAL §6.

use core::fmt;

use hkdf::Hkdf;
use rand_core::CryptoRng;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::curve::hash_to_scalar;
use crate::key::EcDelegatingKey;
use crate::wipe::{Kept, without_trace};

/// 32 secret bytes from which keys, secrets and further factories come, each by its label.
pub struct SecretKeyFactory {
    seed: Kept<[u8; Self::LEN]>,
}

impl fmt::Debug for SecretKeyFactory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKeyFactory(..)")
    }
}

impl SecretKeyFactory {
    /// Bytes of the seed.
    pub const LEN: usize = 32;

    /// A new one.
    #[must_use]
    pub fn generate(rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        let mut seed = Kept::new([0; Self::LEN]);
        rng.fill_bytes(seed.as_mut());
        Self { seed }
    }

    /// The one with this seed, which must come from a good source of randomness.
    #[must_use]
    pub fn from_bytes(seed: &[u8; Self::LEN]) -> Self {
        let seed = Kept::copied(seed);
        Self { seed }
    }

    /// The seed.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; Self::LEN]> {
        Zeroizing::new(*self.seed)
    }

    /// The key of a label.
    #[must_use]
    pub fn make_key(&self, label: &[u8]) -> EcDelegatingKey {
        let info = [b"KEY_DERIVATION/", label].concat();
        without_trace(|| {
            let wide = self.expand::<64>(&info);
            EcDelegatingKey::from_scalar(hash_to_scalar(&info, &[wide.as_ref()]))
        })
    }

    /// The factory of a label.
    #[must_use]
    pub fn make_factory(&self, label: &[u8]) -> Self {
        let info = [b"FACTORY_DERIVATION/", label].concat();
        without_trace(|| Self::from_bytes(&self.expand(&info)))
    }

    /// 64 secret bytes of a label.
    #[must_use]
    pub fn make_secret(&self, label: &[u8]) -> Zeroizing<[u8; 64]> {
        self.expand(&[b"SECRET_DERIVATION/", label].concat())
    }

    fn expand<const N: usize>(&self, info: &[u8]) -> Zeroizing<[u8; N]> {
        const { assert!(N <= 255 * 32, "HKDF gives at most 255 blocks") };
        let mut out = Zeroizing::new([0; N]);
        Hkdf::<Sha256>::new(None, self.seed.as_ref())
            .expand(info, out.as_mut_slice())
            .expect("the length was checked when compiling");
        out
    }
}
