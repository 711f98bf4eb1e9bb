//! kmsfs
