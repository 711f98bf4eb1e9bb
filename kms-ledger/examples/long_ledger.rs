//! How long a long ledger takes to open: `long_ledger COUNT`. Run by `scripts/bench ledger`.
//!
//! Every record is a grant of another policy, nine of ten of them over. The file is opened by a reader who knows nothing, by
//! one who remembers its head (LEDGER §3), and by one who has an index (§5.2.2); then it is compacted (§5.2.1), and all is
//! done again.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    reason = "a measurement"
)]

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::Path,
    sync::Arc,
    time::Instant,
};

use kms_crypto::key::{LedgerKey, NodeSecret, PublicKey};
use kms_ledger::{FileLedger, FileOptions};
use kms_proto::{
    DEFAULT_NETWORK,
    ledger::{Chain, Entry, EntryStatement, Grant, Head, Ledger, Prepared},
    signed::Signed,
};

/// When the records are written, and when they are read.
const BEGUN: u64 = 1_800_000_000;
const NOW: u64 = BEGUN + 90 * 86_400;

fn main() {
    let count: u64 = std::env::args()
        .nth(1)
        .map_or(10_000, |it| it.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger");
    let head = write(&path, count);
    let index = dir.path().join("index");
    let options = |seen, index: Option<&Path>| FileOptions {
        seen,
        clock: Arc::new(|| NOW),
        index: index.map(Path::to_owned),
        ..FileOptions::default()
    };
    let open = |what: &str, seen, index: Option<&Path>| {
        let bytes = path.metadata().unwrap().len();
        measure(&format!("{what}; {count} records, {bytes} bytes"), || {
            let ledger = FileLedger::open_reader(&path, options(seen, index)).unwrap();
            assert_eq!(ledger.head().unwrap(), head);
        });
    };
    let all = |what: &str| {
        open(&format!("{what} by who knows nothing"), None, None);
        open(
            &format!("{what} by who remembers the head"),
            Some(head),
            None,
        );
        open(
            "the same, and an index is written",
            Some(head),
            Some(&index),
        );
        for _ in 0..3 {
            open(
                &format!("{what} by who has an index"),
                Some(head),
                Some(&index),
            );
        }
        println!("the index has {} bytes", index.metadata().unwrap().len());
    };
    all("opening");
    let ledger = FileLedger::open_writer(&path, options(Some(head), Some(&index))).unwrap();
    measure("compacting", || {
        let compacted = ledger.compact().unwrap();
        println!("{compacted:?}");
    });
    drop(ledger);
    all("opening the compacted one");
}

/// Grants to three of ten nodes, signed and chained as all records are; nine of ten are over when they are read.
fn write(path: &Path, count: u64) -> Head {
    // The header is the ledger's own business.
    drop(FileLedger::open_writer(path, FileOptions::default()).unwrap());
    let file = File::options().append(true).open(path).unwrap();
    let mut out = BufWriter::with_capacity(1 << 20, file);
    let mut rng = rand_core::UnwrapErr(getrandom::SysRng);
    let author = LedgerKey::generate(&mut rng);
    let nodes: [PublicKey; 10] = std::array::from_fn(|_| NodeSecret::generate(&mut rng).public());
    let mut chain = Chain::new(DEFAULT_NETWORK);
    for number in 0..count {
        let mut inner = [0; 32];
        inner[..8].copy_from_slice(&number.to_be_bytes());
        let statement = EntryStatement {
            network: DEFAULT_NETWORK.to_owned(),
            entry: Entry::Grant(Grant {
                ledger_key: author.public(),
                inner,
                expiry: match number % 10 {
                    9 => NOW + 86_400,
                    _ => BEGUN + 86_400,
                },
                m: 2,
                nodes: (0..3)
                    .map(|it| nodes[(number as usize + it) % 10])
                    .collect(),
                seq: 1,
                revocation: Some([7; 16]),
            }),
        };
        let entry = Signed::sign(statement, &author, &mut rng).unwrap();
        let time = if number + 1 == count { NOW } else { BEGUN };
        let Ok(Prepared::New(record)) = chain.prepare(entry, time) else {
            unreachable!("each is another one, and none is over");
        };
        let bytes = record.bytes();
        out.write_all(&u32::try_from(bytes.len()).unwrap().to_be_bytes())
            .unwrap();
        out.write_all(bytes).unwrap();
        out.write_all(&crc32c::crc32c(bytes).to_be_bytes()).unwrap();
        chain.commit(record);
    }
    out.flush().unwrap();
    chain.head()
}

fn measure(what: &str, work: impl FnOnce()) {
    let (begun, busy) = (Instant::now(), processor_seconds());
    work();
    println!(
        "{what}: {:.2} s, {:.2} s of a processor",
        begun.elapsed().as_secs_f64(),
        processor_seconds() - busy
    );
}

/// What this thread has computed so far, which holds on a busy machine as well.
fn processor_seconds() -> f64 {
    let spent = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let nanoseconds: f64 = spent.split(' ').next().unwrap().parse().unwrap();
    nanoseconds / 1e9
}
