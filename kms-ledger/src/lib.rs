//! Where the ledgers of the kms network are kept: in memory, in a file that the nodes of one machine share, or in
//! replicas that some nodes keep for all (LEDGER §5).
//!
//! The rules are those of [`kms_proto::ledger`]; nothing here adds to them.

mod clock;
#[cfg(feature = "test-util")]
pub mod conformance;
pub mod dht;
mod file;
pub mod machine;
mod memory;
mod url;

pub use clock::{Clock, system_clock};
pub use dht::{DhtLedger, DhtOptions, Keeper};
pub use file::{Compacted, FileLedger, FileOptions};
pub use memory::MemoryLedger;
pub use url::{LedgerUrl, UrlError, parse_url};
