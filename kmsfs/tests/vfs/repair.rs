//! What is put right again in a damaged store, and what is said of the rest.

mod sides;
