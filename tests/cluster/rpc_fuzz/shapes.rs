//! Parameters and requests by chance: what the OpenRPC document says, and what it does not.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use data_encoding::{BASE64, HEXLOWER};
use serde_json::{Map, Value, json};

use super::chance::Rng;

/// In every passphrase that is given.
pub(super) const CANARY: &str = "fuzz-canary";
/// A key that opens nothing.
pub(super) const CANARY_HEX: &str =
    "5ec2e75ec2e75ec2e75ec2e75ec2e75ec2e75ec2e75ec2e75ec2e75ec2e75ec2";
pub(super) const ALICES_PASSPHRASE: &str = "the passphrase of alice";
pub(super) const BOBS_PASSPHRASE: &str = "fuzz-canary of bob";
/// How many values of each kind are remembered.
const REMEMBERED: usize = 16;

/// Makes requests.
pub(super) struct Shapes<'a> {
    pub(super) rng: Rng,
    methods: Vec<&'a Value>,
    pub(super) files: PathBuf,
    /// What the daemon has given, by its kind.
    known: HashMap<&'static str, Vec<String>>,
    /// What belongs together, and is shared with Bob.
    pub(super) shared: HashMap<&'static str, String>,
}

/// What kind of value a text is; the same kinds as those of the document's patterns.
fn kind(text: &str) -> Option<&'static str> {
    let is_hex = text.bytes().all(|it| it.is_ascii_hexdigit());
    Some(match text {
        _ if text.starts_with("kms-ticket-1-") => "ticket",
        _ if text.starts_with("kms1") => "key",
        _ if is_hex && text.len() == 32 => "id",
        _ if is_hex && text.len() == 64 => "hash",
        _ if text.starts_with('/') => "path",
        _ if text.len() > 100 && BASE64.decode(text.as_bytes()).is_ok() => "bytes",
        _ => return None,
    })
}

impl<'a> Shapes<'a> {
    pub(super) fn new(rng: Rng, document: &'a Value, files: &Path) -> Self {
        let all = document["methods"].as_array().unwrap().iter();
        Self {
            rng,
            // The one that would end all this.
            methods: all.filter(|it| it["name"] != "stop").collect(),
            files: files.to_owned(),
            known: HashMap::new(),
            shared: HashMap::new(),
        }
    }

    /// Remembers what can be asked about later.
    pub(super) fn learn(&mut self, result: &Value) {
        match result {
            Value::String(text) => {
                // Files stay where they are; a large value is not sent over and over again.
                let Some(kind) = kind(text).filter(|it| *it != "path" && text.len() < 1 << 20)
                else {
                    return;
                };
                let list = self.known.entry(kind).or_default();
                if list.len() == REMEMBERED {
                    list.remove(self.rng.index(REMEMBERED));
                }
                list.push(text.clone());
            }
            Value::Array(list) => list.iter().for_each(|it| self.learn(it)),
            Value::Object(map) => map.values().for_each(|it| self.learn(it)),
            _ => {}
        }
    }

    /// A call: right, or with something wrong in its parameters.
    pub(super) fn call(&mut self) -> (String, Value) {
        let mut method = *self.rng.one_of(&self.methods);
        // A passphrase takes a quarter of a second, and without identity and contact nothing goes on.
        let is_rare = |it: &Value| {
            it["params"][0]["name"] == "passphrase"
                || it["name"] == "lock"
                || it["name"] == "contact_remove"
        };
        if is_rare(method) && !self.rng.once_in(8) {
            method = *self.rng.one_of(&self.methods);
        }
        let called = method["name"].as_str().unwrap().to_owned();
        let takes_ticket = |it: &Value| it["name"] == "ticket";
        let is_bobs = method["params"]
            .as_array()
            .unwrap()
            .iter()
            .any(takes_ticket);
        let mut values: Vec<(String, Value)> = Vec::new();
        for param in method["params"].as_array().unwrap() {
            let is_needed = param["required"] == true;
            let value = match self.rng.below(24) {
                0 => self.odd(&param["schema"]),
                1..14 if !is_needed => Value::Null,
                _ => self.right(param),
            };
            let name = param["name"].as_str().unwrap();
            let value = match self.shared.get(name) {
                None if name == "identity" && is_bobs && self.rng.once_in(2) => "bob".into(),
                Some(it) if self.rng.once_in(2) && (is_needed || name == "ticket") => {
                    it.clone().into()
                }
                _ => value,
            };
            values.push((name.to_owned(), value));
        }
        let params = self.arranged(values);
        let mut request = json!({"method": called, "params": params, "id": self.rng.below(100)});
        match self.rng.below(4) {
            0 => request["jsonrpc"] = "2.0".into(),
            1 => request["jsonrpc"] = "1.1".into(),
            _ => {}
        }
        (called, request)
    }

    /// By place, by name, or mixed; sometimes too many, too few, or unknown ones.
    fn arranged(&mut self, values: Vec<(String, Value)>) -> Value {
        let mut list: Vec<Value> = values.iter().map(|(_, value)| value.clone()).collect();
        let mut map: Map<String, Value> = values.clone().into_iter().collect();
        match self.rng.below(16) {
            0..8 => list.into(),
            8..12 => map.into(),
            12 => {
                list.truncate(self.rng.index(list.len() + 1));
                list.into()
            }
            13 => {
                list.push(self.junk(0));
                list.into()
            }
            14 => {
                map.insert(self.word(), self.junk(0));
                map.into()
            }
            _ => {
                let leading = self.rng.index(list.len() + 1);
                list.truncate(leading);
                let rest = values
                    .into_iter()
                    .skip(leading.saturating_sub(self.rng.index(2)));
                let mut map: Map<String, Value> = rest.collect();
                map.insert("args".to_owned(), list.into());
                map.into()
            }
        }
    }

    /// A value as the document wants it.
    fn right(&mut self, param: &Value) -> Value {
        let schema = &param["schema"];
        let pattern = schema["pattern"].as_str().unwrap_or_default();
        let name = param["name"].as_str().unwrap();
        let text = match (pattern, name) {
            _ if schema["type"] == "integer" || schema["type"][0] == "integer" => {
                return (*self.rng.one_of(&[0_u64, 1, 60, 100_000_000, 1 << 40])).into();
            }
            _ if schema["format"] == "password" => {
                let fresh = format!("{CANARY} {}", self.rng.next());
                let known = [ALICES_PASSPHRASE, BOBS_PASSPHRASE, &fresh];
                (*self.rng.one_of(&known)).to_owned()
            }
            _ if schema["contentEncoding"] == "base64" => {
                let long = if self.rng.once_in(50) { 2 << 20 } else { 5000 };
                let len = self.rng.index(long);
                self.known_or("bytes", |rng| BASE64.encode(&rng.bytes(len)))
            }
            _ if pattern.starts_with("^kms1") => self.known_or("key", |rng| {
                format!("kms1{}", HEXLOWER.encode(&rng.bytes(33)))
            }),
            _ if pattern.starts_with("^kms-ticket") => self.known_or("ticket", |rng| {
                format!("kms-ticket-1-{}", BASE64.encode(&rng.bytes(200)))
            }),
            _ if pattern.starts_with("^/") => return self.path().into(),
            (_, "key") => self.known_or("hash", |_| CANARY_HEX.to_owned()),
            _ if pattern.contains("{32}") => {
                self.known_or("id", |rng| HEXLOWER.encode(&rng.bytes(16)))
            }
            _ if pattern.contains("{64}") => {
                self.known_or("hash", |rng| HEXLOWER.encode(&rng.bytes(32)))
            }
            (_, "identity") => {
                (*self.rng.one_of(&["default", "default", "bob", "nobody"])).to_owned()
            }
            (_, "name") => (*self.rng.one_of(&["default", "bob", "carol", "n-1"])).to_owned(),
            (_, "terms") => self.terms(),
            (_, "who") => (*self
                .rng
                .one_of(&["bob", "*", "carol", "bob,bob", "@team", ""]))
            .to_owned(),
            (_, "cipher") => (*self.rng.one_of(&[
                "aes-256-gcm",
                "aes-256-gcm-siv",
                "xsalsa20-poly1305",
                "rot13",
            ]))
            .to_owned(),
            (_, "command") => (*self.rng.one_of(&["encrypt", "help", "nothing"])).to_owned(),
            _ => self.word(),
        };
        text.into()
    }

    fn known_or(&mut self, kind: &str, otherwise: impl FnOnce(&mut Rng) -> String) -> String {
        match self.known.get(kind) {
            Some(list) if !self.rng.once_in(4) => self.rng.one_of(list).clone(),
            _ => otherwise(&mut self.rng),
        }
    }

    fn terms(&mut self) -> String {
        let known = [
            "bob",
            "bob r ttl=1h",
            "bob ttl=1h m=2/3",
            "bob ttl=1h m=1/1",
            "bob m=3/3",
            "bob rw",
            "@team",
            "bob m=9/9",
            "bob until=1999-01-01",
            "bob ttl=0s",
            "bob ttl=99999999d",
            "",
            ",",
            "bob ttl",
            "bob m=0/0",
            "nobody",
        ];
        let text = (*self.rng.one_of(&known)).to_owned();
        match self.rng.once_in(8) {
            true => String::from_utf8_lossy(&self.torn(text.into_bytes())).into_owned(),
            false => text,
        }
    }

    /// Never outside of the directory that goes away with the test.
    fn path(&mut self) -> String {
        let new = format!("new-{}", self.rng.below(1 << 40));
        let long = "x".repeat(300);
        let names = [
            "plain",
            "empty",
            "directory",
            "loop",
            "pipe",
            "absent/x",
            "directory/../plain",
            "plain/x",
            "nul\0x",
            &long,
            &new,
            &new,
            &new,
            &new,
        ];
        self.files
            .join(self.rng.one_of(&names))
            .display()
            .to_string()
    }

    /// A value as the document does not want it. A secret stays one.
    fn odd(&mut self, schema: &Value) -> Value {
        match self.rng.below(4) {
            0 if schema["format"] == "password" => json!([CANARY]),
            1 if schema["format"] == "password" => json!({ CANARY: 1 }),
            _ if schema["pattern"] == "^/" => {
                (*self.rng.one_of(&["", "plain", "../x", "\0"])).into()
            }
            _ => self.junk(0),
        }
    }

    fn junk(&mut self, depth: u64) -> Value {
        match self.rng.below(if depth > 3 { 8 } else { 11 }) {
            0 => Value::Null,
            1 => (self.rng.once_in(2)).into(),
            2 => (-1).into(),
            3 => u64::MAX.into(),
            4 => 1e308.into(),
            5 => "".into(),
            6 => "x".repeat(self.rng.index(100_000)).into(),
            7 => self.word().into(),
            8 => (0..self.rng.below(4))
                .map(|_| self.junk(depth + 1))
                .collect(),
            9 => json!({ self.word(): self.junk(depth + 1) }),
            _ => {
                let deep = self.rng.index(100);
                (0..deep).fold(Value::Null, |inner, _| json!([inner]))
            }
        }
    }

    fn word(&mut self) -> String {
        let words = [
            "",
            "args",
            "bob",
            "\u{0}",
            "\u{202e}",
            "ß",
            "😀",
            "../..",
            "%s%n",
            "null",
            "a b",
            "\r\nX: y",
            "__proto__",
            "1",
        ];
        (*self.rng.one_of(&words)).to_owned()
    }

    /// A list of requests, sometimes a very long one.
    pub(super) fn batch(&mut self) -> Value {
        let len = match self.rng.below(16) {
            0 => 101,
            1 => 5000,
            _ => self.rng.below(6),
        };
        if len > 100 {
            return vec![json!({"method": "uptime", "id": 1}); usize::try_from(len).unwrap()]
                .into();
        }
        (0..len)
            .map(|_| match self.rng.below(4) {
                0 => self.odd_request(),
                _ => self.call().1,
            })
            .collect()
    }

    /// What is no request, or hardly one.
    pub(super) fn odd_request(&mut self) -> Value {
        let mut request = self.call().1;
        match self.rng.below(8) {
            0 => return self.junk(0),
            1 => request["method"] = self.junk(0),
            2 => request["method"] = self.word().into(),
            3 => request["id"] = self.junk(0),
            4 => request["jsonrpc"] = self.junk(0),
            5 => request["params"] = self.junk(0),
            6 => drop(request.as_object_mut().unwrap().remove("id")),
            _ => request = json!({ self.word(): request }),
        }
        request
    }
}
