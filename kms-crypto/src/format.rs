//! The sealed file format: what a backing file holds (FORMAT §3 to §9).
//!
//! Every object of a store is a 4096-byte header, and for files a body behind it. This module computes offsets and
//! turns bytes into typed, verified values and back; it does no I/O and reads no clock.
//!
//! ```text
//! bytes ──Header::parse──▶ Header ──open(Via, Check)──▶ OpenHeader ──seal(Sealer)──▶ bytes
//!                          (anybody's word)             (verified; keys in hand)
//! Layout   where chunk and page stand         FileKeys  seals and opens chunks and pages
//! Tree     leaves of a file beyond 16 chunks  DirKeys   wraps what lies in a directory; NameCipher its names
//! ```

mod cbor;
mod chunk;
pub mod config;
mod core;
mod error;
pub mod file;
mod header;
mod keys;
pub mod layout;
mod leaf;
mod page;
mod tree;
pub mod xattr;

pub use self::core::{Core, Kind, ObjectId};
pub use config::{ConfigError, NewStore, StoreConfig};
pub use error::{BodyError, HeaderError, Part};
pub use header::{
    Binding, Check, Content, DirContent, FileContent, Header, Keepers, LabelKey, LabelSlot,
    OpenHeader, Remains, Sealer, Signs, Special, State, Via, Writers,
};
pub use keys::{DirKeys, FileKeys};
pub use layout::{Layout, LeafPlace, PageId};
pub use leaf::{Leaf, LeafTable};
pub use page::TagPage;
pub use tree::{ReadPage, SealedPage, Source, Tree, TreeError};
pub use xattr::{XattrError, XattrMap, Xattrs};

/// The version of the format that is written and read (FORMAT §3.1).
pub const VERSION: u16 = 1;
/// Bytes of a header.
pub const HEADER_LEN: usize = 4096;
/// Bytes of a tag page.
pub const PAGE_LEN: usize = 4096;
/// Entries of a tag page.
pub const PAGE_ENTRIES: usize = 126;
/// How many chunks have their leaves in the header.
pub const HEADER_LEAVES: usize = 16;
/// How many names stand in a header.
pub const MAX_LINKS: usize = 12;
/// How many names one file may have.
pub const MAX_NAMES: usize = 4096;
/// How many labels one object may have.
pub const MAX_LABELS: usize = 2;
/// The largest plaintext of a file.
pub const MAX_SIZE: u64 = 1 << 56;
/// The chunk size of new files, as a power of two.
pub const DEFAULT_CHUNK_BITS: u8 = 12;
