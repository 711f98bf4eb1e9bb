//! Disks that are full, broken, read-only or gone, beneath a real mount: whoever asks is told, nothing acknowledged is
//! lost, and when the disk is well again so is the mount.

#![expect(
    clippy::unwrap_used,
    reason = "a test says what it expects by unwrapping it"
)]

mod broken;
mod full;
mod gone;

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::IntoRawFd;
use std::path::Path;

use kms_tests::{Person, tree};

/// Files that are there before anything goes wrong, and have to be afterwards.
struct Kept {
    count: u64,
}

impl Kept {
    fn make(at: &Path) -> Self {
        let kept = Self { count: 8 };
        for number in 0..kept.count {
            let mut file = File::create(at.join(format!("kept-{number}"))).unwrap();
            file.write_all(&Self::content(number)).unwrap();
            file.sync_all().unwrap();
        }
        File::open(at).unwrap().sync_all().unwrap();
        kept
    }

    fn content(number: u64) -> Vec<u8> {
        tree::bytes(number, 1000 + usize::try_from(number).unwrap() * 50_000)
    }

    #[track_caller]
    fn check(&self, at: &Path) {
        for number in 0..self.count {
            let path = at.join(format!("kept-{number}"));
            let read =
                fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            assert!(read == Self::content(number), "{}", path.display());
        }
    }
}

/// Closes a file and hears what `close` says.
fn close(file: File) -> io::Result<()> {
    Ok(nix::unistd::close(file.into_raw_fd())?)
}

/// Writes a file from beginning to end as a careful program does.
fn save(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(content)?;
    file.sync_all()?;
    close(file)
}

/// The store must be whole for its own check, and its files for whoever mounts it.
#[track_caller]
fn assert_whole(alice: &Person, store: &Path, kept: &Kept) {
    alice.run(&["fsck", store.to_str().unwrap()]);
    let secure = alice.mount(store, "again");
    kept.check(&secure.path);
    save(&secure.at("afterwards"), b"works").unwrap();
    secure.unmount();
}
