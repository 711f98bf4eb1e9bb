//! What `help` says, made from the definitions: usage, arguments, result, examples for `kms-cli` and curl.

use serde_json::Value;

use crate::method::{self, Gives, Member, Method};

/// Where the daemon can be reached, for the examples.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its cookie.
    pub cookie: String,
    /// Its address and port.
    pub address: String,
    /// What `kms-cli` must be told.
    pub options: String,
}

impl Default for Place {
    fn default() -> Self {
        Self {
            cookie: "$HOME/.kms/.cookie".to_owned(),
            address: format!("127.0.0.1:{}", crate::options::DEFAULT_PORT),
            options: String::new(),
        }
    }
}

/// All methods, by category.
#[must_use]
pub fn list() -> String {
    let mut categories: Vec<&str> = Vec::new();
    for method in method::all() {
        if !categories.contains(&method.category) {
            categories.push(method.category);
        }
    }
    let mut text = String::new();
    for category in categories {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&format!("== {category} ==\n"));
        for method in method::all().filter(|method| method.category == category) {
            text.push_str(&method.usage());
            text.push('\n');
        }
    }
    text.trim_end().to_owned()
}

/// One method.
#[must_use]
pub fn of(method: &Method, place: &Place) -> String {
    let mut text = format!("{}\n\n{}\n", method.usage(), method.about);
    if !method.params.is_empty() {
        text.push_str("\nArguments:\n");
    }
    for (number, param) in (1..).zip(method.params) {
        let need = match param.default {
            None => "required".to_owned(),
            Some(default) => format!("optional, default={default}"),
        };
        let (name, kind, about) = (param.name, param.kind.name(), param.about);
        text.push_str(&format!("{number}. {name}    ({kind}, {need}) {about}\n"));
    }
    text.push_str("\nResult:\n");
    match &method.gives {
        Gives::Map(members) => map(&mut text, members, ""),
        Gives::Maps(members) => {
            text.push_str("[                          (json array)\n");
            map(&mut text, members, "  ");
            text.push_str("  ...\n]\n");
        }
        Gives::Text(about) => text.push_str(&format!("\"str\"    (string) {about}\n")),
        Gives::Number(about) => text.push_str(&format!("n    (numeric) {about}\n")),
        Gives::Document(about) => text.push_str(&format!("{{...}}    (json object) {about}\n")),
    }
    let (cli, curl) = (cli_example(method, place), curl_example(method, place));
    text.push_str(&format!("\nExamples:\n> {cli}\n> {curl}\n"));
    text
}

fn map(text: &mut String, members: &[Member], indent: &str) {
    text.push_str(&format!(
        "{indent}{{                          (json object)\n"
    ));
    for member in members {
        let (name, kind, about) = (member.name, member.kind.name(), member.about);
        text.push_str(&format!("{indent}  \"{name}\" : ...    ({kind}) {about}\n"));
    }
    text.push_str(&format!("{indent}}}\n"));
}

/// The same call from a shell.
#[must_use]
pub fn cli_example(method: &Method, place: &Place) -> String {
    let args: Vec<Value> = serde_json::from_str(method.example).unwrap_or_default();
    let mut text = format!("kms-cli{} {}", place.options, method.name);
    for arg in args {
        match arg {
            Value::String(word) => text.push_str(&format!(" {}", quoted(&word))),
            other => text.push_str(&format!(" {other}")),
        }
    }
    text
}

/// The same call with curl.
#[must_use]
pub fn curl_example(method: &Method, place: &Place) -> String {
    let body = format!(
        r#"{{"jsonrpc": "2.0", "id": "curltest", "method": "{}", "params": {}}}"#,
        method.name, method.example
    );
    format!(
        r#"curl --user "$(cat "{}")" --data-binary '{body}' -H 'content-type: application/json' http://{}/"#,
        place.cookie, place.address
    )
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=+:,@".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}
