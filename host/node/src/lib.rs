//! Owns the runtime: wires store, engine, derivation, L1 and RPC into one node, and the whole of it with an embedded L1
//! into `annex dev`.
//!
//! A node is a follower; ordering is something it does on top while the Inbox lets it.

mod api;
mod batches;
mod catch_up;
mod chain;
mod config;
mod dev;
mod exits;
mod feed;
mod follow;
mod forward;
mod leaves;
mod node;
mod post;
mod progress;
mod proofs;
mod saved;
mod settle;
mod snapshot;
mod status;
pub mod verify;

pub use annex_rpc::Limits;
pub use annex_sequencer::{Ordering, PoolLimits};
pub use annex_store::Durability;
pub use config::{HISTORY, LeaderKeys, NodeConfig, Role};
pub use dev::{Dev, DevConfig, DevError, Lie, UnknownLie};
pub use exits::{ExitQuote, ExitTerms, MILLION, Refusal};
pub use leaves::{BlobsNeeded, Leaves, RANGE_HEIGHT, StepError, StoredLeaf};
pub use node::{Node, NodeError, genesis, program_boot};
pub use proofs::{ClaimStart, ExecutionWitness, RecordJson, WitnessPage};
pub use settle::{Party, PartyRole};
pub use snapshot::{
    Base, Export, Opened, SnapshotError, SnapshotInfo, SnapshotStanding, check_snapshot, export,
};
pub use status::{Stage, TransactionStatus};

#[cfg(test)]
mod tests;
