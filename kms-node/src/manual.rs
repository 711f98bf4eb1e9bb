//! Manual pages, from the same definitions as the command line.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use clap::CommandFactory;
use clap_mangen::Man;

use crate::cli::Cli;

/// A daemon's pages stand among those for administrators.
const SECTION: &str = "8";

/// Writes the page of `kms-node` itself.
pub fn print(out: &mut impl Write) -> io::Result<()> {
    Man::new(Cli::command()).section(SECTION).render(out)
}

/// Writes a page for `kms-node` and one for each of its commands.
pub fn write_all(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    for (name, page) in pages()? {
        fs::write(directory.join(name), page)?;
    }
    Ok(())
}

/// The pages by file name.
pub fn pages() -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut root = Cli::command().disable_help_subcommand(true);
    root.build();
    let visible = root
        .get_subcommands()
        .filter(|command| !command.is_hide_set());
    let mut pages = Vec::new();
    for command in std::iter::once(&root).chain(visible) {
        let man = Man::new(command.clone()).section(SECTION);
        let mut page = Vec::new();
        man.render(&mut page)?;
        pages.push((man.get_filename(), page));
    }
    Ok(pages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_manual_is_current() {
        let man = Path::new(env!("CARGO_MANIFEST_DIR")).join("../man");
        for (name, page) in pages().unwrap() {
            let committed = fs::read(man.join(&name)).unwrap_or_default();
            assert!(committed == page, "{name}: run `kms-node man man`");
        }
    }
}
