//! Lengths of time as people write them.

use std::time::Duration;

/// A length of time that is not one.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} is not a length of time: write a number and s, m, h, d, w or y, for example 90d")]
pub struct DurationTextError(String);

/// Reads `90d`, `12h`, `2w`.
pub fn parse_duration(text: &str) -> Result<Duration, DurationTextError> {
    let refuse = || DurationTextError(text.to_owned());
    let unit = text.chars().next_back().ok_or_else(refuse)?;
    let seconds: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 60 * 60,
        'd' => 24 * 60 * 60,
        'w' => 7 * 24 * 60 * 60,
        'y' => 365 * 24 * 60 * 60,
        _ => return Err(refuse()),
    };
    let digits = text.strip_suffix(unit).ok_or_else(refuse)?;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(refuse());
    }
    let number: u64 = digits.parse().map_err(|_| refuse())?;
    number
        .checked_mul(seconds)
        .map(Duration::from_secs)
        .ok_or_else(refuse)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_read_as_people_write_them() {
        assert_eq!(parse_duration("90d"), Ok(Duration::from_secs(90 * 86_400)));
        assert_eq!(parse_duration("2h"), Ok(Duration::from_secs(7200)));
        for bad in [
            "",
            "d",
            "5",
            "-1d",
            "+1d",
            "1.5h",
            "99999999999999999999d",
            "9999999999999999y",
            "1é",
        ] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }
}
