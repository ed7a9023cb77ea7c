//! The embedded development L1: an Ethereum chain with Osaka's rules in this process, for development and tests.
//!
//! It executes with the same crates as the L2, keeps its blocks in the same kind of store and is served by the same
//! JSON-RPC server. It has no peers and no consensus: blocks come at an interval, or as soon as a transaction does.

mod accounts;
mod beacon;
mod blobs;
mod block;
mod chain;
mod clock;
mod engine;
mod genesis;
mod methods;
mod pool;
mod service;
mod sidecars;

pub use accounts::{DevAccount, MNEMONIC, dev_accounts};
pub use chain::DevChain;
pub use engine::Engine;
pub use service::DevL1;

use annex_rpc::Limits;
use annex_store::StoreError;
use std::path::PathBuf;
use std::time::Duration;

/// What `web3_clientVersion` and the Beacon API answer.
pub const CLIENT_VERSION: &str = concat!("annex-devl1/v", env!("CARGO_PKG_VERSION"));

/// How the chain is made and run.
#[derive(Clone, Debug)]
pub struct DevL1Config {
    /// Where the chain is kept; made if absent.
    pub data_dir: PathBuf,
    pub chain_id: u64,
    /// Time between blocks; `None`: a block as soon as a transaction can be mined.
    pub block_time: Option<Duration>,
    pub gas_limit: u64,
    /// Timestamp of block 0 in seconds, if the chain is new; `None`: now.
    pub genesis_timestamp: Option<u64>,
    /// Loopback port; 0: any free one.
    pub port: u16,
    /// Blob transactions whose blobs are kept.
    pub retained_blobs: usize,
    /// What JSON-RPC clients may ask for.
    pub limits: Limits,
}

impl DevL1Config {
    /// Chain 900, 60M gas, automining, any free port.
    pub fn new(data_dir: PathBuf) -> Self {
        Self {
            data_dir,
            chain_id: 900,
            block_time: None,
            gas_limit: 60_000_000,
            genesis_timestamp: None,
            port: 0,
            retained_blobs: 65_536,
            limits: Limits::default(),
        }
    }
}

/// Why the chain cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum DevL1Error {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The folder of blobs.
    #[error("blobs: {0}")]
    Blobs(#[from] std::io::Error),
    #[error("built-in contract: {0}")]
    Artifact(#[source] serde_json::Error),
    #[error("development accounts: {0}")]
    Accounts(#[from] alloy_signer_local::LocalSignerError),
    /// Use another data directory, or the chain id it was made with.
    #[error("the data directory does not hold chain {0}")]
    OtherChain(u64),
    #[error(transparent)]
    Serve(#[from] annex_rpc::ServeError),
    #[error("{0}")]
    Timestamp(#[from] clock::TimestampError),
    #[error(
        "Reorg depth must not exceed current chain height: current height {height}, depth {depth}"
    )]
    ReorgDepth { height: u64, depth: u64 },
    /// A transaction that was to be part of a block.
    #[error("{0}")]
    Rejected(#[from] annex_rpc::Rejected),
}
