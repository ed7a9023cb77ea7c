//! The Inbox's records and their accumulator (spec/records.md).

use alloy_primitives::{Address, B256, Bytes, TxKind, U256, keccak256};
use alloy_sol_types::SolValue;
use op_alloy_consensus::TxDeposit;
use serde::{Deserialize, Serialize};

/// The L1 block that appended a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordEnv {
    pub l1_block_number: u64,
    /// Seconds.
    pub timestamp: u64,
    /// Wei.
    pub base_fee: U256,
    /// Wei.
    pub blob_base_fee: U256,
    /// Hash of L1 block `l1_block_number - 1`.
    pub l1_parent_hash: B256,
}

/// A Portal deposit in the forced queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForcedItem {
    /// Position in the forced queue.
    pub index: u64,
    /// Already aliased.
    pub from: Address,
    /// Zero when `is_creation`.
    pub to: Address,
    /// Wei credited to `from`.
    pub mint: u128,
    pub value: U256,
    pub gas_limit: u64,
    pub is_creation: bool,
    pub data: Bytes,
}

impl ForcedItem {
    /// The deposit transaction this item becomes on L2.
    pub fn to_deposit(&self, inbox: Address) -> TxDeposit {
        TxDeposit {
            source_hash: source_hash(inbox, self.index),
            from: self.from,
            to: if self.is_creation { TxKind::Create } else { TxKind::Call(self.to) },
            mint: self.mint,
            value: self.value,
            gas_limit: self.gas_limit,
            is_system_transaction: false,
            input: self.data.clone(),
        }
    }
}

/// `keccak(abi.encode(0, keccak(abi.encode(inbox, forcedIndex))))`: unlike OP's it needs nothing that a contract cannot know.
pub fn source_hash(inbox: Address, forced_index: u64) -> B256 {
    let inner = keccak256((inbox, U256::from(forced_index)).abi_encode());
    keccak256((U256::ZERO, inner).abi_encode())
}

/// Where a batch's bytes are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BatchData {
    /// Versioned hashes, one to six.
    Blobs(Vec<B256>),
    Calldata(Bytes),
}

impl BatchData {
    /// What `dataHash` of spec/records.md hashes: the calldata, or the versioned hashes one after another.
    pub fn hashed_bytes(&self) -> Bytes {
        match self {
            Self::Blobs(hashes) => hashes.iter().flat_map(|hash| hash.0).collect(),
            Self::Calldata(data) => data.clone(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchRecord {
    pub submitter: Address,
    /// Zero where the submitter is not the leader.
    pub lease_id: U256,
    /// Number of forced items consumed once this record is exhausted.
    pub forced_up_to: u64,
    pub data: BatchData,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RecordPayload {
    Genesis { config_hash: B256, genesis_hash: B256 },
    Forced(ForcedItem),
    Batch(BatchRecord),
}

impl RecordPayload {
    /// Domain tag.
    pub fn kind(&self) -> B256 {
        keccak256(match self {
            Self::Genesis { .. } => "annex.record.genesis.v1",
            Self::Forced(_) => "annex.record.forced.v1",
            Self::Batch(BatchRecord { data: BatchData::Blobs(_), .. }) => {
                "annex.record.batch.blobs.v1"
            }
            Self::Batch(BatchRecord { data: BatchData::Calldata(_), .. }) => {
                "annex.record.batch.calldata.v1"
            }
        })
    }

    /// The words that `payloadHash` of spec/records.md hashes.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Genesis { config_hash, genesis_hash } => {
                (*config_hash, *genesis_hash).abi_encode()
            }
            Self::Forced(f) => (
                U256::from(f.index),
                f.from,
                f.to,
                U256::from(f.mint),
                f.value,
                f.gas_limit,
                f.is_creation,
                keccak256(&f.data),
            )
                .abi_encode(),
            Self::Batch(b) => {
                let data_hash = keccak256(b.data.hashed_bytes());
                (b.submitter, b.lease_id, U256::from(b.forced_up_to), data_hash).abi_encode()
            }
        }
    }

    /// `payloadHash` of spec/records.md.
    pub fn hash(&self) -> B256 {
        keccak256(self.encode())
    }
}

/// One entry of the Inbox's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub index: u64,
    /// `acc(index)`: the log up to and including this record.
    pub accumulator: B256,
    pub env: RecordEnv,
    pub payload: RecordPayload,
}

impl Record {
    /// The record after `previous` (zero hash before record 0).
    pub fn new(index: u64, previous: B256, env: RecordEnv, payload: RecordPayload) -> Self {
        let accumulator = accumulate(previous, &env, &payload);
        Self { index, accumulator, env, payload }
    }
}

/// `acc(i)` from `acc(i - 1)`.
pub fn accumulate(previous: B256, env: &RecordEnv, payload: &RecordPayload) -> B256 {
    keccak256(encode(previous, env, payload))
}

/// The eight words that `acc(i)` hashes.
pub fn encode(previous: B256, env: &RecordEnv, payload: &RecordPayload) -> Vec<u8> {
    (
        payload.kind(),
        previous,
        env.l1_block_number,
        env.timestamp,
        env.base_fee,
        env.blob_base_fee,
        env.l1_parent_hash,
        payload.hash(),
    )
        .abi_encode()
}
