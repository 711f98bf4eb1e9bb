//! Sharing without FUSE and without processes: a real store, the real client, and a network in memory whose nodes fail
//! as they are told.

#![expect(clippy::unwrap_used, reason = "helpers of tests may unwrap")]

mod attributes;
mod grants;
mod moves;
mod revocations;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kms_client::blocking::Client;
use kms_client::fake::FakeNetwork;
use kms_crypto::aead::Cipher;
use kms_crypto::format::Layout;
use kms_crypto::id::{SchemeId, StoreId};
use kms_crypto::key::{IdentitySecret, StoreKey};
use kmsfs::backing::Replace;
use kmsfs::contact::Book;
use kmsfs::share::{Network, Owner, OwnerParts, People, Recipient, RecipientParts, Refused};
use kmsfs::vfs::{Access, Caller, Ino, Options, StoreInfo, Vfs, VfsError};
use tempfile::TempDir;

/// Alice's store, opened, with Bob and Carol in her contacts and some nodes.
struct Scene {
    vfs: Arc<Vfs>,
    owner: Arc<Owner>,
    net: Arc<FakeNetwork>,
    alice: Arc<IdentitySecret>,
    bob: Arc<IdentitySecret>,
    carol: Arc<IdentitySecret>,
    dir: TempDir,
}

fn person(seed: u8) -> Arc<IdentitySecret> {
    Arc::new(IdentitySecret::from_bytes(&[seed; 32]).unwrap())
}

fn me() -> Caller {
    Caller {
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        pid: 1,
    }
}

impl Scene {
    fn new(nodes: usize) -> Self {
        Self::with(nodes, true)
    }

    fn with(nodes: usize, tunnel: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (alice, bob, carol) = (person(1), person(2), person(3));
        let store = dir.path().join("store");
        std::fs::create_dir(&store).unwrap();
        Vfs::create_store(&store, &info(&alice), &store_key()).unwrap();
        std::fs::write(store.join("kmsfs.toml"), "").unwrap();
        let mut book = Book::default();
        for (name, person) in [("bob", &bob), ("carol", &carol)] {
            let name = name.parse().unwrap();
            book.add(&name, person.public(), "2026-11-22").unwrap();
        }
        book.save(&dir.path().join("contacts.toml")).unwrap();
        let net = FakeNetwork::new(nodes);
        let (vfs, owner) = open(dir.path(), &alice, &net, tunnel);
        Self {
            vfs,
            owner,
            net,
            alice,
            bob,
            carol,
            dir,
        }
    }

    /// Unmounts and mounts again.
    fn reopen(&mut self) {
        self.owner.finish(PATIENCE);
        self.vfs.close().unwrap();
        // What holds the store has to go before it can be opened again.
        let nothing = Vfs::open_recipient(
            &self.store(),
            info(&self.alice),
            Arc::new(self.recipient(&self.bob)),
            Arc::new(self.recipient(&self.bob)),
            Options::new(self.dir.path().join("state-of-nobody")),
        );
        self.vfs = nothing.unwrap();
        let (vfs, owner) = open(self.dir.path(), &self.alice, &self.net, true);
        (self.vfs, self.owner) = (vfs, owner);
    }

    fn store(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    fn ino(&self, path: &str) -> Ino {
        self.vfs.resolve(Path::new(path)).unwrap()
    }

    fn put(&self, path: &str, content: &str) {
        let (dir, name) = self.split(path);
        let handle = match self.vfs.resolve(Path::new(path)) {
            Ok(ino) => {
                self.vfs
                    .open(me(), ino, Access::Write, true)
                    .unwrap()
                    .handle
            }
            Err(_) => {
                let made = self.vfs.create(me(), dir, &name, 0o644, Access::Write);
                made.unwrap().1.handle
            }
        };
        self.vfs
            .write(handle, 0, content.as_bytes(), false)
            .unwrap();
        self.vfs.flush(handle).unwrap();
        self.vfs.release(handle).unwrap();
    }

    fn split(&self, path: &str) -> (Ino, Vec<u8>) {
        let path = Path::new(path);
        let dir = self.vfs.resolve(path.parent().unwrap()).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        (dir, name.as_bytes().to_vec())
    }

    fn mkdir(&self, path: &str) {
        let (dir, name) = self.split(path);
        self.vfs.mkdir(me(), dir, &name, 0o755).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        let ((from_dir, from), (to_dir, to)) = (self.split(from), self.split(to));
        let moved = self
            .vfs
            .rename(me(), (from_dir, &from), (to_dir, &to), Replace::Yes);
        moved.unwrap();
    }

    fn unlink(&self, path: &str) {
        let (dir, name) = self.split(path);
        self.vfs.unlink(me(), dir, &name).unwrap();
    }

    fn grant(&self, path: &str, value: &str) -> Result<(), Refused> {
        self.owner.grant(self.ino(path), value.as_bytes()).map(drop)
    }

    fn revoke(&self, path: &str, value: &str) -> Result<(), Refused> {
        self.owner
            .revoke(self.ino(path), value.as_bytes())
            .map(drop)
    }

    fn info(&self, path: &str) -> String {
        let value = self.vfs.getxattr(me(), self.ino(path), b"user.kms.info");
        String::from_utf8(value.unwrap()).unwrap()
    }

    fn listed(&self, path: &str) -> bool {
        let names = self.vfs.listxattr(me(), self.ino(path)).unwrap();
        !names.is_empty()
    }

    fn recipient(&self, person: &Arc<IdentitySecret>) -> Recipient {
        Recipient::new(RecipientParts {
            root: self.store(),
            store: info(&self.alice).id,
            owner: self.alice.public(),
            identity: Arc::clone(person),
            people: People::new(self.dir.path().join("nobody's contacts")),
            network: network(&self.net),
        })
    }

    /// What somebody reads at a path who mounts the store just now.
    fn read_as(&self, person: &Arc<IdentitySecret>, path: &str) -> Result<String, VfsError> {
        let side = Arc::new(self.recipient(person));
        let vfs = Vfs::open_recipient(
            &self.store(),
            info(&self.alice),
            Arc::clone(&side) as _,
            Arc::clone(&side) as _,
            Options::new(self.dir.path().join("state-of-nobody")),
        )?;
        side.attach(&vfs);
        let ino = vfs.resolve(Path::new(path))?;
        let handle = vfs.open(me(), ino, Access::Read, false)?.handle;
        let (mut content, mut buf) = (Vec::new(), Vec::new());
        loop {
            let range = vfs.read(handle, content.len() as u64, 1 << 16, &mut buf)?;
            if range.is_empty() {
                return Ok(String::from_utf8(content).unwrap());
            }
            content.extend_from_slice(&buf[range]);
        }
    }

    #[track_caller]
    fn reads(&self, person: &Arc<IdentitySecret>, path: &str, content: &str) {
        assert_eq!(self.read_as(person, path).unwrap(), content);
    }

    #[track_caller]
    fn refused(&self, person: &Arc<IdentitySecret>, path: &str, errno: i32) {
        let error = self.read_as(person, path).unwrap_err();
        assert_eq!(error.errno().raw_os_error(), errno, "{error:?}");
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.owner.finish(PATIENCE);
        let _ = self.vfs.close();
    }
}

fn store_key() -> StoreKey {
    StoreKey::from_bytes(&[9; 32])
}

fn info(alice: &IdentitySecret) -> StoreInfo {
    StoreInfo {
        id: StoreId([5; 16]),
        owner: alice.public(),
        cipher: Cipher::Aes256Gcm,
        scheme: SchemeId::SPLIT_ECIES,
        layout: Layout::new(12).unwrap(),
    }
}

fn network(net: &Arc<FakeNetwork>) -> Network {
    let client = net.client_with(|config| config.timeout = Duration::from_secs(8));
    Network::connected(Client::new(client).unwrap())
}

fn open(
    dir: &Path,
    alice: &Arc<IdentitySecret>,
    net: &Arc<FakeNetwork>,
    tunnel: bool,
) -> (Arc<Vfs>, Arc<Owner>) {
    let (store, options) = (dir.join("store"), Options::new(dir.join("state")));
    let signer = Arc::clone(alice);
    let vfs = Vfs::open_owner(&store, info(alice), store_key(), signer, options).unwrap();
    let parts = OwnerParts {
        root: store,
        store: info(alice).id,
        key: store_key(),
        identity: Arc::clone(alice),
        people: People::new(dir.join("contacts.toml")),
        network: network(net),
        threshold: kms_client::Threshold::new(3, 5).unwrap(),
        uid: me().uid,
        tunnel,
    };
    let owner = Owner::start(parts, &vfs).unwrap();
    vfs.set_verbs(Arc::clone(&owner) as _);
    vfs.set_events(Arc::clone(&owner) as _);
    (vfs, owner)
}

/// How long something in the background may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for what happens in the background.
#[track_caller]
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "never: {what}");
        std::thread::yield_now();
    }
}
