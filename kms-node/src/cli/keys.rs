//! `kms-node keys`: where the storage key is kept, and keeping it elsewhere (NODE §4).

use super::{EX_CONFIG, EX_TEMPFAIL, EX_UNAVAILABLE, EX_USAGE, Failure, KeysCommand};
use crate::config::Config;
use crate::keyfile;
use crate::keysource::network::Kept;
use crate::keysource::{Source, SourceError, move_to};
use crate::lock;

const WHAT: &str = "the storage key stays where it is";

/// Does it; `say` is called with every line to print.
pub async fn run(
    command: &KeysCommand,
    config: &Config,
    mut say: impl FnMut(&str) -> Result<(), Failure>,
) -> Result<(), Failure> {
    match command {
        KeysCommand::Show => show(config, &mut say),
        KeysCommand::Use { source } => {
            let to: Source = source.parse().map_err(|error| {
                Failure::new(EX_USAGE, WHAT, error, "see kms-node keys use --help")
            })?;
            let (from, to) = change(config, to).await?;
            say(&format!("moved from {} to {}", from.name(), to.name()))
        }
    }
}

fn show(config: &Config, say: &mut impl FnMut(&str) -> Result<(), Failure>) -> Result<(), Failure> {
    let Some(source) = Source::present(config) else {
        return say("source none: the key is made at the first start");
    };
    say(&format!("source {}", source.name()))?;
    say(&format!("file   {}", source.path(config).display()))?;
    if source == Source::Kms {
        let kept = Kept::read(config).map_err(failure)?;
        let threshold = kept
            .threshold()
            .map_or_else(String::new, |it| it.to_string());
        say(&format!("nodes  {threshold}"))?;
        say(&format!("until  {}", moment(kept.expiry)))?;
    }
    Ok(())
}

async fn change(config: &Config, to: Source) -> Result<(Source, Source), Failure> {
    let stop = "stop the node first";
    let lock = lock::take(&config.data_dir)
        .map_err(|error| Failure::new(EX_CONFIG, WHAT, error, "check data_dir"))?
        .ok_or_else(|| Failure::new(EX_TEMPFAIL, WHAT, "the node is running", stop))?;
    let secret = keyfile::node_secret(&config.identity)
        .map_err(|error| failure(SourceError::File(error)))?;
    let from = move_to(config, &secret, to).await.map_err(failure)?;
    drop(lock);
    Ok((from, to))
}

fn failure(error: SourceError) -> Failure {
    let (code, advice) = match &error {
        SourceError::Network(_) | SourceError::NoNetwork(_) => {
            (EX_UNAVAILABLE, "check that the other nodes run")
        }
        SourceError::Dependent { .. } | SourceError::KeepsLedger { .. } => (
            EX_UNAVAILABLE,
            "let more nodes use a file or a passphrase, or ask fewer of them",
        ),
        _ => (EX_CONFIG, "see kms-node keys show"),
    };
    Failure::new(code, WHAT, error, advice)
}

fn moment(seconds: u64) -> String {
    let moment = i64::try_from(seconds)
        .ok()
        .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    moment.map_or_else(|| seconds.to_string(), |moment| moment.to_string())
}
