//! The bytes of one row (NODE §3).

use kms_proto::message::MAX_REMOVAL_BYTES;

/// A sealed fragment and what is needed to find its key and to tidy up.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Row {
    /// Which slot holds its key.
    pub slot: u64,
    /// When it was stored, Unix seconds.
    pub stored_at: u64,
    /// When its policy ends, Unix seconds.
    pub expiry: u64,
    /// The fragment, sealed under the key in the slot.
    pub sealed: Vec<u8>,
}

impl Row {
    /// Three numbers, big-endian, then the sealed bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(24 + self.sealed.len());
        out.extend_from_slice(&self.slot.to_be_bytes());
        out.extend_from_slice(&self.stored_at.to_be_bytes());
        out.extend_from_slice(&self.expiry.to_be_bytes());
        out.extend_from_slice(&self.sealed);
        out
    }

    /// Reads what [`Self::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (slot, rest) = number(bytes)?;
        let (stored_at, rest) = number(rest)?;
        let (expiry, sealed) = number(rest)?;
        Some(Self {
            slot,
            stored_at,
            expiry,
            sealed: sealed.to_vec(),
        })
    }

    /// The row without its sealed bytes.
    pub(crate) fn summary(mut self) -> Self {
        self.sealed = Vec::new();
        self
    }
}

/// What is remembered of a removal, so that a late or repeated message cannot bring the fragment back.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tombstone {
    /// When the fragment was erased, Unix seconds.
    pub at: u64,
    /// Until when this is remembered, Unix seconds.
    pub until: u64,
    /// Whether there was a fragment that is nowhere now.
    pub held: bool,
    /// The owner's signed request, if that is why; it convinces other nodes, too.
    pub request: Vec<u8>,
}

impl Tombstone {
    /// Two numbers, big-endian, a byte, and the request.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(17 + self.request.len());
        out.extend_from_slice(&self.at.to_be_bytes());
        out.extend_from_slice(&self.until.to_be_bytes());
        out.push(self.held.into());
        out.extend_from_slice(&self.request);
        out
    }

    /// Reads what [`Self::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (at, rest) = number(bytes)?;
        let (until, rest) = number(rest)?;
        let (held, request) = match rest {
            [0, request @ ..] => (false, request),
            [1, request @ ..] => (true, request),
            _ => return None,
        };
        (request.len() <= MAX_REMOVAL_BYTES).then(|| Self {
            at,
            until,
            held,
            request: request.to_vec(),
        })
    }
}

fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u64::from_be_bytes(*number), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_tombstones_survive_their_encoding_and_torn_ones_are_refused() {
        let row = Row {
            slot: 1,
            stored_at: 2,
            expiry: u64::MAX,
            sealed: vec![9; 5],
        };
        assert_eq!(Row::from_bytes(&row.to_bytes()), Some(row.clone()));
        assert_eq!(Row::from_bytes(&row.to_bytes()[..23]), None);
        let stone = Tombstone {
            at: 3,
            until: 4,
            held: true,
            request: vec![5; 9],
        };
        assert_eq!(
            Tombstone::from_bytes(&stone.to_bytes()),
            Some(stone.clone())
        );
        assert_eq!(Tombstone::from_bytes(&stone.to_bytes()[..16]), None);
        assert_eq!(Tombstone::from_bytes(&[7; 17]), None);
        assert_eq!(Tombstone::from_bytes(&[0; 18 + MAX_REMOVAL_BYTES]), None);
    }
}
