//! Identities: made, unlocked, locked (API §2.1).

use kms_client::keyring::DEFAULT_IDENTITY;
use kms_client::params::{Params, bad};
use serde_json::json;
use tokio::task::spawn_blocking;
use zeroize::Zeroizing;

use super::{Gives, Kind, Method, Param, member, optional, required};
use crate::daemon::{MAX_UNLOCK_SECONDS, gone};

const PASSPHRASE: Param = required("passphrase", Kind::Passphrase, "The passphrase");
const NAME: Param = optional("name", Kind::Text, "default", "The name of the identity");

pub(super) const METHODS: &[Method] = &[
    Method {
        name: "generate_key",
        category: "Identities",
        about: "Makes a new identity and keeps it under a passphrase. Its recovery words are shown this once.",
        params: &[PASSPHRASE, NAME],
        gives: Gives::Map(&[
            member("name", Kind::Text, "The name"),
            member("identity", Kind::Key, "The public key, for others"),
            member(
                "recovery_words",
                Kind::Text,
                "24 words that bring it back: to be written down",
            ),
        ]),
        example: r#"["correct horse battery staple"]"#,
        early: false,
        run: |daemon, args| {
            Box::pin(async move {
                let passphrase = Zeroizing::new(args.text("passphrase")?.to_owned());
                let name = name(&args)?;
                let one = daemon.stretching().await;
                let keyring = daemon.keyring().clone();
                let made = {
                    let name = name.clone();
                    spawn_blocking(move || {
                        let _one = one;
                        keyring.generate_key(&name, &passphrase)
                    })
                };
                let made = made.await.map_err(gone)??;
                Ok(json!({
                    "name": name,
                    "identity": made.secret.public().to_string(),
                    "recovery_words": made.words.as_str(),
                }))
            })
        },
    },
    Method {
        name: "identities",
        category: "Identities",
        about: "Lists the identities on this machine.",
        params: &[],
        gives: Gives::Map(&[member(
            "identities",
            Kind::List,
            "name, identity (key), unlocked, until (when it locks itself, or null)",
        )]),
        example: "[]",
        early: false,
        run: |daemon, _| {
            Box::pin(async move {
                let known = daemon.keyring().identities()?;
                let list = known.into_iter().map(|(name, key)| {
                    let unlocked = daemon.unlocked_until(&name);
                    json!({
                        "name": name,
                        "identity": key.to_string(),
                        "unlocked": unlocked.is_some(),
                        "until": unlocked.flatten(),
                    })
                });
                Ok(json!({"identities": list.collect::<Vec<_>>()}))
            })
        },
    },
    Method {
        name: "unlock",
        category: "Identities",
        about: "Unlocks an identity, so that operations can be done on its behalf.",
        params: &[
            PASSPHRASE,
            optional(
                "timeout",
                Kind::Number,
                "0",
                "Seconds until it locks itself; 0: never",
            ),
            NAME,
        ],
        gives: Gives::Map(&[
            member("name", Kind::Text, "The name"),
            member("identity", Kind::Key, "The public key"),
            member("until", Kind::Number, "When it locks itself, or null"),
        ]),
        example: r#"["correct horse battery staple", 600]"#,
        early: false,
        run: |daemon, args| {
            Box::pin(async move {
                let passphrase = Zeroizing::new(args.text("passphrase")?.to_owned());
                let timeout = args.number_or("timeout", 0)?;
                if timeout > MAX_UNLOCK_SECONDS {
                    return Err(bad("timeout", "at most 100000000 seconds"));
                }
                let name = name(&args)?;
                let (key, until) = daemon.unlock(&name, passphrase, timeout).await?;
                Ok(json!({"name": name, "identity": key.to_string(), "until": until}))
            })
        },
    },
    Method {
        name: "lock",
        category: "Identities",
        about: "Forgets an identity's secret until it is unlocked again.",
        params: &[NAME],
        gives: Gives::Map(&[
            member("name", Kind::Text, "The name"),
            member("identity", Kind::Key, "The public key"),
        ]),
        example: "[]",
        early: false,
        run: |daemon, args| {
            Box::pin(async move {
                let name = name(&args)?;
                let key = daemon.keyring().public(&name)?;
                daemon.lock(&name);
                Ok(json!({"name": name, "identity": key.to_string()}))
            })
        },
    },
];

fn name(args: &Params) -> Result<String, kms_client::ApiError> {
    let name = args.text_or("name", DEFAULT_IDENTITY)?;
    Ok(name.to_owned())
}
