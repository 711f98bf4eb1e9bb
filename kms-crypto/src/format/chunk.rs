//! Sealing and opening the chunks of a file, in place (FORMAT §5.1).

use rand_core::CryptoRng;

use super::error::BodyError;
use super::keys::FileKeys;
use super::layout::Layout;
use super::leaf::Leaf;
use crate::aead::NONCE_LEN;

impl FileKeys {
    /// Replaces the plaintext of chunk `index` in `buf` by its ciphertext and returns its new leaf.
    #[must_use]
    pub fn seal_chunk(
        &self,
        index: u64,
        buf: &mut [u8],
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Leaf {
        let mut nonce = [0; NONCE_LEN];
        rng.fill_bytes(&mut nonce);
        self.seal_with(index, nonce, buf)
    }

    /// Seals a run of chunks that starts with chunk `first`: `buf` holds whole chunks and, at the file's end, a short
    /// one. The leaves are appended to `leaves`. Randomness is drawn for many chunks at a time.
    pub fn seal_chunks(
        &self,
        layout: Layout,
        first: u64,
        buf: &mut [u8],
        leaves: &mut Vec<Leaf>,
        rng: &mut (impl CryptoRng + ?Sized),
    ) {
        let chunk_len = usize::try_from(layout.chunk_len()).expect("a chunk is at most 64 KiB");
        let mut index = first;
        for batch in buf.chunks_mut(chunk_len * NONCE_BATCH) {
            let mut nonces = [[0; NONCE_LEN]; NONCE_BATCH];
            rng.fill_bytes(nonces.as_flattened_mut());
            for (chunk, nonce) in batch.chunks_mut(chunk_len).zip(nonces) {
                leaves.push(self.seal_with(index, nonce, chunk));
                index += 1;
            }
        }
    }

    /// Replaces the ciphertext of chunk `index` in `buf` by its plaintext: zeros if the leaf is that of a hole. When
    /// it is refused, `buf` is wiped.
    pub fn open_chunk(&self, index: u64, leaf: &Leaf, buf: &mut [u8]) -> Result<(), BodyError> {
        if leaf.is_hole() {
            buf.fill(0);
            return Ok(());
        }
        let Some(cipher) = self.chunk_cipher(leaf.epoch) else {
            buf.fill(0);
            return Err(BodyError::ChunkEpoch {
                index,
                epoch: leaf.epoch,
            });
        };
        let ad = associated_data(self.core_hash(), index);
        cipher
            .open_in_place(&leaf.nonce, &ad, buf, &leaf.tag)
            .map_err(|_| BodyError::Chunk { index })
    }

    fn seal_with(&self, index: u64, nonce: [u8; NONCE_LEN], buf: &mut [u8]) -> Leaf {
        let epoch = self.epoch();
        let cipher = self
            .chunk_cipher(epoch)
            .expect("the current epoch has a key");
        let ad = associated_data(self.core_hash(), index);
        Leaf {
            nonce,
            tag: cipher.seal_in_place(&nonce, &ad, buf),
            epoch,
        }
    }
}

impl Layout {
    /// Whether a backing file of `found` bytes can hold exactly `size` bytes.
    pub fn check_len(self, size: u64, found: u64) -> Result<(), BodyError> {
        let expected = self.backing_len(size);
        match found.cmp(&expected) {
            core::cmp::Ordering::Less => Err(BodyError::Truncated { expected, found }),
            core::cmp::Ordering::Equal => Ok(()),
            core::cmp::Ordering::Greater => Err(BodyError::Extended { expected, found }),
        }
    }
}

/// `"kms/chunk/1" ‖ core hash ‖ u64be index`.
fn associated_data(core_hash: &[u8; 32], index: u64) -> [u8; 51] {
    let mut ad = [0; 51];
    ad[..11].copy_from_slice(b"kms/chunk/1");
    ad[11..43].copy_from_slice(core_hash);
    ad[43..].copy_from_slice(&index.to_be_bytes());
    ad
}

const NONCE_BATCH: usize = 64;

#[cfg(test)]
mod tests {
    use super::super::keys::{EpochKey, KeyRing};
    use super::*;
    use crate::aead::Cipher;

    fn keys(core: u8, cipher: Cipher) -> FileKeys {
        let ring = KeyRing {
            current: EpochKey::new(1, &[5; 32]),
            prev: None,
        };
        FileKeys::new([core; 32], cipher, &ring)
    }

    #[test]
    fn a_chunk_of_another_place_or_file_is_refused() {
        let mut rng = rand_core::UnwrapErr(getrandom::SysRng);
        for cipher in Cipher::ALL {
            let mut buf = vec![7; 4096];
            let leaf = keys(1, cipher).seal_chunk(3, &mut buf, &mut rng);
            let sealed = buf;
            let open = |core, index, leaf: &Leaf, len| {
                let mut buf = sealed[..len].to_vec();
                let opened = keys(core, cipher).open_chunk(index, leaf, &mut buf);
                assert!(buf == [if opened.is_ok() { 7 } else { 0 }; 4096][..len]);
                opened
            };
            assert_eq!(open(1, 3, &leaf, 4096), Ok(()));
            let refused = |index| Err(BodyError::Chunk { index });
            assert_eq!(open(1, 4, &leaf, 4096), refused(4), "{cipher}");
            assert_eq!(open(2, 3, &leaf, 4096), refused(3), "{cipher}");
            assert_eq!(open(1, 3, &leaf, 4095), refused(3), "{cipher}");
            let other = Leaf { epoch: 2, ..leaf };
            let refused = BodyError::ChunkEpoch { index: 3, epoch: 2 };
            assert_eq!(open(1, 3, &other, 4096), Err(refused));
        }
    }

    #[test]
    fn a_run_of_chunks_opens_one_by_one() {
        let mut rng = rand_core::UnwrapErr(getrandom::SysRng);
        let layout = Layout::new(12).unwrap();
        let plain: Vec<u8> = (0..4096 * 70 + 9).map(|i| (i % 251) as u8).collect();
        let mut buf = plain.clone();
        let mut leaves = Vec::new();
        keys(1, Cipher::Aes256Gcm).seal_chunks(layout, 16, &mut buf, &mut leaves, &mut rng);
        assert_eq!(leaves.len(), 71);
        for (at, chunk) in buf.chunks_mut(4096).enumerate() {
            keys(1, Cipher::Aes256Gcm)
                .open_chunk(16 + at as u64, &leaves[at], chunk)
                .unwrap();
        }
        assert_eq!(buf, plain);
    }

    #[test]
    fn a_hole_reads_as_zeros_whatever_stands_there() {
        let mut buf = *b"left over";
        keys(1, Cipher::Aes256Gcm)
            .open_chunk(0, &Leaf::HOLE, &mut buf)
            .unwrap();
        assert_eq!(buf, [0; 9]);
    }
}
