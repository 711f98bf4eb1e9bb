//! The sealed file format (FORMAT §3 to §9).
