//! The network without the filesystem: `kmsd` and `kms-cli` on both sides, a Rust program beside them, five real nodes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use kms_client::home::Home;
use kms_client::ticket::TicketText;
use kms_client::{Client, Code, Keyring, NetworkConfig, Opening, Session, SessionConfig};
use kms_crypto::format::config::FILE_NAME;
use kms_crypto::name::DIR_HEADER;
use kms_tests::{Devnet, Person, TIMEOUT, eventually, port, program, xattr};
use serde_json::Value;

use crate::Scene;

/// Somebody's daemon, which serves the same identity and contacts as their `kmsfs`.
pub(crate) struct Kmsd {
    datadir: String,
    pub(crate) port: String,
    process: Child,
}

impl Kmsd {
    pub(crate) fn of(person: &Person, net: &Devnet) -> Self {
        Self::with(person, net, &[])
    }

    pub(crate) fn with(person: &Person, net: &Devnet, options: &[&str]) -> Self {
        person.key();
        let port = format!("-rpcport={}", port());
        let datadir = format!("-datadir={}", person.home().display());
        let process = Command::new(program("kmsd"))
            .args([&datadir, &port, "-printtoconsole=0", "-timeout=60"])
            .args(options)
            .arg(format!("-ledger={}", net.ledger))
            .arg(format!("-bootstrap={}", net.bootstrap))
            .arg(format!(
                "-passfile={}",
                person.dir.join("passphrase").display()
            ))
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let this = Self {
            datadir,
            port,
            process,
        };
        this.cli(&["-rpcwait", "-rpcwaittimeout=60", "identities"]);
        this
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn port(&self) -> u16 {
        let (_, port) = self.port.split_once('=').unwrap();
        port.parse().unwrap()
    }

    pub(crate) fn output(&self, args: &[&str]) -> Output {
        let mut command = Command::new(program("kms-cli"));
        let command = command.args([&self.datadir, &self.port]).args(args);
        command.stdin(Stdio::null()).output().unwrap()
    }

    /// The result of a call that has to succeed.
    #[track_caller]
    pub(crate) fn cli(&self, args: &[&str]) -> Value {
        let output = self.output(args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kms-cli {args:?}: {said}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The exit code of a call that has to fail.
    #[track_caller]
    fn refused(&self, args: &[&str]) -> Option<i32> {
        let output = self.output(args);
        assert!(!output.status.success(), "kms-cli {args:?} succeeded");
        output.status.code()
    }
}

impl Drop for Kmsd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// 64 MiB from Alice to Bob, and no more after the revocation.
#[test]
fn two_people_share_a_large_file_through_their_daemons() {
    let root = tempfile::tempdir().unwrap();
    let net = Devnet::start(root.path(), 5);
    let (alice, bob) = (
        Person::on(&net, root.path(), "alice"),
        Person::on(&net, root.path(), "bob"),
    );
    let (hers, his) = (Kmsd::of(&alice, &net), Kmsd::of(&bob, &net));
    let at = |name: &str| root.path().join(name);
    let (plain, sealed, back) = (at("film"), at("film.sealed"), at("film.back"));
    let content: Vec<u8> = (0..16u32 << 20).flat_map(u32::to_le_bytes).collect();
    fs::write(&plain, &content).unwrap();

    hers.cli(&["contact_add", "bob", &bob.key()]);
    let done = hers.cli(&["encrypt_file", text(&plain), text(&sealed)]);
    let label = done["label"].as_str().unwrap();
    let granted = hers.cli(&["grant", label, "bob ttl=1h m=3/5"]);
    let grant = &granted["grants"][0];
    let ticket = grant["ticket"].as_str().unwrap();
    assert_eq!(
        (&grant["who"], &grant["threshold"]),
        (&"bob".into(), &"3/5".into())
    );

    his.cli(&["decrypt_file", text(&sealed), text(&back), ticket]);
    assert!(fs::read(&back).unwrap() == content, "the same bytes");

    let policy = grant["policy"].as_str().unwrap();
    let health = hers.cli(&["policy_health", policy]);
    assert_eq!((&health["needed"], &health["good"]), (&3.into(), &5.into()));
    let audit = hers.cli(&["audit", policy]);
    let used = audit["nodes"].as_array().unwrap().iter();
    let used = used.filter(|node| node["entries"].as_array().is_some_and(|it| !it.is_empty()));
    assert!(used.count() >= 3, "{audit}");
    assert_eq!(hers.cli(&["getnetworkinfo"])["answering"], 5);
    assert_eq!(hers.cli(&["getpeerinfo"]).as_array().unwrap().len(), 5);

    // A program in Rust with Bob's identity reads the very same file, and is refused in the very same way.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (session, ticket_text) = (
        rust_session(&runtime, &bob, &net),
        TicketText::parse(ticket).unwrap(),
    );
    let by = Opening::Ticket {
        ticket: &ticket_text,
        owner: None,
    };
    let in_rust = at("film.rust");
    runtime
        .block_on(session.decrypt_file(&sealed, &in_rust, by))
        .unwrap();
    assert!(fs::read(&in_rust).unwrap() == content);

    let revoked = hers.cli(&["revoke", label, "bob"]);
    assert_eq!(revoked["revoked"][0]["removed"], 5);
    let again = at("again");
    assert_eq!(
        his.refused(&["decrypt_file", text(&sealed), text(&again), ticket]),
        Some(106)
    );
    let refused = runtime.block_on(session.within(TIMEOUT).decrypt_file(&sealed, &again, by));
    assert_eq!(refused.unwrap_err().code(), Code::Revoked);
    assert!(!again.exists());
}

pub(crate) fn rust_session(
    runtime: &tokio::runtime::Runtime,
    person: &Person,
    net: &Devnet,
) -> Session {
    let keyring = Keyring::new(Home::under(&person.home()));
    let passphrase = fs::read_to_string(person.dir.join("passphrase")).unwrap();
    let secret = keyring.open("default", passphrase.trim()).unwrap();
    let network = NetworkConfig {
        ledger: net.ledger.clone(),
        bootstrap: net.bootstrap.split(',').map(str::to_owned).collect(),
        ..NetworkConfig::default()
    };
    let client = runtime.block_on(Client::connect(&network)).unwrap();
    Session::open(SessionConfig::new(keyring, Some(client)), secret).unwrap()
}

/// Whoever is asked when no node is there says so, in time, and does what needs none.
#[test]
fn a_network_that_is_dead_is_an_error_of_the_catalogue_and_the_daemon_goes_on() {
    let root = tempfile::tempdir().unwrap();
    let net = Devnet::start(root.path(), 1);
    let alice = Person::on(&net, root.path(), "alice");
    let hers = Kmsd::with(&alice, &net, &["-timeout=10"]);
    // Bob is another identity of the same daemon.
    let bob = hers.cli(&["generate_key", "battery staple", "bob"]);
    hers.cli(&["unlock", "battery staple", "0", "bob"]);
    hers.cli(&["contact_add", "bob", bob["identity"].as_str().unwrap()]);
    let at = |name: &str| root.path().join(name);
    fs::write(at("plain"), "launch friday\n").unwrap();
    let sealed = at("sealed");
    let done = hers.cli(&["encrypt_file", text(&at("plain")), text(&sealed)]);
    let label = done["label"].as_str().unwrap();
    let granted = hers.cli(&["grant", label, "bob ttl=1h m=1/1"]);
    let grant = &granted["grants"][0];
    let (ticket, policy) = (&grant["ticket"], grant["policy"].as_str().unwrap());
    net.kill(1);

    let back = at("back");
    let ticket = ticket.as_str().unwrap();
    let (from, to) = (text(&sealed), text(&back));
    let args = ["decrypt_file", from, to, ticket, "null", "null", "bob"];
    let code = hers.refused(&args);
    assert!(
        matches!(code, Some(102 | 103)),
        "NO_QUORUM or TIMEOUT, not {code:?}"
    );
    assert!(!back.exists());
    let code = hers.refused(&["grant", label, "bob ttl=2h m=1/1"]);
    assert!((108..=110).contains(&code.unwrap()), "{code:?}");
    let health = hers.cli(&["policy_health", policy]);
    assert_eq!((&health["needed"], &health["good"]), (&1.into(), &0.into()));
    let network = hers.cli(&["getnetworkinfo"]);
    assert_eq!(
        (&network["nodes"], &network["answering"]),
        (&1.into(), &0.into())
    );
    assert_eq!(hers.cli(&["getpeerinfo"])[0]["answers"], false);
    hers.cli(&["decrypt_file", text(&sealed), text(&back)]);
    assert_eq!(fs::read_to_string(&back).unwrap(), "launch friday\n");
}

/// What a store of the filesystem shares is opened as it lies there, by somebody who mounts nothing.
#[test]
fn a_file_of_a_store_is_opened_without_the_filesystem() {
    let scene = Scene::new();
    let plan = scene.secure.at("plan.txt");
    fs::write(&plan, "launch friday\n").unwrap();
    xattr::grant(&plan, "bob ttl=7d").unwrap();
    let his = Kmsd::of(&scene.bob, &scene.net);
    let listed = eventually("the ticket to be there", TIMEOUT, || {
        let listed = his.cli(&["tickets", text(&scene.store)]);
        (!listed["tickets"].as_array()?.is_empty()).then_some(listed)
    });
    let ticket = &listed["tickets"][0];
    assert_eq!(ticket["path"], "plan.txt");
    let back = scene.root.path().join("back");
    let (file, by) = (
        ticket["file"].as_str().unwrap(),
        ticket["ticket"].as_str().unwrap(),
    );
    // What the owner has just written is in the store a moment later.
    eventually("the file to open", TIMEOUT, || {
        his.output(&["decrypt_file", file, text(&back), by])
            .status
            .success()
            .then_some(())
    });
    assert_eq!(fs::read_to_string(&back).unwrap(), "launch friday\n");
}

/// What belongs to somebody opens without a mount, by the names that he knows.
#[test]
fn a_file_of_ones_own_store_is_opened_without_the_filesystem() {
    let scene = Scene::new();
    let long = "a name that is too long to stay one ".repeat(6);
    fs::create_dir(scene.secure.at("dir")).unwrap();
    fs::write(scene.secure.at("plan"), "launch friday\n").unwrap();
    fs::write(scene.secure.at("dir").join(&long), "deep\n").unwrap();
    fs::write(scene.secure.at("dir/empty"), "").unwrap();
    fs::write(scene.secure.at("other"), "other").unwrap();
    xattr::grant(&scene.secure.at("plan"), "bob").unwrap();
    fs::File::open(scene.secure.at("dir"))
        .unwrap()
        .sync_all()
        .unwrap();
    let (hers, his) = (
        Kmsd::of(&scene.alice, &scene.net),
        Kmsd::of(&scene.bob, &scene.net),
    );
    let back = scene.root.path().join("back");
    let opened = |path: &str| {
        let source = scene.store.join(path);
        let done = eventually("it to be in the store", TIMEOUT, || {
            let output = hers.output(&["decrypt_file", text(&source), text(&back)]);
            let told = || serde_json::from_slice::<Value>(&output.stdout).unwrap();
            output.status.success().then(told)
        });
        let content = fs::read_to_string(&back).unwrap();
        fs::remove_file(&back).unwrap();
        (done["label"].is_string(), content)
    };
    assert_eq!(opened("plan"), (true, "launch friday\n".to_owned()));
    assert_eq!(opened(&format!("dir/{long}")), (false, "deep\n".to_owned()));
    assert_eq!(opened("dir/empty"), (false, String::new()));

    let refused =
        |kmsd: &Kmsd, path: &Path| kmsd.refused(&["decrypt_file", text(path), text(&back)]);
    let code = |code: Code| Some(code.number().abs());
    assert_eq!(refused(&hers, &scene.store.join("nothing")), code(Code::Io));
    assert_eq!(refused(&hers, &scene.store.join("dir")), code(Code::Io));
    assert_eq!(refused(&his, &scene.store.join("plan")), code(Code::Io));

    // As it is stored; and with two files in each other's place.
    let listed = his.cli(&["tickets", text(&scene.store)]);
    let file = PathBuf::from(listed["tickets"][0]["file"].as_str().unwrap());
    assert_eq!(opened(text(&file)), (true, "launch friday\n".to_owned()));
    assert_eq!(refused(&his, &file), code(Code::NotOwner));
    assert_eq!(opened("other"), (false, "other".to_owned()));
    let store = scene.store.clone();
    scene.secure.unmount();
    let stored = fs::read_dir(&store).unwrap().map(|it| it.unwrap().path());
    let not_a_file = [FILE_NAME, DIR_HEADER].map(|name| store.join(name));
    let mut others = stored.filter(|it| it.is_file() && *it != file && !not_a_file.contains(it));
    fs::rename(others.next().unwrap(), &file).unwrap();
    assert_eq!(refused(&hers, &store.join("plan")), code(Code::Tampered));
}
