//! The package is packed, installed into an empty project, and used there as far as that goes without a page;
//! `tests/cluster/pages.rs` uses it in one.
//!
//! Needs what `scripts/browser` builds.

#![expect(
    clippy::unwrap_used,
    reason = "a test says what it expects by unwrapping it"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
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

fn package() -> PathBuf {
    let package = here().join("../../target/browser/package");
    let is_built = package.join("kms.wasm").exists();
    assert!(is_built, "the package is not built: scripts/browser");
    package
}

#[test]
fn the_package_installs_into_an_empty_project_and_works_there() {
    let dir = tempfile::tempdir().unwrap();
    run(Command::new("npm")
        .args(["pack", "--silent", "--pack-destination"])
        .arg(dir.path())
        .current_dir(package()));
    let project = dir.path().join("project");
    fs::create_dir(&project).unwrap();
    fs::write(project.join("package.json"), "{\"private\": true}").unwrap();
    run(Command::new("npm")
        .args([
            "install",
            "--offline",
            "--no-audit",
            "--no-fund",
            "--silent",
        ])
        .arg(dir.path().join("kms-browser-0.1.0.tgz"))
        .current_dir(&project));
    let test = "kms.test.mjs";
    fs::copy(here().join("test").join(test), project.join(test)).unwrap();
    let said = run(Command::new("node")
        .args(["--test", test])
        .current_dir(&project));
    assert!(
        said.contains("fail 0") && !said.contains("pass 0"),
        "{said}"
    );
}

#[test]
fn its_types_are_what_typescript_expects() {
    let tools = here().join("../../target/tools/types/node_modules");
    let is_there = tools.join("typescript").exists();
    assert!(is_there, "typescript is missing: run scripts/setup test");
    let dir = tempfile::tempdir().unwrap();
    let package = dir.path().join("node_modules/kms-browser");
    fs::create_dir_all(&package).unwrap();
    for name in ["package.json", "index.d.ts"] {
        fs::copy(here().join(name), package.join(name)).unwrap();
    }
    fs::copy(here().join("test/types.ts"), dir.path().join("types.mts")).unwrap();
    run(Command::new("node")
        .arg(tools.join("typescript/bin/tsc"))
        .args([
            "--strict", "--noEmit", "--target", "es2022", "--module", "nodenext",
        ])
        .args(["--lib", "es2022,dom,dom.iterable", "types.mts"])
        .current_dir(dir.path()));
}
