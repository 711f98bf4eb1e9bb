//! The bytes of one row (NODE §3).

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
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Tombstone {
    /// When the fragment was erased, Unix seconds.
    pub at: u64,
    /// Until when this is remembered, Unix seconds.
    pub until: u64,
    /// Whether there was a fragment.
    pub held: bool,
}

impl Tombstone {
    /// Two numbers, big-endian, and a byte.
    pub fn to_bytes(self) -> [u8; 17] {
        let mut out = [0; 17];
        out[..8].copy_from_slice(&self.at.to_be_bytes());
        out[8..16].copy_from_slice(&self.until.to_be_bytes());
        out[16] = self.held.into();
        out
    }

    /// Reads what [`Self::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (at, rest) = number(bytes)?;
        let (until, rest) = number(rest)?;
        let held = match rest {
            [0] => false,
            [1] => true,
            _ => return None,
        };
        Some(Self { at, until, held })
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
        };
        assert_eq!(Tombstone::from_bytes(&stone.to_bytes()), Some(stone));
        assert_eq!(Tombstone::from_bytes(&stone.to_bytes()[..16]), None);
        assert_eq!(Tombstone::from_bytes(&[7; 17]), None);
    }
}
