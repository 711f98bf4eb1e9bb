//! Python's file-like objects as streams: whatever can `read`, `write` and `seek`.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::time::Duration;

use kms_client::local::Local;
use kms_client::params::Params;
use kms_client::session::Opening;
use kms_client::stream::{self, Stop, StreamError};
use kms_client::{ApiError, Code};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use serde_json::json;

use crate::raised_err;
use crate::runtime::Owner;

/// A file-like object, and the exception that it raised.
struct Filelike {
    object: Py<PyAny>,
    raised: Option<PyErr>,
}

impl Filelike {
    fn new(object: Py<PyAny>) -> Self {
        Self {
            object,
            raised: None,
        }
    }

    /// Asks the object for something. What it raises is kept, for whoever began all this.
    fn ask<T>(&mut self, question: impl FnOnce(&Bound<'_, PyAny>) -> PyResult<T>) -> io::Result<T> {
        Python::attach(|py| {
            py.check_signals()?;
            question(self.object.bind(py))
        })
        .map_err(|error| {
            self.raised = Some(error);
            io::ErrorKind::Other.into()
        })
    }
}

impl Read for Filelike {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.ask(|object| {
            let given = object.call_method1("read", (buffer.len(),))?;
            let given = given.cast_into::<PyBytes>()?;
            let len = given.as_bytes().len().min(buffer.len());
            buffer[..len].copy_from_slice(&given.as_bytes()[..len]);
            Ok(len)
        })
    }
}

impl Write for Filelike {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.ask(|object| {
            let bytes = PyBytes::new(object.py(), bytes);
            object.call_method1("write", (bytes,))?.extract()
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Filelike {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let (offset, whence) = match to {
            SeekFrom::Start(offset) => (i64::try_from(offset).map_err(io::Error::other)?, 0),
            SeekFrom::Current(offset) => (offset, 1),
            SeekFrom::End(offset) => (offset, 2),
        };
        self.ask(|object| object.call_method1("seek", (offset, whence))?.extract())
    }
}

pub(crate) fn encrypt(
    py: Python<'_>,
    local: &Local,
    source: Py<PyAny>,
    target: Py<PyAny>,
    params: &Params,
) -> PyResult<String> {
    let begin = || Ok::<_, ApiError>((local.session()?, params.cipher()?));
    let (session, cipher) = begin().map_err(|error| raised_err(py, &error))?;
    let (mut from, mut to) = (Filelike::new(source), Filelike::new(target));
    let done = py.detach(|| session.encrypt_stream(&mut from, &mut to, cipher, &Stop::default()));
    let done = done.map_err(|error| blamed(py, error, from.raised.or(to.raised)))?;
    Ok(json!({
        "label": done.label.to_string(),
        "size": done.sizes.plain,
        "sealed_size": done.sizes.sealed,
    })
    .to_string())
}

pub(crate) fn decrypt(
    py: Python<'_>,
    local: &Local,
    owner: &Owner,
    (source, target): (Py<PyAny>, Py<PyAny>),
    params: &Params,
    timeout: Option<Duration>,
) -> PyResult<String> {
    let (mut from, mut to) = (Filelike::new(source), Filelike::new(target));
    let header = py.detach(|| stream::inspect(&mut from));
    let header = header.map_err(|error| blamed(py, error, from.raised.take()))?;
    let key = owner.wait(py, async {
        let session = local.session()?;
        let session = timeout.map_or_else(|| session.clone(), |timeout| session.within(timeout));
        let (ticket, whose) = (params.maybe_ticket("ticket")?, params.maybe_key("owner")?);
        let by = match &ticket {
            None => Opening::Own,
            Some(ticket) => Opening::Ticket {
                ticket,
                owner: whose.as_ref(),
            },
        };
        session.release(&header, by).await
    })?;
    let done = py.detach(|| key.open_stream(&mut from, &mut to, &Stop::default()));
    let sizes = done.map_err(|error| blamed(py, error, from.raised.or(to.raised)))?;
    Ok(json!({
        "owner": key.owner.to_string(),
        "label": key.label.to_string(),
        "size": sizes.plain,
    })
    .to_string())
}

/// What an object has raised goes to the caller as it is.
fn blamed(py: Python<'_>, error: StreamError, raised: Option<PyErr>) -> PyErr {
    match (error, raised) {
        (StreamError::Read(_) | StreamError::Write(_), Some(raised)) => raised,
        (StreamError::Read(error) | StreamError::Write(error), None) => {
            raised_err(py, &ApiError::new(Code::Io, error.to_string()))
        }
        (error, _) => raised_err(py, &error.into()),
    }
}
