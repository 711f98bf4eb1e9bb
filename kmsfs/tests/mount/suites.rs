//! The conformance suites `pjdfstest` and `fsx` on a real mount that several users share. `scripts/setup test` installs
//! them below target/tools.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use kmsfs::fuse::MountOptions;

use super::Mounted;
use super::posix::{done_by_root, shared};

fn tool(name: &str) -> PathBuf {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools/bin");
    let tool = tools.join(name);
    assert!(tool.exists(), "{name} is missing: scripts/setup test");
    tool
}

/// What pjdfstest must not run here, and why.
const SKIPPED: [(&str, &str); 2] = [
    // It remounts; `what_is_mounted_read_only_cannot_be_changed` looks at the same.
    ("::erofs_", "needs to remount"),
    // The C library answers LINK_MAX by the kind of filesystem, and knows none of ours.
    (
        "link::link_count_max",
        "asks for a limit that FUSE cannot tell",
    ),
];

#[test]
fn pjdfstest_finds_nothing() {
    if done_by_root() {
        return;
    }
    let mounted = shared();
    let (dir, second) = (mounted.at("p"), mounted.world.dir.path().join("second"));
    for dir in [&dir, &second] {
        fs::create_dir(dir).unwrap();
        fs::set_permissions(dir, fs::Permissions::from_mode(0o777)).unwrap();
    }
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
    let config = mounted.world.dir.path().join("pjdfstest.toml");
    let text = format!(
        "[features]\nsecondary_fs = {second:?}\nposix_fallocate = {{}}\nrename_ctime = {{}}\n\
         utime_now = {{}}\nutimensat = {{}}\n[settings]\nnaptime = 0.02\nallow_remount = false\n\
         [dummy_auth]\nentries = [[\"nobody\", \"nogroup\"], [\"daemon\", \"daemon\"]]\n"
    );
    fs::write(&config, text).unwrap();
    let out = Command::new(tool("pjdfstest"))
        .arg("-c")
        .arg(&config)
        .arg("-p")
        .arg(&dir)
        .output()
        .unwrap();
    let out = String::from_utf8_lossy(&out.stdout).into_owned();
    let (mut passed, mut wrong) = (0, Vec::new());
    let lines: Vec<_> = out.lines().collect();
    for (at, line) in lines.iter().enumerate() {
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (Some(_), Some("ok")) => passed += 1,
            (Some(name), Some("skipped"))
                if !SKIPPED.iter().any(|(known, _)| name.contains(known)) =>
            {
                wrong.push((*line).to_owned());
            }
            (Some(_), Some("FAILED")) => wrong.push(lines[at..(at + 3).min(lines.len())].join(" ")),
            _ => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(passed > 380, "only {passed} ran:\n{out}");
}

/// Weights of operations; what is not named does not happen.
const FSX: [(&str, &str); 4] = [
    (
        "everything",
        "flen=600000\n[weights]\nclose_open=1\nread=10\nwrite=10\nmapread=5\nmapwrite=5\ninvalidate=1\n\
         truncate=5\nfsync=1\nfdatasync=1\nposix_fallocate=3\npunch_hole=5\nsendfile=3\nposix_fadvise=3\n\
         copy_file_range=5\n",
    ),
    (
        "small",
        "flen=20000\n[opsize]\nmax=5000\n[weights]\nclose_open=2\nread=10\nwrite=10\nmapread=0\nmapwrite=0\n\
         truncate=10\npunch_hole=8\n",
    ),
    (
        "mapped",
        "nomsyncafterwrite=true\n[weights]\nclose_open=2\nread=5\nwrite=5\nmapread=10\nmapwrite=10\ntruncate=5\n",
    ),
    (
        "large",
        "flen=4194304\n[opsize]\nmax=400000\n[weights]\nclose_open=1\nread=10\nwrite=10\nmapread=5\nmapwrite=5\n\
         truncate=3\nfsync=1\npunch_hole=3\n",
    ),
];

#[test]
fn fsx_reads_what_it_wrote() {
    let mounted = Mounted::new();
    let scratch = mounted.world.dir.path().join("fsx");
    fs::create_dir(&scratch).unwrap();
    for (name, config) in FSX {
        let path = scratch.join(name);
        fs::write(&path, config).unwrap();
        for seed in ["1", "2"] {
            let steps = if name == "large" { "300" } else { "2000" };
            let out = Command::new(tool("fsx"))
                .args(["-q", "-S", seed, "-N", steps, "-f"])
                .arg(&path)
                .arg("-P")
                .arg(&scratch)
                .arg(mounted.at(&format!("{name}.{seed}")))
                .output()
                .unwrap();
            assert!(
                out.status.success(),
                "{name}, seed {seed}: {}{}",
                String::from_utf8_lossy(&out.stdout),
                String::from_utf8_lossy(&out.stderr)
            );
        }
    }
}

#[test]
fn what_is_mounted_read_only_cannot_be_changed() {
    let mut mounted = Mounted::new();
    fs::write(mounted.at("f"), "text").unwrap();
    fs::create_dir(mounted.at("d")).unwrap();
    mounted.unmount();
    mounted.options = MountOptions {
        read_only: true,
        ..MountOptions::default()
    };
    mounted.mount();
    let path = mounted.at("f");
    assert_eq!(fs::read_to_string(&path).unwrap(), "text");
    let new = mounted.at("new");
    let refused = [
        fs::write(&path, "x"),
        fs::write(&new, "x"),
        fs::create_dir(&new),
        fs::remove_file(&path),
        fs::remove_dir(mounted.at("d")),
        fs::rename(&path, &new),
        fs::hard_link(&path, &new),
        std::os::unix::fs::symlink("x", &new),
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)),
        std::os::unix::fs::chown(&path, Some(0), None),
    ];
    for result in refused {
        assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::EROFS));
    }
}
