//! Encrypted files as a program reads and writes them that is asked for one piece at a time (API §2.3): for languages whose
//! streams work so. Behind each stands a thread that does [`crate::stream`]; it is ahead by two pieces at most.

use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;

use kms_crypto::aead::Cipher;
use kms_crypto::id::LabelId;
use kms_crypto::key::PublicKey;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::{JoinHandle, spawn_blocking};
use zeroize::Zeroizing;

use crate::catalogue::{ApiError, Code};
use crate::session::files::{Partial, about, open_plain};
use crate::session::{FileDone, Opening, ReleasedKey, Session, release_with_key};
use crate::stream::{self, Stop};

/// A piece of plaintext.
pub type Piece = Zeroizing<Vec<u8>>;

/// How many pieces wait on their way.
const AHEAD: usize = 1;

/// An encrypted file that is read. Dropping it ends the work.
pub struct PieceReader {
    /// Its label.
    pub label: LabelId,
    /// Who made it.
    pub owner: PublicKey,
    pieces: Receiver<Piece>,
    work: Work<u64>,
}

/// A file that is written encrypted, and appears when it is finished. Dropping it leaves nothing behind.
pub struct PieceWriter {
    /// Nothing once it is finished.
    pieces: Option<Sender<Sent>>,
    work: Work<FileDone>,
}

/// What goes to the thread that writes: an end that nobody has told is none.
enum Sent {
    Piece(Piece),
    End,
}

/// Work in another thread, and what came of it.
enum Work<T> {
    UnderWay(JoinHandle<Result<T, ApiError>>),
    Over(Result<T, ApiError>),
}

impl<T: Clone + Send + 'static> Work<T> {
    fn start(work: impl FnOnce() -> Result<T, ApiError> + Send + 'static) -> Self {
        Self::UnderWay(spawn_blocking(work))
    }

    async fn wait(&mut self) -> Result<T, ApiError> {
        if let Self::UnderWay(task) = self {
            let gone = |_| ApiError::new(Code::Internal, "the work ended without a result");
            *self = Self::Over(task.await.map_err(gone).and_then(|it| it));
        }
        match self {
            Self::Over(result) => result.clone(),
            Self::UnderWay(_) => Err(ApiError::new(Code::Internal, "the work goes on")),
        }
    }
}

/// Opens an encrypted file for reading. `session` is asked for only if it is not opened by a key.
///
/// # Errors
/// [`Code::Io`], and those of API §2.5.
pub async fn read(
    source: &Path,
    by: Opening<'_>,
    session: impl FnOnce() -> Result<Session, ApiError>,
) -> Result<PieceReader, ApiError> {
    let from = source.to_owned();
    let opened = spawn_blocking(move || {
        let mut file = open_plain(&from)?;
        let header = stream::inspect(&mut file).map_err(|error| about(error, &from, &from))?;
        Ok::<_, ApiError>((file, header, from))
    });
    let gone = |_| ApiError::new(Code::Internal, "the work ended without a result");
    let (mut file, header, from) = opened.await.map_err(gone)??;
    let key: ReleasedKey = match by {
        Opening::Key { secret, owner } => release_with_key(&header, secret, owner)?,
        by => session()?.release(&header, by).await?,
    };
    let (label, owner) = (key.label, key.owner);
    let (sender, pieces) = channel(AHEAD);
    let work = Work::start(move || {
        let sizes = key.open_stream(&mut file, &mut Out(sender), &Stop::default());
        let sizes = sizes.map_err(|error| about(error, &from, &from))?;
        Ok(sizes.plain)
    });
    Ok(PieceReader {
        label,
        owner,
        pieces,
        work,
    })
}

impl PieceReader {
    /// The next piece of verified plaintext; nothing: that was all.
    ///
    /// # Errors
    /// [`Code::Tampered`], [`Code::Io`].
    pub async fn next(&mut self) -> Result<Option<Piece>, ApiError> {
        match self.pieces.recv().await {
            Some(piece) => Ok(Some(piece)),
            None => self.work.wait().await.map(|_| None),
        }
    }

    /// How many bytes there were, once that was all.
    ///
    /// # Errors
    /// Those of [`Self::next`].
    pub async fn size(&mut self) -> Result<u64, ApiError> {
        self.work.wait().await
    }
}

/// Makes a new encrypted file, which appears when all was written and [`PieceWriter::finish`] was called.
#[must_use]
pub fn write(session: Session, target: &Path, cipher: Cipher) -> PieceWriter {
    let (sender, receiver) = channel(AHEAD);
    let target = target.to_owned();
    let work = Work::start(move || {
        let mut to = Partial::create(&target)?;
        let mut from = In {
            pieces: receiver,
            piece: Piece::default(),
            read: 0,
            is_over: false,
        };
        let done = session.encrypt_stream(&mut from, to.file(), cipher, &Stop::default());
        let done = done.map_err(|error| about(error, &target, &target))?;
        to.finish()?;
        Ok(done)
    });
    PieceWriter {
        pieces: Some(sender),
        work,
    }
}

impl PieceWriter {
    /// Writes, or waits until there is room.
    ///
    /// # Errors
    /// [`Code::Exists`], [`Code::Io`], [`Code::Unsupported`] above 4 TiB.
    pub async fn write(&mut self, piece: Piece) -> Result<(), ApiError> {
        self.send(Sent::Piece(piece)).await
    }

    async fn send(&mut self, what: Sent) -> Result<(), ApiError> {
        let sent = match &self.pieces {
            Some(pieces) => pieces.send(what).await.is_ok(),
            None => false,
        };
        match sent {
            true => Ok(()),
            // Nobody reads any more.
            false => self.work.wait().await.map(drop),
        }
    }

    /// Ends the file, and waits until it is there.
    ///
    /// # Errors
    /// Those of [`Self::write`].
    pub async fn finish(&mut self) -> Result<FileDone, ApiError> {
        self.send(Sent::End).await?;
        self.pieces = None;
        self.work.wait().await
    }
}

/// Gives away what is written to it.
struct Out(Sender<Piece>);

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = Zeroizing::new(bytes.to_vec());
        let sent = self.0.blocking_send(piece);
        sent.map_err(|_| ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads what it is given.
struct In {
    pieces: Receiver<Sent>,
    piece: Piece,
    read: usize,
    is_over: bool,
}

impl Read for In {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.read == self.piece.len() && !self.is_over {
            match self.pieces.blocking_recv() {
                Some(Sent::Piece(piece)) => (self.piece, self.read) = (piece, 0),
                Some(Sent::End) => self.is_over = true,
                None => return Err(io::Error::new(ErrorKind::BrokenPipe, "given up")),
            }
        }
        let len = buffer.len().min(self.piece.len() - self.read);
        buffer[..len].copy_from_slice(&self.piece[self.read..self.read + len]);
        self.read += len;
        Ok(len)
    }
}
