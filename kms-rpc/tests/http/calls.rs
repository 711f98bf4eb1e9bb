//! Both protocols, arguments, and every error that can be had without a network.

use serde_json::{Value, json};

use crate::Kmsd;

#[test]
fn each_protocol_has_its_own_form() {
    let kmsd = Kmsd::start();
    let post = |body: Value| kmsd.post(&body.to_string(), |_| ());

    let answer = post(json!({"method": "uptime", "id": 5}));
    let document = answer.json();
    assert!(document["result"].is_u64() && document["error"].is_null());
    assert_eq!(
        (document["id"].as_u64(), document.get("jsonrpc")),
        (Some(5), None)
    );
    let answer = post(json!({"jsonrpc": "2.0", "method": "uptime", "id": "a"}));
    let document = answer.json();
    assert_eq!(
        (&document["jsonrpc"], &document["id"]),
        (&json!("2.0"), &json!("a"))
    );
    assert_eq!(document.get("error"), None);

    let unknown = |version: &str| post(json!({"jsonrpc": version, "method": "nothing", "id": 1}));
    let (old, new) = (unknown("1.1"), unknown("2.0"));
    assert_eq!((old.status, new.status), (404, 200));
    assert_eq!(old.json()["error"]["code"], -32601);
    assert_eq!(new.json()["error"]["code"], -32601);
    assert_eq!(new.json().get("result"), None);

    let notification = post(json!({"jsonrpc": "2.0", "method": "uptime"}));
    assert_eq!((notification.status, notification.body.as_str()), (204, ""));
    assert!(post(json!({"method": "uptime"})).json()["id"].is_null());

    for (body, status, code) in [
        (r#"{"method": "#, 500, -32700),
        ("", 500, -32700),
        ("\u{feff}{}", 500, -32700),
        ("7", 400, -32600),
        (r#""uptime""#, 400, -32600),
        ("null", 400, -32600),
        ("{}", 400, -32600),
        (r#"{"method": 7}"#, 400, -32600),
        (r#"{"method": "uptime", "params": 7}"#, 400, -32600),
        (r#"{"method": "uptime", "params": "x"}"#, 400, -32600),
        (r#"{"jsonrpc": "3.0", "method": "uptime"}"#, 400, -32600),
        (r#"{"jsonrpc": 2, "method": "uptime"}"#, 400, -32600),
        (
            r#"{"jsonrpc": "2.0", "method": "uptime", "id": {}}"#,
            200,
            -32600,
        ),
        (r#"{"jsonrpc": "2.0", "method": 7}"#, 200, -32600),
    ] {
        let answer = kmsd.post(body, |_| ());
        assert_eq!(answer.status, status, "{body}");
        assert_eq!(answer.json()["error"]["code"], code, "{body}");
    }
}

#[test]
fn a_batch_is_answered_in_order() {
    let kmsd = Kmsd::start();
    let answer = kmsd.post(
        &json!([
            {"method": "uptime", "id": 1},
            {"jsonrpc": "2.0", "method": "uptime"},
            {"method": "nothing", "id": 2},
            7,
            {"jsonrpc": "2.0", "method": "help", "params": ["nothing"], "id": 3},
        ])
        .to_string(),
        |_| (),
    );
    assert_eq!(answer.status, 200);
    let list = answer.json();
    let ids: Vec<Value> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["id"].clone())
        .collect();
    assert_eq!(ids, [json!(1), json!(2), Value::Null, json!(3)]);
    assert!(list[0]["error"].is_null());
    assert_eq!(list[1]["error"]["code"], -32601);
    assert_eq!(list[2]["error"]["code"], -32600);
    assert_eq!(list[3]["error"]["code"], -8);
    assert_eq!(kmsd.post("[]", |_| ()).json(), json!([]));
    let silent = json!([{"jsonrpc": "2.0", "method": "uptime"}]);
    assert_eq!(kmsd.post(&silent.to_string(), |_| ()).status, 204);
}

#[test]
fn arguments_come_by_place_by_name_or_both() {
    let kmsd = Kmsd::start();
    let help = |params: Value| kmsd.call("help", params).json();
    let expected = help(json!(["encrypt"]))["result"].clone();
    assert!(expected.as_str().unwrap().starts_with("encrypt \"data\""));
    assert_eq!(help(json!({"command": "encrypt"}))["result"], expected);
    assert_eq!(help(json!({"args": ["encrypt"]}))["result"], expected);
    assert_eq!(help(json!([null]))["result"], help(json!([]))["result"]);
    assert_eq!(
        help(json!({"x": 1}))["error"]["message"],
        "Unknown named parameter x"
    );
    let twice = help(json!({"args": ["encrypt"], "command": "encrypt"}));
    assert_eq!(twice["error"]["code"], -8);
    assert_eq!(help(json!(["a", "b"]))["error"]["code"], -1);
    assert_eq!(help(json!({"args": 7}))["error"]["code"], -3);
}

/// The last one counted, whatever had been looked at before it.
#[test]
fn a_name_that_comes_twice_is_refused() {
    let kmsd = Kmsd::start();
    let asked = |body: &str| kmsd.post(body, |_| ()).json();
    let twice = r#"{"method": "help", "params": {"command": "a", "command": "stop"}, "id": 1}"#;
    let refused = asked(twice);
    assert_eq!(refused["error"]["code"], -8);
    assert_eq!(refused["error"]["data"]["parameter"], "command");
    assert_eq!(refused["id"], 1);
    let inside = r#"{"method": "help", "params": [{"a": 1, "a": 2}]}"#;
    assert_eq!(asked(inside)["error"]["code"], -8);
    for none in [
        r#"{"method": "uptime", "method": "stop", "id": 1}"#,
        r#"{"method": "help", "params": ["stop"], "params": ["help"], "id": 1}"#,
    ] {
        assert_eq!(asked(none)["error"]["code"], -32600, "{none}");
    }
    let list = asked(&format!(r#"[{twice}, {{"method": "uptime", "id": 2}}]"#));
    assert_eq!(list[0]["error"]["code"], -8);
    assert!(list[1]["result"].is_u64(), "{list}");

    let typed = kmsd.cli_fails(&["-named", "help", "command=stop", "command=uptime"]);
    let said = String::from_utf8(typed.stderr).unwrap();
    assert!(said.contains("command specified multiple times"), "{said}");
}

#[test]
fn every_bad_argument_is_the_documented_error_and_no_secret_comes_back() {
    let kmsd = Kmsd::start();
    let made = kmsd.result("generate_key", json!(["hunter2 hunter2"]));
    let me = made["identity"].as_str().unwrap().to_owned();
    assert_eq!(
        made["recovery_words"].as_str().unwrap().split(' ').count(),
        24
    );
    let zeros = "0".repeat(64);
    let bad_key = format!("{}q", &me[..me.len() - 1]);
    let table = [
        ("generate_key", json!([]), "MISC"),
        ("generate_key", json!([7]), "BAD_TYPE"),
        ("generate_key", json!([""]), "BAD_PARAMETER"),
        ("generate_key", json!(["s3cret", "../x"]), "BAD_PARAMETER"),
        ("generate_key", json!(["s3cret"]), "EXISTS"),
        ("unlock", json!(["s3cret wrong"]), "WRONG_PASSPHRASE"),
        ("unlock", json!(["s3cret", -1]), "BAD_PARAMETER"),
        ("unlock", json!(["s3cret", 1.5]), "BAD_PARAMETER"),
        ("unlock", json!(["s3cret", "x"]), "BAD_TYPE"),
        ("unlock", json!(["s3cret", 100_000_001]), "BAD_PARAMETER"),
        ("unlock", json!(["s3cret", 0, "nobody"]), "NO_IDENTITY"),
        ("lock", json!(["nobody"]), "NO_IDENTITY"),
        ("encrypt", json!(["AAAA"]), "LOCKED"),
        ("encrypt", json!(["AAAA", null, "nobody"]), "NO_IDENTITY"),
        ("contact_add", json!(["bob", "x"]), "BAD_KEY"),
        ("contact_add", json!(["bob", bad_key]), "BAD_KEY"),
        ("contact_add", json!(["Bob!", me]), "BAD_PARAMETER"),
        ("contact_remove", json!(["bob"]), "UNKNOWN_RECIPIENT"),
        ("inspect", json!(["AAA"]), "BAD_PARAMETER"),
        ("inspect", json!(["AAAA"]), "BAD_DATA"),
        ("inspect", json!([["AAAA"]]), "BAD_TYPE"),
        ("decrypt", json!(["AAAA", "x"]), "BAD_DATA"),
        (
            "decrypt",
            json!(["AAAA", null, "s3cret", me]),
            "BAD_PARAMETER",
        ),
        ("decrypt", json!(["AAAA", null, zeros]), "BAD_PARAMETER"),
        ("decrypt", json!(["AAAA", null, zeros, me]), "BAD_DATA"),
    ];
    let check = |method: &str, params: &Value, name: &str| {
        let answer = kmsd.call(method, params.clone());
        let error = &answer.json()["error"];
        assert_eq!(error["data"]["name"], name, "{method} {params}: {answer:?}");
        assert!(error["data"]["errno"].as_str().unwrap().starts_with('E'));
        assert!(!answer.body.contains("s3cret"), "{answer:?}");
    };
    for (method, params, name) in &table {
        check(method, params, name);
    }
    kmsd.result("unlock", json!(["hunter2 hunter2"]));
    let label = "00".repeat(16);
    for (method, params, name) in [
        ("encrypt", json!(["AAAA", "rot13"]), "UNSUPPORTED"),
        ("encrypt", json!(["A"]), "BAD_PARAMETER"),
        ("decrypt", json!(["AAAA"]), "BAD_DATA"),
        ("encrypt_file", json!(["plain", "/tmp/x"]), "BAD_PARAMETER"),
        (
            "encrypt_file",
            json!(["/nonexistent/plain", "/nonexistent/x"]),
            "IO",
        ),
        ("tickets", json!(["/nonexistent"]), "IO"),
        ("grant", json!([label, "bob"]), "UNKNOWN_RECIPIENT"),
        ("grant", json!(["zz", "bob"]), "BAD_PARAMETER"),
        ("grant", json!([label, "bob rw"]), "UNSUPPORTED"),
        ("revoke", json!([label, "*"]), "NOT_FOUND"),
        ("audit", json!([zeros]), "NOT_FOUND"),
        ("policy_health", json!([zeros]), "NOT_FOUND"),
        ("open_ticket", json!(["kms-ticket-1-AAAA"]), "BAD_DATA"),
    ] {
        check(method, &params, name);
    }
    let other = kmsd.result("generate_key", json!(["another one", "other"]));
    kmsd.result("contact_add", json!(["bob", other["identity"]]));
    check("grant", &json!([label, "bob"]), "NO_NETWORK");
    let log = std::fs::read_to_string(kmsd.at("debug.log")).unwrap();
    for secret in [
        "s3cret",
        "hunter2",
        made["recovery_words"].as_str().unwrap(),
    ] {
        assert!(!log.contains(secret), "{log}");
    }
}

#[test]
fn ones_own_data_comes_back_and_an_identity_locks_itself() {
    let kmsd = Kmsd::start();
    kmsd.result("generate_key", json!(["pass"]));
    let unlocked = kmsd.result("unlock", json!({"passphrase": "pass", "timeout": 1}));
    let until = unlocked["until"].as_u64().unwrap();
    kmsd.result("unlock", json!(["pass"]));
    let sealed = kmsd.result("encrypt", json!(["bGF1bmNo"]));
    assert_eq!(sealed["size"], 6);
    let opened = kmsd.result("decrypt", json!([sealed["sealed"]]));
    assert_eq!(
        (&opened["data"], &opened["label"]),
        (&json!("bGF1bmNo"), &sealed["label"])
    );
    let header = kmsd.result("inspect", json!([sealed["sealed"]]));
    assert_eq!(header["labels"][0]["label"], sealed["label"]);

    let (plain, hidden, back) = (kmsd.at("plain"), kmsd.at("hidden"), kmsd.at("back"));
    std::fs::write(&plain, vec![7; 1_000_000]).unwrap();
    let done = kmsd.result("encrypt_file", json!([plain, hidden, "xsalsa20-poly1305"]));
    assert_eq!(done["size"], 1_000_000);
    kmsd.result("decrypt_file", json!([hidden, back]));
    assert!(std::fs::read(&back).unwrap() == std::fs::read(&plain).unwrap());

    assert_eq!(
        kmsd.result("identities", json!([]))["identities"][0]["unlocked"],
        true
    );
    kmsd.result("unlock", json!(["pass", 1]));
    while kmsd.call("encrypt", json!(["AAAA"])).status == 200 {}
    assert!(kmsd.result("getinfo", json!([]))["time"].as_u64().unwrap() >= until);
    assert_eq!(kmsd.result("getinfo", json!([]))["unlocked"], 0);
}

#[test]
fn the_document_and_the_help_have_every_method() {
    let kmsd = Kmsd::start();
    let document = kmsd.result("rpc.discover", json!([]));
    assert!(document["openrpc"].as_str().unwrap().starts_with("1.3"));
    let list = kmsd.result("help", json!([]));
    let list = list.as_str().unwrap();
    for method in document["methods"].as_array().unwrap() {
        let name = method["name"].as_str().unwrap();
        assert!(
            list.lines()
                .any(|line| line.split(' ').next() == Some(name)),
            "{name}"
        );
        let help = kmsd.result("help", json!([name]));
        let help = help.as_str().unwrap();
        assert!(
            help.contains("> kms-cli ") && help.contains("> curl "),
            "{help}"
        );
        for param in method["params"].as_array().unwrap() {
            assert!(help.contains(param["name"].as_str().unwrap()), "{help}");
        }
        assert!(method["errors"].as_array().unwrap().len() > 20);
    }
    assert!(list.contains("== Sharing =="));
    let spec = include_str!("../../../spec/API.md");
    for method in kms_rpc::method::all() {
        assert!(
            spec.contains(&format!("`{}`", method.name)),
            "{} is not specified",
            method.name
        );
    }
}
