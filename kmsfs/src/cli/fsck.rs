//! `kmsfs fsck` (CLI 9).

use std::process::ExitCode;

use super::{Common, FsckArgs};
use crate::failure::{Exit, Failure};

pub(super) fn run(_args: &FsckArgs, _common: &Common) -> Result<ExitCode, Failure> {
    Err(Failure::new(Exit::Software, "not yet"))
}
