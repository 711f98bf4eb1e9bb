//! Real node processes on loopback, as `kms-node devnet` starts them.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use kms_crypto::key::PublicKey;
use kms_net::{ClientConfig, NetClient};
use kms_proto::message::Response;
use kms_proto::transport::{Transport, TransportError};
use kms_tests::ports;
use nix::sys::signal::kill;
use nix::unistd::Pid;

pub const NETWORK: &str = kms_proto::DEFAULT_NETWORK;
pub const PATIENCE: Duration = Duration::from_secs(60);

pub fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_kms-node"))
}

pub fn now() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

/// A running devnet; killed with the test.
pub struct Devnet {
    pub supervisor: Child,
    pub dir: tempfile::TempDir,
    pub ledger: String,
    pub bootstrap: Vec<String>,
}

impl Devnet {
    pub fn start(nodes: u8) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), nodes)
    }

    pub fn start_in(dir: tempfile::TempDir, nodes: u8) -> Self {
        let mut supervisor = program()
            .args(["devnet", "--nodes", &nodes.to_string(), "--dir"])
            .arg(dir.path())
            .args(["--listen-base", &ports(nodes.into()).to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(supervisor.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let words: Vec<&str> = line.trim_end().split(' ').collect();
        let ["ready", ledger, bootstrap] = words[..] else {
            panic!("not ready: {line:?}")
        };
        Self {
            supervisor,
            dir,
            ledger: ledger.strip_prefix("ledger=").unwrap().to_owned(),
            bootstrap: bootstrap
                .strip_prefix("bootstrap=")
                .unwrap()
                .split(',')
                .map(str::to_owned)
                .collect(),
        }
    }

    pub fn node_dir(&self, number: usize) -> PathBuf {
        self.dir.path().join(format!("node-{number}"))
    }

    pub fn pid(&self, number: usize) -> Pid {
        let text = fs::read_to_string(self.node_dir(number).join("pid")).unwrap();
        Pid::from_raw(text.trim().parse().unwrap())
    }

    pub fn keys(&self) -> Vec<PublicKey> {
        let key = |address: &String| {
            kms_net::public_key(address.rsplit_once("/p2p/").unwrap().1).unwrap()
        };
        self.bootstrap.iter().map(key).collect()
    }

    pub fn client(&self) -> NetClient {
        NetClient::start(&ClientConfig {
            network: NETWORK.to_owned(),
            bootstrap: self.bootstrap.clone(),
        })
        .unwrap()
    }

    pub async fn try_ask(
        &self,
        client: &NetClient,
        index: usize,
        message: Vec<u8>,
    ) -> Result<Response, TransportError> {
        let addresses = &self.bootstrap[index..=index];
        let answer = client
            .call(&self.keys()[index], addresses, message, PATIENCE)
            .await?;
        Ok(Response::from_bytes(&answer).unwrap())
    }

    pub async fn ask(&self, client: &NetClient, index: usize, message: Vec<u8>) -> Response {
        self.try_ask(client, index, message).await.unwrap()
    }

    /// Has a node hand over all it keeps.
    pub fn retire(&self, number: usize) {
        let config = self.node_dir(number).join("config.toml");
        let done = program().args(["retire", "--config"]).arg(config).output();
        let done = done.unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{said}");
    }

    /// Starts a node again, as its user would.
    pub fn restart(&self, number: usize) -> Single {
        let child = program()
            .args(["run", "--supervised", "--config"])
            .arg(self.node_dir(number).join("config.toml"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Single::ready(child)
    }
}

impl Drop for Devnet {
    fn drop(&mut self) {
        // A supervisor that has ended cannot be killed, and need not be.
        let _ = self.supervisor.kill();
        let _ = self.supervisor.wait();
    }
}

/// A node that was started by hand; killed with the test.
pub struct Single(pub Child);

impl Single {
    pub fn ready(mut child: Child) -> Self {
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line, "ready\n");
        Self(child)
    }
}

impl Drop for Single {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn alive(pid: Pid) -> bool {
    // Signal 0 only asks. A zombie still answers, so its state is looked at.
    kill(pid, None).is_ok()
        && fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}
