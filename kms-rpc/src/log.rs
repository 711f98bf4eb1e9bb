//! The log: a file that is opened anew when it has been moved away, and standard output.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use tracing_subscriber::fmt::MakeWriter;

/// Where lines of the log go. Clones are one.
#[derive(Clone)]
pub struct Log(Arc<Inner>);

struct Inner {
    path: PathBuf,
    file: Mutex<File>,
    console: bool,
}

impl Log {
    /// Opens the file, and writes to standard output too if `console`.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(path: &Path, console: bool) -> io::Result<Self> {
        Ok(Self(Arc::new(Inner {
            path: path.to_owned(),
            file: Mutex::new(append(path)?),
            console,
        })))
    }

    /// Opens the file anew; the old one stays in use if that fails.
    pub fn reopen(&self) {
        if let Ok(file) = append(&self.0.path) {
            *self.0.file.lock() = file;
        }
    }

    /// Makes it the log of this process.
    pub fn install(&self, debug: bool) {
        let level = if debug {
            tracing::Level::DEBUG
        } else {
            tracing::Level::INFO
        };
        let filter = format!("warn,kms_rpc={level},kms_client={level}");
        let _ = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_ansi(false)
            .with_target(false)
            .with_writer(self.clone())
            .try_init();
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.console {
            let _ = io::stdout().write_all(bytes);
        }
        self.0.file.lock().write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.file.lock().flush()
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
}
