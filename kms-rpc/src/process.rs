//! `kmsd` as a process (API §4.5): in the background, the only one for its directory, with secrets in its memory.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};
use rustix::fs::FlockOperation;
use rustix::process::{DumpableBehavior, Resource, Rlimit};

/// Said by the process in the background to the one that started it.
const READY: &str = "ready";
/// Tells a process that it is the one in the background.
const IN_BACKGROUND: &str = "KMSD_IN_BACKGROUND";

/// Whether this is the process in the background; if so, no terminal belongs to it from here on.
pub(crate) fn is_in_background() -> bool {
    let is = std::env::var_os(IN_BACKGROUND).is_some();
    if is {
        // One that leads a group already cannot; it was started by somebody else, and stays where it is.
        let _ = rustix::process::setsid();
    }
    is
}

/// Tells whoever started it that it answers.
pub(crate) fn say_ready() {
    let mut out = std::io::stdout();
    let _ = writeln!(out, "{READY}").and_then(|()| out.flush());
}

/// No core dump, and no other process of the same user looks into the memory. Where that cannot be had, it goes on.
pub(crate) fn keep_secrets() {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let _ = rustix::process::setrlimit(Resource::Core, none);
    let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// A directory in which nobody else can put another cookie, or a link where the log is to be.
pub(crate) fn check_own(dir: &Path) -> Result<()> {
    const WRITABLE_BY_ALL: u32 = 0o002;
    let found = dir
        .metadata()
        .with_context(|| format!("cannot read {}", dir.display()))?;
    let me = rustix::process::geteuid().as_raw();
    let dir = dir.display();
    if found.uid() != me && found.uid() != 0 {
        bail!("{dir} belongs to somebody else: name a directory of your own with -datadir");
    }
    if found.mode() & WRITABLE_BY_ALL != 0 {
        bail!("everybody can write into {dir}: name another directory with -datadir");
    }
    Ok(())
}

/// Starts this program again, without a terminal, and waits until it answers requests.
pub(crate) fn start_in_background(args: &[String]) -> Result<ExitCode> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(args)
        .env(IN_BACKGROUND, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    if let Some(out) = child.stdout.take() {
        BufReader::new(out).read_line(&mut line)?;
    }
    if line.trim() == READY {
        println!("kmsd starting");
        return Ok(ExitCode::SUCCESS);
    }
    let mut said = String::new();
    if let Some(mut error) = child.stderr.take() {
        error.read_to_string(&mut said)?;
    }
    child.wait()?;
    bail!("{}", said.trim().trim_start_matches("Error: "));
}

/// One daemon for a data directory.
pub(crate) fn lock(dir: &Path) -> Result<File> {
    let path = dir.join(".lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        let dir = dir.display();
        bail!("Cannot obtain a lock on directory {dir}. kmsd is probably already running.");
    }
    Ok(file)
}
