//! `kmsd` from its command line to its end (API §4.5).

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use kms_client::settings::{Settings, split};
use kms_client::{ApiError, Keyring};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use zeroize::Zeroizing;

use crate::auth::{COOKIE_FILE, Credentials};
use crate::daemon::{Daemon, DaemonConfig};
use crate::gate::{Gate, Subnet};
use crate::gateway::{DEFAULT_GATEWAY_PORT, Gateway, GatewayConfig, Origin};
use crate::help::Place;
use crate::log::Log;
use crate::options::{CONF_FILE, DAEMON, DEFAULT_PORT, OptionError, Options, Places, help};
use crate::process;
use crate::server::{Server, ServerConfig, Socket};

const USAGE: &str = "Usage: kmsd [-option[=value]]…";
/// How often identities whose time is over are looked for.
const LOOK_FOR_EXPIRED: Duration = Duration::from_secs(1);

/// Runs `kmsd`.
#[must_use]
pub fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args) {
        Ok(code) => code,
        Err(error) => {
            // In the background nobody may be there to read it.
            let _ = writeln!(std::io::stderr(), "Error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String]) -> Result<ExitCode> {
    for arg in args {
        match arg.trim_start_matches('-') {
            "help" | "h" | "?" => {
                print!("{}", help(USAGE, DAEMON));
                return Ok(ExitCode::SUCCESS);
            }
            "man" => {
                print!("{}", crate::manual::kmsd());
                return Ok(ExitCode::SUCCESS);
            }
            "version" => {
                println!("kmsd {}", env!("CARGO_PKG_VERSION"));
                return Ok(ExitCode::SUCCESS);
            }
            _ => {}
        }
    }
    let (mut options, rest) = Options::of_args(DAEMON, args.iter().cloned())?;
    if let Some(word) = rest.first() {
        bail!("Command line contains unexpected token '{word}', see kmsd -help");
    }
    let places = options.places()?;
    options.add_file(&options.path("conf", &places.dir, CONF_FILE))?;
    kms_client::home::make_private_dir(&places.dir)
        .with_context(|| format!("cannot make {}", places.dir.display()))?;
    process::check_own(&places.dir)?;
    let in_background = process::is_in_background();
    if options.is_set("daemon", false) && !in_background {
        return process::start_in_background(args);
    }
    process::keep_secrets();
    let lock = process::lock(&places.dir)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(serve(&options, &places, in_background));
    // Threads that still read a file or wait for a disk are not waited for.
    runtime.shutdown_timeout(Duration::from_secs(1));
    drop(lock);
    result.map(|()| ExitCode::SUCCESS)
}

/// Removes a file when the daemon ends.
struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

async fn serve(options: &Options, places: &Places, in_background: bool) -> Result<()> {
    let dir = &places.dir;
    let log_path = options.path("debuglogfile", dir, "debug.log");
    let console = options.is_set("printtoconsole", !in_background) && !in_background;
    let log = Log::open(&log_path, console)
        .with_context(|| format!("cannot open {}", log_path.display()))?;
    log.install(options.is_set("debug", false));

    let mut credentials = Credentials::default();
    credentials.add_passwords(options.all("rpcauth"))?;
    let deny = options.is_set("rpcwhitelistdefault", false);
    credentials.restrict(options.all("rpcwhitelist"), deny)?;
    let gate = gate(options)?;
    let listeners = listen(options, &credentials).await?;
    let address = match listeners.first() {
        Some(listener) => listener.local_addr()?,
        None => bail!("there is no address to listen on"),
    };
    let socket = options.given("rpcunix").map(|path| {
        let path = dir.join(path);
        Socket::bind(&path).with_context(|| format!("cannot listen at {}", path.display()))
    });
    let socket = socket.transpose()?;
    let cookie_path = options.path("rpccookiefile", dir, COOKIE_FILE);
    let wants_cookie = !options.is_negated("rpccookiefile");
    let cookie = wants_cookie.then(|| {
        let made = credentials.make_cookie(&cookie_path);
        made.with_context(|| format!("cannot write {}", cookie_path.display()))
    });
    let _cookie = cookie.transpose()?;
    let pid = options.path("pid", dir, "kmsd.pid");
    let pid = (!options.is_negated("pid")).then(|| {
        let written = fs::write(&pid, format!("{}\n", std::process::id()));
        written.with_context(|| format!("cannot write {}", pid.display()))?;
        anyhow::Ok(Removed(pid))
    });
    let _pid = pid.transpose()?;

    let config = DaemonConfig {
        log: Some(log_path),
        place: place(options, dir, &cookie_path, address),
        ..daemon_config(options, places)?
    };
    let passphrase = options.given("passfile").map(|path| {
        let path = dir.join(path);
        first_line(&path).with_context(|| format!("cannot read {}", path.display()))
    });
    let passphrase = passphrase.transpose()?;
    let daemon = Daemon::new(config);
    let server = ServerConfig {
        gate,
        credentials,
        threads: usize::try_from(options.number("rpcthreads", 16, 1..=1024)?)?,
        queue: usize::try_from(options.number("rpcworkqueue", 64, 1..=65_536)?)?,
        timeout: Duration::from_secs(options.number("rpcservertimeout", 30, 1..=3600)?),
    };
    let server = Server::new(Arc::clone(&daemon), server);
    let gateway = match listen_for_pages(options).await? {
        Some((listener, config)) => {
            let gateway = Gateway::new(Arc::clone(&daemon), config);
            Some(tokio::spawn(gateway.serve(listener)))
        }
        None => None,
    };
    let warming = tokio::spawn(warm_up(Arc::clone(&daemon), passphrase));
    let watching = tokio::spawn(watch_signals(Arc::clone(&daemon), log));
    tracing::info!(%address, version = env!("CARGO_PKG_VERSION"), "started");
    if in_background {
        process::say_ready();
    }
    server.serve(listeners, socket).await;
    warming.abort();
    if let Some(gateway) = gateway {
        gateway.abort();
    }
    watching.abort();
    tracing::info!("ended");
    match warming.await {
        Ok(Err(error)) => Err(error.into()),
        _ => Ok(()),
    }
}

/// What goes wrong here ends the daemon.
async fn warm_up(
    daemon: Arc<Daemon>,
    passphrase: Option<Zeroizing<String>>,
) -> Result<(), ApiError> {
    let warmed_up = daemon.warm_up(passphrase).await;
    if let Err(error) = &warmed_up {
        tracing::error!(%error, "cannot start");
        daemon.stop();
    }
    warmed_up
}

async fn watch_signals(daemon: Arc<Daemon>, log: Log) {
    let kinds = [
        SignalKind::terminate(),
        SignalKind::interrupt(),
        SignalKind::hangup(),
    ];
    let [Ok(mut terminate), Ok(mut interrupt), Ok(mut hangup)] = kinds.map(signal) else {
        return;
    };
    let mut look = tokio::time::interval(LOOK_FOR_EXPIRED);
    loop {
        tokio::select! {
            _ = terminate.recv() => daemon.stop(),
            _ = interrupt.recv() => daemon.stop(),
            _ = hangup.recv() => log.reopen(),
            _ = look.tick() => daemon.lock_expired(),
        }
    }
}

fn daemon_config(options: &Options, places: &Places) -> Result<DaemonConfig> {
    let mut settings = Settings::of(&places.home, |name| std::env::var_os(name))?;
    let own = |name: &str| options.text(name).map(str::to_owned);
    settings.network = own("network").or(settings.network);
    settings.ledger = own("ledger").or(settings.ledger);
    settings.threshold = own("threshold").or(settings.threshold);
    let bootstrap = options.all("bootstrap");
    if !bootstrap.is_empty() {
        settings.bootstrap = Some(bootstrap.iter().flat_map(|list| split(list)).collect());
    }
    let (mut network, threshold) = settings.resolve()?;
    let usual = network.timeout.as_secs();
    network.timeout = Duration::from_secs(options.number("timeout", usual, 1..=60)?);
    Ok(DaemonConfig {
        keyring: Keyring::new(places.home.clone()),
        network,
        threshold,
        log: None,
        place: Place::default(),
    })
}

fn gate(options: &Options) -> Result<Gate> {
    let mut allowed = Vec::new();
    for text in options.all("rpcallowip") {
        let subnet = Subnet::parse(text).ok_or_else(|| OptionError::Value {
            name: "rpcallowip",
            value: text.clone(),
            what: "an address or a network, as in 192.0.2.0/24",
        })?;
        allowed.push(subnet);
    }
    Ok(Gate {
        allowed,
        hosts: options.all("rpcallowhost").to_vec(),
    })
}

/// Opens what is to be listened on: the machine itself, unless somebody else is allowed too.
async fn listen(options: &Options, credentials: &Credentials) -> Result<Vec<TcpListener>> {
    let port = options.number("rpcport", DEFAULT_PORT.into(), 0..=65_535)?;
    let port = u16::try_from(port)?;
    let binds = options.all("rpcbind");
    if binds.is_empty() || options.all("rpcallowip").is_empty() {
        if !binds.is_empty() {
            tracing::warn!("rpcbind is ignored, because nobody is allowed by rpcallowip");
        }
        let v4 = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
        let v4 = v4.with_context(|| format!("cannot listen on 127.0.0.1:{port}"))?;
        // A machine may have no IPv6.
        let port = v4.local_addr()?.port();
        let v6 = TcpListener::bind((Ipv6Addr::LOCALHOST, port)).await;
        return Ok([Some(v4), v6.ok()].into_iter().flatten().collect());
    }
    let mut listeners = Vec::new();
    for text in binds {
        let address = parse_bind(text, port).ok_or_else(|| OptionError::Value {
            name: "rpcbind",
            value: text.clone(),
            what: "an address, with a port or without",
        })?;
        if !address.ip().is_loopback() && !credentials.has_passwords() {
            bail!("rpcbind={text} is open to other machines: that needs an rpcauth, too");
        }
        let listener = TcpListener::bind(address).await;
        listeners.push(listener.with_context(|| format!("cannot listen on {address}"))?);
    }
    Ok(listeners)
}

/// Where the gateway listens, and for whom.
async fn listen_for_pages(options: &Options) -> Result<Option<(TcpListener, GatewayConfig)>> {
    let text = match options.text("gateway") {
        None | Some("0") => return Ok(None),
        Some("1") => "127.0.0.1",
        Some(text) => text,
    };
    let address = parse_bind(text, DEFAULT_GATEWAY_PORT).ok_or_else(|| OptionError::Value {
        name: "gateway",
        value: text.to_owned(),
        what: "an address, with a port or without",
    })?;
    let origins = options.all("gatewayorigin").iter().map(|text| {
        Origin::parse(text).ok_or_else(|| OptionError::Value {
            name: "gatewayorigin",
            value: text.clone(),
            what: "an origin as browsers write it, https://app.example",
        })
    });
    let origins = origins.collect::<Result<Vec<_>, _>>()?;
    if origins.is_empty() {
        bail!("-gateway serves nobody without -gatewayorigin, the origin of a page");
    }
    let config = GatewayConfig {
        origins,
        rate: u32::try_from(options.number("gatewayrate", 50, 1..=1_000_000)?)?,
    };
    let listener = TcpListener::bind(address).await;
    let listener = listener.with_context(|| format!("cannot listen on {address}"))?;
    tracing::info!(address = %listener.local_addr()?, "pages are served");
    Ok(Some((listener, config)))
}

fn parse_bind(text: &str, port: u16) -> Option<SocketAddr> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(address);
    }
    let address: IpAddr = text.trim_matches(['[', ']']).parse().ok()?;
    Some(SocketAddr::new(address, port))
}

fn place(options: &Options, dir: &Path, cookie: &Path, address: SocketAddr) -> Place {
    let mut cli = String::new();
    if options.text("datadir").is_some() {
        cli.push_str(&format!(" -datadir={}", dir.display()));
    }
    if address.port() != DEFAULT_PORT {
        cli.push_str(&format!(" -rpcport={}", address.port()));
    }
    Place {
        cookie: cookie.display().to_string(),
        address: address.to_string(),
        options: cli,
    }
}

/// The first line of a file, which is a passphrase.
fn first_line(path: &Path) -> std::io::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::with_capacity(4096));
    File::open(path)?.take(4096).read_to_string(&mut text)?;
    let line = text.lines().next().unwrap_or_default();
    Ok(Zeroizing::new(line.to_owned()))
}
