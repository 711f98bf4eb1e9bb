//! What programs and several users expect of a filesystem, through the kernel.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use kmsfs::fuse::MountOptions;
use rustix::fs::{CWD, FileType, Mode};

use super::Mounted;

const NOBODY: u32 = 65534;

/// Only root shares a mount with other users and becomes them: whoever is not does the test once more through `sudo`, and
/// fails where that is not possible. Says whether the test has been done that way.
#[track_caller]
pub(super) fn done_by_root() -> bool {
    if rustix::process::geteuid().is_root() {
        return false;
    }
    let thread = std::thread::current();
    let test = thread.name().unwrap();
    let status = Command::new("sudo")
        .args(["-n", "-E", "--"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .status()
        .unwrap_or_else(|error| panic!("{test} needs root, or sudo: {error}"));
    assert!(
        status.success(),
        "as root, {test} ended with {status}; if sudo asked for a password: sudo -v"
    );
    true
}

pub(super) fn shared() -> Mounted {
    let mounted = Mounted::with(MountOptions {
        allow_other: true,
        ..MountOptions::default()
    });
    for dir in mounted.point.ancestors().take(2) {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
    }
    mounted
}

/// Starts a program that was just written. One that another test is starting may have its descriptor for a moment more.
fn started(command: &mut Command) -> std::io::Result<std::process::Child> {
    loop {
        match command.spawn() {
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => {
                std::thread::yield_now();
            }
            started => return started,
        }
    }
}

/// Runs a shell command as another user, and says whether it succeeded.
fn as_user(uid: u32, dir: &Path, command: &str) -> bool {
    Command::new("sh")
        .args(["-c", command])
        .current_dir(dir)
        .uid(uid)
        .gid(uid)
        .stderr(std::process::Stdio::null())
        .status()
        .unwrap()
        .success()
}

#[test]
fn fifos_carry_bytes_sockets_are_bound_and_both_survive_a_remount() {
    let mut mounted = Mounted::new();
    let (fifo, socket) = (mounted.at("fifo"), mounted.at("socket"));
    rustix::fs::mknodat(CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    {
        let listener = UnixListener::bind(&socket).unwrap();
        let mut client = UnixStream::connect(&socket).unwrap();
        client.write_all(b"hello").unwrap();
        let mut heard = [0; 5];
        listener.accept().unwrap().0.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"hello");
    }
    mounted.remount();
    assert!(
        fs::symlink_metadata(&socket)
            .unwrap()
            .file_type()
            .is_socket()
    );
    let kinds = fs::read_dir(&mounted.point).unwrap();
    let fifos = kinds.filter(|entry| entry.as_ref().unwrap().file_type().unwrap().is_fifo());
    assert_eq!(fifos.count(), 1);
    std::thread::scope(|scope| {
        scope.spawn(|| fs::write(&fifo, "through").unwrap());
        assert_eq!(fs::read_to_string(&fifo).unwrap(), "through");
    });
}

#[test]
fn a_device_node_can_be_kept_but_not_used() {
    if done_by_root() {
        return;
    }
    let mounted = Mounted::new();
    let path = mounted.at("null");
    let device = rustix::fs::makedev(1, 3);
    let mode = Mode::from_raw_mode(0o666);
    rustix::fs::mknodat(CWD, &path, FileType::CharacterDevice, mode, device).unwrap();
    let meta = fs::metadata(&path).unwrap();
    assert!(meta.file_type().is_char_device());
    assert_eq!(meta.rdev(), device);
    let opened = fs::File::open(&path).unwrap_err();
    assert_eq!(
        opened.raw_os_error(),
        Some(libc::EACCES),
        "mounts are nodev"
    );
}

#[test]
fn several_users_share_a_mount_each_with_files_of_his_own() {
    if done_by_root() {
        return;
    }
    let mounted = shared();
    let at = &mounted.point;
    assert!(!as_user(NOBODY, at, "touch mine"), "the root is root's");
    fs::create_dir(mounted.at("tmp")).unwrap();
    fs::set_permissions(mounted.at("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
    assert!(as_user(
        NOBODY,
        at,
        "umask 027; echo secret > tmp/file; mkdir tmp/dir; ln -s x tmp/link; mkfifo tmp/fifo"
    ));
    for name in ["file", "dir", "link", "fifo"] {
        let meta = fs::symlink_metadata(mounted.at("tmp").join(name)).unwrap();
        assert_eq!((meta.uid(), meta.gid()), (NOBODY, NOBODY), "{name}");
    }
    let meta = fs::metadata(mounted.at("tmp/file")).unwrap();
    assert_eq!(meta.mode() & 0o7777, 0o640);
    assert!(!as_user(1, at, "cat tmp/file"));
    assert!(!as_user(1, at, "rm -f tmp/file"), "the directory is sticky");
    assert!(!as_user(1, at, "mv tmp/file tmp/other"));
    assert!(!as_user(1, at, "chmod 666 tmp/file"));
    assert!(as_user(
        NOBODY,
        at,
        "cat tmp/file >/dev/null && rm tmp/file"
    ));
}

#[test]
fn set_id_bits_go_when_a_file_is_changed_by_somebody_who_may_not_set_them() {
    if done_by_root() {
        return;
    }
    let mounted = shared();
    let path = mounted.at("tool");
    let mode = || fs::metadata(&path).unwrap().mode() & 0o7777;
    let set = || {
        fs::set_permissions(&path, fs::Permissions::from_mode(0o6777)).unwrap();
        assert_eq!(mode(), 0o6777);
    };
    fs::write(&path, "one").unwrap();
    for change in [
        "echo more >> tool",
        "echo anew > tool",
        "truncate -s 1 tool",
    ] {
        set();
        assert!(as_user(NOBODY, &mounted.point, change), "{change}");
        assert_eq!(mode(), 0o777, "{change}");
    }
    set();
    std::os::unix::fs::chown(&path, Some(1), Some(1)).unwrap();
    assert_eq!(mode(), 0o777, "chown");
}

#[test]
fn names_change_places_and_times_before_1970_are_kept() {
    let mounted = Mounted::new();
    fs::write(mounted.at("one"), "1").unwrap();
    fs::create_dir(mounted.at("two")).unwrap();
    let flags = rustix::fs::RenameFlags::EXCHANGE;
    let (one, two) = (mounted.at("one"), mounted.at("two"));
    rustix::fs::renameat_with(CWD, &one, CWD, &two, flags).unwrap();
    assert!(fs::metadata(&one).unwrap().is_dir());
    assert_eq!(fs::read_to_string(&two).unwrap(), "1");

    let before = rustix::fs::Timespec {
        tv_sec: -2,
        tv_nsec: 500_000_000,
    };
    let times = rustix::fs::Timestamps {
        last_access: before,
        last_modification: before,
    };
    rustix::fs::utimensat(CWD, &two, &times, rustix::fs::AtFlags::empty()).unwrap();
    let meta = fs::metadata(&two).unwrap();
    assert_eq!((meta.mtime(), meta.mtime_nsec()), (-2, 500_000_000));
    assert_eq!((meta.atime(), meta.atime_nsec()), (-2, 500_000_000));
}

#[test]
fn a_directory_that_was_removed_while_open_is_empty_and_can_be_synced() {
    let mounted = Mounted::new();
    let path = mounted.at("dir");
    fs::create_dir(&path).unwrap();
    let open = fs::File::open(&path).unwrap();
    fs::remove_dir(&path).unwrap();
    open.sync_all().unwrap();
    let dir = rustix::fs::Dir::read_from(&open).unwrap();
    let names = dir.map(|entry| entry.unwrap().file_name().to_owned());
    assert_eq!(
        names
            .filter(|name| !name.to_bytes().starts_with(b"."))
            .count(),
        0
    );
    let made = rustix::fs::mkdirat(&open, "x", Mode::from_raw_mode(0o700));
    assert_eq!(made, Err(rustix::io::Errno::NOENT));
}

/// pjdfstest failed now and then: a program that had just been started died of a bad address. With O_RDONLY | O_TRUNC the
/// kernel had its pages thrown away before it found that the file was being executed.
#[test]
fn a_running_program_is_not_emptied() {
    let mounted = Mounted::new();
    let path = mounted.at("sleep");
    fs::copy("/bin/sleep", &path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let before = fs::read(&path).unwrap();
    let mut running = started(Command::new(&path).arg("60")).unwrap();
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::TRUNC;
    for _ in 0..20 {
        let opened = rustix::fs::open(&path, flags, Mode::empty());
        assert_eq!(opened.unwrap_err(), rustix::io::Errno::TXTBSY);
    }
    assert!(fs::read(&path).unwrap() == before);
    assert_eq!(running.try_wait().unwrap(), None, "it is still running");
    running.kill().unwrap();
    running.wait().unwrap();
    rustix::fs::open(&path, flags, Mode::empty()).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), 0);
}

#[test]
fn root_reads_what_nobody_may_read_and_runs_nothing_that_nobody_may_run() {
    if done_by_root() {
        return;
    }
    let mounted = Mounted::new();
    let script = mounted.at("script");
    fs::write(&script, "#!/bin/sh\nexit 0\n").unwrap();
    let may_run = || rustix::fs::access(&script, rustix::fs::Access::EXEC_OK).is_ok();
    let runs =
        || started(&mut Command::new(&script)).is_ok_and(|mut it| it.wait().unwrap().success());
    for (mode, can) in [(0o000, false), (0o644, false), (0o010, true)] {
        fs::set_permissions(&script, fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(
            (may_run(), runs()),
            (can, can),
            "with permission bits {mode:o}"
        );
        assert_eq!(fs::read(&script).unwrap().len(), 17);
        fs::OpenOptions::new().write(true).open(&script).unwrap();
    }
}

/// The kernel let go of a replaced file while its old name was still on the way out of its header. Nobody came back to it:
/// it stayed open, and its room taken, until the end of the mount. New directories stayed for a minute after their removal.
#[test]
fn what_has_lost_its_last_name_gives_its_room_back() {
    let mounted = Mounted::new();
    for turn in 0..5 {
        for name in ["new", "kept"] {
            fs::write(mounted.at(name), [turn; 5_000]).unwrap();
        }
        fs::rename(mounted.at("new"), mounted.at("kept")).unwrap();
        let linked = mounted.at("linked");
        fs::write(&linked, [turn; 5_000]).unwrap();
        let open = fs::File::open(&linked).unwrap();
        fs::hard_link(&linked, mounted.at("other")).unwrap();
        fs::remove_file(&linked).unwrap();
        fs::remove_file(mounted.at("other")).unwrap();
        drop(open);
        fs::create_dir_all(mounted.at("tree/with/branches")).unwrap();
        fs::remove_dir_all(mounted.at("tree")).unwrap();
    }
    let store = mounted.world.store();
    let is_taken = |it: std::io::Result<fs::DirEntry>| {
        let target = it
            .and_then(|it| fs::read_link(it.path()))
            .unwrap_or_default();
        target.starts_with(&store) && target.to_string_lossy().ends_with(" (deleted)")
    };
    let taken = || {
        fs::read_dir("/proc/self/fd")
            .unwrap()
            .filter_map(|it| is_taken(it).then_some(()))
            .count()
    };
    let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while taken() > 0 {
        assert!(
            std::time::Instant::now() < until,
            "{} files are still held",
            taken()
        );
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}
