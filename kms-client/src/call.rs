//! The operations of a session by their names (API §2.3, §2.4), for languages at whose edge documents and bytes pass and
//! nothing else: `kmsd`, Python, JavaScript.

use std::io::Cursor;

use data_encoding::HEXLOWER;
use kms_crypto::format::file;
use kms_crypto::key::{LabelSecret, PublicKey};
use serde_json::{Value, json};
use tokio::task::spawn_blocking;
use zeroize::Zeroizing;

use crate::catalogue::{ApiError, Code};
use crate::params::{Params, bad};
use crate::session::{
    OpenedFile, Opening, Session, decrypt_file_with_key, in_background, inspect, release_with_key,
};
use crate::stream;
use crate::ticket::TicketText;

/// What an operation gives.
pub struct Reply<B = Zeroizing<Vec<u8>>> {
    /// The result but for its bytes.
    pub document: Value,
    /// A member that is bytes, and what it is called.
    pub bytes: Option<(&'static str, B)>,
}

impl<B> From<Value> for Reply<B> {
    fn from(document: Value) -> Self {
        Self {
            document,
            bytes: None,
        }
    }
}

/// Where the bytes of a result are made: in the memory of the language that wants them, so that they need not be copied.
pub trait Room: Send + 'static {
    /// What is made.
    type Bytes: Send + 'static;

    /// Makes `len` bytes that `work` fills. Called in a thread that may wait.
    ///
    /// # Errors
    /// Those of `work`.
    fn fill(
        self,
        len: usize,
        work: impl FnOnce(&mut [u8]) -> Result<(), ApiError> + Send,
    ) -> Result<Self::Bytes, ApiError>;
}

/// Memory that is wiped when it is given back.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wiped;

impl Room for Wiped {
    type Bytes = Zeroizing<Vec<u8>>;

    fn fill(
        self,
        len: usize,
        work: impl FnOnce(&mut [u8]) -> Result<(), ApiError> + Send,
    ) -> Result<Self::Bytes, ApiError> {
        let mut bytes = Zeroizing::new(vec![0; len]);
        work(&mut bytes)?;
        Ok(bytes)
    }
}

/// What is needed to find somebody's session, or the reason why there is none.
pub type Found<'a> = &'a (dyn Fn() -> Result<Session, ApiError> + Sync);

/// Does an operation, with the bytes of its result, if it has any, made in `room`. `session` is asked for only by those that
/// work on somebody's behalf.
///
/// # Errors
/// Those of the operation; [`Code::BadParameter`] for a name that is none.
pub async fn call<R: Room>(
    operation: &str,
    mut params: Params,
    session: Found<'_>,
    room: R,
) -> Result<Reply<R::Bytes>, ApiError> {
    match operation {
        "encrypt" => encrypt(session()?, params, room).await,
        "decrypt" => decrypt(session, params, room).await,
        "encrypt_file" => {
            let (source, target) = (params.path("source")?, params.path("target")?);
            let cipher = params.cipher()?;
            let done = session()?.encrypt_file(&source, &target, cipher).await?;
            Ok(json!({
                "label": done.label.to_string(),
                "size": done.sizes.plain,
                "sealed_size": done.sizes.sealed,
            })
            .into())
        }
        "decrypt_file" => Ok(decrypt_file(session, &params).await?.into()),
        "inspect" => Ok(inspect(&params.take_bytes("sealed")?)?.into()),
        "grant" => {
            let (label, terms) = (params.label("label")?, params.text("terms")?);
            let grants = session()?.grant(&label, terms).await?;
            Ok(json!({"grants": grants}).into())
        }
        "revoke" => {
            let (label, who) = (params.label("label")?, params.text("who")?);
            let revoked = session()?.revoke(&label, who).await?;
            Ok(json!({"revoked": revoked}).into())
        }
        "decrypt_key" => {
            let (sealed, ticket) = (params.take_bytes("sealed")?, params.ticket("ticket")?);
            let header = file::inspect(&sealed)?;
            let by = Opening::Ticket {
                ticket: &ticket,
                owner: None,
            };
            let key = session()?.release(&header, by).await?;
            Ok(json!({
                "key": HEXLOWER.encode(key.secret.as_bytes()),
                "label": key.label.to_string(),
                "owner": key.owner.to_string(),
            })
            .into())
        }
        "list_grants" => {
            let label = params.maybe_label("label")?;
            let grants = blocking(session()?, move |it| it.list_grants(label.as_ref()));
            Ok(json!({"grants": grants.await?}).into())
        }
        "open_ticket" => {
            let ticket = params.ticket("ticket")?;
            Ok(json!(session()?.open_ticket(&ticket)?).into())
        }
        "tickets" => {
            let store = params.path("store")?;
            let tickets = blocking(session()?, move |it| it.tickets(&store)).await?;
            Ok(json!({"tickets": tickets}).into())
        }
        "policy_health" => {
            let policy = params.policy("policy")?;
            Ok(json!(session()?.policy_health(&policy).await?).into())
        }
        "audit" => {
            let policy = params.policy("policy")?;
            Ok(json!(session()?.audit(&policy).await?).into())
        }
        #[cfg(feature = "signing")]
        "generate_signing_key" => {
            let threshold = params.text_or("threshold", "3/5")?.parse();
            let threshold = threshold.map_err(|_| bad("threshold", "m/n, for example 3/5"))?;
            let until = Some(params.number_or("until", 0)?).filter(|until| *until > 0);
            let made = session()?.generate_signing_key(threshold, until).await?;
            Ok(json!(made).into())
        }
        #[cfg(feature = "signing")]
        "sign" => {
            let (policy, message) = (params.policy("policy")?, params.take_bytes("message")?);
            let signature = session()?.sign(&policy, &message).await?;
            let fill = move |to: &mut [u8]| {
                to.copy_from_slice(&signature);
                Ok(())
            };
            let bytes = in_background(move |_| room.fill(signature.len(), fill));
            Ok(Reply {
                document: json!({}),
                bytes: Some(("signature", bytes.await?)),
            })
        }
        #[cfg(feature = "signing")]
        "verify" => {
            let key = HEXLOWER.decode(params.text("key")?.as_bytes()).ok();
            let key = key.and_then(|it| PublicKey::from_bytes(&it).ok());
            let key = key.ok_or_else(|| bad("key", "66 hexadecimal digits, a point"))?;
            let message = params.take_bytes("message")?;
            let signature = params.take_bytes("signature")?;
            let verified = crate::session::verify(&key, &message, &signature);
            Ok(json!({"valid": verified.is_ok()}).into())
        }
        #[cfg(feature = "signing")]
        "signing_keys" => {
            let keys = blocking(session()?, Session::signing_keys).await?;
            Ok(json!({"keys": keys}).into())
        }
        #[cfg(feature = "signing")]
        "revoke_signing_key" => {
            let policy = params.policy("policy")?;
            Ok(json!(session()?.revoke_signing_key(&policy).await?).into())
        }
        _ => {
            let why = format!("there is no operation {operation}");
            Err(ApiError::new(Code::BadParameter, why))
        }
    }
}

async fn encrypt<R: Room>(
    session: Session,
    mut params: Params,
    room: R,
) -> Result<Reply<R::Bytes>, ApiError> {
    let cipher = params.cipher()?;
    let data = params.take_bytes("data")?;
    let size = data.len();
    in_background(move |stop| {
        let mut label = None;
        let bytes = room.fill(stream::sealed_len(size)?, |sealed| {
            let mut to = Cursor::new(sealed);
            let done = session.encrypt_stream(&mut &*data, &mut to, cipher, stop)?;
            label = Some(done.label.to_string());
            Ok(())
        })?;
        Ok(Reply {
            document: json!({"label": label, "size": size}),
            bytes: Some(("sealed", bytes)),
        })
    })
    .await
}

async fn decrypt<R: Room>(
    session: Found<'_>,
    mut params: Params,
    room: R,
) -> Result<Reply<R::Bytes>, ApiError> {
    let right = Right::of(&params)?;
    let (by_key, sealed) = (right.key()?, params.take_bytes("sealed")?);
    let header = file::inspect(&sealed)?;
    let key = match by_key {
        Some((secret, owner)) => release_with_key(&header, secret, owner)?,
        None => session()?.release(&header, right.opening()?).await?,
    };
    in_background(move |stop| {
        let size = stream::plain_len(&header, sealed.len())?;
        let bytes = room.fill(size, |mut data| {
            key.open_stream(&mut Cursor::new(&*sealed), &mut data, stop)?;
            Ok(())
        })?;
        Ok(Reply {
            document: json!({
                "owner": key.owner.to_string(),
                "label": key.label.to_string(),
                "size": size,
            }),
            bytes: Some(("data", bytes)),
        })
    })
    .await
}

async fn decrypt_file(session: Found<'_>, params: &Params) -> Result<Value, ApiError> {
    let (source, target) = (params.path("source")?, params.path("target")?);
    let right = Right::of(params)?;
    let done: OpenedFile = match right.key()? {
        Some((secret, owner)) => decrypt_file_with_key(&source, &target, secret, owner).await?,
        None => {
            let opening = right.opening()?;
            session()?.decrypt_file(&source, &target, opening).await?
        }
    };
    Ok(json!({
        "owner": done.owner.to_string(),
        "label": done.label.map(|label| label.to_string()),
        "size": done.sizes.plain,
    }))
}

async fn blocking<T: Send + 'static>(
    session: Session,
    work: impl FnOnce(&Session) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let done = spawn_blocking(move || work(&session)).await;
    done.map_err(|_| ApiError::new(Code::Internal, "the work ended without a result"))?
}

/// By what right a caller wants to open something.
pub(crate) struct Right {
    ticket: Option<TicketText>,
    secret: Option<LabelSecret>,
    owner: Option<PublicKey>,
}

impl Right {
    pub(crate) fn of(params: &Params) -> Result<Self, ApiError> {
        let this = Self {
            ticket: params.maybe_ticket("ticket")?,
            secret: params.maybe_secret("key")?,
            owner: params.maybe_key("owner")?,
        };
        if this.ticket.is_some() && this.secret.is_some() {
            return Err(bad("key", "left out when there is a ticket"));
        }
        Ok(this)
    }

    /// The key, if it is by a key.
    fn key(&self) -> Result<Option<(&LabelSecret, &PublicKey)>, ApiError> {
        match (&self.secret, &self.owner) {
            (None, _) => Ok(None),
            (Some(secret), Some(owner)) => Ok(Some((secret, owner))),
            (Some(_), None) => Err(bad("owner", "given with a key")),
        }
    }

    pub(crate) fn opening(&self) -> Result<Opening<'_>, ApiError> {
        if let Some((secret, owner)) = self.key()? {
            return Ok(Opening::Key { secret, owner });
        }
        Ok(match &self.ticket {
            None => Opening::Own,
            Some(ticket) => Opening::Ticket {
                ticket,
                owner: self.owner.as_ref(),
            },
        })
    }
}
