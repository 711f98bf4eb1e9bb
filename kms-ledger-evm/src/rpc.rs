//! Asking a provider: JSON-RPC over HTTP, or over HTTPS with the certificates that the system trusts.
//!
//! One connection a question, everything bounded: time, size, and what is believed of an answer's form.

mod http;
mod tls;

use std::{fmt, time::Duration};

use serde_json::{Value, json};

/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// Whom to ask.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Provider {
    scheme: Scheme,
    authority: String,
    path: String,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Scheme {
    Http,
    Https,
}

/// Why a provider's answer cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// No connection, or it broke.
    #[error("no answer: {0}")]
    Silent(#[source] std::io::Error),
    /// What came is not an answer to the question.
    #[error("its answer makes no sense")]
    Nonsense,
    /// It answers with an error of its own.
    #[error("it answers {message:?}")]
    Refused {
        /// Its words.
        message: String,
        /// What a contract said.
        data: Vec<u8>,
    },
    /// It is a provider of another chain.
    #[error("it is on chain {found}, not on {wanted}")]
    OtherChain {
        /// The chain configured.
        wanted: u64,
        /// Its chain.
        found: u64,
    },
    /// There is no contract of ours at the address.
    #[error("there is no kms ledger of version 1 at the address")]
    NoContract,
    /// The contract is another network's.
    #[error("the contract there is the ledger of the network {0:?}")]
    OtherNetwork(String),
    /// It does not know blocks that others have shown.
    #[error("it is at block {at}, while block {seen} has been seen")]
    Behind {
        /// Its last block.
        at: u64,
        /// The last block known.
        seen: u64,
    },
    /// The chain changed while it was read.
    #[error("the chain changed while it was read")]
    Unsettled,
    /// Sending would cost more than is allowed.
    #[error("a unit of gas costs {gwei} gwei, more than max_fee allows")]
    TooDear {
        /// The base fee.
        gwei: u64,
    },
}

impl Provider {
    /// Reads `http://host:port/path` or `https://host/path`, with or without a port.
    pub fn parse(url: &str) -> Result<Self, Fault> {
        let (scheme, rest) = match url.strip_prefix("https://") {
            Some(rest) => (Scheme::Https, rest),
            None => (
                Scheme::Http,
                url.strip_prefix("http://").ok_or(Fault::Nonsense)?,
            ),
        };
        let (authority, path) = match rest.split_once('/') {
            Some((authority, path)) => (authority, format!("/{path}")),
            None => (rest, "/".to_owned()),
        };
        let authority = match scheme {
            Scheme::Https if !has_port(authority) => format!("{authority}:443"),
            _ => authority.to_owned(),
        };
        let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        let port = authority
            .rsplit_once(':')
            .map(|(_, port)| port.parse::<u16>());
        if !matches!(port, Some(Ok(_))) || !plain(&authority) || !plain(&path) {
            return Err(Fault::Nonsense);
        }
        let provider = Self {
            scheme,
            authority,
            path,
        };
        match scheme {
            Scheme::Https => tls::name(provider.host()).map(|_| provider),
            Scheme::Http => Ok(provider),
        }
    }

    /// Its name or address, without the port.
    fn host(&self) -> &str {
        let host = self.authority.rsplit_once(':').map_or("", |(host, _)| host);
        host.trim_start_matches('[').trim_end_matches(']')
    }

    /// Asks one question.
    pub(crate) fn ask(&self, method: &str, params: &Value) -> Result<Value, Fault> {
        let question = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let answer = http::post(self, question.to_string().as_bytes(), PATIENCE)?;
        let mut answer: Value = serde_json::from_slice(&answer).map_err(|_| Fault::Nonsense)?;
        if let Some(error) = answer.get("error").filter(|error| !error.is_null()) {
            let message = error.get("message").and_then(Value::as_str);
            let data = error.get("data").and_then(Value::as_str);
            return Err(Fault::Refused {
                message: message.unwrap_or("an error without words").to_owned(),
                data: data.and_then(crate::hex::parse).unwrap_or_default(),
            });
        }
        answer
            .get_mut("result")
            .map(Value::take)
            .ok_or(Fault::Nonsense)
    }
}

impl fmt::Display for Provider {
    /// Without the path: it may hold a key that the provider has given out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        write!(f, "{scheme}://{}", self.authority)
    }
}

/// Whether a port is named; the colons within an IPv6 address name none.
fn has_port(authority: &str) -> bool {
    let after = authority
        .rsplit_once(']')
        .map_or(authority, |(_, rest)| rest);
    after.contains(':')
}
