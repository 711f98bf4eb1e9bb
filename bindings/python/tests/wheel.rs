//! The wheel is packed, installed into a fresh virtual environment, and used as its user would.

#![expect(
    clippy::unwrap_used,
    reason = "a test says what it expects by unwrapping it"
)]

use std::path::{Path, PathBuf};
use std::process::Command;

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The library that cargo has built along with this test.
fn library() -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    let library = exe.with_file_name("libkms_python.so");
    assert!(library.exists(), "{} is not built", library.display());
    library
}

#[track_caller]
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{command:?}: {said}");
    said
}

/// What `scripts/setup test` has installed beside Python: mypy and pyright.
fn tool(name: &str) -> PathBuf {
    let path = here().join("../../target/tools").join(name);
    assert!(path.exists(), "{name} is missing: run scripts/setup test");
    path
}

#[test]
fn the_wheel_installs_into_a_fresh_environment_and_works_there() {
    let dir = tempfile::tempdir().unwrap();
    let venv = dir.path().join("venv");
    run(Command::new("python3").args(["-m", "venv"]).arg(&venv));
    // What docs/PYTHON.md says, but that the library need not be built once more.
    let pip = ["-m", "pip", "install", "--quiet", "--no-index"];
    run(Command::new(venv.join("bin/python"))
        .args(pip)
        .arg(here())
        .env("KMS_NATIVE", library())
        .env("PIP_DISABLE_PIP_VERSION_CHECK", "1"));
    let said = run(Command::new(venv.join("bin/python"))
        .args(["-m", "unittest", "discover", "-s"])
        .arg(here().join("tests"))
        .current_dir(dir.path())
        .env("PYTHONDONTWRITEBYTECODE", "1"));
    assert!(said.contains("OK"), "{said}");
}

#[test]
fn its_types_are_what_two_checkers_expect() {
    let cache = tempfile::tempdir().unwrap();
    run(Command::new(tool("py-venv/bin/mypy"))
        .args(["--strict", "--cache-dir"])
        .arg(cache.path())
        .args(["kms", "pack.py", "tests"])
        .current_dir(here()));
    run(Command::new("node")
        .arg(tool("types/node_modules/pyright/index.js"))
        .args(["--level", "error", "kms", "tests"])
        .current_dir(here()));
}
