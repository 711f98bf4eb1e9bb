//! `kmsfs doctor` (CLI 8.2): looks at what usually stands in the way, and says what to do about each.

use std::{
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    process::ExitCode,
};

use serde_json::json;

use super::{Common, nodes, output};
use crate::{
    config::{Config, Network},
    failure::{Exit, Failure},
    home::Home,
    unlock,
};

/// What was looked at.
struct Finding {
    what: &'static str,
    state: State,
    /// What was found.
    text: String,
    /// What to do about it.
    now: String,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum State {
    Fine,
    /// Something that not everybody needs is missing.
    Note,
    Wrong,
}

impl State {
    const fn name(self) -> &'static str {
        match self {
            Self::Fine => "ok",
            Self::Note => "note",
            Self::Wrong => "wrong",
        }
    }
}

impl Finding {
    fn fine(what: &'static str, text: impl Into<String>) -> Self {
        Self::new(what, State::Fine, text, "")
    }

    fn new(
        what: &'static str,
        state: State,
        text: impl Into<String>,
        now: impl Into<String>,
    ) -> Self {
        Self {
            what,
            state,
            text: text.into(),
            now: now.into(),
        }
    }

    fn of(what: &'static str, state: State, failure: &Failure) -> Self {
        let text = format!("{} {}", failure.what, failure.why);
        Self::new(what, state, text.trim_end(), failure.now.clone())
    }
}

pub(super) fn run(common: &Common) -> Result<ExitCode, Failure> {
    let home = Home::of_process()?;
    let mut findings = vec![fuse(), helper(), identity(&home), state(&home)];
    findings.extend(network());
    let rows: Vec<_> = findings
        .iter()
        .map(|it| {
            let advice = if it.now.is_empty() {
                String::new()
            } else {
                format!("  -> {}", it.now)
            };
            vec![
                it.state.name().to_owned(),
                it.what.to_owned(),
                format!("{}{advice}", it.text),
            ]
        })
        .collect();
    let documents: Vec<_> = findings
        .iter()
        .map(|it| json!({ "what": it.what, "state": it.state.name(), "text": it.text, "hint": it.now }))
        .collect();
    output::answer(
        common,
        &json!({ "findings": documents }),
        &output::table(&rows),
    );
    let is_wrong = findings.iter().any(|it| it.state == State::Wrong);
    Ok(if is_wrong {
        Exit::Partial.code().into()
    } else {
        ExitCode::SUCCESS
    })
}

fn fuse() -> Finding {
    let device = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/fuse");
    match device {
        Ok(_) => Finding::fine("FUSE", "/dev/fuse can be opened"),
        Err(error) => Finding::new(
            "FUSE",
            State::Wrong,
            format!("/dev/fuse: {error}"),
            "Load the kernel module (modprobe fuse), or give the container the device.",
        ),
    }
}

/// Only root mounts without it.
fn helper() -> Finding {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|dir| dir.join("fusermount3"))
        .find(|path| path.is_file());
    let is_root = rustix::process::geteuid().is_root();
    match found {
        Some(path) => {
            let is_setuid = path
                .metadata()
                .is_ok_and(|it| it.permissions().mode() & 0o4000 != 0);
            if is_root || is_setuid {
                Finding::fine("fusermount3", path.to_string_lossy())
            } else {
                Finding::new(
                    "fusermount3",
                    State::Wrong,
                    format!("{} is not set-user-id root", path.display()),
                    "Install the package fuse3 again.",
                )
            }
        }
        None if is_root => Finding::new(
            "fusermount3",
            State::Note,
            "not installed; root needs none",
            "",
        ),
        None => Finding::new(
            "fusermount3",
            State::Wrong,
            "not installed, and only root mounts without it",
            "Install the package fuse3.",
        ),
    }
}

fn identity(home: &Home) -> Finding {
    let file = match unlock::read(&home.identity) {
        Ok(file) => file,
        Err(failure) => return Finding::of("identity", State::Wrong, &failure),
    };
    match readable_by_others(&home.identity) {
        true => Finding::new(
            "identity",
            State::Wrong,
            format!("{} can be read by others", home.identity.display()),
            format!("chmod 600 {}", home.identity.display()),
        ),
        false => Finding::fine("identity", file.public().to_string()),
    }
}

fn readable_by_others(path: &Path) -> bool {
    path.metadata().is_ok_and(|it| it.mode() & 0o077 != 0)
}

/// Journals have to lie on a disk of this machine that takes writes.
fn state(home: &Home) -> Finding {
    let tried = crate::home::make_private_dir(&home.state).and_then(|()| {
        let probe = home.state.join(format!("doctor.{}", std::process::id()));
        std::fs::write(&probe, "?")
            .and_then(|()| std::fs::remove_file(&probe))
            .map_err(|error| Failure::io("write into", &home.state, &error))
    });
    match tried {
        Ok(()) => Finding::fine("journals", home.state.to_string_lossy()),
        Err(failure) => Finding::of("journals", State::Wrong, &failure),
    }
}

fn network() -> Vec<Finding> {
    let config = match nodes::configured() {
        Ok(config) => config,
        Err(failure) => return vec![Finding::of("configuration", State::Wrong, &failure)],
    };
    if config.network == Network::Absent {
        return vec![Finding::new(
            "network",
            State::Note,
            "none is set up: private files work, sharing does not",
            "Name the ledger in config.toml, or in KMSFS_LEDGER.",
        )];
    }
    match nodes::ask(&config) {
        Ok(nodes) => vec![quorum(
            &config,
            nodes.iter().filter(|it| it.answer.is_ok()).count(),
            nodes.len(),
        )],
        Err(failure) => vec![Finding::of("network", State::Wrong, &failure)],
    }
}

fn quorum(config: &Config, up: usize, all: usize) -> Finding {
    let text = format!("{up} of {all} nodes answer, threshold {}", config.threshold);
    let (needed, total) = (config.threshold.needed(), config.threshold.total());
    let now = "Each node's own answer: kmsfs nodes";
    if up >= usize::from(total) {
        Finding::fine("network", text)
    } else if up >= usize::from(needed) {
        Finding::new(
            "network",
            State::Note,
            format!("{text}: files open, new grants wait"),
            now,
        )
    } else {
        Finding::new("network", State::Wrong, text, now)
    }
}
