//! How nodes misbehave (WIRE §5 and §6 are there to survive it).

use kms_proto::codec::{self, Kind};
use kms_proto::message::{Refusal, Response};
use serde_bytes::ByteBuf;

use crate::chance;
use crate::node::Reply;
use crate::records::Records;

/// A node's character.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Conduct {
    Honest,
    /// Takes requests and answers none.
    Silent,
    /// Answers with noise: random, oversized, deeply nested, cut off.
    Garbage,
    /// Denies everything, with a reason that sounds good.
    Denies,
    /// Agrees to everything, keeps nothing, writes nothing into the ledger.
    AllTalk,
    /// Its fragments are its own, with one bit wrong.
    Wrong,
    /// Passes off what was somebody else's answer, or to another question.
    Replays,
}

const BAD: [Conduct; 6] = [
    Conduct::Silent,
    Conduct::Garbage,
    Conduct::Denies,
    Conduct::AllTalk,
    Conduct::Wrong,
    Conduct::Replays,
];

impl Conduct {
    /// Dishonest in one way or another with this probability.
    pub fn random(dishonest: f64) -> Self {
        if chance::happens(dishonest) {
            *chance::one_of(&BAD)
        } else {
            Self::Honest
        }
    }

    /// What some say without looking at the question.
    pub fn instead_of_asking(self) -> Option<Reply> {
        match self {
            Self::Silent => Some(Reply::Silence),
            Self::Garbage => Some(Reply::Bytes(noise())),
            Self::Denies => Some(Reply::Bytes(Response::Refused(excuse()).to_bytes())),
            _ => None,
        }
    }

    /// What it makes of the answer an honest node would give.
    pub fn twist(self, response: Response, records: &Records) -> Response {
        let Response::Reencrypted { fragments } = response else {
            return response;
        };
        let twisted = fragments.into_iter().map(|fragment| {
            let honest = fragment?;
            Ok(match self {
                Self::Replays => records.something_heard().unwrap_or(honest),
                Self::Wrong => with_one_bit_wrong(honest),
                _ => honest,
            })
        });
        Response::Reencrypted {
            fragments: twisted.collect(),
        }
    }
}

fn with_one_bit_wrong(mut bytes: ByteBuf) -> ByteBuf {
    let at = chance::below(bytes.len());
    bytes[at] ^= 1 << chance::below(8);
    bytes
}

fn noise() -> Vec<u8> {
    match chance::below(4) {
        0 => chance::bytes::<200>().to_vec(),
        1 => vec![0xa1; 70_000],
        // Lists in lists.
        2 => {
            let mut message = codec::encode_envelope(Kind::Response, &0u8);
            message.pop();
            message.extend([0x81; 20_000]);
            message
        }
        _ => {
            let mut message = Response::Submitted { height: 7 }.to_bytes();
            message.truncate(chance::below(message.len()));
            message
        }
    }
}

fn excuse() -> Refusal {
    let at = 1_700_000_000;
    let excuses = [
        Refusal::Revoked { at, epoch: 9 },
        Refusal::Expired { at },
        Refusal::UnknownPolicy,
        Refusal::NotGranted,
        Refusal::LedgerStale,
        Refusal::Busy,
        Refusal::TooLate { node_time: at },
    ];
    chance::one_of(&excuses).clone()
}
