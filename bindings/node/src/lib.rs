//! The edge between Node.js and [`kms_client`]: documents (as JSON) and bytes pass. Nothing is decided here; what a person uses
//! is written in JavaScript, in `index.cjs`.

mod streams;

use std::collections::HashMap;
use std::time::Duration;

use kms_client::call::Room;
use kms_client::local::Local;
use kms_client::params::{Params, bad};
use kms_client::{ApiError, Code};
use napi::bindgen_prelude::Buffer;
use napi::{Error, Status};
use napi_derive::napi;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::streams::{Reader, Writer};

/// A person on this machine, and perhaps an identity at work.
#[napi]
pub struct Core {
    local: Local,
    /// How to give up what is under way, by the numbers that JavaScript has given; nothing: it was given up before it began.
    under_way: Mutex<HashMap<u32, Option<oneshot::Sender<()>>>>,
}

/// What an operation gives: a document, and bytes with their name.
#[napi(object)]
pub struct Given {
    /// The document, as JSON.
    pub document: String,
    /// What the bytes are called.
    pub name: Option<String>,
    /// The bytes.
    pub bytes: Option<Buffer>,
}

/// Bytes on their way in.
#[napi(object)]
pub struct Taken {
    /// What they are called.
    pub name: String,
    /// The bytes.
    pub bytes: Buffer,
}

#[napi]
impl Core {
    /// Opens.
    #[napi(factory)]
    pub async fn open(params: String) -> napi::Result<Self> {
        let params = read(&params, None)?;
        Ok(Self {
            local: Local::open(&params).await.map_err(thrown)?,
            under_way: Mutex::default(),
        })
    }

    /// Does an operation, which `cancel` can end by its number.
    #[napi]
    pub async fn call(
        &self,
        number: u32,
        operation: String,
        params: String,
        bytes: Option<Taken>,
        timeout: Option<f64>,
    ) -> napi::Result<Given> {
        let (params, timeout) = (read(&params, bytes)?, span(timeout)?);
        let call = self.local.call(&operation, params, timeout, InVec);
        let reply = self.unless_cancelled(number, call).await?;
        let (name, bytes) = match reply.bytes {
            None => (None, None),
            Some((name, bytes)) => (Some(name.to_owned()), Some(Buffer::from(bytes))),
        };
        Ok(Given {
            document: reply.document.to_string(),
            name,
            bytes,
        })
    }

    /// Opens an encrypted file for reading, which `cancel` can end by its number.
    #[napi]
    pub async fn reader(
        &self,
        number: u32,
        params: String,
        timeout: Option<f64>,
    ) -> napi::Result<Reader> {
        let (params, timeout) = (read(&params, None)?, span(timeout)?);
        let opened = self.local.read(&params, timeout);
        Ok(self.unless_cancelled(number, opened).await?.into())
    }

    /// Makes a new encrypted file.
    #[napi]
    pub async fn writer(&self, params: String) -> napi::Result<Writer> {
        let params = read(&params, None)?;
        Ok(self.local.write(&params).map_err(thrown)?.into())
    }

    /// Gives an operation up.
    #[napi]
    pub fn cancel(&self, number: u32) {
        if let Some(Some(cancel)) = self.under_way.lock().insert(number, None) {
            let _ = cancel.send(());
        }
    }
}

impl Core {
    async fn unless_cancelled<T>(
        &self,
        number: u32,
        work: impl Future<Output = Result<T, ApiError>>,
    ) -> napi::Result<T> {
        let (cancel, cancelled) = oneshot::channel();
        if self.under_way.lock().insert(number, Some(cancel)).is_some() {
            self.cancel(number);
        }
        let result = tokio::select! {
            result = work => result,
            _ = cancelled => Err(ApiError::new(Code::Cancelled, "given up by the caller")),
        };
        self.under_way.lock().remove(&number);
        result.map_err(thrown)
    }
}

/// A time to wait.
fn span(seconds: Option<f64>) -> napi::Result<Option<Duration>> {
    let span = seconds.map(Duration::try_from_secs_f64).transpose();
    span.map_err(|_| thrown(bad("timeout", "seconds, not negative")))
}

fn read(params: &str, bytes: Option<Taken>) -> napi::Result<Params> {
    let Ok(Value::Object(map)) = serde_json::from_str(params) else {
        return Err(thrown(bad("params", "a map")));
    };
    let params = Params::new(map);
    Ok(match bytes {
        None => params,
        Some(it) => params.with_bytes(&it.name, it.bytes),
    })
}

/// Results are made in memory that JavaScript gets as it is.
struct InVec;

impl Room for InVec {
    type Bytes = Vec<u8>;

    fn fill(
        self,
        len: usize,
        work: impl FnOnce(&mut [u8]) -> Result<(), ApiError> + Send,
    ) -> Result<Self::Bytes, ApiError> {
        let mut bytes = vec![0; len];
        work(&mut bytes)?;
        Ok(bytes)
    }
}

/// An error on its way out: `index.cjs` makes a `KmsError` of it.
fn thrown(error: ApiError) -> Error {
    let text = json!({
        "code": error.code().name(),
        "number": error.code().number(),
        "errno": error.errno(),
        "message": error.to_string(),
        "data": error.data(),
    });
    Error::new(Status::GenericFailure, text.to_string())
}
