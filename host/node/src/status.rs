//! How far a transaction is, and what that guarantees.

use crate::{chain::L2, progress};
use alloy_primitives::{B256, U64};
use annex_rpc::{Chain, Unsealed};
use annex_store::StoreError;
use serde::{Deserialize, Serialize};

/// The stages of a transaction, each including the ones before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Stage {
    /// Nobody here has seen it.
    Unknown,
    /// It waits for a lower nonce of its sender.
    Waiting,
    Acknowledged,
    Sealed,
    Safe,
    /// The batch is in a final L1 block and the state was claimed and not beaten on L1.
    Settled,
}

impl Stage {
    /// What a user can rely on.
    pub fn guarantee(self) -> &'static str {
        match self {
            Self::Unknown => "none: this node does not know the transaction",
            Self::Waiting => "none: it waits for a lower nonce of its sender",
            Self::Acknowledged => {
                "executed, logged and, where a leader promises, signed: a leader that breaks it can be proved wrong; a crash of the node does not lose it"
            }
            Self::Sealed => {
                "in a block with hash and state root; the leader's word as before, until L1 carries it"
            }
            Self::Safe => {
                "L1 carries the data: every node derives this block; only a reorganisation of L1 can change it"
            }
            Self::Settled => "the state after it is accepted on L1: withdrawals can be finalised",
        }
    }
}

/// Answer of `annex_transactionStatus`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TransactionStatus {
    pub stage: Stage,
    pub guarantee: String,
    pub block_number: Option<U64>,
    pub block_hash: Option<B256>,
    /// Sequence number of the promise that covers it.
    pub promise: Option<U64>,
    /// Of the batch (or deposit) on L1.
    pub record: Option<U64>,
    pub l1_block: Option<U64>,
    pub l1_transaction: Option<B256>,
    /// Whether L1 calls the batch's block final.
    pub l1_final: bool,
}

impl TransactionStatus {
    fn at(stage: Stage) -> Self {
        Self {
            stage,
            guarantee: stage.guarantee().to_owned(),
            block_number: None,
            block_hash: None,
            promise: None,
            record: None,
            l1_block: None,
            l1_transaction: None,
            l1_final: false,
        }
    }
}

pub(crate) fn status(l2: &L2, hash: B256) -> Result<TransactionStatus, StoreError> {
    let unsealed = l2.unsealed(hash);
    let snapshot = l2.store.snapshot()?;
    let found = snapshot.alias(hash)?.unwrap_or(hash);
    let Some((number, _)) = snapshot.transaction_position(found)? else {
        return Ok(match unsealed {
            Some(Unsealed::Acknowledged(executed)) => TransactionStatus {
                block_number: Some(U64::from(executed.block_number)),
                promise: executed.promise.get().map(|p| U64::from(p.promise.sequence)),
                ..TransactionStatus::at(Stage::Acknowledged)
            },
            Some(Unsealed::Pooled(_)) => TransactionStatus::at(Stage::Waiting),
            None => TransactionStatus::at(Stage::Unknown),
        });
    };
    let stage = match number {
        number if number > l2.progress.safe() => Stage::Sealed,
        number if number > l2.progress.settled() => Stage::Safe,
        _ => Stage::Settled,
    };
    let record = match stage {
        Stage::Safe | Stage::Settled => progress::record_of_block(&snapshot, number)?,
        _ => None,
    };
    let stored = record.map(|index| progress::record(&snapshot, index)).transpose()?.flatten();
    Ok(TransactionStatus {
        block_number: Some(U64::from(number)),
        block_hash: snapshot.hash(number)?,
        record: record.map(U64::from),
        l1_block: stored.as_ref().map(|s| U64::from(s.record.env.l1_block_number)),
        l1_transaction: stored.as_ref().map(|s| s.l1_tx),
        l1_final: number <= l2.progress.finalized(),
        ..TransactionStatus::at(stage)
    })
}
