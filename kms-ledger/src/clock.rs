//! The time, given to a ledger from outside so that tests can turn it.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

/// Says what time it is, in Unix seconds.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// This machine's clock.
pub fn system_clock() -> Clock {
    // A clock set before 1970 is as good as one that says 1970: every record lies ahead of it.
    Arc::new(|| {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs())
    })
}
