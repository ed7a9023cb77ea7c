//! What is written twice, in Solidity and in Rust, compared: the contracts that L1 has, as their committed artifacts, run in
//! the EVM of the node; states, proofs and preimages made at random.
//!
//! `ANNEX_SEED` repeats a run, `ANNEX_CASES` multiplies its cases.

mod blob;
mod contracts;
mod instruction;
mod preimages;
mod random;
mod scene;

pub use blob::{ELEMENTS, Opening, TestBlob, random_element};
pub use contracts::{Contracts, Refusal, Verdict};
pub use instruction::{ECALL, INSTRUCTIONS, any_word, instance, is_legal};
pub use preimages::{Missing, Preimages};
pub use random::{cases, rng};
pub use scene::{A0, A1, A2, A3, A7, ACCESS_BYTES, STATE_BYTES, Scene, any_address, edgy};
