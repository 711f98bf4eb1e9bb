//! The package is packed, installed into an empty project, and used there as far as that goes without a page;
//! `tests/cluster/pages.rs` uses it in one.
//!
//! Needs what `scripts/browser` builds.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use kms_tests::packages::{install, passes, run, typed};

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
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
    let project = install(dir.path(), &dir.path().join("kms-browser-0.1.0.tgz"));
    passes(&project, &here().join("test/kms.test.mjs"));
}

#[test]
fn its_types_are_what_typescript_expects() {
    let known = ["--lib", "es2022,dom,dom.iterable"];
    typed(here(), "kms-browser", &known.map(OsStr::new));
}
