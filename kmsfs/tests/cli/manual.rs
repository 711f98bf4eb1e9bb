//! The manual in `man/` is what the program's definitions say.

use std::{collections::BTreeSet, path::Path};

#[test]
fn the_committed_manual_is_current() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../man");
    let pages = kmsfs::cli::pages().unwrap();
    for (name, page) in &pages {
        let committed = std::fs::read(dir.join(name)).unwrap_or_default();
        assert!(
            committed == *page,
            "man/{name} is not current: run `cargo run --release -p kmsfs -- man man`"
        );
    }
    let ours: BTreeSet<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
    let stray: Vec<String> = std::fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("kmsfs") && !ours.contains(name.as_str()))
        .collect();
    assert!(
        stray.is_empty(),
        "pages of commands that are gone: {stray:?}"
    );
}
