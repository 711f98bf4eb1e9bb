//! What a reader keeps for itself so as not to read a long ledger again (LEDGER §5.2.2).

use std::{collections::HashMap, sync::OnceLock};

use sha2::{Digest, Sha256};

use super::{Chain, LeftOut};
use crate::ledger::{Head, Order, State, record::take};

const MAGIC: [u8; 8] = *b"KMSLINDX";
const VERSION: u16 = 1;
const SUM_BYTES: usize = 32;
/// What stands there for each record.
const RECORD_BYTES: usize = 72;

/// Where the records stand in the file.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Places {
    /// Where each frame begins; of the record at height h, index h - 1.
    pub starts: Vec<u64>,
    /// Where the next one will.
    pub end: u64,
}

impl Chain {
    /// The index of this chain, whose records stand at these places.
    pub fn to_index(&self, places: &Places) -> Vec<u8> {
        let mut out = Vec::with_capacity(256 + self.hashes.len() * 2 * RECORD_BYTES);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_be_bytes());
        out.push(u8::from(self.order() == Order::Own));
        out.extend_from_slice(&(self.network.len() as u64).to_be_bytes()[6..]);
        out.extend_from_slice(self.network.as_bytes());
        let (expiry, height) = self.left_out.longest.unwrap_or_default();
        for number in [
            places.end,
            self.head.time,
            expiry,
            height,
            self.hashes.len() as u64,
        ] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        for ((hash, start), name) in self.hashes.iter().zip(&places.starts).zip(&self.names) {
            out.extend_from_slice(hash);
            out.extend_from_slice(&start.to_be_bytes());
            out.extend_from_slice(name);
        }
        self.state.write_index(&mut out);
        let sum = checksum(&out);
        out.extend_from_slice(&sum);
        out
    }

    /// The chain of which this is the index, if it is one of this network and order. That it is believed at all is the
    /// business of who calls: it must be as good as the head that is remembered.
    pub fn from_index(bytes: &[u8], network: &str, order: Order) -> Option<(Self, Places)> {
        let (body, sum) = bytes.split_last_chunk::<SUM_BYTES>()?;
        if checksum(body) != *sum {
            return None;
        }
        let mut rest = body;
        let known = take(&mut rest)? == MAGIC
            && u16::from_be_bytes(take(&mut rest)?) == VERSION
            && take(&mut rest)? == [u8::from(order == Order::Own)];
        let name_len = usize::from(u16::from_be_bytes(take(&mut rest)?));
        let (name, left) = rest.split_at_checked(name_len)?;
        rest = left;
        if !known || name != network.as_bytes() {
            return None;
        }
        let mut number = || take(&mut rest).map(u64::from_be_bytes);
        let (end, time, expiry, left_out_at) = (number()?, number()?, number()?, number()?);
        let count = usize::try_from(number()?).ok()?;
        let (records, left) = rest.split_at_checked(count.checked_mul(RECORD_BYTES)?)?;
        rest = left;
        let mut hashes = Vec::with_capacity(count);
        let mut names = Vec::with_capacity(count);
        let mut starts = Vec::with_capacity(count);
        for mut record in records.chunks_exact(RECORD_BYTES) {
            hashes.push(take(&mut record)?);
            starts.push(u64::from_be_bytes(take(&mut record)?));
            names.push(take(&mut record)?);
        }
        let state = State::read_index(order, &mut rest)?;
        if !rest.is_empty() {
            return None;
        }
        let head = match hashes.last() {
            Some(hash) => Head {
                height: hashes.len() as u64,
                hash: *hash,
                time,
            },
            None => Head::genesis(network),
        };
        let chain = Self {
            network: network.to_owned(),
            state,
            head,
            hashes,
            names,
            heights: OnceLock::new(),
            left_out: LeftOut {
                longest: (left_out_at > 0).then_some((expiry, left_out_at)),
                nodes: HashMap::new(),
            },
        };
        Some((chain, Places { starts, end }))
    }
}

fn checksum(body: &[u8]) -> [u8; SUM_BYTES] {
    let mut hash = Sha256::new();
    hash.update(b"kms/ledger-index/1");
    hash.update(body);
    hash.finalize().into()
}
