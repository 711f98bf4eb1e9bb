//! `kmsfs init` (CLI 2).

use std::process::ExitCode;

use serde_json::json;
use zeroize::Zeroizing;

use super::{
    Common, InitArgs,
    identity::{self, Made},
    output,
};
use crate::{
    failure::{Exit, Failure},
    mount::{
        point::{absolute, add_ending, strip_ending},
        store,
    },
    passphrase::Source,
    unlock,
};

pub(super) fn run(args: &InitArgs, common: &Common) -> Result<ExitCode, Failure> {
    let dir = add_ending(&absolute(&args.path)?);
    refuse_unwarned(args)?;
    // Before a passphrase is asked for, and before an identity is made for nothing.
    store::refuse_used(&dir)?;
    let path = identity::path(common)?;
    let source = Source::choose(common.passfile.as_deref());
    let (secret, words) = if path.symlink_metadata().is_ok() {
        (unlock::unlock(&path, &source)?, None)
    } else {
        let Made { secret, words, .. } = identity::make(&path, &source)?;
        (secret, Some(words))
    };
    let config = store::create(&dir, &secret, args.cipher, args.scheme)?;
    let point = strip_ending(&dir).unwrap_or_else(|| dir.clone());
    let mut text = Zeroizing::new(String::with_capacity(2048));
    if let Some(words) = &words {
        text.push_str(&format!("Created your identity  {}\n", config.owner));
        text.push('\n');
        text.push_str(&identity::words_text(words));
        text.push('\n');
    } else {
        text.push_str(&format!("Using your identity    {}\n", config.owner));
    }
    text.push_str(&format!(
        "Created the store      {}   (back up and sync this directory)\n\
         Next: kmsfs mount {}",
        dir.display(),
        point.display()
    ));
    if let Some(warning) = store::warning(config.scheme) {
        output::warning(&warning);
    }
    let document = json!({
        "identity": config.owner.to_string(),
        "store": dir.to_string_lossy(),
        "mount_point": point.to_string_lossy(),
        "cipher": config.cipher.name(),
        "scheme": args.scheme.name(),
        "recovery_words": words.as_ref().map(|words| words.as_str()),
    });
    // The words are shown once: also when quiet.
    if words.is_some() {
        output::answer(common, &document, &text);
    } else {
        output::result(common, &document, &text);
    }
    Ok(ExitCode::SUCCESS)
}

/// A scheme for debugging must be asked for twice.
fn refuse_unwarned(args: &InitArgs) -> Result<(), Failure> {
    let name = args.scheme.name();
    match args.scheme.weakness() {
        Some(weakness) if !args.i_know_this_is_insecure => {
            let refused = Failure::new(Exit::Usage, "No store was made.");
            Err(refused
                .why(format!("The scheme {name} is for debugging: {weakness}."))
                .now("Leave --scheme out, or add --i-know-this-is-insecure."))
        }
        _ => Ok(()),
    }
}
