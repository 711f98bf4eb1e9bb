//! What strangers do to nodes, from a place of their own.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use kms_crypto::key::PublicKey;
use kms_net::{ClientConfig, Manners, NetClient};
use kms_proto::message::Query;
use kms_proto::transport::Transport;
use nix::sched::{CloneFlags, setns};

use crate::namespace::Place;

/// A node, as a stranger finds it.
#[derive(Clone)]
pub(crate) struct Victim {
    pub(crate) key: PublicKey,
    pub(crate) ip: Ipv4Addr,
    pub(crate) port: u16,
}

impl Victim {
    fn connect(&self) -> Option<TcpStream> {
        let address = SocketAddr::from((self.ip, self.port));
        TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()
    }

    fn address(&self) -> String {
        format!("/ip4/{}/tcp/{}", self.ip, self.port)
    }
}

/// An attack that goes on until this is dropped.
pub(crate) struct Attack {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Attack {
    /// Does everything at once, to all of them, again and again.
    pub(crate) fn begin(place: &Place, victims: &[Victim]) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let deeds = [hold, drip, knock, shout, stall];
        let threads = deeds.map(|deed| {
            let (namespace, over) = (place.namespace(), Arc::clone(&over));
            let victims = victims.to_vec();
            thread::spawn(move || {
                // Of this thread alone, and of those that it starts.
                setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
                while !over.load(Ordering::Relaxed) {
                    deed(&victims, &over);
                }
            })
        });
        Self {
            over,
            threads: threads.into(),
        }
    }
}

impl Drop for Attack {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // What it did is not what is tested.
            let _ = thread.join();
        }
    }
}

const MOMENT: Duration = Duration::from_millis(20);

/// Opens as many connections as it gets, and says nothing.
fn hold(victims: &[Victim], over: &AtomicBool) {
    let mut held = Vec::new();
    for _ in 0..100 {
        held.extend(victims.iter().filter_map(Victim::connect));
        if over.load(Ordering::Relaxed) {
            return;
        }
        thread::sleep(MOMENT);
    }
}

/// Says what everybody says first, a letter at a time, and never comes to an end.
fn drip(victims: &[Victim], over: &AtomicBool) {
    let mut held: Vec<_> = victims.iter().filter_map(Victim::connect).collect();
    for letter in b"\x13/multistream/1.0.0\n\x07/noise\n" {
        held.retain_mut(|it| it.write_all(&[*letter]).is_ok());
        if over.load(Ordering::Relaxed) {
            return;
        }
        thread::sleep(MOMENT * 10);
    }
}

/// Comes and goes, and leaves noise behind.
fn knock(victims: &[Victim], _: &AtomicBool) {
    for mut it in victims.iter().filter_map(Victim::connect) {
        // The node hangs up on some of it.
        let _ = it.write_all(&[0xff; 4096]);
        let _ = it.set_read_timeout(Some(MOMENT));
        let _ = it.read(&mut [0; 64]);
    }
    thread::sleep(MOMENT / 4);
}

/// Many peers, each with a new key, ask as much as they can: what is honest and what is not.
fn shout(victims: &[Victim], over: &AtomicBool) {
    let mut nested = kms_proto::codec::encode_envelope(kms_proto::codec::Kind::Command, &0_u8);
    nested.pop();
    nested.extend([0x81; 16_000]);
    let messages = [Query::Status.to_bytes(), nested, vec![0x9b; 9000]];
    ask(victims, over, Manners::Proper, 8, &messages);
}

/// Peers whose requests never end, or are too long.
fn stall(victims: &[Victim], over: &AtomicBool) {
    ask(victims, over, Manners::Stalling, 2, &[vec![0; 100]]);
    ask(victims, over, Manners::Overlong, 2, &[vec![0; 100]]);
}

fn ask(
    victims: &[Victim],
    over: &AtomicBool,
    manners: Manners,
    peers: usize,
    messages: &[Vec<u8>],
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(async {
        let config = ClientConfig {
            network: kms_proto::DEFAULT_NETWORK.to_owned(),
            bootstrap: Vec::new(),
        };
        let clients: Vec<_> = (0..peers)
            .map(|_| NetClient::start_unruly(&config, manners).unwrap())
            .collect();
        let addresses: Vec<_> = victims.iter().map(|it| [it.address()]).collect();
        let mut calls = Vec::new();
        for client in &clients {
            for (victim, addresses) in victims.iter().zip(&addresses) {
                for message in messages.iter().cycle().take(30) {
                    let patience = Duration::from_secs(2);
                    calls.push(client.call(&victim.key, addresses, message.clone(), patience));
                }
            }
        }
        // Until they are over, or it is.
        let over = async {
            while !over.load(Ordering::Relaxed) {
                tokio::time::sleep(MOMENT).await;
            }
        };
        tokio::select! {
            _ = futures::future::join_all(calls) => {}
            () = over => {}
        }
    });
}
