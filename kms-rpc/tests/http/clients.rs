//! Programs that others have written: curl, and a client library made for bitcoind.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::Kmsd;

/// Every example of `help` that a shell can run is understood: it gives a result, or an error of the catalogue.
#[test]
fn the_curl_examples_of_help_work_as_printed() {
    let kmsd = Kmsd::start();
    for method in kms_rpc::method::all().filter(|method| method.name != "stop") {
        let help = kmsd.cli(&["help", method.name]);
        let example = help.lines().find_map(|line| line.strip_prefix("> curl "));
        let example = format!("curl --silent --show-error {}", example.unwrap());
        let output = Command::new("sh").args(["-c", &example]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{example}: {said}");
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(answer["id"], "curltest", "{example}: {answer}");
        let code = answer["error"]["code"].as_i64();
        assert!(
            !matches!(code, Some(-32700 | -32601 | -32600 | -1 | -3)),
            "{example}: {answer}"
        );
    }
}

/// A script of `tests/`, run by Python.
#[track_caller]
fn script(python: &Path, name: &str, args: &[&str]) {
    let output = Command::new(python)
        .arg(root().join("kms-rpc/tests").join(name))
        .args(args)
        .env("PYTHONPATH", root().join("bindings/python"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

#[test]
fn a_client_library_for_bitcoind_speaks_to_it_unchanged() {
    let python = root().join("target/tools/py-venv/bin/python");
    assert!(
        python.exists(),
        "python-bitcoinrpc is not installed: run scripts/setup test"
    );
    let kmsd = Kmsd::start();
    let url = format!("http://{}@127.0.0.1:{}", kmsd.cookie(), kmsd.port);
    script(&python, "bitcoinrpc_client.py", &[&url]);
}

#[test]
fn our_own_client_in_python_alone_needs_nothing_native() {
    let dir = tempfile::tempdir().unwrap();
    let unix = dir.path().join("socket");
    let unix = unix.to_str().unwrap();
    let kmsd = Kmsd::start_with(&[&format!("-rpcunix={unix}")]);
    let (port, home) = (kmsd.port.to_string(), kmsd.dir.path().to_str().unwrap());
    script(
        Path::new("python3"),
        "kms_rpc_client.py",
        &[&port, home, unix],
    );
}
