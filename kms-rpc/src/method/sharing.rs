//! Granting, revoking, obtaining keys, and what there is (API §2.4).

use super::{Gives, IDENTITY, Kind, Method, Param, member, operation, optional, required};

const LABEL: Param = required("label", Kind::Id, "The label that encrypting has given");
const POLICY: Param = required("policy", Kind::Policy, "The policy that granting has given");
const TICKET: Param = required("ticket", Kind::Ticket, "What its owner has sent");

pub(super) const METHODS: &[Method] = &[
    Method {
        name: "grant",
        category: "Sharing",
        about: "Shares what has a label. Each recipient must be given their ticket, by any means.",
        params: &[
            LABEL,
            required(
                "terms",
                Kind::Text,
                "who [r] [ttl=7d|until=2030-12-24] [m=3/5]",
            ),
            IDENTITY,
        ],
        gives: Gives::Map(&[member(
            "grants",
            Kind::List,
            "recipient, who (petname or null), policy, until, threshold, ticket",
        )]),
        example: r#"["00112233445566778899aabbccddeeff", "bob ttl=7d m=3/5"]"#,
        early: false,
        run: |daemon, params| operation("grant", daemon, params),
    },
    Method {
        name: "revoke",
        category: "Sharing",
        about: "Withdraws access to what has a label. What was opened before may have been kept.",
        params: &[
            LABEL,
            required(
                "who",
                Kind::Text,
                "People, as in bob,@team; or * for everybody",
            ),
            IDENTITY,
        ],
        gives: Gives::Map(&[member(
            "revoked",
            Kind::List,
            "recipient, who (petname or null), policy, at, removed, nodes, quorum_left",
        )]),
        example: r#"["00112233445566778899aabbccddeeff", "bob"]"#,
        early: false,
        run: |daemon, params| operation("revoke", daemon, params),
    },
    Method {
        name: "decrypt_key",
        category: "Sharing",
        about: "Fetches the key of something that was shared with you. Whoever has it can open it for ever.",
        params: &[
            required(
                "sealed",
                Kind::Bytes,
                "What was encrypted; its first 4096 bytes are enough",
            ),
            TICKET,
            IDENTITY,
        ],
        gives: Gives::Map(&[
            member("key", Kind::Secret, "For decrypt and decrypt_file"),
            member("label", Kind::Id, "Its label"),
            member("owner", Kind::Key, "Who made it"),
        ]),
        example: r#"["a21zZnM…", "kms-ticket-1-…"]"#,
        early: false,
        run: |daemon, params| operation("decrypt_key", daemon, params),
    },
    Method {
        name: "list_grants",
        category: "Sharing",
        about: "Lists your grants, oldest first.",
        params: &[
            optional("label", Kind::Id, "null", "Of this label only"),
            IDENTITY,
        ],
        gives: Gives::Map(&[member(
            "grants",
            Kind::List,
            "policy, label, recipient, who, state (preparing, live, expired, revoked), until, created, threshold, nodes, revoked, quorum_left",
        )]),
        example: "[]",
        early: false,
        run: |daemon, params| operation("list_grants", daemon, params),
    },
    Method {
        name: "open_ticket",
        category: "Sharing",
        about: "What a ticket for you says. Whether it still opens anything is said by decrypting.",
        params: &[TICKET, IDENTITY],
        gives: Gives::Map(&[
            member("owner", Kind::Key, "Who shares"),
            member("who", Kind::Text, "Their petname, or null"),
            member("store", Kind::Id, "Their store"),
            member("label", Kind::Id, "What is shared"),
            member("kind", Kind::Text, "file or dir"),
            member("policy", Kind::Policy, "The policy"),
            member("until", Kind::Number, "When it ends"),
            member("threshold", Kind::Text, "As in 3/5"),
            member("nodes", Kind::List, "The nodes that hold a fragment"),
            member("revoked", Kind::Number, "When it was withdrawn, or null"),
        ]),
        example: r#"["kms-ticket-1-…"]"#,
        early: false,
        run: |daemon, params| operation("open_ticket", daemon, params),
    },
    Method {
        name: "tickets",
        category: "Sharing",
        about: "Lists what a store of the filesystem shares with you; its files are decrypted as they lie there.",
        params: &[
            required("store", Kind::Path, "The store's directory"),
            IDENTITY,
        ],
        gives: Gives::Map(&[member(
            "tickets",
            Kind::List,
            "ticket, path, file, and the members of open_ticket",
        )]),
        example: r#"["/home/bob/Sync/alice.kmsfs"]"#,
        early: false,
        run: |daemon, params| operation("tickets", daemon, params),
    },
    Method {
        name: "policy_health",
        category: "Sharing",
        about: "How the nodes of one of your policies are now.",
        params: &[POLICY, IDENTITY],
        gives: Gives::Map(&[
            member("policy", Kind::Policy, "The policy"),
            member("state", Kind::Text, "As in list_grants"),
            member("needed", Kind::Number, "How many nodes must answer"),
            member("good", Kind::Number, "How many would"),
            member("nodes", Kind::List, "node, good, answer"),
        ]),
        example: r#"["000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"]"#,
        early: false,
        run: |daemon, params| operation("policy_health", daemon, params),
    },
    Method {
        name: "audit",
        category: "Sharing",
        about: "Who has used one of your grants, as its nodes have noted it.",
        params: &[POLICY, IDENTITY],
        gives: Gives::Map(&[member(
            "nodes",
            Kind::List,
            "node, good, answer, dropped, lost, entries: at, recipient, who, outcome, capsules",
        )]),
        example: r#"["000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"]"#,
        early: false,
        run: |daemon, params| operation("audit", daemon, params),
    },
];
