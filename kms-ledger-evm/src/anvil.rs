//! A chain of one's own for tests: a real `anvil`, as `scripts/setup test` installs it. Behind the feature `test-util`.

#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a test that has no chain ends here"
)]

use std::{
    fs::{self, Permissions},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{Account, Provider, deploy, hex};

/// Secrets of the accounts that every anvil has made rich.
const SECRETS: [&str; 2] = [
    "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
    "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
];
const START_PATIENCE: Duration = Duration::from_secs(60);

/// A running chain.
pub struct Anvil {
    process: Child,
    port: u16,
    arguments: Vec<String>,
}

impl Anvil {
    /// Starts a chain; `arguments` are anvil's own.
    pub fn start(arguments: &[&str]) -> Self {
        let arguments: Vec<_> = arguments.iter().map(|it| (*it).to_owned()).collect();
        let deadline = Instant::now() + START_PATIENCE;
        loop {
            let free = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = free.local_addr().unwrap().port();
            drop(free);
            let mut anvil = Self {
                process: spawn(port, &arguments),
                port,
                arguments: arguments.clone(),
            };
            if anvil.serves(deadline) {
                return anvil;
            }
        }
    }

    /// Waits until it answers; `false` if it ends instead, because somebody else has its port.
    fn serves(&mut self, deadline: Instant) -> bool {
        loop {
            let answer = self.provider().ask("eth_chainId", &json!([]));
            if self.process.try_wait().unwrap().is_some() {
                assert!(Instant::now() < deadline, "anvil ends");
                return false;
            }
            let Err(fault) = answer else { return true };
            assert!(Instant::now() < deadline, "anvil does not answer: {fault}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends the chain as its operator would, so that it writes its state where `--state` says.
    pub fn stop(&mut self) {
        let id = self.process.id().to_string();
        Command::new("kill").args(["-TERM", &id]).status().unwrap();
        self.process.wait().unwrap();
    }

    /// Starts it again, at the same place and with the same arguments.
    pub fn restart(&mut self) {
        let deadline = Instant::now() + START_PATIENCE;
        self.process = spawn(self.port, &self.arguments);
        while !self.serves(deadline) {
            self.process = spawn(self.port, &self.arguments);
        }
    }

    /// Its address.
    pub fn url(&self) -> String {
        let mut words = self.arguments.iter().skip_while(|it| *it != "--host");
        let host = words.nth(1).map_or("127.0.0.1", String::as_str);
        format!("http://{host}:{}", self.port)
    }

    /// As it is asked.
    pub fn provider(&self) -> Provider {
        Provider::parse(&self.url()).unwrap()
    }

    /// Asks it.
    pub fn rpc(&self, method: &str, params: Value) -> Value {
        self.provider().ask(method, &params).unwrap()
    }

    /// Mines blocks with nothing in them.
    pub fn mine(&self, blocks: u64) {
        self.rpc("anvil_mine", json!([hex::number(blocks)]));
    }

    /// Replaces the last blocks by others with nothing in them.
    pub fn reorganise(&self, depth: u64) {
        self.rpc("anvil_reorg", json!([depth, []]));
    }

    /// Makes a network's contract; its address as `evm:` names it.
    pub fn deploy(&self, network: &str) -> String {
        let secret = hex::parse(&format!("0x{}", SECRETS[0])).unwrap();
        let account = Account::from_secret(&secret).unwrap();
        let made = deploy(&self.provider(), &account, network).unwrap();
        hex::bytes(&made.contract)
    }

    /// Writes a file with the secret of a rich account.
    pub fn key_file(dir: &Path) -> PathBuf {
        let path = dir.join("account");
        fs::write(&path, SECRETS[1]).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// Gives an account of a new secret all it needs, and writes the secret to a file; the account's address.
    pub fn rich_key_file(&self, path: &Path, secret: [u8; 32]) -> String {
        let account = Account::from_secret(&secret).unwrap();
        let address = hex::bytes(account.address());
        self.rpc("anvil_setBalance", json!([address, "0x56bc75e2d63100000"]));
        fs::write(path, hex::bytes(&secret)).unwrap();
        fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
        address
    }
}

impl Drop for Anvil {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn spawn(port: u16, arguments: &[String]) -> Child {
    let machine = if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        "amd64"
    };
    let program = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .join(format!(
            "target/tools/node_modules/@foundry-rs/anvil-linux-{machine}/bin/anvil"
        ));
    assert!(
        program.exists(),
        "{} is missing: run scripts/setup test",
        program.display()
    );
    Command::new(program)
        .args(["--silent", "--port", &port.to_string()])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}
