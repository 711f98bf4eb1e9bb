//! What of a header, a listed name or a link is remembered, and how a stored name is told again from it (FRESHNESS §3).

use data_encoding::BASE64URL_NOPAD;
use kms_crypto::format::OpenHeader;
use kms_crypto::name::{BackingName, NameTag};

use crate::backing::Kind;
use crate::freshness::{Entry, Id, Mark, Version};
use crate::inode::Inode;

/// The file whose presence under a long name has its own form (FORMAT §7.2).
const LONG: &[u8] = b"l.";

pub(super) fn version_of(header: &OpenHeader, mark: Mark) -> Version {
    Version {
        mark,
        writers: header.state.writers.clone(),
    }
}

/// What a name is remembered with.
pub(super) fn entry_of(id: Id, kind: Kind, header: &OpenHeader, backing: &str) -> Entry {
    Entry {
        object: Some(id),
        kind: kind_number(kind),
        is_only_name: header.bindings().len() <= 1,
        mode: u16::try_from(header.state.mode & 0o7777).unwrap_or(0),
        generation: header.state.generation,
        rest: rest_of(backing),
    }
}

/// The same of one that was only listed.
pub(super) fn listed_entry(kind: Kind, backing: &str) -> Entry {
    Entry {
        object: None,
        kind: kind_number(kind),
        is_only_name: false,
        mode: 0,
        generation: 0,
        rest: rest_of(backing),
    }
}

pub(super) fn link_entry(id: Id, backing: &str) -> Entry {
    Entry {
        object: Some(id),
        is_only_name: true,
        ..listed_entry(Kind::Symlink, backing)
    }
}

pub(super) const fn kind_number(kind: Kind) -> u8 {
    match kind {
        Kind::File | Kind::Special(_) | Kind::Other => 1,
        Kind::Dir => 2,
        Kind::Symlink => 3,
    }
}

/// What is kept of a stored name besides its tag; of a long one, its stored form.
pub(super) fn rest_of(backing: &str) -> Box<[u8]> {
    match BackingName::of(backing.as_bytes()) {
        BackingName::Short(whole) => {
            let sealed = BASE64URL_NOPAD.decode(whole.as_bytes()).unwrap_or_default();
            sealed.get(16..).unwrap_or_default().into()
        }
        _ => backing.as_bytes().into(),
    }
}

/// The stored name again.
pub(super) fn backing_of(tag: &Id, rest: &[u8]) -> String {
    // A short name has no more than 175 bytes after its tag, and none that is a stored form is shorter than 45.
    match std::str::from_utf8(rest) {
        Ok(text)
            if rest.starts_with(LONG)
                && matches!(BackingName::of(text.as_bytes()), BackingName::Long(_)) =>
        {
            text.to_owned()
        }
        _ => BASE64URL_NOPAD.encode(&[tag, rest].concat()),
    }
}

/// What of a header stands in its entries, in one number.
pub(super) fn noted(header: &OpenHeader) -> u32 {
    header.state.mode & 0o7777 | u32::from(header.bindings().len() > 1) << 16
}

pub(super) fn bound_in_memory(
    inode: &Inode,
    is_it: &impl Fn(&[u8; 16], &NameTag) -> bool,
) -> Option<bool> {
    let any = |header: &OpenHeader| {
        header
            .bindings()
            .iter()
            .any(|it| is_it(it.dir.as_bytes(), &it.name_tag))
    };
    if let Some(file) = inode.file() {
        let cell = file.cell.read();
        return cell.loaded.as_deref().map(|loaded| any(&loaded.header));
    }
    let state = inode.dir()?.state.read();
    state.header.as_deref().map(any)
}
