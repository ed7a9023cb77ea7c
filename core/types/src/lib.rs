//! Transactions, headers, records, batches, promises and chain configuration of an Annex chain, and their encodings.
//!
//! Everything here is deterministic and free of I/O; the pages of `spec/` are normative. Decoders of foreign bytes
//! are handed their limits and never panic.

pub mod batch;
pub mod block;
pub mod config;
pub mod fees;
pub mod keccak;
pub mod predeploys;
pub mod promise;
pub mod record;
pub mod secp256k1;
pub mod transaction;

pub use alloy_consensus::Header;
pub use block::{BatchBlock, BlockAttributes, BlockInput, ExtraData, Origin};
pub use config::ChainConfig;
pub use promise::Promise;
pub use record::{BatchData, BatchRecord, ForcedItem, Record, RecordEnv, RecordPayload};
pub use transaction::{Receipt, RecoveredTransaction, SignatureError, Transaction, TxType};

/// Gas limit of every L2 block.
pub const BLOCK_GAS_LIMIT: u64 = 30_000_000;
/// Largest execution gas limit of one transaction (EIP-7825).
pub const TX_GAS_LIMIT_CAP: u64 = 1 << 24;
/// Transactions, forced items included, in a block: no more have gas for their intrinsic cost. Judged before any signature is
/// recovered or forced item's data read, so that a rejected block costs a proof no more than a valid one.
pub const MAX_BLOCK_TRANSACTIONS: usize = (BLOCK_GAS_LIMIT / 21_000) as usize;
/// Blocks of batches that may share one timestamp.
pub const MAX_BLOCKS_PER_SECOND: u16 = 32;
/// Largest data of one deposit and of one calldata batch, in bytes.
pub const MAX_L1_DATA: usize = 65_536;
/// Blobs one batch may span.
pub const MAX_BLOBS: usize = 6;
