//! `kms-node retire`: tells a running node to leave, and tells how far it is (WIRE §7).
//!
//! The wish is signed with the node's own key: whoever can read its identity file may send it away.

use std::time::{Duration, Instant};

use kms_crypto::key::{NodeSecret, PublicKey};
use kms_proto::message::{Command, Response, Retire, Retiring};
use kms_proto::signed::Address;

use super::{EX_CONFIG, EX_SOFTWARE, EX_TEMPFAIL, EX_UNAVAILABLE, EX_USAGE, Failure};
use crate::config::Config;
use crate::keyfile;
use crate::rng;
use crate::status::{Local, StatusError};
use crate::time::parse_duration;

/// How often the node is asked how far it is.
const INTERVAL: Duration = Duration::from_millis(500);
const DEADLINE_SECONDS: u64 = 20;

const WHAT: &str = "the node does not retire";

/// Tells the node, and waits until it has handed over everything. `say` is called with every news.
pub async fn run(
    options: &super::Retire,
    config: &Config,
    now: impl Fn() -> u64,
    mut say: impl FnMut(&str) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let usage = |why: &dyn std::fmt::Display| {
        Failure::new(EX_USAGE, WHAT, why, "see kms-node retire --help")
    };
    let to = options
        .to
        .as_deref()
        .map(str::parse::<PublicKey>)
        .transpose();
    let to = to.map_err(|error| usage(&error))?;
    let patience = parse_duration(&options.patience).map_err(|error| usage(&error))?;
    let after = options.after.as_deref().map(parse_duration).transpose();
    let after = after.map_err(|error| usage(&error))?;
    let secret = keyfile::node_secret(&config.identity).map_err(|error| {
        let advice = "run this as the user that the node runs as";
        Failure::new(EX_CONFIG, WHAT, error, advice)
    })?;
    let node = Local::find(config).map_err(unreachable)?;
    let until = now().saturating_add(after.unwrap_or_default().as_secs());
    let wish = Retire {
        node: secret.public(),
        until,
        to,
    };
    let mut moved = Instant::now();
    let mut known = None;
    loop {
        let state = ask(&node, &config.network, &secret, &wish, now()).await?;
        if state.done {
            let rest = match after {
                None => "it can be stopped".to_owned(),
                Some(_) => "it serves what is left until then".to_owned(),
            };
            if !state.trouble.is_empty() {
                say(&format!("note: {}", state.trouble))?;
            }
            return say(&format!("retired: all is handed over; {rest}"));
        }
        if known != Some(state.left) {
            known = Some(state.left);
            moved = Instant::now();
            say(&format!("left {}", state.left))?;
        } else if moved.elapsed() > patience {
            let why = if state.trouble.is_empty() {
                "it takes long".to_owned()
            } else {
                state.trouble
            };
            let advice = "let it run: it goes on trying, and this command can be repeated";
            return Err(Failure::new(EX_TEMPFAIL, WHAT, why, advice));
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

async fn ask(
    node: &Local,
    network: &str,
    secret: &NodeSecret,
    wish: &Retire,
    now: u64,
) -> Result<Retiring, Failure> {
    let to = Address {
        network,
        node: node.key,
        deadline: now.saturating_add(DEADLINE_SECONDS),
    };
    let message = Command::Retire(wish.clone()).sign(&to, secret, &mut rng());
    let message = message.map_err(|error| {
        Failure::new(EX_SOFTWARE, WHAT, error, "the identity file is another's")
    })?;
    match node.ask(message).await.map_err(unreachable)? {
        Response::Retiring(state) => Ok(state),
        Response::Refused(refusal) => {
            let why = format!("the node says: {refusal}");
            Err(Failure::new(
                EX_UNAVAILABLE,
                WHAT,
                why,
                "check --to, and that the clocks agree",
            ))
        }
        _ => Err(unreachable(StatusError::NotAStatus)),
    }
}

fn unreachable(error: StatusError) -> Failure {
    let advice = "start it with kms-node run, or name its configuration with --config";
    Failure::new(EX_UNAVAILABLE, WHAT, error, advice)
}
