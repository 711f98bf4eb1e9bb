//! Node processes, each in a network namespace of its own.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use kms_client::NetworkConfig;
use kms_client::blocking::Client;
use kms_crypto::key::PublicKey;
use kms_tests::{TIMEOUT, program};

use crate::attack::Victim;
use crate::namespace::Place;

/// How many nodes there are: `KMS_NETWORK_NODES`, or 8.
pub(crate) fn count() -> u8 {
    std::env::var("KMS_NETWORK_NODES").map_or(8, |text| text.parse().expect("a number of nodes"))
}

/// The nodes, and their ledger in a file that all of them see.
pub(crate) struct Nodes {
    dir: tempfile::TempDir,
    nodes: Vec<Node>,
}

struct Node {
    place: Place,
    dir: PathBuf,
    key: PublicKey,
    /// Runs as long as this is there.
    process: Option<Child>,
}

/// The two that all others begin with; they begin with each other, as far as they remember.
const BOOTSTRAPS: usize = 2;
const PORT: u16 = 4710;

impl Nodes {
    /// Starts so many nodes.
    pub(crate) fn start(count: u8) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut nodes = Vec::new();
        let mut bootstrap = Vec::new();
        for number in 1..=count {
            let place = Place::new(number);
            let home = dir.path().join(number.to_string());
            fs::create_dir(&home).unwrap();
            let config = format!(
                "data_dir = \"data\"\nledger = \"file:../ledger\"\nlisten = [\"/ip4/{}/tcp/{PORT}\"]\nbootstrap = {bootstrap:?}\n",
                place.address()
            );
            fs::write(home.join("config.toml"), config).unwrap();
            let process = run(&place, &home);
            let address = fs::read_to_string(home.join("data/addresses")).unwrap();
            let address = address.trim().to_owned();
            let key = kms_net::public_key(address.rsplit('/').next().unwrap()).unwrap();
            if bootstrap.len() < BOOTSTRAPS {
                bootstrap.push(address);
            }
            nodes.push(Node {
                place,
                dir: home,
                key,
                process: Some(process),
            });
        }
        Self { dir, nodes }
    }

    /// Starts nodes that have a list of all of them to begin with; `ledger` is each one's name for the one they share.
    pub(crate) fn with_ledgers(ledgers: &[String]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (mut nodes, mut bootstrap) = (Vec::new(), Vec::new());
        for number in (1..).take(ledgers.len()) {
            let place = Place::new(number);
            let home = dir.path().join(number.to_string());
            fs::create_dir(&home).unwrap();
            let mut command = place.command(program("kms-node"));
            let output = command.args(["id", "--data-dir"]).arg(home.join("data"));
            let id = String::from_utf8(output.output().unwrap().stdout).unwrap();
            let address = format!("/ip4/{}/tcp/4710/p2p/{}", place.address(), id.trim());
            let key = kms_net::public_key(id.trim()).unwrap();
            bootstrap.push(address);
            nodes.push((place, home, key));
        }
        let begin = |((place, dir, key), ledger): ((Place, PathBuf, PublicKey), &String)| {
            let config = format!(
                "data_dir = \"data\"\nledger = \"{ledger}\"\nlisten = [\"/ip4/{}/tcp/4710\"]\nbootstrap = {bootstrap:?}\n",
                place.address()
            );
            fs::write(config_of(&dir), config).unwrap();
            let process = Some(begin(&place, &dir));
            Node {
                place,
                dir,
                key,
                process,
            }
        };
        let mut nodes: Vec<_> = nodes.into_iter().zip(ledgers).map(begin).collect();
        for node in &mut nodes {
            node.process = node.process.take().map(ready);
        }
        Self { dir, nodes }
    }

    /// The addresses of all nodes, as `KMSFS_BOOTSTRAP` takes them.
    pub(crate) fn addresses(&self) -> String {
        let address = |node: &Node| {
            let id = kms_net::peer_id(&node.key);
            format!("/ip4/{}/tcp/4710/p2p/{id}", node.place.address())
        };
        self.nodes.iter().map(address).collect::<Vec<_>>().join(",")
    }

    /// A client that has met nobody yet, and has more patience than a loaded machine needs.
    pub(crate) fn client(&self) -> Client {
        self.client_within(TIMEOUT)
    }

    /// A client that has met nobody yet, and what it promises when nodes are silent.
    pub(crate) fn usual_client(&self) -> Client {
        self.client_within(NetworkConfig::default().timeout)
    }

    fn client_within(&self, timeout: Duration) -> Client {
        let addresses = self.nodes.iter().take(BOOTSTRAPS);
        Client::connect(&NetworkConfig {
            ledger: format!("file:{}", self.dir.path().join("ledger").display()),
            bootstrap: addresses
                .map(|node| {
                    let id = kms_net::peer_id(&node.key);
                    format!("/ip4/{}/tcp/{PORT}/p2p/{id}", node.place.address())
                })
                .collect(),
            timeout,
            ..NetworkConfig::default()
        })
        .unwrap()
    }

    /// Which node has a key.
    pub(crate) fn number(&self, key: &PublicKey) -> usize {
        let at = self.nodes.iter().position(|node| node.key == *key);
        at.expect("a node of ours")
    }

    /// A node as strangers find it.
    pub(crate) fn victim(&self, number: usize) -> Victim {
        let node = &self.nodes[number];
        Victim {
            key: node.key,
            ip: node.place.address(),
            port: PORT,
        }
    }

    /// How much memory a node's process has, in KiB.
    pub(crate) fn resident_kib(&self, number: usize) -> u64 {
        let process = self.nodes[number].process.as_ref().expect("it runs");
        let status = fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let figure = line.and_then(|line| line.split_whitespace().nth(1));
        figure.unwrap().parse().unwrap()
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self, number: usize) {
        let mut process = self.nodes[number].process.take().expect("it runs");
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// Starts a node again, and waits until it serves.
    pub(crate) fn restart(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        node.process = Some(run(&node.place, &node.dir));
    }

    /// Kills all nodes that run, then starts them all again.
    pub(crate) fn restart_all(&mut self) {
        let living = |number: &usize| self.nodes[*number].process.is_some();
        let all: Vec<_> = (0..self.nodes.len()).filter(living).collect();
        all.iter().for_each(|number| self.kill(*number));
        self.restart_these(&all);
    }

    /// Starts some nodes again, all at once.
    pub(crate) fn restart_these(&mut self, all: &[usize]) {
        let begin = |number: &usize| {
            let node = &self.nodes[*number];
            (*number, begin(&node.place, &node.dir))
        };
        let begun: Vec<_> = all.iter().map(begin).collect();
        for (number, process) in begun {
            self.nodes[number].process = Some(ready(process));
        }
    }

    /// Pulls a node's cable, or plugs it in again.
    pub(crate) fn plug(&self, number: usize, is_in: bool) {
        self.nodes[number].place.plug(is_in);
    }

    /// Has a node hand over everything, and stops it for good.
    pub(crate) fn retire(&mut self, number: usize) {
        let node = &self.nodes[number];
        let mut command = node.place.command(program("kms-node"));
        let output = command
            .args(["retire", "--config"])
            .arg(config_of(&node.dir));
        let output = output.output().unwrap();
        assert!(
            output.status.success(),
            "{}\n{}",
            String::from_utf8_lossy(&output.stderr),
            fs::read_to_string(node.dir.join("log")).unwrap_or_default()
        );
        self.kill(number);
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for process in self.nodes.iter_mut().filter_map(|it| it.process.as_mut()) {
            // It may have ended by itself.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn config_of(dir: &Path) -> PathBuf {
    dir.join("config.toml")
}

fn run(place: &Place, dir: &Path) -> Child {
    ready(begin(place, dir))
}

/// Starts a node's process; it ends when its input does, and so with the test.
fn begin(place: &Place, dir: &Path) -> Child {
    let mut log = fs::File::options();
    let log = log.create(true).append(true).open(dir.join("log"));
    place
        .command(program("kms-node"))
        .args(["run", "--supervised", "--config"])
        .arg(config_of(dir))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log.unwrap())
        .spawn()
        .unwrap()
}

/// Waits until a process says that it serves.
fn ready(mut process: Child) -> Child {
    let mut line = String::new();
    let output = process.stdout.take().unwrap();
    BufReader::new(output).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    process
}
