//! Encrypted names (FORMAT §7).
