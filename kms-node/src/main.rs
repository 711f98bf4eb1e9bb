//! kms-node
fn main() {}
