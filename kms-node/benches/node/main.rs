//! How fast nodes are; `scripts/bench node` runs it and prints one Markdown table.
//!
//! Rows in processor time hold on a busy machine as well, within a tenth; rows in wall time only on a quiet one.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a measurement for people"
)]

#[path = "../../tests/support/devnet.rs"]
#[allow(dead_code, unreachable_pub, reason = "not everything uses all of it")]
mod devnet;
#[path = "../../tests/support/liar.rs"]
#[allow(dead_code, unreachable_pub, reason = "not everything uses all of it")]
mod liar;
#[path = "../../tests/support/policy.rs"]
#[allow(dead_code, unreachable_pub, reason = "not everything uses all of it")]
mod policy;

mod fetch;
mod liars;
mod lookup;
mod machine;
mod reencrypt;
mod store;

/// Prints a row: what, how much, and what the project wants it to be.
fn row(what: &str, figure: String, goal: &str) {
    println!("| {what} | {figure} | {goal} |");
}

/// The value that so many hundredths of all values are below.
fn percentile(values: &mut [f64], hundredths: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = (values.len() * hundredths / 100).min(values.len().saturating_sub(1));
    values.get(at).copied().unwrap_or(f64::NAN)
}

fn main() {
    let asked: Vec<String> = std::env::args()
        .skip(1)
        .filter(|it| !it.starts_with('-'))
        .collect();
    let wanted = |name: &str| asked.is_empty() || asked.iter().any(|it| it == name);
    println!("| | | goal |\n|---|---|---|");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    if wanted("reencrypt") {
        runtime.block_on(reencrypt::measure());
    }
    if wanted("store") {
        runtime.block_on(store::acknowledged());
    }
    if wanted("memory") {
        runtime.block_on(store::memory());
    }
    if wanted("fetch") {
        runtime.block_on(fetch::measure());
    }
    if wanted("liars") {
        runtime.block_on(liars::measure());
    }
    // The last, for this process is too large after it to let anybody in.
    if wanted("lookup") {
        runtime.block_on(lookup::measure());
    }
}
