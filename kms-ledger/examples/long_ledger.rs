//! How long a long ledger takes to open: `long_ledger COUNT`. Run by `scripts/bench ledger`.
//!
//! Every record is a revocation of another policy, signed and chained as all records are; then the file is opened by a
//! reader who knows nothing, and by one who remembers its head (LEDGER §3).

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement")]

use std::{
    fs::File,
    io::{BufWriter, Write},
    time::Instant,
};

use kms_crypto::key::LedgerKey;
use kms_ledger::{FileLedger, FileOptions};
use kms_proto::{
    DEFAULT_NETWORK,
    ledger::{Chain, Entry, EntryStatement, Ledger, Prepared, Revoke},
    signed::Signed,
};

fn main() {
    let count: u64 = std::env::args()
        .nth(1)
        .map_or(10_000, |it| it.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger");
    // The header is the ledger's own business.
    drop(FileLedger::open_writer(&path, FileOptions::default()).unwrap());
    let file = File::options().append(true).open(&path).unwrap();
    let mut out = BufWriter::with_capacity(1 << 20, file);
    let mut rng = rand_core::UnwrapErr(getrandom::SysRng);
    let author = LedgerKey::generate(&mut rng);
    let mut chain = Chain::new(DEFAULT_NETWORK);
    for number in 0..count {
        let mut inner = [0; 32];
        inner[..8].copy_from_slice(&number.to_be_bytes());
        let statement = EntryStatement {
            network: DEFAULT_NETWORK.to_owned(),
            entry: Entry::Revoke(Revoke {
                ledger_key: author.public(),
                inner,
                epoch: 1,
            }),
        };
        let entry = Signed::sign(statement, &author, &mut rng).unwrap();
        let Prepared::New(record) = chain.prepare(entry, 1_800_000_000).unwrap() else {
            unreachable!("each is another one");
        };
        let bytes = record.bytes();
        out.write_all(&u32::try_from(bytes.len()).unwrap().to_be_bytes())
            .unwrap();
        out.write_all(bytes).unwrap();
        out.write_all(&crc32c::crc32c(bytes).to_be_bytes()).unwrap();
        chain.commit(record);
    }
    out.flush().unwrap();
    let head = chain.head();
    drop(chain);
    let bytes = path.metadata().unwrap().len();
    for (who, seen) in [
        ("who knows nothing", None),
        ("who remembers the head", Some(head)),
    ] {
        let options = FileOptions {
            seen,
            clock: std::sync::Arc::new(|| 1_800_000_000),
            ..FileOptions::default()
        };
        let (begun, busy) = (Instant::now(), processor_seconds());
        let ledger = FileLedger::open_reader(&path, options).unwrap();
        assert_eq!(ledger.head().unwrap(), head);
        println!(
            "{count} records, {bytes} bytes: {:.2} s, {:.2} s of a processor, for a reader {who}",
            begun.elapsed().as_secs_f64(),
            processor_seconds() - busy
        );
    }
}

/// What this thread has computed so far, which holds on a busy machine as well.
fn processor_seconds() -> f64 {
    let spent = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let nanoseconds: f64 = spent.split(' ').next().unwrap().parse().unwrap();
    nanoseconds / 1e9
}
