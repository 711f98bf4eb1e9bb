//! What the commands say and answer, as a person types them. Nothing here
//! needs a network; `mounts` needs `/dev/fuse`.

#![expect(
    clippy::unwrap_used,
    reason = "a test says what it expects by unwrapping it"
)]

mod contacts;
mod identity;
mod looking;
mod manual;
mod mounts;
mod repair;
mod usage;

use std::{
    path::PathBuf,
    process::{Command, Output, Stdio},
};

/// Somebody with a home of their own.
struct Person {
    dir: tempfile::TempDir,
}

/// What a command did.
#[derive(Debug)]
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Person {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("passphrase"), "correct horse\n").unwrap();
        Self { dir }
    }

    fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kmsfs"));
        command
            .args(args)
            .current_dir(self.dir.path())
            .env_clear()
            .env("HOME", self.dir.path())
            .env("KMSFS_HOME", self.home())
            .env("KMSFS_PASSFILE", "passphrase")
            .stdin(Stdio::null());
        command
    }

    fn says(&self, args: &[&str]) -> Said {
        said(self.command(args).output().unwrap())
    }

    /// Runs a command that has to succeed.
    #[track_caller]
    fn run(&self, args: &[&str]) -> String {
        let said = self.says(args);
        assert_eq!(said.code, 0, "kmsfs {args:?}: {}", said.err);
        said.out
    }

    /// Runs a command that has to fail with a code, in at most three lines.
    #[track_caller]
    fn fails(&self, code: i32, args: &[&str]) -> String {
        let said = self.says(args);
        assert_eq!(said.code, code, "kmsfs {args:?}: {said:?}");
        let lines = said.err.lines().count();
        assert!((1..=3).contains(&lines), "{}", said.err);
        said.err
    }

    /// Somebody's public key.
    fn key(&self) -> String {
        if !self.home().join("identity").exists() {
            self.run(&["identity", "new"]);
        }
        let shown = self.run(&["identity", "show"]);
        shown.lines().next().unwrap().to_owned()
    }
}

fn said(output: Output) -> Said {
    Said {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}
