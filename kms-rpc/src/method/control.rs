//! The daemon itself, and the network it sees (API §4.4).

use futures::future::join_all;
use kms_client::{ApiError, Code, NodeAddress};
use serde_json::{Value, json};

use super::{Gives, Kind, Method, member, optional};
use crate::{help, openrpc};

const PEER: [super::Member; 8] = [
    member("node", Kind::Key, "Its key"),
    member("addrs", Kind::List, "Its addresses"),
    member(
        "available_until",
        Kind::Number,
        "Until when it has promised to serve",
    ),
    member("answers", Kind::Bool, "Whether it answers now"),
    member("answer", Kind::Text, "What it said, or what happened"),
    member("version", Kind::Text, "Of its program, or null"),
    member("fragments", Kind::Number, "How many it keeps, or null"),
    member(
        "clock_offset",
        Kind::Number,
        "Seconds its clock is ahead, or null",
    ),
];

pub(super) const METHODS: &[Method] = &[
    Method {
        name: "help",
        category: "Control",
        about: "Lists all methods, or explains one.",
        params: &[optional("command", Kind::Text, "null", "The method")],
        gives: Gives::Text("The help"),
        example: r#"["encrypt"]"#,
        early: true,
        run: |daemon, args| {
            Box::pin(async move {
                let Some(name) = args.maybe_text("command")? else {
                    return Ok(help::list().into());
                };
                let unknown = || {
                    let name: String = name.chars().take(64).collect();
                    ApiError::new(Code::BadParameter, format!("help: unknown command: {name}"))
                };
                let method = super::find(name).ok_or_else(unknown)?;
                Ok(help::of(method, daemon.place()).into())
            })
        },
    },
    Method {
        name: "getinfo",
        category: "Control",
        about: "How the daemon is.",
        params: &[],
        gives: Gives::Map(&[
            member("version", Kind::Text, "Of the daemon"),
            member("network", Kind::Text, "The network's name"),
            member("ledger", Kind::Text, "Where the ledger is, or null"),
            member("threshold", Kind::Text, "Of a grant that names none"),
            member("identities", Kind::Number, "How many there are"),
            member("unlocked", Kind::Number, "How many are unlocked"),
            member("time", Kind::Number, "The daemon's clock"),
            member("uptime", Kind::Number, "Seconds since the start"),
        ]),
        example: "[]",
        early: false,
        run: |daemon, _| {
            Box::pin(async move {
                let known = daemon.keyring().identities()?;
                let unlocked = known
                    .iter()
                    .filter(|(name, _)| daemon.unlocked_until(name).is_some());
                Ok(json!({
                    "version": env!("CARGO_PKG_VERSION"),
                    "network": daemon.config().network.network,
                    "ledger": daemon.ledger(),
                    "threshold": daemon.config().threshold.to_string(),
                    "identities": known.len(),
                    "unlocked": unlocked.count(),
                    "time": crate::now(),
                    "uptime": daemon.uptime(),
                }))
            })
        },
    },
    Method {
        name: "getnetworkinfo",
        category: "Network",
        about: "How the network is.",
        params: &[],
        gives: Gives::Map(&[
            member("network", Kind::Text, "Its name"),
            member("ledger", Kind::Text, "Where the ledger is, or null"),
            member(
                "height",
                Kind::Number,
                "How many entries the ledger has, or null",
            ),
            member("head", Kind::Policy, "The hash of the last one, or null"),
            member("nodes", Kind::Number, "How many are registered"),
            member("answering", Kind::Number, "How many of them answer"),
            member(
                "timeout",
                Kind::Number,
                "Seconds that an operation may take",
            ),
        ]),
        example: "[]",
        early: false,
        run: |daemon, _| {
            Box::pin(async move {
                let (mut head, mut peers) = (None, Vec::new());
                if let Some(client) = daemon.client() {
                    head = Some(client.ledger_head().await?);
                    peers = self::peers(&client).await?;
                }
                let hash = |hash: &[u8; 32]| data_encoding::HEXLOWER.encode(hash);
                Ok(json!({
                    "network": daemon.config().network.network,
                    "ledger": daemon.ledger(),
                    "height": head.as_ref().map(|head| head.height),
                    "head": head.as_ref().map(|head| hash(&head.hash)),
                    "nodes": peers.len(),
                    "answering": peers.iter().filter(|it| it["answers"] == true).count(),
                    "timeout": daemon.config().network.timeout.as_secs(),
                }))
            })
        },
    },
    Method {
        name: "getpeerinfo",
        category: "Network",
        about: "The nodes of the ledger, and how they answer.",
        params: &[],
        gives: Gives::Maps(&PEER),
        example: "[]",
        early: false,
        run: |daemon, _| {
            Box::pin(async move {
                let Some(client) = daemon.client() else {
                    return Ok(json!([]));
                };
                Ok(peers(&client).await?.into())
            })
        },
    },
    Method {
        name: "getrpcinfo",
        category: "Control",
        about: "What the server is doing.",
        params: &[],
        gives: Gives::Map(&[
            member(
                "active_commands",
                Kind::List,
                "method, duration (microseconds)",
            ),
            member("logpath", Kind::Path, "The log, or null"),
        ]),
        example: "[]",
        early: true,
        run: |daemon, _| {
            Box::pin(async move {
                Ok(json!({
                    "active_commands": daemon.active(),
                    "logpath": daemon.config().log,
                }))
            })
        },
    },
    Method {
        name: "uptime",
        category: "Control",
        about: "Seconds since the daemon was started.",
        params: &[],
        gives: Gives::Number("Seconds"),
        example: "[]",
        early: true,
        run: |daemon, _| Box::pin(async move { Ok(daemon.uptime().into()) }),
    },
    Method {
        name: "stop",
        category: "Control",
        about: "Ends the daemon, when it has answered.",
        params: &[],
        gives: Gives::Text("That it stops"),
        example: "[]",
        early: true,
        run: |daemon, _| {
            Box::pin(async move {
                daemon.stop();
                Ok("kmsd stopping".into())
            })
        },
    },
    Method {
        name: "rpc.discover",
        category: "Control",
        about: "An OpenRPC document of all methods.",
        params: &[],
        gives: Gives::Document("OpenRPC 1.3"),
        example: "[]",
        early: true,
        run: |_, _| Box::pin(async move { Ok(openrpc::document()) }),
    },
];

async fn peers(client: &kms_client::Client) -> Result<Vec<Value>, ApiError> {
    let nodes = client.nodes().await?;
    let asked = nodes.into_iter().map(|record| async move {
        let until = record.available_until;
        let node = NodeAddress::from(record);
        let status = client.node_status(&node).await;
        let (answer, status) = match status {
            Ok(status) => ("ok".to_owned(), Some(status)),
            Err(answer) => (answer.to_string(), None),
        };
        let time = i64::try_from(client.time()).unwrap_or(i64::MAX);
        let offset = |at: u64| i64::try_from(at).unwrap_or(i64::MAX).saturating_sub(time);
        json!({
            "node": node.key.to_string(),
            "addrs": node.addrs,
            "available_until": until,
            "answers": status.is_some(),
            "answer": answer,
            "version": status.as_ref().map(|it| &it.version),
            "fragments": status.as_ref().map(|it| it.fragments),
            "clock_offset": status.as_ref().map(|it| offset(it.time)),
        })
    });
    Ok(join_all(asked).await)
}
