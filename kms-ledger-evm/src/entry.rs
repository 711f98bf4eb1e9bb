//! Entries as the contract takes them and as its events give them back (LEDGER §5.4.2).

use k256::ecdsa::{RecoveryId, Signature, VerifyingKey};
use kms_crypto::{id::PolicyId, key::PublicKey};
use kms_proto::{
    codec,
    ledger::{
        Entry, EntryRefusal, EntryStatement, Grant, Handover, MAX_ENTRY_BYTES, RegisterNode,
        Release, Revoke, SignedEntry, VerifiedEntry,
    },
    signed::Statement,
};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use sha2::{Digest, Sha256};

use crate::contract::{self, TOPICS};

/// Where the author's part of an entry ends.
const AUTHOR_BYTES: usize = 97;
/// policy 32 ‖ secret 16 ‖ epoch 4.
const RELEASE_BYTES: usize = 52;
/// Numbers of 5 bytes.
const MAX_TIME: u64 = (1 << 40) - 1;

/// Which function takes a registration.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Promise {
    /// It is longer than before.
    Kept,
    /// It becomes shorter.
    Shortened,
}

/// A signed entry, taken apart.
#[derive(Deserialize, Serialize)]
struct Parts {
    payload: ByteBuf,
    signature: ByteBuf,
}

/// The call that carries an entry to the contract.
pub(crate) fn call(entry: &SignedEntry, promise: Promise) -> Result<Vec<u8>, EntryRefusal> {
    let statement = entry.claim();
    let time = |time: u64| match time.to_be_bytes() {
        [0, 0, 0, rest @ ..] if time <= MAX_TIME => Ok(rest),
        _ => Err(EntryRefusal::Malformed),
    };
    let author = || Author::of(entry);
    let (function, arguments) = match &statement.entry {
        Entry::RegisterNode(it) => {
            let addrs = codec::encode(&it.addrs);
            let function = match promise {
                Promise::Kept => "register()",
                Promise::Shortened => "retire()",
            };
            let arguments = [
                &author()?.packed[..],
                &time(it.available_until)?,
                &it.seq.to_be_bytes(),
                &addrs,
            ];
            (function, arguments.concat())
        }
        Entry::Grant(it) => {
            let author = author()?;
            let mut arguments = [
                &author.y[..],
                &author.packed,
                &it.inner,
                &time(it.expiry)?,
                &[it.m],
                &it.seq.to_be_bytes(),
                &it.revocation.unwrap_or_default(),
            ]
            .concat();
            arguments.extend(it.nodes.iter().flat_map(|node| node.to_bytes()));
            ("grant()", arguments)
        }
        Entry::Revoke(it) => {
            let author = author()?;
            let arguments = [
                &author.y[..],
                &author.packed,
                &it.inner,
                &it.epoch.to_be_bytes(),
            ];
            ("revoke()", arguments.concat())
        }
        Entry::Release(it) => {
            let arguments = [
                &it.policy.as_bytes()[..],
                &it.secret,
                &it.epoch.to_be_bytes(),
            ];
            ("release()", arguments.concat())
        }
        Entry::Handover(it) => {
            let arguments = [
                &author()?.packed[..],
                &it.to.to_bytes(),
                it.policy.as_bytes(),
                &[it.index],
                &it.after.to_be_bytes(),
            ];
            ("handover()", arguments.concat())
        }
    };
    Ok(contract::call(function, &arguments))
}

/// What an entry's packed form begins with, and what is passed before it.
struct Author {
    packed: [u8; AUTHOR_BYTES],
    y: [u8; 32],
}

impl Author {
    fn of(entry: &SignedEntry) -> Result<Self, EntryRefusal> {
        let bad = |_| EntryRefusal::BadSignature;
        let parts: Parts = codec::decode(&entry.to_bytes(), MAX_ENTRY_BYTES)
            .map_err(|_| EntryRefusal::Malformed)?;
        let signer = entry.claim().signer();
        let key = signer.ok_or(EntryRefusal::BadSignature)?.to_bytes();
        let author = VerifyingKey::from_sec1_bytes(&key).map_err(bad)?;
        let signature = Signature::from_slice(&parts.signature).map_err(bad)?;
        let digest = digest(entry.payload());
        let odd = [false, true].into_iter().find(|odd| {
            let recovery = RecoveryId::new(*odd, false);
            VerifyingKey::recover_from_prehash(&digest, &signature, recovery)
                .is_ok_and(|it| it == author)
        });
        let odd = odd.ok_or(EntryRefusal::BadSignature)?;
        let mut packed = [0; AUTHOR_BYTES];
        packed[..33].copy_from_slice(&key);
        packed[33..].copy_from_slice(&parts.signature);
        if odd {
            packed[65] |= 0x80;
        }
        let point = author.to_sec1_point(false);
        let y = point.y().ok_or(EntryRefusal::BadSignature)?;
        Ok(Self {
            packed,
            y: (*y).into(),
        })
    }
}

/// What authors of entries sign (SCHEMES §5).
fn digest(payload: &[u8]) -> [u8; 32] {
    let domain = EntryStatement::DOMAIN;
    let length = u32::try_from(domain.len()).expect("a domain is a short text");
    let mut hash = Sha256::new_with_prefix(length.to_be_bytes());
    hash.update(domain);
    hash.update(payload);
    hash.finalize().into()
}

/// The entries in an event, if it is one of ours and parses. Their signatures are not checked yet.
pub(crate) fn from_event(network: &str, topic: &[u8; 32], data: &[u8]) -> Vec<SignedEntry> {
    if *topic != TOPICS.released {
        return from_authors_event(network, topic, data)
            .into_iter()
            .collect();
    }
    let (items, rest) = data.as_chunks::<RELEASE_BYTES>();
    if !rest.is_empty() {
        return Vec::new();
    }
    let release = |mut item: &[u8]| {
        let fields = &mut item;
        let statement = EntryStatement {
            network: network.to_owned(),
            entry: Entry::Release(Release {
                policy: PolicyId(take(fields)?),
                secret: take(fields)?,
                epoch: u32::from_be_bytes(take(fields)?),
            }),
        };
        SignedEntry::unsigned(statement)
            .ok()
            .map(VerifiedEntry::into_signed)
    };
    items.iter().filter_map(|item| release(item)).collect()
}

fn from_authors_event(network: &str, topic: &[u8; 32], data: &[u8]) -> Option<SignedEntry> {
    let (author, mut rest) = data.split_at_checked(AUTHOR_BYTES)?;
    let (key, signature) = author.split_at(33);
    let key = PublicKey::from_bytes(key).ok()?;
    let fields = &mut rest;
    let entry = if *topic == TOPICS.registered {
        Entry::RegisterNode(RegisterNode {
            key,
            available_until: number::<5>(fields)?,
            seq: number::<8>(fields)?,
            addrs: codec::decode(fields, MAX_ENTRY_BYTES).ok()?,
        })
    } else if *topic == TOPICS.granted {
        let inner = take(fields)?;
        let expiry = number::<5>(fields)?;
        let [m] = take(fields)?;
        let seq = u32::from_be_bytes(take(fields)?);
        let revocation = Some(take(fields)?).filter(|it| *it != [0; 16]);
        let (nodes, rest) = fields.as_chunks::<33>();
        if !rest.is_empty() {
            return None;
        }
        let nodes = nodes.iter().map(|node| PublicKey::from_bytes(node).ok());
        Entry::Grant(Grant {
            ledger_key: key,
            inner,
            expiry,
            m,
            nodes: nodes.collect::<Option<_>>()?,
            seq,
            revocation,
        })
    } else if *topic == TOPICS.revoked {
        Entry::Revoke(Revoke {
            ledger_key: key,
            inner: take(fields)?,
            epoch: u32::from_be_bytes(take(fields)?),
        })
    } else if *topic == TOPICS.handed_over {
        let to: [u8; 33] = take(fields)?;
        let policy = take(fields)?;
        let [index] = take(fields)?;
        Entry::Handover(Handover {
            from: key,
            to: PublicKey::from_bytes(&to).ok()?,
            policy: PolicyId(policy),
            index,
            after: number::<8>(fields)?,
        })
    } else {
        return None;
    };
    let statement = EntryStatement {
        network: network.to_owned(),
        entry,
    };
    let mut signature = signature.to_vec();
    // The highest bit says which point R was, which a reader does not need.
    *signature.get_mut(32)? &= 0x7f;
    let parts = Parts {
        payload: ByteBuf::from(codec::encode(&statement)),
        signature: ByteBuf::from(signature),
    };
    SignedEntry::from_bytes(&codec::encode(&parts)).ok()
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*taken)
}

fn number<const N: usize>(rest: &mut &[u8]) -> Option<u64> {
    let digits: [u8; N] = take(rest)?;
    Some(
        digits
            .iter()
            .fold(0, |value, digit| (value << 8) | u64::from(*digit)),
    )
}
