//! The `kmsfs` program; everything is in the library.

use std::process::ExitCode;

use rustix::process::{Resource, Rlimit, setrlimit};

fn main() -> ExitCode {
    // Keys have no business in core files. Where the limit cannot be lowered there is none to hide.
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let _ = setrlimit(Resource::Core, none);
    kmsfs::cli::run(std::env::args_os())
}
