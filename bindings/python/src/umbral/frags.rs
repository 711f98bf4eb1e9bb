//! What nodes are given, and what they answer.

use kms_client::Code;
use kms_crypto::error::{KeyError, SplitError};
use kms_crypto::key::{self, EcDelegatingKey, IdentitySecret, LedgerKey};
use kms_crypto::policy::Threshold;
use kms_crypto::umbral::{self, Parties, SignedKeys, UmbralError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use zeroize::Zeroizing;

use super::keys::{PublicKey, SecretKey};
use super::{Capsule, random, refused};
use crate::raised_err;

/// One node's share, as received. It is secret.
#[pyclass(frozen, module = "kms.umbral")]
pub(crate) struct KeyFrag(Zeroizing<Vec<u8>>);

#[pymethods]
impl KeyFrag {
    /// Reads its 260 bytes; what they claim is not checked yet. Raises ``BadData`` if they are none.
    #[staticmethod]
    fn from_bytes(py: Python<'_>, data: &[u8]) -> PyResult<Self> {
        let frag = umbral::KeyFrag::from_bytes(data);
        let frag = frag.map_err(|error| raised_err(py, &error.into()))?;
        Ok(Self(frag.to_bytes()))
    }

    /// Checks it against its commitment and the owner's signature. A key that the signature covers must be given. Raises
    /// ``BadProofs``.
    #[pyo3(signature = (verifying_pk, delegating_pk=None, receiving_pk=None))]
    fn verify(
        &self,
        py: Python<'_>,
        verifying_pk: &PublicKey,
        delegating_pk: Option<&PublicKey>,
        receiving_pk: Option<&PublicKey>,
    ) -> PyResult<VerifiedKeyFrag> {
        let frag = umbral::KeyFrag::from_bytes(&self.0);
        let frag = frag.map_err(|error| raised_err(py, &error.into()))?;
        let (delegating, receiving) = (
            delegating_pk.map(|key| &key.0),
            receiving_pk.map(|key| &key.0),
        );
        py.detach(|| frag.verify(&verifying_pk.0, delegating, receiving))
            .map(VerifiedKeyFrag)
            .map_err(|error| refused(py, Code::BadProofs, &error))
    }

    /// Its 260 bytes.
    fn __bytes__<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0)
    }
}

/// One node's share, checked. It is secret.
#[pyclass(frozen, module = "kms.umbral")]
pub(crate) struct VerifiedKeyFrag(umbral::VerifiedKeyFrag);

#[pymethods]
impl VerifiedKeyFrag {
    /// The 260 bytes of the share.
    fn __bytes__<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.to_bytes())
    }
}

/// One node's answer, as received.
#[pyclass(frozen, eq, module = "kms.umbral")]
#[derive(PartialEq)]
pub(crate) struct CapsuleFrag(umbral::CapsuleFrag);

#[pymethods]
impl CapsuleFrag {
    /// Reads its 359 bytes; its proof is not checked yet. Raises ``BadData`` if they are none.
    #[staticmethod]
    fn from_bytes(py: Python<'_>, data: &[u8]) -> PyResult<Self> {
        py.detach(|| umbral::CapsuleFrag::from_bytes(data))
            .map(Self)
            .map_err(|error| raised_err(py, &error.into()))
    }

    /// Checks that a holder of a share which the owner signed made this from this capsule. Raises ``BadProofs``.
    fn verify(
        &self,
        py: Python<'_>,
        capsule: &Capsule,
        verifying_pk: &PublicKey,
        delegating_pk: &PublicKey,
        receiving_pk: &PublicKey,
    ) -> PyResult<VerifiedCapsuleFrag> {
        let parties = Parties {
            verifying: verifying_pk.0,
            delegating: delegating_pk.0,
            receiving: receiving_pk.0,
        };
        let frag = self.0.clone();
        let frag = py.detach(|| frag.verify(&capsule.0, &parties));
        Ok(VerifiedCapsuleFrag {
            frag: frag.map_err(|error| refused(py, Code::BadProofs, &error))?,
            verifying: parties.verifying,
        })
    }

    /// Its 359 bytes.
    fn __bytes__<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.to_bytes())
    }
}

/// One node's answer, checked against one capsule and three keys.
#[pyclass(frozen, module = "kms.umbral")]
pub(crate) struct VerifiedCapsuleFrag {
    frag: umbral::VerifiedCapsuleFrag,
    verifying: key::PublicKey,
}

/// Makes the shares of ``shares`` nodes, of which any ``threshold`` let the recipient in to all that is encrypted to the owner's
/// key. Nodes that are not to know the keys get signatures that do not cover them.
#[pyfunction]
#[pyo3(signature = (delegating_sk, receiving_pk, signer, threshold, shares, sign_delegating_key=true, sign_receiving_key=true))]
#[expect(
    clippy::too_many_arguments,
    reason = "they are those of umbral-pre, by name"
)]
pub(crate) fn generate_kfrags(
    py: Python<'_>,
    delegating_sk: &SecretKey,
    receiving_pk: &PublicKey,
    signer: &SecretKey,
    threshold: u32,
    shares: u32,
    sign_delegating_key: bool,
    sign_receiving_key: bool,
) -> PyResult<Vec<KeyFrag>> {
    let impossible = format!("a threshold of {threshold} of {shares} is impossible");
    let (Ok(needed), Ok(total)) = (threshold.try_into(), shares.try_into()) else {
        return Err(refused(py, Code::BadParameter, &impossible));
    };
    let Ok(threshold) = Threshold::new(needed, total) else {
        return Err(refused(py, Code::BadParameter, &impossible));
    };
    let signed = SignedKeys {
        delegating: sign_delegating_key,
        receiving: sign_receiving_key,
    };
    let (key, receiving) = (&delegating_sk.0, &receiving_pk.0);
    let signer = as_key(py, signer, LedgerKey::from_bytes)?;
    let split =
        || umbral::generate_key_frags(&mut random(), key, receiving, &signer, threshold, signed);
    let frags: Result<_, SplitError> = py.detach(split);
    let frags = frags.map_err(|error| refused(py, Code::BadParameter, &error))?;
    Ok(frags.iter().map(|it| KeyFrag(it.to_bytes())).collect())
}

/// What a node does: re-encrypts a capsule with its share, and proves it.
#[pyfunction]
pub(crate) fn reencrypt(py: Python<'_>, capsule: &Capsule, kfrag: &VerifiedKeyFrag) -> CapsuleFrag {
    CapsuleFrag(py.detach(|| kfrag.0.reencrypt(&mut random(), &capsule.0)))
}

/// Decrypts a message with the answers of enough nodes; all of them are used. Raises ``WrongKey`` if they are too few, do not belong
/// together or are for somebody else, and if the message is another one.
#[pyfunction]
pub(crate) fn decrypt_reencrypted<'py>(
    py: Python<'py>,
    receiving_sk: &SecretKey,
    delegating_pk: &PublicKey,
    capsule: &Capsule,
    verified_cfrags: Vec<PyRef<'py, VerifiedCapsuleFrag>>,
    ciphertext: &[u8],
) -> PyResult<Bound<'py, PyBytes>> {
    let recipient = as_key(py, receiving_sk, IdentitySecret::from_bytes)?;
    let frags: Vec<_> = verified_cfrags.iter().map(|it| it.frag.clone()).collect();
    let first = verified_cfrags.first();
    let parties = Parties {
        // Whose signatures were checked; without an answer nothing opens.
        verifying: first.map_or(delegating_pk.0, |it| it.verifying),
        delegating: delegating_pk.0,
        receiving: recipient.public(),
    };
    let opened: Result<_, UmbralError> = py.detach(|| {
        umbral::decrypt_reencrypted(&recipient, &parties, &capsule.0, &frags, ciphertext)
    });
    opened
        .map(|opened| PyBytes::new(py, &opened))
        .map_err(|error| refused(py, Code::WrongKey, &error))
}

/// The same key for another purpose.
fn as_key<K>(
    py: Python<'_>,
    key: &SecretKey,
    read: impl FnOnce(&[u8; 32]) -> Result<K, KeyError>,
) -> PyResult<K> {
    read(&EcDelegatingKey::to_bytes(&key.0)).map_err(|error| refused(py, Code::BadKey, &error))
}
