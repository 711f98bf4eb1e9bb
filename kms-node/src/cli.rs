//! The command line of `kms-node`, and how it fails (CLI, kms-node).

pub mod keys;
pub mod retire;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::RawConfig;

/// Keeps key fragments for others and re-encrypts with them
///
/// A node of the kms network keeps fragments of re-encryption keys. Asked by the person a fragment is for, it re-encrypts
/// with it, as long as the ledger says that the grant lives. It can read nothing itself.
#[derive(Debug, Parser)]
#[command(name = "kms-node", version, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What `kms-node` can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run one node until SIGTERM or SIGINT
    ///
    /// Keys are made at the first start, readable by the owner alone. A node that was killed starts again as it is.
    Run(Box<Run>),
    /// Run several nodes and a ledger on this machine, for trying out and for tests
    ///
    /// Each node is a process of its own with its files in DIR/node-1, DIR/node-2 and so on: config.toml, log, pid, and
    /// its data. When all of them serve, one line is printed: ready ledger=… bootstrap=…
    /// A node that ends is not started again; "kms-node run --config DIR/node-K/config.toml" does that. SIGTERM or SIGINT
    /// stops all of them.
    Devnet(Devnet),
    /// Hand every fragment of a running node to other nodes
    ///
    /// Each goes to a node that is registered for as long as its policy lasts and has none of it yet; the ledger tells
    /// everybody where it is. Nothing is given up before the other node has proven that it has it. May be interrupted:
    /// the node goes on by itself, also when it is started again. When all is done the node can be stopped for good.
    Retire(Retire),
    /// Show where a node's storage key is kept, or keep it elsewhere
    Keys(Box<Keys>),
    /// Ask a running node how it is
    Status(Status),
    /// Print a node's id, which other machines' configurations name it by
    ///
    /// The node need not run. Its identity is made if there is none: the keepers of a ledger dht: have to be known before
    /// the first of them starts.
    Id(Id),
    /// Print the manual page, or write all manual pages into a directory
    #[command(hide = true)]
    Man {
        /// Where to write the pages
        directory: Option<PathBuf>,
    },
}

/// Options of `kms-node run`.
#[derive(Args, Debug)]
pub struct Run {
    /// Configuration file
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What takes precedence over the file.
    #[command(flatten)]
    pub options: RawConfig,
    /// Stop when standard input ends; print a line when serving
    #[arg(long, hide = true)]
    pub supervised: bool,
}

/// Options of `kms-node devnet`.
#[derive(Args, Debug)]
pub struct Devnet {
    /// How many nodes
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=100))]
    pub nodes: u8,
    /// Directory for the nodes and the ledger; one made by an earlier devnet goes on
    #[arg(long)]
    pub dir: PathBuf,
    /// First port to listen on; by default free ones are found
    #[arg(long, value_name = "PORT")]
    pub listen_base: Option<u16>,
}

/// Options of `kms-node retire`.
#[derive(Args, Debug)]
pub struct Retire {
    /// Configuration file of the node
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Directory of the node's data, if it is not in the file
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// The node that is to have all of it, by its key; by default the nearest that take it
    #[arg(long, value_name = "NODE")]
    pub to: Option<String>,
    /// Go on serving for so long, such as 30d: only what outlives that is handed over
    #[arg(long, value_name = "TIME")]
    pub after: Option<String>,
    /// Give up waiting when nothing has moved for so long
    #[arg(long, value_name = "TIME", default_value = "2m")]
    pub patience: String,
}

/// Options of `kms-node keys`.
#[derive(Args, Debug)]
pub struct Keys {
    /// What to do.
    #[command(subcommand)]
    pub command: KeysCommand,
    /// Configuration file of the node
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// What takes precedence over the file.
    #[command(flatten)]
    pub options: RawConfig,
}

/// What can be done about a storage key.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Show where the storage key is kept
    Show,
    /// Keep the storage key somewhere else; the node has to be stopped
    ///
    /// The key stays the same, and with it everything sealed under it. SOURCE is file, passphrase, or kms: kept by other
    /// nodes, which give it back to this node alone, as long as nobody revokes that. Enough of those nodes must have a key
    /// source of their own, so that a network that was stopped as a whole can start again.
    Use {
        /// generated, file, passphrase or kms
        source: String,
    },
}

/// Options of `kms-node status`.
#[derive(Args, Debug)]
pub struct Status {
    /// Configuration file of the node
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Directory of the node's data, if it is not in the file
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// Options of `kms-node id`.
#[derive(Args, Debug)]
pub struct Id {
    /// Configuration file of the node
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Directory of the node's data, if it is not in the file
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

/// What went wrong, why, and what to do now: three lines and an exit code.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What did not work.
    pub what: String,
    /// Why.
    pub why: String,
    /// What to do.
    pub advice: String,
    /// The exit code, one of sysexits.
    pub code: u8,
}

/// The command line is wrong.
pub const EX_USAGE: u8 = 64;
/// Something cannot be reached.
pub const EX_UNAVAILABLE: u8 = 69;
/// Something failed that should not.
pub const EX_SOFTWARE: u8 = 70;
/// A file cannot be made or written.
pub const EX_CANTCREAT: u8 = 73;
/// Something is in use.
pub const EX_TEMPFAIL: u8 = 75;
/// The configuration cannot be used.
pub const EX_CONFIG: u8 = 78;

impl Failure {
    /// A failure.
    pub fn new(
        code: u8,
        what: impl Into<String>,
        why: impl ToString,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            what: what.into(),
            why: why.to_string(),
            advice: advice.into(),
            code,
        }
    }

    /// Tells it on standard error.
    pub fn report(&self) -> ExitCode {
        eprintln!(
            "error: {}\n  why: {}\n  now: {}",
            self.what, self.why, self.advice
        );
        ExitCode::from(self.code)
    }
}
