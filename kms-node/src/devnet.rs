//! Several nodes and a ledger on one machine: real processes, real sockets, real files.
//!
//! The supervisor makes each node's directory, starts the processes and waits for their word that they serve. It never
//! restarts one. Each node holds the end of a pipe from the supervisor: should that be killed, the pipe ends, and the
//! nodes with it.

mod layout;

use std::fs::{self, File, OpenOptions};
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::lock;

pub use layout::{LayoutError, Plan, PlannedNode};

/// Why a devnet does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DevnetError {
    /// The directory cannot be prepared.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// Another devnet runs there.
    #[error("another devnet is running in {0}")]
    Running(PathBuf),
    /// A process cannot be started.
    #[error("cannot start a node: {0}")]
    Spawn(#[from] io::Error),
    /// A node ended, or did not get ready.
    #[error("node {number} does not serve; the end of {log}: {tail}")]
    NotReady {
        /// Which one, from 1.
        number: u8,
        /// Its log.
        log: PathBuf,
        /// The log's last lines.
        tail: String,
    },
}

/// Running nodes.
#[derive(Debug)]
pub struct Devnet {
    plan: Plan,
    children: Vec<Child>,
    /// Held as long as the devnet runs.
    _lock: File,
}

/// How long a node may take until it serves. The promise is five seconds; a busy machine gets more.
const READY_TIMEOUT: Duration = Duration::from_secs(30);
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// What a node says when it serves.
pub const READY: &str = "ready";

impl Devnet {
    /// Starts `count` nodes in `dir`; they serve when this returns.
    pub async fn start(
        dir: &Path,
        count: u8,
        listen_base: Option<u16>,
    ) -> Result<Self, DevnetError> {
        let lock = claim(dir)?;
        let plan = Plan::make(dir, count, listen_base)?;
        let program = std::env::current_exe()?;
        let mut children = Vec::new();
        for node in &plan.nodes {
            children.push(spawn(&program, node)?);
        }
        for (child, node) in children.iter_mut().zip(&plan.nodes) {
            if !is_ready(child).await {
                let tail = tail(&node.log());
                return Err(DevnetError::NotReady {
                    number: node.number,
                    log: node.log(),
                    tail,
                });
            }
        }
        Ok(Self {
            plan,
            children,
            _lock: lock,
        })
    }

    /// The line that says how to reach the network; its values contain no spaces.
    pub fn ready_line(&self) -> String {
        let bootstrap: Vec<_> = self
            .plan
            .nodes
            .iter()
            .map(|node| node.address.as_str())
            .collect();
        format!(
            "ready ledger={} bootstrap={}",
            self.plan.ledger,
            bootstrap.join(",")
        )
    }

    /// Waits for `end`, then stops every node, also those that were started again by hand.
    pub async fn run_until(mut self, end: impl Future<Output = ()>) {
        end.await;
        for child in &self.children {
            // One without an id has ended.
            if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
                terminate(pid);
            }
        }
        for node in &self.plan.nodes {
            if let Some(pid) = restarted(node) {
                terminate(pid);
            }
        }
        for child in &mut self.children {
            if timeout(STOP_TIMEOUT, child.wait()).await.is_err() {
                // It has had its time. Killing one that has just ended fails, and need not succeed.
                drop(child.kill().await);
            }
        }
    }
}

fn claim(dir: &Path) -> Result<File, DevnetError> {
    fs::create_dir_all(dir)?;
    lock::take(dir)?.ok_or_else(|| DevnetError::Running(dir.to_owned()))
}

fn spawn(program: &Path, node: &PlannedNode) -> io::Result<Child> {
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(node.log())?;
    Command::new(program)
        .args(["run", "--supervised", "--config"])
        .arg(node.config())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
}

async fn is_ready(child: &mut Child) -> bool {
    let Some(stdout) = child.stdout.take() else {
        return false;
    };
    let mut line = String::new();
    let mut reader = BufReader::new(stdout);
    let read = timeout(READY_TIMEOUT, reader.read_line(&mut line)).await;
    matches!(read, Ok(Ok(_))) && line.trim_end() == READY
}

fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(3).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join(" / ")
}

/// The process that runs a node now, if it is really that: process ids are used again.
fn restarted(node: &PlannedNode) -> Option<i32> {
    let pid: i32 = fs::read_to_string(node.pid()).ok()?.trim().parse().ok()?;
    let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let arguments: Vec<&[u8]> = command.split(|byte| *byte == 0).collect();
    let name = Path::new(std::str::from_utf8(arguments.first()?).ok()?).file_name()?;
    (name == "kms-node" && arguments.get(1) == Some(&b"run".as_slice())).then_some(pid)
}

fn terminate(pid: i32) {
    if let Err(error) = kill(Pid::from_raw(pid), Signal::SIGTERM) {
        tracing::debug!(pid, %error, "a node has ended already");
    }
}
