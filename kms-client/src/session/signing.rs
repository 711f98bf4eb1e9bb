//! Signing keys that lie with nodes (API §2.8): a record first, as for every grant, then the shares, then signatures.

use futures::future::TryFutureExt;
use kms_crypto::id::{LabelId, PolicyId, SchemeId};
use kms_crypto::key::{DelegatingKey, LabelPublicKey, PublicKey};
use kms_crypto::policy::Threshold;
use rand_core::Rng;
use serde::Serialize;

use super::sharing::Revoked;
use super::{Session, as_text, lists};
use crate::catalogue::{ApiError, Code};
use crate::client::rng;
use crate::grant::GrantRequest;
use crate::place::Kind;
use crate::record::{OwnerRecord, Shared};
use crate::sealed::FIRST_GENERATION;
use crate::signing::{GroupSignature, SignRequest};

/// A key of which nodes have a share each, and nobody the whole.
#[derive(Clone, Debug, Serialize)]
pub struct SigningKey {
    /// By which it is named when something is to be signed.
    #[serde(serialize_with = "as_text")]
    pub policy: PolicyId,
    /// The group's public key, against which signatures are verified.
    #[serde(serialize_with = "as_hex")]
    pub key: PublicKey,
    /// `preparing`, `live`, `revoking`, `expired` or `revoked`.
    pub state: &'static str,
    /// When it ends, in seconds since 1970.
    pub until: u64,
    /// How many nodes of how many, as `3/5`.
    pub threshold: String,
    /// The nodes that hold a share, in their order.
    pub nodes: Vec<String>,
}

impl Session {
    /// Makes a signing key and deals it to nodes, any m of which sign together for this identity until `until` (seconds
    /// since 1970; nothing: a year, or as long as nodes serve). Returns when n nodes have a share each and the ledger knows.
    /// Nobody has the key then, and it cannot be dealt again.
    ///
    /// # Errors
    /// [`Code::BadParameter`] for m below 2 or above 64; [`Code::NoNetwork`], [`Code::TooFewNodes`], [`Code::NotStored`],
    /// [`Code::NotRecorded`], [`Code::Ledger`].
    ///
    /// ```
    /// # async fn with(alice: kms_client::Session) -> Result<(), kms_client::ApiError> {
    /// let key = alice.generate_signing_key("3/5".parse().unwrap(), None).await?;
    /// let signature = alice.sign(&key.policy, b"pay the ferryman").await?;
    /// kms_client::session::verify(&key.key, b"pay the ferryman", &signature).unwrap();
    /// # Ok(()) }
    /// ```
    pub async fn generate_signing_key(
        &self,
        threshold: Threshold,
        until: Option<u64>,
    ) -> Result<SigningKey, ApiError> {
        let client = self.client()?;
        let expiry = match until {
            Some(until) => until,
            None => client.usual_expiry(threshold).await,
        };
        let mut salt = [0; 32];
        rng().fill_bytes(&mut salt);
        let dealt = DelegatingKey::generate_for(SchemeId::SIGNING, &mut rng())
            .map_err(|error| ApiError::new(Code::Internal, error.to_string()))?;
        let request = GrantRequest {
            delegating_key: &dealt,
            ledger_key: &self.inner.store.key.ledger_key(&salt),
            recipient: self.identity(),
            salt,
            threshold,
            expiry,
            epoch: 1,
        };
        let of = Shared {
            label: LabelId::random(&mut rng()),
            generation: FIRST_GENERATION,
            kind: Kind::File,
            path: &[],
        };
        let record = self.make(client, &request, of, &[]).await?;
        signing_key(&record, self.now())
    }

    /// A signature of `message` (at most 8192 bytes) by the nodes of one of one's own signing keys.
    ///
    /// # Errors
    /// [`Code::NotFound`] if it is none of one's own, [`Code::BadParameter`] for a longer message; [`Code::NoNetwork`],
    /// [`Code::Ledger`], [`Code::NotGranted`], [`Code::Revoked`], [`Code::Expired`], [`Code::NoQuorum`], [`Code::Timeout`],
    /// [`Code::BadProofs`].
    pub async fn sign(
        &self,
        policy: &PolicyId,
        message: &[u8],
    ) -> Result<GroupSignature, ApiError> {
        let record = self.signing_record(policy)?;
        let request = SignRequest {
            params: record.params,
            threshold: record.threshold()?,
            nodes: record.nodes,
        };
        let identity = &self.inner.identity;
        let signed = self.client()?.sign(&request, identity, message);
        signed.map_err(ApiError::from).await
    }

    /// One's own signing keys, oldest first. Asks nobody.
    ///
    /// # Errors
    /// [`Code::Io`].
    pub fn signing_keys(&self) -> Result<Vec<SigningKey>, ApiError> {
        let mut records = self.inner.records.list()?.records;
        records.retain(OwnerRecord::is_for_signing);
        let now = self.now();
        records.iter().map(|it| signing_key(it, now)).collect()
    }

    /// Ends a signing key, for good. Returns when the ledger shows it and the nodes that answer have deleted their shares.
    /// What was signed before stays signed.
    ///
    /// # Errors
    /// [`Code::NotFound`] if it is none of one's own, or is over already; [`Code::NoNetwork`], [`Code::NotRecorded`],
    /// [`Code::Ledger`]: it is to be repeated.
    pub async fn revoke_signing_key(&self, policy: &PolicyId) -> Result<Revoked, ApiError> {
        let record = self.signing_record(policy)?;
        if !record.is_pending_or_live() || record.expiry <= self.now() {
            let why = "this signing key is over already";
            return Err(ApiError::new(Code::NotFound, why));
        }
        self.end(self.client()?, &record).await
    }

    fn signing_record(&self, policy: &PolicyId) -> Result<OwnerRecord, ApiError> {
        let record = self.inner.records.find(policy)?;
        let none = || ApiError::new(Code::NotFound, "this is no signing key of yours");
        record.filter(OwnerRecord::is_for_signing).ok_or_else(none)
    }
}

fn signing_key(record: &OwnerRecord, now: u64) -> Result<SigningKey, ApiError> {
    let LabelPublicKey::Signing(key) = record.params.label_key else {
        return Err(ApiError::new(Code::NotFound, "this is no signing key"));
    };
    Ok(SigningKey {
        policy: record.policy(),
        key,
        state: lists::state(record, now),
        until: record.expiry,
        threshold: format!("{}/{}", record.needed, record.total),
        nodes: lists::keys(&record.nodes),
    })
}

/// A group's key is nobody's: it is not written as a person's.
fn as_hex<S: serde::Serializer>(key: &PublicKey, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&data_encoding::HEXLOWER.encode(key.as_bytes()))
}
