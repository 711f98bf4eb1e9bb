//! The package is packed, installed into an empty project, and used as its user would.

#![expect(
    clippy::unwrap_used,
    reason = "a test says what it expects by unwrapping it"
)]

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use kms_tests::packages::{install, library, passes, run, tool, typed};

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What `npm pack` packs, with the library in its place.
fn packed(dir: &Path) -> PathBuf {
    let package = dir.join("package");
    fs::create_dir(&package).unwrap();
    for name in [
        "package.json",
        "index.cjs",
        "streams.cjs",
        "index.mjs",
        "index.d.ts",
        "README.md",
    ] {
        fs::copy(here().join(name), package.join(name)).unwrap();
    }
    fs::copy(library("libkms_js.so"), package.join("kms.node")).unwrap();
    run(Command::new("npm")
        .args(["pack", "--silent", "--pack-destination"])
        .arg(dir)
        .current_dir(&package));
    dir.join("kms-0.1.0.tgz")
}

#[test]
fn the_package_installs_into_an_empty_project_and_works_there() {
    let dir = tempfile::tempdir().unwrap();
    let tarball = packed(dir.path());
    let project = install(dir.path(), &tarball);
    for name in ["kms.test.mjs", "streams.test.mjs", "kms.test.cjs"] {
        passes(&project, &here().join("test").join(name));
    }
}

#[test]
fn its_types_are_what_typescript_expects() {
    let types = tool("types/node_modules/@types");
    let known = ["--typeRoots", types.to_str().unwrap(), "--types", "node"];
    typed(here(), "kms", &known.map(OsStr::new));
}

#[test]
fn everything_public_is_documented_and_the_page_is_what_the_types_say() {
    let made = run(Command::new("node")
        .arg(here().join("reference.mjs"))
        .arg(tool("types/node_modules/typescript")));
    let page = fs::read_to_string(here().join("../../docs/JAVASCRIPT-API.md")).unwrap();
    assert!(
        page == made,
        "bindings/node/reference.mjs gives another docs/JAVASCRIPT-API.md"
    );
}
