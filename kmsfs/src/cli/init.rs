//! `kmsfs init` (CLI 2).

use std::process::ExitCode;

use super::{Common, InitArgs};
use crate::failure::{Exit, Failure};

pub(super) fn run(_args: &InitArgs, _common: &Common) -> Result<ExitCode, Failure> {
    Err(Failure::new(Exit::Software, "not yet"))
}
