//! One file, six ways to open it: whoever shares it, everybody can open it until it is withdrawn, and is refused in the same words.
//!
//! Needs the libraries that the tests of `bindings/` are built with.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use kms_client::ticket::TicketText;
use kms_client::{ApiError, Opening};
use kms_tests::packages::library;
use kms_tests::{Devnet, Person};
use rustix::io::Errno;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::api::{Kmsd, rust_session, text};

const LANGUAGES: [&str; 6] = [
    "rust",
    "kms-cli",
    "python",
    "asyncio",
    "json-rpc in python",
    "javascript",
];

/// Somebody who can do things in every language.
struct Actor<'a> {
    person: &'a Person,
    net: &'a Devnet,
    kmsd: Kmsd,
    runtime: Runtime,
    packages: PathBuf,
}

/// The packages as they would be installed.
pub(crate) fn packages(root: &Path) -> PathBuf {
    let dir = root.join("packages");
    let bindings = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bindings");
    let copy = |from: &str, to: &Path| {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(bindings.join(from)).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() {
                fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
            }
        }
    };
    copy("python/kms", &dir.join("kms"));
    copy("node", &dir.join("node"));
    for (name, to) in [
        ("libkms_python.so", "kms/_native.abi3.so"),
        ("libkms_js.so", "node/kms.node"),
    ] {
        fs::copy(library(name), dir.join(to)).unwrap();
    }
    dir
}

impl<'a> Actor<'a> {
    fn new(person: &'a Person, net: &'a Devnet, packages: &Path) -> Self {
        Self {
            person,
            net,
            kmsd: Kmsd::of(person, net),
            runtime: Runtime::new().unwrap(),
            packages: packages.to_owned(),
        }
    }

    /// Shares, opens or withdraws: what came of it, or the name of an error with its errno.
    fn act(&self, language: &str, words: &[&str]) -> Value {
        match language {
            "rust" => self.in_rust(words).unwrap_or_else(
                |error| json!({"error": error.code().name(), "errno": error.errno()}),
            ),
            "kms-cli" => self.by_kms_cli(words),
            "javascript" => {
                let package = self.packages.join("node/index.mjs");
                self.actor("node", "actor.mjs", text(&package), words)
            }
            "python" => self.actor("python3", "actor.py", "sync", words),
            "json-rpc in python" => self.actor("python3", "actor.py", "rpc", words),
            _ => self.actor("python3", "actor.py", "aio", words),
        }
    }

    fn actor(&self, program: &str, script: &str, first: &str, words: &[&str]) -> Value {
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("cluster/languages");
        let passphrase = fs::read_to_string(self.person.dir.join("passphrase")).unwrap();
        let output = Command::new(program)
            .arg(scripts.join(script))
            .arg(first)
            .args(words)
            .env("KMSFS_HOME", self.person.home())
            .env("KMSFS_LEDGER", &self.net.ledger)
            .env("KMSFS_BOOTSTRAP", &self.net.bootstrap)
            .env("PASSPHRASE", passphrase.trim())
            .env("RPCPORT", self.kmsd.port.trim_start_matches("-rpcport="))
            .env("PYTHONPATH", &self.packages)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{script}: {said}"))
    }

    fn in_rust(&self, words: &[&str]) -> Result<Value, ApiError> {
        let session = rust_session(&self.runtime, self.person, self.net);
        self.runtime.block_on(async {
            match *words {
                ["share", source, target, terms] => {
                    let cipher = Default::default();
                    let (source, target) = (Path::new(source), Path::new(target));
                    let label = session.encrypt_file(source, target, cipher).await?.label;
                    let grants = session.grant(&label, terms).await?;
                    let ticket = grants[0].ticket.to_string();
                    Ok(json!({"label": label.to_string(), "ticket": ticket}))
                }
                ["open", source, target, ticket] => {
                    let ticket = TicketText::parse(ticket)?;
                    let by = Opening::Ticket {
                        ticket: &ticket,
                        owner: None,
                    };
                    let (source, target) = (Path::new(source), Path::new(target));
                    let done = session.decrypt_file(source, target, by).await?;
                    Ok(json!({"size": done.sizes.plain}))
                }
                ["revoke", label, who] => {
                    let revoked = session.revoke(&label.parse().unwrap(), who).await?;
                    Ok(json!({"revoked": revoked.len()}))
                }
                _ => panic!("{words:?}"),
            }
        })
    }

    fn by_kms_cli(&self, words: &[&str]) -> Value {
        match *words {
            ["share", source, target, terms] => {
                let done = self.kmsd.cli(&["encrypt_file", source, target]);
                let label = done["label"].as_str().unwrap();
                let granted = self.kmsd.cli(&["grant", label, terms]);
                json!({"label": label, "ticket": granted["grants"][0]["ticket"]})
            }
            ["open", source, target, ticket] => {
                let output = self.kmsd.output(&["decrypt_file", source, target, ticket]);
                match output.status.code() {
                    Some(0) => serde_json::from_slice(&output.stdout).unwrap(),
                    Some(106) => {
                        json!({"error": "REVOKED", "errno": Errno::KEYREVOKED.raw_os_error()})
                    }
                    _ => panic!("{}", String::from_utf8_lossy(&output.stderr)),
                }
            }
            ["revoke", label, who] => self.kmsd.cli(&["revoke", label, who]),
            _ => panic!("{words:?}"),
        }
    }
}

/// All at once: each mostly waits.
fn in_every_language(check: impl Fn(&str) + Sync) {
    std::thread::scope(|scope| {
        for language in LANGUAGES {
            scope.spawn(|| check(language));
        }
    });
}

#[test]
fn whatever_language_shares_every_language_opens_until_it_is_withdrawn() {
    let root = tempfile::tempdir().unwrap();
    let net = Devnet::start(root.path(), 5);
    let packages = packages(root.path());
    let (alice, bob) = (
        Person::on(&net, root.path(), "alice"),
        Person::on(&net, root.path(), "bob"),
    );
    alice.key();
    let bobs_key = bob.key();
    let (hers, his) = (
        Actor::new(&alice, &net, &packages),
        Actor::new(&bob, &net, &packages),
    );
    hers.kmsd.cli(&["contact_add", "bob", &bobs_key]);
    let at = |name: String| root.path().join(name);
    let plain = at("plain".to_owned());
    let content: Vec<u8> = (0..16u32 << 20).flat_map(u32::to_le_bytes).collect();
    fs::write(&plain, &content).unwrap();
    for owner in LANGUAGES {
        let sealed = at(format!("sealed-{owner}"));
        let terms = "bob ttl=1h m=3/5";
        let shared = hers.act(owner, &["share", text(&plain), text(&sealed), terms]);
        let told = |name: &str| {
            let it = shared[name].as_str();
            it.unwrap_or_else(|| panic!("{owner}: {shared}")).to_owned()
        };
        let (label, ticket) = (told("label"), told("ticket"));
        in_every_language(|reader| {
            let back = at(format!("back-{owner}-{reader}"));
            let opened = his.act(reader, &["open", text(&sealed), text(&back), &ticket]);
            assert_eq!(
                opened["size"],
                content.len(),
                "{owner} to {reader}: {opened}"
            );
            assert!(fs::read(&back).unwrap() == content, "{owner} to {reader}");
            fs::remove_file(&back).unwrap();
        });
        hers.act(owner, &["revoke", &label, "bob"]);
        in_every_language(|reader| {
            let never = at(format!("never-{owner}-{reader}"));
            let refused = his.act(reader, &["open", text(&sealed), text(&never), &ticket]);
            let expected = json!({"error": "REVOKED", "errno": Errno::KEYREVOKED.raw_os_error()});
            assert_eq!(refused, expected, "{owner} to {reader}");
            assert!(!never.exists());
        });
        fs::remove_file(&sealed).unwrap();
    }
}
