//! What is derived from the store key. SCHEMES §4.

use zeroize::Zeroizing;

use super::{DirKey, LedgerKey, NameKey, StoreKey};
use crate::curve;
use crate::id::DirId;
use crate::kdf;
use crate::wipe::without_trace;

impl StoreKey {
    /// The key of a directory the owner made, in one epoch.
    #[must_use]
    pub fn dir_key(&self, dir: &DirId, epoch: u32) -> DirKey {
        without_trace(|| {
            DirKey::from_bytes(&self.derive32("kms/dir-key/1", &[&dir.0, &epoch.to_be_bytes()]))
        })
    }

    /// The name key a directory the owner made got with its key of this epoch.
    #[must_use]
    pub fn name_key(&self, dir: &DirId, epoch: u32) -> NameKey {
        NameKey::of_dir(&self.dir_key(dir, epoch), dir, epoch)
    }

    /// The key of the MAC by which the owner recognises his own headers.
    #[must_use]
    pub fn owner_mac_key(&self) -> Zeroizing<[u8; 32]> {
        self.derive32("kms/owner-mac/1", &[])
    }

    /// The key that seals what the owner keeps about his grants.
    #[must_use]
    pub fn records_key(&self) -> Zeroizing<[u8; 32]> {
        self.derive32("kms/records/1", &[])
    }

    /// The key of the MAC over the store's configuration.
    #[must_use]
    pub fn config_key(&self) -> Zeroizing<[u8; 32]> {
        self.derive32("kms/config/1", &[])
    }

    /// The ledger key of the policy with this salt.
    #[must_use]
    pub fn ledger_key(&self, policy_salt: &[u8; 32]) -> LedgerKey {
        without_trace(|| {
            LedgerKey::from_scalar(self.derive_scalar("kms/ledger-key/1", &[policy_salt]))
        })
    }

    fn derive32(&self, domain: &'static str, context: &[&[u8]]) -> Zeroizing<[u8; 32]> {
        kdf::derive32(self.as_bytes(), domain, context)
    }

    fn derive_scalar(&self, domain: &'static str, context: &[&[u8]]) -> k256::Scalar {
        curve::wide_scalar(&kdf::derive64(self.as_bytes(), domain, context))
    }
}

impl NameKey {
    /// The name key that comes of a directory's key (FORMAT §3.6): whoever has the one has the other, and the owner can
    /// have it again when the header is lost.
    #[must_use]
    pub fn of_dir(key: &DirKey, dir: &DirId, epoch: u32) -> Self {
        without_trace(|| {
            let parts: [&[u8]; 2] = [&dir.0, &epoch.to_be_bytes()];
            Self::from_bytes(&kdf::derive32(key.as_bytes(), "kms/dir-names/1", &parts))
        })
    }
}
