//! Reading a header: its form, not its truth (FORMAT §3.7, steps 1 to 4).

use super::encode::{Fields, encode, inline_leaves};
use super::names::{INLINE, MoreNames};
use super::special::{PERMISSIONS, Special};
use super::{
    Binding, Content, DirContent, FileContent, Header, KeyTable, LabelSlot, MAGIC, PREFIX_LEN,
    PrevKey, SEALS_AT, Seals, Signs, State, Writers,
};
use crate::format::cbor::{Reader, Unexpected};
use crate::format::core::{Core, Kind};
use crate::format::error::{HeaderError, Part};
use crate::format::layout::Layout;
use crate::format::leaf::{Leaf, LeafTable};
use crate::format::xattr::{INLINE_MAX, Xattrs};
use crate::format::{HEADER_LEN, MAX_LABELS, MAX_LINKS, MAX_SIZE, VERSION};
use crate::id::{CurveId, DirId, LabelId, SchemeId};
use crate::kdf::hash;
use crate::name::NameTag;

impl Header {
    /// Reads a header from the first bytes of a backing file; what follows the first 4096 is not looked at.
    ///
    /// The result is well-formed and of a known version and cipher. Nothing in it has been verified.
    pub fn parse(bytes: &[u8]) -> Result<Self, HeaderError> {
        let short = HeaderError::Short { found: bytes.len() };
        if bytes.get(..MAGIC.len()).is_some_and(|magic| magic != MAGIC) {
            return Err(HeaderError::NotAHeader);
        }
        let bytes: &[u8; HEADER_LEN] = bytes.first_chunk().ok_or(short)?;
        let version = u16::from_be_bytes([bytes[8], bytes[9]]);
        if version != VERSION {
            return Err(HeaderError::UnknownVersion(version));
        }
        let len = u32::from_be_bytes([bytes[10], bytes[11], bytes[12], bytes[13]]);
        let end = usize::try_from(len)
            .ok()
            .and_then(|len| len.checked_add(PREFIX_LEN));
        let end = end
            .filter(|end| *end <= SEALS_AT)
            .ok_or(HeaderError::Malformed(Part::Envelope))?;
        if bytes[end..SEALS_AT].iter().any(|byte| *byte != 0) {
            return Err(HeaderError::Malformed(Part::Envelope));
        }
        let header = fields(&bytes[PREFIX_LEN..end], digest(&bytes[..end]), seals(bytes))?;
        // Lenient decoding, strict form: exactly one encoding of every header is accepted.
        if encode(&header.fields())? != bytes[..end] {
            return Err(HeaderError::Malformed(Part::Envelope));
        }
        Ok(header)
    }

    /// Reads the header of a directory, which is all of its file.
    pub fn parse_dir(bytes: &[u8]) -> Result<Self, HeaderError> {
        if bytes.len() > HEADER_LEN {
            return Err(HeaderError::Long { found: bytes.len() });
        }
        Self::parse(bytes)
    }

    /// The bytes it was read from.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; HEADER_LEN] {
        let sealed = encode(&self.fields()).expect("it was short enough when it was read");
        let mut out = [0; HEADER_LEN];
        out[..sealed.len()].copy_from_slice(&sealed);
        let seals = &self.seals;
        let signature = seals.signature.unwrap_or([0; 64]);
        let parts = [&signature[..], &seals.owner, &seals.key].concat();
        out[SEALS_AT..].copy_from_slice(&parts);
        out
    }

    fn fields(&self) -> Fields<'_> {
        Fields {
            core: &self.core,
            keys: &self.keys,
            bindings: &self.bindings,
            more: self.more.as_ref(),
            labels: &self.labels,
            state: &self.state,
        }
    }
}

/// `SHA256("kms/header/1" ‖ 0x00 ‖ u32be len ‖ prefix and CBOR)`: what the seals are over.
pub(super) fn digest(sealed: &[u8]) -> [u8; 32] {
    hash("kms/header/1", &[sealed])
}

fn seals(bytes: &[u8; HEADER_LEN]) -> Seals {
    let (mut signature, mut owner, mut key) = ([0; 64], [0; 32], [0; 32]);
    signature.copy_from_slice(&bytes[SEALS_AT..SEALS_AT + 64]);
    owner.copy_from_slice(&bytes[SEALS_AT + 64..SEALS_AT + 96]);
    key.copy_from_slice(&bytes[SEALS_AT + 96..]);
    Seals {
        signature: (signature != [0; 64]).then_some(signature),
        owner,
        key,
    }
}

fn fields(cbor: &[u8], digest: [u8; 32], seals: Seals) -> Result<Header, HeaderError> {
    let from = &mut Reader::new(cbor);
    let envelope = |_| HeaderError::Malformed(Part::Envelope);
    let count = from.map_len().map_err(envelope)?;
    field(from, 1)?;
    let core = Core::decode(from)?;
    field(from, 2)?;
    let keys = keys(from).map_err(|_| HeaderError::Malformed(Part::Keys))?;
    field(from, 3)?;
    let (bindings, more) = bindings(from).map_err(|_| HeaderError::Malformed(Part::Bindings))?;
    field(from, 4)?;
    let labels = labels(from).map_err(|_| HeaderError::Malformed(Part::Labels))?;
    field(from, 5)?;
    let state = state(from, &core, keys.epoch)?;
    if count > 5 {
        let number = from.uint().map_err(envelope)?;
        return Err(HeaderError::UnknownField(number));
    }
    Ok(Header {
        core,
        keys,
        bindings,
        more,
        side: None,
        labels,
        state,
        digest,
        seals,
    })
}

fn field(from: &mut Reader<'_>, expected: u64) -> Result<(), HeaderError> {
    match from.uint() {
        Ok(number) if number == expected => Ok(()),
        Ok(number) if number > 5 => Err(HeaderError::UnknownField(number)),
        _ => Err(HeaderError::Malformed(Part::Envelope)),
    }
}

fn keys(from: &mut Reader<'_>) -> Result<KeyTable, Unexpected> {
    from.array(3)?;
    let (epoch, commitment) = (epoch(from)?, from.bytes()?);
    let prev = if from.null() {
        None
    } else {
        Some(prev_key(from)?)
    };
    if prev.as_ref().is_some_and(|prev| prev.epoch >= epoch) {
        return Err(Unexpected);
    }
    Ok(KeyTable {
        epoch,
        commitment,
        prev,
    })
}

fn prev_key(from: &mut Reader<'_>) -> Result<PrevKey, Unexpected> {
    from.array(3)?;
    Ok(PrevKey {
        epoch: epoch(from)?,
        commitment: from.bytes()?,
        wrapped: from.bytes()?,
    })
}

/// Epochs count from one; zero is for holes.
fn epoch(from: &mut Reader<'_>) -> Result<u32, Unexpected> {
    from.uint().and_then(|epoch| {
        if epoch == 0 {
            Err(Unexpected)
        } else {
            Ok(epoch)
        }
    })
}

type Names = (Vec<Binding>, Option<MoreNames>);

fn bindings(from: &mut Reader<'_>) -> Result<Names, Unexpected> {
    let count = from
        .array_len()
        .ok()
        .filter(|count| *count <= MAX_LINKS)
        .ok_or(Unexpected)?;
    let mut bindings = Vec::<Binding>::with_capacity(count);
    for _ in 0..count {
        match from.array_len()? {
            4 => {}
            2 if bindings.len() == INLINE => {
                let more = MoreNames {
                    generation: from.uint()?,
                    digest: from.bytes()?,
                };
                return Ok((bindings, Some(more)));
            }
            _ => return Err(Unexpected),
        }
        let binding = Binding {
            dir: DirId(from.bytes()?),
            dir_epoch: epoch(from)?,
            name_tag: NameTag(from.bytes()?),
            wrapped: from.bytes()?,
        };
        if bindings
            .iter()
            .any(|it| it.is(&binding.dir, &binding.name_tag))
        {
            return Err(Unexpected);
        }
        bindings.push(binding);
    }
    Ok((bindings, None))
}

fn labels(from: &mut Reader<'_>) -> Result<Vec<LabelSlot>, Unexpected> {
    let count = from
        .array_len()
        .ok()
        .filter(|count| *count <= MAX_LABELS)
        .ok_or(Unexpected)?;
    let mut labels = Vec::<LabelSlot>::with_capacity(count);
    for _ in 0..count {
        from.array(7)?;
        let label = LabelSlot {
            id: LabelId(from.bytes()?),
            scheme: SchemeId(from.uint()?),
            curve: CurveId(from.uint()?),
            generation: from.uint()?,
            epoch: epoch(from)?,
            capsule: from.slice()?.to_vec(),
            wrapped: from.bytes()?,
        };
        if labels.iter().any(|it| it.id == label.id) {
            return Err(Unexpected);
        }
        labels.push(label);
    }
    Ok(labels)
}

fn state(from: &mut Reader<'_>, core: &Core, key_epoch: u32) -> Result<State, HeaderError> {
    let malformed = |_| HeaderError::Malformed(Part::State);
    from.array(5).map_err(malformed)?;
    let generation = from.uint().map_err(malformed)?;
    let full_mode: u32 = from.uint().map_err(malformed)?;
    let (mode, type_bits) = (full_mode & PERMISSIONS, full_mode & !PERMISSIONS);
    let xattrs = xattrs(from, key_epoch).map_err(|_| HeaderError::Malformed(Part::Xattrs))?;
    let mut special = None;
    let content = match core.id.kind() {
        Kind::File if type_bits != 0 => {
            special = Some(self::special(from, type_bits).map_err(malformed)?);
            Content::File(FileContent::EMPTY)
        }
        Kind::Dir if type_bits != 0 => return Err(malformed(Unexpected)),
        Kind::File => Content::File(file(from, core).map_err(malformed)?),
        Kind::Dir => Content::Dir(names(from).map_err(|_| HeaderError::Malformed(Part::Names))?),
    };
    let writers = writers(from, generation).map_err(malformed)?;
    Ok(State {
        generation,
        mode,
        special,
        xattrs,
        content,
        writers,
    })
}

fn writers(from: &mut Reader<'_>, generation: u64) -> Result<Writers, Unexpected> {
    let writers = Writers::from_bytes(from.slice()?).ok_or(Unexpected)?;
    match writers.last() {
        Some((_, last)) if last != generation => Err(Unexpected),
        _ => Ok(writers),
    }
}

fn xattrs(from: &mut Reader<'_>, key_epoch: u32) -> Result<Xattrs, Unexpected> {
    if from.null() {
        return Ok(Xattrs::None);
    }
    let len = from.array_len()?;
    let epoch = epoch(from)?;
    if epoch > key_epoch {
        return Err(Unexpected);
    }
    match len {
        2 => {
            let sealed = from.slice()?;
            if sealed.len() > INLINE_MAX {
                return Err(Unexpected);
            }
            Ok(Xattrs::Inline {
                epoch,
                sealed: sealed.to_vec(),
            })
        }
        3 => Ok(Xattrs::Side {
            epoch,
            generation: from.uint()?,
            digest: from.bytes()?,
        }),
        _ => Err(Unexpected),
    }
}

fn special(from: &mut Reader<'_>, type_bits: u32) -> Result<Special, Unexpected> {
    from.array(1)?;
    let number = from.uint()?;
    Special::from_parts(type_bits, number).ok_or(Unexpected)
}

fn file(from: &mut Reader<'_>, core: &Core) -> Result<FileContent, Unexpected> {
    from.array(3)?;
    let size: u64 = from.uint()?;
    let bytes = from.slice()?;
    let root: [u8; 32] = from.bytes()?;
    let layout = Layout::new(core.chunk_bits).ok_or(Unexpected)?;
    if size > MAX_SIZE || bytes.len() != inline_leaves(core, size) * Leaf::LEN {
        return Err(Unexpected);
    }
    if layout.top_level(size) == 0 && root != [0; 32] {
        return Err(Unexpected);
    }
    let mut leaves = LeafTable::EMPTY;
    let (chunks, _) = bytes.as_chunks::<{ Leaf::LEN }>();
    for (slot, chunk) in chunks.iter().enumerate() {
        leaves.set(slot, Leaf::from_bytes(chunk).ok_or(Unexpected)?);
    }
    Ok(FileContent { size, leaves, root })
}

fn names(from: &mut Reader<'_>) -> Result<DirContent, Unexpected> {
    from.array(3)?;
    let current = from.bytes()?;
    let prev = if from.null() {
        None
    } else {
        Some(from.bytes()?)
    };
    let signs = Signs::of_number(from.uint()?).ok_or(Unexpected)?;
    Ok(DirContent {
        current,
        prev,
        signs,
    })
}
