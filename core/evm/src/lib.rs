//! Execution of single transactions under two rule sets: Ethereum's Osaka (for an embedded L1) and the L2's
//! (`spec/block.md`, `spec/fees.md`). The only crate that knows which EVM library is used.
//!
//! A user's outcome is data ([`Outcome`], [`InvalidTransaction`]); the error channel carries only what the state
//! reader could not deliver.

mod call;
#[cfg(feature = "host")]
mod calls;
#[cfg(not(feature = "host"))]
mod crypto;
mod database;
mod env;
mod evm;
mod handler;
#[cfg(feature = "host")]
mod inspect;
mod outcome;
#[cfg(feature = "host")]
mod trace;
mod validate;

pub use call::{AccountOverride, CallRequest, Simulation};
#[cfg(feature = "host")]
pub use calls::Simulated;
pub use database::CodeCache;
pub use env::{BlockEnv, Rules};
pub use evm::Evm;
#[cfg(feature = "host")]
pub use inspect::{WatchError, WatchResult, Watchdog};
pub use outcome::{Halt, InvalidTransaction, Outcome, Status};
#[cfg(feature = "host")]
pub use trace::{TracedAt, Tracer, TracerError};
pub use validate::check;

#[cfg(test)]
mod tests;
