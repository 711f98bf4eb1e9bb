//! `kmsd` and `kms-cli` as programs, without a network of nodes: HTTP, credentials, both protocols, every kind of bad
//! input.

#![expect(
    clippy::unwrap_used,
    reason = "a test says what it expects by unwrapping it"
)]

mod browser;
mod calls;
mod clients;
mod gateway;
mod life;
mod refusals;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use data_encoding::BASE64;
use kms_tests::port;
use serde_json::{Value, json};
use tempfile::TempDir;

/// The lines of a header.
type Lines = Vec<(String, String)>;

/// A running daemon with a data directory of its own.
pub struct Kmsd {
    dir: TempDir,
    port: u16,
    process: Child,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{self:?}"))
    }
}

impl Kmsd {
    fn start() -> Self {
        Self::start_with(&[])
    }

    /// With more options; answers when it returns.
    fn start_with(options: &[&str]) -> Self {
        Self::start_on(port(), options)
    }

    fn start_on(port: u16, options: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let log = fs::File::create(dir.path().join("stderr")).unwrap();
        let process = kmsd(dir.path(), port)
            .args(options)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let this = Self { dir, port, process };
        this.cli(&["-rpcwait", "-rpcwaittimeout=60", "getrpcinfo"]);
        this
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn cookie(&self) -> String {
        fs::read_to_string(self.at(".cookie")).unwrap()
    }

    fn cli_command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kms-cli"));
        command
            .arg(format!("-datadir={}", self.dir.path().display()))
            .arg(format!("-rpcport={}", self.port))
            .args(args)
            .env_remove("KMSFS_HOME")
            .stdin(Stdio::null());
        command
    }

    /// What `kms-cli` printed.
    #[track_caller]
    fn cli(&self, args: &[&str]) -> String {
        let output = self.cli_command(args).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let log = fs::read_to_string(self.at("stderr")).unwrap_or_default();
        assert!(output.status.success(), "kms-cli {args:?}: {said}\n{log}");
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    fn cli_fails(&self, args: &[&str]) -> Output {
        let output = self.cli_command(args).output().unwrap();
        assert!(!output.status.success(), "kms-cli {args:?} succeeded");
        output
    }

    /// A request that lacks nothing but what is taken away or added.
    fn post(&self, body: &str, change: impl FnOnce(&mut Lines)) -> Answer {
        let mut lines = vec![
            ("Host".to_owned(), format!("127.0.0.1:{}", self.port)),
            ("Authorization".to_owned(), basic(&self.cookie())),
            ("Content-Type".to_owned(), "application/json".to_owned()),
            ("Content-Length".to_owned(), body.len().to_string()),
        ];
        change(&mut lines);
        self.raw("POST / HTTP/1.1", &lines, body.as_bytes())
    }

    fn raw(&self, first: &str, lines: &[(String, String)], body: &[u8]) -> Answer {
        raw(self.port, first, lines, body)
    }

    /// A call in the older protocol.
    fn call(&self, method: &str, params: Value) -> Answer {
        let body = json!({"method": method, "params": params, "id": 7});
        self.post(&body.to_string(), |_| ())
    }

    /// The result of a call that has to succeed.
    #[track_caller]
    fn result(&self, method: &str, params: Value) -> Value {
        let answer = self.call(method, params);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["result"].clone()
    }
}

impl Drop for Kmsd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A request as it stands here, to whoever listens on that port.
fn raw(port: u16, first: &str, lines: &[(String, String)], body: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut head = format!("{first}\r\nConnection: close\r\n");
    for (name, value) in lines {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let _ = stream.write_all(body);
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("{text:?}"));
    Answer {
        status: head[9..12].parse().unwrap(),
        head: head.to_ascii_lowercase(),
        body: body.to_owned(),
    }
}

fn kmsd(dir: &Path, port: u16) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kmsd"));
    command
        .arg(format!("-datadir={}", dir.display()))
        .arg(format!("-rpcport={port}"))
        .arg("-printtoconsole=0")
        .env_remove("KMSFS_HOME")
        .env_remove("KMSFS_LEDGER")
        .stdin(Stdio::null());
    command
}

fn basic(credential: &str) -> String {
    format!("Basic {}", BASE64.encode(credential.as_bytes()))
}

fn set(lines: &mut Lines, name: &str, value: &str) {
    lines.retain(|(it, _)| it != name);
    lines.push((name.to_owned(), value.to_owned()));
}

fn unset(lines: &mut Lines, name: &str) {
    lines.retain(|(it, _)| it != name);
}
