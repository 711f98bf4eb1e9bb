//! Errors of the catalogue (API §3) become the exceptions that `kms/errors.py` defines.

use kms_client::ApiError;
use pyo3::prelude::*;

/// The exception for an error.
pub(crate) fn raised(py: Python<'_>, error: &ApiError) -> Py<PyAny> {
    let data = serde_json::Value::from(error.data().clone()).to_string();
    let made = py.import("kms.errors").and_then(|module| {
        let code = error.code();
        let arguments = (
            code.name(),
            code.number(),
            error.errno(),
            error.to_string(),
            data,
        );
        module.getattr("_made")?.call1(arguments)
    });
    match made {
        Ok(exception) => exception.unbind(),
        Err(defect) => defect.into_value(py).into_any(),
    }
}
