//! One provider, asked about one contract.

use serde_json::{Value, json};

use super::Mark;
use crate::{
    contract, hex,
    rpc::{Fault, Provider},
};

/// A provider and what it is asked about.
pub(crate) struct Source<'a> {
    pub(crate) provider: &'a Provider,
    pub(crate) contract: &'a [u8; 20],
}

/// A block's header, as far as it matters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block {
    pub(crate) mark: Mark,
    pub(crate) time: u64,
    /// Wei for a unit of gas.
    pub(crate) base_fee: u64,
}

/// An event of the contract.
pub(crate) struct Log {
    pub(crate) mark: Mark,
    pub(crate) topic: [u8; 32],
    pub(crate) data: Vec<u8>,
}

impl Source<'_> {
    /// Whether this is the chain and the contract that are meant.
    pub(crate) fn vouch(&self, chain_id: u64, network: &str) -> Result<(), Fault> {
        let found = hex::read_number(&self.provider.ask("eth_chainId", &json!([]))?)?;
        if found != chain_id {
            return Err(Fault::OtherChain {
                wanted: chain_id,
                found,
            });
        }
        let mine = match self.call(&contract::call("version()", &[])) {
            Ok(version) => version,
            // What has no function of that name may also revert.
            Err(Fault::Refused { .. }) => return Err(Fault::NoContract),
            Err(fault) => return Err(fault),
        };
        let mut version = [0; 32];
        version[24..].copy_from_slice(&contract::VERSION.to_be_bytes());
        if mine != version {
            return Err(Fault::NoContract);
        }
        let name = self.call(&contract::call("network()", &[]))?;
        let name = contract::unwrap_bytes(&name).ok_or(Fault::NoContract)?;
        if name != network.as_bytes() {
            return Err(Fault::OtherNetwork(
                String::from_utf8_lossy(name).into_owned(),
            ));
        }
        Ok(())
    }

    fn call(&self, data: &[u8]) -> Result<Vec<u8>, Fault> {
        let call = json!({ "to": hex::bytes(self.contract), "data": hex::bytes(data) });
        hex::read(&self.provider.ask("eth_call", &json!([call, "latest"]))?)
    }

    /// The last block.
    pub(crate) fn head(&self) -> Result<Block, Fault> {
        self.block_at(&json!("latest"))?.ok_or(Fault::Nonsense)
    }

    /// A block, if there is one of that number.
    pub(crate) fn block(&self, number: u64) -> Result<Option<Block>, Fault> {
        let block = self.block_at(&json!(hex::number(number)))?;
        match block {
            Some(block) if block.mark.number != number => Err(Fault::Nonsense),
            block => Ok(block),
        }
    }

    /// A block's hash.
    pub(crate) fn hash(&self, number: u64) -> Result<Option<[u8; 32]>, Fault> {
        Ok(self.block(number)?.map(|block| block.mark.hash))
    }

    fn block_at(&self, which: &Value) -> Result<Option<Block>, Fault> {
        let block = self
            .provider
            .ask("eth_getBlockByNumber", &json!([which, false]))?;
        if block.is_null() {
            return Ok(None);
        }
        Ok(Some(Block {
            mark: mark(&block, "number", "hash")?,
            time: hex::read_number(field(&block, "timestamp")?)?,
            base_fee: match block.get("baseFeePerGas") {
                Some(fee) => hex::read_number(fee)?,
                None => 0,
            },
        }))
    }

    /// The contract's events in the order of the chain.
    pub(crate) fn logs(&self, from: u64, to: u64) -> Result<Vec<Log>, Fault> {
        let filter = json!([{
            "address": hex::bytes(self.contract),
            "fromBlock": hex::number(from),
            "toBlock": hex::number(to),
        }]);
        let logs = self.provider.ask("eth_getLogs", &filter)?;
        let logs = logs.as_array().ok_or(Fault::Nonsense)?;
        let mut found = Vec::with_capacity(logs.len());
        for log in logs {
            let place = mark(log, "blockNumber", "blockHash")?;
            let index = hex::read_number(field(log, "logIndex")?)?;
            let address: [u8; 20] = hex::read_array(field(log, "address")?)?;
            if address != *self.contract || !(from..=to).contains(&place.number) {
                return Err(Fault::Nonsense);
            }
            let topic = field(log, "topics")?.get(0).ok_or(Fault::Nonsense)?;
            let log = Log {
                mark: place,
                topic: hex::read_array(topic)?,
                data: hex::read(field(log, "data")?)?,
            };
            found.push((place.number, index, log));
        }
        found.sort_by_key(|(number, index, _)| (*number, *index));
        Ok(found.into_iter().map(|(_, _, log)| log).collect())
    }
}

fn field<'a>(value: &'a Value, name: &str) -> Result<&'a Value, Fault> {
    value.get(name).ok_or(Fault::Nonsense)
}

fn mark(value: &Value, number: &str, hash: &str) -> Result<Mark, Fault> {
    Ok(Mark {
        number: hex::read_number(field(value, number)?)?,
        hash: hex::read_array(field(value, hash)?)?,
    })
}
