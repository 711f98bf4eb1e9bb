//! The recipient's side: what is shared is found by tickets and opened by label secrets (SEMANTICS §recipients).
//!
//! Above what is shared stand directories whose key the recipient does not have. They show the names that lead to
//! something shared and nothing else. From a shared directory on, everything is opened as the owner opens it, by the
//! keys in the directory's header. Others change the store meanwhile: headers are looked at again, and what fails to
//! verify is tried again while it changes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use data_encoding::BASE64URL_NOPAD;
use kms_crypto::format::{Check, HEADER_LEN, Header, LabelSlot, OpenHeader, Via};
use kms_crypto::id::LabelId;
use kms_crypto::key::LabelSecret;
use kms_crypto::name::NameTag;
use rustix::io::Errno;

use super::dirs::{DirState, Secrets};
use super::error::header_error;
use super::file::{FileCell, Identity, Loaded};
use super::hooks::{KeyError, KeySource, LabelRequest, PathStep, Shares};
use super::{Access, Result, Role, Vfs, VfsError};
use crate::backing::Stat;
use crate::freshness::Mark;
use crate::inode::{Inode, Place};

/// What a recipient brings.
pub(super) struct Recipient {
    pub(super) keys: Arc<dyn KeySource>,
    pub(super) shares: Arc<dyn Shares>,
}

/// How a recipient reaches an object.
#[derive(Clone, Debug, Default)]
pub(crate) enum Reach {
    /// By the keys of the directory it is in.
    #[default]
    Inherited,
    /// It is a directory on the way to something shared; its own key is not at hand.
    Way(Arc<[PathStep]>),
    /// It is shared itself.
    Shared {
        /// The label it is shared by.
        label: LabelId,
        /// Where it is.
        path: Arc<[PathStep]>,
    },
}

impl Reach {
    pub(crate) fn path(&self) -> Option<&[PathStep]> {
        match self {
            Self::Inherited => None,
            Self::Way(path) | Self::Shared { path, .. } => Some(path),
        }
    }
}

/// A child of a directory whose key is not at hand.
pub(super) struct SharedName {
    pub(super) step: PathStep,
    reach: Reach,
}

/// How old a look at the keys may be, for lookups and listings. Opening looks always.
const GLANCE: Duration = Duration::from_millis(400);
/// How often something that does not verify is read again, in case somebody is just writing it.
pub(super) const RETRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(20);

impl Vfs {
    pub(super) fn recipient(&self) -> Option<&Recipient> {
        match &self.role {
            Role::Recipient(recipient) => Some(recipient),
            Role::Owner(_) => None,
        }
    }

    /// Where the root stands in what is shared.
    pub(super) fn reach_root(&self) {
        let Some(recipient) = self.recipient() else {
            return;
        };
        let path: Arc<[PathStep]> = Arc::from([]);
        let whole = recipient
            .shares
            .current()
            .iter()
            .find(|shared| shared.path.is_empty())
            .map(|it| it.label);
        self.table.root().set_reach(match whole {
            Some(label) => Reach::Shared { label, path },
            None => Reach::Way(path),
        });
    }

    /// The names in a directory on the way that lead to something shared.
    pub(super) fn shared_names(&self, way: &[PathStep]) -> Vec<SharedName> {
        let Some(recipient) = self.recipient() else {
            return Vec::new();
        };
        let mut names: BTreeMap<Vec<u8>, SharedName> = BTreeMap::new();
        for shared in recipient.shares.current().iter() {
            let Some(below) = shared.path.strip_prefix(way) else {
                continue;
            };
            let Some(step) = below.first() else { continue };
            let path: Arc<[PathStep]> = shared.path.get(..=way.len()).unwrap_or_default().into();
            let is_it = below.len() == 1;
            let reach = if is_it {
                Reach::Shared {
                    label: shared.label,
                    path,
                }
            } else {
                Reach::Way(path)
            };
            let found = SharedName {
                step: step.clone(),
                reach,
            };
            match names.get(&step.plain) {
                // Shared itself counts for more than lying on the way.
                Some(SharedName {
                    reach: Reach::Shared { .. },
                    ..
                }) => {}
                _ => {
                    names.insert(step.plain.clone(), found);
                }
            }
        }
        names.into_values().collect()
    }

    /// Finds a name in a directory on the way.
    pub(super) fn find_shared(
        &self,
        dir: &Arc<Inode>,
        way: &[PathStep],
        name: &[u8],
    ) -> Result<(Place, Stat, Reach)> {
        let found = self
            .shared_names(way)
            .into_iter()
            .find(|shared| shared.step.plain == name);
        // Whether anything else of that name is there is nobody's business.
        let found = found.ok_or(VfsError::NotShared)?;
        let stat = self.disk.stat(self.dir_fd(dir)?, &found.step.backing)?;
        let place = Place {
            dir: Arc::clone(dir),
            tag: tag_of(&found.step.backing),
            name: found.step.backing.into(),
            standing: crate::inode::Standing::Original,
        };
        Ok((place, stat, found.reach))
    }

    /// The keys of a directory, as a recipient has them.
    pub(super) fn reader_secrets(
        &self,
        inode: &Arc<Inode>,
        max_age: Duration,
    ) -> Result<Arc<Secrets>> {
        let dir = inode.dir().ok_or(Errno::NOTDIR)?;
        {
            let state = dir.state.read();
            if let (Some(secrets), Some(at)) = (&state.secrets, state.looked)
                && at.elapsed() < max_age
            {
                return Ok(Arc::clone(secrets));
            }
        }
        retrying(|| {
            let (header, mark) = self.read_dir_header(inode)?;
            let opened = match inode.reach() {
                Reach::Way(_) => return Err(VfsError::NotShared),
                Reach::Shared { label, .. } => {
                    let secret = self.secret_for(&header, &label)?;
                    let mut state = dir.state.write();
                    let via = Via::Label {
                        id: label,
                        secret: &secret,
                    };
                    self.take_keys(inode, &mut state, (header, mark), via)
                }
                Reach::Inherited => {
                    let place = inode.place().ok_or(VfsError::NotShared)?;
                    let above = self.reader_secrets(&place.dir, max_age)?;
                    let mut state = dir.state.write();
                    let via = Via::Dir {
                        keys: &above.keys,
                        tag: place.tag,
                    };
                    self.take_keys(inode, &mut state, (header, mark), via)
                }
            };
            if let Err(VfsError::Key(_)) = &opened {
                dir.state.write().secrets = None;
            }
            opened
        })
        .inspect_err(|_| {
            // What was at hand is no longer vouched for.
            let mut state = dir.state.write();
            state.secrets = None;
            state.looked = None;
        })
    }

    fn take_keys(
        &self,
        inode: &Arc<Inode>,
        state: &mut DirState,
        (header, mark): (Header, Mark),
        via: Via<'_>,
    ) -> Result<Arc<Secrets>> {
        let version = (header.state().generation, header.key_epoch());
        if let (Some(secrets), true) = (&state.secrets, state.version == Some(version)) {
            state.looked = Some(Instant::now());
            return Ok(Arc::clone(secrets));
        }
        let header = header
            .open(via, Check::Signed(&self.info.owner))
            .map_err(reader_error)?;
        self.see(inode, inode.place().as_ref(), &header, mark)?;
        let secrets = Arc::new(Secrets::of(&header)?);
        state.secrets = Some(Arc::clone(&secrets));
        state.header = Some(Box::new(header));
        state.version = Some(version);
        state.looked = Some(Instant::now());
        Ok(secrets)
    }

    /// The secret that opens an object shared by this label: asked for anew at every open.
    fn secret_for(&self, header: &Header, label: &LabelId) -> Result<LabelSecret> {
        let recipient = self.recipient().ok_or(VfsError::NotShared)?;
        let slot = header.labels().iter().find(|slot| slot.id == *label);
        Ok(recipient
            .keys
            .label_secret(&request(slot.ok_or(KeyError::WrongKey)?))?)
    }

    /// Gets the keys of a file, and looks again whether its owner still shares it.
    pub(super) fn load_as_reader(&self, inode: &Arc<Inode>, cell: &mut FileCell) -> Result<()> {
        retrying(|| {
            let super::open::Stored {
                fd, stat, place, ..
            } = self.open_stored(inode, Access::Read)?;
            let mut bytes = [0; HEADER_LEN];
            let len = self.disk.read_at(&fd, 0, &mut bytes)?;
            let header = Header::parse(&bytes[..len]).map_err(header_error)?;
            let header = self.with_names(header)?;
            let generation = header.state().generation;
            let opened = self.open_as_reader(inode, &place, header)?;
            let mark = Mark::of(generation, &bytes);
            self.see(inode, Some(&place), &opened, mark)?;
            cell.identity = Some(Identity::of(&stat));
            let is_same = cell.loaded.as_deref().is_some_and(|loaded| {
                loaded.committed == mark && loaded.id() == *opened.core().id.as_bytes()
            });
            if !is_same {
                inode.learn(&opened.state);
                cell.loaded = Some(Box::new(Loaded::new(
                    Arc::new(fd),
                    opened,
                    mark,
                    stat.size,
                )?));
            }
            Ok(())
        })
    }

    fn open_as_reader(
        &self,
        inode: &Arc<Inode>,
        place: &Place,
        header: Header,
    ) -> Result<OpenHeader> {
        let check = Check::Signed(&self.info.owner);
        match inode.reach() {
            Reach::Way(_) => Err(VfsError::NotShared),
            Reach::Shared { label, .. } => {
                let secret = self.secret_for(&header, &label)?;
                header
                    .open(
                        Via::Label {
                            id: label,
                            secret: &secret,
                        },
                        check,
                    )
                    .map_err(reader_error)
            }
            Reach::Inherited => {
                let above = self.reader_secrets(&place.dir, Duration::ZERO)?;
                header
                    .open(
                        Via::Dir {
                            keys: &above.keys,
                            tag: place.tag,
                        },
                        check,
                    )
                    .map_err(reader_error)
            }
        }
    }

    /// After a read that did not verify: whether the file has moved on, its keys having been read again.
    pub(super) fn has_moved_on(&self, inode: &Arc<Inode>) -> bool {
        let Some(file) = inode.file() else {
            return false;
        };
        if self.is_owner() {
            return false;
        }
        std::thread::sleep(PAUSE);
        let mut cell = file.cell.write();
        let before = cell.loaded.as_deref().map(|loaded| loaded.committed);
        let read = self.load_as_reader(inode, &mut cell);
        read.is_ok() && cell.loaded.as_deref().map(|loaded| loaded.committed) != before
    }

    /// The keys of a directory for lookups and listings.
    pub(super) fn glance(&self, inode: &Arc<Inode>) -> Result<Arc<Secrets>> {
        self.reader_secrets(inode, GLANCE)
    }
}

fn request(slot: &LabelSlot) -> LabelRequest {
    LabelRequest {
        label: slot.id,
        epoch: slot.epoch,
        scheme: slot.scheme,
        capsule: slot.capsule.clone(),
    }
}

/// A header that this secret does not open was made for another one, perhaps a moment ago.
fn reader_error(error: kms_crypto::format::HeaderError) -> VfsError {
    match error {
        kms_crypto::format::HeaderError::WrongKey => KeyError::WrongKey.into(),
        other => header_error(other),
    }
}

/// The owner may be writing just now: what does not verify is read again a few times.
fn retrying<T>(mut read: impl FnMut() -> Result<T>) -> Result<T> {
    let mut left = RETRIES;
    loop {
        match read() {
            Err(VfsError::Damaged(_) | VfsError::Key(KeyError::WrongKey)) if left > 0 => {
                left -= 1;
                std::thread::sleep(PAUSE);
            }
            result => return result,
        }
    }
}

/// The tag of a stored name; of a long one it is not needed and not known.
fn tag_of(backing: &str) -> NameTag {
    let sealed = BASE64URL_NOPAD
        .decode(backing.as_bytes())
        .unwrap_or_default();
    NameTag(sealed.first_chunk().copied().unwrap_or_default())
}
