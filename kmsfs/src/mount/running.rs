//! Finding the running mount that is meant, and speaking to it.

use std::{
    os::unix::ffi::OsStrExt,
    path::{Component, Path, PathBuf},
    time::Duration,
};

use super::{
    point::{absolute, add_ending},
    table,
};
use crate::{
    control::{Client, Request, socket_name},
    failure::{Exit, Failure},
    home::Home,
};

/// How long a mount may take to answer: more than any call it makes to the
/// network may take.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A path in a running mount.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Inside {
    /// The mount point.
    pub point: PathBuf,
    /// The path below it.
    pub path: PathBuf,
}

impl Inside {
    /// Finds the mount that holds a path, following symbolic links.
    pub fn find(path: &Path) -> Result<Self, Failure> {
        Self::holding(&absolute(path)?).ok_or_else(|| not_inside(path))
    }

    /// The same without touching anything inside the mount, where looking could
    /// fail or hang; links are followed only to get into it.
    pub fn find_untouched(path: &Path) -> Result<Self, Failure> {
        let plain =
            std::path::absolute(path).map_err(|err| Failure::io("use the path", path, &err))?;
        let climbs = plain.components().any(|part| part == Component::ParentDir);
        match Self::holding(&plain).filter(|_| !climbs) {
            Some(inside) => Ok(inside),
            None => Self::find(path),
        }
    }

    fn holding(path: &Path) -> Option<Self> {
        let (entry, path) = table::kmsfs_holding(path)?;
        Some(Self {
            point: entry.point,
            path,
        })
    }

    /// The path below the mount point as bytes.
    pub fn bytes(&self) -> Vec<u8> {
        self.path.as_os_str().as_bytes().to_vec()
    }

    /// Asks the mount.
    pub fn ask(&self, request: &Request) -> Result<serde_json::Value, Failure> {
        self.ask_within(request, PATIENCE)
    }

    /// The same for what may take longer than usual.
    pub fn ask_within(
        &self,
        request: &Request,
        patience: Duration,
    ) -> Result<serde_json::Value, Failure> {
        ask_within(&self.point, request, patience)
    }
}

/// Asks the mount at `point`.
pub fn ask(point: &Path, request: &Request) -> Result<serde_json::Value, Failure> {
    ask_within(point, request, PATIENCE)
}

fn ask_within(
    point: &Path,
    request: &Request,
    patience: Duration,
) -> Result<serde_json::Value, Failure> {
    let home = Home::of_process()?;
    match Client::connect(&home.runtime, point) {
        Some(mut client) => client.ask(request, patience),
        None => Err(Failure::new(
            Exit::Unavailable,
            format!("The mount at {} does not answer.", point.display()),
        )
        .why("Its process is gone, or it was mounted by somebody else or under another KMSFS_HOME.")
        .now(format!("If it is dead: kmsfs mount {}", point.display()))),
    }
}

/// Whether a mount of this person's was there last, alive or not.
pub fn was_ours(point: &Path) -> bool {
    Home::of_process().is_ok_and(|home| home.runtime.join(socket_name(point)).exists())
}

/// The mount somebody means by a mount point, a path in it, or its store.
pub fn entry(dir: &Path) -> Result<table::Entry, Failure> {
    let plain = std::path::absolute(dir).map_err(|err| Failure::io("use the path", dir, &err))?;
    // First without looking: a dead mount cannot be looked at.
    if let Some(entry) = table::kmsfs_at(&plain) {
        return Ok(entry);
    }
    let path = absolute(dir)?;
    if let Some(entry) = table::kmsfs_at(&path) {
        return Ok(entry);
    }
    let with_ending = add_ending(&path);
    all()
        .into_iter()
        .find(|entry| {
            entry
                .store()
                .is_some_and(|store| store == path || store == with_ending)
        })
        .ok_or_else(|| {
            Failure::new(
                Exit::NoInput,
                format!("Nothing of kmsfs is mounted at {}.", dir.display()),
            )
            .now("What is mounted: kmsfs status")
        })
}

/// All mounts of this kind on the machine.
pub fn all() -> Vec<table::Entry> {
    let entries = table::read().unwrap_or_default();
    entries.into_iter().filter(table::Entry::is_kmsfs).collect()
}

fn not_inside(path: &Path) -> Failure {
    Failure::new(
        Exit::NoInput,
        format!("{} is not in a mounted kmsfs store.", path.display()),
    )
    .why("Sharing works on files and directories below a mount point.")
    .now("Mount it first: kmsfs mount DIR")
}
