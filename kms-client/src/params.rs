//! The parameters of an operation as they come from another language: texts and numbers in a document, bytes beside it.

use std::collections::HashMap;
use std::ops::Deref;
use std::path::PathBuf;
use std::str::FromStr;

use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};
use kms_crypto::aead::{Cipher, UnknownCipher};
use kms_crypto::id::{LabelId, PolicyId};
use kms_crypto::key::{LabelSecret, PublicKey};
use serde_json::{Map, Value};
use zeroize::{Zeroize, Zeroizing};

use crate::catalogue::{ApiError, Code};
use crate::ticket::TicketText;

/// Bytes, wherever whoever has given them keeps them: neither copied nor wiped here.
pub struct Bytes(Box<dyn AsRef<[u8]> + Send + Sync>);

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        (*self.0).as_ref()
    }
}

/// Parameters by their names; null is the same as none. Wiped when dropped: passphrases, keys and plaintext are among them.
#[derive(Default)]
pub struct Params {
    values: Map<String, Value>,
    bytes: HashMap<String, Bytes>,
}

impl Drop for Params {
    fn drop(&mut self) {
        for (_, value) in &mut self.values {
            if let Value::String(text) = value {
                text.zeroize();
            }
        }
    }
}

impl Params {
    /// Those of a document.
    #[must_use]
    pub fn new(values: Map<String, Value>) -> Self {
        Self {
            values,
            bytes: HashMap::new(),
        }
    }

    /// Adds bytes as they are; in a document they would be base64.
    #[must_use]
    pub fn with_bytes(
        mut self,
        name: &str,
        bytes: impl AsRef<[u8]> + Send + Sync + 'static,
    ) -> Self {
        self.bytes.insert(name.to_owned(), Bytes(Box::new(bytes)));
        self
    }

    fn given(&self, name: &str) -> Option<&Value> {
        let value = self.values.get(name);
        value.filter(|value| **value != Value::Null)
    }

    /// A text, if it was given.
    ///
    /// # Errors
    /// [`Code::BadType`].
    pub fn maybe_text(&self, name: &str) -> Result<Option<&str>, ApiError> {
        match self.given(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(wrong_type(name, "a string")),
        }
    }

    /// A text; one that was left out is empty.
    ///
    /// # Errors
    /// [`Code::BadType`].
    pub fn text(&self, name: &str) -> Result<&str, ApiError> {
        Ok(self.maybe_text(name)?.unwrap_or_default())
    }

    /// A text, or what stands for it.
    ///
    /// # Errors
    /// [`Code::BadType`].
    pub fn text_or<'a>(&'a self, name: &str, default: &'a str) -> Result<&'a str, ApiError> {
        Ok(self.maybe_text(name)?.unwrap_or(default))
    }

    /// A whole number that is not negative, or what stands for it.
    ///
    /// # Errors
    /// [`Code::BadType`], [`Code::BadParameter`].
    pub fn number_or(&self, name: &str, default: u64) -> Result<u64, ApiError> {
        match self.given(name) {
            None => Ok(default),
            Some(Value::Number(number)) => number
                .as_u64()
                .ok_or_else(|| bad(name, "a whole number that is not negative")),
            Some(_) => Err(wrong_type(name, "a number")),
        }
    }

    /// Takes bytes out.
    ///
    /// # Errors
    /// [`Code::BadType`], [`Code::BadParameter`] for what is no base64.
    pub fn take_bytes(&mut self, name: &str) -> Result<Bytes, ApiError> {
        if let Some(bytes) = self.bytes.remove(name) {
            return Ok(bytes);
        }
        let bytes = BASE64.decode(self.text(name)?.as_bytes());
        let bytes = bytes.map_err(|_| bad(name, "base64 with its padding"))?;
        Ok(Bytes(Box::new(Zeroizing::new(bytes))))
    }

    /// A public key, if it was given.
    ///
    /// # Errors
    /// [`Code::BadType`], [`Code::BadKey`].
    pub fn maybe_key(&self, name: &str) -> Result<Option<PublicKey>, ApiError> {
        let text = self.maybe_text(name)?;
        let key = text.map(|text| PublicKey::from_str(text).map_err(ApiError::from));
        key.transpose()
            .map_err(|error| error.with("parameter", name))
    }

    /// A public key.
    ///
    /// # Errors
    /// [`Code::BadType`], [`Code::BadKey`], [`Code::BadParameter`].
    pub fn key(&self, name: &str) -> Result<PublicKey, ApiError> {
        self.maybe_key(name)?
            .ok_or_else(|| bad(name, "a key that begins with kms1"))
    }

    /// A label, if it was given.
    ///
    /// # Errors
    /// [`Code::BadType`], [`Code::BadParameter`].
    pub fn maybe_label(&self, name: &str) -> Result<Option<LabelId>, ApiError> {
        self.maybe_parsed(name, "32 hexadecimal digits")
    }

    /// A label.
    ///
    /// # Errors
    /// [`Code::BadType`], [`Code::BadParameter`].
    pub fn label(&self, name: &str) -> Result<LabelId, ApiError> {
        self.maybe_label(name)?
            .ok_or_else(|| bad(name, "32 hexadecimal digits"))
    }

    /// A policy.
    ///
    /// # Errors
    /// [`Code::BadType`], [`Code::BadParameter`].
    pub fn policy(&self, name: &str) -> Result<PolicyId, ApiError> {
        let what = "64 hexadecimal digits";
        self.maybe_parsed(name, what)?
            .ok_or_else(|| bad(name, what))
    }

    fn maybe_parsed<T: FromStr>(&self, name: &str, what: &str) -> Result<Option<T>, ApiError> {
        let text = self.maybe_text(name)?;
        let parsed = text.map(|text| text.parse().map_err(|_| bad(name, what)));
        parsed.transpose()
    }

    /// A label's secret, if it was given.
    ///
    /// # Errors
    /// [`Code::BadType`], [`Code::BadParameter`].
    pub fn maybe_secret(&self, name: &str) -> Result<Option<LabelSecret>, ApiError> {
        let Some(text) = self.maybe_text(name)? else {
            return Ok(None);
        };
        let refuse = || bad(name, "64 hexadecimal digits");
        let decoded = HEXLOWER_PERMISSIVE.decode(text.as_bytes());
        let bytes = Zeroizing::new(decoded.map_err(|_| refuse())?);
        let bytes = <&[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| refuse())?;
        Ok(Some(LabelSecret::from_bytes(bytes)))
    }

    /// A ticket, if it was given.
    ///
    /// # Errors
    /// [`Code::BadType`], [`Code::BadData`].
    pub fn maybe_ticket(&self, name: &str) -> Result<Option<TicketText>, ApiError> {
        let text = self.maybe_text(name)?;
        let ticket = text.map(|text| TicketText::parse(text).map_err(ApiError::from));
        ticket.transpose()
    }

    /// A ticket.
    ///
    /// # Errors
    /// [`Code::BadType`], [`Code::BadData`], [`Code::BadParameter`].
    pub fn ticket(&self, name: &str) -> Result<TicketText, ApiError> {
        self.maybe_ticket(name)?
            .ok_or_else(|| bad(name, "a ticket, which begins with kms-ticket-1-"))
    }

    /// An absolute path: whoever works may be in another directory than whoever asks.
    ///
    /// # Errors
    /// [`Code::BadType`], [`Code::BadParameter`].
    pub fn path(&self, name: &str) -> Result<PathBuf, ApiError> {
        let path = PathBuf::from(self.text(name)?);
        if !path.is_absolute() || path.as_os_str().as_encoded_bytes().contains(&0) {
            return Err(bad(name, "an absolute path"));
        }
        Ok(path)
    }

    /// A cipher, or the usual one.
    ///
    /// # Errors
    /// [`Code::BadType`], [`Code::Unsupported`].
    pub fn cipher(&self) -> Result<Cipher, ApiError> {
        let name = self.text_or("cipher", Cipher::default().name())?;
        let unknown = |it: UnknownCipher| ApiError::new(Code::Unsupported, it.to_string());
        name.parse().map_err(unknown)
    }
}

/// A parameter of another type.
#[must_use]
pub fn wrong_type(name: &str, what: &str) -> ApiError {
    ApiError::new(Code::BadType, format!("{name} must be {what}")).with("parameter", name)
}

/// A value that is not allowed.
#[must_use]
pub fn bad(name: &str, what: &str) -> ApiError {
    ApiError::new(Code::BadParameter, format!("{name} must be {what}")).with("parameter", name)
}
