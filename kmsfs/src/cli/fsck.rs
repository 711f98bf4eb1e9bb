//! `kmsfs fsck` (CLI 9): reads and verifies everything, changes nothing.

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
    let mut progress = Progress::new(common);
    let checked = vfs.fsck(Path::new(""), &mut |report| progress.show(report));
    progress.clear();
    let closed = vfs.close();
    let report = checked.and_then(|report| closed.map(|()| report));
    let report = report.map_err(|err| {
        Failure::new(Exit::Io, "The check could not be finished.")
            .why(format!("{}.", capital(&err.to_string())))
    })?;
    print(&report, common);
    Ok(ExitCode::from(if report.findings.is_empty() {
        0
    } else {
        UNCORRECTED
    }))
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

fn print(report: &Report, common: &Common) {
    let findings: Vec<_> = report
        .findings
        .iter()
        .map(|finding| {
            json!({
                "path": finding.path.to_string_lossy(),
                "stored_as": finding.backing.to_string_lossy(),
                "problem": finding.problem.to_string(),
            })
        })
        .collect();
    let mut text = String::new();
    for finding in &report.findings {
        text.push_str(&format!(
            "{}: {}\n  stored as {}\n",
            finding.path.display(),
            finding.problem,
            finding.backing.display()
        ));
    }
    text.push_str(&totals(report));
    text.push_str(match report.findings.len() {
        0 => ". Everything verifies.",
        1 => ". 1 error; nothing was changed. Bring the file back from a backup.",
        _ => "",
    });
    if report.findings.len() > 1 {
        text.push_str(&format!(
            ". {} errors; nothing was changed. Bring these files back from a backup.",
            report.findings.len()
        ));
    }
    let document = json!({
        "directories": report.dirs,
        "files": report.files,
        "links": report.links,
        "bytes": report.bytes,
        "findings": findings,
    });
    output::answer(common, &document, &text);
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

/// A line that is overwritten, for people at a terminal only.
struct Progress {
    shown: Option<Instant>,
    wanted: bool,
}

impl Progress {
    fn new(common: &Common) -> Self {
        Self {
            shown: None,
            wanted: !common.quiet && !common.json && std::io::stderr().is_terminal(),
        }
    }

    fn show(&mut self, report: &Report) {
        let due = self
            .shown
            .is_none_or(|at| at.elapsed() > Duration::from_millis(200));
        if self.wanted && due {
            self.shown = Some(Instant::now());
            eprint!("\r\x1b[K{} …", totals(report));
            let _ = std::io::stderr().flush();
        }
    }

    fn clear(&self) {
        if self.wanted && self.shown.is_some() {
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
