//! The filesystem without FUSE: against a model, under faults, after tampering, shared, and with new keys.

mod crash;
mod files;
mod model;
mod rekey;
mod shared;
mod support;
mod tamper;
