//! A vector of `spec/vectors`, as all of its tests read it.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs;
use std::path::Path;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use kms_crypto::key::PublicKey;

/// One file: its fields, and what follows the empty line.
pub(crate) struct Vector {
    fields: BTreeMap<String, String>,
    payload: String,
}

/// How many vectors there are, and how many of them are no error.
pub(crate) struct Checked {
    pub(crate) all: usize,
    pub(crate) accepted: usize,
}

/// Compares what happens to each vector of a directory with what it expects.
#[track_caller]
pub(crate) fn check(directory: &str, outcome: impl Fn(&Vector) -> Result<(), String>) -> Checked {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("../spec/vectors");
    let (mut wrong, mut checked) = (
        Vec::new(),
        Checked {
            all: 0,
            accepted: 0,
        },
    );
    for entry in fs::read_dir(vectors.join(directory)).unwrap() {
        let path = entry.unwrap().path();
        let vector = Vector::read(&path);
        let found = outcome(&vector).err().unwrap_or_else(|| "ok".to_owned());
        checked.all += 1;
        checked.accepted += usize::from(found == "ok");
        let expected = vector.field("expect");
        if found != expected {
            wrong.push(format!("{}: {found} instead of {expected}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    checked
}

impl Vector {
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap();
        let (head, payload) = text.split_once("\n\n").unwrap();
        // An empty value is only a colon.
        let field = |line: &str| {
            let (name, value) = line
                .split_once(": ")
                .unwrap_or_else(|| (line.strip_suffix(':').unwrap(), ""));
            (name.to_owned(), value.to_owned())
        };
        Self {
            fields: head.lines().map(field).collect(),
            payload: payload.to_owned(),
        }
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.fields.contains_key(name)
    }

    pub(crate) fn field(&self, name: &str) -> &str {
        self.fields
            .get(name)
            .unwrap_or_else(|| panic!("a field {name}"))
    }

    /// A dash stands for nothing.
    pub(crate) fn hex(&self, name: &str) -> Vec<u8> {
        let digits = self.field(name).trim_end_matches('-');
        HEXLOWER.decode(digits.as_bytes()).unwrap()
    }

    pub(crate) fn array<const N: usize>(&self, name: &str) -> [u8; N] {
        self.hex(name).try_into().unwrap()
    }

    pub(crate) fn number<T: FromStr<Err: Debug>>(&self, name: &str) -> T {
        self.field(name).parse().unwrap()
    }

    pub(crate) fn public(&self, name: &str) -> PublicKey {
        PublicKey::from_bytes(&self.hex(name)).unwrap()
    }

    /// The payload as text.
    pub(crate) fn text(&self) -> &str {
        &self.payload
    }

    /// The payload, if it is one line.
    pub(crate) fn line(&self) -> &str {
        self.payload.strip_suffix('\n').unwrap()
    }

    /// The payload's bytes; `*n` stands for so many zeros.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for word in self.payload.split_whitespace() {
            match word.strip_prefix('*') {
                Some(zeros) => out.resize(out.len() + zeros.parse::<usize>().unwrap(), 0),
                None => out.extend(HEXLOWER.decode(word.as_bytes()).unwrap()),
            }
        }
        out
    }
}
