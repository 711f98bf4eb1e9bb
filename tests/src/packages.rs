//! The packages of `bindings/`, and what `scripts/setup test` has installed to check them.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A library of `bindings/`, which cargo builds beside the tests.
pub fn library(name: &str) -> PathBuf {
    let path = std::env::current_exe().unwrap().with_file_name(name);
    let path_text = path.display();
    assert!(
        path.exists(),
        "{path_text} is not built: cargo test --workspace --no-run"
    );
    path
}

/// Something below `target/tools`.
pub fn tool(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let path = root.join("target/tools").join(name);
    assert!(path.exists(), "{name} is missing: run scripts/setup test");
    path
}

/// Runs a command that has to succeed; all that it said.
#[track_caller]
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{command:?}: {said}");
    said
}

/// Installs a packed npm package into an empty project below `dir`, with nothing from the network; where that is.
#[track_caller]
pub fn install(dir: &Path, tarball: &Path) -> PathBuf {
    let project = dir.join("project");
    fs::create_dir(&project).unwrap();
    fs::write(project.join("package.json"), "{\"private\": true}").unwrap();
    run(Command::new("npm")
        .args(["install", "--offline", "--no-audit", "--no-fund"])
        .arg("--silent")
        .arg(tarball)
        .current_dir(&project));
    project
}

/// Runs a test of Node.js's in a project: something has to have been tested, and nothing to have failed.
#[track_caller]
pub fn passes(project: &Path, test: &Path) {
    let name = test.file_name().unwrap();
    fs::copy(test, project.join(name)).unwrap();
    let said = run(Command::new("node")
        .arg("--test")
        .arg(name)
        .current_dir(project));
    let passed = said.contains("fail 0") && !said.contains("pass 0");
    assert!(passed, "{said}");
}

/// Has TypeScript check what `package` says of its types against `test/types.ts`; `arguments` say what else is known.
#[track_caller]
pub fn typed(package: &Path, name: &str, arguments: &[&OsStr]) {
    let dir = tempfile::tempdir().unwrap();
    let installed = dir.path().join("node_modules").join(name);
    fs::create_dir_all(&installed).unwrap();
    for file in ["package.json", "index.d.ts"] {
        fs::copy(package.join(file), installed.join(file)).unwrap();
    }
    fs::copy(package.join("test/types.ts"), dir.path().join("types.mts")).unwrap();
    run(Command::new("node")
        .arg(tool("types/node_modules/typescript/bin/tsc"))
        .args(["--strict", "--noEmit", "--target", "es2022"])
        .args(["--module", "nodenext"])
        .args(arguments)
        .arg("types.mts")
        .current_dir(dir.path()));
}
