//! The `kmsfs` program; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    kmsfs::cli::run(std::env::args_os())
}
