//! Everything that is done to a directory, written down.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;

use kmsfs::backing::{At, Call, Gate};
use parking_lot::Mutex;
use rustix::fs::{AtFlags, statat};

pub(super) type Node = usize;
pub(super) type Bytes = Arc<[u8]>;
pub(super) const PAGE: u64 = 4096;

/// A name in a directory.
pub(super) type Name = (Node, String);

#[derive(Clone, Debug)]
pub(super) enum Entry {
    Write(Node, u64, Bytes),
    SetLen(Node, u64),
    Punch(Node, u64, u64),
    Make(Name, Node),
    Rename(Name, Name),
    Exchange(Name, Name),
    Remove(Name),
    SyncFile(Node),
    /// With the name the file was made under.
    SyncAll(Node),
    SyncDir(Node),
    SyncFs,
}

#[derive(Clone, Debug)]
pub(super) enum Thing {
    Dir,
    File,
    Symlink(String),
}

/// What was there before, and what was done since.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) things: Vec<Thing>,
    /// Content at the beginning: its length, and the pages that are not zeros.
    pub(super) content: HashMap<Node, (u64, BTreeMap<u64, Bytes>)>,
    pub(super) names: BTreeMap<Name, Node>,
    pub(super) entries: Vec<Entry>,
    by_ino: HashMap<u64, Node>,
}

/// Takes notes of a mount.
#[derive(Debug, Default)]
pub(super) struct Recorder(pub(super) Mutex<Log>);

impl Log {
    fn add(&mut self, ino: u64, thing: Thing) -> Node {
        self.things.push(thing);
        self.by_ino.insert(ino, self.things.len() - 1);
        self.things.len() - 1
    }

    /// The directory as it is; its root is node 0.
    pub(super) fn of(root: &Path) -> Self {
        let mut log = Self::default();
        let node = log.add(std::fs::metadata(root).unwrap().ino(), Thing::Dir);
        log.look(root, node);
        log
    }

    fn look(&mut self, dir: &Path, node: Node) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            let (path, meta) = (entry.path(), entry.metadata().unwrap());
            let name = (node, entry.file_name().into_string().unwrap());
            if let Some(&known) = self.by_ino.get(&meta.ino()) {
                self.names.insert(name, known);
                continue;
            }
            let child = if meta.is_dir() {
                self.add(meta.ino(), Thing::Dir)
            } else if meta.is_symlink() {
                let target = std::fs::read_link(&path).unwrap();
                let target = String::from_utf8(target.as_os_str().as_bytes().to_vec()).unwrap();
                self.add(meta.ino(), Thing::Symlink(target))
            } else {
                self.add(meta.ino(), Thing::File)
            };
            self.names.insert(name, child);
            if meta.is_dir() {
                self.look(&path, child);
            } else if meta.is_file() {
                let content = (meta.len(), pages(&path, meta.len()));
                self.content.insert(child, content);
            }
        }
    }

    fn node(&self, fd: BorrowedFd<'_>) -> Node {
        let ino = statat(fd, c"", AtFlags::EMPTY_PATH).unwrap().st_ino;
        self.by_ino[&ino]
    }

    fn name(&self, (dir, name): At<'_>) -> Name {
        (self.node(dir), name.to_owned())
    }

    fn make(&mut self, at: At<'_>, thing: Thing) -> Entry {
        let ino = statat(at.0, at.1, AtFlags::SYMLINK_NOFOLLOW)
            .unwrap()
            .st_ino;
        Entry::Make(self.name(at), self.add(ino, thing))
    }
}

fn pages(path: &Path, len: u64) -> BTreeMap<u64, Bytes> {
    let file = std::fs::File::open(path).unwrap();
    let mut found = BTreeMap::new();
    for page in 0..len.div_ceil(PAGE) {
        let mut bytes = [0; PAGE as usize];
        file.read_at(&mut bytes, page * PAGE).unwrap();
        if bytes.iter().any(|byte| *byte != 0) {
            found.insert(page, Bytes::from(bytes.as_slice()));
        }
    }
    found
}

impl Gate for Recorder {
    fn pass(&self, _: &Call<'_>) -> rustix::io::Result<()> {
        Ok(())
    }

    fn done(&self, call: &Call<'_>) {
        let mut log = self.0.lock();
        let entry = match *call {
            Call::Read | Call::Change => return,
            Call::Write {
                file,
                offset,
                bytes,
            } => Entry::Write(log.node(file), offset, bytes.into()),
            Call::SetLen { file, len } => Entry::SetLen(log.node(file), len),
            Call::Punch { file, offset, len } => Entry::Punch(log.node(file), offset, len),
            Call::CreateFile(at) => log.make(at, Thing::File),
            Call::MakeDir(at) => log.make(at, Thing::Dir),
            Call::Symlink(target, at) => log.make(at, Thing::Symlink(target.to_owned())),
            Call::Link(_, to) => {
                let ino = statat(to.0, to.1, AtFlags::SYMLINK_NOFOLLOW)
                    .unwrap()
                    .st_ino;
                Entry::Make(log.name(to), log.by_ino[&ino])
            }
            Call::Rename(from, to) => Entry::Rename(log.name(from), log.name(to)),
            Call::Exchange(one, other) => Entry::Exchange(log.name(one), log.name(other)),
            Call::Remove(at) => Entry::Remove(log.name(at)),
            Call::SyncData(file) => Entry::SyncFile(log.node(file.as_fd())),
            Call::SyncAll(file) => Entry::SyncAll(log.node(file.as_fd())),
            Call::SyncDir(dir) => Entry::SyncDir(log.node(dir)),
            Call::SyncFs => Entry::SyncFs,
            _ => unreachable!("a call nobody has told the recorder of: {call:?}"),
        };
        log.entries.push(entry);
    }
}
