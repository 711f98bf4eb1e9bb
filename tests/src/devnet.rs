//! A network of node processes on this machine, with an embedded ledger or any other.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{TIMEOUT, eventually, port, ports, program};

/// `kms-node devnet`, and the nodes it started.
pub struct Devnet {
    dir: PathBuf,
    process: Child,
    restarted: Vec<Child>,
    /// `file:…`, as the programs take it.
    pub ledger: String,
    /// The nodes' addresses, separated by commas.
    pub bootstrap: String,
}

impl Devnet {
    /// Starts as many nodes as there are ledgers, each with its own name for the one that they share; [`Self::ledger`] is
    /// for the caller to set.
    pub fn with_ledgers(dir: &Path, ledgers: &[String]) -> Self {
        for (number, ledger) in (1..).zip(ledgers) {
            let node = dir.join(format!("nodes/node-{number}"));
            fs::create_dir_all(&node).unwrap();
            let config = format!(
                "data_dir = \"data\"\npid_file = \"pid\"\nledger = \"{ledger}\"\nlisten = [\"/ip4/127.0.0.1/tcp/{}\"]\n",
                port()
            );
            fs::write(node.join("config.toml"), config).unwrap();
        }
        Self::start(dir, ledgers.len())
    }

    /// Starts `nodes` nodes below `dir` and waits until they say that they are ready.
    pub fn start(dir: &Path, nodes: usize) -> Self {
        let dir = dir.join("nodes");
        fs::create_dir_all(&dir).unwrap();
        let log = fs::File::create(dir.join("devnet.log")).unwrap();
        let ports = ports(nodes.try_into().unwrap());
        let mut process = Command::new(program("kms-node"))
            .args(["devnet", "--nodes", &nodes.to_string(), "--dir"])
            .arg(&dir)
            .args(["--listen-base", &ports.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let field = |name: &str| {
            line.split_whitespace()
                .find_map(|word| word.strip_prefix(name))
                .unwrap_or_else(|| panic!("no {name} in the ready line: {line:?}"))
                .to_owned()
        };
        assert!(line.starts_with("ready "), "{line:?}");
        let (ledger, bootstrap) = (field("ledger="), field("bootstrap="));
        Self {
            dir,
            process,
            restarted: Vec::new(),
            ledger,
            bootstrap,
        }
    }

    /// The directory of node `number`, counted from 1.
    pub fn node_dir(&self, number: usize) -> PathBuf {
        self.dir.join(format!("node-{number}"))
    }

    /// Everything the nodes keep: their directories, the ledger, the logs.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn pid(&self, number: usize) -> Pid {
        let text = fs::read_to_string(self.node_dir(number).join("pid")).unwrap();
        Pid::from_raw(text.trim().parse().unwrap())
    }

    /// `kill -9` of one node; returns when it is gone.
    pub fn kill(&self, number: usize) {
        let pid = self.pid(number);
        kill(pid, Signal::SIGKILL).unwrap();
        eventually("the killed node to be gone", TIMEOUT, || {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            (stat.is_empty() || stat.contains(") Z ")).then_some(())
        });
    }

    /// Has a node say nothing more, and close nothing, until it is thawed.
    pub fn freeze(&self, number: usize) {
        kill(self.pid(number), Signal::SIGSTOP).unwrap();
    }

    /// Has it go on.
    pub fn thaw(&self, number: usize) {
        kill(self.pid(number), Signal::SIGCONT).unwrap();
    }

    /// `kms-node` with a node's configuration.
    fn kms_node(&self, number: usize, args: &[&str]) -> Command {
        let mut command = Command::new(program("kms-node"));
        command
            .args(args)
            .arg("--config")
            .arg(self.node_dir(number).join("config.toml"))
            .stdin(Stdio::null());
        command
    }

    /// Sets one of a stopped node's options.
    pub fn configure(&self, number: usize, option: &str, value: &str) {
        let path = self.node_dir(number).join("config.toml");
        let text = fs::read_to_string(&path).unwrap();
        let others = text
            .lines()
            .filter(|line| !line.starts_with(&format!("{option} ")));
        let mut text: Vec<_> = others.map(str::to_owned).collect();
        text.insert(0, format!("{option} = {value:?}"));
        fs::write(&path, text.join("\n") + "\n").unwrap();
    }

    /// Has a node hand over everything; what the command printed.
    #[track_caller]
    pub fn retire(&self, number: usize) -> String {
        let output = self.kms_node(number, &["retire"]).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{stderr}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Tries to start a node that must not start; what it said.
    #[track_caller]
    pub fn cannot_start(&self, number: usize) -> String {
        let output = self.kms_node(number, &["run"]).output().unwrap();
        assert!(!output.status.success(), "it has started and ended");
        String::from_utf8(output.stderr).unwrap()
    }

    /// How many fragments a running node keeps.
    pub fn fragments(&self, number: usize) -> usize {
        let output = self.kms_node(number, &["status", "--json"]).output();
        let status: serde_json::Value = serde_json::from_slice(&output.unwrap().stdout).unwrap();
        usize::try_from(status["fragments"].as_u64().unwrap()).unwrap()
    }

    /// Starts a killed node again, the way its operator would, and waits until it answers.
    pub fn restart(&mut self, number: usize) {
        self.begin(number);
        self.answers(number);
    }

    /// Waits until a node answers.
    pub fn answers(&self, number: usize) {
        eventually("the node to answer", TIMEOUT, || {
            let status = self.kms_node(number, &["status"]).output().unwrap();
            status.status.success().then_some(())
        });
    }

    /// What a node that was started again has logged.
    pub fn log(&self, number: usize) -> String {
        fs::read_to_string(self.node_dir(number).join("log.restarted")).unwrap_or_default()
    }

    /// Moves the storage key of a stopped node; what the command said, and whether it succeeded.
    pub fn move_key(&self, number: usize, source: &str) -> Result<String, String> {
        let output = self.kms_node(number, &["keys", "use", source]).output();
        let output = output.unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        if output.status.success() {
            Ok(text(output.stdout))
        } else {
            Err(text(output.stderr))
        }
    }

    /// Starts a killed node again.
    pub fn begin(&mut self, number: usize) {
        let log = fs::File::create(self.node_dir(number).join("log.restarted")).unwrap();
        let config = self.node_dir(number).join("config.toml");
        let child = Command::new(program("kms-node"))
            .arg("run")
            .arg("--config")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.restarted.push(child);
    }
}

impl Drop for Devnet {
    fn drop(&mut self) {
        let pid = |child: &Child| Pid::from_raw(i32::try_from(child.id()).expect("a process id"));
        for child in self.restarted.iter().chain([&self.process]) {
            let _ = kill(pid(child), Signal::SIGTERM);
        }
        for child in self.restarted.iter_mut().chain([&mut self.process]) {
            let _ = child.wait();
        }
    }
}
