//! Statements signed by a key of the network (WIRE §4).
//!
//! A signature is over the bytes that travel, never over an encoding made again. [`Signed`] is what
//! was received and parsed; only [`Verified`] says that its author meant it.

mod gate;
mod request;

use std::{fmt, ops::Deref};

use kms_crypto::{
    key::{IdentitySecret, LedgerKey, NodeSecret, PublicKey},
    sign::Signature,
};
use rand_core::CryptoRng;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned};
use zeroize::Zeroizing;

pub use gate::{Arrival, Gate, Incoming, Mark, Opened};
pub use request::{Address, MAX_DEADLINE_SECONDS, RequestStatement, SignedRequest};

use crate::codec;

/// Something that is signed: it knows its domain and its author.
pub trait Statement: Serialize + DeserializeOwned {
    /// The signature's domain, of this kind of statement alone.
    const DOMAIN: &'static str;
    /// The longest encoding that is read.
    const MAX_BYTES: usize;

    /// Whose signature it needs; nobody's if it proves itself.
    fn signer(&self) -> Option<PublicKey>;
}

/// A secret that signs statements.
pub trait Signer {
    /// Its public key.
    fn public(&self) -> PublicKey;
    /// Signs a message in a domain.
    fn sign<R: CryptoRng + ?Sized>(&self, domain: &str, message: &[u8], rng: &mut R) -> Signature;
}

macro_rules! signer {
    ($($key:ty),*) => {$(
        impl Signer for $key {
            fn public(&self) -> PublicKey {
                <$key>::public(self)
            }

            fn sign<R: CryptoRng + ?Sized>(&self, domain: &str, message: &[u8], rng: &mut R) -> Signature {
                <$key>::sign(self, domain, message, rng)
            }
        }
    )*};
}
signer!(IdentitySecret, LedgerKey, NodeSecret);

/// A key was asked to sign somebody else's statement.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("this key is not the author of that statement")]
pub struct WrongSigner;

/// The signature does not fit the author.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the signature does not fit the author")]
pub struct BadSignature;

/// A statement as it travels: its encoding and a signature, which nobody has checked yet.
#[derive(Clone)]
pub struct Signed<T> {
    // May hold a key fragment: wiped.
    payload: Zeroizing<Vec<u8>>,
    signature: Signature,
    claim: T,
}

impl<T: Statement> Signed<T> {
    /// Signs a statement with its author's key.
    pub fn sign<R: CryptoRng + ?Sized>(
        claim: T,
        key: &impl Signer,
        rng: &mut R,
    ) -> Result<Verified<T>, WrongSigner> {
        if Some(key.public()) != claim.signer() {
            return Err(WrongSigner);
        }
        let payload = Zeroizing::new(codec::encode(&claim));
        let signature = key.sign(T::DOMAIN, &payload, rng);
        Ok(Verified(Self {
            payload,
            signature,
            claim,
        }))
    }

    /// A statement that proves itself, to travel like all others.
    pub fn unsigned(claim: T) -> Result<Verified<T>, WrongSigner> {
        if claim.signer().is_some() {
            return Err(WrongSigner);
        }
        Ok(Verified(Self {
            payload: Zeroizing::new(codec::encode(&claim)),
            signature: Signature::NOBODYS,
            claim,
        }))
    }

    /// Checks the signature.
    pub fn verify(self) -> Result<Verified<T>, BadSignature> {
        let holds = match self.claim.signer() {
            Some(signer) => signer
                .verify(T::DOMAIN, &self.payload, &self.signature)
                .is_ok(),
            None => self.signature == Signature::NOBODYS,
        };
        match holds {
            true => Ok(Verified(self)),
            false => Err(BadSignature),
        }
    }

    /// Takes the author's word for granted, because these very bytes were checked before: a hash that says so is known.
    pub fn known(self) -> Verified<T> {
        Verified(self)
    }

    /// What it says, if it is genuine.
    pub fn claim(&self) -> &T {
        &self.claim
    }

    /// What stands under it.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// The encoding that is signed.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }
}

/// A statement whose author is known to have made it.
#[derive(Clone)]
pub struct Verified<T>(Signed<T>);

impl<T> Verified<T> {
    /// As it travels.
    pub fn signed(&self) -> &Signed<T> {
        &self.0
    }

    /// As it travels.
    pub fn into_signed(self) -> Signed<T> {
        self.0
    }

    /// What it says.
    pub fn into_statement(self) -> T {
        self.0.claim
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.claim
    }
}

/// `Signed` as it is written.
#[derive(Serialize)]
struct Outgoing<'a> {
    #[serde(with = "serde_bytes")]
    payload: &'a [u8],
    signature: Signature,
}

/// `Signed` as it is read.
#[derive(Deserialize)]
struct Received {
    #[serde(with = "serde_bytes")]
    payload: Vec<u8>,
    signature: Signature,
}

impl<T> Serialize for Signed<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Outgoing {
            payload: &self.payload,
            signature: self.signature,
        }
        .serialize(serializer)
    }
}

impl<'de, T: Statement> Deserialize<'de> for Signed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Received { payload, signature } = Received::deserialize(deserializer)?;
        let payload = Zeroizing::new(payload);
        let claim = codec::decode(&payload, T::MAX_BYTES).map_err(serde::de::Error::custom)?;
        Ok(Self {
            payload,
            signature,
            claim,
        })
    }
}

impl<T> PartialEq for Signed<T> {
    fn eq(&self, other: &Self) -> bool {
        self.payload == other.payload && self.signature == other.signature
    }
}

impl<T> Eq for Signed<T> {}

impl<T: fmt::Debug> fmt::Debug for Signed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Signed").field(&self.claim).finish()
    }
}

impl<T: fmt::Debug> fmt::Debug for Verified<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Verified").field(&self.0.claim).finish()
    }
}
