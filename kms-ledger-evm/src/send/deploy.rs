//! Making a network's contract (LEDGER §5.4).

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use super::{GWEI, LOOK_AGAIN, Outlay};
use crate::{
    Account, contract,
    follow::{FollowError, Source},
    hex,
    rpc::{Fault, Provider},
};

/// How long a new contract may take until it is there.
const DEPLOYED_WITHIN: Duration = Duration::from_secs(180);

/// Why a contract was not made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeployError {
    /// The contract has room for 1 to 23 bytes.
    #[error("the network's name has 1 to 23 bytes on a chain")]
    Network,
    /// The provider is of no use.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The chain does not take it.
    #[error("the chain did not make the contract in time")]
    NotMade,
}

/// A contract that was made.
#[derive(Clone, Copy, Debug)]
pub struct Deployed {
    /// The chain.
    pub chain_id: u64,
    /// Where it is.
    pub contract: [u8; 20],
    /// The block it was made in.
    pub block: u64,
}

/// Makes a network's contract.
pub fn deploy(
    provider: &Provider,
    account: &Account,
    network: &str,
) -> Result<Deployed, DeployError> {
    let data = contract::deployment(network).ok_or(DeployError::Network)?;
    let source = Source {
        provider,
        contract: &[0; 20],
    };
    let chain_id = hex::read_number(&provider.ask("eth_chainId", &json!([]))?)?;
    let outlay = Outlay {
        chain_id,
        max_fee_gwei: u64::MAX / GWEI,
        to: &[],
        data: &data,
    };
    let sent = match outlay.send(&source, account, None) {
        Ok(sent) => sent,
        Err(FollowError::Fault(fault)) => return Err(fault.into()),
        Err(FollowError::Ledger(_)) => return Err(DeployError::NotMade),
    };
    let deadline = Instant::now() + DEPLOYED_WITHIN;
    while Instant::now() < deadline {
        let receipt = source.receipt(&sent.hash)?;
        if !receipt.is_null() {
            let field = |name: &str| receipt.get(name).ok_or(Fault::Nonsense);
            return Ok(Deployed {
                chain_id,
                contract: hex::read_array(field("contractAddress")?)?,
                block: hex::read_number(field("blockNumber")?)?,
            });
        }
        thread::sleep(LOOK_AGAIN);
    }
    Err(DeployError::NotMade)
}
