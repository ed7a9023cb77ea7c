//! Orders transactions: executes them on arrival, logs them before it answers, promises, seals blocks on demand and
//! packs sealed blocks into batches. Where somebody else ordered, it takes over what L1 recorded.
//!
//! It knows nothing of L1 endpoints or of JSON-RPC transport: records and submissions are handed to it.

mod adopt;
mod backlog;
mod batcher;
mod changed;
mod clock;
mod engine;
mod executor;
mod import;
mod live;
mod log;
mod merkle;
mod order;
mod pool;
mod records;
mod sealer;
mod signer;
mod waiting;

pub use adopt::{Adopted, Heard};
pub use backlog::block_content;
pub use batcher::{Batch, BatchError, Channel, next_batch};
pub use changed::ChangedPromise;
pub use engine::{Engine, EngineConfig, EngineError, ImportOutcome, Sequencing, Taken};
pub use live::{Live, LiveBlock};
pub use log::LogError;
pub use order::Ordering;
pub use pool::PoolLimits;
pub use sealer::{promises_key, promises_made};
pub use signer::{KeyError, PromiseSigner};

#[cfg(test)]
mod tests;
