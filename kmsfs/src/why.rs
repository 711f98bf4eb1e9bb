//! Why the last operation on a path failed, in sentences a person can act on
//! (CLI 7.3).

use kms_crypto::key::PublicKey;

use crate::{
    time::moment,
    vfs::{
        Damage, Failure, VfsError,
        hooks::{KeyError, NodeAnswer},
    },
};

/// Who the sentences are about.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Context {
    /// The store's owner, as this person knows them; `None` when it is this person.
    pub owner: Option<String>,
    /// This person's key, to ask for access with.
    pub me: Option<PublicKey>,
    /// How many nodes of how many say themselves that an access was withdrawn, if they were asked.
    pub confirmed: Option<(usize, usize)>,
}

impl Context {
    /// In one's own store.
    pub fn owner() -> Self {
        Self {
            owner: None,
            me: None,
            confirmed: None,
        }
    }

    fn name(&self) -> &str {
        self.owner.as_deref().unwrap_or("the owner")
    }
}

/// The failure in words: what, why, what to do now.
pub fn explain(failure: &Failure, context: &Context) -> String {
    match &failure.error {
        VfsError::Verb(verb) => verb.why.clone(),
        VfsError::Key(err) => key(err, context),
        VfsError::NotShared => not_shared(context),
        VfsError::Damaged(damage) => damaged(damage),
        VfsError::Older => "This is older than what was seen here before.\n  \
             Somebody put an earlier version into the store, or brought back something that was deleted.\n  \
             If that was you, restoring a backup: unmount, then kmsfs fsck --accept-older STORE"
            .to_owned(),
        VfsError::OldConfiguration => "The store's configuration is one that was replaced since.\n  \
             Somebody put an earlier kmsfs.toml into the store.\n  \
             If that was you, restoring a backup: kmsfs fsck --accept-older STORE"
            .to_owned(),
        VfsError::Odd(oddity) => format!("This {oddity}."),
        VfsError::Os(errno) => {
            let err = std::io::Error::from_raw_os_error(errno.raw_os_error());
            format!(
                "{} failed: {}",
                failure.operation,
                crate::failure::sentence(&err)
            )
        }
    }
}

fn key(err: &KeyError, context: &Context) -> String {
    let owner = context.name();
    match err {
        KeyError::NotShared => not_shared(context),
        KeyError::Revoked { at } => {
            let confirmed = context
                .confirmed
                .map(|(some, all)| format!(" ({some} of {all} nodes confirmed)"))
                .unwrap_or_default();
            format!(
                "{owner} withdrew your access at {}{confirmed}.\n  What you read before is yours; nothing new opens.\n  Ask {owner} to grant it again.",
                moment(*at)
            )
        }
        KeyError::Expired { at } => format!(
            "Your access ended at {}.\n  Grants have an end; this one was not extended.\n  Ask {owner} to grant it again.",
            moment(*at)
        ),
        KeyError::NoQuorum {
            needed,
            answered,
            answers,
        } => format!(
            "{needed} nodes are needed, {answered} answered.\n  {}\n  Try again when more of them are reachable.",
            each(answers)
        ),
        KeyError::Timeout { answers } => format!(
            "The nodes took too long.\n  {}\n  Try again; a slow network can be given more time: -o net_timeout=20",
            each(answers)
        ),
        KeyError::BadProofs { answers } => format!(
            "Nodes gave answers that do not verify; these were not used.\n  {}\n  Try again; if it stays so, tell whoever runs those nodes.",
            each(answers)
        ),
        KeyError::WrongKey => format!(
            "The nodes did their part, but the key does not open this.\n  The file and its ticket do not belong together; the store may be half synced.\n  Wait for the sync to finish, or ask {owner} to grant it again."
        ),
        KeyError::NoNetwork => "No network is set up.\n  \
             What others share with you is opened by nodes, which a ledger lists.\n  \
             Set ledger and bootstrap in config.toml, or KMSFS_LEDGER and KMSFS_BOOTSTRAP, and mount again."
            .to_owned(),
        KeyError::Locked => "The store is locked.\n  \
             Your identity is not unlocked here.\n  \
             Unmount and mount again with your passphrase."
            .to_owned(),
        KeyError::Interrupted => "The program was told to stop while it waited for nodes.\n  \
             Nothing is wrong with the file.\n  \
             Open it again."
            .to_owned(),
    }
}

fn not_shared(context: &Context) -> String {
    let owner = context.name();
    let me = context
        .me
        .map_or_else(|| "kms1…".to_owned(), |key| key.to_string());
    format!(
        "{owner} has not shared this with you in this way.\n  Only what is granted to your key opens, and for reading.\n  Ask {owner} to run: kmsfs grant PATH {me}"
    )
}

fn damaged(damage: &Damage) -> String {
    format!(
        "{} of this file does not verify: it was changed by somebody without the key, or by a failing disk.\n  Nothing wrong was handed out; other files are not affected.\n  Look at the whole store: kmsfs fsck STORE   Then bring this file back from a backup.",
        crate::share::capital(&damage.part.to_string())
    )
}

fn each(answers: &[NodeAnswer]) -> String {
    if answers.is_empty() {
        return "No node was asked.".to_owned();
    }
    let each: Vec<String> = answers
        .iter()
        .map(|it| format!("{}: {}", crate::contact::short(&it.node), it.answer))
        .collect();
    each.join("; ") + "."
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vfs::Part;

    fn explained(error: VfsError) -> String {
        let context = Context {
            owner: Some("alice".into()),
            me: None,
            confirmed: Some((5, 5)),
        };
        let failure = Failure {
            at: 0,
            operation: "open",
            error,
        };
        explain(&failure, &context)
    }

    #[test]
    fn a_withdrawn_access_says_who_and_when() {
        let text = explained(KeyError::Revoked { at: 0 }.into());
        assert!(
            text.starts_with(
                "alice withdrew your access at 1970-01-01 00:00 UTC (5 of 5 nodes confirmed)."
            ),
            "{text}"
        );
    }

    #[test]
    fn damage_names_the_chunk_and_what_to_run() {
        let text = explained(Part::Chunk(7).into());
        assert!(text.contains("hunk 7") && text.contains("fsck"), "{text}");
    }

    #[test]
    fn a_missing_quorum_says_how_many_are_needed() {
        let text = explained(
            KeyError::NoQuorum {
                needed: 3,
                answered: 2,
                answers: Vec::new(),
            }
            .into(),
        );
        assert!(
            text.starts_with("3 nodes are needed, 2 answered."),
            "{text}"
        );
    }

    #[test]
    fn every_explanation_has_at_most_three_lines() {
        for error in [
            VfsError::NotShared,
            VfsError::Older,
            Part::Header.into(),
            KeyError::NoNetwork.into(),
            KeyError::Locked.into(),
            KeyError::WrongKey.into(),
            KeyError::Expired { at: 1 }.into(),
        ] {
            assert!(explained(error).lines().count() <= 3);
        }
    }
}
