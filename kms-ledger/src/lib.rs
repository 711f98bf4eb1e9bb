//! kms-ledger
