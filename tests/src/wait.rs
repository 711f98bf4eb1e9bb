//! Waiting for what another process does, with an end.

use std::time::{Duration, Instant};

/// How long anything here may take before a test gives up on it. Generous: it only shows when something is broken.
pub const TIMEOUT: Duration = Duration::from_secs(60);

/// Asks until the answer is `Some`, or fails the test naming what was waited for.
#[track_caller]
pub fn eventually<T>(what: &str, within: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + within;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(
            Instant::now() < end,
            "waited {within:?} in vain for: {what}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}
