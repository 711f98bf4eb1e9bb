//! Random requests to `kmsd`, made from its own OpenRPC document: right, nearly right, of wrong types, torn, with wrong
//! credentials, by the batch. Behind it are a real identity, real nodes and a ledger.
//!
//! Each answer has to be one of the catalogue (API §3, §4) and must not contain a secret; the daemon has to be there at the
//! end, to have grown no more than it may, and to have logged no secret.
//!
//! `KMS_RPC_FUZZ_CASES` says how many requests each of the workers sends, `KMS_SEED` with which seed: with the same one,
//! each worker asks the same again, but for what the daemon itself has chosen (labels, tickets, keys).

mod chance;
mod shapes;
mod torn;
mod wire;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::thread;

use data_encoding::BASE64;
use kms_tests::{Devnet, Person};
use serde_json::{Value, json};

use self::chance::Rng;
use self::shapes::{CANARY, CANARY_HEX, Shapes};
use self::wire::{Answer, Wire};
use crate::api::Kmsd;

const WORKERS: u64 = 4;
const CASES: u64 = 200;
/// The most memory the daemon may ever have used: four bodies and their answers, one passphrase, sixteen threads.
const MAX_RSS_KIB: u64 = 512 << 10;
const MAX_FILES: usize = 200;
/// What never comes: a defect.
const INTERNAL: i64 = -32603;
/// JSON-RPC's own numbers.
const PROTOCOL: [i64; 3] = [-32700, -32600, -32601];

/// How often each outcome came.
type Outcomes = Mutex<BTreeMap<String, u64>>;

/// What every worker needs.
struct Target {
    wire: Wire,
    document: Value,
    codes: BTreeMap<i64, String>,
    outcomes: Outcomes,
    /// What the daemon gave away by right, and must not write down.
    secrets: Mutex<Vec<String>>,
}

fn number(name: &str, default: u64) -> u64 {
    let set = std::env::var(name).ok();
    set.map_or(default, |text| text.parse().expect("a number"))
}

#[test]
fn whatever_is_asked_it_answers_by_the_catalogue_and_tells_no_secret() {
    let seed = number("KMS_SEED", 1);
    let cases = number("KMS_RPC_FUZZ_CASES", CASES);
    println!("KMS_SEED={seed} KMS_RPC_FUZZ_CASES={cases}");
    let root = tempfile::tempdir().unwrap();
    let net = Devnet::start(root.path(), 3);
    let alice = Person::on(&net, root.path(), "alice");
    let kmsd = Kmsd::with(
        &alice,
        &net,
        &[
            "-debug=1",
            "-timeout=2",
            "-threshold=2/3",
            "-rpcservertimeout=2",
        ],
    );
    let target = Target::new(&kmsd, &alice);
    prepare(&kmsd, root.path());

    thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| {
                let (target, files) = (&target, root.path().join("files"));
                scope.spawn(move || work(target, Rng::new(seed, worker), &files, cases))
            })
            .collect();
        for (number, worker) in workers.into_iter().enumerate() {
            worker.join().unwrap_or_else(|_| {
                panic!("worker {number} has found something: KMS_SEED={seed} KMS_RPC_FUZZ_CASES={cases}")
            });
        }
    });

    println!("{:#?}", target.outcomes.lock().unwrap());
    // By far the most of the catalogue, and real grants among it.
    let outcomes = target.outcomes.lock().unwrap();
    assert!(outcomes.len() > 30 && outcomes.contains_key("shared"));
    drop(outcomes);
    assert_eq!(
        kmsd.cli(&["getnetworkinfo"])["answering"],
        3,
        "it serves as before"
    );
    let status = fs::read_to_string(format!("/proc/{}/status", kmsd.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak: u64 = peak
        .unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap();
    println!("the most memory: {peak} KiB");
    assert!(peak < MAX_RSS_KIB, "{peak} KiB");
    // Only root looks into a process that keeps secrets.
    if let Ok(files) = fs::read_dir(format!("/proc/{}/fd", kmsd.pid())) {
        let files = files.count();
        assert!(files < MAX_FILES, "{files} files are open");
    }
    let log = fs::read_to_string(alice.home().join("debug.log")).unwrap();
    let passphrase = fs::read_to_string(alice.dir.join("passphrase")).unwrap();
    let secrets = target.secrets.lock().unwrap();
    let secrets = secrets.iter().map(String::as_str);
    for secret in secrets.chain([CANARY, CANARY_HEX, &target.wire.cookie, passphrase.trim()]) {
        assert!(!log.contains(secret), "the log contains {secret}");
    }
    assert!(!log.contains("a defect") && !log.contains("panicked"));
}

/// Another identity, a contact, and files of every kind.
fn prepare(kmsd: &Kmsd, root: &Path) {
    let made = kmsd.cli(&["generate_key", shapes::BOBS_PASSPHRASE, "bob"]);
    kmsd.cli(&["contact_add", "bob", made["identity"].as_str().unwrap()]);
    let files = root.join("files");
    fs::create_dir_all(files.join("directory")).unwrap();
    fs::write(files.join("plain"), vec![7; 300_000]).unwrap();
    fs::write(files.join("empty"), "").unwrap();
    std::os::unix::fs::symlink("loop", files.join("loop")).unwrap();
    nix::unistd::mkfifo(&files.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
}

impl Target {
    fn new(kmsd: &Kmsd, alice: &Person) -> Self {
        let cookie = fs::read_to_string(alice.home().join(".cookie")).unwrap();
        let wire = Wire {
            port: kmsd.port(),
            cookie,
        };
        let document = kmsd.cli(&["rpc.discover"]);
        let errors = document["methods"][0]["errors"].as_array().unwrap();
        let code = |it: &Value| {
            let name = it["message"].as_str().unwrap().to_owned();
            (it["code"].as_i64().unwrap(), name)
        };
        let codes = errors.iter().map(code).collect();
        Self {
            wire,
            codes,
            document,
            outcomes: Mutex::default(),
            secrets: Mutex::default(),
        }
    }

    fn count(&self, outcome: String) {
        *self.outcomes.lock().unwrap().entry(outcome).or_default() += 1;
    }

    /// What a result has of secrets.
    fn keep_secret(&self, result: &Value) {
        for name in ["key", "recovery_words"] {
            if let Some(secret) = result[name].as_str() {
                self.secrets.lock().unwrap().push(secret.to_owned());
            }
        }
    }

    /// Checks one answer to `asked`.
    #[track_caller]
    fn check(&self, asked: &[u8], answer: &Answer) {
        let shown = || {
            let asked = String::from_utf8_lossy(asked);
            format!(
                "{}\nto {}",
                answer.shown(),
                asked.chars().take(4000).collect::<String>()
            )
        };
        let documented = [
            200, 204, 400, 401, 403, 404, 405, 408, 413, 415, 431, 500, 503,
        ];
        assert!(documented.contains(&answer.status), "{}", shown());
        for secret in [CANARY, CANARY_HEX, &self.wire.cookie] {
            assert!(!answer.body.contains(secret), "{secret} is in {}", shown());
        }
        match (answer.json(), answer.status) {
            (Some(Value::Array(list)), 200) => list.iter().for_each(|it| self.one(it, &shown)),
            (Some(one), _) => self.one(&one, &shown),
            (None, 200 | 500) => panic!("neither a result nor an error: {}", shown()),
            (None, status) => self.count(format!("HTTP {status}")),
        }
    }

    fn one(&self, document: &Value, shown: &dyn Fn() -> String) {
        let error = &document["error"];
        if error.is_null() {
            assert!(document.get("result").is_some(), "{}", shown());
            return;
        }
        let code = error["code"].as_i64().unwrap_or(INTERNAL);
        let known = self.codes.get(&code);
        assert!(code != INTERNAL, "a defect: {}", shown());
        assert!(
            known.is_some() || PROTOCOL.contains(&code),
            "{code}: {}",
            shown()
        );
        assert!(
            error["message"].as_str().is_some_and(|it| !it.is_empty()),
            "{}",
            shown()
        );
        if let Some(name) = known {
            assert_eq!(error["data"]["name"], **name, "{}", shown());
            let errno = error["data"]["errno"].as_str();
            assert!(errno.is_some_and(|it| it.starts_with('E')), "{}", shown());
        }
        self.count(known.cloned().unwrap_or_else(|| code.to_string()));
    }
}

/// One worker's requests.
fn work(target: &Target, rng: Rng, files: &Path, cases: u64) {
    let mut shapes = Shapes::new(rng, &target.document, files);
    for case in 0..cases {
        if case % 50 == 0 {
            restore(target, &mut shapes);
        }
        let wire = &target.wire;
        match shapes.rng.below(20) {
            0..10 => call(target, &mut shapes),
            10..12 => {
                let body = shapes.batch().to_string();
                target.check(body.as_bytes(), &wire.post(body.as_bytes()));
            }
            12..14 => {
                let body = shapes.odd_request().to_string();
                target.check(body.as_bytes(), &wire.post(body.as_bytes()));
            }
            14..16 => {
                let whole = shapes.call().1.to_string();
                let body = shapes.torn(whole.into_bytes());
                target.check(&body, &wire.post(&body));
            }
            16 => {
                let request = wire.refused(&mut shapes);
                let answer = wire.send(&request, false).expect("an answer");
                assert_ne!(answer.status, 200, "{}", String::from_utf8_lossy(&request));
                target.check(&request, &answer);
            }
            _ => {
                let body = shapes.call().1.to_string();
                let request = shapes.torn_http(wire.request(body.as_bytes()));
                // What is not HTTP at all need not be answered.
                if let Some(answer) = wire.send(&request, true) {
                    target.check(&request, &answer);
                }
            }
        }
    }
}

/// A call that is right or nearly so; what it gives is used in later ones.
fn call(target: &Target, shapes: &mut Shapes<'_>) {
    let (method, request) = shapes.call();
    let body = request.to_string();
    let answer = target.wire.post(body.as_bytes());
    target.check(body.as_bytes(), &answer);
    let Some(document) = answer.json() else {
        return;
    };
    if document["error"].is_null() {
        target.count(format!("{method}: ok"));
        shapes.learn(&document["result"]);
    }
    target.keep_secret(&document["result"]);
}

/// Puts right what chance has made impossible: a locked identity, a contact that is gone, a grant that was withdrawn.
fn restore(target: &Target, shapes: &mut Shapes<'_>) {
    let call = |method: &str, params: Value| {
        let body = json!({"method": method, "params": params}).to_string();
        target.wire.post(body.as_bytes()).json().unwrap()["result"].take()
    };
    let known = call("identities", json!([]));
    let list = known["identities"].as_array().unwrap();
    let of = |name: &str| list.iter().find(|it| it["name"] == name).unwrap();
    for (name, passphrase) in [
        ("default", shapes::ALICES_PASSPHRASE),
        ("bob", shapes::BOBS_PASSPHRASE),
    ] {
        if of(name)["unlocked"] == false {
            call("unlock", json!([passphrase, 0, name]));
        }
    }
    call("contact_add", json!(["bob", of("bob")["identity"]]));
    let sealed = call("encrypt", json!([BASE64.encode(b"shared")]));
    let granted = call("grant", json!([sealed["label"], "bob ttl=1h m=2/3"]));
    let ticket = &granted["grants"][0]["ticket"];
    let key = call("decrypt_key", json!([sealed["sealed"], ticket, "bob"]));
    // Another worker may have locked an identity in between: then there is none this time.
    if key.is_null() {
        shapes.shared.clear();
        return;
    }
    target.keep_secret(&key);
    target.count("shared".to_owned());
    let policy = &granted["grants"][0]["policy"];
    let shared = [
        ("sealed", &sealed["sealed"]),
        ("label", &sealed["label"]),
        ("ticket", ticket),
        ("policy", policy),
    ];
    shapes.shared = shared
        .map(|(name, it)| (name, it.as_str().unwrap().to_owned()))
        .into();
}
