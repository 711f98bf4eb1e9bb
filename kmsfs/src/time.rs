//! Times as people write and read them.

use jiff::{Timestamp, tz::TimeZone};

/// Today, in the local calendar, as `2026-11-22`.
pub fn today() -> String {
    let now = Timestamp::now().to_zoned(TimeZone::system());
    now.strftime("%Y-%m-%d").to_string()
}

/// Seconds since 1970.
pub fn now() -> u64 {
    u64::try_from(Timestamp::now().as_second()).unwrap_or(0)
}

/// A moment as `2026-11-22 10:14 UTC`.
pub fn moment(seconds: u64) -> String {
    match timestamp(seconds) {
        Some(time) => time.strftime("%Y-%m-%d %H:%M UTC").to_string(),
        None => "the end of time".to_owned(),
    }
}

/// The day of a moment as `2026-11-22`; a moment less than two days away as
/// `2026-11-22T10:14Z`, since the day alone would say too little.
pub fn day_or_moment(seconds: u64, now: u64) -> String {
    match timestamp(seconds) {
        Some(time) if seconds.abs_diff(now) < 2 * 86_400 => {
            time.strftime("%Y-%m-%dT%H:%MZ").to_string()
        }
        Some(time) => time.strftime("%Y-%m-%d").to_string(),
        None => "ever".to_owned(),
    }
}

/// A moment for comments in files: `2026-11-22T10:14:05Z`.
pub fn stamp() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A moment for file names: `20261122-101405`, of the world's clock.
pub fn compact() -> String {
    Timestamp::now().strftime("%Y%m%d-%H%M%S").to_string()
}

fn timestamp(seconds: u64) -> Option<Timestamp> {
    Timestamp::from_second(i64::try_from(seconds).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_read_as_people_write_them() {
        assert_eq!(moment(0), "1970-01-01 00:00 UTC");
        assert_eq!(day_or_moment(86_400 * 10 + 3600, 0), "1970-01-11");
        assert_eq!(day_or_moment(3600, 0), "1970-01-01T01:00Z");
        assert_eq!(moment(u64::MAX), "the end of time");
    }
}
