//! Passing somebody else's requests on to nodes, for who cannot reach them himself (WIRE §8).
//!
//! What is passed on is read only to see that it may pass; it is sealed or signed by others for others.

use kms_crypto::key::PublicKey;
use kms_proto::codec::{self, Kind, MAX_REQUEST_BYTES};
use kms_proto::message::{Command, Query};
use kms_proto::signed::SignedRequest;
use tokio::time::Instant;

pub use kms_proto::transport::TransportError;

use crate::client::Client;
use crate::error::ClientError;

/// Why a request was not passed on, or no answer came back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RelayError {
    /// Not a request, not one for that node, or not one of those that pass.
    #[error("this request does not pass here")]
    NotPassed,
    /// The ledger does not know the node.
    #[error("the ledger does not know this node")]
    UnknownNode,
    /// The ledger cannot be read.
    #[error(transparent)]
    Ledger(ClientError),
    /// The node did not answer.
    #[error("the node {0}")]
    Node(TransportError),
}

impl Client {
    /// Passes a request on to a node and gives back its answer, whatever it is.
    ///
    /// # Errors
    /// It does not pass (WIRE §8.2), or there is no answer.
    pub async fn relay(&self, node: &PublicKey, request: Vec<u8>) -> Result<Vec<u8>, RelayError> {
        if !passes(&request, self.network(), node) {
            return Err(RelayError::NotPassed);
        }
        let deadline = self.deadline();
        let nodes = self.nodes_by(deadline).await.map_err(RelayError::Ledger)?;
        let known = nodes.into_iter().find(|it| it.key == *node);
        let known = known.ok_or(RelayError::UnknownNode)?;
        let left = deadline.saturating_duration_since(Instant::now());
        let transport = &self.shared.config.transport;
        transport
            .call(node, &known.addrs, request, left)
            .await
            .map_err(RelayError::Node)
    }
}

/// Whether a request is one that a recipient has to make, in its one encoding, and for this node.
fn passes(request: &[u8], network: &str, node: &PublicKey) -> bool {
    match codec::open_envelope(request) {
        Ok((Kind::Query, body)) => matches!(
            codec::decode(body, MAX_REQUEST_BYTES),
            Ok(Query::Status | Query::LedgerRead { .. })
        ),
        Ok((Kind::Command, body)) => {
            codec::decode(body, MAX_REQUEST_BYTES).is_ok_and(|signed: SignedRequest| {
                let claim = signed.claim();
                let is_asked = matches!(claim.command, Command::Reencrypt(_));
                is_asked && claim.network == network && claim.node == *node
            })
        }
        Ok((Kind::Response, _)) | Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use kms_crypto::id::PolicyId;
    use kms_crypto::key::{IdentitySecret, LedgerKey, NodeSecret};
    use kms_proto::message::{Reencrypt, RemoveRekey, Response};
    use kms_proto::signed::Address;
    use serde_bytes::ByteBuf;

    use super::*;
    use crate::client::rng;

    fn command(command: Command, key: &impl kms_proto::signed::Signer, node: PublicKey) -> Vec<u8> {
        let to = Address {
            network: "kms-test",
            node,
            deadline: 1_000,
        };
        command.sign(&to, key, &mut rng()).unwrap()
    }

    #[test]
    fn only_what_a_recipient_has_to_ask_passes_and_only_to_whom_it_is_for() {
        let node = || NodeSecret::generate(&mut rng()).public();
        let (node, other) = (node(), node());
        let (bob, author) = (
            IdentitySecret::generate(&mut rng()),
            LedgerKey::generate(&mut rng()),
        );
        let wanted = Command::Reencrypt(Reencrypt {
            recipient: bob.public(),
            policy: PolicyId([7; 32]),
            capsules: vec![ByteBuf::from([1, 2, 3])],
        });
        let wanted = command(wanted, &bob, node);
        assert!(passes(&wanted, "kms-test", &node));
        assert!(!passes(&wanted, "kms-test", &other), "for another node");
        assert!(!passes(&wanted, "kms-main", &node), "of another network");
        let mut longer = wanted.clone();
        longer.push(0);
        assert!(!passes(&longer, "kms-test", &node), "another encoding");

        let read = Query::LedgerRead { from: 1, max: 10 };
        assert!(passes(&read.to_bytes(), "kms-test", &node));
        assert!(passes(&Query::Status.to_bytes(), "kms-test", &node));
        let submit = Query::LedgerSubmit { entry: vec![1] };
        assert!(!passes(&submit.to_bytes(), "kms-test", &node));
        let remove = Command::RemoveRekey(RemoveRekey {
            ledger_key: author.public(),
            inner: [1; 32],
        });
        assert!(!passes(&command(remove, &author, node), "kms-test", &node));
        assert!(!passes(&Response::Noted.to_bytes(), "kms-test", &node));
        assert!(!passes(b"GET / HTTP/1.1", "kms-test", &node));
    }
}
