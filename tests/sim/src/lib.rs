//! Disputes on the real contracts, in memory: an L1 executed by the node's EVM, a chain derived from what its Inbox logged,
//! honest players, liars, and an L1 that drops, delays and takes back.
//!
//! Everything comes from a seed: `ANNEX_SEED` repeats a run, `ANNEX_CASES` multiplies its cases.

pub mod bound;
pub mod chain;
pub mod compute;
pub mod game;
pub mod l1;
pub mod l2;
pub mod liar;
pub mod table;
pub mod view;
pub mod world;
