//! From one leaf to the next over preimages (spec/claim.md): what the guest runs, and what checks it natively.
//!
//! [`step`] derives with `annex-derive` and executes with `annex-stf`, as a follower does, but reads everything, from the chain's
//! configuration to the last trie node, as preimages of hashes that its one input word commits to. A preimage that is not
//! there is the host's failure ([`ClaimError::Source`]) and never a verdict.

mod leaf;
mod source;
mod step;
mod walk;
mod words;

#[cfg(feature = "host")]
mod preimages;
#[cfg(feature = "host")]
mod prepare;

pub use leaf::{ClaimInput, Leaf, OutputRoot, fault_leaf};
#[cfg(feature = "host")]
pub use preimages::{Missing, PreimageError, Preimages};
#[cfg(feature = "host")]
pub use prepare::{PrepareError, StepData, prepare};
pub use source::{Kind, MAX_PREIMAGE, PreimageSource};
pub use step::{ClaimError, ClaimStep, Impossible, Rejected, Transition, step};

/// The guest as an ELF file: the program for the machine that L1 commits to. `cargo xtask guest` builds it.
#[cfg(feature = "host")]
pub const PROGRAM: &[u8] = include_bytes!("../../../apps/guest/annex-guest.elf");
