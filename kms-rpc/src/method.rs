//! What can be called (API §2, §4.4): one definition each, with what it takes and gives.

mod args;
mod contacts;
mod control;
mod data;
mod identities;
mod sharing;

use std::pin::Pin;
use std::sync::Arc;

use data_encoding::BASE64;
use kms_client::call::Wiped;
use kms_client::keyring::DEFAULT_IDENTITY;
use kms_client::params::Params;
use kms_client::{ApiError, call};
use serde_json::Value;

use crate::daemon::Daemon;

pub use self::args::{doubled, named};

/// What a parameter or a member of a result is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Any text.
    Text,
    /// Text that nobody else may see.
    Passphrase,
    /// Bytes in base64.
    Bytes,
    /// A whole number that is not negative.
    Number,
    /// True or false.
    Bool,
    /// `kms1…`.
    Key,
    /// 32 hexadecimal digits.
    Id,
    /// 64 hexadecimal digits.
    Policy,
    /// 64 hexadecimal digits that nobody else may see.
    Secret,
    /// `kms-ticket-1-…`.
    Ticket,
    /// An absolute path.
    Path,
    /// A list.
    List,
}

/// A parameter.
#[derive(Debug)]
pub struct Param {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// What stands for it when it is left out, as people read it; nothing: it may not be left out.
    pub default: Option<&'static str>,
    /// What it means.
    pub about: &'static str,
}

/// A member of a result.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// What it means.
    pub about: &'static str,
}

/// What a method gives.
#[derive(Debug)]
pub enum Gives {
    /// A map.
    Map(&'static [Member]),
    /// A list of maps.
    Maps(&'static [Member]),
    /// A text.
    Text(&'static str),
    /// A number.
    Number(&'static str),
    /// A document of a kind of its own.
    Document(&'static str),
}

/// The end of a call.
pub type Answer = Result<Value, ApiError>;
/// A call under way.
pub type Running = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// Something that can be called.
#[derive(Debug)]
pub struct Method {
    /// Its name.
    pub name: &'static str,
    /// Where `help` lists it.
    pub category: &'static str,
    /// What it does.
    pub about: &'static str,
    /// What it takes.
    pub params: &'static [Param],
    /// What it gives.
    pub gives: Gives,
    /// Arguments to try, as JSON.
    pub example: &'static str,
    /// Whether it may be called while the daemon is not ready.
    pub early: bool,
    /// Does it.
    pub run: fn(Arc<Daemon>, Params) -> Running,
}

/// All of them, in the order of `help`.
pub static METHODS: &[&[Method]] = &[
    control::METHODS,
    identities::METHODS,
    contacts::METHODS,
    data::METHODS,
    sharing::METHODS,
];

/// All of them, one after another.
pub fn all() -> impl Iterator<Item = &'static Method> {
    METHODS.iter().flat_map(|group| group.iter())
}

/// The method called so.
#[must_use]
pub fn find(name: &str) -> Option<&'static Method> {
    all().find(|method| method.name == name)
}

impl Method {
    /// `encrypt "data" ( "cipher" "identity" )`.
    #[must_use]
    pub fn usage(&self) -> String {
        let mut text = self.name.to_owned();
        let shown = |param: &Param| match param.kind {
            Kind::Number | Kind::Bool => param.name.to_owned(),
            _ => format!("\"{}\"", param.name),
        };
        let (optional, required): (Vec<_>, Vec<_>) = self
            .params
            .iter()
            .partition(|param| param.default.is_some());
        for param in required {
            text.push(' ');
            text.push_str(&shown(param));
        }
        if !optional.is_empty() {
            let list: Vec<String> = optional.into_iter().map(shown).collect();
            text.push_str(&format!(" ( {} )", list.join(" ")));
        }
        text
    }
}

impl Kind {
    /// Its name in `help`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Text => "string",
            Self::Passphrase => "string, secret",
            Self::Bytes => "string, base64",
            Self::Number => "numeric",
            Self::Bool => "boolean",
            Self::Key => "string, kms1…",
            Self::Id | Self::Policy => "string, hex",
            Self::Secret => "string, hex, secret",
            Self::Ticket => "string, kms-ticket-1-…",
            Self::Path => "string, path",
            Self::List => "array",
        }
    }

    /// Whether a word of a command line is the value itself and not JSON.
    #[must_use]
    pub const fn is_text(self) -> bool {
        !matches!(self, Self::Number | Self::Bool | Self::List)
    }
}

/// An operation of the API, on behalf of the identity that is named.
fn operation(name: &'static str, daemon: Arc<Daemon>, params: Params) -> Running {
    Box::pin(async move {
        let identity = params.text_or("identity", DEFAULT_IDENTITY)?.to_owned();
        let reply = call::call(name, params, &|| daemon.session(&identity), Wiped).await?;
        let mut document = reply.document;
        if let Some((member, bytes)) = reply.bytes {
            document[member] = BASE64.encode(&bytes).into();
        }
        Ok(document)
    })
}

const fn required(name: &'static str, kind: Kind, about: &'static str) -> Param {
    Param {
        name,
        kind,
        default: None,
        about,
    }
}

const fn optional(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    about: &'static str,
) -> Param {
    Param {
        name,
        kind,
        default: Some(default),
        about,
    }
}

const fn member(name: &'static str, kind: Kind, about: &'static str) -> Member {
    Member { name, kind, about }
}

/// The last parameter of whatever is done on somebody's behalf.
const IDENTITY: Param = optional(
    "identity",
    Kind::Text,
    "default",
    "The name of the identity on whose behalf",
);
