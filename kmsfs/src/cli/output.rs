//! What commands print. Results go to standard output, everything else to
//! standard error; with `--json` one document and nothing else (CLI 3.3).

use std::io::Write;

use serde_json::Value;

use super::Common;
use crate::failure::Failure;

/// Prints the result: the document with `--json`, else the text, which is left
/// out when nothing but failures is wanted.
pub(super) fn result(common: &Common, document: &Value, text: &str) {
    if common.json {
        line(&document.to_string());
    } else if !common.quiet && !text.is_empty() {
        line(text);
    }
}

/// Prints a result that was asked for by name, such as a key or a list: also when quiet.
pub(super) fn answer(common: &Common, document: &Value, text: &str) {
    if common.json {
        line(&document.to_string());
    } else if !text.is_empty() {
        line(text);
    }
}

/// Prints a line; whoever closed the pipe has read enough.
pub(super) fn line(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{}", text.trim_end_matches('\n'));
    let _ = out.flush();
}

/// Prints what nobody may miss, on standard error: also when quiet.
pub(super) fn warning(text: &str) {
    eprintln!("{text}");
}

/// Prints what went wrong.
pub(super) fn failure(failure: &Failure, json: bool) {
    if json {
        eprintln!("{}", failure.to_json());
    } else {
        eprintln!("{failure}");
    }
}

/// Lines up columns with two blanks between them.
pub(super) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter()
            // A line that is no row of columns takes as much room as it needs.
            .filter(|row| row.len() > 1)
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}
