//! Two machines of one owner, each with its own copy of the store, and a synchroniser between them that knows files and
//! nothing else: whatever both did at once, both versions are there on both, whole, and nothing is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kmsfs::backing::Kind;
use kmsfs::vfs::{Oddity, Problem, Vfs, VfsError};
use rustix::io::Errno;
use tempfile::TempDir;

use crate::support::*;

const BIG: usize = 40 * CHUNK;

/// What the mounts are doing when the synchroniser comes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Mount {
    /// They were unmounted.
    Closed,
    /// They are idle.
    Idle,
    /// They have just written, and go on.
    Busy,
    /// The second one was killed, and what it has written is in its journal only.
    Killed,
}

const MOUNTS: [Mount; 4] = [Mount::Closed, Mount::Idle, Mount::Busy, Mount::Killed];

struct Machines {
    _dir: TempDir,
    worlds: [World; 2],
    mounts: [Option<Arc<Vfs>>; 2],
    /// What both had when they were last synchronised.
    base: BTreeMap<PathBuf, Vec<u8>>,
    how: Mount,
}

impl Machines {
    fn new(how: Mount, prepare: impl Fn(&Vfs)) -> Self {
        let dir = memory();
        let first = World::new();
        let vfs = first.open();
        prepare(&vfs);
        vfs.close().unwrap();
        drop(vfs);
        let worlds = ["a", "b"].map(|name| {
            let home = dir.path().join(name);
            fs::create_dir(&home).unwrap();
            copy_all(&first.store(), &home.join("store"));
            World::borrowed(&home)
        });
        let base = snapshot(&first.store());
        let mounts = [0, 1].map(|at: usize| Some(worlds[at].open()));
        let machines = Self {
            _dir: dir,
            worlds,
            mounts,
            base,
            how,
        };
        // Each has seen what was there.
        for at in 0..2 {
            machines.contents(at);
        }
        machines
    }

    fn vfs(&self, at: usize) -> &Vfs {
        self.mounts[at].as_ref().unwrap()
    }

    /// The mounts become as they are to be found, the synchroniser does its work, and the mounts are there again.
    fn synchronise(&mut self, winner: usize) {
        for (at, mount) in self.mounts.iter_mut().enumerate() {
            match self.how {
                Mount::Closed => mount.take().unwrap().close().unwrap(),
                Mount::Idle => mount.as_ref().unwrap().checkpoint().unwrap(),
                Mount::Busy => {}
                Mount::Killed if at == 0 => mount.take().unwrap().close().unwrap(),
                Mount::Killed => drop(mount.take()),
            }
        }
        self.run(winner);
        for (mount, world) in self.mounts.iter_mut().zip(&self.worlds) {
            mount.get_or_insert_with(|| world.open());
        }
        for at in 0..2 {
            self.vfs(at).checkpoint().unwrap();
        }
        // What was set aside meanwhile goes round as well.
        self.run(winner);
    }

    /// Whole files, the winner's version where both have one, and the other one beside it.
    fn run(&mut self, winner: usize) {
        let stores = [self.worlds[0].store(), self.worlds[1].store()];
        let now = [snapshot(&stores[0]), snapshot(&stores[1])];
        let mut paths: BTreeSet<&PathBuf> = now[0].keys().chain(now[1].keys()).collect();
        paths.extend(self.base.keys());
        for path in paths {
            let base = self.base.get(path);
            let [one, other] = [now[0].get(path), now[1].get(path)];
            if one == other {
                continue;
            }
            match (one == base, other == base) {
                (true, false) => send(&stores[1], &stores[0], path),
                (false, true) => send(&stores[0], &stores[1], path),
                _ if one.is_none() => send(&stores[1], &stores[0], path),
                _ if other.is_none() => send(&stores[0], &stores[1], path),
                _ => {
                    let loser = 1 - winner;
                    let copy = conflict_name(path, loser);
                    fs::rename(stores[loser].join(path), stores[loser].join(&copy)).unwrap();
                    send(&stores[loser], &stores[winner], &copy);
                    send(&stores[winner], &stores[loser], path);
                }
            }
        }
        self.base = snapshot(&stores[0]);
        assert!(self.base == snapshot(&stores[1]), "both have the same");
    }

    /// All that can be read on a machine. Nothing is refused.
    fn contents(&self, at: usize) -> BTreeMap<String, Vec<u8>> {
        let mut contents = BTreeMap::new();
        walk(self.vfs(at), "", &mut contents);
        contents
    }

    /// Both machines have these contents, wherever, and the check finds nothing that is damaged.
    fn assert_there(&self, contents: &[&[u8]]) {
        for at in 0..2 {
            self.assert_there_on(at, contents);
        }
    }

    fn assert_there_on(&self, at: usize, contents: &[&[u8]]) {
        {
            let there = self.contents(at);
            for content in contents {
                assert!(
                    there.values().any(|it| it == content),
                    "{:?} machine {at}: {:?} is missing among {:?}",
                    self.how,
                    String::from_utf8_lossy(&content[..content.len().min(20)]),
                    there.keys(),
                );
            }
            let report = self.vfs(at).fsck(Path::new(""), &mut |_| {}).unwrap();
            let is_damage = |problem: &Problem| {
                !matches!(
                    problem,
                    Problem::Unused
                        | Problem::Refused(VfsError::Odd(Oddity::Vanished | Oddity::Repointed))
                )
            };
            let damage: Vec<_> = report
                .findings
                .iter()
                .filter(|it| is_damage(&it.problem))
                .collect();
            assert!(damage.is_empty(), "{:?} machine {at}: {damage:?}", self.how);
        }
    }

    /// What was in conflict can still be used: written on one machine, it is read on the other.
    fn assert_usable(&mut self, path: &str) {
        for at in 0..2 {
            let content = format!("written on {at} afterwards");
            again(|| put(self.vfs(at), path, content.as_bytes())).unwrap();
            self.synchronise(at);
            for machine in 0..2 {
                let got = again(|| get(self.vfs(machine), path)).unwrap();
                assert!(
                    got == content.as_bytes(),
                    "{:?} machine {machine}",
                    self.how
                );
            }
        }
    }
}

/// The kernel looks up again what it is told is stale.
fn again<T>(run: impl Fn() -> Result<T, VfsError>) -> Result<T, VfsError> {
    match run() {
        Err(VfsError::Os(Errno::STALE)) => run(),
        result => result,
    }
}

fn walk(vfs: &Vfs, dir: &str, contents: &mut BTreeMap<String, Vec<u8>>) {
    for name in again(|| list(vfs, dir)).unwrap() {
        let path = if dir.is_empty() {
            name
        } else {
            format!("{dir}/{name}")
        };
        let attr = again(|| attr(vfs, &path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        match attr.kind {
            Kind::Dir => walk(vfs, &path, contents),
            Kind::File => {
                let content = again(|| get(vfs, &path));
                let content = content.unwrap_or_else(|error| panic!("{path}: {error}"));
                contents.insert(path, content);
            }
            _ => {}
        }
    }
}

/// Every file in a store by its path.
fn snapshot(store: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    fn add(at: &Path, store: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                add(&path, store, files);
            } else {
                let below = path.strip_prefix(store).unwrap().to_owned();
                files.insert(below, fs::read(&path).unwrap());
            }
        }
    }
    let mut files = BTreeMap::new();
    add(store, store, &mut files);
    files
}

/// Makes a file on one side what it is on the other: gone, or put in its place by a rename.
fn send(from: &Path, to: &Path, path: &Path) {
    let (from, to) = (from.join(path), to.join(path));
    if !from.exists() {
        let _ = fs::remove_file(&to);
        // A directory that is empty here goes there, too.
        if from.parent().is_some_and(|dir| !dir.exists()) {
            let _ = fs::remove_dir(to.parent().unwrap());
        }
        return;
    }
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    let new = to.with_file_name("~sync.tmp");
    fs::copy(&from, &new).unwrap();
    fs::rename(&new, &to).unwrap();
}

fn conflict_name(path: &Path, loser: usize) -> PathBuf {
    let name = path.file_name().unwrap().to_str().unwrap();
    let added = format!(".sync-conflict-20261122-101112-HOST{loser}");
    path.with_file_name(match name.rsplit_once('.') {
        Some((stem, extension)) => format!("{stem}{added}.{extension}"),
        None => format!("{name}{added}"),
    })
}

fn copy_all(from: &Path, to: &Path) {
    for (path, content) in snapshot(from) {
        let to = to.join(path);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::write(to, content).unwrap();
    }
}

/// Does this for each way the mounts can be, and for each winner.
fn each(run: impl Fn(Mount, usize)) {
    for how in MOUNTS {
        for winner in 0..2 {
            run(how, winner);
        }
    }
}

#[test]
fn what_only_one_machine_did_arrives_and_nothing_is_in_conflict() {
    for how in MOUNTS {
        let mut it = Machines::new(how, |vfs| {
            mkdir(vfs, "d").unwrap();
            put(vfs, "d/f", b"base").unwrap();
        });
        put(it.vfs(0), "d/new on a", b"new on a").unwrap();
        put(it.vfs(1), "d/new on b", b"new on b").unwrap();
        patch(it.vfs(0), "d/f", 0, b"from a").unwrap();
        it.synchronise(0);
        it.assert_there(&[b"from a", b"new on a", b"new on b"]);
        for at in 0..2 {
            assert_eq!(it.contents(at).len(), 3, "{how:?}");
            assert_eq!(it.vfs(at).notices(), [], "{how:?}");
        }
        it.assert_usable("d/f");
    }
}

/// Both write into the middle of a large file: the blocks of the two are never in one.
#[test]
fn both_versions_of_a_file_edited_on_two_machines_are_whole() {
    each(|how, winner| {
        let base = pattern(BIG, 1);
        let mut it = Machines::new(how, |vfs| put(vfs, "f.txt", &pattern(BIG, 1)).unwrap());
        let mut versions = [base.clone(), base];
        // Of what the journal says nothing, nothing is left where a file was replaced: the first's blocks as well.
        patch(it.vfs(1), "f.txt", 100, &pattern(CHUNK, 9)).unwrap();
        versions[1][100..100 + CHUNK].copy_from_slice(&pattern(CHUNK, 9));
        // One of them more often than the other.
        for (at, times) in [(0, 1), (1, 5)] {
            for time in 0..times {
                let offset = (at * 3 + time * 5) * CHUNK + 100;
                let new = pattern(CHUNK, 10 * (at as u8 + 1) + time as u8);
                again(|| patch(it.vfs(at), "f.txt", offset, &new)).unwrap();
                versions[at][offset..offset + CHUNK].copy_from_slice(&new);
            }
        }
        it.synchronise(winner);
        it.assert_there(&[&versions[0], &versions[1]]);
        if how != Mount::Killed {
            let there = it.contents(0);
            assert!(there["f.txt"] == versions[winner], "{how:?} {winner}");
            assert_eq!(there.len(), 2, "{how:?} {:?}", there.keys());
        }
        it.assert_usable("f.txt");
    });
}

#[test]
fn whole_new_versions_of_a_small_file_are_both_there() {
    each(|how, winner| {
        let mut it = Machines::new(how, |vfs| put(vfs, "f", b"base").unwrap());
        put(it.vfs(0), "f", b"from a").unwrap();
        for _ in 0..3 {
            put(it.vfs(1), "f", b"from b, which is longer").unwrap();
        }
        it.synchronise(winner);
        it.assert_there(&[b"from a", b"from b, which is longer"]);
        it.assert_usable("f");
    });
}

#[test]
fn two_files_made_under_one_name_are_both_there() {
    each(|how, winner| {
        let mut it = Machines::new(how, |_| {});
        put(it.vfs(0), "f", b"from a").unwrap();
        put(it.vfs(1), "f", b"from b").unwrap();
        let long = "n".repeat(200);
        put(it.vfs(0), &long, b"long from a").unwrap();
        put(it.vfs(1), &long, b"long from b").unwrap();
        it.synchronise(winner);
        it.assert_there(&[b"from a", b"from b", b"long from a", b"long from b"]);
        it.assert_usable("f");
    });
}

#[test]
fn a_file_that_was_edited_here_and_deleted_there_stays() {
    each(|how, winner| {
        let mut it = Machines::new(how, |vfs| put(vfs, "f", b"base").unwrap());
        // The one that deletes it has changed it first, and more often.
        for _ in 0..4 {
            put(it.vfs(0), "f", b"about to be deleted").unwrap();
        }
        unlink(it.vfs(0), "f").unwrap();
        put(it.vfs(1), "f", b"edited").unwrap();
        it.synchronise(winner);
        if how != Mount::Killed {
            // What only the journal holds follows a file that is not there any more.
            it.assert_there(&[b"edited"]);
        }
        it.assert_usable("f");
    });
}

#[test]
fn a_file_that_was_edited_here_and_renamed_there_is_there_under_both_names() {
    each(|how, winner| {
        let mut it = Machines::new(how, |vfs| {
            mkdir(vfs, "d").unwrap();
            put(vfs, "f", &pattern(BIG, 1)).unwrap();
        });
        rename(it.vfs(0), "f", "d/g").unwrap();
        patch(it.vfs(0), "d/g", CHUNK, &pattern(CHUNK, 2)).unwrap();
        patch(it.vfs(1), "f", 5 * CHUNK, &pattern(CHUNK, 3)).unwrap();
        it.synchronise(winner);
        let (mut renamed, mut edited) = (pattern(BIG, 1), pattern(BIG, 1));
        renamed[CHUNK..2 * CHUNK].copy_from_slice(&pattern(CHUNK, 2));
        edited[5 * CHUNK..6 * CHUNK].copy_from_slice(&pattern(CHUNK, 3));
        if how == Mount::Killed {
            // As above.
            return it.assert_there(&[&renamed]);
        }
        it.assert_there(&[&renamed, &edited]);
        it.assert_usable("f");
        it.assert_usable("d/g");
    });
}

#[test]
fn directories_made_under_one_name_both_show_what_is_in_them() {
    each(|how, winner| {
        let mut it = Machines::new(how, |_| {});
        for (at, name) in ["a", "b"].into_iter().enumerate() {
            mkdir(it.vfs(at), "d").unwrap();
            mkdir(it.vfs(at), "d/e").unwrap();
            put(it.vfs(at), "d/same", format!("same from {name}").as_bytes()).unwrap();
            put(
                it.vfs(at),
                &format!("d/e/{name}"),
                format!("in e from {name}").as_bytes(),
            )
            .unwrap();
        }
        it.synchronise(winner);
        let contents: [&[u8]; 4] = [
            b"same from a",
            b"same from b",
            b"in e from a",
            b"in e from b",
        ];
        it.assert_there(&contents);
        if matches!(how, Mount::Closed) {
            let vfs = it.vfs(0);
            let merged = "d/(conflict 20261122-101112-HOST1)";
            let other = "d/(conflict 20261122-101112-HOST0)";
            let merged = if winner == 0 { merged } else { other };
            assert_eq!(list(vfs, merged).unwrap(), ["e", "same"]);
            // What the user does about it.
            unlink(vfs, &format!("{merged}/same")).unwrap();
            let names = list(vfs, &format!("{merged}/e")).unwrap();
            for name in names {
                unlink(vfs, &format!("{merged}/e/{name}")).unwrap();
            }
            rmdir(vfs, &format!("{merged}/e")).unwrap();
            rmdir(vfs, merged).unwrap();
            assert_eq!(list(vfs, "d").unwrap(), ["e", "same"]);
            assert_eq!(fsck(vfs), [""; 0]);
        }
    });
}

#[test]
fn permissions_set_here_and_content_written_there_are_both_kept() {
    each(|how, winner| {
        let mut it = Machines::new(how, |vfs| {
            mkdir(vfs, "d").unwrap();
            put(vfs, "d/f", b"base").unwrap();
        });
        chmod(it.vfs(0), "d/f", 0o600).unwrap();
        put(it.vfs(1), "d/f", b"edited").unwrap();
        it.synchronise(winner);
        it.assert_there(&[b"base", b"edited"]);
        it.assert_usable("d/f");
    });
}

#[test]
fn a_directory_changed_on_both_stays_usable_on_both() {
    each(|how, winner| {
        let mut it = Machines::new(how, |vfs| {
            mkdir(vfs, "d").unwrap();
            put(vfs, "d/f", b"content").unwrap();
        });
        chmod(it.vfs(0), "d", 0o750).unwrap();
        chmod(it.vfs(1), "d", 0o700).unwrap();
        chmod(it.vfs(1), "", 0o700).unwrap();
        set_xattr(it.vfs(0), "d", "user.a", b"a").unwrap();
        it.synchronise(winner);
        it.assert_there(&[b"content"]);
        chmod(it.vfs(0), "d", 0o755).unwrap();
        put(it.vfs(1), "d/new", b"new").unwrap();
        it.synchronise(winner);
        it.assert_there(&[b"content", b"new"]);
        it.assert_usable("d/f");
    });
}

#[test]
fn attributes_kept_beside_the_file_belong_to_their_version() {
    each(|how, winner| {
        let mut it = Machines::new(how, |vfs| put(vfs, "f", b"base").unwrap());
        for at in 0..2 {
            let name = ["from a", "from b"][at];
            put(it.vfs(at), "f", name.as_bytes()).unwrap();
            set_xattr(it.vfs(at), "f", "user.large", &pattern(5_000, at as u8)).unwrap();
        }
        // The file of one, the attributes of the other: synchronisers look at each file by itself.
        it.synchronise(winner);
        it.assert_there(&[b"from a", b"from b"]);
        for machine in 0..2 {
            for (path, content) in it.contents(machine) {
                let at = u8::from(content == b"from b");
                let value = again(|| xattr(it.vfs(machine), &path, "user.large")).unwrap();
                assert!(value == pattern(5_000, at), "{how:?} {winner} {path}");
            }
        }
    });
}

/// The other machine's version arrives while the journal holds changes of a file that was killed, and with it blocks
/// that were not changed here have gone: the other version is as it was, and what is left of ours is beside it.
#[test]
fn what_a_journal_cannot_make_whole_is_kept_as_far_as_it_goes() {
    let mut it = Machines::new(Mount::Killed, |vfs| {
        put(vfs, "f", &pattern(BIG, 1)).unwrap()
    });
    patch(it.vfs(0), "f", 7 * CHUNK, &pattern(CHUNK, 2)).unwrap();
    patch(it.vfs(1), "f", 30 * CHUNK, &pattern(CHUNK, 3)).unwrap();
    for (at, mount) in it.mounts.iter_mut().enumerate() {
        let mount = mount.take().unwrap();
        if at == 0 {
            mount.close().unwrap();
        }
    }
    it.run(0);
    let vfs = it.worlds[1].open();
    let mut theirs = pattern(BIG, 1);
    theirs[7 * CHUNK..8 * CHUNK].copy_from_slice(&pattern(CHUNK, 2));
    assert!(get(&vfs, "f").unwrap() == theirs);
    assert_eq!(vfs.notices()[0].what, Oddity::Lost);
    let names = list(&vfs, "").unwrap();
    assert_eq!(names.len(), 2);
    let handle = open(&vfs, &names[1], kmsfs::vfs::Access::Read).unwrap();
    let mut buf = Vec::new();
    let range = vfs
        .read(handle, 30 * CHUNK as u64, CHUNK, &mut buf)
        .unwrap();
    assert!(buf[range] == pattern(CHUNK, 3));
    assert!(vfs.read(handle, 7 * CHUNK as u64, CHUNK, &mut buf).is_err());
    vfs.release(handle).unwrap();
}

/// A program has a file open and goes on writing after the other machine's version has taken its place.
#[test]
fn a_program_that_goes_on_writing_writes_into_its_own_version() {
    let mut it = Machines::new(Mount::Busy, |vfs| put(vfs, "f", &pattern(BIG, 1)).unwrap());
    let handle = open(it.vfs(1), "f", kmsfs::vfs::Access::Write).unwrap();
    it.vfs(1).write(handle, 0, b"first", false).unwrap();
    put(it.vfs(0), "f", b"theirs").unwrap();
    it.vfs(0).checkpoint().unwrap();
    it.run(0);
    it.vfs(1).fsync(handle).unwrap();
    it.vfs(1).checkpoint().unwrap();
    it.vfs(1).write(handle, 5, b" and second", false).unwrap();
    it.vfs(1).flush(handle).unwrap();
    it.vfs(1).checkpoint().unwrap();
    it.vfs(1).release(handle).unwrap();
    let mut ours = pattern(BIG, 1);
    ours[..16].copy_from_slice(b"first and second");
    it.assert_there_on(1, &[b"theirs", &ours]);
    let is_told = |it: &kmsfs::vfs::Notice| it.what == Oddity::SetAside;
    assert!(it.vfs(1).notices().iter().any(is_told));
    // The same after a kill: nothing of it depends on the mount.
    it.mounts[1] = None;
    it.mounts[1] = Some(it.worlds[1].open());
    it.assert_there_on(1, &[b"theirs", &ours]);
}

/// What stood under a name is told from memory when the name is removed. The other machine has moved it and put
/// something else there since, both seen here or not: it is not gone.
#[test]
fn a_file_the_other_machine_has_moved_is_not_gone_with_its_old_name() {
    for is_seen in [true, false] {
        let mut machines = Machines::new(Mount::Closed, |vfs| {
            put(vfs, "old", b"moved").unwrap();
        });
        // Sealed last by the machine that will remove the name.
        patch(machines.vfs(0), "old", 0, b"MOVED").unwrap();
        machines.synchronise(0);
        let there = machines.vfs(1);
        rename(there, "old", "new").unwrap();
        put(there, "old", b"something else").unwrap();
        machines.synchronise(1);
        let here = machines.vfs(0);
        if is_seen {
            assert_eq!(get(here, "new").unwrap(), b"MOVED");
        }
        unlink(here, "old").unwrap();
        machines.synchronise(0);
        assert_eq!(get(machines.vfs(0), "new").unwrap(), b"MOVED");
        assert_eq!(get(machines.vfs(1), "new").unwrap(), b"MOVED");
        assert_eq!(fsck(machines.vfs(0)), [""; 0]);
    }
}
