//! `kill -9` at any moment: nothing acknowledged is lost, nothing has to be cleaned up by hand.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use kms_tests::{TIMEOUT, eventually, tree};

use crate::Scene;

/// Overwrites 4 KiB pieces of a file, each with its round's number, and counts what has been acknowledged.
fn overwrite(file: &File, sync: bool, acknowledged: &[AtomicU64], stop: &AtomicBool) {
    for round in 1.. {
        for (index, slot) in acknowledged.iter().enumerate() {
            let piece = vec![u8::try_from(round % 251).unwrap(); 4096];
            let offset = u64::try_from(index).unwrap() * 4096;
            if stop.load(Ordering::Relaxed) || file.write_all_at(&piece, offset).is_err() {
                return;
            }
            if sync && file.sync_data().is_err() {
                return;
            }
            if sync {
                slot.store(round, Ordering::SeqCst);
            }
        }
    }
}

#[test]
fn what_was_synced_or_closed_survives_a_killed_mount() {
    let mut scene = Scene::new();
    fs::write(scene.secure.at("overwritten"), vec![0; 64 * 4096]).unwrap();
    for trial in 0..trials() {
        let acknowledged: Vec<_> = (0..64).map(|_| AtomicU64::new(0)).collect();
        let stop = AtomicBool::new(false);
        let closed = AtomicU64::new(0);
        let path = scene.secure.path.clone();
        let Scene {
            secure,
            alice,
            store,
            root,
        } = scene;
        std::thread::scope(|scope| {
            let file = File::options()
                .write(true)
                .open(path.join("overwritten"))
                .unwrap();
            let (acknowledged, stop, closed, path) = (&acknowledged, &stop, &closed, &path);
            scope.spawn(move || overwrite(&file, true, acknowledged, stop));
            scope.spawn(move || {
                for number in 0.. {
                    let new = path.join(format!("new-{trial}-{number}"));
                    let length = usize::try_from(number * 1000 % 100_000).unwrap();
                    if fs::write(&new, tree::bytes(number, length)).is_err() {
                        return;
                    }
                    if fs::rename(&new, path.join(format!("renamed-{trial}-{number}"))).is_err() {
                        return;
                    }
                    closed.store(number + 1, Ordering::SeqCst);
                }
            });
            eventually("some work to be acknowledged", TIMEOUT, || {
                let synced = acknowledged
                    .iter()
                    .map(|slot| slot.load(Ordering::SeqCst))
                    .sum::<u64>();
                (synced > 100 + 37 * trial && closed.load(Ordering::SeqCst) > 20).then_some(())
            });
            secure.crash();
            stop.store(true, Ordering::Relaxed);
        });

        // The mount point is dead; mounting again is all there is to do.
        let secure = alice.mount(&store, "secure");
        scene = Scene {
            secure,
            alice,
            store,
            root,
        };
        let content = fs::read(scene.secure.at("overwritten")).expect("every chunk verifies");
        for (piece, slot) in content.chunks(4096).zip(&acknowledged) {
            let rounds = slot.load(Ordering::SeqCst);
            let value = u64::from(piece[0]);
            assert!(
                piece.iter().all(|byte| u64::from(*byte) == value),
                "a piece is old or new, never a mix"
            );
            assert!(
                rounds == 0 || value == rounds % 251 || value == (rounds + 1) % 251,
                "lost: {value} after {rounds}"
            );
        }
        for number in 0..closed.load(Ordering::SeqCst) {
            let length = usize::try_from(number * 1000 % 100_000).unwrap();
            let read = fs::read(scene.secure.at(format!("renamed-{trial}-{number}"))).unwrap();
            assert!(
                read == tree::bytes(number, length),
                "file {number} of trial {trial}"
            );
        }
        fs::write(scene.secure.at("overwritten"), vec![0; 64 * 4096]).unwrap();
    }
    scene.secure.unmount();
    // It fails, and says where, if anything at all does not verify.
    scene.alice.run(&["fsck", scene.store.to_str().unwrap()]);
}

#[test]
fn a_file_being_appended_to_is_whole_after_a_crash() {
    let scene = Scene::new();
    let mut file = File::create(scene.secure.at("log")).unwrap();
    let mut synced = 0;
    for number in 0..200 {
        file.write_all(&tree::bytes(number, 3000)).unwrap();
        if number % 10 == 9 {
            file.sync_all().unwrap();
            synced = number + 1;
        }
    }
    file.write_all(&tree::bytes(999, 3000)).unwrap();
    let (alice, store, root) = scene.crashed();
    drop(file);
    let secure = alice.mount(&store, "secure");
    let content = fs::read(secure.at("log")).unwrap();
    let expected: Vec<u8> = (0..synced)
        .flat_map(|number| tree::bytes(number, 3000))
        .collect();
    assert!(content.starts_with(&expected), "all that was synced");
    assert_eq!(
        content.len() as u64,
        fs::metadata(secure.at("log")).unwrap().len()
    );
    drop(secure);
    drop((alice, root));
}

/// How often the mount is killed; scripts/soak asks for more.
fn trials() -> u64 {
    std::env::var("KMSFS_KILLS").map_or(5, |kills| kills.parse().unwrap())
}
