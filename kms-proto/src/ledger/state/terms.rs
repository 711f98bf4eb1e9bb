//! Grants as they are kept: a ledger may have a million of them, and few are asked about.

use std::collections::HashMap;

use kms_crypto::key::PublicKey;

use crate::ledger::Grant;

/// The nodes that grants name, by number.
#[derive(Clone, Debug, Default)]
pub(super) struct Keepers {
    keys: Vec<PublicKey>,
    numbers: HashMap<PublicKey, u32>,
}

impl Keepers {
    /// The number of a node, given to it when it has none.
    pub(super) fn number(&mut self, key: &PublicKey) -> u32 {
        if let Some(number) = self.numbers.get(key) {
            return *number;
        }
        let number = u32::try_from(self.keys.len()).expect("there is no memory for so many nodes");
        self.keys.push(*key);
        self.numbers.insert(*key, number);
        number
    }

    /// The number of a node.
    pub(super) fn find(&self, key: &PublicKey) -> Option<u32> {
        self.numbers.get(key).copied()
    }

    /// All of them, in the order of their numbers.
    pub(super) fn keys(&self) -> &[PublicKey] {
        &self.keys
    }
}

/// Where a fragment is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placed {
    /// The node that keeps it.
    pub(super) node: u32,
    /// The entry that put it there: its height, or its count ([`super::Order`]).
    pub(super) since: u64,
}

/// A grant. The author's key is not made a point before somebody asks, which would take longer than all else.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub(super) ledger_key: [u8; 33],
    pub(super) inner: [u8; 32],
    pub(super) expiry: u64,
    pub(super) m: u8,
    pub(super) seq: u32,
    pub(super) revocation: Option<[u8; 16]>,
    pub(super) placed: Box<[Placed]>,
}

impl Terms {
    /// A grant as its entry says it.
    pub(super) fn new(it: &Grant, since: u64, keepers: &mut Keepers) -> Self {
        let placed = it.nodes.iter().map(|key| Placed {
            node: keepers.number(key),
            since,
        });
        Self {
            ledger_key: it.ledger_key.to_bytes(),
            inner: it.inner,
            expiry: it.expiry,
            m: it.m,
            seq: it.seq,
            revocation: it.revocation,
            placed: placed.collect(),
        }
    }

    /// As an entry would say it now, handovers included. Nothing if an index was forged.
    pub(super) fn grant(&self, keepers: &Keepers) -> Option<Grant> {
        let key = |placed: &Placed| keepers.keys.get(placed.node as usize).copied();
        Some(Grant {
            ledger_key: PublicKey::from_bytes(&self.ledger_key).ok()?,
            inner: self.inner,
            expiry: self.expiry,
            m: self.m,
            nodes: self.placed.iter().map(key).collect::<Option<_>>()?,
            seq: self.seq,
            revocation: self.revocation,
        })
    }

    /// Where a fragment is.
    pub(super) fn place(&self, index: u8) -> Option<Placed> {
        self.placed.get(usize::from(index)).copied()
    }

    /// The same, to be changed.
    pub(super) fn place_mut(&mut self, index: u8) -> Option<&mut Placed> {
        self.placed.get_mut(usize::from(index))
    }

    /// Whether a node keeps one of the fragments.
    pub(super) fn has(&self, node: u32) -> bool {
        self.placed.iter().any(|placed| placed.node == node)
    }
}
