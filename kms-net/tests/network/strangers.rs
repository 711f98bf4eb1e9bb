//! Other networks, silence, garbage and requests that never end.

use std::sync::atomic::Ordering;
use std::time::Duration;

use kms_net::{ClientConfig, Manners, NetClient};
use kms_proto::transport::{Transport, TransportError};

use crate::{NETWORK, ask, client, secret, start, start_on};

#[tokio::test]
async fn networks_of_different_names_do_not_speak_to_each_other() {
    let node = start_on("other", 40, vec![]).await;
    assert_eq!(
        ask(&client(vec![]), &node, b"hello").await,
        Err(TransportError::WrongPeer)
    );
    assert!(
        NetClient::start(&ClientConfig {
            network: "a/b".to_owned(),
            bootstrap: vec![]
        })
        .is_err()
    );
}

#[tokio::test]
async fn a_silent_address_ends_at_the_deadline_of_the_call() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!(
        "/ip4/127.0.0.1/tcp/{}",
        listener.local_addr().unwrap().port()
    );
    let answer = client(vec![])
        .call(
            &secret(50).public(),
            &[address],
            b"hello".to_vec(),
            Duration::from_millis(200),
        )
        .await;
    assert_eq!(answer, Err(TransportError::Timeout));
}

#[tokio::test]
async fn garbage_on_the_socket_disturbs_nobody() {
    use tokio::io::AsyncWriteExt;
    let node = start(60, vec![]).await;
    let port = node.addresses()[0].split('/').nth(4).unwrap().to_owned();
    for garbage in [
        &b"\x13/multistream/1.0.0\n\x07/noise\n\xff\xff\xff\xff"[..],
        &[0xff; 4096],
        b"",
        b"GET / HTTP/1.1\r\n\r\n",
    ] {
        let mut socket = tokio::net::TcpStream::connect(format!("127.0.0.1:{port}"))
            .await
            .unwrap();
        // The node may hang up in the middle of it.
        let _ = socket.write_all(garbage).await;
    }
    assert_eq!(
        ask(&client(vec![]), &node, b"hello").await.unwrap(),
        b"hello"
    );
}

#[tokio::test]
async fn a_request_that_is_too_long_or_never_ends_is_not_taken_and_holds_up_nobody() {
    let node = start(61, vec![]).await;
    let config = ClientConfig {
        network: NETWORK.to_owned(),
        bootstrap: vec![],
    };
    let overlong = NetClient::start_unruly(&config, Manners::Overlong).unwrap();
    let answer = ask(&overlong, &node, b"").await;
    assert_eq!(answer, Err(TransportError::Closed));

    // More of them than one connection may have at once.
    let stalling = NetClient::start_unruly(&config, Manners::Stalling).unwrap();
    let (key, addresses) = (node.key, node.addresses());
    let calls = (0..40).map(|_| {
        let patience = Duration::from_secs(2);
        stalling.call(&key, &addresses, b"beginning".to_vec(), patience)
    });
    let honest = client(vec![]);
    let (stalled, answer) = tokio::join!(
        futures::future::join_all(calls),
        ask(&honest, &node, b"hello")
    );
    assert!(stalled.iter().all(Result::is_err));
    assert_eq!(answer.unwrap(), b"hello");
    assert_eq!(node.echo.asked.load(Ordering::Relaxed), 1);
}
