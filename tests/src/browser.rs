//! A real browser without a window.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// Whatever is one.
const CHROMIUM: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];
/// It asks for nothing but the page, and runs as root too.
const OPTIONS: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
];

/// A browser that is about to open one page, with a profile of its own, which is made.
pub fn chromium(profile: &Path, options: &[&str], page: &str) -> Command {
    fs::create_dir(profile).unwrap();
    let exists = |it: &&&str| Command::new(it).arg("--version").output().is_ok();
    let program = CHROMIUM.iter().find(exists);
    let mut command = Command::new(program.expect("there is no Chromium: run scripts/setup test"));
    command
        .args(OPTIONS)
        .args(options)
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(page)
        // What it leaves behind when it is killed goes with the profile.
        .env("TMPDIR", profile)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0);
    command
}

/// A running browser; gone, with all its processes, when it is dropped.
pub struct Browser(Child);

impl Browser {
    /// Opens a page, and stays there.
    pub fn open(profile: &Path, options: &[&str], page: &str) -> Self {
        let mut command = chromium(profile, options, page);
        // Without a debugger it ends as soon as the page is there.
        let command = command.arg("--remote-debugging-port=0");
        Self(command.stdout(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let group = Pid::from_raw(self.0.id().cast_signed());
        let _ = killpg(group, Signal::SIGKILL);
        let _ = self.0.wait();
    }
}
