//! Small files in a store: read within bounds, replaced whole.
//!
//! A store may lie where others write. What is read is therefore a plain file of bounded size and never a link or a
//! pipe; what is written appears whole under its name or not at all, also after a crash.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use data_encoding::HEXLOWER;
use rand_core::CryptoRng;
use rustix::fs::OFlags;

/// Reads a plain file of at most `limit` bytes. A longer one, or something else than a file, is `InvalidData`.
pub(crate) fn read_bounded(path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    // Without NONBLOCK, opening a pipe that somebody put here would wait for ever.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    let limit = u64::try_from(limit).map_err(|_| ErrorKind::InvalidInput)?;
    if !file.metadata()?.is_file() {
        return Err(ErrorKind::InvalidData.into());
    }
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|len| len > limit) {
        return Err(ErrorKind::InvalidData.into());
    }
    Ok(bytes)
}

/// Puts a file in place of whatever has its name; durable when it returns. The directory is made when it is missing.
pub(crate) fn replace(
    dir: &Path,
    name: &str,
    bytes: &[u8],
    rng: &mut (impl CryptoRng + ?Sized),
) -> io::Result<()> {
    make_dir(dir)?;
    let mut tail = [0; 8];
    rng.fill_bytes(&mut tail);
    let temporary = dir.join(format!("{name}.{}{TEMPORARY}", HEXLOWER.encode(&tail)));
    let written =
        write_new(&temporary, bytes).and_then(|()| fs::rename(&temporary, dir.join(name)));
    if written.is_err() {
        // The first error is the one worth telling; a file left behind is ignored by every reader.
        drop(fs::remove_file(&temporary));
    }
    written?;
    sync_dir(dir)
}

/// Removes a file. Durable when it returns; one that is not there is fine.
pub(crate) fn remove(dir: &Path, name: &str) -> io::Result<()> {
    match fs::remove_file(dir.join(name)) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) => sync_dir(dir),
    }
}

/// The names in a directory that end in `suffix`, sorted; at most `limit`. None when there is no directory.
pub(crate) fn names(dir: &Path, suffix: &str, limit: usize) -> io::Result<Vec<String>> {
    refuse_links(dir)?;
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut names = Vec::new();
    for entry in entries {
        if let Ok(name) = entry?.file_name().into_string()
            && name.ends_with(suffix)
        {
            names.push(name);
        }
        if names.len() == limit {
            break;
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Makes a directory and those above it; each that is new is durable in the one above.
fn make_dir(dir: &Path) -> io::Result<()> {
    refuse_links(dir)?;
    if dir.is_dir() {
        return Ok(());
    }
    let Some(parent) = dir.parent() else {
        return fs::create_dir(dir);
    };
    make_dir(parent)?;
    match fs::create_dir(dir) {
        // Somebody else was faster.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        other => other?,
    }
    sync_dir(parent)
}

/// Refuses a directory that is a link, or lies in one: it may lead out of the store. The store itself may be one.
fn refuse_links(dir: &Path) -> io::Result<()> {
    let is_link = |at: &Path| at.is_symlink();
    if is_link(dir)
        || dir
            .parent()
            .is_some_and(|above| above.ends_with("shares") && is_link(above))
    {
        return Err(ErrorKind::InvalidData.into());
    }
    Ok(())
}

const TEMPORARY: &str = ".tmp";

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
