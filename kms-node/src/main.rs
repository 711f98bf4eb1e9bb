//! The program `kms-node`.

use std::future::Future;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use kms_node::cli::{
    Cli, Command, Devnet, EX_CANTCREAT, EX_CONFIG, EX_SOFTWARE, EX_TEMPFAIL, EX_UNAVAILABLE,
    Failure, Id, Keys, Retire, Status,
};
use kms_node::config::{Config, RawConfig};
use kms_node::daemon::{Daemon, StartError};
use kms_node::devnet::{self, DevnetError};
use kms_node::keysource::SourceError;
use kms_node::logging::{self, LogFormat};
use kms_node::store::StoreError;
use kms_node::{manual, status};
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(options) => load(options.config.as_deref(), options.options)
            .and_then(|config| start(config.log_format, run(config, options.supervised))),
        Command::Devnet(options) => start(LogFormat::Text, run_devnet(options)),
        Command::Retire(options) => start(LogFormat::Text, retire(options)),
        Command::Keys(options) => start(LogFormat::Text, keys(*options)),
        Command::Status(options) => start(LogFormat::Text, print_status(options)),
        Command::Id(options) => print_id(&options),
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

fn start(
    format: LogFormat,
    program: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    logging::start(format);
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
    let ended = runtime.block_on(program);
    // What still waits for a chain is not waited for.
    runtime.shutdown_timeout(ENDS_WITHIN);
    ended
}

const ENDS_WITHIN: Duration = Duration::from_secs(2);

async fn run(config: Config, supervised: bool) -> Result<(), Failure> {
    harden();
    let end = ended(supervised)?;
    let data_dir = config.data_dir.clone();
    let mut end = std::pin::pin!(end);
    let daemon = tokio::select! {
        started = Daemon::start(config) => started.map_err(|error| start_failure(&error, &data_dir))?,
        // It may be waiting for other nodes to give its key.
        () = &mut end => return Ok(()),
    };
    if supervised {
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
        StartError::Retired { .. } => (
            EX_CONFIG,
            "a new node begins with a new data directory".to_owned(),
        ),
        StartError::Key(_) => (
            EX_CONFIG,
            "restore the key file, and chmod 600 it".to_owned(),
        ),
        StartError::Internal(_) => (EX_SOFTWARE, "try again".to_owned()),
        // What may mend itself is tried again by who supervises the node; EX_CONFIG is not.
        StartError::Monitor(_) => (
            EX_UNAVAILABLE,
            "another program may use the monitor's port".to_owned(),
        ),
        StartError::Source(SourceError::NoNetwork(_)) => (
            EX_UNAVAILABLE,
            "check that the other nodes and the ledger can be reached".to_owned(),
        ),
        StartError::Source(_) => (
            EX_CONFIG,
            "kms-node keys show tells where the key is kept; kms-node keys use moves it".to_owned(),
        ),
        StartError::Store(StoreError::Io(_) | StoreError::Database(_)) => (
            EX_UNAVAILABLE,
            format!("check the disk of {}", data_dir.display()),
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

async fn retire(options: Retire) -> Result<(), Failure> {
    let config = load_for_asking(options.config.as_deref(), options.data_dir.clone())?;
    let clock = kms_ledger::system_clock();
    kms_node::cli::retire::run(&options, &config, move || clock(), say).await
}

async fn keys(options: Keys) -> Result<(), Failure> {
    harden();
    let config = load(options.config.as_deref(), options.options)?;
    kms_node::cli::keys::run(&options.command, &config, say).await
}

/// The configuration of a node that is only asked something: the ledger is not used, so it need not be configured.
fn load_for_asking(
    file: Option<&std::path::Path>,
    data_dir: Option<std::path::PathBuf>,
) -> Result<Config, Failure> {
    let ledger = file.is_none().then(String::new);
    let raw = RawConfig {
        data_dir,
        ledger,
        ..RawConfig::default()
    };
    load(file, raw)
}

async fn print_status(options: Status) -> Result<(), Failure> {
    let config = load_for_asking(options.config.as_deref(), options.data_dir)?;
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

fn print_id(options: &Id) -> Result<(), Failure> {
    harden();
    let config = load_for_asking(options.config.as_deref(), options.data_dir.clone())?;
    let id =
        kms_node::daemon::id(&config).map_err(|error| start_failure(&error, &config.data_dir))?;
    say(&id)
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
