//! Opening a header: finding its key, and checking every seal before anything is believed (FORMAT §3.7, steps 5 to 9).

use super::{Content, Header, LABEL, OpenHeader, PREV, Signs};
use crate::aead::unwrap_key;
use crate::format::core::ObjectId;
use crate::format::error::{HeaderError, Part};
use crate::format::keys::{DirKeys, EpochKey, KeyRing};
use crate::id::LabelId;
use crate::kdf::{derive32, equal, mac};
use crate::key::{DirKey, FileKey, LabelSecret, PublicKey, StoreKey};
use crate::name::NameTag;
use crate::sign::Signature;
use crate::wipe::Kept;

/// Which way the object's key is come by.
#[derive(Clone, Copy, Debug)]
pub enum Via<'a> {
    /// It lies under a name in a directory whose keys are at hand.
    Dir {
        /// The directory's keys.
        keys: &'a DirKeys,
        /// The tag of the name it was found under.
        tag: NameTag,
    },
    /// It is shared by this label, whose secret has been released.
    Label {
        /// The label.
        id: LabelId,
        /// Its secret.
        secret: &'a LabelSecret,
    },
    /// It is the root directory of the store, or any other directory its owner made and knows to stand here.
    Store {
        /// The store's key.
        key: &'a StoreKey,
        /// The directory that must stand here.
        id: crate::id::DirId,
    },
    /// The key itself is at hand: of a file.
    FileKey(&'a FileKey),
    /// The key itself is at hand: of a directory.
    DirKey(&'a DirKey),
}

/// Whose word a header must be.
#[derive(Clone, Copy, Debug)]
pub enum Check<'a> {
    /// The owner's, and I am the owner: the owner's seal must hold.
    Owner(&'a [u8; 32]),
    /// The owner's, and this is his key: what is labelled must be signed.
    Signed(&'a PublicKey),
    /// That of anybody who holds the key.
    Key,
}

impl Header {
    /// Verifies everything and takes the keys out.
    ///
    /// Costs a few short authentication codes and one unwrapping; a signature is verified only for
    /// [`Check::Signed`], and only if there is one or must be one.
    pub fn open(mut self, via: Via<'_>, check: Check<'_>) -> Result<OpenHeader, HeaderError> {
        if let Check::Owner(key) = check {
            // First of all: nothing else in the header is looked at before its owner knows it as his own.
            let seal = owner_seal(key, &self.digest, &self.signature_bytes());
            if !equal(&seal, &self.seals.owner) {
                return Err(HeaderError::Refused(Part::OwnerSeal));
            }
        }
        let has_all_names = self.take_names()?;
        let core_hash = self.core.hash();
        let key = self.key_by(via, &core_hash)?;
        let key = EpochKey::new(self.keys.epoch, &key);
        if !equal(&key.commitment(&core_hash), &self.keys.commitment) {
            return Err(HeaderError::WrongKey);
        }
        let seal = key_seal(
            key.key(),
            &core_hash,
            &self.digest,
            &self.signature_bytes(),
            &self.seals.owner,
        );
        if !equal(&seal, &self.seals.key) {
            return Err(HeaderError::Refused(Part::KeySeal));
        }
        if let Check::Signed(owner) = check {
            self.check_signature(owner, via)?;
        }
        let prev = self.prev_key(&key, &core_hash)?;
        let ring = KeyRing { current: key, prev };
        self.check_epochs(&ring)?;
        let Self {
            core,
            bindings,
            more,
            labels,
            state,
            seals,
            ..
        } = self;
        Ok(OpenHeader {
            core,
            core_hash,
            ring,
            bindings,
            more,
            has_all_names,
            labels,
            signed: seals.signature.is_some(),
            state,
        })
    }

    fn key_by(&self, via: Via<'_>, core_hash: &[u8; 32]) -> Result<Kept<[u8; 32]>, HeaderError> {
        match via {
            Via::Dir { keys, tag } => self.key_by_binding(keys, tag, core_hash),
            Via::Label { id, secret } => self.key_by_label(id, secret, core_hash),
            Via::Store { key, id } => {
                if self.core.id != ObjectId::Dir(id) {
                    return Err(HeaderError::OtherDir);
                }
                let key = key.dir_key(&id, self.keys.epoch);
                Ok(Kept::copied(key.as_bytes()))
            }
            Via::FileKey(key) => {
                self.key_given(matches!(self.core.id, ObjectId::File(_)), key.as_bytes())
            }
            Via::DirKey(key) => {
                self.key_given(matches!(self.core.id, ObjectId::Dir(_)), key.as_bytes())
            }
        }
    }

    fn key_given(&self, kind_fits: bool, key: &[u8; 32]) -> Result<Kept<[u8; 32]>, HeaderError> {
        if kind_fits {
            Ok(Kept::copied(key))
        } else {
            Err(HeaderError::OtherKind)
        }
    }

    fn key_by_binding(
        &self,
        keys: &DirKeys,
        tag: NameTag,
        core_hash: &[u8; 32],
    ) -> Result<Kept<[u8; 32]>, HeaderError> {
        let dir = keys.id();
        let not_bound = HeaderError::NotBound { dir };
        let binding = self
            .bindings
            .iter()
            .find(|it| it.is(&dir, &tag))
            .ok_or(not_bound)?;
        let epochs = (
            binding.dir_epoch.to_be_bytes(),
            self.keys.epoch.to_be_bytes(),
        );
        keys.unwrap(
            binding.dir_epoch,
            &binding.ad(core_hash, &epochs),
            &binding.wrapped,
        )
        .ok_or(HeaderError::DirEpoch {
            epoch: binding.dir_epoch,
        })?
        .map_err(|_| HeaderError::Refused(Part::Bindings))
    }

    fn key_by_label(
        &self,
        id: LabelId,
        secret: &LabelSecret,
        core_hash: &[u8; 32],
    ) -> Result<Kept<[u8; 32]>, HeaderError> {
        let slot = self
            .labels
            .iter()
            .find(|slot| slot.id == id)
            .ok_or(HeaderError::NoLabel(id))?;
        let numbers = slot.numbers(self.keys.epoch);
        let ad: [&[u8]; 4] = [LABEL, core_hash, &slot.id.0, &numbers];
        unwrap_key(secret.as_bytes(), &ad, &slot.wrapped).map_err(|_| HeaderError::WrongKey)
    }

    fn check_signature(&self, owner: &PublicKey, via: Via<'_>) -> Result<(), HeaderError> {
        let Some(bytes) = &self.seals.signature else {
            return if self.must_be_signed(via) {
                Err(HeaderError::Unsigned)
            } else {
                Ok(())
            };
        };
        let refused = HeaderError::Refused(Part::Signature);
        let signature = Signature::from_bytes(bytes).map_err(|_| refused)?;
        owner
            .verify(SIGNED, &self.digest, &signature)
            .map_err(|_| refused)
    }

    /// The directory's word counts, not only the object's own: a reader of the object could leave its labels out.
    fn must_be_signed(&self, via: Via<'_>) -> bool {
        let is_vouched_for =
            matches!(via, Via::Dir { keys, .. } if keys.signs() == Signs::Everything);
        let signs = matches!(&self.state.content, Content::Dir(dir) if dir.signs != Signs::Nothing);
        is_vouched_for || signs || !self.labels.is_empty()
    }

    fn prev_key(
        &self,
        current: &EpochKey,
        core_hash: &[u8; 32],
    ) -> Result<Option<EpochKey>, HeaderError> {
        let Some(prev) = &self.keys.prev else {
            return Ok(None);
        };
        let epochs = prev_epochs(prev.epoch, current.epoch);
        let ad: [&[u8]; 3] = [PREV, core_hash, &epochs];
        let refused = HeaderError::Refused(Part::Keys);
        let key = unwrap_key(current.key(), &ad, &prev.wrapped).map_err(|_| refused)?;
        let key = EpochKey::new(prev.epoch, &key);
        if equal(&key.commitment(core_hash), &prev.commitment) {
            Ok(Some(key))
        } else {
            Err(refused)
        }
    }

    /// Everything in the header must be sealed under a key the header has.
    fn check_epochs(&self, ring: &KeyRing) -> Result<(), HeaderError> {
        if self
            .state
            .xattrs
            .epoch()
            .is_some_and(|epoch| ring.find(epoch).is_none())
        {
            return Err(HeaderError::Malformed(Part::Xattrs));
        }
        let Content::File(content) = &self.state.content else {
            return Ok(());
        };
        let known = |epoch| ring.find(epoch).is_some();
        if content
            .leaves
            .iter()
            .all(|leaf| leaf.is_hole() || known(leaf.epoch))
        {
            return Ok(());
        }
        Err(HeaderError::Malformed(Part::State))
    }

    fn signature_bytes(&self) -> [u8; 64] {
        self.seals.signature.unwrap_or([0; 64])
    }
}

/// What the owner's seal is: a MAC that only the owner can make.
pub(super) fn owner_seal(key: &[u8; 32], digest: &[u8; 32], signature: &[u8; 64]) -> [u8; 32] {
    mac(key, "kms/owner-seal/1", &[digest, signature])
}

/// What the key seal is: a MAC that whoever holds the object's key can make; it covers the other seals.
pub(super) fn key_seal(
    key: &[u8; 32],
    core_hash: &[u8; 32],
    digest: &[u8; 32],
    signature: &[u8; 64],
    owner: &[u8; 32],
) -> [u8; 32] {
    let key = derive32(key, "kms/header-key/1", &[core_hash]);
    mac(&key, "kms/key-seal/1", &[digest, signature, owner])
}

pub(super) fn prev_epochs(prev: u32, current: u32) -> [u8; 8] {
    let mut out = [0; 8];
    out[..4].copy_from_slice(&prev.to_be_bytes());
    out[4..].copy_from_slice(&current.to_be_bytes());
    out
}

pub(super) const SIGNED: &str = "kms/header-signature/1";
