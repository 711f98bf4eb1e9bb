//! Names: giving an object one more, taking one away, renewing one after its directory's key has changed
//! (FORMAT §3.4).

use super::{BINDING, Binding, Content, OpenHeader, Signs};
use crate::format::MAX_NAMES;
use crate::format::error::{HeaderError, Part};
use crate::format::keys::DirKeys;
use crate::id::DirId;
use crate::name::NameTag;

impl Binding {
    pub(super) fn is(&self, dir: &DirId, tag: &NameTag) -> bool {
        self.dir == *dir && self.name_tag == *tag
    }

    /// The associated data of its wrapping; `epochs` are those of directory key and object key.
    pub(super) fn ad<'a>(
        &'a self,
        core_hash: &'a [u8; 32],
        epochs: &'a ([u8; 4], [u8; 4]),
    ) -> [&'a [u8]; 6] {
        [
            BINDING,
            core_hash,
            &self.dir.0,
            &epochs.0,
            &self.name_tag.0,
            &epochs.1,
        ]
    }
}

impl OpenHeader {
    /// Gives the object a name in a directory; one it has already is wrapped anew. In a directory that says that what
    /// is in it is signed, so is this; and if it is a directory itself, so is what comes into it.
    pub fn bind(&mut self, dir: &DirKeys, tag: NameTag) -> Result<(), HeaderError> {
        self.put_binding(dir, tag)?;
        if dir.signs() != Signs::Nothing {
            self.sign();
            self.sign_below();
        }
        Ok(())
    }

    fn put_binding(&mut self, dir: &DirKeys, tag: NameTag) -> Result<(), HeaderError> {
        let binding = self.wrapped_for(dir, tag);
        if let Some(place) = self
            .bindings
            .iter_mut()
            .find(|it| it.is(&binding.dir, &tag))
        {
            *place = binding;
            return Ok(());
        }
        if self.bindings.len() >= MAX_NAMES {
            return Err(HeaderError::Full(Part::Bindings));
        }
        self.bindings.push(binding);
        Ok(())
    }

    fn sign_below(&mut self) {
        let is_new = self.state.generation == 0;
        if let Content::Dir(content) = &mut self.state.content {
            // In a directory that has never been stored there is nothing that would have to be signed yet.
            let signs = if is_new {
                Signs::Everything
            } else {
                Signs::WhatIsNew
            };
            content.signs = content.signs.max(signs);
        }
    }

    /// Takes a name away; says whether there was one.
    pub fn unbind(&mut self, dir: &DirId, tag: NameTag) -> bool {
        let before = self.bindings.len();
        self.bindings.retain(|it| !it.is(dir, &tag));
        self.bindings.len() != before
    }

    /// Whether a name in this directory is still wrapped under an older key of the directory.
    #[must_use]
    pub fn is_stale_in(&self, dir: &DirKeys) -> bool {
        self.bindings
            .iter()
            .any(|it| it.dir == dir.id() && it.dir_epoch != dir.epoch())
    }

    /// Wraps all names in this directory under its current key.
    ///
    /// Whoever knew the directory's old key still knows the object's: it needs a new key as well.
    pub fn rebind(&mut self, dir: &DirKeys) {
        let tags: Vec<_> = self
            .bindings
            .iter()
            .filter(|it| it.dir == dir.id())
            .map(|it| it.name_tag)
            .collect();
        for tag in tags {
            let binding = self.wrapped_for(dir, tag);
            if let Some(place) = self
                .bindings
                .iter_mut()
                .find(|it| it.is(&binding.dir, &tag))
            {
                *place = binding;
            }
        }
    }

    pub(super) fn wrapped_for(&self, dir: &DirKeys, name_tag: NameTag) -> Binding {
        let mut binding = Binding {
            dir: dir.id(),
            dir_epoch: dir.epoch(),
            name_tag,
            wrapped: [0; 48],
        };
        let epochs = (
            binding.dir_epoch.to_be_bytes(),
            self.ring.current.epoch.to_be_bytes(),
        );
        binding.wrapped = dir.wrap(
            &binding.ad(&self.core_hash, &epochs),
            self.ring.current.key(),
        );
        binding
    }
}
