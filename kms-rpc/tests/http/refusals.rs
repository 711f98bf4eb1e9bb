//! What is refused before anything is called (API §4.1), and that the server is as before.

use std::io::{Read, Write};
use std::net::TcpStream;

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
        ("POST http://evil.example/ HTTP/1.1", 403),
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
    let kmsd = Kmsd::start_with(&["-rpcthreads=1", "-rpcworkqueue=1"]);
    let open: Vec<_> = (0..2 + kms_rpc::server::SPARE_CONNECTIONS)
        .map(|_| {
            let mut stream = TcpStream::connect(("127.0.0.1", kmsd.port)).unwrap();
            stream.write_all(b"POST / HTTP/1.1\r\n").unwrap();
            stream
        })
        .collect();
    while kmsd.post(UPTIME, |_| ()).status != 503 {}
    drop(open);
    while kmsd.post(UPTIME, |_| ()).status != 200 {}
}

/// There were never as many connections as requests could wait, so that the queue was never full.
#[test]
fn a_full_queue_turns_requests_away_and_a_body_that_does_not_come_is_not_waited_for() {
    let kmsd = Kmsd::start_with(&["-rpcthreads=1", "-rpcworkqueue=1", "-rpcservertimeout=2"]);
    let begun = || {
        let mut stream = TcpStream::connect(("127.0.0.1", kmsd.port)).unwrap();
        let cookie = basic(&kmsd.cookie());
        let port = kmsd.port;
        write!(
            stream,
            "POST / HTTP/1.1\r\nHost: localhost:{port}\r\nAuthorization: {cookie}\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{"
        )
        .unwrap();
        stream
    };
    // Which of them comes first is not known: some are turned away themselves.
    let mut slow = vec![begun(), begun()];
    let answer = loop {
        let answer = kmsd.post(UPTIME, |_| ());
        if answer.status != 200 {
            break answer;
        }
        slow.push(begun());
    };
    assert_eq!(answer.status, 503);
    assert_eq!(answer.body, "Work queue depth exceeded\n");
    let answers = slow.into_iter().map(|mut stream| {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer[9..12].to_owned()
    });
    let answers: Vec<_> = answers.collect();
    let count = |status: &str| answers.iter().filter(|it| *it == status).count();
    assert!(count("408") > 0, "{answers:?}");
    assert_eq!(count("408") + count("503"), answers.len(), "{answers:?}");
    assert_eq!(kmsd.post(UPTIME, |_| ()).status, 200);
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
