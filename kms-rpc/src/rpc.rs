//! JSON-RPC 1.1 and 2.0, without HTTP (API §4.3): from a body to a body and a status.

mod json;

use std::sync::Arc;

use kms_client::{ApiError, Code};
use serde_json::{Map, Value, json};

use crate::auth::User;
use crate::daemon::Daemon;
use crate::method::{self, Method};

use self::json::{Doubled, Json};

/// The most requests in one batch.
pub const MAX_BATCH: usize = 100;
/// When the answers to a batch have become so long, the rest of it is not executed.
pub const MAX_BATCH_ANSWER_BYTES: usize = 32 << 20;
/// The deepest that JSON may be nested.
pub const MAX_DEPTH: usize = 64;

/// What is answered.
#[derive(Debug)]
pub enum Reply {
    /// A document as text, with its HTTP status.
    Json(u16, String),
    /// Nothing is: only notifications came.
    Nothing,
    /// The user may not call that.
    Forbidden,
}

/// What cannot even be called.
struct Fault {
    code: i32,
    message: String,
    data: Option<Value>,
}

/// A request as it came, its outer form checked.
struct Request {
    is_v2: bool,
    /// Nothing in a notification.
    id: Option<Value>,
    name: String,
    params: Option<Json>,
}

/// Answers one body.
pub async fn answer(daemon: &Arc<Daemon>, user: &User, body: &[u8]) -> Reply {
    let parsed = match is_shallow(body) {
        true => serde_json::from_slice(body).ok(),
        false => None,
    };
    match parsed {
        None => {
            let fault = Fault::new(-32700, "Parse error");
            Reply::Json(500, fault.v1(Value::Null).to_string())
        }
        Some(Json::List(list)) => batch(daemon, user, list, MAX_BATCH_ANSWER_BYTES).await,
        Some(one) => single(daemon, user, one).await,
    }
}

async fn single(daemon: &Arc<Daemon>, user: &User, one: Json) -> Reply {
    let request = match Request::read(one) {
        Err((fault, id, is_v2)) => return fault.reply(id, is_v2),
        Ok(request) => request,
    };
    if !user.may_call(&request.name) {
        return Reply::Forbidden;
    }
    let (id, is_v2) = (request.id.clone(), request.is_v2);
    let result = call(daemon, user, request).await;
    if is_v2 && id.is_none() {
        return Reply::Nothing;
    }
    match result {
        Ok(value) => Reply::Json(200, success(value, id, is_v2).to_string()),
        Err(fault) => fault.reply(id, is_v2),
    }
}

async fn batch(daemon: &Arc<Daemon>, user: &User, list: Vec<Json>, most: usize) -> Reply {
    if list.len() > MAX_BATCH {
        let why = format!("A batch has at most {MAX_BATCH} requests");
        return Fault::new(-32600, &why).reply(None, false);
    }
    let requests: Vec<_> = list.into_iter().map(Request::read).collect();
    let forbidden = |it: &Result<Request, _>| {
        it.as_ref()
            .is_ok_and(|request| !user.may_call(&request.name))
    };
    if requests.iter().any(forbidden) {
        return Reply::Forbidden;
    }
    let was_empty = requests.is_empty();
    let mut answers = String::new();
    for request in requests {
        let request = match request {
            Err((fault, id, is_v2)) => {
                append(&mut answers, &fault.document(id, is_v2));
                continue;
            }
            Ok(request) => request,
        };
        let (id, is_v2) = (request.id.clone(), request.is_v2);
        let result = match answers.len() > most {
            true => {
                let why = "the answers to this batch are too long already";
                Err(ApiError::new(Code::Busy, why).into())
            }
            false => call(daemon, user, request).await,
        };
        if is_v2 && id.is_none() {
            continue;
        }
        let answer = match result {
            Ok(value) => success(value, id, is_v2),
            Err(fault) => fault.document(id, is_v2),
        };
        append(&mut answers, &answer);
    }
    if answers.is_empty() && !was_empty {
        return Reply::Nothing;
    }
    Reply::Json(200, format!("[{answers}]"))
}

fn append(answers: &mut String, answer: &Value) {
    if !answers.is_empty() {
        answers.push(',');
    }
    answers.push_str(&answer.to_string());
}

async fn call(daemon: &Arc<Daemon>, user: &User, request: Request) -> Result<Value, Fault> {
    let method: &'static Method =
        method::find(&request.name).ok_or_else(|| Fault::new(-32601, "Method not found"))?;
    // The method and the user, never the parameters.
    tracing::debug!(method = method.name, user = user.name(), "called");
    if !method.early {
        daemon.check_ready()?;
    }
    let params = request.params.map(Json::value).transpose()?;
    let args = method::named(method, params)?;
    let _active = daemon.begin(method.name);
    // A task of its own: a defect in one call ends that call alone.
    let running = tokio::spawn((method.run)(Arc::clone(daemon), args));
    let running = AbortOnDrop(running);
    running
        .finish()
        .await
        .map_err(crate::daemon::gone)?
        .map_err(Fault::from)
}

/// Whoever does not wait any more does not want it any more.
struct AbortOnDrop<T>(tokio::task::JoinHandle<T>);

impl<T> AbortOnDrop<T> {
    async fn finish(mut self) -> Result<T, tokio::task::JoinError> {
        (&mut self.0).await
    }
}

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Request {
    /// Checks the outer form; what is wrong comes with the id and the version, as far as they can be told.
    fn read(request: Json) -> Result<Self, (Fault, Option<Value>, bool)> {
        let invalid = |why: &str| Fault::new(-32600, why);
        let Json::Map(mut members) = request else {
            return Err((invalid("Invalid Request object"), None, false));
        };
        let params = take_params(&mut members);
        let Ok(Value::Object(mut map)) = Json::Map(members).value() else {
            return Err((invalid("Invalid Request object"), None, false));
        };
        let id = map.remove("id");
        let is_v2 = match map.remove("jsonrpc") {
            None | Some(Value::Null) => false,
            Some(Value::String(version)) if version == "2.0" => true,
            Some(Value::String(version)) if version == "1.0" || version == "1.1" => false,
            Some(_) => return Err((invalid("JSON-RPC version not supported"), id, false)),
        };
        let id_is_plain = !matches!(
            id,
            Some(Value::Object(_) | Value::Array(_) | Value::Bool(_))
        );
        if is_v2 && !id_is_plain {
            return Err((
                invalid("The id must be a string, a number or null"),
                None,
                true,
            ));
        }
        let name = match map.remove("method") {
            Some(Value::String(name)) => name,
            None => return Err((invalid("Missing method"), shown(id, is_v2), is_v2)),
            Some(_) => return Err((invalid("Method must be a string"), shown(id, is_v2), is_v2)),
        };
        let fits = matches!(
            params,
            None | Some(Json::Other(Value::Null) | Json::List(_) | Json::Map(_))
        );
        if !fits {
            let why = "Params must be an array or object";
            return Err((invalid(why), shown(id, is_v2), is_v2));
        }
        Ok(Self {
            is_v2,
            id,
            name,
            params,
        })
    }
}

/// Takes the parameters out, which are the method's; doubled ones are left in.
fn take_params(members: &mut Vec<(String, Json)>) -> Option<Json> {
    let is_params = |(name, _): &(String, Json)| name == "params";
    if members.iter().filter(|member| is_params(member)).count() > 1 {
        return None;
    }
    let at = members.iter().position(is_params)?;
    Some(members.remove(at).1)
}

/// A request that is none is answered, also without an id.
fn shown(id: Option<Value>, is_v2: bool) -> Option<Value> {
    match is_v2 {
        true => Some(id.unwrap_or(Value::Null)),
        false => id,
    }
}

fn success(value: Value, id: Option<Value>, is_v2: bool) -> Value {
    let id = id.unwrap_or(Value::Null);
    match is_v2 {
        true => json!({"jsonrpc": "2.0", "result": value, "id": id}),
        false => json!({"result": value, "error": null, "id": id}),
    }
}

impl Fault {
    fn new(code: i32, message: &str) -> Self {
        Self {
            code,
            message: message.to_owned(),
            data: None,
        }
    }

    fn error(&self) -> Value {
        let mut error = Map::new();
        error.insert("code".into(), self.code.into());
        error.insert("message".into(), self.message.clone().into());
        if let Some(data) = &self.data {
            error.insert("data".into(), data.clone());
        }
        error.into()
    }

    fn v1(&self, id: Value) -> Value {
        json!({"result": null, "error": self.error(), "id": id})
    }

    fn document(&self, id: Option<Value>, is_v2: bool) -> Value {
        let id = id.unwrap_or(Value::Null);
        match is_v2 {
            true => json!({"jsonrpc": "2.0", "error": self.error(), "id": id}),
            false => self.v1(id),
        }
    }

    fn reply(&self, id: Option<Value>, is_v2: bool) -> Reply {
        let status = match (is_v2, self.code) {
            (true, _) => 200,
            (false, -32600) => 400,
            (false, -32601) => 404,
            (false, _) => 500,
        };
        Reply::Json(status, self.document(id, is_v2).to_string())
    }
}

impl From<Doubled> for Fault {
    fn from(Doubled(name): Doubled) -> Self {
        method::doubled(&name).into()
    }
}

impl From<ApiError> for Fault {
    fn from(error: ApiError) -> Self {
        if error.code() == Code::Internal {
            tracing::error!(%error, "a defect");
        }
        Self {
            code: error.code().number(),
            message: error.to_string(),
            data: Some(Value::Object(error.data().clone())),
        }
    }
}

/// Whether nothing is nested deeper than allowed; looked at before anything is built of it.
fn is_shallow(body: &[u8]) -> bool {
    let (mut depth, mut in_text, mut escaped) = (0usize, false, false);
    for byte in body {
        match (in_text, *byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => in_text = !in_text,
            (false, b'[' | b'{') => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return false;
                }
            }
            (false, b']' | b'}') => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use kms_client::home::Home;
    use kms_client::{Keyring, NetworkConfig};

    use super::*;
    use crate::daemon::DaemonConfig;

    /// All answers were kept until the last one was there, however long they became together.
    #[tokio::test]
    async fn a_batch_whose_answers_become_too_long_is_not_executed_to_its_end() {
        let daemon = Daemon::new(DaemonConfig {
            keyring: Keyring::new(Home::under("/nonexistent".as_ref())),
            network: NetworkConfig::default(),
            threshold: "1/1".parse().unwrap(),
            log: None,
            place: crate::help::Place::default(),
        });
        let one = r#"{"method": "rpc.discover", "id": 1}"#;
        let list = (0..4).map(|_| serde_json::from_str(one).unwrap()).collect();
        let Reply::Json(200, text) = batch(&daemon, &User::local(), list, 20_000).await else {
            panic!("no answer");
        };
        let answers: Vec<Value> = serde_json::from_str(&text).unwrap();
        assert_eq!(answers.len(), 4);
        assert!(answers[0]["error"].is_null());
        for answer in &answers[1..] {
            assert_eq!(answer["error"]["data"]["name"], "BUSY");
        }
    }
}
