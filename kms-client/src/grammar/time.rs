//! Times in the sharing grammar: `ttl=7d`, `until=2030-12-24`, `until=2030-12-24T10:00:00Z`.
//!
//! Everything is UTC and whole seconds since 1970: a date without a zone must mean the same moment to the person who
//! grants, to every node and to the recipient.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::Date;

use super::GrammarError;

/// When access ends, as somebody wrote it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Expiry {
    /// So long after the grant.
    After(Ttl),
    /// At this moment.
    At(Until),
}

/// A span of time in seconds, never zero.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ttl(u64);

/// A moment, in seconds since 1970.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Until(u64);

/// 9999-12-31T23:59:59Z: the last moment that can be written with four digits of year.
const LAST_MOMENT: u64 = 253_402_300_799;
const DAY: u64 = 86_400;
const UNITS: [(char, u64); 5] = [('w', 7 * DAY), ('d', DAY), ('h', 3600), ('m', 60), ('s', 1)];

impl Expiry {
    /// The moment access ends for a grant made at `now` (seconds since 1970). Refused when it is over already.
    pub fn deadline(self, now: u64) -> Result<u64, GrammarError> {
        let at = match self {
            Self::After(ttl) => now.checked_add(ttl.0).ok_or(GrammarError::TooFar)?,
            Self::At(until) => until.0,
        };
        if at > LAST_MOMENT {
            return Err(GrammarError::TooFar);
        }
        if at <= now {
            return Err(GrammarError::Past { at: utc(at) });
        }
        Ok(at)
    }
}

impl Ttl {
    /// A span of `seconds`; zero is refused.
    pub fn from_seconds(seconds: u64) -> Result<Self, GrammarError> {
        if seconds == 0 {
            return Err(GrammarError::Duration {
                text: "0s".to_owned(),
            });
        }
        Ok(Self(seconds))
    }

    /// The span in seconds.
    #[must_use]
    pub const fn seconds(self) -> u64 {
        self.0
    }
}

impl Until {
    /// The moment in seconds since 1970.
    #[must_use]
    pub const fn seconds(self) -> u64 {
        self.0
    }
}

impl FromStr for Ttl {
    type Err = GrammarError;

    /// `90m`, `7d`, `1d12h`: numbers, each with its unit, the larger units first.
    fn from_str(text: &str) -> Result<Self, GrammarError> {
        let bad = || GrammarError::Duration {
            text: text.to_owned(),
        };
        let mut total = 0u64;
        let mut rest = text;
        let mut units = UNITS.iter();
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
            let (number, tail) = rest.split_at(digits);
            let number: u64 = number.parse().map_err(|_| bad())?;
            let unit = tail.chars().next().ok_or_else(bad)?;
            let (_, seconds) = units.find(|(name, _)| *name == unit).ok_or_else(bad)?;
            let part = number.checked_mul(*seconds).ok_or(GrammarError::TooFar)?;
            total = total.checked_add(part).ok_or(GrammarError::TooFar)?;
            rest = tail.strip_prefix(unit).unwrap_or_default();
        }
        if total > LAST_MOMENT {
            return Err(GrammarError::TooFar);
        }
        Self::from_seconds(total).map_err(|_| bad())
    }
}

impl FromStr for Until {
    type Err = GrammarError;

    /// A date lasts to the end of its day in UTC; a time needs `Z` or an offset.
    fn from_str(text: &str) -> Result<Self, GrammarError> {
        let bad = || GrammarError::Date {
            text: text.to_owned(),
        };
        // jiff understands more than is promised here (bracketed zones, spaces, week dates): only these characters pass.
        let plain = |b: u8| {
            b.is_ascii_digit() || matches!(b, b'-' | b'+' | b':' | b'.' | b'T' | b't' | b'Z' | b'z')
        };
        if !text.bytes().all(plain) {
            return Err(bad());
        }
        let seconds = if text.len() == "2030-12-24".len() {
            let date: Date = text.parse().map_err(|_| bad())?;
            let end = date
                .at(23, 59, 59, 0)
                .to_zoned(jiff::tz::TimeZone::UTC)
                .map_err(|_| bad())?;
            end.timestamp().as_second()
        } else {
            let time: Timestamp = text.parse().map_err(|_| bad())?;
            time.as_second()
        };
        let seconds = u64::try_from(seconds).map_err(|_| bad())?;
        if seconds > LAST_MOMENT {
            Err(GrammarError::TooFar)
        } else {
            Ok(Self(seconds))
        }
    }
}

impl fmt::Display for Expiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::After(ttl) => write!(f, "ttl={ttl}"),
            Self::At(until) => write!(f, "until={until}"),
        }
    }
}

impl fmt::Display for Ttl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        for (unit, seconds) in UNITS {
            // Weeks are read but not written: 14d is what everybody understands.
            if unit != 'w' && rest >= seconds {
                write!(f, "{}{unit}", rest / seconds)?;
                rest %= seconds;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Until {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 % DAY == DAY - 1 {
            return f.write_str(&date(self.0));
        }
        f.write_str(&utc(self.0))
    }
}

/// A moment as `2030-12-24T10:00:00Z`.
#[must_use]
pub fn utc(seconds: u64) -> String {
    moment(seconds).map_or_else(|| format!("@{seconds}"), |time| time.to_string())
}

/// The day of a moment in UTC, as `2030-12-24`.
#[must_use]
pub fn date(seconds: u64) -> String {
    moment(seconds).map_or_else(
        || format!("@{seconds}"),
        |time| time.to_zoned(jiff::tz::TimeZone::UTC).date().to_string(),
    )
}

fn moment(seconds: u64) -> Option<Timestamp> {
    Timestamp::from_second(i64::try_from(seconds).ok()?).ok()
}
