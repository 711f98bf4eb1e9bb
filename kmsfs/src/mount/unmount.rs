//! Taking a mount down (CLI 2.3).

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use nix::mount::{MntFlags, umount2};

use crate::failure::{Exit, Failure, sentence};

/// How to take it down.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum How {
    /// Only if nobody uses it.
    Clean,
    /// Out of sight now, gone when nobody uses it any more.
    Lazy,
}

/// Takes down the mount at `point`. The filesystem process notices and ends by itself.
pub fn run(point: &Path, how: How) -> Result<(), Failure> {
    if nix::unistd::geteuid().is_root() {
        let flags = match how {
            How::Clean => MntFlags::UMOUNT_NOFOLLOW,
            How::Lazy => MntFlags::UMOUNT_NOFOLLOW | MntFlags::MNT_DETACH,
        };
        return match umount2(point, flags) {
            Ok(()) => Ok(()),
            Err(nix::errno::Errno::EBUSY) => Err(busy(point)),
            Err(err) => Err(refused(point).why(sentence(&err.into()))),
        };
    }
    let mut command = Command::new("fusermount3");
    command.arg("-u").arg("-q");
    if how == How::Lazy {
        command.arg("-z");
    }
    let output = command
        .arg("--")
        .arg(point)
        .stdin(Stdio::null())
        .output()
        .map_err(|err| {
            Failure::new(Exit::System, "Cannot run fusermount3.")
                .why(sentence(&err))
                .now("Install the package fuse3.")
        })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).to_lowercase();
    if said.contains("busy") || !holders(point).is_empty() {
        return Err(busy(point));
    }
    Err(refused(point).why(said.trim().to_owned()))
}

fn refused(point: &Path) -> Failure {
    Failure::new(Exit::Io, format!("Cannot unmount {}.", point.display()))
}

fn busy(point: &Path) -> Failure {
    let holders = holders(point);
    let who = if holders.is_empty() {
        "Something still uses it.".to_owned()
    } else {
        format!("Still in use by {}.", holders.join(", "))
    };
    Failure::new(
        Exit::TempFail,
        format!("{} is busy; it stays mounted.", point.display()),
    )
    .why(who)
    .now(format!(
        "Close them, or detach it now: kmsfs umount --lazy {}",
        point.display()
    ))
}

/// The first few processes that have something open below `point`, as far as
/// this user may see them. Only link texts are read, so a dead mount hangs nothing.
fn holders(point: &Path) -> Vec<String> {
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for process in processes.filter_map(Result::ok) {
        let pid = process.file_name().to_string_lossy().into_owned();
        if !pid.bytes().all(|byte| byte.is_ascii_digit()) || found.len() == 5 {
            continue;
        }
        let dir = process.path();
        let links = ["cwd", "root", "exe"].map(|name| dir.join(name));
        let files = std::fs::read_dir(dir.join("fd"))
            .into_iter()
            .flatten()
            .filter_map(Result::ok)
            .map(|entry| entry.path());
        if links
            .into_iter()
            .chain(files)
            .any(|link| is_below(&link, point))
        {
            let name = std::fs::read_to_string(dir.join("comm")).unwrap_or_default();
            found.push(format!("{} (pid {pid})", name.trim()));
        }
    }
    found
}

fn is_below(link: &PathBuf, point: &Path) -> bool {
    std::fs::read_link(link).is_ok_and(|target| target.starts_with(point))
}
