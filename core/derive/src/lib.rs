//! From the Inbox's records to blocks (spec/batch.md, "Derivation").
//!
//! [`Derivation`] is a pure state machine: it is handed records in order and says, step by step, which block to execute
//! next. It executes nothing itself; the caller tells it how each block went. Nothing in batch data, however hostile, is an
//! error here: it is a [`Step`] with a reason.

mod derivation;
mod rules;
mod step;

pub use derivation::{BlockStep, Checkpoint, Derivation, LogError, Step};
pub use rules::{Head, Rejection, RuleContext, check};
pub use step::{BatchTerms, Cursor, Decision, Log, Payload, Position, Skip};

/// Cursor's block once the payload is over: a block of it was rejected, or a derived block was made.
pub const PAYLOAD_OVER: u64 = u64::MAX;
