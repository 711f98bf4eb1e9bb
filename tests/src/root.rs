//! Tests that only root can do: mounting disks, becoming other users.

use std::process::Command;

/// Whether the calling test was done by root through `sudo` just now, so that it has to do nothing more itself: to be
/// called first. Where there is no `sudo`, or it asks for a password, the test fails and says so.
#[track_caller]
pub fn done_by_root() -> bool {
    if rustix::process::geteuid().is_root() {
        return false;
    }
    let thread = std::thread::current();
    let test = thread.name().expect("a test's thread has its name");
    let program = std::env::current_exe().expect("a running test has a path");
    let status = Command::new("sudo")
        .args(["-n", "-E", "--"])
        .arg(program)
        .args(["--exact", test, "--include-ignored", "--nocapture"])
        .status();
    match status {
        Ok(status) if status.success() => true,
        Ok(status) => {
            panic!("as root, {test} ended with {status}; if sudo asked for a password: sudo -v")
        }
        Err(error) => panic!("{test} needs root, or sudo: {error}"),
    }
}
