//! Somebody changes the store under a running mount: nothing outside it is ever read, made or changed, and nothing
//! hangs.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use rustix::fs::{CWD, Mode, mkfifoat};

use super::Mounted;
use super::support::{CHUNK, pattern, stored};

/// A mount with a file in a directory, and a directory outside the store with a file somebody cares about.
struct Scene {
    mounted: Mounted,
    outside: PathBuf,
}

impl Scene {
    fn new() -> Self {
        let mounted = Mounted::new();
        fs::create_dir(mounted.at("d")).unwrap();
        fs::write(mounted.at("d/file"), pattern(20 * CHUNK, 1)).unwrap();
        let outside = mounted.world.dir.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("precious"), "precious").unwrap();
        let scene = Self { mounted, outside };
        // What was written is in the stored files, and the keys are not in use any more.
        scene.vfs().checkpoint().unwrap();
        scene
    }

    fn vfs(&self) -> &kmsfs::vfs::Vfs {
        &self.mounted.running.as_ref().unwrap().vfs
    }

    fn at(&self, path: &str) -> PathBuf {
        stored(&self.mounted.world, self.vfs(), path)
    }

    fn assert_untouched(&self) {
        let names: Vec<_> = fs::read_dir(&self.outside)
            .unwrap()
            .map(|it| it.unwrap().file_name())
            .collect();
        assert_eq!(names, ["precious"]);
        let content = fs::read(self.outside.join("precious")).unwrap();
        assert_eq!(content, b"precious");
    }
}

#[test]
fn a_directory_swapped_for_a_link_leads_nowhere() {
    let scene = Scene::new();
    let dir = File::open(scene.mounted.at("d")).unwrap();
    let place = scene.at("d");
    fs::rename(&place, place.with_extension("aside")).unwrap();
    symlink(&scene.outside, &place).unwrap();
    let through = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd()));
    for at in [through, scene.mounted.at("d")] {
        let _ = fs::write(at.join("new"), "new");
        let _ = fs::write(at.join("precious"), "overwritten");
        let _ = fs::remove_file(at.join("precious"));
        let _ = fs::create_dir(at.join("dir"));
    }
    scene.assert_untouched();
}

#[test]
fn a_file_swapped_for_a_link_is_not_followed() {
    let scene = Scene::new();
    let place = scene.at("d/file");
    fs::remove_file(&place).unwrap();
    symlink(scene.outside.join("precious"), &place).unwrap();
    let file = scene.mounted.at("d/file");
    if let Ok(content) = fs::read(&file) {
        assert_eq!(content, pattern(20 * CHUNK, 1));
    }
    let _ = fs::write(&file, "overwritten");
    if let Ok(mut file) = OpenOptions::new().append(true).open(&file) {
        let _ = file.write_all(b"more");
    }
    scene.assert_untouched();
}

#[test]
fn a_file_swapped_for_a_fifo_keeps_nobody_waiting() {
    let scene = Scene::new();
    let place = scene.at("d/file");
    fs::remove_file(&place).unwrap();
    mkfifoat(CWD, &place, Mode::RUSR | Mode::WUSR).unwrap();
    assert!(fs::read(scene.mounted.at("d/file")).is_err());
    assert!(fs::write(scene.mounted.at("d/file"), "x").is_err());
    // Others are as they were.
    fs::write(scene.mounted.at("d/other"), "other").unwrap();
    assert_eq!(fs::read(scene.mounted.at("d/other")).unwrap(), b"other");
}

#[test]
fn a_file_cut_under_an_open_descriptor_never_reads_as_shorter() {
    for reopened in [false, true] {
        let scene = Scene::new();
        let path = scene.mounted.at("d/file");
        let mut file = File::open(&path).unwrap();
        let cut = OpenOptions::new().write(true).open(scene.at("d/file"));
        cut.unwrap().set_len(4096 + 5 * CHUNK as u64).unwrap();
        let mut content = Vec::new();
        let read = if reopened {
            drop(file);
            File::open(&path).and_then(|mut file| file.read_to_end(&mut content))
        } else {
            file.read_to_end(&mut content)
        };
        if read.is_ok() {
            assert_eq!(content, pattern(20 * CHUNK, 1));
        }
    }
}

/// A synchroniser sets the other machine's version beside a file: the tools people have are enough to settle it.
#[test]
fn a_conflict_copy_is_settled_with_ordinary_tools() {
    use std::process::Command;
    let scene = Scene::new();
    let stored = scene.at("d/file");
    let theirs = fs::read(&stored).unwrap();
    fs::write(scene.mounted.at("d/file"), "ours").unwrap();
    scene.vfs().checkpoint().unwrap();
    let mut beside = stored.into_os_string();
    beside.push(".sync-conflict-20261122-101112-ABCDEF7");
    fs::write(&beside, theirs).unwrap();
    let copy = scene
        .mounted
        .at("d/file (conflict 20261122-101112-ABCDEF7)");
    assert_eq!(fs::read(&copy).unwrap(), pattern(20 * CHUNK, 1));
    let refused = fs::write(&copy, "x").unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(30), "EROFS");
    let run = |tool: &str, to: &str| {
        let done = Command::new(tool)
            .arg(&copy)
            .arg(scene.mounted.at(to))
            .status();
        assert!(done.unwrap().success(), "{tool}");
    };
    run("cp", "d/kept");
    assert_eq!(fs::read(scene.mounted.at("d/file")).unwrap(), b"ours");
    run("mv", "d/file");
    for name in ["d/kept", "d/file"] {
        assert_eq!(
            fs::read(scene.mounted.at(name)).unwrap(),
            pattern(20 * CHUNK, 1)
        );
    }
    assert!(!copy.exists());
    assert!(!PathBuf::from(beside).exists());
    fs::remove_file(scene.mounted.at("d/kept")).unwrap();
    fs::remove_file(scene.mounted.at("d/file")).unwrap();
    fs::remove_dir(scene.mounted.at("d")).unwrap();
}
