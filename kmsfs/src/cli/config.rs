//! `kmsfs config show` (CLI 4.2): what counts, and who says so.

use std::process::ExitCode;

use serde_json::{Map, Value, json};

use super::{Common, ConfigShowArgs, output};
use crate::{
    config::{Config, DEFAULT_NETWORK, Network, RawConfig},
    failure::Failure,
    home::Home,
};

pub(super) fn show(args: &ConfigShowArgs, common: &Common) -> Result<ExitCode, Failure> {
    let home = Home::of_process()?;
    let env = RawConfig::from_env(|name| std::env::var_os(name));
    let file = RawConfig::load(&home.config)?;
    // What cannot be used is said here as it would be at the mount.
    let config = env.clone().or(file.clone()).resolve()?;
    let path = home.config.to_string_lossy();
    let mut rows = Vec::new();
    let mut document = Map::new();
    let env = env.texts();
    let file = file.texts();
    for ((name, effective), (env, file)) in effective(&config)
        .into_iter()
        .zip(env.into_iter().zip(file))
    {
        let origin = match (&env, &file) {
            (Some(_), _) => format!("KMSFS_{}", name.to_ascii_uppercase()),
            (None, Some(_)) => path.clone().into_owned(),
            (None, None) => "default".to_owned(),
        };
        let mut row = vec![name.to_owned(), effective.clone()];
        if args.origin {
            row.push(origin.clone());
        }
        rows.push(row);
        document.insert(name.into(), json!({ "value": effective, "origin": origin }));
    }
    let document = json!({ "file": path, "config": Value::Object(document) });
    output::answer(common, &document, &output::table(&rows));
    Ok(ExitCode::SUCCESS)
}

/// Every entry as it counts, in the order of [`RawConfig::texts`].
fn effective(config: &Config) -> [(&'static str, String); 5] {
    let (ledger, bootstrap, name) = match &config.network {
        Network::Absent => ("none", String::new(), DEFAULT_NETWORK),
        Network::Named {
            name,
            ledger,
            bootstrap,
        } => (ledger.as_str(), bootstrap.join(","), name.as_str()),
    };
    [
        ("ledger", ledger.to_owned()),
        ("bootstrap", bootstrap),
        ("threshold", config.threshold.to_string()),
        ("network", name.to_owned()),
        ("net_timeout", format!("{}s", config.net_timeout.as_secs())),
    ]
}
