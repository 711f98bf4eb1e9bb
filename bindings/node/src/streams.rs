//! Files of any size, piece by piece: what the streams of `streams.cjs` stand on.

use kms_client::pieces::{PieceReader, PieceWriter};
use napi::bindgen_prelude::Buffer;
use napi_derive::napi;
use serde_json::json;
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use crate::thrown;

/// An encrypted file that is read.
#[napi]
pub struct Reader(Mutex<Option<PieceReader>>);

/// An encrypted file that is written.
#[napi]
pub struct Writer(Mutex<Option<PieceWriter>>);

impl From<PieceReader> for Reader {
    fn from(reader: PieceReader) -> Self {
        Self(Mutex::new(Some(reader)))
    }
}

impl From<PieceWriter> for Writer {
    fn from(writer: PieceWriter) -> Self {
        Self(Mutex::new(Some(writer)))
    }
}

#[napi]
impl Reader {
    /// The next piece, or null.
    #[napi]
    pub async fn next(&self) -> napi::Result<Option<Buffer>> {
        let mut reader = self.0.lock().await;
        let Some(reader) = reader.as_mut() else {
            return Ok(None);
        };
        let piece = reader.next().await.map_err(thrown)?;
        Ok(piece.map(|mut piece| Buffer::from(std::mem::take(&mut *piece))))
    }

    /// What it was, once all was read.
    #[napi]
    pub async fn done(&self) -> napi::Result<String> {
        let mut reader = self.0.lock().await;
        let Some(reader) = reader.as_mut() else {
            return Ok("{}".to_owned());
        };
        let size = reader.size().await.map_err(thrown)?;
        let (owner, label) = (reader.owner.to_string(), reader.label.to_string());
        Ok(json!({"owner": owner, "label": label, "size": size}).to_string())
    }

    /// Ends the work.
    #[napi]
    pub async fn close(&self) {
        drop(self.0.lock().await.take());
    }
}

#[napi]
impl Writer {
    /// Writes a piece, or waits until there is room.
    #[napi]
    pub async fn write(&self, piece: Buffer) -> napi::Result<()> {
        let piece = Zeroizing::new(piece.to_vec());
        match self.0.lock().await.as_mut() {
            None => Ok(()),
            Some(writer) => writer.write(piece).await.map_err(thrown),
        }
    }

    /// Ends the file; it is there when this is.
    #[napi]
    pub async fn finish(&self) -> napi::Result<String> {
        let mut writer = self.0.lock().await;
        let Some(writer) = writer.as_mut() else {
            return Ok("{}".to_owned());
        };
        let done = writer.finish().await.map_err(thrown)?;
        let sizes = done.sizes;
        let label = done.label.to_string();
        Ok(json!({"label": label, "size": sizes.plain, "sealed_size": sizes.sealed}).to_string())
    }

    /// Gives it up, unless it was finished.
    #[napi]
    pub async fn close(&self) {
        drop(self.0.lock().await.take());
    }
}
