//! What synchronisers make of stored names when two machines have changed one file (FORMAT §7.4).
//!
//! They put something into the name, before what looks like an extension, behind it or in front. Only the directory's
//! name key tells whether what is left is a name: here stand the guesses, in the order in which they are tried.

use super::backing::is_base64url;
use super::{DIR_HEADER, LINK_SUFFIX, LONG_PREFIX, NAME_MAX, SIDE_SUFFIX};

/// What a stored name may have been before something was put into it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Guess {
    /// The stored name, or [`DIR_HEADER`].
    pub original: String,
    /// What was added, as it stands in the store.
    pub added: String,
}

/// The shortest sealed name: 17 bytes.
const SHORTEST: usize = 23;
/// The characters of a long name's hash.
const HASH: usize = 43;
/// What clients say of every copy, longest first: a reader of the name knows it already.
const SAID: [&str; 5] = [
    "conflicted copy",
    "sync-conflict",
    "sfconflict",
    "conflicted",
    "conflict",
];
/// What clients call a file while they are still writing it.
const UNFINISHED: [&str; 5] = [".tmp", ".part", ".partial", ".!sync", ".bts"];
/// What may stand around the rest.
const AROUND: &[char] = &[' ', '.', '-', '_', '(', ')', '[', ']', '~', ',', ';', ':'];
const LABEL_MAX: usize = 64;

impl Guess {
    /// All guesses for a stored name that does not open as it is.
    #[must_use]
    pub fn all(stored: &str) -> Vec<Self> {
        let mut guesses = Vec::new();
        if UNFINISHED.iter().any(|suffix| stored.ends_with(suffix)) {
            return guesses;
        }
        let mut guess = |original: &str, added: &str| {
            if !added.is_empty() && original.len() <= NAME_MAX {
                guesses.push(Self {
                    original: original.to_owned(),
                    added: added.to_owned(),
                });
            }
        };
        if let Some(added) = within(stored, "kmsfs", ".dir") {
            guess(DIR_HEADER, added);
        } else if let Some(added) = stored.strip_prefix(DIR_HEADER) {
            guess(DIR_HEADER, added);
        }
        // A long name, whose hash looks like an extension.
        let (head, hash) = stored.rsplit_once('.').unwrap_or_default();
        if let Some(added) = head.strip_prefix('l')
            && is_hash(hash)
        {
            guess(&format!("{LONG_PREFIX}{hash}"), added);
        }
        if let Some((hash, added)) = stored
            .strip_prefix(LONG_PREFIX)
            .and_then(|rest| rest.split_at_checked(HASH))
            && is_hash(hash)
            && !is_of_side(added)
        {
            guess(&format!("{LONG_PREFIX}{hash}"), added);
        }
        // A short one with something behind it, which may begin with a character that stands in names as well.
        let run = stored.bytes().take_while(|byte| is_of_name(*byte)).count();
        let ends = stored
            .bytes()
            .enumerate()
            .take(run)
            .rev()
            .filter(|(_, byte)| matches!(byte, b'-' | b'_'))
            .map(|(at, _)| at);
        for end in core::iter::once(run).chain(ends) {
            let (original, added) = stored.split_at(end);
            if is_possible(original) {
                guess(original, added);
            }
        }
        // Or in front.
        if let Some((added, original)) = stored.rsplit_once(' ')
            && is_possible(original)
        {
            guess(original, added);
        }
        guesses
    }

    /// Whether this is a copy of a side file (FORMAT §7.2, §7.3). Those are named by what they hold: the original is as
    /// good.
    #[must_use]
    pub fn is_of_side(stored: &str) -> bool {
        stored
            .strip_prefix(LONG_PREFIX)
            .and_then(|rest| rest.split_at_checked(HASH))
            .is_some_and(|(hash, added)| {
                is_hash(hash) && is_of_side(added) && added != SIDE_SUFFIX && added != LINK_SUFFIX
            })
    }

    /// What was added in as few words as tell it from other copies; empty where nothing is left.
    #[must_use]
    pub fn label(&self) -> String {
        let clean = |c: char| if c.is_control() || c == '/' { '_' } else { c };
        let mut text: String = self.added.chars().map(clean).collect();
        let lower = text.to_ascii_lowercase();
        if let Some((at, said)) = SAID
            .iter()
            .find_map(|said| lower.find(said).map(|at| (at, said)))
        {
            text.replace_range(at..at + said.len(), "");
        }
        let words: Vec<&str> = text.split_whitespace().collect();
        let text = words.join(" ");
        let mut label = text.trim_matches(AROUND);
        while label.len() > LABEL_MAX {
            let end = label.char_indices().next_back().map_or(0, |(at, _)| at);
            label = label.split_at(end).0;
        }
        label.trim_end_matches(AROUND).to_owned()
    }
}

fn is_of_side(added: &str) -> bool {
    [SIDE_SUFFIX, LINK_SUFFIX]
        .iter()
        .any(|suffix| added.starts_with(suffix) || added.ends_with(suffix))
}

fn within<'a>(stored: &'a str, head: &str, tail: &str) -> Option<&'a str> {
    stored.strip_prefix(head)?.strip_suffix(tail)
}

fn is_hash(text: &str) -> bool {
    text.len() == HASH && is_base64url(text)
}

const fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

/// Whether this many characters can be base64url of anything.
fn is_possible(original: &str) -> bool {
    (SHORTEST..=NAME_MAX).contains(&original.len())
        && original.len() % 4 != 1
        && is_base64url(original)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: &str = "c2VhbGVkLW5hbWUtb2YtYS1maWxl-_xx";
    const HASHED: &str = "0123456789012345678901234567890123456789abc";

    fn added(stored: &str, original: &str) -> Option<String> {
        let guess = Guess::all(stored)
            .into_iter()
            .find(|it| it.original == original)?;
        Some(guess.label())
    }

    #[test]
    fn what_clients_make_of_a_name_is_told_from_the_name() {
        for (added_text, label) in [
            (" (host's conflicted copy 2026-11-22)", "host's 2026-11-22"),
            (" (conflicted copy 2026-11-22 101112)", "2026-11-22 101112"),
            (
                ".sync-conflict-20261122-101112-ABCDEF7",
                "20261122-101112-ABCDEF7",
            ),
            ("_conflict-20261122-101112", "20261122-101112"),
            (
                " (SFConflict me@example.org 2026-11-22-10-11-12)",
                "me@example.org 2026-11-22-10-11-12",
            ),
            ("-HOST", "HOST"),
            ("-HOST-2", "HOST-2"),
            (
                "_HOST_Nov-22-101112-2026_Conflict",
                "HOST_Nov-22-101112-2026",
            ),
            (".Conflict", ""),
            (" (1)", "1"),
            (" 2", "2"),
            ("~", ""),
            (" (a/b\u{7}c)", "a_b_c"),
        ] {
            let behind = format!("{SHORT}{added_text}");
            assert_eq!(added(&behind, SHORT).as_deref(), Some(label), "{behind}");
            let long = format!("{LONG_PREFIX}{HASHED}");
            for stored in [
                format!("l{added_text}.{HASHED}"),
                format!("{long}{added_text}"),
            ] {
                assert_eq!(added(&stored, &long).as_deref(), Some(label), "{stored}");
            }
            for stored in [
                format!("kmsfs{added_text}.dir"),
                format!("kmsfs.dir{added_text}"),
            ] {
                assert_eq!(
                    added(&stored, DIR_HEADER).as_deref(),
                    Some(label),
                    "{stored}"
                );
            }
        }
        for side in ["l.H.name (1)", "l.H (1).name", "l.H (1).link"] {
            let side = side.replace('H', HASHED);
            assert!(
                Guess::is_of_side(&side) && Guess::all(&side).is_empty(),
                "{side}"
            );
        }
        assert!(!Guess::is_of_side(&format!("l.{HASHED}.name")));
        assert_eq!(
            added(&format!("Copy of {SHORT}"), SHORT).as_deref(),
            Some("Copy of")
        );
    }

    #[test]
    fn what_was_never_a_stored_name_is_not_guessed_at() {
        assert_eq!(Guess::all(&format!("{SHORT}.tmp")), []);
        for stored in [
            "",
            "kmsfs.dir",
            "kmsfs.toml",
            "shares",
            ".DS_Store",
            "l.x",
            "a (1)",
            "é (1)",
        ] {
            assert_eq!(Guess::all(stored), [], "{stored}");
        }
    }
}
