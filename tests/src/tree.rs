//! Directory trees: making, copying, comparing, searching them.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// `length` bytes that look random and differ for each `seed`.
pub fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut out = Vec::with_capacity(length + 8);
    while out.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(length);
    out
}

/// Every regular file below `dir`.
pub fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let entry = entry.unwrap();
            match entry.file_type().unwrap() {
                kind if kind.is_dir() => open.push(entry.path()),
                kind if kind.is_file() => found.push(entry.path()),
                _ => {}
            }
        }
    }
    found.sort();
    found
}

/// The files below `dir` whose name or content has `needle` in it.
pub fn containing(dir: &Path, needle: &[u8]) -> Vec<PathBuf> {
    let text = String::from_utf8_lossy(needle).into_owned();
    let has = |path: &PathBuf| {
        path.strip_prefix(dir)
            .unwrap()
            .to_string_lossy()
            .contains(&text)
            || contains(&fs::read(path).unwrap(), needle)
    };
    files(dir).into_iter().filter(has).collect()
}

/// Whether `needle` stands in `hay`.
pub fn contains(hay: &[u8], needle: &[u8]) -> bool {
    hay.windows(needle.len()).any(|window| window == needle)
}

/// Copies a tree as a backup would.
#[track_caller]
pub fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp")
        .args(["-a", "-T"])
        .args([from, to])
        .status()
        .unwrap();
    assert!(status.success(), "cp -a failed");
}

/// Runs a program that has to succeed; what it printed.
#[track_caller]
pub fn run(dir: &Path, program: &str, args: &[&str]) -> String {
    let output = Command::new(program)
        .args(args)
        .current_dir(dir)
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(
        output.status.success(),
        "{program} {args:?} failed with {}:\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The backing file of the only regular file of that plaintext length in a store without shares: what an attacker who
/// sees sizes would pick.
#[track_caller]
pub fn backing_file_by_size(store: &Path, at_least: u64) -> PathBuf {
    let mut matches: Vec<_> = files(store)
        .into_iter()
        .filter(|path| fs::metadata(path).unwrap().size() >= at_least)
        .collect();
    assert_eq!(
        matches.len(),
        1,
        "exactly one backing file of at least {at_least} bytes"
    );
    matches.remove(0)
}
