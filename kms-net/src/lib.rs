//! kms-net
