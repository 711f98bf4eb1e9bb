//! Manual pages, from the same definitions as the command line.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use clap::CommandFactory;
use clap_mangen::Man;

use crate::cli::Cli;

/// Writes the page of `kms-node` itself.
pub fn print(out: &mut impl Write) -> io::Result<()> {
    Man::new(Cli::command()).render(out)
}

/// Writes a page for `kms-node` and one for each of its commands.
pub fn write_all(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    clap_mangen::generate_to(Cli::command().disable_help_subcommand(true), directory)
}
