//! kms-proto
