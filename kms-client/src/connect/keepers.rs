//! How the keepers of a ledger are named: `dht:keeper,keeper?quorum=r` (LEDGER §6).

use kms_ledger::Keeper;
use kms_ledger::dht::{Quorum, QuorumError};

/// What stands after `dht:`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DhtName {
    /// Who has replicas.
    pub keepers: Vec<Keeper>,
    /// How many of them have to answer; by default more than half.
    pub quorum: Option<usize>,
}

/// Why a text does not name keepers.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DhtNameError {
    /// Neither a node's id nor an address that ends in one.
    #[error("{0:?} is neither a node's id nor an address that ends in /p2p/ and one")]
    Keeper(String),
    /// An option not known here, or without a number.
    #[error("{0:?} is not quorum= and a number")]
    Option(String),
    /// The list or the quorum is none.
    #[error(transparent)]
    Quorum(#[from] QuorumError),
}

impl DhtName {
    /// Reads the name. Without keepers in it, those that `bootstrap` names are.
    pub fn parse(text: &str, bootstrap: &[String]) -> Result<Self, DhtNameError> {
        let (list, options) = text.split_once('?').unwrap_or((text, ""));
        let named = list.split(',').filter(|it| !it.is_empty());
        let mut keepers: Vec<Keeper> = Vec::new();
        let from_bootstrap = bootstrap.iter().map(String::as_str);
        let texts: Vec<&str> = match list {
            "" => from_bootstrap.collect(),
            _ => named.collect(),
        };
        for text in texts {
            let keeper = keeper(text)?;
            match keepers.iter_mut().find(|it| it.key == keeper.key) {
                Some(known) => known.addrs.extend(keeper.addrs),
                None => keepers.push(keeper),
            }
        }
        let mut quorum = None;
        for option in options.split('&').filter(|it| !it.is_empty()) {
            let number = option
                .strip_prefix("quorum=")
                .and_then(|it| it.parse().ok());
            let number = number.ok_or_else(|| DhtNameError::Option(option.to_owned()))?;
            quorum = Some(number);
        }
        Quorum::of(keepers.len(), quorum)?;
        Ok(Self { keepers, quorum })
    }
}

fn keeper(text: &str) -> Result<Keeper, DhtNameError> {
    let (address, id) = match text.rsplit_once("/p2p/") {
        Some((_, id)) => (Some(text.to_owned()), id),
        None => (None, text),
    };
    let key = kms_net::public_key(id).ok_or_else(|| DhtNameError::Keeper(text.to_owned()))?;
    Ok(Keeper {
        key,
        addrs: address.into_iter().collect(),
    })
}

#[cfg(test)]
mod tests {
    use kms_crypto::key::NodeSecret;

    use super::*;

    fn ids<const N: usize>() -> [String; N] {
        std::array::from_fn(|_| {
            kms_net::peer_id(&NodeSecret::generate(&mut crate::client::rng()).public())
        })
    }

    #[test]
    fn keepers_are_named_by_ids_and_addresses_or_are_those_to_begin_with() {
        let [a, b, c] = ids();
        let at = |id: &String| format!("/ip4/192.0.2.1/tcp/4710/p2p/{id}");
        let name = DhtName::parse(&format!("{a},{}?quorum=2", at(&b)), &[at(&c)]).unwrap();
        assert_eq!((name.keepers.len(), name.quorum), (2, Some(2)));
        assert!(name.keepers[0].addrs.is_empty());
        assert_eq!(name.keepers[1].addrs, [at(&b)]);
        let twice = [at(&c), at(&a), format!("/dns4/example/tcp/1/p2p/{c}")];
        let name = DhtName::parse("", &twice).unwrap();
        assert_eq!((name.keepers.len(), name.quorum), (2, None));
        assert_eq!(name.keepers[0].addrs.len(), 2, "two addresses of one node");
    }

    #[test]
    fn mistakes_are_named() {
        let [a, b] = ids();
        for (text, word) in [
            ("", "1 to 64 keepers"),
            ("?quorum=1", "1 to 64 keepers"),
            ("me", "\"me\""),
            (&format!("{a},/ip4/192.0.2.1/tcp/1"), "tcp/1"),
            (&format!("{a},{b}?quorum=3"), "1 to 2"),
            (&format!("{a},{b}?quorum=0"), "1 to 2"),
            (&format!("{a}?quorum=many"), "quorum=many"),
            (&format!("{a}?lease=1"), "lease=1"),
        ] {
            let error = DhtName::parse(text, &[]).unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
