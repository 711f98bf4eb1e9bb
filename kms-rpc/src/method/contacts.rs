//! Contacts (API §2.2).

use kms_client::Contacts;
use serde_json::json;

use super::{Gives, Kind, Method, Param, member, required};

const NAME: Param = required("name", Kind::Text, "The petname");

pub(super) const METHODS: &[Method] = &[
    Method {
        name: "contact_add",
        category: "Contacts",
        about: "Gives somebody's key a petname. The key of a known name never changes.",
        params: &[NAME, required("key", Kind::Key, "Their public key")],
        gives: Gives::Map(&[
            member("name", Kind::Text, "The petname"),
            member("identity", Kind::Key, "The public key"),
            member("added", Kind::Bool, "False if it was there"),
        ]),
        example: r#"["bob", "kms1…"]"#,
        early: false,
        run: |daemon, args| {
            Box::pin(async move {
                let (name, key) = (args.text("name")?, args.key("key")?);
                let added = Contacts::new(daemon.contacts()).add(name, key)?;
                Ok(json!({"name": name, "identity": key.to_string(), "added": added}))
            })
        },
    },
    Method {
        name: "contact_remove",
        category: "Contacts",
        about: "Forgets somebody, in groups too.",
        params: &[NAME],
        gives: Gives::Map(&[
            member("name", Kind::Text, "The petname"),
            member("identity", Kind::Key, "The public key they had"),
        ]),
        example: r#"["bob"]"#,
        early: false,
        run: |daemon, args| {
            Box::pin(async move {
                let name = args.text("name")?;
                let key = Contacts::new(daemon.contacts()).remove(name)?;
                Ok(json!({"name": name, "identity": key.to_string()}))
            })
        },
    },
    Method {
        name: "contact_verify",
        category: "Contacts",
        about: "Notes that a key was compared with its owner, who has read its digits aloud.",
        params: &[
            NAME,
            required(
                "fingerprint",
                Kind::Text,
                "The 24 digits; spaces do not matter",
            ),
        ],
        gives: Gives::Map(&[
            member("name", Kind::Text, "The petname"),
            member("identity", Kind::Key, "The public key"),
            member("fingerprint", Kind::Text, "Its digits"),
        ]),
        example: r#"["bob", "0123 4567 8901 2345 6789 0123"]"#,
        early: false,
        run: |daemon, args| {
            Box::pin(async move {
                let (name, digits) = (args.text("name")?, args.text("fingerprint")?);
                let found = Contacts::new(daemon.contacts()).verify(name, digits)?;
                Ok(json!(found))
            })
        },
    },
    Method {
        name: "contacts",
        category: "Contacts",
        about: "Lists the contacts and the groups.",
        params: &[],
        gives: Gives::Map(&[
            member(
                "contacts",
                Kind::List,
                "name, identity (key), fingerprint, verified",
            ),
            member("groups", Kind::List, "name, members"),
        ]),
        example: "[]",
        early: false,
        run: |daemon, _| {
            Box::pin(async move {
                let (people, groups) = Contacts::new(daemon.contacts()).list()?;
                Ok(json!({"contacts": people, "groups": groups}))
            })
        },
    },
];
