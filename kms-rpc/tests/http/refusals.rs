//! What is refused before anything is called (API §4.1), and that the server is as before.

use serde_json::json;

use crate::{Kmsd, Lines, basic, set, unset};

const UPTIME: &str = r#"{"method": "uptime", "id": 1}"#;

#[test]
fn requests_that_nobody_here_has_made_are_refused() {
    let kmsd = Kmsd::start();
    let port = kmsd.port;
    let status = |change: &dyn Fn(&mut Lines)| {
        let answer = kmsd.post(UPTIME, change);
        assert!(
            answer.head.contains("cache-control: no-store"),
            "{answer:?}"
        );
        assert!(!answer.head.contains("access-control"), "{answer:?}");
        answer.status
    };
    assert_eq!(status(&|_| ()), 200);
    let host = format!("localhost:{port}");
    assert_eq!(status(&|it| set(it, "Host", &host)), 200);
    for host in ["evil.example", "evil.example:80", "127.0.0.1:1", ""] {
        assert_eq!(status(&|it| set(it, "Host", host)), 403, "{host}");
    }
    for origin in ["http://evil.example", "null", "http://127.0.0.1:9470"] {
        assert_eq!(status(&|it| set(it, "Origin", origin)), 403, "{origin}");
    }
    assert_eq!(status(&|it| set(it, "Sec-Fetch-Site", "cross-site")), 403);
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "",
    ] {
        assert_eq!(status(&|it| set(it, "Content-Type", kind)), 415, "{kind}");
    }
    assert_eq!(status(&|it| unset(it, "Content-Type")), 415);
    assert_eq!(
        status(&|it| set(it, "Content-Type", "application/json; charset=utf-8")),
        200
    );

    for wrong in ["__cookie__:", "__cookie__:00", "alice:secret", ":", ""] {
        assert_eq!(
            status(&|it| set(it, "Authorization", &basic(wrong))),
            401,
            "{wrong}"
        );
    }
    let answer = kmsd.post(UPTIME, |it| unset(it, "Authorization"));
    assert_eq!(answer.status, 401);
    assert!(
        answer
            .head
            .contains("www-authenticate: basic realm=\"jsonrpc\"")
    );
    // No browser is ever asked for a password.
    let answer = kmsd.post(UPTIME, |it| {
        unset(it, "Authorization");
        set(it, "Origin", "http://evil.example");
    });
    assert_eq!(answer.status, 403);
    assert!(!answer.head.contains("www-authenticate"));

    let lines = [("Host".to_owned(), format!("127.0.0.1:{port}"))];
    for (first, expected) in [
        ("GET / HTTP/1.1", 405),
        ("OPTIONS / HTTP/1.1", 405),
        ("PUT / HTTP/1.1", 405),
        ("POST /wallet HTTP/1.1", 404),
    ] {
        assert_eq!(kmsd.raw(first, &lines, b"").status, expected, "{first}");
    }
    assert_eq!(kmsd.raw("nonsense", &[], b"").status, 400);
}

#[test]
fn what_is_too_much_is_refused_and_the_server_goes_on() {
    let kmsd = Kmsd::start();
    let long = " ".repeat(5 << 20);
    assert_eq!(kmsd.post(&long, |_| ()).status, 413);
    let deep = format!(
        r#"{{"method": "uptime", "params": {}{}}}"#,
        "[".repeat(65),
        "]".repeat(65)
    );
    let answer = kmsd.post(&deep, |_| ());
    assert_eq!(
        (answer.status, answer.json()["error"]["code"].as_i64()),
        (500, Some(-32700))
    );
    let deeper = "[".repeat(1 << 20);
    assert_eq!(kmsd.post(&deeper, |_| ()).json()["error"]["code"], -32700);
    let many = json!(vec![json!({"method": "uptime", "id": 1}); 101]);
    assert_eq!(kmsd.post(&many.to_string(), |_| ()).status, 400);
    let answer = kmsd.post(UPTIME, |it| set(it, "X-Long", &"x".repeat(64 << 10)));
    assert_eq!(answer.status, 431);
    assert_eq!(kmsd.post(UPTIME, |_| ()).status, 200);
}

#[test]
fn more_connections_than_allowed_are_turned_away_until_some_end() {
    let kmsd = Kmsd::start();
    let open: Vec<_> = (0..64)
        .map(|_| {
            use std::io::Write;
            let mut stream = std::net::TcpStream::connect(("127.0.0.1", kmsd.port)).unwrap();
            stream.write_all(b"POST / HTTP/1.1\r\n").unwrap();
            stream
        })
        .collect();
    while kmsd.post(UPTIME, |_| ()).status != 503 {}
    drop(open);
    while kmsd.post(UPTIME, |_| ()).status != 200 {}
}

#[test]
fn a_user_may_call_what_is_on_the_list() {
    let (line, password) = kms_rpc::auth::generate("alice");
    let kmsd = Kmsd::start_with(&[
        &format!("-rpcauth={line}"),
        "-rpcwhitelist=alice:uptime,help",
    ]);
    let alice = basic(&format!("alice:{}", password.as_str()));
    let status = |body: &str| {
        kmsd.post(body, |it| set(it, "Authorization", &alice))
            .status
    };
    assert_eq!(status(UPTIME), 200);
    assert_eq!(status(r#"{"method": "stop"}"#), 403);
    assert_eq!(status(r#"[{"method": "uptime"}, {"method": "stop"}]"#), 403);
    let wrong = basic(&format!("alice:{}x", password.as_str()));
    assert_eq!(
        kmsd.post(UPTIME, |it| set(it, "Authorization", &wrong))
            .status,
        401
    );
    assert_eq!(
        kmsd.call("stop", json!([])).status,
        200,
        "the cookie may do everything"
    );
}
