//! `kmsfs nodes` (CLI 8.1): the nodes of the ledger, and how each of them is.

use std::process::ExitCode;

use serde_json::json;

use super::{Common, output};
use crate::{
    config::{Config, RawConfig},
    failure::{Exit, Failure},
    home::Home,
    share::{
        Network, Unreachable,
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
    let network = Network::new(&config.network, config.net_timeout);
    let unreachable = |why: String| {
        Failure::new(Exit::Unavailable, "The ledger cannot be read.")
            .why(format!("{why}."))
            .now("Which one is asked, and who says so: kmsfs config show --origin")
    };
    let client = network.client().map_err(|error| match error {
        Unreachable::NotSetUp => Failure::new(Exit::Config, "No network is set up.")
            .why("Private files need none; only sharing does.")
            .now("Name the ledger in config.toml, or in KMSFS_LEDGER."),
        error => unreachable(error.to_string()),
    })?;
    ask_all(&client).map_err(unreachable)
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
