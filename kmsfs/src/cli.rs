//! The command line (CLI 1): the commands here, what they take in `args`, and one file
//! for what each does. Manual pages and completions come from the same definitions.

use std::{
    ffi::{OsStr, OsString},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Args, CommandFactory, Parser, Subcommand, error::ErrorKind};

use crate::failure::{Exit, Failure};

mod args;
mod care;
mod config;
mod contact;
mod doctor;
mod fsck;
mod identity;
mod init;
mod ledger;
mod man;
mod mount;
mod nodes;
mod output;
mod sharing;
mod status;
mod transfer;
mod umount;

pub use self::args::*;
pub use self::man::pages;

/// An encrypted directory that is shared with setfattr.
///
/// A store is a directory of ciphertext, NAME.kmsfs, which any tool may copy, sync or back up. Mounted, it is an
/// ordinary directory. Files and directories in it are shared with `kmsfs grant` or with
/// `setfattr -n user.kms.grant -v "bob ttl=7d" FILE`; independent nodes let the named person open them until the
/// grant expires or is revoked.
#[derive(Debug, Parser)]
#[command(
    name = "kmsfs",
    version,
    disable_help_subcommand = true,
    subcommand_required = true
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Options every command takes.
    #[command(flatten)]
    pub common: Common,
}

/// Options every command takes.
#[derive(Args, Clone, Debug, Default)]
pub struct Common {
    /// Take the passphrase from the first line of FILE; `-` is standard input
    #[arg(long, global = true, value_name = "FILE")]
    pub passfile: Option<PathBuf>,
    /// Use this identity file instead of the usual one
    #[arg(long, global = true, value_name = "FILE")]
    pub identity: Option<PathBuf>,
    /// Print one JSON document on standard output and nothing else there
    #[arg(long, global = true)]
    pub json: bool,
    /// Say only what went wrong
    #[arg(long, short, global = true)]
    pub quiet: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a store, and an identity when there is none
    Init(InitArgs),
    /// Mount a store
    Mount(MountArgs),
    /// Unmount; plain `fusermount3 -u` and `umount` are just as safe
    Umount(UmountArgs),
    /// Your own key: make, show, back up, restore, change its passphrase
    #[command(subcommand)]
    Identity(IdentityCommand),
    /// The people you share with
    #[command(subcommand)]
    Contact(ContactCommand),
    /// Share a file or directory
    Grant(GrantArgs),
    /// Withdraw somebody's access
    Revoke(RevokeArgs),
    /// Who can read what, until when
    Shares(SharesArgs),
    /// How many nodes serve what you share
    Health(HealthArgs),
    /// Who has asked for the keys of what you share
    Audit(AuditArgs),
    /// Why the last operation on a path failed
    Why(WhyArgs),
    /// Bring what a program has encrypted into a mount
    Import(ImportArgs),
    /// Encrypt a file of a mount by itself, for programs
    Export(ExportArgs),
    /// Running mounts and the nodes they use
    Status,
    /// The nodes of the ledger, and how each of them is
    Nodes,
    /// The ledger: how it is, whether it holds together, a new one on a chain
    #[command(subcommand)]
    Ledger(LedgerCommand),
    /// Look at what usually stands in the way
    Doctor,
    /// What is configured
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Verify everything in a store, and repair what can be
    Fsck(FsckArgs),
    /// Print a completion script
    Completions(CompletionsArgs),
    /// Write the manual pages into a directory
    #[command(hide = true)]
    Man(ManArgs),
}

/// Which program name we were started under.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum CalledAs {
    /// `kmsfs COMMAND …`
    Kmsfs,
    /// `mount.fuse.kmsfs`, or `kmsfs STORE DIR …` as mount.fuse(8) has it
    MountHelper,
}

/// Runs the program.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    let called_as = called_as(&args);
    let json = args.iter().any(|arg| arg == "--json");
    let result = match called_as {
        CalledAs::MountHelper => crate::mount::helper::run(&args),
        CalledAs::Kmsfs => parse(&args).and_then(|cli| match cli {
            Some(cli) => dispatch(cli),
            None => Ok(ExitCode::SUCCESS),
        }),
    };
    match result {
        Ok(code) => code,
        Err(failure) => {
            output::failure(&failure, json);
            let fsck = args.get(1).is_some_and(|arg| arg == "fsck");
            ExitCode::from(match called_as {
                CalledAs::Kmsfs if fsck && failure.exit == Exit::Usage => fsck::USAGE,
                CalledAs::Kmsfs if fsck => fsck::OPERATIONAL,
                CalledAs::Kmsfs => failure.exit.code(),
                CalledAs::MountHelper => failure.exit.mount_code(),
            })
        }
    }
}

fn called_as(args: &[OsString]) -> CalledAs {
    let program = args.first().map(PathBuf::from).unwrap_or_default();
    let name = program.file_name().and_then(OsStr::to_str).unwrap_or("");
    if name.starts_with("mount.") {
        return CalledAs::MountHelper;
    }
    // mount.fuse(8) starts `kmsfs STORE DIR -o …`: a path where a command would stand.
    let first = args.get(1).and_then(|arg| arg.to_str()).unwrap_or("-");
    let command = Cli::command();
    let known = command.get_subcommands().any(|sub| sub.get_name() == first);
    if !known && !first.starts_with('-') && first.contains('/') {
        return CalledAs::MountHelper;
    }
    CalledAs::Kmsfs
}

/// Parses; `None` when help or the version was asked for and printed.
fn parse(args: &[OsString]) -> Result<Option<Cli>, Failure> {
    match Cli::try_parse_from(args) {
        Ok(cli) => Ok(Some(cli)),
        Err(err) => match err.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                // A closed pipe (`kmsfs --help | head`) is no failure.
                let _ = err.print();
                Ok(None)
            }
            _ => Err(usage(&err, args)),
        },
    }
}

/// A wrong command line in three lines instead of a page.
fn usage(err: &clap::Error, args: &[OsString]) -> Failure {
    let text = err.render().to_string();
    let mut lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("For more information"))
        .take_while(|line| !line.starts_with("Usage:"));
    let what = lines
        .next()
        .unwrap_or("the command line is wrong")
        .trim_start_matches("error: ");
    let why: Vec<&str> = lines.map(|line| line.trim_start_matches("tip: ")).collect();
    let command = args.get(1).and_then(|arg| arg.to_str()).filter(|arg| {
        Cli::command()
            .get_subcommands()
            .any(|s| s.get_name() == *arg)
    });
    let now = match command {
        Some(command) => format!("See: kmsfs {command} --help"),
        None => "See: kmsfs --help".to_owned(),
    };
    let mut what = what.trim_end_matches('.').to_owned();
    if err.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
        || err.kind() == ErrorKind::MissingSubcommand
    {
        what = "a command is missing".to_owned();
        return Failure::new(Exit::Usage, format!("kmsfs: {what}.")).now(now);
    }
    Failure::new(Exit::Usage, format!("kmsfs: {what}."))
        .why(why.join(" "))
        .now(now)
}

fn dispatch(cli: Cli) -> Result<ExitCode, Failure> {
    let common = cli.common;
    match cli.command {
        Command::Init(args) => init::run(&args, &common),
        Command::Mount(args) => mount::run(&args, &common),
        Command::Umount(args) => umount::run(&args, &common),
        Command::Identity(command) => identity::run(&command, &common),
        Command::Contact(command) => contact::run(&command, &common),
        Command::Grant(args) => sharing::grant(&args, &common),
        Command::Revoke(args) => sharing::revoke(&args, &common),
        Command::Shares(args) => sharing::shares(&args, &common),
        Command::Health(args) => care::health(&args, &common),
        Command::Audit(args) => care::audit(&args, &common),
        Command::Why(args) => sharing::why(&args, &common),
        Command::Import(args) => transfer::import(&args, &common),
        Command::Export(args) => transfer::export(&args, &common),
        Command::Status => status::run(&common),
        Command::Nodes => nodes::run(&common),
        Command::Ledger(command) => ledger::run(&command, &common),
        Command::Doctor => doctor::run(&common),
        Command::Config(ConfigCommand::Show(args)) => config::show(&args, &common),
        Command::Fsck(args) => fsck::run(&args, &common),
        Command::Completions(args) => {
            man::completions(args.shell);
            Ok(ExitCode::SUCCESS)
        }
        Command::Man(args) => man::run(&args),
    }
}

#[cfg(test)]
mod tests;
