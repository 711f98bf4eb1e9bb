//! Where a person's own files are (CLI 4), and what is said when they cannot be made.
//! The places themselves are the client's ([`kms_client::home`]).

use std::path::Path;

use kms_client::home;
pub use kms_client::home::{Existing, Home, HomeError};

use crate::failure::{Exit, Failure};

impl From<HomeError> for Failure {
    fn from(err: HomeError) -> Self {
        match err {
            HomeError::Unusable(err) => Self::io("use KMSFS_HOME in", Path::new("."), &err),
            _ => Self::new(Exit::Config, "Cannot tell where your files are.")
                .why("Neither KMSFS_HOME nor HOME is set.")
                .now("Set one of them: KMSFS_HOME=DIR kmsfs …"),
        }
    }
}

/// Makes a directory that only its owner can enter, with its parents.
pub fn make_private_dir(dir: &Path) -> Result<(), Failure> {
    home::make_private_dir(dir).map_err(|err| {
        Failure::new(
            Exit::CannotCreate,
            format!("Cannot make {}.", dir.display()),
        )
        .why(crate::failure::sentence(&err))
    })
}

/// Writes a small private file so that a crash leaves the old or the new one.
pub fn write_private(path: &Path, contents: &[u8], existing: Existing) -> Result<(), Failure> {
    make_private_dir(path.parent().unwrap_or(Path::new("/")))?;
    home::write_private(path, contents, existing).map_err(|err| cannot_write(path, &err))
}

pub(crate) fn cannot_write(path: &Path, err: &std::io::Error) -> Failure {
    Failure::new(
        Exit::CannotCreate,
        format!("Cannot write {}.", path.display()),
    )
    .why(crate::failure::sentence(err))
}
