//! A recorded disk that can be made to fail, ext4 on a disk, and small disks in memory; all go away when dropped,
//! whatever happened.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::{TIMEOUT, eventually, program, tree};

/// How large the disks are.
pub const SIZE: u64 = 256 << 20;

/// A running `power-recorder` with an empty ext4 on its disk.
pub struct Recorder {
    at: PathBuf,
    log: PathBuf,
    process: Child,
}

impl Recorder {
    /// Starts one whose files are in `root`.
    pub fn start(root: &Path) -> Self {
        let (image, log, at) = (
            root.join("recorded"),
            root.join("log"),
            root.join("recorder"),
        );
        fs::create_dir(&at).unwrap();
        File::create(&image).unwrap().set_len(SIZE).unwrap();
        let process = Command::new(program("power-recorder"))
            .args([&image, &log, &at])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let recorder = Self { at, log, process };
        eventually("the recorder's disk", TIMEOUT, || {
            recorder.disk().exists().then_some(())
        });
        // Everything is written now, nothing by the kernel later: what is recorded is the work.
        let options = [
            "-q",
            "-F",
            "-E",
            "nodiscard,lazy_itable_init=0,lazy_journal_init=0",
        ];
        let disk = recorder.disk();
        tree::run(
            root,
            "mkfs.ext4",
            &[&options[..], &[disk.to_str().unwrap()]].concat(),
        );
        recorder
    }

    /// The disk, as a file.
    pub fn disk(&self) -> PathBuf {
        self.at.join("disk")
    }

    /// From now on no byte can be read from or written to the disk; or they can again.
    pub fn fail(&self, fails: bool) {
        let flag = self.log.with_extension("fails");
        if fails {
            fs::write(flag, "").unwrap();
        } else {
            fs::remove_file(flag).unwrap();
        }
    }

    /// How much has been recorded.
    pub fn position(&self) -> u64 {
        fs::metadata(&self.log).unwrap().len()
    }

    /// Ends it, once nobody uses the disk.
    pub fn stop(mut self) {
        unmounted(&self.at);
        assert!(self.process.wait().unwrap().success());
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        detach(&self.at);
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A mounted ext4. The loop device beneath goes with it.
pub struct Ext4 {
    /// Where.
    pub path: PathBuf,
}

impl Ext4 {
    /// Mounts as after a power cut: ext4 replays its own journal.
    #[track_caller]
    pub fn mount(image: &Path, at: &Path) -> Self {
        fs::create_dir_all(at).unwrap();
        let (from, to) = (image.to_str().unwrap(), at.to_str().unwrap());
        let mount = ["-t", "ext4", "-o", "loop,commit=1", from, to];
        tree::run(Path::new("/"), "mount", &mount);
        Self {
            path: at.to_owned(),
        }
    }

    /// Unmounts, waiting for whoever still looks.
    pub fn unmount(self) {
        unmounted(&self.path);
    }
}

impl Drop for Ext4 {
    fn drop(&mut self) {
        detach(&self.path);
    }
}

/// A small disk in memory.
pub struct Small {
    /// Where it is mounted.
    pub path: PathBuf,
}

impl Small {
    /// Mounts an empty one at a directory, which is made.
    #[track_caller]
    pub fn mount(at: &Path, size: &str) -> Self {
        fs::create_dir_all(at).unwrap();
        let options = format!("size={size},mode=0755");
        let mount = ["-t", "tmpfs", "-o", &options, "small", at.to_str().unwrap()];
        tree::run(Path::new("/"), "mount", &mount);
        Self {
            path: at.to_owned(),
        }
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        detach(&self.path);
    }
}

/// Unmounts, waiting for whoever still looks.
#[track_caller]
pub fn unmounted(at: &Path) {
    eventually("an unmount", TIMEOUT, || {
        let mut umount = Command::new("umount");
        let status = umount.arg(at).stderr(Stdio::null()).status().unwrap();
        status.success().then_some(())
    });
}

/// Takes a mount out of sight, if there is one.
pub fn detach(at: &Path) {
    let _ = Command::new("umount")
        .arg("-l")
        .arg(at)
        .stderr(Stdio::null())
        .status();
}
