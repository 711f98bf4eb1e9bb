//! Asking a running node how it is.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use kms_crypto::key::PublicKey;
use kms_net::{ClientConfig, NetClient, NetError};
use kms_proto::message::{NodeStatus, Query, Response};
use kms_proto::transport::{Transport, TransportError};

use crate::config::Config;
use crate::daemon::ADDRESSES_FILE;

/// Why there is no status.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StatusError {
    /// No node says that it runs on this data.
    #[error("no node is running on {path}: {source}")]
    NotRunning {
        /// The data directory.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The node's addresses do not name a node.
    #[error("the file of the node's addresses is damaged")]
    Damaged,
    /// The network does not start.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The node does not answer.
    #[error("the node {0}")]
    NoAnswer(#[from] TransportError),
    /// The node answers something else.
    #[error("the node answers with something else than what it was asked")]
    NotAStatus,
}

const TIMEOUT: Duration = Duration::from_secs(5);

/// A node that runs on this machine, and a way to it.
pub struct Local {
    client: NetClient,
    /// Its key.
    pub key: PublicKey,
    addresses: Vec<String>,
}

impl Local {
    /// Finds the node that runs on a configuration's data.
    pub fn find(config: &Config) -> Result<Self, StatusError> {
        let path = config.data_dir.join(ADDRESSES_FILE);
        let text = fs::read_to_string(&path).map_err(|source| StatusError::NotRunning {
            path: config.data_dir.clone(),
            source,
        })?;
        let addresses: Vec<String> = text.lines().map(str::to_owned).collect();
        let id = addresses
            .first()
            .and_then(|address| address.rsplit_once("/p2p/"))
            .ok_or(StatusError::Damaged)?
            .1;
        let key = kms_net::public_key(id).ok_or(StatusError::Damaged)?;
        let client = NetClient::start(&ClientConfig {
            network: config.network.clone(),
            bootstrap: Vec::new(),
        })?;
        Ok(Self {
            client,
            key,
            addresses,
        })
    }

    /// Asks it one thing.
    pub async fn ask(&self, message: Vec<u8>) -> Result<Response, StatusError> {
        let answer = self
            .client
            .call(&self.key, &self.addresses, message, TIMEOUT)
            .await?;
        Response::from_bytes(&answer).map_err(|_| StatusError::NotAStatus)
    }
}

/// Asks the node that runs on a configuration's data.
pub async fn ask(config: &Config) -> Result<NodeStatus, StatusError> {
    let node = Local::find(config)?;
    match node.ask(Query::Status.to_bytes()).await? {
        Response::Status(status) if status.node == node.key => Ok(status),
        _ => Err(StatusError::NotAStatus),
    }
}

/// The status as lines for people.
pub fn lines(status: &NodeStatus) -> String {
    let ledger = match &status.head {
        Some(head) => format!("record {} of {}", head.height, moment(head.time)),
        None => "out of sight".to_owned(),
    };
    format!(
        "node      {}\nnetwork   {}\nversion   {}\nfragments {}\nserves    until {}\nledger    {ledger}\naddresses {}\n",
        status.node,
        status.network,
        status.version,
        status.fragments,
        moment(status.available_until),
        status.addrs.join("\n          "),
    )
}

/// The status as one JSON document.
pub fn json(status: &NodeStatus) -> String {
    let head = status.head.as_ref().map_or("null".to_owned(), |head| {
        let hash = data_encoding::HEXLOWER.encode(&head.hash);
        format!(
            "{{\"height\":{},\"hash\":\"{hash}\",\"time\":{}}}",
            head.height, head.time
        )
    });
    let addresses: Vec<String> = status.addrs.iter().map(|address| quoted(address)).collect();
    format!(
        "{{\"node\":{},\"network\":{},\"version\":{},\"time\":{},\"available_until\":{},\"fragments\":{},\"own_key\":{},\"head\":{head},\
         \"addresses\":[{}]}}\n",
        quoted(&status.node.to_string()),
        quoted(&status.network),
        quoted(&status.version),
        status.time,
        status.available_until,
        status.fragments,
        status.own_key,
        addresses.join(","),
    )
}

pub(crate) fn quoted(text: &str) -> String {
    let escaped: String = text
        .chars()
        .flat_map(|c| match c {
            '"' | '\\' => vec!['\\', c],
            c if c.is_control() => format!("\\u{:04x}", u32::from(c)).chars().collect(),
            c => vec![c],
        })
        .collect();
    format!("\"{escaped}\"")
}

fn moment(seconds: u64) -> String {
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
        .map_or_else(|| seconds.to_string(), |moment| moment.to_string())
}
