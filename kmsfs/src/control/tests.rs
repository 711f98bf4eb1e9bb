use std::sync::Arc;

use super::*;

struct Echo;

impl Answer for Echo {
    fn answer(&self, request: Request, _uid: u32) -> Result<serde_json::Value, Failure> {
        match request {
            Request::Hello => Ok(serde_json::json!({ "hello": true })),
            Request::Why { path } => Ok(String::from_utf8(path).unwrap().into()),
            _ => Err(Failure::new(Exit::Denied, "No.").why("Because.")),
        }
    }
}

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn questions_are_answered_and_failures_arrive_whole() {
    let home = tempfile::tempdir().unwrap();
    // Longer than a socket's address may be.
    let runtime = home.path().join("x".repeat(120)).join("run");
    let point = Path::new("/mnt/somewhere");
    let server = Server::start(&runtime, point, Arc::new(Echo)).unwrap();
    let mut client = Client::connect(&runtime, point).unwrap();
    assert_eq!(
        client.ask(&Request::Hello, PATIENCE).unwrap(),
        serde_json::json!({ "hello": true })
    );
    let path = "a \"strange\"\npath".to_owned().into_bytes();
    let answer = client.ask(&Request::Why { path }, PATIENCE).unwrap();
    assert_eq!(answer, "a \"strange\"\npath");
    let failure = client.ask(&Request::Shares, PATIENCE).unwrap_err();
    assert_eq!(
        (failure.exit, failure.why.as_str()),
        (Exit::Denied, "Because.")
    );
    assert!(Client::connect(&runtime, Path::new("/mnt/elsewhere")).is_none());
    drop(server);
    assert!(Client::connect(&runtime, point).is_none());
}

#[test]
fn garbage_is_refused_and_the_socket_lives_on() {
    let home = tempfile::tempdir().unwrap();
    let point = Path::new("/mnt/p");
    let _server = Server::start(home.path(), point, Arc::new(Echo)).unwrap();
    let mut client = Client::connect(home.path(), point).unwrap();
    client.stream.get_mut().write_all(b"nonsense\n").unwrap();
    let mut reply = String::new();
    client.stream.read_line(&mut reply).unwrap();
    assert!(reply.contains("error"), "{reply}");
    assert!(client.ask(&Request::Hello, PATIENCE).is_ok());
}

#[test]
fn a_socket_left_by_a_crash_is_replaced() {
    let home = tempfile::tempdir().unwrap();
    let point = Path::new("/mnt/p");
    std::fs::write(home.path().join(socket_name(point)), "").unwrap();
    let _server = Server::start(home.path(), point, Arc::new(Echo)).unwrap();
    assert!(Client::connect(home.path(), point).is_some());
}
