//! The filesystem through the kernel: real mounts in a temporary directory.

#![expect(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "tests may"
)]

#[path = "mount/live.rs"]
mod live;
#[path = "mount/posix.rs"]
mod posix;
#[path = "mount/suites.rs"]
mod suites;
#[path = "vfs/support.rs"]
#[expect(dead_code, reason = "shared with the other tests")]
mod support;

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kmsfs::fuse::{Mount, MountOptions, Unmounter, mount};
use kmsfs::vfs::{Options, Vfs, VfsError};
use rustix::fs::{FallocateFlags, XattrFlags};
use support::{World, pattern};

/// A store with a mount that ends with it.
struct Mounted {
    world: World,
    point: PathBuf,
    options: MountOptions,
    running: Option<Running>,
}

struct Running {
    vfs: Arc<Vfs>,
    unmounter: Unmounter,
    thread: std::thread::JoinHandle<std::io::Result<()>>,
}

impl Mounted {
    fn new() -> Self {
        Self::with(MountOptions::default())
    }

    fn with(options: MountOptions) -> Self {
        let world = World::new();
        let point = world.dir.path().join("mount");
        fs::create_dir(&point).unwrap();
        let mut mounted = Self {
            world,
            point,
            options,
            running: None,
        };
        mounted.mount();
        mounted
    }

    fn mount(&mut self) {
        let options = Options {
            background: true,
            ..self.world.options()
        };
        let open = || {
            let (key, owner) = (World::key(), Arc::clone(&self.world.owner));
            let (store, info) = (self.world.store(), self.world.info());
            Vfs::open_owner(&store, info, key, owner, options.clone())
        };
        // A program another test is just starting has all our descriptors, the lock's as well, until it executes.
        let is_busy = |error: &VfsError| error.errno() == rustix::io::Errno::BUSY;
        let mut vfs = open();
        for _ in 0..6000 {
            if !vfs.as_ref().is_err_and(is_busy) {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
            vfs = open();
        }
        let vfs = vfs.unwrap();
        let mount: Mount = mount(Arc::clone(&vfs), &self.point, &self.options).unwrap();
        let unmounter = mount.unmounter();
        let thread = std::thread::spawn(move || mount.wait(|| ()));
        self.running = Some(Running {
            vfs,
            unmounter,
            thread,
        });
    }

    /// Makes sure that everything is in the store.
    fn checkpoint(&self) {
        self.running.as_ref().unwrap().vfs.checkpoint().unwrap();
    }

    fn unmount(&mut self) {
        if let Some(running) = self.running.take() {
            running.unmounter.unmount().unwrap();
            running.thread.join().unwrap().unwrap();
        }
    }

    fn remount(&mut self) {
        self.unmount();
        self.mount();
    }

    fn at(&self, path: &str) -> PathBuf {
        self.point.join(path)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        self.unmount();
    }
}

fn run(dir: &Path, program: &str, args: &[&str]) -> String {
    let out = Command::new(program)
        .args(args)
        .current_dir(dir)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let text =
        String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{program} {args:?}: {text}");
    text
}

#[test]
fn files_are_written_read_and_found_again_after_a_remount() {
    let mut mounted = Mounted::new();
    fs::create_dir_all(mounted.at("a/b")).unwrap();
    fs::write(mounted.at("a/b/big"), pattern(5_000_000, 1)).unwrap();
    fs::write(mounted.at("a/small"), "small").unwrap();
    std::os::unix::fs::symlink("b/big", mounted.at("a/link")).unwrap();
    fs::hard_link(mounted.at("a/small"), mounted.at("hard")).unwrap();
    for _ in 0..2 {
        assert!(fs::read(mounted.at("a/link")).unwrap() == pattern(5_000_000, 1));
        assert_eq!(fs::read_to_string(mounted.at("hard")).unwrap(), "small");
        assert_eq!(fs::metadata(mounted.at("hard")).unwrap().nlink(), 2);
        assert_eq!(fs::symlink_metadata(mounted.at("a/link")).unwrap().len(), 5);
        assert_eq!(fs::read_dir(mounted.at("a")).unwrap().count(), 3);
        mounted.remount();
    }
}

#[test]
fn open_files_go_on_when_their_names_are_gone() {
    let mounted = Mounted::new();
    let path = mounted.at("f");
    fs::write(&path, "old").unwrap();
    let mut old = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .unwrap();
    fs::write(mounted.at("new"), "new").unwrap();
    fs::rename(mounted.at("new"), &path).unwrap();
    old.seek(SeekFrom::End(0)).unwrap();
    old.write_all(b" but here").unwrap();
    old.sync_all().unwrap();
    fs::remove_file(&path).unwrap();
    let mut text = String::new();
    old.rewind().unwrap();
    old.read_to_string(&mut text).unwrap();
    assert_eq!(text, "old but here");
    assert_eq!(old.metadata().unwrap().nlink(), 0);
    assert_eq!(
        fs::read_dir(&mounted.point).unwrap().count(),
        0,
        "nothing hidden is left"
    );
}

#[test]
fn readers_never_miss_a_file_that_is_being_replaced() {
    let mounted = Mounted::new();
    let path = mounted.at("config");
    fs::write(&path, "0").unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let text = fs::read_to_string(&path).expect("the file is always there");
                    assert!(text.parse::<u32>().is_ok(), "{text:?}");
                }
            });
        }
        for round in 0..300 {
            fs::write(mounted.at("tmp"), round.to_string()).unwrap();
            fs::rename(mounted.at("tmp"), &path).unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn appending_from_several_descriptors_loses_nothing() {
    let mounted = Mounted::new();
    let path = mounted.at("log");
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let path = &path;
            scope.spawn(move || {
                let mut file = OpenOptions::new()
                    .append(true)
                    .create(true)
                    .open(path)
                    .unwrap();
                for line in 0..200 {
                    file.write_all(format!("{writer} {line}\n").as_bytes())
                        .unwrap();
                }
            });
        }
    });
    let text = fs::read_to_string(&path).unwrap();
    for writer in 0..4 {
        let lines: Vec<_> = text
            .lines()
            .filter(|line| line.starts_with(&format!("{writer} ")))
            .collect();
        let expected: Vec<_> = (0..200).map(|line| format!("{writer} {line}")).collect();
        assert_eq!(lines, expected);
    }
}

#[test]
fn attributes_modes_room_and_figures_are_those_of_a_filesystem() {
    let mut mounted = Mounted::new();
    let path = mounted.at("f");
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o640)
        .open(&path)
        .unwrap();
    file.write_all_at(&pattern(20_000, 1), 0).unwrap();
    rustix::fs::fsetxattr(&file, "user.colour", b"blue", XattrFlags::empty()).unwrap();
    assert_eq!(
        rustix::fs::fsetxattr(&file, "trusted.x", b"", XattrFlags::empty()),
        Err(rustix::io::Errno::OPNOTSUPP)
    );
    rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, 50_000).unwrap();
    rustix::fs::fallocate(
        &file,
        FallocateFlags::KEEP_SIZE | FallocateFlags::PUNCH_HOLE,
        4096,
        8192,
    )
    .unwrap();
    assert_eq!(
        rustix::fs::seek(&file, rustix::fs::SeekFrom::Hole(0)),
        Ok(4096)
    );
    assert_eq!(
        rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(4096)),
        Ok(12288)
    );
    fs::set_permissions(&path, fs::Permissions::from_mode(0o4711)).unwrap();
    drop(file);
    mounted.remount();
    let meta = fs::metadata(&path).unwrap();
    assert_eq!((meta.len(), meta.mode() & 0o7777), (50_000, 0o4711));
    let mut value = [0; 16];
    assert_eq!(
        rustix::fs::getxattr(&path, "user.colour", &mut value),
        Ok(4)
    );
    let mut expected = pattern(20_000, 1);
    expected.resize(50_000, 0);
    expected[4096..12288].fill(0);
    assert!(fs::read(&path).unwrap() == expected);
    let figures = rustix::fs::statvfs(&path).unwrap();
    assert_eq!(figures.f_namemax, 255);
    assert!(figures.f_blocks > 0);
}

#[test]
fn git_sqlite_and_tar_work_inside() {
    let mut mounted = Mounted::new();
    let repo = mounted.at("repo");
    fs::create_dir(&repo).unwrap();
    run(&repo, "git", &["init", "-q", "."]);
    for number in 0..60 {
        let dir = repo.join(format!("d{}", number % 7));
        fs::create_dir_all(&dir).unwrap();
        fs::write(
            dir.join(format!("f{number}")),
            pattern(number * 400, number as u8),
        )
        .unwrap();
    }
    run(&repo, "git", &["add", "."]);
    run(
        &repo,
        "git",
        &[
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@b",
            "commit",
            "-qm",
            "first",
        ],
    );
    run(&mounted.point, "git", &["clone", "-q", "repo", "copy"]);
    run(&mounted.at("copy"), "git", &["gc", "-q"]);
    run(
        &mounted.point,
        "sqlite3",
        &["db", "create table t(a integer primary key, b text)"],
    );
    for round in 0..5 {
        let fill = "with recursive c(x) as (select 1 union all select x+1 from c where x<500) \
                    insert into t(b) select hex(randomblob(40)) from c";
        run(&mounted.point, "sqlite3", &["db", fill]);
        run(
            &mounted.point,
            "sqlite3",
            &["db", &format!("delete from t where a % 7 = {round}")],
        );
    }
    run(&mounted.point, "tar", &["cf", "all.tar", "repo"]);
    fs::create_dir(mounted.at("out")).unwrap();
    run(&mounted.at("out"), "tar", &["xf", "../all.tar"]);
    mounted.remount();
    run(&mounted.at("copy"), "git", &["fsck", "--strict"]);
    assert_eq!(run(&mounted.at("copy"), "git", &["status", "--short"]), "");
    assert_eq!(
        run(&mounted.point, "sqlite3", &["db", "pragma integrity_check"]),
        "ok\n"
    );
    run(&mounted.point, "diff", &["-r", "repo", "out/repo"]);
}

#[test]
fn nothing_in_the_store_or_the_journal_is_readable() {
    let mut mounted = Mounted::new();
    let secret = "attack at dawn ".repeat(1000);
    fs::create_dir(mounted.at("plans-for-tomorrow")).unwrap();
    let path = mounted.at("plans-for-tomorrow/operation-overlord");
    fs::write(&path, &secret).unwrap();
    File::open(&path).unwrap().sync_all().unwrap();
    OpenOptions::new()
        .write(true)
        .open(&path)
        .unwrap()
        .write_all_at(b"attack at dawn", 5000)
        .unwrap();
    std::os::unix::fs::symlink("operation-overlord", mounted.at("link")).unwrap();
    rustix::fs::setxattr(&path, "user.note", b"attack at dawn", XattrFlags::empty()).unwrap();
    mounted.unmount();
    let mut bytes = Vec::new();
    gather(&mounted.world.store(), &mut bytes);
    gather(&mounted.world.options().state_dir, &mut bytes);
    assert!(bytes.len() > 15_000);
    for word in ["attack", "dawn", "plans-for", "overlord", "user.note"] {
        assert!(
            !bytes
                .windows(word.len())
                .any(|window| window == word.as_bytes()),
            "{word}"
        );
    }
}

fn gather(dir: &Path, out: &mut Vec<u8>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        out.extend_from_slice(path.as_os_str().as_encoded_bytes());
        let kind = fs::symlink_metadata(&path).unwrap().file_type();
        if kind.is_dir() {
            gather(&path, out);
        } else if kind.is_symlink() {
            out.extend_from_slice(fs::read_link(&path).unwrap().as_os_str().as_encoded_bytes());
        } else {
            out.extend(fs::read(&path).unwrap());
        }
    }
}

#[test]
fn what_is_put_back_into_the_store_is_refused_at_the_next_open() {
    let mounted = Mounted::new();
    fs::write(mounted.at("f"), "an earlier version").unwrap();
    fs::write(mounted.at("g"), "deleted").unwrap();
    mounted.checkpoint();
    let stored: Vec<_> = files(&mounted.world.store());
    let other: Vec<_> = stored.iter().map(|path| fs::read(path).unwrap()).collect();
    fs::write(mounted.at("f"), "ours").unwrap();
    fs::remove_file(mounted.at("g")).unwrap();
    mounted.checkpoint();
    assert_eq!(fs::read_to_string(mounted.at("f")).unwrap(), "ours");
    for (path, content) in stored.iter().zip(&other) {
        fs::write(path, content).unwrap();
    }
    let stale = rustix::io::Errno::STALE.raw_os_error();
    for name in ["f", "g"] {
        let refused = fs::read(mounted.at(name)).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(stale), "{name}");
    }
    assert_eq!(fs::read_dir(&mounted.point).unwrap().count(), 2);
}

/// The stored files, without configuration and header.
fn files(store: &Path) -> Vec<PathBuf> {
    let all = fs::read_dir(store)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    all.filter(|path| path.is_file() && path.extension().is_none())
        .collect()
}

const SERVE: &str = "KMSFS_TEST_SERVE";

/// Not a test of its own: the process that `kill_9_loses_nothing_acknowledged` kills.
#[test]
fn serve_for_the_test_that_kills() {
    let Ok(dir) = std::env::var(SERVE) else {
        return;
    };
    let dir = Path::new(&dir);
    let world = World::borrowed(dir);
    let options = Options {
        background: true,
        ..world.options()
    };
    let owner = Arc::clone(&world.owner);
    let vfs = Vfs::open_owner(&world.store(), world.info(), World::key(), owner, options).unwrap();
    let mount = mount(vfs, &dir.join("mount"), &MountOptions::default()).unwrap();
    fs::write(dir.join("ready"), "").unwrap();
    mount.wait(|| ()).unwrap();
}

fn serve(dir: &Path) -> Child {
    let _ = fs::remove_file(dir.join("ready"));
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "serve_for_the_test_that_kills"])
        .env(SERVE, dir)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while !dir.join("ready").exists() {
        assert_eq!(child.try_wait().unwrap(), None, "it does not serve");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    child
}

#[test]
fn kill_9_loses_nothing_acknowledged_and_the_next_mount_just_works() {
    let world = World::new();
    let dir = world.dir.path();
    let point = dir.join("mount");
    fs::create_dir(&point).unwrap();
    let mut acknowledged: Vec<(String, Vec<u8>)> = Vec::new();
    for round in 0..4u8 {
        let mut child = serve(dir);
        for (name, content) in &acknowledged {
            assert!(
                fs::read(point.join(name)).unwrap() == *content,
                "{name} after {round} kills"
            );
        }
        for number in 0..20u8 {
            // Closed is enough; every third is synced as well, some are overwritten, some replaced by a rename.
            let name = format!("f{}", (round * 7 + number) % 25);
            let content = pattern(usize::from(number) * 3_000 + 10, round ^ number);
            if number % 4 == 1 {
                fs::write(point.join("tmp"), &content).unwrap();
                fs::rename(point.join("tmp"), point.join(&name)).unwrap();
            } else {
                fs::write(point.join(&name), &content).unwrap();
            }
            if number % 3 == 0 {
                File::open(point.join(&name)).unwrap().sync_all().unwrap();
            }
            acknowledged.retain(|(known, _)| *known != name);
            acknowledged.push((name, content));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        run(dir, "umount", &["-l", "mount"]);
    }
    let vfs = world.open();
    for (name, content) in &acknowledged {
        assert!(support::get(&vfs, name).unwrap() == *content, "{name}");
    }
    assert_eq!(support::fsck(&vfs), [""; 0]);
}
