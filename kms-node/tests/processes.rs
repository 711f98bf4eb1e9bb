//! Real processes: a devnet as its user sees it, nodes that are killed, and strangers on their ports.

#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

#[path = "support/devnet.rs"]
#[allow(dead_code, unreachable_pub, reason = "not every test uses all of it")]
mod devnet;
#[path = "support/policy.rs"]
#[allow(dead_code, unreachable_pub, reason = "not every test uses all of it")]
mod policy;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use devnet::{Devnet, NETWORK, Single, alive, now, program};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use kms_net::NetClient;
use kms_proto::message::{Query, Refusal, Response};
use kms_proto::transport::TransportError;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use policy::Policy;

const PATIENCE: Duration = Duration::from_secs(60);

/// What people do with a policy on a devnet.
trait Use {
    async fn grant(&self, client: &NetClient, policy: &Policy);
    async fn reencrypt(
        &self,
        client: &NetClient,
        policy: &Policy,
        index: usize,
    ) -> Result<Response, TransportError>;
}

impl Use for Devnet {
    async fn grant(&self, client: &NetClient, policy: &Policy) {
        for (index, key) in self.keys().iter().enumerate() {
            assert!(matches!(
                self.ask(client, index, policy.arrange(key)).await,
                Response::Arranged(_)
            ));
            assert!(matches!(
                self.ask(client, index, policy.store(key, index)).await,
                Response::Stored { .. }
            ));
        }
        let granted = self.ask(client, 0, policy.grant(self.keys())).await;
        assert!(matches!(granted, Response::Submitted { .. }), "{granted:?}");
    }

    async fn reencrypt(
        &self,
        client: &NetClient,
        policy: &Policy,
        index: usize,
    ) -> Result<Response, TransportError> {
        self.try_ask(client, index, policy.reencrypt(&self.keys()[index]))
            .await
    }
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn policy(m: u8, n: u8) -> Policy {
    Policy::new(NETWORK, now(), now() + 3600, m, n)
}

#[tokio::test]
async fn five_processes_let_the_recipient_in_until_the_revocation_whichever_two_are_killed() {
    let devnet = Devnet::start(5);
    let client = devnet.client();
    let policy = policy(3, 5);
    devnet.grant(&client, &policy).await;

    for number in [2, 4] {
        kill(devnet.pid(number), Signal::SIGKILL).unwrap();
    }
    let mut answers = Vec::new();
    for index in [0, 2, 4] {
        answers.push(devnet.reencrypt(&client, &policy, index).await.unwrap());
    }
    assert!(policy.open(&answers).unwrap() == policy.secret);
    let dead = devnet.reencrypt(&client, &policy, 1).await;
    assert!(
        matches!(
            dead,
            Err(TransportError::Unreachable | TransportError::Closed)
        ),
        "{dead:?}"
    );

    let revoked = devnet.ask(&client, 2, policy.revoke(2)).await;
    assert!(matches!(revoked, Response::Submitted { .. }), "{revoked:?}");
    let back = devnet.restart(2);
    for index in [0, 1, 2, 4] {
        let refused = devnet.reencrypt(&client, &policy, index).await.unwrap();
        assert!(
            matches!(
                refused,
                Response::Refused(Refusal::Revoked { epoch: 2, .. })
            ),
            "{refused:?}"
        );
        let removed = devnet
            .ask(&client, index, policy.remove(&devnet.keys()[index]))
            .await;
        let Response::Removed(receipt) = removed else {
            panic!("{removed:?}")
        };
        assert!(receipt.verify().unwrap().held);
    }
    drop(back);
}

#[tokio::test]
async fn a_node_killed_at_any_moment_comes_back_with_every_fragment_it_has_acknowledged() {
    let devnet = Devnet::start(1);
    let key = devnet.keys()[0];
    let client = devnet.client();
    let mut kept = Vec::new();
    let mut child: Option<Single> = None;
    for _ in 0..3 {
        let policies: Vec<Policy> = (0..16).map(|_| policy(1, 1)).collect();
        let store = async |policy: Policy| {
            let answer = devnet.try_ask(&client, 0, policy.store(&key, 0)).await;
            answer.map(|answer| (policy, answer))
        };
        let mut stores: FuturesUnordered<_> = policies.into_iter().map(store).collect();
        let mut acknowledged = 0;
        while let Some(stored) = stores.next().await {
            let Ok((policy, answer)) = stored else {
                continue;
            };
            assert!(matches!(answer, Response::Stored { .. }), "{answer:?}");
            kept.push(policy);
            acknowledged += 1;
            if acknowledged == 3 {
                // In the middle of the others.
                kill(devnet.pid(1), Signal::SIGKILL).unwrap();
            }
        }
        drop(child.take());
        child = Some(devnet.restart(1));
        let another = policy(1, 1);
        assert!(matches!(
            devnet.ask(&client, 0, another.store(&key, 0)).await,
            Response::Stored { .. }
        ));
        kept.push(another);
    }
    for policy in &kept {
        devnet.ask(&client, 0, policy.grant(vec![key])).await;
        let answer = devnet.reencrypt(&client, policy, 0).await.unwrap();
        assert!(policy.open(&[answer]).unwrap() == policy.secret);
    }
}

#[tokio::test]
async fn a_devnet_ends_with_sigterm_and_takes_every_node_along() {
    let mut devnet = Devnet::start(3);
    kill(devnet.pid(3), Signal::SIGKILL).unwrap();
    let mut by_hand = devnet.restart(3);
    let nodes: Vec<Pid> = (1..=3).map(|number| devnet.pid(number)).collect();
    kill(
        Pid::from_raw(devnet.supervisor.id().try_into().unwrap()),
        Signal::SIGTERM,
    )
    .unwrap();
    assert!(devnet.supervisor.wait().unwrap().success());
    assert!(by_hand.0.wait().unwrap().success());
    assert!(!nodes.into_iter().any(alive));
    assert!(!devnet.node_dir(1).join("pid").exists());
}

#[tokio::test]
async fn a_killed_devnet_leaves_no_node_behind_and_goes_on_where_it_was() {
    let mut devnet = Devnet::start(2);
    let (ledger, bootstrap) = (devnet.ledger.clone(), devnet.bootstrap.clone());
    let nodes: Vec<Pid> = (1..=2).map(|number| devnet.pid(number)).collect();
    devnet.supervisor.kill().unwrap();
    devnet.supervisor.wait().unwrap();
    until("the nodes notice", || !nodes.iter().any(|pid| alive(*pid))).await;
    let dir = std::mem::replace(&mut devnet.dir, tempfile::tempdir().unwrap());
    let again = Devnet::start_in(dir, 2);
    assert_eq!((&again.ledger, &again.bootstrap), (&ledger, &bootstrap));
}

#[tokio::test]
async fn a_second_program_on_the_same_data_is_refused_with_a_reason() {
    let devnet = Devnet::start(1);
    let node = program()
        .args(["run", "--config"])
        .arg(devnet.node_dir(1).join("config.toml"))
        .output()
        .unwrap();
    let error = String::from_utf8(node.stderr).unwrap();
    assert_eq!(node.status.code(), Some(75), "{error}");
    assert!(error.contains("another kms-node is running"), "{error}");
    let second = program()
        .args(["devnet", "--dir"])
        .arg(devnet.dir.path())
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(75));
}

#[tokio::test]
async fn the_status_of_a_node_is_told_and_so_is_its_absence() {
    let devnet = Devnet::start(1);
    let config = devnet.node_dir(1).join("config.toml");
    let ask = |json: &[&str]| {
        program()
            .args(["status", "--config"])
            .arg(&config)
            .args(json)
            .output()
            .unwrap()
    };
    let status = ask(&[]);
    let text = String::from_utf8(status.stdout).unwrap();
    assert!(
        text.contains(&devnet.keys()[0].to_string()) && text.contains("fragments 0"),
        "{text}"
    );
    let json = String::from_utf8(ask(&["--json"]).stdout).unwrap();
    assert!(
        json.starts_with("{\"node\":\"kms1") && json.trim_end().ends_with("]}"),
        "{json}"
    );
    kill(devnet.pid(1), Signal::SIGKILL).unwrap();
    assert_eq!(ask(&[]).status.code(), Some(69));
}

#[tokio::test]
async fn keys_are_for_the_owner_alone_and_logs_and_files_show_none() {
    use std::os::unix::fs::PermissionsExt;
    let devnet = Devnet::start(1);
    let client = devnet.client();
    let policy = policy(1, 1);
    devnet.grant(&client, &policy).await;
    devnet.reencrypt(&client, &policy, 0).await.unwrap();
    let data = devnet.node_dir(1).join("data");
    for name in ["node.key", "storage.key"] {
        assert_eq!(
            fs::metadata(data.join(name)).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
    let frag = policy.frags[0].to_bytes();
    let secrets: Vec<String> = frag[6..]
        .chunks_exact(32)
        .chain([
            policy.secret.as_bytes().as_slice(),
            &policy.capsule.to_bytes()[6..],
        ])
        .map(|bytes| data_encoding::HEXLOWER.encode(bytes))
        .collect();
    for file in [
        devnet.node_dir(1).join("log"),
        devnet.dir.path().join("ledger"),
        data.join("fragments.redb"),
    ] {
        let bytes = fs::read(&file).unwrap();
        let hex = data_encoding::HEXLOWER.encode(&bytes);
        let text = String::from_utf8_lossy(&bytes);
        for secret in &secrets {
            assert!(
                !hex.contains(secret) && !text.contains(secret),
                "{}",
                file.display()
            );
        }
    }
}

fn resident_kib(pid: Pid) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn garbage_and_oversized_messages_cost_a_node_nothing() {
    let devnet = Devnet::start(1);
    let client = devnet.client();
    assert!(matches!(
        devnet.ask(&client, 0, Query::Status.to_bytes()).await,
        Response::Status(_)
    ));
    let before = resident_kib(devnet.pid(1));
    let port = devnet.bootstrap[0].split('/').nth(4).unwrap().to_owned();
    for round in 0..100_u8 {
        let mut socket = TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
        // The node hangs up on some of it.
        let _ = socket.write_all(&[round; 64 * 1024]);
    }
    for round in 0..200_usize {
        let garbage = vec![0x9b; 1 + round * 80];
        let answer = devnet.ask(&client, 0, garbage).await;
        assert!(
            matches!(
                answer,
                Response::Refused(Refusal::BadRequest | Refusal::Busy)
            ),
            "{answer:?}"
        );
    }
    assert!(matches!(
        devnet.ask(&client, 0, Query::Status.to_bytes()).await,
        Response::Status(_)
    ));
    let grown = resident_kib(devnet.pid(1)).saturating_sub(before);
    assert!(grown < 32 * 1024, "the node has grown by {grown} KiB");
}

/// What a monitor answers, its status line and all.
fn page(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// A real process was never asked for its pages; with a ledger that was cut short it called itself ready for a minute.
#[tokio::test]
async fn a_node_is_ready_when_it_serves_and_not_when_its_ledger_is_not_what_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, config) = (dir.path().join("ledger"), dir.path().join("config.toml"));
    // An address of this process's own: nobody else's port is in the way.
    let [.., high, low] = std::process::id().to_be_bytes();
    let monitor = format!("127.83.{high}.{low}:4711");
    let text = format!(
        "network = 'processes'\nledger = 'file:{}'\ndata_dir = '{}'\nlisten = ['/ip4/127.0.0.1/tcp/0']\nmonitor = '{monitor}'\n",
        ledger.display(),
        dir.path().join("data").display(),
    );
    fs::write(&config, text).unwrap();
    let child = program()
        .args(["run", "--supervised", "--config"])
        .arg(&config)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let _node = Single::ready(child);
    let status = |path: &str| page(&monitor, path).lines().next().unwrap().to_owned();
    until("it is ready", || status("/readyz").contains("200")).await;
    assert!(status("/healthz").contains("200"));
    let says = |line: &str| page(&monitor, "/metrics").lines().any(|it| it == line);
    assert!(says("kms_node_ready 1"));
    until("it sees itself", || says("kms_node_ledger_height 1")).await;

    let whole = fs::read(&ledger).unwrap();
    fs::write(&ledger, &whole[..whole.len() / 2]).unwrap();
    until("it is not ready", || status("/readyz").contains("503")).await;
    assert!(page(&monitor, "/readyz").contains("ledger"));
    assert!(says("kms_node_ready 0"));
    assert!(
        status("/healthz").contains("200"),
        "a new start would not help"
    );
}

#[test]
fn mistakes_in_the_configuration_are_told_in_three_lines() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config.toml");
    let run = |text: &str| {
        fs::write(&config, text).unwrap();
        let output = program()
            .args(["run", "--config"])
            .arg(&config)
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    for (text, code, word) in [
        ("", 78, "ledger is not set"),
        ("ledgr = 'file:/x'", 78, "ledgr"),
        ("data_dir = 'd'\nledger = 'dht:'\n", 78, "dht"),
        (
            "data_dir = 'd'\nledger = 'file:l'\nlisten = ['127.0.0.1:1']\n",
            69,
            "127.0.0.1:1",
        ),
        (
            "data_dir = '/proc/none'\nledger = 'file:l'\n",
            73,
            "/proc/none",
        ),
    ] {
        let (found, error) = run(text);
        assert_eq!(found, Some(code), "{error}");
        let lines: Vec<&str> = error
            .lines()
            .filter(|line| !line.contains(" WARN "))
            .collect();
        assert!(
            lines.len() >= 3 && lines[0].starts_with("error: "),
            "{error}"
        );
        assert!(error.contains(word), "{error}");
    }
    assert!(!Path::new("/proc/none").exists());
}

#[test]
fn the_manual_is_made_from_the_command_line() {
    let dir = tempfile::tempdir().unwrap();
    assert!(
        program()
            .arg("man")
            .arg(dir.path())
            .status()
            .unwrap()
            .success()
    );
    let page = fs::read_to_string(dir.path().join("kms-node-run.8")).unwrap();
    assert!(page.contains("storage") && !page.contains("supervised"));
    assert!(
        String::from_utf8(program().arg("man").output().unwrap().stdout)
            .unwrap()
            .contains(".TH kms-node 8")
    );
}
