//! Execution of single transactions under two rule sets: Ethereum's Osaka (for an embedded L1) and the L2's
//! (`spec/block.md`, `spec/fees.md`). The only crate that knows which EVM library is used.
//!
//! A user's outcome is data ([`Outcome`], [`InvalidTransaction`]); the error channel carries only what the state
//! reader could not deliver.

mod call;
#[cfg(not(feature = "host"))]
mod crypto;
mod database;
mod env;
mod evm;
mod handler;
mod outcome;
mod validate;

pub use call::{AccountOverride, CallRequest};
pub use database::CodeCache;
pub use env::{BlockEnv, Rules};
pub use evm::Evm;
pub use outcome::{Halt, InvalidTransaction, Outcome, Status};
pub use validate::check;

#[cfg(test)]
mod tests;
