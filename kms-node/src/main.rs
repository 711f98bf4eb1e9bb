//! The program `kms-node`.

use std::future::Future;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;
use kms_node::cli::{
    Cli, Command, Devnet, EX_CANTCREAT, EX_CONFIG, EX_SOFTWARE, EX_TEMPFAIL, EX_UNAVAILABLE,
    Failure, Run, Status,
};
use kms_node::config::{Config, RawConfig};
use kms_node::daemon::{Daemon, StartError};
use kms_node::devnet::{self, DevnetError};
use kms_node::{manual, status};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(options) => start(run(*options)),
        Command::Devnet(options) => start(run_devnet(options)),
        Command::Status(options) => start(print_status(options)),
        Command::Man { directory: None } => manual::print(&mut io::stdout()).map_err(cannot_write),
        Command::Man {
            directory: Some(directory),
        } => manual::write_all(&directory).map_err(cannot_write),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn cannot_write(error: io::Error) -> Failure {
    Failure::new(
        EX_CANTCREAT,
        "the manual could not be written",
        error,
        "check the directory",
    )
}

fn start(program: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let filter =
        EnvFilter::try_from_env("KMS_LOG").unwrap_or_else(|_| EnvFilter::new("info,libp2p=warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            Failure::new(
                EX_SOFTWARE,
                "the program cannot start",
                error,
                "the machine may be short of threads or files",
            )
        })?;
    runtime.block_on(program)
}

async fn run(options: Run) -> Result<(), Failure> {
    harden();
    let config = load(options.config.as_deref(), options.options)?;
    let end = ended(options.supervised)?;
    let data_dir = config.data_dir.clone();
    let daemon = Daemon::start(config)
        .await
        .map_err(|error| start_failure(&error, &data_dir))?;
    if options.supervised {
        say(devnet::READY)?;
    }
    daemon.run_until(end).await;
    Ok(())
}

fn load(file: Option<&std::path::Path>, options: RawConfig) -> Result<Config, Failure> {
    Config::load(file, options).map_err(|error| {
        let advice = "see kms-node run --help for what can be set";
        Failure::new(EX_CONFIG, "the configuration cannot be used", error, advice)
    })
}

fn start_failure(error: &StartError, data_dir: &std::path::Path) -> Failure {
    let (code, advice) = match error {
        StartError::Running(_) => (
            EX_TEMPFAIL,
            "stop the other one, or use another data directory".to_owned(),
        ),
        StartError::Key(_) => (
            EX_CONFIG,
            "restore the key file, and chmod 600 it".to_owned(),
        ),
        StartError::Store(_) => (
            EX_CONFIG,
            format!(
                "restore the storage key that belongs to {}, and its files",
                data_dir.display()
            ),
        ),
        StartError::DataDir { .. } => (
            EX_CANTCREAT,
            "check the directory's owner and free space".to_owned(),
        ),
        StartError::Net(_) => (
            EX_UNAVAILABLE,
            "check the addresses; another program may use the port".to_owned(),
        ),
        StartError::Ledger(_) => (
            EX_UNAVAILABLE,
            "check the ledger's path and that it is this network's".to_owned(),
        ),
        _ => (EX_CONFIG, "check the configuration".to_owned()),
    };
    Failure::new(code, "the node does not start", error, advice)
}

async fn run_devnet(options: Devnet) -> Result<(), Failure> {
    let end = ended(false)?;
    let started = tokio::select! {
        started = devnet::Devnet::start(&options.dir, options.nodes, options.listen_base) => started,
        // What has been started ends with its handles.
        () = ended(false)? => return Ok(()),
    };
    let devnet = started.map_err(|error| {
        let (code, advice) = match error {
            DevnetError::Running(_) => (EX_TEMPFAIL, "stop it, or use another directory"),
            DevnetError::NotReady { .. } => (
                EX_UNAVAILABLE,
                "read the log; a port may be taken by another program",
            ),
            _ => (EX_CANTCREAT, "use another directory"),
        };
        Failure::new(code, "the devnet does not start", error, advice)
    })?;
    say(&devnet.ready_line())?;
    devnet.run_until(end).await;
    Ok(())
}

async fn print_status(options: Status) -> Result<(), Failure> {
    // The ledger is not used, so it need not be configured.
    let raw = RawConfig {
        data_dir: options.data_dir,
        ..RawConfig::default()
    };
    let file = options.config.as_deref();
    let config = load(
        file,
        if file.is_none() {
            RawConfig {
                ledger: Some(String::new()),
                ..raw
            }
        } else {
            raw
        },
    )?;
    let status = status::ask(&config).await.map_err(|error| {
        let advice = "start it with kms-node run, or name its configuration with --config";
        Failure::new(
            EX_UNAVAILABLE,
            "the node's status is not known",
            error,
            advice,
        )
    })?;
    let text = if options.json {
        status::json(&status)
    } else {
        status::lines(&status)
    };
    say(text.trim_end())
}

/// Prints a line at once: somebody may be waiting for it.
fn say(line: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .map_err(|error| {
            Failure::new(
                EX_CANTCREAT,
                "standard output is closed",
                error,
                "keep it open",
            )
        })
}

/// Resolves at SIGTERM, at SIGINT and, for a supervised process, when standard input ends.
fn ended(supervised: bool) -> Result<impl Future<Output = ()>, Failure> {
    let failed = |error: io::Error| {
        Failure::new(
            EX_SOFTWARE,
            "signals cannot be awaited",
            error,
            "report this",
        )
    };
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let (open, closed) = tokio::sync::oneshot::channel::<()>();
    if supervised {
        // A thread of its own: a read that never ends would keep the runtime from ending.
        let watch = move || {
            let _open = open;
            drop(io::copy(&mut io::stdin(), &mut io::sink()));
        };
        std::thread::Builder::new()
            .name("supervisor".to_owned())
            .spawn(watch)
            .map_err(failed)?;
    }
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = closed, if supervised => {}
        }
    })
}

/// Keeps the node's secrets out of core files and away from other processes of the same user.
fn harden() {
    use nix::sys::{prctl, resource};
    let limited = resource::setrlimit(resource::Resource::RLIMIT_CORE, 0, 0);
    let hidden = prctl::set_dumpable(false);
    if let Err(error) = limited.and(hidden) {
        tracing::warn!(%error, "core files could not be switched off");
    }
}
