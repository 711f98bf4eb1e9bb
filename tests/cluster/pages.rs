//! A page in a real browser opens what somebody has shared over five real nodes, through a gateway, until it is withdrawn;
//! and what a gateway can do to it that lies.
//!
//! Needs the package that `scripts/browser` builds.

mod site;

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use kms_tests::browser::Browser;
use kms_tests::{Devnet, Person, port};
use rustix::io::Errno;
use serde_json::{Value, json};

use self::site::{Site, post};
use crate::api::{Kmsd, text};
use crate::printed::printed;

/// What a page is given of somebody: the identity file and its passphrase.
fn identity(person: &Person) -> Value {
    person.key();
    let file = fs::read_to_string(person.home().join("identity")).unwrap();
    let passphrase = fs::read_to_string(person.dir.join("passphrase")).unwrap();
    json!({"file": file, "passphrase": passphrase.trim()})
}

fn sha256(path: &Path) -> String {
    let output = Command::new("sha256sum").arg(path).output().unwrap();
    let line = String::from_utf8(output.stdout).unwrap();
    line.split(' ').next().unwrap().to_owned()
}

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

#[test]
fn a_page_opens_what_was_shared_through_a_gateway_until_it_is_withdrawn() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/browser/package");
    assert!(
        package.join("kms.wasm").exists(),
        "the package is not built: scripts/browser"
    );
    let root = tempfile::tempdir().unwrap();
    let net = Devnet::start(root.path(), 5);
    let (alice, bob) = (
        Person::on(&net, root.path(), "alice"),
        Person::on(&net, root.path(), "bob"),
    );
    let at = |name: &str| root.path().join(name);
    let (plain, sealed) = (at("film"), at("film.sealed"));
    // Eleven pages of tags, and one above them.
    let content: Vec<u8> = (0..5u32 << 18).flat_map(u32::to_le_bytes).collect();
    fs::write(&plain, &content[..content.len() - 7]).unwrap();

    let gateway = format!("127.0.0.1:{}", port());
    let (own, foreign) = (listener(), listener());
    let origin = format!("http://{}", own.local_addr().unwrap());
    let hers = Kmsd::with(
        &alice,
        &net,
        &[
            &format!("-gateway={gateway}"),
            &format!("-gatewayorigin={origin}"),
        ],
    );
    hers.cli(&["contact_add", "bob", &bob.key()]);
    let done = hers.cli(&["encrypt_file", text(&plain), text(&sealed)]);
    let label = done["label"].as_str().unwrap();
    let granted = hers.cli(&["grant", label, "bob ttl=1h m=3/5"]);
    let ticket = granted["grants"][0]["ticket"].as_str().unwrap();

    let site = Site::start(own, &sealed, &gateway);
    let browser = Browser::open(&at("profile-1"), &[], &format!("{origin}/page.html"));
    site.is_ready();
    let url = format!("http://{gateway}");
    let options = |gateway: &str| json!({"ticket": ticket, "gateway": gateway, "timeout": 30});
    let open =
        |gateway: &str| json!({"deed": "open", "who": identity(&bob), "options": options(gateway)});
    let with = |mut deed: Value, name: &str, value: Value| {
        deed[name] = value;
        deed
    };

    let opened = site.does(open(&url));
    let expected = sha256(&plain);
    assert_eq!(opened["hash"], expected, "{opened}");
    assert_eq!(opened["owner"], alice.key());
    assert_eq!(opened["me"], bob.key());
    assert_eq!(
        (&opened["label"], &opened["size"]),
        (&done["label"], &done["size"])
    );
    let pieces = &opened["pieces"];
    assert_eq!(pieces, 12, "what is in the header, and eleven pages");
    assert!(opened["largest"].as_u64().unwrap() <= 126 * 4096);
    for read in ["blob", "bytes"] {
        let opened = site.does(with(open(&url), "read", read.into()));
        assert_eq!(opened["hash"], expected, "{opened}");
    }

    let program = printed("BROWSER.md", "js").replace("https://gateway.example", &url);
    let who = identity(&bob);
    let given =
        json!({"identityFile": who["file"], "passphrase": who["passphrase"], "ticket": ticket});
    let shown = site.does(json!({"deed": "printed", "program": program, "given": given}));
    let said = format!("{} bytes by {}", done["size"], alice.key());
    assert_eq!(shown, json!({"hash": expected, "said": [said]}));

    // Who may not, and what was altered.
    let mut wrong = open(&url);
    wrong["who"]["passphrase"] = "another".into();
    let refused = site.does(wrong);
    assert_eq!(refused["error"], "WRONG_PASSPHRASE");
    assert_eq!(refused["errno"], -(Errno::ACCESS.raw_os_error()));
    let not_his = with(open(&url), "who", identity(&alice));
    assert_eq!(site.does(not_his)["error"], "NOT_FOR_YOU");
    for change in ["flipped", "cut", "longer"] {
        let refused = site.does(with(open(&url), "change", change.into()));
        assert_eq!(refused["error"], "TAMPERED", "{change}: {refused}");
    }
    let aborted = site.does(with(open(&url), "deed", "abort".into()));
    assert_eq!(aborted["message"], "enough", "{aborted}");

    // A gateway that lies is found out: it can keep answers back, and say nothing in somebody else's name.
    for (manner, error) in [
        ("altered", "BAD_PROOFS"),
        ("revoked", "NO_QUORUM"),
        ("noise", "BAD_PROOFS"),
    ] {
        let refused = site.does(open(&format!("{origin}/lying/{manner}")));
        assert_eq!(refused["error"], error, "{manner}: {refused}");
        assert_eq!(refused["data"]["needed"], 3);
    }
    let passed_on = site.does(open(&format!("{origin}/lying/nothing")));
    assert_eq!(passed_on["hash"], expected);

    // What pages are not for.
    let knock = |path: &str, method: &str| json!({"deed": "knock", "url": format!("{url}{path}"), "method": method});
    assert_eq!(site.does(knock("/", "POST"))["status"], 404);
    let peers = hers.cli(&["getpeerinfo"]);
    let path = format!("/v1/node/{}", peers[0]["node"].as_str().unwrap());
    assert_eq!(site.does(knock(&path, "GET"))["status"], 405);
    assert_eq!(site.does(knock(&path, "POST"))["status"], 415);
    let (head, _) = post(&gateway, &path, &origin, b"no request");
    assert!(head.starts_with("http/1.1 400 "), "{head}");

    // A page from elsewhere gets nothing, whatever it asks.
    let elsewhere = Site::start(foreign, &sealed, &gateway);
    let page = format!("http://{}/page.html", elsewhere.address);
    let other = Browser::open(&at("profile-2"), &[], &page);
    elsewhere.is_ready();
    assert_eq!(elsewhere.does(open(&url))["error"], "NO_NETWORK");
    assert_eq!(elsewhere.does(knock(&path, "POST"))["error"], "TypeError");
    drop(other);
    let foreign = format!("http://{}", elsewhere.address);
    for origin in [
        foreign.as_str(),
        "null",
        "*",
        &format!("{origin}.evil.test"),
    ] {
        let (head, body) = post(&gateway, &path, origin, b"");
        assert!(head.starts_with("http/1.1 403 "), "{origin}: {head}");
        assert!(!head.contains("access-control-"), "{head}");
        assert_eq!(body, b"This gateway does not serve that page\n");
    }

    hers.cli(&["revoke", label, "bob"]);
    let refused = site.does(open(&url));
    assert_eq!(refused["error"], "REVOKED", "{refused}");
    assert!(
        refused["data"]["at"].as_u64().unwrap() > 1_700_000_000,
        "{refused}"
    );
    drop(browser);
}
