//! The transition from one block to the next (`spec/block.md`): the node and the fault proof run this code.
//!
//! [`OpenBlock`] executes transactions one by one, before the parent's hash or root is known; [`seal`] computes the
//! roots and the header; [`apply_block`] is both for a block that is given as a whole.

mod apply;
mod genesis;
mod open;
mod seal;

pub use annex_evm::{
    AccountOverride, BlockEnv, CallRequest, CodeCache, Halt, InvalidTransaction, Outcome, Status,
};
pub use apply::{ApplyError, InvalidBlock, apply_block};
pub use genesis::genesis;
pub use open::{ExecutedBlock, Included, OpenBlock, ParentBlock, block_env, l1_block_slots};
pub use seal::{SealPart, SealedBlock, seal, seal_in_parts};

#[cfg(test)]
mod tests;
