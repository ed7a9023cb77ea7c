//! Block inputs and the header's `extraData` (spec/block.md).

use crate::{ForcedItem, RecordEnv, RecoveredTransaction, Transaction};
use alloy_primitives::{Address, B256, Bytes, keccak256};
use serde::{Deserialize, Serialize};

/// The record a block names as its view of L1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    pub index: u64,
    pub accumulator: B256,
    pub env: RecordEnv,
}

impl Origin {
    /// `mixHash` of block `number`.
    pub fn prev_randao(&self, number: u64) -> B256 {
        let mut preimage = [0u8; 40];
        preimage[..32].copy_from_slice(self.accumulator.as_slice());
        preimage[32..].copy_from_slice(&number.to_be_bytes());
        keccak256(preimage)
    }
}

/// Everything about a block that is decided before its first transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockAttributes {
    pub timestamp: u64,
    pub beneficiary: Address,
    pub origin: Origin,
    /// Number of batch blocks with this timestamp, this one included (see [`ExtraData`]).
    pub blocks_in_second: u16,
}

/// A block as a batch carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchBlock {
    pub timestamp: u64,
    pub beneficiary: Address,
    /// Record index.
    pub origin: u64,
    /// Number of forced items this block consumes.
    pub forced: u64,
    /// Non-forced transactions; none is a deposit.
    pub transactions: Vec<Transaction>,
}

/// A block to execute: forced items come first, then transactions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockInput {
    pub attributes: BlockAttributes,
    /// Consecutive, the first one being number `forced_count` of the parent.
    pub forced: Vec<ForcedItem>,
    pub transactions: Vec<RecoveredTransaction>,
}

/// `extraData`: `0x00 ‖ origin u64 ‖ forcedCount u64 ‖ excess u64 ‖ blocksInSecond u16`, 27 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtraData {
    /// Record index.
    pub origin: u64,
    /// Forced items consumed up to and including the block.
    pub forced_count: u64,
    /// Gas excess the block's base fee was computed from.
    pub excess: u64,
    /// Batch blocks up to and including this one that share its timestamp.
    pub blocks_in_second: u16,
}

/// `extraData` of another length or version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("extraData is not version 0 of an Annex header")]
pub struct ExtraDataError;

impl ExtraData {
    pub const LEN: usize = 27;

    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(Self::LEN);
        out.push(0);
        out.extend_from_slice(&self.origin.to_be_bytes());
        out.extend_from_slice(&self.forced_count.to_be_bytes());
        out.extend_from_slice(&self.excess.to_be_bytes());
        out.extend_from_slice(&self.blocks_in_second.to_be_bytes());
        out.into()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, ExtraDataError> {
        let bytes: &[u8; Self::LEN] = bytes.try_into().map_err(|_| ExtraDataError)?;
        let word = |at: usize| {
            u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes of a fixed array"))
        };
        if bytes[0] != 0 {
            return Err(ExtraDataError);
        }
        Ok(Self {
            origin: word(1),
            forced_count: word(9),
            excess: word(17),
            blocks_in_second: u16::from_be_bytes([bytes[25], bytes[26]]),
        })
    }
}
