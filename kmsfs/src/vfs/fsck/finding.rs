//! What a check has found, what can be done about it, and what was.

use std::path::PathBuf;

use thiserror::Error;

use super::super::{Oddity, Part, VfsError};

/// Something `fsck` found.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The path people see, as far as names could be decrypted.
    pub path: PathBuf,
    /// The path in the store.
    pub backing: PathBuf,
    /// What is wrong.
    pub problem: Problem,
    /// What can be done about it.
    pub remedy: Remedy,
    /// What was done about it.
    pub fate: Fate,
}

/// What is wrong with something.
#[derive(Clone, Debug, Error)]
pub enum Problem {
    /// It is refused, or strange, as whoever uses it is told.
    #[error(transparent)]
    Refused(#[from] VfsError),
    /// The stored file goes on behind the end of its content.
    #[error("the length (the stored file goes on after its end) does not verify")]
    Surplus,
    /// What a header keeps beside it of names it has no room for is gone.
    #[error("the list of its further names is lost")]
    NamesLost,
    /// What a header keeps beside it of attributes is gone.
    #[error("the extended attributes are lost, or not its own")]
    AttributesLost,
    /// Nothing of it but its name was stored.
    #[error(
        "it was being made when the power was cut, and nothing of it was stored: it is shown to nobody"
    )]
    Unmade,
    /// Nothing refers to it.
    #[error("nothing in the store refers to this file")]
    Unused,
}

/// What can be done about a finding.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Remedy {
    /// Nothing.
    None(Loss),
    /// The one bit that is wrong in a header is set right.
    Mend,
    /// A directory's header is made anew from what is in it.
    Rebuild,
    /// An empty directory gets a new header.
    Remake,
    /// It goes back where its header says it belongs.
    PutBack(PathBuf),
    /// It goes into `lost+found`, under this name.
    LostAndFound(PathBuf),
    /// The names it was last seen under are written into its header again.
    Rebind,
    /// It goes on without what is lost.
    GoWithout,
    /// The surplus is cut off.
    Cut,
    /// It is removed.
    Remove,
    /// It is forgotten that it was there.
    Forget,
}

/// Why nothing can be done about a finding.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum Loss {
    /// The key stood in the header and nowhere else.
    #[error("its key was in its header and nowhere else: bring it back from a backup")]
    Key,
    /// What is lost was stored once.
    #[error("what is lost stood nowhere else: bring it back from a backup")]
    Content,
    /// Nothing in a directory tells which one it was.
    #[error("nothing in it tells which directory it was: bring its kmsfs.dir back from a backup")]
    NoTrace,
    /// A directory's content is that of another one.
    #[error("what is in it belongs to another directory")]
    OtherDirectory,
    /// An earlier state, or something that was removed, was put back.
    #[error("believed after fsck --accept-older only")]
    Older,
    /// The same object stands elsewhere.
    #[error(
        "another version of something that is in its place; remove it in the store if you do not need it"
    )]
    Copy,
    /// Not made by this program, or not by the owner.
    #[error("not made by the store's owner; remove it in the store if you do not need it")]
    Foreign,
    /// It may belong to something that cannot be read.
    #[error("left alone while something else in the store cannot be read")]
    Unsure,
    /// Whoever looks cannot change anything.
    #[error("only the store's owner repairs it")]
    NotMine,
    /// It may pass; the medium said so.
    #[error("the system could not read it; try again")]
    System,
}

/// What was done about a finding.
#[derive(Clone, Debug)]
pub enum Fate {
    /// Nothing yet.
    Left,
    /// It is as it should be now.
    Repaired,
    /// It was tried.
    Failed(VfsError),
}

impl Problem {
    /// One word for programs.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Surplus => "surplus",
            Self::NamesLost => "names",
            Self::AttributesLost => "attributes",
            Self::Unmade => "unmade",
            Self::Unused => "unused",
            Self::Refused(VfsError::Damaged(damage)) => match damage.part {
                Part::Header => "header",
                Part::Place => "place",
                Part::Kind => "kind",
                Part::Chunk(_) | Part::Page { .. } | Part::Length => "content",
                Part::Name => "name",
                Part::Target => "target",
                Part::Attributes => "attributes",
                Part::Label(_) => "label",
            },
            Self::Refused(VfsError::Older | VfsError::OldConfiguration) => "older",
            Self::Refused(VfsError::Odd(Oddity::Vanished)) => "vanished",
            Self::Refused(VfsError::Odd(_)) => "odd",
            Self::Refused(VfsError::Os(_)) => "unreadable",
            Self::Refused(VfsError::Key(_) | VfsError::NotShared | VfsError::Verb(_)) => "closed",
        }
    }
}

impl Finding {
    /// Whether `fsck --repair` does something about it.
    #[must_use]
    pub const fn is_repairable(&self) -> bool {
        !matches!(self.remedy, Remedy::None(_))
    }

    /// Whether it did.
    #[must_use]
    pub const fn is_repaired(&self) -> bool {
        matches!(self.fate, Fate::Repaired)
    }

    /// What can be, was or could not be done, as the rest of a sentence.
    #[must_use]
    pub fn outcome(&self) -> String {
        match (&self.fate, &self.remedy) {
            (_, Remedy::None(loss)) => format!("cannot be repaired: {loss}"),
            (Fate::Left, remedy) => format!("--repair {}", remedy.would()),
            (Fate::Repaired, remedy) => remedy.did(),
            (Fate::Failed(error), _) => format!("could not be repaired: {error}"),
        }
    }
}

impl Remedy {
    /// One word for programs.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::None(_) => "none",
            Self::Mend => "mend",
            Self::Rebuild => "rebuild",
            Self::Remake => "remake",
            Self::PutBack(_) => "put-back",
            Self::LostAndFound(_) => "lost+found",
            Self::Rebind => "rebind",
            Self::GoWithout => "go-without",
            Self::Cut => "cut",
            Self::Remove => "remove",
            Self::Forget => "forget",
        }
    }

    fn would(&self) -> String {
        match self {
            Self::None(_) => "does nothing about it".to_owned(),
            Self::Mend => "sets the one bit right that has flipped".to_owned(),
            Self::Rebuild => {
                "makes its header anew from what is in it; grants on it and its attributes are lost"
                    .to_owned()
            }
            Self::Remake => "gives the empty directory a new header".to_owned(),
            Self::PutBack(to) => format!("puts it back to {}", to.display()),
            Self::LostAndFound(to) => format!("moves it to {}", to.display()),
            Self::Rebind => "writes the names it was last seen under into its header".to_owned(),
            Self::GoWithout => "lets it go on without them".to_owned(),
            Self::Cut => "cuts it off there".to_owned(),
            Self::Remove => "removes it".to_owned(),
            Self::Forget => "forgets that it was there".to_owned(),
        }
    }

    fn did(&self) -> String {
        match self {
            Self::None(_) => String::new(),
            Self::Mend => "the one bit that had flipped was set right".to_owned(),
            Self::Rebuild => "its header was made anew from what is in it; what was granted on it has to be granted again".to_owned(),
            Self::Remake => "the empty directory got a new header".to_owned(),
            Self::PutBack(to) => format!("was put back to {}", to.display()),
            Self::LostAndFound(to) => format!("was moved to {}", to.display()),
            Self::Rebind => "the names it was last seen under are in its header again".to_owned(),
            Self::GoWithout => "goes on without them".to_owned(),
            Self::Cut => "was cut off there".to_owned(),
            Self::Remove => "was removed".to_owned(),
            Self::Forget => "it is forgotten that it was there".to_owned(),
        }
    }
}

/// What `fsck` looked at and found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// How many directories were checked.
    pub dirs: u64,
    /// How many files.
    pub files: u64,
    /// How many symbolic links.
    pub links: u64,
    /// How many bytes of content.
    pub bytes: u64,
    /// What is wrong, or was.
    pub findings: Vec<Finding>,
    /// Conflict copies, which are nothing wrong with the store.
    pub copies: Vec<ConflictFinding>,
}

/// A conflict copy that `fsck` came across.
#[derive(Clone, Debug)]
pub struct ConflictFinding {
    /// The path people see; that of its directory, if it has none.
    pub path: PathBuf,
    /// The path in the store.
    pub backing: PathBuf,
    /// What it is.
    pub what: Oddity,
}

impl Report {
    /// How many findings were repaired.
    #[must_use]
    pub fn repaired(&self) -> usize {
        self.findings.iter().filter(|it| it.is_repaired()).count()
    }

    /// How many are as they were.
    #[must_use]
    pub fn left(&self) -> usize {
        self.findings.len() - self.repaired()
    }

    /// How many of these are errors: what a crash may leave, and does no harm, is none.
    #[must_use]
    pub fn errors(&self) -> usize {
        let is_harmless = |it: &Finding| matches!(it.problem, Problem::Unused | Problem::Unmade);
        let is_error = |it: &&Finding| !it.is_repaired() && !is_harmless(it);
        self.findings.iter().filter(is_error).count()
    }
}
