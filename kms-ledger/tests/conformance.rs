//! Every kind of ledger passes the one suite.

use std::sync::Arc;

use kms_ledger::{
    FileLedger, FileOptions, MemoryLedger,
    conformance::{NETWORK, check_ledger},
};

#[test]
fn the_memory_ledger_conforms() {
    check_ledger(&mut |clock| Arc::new(MemoryLedger::new(NETWORK, clock)));
}

#[test]
fn the_file_ledger_conforms() {
    let dir = tempfile::tempdir().unwrap();
    let mut count = 0;
    check_ledger(&mut |clock| {
        count += 1;
        let options = FileOptions {
            clock,
            ..FileOptions::new(NETWORK)
        };
        Arc::new(
            FileLedger::open_writer(&dir.path().join(format!("ledger-{count}")), options).unwrap(),
        )
    });
}
