//! The keys that were fetched within the last second, and those that are being fetched (SEMANTICS 5.4).

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use kms_crypto::key::LabelSecret;
use parking_lot::Mutex;
use zeroize::Zeroizing;

use crate::{vfs::hooks::KeyError, waiter::Waiter};

/// How long tickets and keys count before they are looked at again: as long as
/// a revocation may take to be noticed.
pub(super) const LEASE: Duration = Duration::from_secs(1);

/// How many capsules' answers are kept.
const MAX_KEYS: usize = 4096;
/// How often somebody who waits looks whether he is still wanted.
pub(super) const LOOK: Duration = Duration::from_millis(100);

/// A secret that is wiped when forgotten, or why there is none.
type Kept = Result<Zeroizing<[u8; 32]>, KeyError>;

/// The last answer for one capsule. Whoever comes while it is being fetched
/// waits for it instead of asking again.
#[derive(Default)]
struct Cached {
    answer: Option<(Instant, Kept)>,
}

/// The answers by capsule.
#[derive(Default)]
pub(super) struct Keys(Arc<Mutex<Slots>>);

#[derive(Default)]
struct Slots {
    by_capsule: HashMap<Vec<u8>, Arc<Mutex<Cached>>>,
    /// A thread is there that forgets what is over.
    forgetting: bool,
}

impl Slots {
    fn forget(&mut self) {
        self.by_capsule.retain(|_, slot| {
            let is_fresh = |cached: &Cached| {
                let answer = cached.answer.as_ref();
                answer.is_some_and(|(at, _)| at.elapsed() < LEASE)
            };
            // Whoever fetches holds the lock.
            slot.try_lock().is_none_or(|cached| is_fresh(&cached)) || Arc::strong_count(slot) > 1
        });
    }
}

impl Keys {
    /// The secret in a capsule: the last answer, or what `fetch` says.
    pub(super) fn get(
        &self,
        capsule: &[u8],
        fetch: impl FnOnce() -> Result<LabelSecret, KeyError>,
    ) -> Result<LabelSecret, KeyError> {
        let (slot, asked, waiter) = (self.slot(capsule), Instant::now(), Waiter::here());
        let mut cached = loop {
            if let Some(cached) = slot.try_lock_for(LOOK) {
                break cached;
            }
            if waiter.has_left() {
                return Err(KeyError::Interrupted);
            }
        };
        match &cached.answer {
            Some((at, Ok(bytes))) if at.elapsed() < LEASE => {
                return Ok(LabelSecret::from_bytes(bytes));
            }
            // A failure is shared by all who waited for it. Whoever comes later may find that
            // the nodes are back.
            Some((at, Err(err))) if *at >= asked => return Err(err.clone()),
            _ => {}
        }
        let answer = fetch();
        // Others who wait for it have not left.
        if !matches!(answer, Err(KeyError::Interrupted)) {
            let kept = match &answer {
                Ok(secret) => Ok(Zeroizing::new(*secret.as_bytes())),
                Err(err) => Err(err.clone()),
            };
            cached.answer = Some((Instant::now(), kept));
        }
        drop(cached);
        drop(slot);
        self.forget_soon();
        answer
    }

    fn slot(&self, capsule: &[u8]) -> Arc<Mutex<Cached>> {
        let mut slots = self.0.lock();
        if slots.by_capsule.len() >= MAX_KEYS {
            slots
                .by_capsule
                .retain(|_, slot| Arc::strong_count(slot) > 1);
        }
        Arc::clone(slots.by_capsule.entry(capsule.to_vec()).or_default())
    }

    /// A key that counts no more does not stay in memory until somebody opens something else.
    fn forget_soon(&self) {
        let mut slots = self.0.lock();
        if slots.forgetting {
            return;
        }
        let keys = Arc::downgrade(&self.0);
        let started = std::thread::Builder::new()
            .name("kmsfs-forget".to_owned())
            .spawn(move || forget(&keys));
        slots.forgetting = started.is_ok();
    }
}

/// Forgets what is over until there is nothing left.
fn forget(keys: &Weak<Mutex<Slots>>) {
    loop {
        std::thread::sleep(LEASE);
        let Some(slots) = keys.upgrade() else {
            return;
        };
        let mut slots = slots.lock();
        slots.forget();
        if slots.by_capsule.is_empty() {
            // As large as it ever was, otherwise.
            slots.by_capsule.shrink_to_fit();
            slots.forgetting = false;
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret() -> Result<LabelSecret, KeyError> {
        Ok(LabelSecret::from_bytes(&[7; 32]))
    }

    /// Keys counted for a second and stayed in memory until 4,096 others had come.
    #[test]
    fn a_key_is_fetched_once_a_second_and_then_forgotten() {
        let keys = Keys::default();
        keys.get(b"one", secret).unwrap();
        let again = keys.get(b"one", || panic!("it is known"));
        assert_eq!(again.unwrap().as_bytes(), &[7; 32]);
        while !keys.0.lock().by_capsule.is_empty() {
            std::thread::yield_now();
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(!keys.0.lock().forgetting);
        keys.get(b"one", secret).unwrap();
        assert!(keys.0.lock().forgetting);
    }

    #[test]
    fn who_waits_with_somebody_that_leaves_asks_himself() {
        let keys = Keys::default();
        std::thread::scope(|scope| {
            let (begun, has_begun) = std::sync::mpsc::channel();
            let (leave, leaves) = std::sync::mpsc::channel();
            let keys = &keys;
            let first = scope.spawn(move || {
                keys.get(b"one", || {
                    begun.send(()).unwrap();
                    leaves.recv().unwrap();
                    Err(KeyError::Interrupted)
                })
            });
            has_begun.recv().unwrap();
            let second = scope.spawn(|| keys.get(b"one", secret));
            leave.send(()).unwrap();
            let left = first.join().unwrap();
            assert!(matches!(left, Err(KeyError::Interrupted)));
            assert!(second.join().unwrap().is_ok());
        });
    }
}
