//! What each command takes (CLI 1).

use std::path::PathBuf;

use clap::{
    Args, Subcommand,
    builder::{PossibleValuesParser, TypedValueParser},
};
use kms_crypto::{aead::Cipher, scheme::SchemeKind};

/// `kmsfs init`
#[derive(Args, Debug)]
pub struct InitArgs {
    /// The store; without the ending `.kmsfs` it is added
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
    /// What new files are encrypted with; every file keeps the cipher it was made with
    #[arg(long, value_name = "CIPHER", default_value_t, value_parser = cipher())]
    pub cipher: Cipher,
    /// How what is shared is re-encrypted; all but `split` are for comparison and debugging
    #[arg(long, value_name = "SCHEME", default_value = SchemeKind::Split.name(), value_parser = scheme())]
    pub scheme: SchemeKind,
    /// Really make a store with a scheme that is for debugging only
    #[arg(long)]
    pub i_know_this_is_insecure: bool,
}

fn scheme() -> impl TypedValueParser<Value = SchemeKind> {
    PossibleValuesParser::new(SchemeKind::ALL.map(SchemeKind::name))
        .map(|name| SchemeKind::by_name(&name).expect("one of the possible values"))
}

fn cipher() -> impl TypedValueParser<Value = Cipher> {
    PossibleValuesParser::new(Cipher::ALL.map(Cipher::name)).try_map(|name| name.parse::<Cipher>())
}

/// `kmsfs mount`
#[derive(Args, Debug)]
pub struct MountArgs {
    /// The mount point, whose store is DIR.kmsfs; or the store, followed by the mount point
    #[arg(value_name = "DIR", num_args = 1..=2, required = true)]
    pub paths: Vec<PathBuf>,
    /// Mount options, separated by commas
    #[arg(short, value_name = "OPTIONS", value_delimiter = ',')]
    pub options: Vec<String>,
    /// Stay in the foreground
    #[arg(long, short)]
    pub foreground: bool,
    /// The background half: takes the secret key from standard input, reports on standard output
    #[arg(long, hide = true)]
    pub handover: bool,
    /// Ignore mount options that are not known
    #[arg(short, hide = true)]
    pub sloppy: bool,
}

/// `kmsfs umount`
#[derive(Args, Debug)]
pub struct UmountArgs {
    /// The mount point, or the store
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// Detach now even if files are open; it ends when they are closed
    #[arg(long)]
    pub lazy: bool,
}

/// `kmsfs identity …`
#[derive(Debug, Subcommand)]
pub enum IdentityCommand {
    /// Make an identity
    New,
    /// Print the public key; needs no passphrase
    Show,
    /// Copy the identity file, still protected by its passphrase
    Backup(BackupArgs),
    /// Bring an identity back from a backup, the recovery words, or a secret key
    Restore(RestoreArgs),
    /// Change the passphrase; the key stays the same
    Passwd(PasswdArgs),
}

/// `kmsfs identity backup`
#[derive(Args, Debug)]
pub struct BackupArgs {
    /// Where to; standard output when missing
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Print the recovery words instead; asks for the passphrase
    #[arg(long)]
    pub words: bool,
}

/// `kmsfs identity restore`
#[derive(Args, Debug)]
pub struct RestoreArgs {
    /// A file with the backup, the words, or the secret key; `-` is standard input, nothing asks at the terminal
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
}

/// `kmsfs identity passwd`
#[derive(Args, Debug)]
pub struct PasswdArgs {
    /// Take the new passphrase from the first line of FILE
    #[arg(long, value_name = "FILE")]
    pub new_passfile: Option<PathBuf>,
}

/// `kmsfs contact …`
#[derive(Debug, Subcommand)]
pub enum ContactCommand {
    /// Give a name to somebody's key
    Add(ContactAddArgs),
    /// List contacts and groups
    List,
    /// Show a key and the digits to compare
    Show(ContactName),
    /// Note that the digits were compared in person or on the phone
    Verify(ContactName),
    /// Forget somebody; grants stay as they are
    Rm(ContactName),
    /// Groups, written @NAME in a grant
    #[command(subcommand)]
    Group(GroupCommand),
}

/// `kmsfs contact add`
#[derive(Args, Debug)]
pub struct ContactAddArgs {
    /// The name you choose
    pub name: String,
    /// Their public key
    #[arg(value_name = "kms1…")]
    pub key: String,
}

/// One contact.
#[derive(Args, Debug)]
pub struct ContactName {
    /// The name you gave
    pub name: String,
}

/// `kmsfs contact group …`
#[derive(Debug, Subcommand)]
pub enum GroupCommand {
    /// Make a group, or add people to it
    Add(GroupArgs),
    /// Take people out of a group, or remove it whole
    Rm(GroupRmArgs),
}

/// A group and people.
#[derive(Args, Debug)]
pub struct GroupArgs {
    /// The group
    pub group: String,
    /// The people
    #[arg(value_name = "NAME", required = true)]
    pub members: Vec<String>,
}

/// A group and perhaps people.
#[derive(Args, Debug)]
pub struct GroupRmArgs {
    /// The group
    pub group: String,
    /// The people; the whole group when missing
    #[arg(value_name = "NAME")]
    pub members: Vec<String>,
}

/// `kmsfs grant`
#[derive(Args, Debug)]
pub struct GrantArgs {
    /// A file or directory in a mount
    pub path: PathBuf,
    /// A contact, a key, or a @group; several with commas
    pub who: String,
    /// What they may do
    #[arg(default_value = "r", value_parser = ["r", "rw"])]
    pub access: String,
    /// How long: 30m, 12h, 7d, 4w
    #[arg(long, conflicts_with = "until")]
    pub ttl: Option<String>,
    /// Until when: 2026-12-24, or 2026-12-24T10:00Z
    #[arg(long, value_name = "DATE")]
    pub until: Option<String>,
    /// How many of how many nodes must agree
    #[arg(long, value_name = "M/N")]
    pub threshold: Option<String>,
    /// Only say what would be granted, whether enough nodes serve so long, and what it costs
    #[arg(long)]
    pub dry_run: bool,
}

/// `kmsfs ledger`
#[derive(Debug, Subcommand)]
pub enum LedgerCommand {
    /// Where the configured ledger is read, and how each of these places is
    Status,
    /// Read all of it, and check every record and every signature
    Verify,
    /// Leave out of a ledger in a file what says nothing any more: grants long over, registrations renewed since
    ///
    /// For whoever runs the nodes of a machine, and may write that file; they can go on meanwhile. Everybody still finds in
    /// it what he has seen: the hashes stay, and revocations are never left out.
    Compact,
    /// Write all records, one JSON document a line
    Export(LedgerExportArgs),
    /// Forget what was seen of the configured ledger: only if it was really made anew
    ///
    /// A ledger that has become shorter, or another one, is refused: somebody may be hiding what was revoked.
    Forget,
    /// Make a new ledger on an EVM chain; prints the line for config.toml
    Deploy(LedgerDeployArgs),
}

/// `kmsfs ledger export`
#[derive(Args, Debug)]
pub struct LedgerExportArgs {
    /// A new file; standard output when missing
    pub file: Option<PathBuf>,
}

/// `kmsfs ledger deploy`
#[derive(Args, Debug)]
pub struct LedgerDeployArgs {
    /// The chain's JSON-RPC provider, http://HOST:PORT or https://HOST
    #[arg(long, value_name = "URL")]
    pub rpc: String,
    /// File with the secret of an account that can pay, or its keystore
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    /// Name of the network
    #[arg(long, value_name = "NAME")]
    pub network: Option<String>,
}

/// `kmsfs revoke`
#[derive(Args, Debug)]
pub struct RevokeArgs {
    /// A file or directory in a mount
    pub path: PathBuf,
    /// A contact, a key, or a @group; `*` is everybody
    pub who: String,
    /// Only say whose access would end, and what it costs
    #[arg(long)]
    pub dry_run: bool,
}

/// `kmsfs shares`
#[derive(Args, Debug)]
pub struct SharesArgs {
    /// Mounts to look at; all of them when missing
    #[arg(value_name = "DIR")]
    pub dirs: Vec<PathBuf>,
    /// Only what this person can read
    #[arg(long, value_name = "WHO")]
    pub to: Option<String>,
}

/// `kmsfs health`
#[derive(Args, Debug)]
pub struct HealthArgs {
    /// What you share, or a directory it is in
    pub path: PathBuf,
    /// Grant anew what has lost nodes, to the same people until the same time
    #[arg(long)]
    pub reissue: bool,
}

/// `kmsfs audit`
#[derive(Args, Debug)]
pub struct AuditArgs {
    /// What you share, or a directory it is in
    pub path: PathBuf,
}

/// `kmsfs why`
#[derive(Args, Debug)]
pub struct WhyArgs {
    /// The path that failed; it need not exist
    pub path: PathBuf,
}

/// `kmsfs import`
#[derive(Args, Debug)]
pub struct ImportArgs {
    /// What the API, `kmsd` or `kmsfs export` has encrypted
    pub file: PathBuf,
    /// A new file in a mount
    pub path: PathBuf,
    /// What its owner has sent, if it is somebody else's
    #[arg(long, value_name = "kms-ticket-1-…")]
    pub ticket: Option<String>,
}

/// `kmsfs export`
#[derive(Args, Debug)]
pub struct ExportArgs {
    /// A file in a mount
    pub path: PathBuf,
    /// A new file, which any program of yours opens and shares with the API
    pub file: PathBuf,
    /// What it is encrypted with
    #[arg(long, value_name = "CIPHER", default_value_t, value_parser = cipher())]
    pub cipher: Cipher,
}

/// `kmsfs config …`
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print every entry as it counts
    Show(ConfigShowArgs),
}

/// `kmsfs config show`
#[derive(Args, Debug)]
pub struct ConfigShowArgs {
    /// Say where each entry comes from: a variable, the file, or nobody
    #[arg(long)]
    pub origin: bool,
}

/// `kmsfs fsck`
#[derive(Args, Debug)]
#[command(after_long_help = FSCK_HELP)]
pub struct FsckArgs {
    /// The store, or its mount point
    pub store: PathBuf,
    /// Put right what can be; without it, nothing is changed, and what it would do is said
    #[arg(long)]
    pub repair: bool,
    /// Say on standard error how far it is, even where that is no terminal
    #[arg(long)]
    pub progress: bool,
    /// Believe what is found, however old it is: after a backup was restored
    #[arg(long)]
    pub accept_older: bool,
}

/// What stands below the options of `kmsfs fsck`.
const FSCK_HELP: &str = "\
Nothing is ever asked, and nothing is believed that does not verify: what is older than what this machine has seen stays refused unless --accept-older is given. \
A directory whose header is lost gets it back from what is in it, with all names; what stands where it does not belong goes back, or into lost+found; what nothing refers to is removed; \
what has vanished is reported once and then forgotten. What was granted on a directory that had to be rebuilt has to be granted again. A file whose header is lost cannot be brought back: \
its key stood nowhere else.

Exit status: 0 nothing is wrong (files of no use, as a crash may leave them, are named and do no harm), 1 everything wrong was repaired, 4 something is wrong still, 5 some of it was repaired, 8 the check could not be made, 16 usage.";

/// `kmsfs completions`
#[derive(Args, Debug)]
pub struct CompletionsArgs {
    /// The shell
    pub shell: clap_complete::Shell,
}

/// `kmsfs man`
#[derive(Args, Debug)]
pub struct ManArgs {
    /// Where the pages go
    pub dir: PathBuf,
}
