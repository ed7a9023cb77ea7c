//! The Inbox's events as records (spec/records.md).

use crate::contracts::Inbox;
use crate::error::{L1Error, LogFault};
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, keccak256};
use alloy_rpc_types_eth::Log;
use alloy_sol_types::{SolEvent, SolValue};
use annex_types::{
    BatchData, BatchRecord, ForcedItem, MAX_BLOBS, Record, RecordEnv, RecordPayload,
};
use op_alloy_consensus::TxDeposit;
use serde::{Deserialize, Serialize};

/// How far a log is known: what the next record has to follow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogPosition {
    /// Index of the next record, that is the number of records known.
    pub next: u64,
    /// Accumulator of record `next - 1`; zero before record 0.
    pub accumulator: B256,
}

/// A record and where on L1 it lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct L1Record {
    pub record: Record,
    /// Hash of L1 block `record.env.l1_block_number`.
    pub block_hash: B256,
    pub tx_hash: B256,
    /// Position of the `Record` event among the block's logs.
    pub log_index: u64,
}

impl L1Record {
    /// For a forced record, the L2 transaction hash that tools of the OP Stack compute for the deposit.
    pub fn op_alias(&self) -> Option<B256> {
        match &self.record.payload {
            // The Portal emits `TransactionDeposited` right after the Inbox's `Record`.
            RecordPayload::Forced(item) => {
                Some(op_alias_hash(self.block_hash, self.log_index + 1, item))
            }
            _ => None,
        }
    }
}

/// Hash of the deposit transaction as the OP Stack derives it from the Portal's `TransactionDeposited` log: its source hash is
/// `keccak(abi.encode(0, keccak(l1BlockHash ‖ logIndex)))`, which no contract can know (see `annex_types::record::source_hash`
/// for the one that is ours).
pub fn op_alias_hash(l1_block_hash: B256, log_index: u64, item: &ForcedItem) -> B256 {
    let inner = keccak256((l1_block_hash, U256::from(log_index)).abi_encode());
    let source_hash = keccak256((U256::ZERO, inner).abi_encode());
    TxDeposit {
        source_hash,
        from: item.from,
        to: if item.is_creation { TxKind::Create } else { TxKind::Call(item.to) },
        mint: item.mint,
        value: item.value,
        gas_limit: item.gas_limit,
        is_system_transaction: false,
        input: item.data.clone(),
    }
    .tx_hash()
}

/// Reads the record that has to follow `position` and moves it on.
pub fn decode_record(log: &Log, position: &mut LogPosition) -> Result<L1Record, L1Error> {
    let index = position.next;
    let fault = |fault| L1Error::Log { index, fault };
    let event =
        Inbox::Record::decode_log_data(&log.inner.data).map_err(|_| fault(LogFault::Payload))?;
    if event.index != U256::from(index) {
        return Err(fault(LogFault::Index { found: event.index.saturating_to() }));
    }
    let (Some(block_hash), Some(block), Some(tx_hash), Some(log_index)) =
        (log.block_hash, log.block_number, log.transaction_hash, log.log_index)
    else {
        return Err(fault(LogFault::Unmined));
    };
    if event.l1BlockNumber != block {
        return Err(fault(LogFault::Block { claimed: event.l1BlockNumber, actual: block }));
    }
    let env = RecordEnv {
        l1_block_number: event.l1BlockNumber,
        timestamp: event.timestamp,
        base_fee: event.baseFee,
        blob_base_fee: event.blobBaseFee,
        l1_parent_hash: event.l1ParentHash,
    };
    let payload = decode_payload(event.kind, &event.payload).map_err(fault)?;
    let record = Record::new(index, position.accumulator, env, payload);
    if record.accumulator != event.accumulator {
        return Err(fault(LogFault::Accumulator));
    }
    *position = LogPosition { next: index + 1, accumulator: record.accumulator };
    Ok(L1Record { record, block_hash, tx_hash, log_index })
}

/// The `payload` of a `Record` event (spec/records.md, "Events").
pub fn encode_payload(payload: &RecordPayload) -> Bytes {
    match payload {
        RecordPayload::Genesis { config_hash, genesis_hash } => {
            (*config_hash, *genesis_hash).abi_encode_params()
        }
        RecordPayload::Forced(item) => (
            U256::from(item.index),
            item.from,
            item.to,
            U256::from(item.mint),
            item.value,
            item.gas_limit,
            item.is_creation,
            item.data.clone(),
        )
            .abi_encode_params(),
        RecordPayload::Batch(BatchRecord { submitter, lease_id, forced_up_to, data }) => {
            let forced_up_to = U256::from(*forced_up_to);
            match data {
                BatchData::Blobs(hashes) => {
                    (*submitter, *lease_id, forced_up_to, hashes.clone()).abi_encode_params()
                }
                BatchData::Calldata(data) => {
                    (*submitter, *lease_id, forced_up_to, data.clone()).abi_encode_params()
                }
            }
        }
    }
    .into()
}

/// The event's `payload` by its `kind`.
pub fn decode_payload(kind: B256, payload: &[u8]) -> Result<RecordPayload, LogFault> {
    type Forced = (U256, Address, Address, U256, U256, u64, bool, Bytes);
    let batch = |submitter, lease_id, forced_up_to: U256, data| {
        let forced_up_to = forced_up_to.try_into().map_err(|_| LogFault::Payload)?;
        Ok(RecordPayload::Batch(BatchRecord { submitter, lease_id, forced_up_to, data }))
    };
    let unreadable = |_| LogFault::Payload;
    if kind == *kinds::FORCED {
        let (index, from, to, mint, value, gas_limit, is_creation, data) =
            Forced::abi_decode_params_validate(payload).map_err(unreadable)?;
        Ok(RecordPayload::Forced(ForcedItem {
            index: index.try_into().map_err(|_| LogFault::Payload)?,
            from,
            to,
            mint: mint.try_into().map_err(|_| LogFault::Payload)?,
            value,
            gas_limit,
            is_creation,
            data,
        }))
    } else if kind == *kinds::BATCH_BLOBS {
        let (submitter, lease, forced, hashes) =
            <(Address, U256, U256, Vec<B256>)>::abi_decode_params_validate(payload)
                .map_err(unreadable)?;
        if hashes.is_empty() || hashes.len() > MAX_BLOBS {
            return Err(LogFault::Payload);
        }
        batch(submitter, lease, forced, BatchData::Blobs(hashes))
    } else if kind == *kinds::BATCH_CALLDATA {
        let (submitter, lease, forced, data) =
            <(Address, U256, U256, Bytes)>::abi_decode_params_validate(payload)
                .map_err(unreadable)?;
        batch(submitter, lease, forced, BatchData::Calldata(data))
    } else if kind == *kinds::GENESIS {
        let (config_hash, genesis_hash) =
            <(B256, B256)>::abi_decode_params_validate(payload).map_err(unreadable)?;
        Ok(RecordPayload::Genesis { config_hash, genesis_hash })
    } else {
        Err(LogFault::Kind)
    }
}

/// Domain tags.
mod kinds {
    use alloy_primitives::{B256, keccak256};
    use std::sync::LazyLock;

    pub static GENESIS: LazyLock<B256> = LazyLock::new(|| keccak256("annex.record.genesis.v1"));
    pub static FORCED: LazyLock<B256> = LazyLock::new(|| keccak256("annex.record.forced.v1"));
    pub static BATCH_BLOBS: LazyLock<B256> =
        LazyLock::new(|| keccak256("annex.record.batch.blobs.v1"));
    pub static BATCH_CALLDATA: LazyLock<B256> =
        LazyLock::new(|| keccak256("annex.record.batch.calldata.v1"));
}

#[cfg(test)]
mod tests;
