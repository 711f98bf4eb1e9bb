//! How a ledger is named in configurations: `file:/path`, `dht:keepers`, `evm:chain/contract?…` (LEDGER §6).

use std::path::PathBuf;

/// Where a ledger is.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum LedgerUrl {
    /// In a file of this machine.
    File(PathBuf),
    /// In replicas that nodes keep: what stands after `dht:`.
    Dht(String),
    /// On an EVM chain: what stands after `evm:`.
    Evm(String),
}

/// Why a text does not name a ledger.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// No `kind:` in front.
    #[error("a ledger is named as kind:place, for example file:/var/lib/kms/ledger")]
    NoKind,
    /// A kind not known here.
    #[error("ledgers of kind {0:?} are not known here; known: file, dht, evm")]
    UnknownKind(String),
    /// Nothing, or a relative path, after `file:`.
    #[error("file: needs an absolute path, for example file:/var/lib/kms/ledger")]
    NotAbsolute,
}

/// Reads the name of a ledger.
pub fn parse_url(text: &str) -> Result<LedgerUrl, UrlError> {
    let (kind, place) = text.split_once(':').ok_or(UrlError::NoKind)?;
    match kind {
        "file" => {
            let path = PathBuf::from(place.strip_prefix("//").unwrap_or(place));
            if path.is_absolute() {
                Ok(LedgerUrl::File(path))
            } else {
                Err(UrlError::NotAbsolute)
            }
        }
        "dht" => Ok(LedgerUrl::Dht(place.to_owned())),
        "evm" => Ok(LedgerUrl::Evm(place.to_owned())),
        other => Err(UrlError::UnknownKind(other.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_named_by_its_absolute_path() {
        for text in ["file:/a/b", "file:///a/b"] {
            assert_eq!(parse_url(text), Ok(LedgerUrl::File("/a/b".into())));
        }
        assert_eq!(parse_url("file:a/b"), Err(UrlError::NotAbsolute));
        assert_eq!(parse_url("file:"), Err(UrlError::NotAbsolute));
        assert_eq!(parse_url("evm:1/0x00"), Ok(LedgerUrl::Evm("1/0x00".into())));
        assert_eq!(
            parse_url("gold:x"),
            Err(UrlError::UnknownKind("gold".into()))
        );
        assert_eq!(parse_url("/a/b"), Err(UrlError::NoKind));
    }
}
