//! Encrypting a value so that it can be shared, without a filesystem.
//!
//! [`encrypt`] makes bytes that stand for themselves: the same as a file in a store, with a label of their own. Granting
//! on that label lets somebody else open them, wherever they lie.

use kms_crypto::aead::Cipher;
use kms_crypto::error::{DecodeError, OpenError};
use kms_crypto::format::file::{self, FileError, NewFile};
use kms_crypto::format::{Check, LabelKey, LabelSlot, Via};
use kms_crypto::id::{LabelId, StoreId};
use kms_crypto::key::{DelegatingKey, IdentitySecret, LabelSecret, PublicKey, StoreKey};
use kms_crypto::scheme::Capsule;
use zeroize::Zeroizing;

use crate::client::{Client, rng};
use crate::decrypt::KeyRequest;
use crate::error::ClientError;
use crate::ticket::Ticket;

/// Makes a new identity.
#[must_use]
pub fn generate_key() -> IdentitySecret {
    IdentitySecret::generate(&mut rng())
}

/// Whose values are encrypted: an identity, and the key from which the keys of its labels are derived.
#[derive(Clone, Copy)]
pub struct Owner<'a> {
    /// Names what belongs together: a store, an application.
    pub store: StoreId,
    /// The key from which all keys of labels and policies are derived.
    pub key: &'a StoreKey,
    /// Who signs.
    pub identity: &'a IdentitySecret,
}

/// An encrypted value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sealed {
    /// Everything there is to keep.
    pub bytes: Vec<u8>,
    /// Its label, on which grants are made.
    pub label: LabelId,
}

/// Why a value was not encrypted or decrypted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealedError {
    /// The bytes are not an encrypted value, or have been altered.
    #[error(transparent)]
    File(#[from] FileError),
    /// The value does not have this label.
    #[error("this is not what was shared")]
    OtherLabel,
    /// The capsule beside the value is malformed.
    #[error(transparent)]
    Capsule(#[from] DecodeError),
    /// The capsule does not open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The nodes did not release the key.
    #[error(transparent)]
    Key(#[from] ClientError),
}

impl Owner<'_> {
    /// The key of a label made by [`encrypt`].
    #[must_use]
    pub fn delegating_key(&self, label: &LabelId) -> DelegatingKey {
        self.key.delegating_key(label, FIRST_GENERATION)
    }
}

/// Encrypts a value under a new label, with AES-256-GCM.
pub fn encrypt(plaintext: &[u8], owner: &Owner<'_>) -> Result<Sealed, SealedError> {
    encrypt_with(plaintext, owner, Cipher::default())
}

/// Encrypts a value under a new label with a cipher of one's choice; the value says which one, so that
/// [`decrypt`] and [`decrypt_own`] need not be told.
pub fn encrypt_with(
    plaintext: &[u8],
    owner: &Owner<'_>,
    cipher: Cipher,
) -> Result<Sealed, SealedError> {
    let label = LabelId::random(&mut rng());
    let key = LabelKey {
        id: label,
        generation: FIRST_GENERATION,
        public: owner.delegating_key(&label).public(),
    };
    let new = NewFile {
        store: owner.store,
        cipher,
        label: Some(&key),
        signer: Some(owner.identity),
    };
    let (bytes, _) = file::encrypt(plaintext, &new, &mut rng())?;
    Ok(Sealed { bytes, label })
}

/// Decrypts a value with its label's secret, and checks that `owner` made it.
pub fn decrypt(
    sealed: &[u8],
    label: &LabelId,
    secret: &LabelSecret,
    owner: &PublicKey,
) -> Result<Zeroizing<Vec<u8>>, SealedError> {
    Ok(file::decrypt(
        sealed,
        Via::Label { id: *label, secret },
        Check::Signed(owner),
    )?)
}

/// Decrypts one's own value; needs no node.
pub fn decrypt_own(sealed: &[u8], owner: &Owner<'_>) -> Result<Zeroizing<Vec<u8>>, SealedError> {
    let header = file::inspect(sealed)?;
    let slot = header.labels().first().ok_or(SealedError::OtherLabel)?;
    let key = owner
        .key
        .delegating_key_for(slot.scheme, &slot.id, slot.generation)
        .map_err(|_| DecodeError::Scheme(slot.scheme))?;
    let secret = key.decapsulate(
        &Capsule::from_bytes(&slot.capsule)?,
        &slot.context(owner.store),
    )?;
    decrypt(sealed, &slot.id, &secret, &owner.identity.public())
}

impl KeyRequest {
    /// The request for the key of an object that has the ticket's label.
    pub fn of_ticket(ticket: &Ticket, slot: &LabelSlot) -> Result<Self, SealedError> {
        if slot.id != ticket.label {
            return Err(SealedError::OtherLabel);
        }
        let threshold = ticket.threshold().map_err(|_| SealedError::OtherLabel)?;
        Ok(Self {
            params: ticket.params,
            threshold,
            nodes: ticket.nodes.clone(),
            capsule: Capsule::from_bytes(&slot.capsule)?,
            context: slot.context(ticket.store),
        })
    }
}

impl Client {
    /// Decrypts a value that somebody else has shared: fetches its key, then checks that the ticket's owner made it.
    pub async fn decrypt(
        &self,
        sealed: &[u8],
        ticket: &Ticket,
        identity: &IdentitySecret,
    ) -> Result<Zeroizing<Vec<u8>>, SealedError> {
        let header = file::inspect(sealed)?;
        let slot = header
            .labels()
            .iter()
            .find(|it| it.id == ticket.label)
            .ok_or(SealedError::OtherLabel)?;
        let secret = self
            .decrypt_key(&KeyRequest::of_ticket(ticket, slot)?, identity)
            .await?;
        decrypt(sealed, &ticket.label, &secret, &ticket.owner)
    }
}

/// The delegating key that a new label begins with.
pub(crate) const FIRST_GENERATION: u32 = 1;
