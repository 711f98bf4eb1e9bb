//! `kmsfs identity …` (CLI 4.1).

use std::{
    io::Read,
    path::{Path, PathBuf},
    process::ExitCode,
};

use kms_crypto::{
    identity::{IdentityFile, PassphraseParams},
    key::IdentitySecret,
};
use serde_json::json;
use zeroize::Zeroizing;

use super::{BackupArgs, Common, IdentityCommand, PasswdArgs, RestoreArgs, output};
use crate::{
    contact::fingerprint,
    failure::{Exit, Failure},
    home::{Existing, Home, write_private},
    passphrase::Source,
    unlock,
};

pub(super) fn run(command: &IdentityCommand, common: &Common) -> Result<ExitCode, Failure> {
    let path = path(common)?;
    let source = Source::choose(common.passfile.as_deref());
    match command {
        IdentityCommand::New => {
            let made = make(&path, &source)?;
            let text = format!(
                "Created your identity  {}\n\n{}",
                made.public,
                words_text(&made.words).as_str()
            );
            let document = json!({
                "identity": made.public.to_string(),
                "file": path.to_string_lossy(),
                "recovery_words": made.words.as_str(),
            });
            output::answer(common, &document, &text);
        }
        IdentityCommand::Show => {
            let key = unlock::read(&path)?.public();
            let text = format!(
                "{key}\nCompare on the phone:  {}\nFile: {}",
                fingerprint(&key),
                path.display()
            );
            let document = json!({
                "identity": key.to_string(),
                "fingerprint": fingerprint(&key),
                "file": path.to_string_lossy(),
            });
            output::answer(common, &document, &text);
        }
        IdentityCommand::Backup(args) => backup(args, &path, &source, common)?,
        IdentityCommand::Restore(args) => restore(args, &path, &source, common)?,
        IdentityCommand::Passwd(args) => passwd(args, &path, &source, common)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Which identity file is meant.
pub(super) fn path(common: &Common) -> Result<PathBuf, Failure> {
    match &common.identity {
        Some(path) => Ok(path.clone()),
        None => Ok(Home::of_process()?.identity),
    }
}

/// A new identity.
pub(super) struct Made {
    /// Its secret, for what comes next.
    pub(super) secret: IdentitySecret,
    /// Its public key.
    pub(super) public: kms_crypto::key::PublicKey,
    /// The words that bring it back.
    pub(super) words: Zeroizing<String>,
}

/// Makes an identity where there is none.
pub(super) fn make(path: &Path, source: &Source) -> Result<Made, Failure> {
    refuse_existing(path)?;
    let passphrase = source.ask_new("Passphrase for your new identity: ")?;
    let secret = IdentitySecret::generate(&mut crate::random());
    store(path, &secret, &passphrase, Existing::Keep)?;
    Ok(Made {
        public: secret.public(),
        words: secret.to_words(),
        secret,
    })
}

/// The words in four columns, numbered, with what to do about them.
pub(super) fn words_text(words: &str) -> Zeroizing<String> {
    let words: Vec<&str> = words.split_whitespace().collect();
    let mut text = Zeroizing::new(String::with_capacity(1024));
    text.push_str("Recovery words, shown only now. Write them on paper; they are the whole key:\n");
    for (row, four) in words.chunks(4).enumerate() {
        text.push_str("   ");
        for (column, word) in four.iter().enumerate() {
            let cell = Zeroizing::new(format!(" {:>2} {word:10}", row * 4 + column + 1));
            text.push_str(&cell);
        }
        let kept = text.trim_end().len();
        text.truncate(kept);
        text.push('\n');
    }
    text
}

fn refuse_existing(path: &Path) -> Result<(), Failure> {
    if path.symlink_metadata().is_err() {
        return Ok(());
    }
    Err(
        Failure::new(Exit::CannotCreate, "There is an identity already.")
            .why(format!("It is in {}. Nothing was changed.", path.display()))
            .now(
                "Show it: kmsfs identity show   (to have another one, use another --identity FILE)",
            ),
    )
}

fn store(
    path: &Path,
    secret: &IdentitySecret,
    passphrase: &str,
    existing: Existing,
) -> Result<(), Failure> {
    let file = IdentityFile::seal(
        secret,
        passphrase.as_bytes(),
        PassphraseParams::default(),
        &crate::time::stamp(),
        &mut crate::random(),
    )
    .map_err(|err| {
        Failure::new(Exit::System, "Cannot protect the identity.").why(format!("{err}."))
    })?;
    write_private(path, file.to_text().as_bytes(), existing)
}

fn backup(args: &BackupArgs, path: &Path, source: &Source, common: &Common) -> Result<(), Failure> {
    let secret = unlock::unlock(path, source)?;
    let key = secret.public();
    let (words, text) = (secret.to_words(), secret.to_text());
    if common.json && args.file.is_none() {
        let document = json!({
            "identity": key.to_string(),
            "recovery_words": words.as_str(),
            "secret_key": text.as_str(),
        });
        output::line(&document.to_string());
        return Ok(());
    }
    let backup = Zeroizing::new(format!(
        "# Whoever reads this can read everything of yours. Keep it on paper, not on this machine.\n\
         # public key: {key}\n\
         # recovery words:\n# {}\n{}\n",
        words.as_str(),
        text.as_str()
    ));
    match &args.file {
        None => output::line(&backup),
        Some(file) => {
            write_private(file, backup.as_bytes(), Existing::Keep)?;
            let said = format!(
                "Wrote {}. It is not protected by a passphrase.",
                file.display()
            );
            output::result(common, &json!({ "file": file.to_string_lossy() }), &said);
        }
    }
    Ok(())
}

fn restore(
    args: &RestoreArgs,
    path: &Path,
    source: &Source,
    common: &Common,
) -> Result<(), Failure> {
    refuse_existing(path)?;
    let text = read_secret(args.file.as_deref())?;
    let key = if let Ok(file) = IdentityFile::parse(&text) {
        // A copy of an identity file: it stays under the passphrase it has.
        let secret = unlock::open(&file, args.file.as_deref().unwrap_or(path), source)?;
        write_private(path, text.as_bytes(), Existing::Keep)?;
        secret.public()
    } else {
        let secret = parse_secret(&text)?;
        let passphrase = source.ask_new("Passphrase for the restored identity: ")?;
        store(path, &secret, &passphrase, Existing::Keep)?;
        secret.public()
    };
    let said = format!("Restored your identity  {key}");
    output::result(common, &json!({ "identity": key.to_string() }), &said);
    Ok(())
}

fn read_secret(file: Option<&Path>) -> Result<Zeroizing<String>, Failure> {
    let mut text = Zeroizing::new(String::new());
    match file {
        None => return Source::Prompt.ask("Recovery words or secret key: "),
        Some(file) if file.as_os_str() == "-" => {
            std::io::stdin()
                .lock()
                .take(1 << 16)
                .read_to_string(&mut text)
                .map_err(|err| Failure::io("read", Path::new("standard input"), &err))?;
        }
        Some(file) => {
            std::fs::File::open(file)
                .and_then(|opened| opened.take(1 << 16).read_to_string(&mut text))
                .map_err(|err| Failure::io("read", file, &err))?;
        }
    }
    Ok(text)
}

/// A secret key or 24 words, with or without the comments of a backup.
fn parse_secret(text: &str) -> Result<IdentitySecret, Failure> {
    let refuse = |why: String| {
        Failure::new(Exit::Data, "This brings no identity back.")
            .why(why)
            .now("It takes an identity file, the 24 recovery words, or a key that starts with KMS-SECRET-KEY-1.")
    };
    let meaningful = Zeroizing::new(
        text.lines()
            .filter(|line| !line.trim_start().starts_with('#'))
            .collect::<Vec<_>>()
            .join(" "),
    );
    let trimmed = meaningful.trim();
    if trimmed.to_ascii_uppercase().starts_with("KMS-SECRET-KEY-1") {
        return trimmed
            .parse()
            .map_err(|err: kms_crypto::error::KeyTextError| refuse(format!("The key: {err}.")));
    }
    if trimmed.starts_with("kms1") {
        return Err(refuse("This is a public key.".into()));
    }
    IdentitySecret::from_words(trimmed).map_err(|err| refuse(format!("The words: {err}.")))
}

fn passwd(args: &PasswdArgs, path: &Path, source: &Source, common: &Common) -> Result<(), Failure> {
    let secret = unlock::unlock(path, source)?;
    let new_source = match &args.new_passfile {
        Some(file) => Source::choose(Some(file)),
        // From standard input comes the old passphrase, then the new one.
        None if *source == Source::Stdin => Source::Stdin,
        None => Source::Prompt,
    };
    let passphrase = new_source.ask_new("New passphrase: ")?;
    store(path, &secret, &passphrase, Existing::Replace)?;
    let text = "The passphrase is changed. The key is the same; so is who can read what.";
    output::result(
        common,
        &json!({ "identity": secret.public().to_string() }),
        text,
    );
    Ok(())
}
