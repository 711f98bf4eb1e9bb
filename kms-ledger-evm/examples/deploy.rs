//! Makes the contract of a network's ledger and prints the ledger's name:
//! `cargo run --release -p kms-ledger-evm --example deploy -- http://127.0.0.1:8545 KEYFILE [NETWORK]`

use std::{env, error::Error, path::Path};

use kms_ledger_evm::{Account, EvmName, Provider, deploy};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let (url, key, network) =
        match arguments.as_slice() {
            [url, key] => (url, key, kms_proto::DEFAULT_NETWORK),
            [url, key, network] => (url, key, network.as_str()),
            _ => return Err(
                "needs a provider's address, a key file and, if it has another name, the network"
                    .into(),
            ),
        };
    let made = deploy(
        &Provider::parse(url)?,
        &Account::read(Path::new(key), None, None)?,
        network,
    )?;
    let contract: String = made
        .contract
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let place = format!(
        "{}/0x{contract}?rpc={url}&from={}",
        made.chain_id, made.block
    );
    EvmName::parse(&place)?;
    println!("evm:{place}");
    Ok(())
}
