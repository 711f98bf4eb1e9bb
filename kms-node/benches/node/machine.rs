//! What the kernel counts: processor time and memory of a process.

use std::fs;

use nix::unistd::Pid;

/// Ticks in a second, in `/proc`: the same on every Linux.
const TICKS: f64 = 100.0;

/// Processor time in seconds: of a process, all its threads, or of the calling thread.
pub(crate) fn seconds(of: Option<Pid>) -> f64 {
    let path = of.map_or_else(
        || "/proc/thread-self/stat".to_owned(),
        |pid| format!("/proc/{pid}/stat"),
    );
    let text = fs::read_to_string(path).unwrap();
    // The name in front may contain anything, but no `)` comes after it.
    let (_, fields) = text.rsplit_once(") ").unwrap();
    let fields: Vec<&str> = fields.split(' ').collect();
    let ticks = |at: usize| fields[at].parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) / TICKS
}

/// Memory of this process, in KiB.
pub(crate) fn resident_kib() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let figure = line.and_then(|line| line.split_whitespace().nth(1));
    figure.unwrap().parse().unwrap()
}
