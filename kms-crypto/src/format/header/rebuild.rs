//! A directory's header made anew by the store's owner from what other headers and the stored names tell of it
//! (FORMAT §6.1).

use super::{OpenHeader, Signs};
use crate::format::core::Core;
use crate::format::error::HeaderError;
use crate::format::keys::EpochKey;
use crate::id::DirId;
use crate::key::StoreKey;

/// What is known of a directory whose header is lost.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Remains {
    /// The directory.
    pub id: DirId,
    /// The epoch of the key it gets.
    pub epoch: u32,
    /// The epoch of the key that is needed besides.
    pub prev: Option<u32>,
    /// The epoch of the key its names come of.
    pub names: u32,
    /// The same of names that have not been changed yet.
    pub prev_names: Option<u32>,
    /// The generation the header follows, which is above every one that was ever stored.
    pub generation: u64,
    /// What is signed in it.
    pub signs: Signs,
    /// Its permission bits.
    pub mode: u32,
}

impl OpenHeader {
    /// The header of a directory of which this remains. It has no names, labels and attributes.
    pub fn rebuild_dir(core: Core, key: &StoreKey, remains: &Remains) -> Result<Self, HeaderError> {
        let id = remains.id;
        let current = key.dir_key(&id, remains.epoch);
        let mut header = Self::dir_of_epoch(core, &current, remains.epoch, remains.mode)?;
        if header.dir_id()? != id {
            return Err(HeaderError::OtherDir);
        }
        header.ring.prev = remains
            .prev
            .map(|epoch| EpochKey::new(epoch, key.dir_key(&id, epoch).as_bytes()));
        let names = |epoch| key.name_key(&id, epoch);
        let prev = remains.prev_names.map(names);
        header.set_names(&names(remains.names), prev.as_ref(), remains.signs);
        header.state.generation = remains.generation;
        Ok(header)
    }
}
