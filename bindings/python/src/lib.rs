//! The edge between Python and [`kms_client`]: documents (as JSON) and bytes pass, errors become exceptions, the interpreter
//! is let go while something is done. Nothing is decided here; what a person uses is written in Python, in `kms/`.

mod errors;
mod runtime;
mod streams;
mod umbral;

use std::time::Duration;

use kms_client::call::{Reply, Room};
use kms_client::local::Local;
use kms_client::params::{Params, bad};
use kms_client::{ApiError, Code};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;
use serde_json::Value;
use tokio::task::AbortHandle;

use crate::errors::raised;
use crate::runtime::Owner;

/// A person on this machine, and perhaps an identity at work.
#[pyclass(frozen, module = "kms._native")]
struct Core {
    local: Local,
    owner: Owner,
}

/// Something that was started, and can be given up.
#[pyclass(frozen, module = "kms._native")]
struct Task(AbortHandle);

#[pymethods]
impl Task {
    /// Gives it up. Whoever waits for it is told nothing more.
    fn cancel(&self) {
        self.0.abort();
    }
}

/// What an operation gives to Python: a document, and bytes with their name.
type Given = (String, Option<(&'static str, Py<PyBytes>)>);

#[pymethods]
impl Core {
    /// Opens; waits.
    #[staticmethod]
    fn open(py: Python<'_>, params: &str) -> PyResult<Self> {
        let params = read(py, params, None)?;
        let owner = Owner::of_this_process(py)?;
        let local = owner.wait(py, Local::open(&params))?;
        Ok(Self { local, owner })
    }

    /// Does an operation; waits.
    #[pyo3(signature = (operation, params, bytes=None, timeout=None))]
    fn call(
        &self,
        py: Python<'_>,
        operation: &str,
        params: &str,
        bytes: Option<(String, Bound<'_, PyBytes>)>,
        timeout: Option<f64>,
    ) -> PyResult<Given> {
        self.owner.check(py)?;
        let params = read(py, params, bytes)?;
        let timeout = span(py, timeout)?;
        let reply = self
            .owner
            .wait(py, self.local.call(operation, params, timeout, InPython))?;
        Ok(given(reply))
    }

    /// Starts an operation. When it has ended, `done` is called with its result or its error, in another thread.
    #[pyo3(signature = (done, operation, params, bytes=None, timeout=None))]
    fn start(
        &self,
        py: Python<'_>,
        done: Py<PyAny>,
        operation: String,
        params: &str,
        bytes: Option<(String, Bound<'_, PyBytes>)>,
        timeout: Option<f64>,
    ) -> PyResult<Task> {
        self.owner.check(py)?;
        let params = read(py, params, bytes)?;
        let timeout = span(py, timeout)?;
        let local = self.local.clone();
        let task = self.owner.spawn(async move {
            let result = local.call(&operation, params, timeout, InPython).await;
            // Without an interpreter there is nobody to tell.
            let _ = Python::try_attach(|py| {
                let told = match result {
                    Ok(reply) => done.call1(py, (given(reply), py.None())),
                    Err(error) => done.call1(py, (py.None(), raised(py, &error))),
                };
                if let Err(error) = told {
                    error.write_unraisable(py, None);
                }
            });
        });
        Ok(Task(task))
    }

    /// Encrypts what `source.read` gives into `target.write`, which can `seek`; waits.
    fn encrypt_stream(
        &self,
        py: Python<'_>,
        source: Py<PyAny>,
        target: Py<PyAny>,
        params: &str,
    ) -> PyResult<String> {
        self.owner.check(py)?;
        let params = read(py, params, None)?;
        streams::encrypt(py, &self.local, source, target, &params)
    }

    /// Decrypts `source`, which can `read` and `seek`, into `target.write`; waits.
    #[pyo3(signature = (source, target, params, timeout=None))]
    fn decrypt_stream(
        &self,
        py: Python<'_>,
        source: Py<PyAny>,
        target: Py<PyAny>,
        params: &str,
        timeout: Option<f64>,
    ) -> PyResult<String> {
        self.owner.check(py)?;
        let params = read(py, params, None)?;
        let timeout = span(py, timeout)?;
        streams::decrypt(
            py,
            &self.local,
            &self.owner,
            (source, target),
            &params,
            timeout,
        )
    }
}

fn read(
    py: Python<'_>,
    params: &str,
    bytes: Option<(String, Bound<'_, PyBytes>)>,
) -> PyResult<Params> {
    let Ok(Value::Object(map)) = serde_json::from_str(params) else {
        return Err(raised_err(py, &bad("params", "a map")));
    };
    let params = Params::new(map);
    Ok(match bytes {
        None => params,
        Some((name, bytes)) => params.with_bytes(&name, PyBackedBytes::from(bytes)),
    })
}

/// A time to wait; one that is none ends at once.
fn span(py: Python<'_>, seconds: Option<f64>) -> PyResult<Option<Duration>> {
    let Some(seconds) = seconds else {
        return Ok(None);
    };
    let span = Duration::try_from_secs_f64(seconds);
    let span = span.map_err(|_| raised_err(py, &bad("timeout", "seconds, not negative")))?;
    Ok(Some(span))
}

fn given(reply: Reply<Py<PyBytes>>) -> Given {
    (reply.document.to_string(), reply.bytes)
}

/// Results are made where Python keeps its bytes, which it can neither be spared nor wipe.
struct InPython;

impl Room for InPython {
    type Bytes = Py<PyBytes>;

    fn fill(
        self,
        len: usize,
        work: impl FnOnce(&mut [u8]) -> Result<(), ApiError> + Send,
    ) -> Result<Self::Bytes, ApiError> {
        let mut refused = None;
        let made = Python::try_attach(|py| {
            let bytes = PyBytes::new_with(py, len, |bytes| {
                py.detach(|| work(bytes)).map_err(|error| {
                    let raised = raised_err(py, &error);
                    refused = Some(error);
                    raised
                })
            });
            bytes.map(Bound::unbind)
        });
        let no_room = |why: &str| ApiError::new(Code::Internal, why);
        match made {
            Some(Ok(bytes)) => Ok(bytes),
            Some(Err(_)) => Err(refused.unwrap_or_else(|| no_room("there is no memory for it"))),
            None => Err(no_room("the interpreter has ended")),
        }
    }
}

fn raised_err(py: Python<'_>, error: &ApiError) -> PyErr {
    PyErr::from_value(raised(py, error).into_bound(py))
}

/// The module `kms._native`.
#[pymodule]
mod _native {
    #[pymodule_export]
    use super::{Core, Task};
    #[pymodule_export]
    use crate::umbral::{
        Capsule, CapsuleFrag, KeyFrag, PublicKey, SecretKey, SecretKeyFactory, VerifiedCapsuleFrag,
        VerifiedKeyFrag, decrypt_original, decrypt_reencrypted, encrypt, generate_kfrags,
        reencrypt,
    };
    #[pymodule_export]
    const GENERATOR: [u8; 33] = kms_crypto::umbral::GENERATOR;
}
