//! The text of a configuration: a small part of TOML, read by lines (FORMAT §8.1).

use data_encoding::HEXLOWER;

use super::ConfigError;

/// The entries of a configuration, each with where its line begins.
pub(super) struct Raw<'a> {
    text: &'a str,
    entries: Vec<(&'static str, usize, &'a str)>,
    unknown: Option<&'a str>,
}

/// Splits the text into its entries. Unknown ones are remembered: the version is looked at first.
pub(super) fn read(text: &str) -> Result<Raw<'_>, ConfigError> {
    let mut raw = Raw {
        text,
        entries: Vec::new(),
        unknown: None,
    };
    let mut at = 0;
    for (number, whole) in text.split_inclusive('\n').enumerate() {
        let refuse = ConfigError::Line { line: number + 1 };
        let line = whole.strip_suffix('\n').ok_or(refuse.clone())?;
        if !line.is_empty() && !line.starts_with('#') {
            let (key, value) = line.split_once(" = ").ok_or(refuse)?;
            match KEYS.into_iter().find(|known| *known == key) {
                None => raw.unknown = raw.unknown.or(Some(key)),
                Some(known) if raw.find(known).is_some() => return Err(ConfigError::Twice(known)),
                Some(known) => raw.entries.push((known, at, value)),
            }
        }
        at += whole.len();
    }
    Ok(raw)
}

impl<'a> Raw<'a> {
    pub(super) fn refuse_unknown(&self) -> Result<(), ConfigError> {
        match self.unknown {
            None => Ok(()),
            Some(key) => Err(ConfigError::UnknownKey {
                key: key.to_owned(),
            }),
        }
    }

    pub(super) fn number(&self, key: &'static str) -> Result<u64, ConfigError> {
        let value = self.value(key)?;
        let number: u64 = value.parse().map_err(|_| ConfigError::Value(key))?;
        if number.to_string() == value {
            Ok(number)
        } else {
            Err(ConfigError::Value(key))
        }
    }

    pub(super) fn string(&self, key: &'static str) -> Result<&'a str, ConfigError> {
        let value = self.value(key)?;
        let inner = value
            .strip_prefix('"')
            .and_then(|value| value.strip_suffix('"'));
        inner
            .filter(|value| !value.contains(['"', '\\']))
            .ok_or(ConfigError::Value(key))
    }

    pub(super) fn hex<const N: usize>(&self, key: &'static str) -> Result<[u8; N], ConfigError> {
        let bytes = HEXLOWER.decode(self.string(key)?.as_bytes());
        bytes
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or(ConfigError::Value(key))
    }

    /// The text before this entry, which must stand where [`KEYS`] has it, counted from the last line of all.
    pub(super) fn before(&self, key: &'static str) -> Result<&'a str, ConfigError> {
        let (_, at, _) = self.find(key).ok_or(ConfigError::Missing(key))?;
        let (before, rest) = self.text.split_at(*at);
        let place = KEYS.iter().rev().position(|known| *known == key);
        // No line may follow that is not accounted for, not even a comment.
        if place == rest.lines().count().checked_sub(1) {
            Ok(before)
        } else {
            Err(ConfigError::Value(key))
        }
    }

    fn value(&self, key: &'static str) -> Result<&'a str, ConfigError> {
        self.find(key)
            .map(|(_, _, value)| *value)
            .ok_or(ConfigError::Missing(key))
    }

    fn find(&self, key: &str) -> Option<&(&'static str, usize, &'a str)> {
        self.entries.iter().find(|(known, ..)| *known == key)
    }
}

const KEYS: [&str; 10] = [
    "format",
    "store",
    "owner",
    "cipher",
    "scheme",
    "chunk_bits",
    "created",
    "key",
    "mac",
    "signature",
];
