//! The state as an index keeps it (LEDGER §5.2.2).

use std::collections::{BTreeMap, HashMap};

use kms_crypto::{id::PolicyId, key::PublicKey};

use super::{
    Forgotten, Keepers, NodeRecord, Order, Placed, Policy, Revocation, State, terms::Terms,
};
use crate::ledger::record::take;

const REVOKED: u8 = 1;
const FORGOTTEN: u8 = 2;
const GRANTED: u8 = 4;

impl State {
    pub(in crate::ledger) fn write_index(&self, out: &mut Vec<u8>) {
        count32(out, self.nodes.len());
        for node in self.nodes.values() {
            out.extend_from_slice(node.key.as_bytes());
            out.extend_from_slice(&node.available_until.to_be_bytes());
            out.extend_from_slice(&node.seq.to_be_bytes());
            out.push(u8::try_from(node.addrs.len()).expect("the rules allow 8"));
            for addr in &node.addrs {
                let len = u16::try_from(addr.len()).expect("the rules allow 256 bytes");
                out.extend_from_slice(&len.to_be_bytes());
                out.extend_from_slice(addr.as_bytes());
            }
        }
        count32(out, self.keepers.keys().len());
        for key in self.keepers.keys() {
            out.extend_from_slice(key.as_bytes());
        }
        out.extend_from_slice(&(self.policies.len() as u64).to_be_bytes());
        for (id, policy) in &self.policies {
            out.extend_from_slice(id.as_bytes());
            policy.write(out);
        }
    }

    pub(in crate::ledger) fn read_index(order: Order, rest: &mut &[u8]) -> Option<Self> {
        let mut nodes = BTreeMap::new();
        for _ in 0..u32::from_be_bytes(take(rest)?) {
            let node = read_node(rest)?;
            nodes.insert(node.key, node);
        }
        let mut keepers = Keepers::default();
        for _ in 0..u32::from_be_bytes(take(rest)?) {
            keepers.number(&PublicKey::from_bytes(&take::<33>(rest)?).ok()?);
        }
        let count = u64::from_be_bytes(take(rest)?);
        // Each takes at least this many bytes: a wrong number reserves nothing.
        let mut policies =
            HashMap::with_capacity(usize::try_from(count).ok()?.min(rest.len() / 33));
        for _ in 0..count {
            let id = PolicyId(take(rest)?);
            policies.insert(id, Policy::read(rest)?);
        }
        Some(Self {
            order,
            policies,
            nodes,
            keepers,
        })
    }
}

fn count32(out: &mut Vec<u8>, count: usize) {
    let count = u32::try_from(count).expect("there is no memory for so many nodes");
    out.extend_from_slice(&count.to_be_bytes());
}

fn read_node(rest: &mut &[u8]) -> Option<NodeRecord> {
    let key = PublicKey::from_bytes(&take::<33>(rest)?).ok()?;
    let available_until = u64::from_be_bytes(take(rest)?);
    let seq = u64::from_be_bytes(take(rest)?);
    let [count] = take(rest)?;
    let mut addrs = Vec::with_capacity(count.into());
    for _ in 0..count {
        let len = usize::from(u16::from_be_bytes(take(rest)?));
        let (addr, left) = rest.split_at_checked(len)?;
        *rest = left;
        addrs.push(str::from_utf8(addr).ok()?.to_owned());
    }
    Some(NodeRecord {
        key,
        available_until,
        addrs,
        seq,
    })
}

impl Policy {
    fn write(&self, out: &mut Vec<u8>) {
        let mut flags = 0;
        let mut body = Vec::with_capacity(160);
        if let Some(Revocation { at, epoch }) = self.revoked {
            flags |= REVOKED;
            body.extend_from_slice(&at.to_be_bytes());
            body.extend_from_slice(&epoch.to_be_bytes());
        }
        if let Some(Forgotten { seq, expiry }) = self.forgotten {
            flags |= FORGOTTEN;
            body.extend_from_slice(&seq.to_be_bytes());
            body.extend_from_slice(&expiry.to_be_bytes());
        }
        if let Some(terms) = &self.grant {
            flags |= GRANTED;
            terms.write(&mut body);
        }
        out.push(flags);
        out.append(&mut body);
    }

    fn read(rest: &mut &[u8]) -> Option<Self> {
        let [flags] = take(rest)?;
        let mut policy = Self::default();
        if flags & REVOKED != 0 {
            policy.revoked = Some(Revocation {
                at: u64::from_be_bytes(take(rest)?),
                epoch: u32::from_be_bytes(take(rest)?),
            });
        }
        if flags & FORGOTTEN != 0 {
            policy.forgotten = Some(Forgotten {
                seq: u32::from_be_bytes(take(rest)?),
                expiry: u64::from_be_bytes(take(rest)?),
            });
        }
        if flags & GRANTED != 0 {
            policy.grant = Some(Box::new(Terms::read(rest)?));
        }
        Some(policy)
    }
}

impl Terms {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.ledger_key);
        out.extend_from_slice(&self.inner);
        out.extend_from_slice(&self.expiry.to_be_bytes());
        out.push(self.m);
        out.extend_from_slice(&self.seq.to_be_bytes());
        out.push(u8::from(self.revocation.is_some()));
        out.extend_from_slice(&self.revocation.unwrap_or_default());
        out.push(u8::try_from(self.placed.len()).expect("the rules allow 255"));
        for placed in &self.placed {
            out.extend_from_slice(&placed.node.to_be_bytes());
            out.extend_from_slice(&placed.since.to_be_bytes());
        }
    }

    fn read(rest: &mut &[u8]) -> Option<Self> {
        let ledger_key = take(rest)?;
        let inner = take(rest)?;
        let expiry = u64::from_be_bytes(take(rest)?);
        let [m] = take(rest)?;
        let seq = u32::from_be_bytes(take(rest)?);
        let [sealed] = take(rest)?;
        let revocation = take(rest)?;
        let [n] = take(rest)?;
        let mut placed = Vec::with_capacity(n.into());
        for _ in 0..n {
            placed.push(Placed {
                node: u32::from_be_bytes(take(rest)?),
                since: u64::from_be_bytes(take(rest)?),
            });
        }
        Some(Self {
            ledger_key,
            inner,
            expiry,
            m,
            seq,
            revocation: (sealed == 1).then_some(revocation),
            placed: placed.into(),
        })
    }
}
