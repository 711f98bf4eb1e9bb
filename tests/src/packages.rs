//! The packages of `bindings/`, and what `scripts/setup test` has installed to check them.

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
