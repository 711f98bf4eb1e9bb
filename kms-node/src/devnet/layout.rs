//! The files of a devnet: `DIR/ledger` and `DIR/node-K/{config.toml,log,pid,data/}`.
//!
//! A directory from an earlier devnet is used as it is, with its keys, fragments and ports.

use std::fs;
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use crate::config::{ConfigError, RawConfig};
use crate::keyfile::{self, KeyFileError};
use crate::rng;

/// Why a devnet's files cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// A file or directory cannot be made.
    #[error("cannot make {path}: {source}")]
    Io {
        /// Which one.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The path cannot stand in the line that is printed.
    #[error("the path {0:?} contains spaces or is not text")]
    Path(PathBuf),
    /// A node's identity cannot be made.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// A configuration from earlier cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No port is free.
    #[error("no free port was found")]
    Ports,
}

/// One node's files.
#[derive(Clone, Debug)]
pub struct PlannedNode {
    /// Which one, from 1.
    pub number: u8,
    /// Its directory.
    pub dir: PathBuf,
    /// Its address, ending in `/p2p/…`.
    pub address: String,
}

impl PlannedNode {
    /// Its configuration.
    pub fn config(&self) -> PathBuf {
        self.dir.join("config.toml")
    }

    /// Its log.
    pub fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// The file with its process id.
    pub fn pid(&self) -> PathBuf {
        self.dir.join("pid")
    }
}

/// A devnet's files.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The ledger's name.
    pub ledger: String,
    /// The nodes.
    pub nodes: Vec<PlannedNode>,
}

/// Below the ports that systems give to outgoing connections: a node must find its port free when it returns.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
// The name that clients assume: the ready line has all that they need to be told.
const NETWORK: &str = kms_proto::DEFAULT_NETWORK;

impl Plan {
    /// Makes the files that are not there yet.
    pub fn make(dir: &Path, count: u8, listen_base: Option<u16>) -> Result<Self, LayoutError> {
        let dir = fs::canonicalize(dir).map_err(|source| LayoutError::Io {
            path: dir.to_owned(),
            source,
        })?;
        let text = dir
            .to_str()
            .filter(|text| !text.contains([' ', ',', '\t', '\n']));
        let ledger = format!(
            "file:{}/ledger",
            text.ok_or_else(|| LayoutError::Path(dir.clone()))?
        );
        let mut ports = Ports::new(listen_base);
        let mut nodes = Vec::new();
        for number in 1..=count {
            nodes.push(plan_node(&dir, number, &mut ports)?);
        }
        drop(ports);
        for node in &nodes {
            write_config(node, &nodes)?;
        }
        Ok(Self { ledger, nodes })
    }
}

fn plan_node(dir: &Path, number: u8, ports: &mut Ports) -> Result<PlannedNode, LayoutError> {
    let dir = dir.join(format!("node-{number}"));
    fs::create_dir_all(dir.join("data")).map_err(|source| LayoutError::Io {
        path: dir.clone(),
        source,
    })?;
    let key = keyfile::node_secret(&dir.join("data/node.key"))?.public();
    let existing = dir.join("config.toml");
    let listen = if existing.exists() {
        RawConfig::read(&existing)?
            .listen
            .and_then(|listen| listen.first().cloned())
    } else {
        None
    };
    let listen = match listen {
        Some(listen) => listen,
        None => format!("/ip4/127.0.0.1/tcp/{}", ports.next(number)?),
    };
    Ok(PlannedNode {
        number,
        dir,
        address: format!("{listen}/p2p/{}", kms_net::peer_id(&key)),
    })
}

fn write_config(node: &PlannedNode, all: &[PlannedNode]) -> Result<(), LayoutError> {
    let path = node.config();
    if path.exists() {
        return Ok(());
    }
    let listen = node.address.split("/p2p/").next().unwrap_or_default();
    let others = all.iter().filter(|other| other.number != node.number);
    let bootstrap: String = others
        .map(|other| format!("    \"{}\",\n", other.address))
        .collect();
    let text = format!(
        "# Node {} of a devnet. Paths are relative to this file.\n\
         data_dir = \"data\"\n\
         pid_file = \"pid\"\n\
         network = \"{NETWORK}\"\n\
         ledger = \"file:../ledger\"\n\
         listen = [\"{listen}\"]\n\
         bootstrap = [\n{bootstrap}]\n",
        node.number
    );
    let temporary = node.dir.join("config.toml.new");
    let written = fs::write(&temporary, text).and_then(|()| fs::rename(&temporary, &path));
    written.map_err(|source| LayoutError::Io { path, source })
}

/// Ports, kept open until all of them are found, so that none is found twice.
struct Ports {
    base: Option<u16>,
    held: Vec<TcpListener>,
}

impl Ports {
    fn new(base: Option<u16>) -> Self {
        Self {
            base,
            held: Vec::new(),
        }
    }

    fn next(&mut self, number: u8) -> Result<u16, LayoutError> {
        if let Some(base) = self.base {
            return base
                .checked_add(u16::from(number) - 1)
                .ok_or(LayoutError::Ports);
        }
        for _ in 0..1000 {
            let span = u32::from(PORTS.end - PORTS.start);
            let offset = rand_core::Rng::next_u32(&mut rng()) % span;
            let port = PORTS.start + u16::try_from(offset).map_err(|_| LayoutError::Ports)?;
            if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
                self.held.push(listener);
                return Ok(port);
            }
        }
        Err(LayoutError::Ports)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn a_plan_is_made_once_and_grows_without_changing_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let first = Plan::make(dir.path(), 3, None).unwrap();
        let again = Plan::make(dir.path(), 4, None).unwrap();
        for (a, b) in first.nodes.iter().zip(&again.nodes) {
            assert_eq!(a.address, b.address);
        }
        let config = Config::load(Some(&again.nodes[0].config()), RawConfig::default()).unwrap();
        assert_eq!(
            (config.network.as_str(), config.bootstrap.len()),
            (NETWORK, 2)
        );
        assert_eq!(
            fs::canonicalize(
                Path::new(config.ledger.strip_prefix("file:").unwrap())
                    .parent()
                    .unwrap()
            )
            .unwrap(),
            fs::canonicalize(dir.path()).unwrap()
        );
    }

    #[test]
    fn ports_can_be_chosen_and_paths_with_spaces_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let plan = Plan::make(dir.path(), 2, Some(4000)).unwrap();
        assert!(
            plan.nodes[1]
                .address
                .starts_with("/ip4/127.0.0.1/tcp/4001/p2p/16Uiu2HA")
        );
        assert!(matches!(
            Plan::make(dir.path(), 9, Some(65_530)),
            Err(LayoutError::Ports)
        ));
        let spaced = dir.path().join("a b");
        fs::create_dir(&spaced).unwrap();
        assert!(matches!(
            Plan::make(&spaced, 1, None),
            Err(LayoutError::Path(_))
        ));
    }
}
