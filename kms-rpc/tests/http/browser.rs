//! A real browser whose user has opened a hostile page: nothing that a page can make it send is executed, and nothing
//! comes back into the page.
//!
//! The pages are in `browser/`. Between the browser and the daemon stands a [`Tap`], which shows that the requests did
//! arrive and how they were answered.

mod site;
mod tap;

use std::process::Stdio;
use std::time::Duration;

use kms_tests::browser::{Browser, chromium};
use kms_tests::port;
use serde_json::{Map, Value, json};

use self::site::Site;
use self::tap::Tap;
use crate::Kmsd;

/// How long a page may take for everything on a busy machine.
const WITHIN: Duration = Duration::from_secs(120);
/// Windows open, and the foreign page's name is an address of this machine.
const OPTIONS: [&str; 2] = [
    "--disable-popup-blocking",
    "--host-resolver-rules=MAP evil.test 127.0.0.3",
];

/// What the browser must have sent, in small letters.
const SENT: &[&str] = &[
    "options / http/1.1",
    "get / http/1.1",
    "put / http/1.1",
    "upgrade: websocket",
    "origin: null",
    "content-type: application/x-www-form-urlencoded",
    "content-type: multipart/form-data",
    "content-type: text/ping",
    "sec-fetch-dest: image",
    "sec-fetch-dest: script",
    "sec-fetch-dest: iframe",
    "sec-fetch-site: none",
    "host: evil.localhost",
    "host: evil.test",
    "accept: text/event-stream",
    r#"{"method":"generate_key","params":["pwned","n"],"id":"="}"#,
];

/// No answer came into the page but refusals, and those only where the page is of the daemon's own origin.
#[track_caller]
fn got_nothing(page: &str, seen: &Value, may_see_refusals: bool) {
    let seen: &Map<String, Value> = seen.as_object().unwrap();
    for (name, outcome) in seen {
        let outcome = outcome.as_str().unwrap();
        let is_refusal = may_see_refusals && outcome.starts_with("read 403 ");
        let is_answer = outcome.starts_with("read") || outcome.contains("__cookie__");
        let is_own = name == "own server";
        assert!(
            !is_answer || is_refusal || is_own,
            "{page} has read something by {name}: {outcome}"
        );
    }
}

#[test]
fn no_page_gets_anything_out_of_it_by_its_readers_browser() {
    // The daemon is where the browser does not look, and the tap in its place.
    let port = port();
    let tap = Tap::start(port);
    let kmsd = Kmsd::start_on(
        port,
        &["-rpcbind=127.0.0.2", "-rpcallowip=127.0.0.1", "-debug=1"],
    );
    let cookie = kmsd.cookie();
    let called = || {
        let log = std::fs::read_to_string(kmsd.at("debug.log")).unwrap();
        log.matches("called").count()
    };
    let before = (called(), tap.take().len());
    assert!(before.0 > 0 && before.1 > 0, "both see an honest request");

    let own = Site::start("127.0.0.1:0", None);
    let renamed = Site::start(&format!("127.0.0.3:{port}"), Some(port));
    let query = format!(
        "port={port}&file={}&cookie={cookie}&report=http://{}/report",
        kmsd.at(".cookie").display(),
        own.address
    );
    let downloaded = kmsd.at("downloads");
    std::fs::create_dir(&downloaded).unwrap();
    site::PAGES.iter().for_each(|(name, text)| {
        std::fs::write(downloaded.join(name.trim_start_matches('/')), text).unwrap();
    });
    let foreign = format!("http://{}/foreign.html?{query}", own.address);
    let opened = format!("file://{}/opened.html?{query}", downloaded.display());
    let browsers = [
        Browser::open(&kmsd.at("profile-1"), &OPTIONS, &foreign),
        Browser::open(&kmsd.at("profile-2"), &OPTIONS, &opened),
    ];
    // What the user himself types is answered, but not by a result.
    let mut typed = chromium(
        &kmsd.at("profile-3"),
        &OPTIONS,
        &format!("http://127.0.0.1:{port}/"),
    );
    let typed = typed
        .arg("--dump-dom")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let reports = own.reports(3, WITHIN);
    tap.wait_for(SENT, WITHIN);
    drop((browsers, renamed));
    let shown = typed.wait_with_output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("handles only POST"), "{shown}");

    for page in ["foreign", "rebound"] {
        assert_eq!(reports[page]["own server"], "read 200 yes", "{page}");
    }
    got_nothing("a foreign page", &reports["foreign"], false);
    got_nothing("a downloaded page", &reports["opened"], false);
    got_nothing(
        "a page with another name for the daemon",
        &reports["rebound"],
        true,
    );
    let rebound = reports["rebound"]["evil.test json"].as_str().unwrap();
    assert!(
        rebound.starts_with("read 403 "),
        "it did come there: {rebound}"
    );

    // It was all asked, and all refused.
    let seen = tap.take();
    for exchange in &seen {
        for status in exchange.statuses() {
            assert!(
                matches!(status, "400" | "403" | "404" | "405"),
                "{status}: {}\n{}",
                exchange.asked,
                exchange.answered
            );
        }
        let answered = exchange.answered.to_ascii_lowercase();
        for never in ["\"result\"", "access-control-", "www-authenticate"] {
            assert!(!answered.contains(never), "{answered}");
        }
    }
    assert_eq!(called(), before.0, "nothing was executed");

    // The very same words from somebody with the cookie, and no page behind them, are executed.
    assert_eq!(
        kmsd.result("identities", json!([]))["identities"],
        json!([])
    );
    let answer = kmsd.post(
        r#"{"method":"generate_key","params":["pwned","n"],"id":"="}"#,
        |_| (),
    );
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(called(), before.0 + 2);
}
