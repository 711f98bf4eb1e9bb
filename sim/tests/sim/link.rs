//! A person's line to the nodes: messages that take their time, are lost, come out of order; and a person who can be
//! struck down between any two of them.

use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use kms_crypto::key::PublicKey;
use kms_proto::transport::{BoxFuture, Transport, TransportError};
use tokio::sync::{Notify, oneshot};

use crate::chance;
use crate::node::Reply;
use crate::world::World;

pub struct Link {
    world: Weak<World>,
    /// The node that speaks; without it, a person.
    node: Option<PublicKey>,
    /// How many times a message was about to leave, or had come back.
    steps: AtomicUsize,
    dies_at: AtomicUsize,
    died: Notify,
}

type Answer = Result<Vec<u8>, TransportError>;

impl Link {
    pub fn new(world: &Arc<World>) -> Self {
        Self {
            world: Arc::downgrade(world),
            node: None,
            steps: AtomicUsize::new(0),
            dies_at: AtomicUsize::new(usize::MAX),
            died: Notify::new(),
        }
    }

    /// A node's line to other nodes.
    pub fn of_node(world: &Arc<World>, node: PublicKey) -> Self {
        Self {
            node: Some(node),
            ..Self::new(world)
        }
    }

    /// Strikes the person down at this step.
    pub fn die_at(&self, step: usize) {
        self.dies_at.store(step, Ordering::Relaxed);
    }

    /// Waits until that has happened.
    pub async fn died(&self) {
        self.died.notified().await;
    }

    async fn step(&self) {
        let step = self.steps.fetch_add(1, Ordering::Relaxed);
        if step >= self.dies_at.load(Ordering::Relaxed) {
            self.died.notify_one();
            pending::<()>().await;
        }
    }
}

impl Transport for Link {
    fn call<'a>(
        &'a self,
        node: &'a PublicKey,
        _addrs: &'a [String],
        request: Vec<u8>,
        timeout: Duration,
    ) -> BoxFuture<'a, Answer> {
        Box::pin(async move {
            let world = self.world.upgrade().ok_or(TransportError::Local)?;
            self.step().await;
            let speaker = self.node.and_then(|key| world.node(&key));
            if speaker.is_some_and(|node| node.is_on_island()) {
                return Err(TransportError::Unreachable);
            }
            let (answer, answered) = oneshot::channel();
            // What is sent is sent, whether or not anybody waits for the answer.
            tokio::spawn(deliver(world, *node, request, answer));
            let answer = tokio::time::timeout(timeout, answered).await;
            self.step().await;
            match answer {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) => Err(TransportError::Closed),
                Err(_) => Err(TransportError::Timeout),
            }
        })
    }
}

/// How long a connection that leads nowhere stays open.
const HALF_OPEN: Duration = Duration::from_secs(120);

async fn deliver(
    world: Arc<World>,
    key: PublicKey,
    request: Vec<u8>,
    answer: oneshot::Sender<Answer>,
) {
    if !world.travel().await {
        return;
    }
    world.note(&request);
    let node = world.node(&key).filter(|node| !node.is_on_island());
    let reply = match node {
        Some(node) => node.answer(&world, request).await,
        None => Reply::Absence,
    };
    let reply = match reply {
        Reply::Bytes(bytes) => Ok(bytes),
        // A machine without the program says so; one without power says nothing.
        Reply::Absence if chance::happens(0.5) => Err(TransportError::Unreachable),
        Reply::Absence | Reply::Silence => {
            tokio::time::sleep(HALF_OPEN).await;
            drop(answer);
            return;
        }
    };
    if world.travel().await {
        // Who asked may have gone.
        let _ = answer.send(reply);
    }
}
