//! Manual pages and completions, from the definitions of the command line.

use std::process::ExitCode;

use clap::CommandFactory;
use clap_mangen::Man;

use super::{Cli, ManArgs};
use crate::failure::{Exit, Failure};

/// Writes every page into a directory.
pub(super) fn run(args: &ManArgs) -> Result<ExitCode, Failure> {
    let refuse = |err: std::io::Error| Failure::io("write the manual into", &args.dir, &err);
    std::fs::create_dir_all(&args.dir).map_err(refuse)?;
    for (name, page) in pages()? {
        std::fs::write(args.dir.join(name), page).map_err(refuse)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints a completion script.
pub(super) fn completions(shell: clap_complete::Shell) {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "kmsfs", &mut script);
    super::output::line(&String::from_utf8_lossy(&script));
}

/// All manual pages by file name: kmsfs(1), one for each command, and the
/// attributes, the configuration and the mount helper.
pub fn pages() -> Result<Vec<(String, Vec<u8>)>, Failure> {
    let mut pages = Vec::new();
    let mut root = Cli::command();
    root.build();
    collect(&root, "kmsfs", &mut pages).map_err(|err| {
        Failure::new(Exit::Software, "Cannot make the manual.").why(err.to_string())
    })?;
    for (name, page) in OTHERS {
        pages.push(((*name).to_owned(), page.to_vec()));
    }
    Ok(pages)
}

/// Pages about something else than a command.
const OTHERS: &[(&str, &[u8])] = &[
    ("kmsfs-xattr.7", include_bytes!("man/kmsfs-xattr.roff")),
    ("kmsfs.toml.5", include_bytes!("man/kmsfs.toml.roff")),
    (
        "mount.fuse.kmsfs.8",
        include_bytes!("man/mount.fuse.kmsfs.roff"),
    ),
];

fn collect(
    command: &clap::Command,
    name: &str,
    pages: &mut Vec<(String, Vec<u8>)>,
) -> std::io::Result<()> {
    let mut page = Vec::new();
    Man::new(command.clone())
        .title(name.to_uppercase())
        .manual("kmsfs".to_owned())
        .render(&mut page)?;
    if name == "kmsfs" {
        page.extend_from_slice(include_bytes!("man/kmsfs.roff"));
    }
    pages.push((format!("{name}.1"), page));
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        collect(sub, &format!("{name}-{}", sub.get_name()), pages)?;
    }
    Ok(())
}
