//! One mount from beginning to end.

use kms_crypto::key::IdentitySecret;

use super::{Mounted, Plan, Prepared};
use crate::failure::{Exit, Failure};

/// Mounts and stays until the mount ends.
pub(super) fn run(
    _plan: &Plan,
    _secret: IdentitySecret,
    _prepared: Prepared,
    _announce: &mut dyn FnMut(&Mounted),
) -> Result<(), Failure> {
    Err(Failure::new(Exit::Software, "not yet"))
}
