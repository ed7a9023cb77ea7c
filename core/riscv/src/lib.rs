//! The RV64IM machine of spec/machine.md.
//!
//! One function executes an instruction; it has two faces. [`Machine`] runs programs fast and
//! hashes what changed; [`verify_step`] checks one step from its Merkle proofs, as the contract
//! does. A [`Committer`] commits to the states of a whole run.

mod commit;
mod elf;
mod execute;
mod instruction;
mod machine;
mod memory;
mod proof;
mod snapshot;
mod state;
mod tree;

pub use commit::{Commitment, Committer, Progress, Shape, ShapeError};
pub use elf::{ElfError, Program};
pub use machine::Machine;
pub use proof::{ProofError, StepProof, verify_step};
pub use snapshot::SnapshotError;
pub use state::{Host, PreimageKind, Status, Trap};
pub use tree::Tree;

#[cfg(test)]
mod tests;
