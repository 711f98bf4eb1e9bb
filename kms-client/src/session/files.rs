//! Files and streams of any size, in bounded memory (API §2.3).

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use kms_crypto::aead::Cipher;
use kms_crypto::id::LabelId;
use kms_crypto::key::PublicKey;
use rand_core::Rng;
use rustix::fs::{CWD, OFlags, RenameFlags};

use super::{Opening, ReleasedKey, Session};
use crate::catalogue::{ApiError, Code};
use crate::client::rng;
use crate::stream::{self, Sizes, Stop, StreamError};

/// A file that was decrypted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct OpenedFile {
    /// Its label; a file of a store has none before it is shared.
    pub label: Option<LabelId>,
    /// Who made it.
    pub owner: PublicKey,
    /// How large it is.
    pub sizes: Sizes,
}

/// A file that was encrypted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FileDone {
    /// Its label.
    pub label: LabelId,
    /// Who made it.
    pub owner: PublicKey,
    /// How large it is.
    pub sizes: Sizes,
}

impl Session {
    /// Encrypts a plain file into a new one, which appears when it is complete and on the disk. Asks nobody. Dropping
    /// the future leaves nothing behind.
    ///
    /// # Errors
    /// [`Code::Io`], [`Code::Exists`] if `target` does, [`Code::Unsupported`] above 4 TiB.
    ///
    /// ```
    /// # async fn with(session: kms_client::Session) -> Result<(), kms_client::ApiError> {
    /// let done = session
    ///     .encrypt_file("film.mkv".as_ref(), "film.sealed".as_ref(), Default::default())
    ///     .await?;
    /// println!("{} bytes, to be granted as {}", done.sizes.plain, done.label);
    /// # Ok(()) }
    /// ```
    pub async fn encrypt_file(
        &self,
        source: &Path,
        target: &Path,
        cipher: Cipher,
    ) -> Result<FileDone, ApiError> {
        let this = self.clone();
        let (source, target) = (source.to_owned(), target.to_owned());
        in_background(move |stop| {
            let mut from = open_plain(&source)?;
            let mut to = Partial::create(&target)?;
            let done = this.encrypt_stream(&mut from, to.file(), cipher, stop);
            let done = done.map_err(|error| about(error, &source, &target))?;
            to.finish()?;
            Ok(done)
        })
        .await
    }

    /// Encrypts all of `from` into `to`, from where it stands on, in pieces of half a mebibyte. Blocks.
    ///
    /// # Errors
    /// [`StreamError`]: which side failed, or that `stop` was told.
    ///
    /// ```
    /// use std::io::Cursor;
    /// # fn with(session: kms_client::Session) -> Result<(), kms_client::stream::StreamError> {
    /// let mut sealed = Cursor::new(Vec::new());
    /// session.encrypt_stream(&mut &b"launch friday"[..], &mut sealed, Default::default(), &Default::default())?;
    /// # Ok(()) }
    /// ```
    pub fn encrypt_stream(
        &self,
        from: &mut (impl Read + ?Sized),
        to: &mut (impl Write + Seek + ?Sized),
        cipher: Cipher,
        stop: &Stop,
    ) -> Result<FileDone, StreamError> {
        let label = self.new_label();
        let sizes = stream::seal(from, to, &self.new_file(&label, cipher), stop)?;
        Ok(FileDone {
            label: label.id,
            owner: self.identity(),
            sizes,
        })
    }

    /// Decrypts a file into a new one, which appears when all of it has been verified and is on the disk. Dropping the
    /// future leaves nothing behind. One's own is also what lies in a store of `kmsfs`, by the name that a mount shows
    /// or the one it is stored under.
    ///
    /// # Errors
    /// [`Code::Io`], [`Code::Exists`] if `target` does, and those of API §2.5.
    ///
    /// ```
    /// use kms_client::{ApiError, Opening, Session, ticket::TicketText};
    ///
    /// async fn watch(bob: Session, ticket: &str) -> Result<(), ApiError> {
    ///     let ticket = TicketText::parse(ticket)?;
    ///     let by = Opening::Ticket { ticket: &ticket, owner: None };
    ///     bob.decrypt_file("film.sealed".as_ref(), "film.mkv".as_ref(), by).await?;
    ///     Ok(())
    /// }
    /// ```
    pub async fn decrypt_file(
        &self,
        source: &Path,
        target: &Path,
        by: Opening<'_>,
    ) -> Result<OpenedFile, ApiError> {
        refuse_existing(target)?;
        if matches!(by, Opening::Own) {
            let (this, from, to) = (self.clone(), source.to_owned(), target.to_owned());
            let stored = in_background(move |stop| this.decrypt_stored(&from, &to, stop));
            if let Some(done) = stored.await? {
                return Ok(done);
            }
        }
        let from = source.to_owned();
        let (file, header) = in_background(move |_| {
            let mut file = open_plain(&from)?;
            let header = stream::inspect(&mut file).map_err(|error| about(error, &from, &from))?;
            Ok((file, header))
        })
        .await?;
        let key = self.release(&header, by).await?;
        open_file(file, source, target, key).await
    }
}

/// Decrypts a file with a key that was fetched before: needs no session and asks nobody.
///
/// # Errors
/// Those of [`Session::decrypt_file`].
pub async fn decrypt_file_with_key(
    source: &Path,
    target: &Path,
    secret: &kms_crypto::key::LabelSecret,
    owner: &PublicKey,
) -> Result<OpenedFile, ApiError> {
    refuse_existing(target)?;
    let mut file = open_plain(source)?;
    let header = stream::inspect(&mut file).map_err(|error| about(error, source, source))?;
    let key = super::release_with_key(&header, secret, owner)?;
    open_file(file, source, target, key).await
}

async fn open_file(
    mut from: File,
    source: &Path,
    target: &Path,
    key: ReleasedKey,
) -> Result<OpenedFile, ApiError> {
    let (source, target) = (source.to_owned(), target.to_owned());
    in_background(move |stop| {
        let mut to = Partial::create(&target)?;
        let sizes = key.open_stream(&mut from, to.file(), stop);
        let sizes = sizes.map_err(|error| about(error, &source, &target))?;
        to.finish()?;
        Ok(OpenedFile {
            label: Some(key.label),
            owner: key.owner,
            sizes,
        })
    })
    .await
}

/// Does something that blocks; when the future is dropped, it is told to stop.
pub(crate) async fn in_background<T: Send + 'static>(
    work: impl FnOnce(&Stop) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    struct Guard(Stop);
    impl Drop for Guard {
        fn drop(&mut self) {
            self.0.stop();
        }
    }
    let stop = Stop::default();
    let _guard = Guard(stop.clone());
    let task = tokio::task::spawn_blocking(move || work(&stop));
    let gone = |_| ApiError::new(Code::Internal, "the work ended without a result");
    task.await.map_err(gone)?
}

/// Opens a plain file: not a directory, and not a pipe that somebody may never write to.
pub(crate) fn open_plain(path: &Path) -> Result<File, ApiError> {
    let flags = OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
        .map_err(|error| ApiError::io("read", path, &error))?;
    let is_file = file.metadata().is_ok_and(|it| it.is_file());
    if !is_file {
        let why = format!("cannot read {}: it is not a plain file", path.display());
        return Err(ApiError::new(Code::Io, why).with("path", path.to_string_lossy()));
    }
    Ok(file)
}

pub(crate) fn about(error: StreamError, source: &Path, target: &Path) -> ApiError {
    match error {
        StreamError::Read(error) => ApiError::io("read", source, &error),
        StreamError::Write(error) => ApiError::io("write", target, &error),
        error => error.into(),
    }
}

fn refuse_existing(target: &Path) -> Result<(), ApiError> {
    if target.symlink_metadata().is_err() {
        return Ok(());
    }
    let why = format!("{} exists already", target.display());
    Err(ApiError::new(Code::Exists, why).with("path", target.to_string_lossy()))
}

/// A file that does not have its name before it is complete, and is gone if that does not happen.
pub(crate) struct Partial {
    file: File,
    at: PathBuf,
    target: PathBuf,
}

impl Partial {
    pub(crate) fn create(target: &Path) -> Result<Self, ApiError> {
        refuse_existing(target)?;
        let mut tail = [0; 8];
        rng().fill_bytes(&mut tail);
        let mut name = std::ffi::OsString::from(".");
        // A long name has no room for more; the random part alone is enough.
        name.push(format!("kms-{}.part", HEXLOWER.encode(&tail)));
        let at = target.with_file_name(name);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&at)
            .map_err(|error| ApiError::io("write", target, &error))?;
        Ok(Self {
            file,
            at,
            target: target.to_owned(),
        })
    }

    pub(crate) const fn file(&mut self) -> &mut File {
        &mut self.file
    }

    pub(crate) fn finish(self) -> Result<(), ApiError> {
        let moved = || -> std::io::Result<()> {
            self.file.sync_all()?;
            match rustix::fs::renameat_with(
                CWD,
                &self.at,
                CWD,
                &self.target,
                RenameFlags::NOREPLACE,
            ) {
                // A filesystem that cannot promise it.
                Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
                    if self.target.symlink_metadata().is_ok() {
                        return Err(ErrorKind::AlreadyExists.into());
                    }
                    fs::rename(&self.at, &self.target)?;
                }
                renamed => renamed?,
            }
            let dir = self.target.parent().filter(|dir| *dir != Path::new(""));
            File::open(dir.unwrap_or(Path::new(".")))?.sync_all()
        };
        moved().map_err(|error| ApiError::io("write", &self.target, &error))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // Not there any more once it has its name.
        let _ = fs::remove_file(&self.at);
    }
}
