//! What a program takes from its machine beside the time: random numbers, and threads on which it may block.
//!
//! A simulation puts itself in their place, on its own thread alone: random numbers that follow from a seed, and no
//! other threads, so that everything happens in the same order each time. Only with the feature `test-util`.

use std::convert::Infallible;

use rand_core::{CryptoRng, TryCryptoRng, TryRng, UnwrapErr};

/// The operating system's random numbers; a machine without them cannot do anything here.
pub fn rng() -> impl CryptoRng {
    Machine(UnwrapErr(getrandom::SysRng))
}

/// Whether this thread is a simulation: what may block is then done on it, here and now.
pub fn is_simulated() -> bool {
    #[cfg(feature = "test-util")]
    return simulation::is_on();
    #[cfg(not(feature = "test-util"))]
    return false;
}

struct Machine(UnwrapErr<getrandom::SysRng>);

impl TryRng for Machine {
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
        #[cfg(feature = "test-util")]
        if simulation::fill(bytes) {
            return Ok(());
        }
        self.0.try_fill_bytes(bytes)
    }
}

impl TryCryptoRng for Machine {}

#[cfg(feature = "test-util")]
pub use simulation::{Simulated, simulate};

#[cfg(feature = "test-util")]
mod simulation {
    use std::cell::Cell;
    use std::marker::PhantomData;

    thread_local! {
        static STATE: Cell<Option<u64>> = const { Cell::new(None) };
    }

    /// Makes this thread a simulation until the result is dropped: [`super::rng`] follows from `seed`.
    pub fn simulate(seed: u64) -> Simulated {
        STATE.set(Some(seed));
        Simulated(PhantomData)
    }

    /// A thread is a simulation as long as this is there.
    #[derive(Debug)]
    pub struct Simulated(PhantomData<*const ()>);

    impl Drop for Simulated {
        fn drop(&mut self) {
            STATE.set(None);
        }
    }

    pub(super) fn is_on() -> bool {
        STATE.get().is_some()
    }

    pub(super) fn fill(bytes: &mut [u8]) -> bool {
        let Some(mut state) = STATE.get() else {
            return false;
        };
        for chunk in bytes.chunks_mut(8) {
            // SplitMix64: spread well, predictable on purpose.
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut word = state;
            word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            word ^= word >> 31;
            chunk.copy_from_slice(&word.to_le_bytes()[..chunk.len()]);
        }
        STATE.set(Some(state));
        true
    }
}
