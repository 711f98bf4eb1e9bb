//! The names an object has by its header: which stored ones they are, and what people knew it by.

use std::sync::Arc;

use kms_crypto::format::Binding;
use kms_crypto::name::EncryptedName;

use super::super::{Result, Vfs};
use super::rebuild::tag_of;
use super::stray::Stray;
use crate::backing::OpenMode;
use crate::inode::Inode;

/// A name in the store, and what it stands for.
pub(super) struct Name {
    pub(super) stored: EncryptedName,
    pub(super) plain: Vec<u8>,
}

impl Vfs {
    /// The stored names that may go with a binding: the one the object has, and the one remembered.
    fn stored_names(&self, stray: &Stray, binding: &Binding) -> Vec<(String, Option<String>)> {
        let whole = self.whole_name(&stray.at, &stray.name).flatten();
        let own = (stray.name.clone(), whole);
        let known = self.remembered_name(binding).map(|name| (name, None));
        std::iter::once(own).chain(known).collect()
    }

    pub(super) fn name_at_home(
        &self,
        stray: &Stray,
        home: &Arc<Inode>,
        binding: &Binding,
    ) -> Option<Name> {
        let secrets = self.secrets(home).ok()?;
        let mut names = self.stored_names(stray, binding);
        let entries = self.disk.list(self.dir_fd(home).ok()?).ok()?;
        let there = entries.iter().find_map(|entry| {
            let name = std::str::from_utf8(&entry.name).ok()?;
            let whole = self.whole_name(home, name)?;
            let tag = tag_of(whole.as_deref().unwrap_or(name))?;
            (tag == binding.name_tag).then(|| (name.to_owned(), whole))
        });
        names.extend(there);
        names.into_iter().find_map(|(backing, whole)| {
            let long = whole.or_else(|| self.whole_name(home, &backing).flatten());
            let ciphers = std::iter::once(&secrets.names).chain(&secrets.prev_names);
            let plain = ciphers
                .filter_map(|names| names.decrypt(&backing, long.as_deref()).ok())
                .find(|(_, tag)| *tag == binding.name_tag)?
                .0;
            let tag = binding.name_tag;
            let stored = EncryptedName { backing, long, tag };
            Some(Name { stored, plain })
        })
    }

    /// The name people knew an object by whose directory may be gone.
    pub(super) fn plain_by(&self, stray: &Stray, binding: &Binding) -> Option<Vec<u8>> {
        let ciphers = self.name_ciphers(binding.dir, binding.dir_epoch);
        self.stored_names(stray, binding)
            .into_iter()
            .find_map(|(backing, whole)| {
                ciphers
                    .iter()
                    .filter_map(|(_, names)| names.decrypt(&backing, whole.as_deref()).ok())
                    .find(|(_, tag)| *tag == binding.name_tag)
            })
            .map(|(plain, _)| plain)
    }

    /// Whether two stored files are the same, byte for byte.
    pub(super) fn is_copy(&self, stray: &Stray, (home, name): (&Arc<Inode>, &str)) -> Result<bool> {
        let open = |dir: &Arc<Inode>, name: &str| -> Result<_> {
            Ok(self
                .disk
                .open_file(self.dir_fd(dir)?, name, OpenMode::Read)?)
        };
        let (one, other) = (open(&stray.at, &stray.name)?, open(home, name)?);
        let (mut first, mut second) = (vec![0; 1 << 18], vec![0; 1 << 18]);
        let mut at = 0;
        loop {
            let len = self.disk.read_at(&one, at, &mut first)?;
            let other_len = self.disk.read_at(&other, at, &mut second)?;
            if len != other_len || first[..len] != second[..len] {
                return Ok(false);
            }
            if len == 0 {
                return Ok(true);
            }
            at += len as u64;
        }
    }
}
