//! The wheel is packed, installed into a fresh virtual environment, and used as its user would.

#![expect(
    clippy::unwrap_used,
    reason = "a test says what it expects by unwrapping it"
)]

use std::path::{Path, PathBuf};
use std::process::Command;

use kms_tests::packages::{library, run, tool};
use tempfile::TempDir;

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Somewhere where the wheel was installed as docs/PYTHON.md says, but that the library need not be built once more.
struct Installed {
    dir: TempDir,
}

impl Installed {
    fn new() -> Self {
        let this = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        run(Command::new("python3")
            .args(["-m", "venv"])
            .arg(this.at("venv")));
        let pip = ["-m", "pip", "install", "--quiet", "--no-index"];
        run(this
            .python()
            .args(pip)
            .arg(here())
            .env("KMS_NATIVE", library("libkms_python.so"))
            .env("PIP_DISABLE_PIP_VERSION_CHECK", "1"));
        this
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Its Python, far from the sources.
    fn python(&self) -> Command {
        let mut command = Command::new(self.at("venv/bin/python"));
        command
            .current_dir(self.dir.path())
            .env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }
}

#[test]
fn the_wheel_installs_into_a_fresh_environment_and_works_there() {
    let installed = Installed::new();
    let discover = ["-m", "unittest", "discover", "-s"];
    let said = run(installed.python().args(discover).arg(here().join("tests")));
    assert!(said.contains("OK"), "{said}");
    // What the types promise of the native part is what is there.
    let place = [
        "-c",
        "import sysconfig; print(sysconfig.get_path('purelib'))",
    ];
    let place = run(installed.python().args(place));
    run(Command::new(tool("py-venv/bin/stubtest"))
        .arg("kms")
        .env("PYTHONPATH", place.trim())
        .current_dir(installed.dir.path()));
}

#[test]
fn its_types_are_what_two_checkers_expect() {
    let cache = tempfile::tempdir().unwrap();
    run(Command::new(tool("py-venv/bin/mypy"))
        .args(["--strict", "--cache-dir"])
        .arg(cache.path())
        .args(["kms", "pack.py", "reference.py", "tests"])
        .current_dir(here()));
    run(Command::new("node")
        .arg(tool("types/node_modules/pyright/index.js"))
        .args(["--level", "error", "kms", "tests"])
        .current_dir(here()));
}
