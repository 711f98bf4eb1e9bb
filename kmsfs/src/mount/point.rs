//! Which store goes where, and whether it can (CLI 2.1).

use std::{
    ffi::OsString,
    fs::OpenOptions,
    io::ErrorKind,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use super::table;
use crate::failure::{Exit, Failure, sentence};

/// The file that makes a directory a store.
pub const STORE_CONFIG: &str = "kmsfs.toml";

/// The ending of a store's name.
pub const STORE_ENDING: &str = ".kmsfs";

/// A store and the place to mount it, both absolute.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Target {
    /// The ciphertext directory.
    pub store: PathBuf,
    /// The mount point.
    pub point: PathBuf,
}

/// What had to be done to a mount point before it could be used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Prepared {
    /// Nothing.
    AsItWas,
    /// It was made.
    Made,
    /// A dead mount was detached.
    Revived,
}

impl Target {
    /// `DIR`, whose store is `DIR.kmsfs`; `DIR.kmsfs`; or `STORE DIR`.
    pub fn resolve(paths: &[PathBuf]) -> Result<Self, Failure> {
        match paths {
            [one] => Self::from_one(&absolute(one)?),
            [store, point] => {
                let store = absolute(store)?;
                if !is_store(&store) {
                    return Err(not_a_store(&store));
                }
                Ok(Self {
                    store,
                    point: absolute(point)?,
                })
            }
            _ => Err(Failure::new(Exit::Usage, "Say what to mount.")
                .now("kmsfs mount DIR, or kmsfs mount STORE DIR")),
        }
    }

    fn from_one(path: &Path) -> Result<Self, Failure> {
        let with_ending = add_ending(path);
        if with_ending != path && is_store(&with_ending) {
            return Ok(Self {
                store: with_ending,
                point: path.to_path_buf(),
            });
        }
        if !is_store(path) {
            return Err(no_store_for(path));
        }
        match strip_ending(path) {
            Some(point) => Ok(Self {
                store: path.to_path_buf(),
                point,
            }),
            None => Err(
                Failure::new(Exit::Usage, format!("{} is a store.", path.display()))
                    .why(format!(
                        "Its name does not end in {STORE_ENDING}, so the mount point is not known."
                    ))
                    .now(format!("kmsfs mount {} DIR", path.display())),
            ),
        }
    }

    /// Makes the mount point usable, or says why it is not.
    pub fn prepare(&self) -> Result<Prepared, Failure> {
        if self.point.starts_with(&self.store) || self.store.starts_with(&self.point) {
            let inner = if self.point.starts_with(&self.store) {
                ("The mount point", "the store")
            } else {
                ("The store", "the mount point")
            };
            return Err(self
                .refusal(Exit::CannotCreate)
                .why(format!("{} is inside {}.", inner.0, inner.1))
                .now("Choose a directory beside the store."));
        }
        let mut prepared = Prepared::AsItWas;
        while is_dead(&self.point) {
            detach(&self.point)?;
            prepared = Prepared::Revived;
        }
        match std::fs::symlink_metadata(&self.point) {
            Err(err) if err.kind() == ErrorKind::NotFound => {
                self.make()?;
                return Ok(Prepared::Made);
            }
            Err(err) => return Err(self.refusal(Exit::CannotCreate).why(sentence(&err))),
            Ok(meta) if !meta.is_dir() => {
                return Err(self
                    .refusal(Exit::CannotCreate)
                    .why("It is not a directory.")
                    .now("Choose an empty directory, or one that does not exist yet."));
            }
            Ok(_) => {}
        }
        if let Some(entry) = table::kmsfs_at(&self.point) {
            return Err(self.already(&entry));
        }
        self.refuse_non_empty()?;
        Ok(prepared)
    }

    fn make(&self) -> Result<(), Failure> {
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&self.point)
            .map_err(|err| {
                Failure::new(
                    Exit::CannotCreate,
                    format!("Cannot make the mount point {}.", self.point.display()),
                )
                .why(sentence(&err))
            })
    }

    fn already(&self, entry: &table::Entry) -> Failure {
        let failure = Failure::new(
            Exit::CannotCreate,
            format!("Already mounted at {}.", self.point.display()),
        );
        match entry.store() {
            Some(store) if store != self.store => failure
                .why(format!("Another store is there: {}.", store.display()))
                .now("Choose another mount point."),
            _ => failure.now(format!("Unmount: kmsfs umount {}", self.point.display())),
        }
    }

    fn refuse_non_empty(&self) -> Result<(), Failure> {
        let entries = std::fs::read_dir(&self.point)
            .map_err(|err| self.refusal(Exit::CannotCreate).why(sentence(&err)))?;
        let mut names: Vec<String> = entries
            .filter_map(Result::ok)
            .take(1000)
            .map(|entry| {
                let slash = entry.file_type().is_ok_and(|kind| kind.is_dir());
                let name = entry.file_name().to_string_lossy().into_owned();
                if slash { name + "/" } else { name }
            })
            .collect();
        if names.is_empty() {
            return Ok(());
        }
        names.sort();
        let more = match names.len().saturating_sub(3) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        names.truncate(3);
        Err(Failure::new(
            Exit::CannotCreate,
            format!("{} is not empty.", self.point.display()),
        )
        .why(format!(
            "It holds {}{more}, which the mount would hide.",
            names.join(", ")
        ))
        .now("Move them away, or mount somewhere else: kmsfs mount STORE DIR"))
    }

    fn refusal(&self, exit: Exit) -> Failure {
        Failure::new(exit, format!("Cannot mount at {}.", self.point.display()))
    }
}

/// Whether a directory is a store.
pub fn is_store(dir: &Path) -> bool {
    dir.join(STORE_CONFIG).is_file()
}

/// `X` as `X.kmsfs`; unchanged when it ends so already.
pub fn add_ending(path: &Path) -> PathBuf {
    if strip_ending(path).is_some() {
        return path.to_path_buf();
    }
    let mut name = path.as_os_str().to_owned();
    name.push(STORE_ENDING);
    PathBuf::from(name)
}

/// `X.kmsfs` as `X`.
pub fn strip_ending(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    let stem = name
        .strip_suffix(STORE_ENDING)
        .filter(|stem| !stem.is_empty())?;
    Some(path.with_file_name(stem))
}

/// An absolute path without symbolic links, as the mount table has it. The last
/// part may be missing, or be a dead mount, which cannot be looked at.
pub fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    let plain = std::path::absolute(path).map_err(|err| Failure::io("use the path", path, &err))?;
    match plain.canonicalize() {
        Ok(path) => Ok(path),
        Err(_) => Ok(canonical_parent(&plain)),
    }
}

/// Canonical as far as it can be: of a path that cannot be looked up, the
/// longest part that can is resolved and the rest is kept.
fn canonical_parent(path: &Path) -> PathBuf {
    let mut rest: Vec<OsString> = Vec::new();
    let mut at = path;
    while let (Some(parent), Some(name)) = (at.parent(), at.file_name()) {
        rest.push(name.to_owned());
        if let Ok(mut found) = parent.canonicalize() {
            found.extend(rest.iter().rev());
            return found;
        }
        at = parent;
    }
    path.to_path_buf()
}

/// Whether a mount stands here whose process is gone.
///
/// `stat` would not do: for as long as its timeout says, the kernel answers it from memory, and a mount that died a
/// moment ago looks alive. `statfs` always asks the process.
pub fn is_dead(point: &Path) -> bool {
    matches!(rustix::fs::statfs(point), Err(rustix::io::Errno::NOTCONN))
}

/// Detaches a mount, even a busy or a dead one.
pub fn detach(point: &Path) -> Result<(), Failure> {
    super::unmount::run(point, super::unmount::How::Lazy)
}

/// Whether `/dev/fuse` can be used at all.
pub fn check_fuse() -> Result<(), Failure> {
    let Err(err) = OpenOptions::new().read(true).write(true).open("/dev/fuse") else {
        return Ok(());
    };
    let failure = Failure::new(Exit::System, "Cannot open /dev/fuse.").why(sentence(&err));
    Err(match err.kind() {
        ErrorKind::NotFound => failure.now(
            "Is fuse3 installed and its kernel module loaded? Start a container with: --device /dev/fuse --cap-add SYS_ADMIN",
        ),
        _ => failure.now(
            "Is fuse3 installed, and may you use it? Start a container with: --device /dev/fuse --cap-add SYS_ADMIN",
        ),
    })
}

/// There is no store where one was expected.
pub fn not_a_store(path: &Path) -> Failure {
    let why = if path.exists() {
        format!("It has no {STORE_CONFIG}.")
    } else {
        "It does not exist.".to_owned()
    };
    Failure::new(
        Exit::NoInput,
        format!("{} is not a kmsfs store.", path.display()),
    )
    .why(why)
    .now(format!("Make one: kmsfs init {}", path.display()))
}

fn no_store_for(path: &Path) -> Failure {
    Failure::new(
        Exit::NoInput,
        format!("There is no kmsfs store for {}.", path.display()),
    )
    .why(format!(
        "Neither {} nor the directory itself has a {STORE_CONFIG}.",
        add_ending(path).display()
    ))
    .now(format!("Make one: kmsfs init {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(dir: &Path, name: &str) -> PathBuf {
        let store = dir.join(name);
        std::fs::create_dir(&store).unwrap();
        std::fs::write(store.join(STORE_CONFIG), "").unwrap();
        store.canonicalize().unwrap()
    }

    #[test]
    fn a_mount_point_finds_the_store_beside_it_and_the_other_way_round() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path(), "secure.kmsfs");
        let point = store.with_file_name("secure");
        for given in [&point, &store] {
            let target = Target::resolve(std::slice::from_ref(given)).unwrap();
            assert_eq!((target.store, target.point), (store.clone(), point.clone()));
        }
    }

    #[test]
    fn no_store_says_how_to_make_one() {
        let dir = tempfile::tempdir().unwrap();
        let failure = Target::resolve(&[dir.path().join("x")]).unwrap_err();
        assert_eq!(failure.exit, Exit::NoInput);
        assert!(failure.now.starts_with("Make one: kmsfs init "));
    }

    #[test]
    fn a_store_of_another_name_needs_a_mount_point() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path(), "vault");
        let failure = Target::resolve(std::slice::from_ref(&store)).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert!(Target::resolve(&[store, dir.path().join("open")]).is_ok());
    }

    #[test]
    fn a_missing_mount_point_is_made_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path(), "s.kmsfs");
        let target = Target::resolve(&[store]).unwrap();
        assert_eq!(target.prepare().unwrap(), Prepared::Made);
        let mode = std::fs::metadata(&target.point)
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o7777, 0o700);
        assert_eq!(target.prepare().unwrap(), Prepared::AsItWas);
    }

    #[test]
    fn a_full_mount_point_is_refused_with_what_it_holds() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path(), "s.kmsfs");
        let target = Target::resolve(&[store]).unwrap();
        std::fs::create_dir_all(target.point.join("a")).unwrap();
        for name in ["notes.txt", "b", "c"] {
            std::fs::write(target.point.join(name), "").unwrap();
        }
        let failure = target.prepare().unwrap_err();
        assert_eq!(failure.exit, Exit::CannotCreate);
        assert!(
            failure.why.contains("a/, b, c and 1 more"),
            "{}",
            failure.why
        );
    }

    #[test]
    fn a_mount_point_inside_its_store_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path(), "s.kmsfs");
        for point in [store.join("in"), store.parent().unwrap().to_path_buf()] {
            let target = Target {
                store: store.clone(),
                point,
            };
            assert!(target.prepare().unwrap_err().why.contains("inside"));
        }
    }
}
