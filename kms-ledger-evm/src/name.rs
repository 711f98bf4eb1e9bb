//! How a ledger on a chain is named in configurations (LEDGER §6).

use std::path::PathBuf;

use crate::{
    hex,
    rpc::{Fault, Provider},
};

const DEFAULT_CONFIRMATIONS: u64 = 3;
const DEFAULT_MAX_FEE_GWEI: u64 = 500;
const EXAMPLE: &str = "evm:1/0x5fbdb2315678afecb367f032d93f642f64180aa3?rpc=http://127.0.0.1:8545";

/// What stands after `evm:`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EvmName {
    /// The chain.
    pub chain_id: u64,
    /// The contract.
    pub contract: [u8; 20],
    /// Who is asked, in this order.
    pub providers: Vec<Provider>,
    /// How many blocks lie on an entry's own until it counts.
    pub confirmations: u64,
    /// The first block worth reading.
    pub from: u64,
    /// The file with the secret of the account that pays.
    pub key: Option<PathBuf>,
    /// The file with the passphrase of a keystore.
    pub passphrase: Option<PathBuf>,
    /// The most to pay for a unit of gas, in gwei.
    pub max_fee_gwei: u64,
}

/// Why a text does not name a ledger on a chain.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// Not chain, contract and options.
    #[error("a ledger on a chain is named like {EXAMPLE}")]
    Form,
    /// The contract's address is not one.
    #[error("{0:?} is not a contract's address: 0x and 40 hexadecimal digits")]
    Contract(String),
    /// A value does not fit its option.
    #[error("{option}={value} does not fit")]
    Value {
        /// The option.
        option: String,
        /// What was said.
        value: String,
    },
    /// There is no such option.
    #[error("there is no option {0:?}; known: rpc, confirmations, from, key, passphrase, max_fee")]
    UnknownOption(String),
    /// Nobody to ask.
    #[error("rpc= is missing: which providers to ask, for example {EXAMPLE}")]
    NoProvider,
    /// A provider that cannot be spoken to.
    #[error("{url}: a provider is named http://host:port/path or https://host/path")]
    Provider {
        /// What was said.
        url: String,
    },
}

impl EvmName {
    /// Reads a name, without its `evm:`.
    pub fn parse(place: &str) -> Result<Self, NameError> {
        let (target, options) = place.split_once('?').unwrap_or((place, ""));
        let (chain, address) = target.split_once('/').ok_or(NameError::Form)?;
        let contract = hex::parse(address).and_then(|bytes| bytes.try_into().ok());
        let mut name = Self {
            chain_id: chain.parse().map_err(|_| NameError::Form)?,
            contract: contract.ok_or_else(|| NameError::Contract(address.to_owned()))?,
            providers: Vec::new(),
            confirmations: DEFAULT_CONFIRMATIONS,
            from: 0,
            key: None,
            passphrase: None,
            max_fee_gwei: DEFAULT_MAX_FEE_GWEI,
        };
        for option in options.split('&').filter(|option| !option.is_empty()) {
            let (option, value) = option.split_once('=').ok_or(NameError::Form)?;
            name.set(option, value)?;
        }
        if name.providers.is_empty() {
            return Err(NameError::NoProvider);
        }
        Ok(name)
    }

    fn set(&mut self, option: &str, value: &str) -> Result<(), NameError> {
        let unfit = || NameError::Value {
            option: option.to_owned(),
            value: value.to_owned(),
        };
        let number = || value.parse::<u64>().map_err(|_| unfit());
        match option {
            "rpc" => {
                let providers = value.split(',').map(|url| {
                    Provider::parse(url).map_err(|_: Fault| NameError::Provider {
                        url: url.to_owned(),
                    })
                });
                self.providers = providers.collect::<Result<_, _>>()?;
            }
            "confirmations" => self.confirmations = number()?,
            "from" => self.from = number()?,
            "max_fee" => self.max_fee_gwei = number()?,
            "key" | "passphrase" => {
                let path = PathBuf::from(value);
                let path = Some(path).filter(|path| path.is_absolute());
                let path = Some(path.ok_or_else(unfit)?);
                match option {
                    "key" => self.key = path,
                    _ => self.passphrase = path,
                }
            }
            other => return Err(NameError::UnknownOption(other.to_owned())),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTRACT: &str = "0x5fbdb2315678afecb367f032d93f642f64180aa3";

    #[test]
    fn a_name_says_chain_contract_and_whom_to_ask() {
        let name = EvmName::parse(&format!(
            "31337/{CONTRACT}?rpc=http://127.0.0.1:8545,http://[::1]:8546/path&confirmations=0&from=7&key=/k&max_fee=9"
        ))
        .unwrap();
        assert_eq!((name.chain_id, name.confirmations), (31337, 0));
        assert_eq!((name.from, name.max_fee_gwei), (7, 9));
        assert_eq!(name.key.unwrap(), PathBuf::from("/k"));
        assert_eq!(name.providers.len(), 2);
        assert_eq!(name.contract[0], 0x5f);
        let plain = EvmName::parse(&format!("1/{CONTRACT}?rpc=http://localhost:1")).unwrap();
        assert_eq!((plain.confirmations, plain.key), (3, None));
    }

    #[test]
    fn what_is_wrong_with_a_name_is_said() {
        let refused = |text: &str| EvmName::parse(text).unwrap_err();
        assert_eq!(refused(""), NameError::Form);
        assert_eq!(refused("one/0x00?rpc=http://a:1"), NameError::Form);
        assert_eq!(
            refused("1/0x00?rpc=http://a:1"),
            NameError::Contract("0x00".to_owned())
        );
        assert_eq!(refused(&format!("1/{CONTRACT}")), NameError::NoProvider);
        for (options, error) in [
            ("rpc=ftp://a:1", "https://host/path"),
            ("rpc=https://", "https://host/path"),
            ("rpc=", "http://host:port"),
            ("confirmations=few", "confirmations=few"),
            ("key=relative", "key=relative"),
            ("passphrase=relative", "passphrase=relative"),
            ("colour=red", "no option \"colour\""),
        ] {
            let told = refused(&format!("1/{CONTRACT}?{options}")).to_string();
            assert!(told.contains(error), "{told}");
        }
    }
}
