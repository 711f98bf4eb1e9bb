//! Keys.

use std::hash::{Hash, Hasher};

use kms_client::Code;
use kms_crypto::key::{self, EcDelegatingKey};
use kms_crypto::umbral;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::{random, refused};

/// A secret key: it decrypts, shares, or signs what is shared. One key should do one of these.
#[pyclass(frozen, module = "kms.umbral")]
pub(crate) struct SecretKey(pub(crate) EcDelegatingKey);

#[pymethods]
impl SecretKey {
    /// A new one.
    #[staticmethod]
    fn random() -> Self {
        Self(EcDelegatingKey::generate(&mut random()))
    }

    /// Reads its 32 bytes. Raises ``BadKey`` if they are none.
    #[staticmethod]
    fn from_be_bytes(py: Python<'_>, data: &[u8]) -> PyResult<Self> {
        let bytes = data.try_into();
        let bytes = bytes.map_err(|_| refused(py, Code::BadKey, &"a secret key has 32 bytes"))?;
        EcDelegatingKey::from_bytes(bytes)
            .map(Self)
            .map_err(|error| refused(py, Code::BadKey, &error))
    }

    /// Its 32 bytes. Python cannot wipe them from memory.
    fn to_be_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &*self.0.to_bytes())
    }

    /// The public key.
    fn public_key(&self) -> PublicKey {
        PublicKey(self.0.public())
    }
}

/// A public key.
#[pyclass(frozen, eq, hash, module = "kms.umbral")]
#[derive(PartialEq, Eq)]
pub(crate) struct PublicKey(pub(crate) key::PublicKey);

impl Hash for PublicKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.to_bytes().hash(state);
    }
}

#[pymethods]
impl PublicKey {
    /// Reads its 33 bytes. Raises ``BadKey`` if they are none.
    #[staticmethod]
    fn from_compressed_bytes(py: Python<'_>, data: &[u8]) -> PyResult<Self> {
        key::PublicKey::from_bytes(data)
            .map(Self)
            .map_err(|error| refused(py, Code::BadKey, &error))
    }

    /// Its 33 bytes.
    fn to_compressed_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.to_bytes())
    }
}

/// A seed from which keys, secrets and further factories come, each by its label.
#[pyclass(frozen, module = "kms.umbral")]
pub(crate) struct SecretKeyFactory(umbral::SecretKeyFactory);

#[pymethods]
impl SecretKeyFactory {
    /// A new one.
    #[staticmethod]
    fn random() -> Self {
        Self(umbral::SecretKeyFactory::generate(&mut random()))
    }

    /// The one with this seed: 32 bytes from a good source of randomness. Raises ``BadKey`` for another number.
    #[staticmethod]
    fn from_secure_randomness(py: Python<'_>, seed: &[u8]) -> PyResult<Self> {
        let seed = seed.try_into();
        let seed = seed.map_err(|_| refused(py, Code::BadKey, &"a seed has 32 bytes"))?;
        Ok(Self(umbral::SecretKeyFactory::from_bytes(seed)))
    }

    /// The key of a label.
    fn make_key(&self, label: &[u8]) -> SecretKey {
        SecretKey(self.0.make_key(label))
    }

    /// The factory of a label.
    fn make_factory(&self, label: &[u8]) -> Self {
        Self(self.0.make_factory(label))
    }

    /// 64 secret bytes of a label.
    fn make_secret<'py>(&self, py: Python<'py>, label: &[u8]) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &*self.0.make_secret(label))
    }
}
