//! `kms.umbral`: the scheme itself, in the encodings of umbral-pre (UMBRAL). Names and the order of parameters are that library's.

mod frags;
mod keys;

use getrandom::SysRng;
use kms_client::{ApiError, Code};
use kms_crypto::umbral;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use rand_core::UnwrapErr;

pub(crate) use self::frags::{
    CapsuleFrag, KeyFrag, VerifiedCapsuleFrag, VerifiedKeyFrag, decrypt_reencrypted,
    generate_kfrags, reencrypt,
};
pub(crate) use self::keys::{PublicKey, SecretKey, SecretKeyFactory};
use crate::raised_err;

/// What opens a message, for the owner and for whoever gets answers of the nodes. It has passed its own check.
#[pyclass(frozen, eq, module = "kms.umbral")]
#[derive(PartialEq)]
pub(crate) struct Capsule(umbral::Capsule);

#[pymethods]
impl Capsule {
    /// Reads its 98 bytes. Raises ``BadData`` if they are none.
    #[staticmethod]
    fn from_bytes(py: Python<'_>, data: &[u8]) -> PyResult<Self> {
        py.detach(|| umbral::Capsule::from_bytes(data))
            .map(Self)
            .map_err(|error| raised_err(py, &error.into()))
    }

    /// Its 98 bytes.
    fn __bytes__<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.to_bytes())
    }
}

/// Encrypts a message to the owner of a key, and to whomever they let in later.
#[pyfunction]
pub(crate) fn encrypt<'py>(
    py: Python<'py>,
    delegating_pk: &PublicKey,
    plaintext: &[u8],
) -> (Capsule, Bound<'py, PyBytes>) {
    let (capsule, sealed) =
        py.detach(|| umbral::encrypt(&mut random(), &delegating_pk.0, plaintext));
    (Capsule(capsule), PyBytes::new(py, &sealed))
}

/// Decrypts a message with the key that it was encrypted to. Raises ``WrongKey`` if it was not, or was altered.
#[pyfunction]
pub(crate) fn decrypt_original<'py>(
    py: Python<'py>,
    delegating_sk: &SecretKey,
    capsule: &Capsule,
    ciphertext: &[u8],
) -> PyResult<Bound<'py, PyBytes>> {
    py.detach(|| umbral::decrypt_original(&delegating_sk.0, &capsule.0, ciphertext))
        .map(|opened| PyBytes::new(py, &opened))
        .map_err(|error| refused(py, Code::WrongKey, &error))
}

fn random() -> UnwrapErr<SysRng> {
    UnwrapErr(SysRng)
}

/// Something that the scheme says no to.
fn refused(py: Python<'_>, code: Code, error: &impl ToString) -> PyErr {
    raised_err(py, &ApiError::new(code, error.to_string()))
}
