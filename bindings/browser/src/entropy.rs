//! Random numbers from what the page took from its browser for one call.

use std::convert::Infallible;

use kms_crypto::kdf;
use rand_core::{TryCryptoRng, TryRng};
use zeroize::Zeroizing;

/// A generator for one call: HMAC-SHA256, under 32 bytes that nobody else knows, of a counter.
pub struct Entropy {
    seed: Zeroizing<[u8; 32]>,
    counter: u64,
}

impl Entropy {
    /// `seed` is used for nothing else.
    #[must_use]
    pub fn new(seed: &[u8; 32]) -> Self {
        Self {
            seed: Zeroizing::new(*seed),
            counter: 0,
        }
    }
}

impl TryRng for Entropy {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for piece in bytes.chunks_mut(32) {
            self.counter += 1;
            let counter = self.counter.to_be_bytes();
            let block = Zeroizing::new(kdf::mac(&self.seed, "kms/browser-entropy/1", &[&counter]));
            piece.copy_from_slice(&block[..piece.len()]);
        }
        Ok(())
    }
}

impl TryCryptoRng for Entropy {}

#[cfg(test)]
mod tests {
    use rand_core::Rng;

    use super::*;

    #[test]
    fn nothing_comes_twice() {
        let mut one = Entropy::new(&[1; 32]);
        let (mut long, mut again) = ([0; 80], [0; 80]);
        one.fill_bytes(&mut long);
        one.fill_bytes(&mut again);
        let mut blocks: Vec<&[u8]> = long.chunks(16).chain(again.chunks(16)).collect();
        blocks.sort_unstable();
        blocks.dedup();
        assert_eq!(blocks.len(), 10);
        let mut other = [0; 80];
        Entropy::new(&[2; 32]).fill_bytes(&mut other);
        assert_ne!(long, other);
    }
}
