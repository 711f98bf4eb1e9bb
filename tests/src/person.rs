//! Somebody who uses kmsfs: a home, a passphrase, and the commands typed in it.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::disk::unmounted;
use crate::{Devnet, TIMEOUT, eventually, program};

/// One person on this machine, with a `KMSFS_HOME` of their own.
pub struct Person {
    /// Where this person's directories are.
    pub dir: PathBuf,
    network: Vec<(String, String)>,
    /// What every command of this person is started by.
    machine: Vec<String>,
}

/// How a command failed.
#[derive(Debug)]
pub struct Failure {
    /// Its exit code.
    pub code: i32,
    /// What it said.
    pub stderr: String,
}

impl Person {
    /// Somebody without any network set up.
    pub fn new(root: &Path, name: &str) -> Self {
        let dir = root.join(name);
        fs::create_dir_all(&dir).unwrap();
        fs::write(
            dir.join("passphrase"),
            format!("the passphrase of {name}\n"),
        )
        .unwrap();
        Self {
            dir,
            network: Vec::new(),
            machine: Vec::new(),
        }
    }

    /// Somebody who knows the nodes of `net`.
    pub fn on(net: &Devnet, root: &Path, name: &str) -> Self {
        let mut person = Self::new(root, name);
        person.network = vec![
            ("KMSFS_LEDGER".into(), net.ledger.clone()),
            ("KMSFS_BOOTSTRAP".into(), net.bootstrap.clone()),
            // A loaded machine is no dead network.
            ("KMSFS_NET_TIMEOUT".into(), "60s".to_owned()),
        ];
        person
    }

    /// The same person with other variables in the environment: the network's, for example.
    #[must_use]
    pub fn with(mut self, variables: &[(&str, &str)]) -> Self {
        let variables = variables.iter();
        self.network
            .extend(variables.map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        self
    }

    /// The same person at another machine: every command is given to this one.
    #[must_use]
    pub fn at(mut self, machine: &[String]) -> Self {
        self.machine = machine.to_vec();
        self
    }

    /// The directory with all of this person's files about kmsfs.
    pub fn home(&self) -> PathBuf {
        self.dir.join("home")
    }

    /// The file with this person's passphrase.
    pub fn passphrase(&self) -> PathBuf {
        self.dir.join("passphrase")
    }

    /// A `kmsfs` command in this person's environment.
    pub fn kmsfs(&self, args: &[&str]) -> Command {
        let mut words = self.machine.iter();
        let mut command = match words.next() {
            None => Command::new(program("kmsfs")),
            Some(machine) => {
                let mut command = Command::new(machine);
                command.args(words).arg(program("kmsfs"));
                command
            }
        };
        command
            .args(args)
            .current_dir(&self.dir)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &self.dir)
            .env("KMSFS_HOME", self.home())
            .env("KMSFS_PASSFILE", self.passphrase())
            .envs(self.network.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null());
        command
    }

    /// Runs a command that has to succeed; what it printed.
    #[track_caller]
    pub fn run(&self, args: &[&str]) -> String {
        let Output {
            status,
            stdout,
            stderr,
        } = self.kmsfs(args).output().unwrap();
        let stderr = String::from_utf8_lossy(&stderr);
        assert!(
            status.success(),
            "kmsfs {args:?} failed with {status}:\n{}{stderr}",
            String::from_utf8_lossy(&stdout)
        );
        String::from_utf8(stdout).unwrap()
    }

    /// Runs a command that has to fail.
    #[track_caller]
    pub fn fails(&self, args: &[&str]) -> Failure {
        let Output {
            status,
            stdout,
            stderr,
        } = self.kmsfs(args).output().unwrap();
        assert!(
            !status.success(),
            "kmsfs {args:?} succeeded:\n{}",
            String::from_utf8_lossy(&stdout)
        );
        Failure {
            code: status.code().unwrap_or(-1),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
        }
    }

    /// This person's public key, making an identity when there is none.
    pub fn key(&self) -> String {
        if !self.home().join("identity").exists() {
            self.run(&["identity", "new"]);
        }
        let text = self.run(&["identity", "show"]);
        text.split_whitespace()
            .find(|word| word.starts_with("kms1"))
            .expect("a public key")
            .to_owned()
    }

    /// Makes the store `NAME.kmsfs` in this person's directory.
    pub fn init(&self, name: &str) -> PathBuf {
        self.init_with(name, &[])
    }

    /// The same with further options.
    pub fn init_with(&self, name: &str, options: &[&str]) -> PathBuf {
        let path = self.dir.join(name);
        self.run(&[&["init", path.to_str().unwrap()], options].concat());
        self.dir.join(format!("{name}.kmsfs"))
    }

    /// Mounts `store` at `NAME` in this person's directory, in the foreground of a process of its own.
    #[track_caller]
    pub fn mount(&self, store: &Path, name: &str) -> Mount {
        self.mount_with(store, name, &[])
    }

    /// The same with further options.
    #[track_caller]
    pub fn mount_with(&self, store: &Path, name: &str, options: &[&str]) -> Mount {
        let path = self.dir.join(name);
        let log = self.dir.join(format!("{name}.log"));
        let mut process = self
            .kmsfs(&["mount", "--foreground"])
            .args(options)
            .args([store, path.as_path()])
            .stdout(Stdio::piped())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(process.stdout.take().unwrap());
        let mut said = String::new();
        while !said.contains("Mounted") {
            if out.read_line(&mut said).unwrap() == 0 {
                let _ = process.wait();
                panic!(
                    "kmsfs mount ended: {said}\n{}",
                    fs::read_to_string(&log).unwrap_or_default()
                );
            }
        }
        // Whatever it prints later must not fill the pipe.
        std::thread::spawn(move || out.read_to_end(&mut Vec::new()));
        Mount {
            path,
            said,
            process: Some(process),
        }
    }
}

/// A mounted store, unmounted when dropped.
pub struct Mount {
    /// The mount point.
    pub path: PathBuf,
    /// What the mount printed.
    pub said: String,
    process: Option<Child>,
}

impl Mount {
    /// A path below the mount point.
    pub fn at(&self, below: impl AsRef<Path>) -> PathBuf {
        self.path.join(below)
    }

    fn pid(&self) -> Pid {
        let child = self.process.as_ref().expect("a running mount");
        Pid::from_raw(i32::try_from(child.id()).expect("a process id"))
    }

    /// `kill -9` of the filesystem's process; leaves a dead mount behind, as a crash does.
    pub fn crash(mut self) -> PathBuf {
        kill(self.pid(), Signal::SIGKILL).unwrap();
        let mut process = self.process.take().expect("a running mount");
        process.wait().unwrap();
        self.path.clone()
    }

    /// Unmounts and waits for the process to end, well or not.
    #[track_caller]
    pub fn end(mut self) -> ExitStatus {
        unmounted(&self.path);
        let mut process = self.process.take().expect("a running mount");
        eventually("the mount's process to end", TIMEOUT, || {
            process.try_wait().unwrap()
        })
    }

    /// Whether its process still runs.
    pub fn is_alive(&mut self) -> bool {
        let process = self.process.as_mut().expect("a running mount");
        process.try_wait().unwrap().is_none()
    }

    /// Unmounts and waits for the process to end well.
    #[track_caller]
    pub fn unmount(mut self) {
        unmounted(&self.path);
        let status = self
            .process
            .take()
            .expect("a running mount")
            .wait()
            .unwrap();
        assert!(status.success(), "the mount's process ended with {status}");
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let Some(mut process) = self.process.take() else {
            return;
        };
        let _ = kill(
            Pid::from_raw(i32::try_from(process.id()).expect("a process id")),
            Signal::SIGTERM,
        );
        if !std::thread::panicking() {
            eventually("the mount's process to end", TIMEOUT, || {
                process.try_wait().unwrap()
            });
        }
        let _ = Command::new("umount")
            .arg("-l")
            .arg(&self.path)
            .stderr(Stdio::null())
            .status();
        let _ = process.kill();
        let _ = process.wait();
    }
}
