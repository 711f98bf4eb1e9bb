//! The OpenRPC document of `rpc.discover`, made from the definitions.

use kms_client::Code;
use serde_json::{Value, json};

use crate::method::{self, Gives, Kind, Member, Method, Param};

/// The document.
#[must_use]
pub fn document() -> Value {
    let errors: Vec<Value> = Code::ALL
        .iter()
        .map(|code| json!({"code": code.number(), "message": code.name()}))
        .collect();
    json!({
        "openrpc": "1.3.2",
        "info": {
            "title": "kmsd",
            "description": "Generate keys, encrypt, grant, revoke, obtain keys, decrypt",
            "version": env!("CARGO_PKG_VERSION"),
        },
        "methods": method::all().map(|it| method(it, &errors)).collect::<Vec<_>>(),
    })
}

fn method(method: &Method, errors: &[Value]) -> Value {
    json!({
        "name": method.name,
        "summary": method.about,
        "tags": [{"name": method.category}],
        "paramStructure": "either",
        "params": method.params.iter().map(param).collect::<Vec<_>>(),
        "result": {"name": "result", "schema": result(&method.gives)},
        "errors": errors,
    })
}

fn param(param: &Param) -> Value {
    let mut schema = schema(param.kind);
    if param.default.is_some() {
        // null is the same as leaving it out.
        let kind = schema["type"].take();
        schema["type"] = json!([kind, "null"]);
    }
    json!({
        "name": param.name,
        "description": param.about,
        "required": param.default.is_none(),
        "schema": schema,
    })
}

fn result(gives: &Gives) -> Value {
    match gives {
        Gives::Map(members) => map(members),
        Gives::Maps(members) => json!({"type": "array", "items": map(members)}),
        Gives::Text(about) => json!({"type": "string", "description": about}),
        Gives::Number(about) => json!({"type": "integer", "description": about}),
        Gives::Document(about) => json!({"type": "object", "description": about}),
    }
}

fn map(members: &[Member]) -> Value {
    let properties = members.iter().map(|member| {
        // Its type is not promised where it may be null.
        let schema = json!({"description": format!("{} ({})", member.about, member.kind.name())});
        (member.name.to_owned(), schema)
    });
    json!({
        "type": "object",
        "required": members.iter().map(|member| member.name).collect::<Vec<_>>(),
        "properties": properties.collect::<serde_json::Map<_, _>>(),
    })
}

fn schema(kind: Kind) -> Value {
    match kind {
        Kind::Text => json!({"type": "string"}),
        Kind::Passphrase => json!({"type": "string", "format": "password", "minLength": 1}),
        Kind::Bytes => json!({"type": "string", "contentEncoding": "base64"}),
        Kind::Number => json!({"type": "integer", "minimum": 0}),
        Kind::Bool => json!({"type": "boolean"}),
        Kind::Key => json!({"type": "string", "pattern": "^kms1[02-9ac-hj-np-z]+$"}),
        Kind::Id => json!({"type": "string", "pattern": "^[0-9a-fA-F]{32}$"}),
        Kind::Policy | Kind::Secret => json!({"type": "string", "pattern": "^[0-9a-fA-F]{64}$"}),
        Kind::Ticket => json!({"type": "string", "pattern": "^kms-ticket-1-"}),
        Kind::Path => json!({"type": "string", "pattern": "^/"}),
        Kind::List => json!({"type": "array"}),
    }
}
