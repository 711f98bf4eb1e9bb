//! What a person is told who has set up no network, or a wrong one.

use kms_client::{ClientError, ConnectError, NetworkConfig, blocking};

fn refused(config: &NetworkConfig) -> ConnectError {
    match blocking::Client::connect(config) {
        Err(error) => error,
        Ok(_) => panic!("connected with {config:?}"),
    }
}

fn with_ledger(ledger: &str) -> NetworkConfig {
    NetworkConfig {
        ledger: ledger.to_owned(),
        ..NetworkConfig::default()
    }
}

#[test]
fn without_a_ledger_the_client_says_what_is_missing() {
    let error = refused(&NetworkConfig::default());
    assert!(matches!(error, ConnectError::NoLedger));
    assert_eq!(
        ClientError::from(error).to_string(),
        "no network: no ledger is configured"
    );
}

#[test]
fn a_ledger_that_cannot_be_used_is_named() {
    for url in [
        "evm:http://localhost",
        "/tmp/ledger",
        "file:ledger",
        "file:",
    ] {
        let error = refused(&with_ledger(url));
        assert!(
            matches!(error, ConnectError::LedgerUrl { .. }),
            "{url}: {error:?}"
        );
        assert!(error.to_string().contains(url), "{error}");
    }
}

#[test]
fn a_ledger_that_is_missing_or_something_else_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger");
    let url = format!("file:{}", path.display());
    assert!(matches!(
        refused(&with_ledger(&url)),
        ConnectError::LedgerOpen { .. }
    ));
    std::fs::write(
        &path,
        b"[general]\nthis is a text file and no ledger of any kind whatsoever\n",
    )
    .unwrap();
    assert!(matches!(
        refused(&with_ledger(&url)),
        ConnectError::LedgerOpen { .. }
    ));
}

#[test]
fn a_bootstrap_address_that_is_none_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger");
    kms_ledger::FileLedger::open_writer(&path, kms_ledger::FileOptions::default()).unwrap();
    let mut config = with_ledger(&format!("file:{}", path.display()));
    assert!(blocking::Client::connect(&config).is_ok());
    config.bootstrap = vec!["localhost:4001".to_owned()];
    let error = refused(&config);
    assert!(error.to_string().contains("localhost:4001"), "{error}");
}
