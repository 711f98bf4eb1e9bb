//! Mounting a store (CLI 2): which one and where, in the foreground or as a
//! process of its own.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{config::RawConfig, failure::Failure, home::Home, passphrase::Source};

mod answer;
mod background;
mod care;
pub mod helper;
mod hidden;
mod notify;
mod options;
pub mod point;
pub mod running;
mod session;
pub mod store;
pub mod table;
pub mod unmount;

pub use self::{
    options::{Access, Options, Unknown},
    point::{Prepared, Target},
};

/// Where the filesystem runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Manner {
    /// In this process, until it is unmounted.
    Foreground,
    /// In a process of its own; done as soon as the mount answers.
    Background,
    /// In this process, which is the one of its own: the secret key comes from
    /// standard input, the report goes to standard output.
    Handover,
}

/// A mount that answers.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Mounted {
    /// The store.
    pub store: PathBuf,
    /// The mount point.
    pub point: PathBuf,
    /// The filesystem's process.
    pub pid: u32,
    /// Nothing can be written.
    pub read_only: bool,
    /// What is shared with this person, when the store is somebody else's.
    pub shared: Option<SharedView>,
    /// The mount point was made.
    pub made: bool,
    /// A dead mount was detached first.
    pub revived: bool,
    /// What must be said of the store: that its scheme is for debugging, that another one has stood here.
    pub warning: Option<String>,
}

/// What a recipient sees of somebody else's store.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct SharedView {
    /// The owner, as this person knows him, else the short form of the key.
    pub owner: String,
    /// Whether the owner is in the contacts.
    pub known: bool,
    /// How many files are shared by themselves.
    pub files: usize,
    /// How many directories.
    pub dirs: usize,
    /// How many files the store has besides; `None` when it is too large to count.
    pub hidden: Option<u64>,
}

/// Everything that is settled before the identity is unlocked.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What goes where.
    pub target: Target,
    /// The options as they were written, for the background process.
    pub written: Vec<String>,
    /// The options.
    pub options: Options,
    /// The person's files.
    pub home: Home,
    /// The identity file.
    pub identity: PathBuf,
    /// Where the passphrase comes from.
    pub source: Source,
}

impl Plan {
    /// Settles what can be settled without a passphrase. Command line options
    /// win over mount options.
    pub fn new(
        target: Target,
        written: Vec<String>,
        unknown: Unknown,
        identity: Option<PathBuf>,
        passfile: Option<PathBuf>,
    ) -> Result<Self, Failure> {
        let options = Options::parse(&written, unknown)?;
        let home = Home::of_process()?;
        let identity = identity
            .or_else(|| options.identity.clone())
            .unwrap_or_else(|| home.identity.clone());
        let source = Source::choose(passfile.as_deref().or(options.passfile.as_deref()));
        Ok(Self {
            target,
            written,
            options,
            home,
            identity,
            source,
        })
    }

    /// The configuration: options, environment, file.
    pub fn config(&self) -> Result<crate::config::Config, Failure> {
        let env = RawConfig::from_env(|name| std::env::var_os(name));
        let file = RawConfig::load(&self.home.config)?;
        self.options.network.clone().or(env).or(file).resolve()
    }
}

/// Mounts. `announce` is called once the mount answers; in the foreground this
/// returns only after the mount has ended.
pub fn run(plan: &Plan, manner: Manner, announce: &mut dyn FnMut(&Mounted)) -> Result<(), Failure> {
    match manner {
        Manner::Foreground => {
            let prepared = prepare(plan)?;
            let secret = crate::unlock::unlock(&plan.identity, &plan.source)?;
            session::run(plan, secret, prepared, announce)
        }
        Manner::Background => {
            let prepared = prepare(plan)?;
            let secret = crate::unlock::unlock(&plan.identity, &plan.source)?;
            announce(&background::start(plan, &secret, prepared)?);
            Ok(())
        }
        Manner::Handover => background::serve(plan),
    }
}

/// What becomes of what was seen of a store before (FRESHNESS).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Memory {
    /// It counts.
    Keep,
    /// It is forgotten: an older state is accepted.
    Forget,
}

/// Opens a store without mounting it, to look through it.
pub fn open_for_check(
    plan: &Plan,
    memory: Memory,
) -> Result<std::sync::Arc<crate::vfs::Vfs>, Failure> {
    session::open_for_check(plan, memory)
}

/// Whatever can be refused without a passphrase is refused before one is asked for.
fn prepare(plan: &Plan) -> Result<Prepared, Failure> {
    point::check_fuse()?;
    plan.config()?;
    plan.target.prepare()
}

impl Mounted {
    /// What a person reads: `Mounted (1 file shared with you, 41 hidden)`.
    pub fn sentence(&self) -> String {
        let point = self.point.display();
        let mut text = String::new();
        if self.revived {
            text.push_str("Found a dead mount there and detached it.\n");
        }
        match &self.shared {
            None => {
                let access = if self.read_only {
                    "read-only"
                } else {
                    "read-write"
                };
                text.push_str(&format!("Mounted {point} ({access})"));
            }
            Some(view) => text.push_str(&format!("Mounted {point} ({})", view.sentence())),
        }
        text.push_str(&format!(". Unmount: kmsfs umount {point}"));
        if let Some(view) = self.shared.as_ref().filter(|view| !view.known) {
            text.push_str(&format!(
                "\nThe owner {} is not in your contacts: unverified. To name them: kmsfs contact add NAME kms1…",
                view.owner
            ));
        }
        text
    }
}

impl SharedView {
    fn sentence(&self) -> String {
        let count = |number: usize, one: &str, many: &str| match number {
            0 => None,
            1 => Some(format!("1 {one}")),
            _ => Some(format!("{number} {many}")),
        };
        let shared: Vec<String> = [
            count(self.files, "file", "files"),
            count(self.dirs, "directory", "directories"),
        ]
        .into_iter()
        .flatten()
        .collect();
        let shared = if shared.is_empty() {
            "nothing".to_owned()
        } else {
            shared.join(" and ")
        };
        match self.hidden {
            Some(hidden) => format!("{shared} shared with you, {hidden} hidden"),
            None => format!("{shared} shared with you, very many hidden"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mounted(shared: Option<SharedView>) -> String {
        Mounted {
            store: "/s.kmsfs".into(),
            point: "/s".into(),
            pid: 1,
            read_only: false,
            shared,
            made: false,
            revived: false,
            warning: None,
        }
        .sentence()
    }

    #[test]
    fn the_owner_reads_how_to_unmount() {
        assert_eq!(
            mounted(None),
            "Mounted /s (read-write). Unmount: kmsfs umount /s"
        );
    }

    #[test]
    fn a_recipient_reads_what_is_shared_with_him() {
        let view = |files, dirs, known| SharedView {
            owner: "alice".into(),
            known,
            files,
            dirs,
            hidden: Some(41),
        };
        assert!(
            mounted(Some(view(1, 0, true)))
                .starts_with("Mounted /s (1 file shared with you, 41 hidden).")
        );
        assert!(mounted(Some(view(2, 1, true))).contains("2 files and 1 directory shared"));
        assert!(mounted(Some(view(0, 0, false))).contains("unverified"));
    }
}
