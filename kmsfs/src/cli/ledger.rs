//! `kmsfs ledger` (CLI 8.3): how the ledger is, whether it holds together, all of it for other programs, and a new one on
//! a chain.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    process::ExitCode,
    sync::Arc,
};

use data_encoding::HEXLOWER;
use kms_client::{
    ClientError,
    blocking::Client,
    ledger::{Deployment, LedgerLine},
};
use serde_json::{Value, json};

use super::{Common, LedgerCommand, LedgerDeployArgs, LedgerExportArgs, nodes, output};
use crate::{
    config::{self, Config},
    failure::{Exit, Failure},
    passphrase::Source,
    share::{Network, capital},
    time,
};

pub(super) fn run(command: &LedgerCommand, common: &Common) -> Result<ExitCode, Failure> {
    match command {
        LedgerCommand::Status => status(common),
        LedgerCommand::Verify => verify(common),
        LedgerCommand::Compact => compact(common),
        LedgerCommand::Forget => forget(common),
        LedgerCommand::Export(args) => export(args, common),
        LedgerCommand::Deploy(args) => deploy(args, common),
    }
}

/// The kind of ledger, without what may be a secret path or a provider's token.
fn kind(config: &Config) -> String {
    let name = match &config.network {
        config::Network::Absent => "",
        config::Network::Named { ledger, .. } => ledger,
    };
    name.split(':').next().unwrap_or_default().to_owned()
}

fn status(common: &Common) -> Result<ExitCode, Failure> {
    let config = nodes::configured()?;
    let client = nodes::connect(&config)?;
    let report = client.ledger_report();
    let sources = match &report {
        Ok(report) => report.sources.clone(),
        Err(_) => client.ledger_sources().unwrap_or_default(),
    };
    let mut rows: Vec<Vec<String>> = sources
        .iter()
        .map(|it| {
            let (state, said) = match &it.state {
                Ok(said) => ("ok", said),
                Err(fault) => ("--", fault),
            };
            vec![it.name.clone(), state.to_owned(), said.clone()]
        })
        .collect();
    let documents: Vec<Value> = sources
        .iter()
        .map(|it| {
            let said = it.state.clone().unwrap_or_else(|fault| fault);
            json!({ "name": it.name, "ok": it.state.is_ok(), "said": said })
        })
        .collect();
    let mut document = json!({ "kind": kind(&config), "sources": documents });
    let code = match &report {
        Ok(report) => {
            let head = &report.head;
            document["height"] = head.height.into();
            document["hash"] = HEXLOWER.encode(&head.hash).into();
            document["time"] = head.time.into();
            document["serving"] = report.serving.into();
            let last = match head.height {
                0 => "empty".to_owned(),
                height => format!("{height} records, the last of {}", time::moment(head.time)),
            };
            rows.push(vec![format!(
                "{}: {last}; {} nodes serve.",
                kind(&config),
                report.serving
            )]);
            ExitCode::SUCCESS
        }
        Err(error) => {
            document["error"] = error.to_string().into();
            rows.push(vec![format!("{}.", capital(&error.to_string()))]);
            Exit::Unavailable.code().into()
        }
    };
    output::answer(common, &document, &output::table(&rows));
    Ok(code)
}

fn verify(common: &Common) -> Result<ExitCode, Failure> {
    let config = nodes::configured()?;
    let client = nodes::connect(&config)?;
    let head = client.verify_ledger(|_| {}).map_err(unreadable)?;
    let hash = HEXLOWER.encode(&head.hash);
    let text = format!(
        "All {} records hold together. The head is {hash}.",
        head.height
    );
    output::answer(
        common,
        &json!({ "kind": kind(&config), "height": head.height, "hash": hash }),
        &text,
    );
    Ok(ExitCode::SUCCESS)
}

fn export(args: &LedgerExportArgs, common: &Common) -> Result<ExitCode, Failure> {
    let client = nodes::connect(&nodes::configured()?)?;
    let cannot = |error: io::Error| {
        Failure::new(Exit::CannotCreate, "The ledger was not written out whole.").why(error)
    };
    let Some(path) = &args.file else {
        write_out(&client, &mut io::stdout().lock(), cannot)?;
        return Ok(ExitCode::SUCCESS);
    };
    let mut out = BufWriter::new(File::create_new(path).map_err(cannot)?);
    let count = write_out(&client, &mut out, cannot)?;
    let file = out
        .into_inner()
        .map_err(|error| cannot(error.into_error()))?;
    file.sync_all().map_err(cannot)?;
    output::result(
        common,
        &json!({ "file": path.to_string_lossy(), "records": count }),
        &format!("Wrote {count} records to {}.", path.display()),
    );
    Ok(ExitCode::SUCCESS)
}

fn write_out(
    client: &Client,
    out: &mut dyn Write,
    cannot: impl Fn(io::Error) -> Failure,
) -> Result<u64, Failure> {
    let mut failed = None;
    let head = client.verify_ledger(|line| {
        if failed.is_none() {
            failed = writeln!(out, "{}", document(line)).err();
        }
    });
    let flushed = out.flush();
    let head = head.map_err(unreadable)?;
    match failed.or(flushed.err()) {
        Some(error) => Err(cannot(error)),
        None => Ok(head.height),
    }
}

fn document(line: &LedgerLine) -> Value {
    let mut document = json!({
        "height": line.height,
        "time": line.time,
        "hash": HEXLOWER.encode(&line.hash),
        "entry": line.kind,
        "record": HEXLOWER.encode(&line.bytes),
    });
    if line.left_out {
        document["left_out"] = true.into();
    }
    if let Some(policy) = &line.policy {
        document["policy"] = HEXLOWER.encode(policy.as_bytes()).into();
    }
    if let Some(until) = line.until {
        document["until"] = until.into();
    }
    if let Some(needed) = line.needed {
        document["needed"] = needed.into();
    }
    if !line.nodes.is_empty() {
        let nodes: Vec<String> = line.nodes.iter().map(ToString::to_string).collect();
        document["nodes"] = nodes.into();
    }
    document
}

fn compact(common: &Common) -> Result<ExitCode, Failure> {
    let config = nodes::configured()?;
    let done = Network::new(&config.network, config.net_timeout).compact_ledger();
    let done = done.map_err(|error| {
        Failure::new(
            Exit::CannotCreate,
            "The ledger was not compacted; it is as it was.",
        )
        .why(format!("{}.", capital(&error.to_string())))
    })?;
    let text = match done.left_out {
        0 => format!("Nothing in the {} records can be left out.", done.records),
        count => format!(
            "Left out {count} entries of {} records: {} bytes instead of {}.",
            done.records, done.bytes_after, done.bytes_before
        ),
    };
    let document = json!({
        "records": done.records,
        "left_out": done.left_out,
        "bytes_before": done.bytes_before,
        "bytes_after": done.bytes_after,
    });
    output::result(common, &document, &text);
    Ok(ExitCode::SUCCESS)
}

fn forget(common: &Common) -> Result<ExitCode, Failure> {
    let config = nodes::configured()?;
    let forgotten = Network::new(&config.network, config.net_timeout).forget_ledger();
    let forgotten = forgotten.map_err(|error| {
        Failure::new(Exit::Io, "What was seen of the ledger is not forgotten.").why(error)
    })?;
    let text = match forgotten {
        true => {
            "What was seen of the ledger is forgotten. Running mounts notice when they are mounted again."
        }
        false => "Nothing was known of the ledger.",
    };
    output::result(common, &json!({ "forgotten": forgotten }), text);
    Ok(ExitCode::SUCCESS)
}

fn deploy(args: &LedgerDeployArgs, common: &Common) -> Result<ExitCode, Failure> {
    let deployment = Deployment {
        provider: &args.rpc,
        key: &args.key,
        ask: Arc::new(|keystore| {
            let prompt = format!("Passphrase of {}: ", keystore.display());
            Source::choose(None).ask(&prompt).ok()
        }),
        network: args.network.as_deref().unwrap_or(config::DEFAULT_NETWORK),
    };
    let name = deployment.make().map_err(|error| {
        Failure::new(Exit::Unavailable, "No ledger was made.")
            .why(format!("{}.", capital(&error.to_string())))
            .now("Nothing is configured. What it takes: a provider that answers, and an account that can pay.")
    })?;
    let text = format!(
        "ledger = \"{name}\"\nThat line goes into config.toml; a node adds &key=FILE with an account of its own, for nodes pay."
    );
    output::answer(common, &json!({ "ledger": name }), &text);
    Ok(ExitCode::SUCCESS)
}

fn unreadable(error: ClientError) -> Failure {
    Failure::new(
        Exit::Unavailable,
        "The ledger does not hold together, or cannot be read.",
    )
    .why(format!("{}.", capital(&error.to_string())))
    .now("How each place is where it is read: kmsfs ledger status")
}
