//! kmsfs
fn main() {}
