//! The table of attacks, and what is asked of each of them.

use std::os::unix::fs::{PermissionsExt, symlink as make_link};
use std::path::{Path, PathBuf};

use kmsfs::vfs::{Access, Vfs, VfsError};
use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::stage::*;
use crate::support::*;

/// What must come of an attack.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Comes {
    /// Refused at this path, with this in the words.
    Refused(&'static str, &'static str),
    /// The owner is told that this path has vanished.
    Told(&'static str),
    /// Nothing: what is seen is what was written.
    Nothing,
}

use Comes::{Nothing, Refused, Told};

type Attack = (&'static str, fn(&Stage), Comes);

const OLDER: &str = "older than what was already seen";
const VICTIM: &str = "d/victim";

#[rustfmt::skip]
const ATTACKS: &[Attack] = &[
    // Bytes.
    ("a bit of a chunk flipped", |s| flip(&s.at(VICTIM), HEADER + 3 * CHUNK + 17), Refused(VICTIM, "chunk 3")),
    ("a bit of a tag page flipped", |s| flip(&s.at(VICTIM), PAGE + 5), Refused(VICTIM, "tag page 0 of level 1")),
    ("a bit of a header flipped", |s| flip(&s.at(VICTIM), 300), Refused(VICTIM, "the header")),
    ("a bit of a seal flipped", |s| flip(&s.at(VICTIM), 4095), Refused(VICTIM, "the header")),
    ("two chunks exchanged", |s| {
        let (one, two) = (bytes(&s.at(VICTIM), HEADER, CHUNK), bytes(&s.at(VICTIM), HEADER + CHUNK, CHUNK));
        overwrite(&s.at(VICTIM), HEADER, &two);
        overwrite(&s.at(VICTIM), HEADER + CHUNK, &one);
    }, Refused(VICTIM, "chunk 0")),
    ("a chunk put over another one", |s| {
        overwrite(&s.at(VICTIM), HEADER + CHUNK, &bytes(&s.at(VICTIM), HEADER, CHUNK));
    }, Refused(VICTIM, "chunk 1")),
    ("a chunk of another file at the same place", |s| {
        overwrite(&s.at(VICTIM), HEADER + CHUNK, &bytes(&s.at("d/other"), HEADER + CHUNK, CHUNK));
    }, Refused(VICTIM, "chunk 1")),
    ("a chunk made zeros, like a hole", |s| overwrite(&s.at(VICTIM), HEADER + CHUNK, &[0; CHUNK]), Refused(VICTIM, "chunk 1")),
    ("a tag page made zeros, like a hole", |s| overwrite(&s.at(VICTIM), PAGE, &[0; 4096]), Refused(VICTIM, "tag page 0 of level 1")),
    ("everything after the header exchanged with another file's", |s| {
        let (one, two) = (std::fs::read(s.at(VICTIM)).unwrap(), std::fs::read(s.at("d/other")).unwrap());
        overwrite(&s.at(VICTIM), HEADER, &two[HEADER..]);
        overwrite(&s.at("d/other"), HEADER, &one[HEADER..]);
    }, Refused(VICTIM, "tag page 0 of level 1")),
    ("the header exchanged with another file's", |s| {
        let (one, two) = (bytes(&s.at(VICTIM), 0, HEADER), bytes(&s.at("d/other"), 0, HEADER));
        overwrite(&s.at(VICTIM), 0, &two);
        overwrite(&s.at("d/other"), 0, &one);
    }, Refused(VICTIM, "the place")),
    ("the names and keys in a header exchanged with another file's", |s| {
        let (one, two) = (bytes(&s.at(VICTIM), 14, 600), bytes(&s.at("d/other"), 14, 600));
        overwrite(&s.at(VICTIM), 14, &two);
        overwrite(&s.at("d/other"), 14, &one);
    }, Refused(VICTIM, "the header")),
    // Lengths.
    ("cut to nothing", |s| set_len(&s.at(VICTIM), 0), Refused(VICTIM, "the header")),
    ("cut to the header", |s| set_len(&s.at(VICTIM), HEADER), Refused(VICTIM, "the length")),
    ("cut at a chunk's end", |s| set_len(&s.at(VICTIM), HEADER + 5 * CHUNK), Refused(VICTIM, "the length")),
    ("cut before the tag page", |s| set_len(&s.at(VICTIM), PAGE), Refused(VICTIM, "the length")),
    ("cut by one byte", |s| set_len(&s.at(VICTIM), LEN - 1), Refused(VICTIM, "the length")),
    ("an old chunk appended", |s| append(&s.at(VICTIM), &bytes(&s.old(VICTIM), HEADER, CHUNK)), Refused(VICTIM, "the length")),
    ("zeros appended", |s| append(&s.at(VICTIM), &[0; CHUNK]), Refused(VICTIM, "the length")),
    // Earlier states.
    ("one chunk as it was before", |s| {
        overwrite(&s.at(VICTIM), HEADER + 2 * CHUNK, &bytes(&s.old(VICTIM), HEADER + 2 * CHUNK, CHUNK));
    }, Refused(VICTIM, "chunk 2")),
    ("one chunk and its tag page as they were before", |s| {
        let at = PAGE + 4096 + CHUNK;
        overwrite(&s.at(VICTIM), PAGE, &bytes(&s.old(VICTIM), PAGE, 4096));
        overwrite(&s.at(VICTIM), at, &bytes(&s.old(VICTIM), at, CHUNK));
    }, Refused(VICTIM, "tag page 0 of level 1")),
    ("the header as it was before", |s| overwrite(&s.at(VICTIM), 0, &bytes(&s.old(VICTIM), 0, HEADER)), Refused(VICTIM, OLDER)),
    ("a file as it was before, in place", |s| overlay(&s.at(VICTIM), &s.old(VICTIM)), Refused(VICTIM, OLDER)),
    ("a file as it was before, put there anew", |s| replace(&s.at(VICTIM), &s.old(VICTIM)), Refused(VICTIM, OLDER)),
    ("what a file was before another one took its place", |s| replace(&s.at("d/saved"), &s.old("d/saved")), Refused("d/saved", OLDER)),
    ("a deleted file brought back", |s| bring_back(&s.old("d"), &s.at("d")), Refused("d/deleted", OLDER)),
    ("a directory's header as it was before", |s| {
        overlay(&s.at("d/sub").join("kmsfs.dir"), &s.old("d/sub").join("kmsfs.dir"));
    }, Refused("d/sub", OLDER)),
    ("a directory as it was before", |s| replace(&s.at("d/sub"), &s.old("d/sub")), Refused("d/sub", OLDER)),
    ("all directories as they were before", |s| replace(&s.at("d"), &s.old("d")), Refused(VICTIM, OLDER)),
    ("a link's target as it was before", |s| replace(&s.at("d/link2"), &s.old("d/link2")), Told("d/link2")),
    ("attributes as they were before", |s| {
        // The header says which side file is the one; the old one has another name.
        replace(&s.world.store().join("xattr"), &s.outside("old").join("xattr"));
    }, Refused(VICTIM, "")),
    // Places.
    ("exchanged with another file", |s| exchange(&s.at(VICTIM), &s.at("d/other")), Refused(VICTIM, "the place")),
    ("exchanged with the file of that name in another directory", |s| exchange(&s.at(VICTIM), &s.at("e/victim")), Refused(VICTIM, "the place")),
    ("replaced by a copy of another file", |s| replace(&s.at(VICTIM), &s.at("d/other")), Refused(VICTIM, "the place")),
    ("replaced by a hard link to another file", |s| {
        remove(&s.at(VICTIM));
        std::fs::hard_link(s.at("d/other"), s.at(VICTIM)).unwrap();
    }, Refused(VICTIM, "the place")),
    ("another file moved over it", |s| std::fs::rename(s.at("d/other"), s.at(VICTIM)).unwrap(), Refused(VICTIM, "the place")),
    ("two directories exchanged", |s| exchange(&s.at("d"), &s.at("e")), Refused("d", "the place")),
    ("a directory replaced by a copy of another one", |s| replace(&s.at("e"), &s.at("d")), Refused("e", "the place")),
    ("a directory's header replaced by another one's", |s| overlay(&s.at("e").join("kmsfs.dir"), &s.at("d").join("kmsfs.dir")), Refused("e", "the place")),
    ("two links exchanged", |s| exchange(&s.at("d/link"), &s.at("d/link2")), Refused("d/link", "the link's target")),
    ("a link replaced by a hard link to another one", |s| {
        remove(&s.at("d/link"));
        std::fs::hard_link(s.at("d/link2"), s.at("d/link")).unwrap();
    }, Refused("d/link", "")),
    ("a link's target overwritten in plain", |s| {
        remove(&s.at("d/link"));
        make_link("/etc/passwd", s.at("d/link")).unwrap();
    }, Refused("d/link", "the link's target")),
    // Attributes and modes.
    ("the attributes of two files exchanged", |s| {
        let [one, two, ..] = &side_files(s)[..] else { panic!() };
        exchange(one, two);
    }, Refused("", "the extended attributes")),
    ("a bit of the attributes flipped", |s| side_files(s).iter().for_each(|side| flip(side, 500)), Refused(VICTIM, "the extended attributes")),
    ("attributes deleted", |s| side_files(s).iter().for_each(|side| remove(side)), Refused(VICTIM, "")),
    ("set-user-id through the store", |s| chmod(&s.at(VICTIM), 0o6777), Nothing),
    ("made readable for everybody through the store", |s| chmod(&s.at(VICTIM), 0o666), Nothing),
    ("a directory opened for everybody through the store", |s| chmod(&s.at("d/sub"), 0o1777), Nothing),
    // Things that do not belong there.
    ("a FIFO in place of a file", |s| make(&s.at(VICTIM), FileType::Fifo), Refused(VICTIM, "the kind of object")),
    ("a socket in place of a file", |s| make(&s.at(VICTIM), FileType::Socket), Refused(VICTIM, "the kind of object")),
    ("a device in place of a file", |s| make(&s.at(VICTIM), FileType::CharacterDevice), Refused(VICTIM, "the kind of object")),
    ("a link to another file in place of one", |s| {
        remove(&s.at(VICTIM));
        make_link(s.at("d/other").file_name().unwrap(), s.at(VICTIM)).unwrap();
    }, Refused(VICTIM, "")),
    ("a link out of the store in place of a file", |s| {
        remove(&s.at(VICTIM));
        make_link("/etc/passwd", s.at(VICTIM)).unwrap();
    }, Refused(VICTIM, "")),
    ("a directory in place of a file", |s| {
        remove(&s.at(VICTIM));
        std::fs::create_dir(s.at(VICTIM)).unwrap();
        std::fs::write(s.at(VICTIM).join("x"), "x").unwrap();
    }, Refused(VICTIM, "")),
    ("rubbish in place of a file", |s| std::fs::write(s.at(VICTIM), "rubbish").unwrap(), Refused(VICTIM, "the header")),
    ("a FIFO in place of a directory's header", |s| make(&s.at("e").join("kmsfs.dir"), FileType::Fifo), Refused("e", "")),
    ("a FIFO in place of attributes", |s| side_files(s).iter().for_each(|side| make(side, FileType::Fifo)), Refused(VICTIM, "")),
    ("a link out of the store in place of a directory", |s| {
        remove(&s.at("e"));
        std::fs::create_dir(s.outside("elsewhere")).unwrap();
        make_link(s.outside("elsewhere"), s.at("e")).unwrap();
    }, Refused("e", "")),
    ("a link out of the store in place of the attributes", |s| {
        std::fs::rename(s.world.store().join("xattr"), s.outside("elsewhere")).unwrap();
        make_link(s.outside("elsewhere"), s.world.store().join("xattr")).unwrap();
    }, Refused(VICTIM, "")),
    // Things that are missing.
    ("a file deleted", |s| remove(&s.at(VICTIM)), Told(VICTIM)),
    ("a link deleted", |s| remove(&s.at("d/link")), Told("d/link")),
    ("a directory deleted", |s| remove(&s.at("d/sub")), Told("d/sub")),
    ("a directory's header deleted", |s| remove(&s.at("d").join("kmsfs.dir")), Refused("d", "the header")),
    ("the side file of a long name deleted", |s| {
        let mut side = s.long().into_os_string();
        side.push(".name");
        remove(Path::new(&side));
    }, Refused("", "")),
];

/// Where the tag page of a file stands, and how long the file is.
const PAGE: usize = HEADER + 16 * CHUNK;
const LEN: usize = HEADER + SIZE + 4096;

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn make(path: &Path, kind: FileType) {
    remove(path);
    let made = mknodat(
        CWD,
        path,
        kind,
        Mode::from_raw_mode(0o666),
        rustix::fs::makedev(1, 5),
    );
    // Only root makes devices: a FIFO stands for them then.
    made.or_else(|_| mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o666), 0))
        .unwrap();
}

fn side_files(stage: &Stage) -> Vec<PathBuf> {
    let files = |dir: PathBuf| -> Vec<PathBuf> {
        std::fs::read_dir(dir)
            .unwrap()
            .map(|it| it.unwrap().path())
            .collect()
    };
    files(stage.world.store().join("xattr"))
        .into_iter()
        .flat_map(files)
        .collect()
}

/// Puts everything back that was in a directory once and is not any more.
fn bring_back(old: &Path, new: &Path) {
    for entry in std::fs::read_dir(old).unwrap() {
        let name = entry.unwrap().file_name();
        if !new.join(&name).is_symlink() && !new.join(&name).exists() {
            std::fs::copy(old.join(&name), new.join(&name)).unwrap();
        }
    }
}

fn is_told(vfs: &Vfs, path: &str) -> bool {
    vfs.notices().iter().any(|it| it.path == Path::new(path))
}

/// Whatever is seen is what was written, or an error; and if anything is not as it was, somebody is told.
fn check(what: &str, how: &str, vfs: &Vfs, truth: &View, comes: Comes) {
    let seen = view(vfs);
    let mut refused = Vec::new();
    for (key, was) in truth {
        let is = &seen[key];
        match (was, is) {
            (_, Err(error)) => refused.push((key.0.clone(), error.clone())),
            (Ok(was), Ok(is)) if was == is => {}
            (Ok(was), Ok(is)) if key.1 == "list" => {
                check_list(what, how, vfs, (&key.0, was, is), &mut refused)
            }
            (Ok(_), Ok(_)) if key.1 == "target" && is_told(vfs, &key.0) => {}
            _ => panic!("{what}, {how}: {key:?} is not what it was"),
        }
    }
    let told: Vec<_> = vfs.notices().iter().map(|it| it.path.clone()).collect();
    match comes {
        Nothing => assert!(
            refused.is_empty() && told.is_empty(),
            "{what}, {how}: {refused:?}, {told:?}"
        ),
        Told(path) => assert!(told.contains(&path.into()), "{what}, {how}: {told:?}"),
        Refused(path, words) => {
            let is_it = |(at, error): &(String, String)| {
                (path.is_empty() || at == path) && error.contains(words)
            };
            assert!(
                refused.iter().any(is_it) || path.is_empty() && !told.is_empty(),
                "{what}, {how}: {refused:?}"
            );
        }
    }
    assert_eq!(
        seen[&("fine".to_owned(), "content")],
        Ok(b"fine".to_vec()),
        "{what}, {how}"
    );
}

/// A name too many must not open; one that is missing must have been noticed.
fn check_list(
    what: &str,
    how: &str,
    vfs: &Vfs,
    (dir, was, is): (&str, &[u8], &[u8]),
    refused: &mut Vec<(String, String)>,
) {
    let names = |list: &[u8]| -> Vec<String> {
        std::str::from_utf8(list)
            .unwrap()
            .lines()
            .map(|name| Path::new(dir).join(name).to_str().unwrap().to_owned())
            .collect()
    };
    let (was, is) = (names(was), names(is));
    for extra in is.iter().filter(|name| !was.contains(name)) {
        let error = get(vfs, extra).expect_err(&format!("{what}, {how}: {extra}"));
        refused.push((extra.clone(), error.to_string()));
    }
    for missing in was.iter().filter(|name| !is.contains(name)) {
        let told = vfs.notices().iter().any(|it| {
            it.path == Path::new(missing) || it.path.to_str().unwrap().contains("a long name")
        });
        assert!(
            told,
            "{what}, {how}: {missing} has vanished and nobody was told"
        );
    }
}

fn run(how: &str, attack: impl Fn(&Stage, fn(&Stage), &dyn Fn(&Vfs))) {
    for (what, tamper, comes) in ATTACKS {
        let stage = Stage::new();
        let truth = {
            let vfs = stage.world.open();
            let truth = view(&vfs);
            vfs.close().unwrap();
            truth
        };
        assert!(truth.values().all(Result::is_ok), "{truth:?}");
        attack(&stage, *tamper, &|vfs| {
            check(what, how, vfs, &truth, *comes)
        });
    }
}

#[test]
fn no_attack_on_a_store_at_rest_is_silent() {
    run("at rest", |stage, tamper, check| {
        tamper(stage);
        check(&stage.world.open());
    });
}

#[test]
fn no_attack_on_a_store_in_use_is_silent() {
    run("in use", |stage, tamper, check| {
        let vfs = stage.world.open();
        let before = view(&vfs);
        tamper(stage);
        let after = view(&vfs);
        for (key, was) in before.iter().filter(|(key, _)| key.1 != "list") {
            assert!(
                after[key].is_err() || after[key] == *was || is_told(&vfs, &key.0),
                "{key:?}"
            );
        }
        vfs.close().unwrap();
        drop(vfs);
        check(&stage.world.open());
    });
}

#[test]
fn a_file_that_is_open_while_it_is_attacked_reads_as_it_was_or_not_at_all() {
    for (what, tamper, _) in ATTACKS {
        let stage = Stage::new();
        let vfs = stage.world.open();
        let expected = get(&vfs, VICTIM).unwrap();
        let handle = open(&vfs, VICTIM, Access::Write).unwrap();
        tamper(&stage);
        let mut buf = Vec::new();
        for at in (0..SIZE).step_by(CHUNK) {
            if let Ok(range) = vfs.read(handle, at as u64, CHUNK, &mut buf) {
                let end = SIZE.min(at + CHUNK);
                assert_eq!(
                    buf[range],
                    expected[at..end],
                    "{what}, chunk {}",
                    at / CHUNK
                );
            }
        }
        let _ = close(&vfs, handle);
        assert_eq!(get(&vfs, "fine").unwrap(), b"fine", "{what}");
    }
}

#[test]
fn no_attack_is_laundered_by_writing_afterwards() {
    run("written to", |stage, tamper, check| {
        tamper(stage);
        let vfs = stage.world.open();
        // Whatever can still be written to.
        for file in [VICTIM, "d/other", "e/victim"] {
            if let Ok(content) = get(&vfs, file) {
                let _ = patch(&vfs, file, 9 * CHUNK, &content[9 * CHUNK..10 * CHUNK]);
            } else {
                let _ = patch(&vfs, file, 9 * CHUNK, b"beside");
            }
        }
        if put(&vfs, "d/new", b"new").is_ok() {
            assert_eq!(get(&vfs, "d/new").unwrap(), b"new");
            unlink(&vfs, "d/new").unwrap();
        }
        vfs.close().unwrap();
        drop(vfs);
        check(&stage.world.open());
    });
}

#[test]
fn fsck_finds_every_attack() {
    for (what, tamper, comes) in ATTACKS {
        let stage = Stage::new();
        tamper(&stage);
        let found = fsck(&stage.world.open());
        match comes {
            Nothing => {}
            Told(path) => assert!(
                found
                    .iter()
                    .any(|line| line.starts_with(&format!("{path}: "))),
                "{what}: {found:?}"
            ),
            Refused(path, words) => assert!(
                found
                    .iter()
                    .any(|line| line.starts_with(path) && line.contains(words)),
                "{what}: {found:?}"
            ),
        }
    }
}

#[test]
fn a_refusal_is_stale_or_eio_and_can_be_explained() {
    for (what, tamper, comes) in ATTACKS {
        let Refused(path @ (VICTIM | "d/saved"), words) = comes else {
            continue;
        };
        let stage = Stage::new();
        tamper(&stage);
        let vfs = stage.world.open();
        let Err(error) = get(&vfs, path) else {
            continue;
        };
        let older = *words == OLDER;
        let expected = if older {
            rustix::io::Errno::STALE
        } else {
            rustix::io::Errno::IO
        };
        if !matches!(error, VfsError::Os(_)) {
            assert_eq!(error.errno(), expected, "{what}");
            assert!(
                vfs.last_failure(me().uid, Path::new(path)).is_some(),
                "{what}: nothing to say"
            );
        }
    }
}
