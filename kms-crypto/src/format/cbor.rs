//! The little CBOR that headers need: numbers, byte strings, arrays, maps, null (FORMAT §1.3).
//!
//! Decoding is lenient here, because the library is; whoever decodes encodes again and compares.

use cbor4ii::core::dec::{Decode, Read};
use cbor4ii::core::enc::Encode;
use cbor4ii::core::types::{Array, Bytes, Map, Null};
use cbor4ii::core::utils::{BufWriter, SliceReader};

/// Bytes that are not what was expected at this place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unexpected;

/// Appends values.
pub(super) struct Writer(BufWriter);

impl Default for Writer {
    fn default() -> Self {
        Self(BufWriter::new(Vec::with_capacity(super::HEADER_LEN)))
    }
}

impl Writer {
    /// Continues behind bytes that are not CBOR.
    pub(super) fn after(prefix: Vec<u8>) -> Self {
        Self(BufWriter::new(prefix))
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0.into_inner()
    }

    pub(super) fn uint(&mut self, value: u64) {
        value.encode(&mut self.0).expect(MEMORY);
    }

    pub(super) fn bytes(&mut self, value: &[u8]) {
        Bytes(value).encode(&mut self.0).expect(MEMORY);
    }

    pub(super) fn null(&mut self) {
        Null.encode(&mut self.0).expect(MEMORY);
    }

    pub(super) fn array(&mut self, len: usize) {
        Array::bounded(len, &mut self.0).expect(MEMORY);
    }

    pub(super) fn map(&mut self, len: usize) {
        Map::bounded(len, &mut self.0).expect(MEMORY);
    }
}

const MEMORY: &str = "encoding into memory does not fail";

/// Takes values off the front.
pub(super) struct Reader<'a>(SliceReader<'a>);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(SliceReader::new(bytes))
    }

    pub(super) fn uint<T: TryFrom<u64>>(&mut self) -> Result<T, Unexpected> {
        let value = u64::decode(&mut self.0).map_err(|_| Unexpected)?;
        T::try_from(value).map_err(|_| Unexpected)
    }

    pub(super) fn slice(&mut self) -> Result<&'a [u8], Unexpected> {
        <Bytes<&'a [u8]>>::decode(&mut self.0)
            .map(|bytes| bytes.0)
            .map_err(|_| Unexpected)
    }

    pub(super) fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Unexpected> {
        self.slice()?.try_into().map_err(|_| Unexpected)
    }

    /// The length of the array that begins here.
    pub(super) fn array_len(&mut self) -> Result<usize, Unexpected> {
        Array::len(&mut self.0).ok().flatten().ok_or(Unexpected)
    }

    /// An array of exactly `len` values begins here.
    pub(super) fn array(&mut self, len: usize) -> Result<(), Unexpected> {
        if self.array_len()? == len {
            Ok(())
        } else {
            Err(Unexpected)
        }
    }

    pub(super) fn map_len(&mut self) -> Result<usize, Unexpected> {
        Map::len(&mut self.0).ok().flatten().ok_or(Unexpected)
    }

    /// Takes a null, if that is what comes.
    pub(super) fn null(&mut self) -> bool {
        let next = self
            .0
            .fill(1)
            .ok()
            .and_then(|bytes| bytes.as_ref().first().copied());
        if next == Some(0xf6) {
            self.0.advance(1);
            return true;
        }
        false
    }
}
