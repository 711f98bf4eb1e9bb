//! Encrypting and decrypting (API §2.3).

use super::{Gives, IDENTITY, Kind, Method, Param, member, operation, optional, required};

const CIPHER: Param = optional(
    "cipher",
    Kind::Text,
    "aes-256-gcm",
    "aes-256-gcm, aes-256-gcm-siv or xsalsa20-poly1305",
);
const SEALED: Param = required("sealed", Kind::Bytes, "What was encrypted");
const SOURCE: Param = required("source", Kind::Path, "The file to read");
const TARGET: Param = required("target", Kind::Path, "The file to make; it must not exist");
const TICKET: Param = optional(
    "ticket",
    Kind::Ticket,
    "null",
    "What its owner has sent; null: it is your own",
);
const KEY: Param = optional(
    "key",
    Kind::Secret,
    "null",
    "Its key, if it was fetched before",
);
const OWNER: Param = optional(
    "owner",
    Kind::Key,
    "null",
    "Whose it must be; needed with a key",
);
const OPENED: [super::Member; 3] = [
    member("owner", Kind::Key, "Who made it"),
    member("label", Kind::Id, "Its label"),
    member("size", Kind::Number, "Bytes of plaintext"),
];

pub(super) const METHODS: &[Method] = &[
    Method {
        name: "encrypt",
        category: "Data",
        about: "Encrypts data under a new label, on which it can be granted. Asks nobody.",
        params: &[
            required("data", Kind::Bytes, "What to encrypt"),
            CIPHER,
            IDENTITY,
        ],
        gives: Gives::Map(&[
            member("sealed", Kind::Bytes, "Everything there is to keep"),
            member("label", Kind::Id, "What it is granted by"),
            member("size", Kind::Number, "Bytes of plaintext"),
        ]),
        example: r#"["bGF1bmNoIGZyaWRheQ=="]"#,
        early: false,
        run: |daemon, params| operation("encrypt", daemon, params),
    },
    Method {
        name: "decrypt",
        category: "Data",
        about: "Decrypts data: your own, what a ticket lets you open, or with a key that was fetched before.",
        params: &[SEALED, TICKET, KEY, OWNER, IDENTITY],
        gives: Gives::Map(&[
            member("data", Kind::Bytes, "The plaintext"),
            OPENED[0],
            OPENED[1],
            OPENED[2],
        ]),
        example: r#"["a21zZnM…", "kms-ticket-1-…"]"#,
        early: false,
        run: |daemon, params| operation("decrypt", daemon, params),
    },
    Method {
        name: "encrypt_file",
        category: "Data",
        about: "Encrypts a file of any size into a new one.",
        params: &[SOURCE, TARGET, CIPHER, IDENTITY],
        gives: Gives::Map(&[
            member("label", Kind::Id, "What it is granted by"),
            member("size", Kind::Number, "Bytes of plaintext"),
            member("sealed_size", Kind::Number, "Bytes of the new file"),
        ]),
        example: r#"["/home/alice/plan.txt", "/home/alice/plan.sealed"]"#,
        early: false,
        run: |daemon, params| operation("encrypt_file", daemon, params),
    },
    Method {
        name: "decrypt_file",
        category: "Data",
        about: "Decrypts a file of any size into a new one, which appears when all of it has been verified. Your own is also what lies in a store of kmsfs that is yours: name it as the mount does, below the store's directory.",
        params: &[SOURCE, TARGET, TICKET, KEY, OWNER, IDENTITY],
        gives: Gives::Map(&[
            OPENED[0],
            member(
                "label",
                Kind::Id,
                "Its label; null for a file of a store that is not shared",
            ),
            OPENED[2],
        ]),
        example: r#"["/home/bob/plan.sealed", "/home/bob/plan.txt", "kms-ticket-1-…"]"#,
        early: false,
        run: |daemon, params| operation("decrypt_file", daemon, params),
    },
    Method {
        name: "inspect",
        category: "Data",
        about: "What the header of encrypted data says. Nothing of it has been verified.",
        params: &[required(
            "sealed",
            Kind::Bytes,
            "What was encrypted; its first 4096 bytes are enough",
        )],
        gives: Gives::Map(&[
            member("version", Kind::Number, "Of the format"),
            member("cipher", Kind::Text, "What it is sealed with"),
            member("store", Kind::Id, "Where its label's key comes from"),
            member("labels", Kind::List, "label, scheme, epoch"),
        ]),
        example: r#"["a21zZnM…"]"#,
        early: false,
        run: |daemon, params| operation("inspect", daemon, params),
    },
];
