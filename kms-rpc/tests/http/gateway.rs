//! The gateway for pages, as far as that goes without a network of nodes: who is served, and with what.

use kms_crypto::key::NodeSecret;
use kms_tests::port;

use crate::{Answer, Kmsd, Lines, raw, set, unset};

const PAGE: &str = "https://app.example";

/// A daemon with a gateway.
struct Gateway {
    kmsd: Kmsd,
    port: u16,
}

impl Gateway {
    fn start() -> Self {
        let port = port();
        let kmsd = Kmsd::start_with(&[
            &format!("-gateway=127.0.0.1:{port}"),
            &format!("-gatewayorigin={PAGE}"),
            "-gatewayorigin=http://localhost:8000",
            "-gatewayrate=2",
        ]);
        Self { kmsd, port }
    }

    /// A request that lacks nothing but what is taken away or added.
    fn ask(&self, first: &str, body: &[u8], change: impl FnOnce(&mut Lines)) -> Answer {
        let mut lines = vec![
            ("Host".to_owned(), format!("127.0.0.1:{}", self.port)),
            ("Origin".to_owned(), PAGE.to_owned()),
            (
                "Content-Type".to_owned(),
                "application/octet-stream".to_owned(),
            ),
            ("Content-Length".to_owned(), body.len().to_string()),
        ];
        change(&mut lines);
        raw(self.port, &format!("{first} HTTP/1.1"), &lines, body)
    }
}

fn node() -> String {
    let mut rng = rand_core::UnwrapErr(getrandom::SysRng);
    let key = NodeSecret::generate(&mut rng).public();
    format!("/v1/node/{key}")
}

#[test]
fn only_pages_of_the_list_are_served_and_only_with_what_they_are_for() {
    let gateway = Gateway::start();
    let post = format!("POST {}", node());

    let strangers = [
        "https://evil.example",
        "https://app.example.evil.example",
        "http://app.example",
        "https://app.example:8443",
        "https://APP.example",
        "null",
        "*",
        "",
    ];
    for origin in strangers {
        for first in [&*post, "OPTIONS /v1/node/kms1", "GET /", "POST /"] {
            let answer = gateway.ask(first, b"", |it| set(it, "Origin", origin));
            assert_eq!(answer.status, 403, "{origin:?}: {answer:?}");
            assert!(!answer.head.contains("access-control-"), "{answer:?}");
        }
    }
    assert_eq!(
        gateway.ask(&post, b"", |it| unset(it, "Origin")).status,
        403
    );
    let twice = |lines: &mut Lines| lines.push(("Origin".into(), "https://evil.example".into()));
    assert_eq!(gateway.ask(&post, b"", twice).status, 403);

    // What a browser asks first.
    let preflight = gateway.ask(&post.replace("POST", "OPTIONS"), b"", |_| ());
    assert_eq!(preflight.status, 204, "{preflight:?}");
    for line in [
        "access-control-allow-origin: https://app.example\r\n",
        "access-control-allow-methods: post\r\n",
        "access-control-allow-headers: content-type\r\n",
        "vary: origin\r\n",
    ] {
        assert!(preflight.head.contains(line), "{line}: {preflight:?}");
    }
    assert!(!preflight.head.contains("credentials"), "{preflight:?}");

    let refusals = [
        ("POST /", 404),
        ("POST /v1/node/", 404),
        ("POST /v1/node/kms1qqqq", 404),
        ("POST /v1/node/../../", 404),
        (&*post.replace("POST", "PUT"), 405),
        (&*post.replace("POST", "GET"), 405),
    ];
    for (first, status) in refusals {
        let answer = gateway.ask(first, b"", |_| ());
        assert_eq!(answer.status, status, "{first}: {answer:?}");
        let allowed = "access-control-allow-origin: https://app.example\r\n";
        assert!(answer.head.contains(allowed), "{answer:?}");
        assert!(
            answer.head.contains("cache-control: no-store"),
            "{answer:?}"
        );
    }
    let text = gateway.ask(&post, b"", |it| set(it, "Content-Type", "text/plain"));
    assert_eq!(text.status, 415);
    assert_eq!(
        gateway
            .ask(&post, b"", |it| unset(it, "Content-Type"))
            .status,
        415
    );
    let long = gateway.ask(&post, &vec![0; 16 * 1024 + 1], |it| {
        set(it, "Origin", "http://localhost:8000");
    });
    assert_eq!(long.status, 413, "{long:?}");
    // There is no network here to pass anything on to.
    assert_eq!(gateway.ask(&post, b"anything", |_| ()).status, 503);

    // Two requests a second, twenty at once; by address, whatever the page.
    let statuses: Vec<u16> = (0..30)
        .map(|_| gateway.ask(&post, b"", |_| ()).status)
        .collect();
    assert!(statuses.contains(&429), "{statuses:?}");

    // The daemon's own port serves no page, those of the list included.
    let answer = gateway
        .kmsd
        .post(r#"{"method":"uptime"}"#, |it| set(it, "Origin", PAGE));
    assert_eq!(answer.status, 403);
}

#[test]
fn a_gateway_for_nobody_or_for_everybody_does_not_start() {
    for (options, said) in [
        (&["-gateway"][..], "-gatewayorigin"),
        (
            &["-gateway", "-gatewayorigin=*"],
            "an origin as browsers write it",
        ),
        (
            &["-gateway=here", "-gatewayorigin=https://app.example"],
            "an address",
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let output = crate::kmsd(dir.path(), port())
            .args(options)
            .output()
            .unwrap();
        assert!(!output.status.success());
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(said), "{error}");
    }
}
