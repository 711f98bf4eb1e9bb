//! `kmsfs nodes` (CLI 8.1): the nodes of the ledger, and how each of them is.

use std::{process::ExitCode, sync::Arc};

use kms_client::blocking::Client;
use serde_json::json;

use super::{Common, output};
use crate::{
    config::{Config, RawConfig},
    failure::{Exit, Failure},
    home::Home,
    share::{
        FORGET, Network, Unreachable,
        nodes::{NodeHealth, ask_all},
    },
    time,
};

pub(super) fn run(common: &Common) -> Result<ExitCode, Failure> {
    let config = configured()?;
    let nodes = ask(&config)?;
    let up = nodes.iter().filter(|node| node.answer.is_ok()).count();
    let needed = usize::from(config.threshold.needed());
    let documents: Vec<_> = nodes.iter().map(NodeHealth::document).collect();
    let mut rows: Vec<_> = nodes.iter().map(row).collect();
    rows.push(vec![format!(
        "{up} of {} nodes answer; a grant of {} needs {}.",
        nodes.len(),
        config.threshold,
        config.threshold.total()
    )]);
    output::answer(
        common,
        &json!({ "nodes": documents, "answering": up }),
        &output::table(&rows),
    );
    Ok(if up < needed {
        Exit::Unavailable.code().into()
    } else {
        ExitCode::SUCCESS
    })
}

/// The configuration of the environment and the file.
pub(super) fn configured() -> Result<Config, Failure> {
    let home = Home::of_process()?;
    let file = RawConfig::load(&home.config)?;
    RawConfig::from_env(|name| std::env::var_os(name))
        .or(file)
        .resolve()
}

/// Asks all nodes of the configured network.
pub(super) fn ask(config: &Config) -> Result<Vec<NodeHealth>, Failure> {
    ask_all(&*connect(config)?).map_err(unreachable)
}

/// The connection to the configured network.
pub(super) fn connect(config: &Config) -> Result<Arc<Client>, Failure> {
    let network = Network::new(&config.network, config.net_timeout);
    network.client().map_err(|error| match error {
        Unreachable::NotSetUp => Failure::new(Exit::Config, "No network is set up.")
            .why("Private files need none; only sharing does.")
            .now("Name the ledger in config.toml, or in KMSFS_LEDGER."),
        Unreachable::Connect(error) if error.is_another_ledger() => {
            unreachable(error.to_string()).now(FORGET)
        }
        error => unreachable(error.to_string()),
    })
}

fn unreachable(why: String) -> Failure {
    Failure::new(Exit::Unavailable, "The ledger cannot be read.")
        .why(format!("{why}."))
        .now("Which one is asked, and who says so: kmsfs config show --origin")
}

fn row(node: &NodeHealth) -> Vec<String> {
    let said = match &node.answer {
        Ok(status) => format!("{} fragments, version {}", status.fragments, status.version),
        Err(why) => why.clone(),
    };
    vec![
        node.key.to_string(),
        if node.answer.is_ok() { "ok" } else { "--" }.to_owned(),
        format!("until {}", time::moment(node.available_until)),
        said,
    ]
}
