//! A signed request: whom it is for, until when, and what is asked (WIRE §4.1).

use kms_crypto::key::PublicKey;
use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};

use super::{Signed, Signer, Statement, WrongSigner};
use crate::{
    codec::{self, Kind, MAX_REQUEST_BYTES},
    message::Command,
};

/// How far ahead of a node's clock a deadline may lie, in seconds, beside the skew of the clocks.
pub const MAX_DEADLINE_SECONDS: u64 = 60;

/// What the author of a command signs.
#[derive(Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct RequestStatement {
    /// The network.
    pub network: String,
    /// The node addressed.
    pub node: PublicKey,
    /// Random, so that a node can tell a repetition from a second request.
    #[serde(with = "serde_bytes")]
    pub nonce: [u8; 16],
    /// After this the request is void, Unix seconds.
    pub deadline: u64,
    /// What is asked.
    pub command: Command,
}

impl Statement for RequestStatement {
    const DOMAIN: &'static str = "kms/request/1";
    const MAX_BYTES: usize = MAX_REQUEST_BYTES;

    fn signer(&self) -> Option<PublicKey> {
        Some(self.command.signer())
    }
}

/// A command as it travels.
pub type SignedRequest = Signed<RequestStatement>;

/// Where a command goes and until when it counts.
#[derive(Clone, Debug)]
pub struct Address<'a> {
    /// The network.
    pub network: &'a str,
    /// The node.
    pub node: PublicKey,
    /// Unix seconds; at most [`MAX_DEADLINE_SECONDS`] from now.
    pub deadline: u64,
}

impl Command {
    /// The message as it travels, signed by the command's author for one node.
    pub fn sign<R: CryptoRng + ?Sized>(
        self,
        to: &Address<'_>,
        key: &impl Signer,
        rng: &mut R,
    ) -> Result<Vec<u8>, WrongSigner> {
        let mut nonce = [0; 16];
        rng.fill_bytes(&mut nonce);
        let statement = RequestStatement {
            network: to.network.to_owned(),
            node: to.node,
            nonce,
            deadline: to.deadline,
            command: self,
        };
        let signed = Signed::sign(statement, key, rng)?;
        Ok(codec::encode_envelope(Kind::Command, signed.signed()))
    }
}
