//! Labels: how an object's key stands beside a capsule (FORMAT §3.5).

use rand_core::CryptoRng;

use super::{LABEL, LabelSlot, OpenHeader};
use crate::aead::wrap_key;
use crate::format::MAX_LABELS;
use crate::format::error::{HeaderError, Part};
use crate::id::{LabelId, StoreId};
use crate::key::{LabelPublicKey, LabelSecret};
use crate::scheme::{LabelContext, encapsulate};

impl LabelSlot {
    /// What the capsule's key derivation binds.
    #[must_use]
    pub const fn context(&self, store: StoreId) -> LabelContext {
        LabelContext {
            store,
            label: self.id,
            epoch: self.epoch,
        }
    }

    /// `u16be scheme ‖ u16be curve ‖ u32be generation ‖ u32be epoch ‖ u32be key epoch`.
    pub(super) fn numbers(&self, key_epoch: u32) -> [u8; 16] {
        let mut out = [0; 16];
        out[..2].copy_from_slice(&self.scheme.0.to_be_bytes());
        out[2..4].copy_from_slice(&self.curve.0.to_be_bytes());
        out[4..8].copy_from_slice(&self.generation.to_be_bytes());
        out[8..12].copy_from_slice(&self.epoch.to_be_bytes());
        out[12..].copy_from_slice(&key_epoch.to_be_bytes());
        out
    }
}

/// What a new secret of a label is made for.
#[derive(Clone, Copy, Debug)]
pub struct LabelKey {
    /// The label.
    pub id: LabelId,
    /// Which of its delegating keys is used.
    pub generation: u32,
    /// The public part of that key, which says what scheme the capsule is of.
    pub public: LabelPublicKey,
}

impl OpenHeader {
    /// The label's slot.
    #[must_use]
    pub fn label(&self, id: &LabelId) -> Option<&LabelSlot> {
        self.labels.iter().find(|slot| slot.id == *id)
    }

    /// Gives the label a new secret and the object a capsule of it: the label's first, or the next epoch's.
    ///
    /// The object's current key is wrapped under it. After a revocation, whoever knew the old secret knows that key:
    /// follow with [`OpenHeader::rekey_file`] or [`OpenHeader::rekey_dir`], giving them the returned secret, before
    /// sealing.
    pub fn renew_label(
        &mut self,
        key: &LabelKey,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<LabelSecret, HeaderError> {
        let place = self.labels.iter().position(|slot| slot.id == key.id);
        if place.is_none() && self.labels.len() >= MAX_LABELS {
            return Err(HeaderError::Full(Part::Labels));
        }
        let before = place
            .and_then(|at| self.labels.get(at))
            .map_or(0, |slot| slot.epoch);
        let epoch = before
            .checked_add(1)
            .ok_or(HeaderError::Full(Part::Labels))?;
        let context = LabelContext {
            store: self.core.store,
            label: key.id,
            epoch,
        };
        let scheme = key.public.scheme();
        let unknown = HeaderError::UnknownScheme(scheme);
        let (capsule, secret) =
            encapsulate(rng, scheme, &key.public, &context).map_err(|_| unknown)?;
        let slot = LabelSlot {
            id: key.id,
            scheme,
            curve: capsule.curve(),
            generation: key.generation,
            epoch,
            capsule: capsule.to_bytes(),
            wrapped: [0; 48],
        };
        let slot = self.wrapped_by(slot, &secret);
        match place.and_then(|at| self.labels.get_mut(at)) {
            Some(place) => *place = slot,
            None => self.labels.push(slot),
        }
        Ok(secret)
    }

    /// Takes a label away; says whether there was one.
    pub fn drop_label(&mut self, id: &LabelId) -> bool {
        let before = self.labels.len();
        self.labels.retain(|slot| slot.id != *id);
        self.labels.len() != before
    }

    pub(super) fn wrapped_by(&self, mut slot: LabelSlot, secret: &LabelSecret) -> LabelSlot {
        let numbers = slot.numbers(self.ring.current.epoch);
        let ad: [&[u8]; 4] = [LABEL, &self.core_hash, &slot.id.0, &numbers];
        slot.wrapped = wrap_key(secret.as_bytes(), &ad, self.ring.current.key());
        slot
    }
}
