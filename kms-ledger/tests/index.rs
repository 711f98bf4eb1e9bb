//! What a reader keeps for itself of a long ledger (LEDGER §5.2.2).
#![expect(clippy::unwrap_used, reason = "a test")]

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
};

use kms_crypto::{id::PolicyId, key::NodeSecret};
use kms_ledger::{
    FileLedger, FileOptions,
    conformance::{Author, NETWORK, START, registration},
};
use kms_proto::ledger::{Chain, Head, Ledger, LedgerError, PolicyState, Prepared, SignedEntry};
use rand_core::UnwrapErr;
use tempfile::TempDir;

const MONTH: u64 = 30 * 24 * 60 * 60;

/// A ledger just long enough for an index to be kept.
struct Long {
    dir: TempDir,
    head: Head,
    policies: Vec<PolicyId>,
}

impl Long {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let node = NodeSecret::generate(&mut UnwrapErr(getrandom::SysRng));
        let authors: [Author; 4] = std::array::from_fn(|_| Author::new());
        let mut entries = vec![
            authors[0].grant(1, START + 20 * MONTH),
            authors[1].sealed_grant(1, START + 20 * MONTH, 2),
            authors[1].release(2),
            authors[2].grant(1, START + 1),
            authors[3].revoke(7),
        ];
        let addr = ["/ip4/192.0.2.1/tcp/1"];
        let many = (1..=4100).map(|seq| registration(&node, seq, START + 20 * MONTH, &addr));
        entries.extend(many);
        let path = dir.path().join("ledger");
        let head = write(&path, &entries);
        let policies = authors.iter().map(Author::policy).collect();
        Self {
            dir,
            head,
            policies,
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("ledger")
    }

    fn index(&self) -> PathBuf {
        self.dir.path().join("own/index")
    }

    fn options(&self, seen: Option<Head>) -> FileOptions {
        FileOptions {
            clock: Arc::new(|| START + 3 * MONTH),
            seen,
            index: Some(self.index()),
            ..FileOptions::new(NETWORK)
        }
    }

    fn open(&self, seen: Option<Head>) -> Result<FileLedger, LedgerError> {
        FileLedger::open_reader(&self.path(), self.options(seen))
    }

    fn check(&self, ledger: &FileLedger) {
        let head = ledger.head().unwrap();
        assert!(head.height >= self.head.height);
        let state = |index: usize| ledger.policy(&self.policies[index]).unwrap();
        assert!(matches!(state(0), PolicyState::Live(grant) if grant.nodes.len() == 3));
        assert!(matches!(
            state(1),
            PolicyState::Revoked {
                epoch: 2,
                grant: Some(_),
                ..
            }
        ));
        assert!(matches!(state(2), PolicyState::Expired { .. }));
        assert!(matches!(
            state(3),
            PolicyState::Revoked {
                epoch: 7,
                grant: None,
                ..
            }
        ));
        let nodes = ledger.nodes().unwrap();
        assert_eq!((nodes.len(), nodes[0].seq), (1, 4100));
        assert_eq!(nodes[0].addrs, ["/ip4/192.0.2.1/tcp/1"]);
        assert!(ledger.read(2000, 2).unwrap().len() == 2);
    }

    /// Something in the middle of the ledger changes, which whoever reads it all notices.
    fn spoil_the_middle(&self) -> Vec<u8> {
        let whole = fs::read(self.path()).unwrap();
        let mut bytes = whole.clone();
        bytes[whole.len() / 2] ^= 1;
        fs::write(self.path(), bytes).unwrap();
        whole
    }
}

/// Writes a ledger as nodes would have, but at once; the first five entries at the start, the rest two months later.
fn write(path: &Path, entries: &[SignedEntry]) -> Head {
    let _ = fs::remove_file(path);
    let options = FileOptions::new(NETWORK);
    drop(FileLedger::open_writer(path, options).unwrap());
    let mut bytes = fs::read(path).unwrap();
    let mut chain = Chain::new(NETWORK);
    for (index, entry) in entries.iter().enumerate() {
        let time = if index < 5 { START } else { START + 2 * MONTH };
        let entry = entry.admit(NETWORK).unwrap();
        let Prepared::New(record) = chain.prepare(entry, time).unwrap() else {
            panic!("each is another one");
        };
        bytes.extend(u32::try_from(record.bytes().len()).unwrap().to_be_bytes());
        bytes.extend(record.bytes());
        bytes.extend(crc32c::crc32c(record.bytes()).to_be_bytes());
        chain.commit(record);
    }
    File::create(path).unwrap().write_all(&bytes).unwrap();
    chain.head()
}

#[test]
fn an_index_is_believed_beside_the_head_it_belongs_to_and_never_alone() {
    let long = Long::new();
    // Who remembers nothing reads everything, and keeps what follows from it.
    long.check(&long.open(None).unwrap());
    let index = fs::read(long.index()).unwrap();
    let whole = long.spoil_the_middle();
    // Who remembers the head does not read it again: the middle is not looked at.
    let ledger = long.open(Some(long.head)).unwrap();
    assert!(matches!(
        ledger.policy(&long.policies[0]),
        Ok(PolicyState::Live(_))
    ));
    // But who does not remember it, or another one, is not told by the index what to believe.
    assert!(matches!(long.open(None), Err(LedgerError::Tampered { .. })));
    let other = Head {
        hash: [1; 32],
        ..long.head
    };
    assert!(long.open(Some(other)).is_err());
    fs::write(long.path(), &whole).unwrap();
    assert!(matches!(
        long.open(Some(other)),
        Err(LedgerError::Forked { .. })
    ));

    // A wrong byte, a torn one, another network's, none: everything is read instead, and a good one is there again.
    let broken = |bytes: Vec<u8>| {
        fs::write(long.index(), bytes).unwrap();
        long.check(&long.open(Some(long.head)).unwrap());
        let again = long.spoil_the_middle();
        long.open(Some(long.head)).unwrap();
        fs::write(long.path(), again).unwrap();
    };
    for at in [0, 9, 14, index.len() / 2, index.len() - 1] {
        let mut bytes = index.clone();
        bytes[at] ^= 4;
        broken(bytes);
    }
    broken(index[..index.len() / 3].to_vec());
    broken(Vec::new());
    let elsewhere = Long::new();
    elsewhere.open(None).unwrap();
    broken(fs::read(elsewhere.index()).unwrap());
    fs::remove_file(long.index()).unwrap();
    long.check(&long.open(Some(long.head)).unwrap());
    assert!(long.index().exists());
}

#[test]
fn a_ledger_goes_on_and_is_compacted_behind_an_index() {
    let long = Long::new();
    long.open(None).unwrap();
    let writer = FileLedger::open_writer(&long.path(), long.options(Some(long.head))).unwrap();
    let author = Author::new();
    writer.submit(&author.grant(1, START + 9 * MONTH)).unwrap();
    long.check(&writer);
    let later = long.open(Some(long.head)).unwrap();
    long.check(&later);
    assert_eq!(later.head().unwrap().height, long.head.height + 1);
    // What is there already is still known to be.
    let again = writer.submit(&author.revoke(3)).unwrap();
    let repeated = FileLedger::open_writer(&long.path(), long.options(Some(long.head))).unwrap();
    assert_eq!(repeated.submit(&author.revoke(3)).unwrap(), again);

    let compacted = writer.compact().unwrap();
    assert_eq!(compacted.left_out, 4100);
    let after = long.open(Some(long.head)).unwrap();
    long.check(&after);
    long.check(&later);
    // And it must not become shorter than the index says, though the head remembered is an old one.
    let old = Head::genesis(NETWORK);
    let short = write(&long.path(), &[Author::new().revoke(1)]);
    assert_eq!(short.height, 1);
    assert!(matches!(
        long.open(Some(old)),
        Err(LedgerError::Shorter { .. } | LedgerError::Forked { .. })
    ));
}
