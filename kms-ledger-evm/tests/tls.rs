//! Providers behind TLS: who they are is checked by the authorities that the system trusts (LEDGER §6).
#![expect(clippy::unwrap_used, reason = "a test")]

use std::{
    env,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    thread,
};

use kms_ledger::conformance::{Author, NETWORK};
use kms_ledger_evm::{EvmLedger, EvmName, EvmOptions, anvil::Anvil};
use kms_proto::ledger::{Ledger, PolicyState};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/tls")
        .join(name)
}

/// A server with one of the certificates, before a chain; its port.
fn serve(certificate: &str, anvil: &Anvil) -> u16 {
    let chain = vec![CertificateDer::from_pem_file(file(&format!("{certificate}.pem"))).unwrap()];
    let key = PrivateKeyDer::from_pem_file(file(&format!("{certificate}.key"))).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key);
    let config = Arc::new(config.unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let chain = anvil.url().strip_prefix("http://").unwrap().to_owned();
    thread::spawn(move || {
        for client in listener.incoming() {
            let (config, chain) = (Arc::clone(&config), chain.clone());
            thread::spawn(move || pass_on(client.unwrap(), config, &chain));
        }
    });
    port
}

/// One question and its answer. A client that does not like the certificate has gone before.
fn pass_on(client: TcpStream, config: Arc<ServerConfig>, chain: &str) -> Option<()> {
    let mut tls = StreamOwned::new(ServerConnection::new(config).ok()?, client);
    let mut asked = Vec::new();
    let body = loop {
        let mut some = [0; 4096];
        let count = tls.read(&mut some).ok().filter(|count| *count > 0)?;
        asked.extend_from_slice(&some[..count]);
        if let Some(at) = asked.windows(4).position(|it| it == b"\r\n\r\n") {
            break at + 4;
        }
    };
    let head = String::from_utf8_lossy(&asked[..body]).to_lowercase();
    let length = head
        .split("content-length: ")
        .nth(1)?
        .split("\r\n")
        .next()?;
    let mut rest = vec![0; body + length.parse::<usize>().ok()? - asked.len()];
    tls.read_exact(&mut rest).ok()?;
    let mut upstream = TcpStream::connect(chain).ok()?;
    upstream.write_all(&[asked, rest].concat()).ok()?;
    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer).ok()?;
    tls.write_all(&answer).ok()?;
    tls.flush().ok()
    // And hangs up without a word, as many do.
}

/// Runs the other test of this file where only these authorities are trusted; what it said.
fn told(place: &str, authorities: &Path) -> Result<(), String> {
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", "a_ledger_behind_tls", "--ignored", "--nocapture"])
        .env("PLACE", place)
        .env("SSL_CERT_FILE", authorities)
        .output()
        .unwrap();
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

#[test]
fn a_provider_behind_tls_is_asked_and_a_wrong_certificate_refused() {
    let anvil = Anvil::start(&[]);
    let contract = anvil.deploy(NETWORK);
    let dir = tempfile::tempdir().unwrap();
    let key = Anvil::key_file(dir.path());
    let place = |host: &str, port: u16| {
        let key = key.display();
        format!("31337/{contract}?rpc=https://{host}:{port}&confirmations=0&key={key}")
    };
    let authority = file("authority.pem");
    let here = serve("here", &anvil);
    for host in ["127.0.0.1", "localhost"] {
        told(&place(host, here), &authority).unwrap();
    }
    // Of an authority that nobody here trusts.
    let refused = told(&place("127.0.0.1", here), &file("elsewhere.pem")).unwrap_err();
    assert!(refused.contains("UnknownIssuer"), "{refused}");
    for (certificate, why) in [("elsewhere", "NotValidForName"), ("over", "Expired")] {
        let port = serve(certificate, &anvil);
        let refused = told(&place("127.0.0.1", port), &authority).unwrap_err();
        assert!(refused.contains(why), "{certificate}: {refused}");
    }
    // Whatever else the system trusts, it is not this one.
    told(&place("127.0.0.1", here), &dir.path().join("none")).unwrap_err();
}

#[test]
#[ignore = "part of the other one"]
fn a_ledger_behind_tls() {
    let name = EvmName::parse(&env::var("PLACE").unwrap()).unwrap();
    let ledger = EvmLedger::open(name, EvmOptions::new(NETWORK)).unwrap();
    let author = Author::new();
    let expiry = kms_ledger::system_clock()() + 3600;
    ledger.submit(&author.grant(1, expiry)).unwrap();
    assert!(matches!(
        ledger.policy(&author.policy()),
        Ok(PolicyState::Live(_))
    ));
}
