//! Making objects, and sealing their headers (FORMAT §3.8).

use rand_core::CryptoRng;

use super::encode::{Fields, encode};
use super::open::{SIGNED, key_seal, owner_seal, prev_epochs};
use super::parse::digest;
use super::{
    Content, DirContent, FileContent, KeyTable, OpenHeader, PREV, PrevKey, SEALS_AT, Signs, State,
    Writers,
};
use crate::aead::wrap_key;
use crate::format::HEADER_LEN;
use crate::format::core::{Core, Kind};
use crate::format::error::{HeaderError, Part};
use crate::format::keys::{EpochKey, KeyRing};
use crate::format::xattr::Xattrs;
use crate::id::MachineId;
use crate::key::{DirKey, FileKey, IdentitySecret, NameKey};

/// By whose keys a header is sealed.
#[derive(Clone, Copy, Debug)]
pub struct Sealer<'a> {
    /// The owner's seal; without it no owner accepts the header as his own.
    pub owner: Option<&'a [u8; 32]>,
    /// The owner's signature; nothing labelled can be sealed without it.
    pub signer: Option<&'a IdentitySecret>,
    /// The machine on which it is sealed.
    pub machine: Option<MachineId>,
}

impl OpenHeader {
    /// A new, empty file with this key.
    pub fn new_file(core: Core, key: &FileKey, mode: u32) -> Result<Self, HeaderError> {
        Self::new(
            core,
            Kind::File,
            key.as_bytes(),
            1,
            mode,
            Content::File(FileContent::EMPTY),
        )
    }

    /// A new directory with this key and the name key that comes of it. An owner takes `StoreKey::dir_key` of epoch 1.
    pub fn new_dir(core: Core, key: &DirKey, mode: u32) -> Result<Self, HeaderError> {
        let mut header = Self::dir_of_epoch(core, key, 1, mode)?;
        let names = header.name_key_of(key, 1)?;
        header.set_names(&names, None, Signs::Nothing);
        Ok(header)
    }

    /// A directory whose key is of this epoch, and that has no name keys yet.
    pub(super) fn dir_of_epoch(
        core: Core,
        key: &DirKey,
        epoch: u32,
        mode: u32,
    ) -> Result<Self, HeaderError> {
        let names = DirContent {
            current: [0; 48],
            prev: None,
            signs: Signs::Nothing,
        };
        Self::new(
            core,
            Kind::Dir,
            key.as_bytes(),
            epoch,
            mode,
            Content::Dir(names),
        )
    }

    pub(super) fn set_names(&mut self, current: &NameKey, prev: Option<&NameKey>, signs: Signs) {
        self.state.content = Content::Dir(DirContent {
            current: self.wrap_name_key(current),
            prev: prev.map(|prev| self.wrap_name_key(prev)),
            signs,
        });
    }

    fn new(
        core: Core,
        kind: Kind,
        key: &[u8; 32],
        epoch: u32,
        mode: u32,
        content: Content,
    ) -> Result<Self, HeaderError> {
        if core.id.kind() != kind {
            return Err(HeaderError::OtherKind);
        }
        let ring = KeyRing {
            current: EpochKey::new(epoch, key),
            prev: None,
        };
        let state = State {
            generation: 0,
            mode,
            special: None,
            xattrs: Xattrs::None,
            content,
            writers: Writers::default(),
        };
        let (bindings, labels) = (Vec::new(), Vec::new());
        Ok(Self {
            core,
            core_hash: core.hash(),
            ring,
            bindings,
            more: None,
            has_all_names: true,
            labels,
            signed: false,
            state,
        })
    }

    /// Counts the generation up and returns the bytes to store.
    ///
    /// A signature is made if there is a signer, which costs a public-key operation: pass one only for what is shared.
    pub fn seal(
        &mut self,
        sealer: &Sealer<'_>,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<[u8; HEADER_LEN], HeaderError> {
        if self.needs_signature() && sealer.signer.is_none() {
            return Err(HeaderError::Unsigned);
        }
        if !self.has_all_names {
            // They would be lost.
            return Err(HeaderError::Refused(Part::Bindings));
        }
        self.signed = sealer.signer.is_some();
        let generation = self.state.generation.checked_add(1);
        self.state.generation = generation.ok_or(HeaderError::Full(Part::State))?;
        self.state
            .writers
            .add(sealer.machine, self.state.generation);
        self.spill_names();
        let keys = self.key_table();
        let sealed = encode(&Fields {
            core: &self.core,
            keys: &keys,
            bindings: self.inline_names(),
            more: self.more.as_ref(),
            labels: &self.labels,
            state: &self.state,
        })?;

        let digest = digest(&sealed);
        let signature = sealer
            .signer
            .map(|signer| signer.sign(SIGNED, &digest, rng).to_bytes());
        let signature = signature.unwrap_or([0; 64]);
        let owner = sealer
            .owner
            .map(|key| owner_seal(key, &digest, &signature))
            .unwrap_or_default();
        let key = key_seal(
            self.ring.current.key(),
            &self.core_hash,
            &digest,
            &signature,
            &owner,
        );

        let mut out = [0; HEADER_LEN];
        out[..sealed.len()].copy_from_slice(&sealed);
        out[SEALS_AT..SEALS_AT + 64].copy_from_slice(&signature);
        out[SEALS_AT + 64..SEALS_AT + 96].copy_from_slice(&owner);
        out[SEALS_AT + 96..].copy_from_slice(&key);
        Ok(out)
    }

    fn key_table(&self) -> KeyTable {
        let current = &self.ring.current;
        let prev = self.ring.prev.as_ref().map(|prev| {
            let epochs = prev_epochs(prev.epoch, current.epoch);
            let ad: [&[u8]; 3] = [PREV, &self.core_hash, &epochs];
            PrevKey {
                epoch: prev.epoch,
                commitment: prev.commitment(&self.core_hash),
                wrapped: wrap_key(current.key(), &ad, prev.key()),
            }
        });
        KeyTable {
            epoch: current.epoch,
            commitment: current.commitment(&self.core_hash),
            prev,
        }
    }
}
