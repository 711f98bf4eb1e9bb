//! Starting and ending (API §4.5), and `kms-cli` (§4.6).

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use kms_tests::port;
use serde_json::{Value, json};

use crate::{Kmsd, kmsd};

#[test]
fn a_second_daemon_is_refused_and_nothing_is_left_behind_by_the_first() {
    let mut first = Kmsd::start_with(&["-rpcunix=kmsd.sock"]);
    let mode = |name: &str| first.at(name).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(".cookie"), mode("kmsd.sock")), (0o600, 0o600));
    let pid = fs::read_to_string(first.at("kmsd.pid")).unwrap();
    assert_eq!(pid.trim(), first.process.id().to_string());
    let second = kmsd(first.dir.path(), port()).output().unwrap();
    let said = String::from_utf8(second.stderr).unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(said.contains("Cannot obtain a lock"), "{said}");

    // The user himself needs no credential on the socket.
    let uptime = first.cli(&["-rpcunix=kmsd.sock", "-norpccookiefile", "uptime"]);
    assert!(uptime.trim().parse::<u64>().is_ok());
    assert_eq!(first.cli(&["stop"]), "kmsd stopping\n");
    assert!(first.process.wait().unwrap().success());
    for name in [".cookie", "kmsd.pid", "kmsd.sock"] {
        assert!(!first.at(name).exists(), "{name}");
    }
    let output = first.cli_fails(&["uptime"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("Is kmsd running"));
}

#[test]
fn options_that_mean_nothing_are_refused_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let fails = |args: &[&str]| {
        let output = kmsd(dir.path(), port()).args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(fails(&["-nonsense=1"]).contains("Invalid parameter -nonsense"));
    assert!(fails(&["word"]).contains("unexpected token 'word'"));
    assert!(fails(&["-rpcauth=alice"]).contains("rpcauth must be"));
    assert!(fails(&["-rpcallowip=here"]).contains("rpcallowip"));
    assert!(fails(&["-threshold=6/5"]).contains("6/5"));
    let open = fails(&["-rpcallowip=0.0.0.0/0", "-rpcbind=0.0.0.0"]);
    assert!(open.contains("needs an rpcauth"), "{open}");
    fs::write(
        dir.path().join("kmsd.conf"),
        "debug=1\n[other]\nthreshold=9/9\n\ntypo=1\n",
    )
    .unwrap();
    assert!(fails(&[]).contains("line 5: there is no option \"typo\""));
}

#[test]
fn the_file_has_sections_and_the_command_line_goes_first() {
    let dir = tempfile::tempdir().unwrap();
    let conf = dir.path().join("my.conf");
    let text =
        "# mine\nnetwork=test\nthreshold=2/3\n[test]\nthreshold=2/4\n[other]\nthreshold=9/9\n";
    fs::write(&conf, text).unwrap();
    let conf = format!("-conf={}", conf.display());
    let threshold = |options: &[&str]| {
        let kmsd = Kmsd::start_with(options);
        kmsd.result("getinfo", json!([]))["threshold"].clone()
    };
    assert_eq!(threshold(&[&conf]), "2/4");
    assert_eq!(threshold(&[&conf, "-network=else"]), "2/3");
    assert_eq!(threshold(&[&conf, "-threshold=1/1"]), "1/1");
}

#[test]
fn a_ledger_that_is_not_there_yet_is_waited_for() {
    let kmsd = Kmsd::start_with(&["-ledger=file:/nonexistent/ledger"]);
    let answer = kmsd.call("identities", json!([])).json();
    assert_eq!(answer["error"]["code"], -28);
    assert!(
        answer["error"]["message"]
            .as_str()
            .unwrap()
            .contains("ledger")
    );
    let output = kmsd.cli_fails(&["-rpcwait", "-rpcwaittimeout=1", "identities"]);
    assert_eq!(output.status.code(), Some(28));
    assert!(kmsd.result("uptime", json!([])).is_u64());
    kmsd.cli(&["stop"]);
}

#[test]
fn in_the_background_it_answers_when_the_command_returns() {
    let dir = tempfile::tempdir().unwrap();
    let port = port();
    let output = kmsd(dir.path(), port).arg("-daemon").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "kmsd starting\n");
    let mut cli = std::process::Command::new(env!("CARGO_BIN_EXE_kms-cli"));
    let cli = cli
        .arg(format!("-datadir={}", dir.path().display()))
        .arg(format!("-rpcport={port}"));
    assert!(cli.arg("stop").output().unwrap().status.success());
    while dir.path().join("kmsd.pid").exists() {
        std::thread::yield_now();
    }
    let output = kmsd(dir.path(), port)
        .args(["-daemon", "-rpcauth=x"])
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("rpcauth must be"));
}

/// The message went to a terminal that was gone, which ended the work that was to end the daemon: it went on for ever,
/// never ready.
#[test]
fn a_daemon_that_cannot_start_ends_also_when_nobody_hears_why() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("words"), "correct horse\n").unwrap();
    let mut child = kmsd(dir.path(), port())
        .args(["-daemon", "-passfile=words"])
        .env("KMSD_IN_BACKGROUND", "1")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop((child.stdout.take(), child.stderr.take()));
    assert_eq!(child.wait().unwrap().code(), Some(1));
    let log = fs::read_to_string(dir.path().join("debug.log")).unwrap();
    assert!(log.contains("cannot start"), "{log}");
    assert!(!dir.path().join("kmsd.pid").exists());
}

#[test]
fn a_directory_that_is_everybodys_is_refused_and_options_are_taken_back() {
    let dir = tempfile::tempdir().unwrap();
    let conf = "rpcunix=kmsd.sock\npassfile=absent\npid=mine.pid\n";
    fs::write(dir.path().join("kmsd.conf"), conf).unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let output = kmsd(dir.path(), port()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("everybody can write into"), "{said}");
    let conf = format!("-conf={}", dir.path().join("kmsd.conf").display());
    let kmsd = Kmsd::start_with(&[&conf, "-norpcunix", "-nopassfile", "-nopid"]);
    let names = fs::read_dir(kmsd.at("")).unwrap();
    let names: Vec<_> = names.map(|it| it.unwrap().file_name()).collect();
    for name in ["0", "kmsd.sock", "mine.pid", "kmsd.pid"] {
        assert!(!names.iter().any(|it| it == name), "{names:?}");
    }
    assert!(names.iter().any(|it| it == ".cookie"));
}

/// Nobody may read the memory of a process that keeps secrets, and what it dies with is not written to the disk.
#[test]
fn its_memory_is_its_own() {
    let kmsd = Kmsd::start();
    let limits = fs::read_to_string(format!("/proc/{}/limits", kmsd.process.id())).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    assert_eq!(
        core.unwrap().split_whitespace().nth(4),
        Some("0"),
        "{limits}"
    );
}

#[test]
fn the_command_line_converts_by_the_definitions() {
    let kmsd = Kmsd::start();
    let mut child = kmsd
        .cli_command(&["-stdinpass", "generate_key", "work"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b"from stdin\n")
        .unwrap();
    let made: Value = serde_json::from_slice(&child.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!(made["name"], "work");
    let unlocked = kmsd.cli(&[
        "-named",
        "unlock",
        "passphrase=from stdin",
        "timeout=60",
        "name=work",
    ]);
    let unlocked: Value = serde_json::from_str(&unlocked).unwrap();
    assert!(unlocked["until"].is_u64());
    // A number stays text where text is wanted, and words in front of names are leading arguments.
    let output = kmsd.cli_fails(&["-named", "unlock", "123", "name=work"]);
    assert_eq!(output.status.code(), Some(14));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.starts_with("error code: -14\nerror message:\n"),
        "{said}"
    );
    assert!(!said.contains("123"), "{said}");
    let output = kmsd.cli_fails(&["unlock", "x", "soon"]);
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("Error parsing JSON: soon")
    );
    assert!(kmsd.cli(&["help"]).starts_with("== Control ==\n"));
    assert!(kmsd.cli(&["-getinfo"]).contains("Network: "));
    let rpcauth = kmsd.cli(&["-rpcauth=bob"]);
    assert!(rpcauth.contains("rpcauth=bob:"));
}

#[test]
fn the_committed_manual_is_current() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../man");
    for (name, page) in [
        ("kmsd.8", kms_rpc::manual::kmsd()),
        ("kms-cli.1", kms_rpc::manual::kms_cli()),
    ] {
        let committed = fs::read_to_string(dir.join(name)).unwrap_or_default();
        let program = name.split('.').next().unwrap();
        assert!(
            committed == page,
            "man/{name} is not current: run `target/release/{program} -man > man/{name}`"
        );
    }
}

/// The cookie was read once, when waiting began: who waited for a daemon that had not written it yet waited in vain.
#[test]
fn who_waits_for_a_daemon_finds_the_cookie_it_writes_when_it_comes() {
    let dir = tempfile::tempdir().unwrap();
    let port = port();
    let mut waiting = std::process::Command::new(env!("CARGO_BIN_EXE_kms-cli"))
        .arg(format!("-datadir={}", dir.path().display()))
        .arg(format!("-rpcport={port}"))
        .args(["-rpcwait", "-rpcwaittimeout=60", "uptime"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut daemon = kmsd(dir.path(), port)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let found = waiting.wait().unwrap().success();
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    assert!(found);
}
