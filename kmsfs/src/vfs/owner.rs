//! What only the store's owner has: its keys, its journal, and the background work.

use std::collections::HashMap;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use kms_crypto::format::{Binding, Core, HEADER_LEN, OpenHeader, Sealer};
use kms_crypto::id::{DirId, MachineId, StoreId};
use kms_crypto::key::{IdentitySecret, StoreKey};
use kms_crypto::name::DIR_HEADER;
use parking_lot::{Condvar, Mutex, RwLock};
use rustix::io::Errno;
use zeroize::Zeroizing;

use super::bind::Unbind;
use super::jobs::Jobs;
use super::{Ino, Options, Part, Result, StoreInfo, Vfs, rng};
use crate::backing::{Disk, OpenMode};
use crate::inode::Inode;
use crate::journal::Journal;

/// The owner's side of a [`Vfs`].
pub(super) struct Owner {
    pub(super) key: StoreKey,
    /// The key of the owner's seal on headers.
    pub(super) mac: Zeroizing<[u8; 32]>,
    pub(super) signer: Arc<IdentitySecret>,
    pub(super) journal: Journal,
    pub(super) keeper: Mutex<Keeper>,
    /// Tells the background thread that there is something to do.
    pub(super) wake: Condvar,
    /// Tells writers that the journal got shorter.
    pub(super) shorter: Condvar,
    /// Held while a file is made, from before the journal is told until it has its header.
    pub(super) making: RwLock<()>,
    /// Held by whoever empties the journal.
    pub(super) checkpointing: Mutex<()>,
    /// What still needs new keys.
    pub(super) jobs: Jobs,
    /// Which of the owner's machines this is.
    pub(super) machine: MachineId,
    /// After so many states a file gets a new key.
    pub(super) key_life: u64,
    /// One owner's mount per store: held as long as this one lives.
    _lock: OwnedFd,
}

/// What the background thread goes by.
pub(super) struct Keeper {
    /// Objects of which something is on its way.
    pub(super) busy: HashMap<Ino, Arc<Inode>>,
    /// Directories whose header was written a short while ago without being synced: they are remembered until the
    /// system has written it by itself.
    pub(super) new_dirs: HashMap<Ino, (Instant, Arc<Inode>)>,
    /// Names that are gone, whose bindings are still in the headers.
    pub(super) unbinds: Vec<Unbind>,
    /// Directories that lost the last name of something the journal still holds: the name may come back until this is
    /// durable, and the journal is needed so long.
    pub(super) lost_in: Vec<Arc<Inode>>,
    /// Side files of objects that have lost their last name: they go when that is durable.
    pub(super) litter: Vec<String>,
    pub(super) last_change: Instant,
    /// The journal should be emptied soon.
    pub(super) wanted: bool,
    pub(super) stopping: bool,
}

/// How long each half of the journal gets before it is emptied.
const JOURNAL_LEN: u64 = 8 << 20;
/// The file whose lock says that the store has a mount.
const LOCKED: &str = "kmsfs.toml";

impl Owner {
    pub(super) fn open(
        disk: &Disk,
        root: &OwnedFd,
        info: &StoreInfo,
        key: StoreKey,
        signer: Arc<IdentitySecret>,
        options: &Options,
    ) -> Result<(Self, Vec<crate::journal::Record>)> {
        use std::os::fd::AsFd;
        let lock = lock_store(disk, root.as_fd())?;
        let (journal, records) = Journal::open(
            &options.state_dir,
            disk.apart(),
            info.id,
            &key.records_key(),
            JOURNAL_LEN,
        )?;
        let keeper = Keeper {
            busy: HashMap::new(),
            new_dirs: HashMap::new(),
            unbinds: Vec::new(),
            lost_in: Vec::new(),
            litter: Vec::new(),
            last_change: Instant::now(),
            wanted: false,
            stopping: false,
        };
        let owner = Self {
            mac: key.owner_mac_key(),
            key,
            signer,
            journal,
            keeper: Mutex::new(keeper),
            wake: Condvar::new(),
            shorter: Condvar::new(),
            making: RwLock::new(()),
            checkpointing: Mutex::new(()),
            jobs: Jobs::new(options.state_dir.join("rekey")),
            machine: machine_of(&options.state_dir, info),
            key_life: options.key_life.max(1),
            _lock: lock,
        };
        Ok((owner, records))
    }

    /// Seals a header as the owner's; signed where it is shared.
    pub(super) fn seal(&self, header: &mut OpenHeader) -> Result<[u8; HEADER_LEN]> {
        let signer = header.needs_signature().then_some(&*self.signer);
        let sealer = Sealer {
            owner: Some(&self.mac),
            signer,
            machine: Some(self.machine_of(header.bindings())),
        };
        header
            .seal(&sealer, &mut rng())
            .map_err(|error| match error {
                kms_crypto::format::HeaderError::Full(_) => Errno::NOSPC.into(),
                _ => Part::Header.into(),
            })
    }

    /// The number this machine writes in a header with these names (FORMAT §3.6.3): another one for each name, as two
    /// versions of one object may stand under two.
    pub(super) fn machine_of(&self, names: &[Binding]) -> MachineId {
        names.first().map_or(self.machine, |name| {
            self.machine_at(name.dir.as_bytes(), &name.name_tag.0)
        })
    }

    /// The same for an object whose first name is this one.
    pub(super) fn machine_at(&self, dir: &[u8; 16], tag: &[u8; 16]) -> MachineId {
        let mut number = self.machine;
        for (byte, (one, other)) in number.0.iter_mut().zip(tag.iter().zip(dir)) {
            *byte ^= one ^ other;
        }
        number
    }

    /// The header of a new directory that is not anywhere yet.
    pub(super) fn new_dir(&self, info: &StoreInfo, id: DirId, mode: u32) -> Result<OpenHeader> {
        new_dir(&self.key, info, id, mode)
    }
}

/// Takes the lock of the store itself, by whatever path it was reached.
fn lock_store(disk: &Disk, root: BorrowedFd<'_>) -> Result<OwnedFd> {
    let mut file = disk.open_file(root, LOCKED, OpenMode::Read)?;
    let mut locked = disk.lock(&file);
    if locked == Err(Errno::BADF) {
        // NFS wants to be able to write what it locks.
        file = disk.open_file(root, LOCKED, OpenMode::ReadWrite)?;
        locked = disk.lock(&file);
    }
    match locked {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => Err(Errno::BUSY.into()),
        Err(error) => Err(error.into()),
    }
}

/// The number of this machine in this store (JOURNAL §7). One that cannot be kept counts for this mount.
fn machine_of(state_dir: &Path, info: &StoreInfo) -> MachineId {
    use std::os::unix::fs::OpenOptionsExt;
    let path = state_dir.join("machine");
    let drawn = match std::fs::read(&path) {
        Ok(drawn) if drawn.len() == 16 => drawn,
        _ => {
            let drawn = StoreId::random(&mut rng()).0.to_vec();
            let kept = std::fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&path)
                .and_then(|mut file| std::io::Write::write_all(&mut file, &drawn));
            if let Err(error) = kept {
                tracing::debug!(%error, "this machine has a new number at each mount");
            }
            drawn
        }
    };
    // A home directory may be carried to another machine, or be on two at once.
    let system = std::fs::read("/etc/machine-id").unwrap_or_default();
    let parts: [&[u8]; 3] = [info.id.as_ref(), &drawn, &system];
    let hash = kms_crypto::kdf::hash("kms/machine/1", &parts);
    let mut number = [0; 8];
    number.copy_from_slice(&hash[..8]);
    MachineId(number)
}

fn new_dir(key: &StoreKey, info: &StoreInfo, id: DirId, mode: u32) -> Result<OpenHeader> {
    let core = Core::dir(info.id, id, info.cipher);
    OpenHeader::new_dir(core, &key.dir_key(&id, 1), mode).map_err(|_| Part::Header.into())
}

/// The root of a new store is open to everybody who may use the mount; who may, the mount says (`allow_other`), and who
/// gets at the stored bytes, the store's own directory.
const ROOT_MODE: u32 = 0o755;

impl Vfs {
    /// Lays out an empty store in `dir`, which exists: its root directory's header. Durable when it returns.
    ///
    /// # Errors
    /// The directory holds a store already (`EEXIST`), or cannot be written.
    pub fn create_store(dir: &Path, info: &StoreInfo, key: &StoreKey) -> Result<()> {
        use std::os::fd::AsFd;
        let disk = Disk::default();
        let root = disk.open_root(dir)?;
        let mut header = new_dir(key, info, DirId(info.id.0), ROOT_MODE)?;
        let sealer = Sealer {
            owner: Some(&*key.owner_mac_key()),
            signer: None,
            machine: None,
        };
        let bytes = header.seal(&sealer, &mut rng()).map_err(|_| Part::Header)?;
        let file = disk.create_file(root.as_fd(), DIR_HEADER, 0o600)?;
        disk.write_at(&file, 0, &bytes)?;
        disk.sync_all(&file)?;
        Ok(disk.sync_dir(root.as_fd())?)
    }

    pub(super) fn seal_header(&self, header: &mut OpenHeader) -> Result<[u8; HEADER_LEN]> {
        self.seal_file_header(header, false)
    }

    /// The same for a file that may be `fresh`: what is kept beside its header need then be no more durable than it is.
    pub(super) fn seal_file_header(
        &self,
        header: &mut OpenHeader,
        fresh: bool,
    ) -> Result<[u8; HEADER_LEN]> {
        let before = header.names_path();
        let bytes = self.owner()?.seal(header)?;
        // Names it has no room for are stored before it is.
        if let Some(path) = header
            .names_path()
            .filter(|path| before.as_ref() != Some(path))
            && let Err(error) = self.write_side(&path, &header.names_side(), !fresh)
        {
            header.lose_names_side();
            return Err(error);
        }
        Ok(bytes)
    }
}
