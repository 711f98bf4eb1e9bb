//! `kmsfs fsck` (CLI 9): reads and verifies everything; with `--repair`, puts right what can be.

use std::{
    io::{IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use serde_json::json;

use super::{Common, FsckArgs, output};
use crate::{
    failure::{Exit, Failure},
    mount::{
        self, Plan, Target, Unknown,
        point::{self, absolute, add_ending},
        running,
    },
    share::capital,
    vfs::Report,
};

/// Errors were found, and repaired.
const CORRECTED: u8 = 1;
/// Errors were found and left as they are.
const UNCORRECTED: u8 = 4;
/// The check could not be made.
pub(super) const OPERATIONAL: u8 = 8;
/// The command line was wrong.
pub(super) const USAGE: u8 = 16;

pub(super) fn run(args: &FsckArgs, common: &Common) -> Result<ExitCode, Failure> {
    let store = find_store(&args.store)?;
    let target = Target {
        // Nothing is mounted; the place is never used.
        point: store.clone(),
        store,
    };
    let plan = Plan::new(
        target,
        Vec::new(),
        Unknown::Refuse,
        common.identity.clone(),
        common.passfile.clone(),
    )?;
    let memory = if args.accept_older {
        mount::Memory::Forget
    } else {
        mount::Memory::Keep
    };
    let vfs = mount::open_for_check(&plan, memory)?;
    if args.repair && !vfs.is_owner() {
        return Err(
            Failure::new(Exit::Denied, "Only its owner repairs a store.")
                .why("Nothing in it can be changed with your keys.")
                .now(format!(
                    "Without --repair it is checked: kmsfs fsck {}",
                    args.store.display()
                )),
        );
    }
    let mut progress = Progress::new(common, args.progress);
    let mut show = |report: &Report| progress.show(report);
    let checked = if args.repair {
        vfs.repair(&mut show)
    } else {
        vfs.fsck(Path::new(""), &mut show)
    };
    progress.clear();
    let closed = vfs.close();
    let report = checked.and_then(|report| closed.map(|()| report));
    let report = report.map_err(|err| {
        Failure::new(Exit::Io, "The check could not be finished.")
            .why(format!("{}.", capital(&err.to_string())))
    })?;
    print(&report, args, common);
    Ok(ExitCode::from(status(&report)))
}

/// The bits of fsck(8).
fn status(report: &Report) -> u8 {
    let bit = |count: usize, bit: u8| if count > 0 { bit } else { 0 };
    bit(report.repaired(), CORRECTED) | bit(report.errors(), UNCORRECTED)
}

/// The store itself, or the one of a mount point; not one that is mounted.
fn find_store(path: &Path) -> Result<PathBuf, Failure> {
    let given = absolute(path)?;
    let store = if point::is_store(&given) {
        given
    } else if point::is_store(&add_ending(&given)) {
        add_ending(&given)
    } else {
        return Err(point::not_a_store(path));
    };
    let mounted = running::all()
        .into_iter()
        .find(|entry| entry.store().as_ref() == Some(&store));
    match mounted {
        None => Ok(store),
        Some(entry) => Err(Failure::new(
            Exit::Unavailable,
            format!("{} is mounted.", store.display()),
        )
        .why("What is being written cannot be told from damage.")
        .now(format!(
            "Unmount first: kmsfs umount {}",
            entry.point.display()
        ))),
    }
}

fn print(report: &Report, args: &FsckArgs, common: &Common) {
    let findings: Vec<_> = report
        .findings
        .iter()
        .map(|finding| {
            json!({
                "path": finding.path.to_string_lossy(),
                "stored_as": finding.backing.to_string_lossy(),
                "what": finding.problem.word(),
                "problem": finding.problem.to_string(),
                "repairable": finding.is_repairable(),
                "repaired": finding.is_repaired(),
                "remedy": finding.remedy.word(),
                "outcome": finding.outcome(),
            })
        })
        .collect();
    let copies: Vec<_> = report
        .copies
        .iter()
        .map(|copy| {
            json!({
                "path": copy.path.to_string_lossy(),
                "stored_as": copy.backing.to_string_lossy(),
                "what": copy.what.to_string(),
            })
        })
        .collect();
    let mut text = String::new();
    for finding in &report.copies {
        text.push_str(&format!(
            "{}: {}\n  stored as {}\n",
            shown(&finding.path),
            finding.what,
            finding.backing.display()
        ));
    }
    for finding in &report.findings {
        text.push_str(&format!(
            "{}: {}\n  stored as {}\n  {}\n",
            shown(&finding.path),
            finding.problem,
            finding.backing.display(),
            finding.outcome()
        ));
    }
    text.push_str(&totals(report));
    text.push_str(&verdict(report, args));
    let document = json!({
        "directories": report.dirs,
        "files": report.files,
        "links": report.links,
        "bytes": report.bytes,
        "repaired": report.repaired(),
        "left": report.left(),
        "errors": report.errors(),
        "findings": findings,
        "copies": copies,
    });
    output::answer(common, &document, &text);
}

/// The root has no name.
fn shown(path: &Path) -> std::path::Display<'_> {
    if path.as_os_str().is_empty() {
        Path::new(".").display()
    } else {
        path.display()
    }
}

fn verdict(report: &Report, args: &FsckArgs) -> String {
    let found = match report.findings.len() {
        0 => return ". Everything verifies.".to_owned(),
        1 => "1 finding".to_owned(),
        many => format!("{many} findings"),
    };
    if args.repair {
        return match (report.repaired(), report.left()) {
            (_, 0) => format!(". {found}, all repaired."),
            (repaired, left) => format!(". {found}: {repaired} repaired, {left} left."),
        };
    }
    let repairable = report
        .findings
        .iter()
        .filter(|it| it.is_repairable())
        .count();
    let advice = match (repairable, report.findings.len() - repairable) {
        (0, 1) => " Bring the file back from a backup.".to_owned(),
        (0, _) => " Bring these files back from a backup.".to_owned(),
        (some, _) => format!(
            " {some} can be repaired: kmsfs fsck --repair {}",
            args.store.display()
        ),
    };
    format!(". {found}; nothing was changed.{advice}")
}

fn totals(report: &Report) -> String {
    format!(
        "Checked {} files, {} directories and {} links, {}",
        report.files,
        report.dirs,
        report.links,
        size(report.bytes)
    )
}

/// `12.3 MB`
fn size(bytes: u64) -> String {
    let units = ["bytes", "kB", "MB", "GB", "TB", "PB", "EB"];
    let mut unit = 0;
    let mut whole = bytes;
    let mut tenths = 0;
    while whole >= 1000 && unit + 1 < units.len() {
        tenths = whole % 1000 / 100;
        whole /= 1000;
        unit += 1;
    }
    match unit {
        0 => format!("{whole} bytes"),
        _ => format!("{whole}.{tenths} {}", units[unit]),
    }
}

const OVERWRITTEN: Duration = Duration::from_millis(200);
const LOGGED: Duration = Duration::from_secs(5);

/// A line that is overwritten; where there is no terminal and it is asked for, a line now and then.
struct Progress {
    shown: Option<Instant>,
    is_terminal: bool,
    wanted: bool,
}

impl Progress {
    fn new(common: &Common, asked_for: bool) -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        Self {
            shown: None,
            is_terminal,
            wanted: asked_for || is_terminal && !common.quiet && !common.json,
        }
    }

    fn show(&mut self, report: &Report) {
        let pause = if self.is_terminal {
            OVERWRITTEN
        } else {
            LOGGED
        };
        if !self.wanted || self.shown.is_some_and(|at| at.elapsed() <= pause) {
            return;
        }
        self.shown = Some(Instant::now());
        if self.is_terminal {
            eprint!("\r\x1b[K{} …", totals(report));
        } else {
            eprintln!("{} …", totals(report));
        }
        let _ = std::io::stderr().flush();
    }

    fn clear(&self) {
        if self.is_terminal && self.shown.is_some() {
            eprint!("\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_are_short() {
        assert_eq!(size(999), "999 bytes");
        assert_eq!(size(12_345_678), "12.3 MB");
        assert_eq!(size(u64::MAX), "18.4 EB");
    }
}
