//! `kmsfs import` and `export` (CLI 10): between a mount and encrypted files by themselves, which any program of this
//! person opens with the API.

use std::{future::Future, path::Path, process::ExitCode};

use kms_client::{
    ApiError, Client, Code, Keyring, Opening, Session, SessionConfig, settings::Settings,
    ticket::TicketText,
};
use serde_json::json;
use tokio::runtime::Builder;

use super::{Common, ExportArgs, ImportArgs, output};
use crate::{
    failure::{Exit, Failure},
    home::Home,
    mount::running::Inside,
    passphrase::Source,
    share::capital,
    unlock::unlock,
};

pub(super) fn import(args: &ImportArgs, common: &Common) -> Result<ExitCode, Failure> {
    in_a_mount(&args.path)?;
    let ticket = args.ticket.as_deref().map(TicketText::parse).transpose();
    let ticket = ticket.map_err(|error| refused(&error.into()))?;
    let by = match &ticket {
        None => Opening::Own,
        Some(ticket) => Opening::Ticket {
            ticket,
            owner: None,
        },
    };
    let (home, secret) = unlocked(common)?;
    let done = wait(async {
        let client = match &ticket {
            None => None,
            Some(_) => Some(connect(&home).await?),
        };
        let session = Session::open(SessionConfig::new(Keyring::new(home), client), secret)?;
        session.decrypt_file(&args.file, &args.path, by).await
    })?;
    let (owner, label) = (done.owner.to_string(), done.label.map(|it| it.to_string()));
    let text = format!(
        "Imported {} ({} bytes) as {}.",
        args.file.display(),
        done.sizes.plain,
        args.path.display()
    );
    let document = json!({ "owner": owner, "label": label, "size": done.sizes.plain });
    output::result(common, &document, &text);
    Ok(ExitCode::SUCCESS)
}

pub(super) fn export(args: &ExportArgs, common: &Common) -> Result<ExitCode, Failure> {
    in_a_mount(&args.path)?;
    let (home, secret) = unlocked(common)?;
    let done = wait(async {
        let session = Session::open(SessionConfig::new(Keyring::new(home), None), secret)?;
        let (path, file) = (&args.path, &args.file);
        session.encrypt_file(path, file, args.cipher).await
    })?;
    let label = done.label.to_string();
    let text = format!(
        "Exported {} as {}, encrypted.\nPrograms share it as {label}: kms-cli grant {label} WHO",
        args.path.display(),
        args.file.display(),
    );
    let sizes = done.sizes;
    let document = json!({ "label": label, "size": sizes.plain, "sealed_size": sizes.sealed });
    output::result(common, &document, &text);
    Ok(ExitCode::SUCCESS)
}

/// Nothing that was encrypted comes to lie on a disk as it is, and nothing else is taken for a file of a store.
fn in_a_mount(path: &Path) -> Result<(), Failure> {
    let dir = path.parent().filter(|dir| *dir != Path::new(""));
    Inside::find(dir.unwrap_or(Path::new("."))).map(drop)
}

fn unlocked(common: &Common) -> Result<(Home, kms_crypto::key::IdentitySecret), Failure> {
    let home = Home::of_process()?;
    let file = common.identity.as_deref().unwrap_or(&home.identity);
    let secret = unlock(file, &Source::choose(common.passfile.as_deref()))?;
    Ok((home, secret))
}

async fn connect(home: &Home) -> Result<Client, ApiError> {
    let (network, _) = Settings::of(home, |name| std::env::var_os(name))?.resolve()?;
    let connected = Client::connect(&network).await;
    connected.map_err(|error| kms_client::ClientError::from(error).into())
}

fn wait<T>(work: impl Future<Output = Result<T, ApiError>>) -> Result<T, Failure> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::System, "Cannot start a thread.").why(error))?;
    runtime.block_on(work).map_err(|error| refused(&error))
}

/// An error of the API as a command says it.
fn refused(error: &ApiError) -> Failure {
    let exit = match error.code() {
        Code::BadData | Code::Tampered => Exit::Data,
        Code::NoNetwork | Code::BadParameter => Exit::Config,
        Code::NotGranted | Code::Revoked | Code::Expired => Exit::Denied,
        Code::NotOwner | Code::NotForYou => Exit::Denied,
        Code::NoQuorum | Code::Ledger => Exit::Unavailable,
        Code::Timeout => Exit::TempFail,
        Code::BadProofs | Code::WrongKey => Exit::Protocol,
        Code::Exists => Exit::CannotCreate,
        Code::Io => Exit::Io,
        _ => Exit::Software,
    };
    let mut failure = Failure::new(exit, format!("{}.", capital(&error.to_string())));
    failure.errno = Some(error.code().errno_name().to_owned());
    failure
}
