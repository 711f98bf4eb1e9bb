//! One journal record as bytes (JOURNAL §3).
//!
//! The head (what, where, how long) is under a MAC; the payload, ciphertext and sealed headers, is covered by a CRC in
//! the head: what it does to a file is verified by the file's own seals anyway.

use kms_crypto::kdf;
use thiserror::Error;

use crate::freshness::Mark;

/// A stretch of a stored file with new bytes for it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Piece {
    /// Where in the stored file.
    pub offset: u64,
    /// What stands there from now on.
    pub bytes: Vec<u8>,
}

/// A stretch that was written to the stored file directly, not through the journal. The record counts only if it is there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Direct {
    /// Where in the stored file.
    pub offset: u64,
    /// How many bytes.
    pub len: u64,
    /// CRC-32C of them.
    pub crc: u32,
}

/// What a record says about one stored file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Record {
    /// The file's, or directory's, id.
    pub id: [u8; 16],
    /// Where the stored file is, as names from the store's root; two places while it is being renamed.
    pub paths: Vec<Vec<String>>,
    /// What happens to it.
    pub action: Action,
}

/// What happens to a stored file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Action {
    /// The file is being made. If it has no header after a crash, it was never there.
    Create,
    /// Bytes are being appended that no header speaks of yet: after a crash the file is cut to what its header says.
    Append,
    /// A new state.
    Commit {
        /// The state that this one follows.
        base: Mark,
        /// This one.
        mark: Mark,
        /// The length of the stored file in this state.
        len: u64,
        /// What is written over committed bytes.
        pieces: Vec<Piece>,
        /// What was appended directly.
        direct: Vec<Direct>,
    },
}

/// A record that is cut off, torn or not ours: the end of the journal.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("not a whole record")]
pub struct NoRecord;

const MAGIC: [u8; 4] = *b"KJR1";
const FIXED: usize = 4 + 8 + 4 + 4 + 4;
const MAC_LEN: usize = 32;
const DOMAIN: &str = "kms/journal-record/1";
const MAX_HEAD: usize = 64 * 1024 * 1024;
const APPEND: u8 = 1;
const COMMIT: u8 = 2;
const CREATE: u8 = 3;

impl Record {
    /// The record's bytes: fixed part, head, MAC, payload.
    pub(super) fn encode(&self, key: &[u8; 32], run: u64) -> Vec<u8> {
        let mut head = Vec::with_capacity(256);
        head.extend_from_slice(&self.id);
        put_count(&mut head, self.paths.len());
        for path in &self.paths {
            put_count(&mut head, path.len());
            for name in path {
                put_count(&mut head, name.len());
                head.extend_from_slice(name.as_bytes());
            }
        }
        let mut payload_len = 0;
        let mut crc = 0;
        match &self.action {
            Action::Create => head.push(CREATE),
            Action::Append => head.push(APPEND),
            Action::Commit {
                base,
                mark,
                len,
                pieces,
                direct,
            } => {
                head.push(COMMIT);
                for mark in [base, mark] {
                    head.extend_from_slice(&mark.generation.to_be_bytes());
                    head.extend_from_slice(&mark.seal);
                }
                head.extend_from_slice(&len.to_be_bytes());
                put_count(&mut head, pieces.len());
                for piece in pieces {
                    head.extend_from_slice(&piece.offset.to_be_bytes());
                    put_count(&mut head, piece.bytes.len());
                    payload_len += piece.bytes.len();
                    crc = crc32c::crc32c_append(crc, &piece.bytes);
                }
                put_count(&mut head, direct.len());
                for direct in direct {
                    head.extend_from_slice(&direct.offset.to_be_bytes());
                    head.extend_from_slice(&direct.len.to_be_bytes());
                    head.extend_from_slice(&direct.crc.to_be_bytes());
                }
            }
        }
        let mut out = Vec::with_capacity(FIXED + head.len() + MAC_LEN + payload_len);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&run.to_be_bytes());
        put_count(&mut out, head.len());
        put_count(&mut out, payload_len);
        out.extend_from_slice(&crc.to_be_bytes());
        out.extend_from_slice(&head);
        let mac = kdf::mac(key, DOMAIN, &[&out]);
        out.extend_from_slice(&mac);
        if let Action::Commit { pieces, .. } = &self.action {
            for piece in pieces {
                out.extend_from_slice(&piece.bytes);
            }
        }
        out
    }

    /// The record at the front of `bytes`, and its length.
    pub(super) fn decode(
        bytes: &[u8],
        key: &[u8; 32],
        run: u64,
    ) -> Result<(Self, usize), NoRecord> {
        let mut fixed = Fields(bytes.get(..FIXED).ok_or(NoRecord)?);
        if fixed.take(4)? != MAGIC || fixed.u64()? != run {
            return Err(NoRecord);
        }
        let (head_len, payload_len, crc) = (fixed.count()?, fixed.count()?, fixed.u32()?);
        if head_len > MAX_HEAD {
            return Err(NoRecord);
        }
        let mac_at = FIXED.checked_add(head_len).ok_or(NoRecord)?;
        let payload_at = mac_at.checked_add(MAC_LEN).ok_or(NoRecord)?;
        let end = payload_at.checked_add(payload_len).ok_or(NoRecord)?;
        let payload = bytes.get(payload_at..end).ok_or(NoRecord)?;
        let signed = bytes.get(..mac_at).ok_or(NoRecord)?;
        let mac = bytes
            .get(mac_at..payload_at)
            .and_then(|mac| mac.try_into().ok())
            .ok_or(NoRecord)?;
        if !kdf::mac_holds(key, DOMAIN, &[signed], mac) || crc32c::crc32c(payload) != crc {
            return Err(NoRecord);
        }
        let head = signed.get(FIXED..).ok_or(NoRecord)?;
        Ok((Self::decode_head(head, payload)?, end))
    }

    fn decode_head(head: &[u8], payload: &[u8]) -> Result<Self, NoRecord> {
        let mut head = Fields(head);
        let mut payload = Fields(payload);
        let id = head.take(16)?.try_into().map_err(|_| NoRecord)?;
        let mut paths = Vec::new();
        for _ in 0..head.count()? {
            let mut path = Vec::new();
            for _ in 0..head.count()? {
                let len = head.count()?;
                path.push(String::from_utf8(head.take(len)?.to_vec()).map_err(|_| NoRecord)?);
            }
            paths.push(path);
        }
        let action = match head.take(1)? {
            [CREATE] => Action::Create,
            [APPEND] => Action::Append,
            [COMMIT] => {
                let (base, mark, len) = (head.mark()?, head.mark()?, head.u64()?);
                let mut pieces = Vec::new();
                for _ in 0..head.count()? {
                    let offset = head.u64()?;
                    let len = head.count()?;
                    pieces.push(Piece {
                        offset,
                        bytes: payload.take(len)?.to_vec(),
                    });
                }
                let mut direct = Vec::new();
                for _ in 0..head.count()? {
                    direct.push(Direct {
                        offset: head.u64()?,
                        len: head.u64()?,
                        crc: head.u32()?,
                    });
                }
                Action::Commit {
                    base,
                    mark,
                    len,
                    pieces,
                    direct,
                }
            }
            _ => return Err(NoRecord),
        };
        if head.0.is_empty() && payload.0.is_empty() {
            Ok(Self { id, paths, action })
        } else {
            Err(NoRecord)
        }
    }
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    let count = u32::try_from(count).expect("records are far below 4 GiB");
    out.extend_from_slice(&count.to_be_bytes());
}

/// Reads fields off the front.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], NoRecord> {
        let (field, rest) = self.0.split_at_checked(len).ok_or(NoRecord)?;
        self.0 = rest;
        Ok(field)
    }

    fn u64(&mut self) -> Result<u64, NoRecord> {
        self.take(8)?
            .try_into()
            .map(u64::from_be_bytes)
            .map_err(|_| NoRecord)
    }

    fn mark(&mut self) -> Result<Mark, NoRecord> {
        let generation = self.u64()?;
        let seal = self.take(16)?.try_into().map_err(|_| NoRecord)?;
        Ok(Mark { generation, seal })
    }

    fn u32(&mut self) -> Result<u32, NoRecord> {
        self.take(4)?
            .try_into()
            .map(u32::from_be_bytes)
            .map_err(|_| NoRecord)
    }

    fn count(&mut self) -> Result<usize, NoRecord> {
        self.u32()
            .and_then(|count| usize::try_from(count).map_err(|_| NoRecord))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Record {
        Record {
            id: [3; 16],
            paths: vec![vec!["a".into(), "bcd".into()], vec!["e".into()]],
            action: Action::Commit {
                base: Mark {
                    generation: 4,
                    seal: [4; 16],
                },
                mark: Mark {
                    generation: 5,
                    seal: [5; 16],
                },
                len: 9000,
                pieces: vec![
                    Piece {
                        offset: 0,
                        bytes: vec![1; 4096],
                    },
                    Piece {
                        offset: 8192,
                        bytes: vec![2; 808],
                    },
                ],
                direct: vec![Direct {
                    offset: 5000,
                    len: 7,
                    crc: 77,
                }],
            },
        }
    }

    #[test]
    fn a_record_survives_its_encoding() {
        let small = [Action::Append, Action::Create].map(|action| Record {
            action,
            ..example()
        });
        for record in small.into_iter().chain([example()]) {
            let bytes = record.encode(&[9; 32], 12);
            assert_eq!(
                Record::decode(&bytes, &[9; 32], 12),
                Ok((record, bytes.len()))
            );
        }
    }

    #[test]
    fn a_record_cut_short_altered_or_of_another_run_is_none() {
        let bytes = example().encode(&[9; 32], 12);
        assert_eq!(Record::decode(&bytes, &[9; 32], 11), Err(NoRecord));
        assert_eq!(Record::decode(&bytes, &[8; 32], 12), Err(NoRecord));
        for len in 0..bytes.len() {
            assert_eq!(Record::decode(&bytes[..len], &[9; 32], 12), Err(NoRecord));
        }
        for at in 0..bytes.len() {
            let mut altered = bytes.clone();
            altered[at] ^= 1;
            assert_eq!(
                Record::decode(&altered, &[9; 32], 12),
                Err(NoRecord),
                "byte {at}"
            );
        }
    }
}
