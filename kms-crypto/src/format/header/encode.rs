//! Writing the fields of a header (FORMAT §3.1 to §3.6). Parsing encodes again and compares, so this is also what
//! makes parsing strict.

use super::names::MoreNames;
use super::{
    Binding, Content, DirContent, FileContent, KeyTable, LabelSlot, MAGIC, PREFIX_LEN, SEALS_AT,
    State,
};
use crate::format::cbor::Writer;
use crate::format::core::Core;
use crate::format::error::{HeaderError, Part};
use crate::format::layout::Layout;
use crate::format::leaf::Leaf;
use crate::format::xattr::Xattrs;
use crate::format::{HEADER_LEAVES, VERSION};

/// The five fields, borrowed from wherever they are.
pub(super) struct Fields<'a> {
    pub(super) core: &'a Core,
    pub(super) keys: &'a KeyTable,
    pub(super) bindings: &'a [Binding],
    pub(super) more: Option<&'a MoreNames>,
    pub(super) labels: &'a [LabelSlot],
    pub(super) state: &'a State,
}

/// Prefix and CBOR, without padding and seals.
pub(super) fn encode(fields: &Fields<'_>) -> Result<Vec<u8>, HeaderError> {
    let mut prefix = Vec::with_capacity(crate::format::HEADER_LEN);
    prefix.extend_from_slice(&MAGIC);
    prefix.extend_from_slice(&VERSION.to_be_bytes());
    prefix.extend_from_slice(&[0; 4]);
    let mut out = Writer::after(prefix);
    out.map(5);
    out.uint(1);
    fields.core.encode(&mut out);
    out.uint(2);
    keys(&mut out, fields.keys);
    out.uint(3);
    out.array(fields.bindings.len() + usize::from(fields.more.is_some()));
    fields.bindings.iter().for_each(|it| binding(&mut out, it));
    if let Some(more) = fields.more {
        out.array(2);
        out.uint(more.generation);
        out.bytes(&more.digest);
    }
    out.uint(4);
    out.array(fields.labels.len());
    fields.labels.iter().for_each(|it| label(&mut out, it));
    out.uint(5);
    state(&mut out, fields.core, fields.state);

    let mut bytes = out.into_bytes();
    let len = bytes.len() - PREFIX_LEN;
    if bytes.len() > SEALS_AT {
        return Err(HeaderError::Full(Part::Envelope));
    }
    let len = u32::try_from(len).map_err(|_| HeaderError::Full(Part::Envelope))?;
    bytes[10..PREFIX_LEN].copy_from_slice(&len.to_be_bytes());
    Ok(bytes)
}

fn keys(out: &mut Writer, keys: &KeyTable) {
    out.array(3);
    out.uint(u64::from(keys.epoch));
    out.bytes(&keys.commitment);
    match &keys.prev {
        None => out.null(),
        Some(prev) => {
            out.array(3);
            out.uint(u64::from(prev.epoch));
            out.bytes(&prev.commitment);
            out.bytes(&prev.wrapped);
        }
    }
}

fn binding(out: &mut Writer, binding: &Binding) {
    out.array(4);
    out.bytes(&binding.dir.0);
    out.uint(u64::from(binding.dir_epoch));
    out.bytes(&binding.name_tag.0);
    out.bytes(&binding.wrapped);
}

fn label(out: &mut Writer, label: &LabelSlot) {
    out.array(7);
    out.bytes(&label.id.0);
    out.uint(u64::from(label.scheme.0));
    out.uint(u64::from(label.curve.0));
    out.uint(u64::from(label.generation));
    out.uint(u64::from(label.epoch));
    out.bytes(&label.capsule);
    out.bytes(&label.wrapped);
}

fn state(out: &mut Writer, core: &Core, state: &State) {
    out.array(5);
    out.uint(state.generation);
    out.uint(u64::from(state.full_mode()));
    xattrs(out, &state.xattrs);
    match (&state.content, state.special) {
        (Content::File(_), Some(special)) => {
            out.array(1);
            out.uint(u64::from(special.device()));
        }
        (Content::File(content), None) => file(out, core, content),
        (Content::Dir(names), _) => dir(out, names),
    }
    out.bytes(&state.writers.to_bytes());
}

fn xattrs(out: &mut Writer, xattrs: &Xattrs) {
    match xattrs {
        Xattrs::None => out.null(),
        Xattrs::Inline { epoch, sealed } => {
            out.array(2);
            out.uint(u64::from(*epoch));
            out.bytes(sealed);
        }
        Xattrs::Side {
            epoch,
            generation,
            digest,
        } => {
            out.array(3);
            out.uint(u64::from(*epoch));
            out.uint(*generation);
            out.bytes(digest);
        }
    }
}

fn file(out: &mut Writer, core: &Core, content: &FileContent) {
    out.array(3);
    out.uint(content.size);
    let count = inline_leaves(core, content.size);
    let mut leaves = [0; HEADER_LEAVES * Leaf::LEN];
    for (place, leaf) in leaves
        .chunks_exact_mut(Leaf::LEN)
        .zip(content.leaves.iter())
    {
        place.copy_from_slice(&leaf.to_bytes());
    }
    out.bytes(leaves.get(..count * Leaf::LEN).unwrap_or(&leaves));
    out.bytes(&content.root);
}

fn dir(out: &mut Writer, names: &DirContent) {
    out.array(3);
    out.bytes(&names.current);
    match &names.prev {
        None => out.null(),
        Some(prev) => out.bytes(prev),
    }
    out.uint(names.signs.number());
}

/// How many leaves stand in the header of a file of `size` bytes.
pub(super) fn inline_leaves(core: &Core, size: u64) -> usize {
    let chunks = Layout::new(core.chunk_bits).map_or(0, |layout| layout.chunk_count(size));
    usize::try_from(chunks)
        .unwrap_or(HEADER_LEAVES)
        .min(HEADER_LEAVES)
}
