//! One step, decided from a head, a cursor and what the log says.
//!
//! [`Derivation`](crate::Derivation) keeps the log it needs; a proof of one step looks it up in preimages. Both decide here.

use crate::{Head, PAYLOAD_OVER, Rejection, RuleContext, check};
use alloy_primitives::{Address, B256};
use annex_types::batch::{self, BatchError, Limits};
use annex_types::{
    BLOCK_GAS_LIMIT, BatchBlock, BlockAttributes, BlockInput, ChainConfig, ForcedItem, Origin,
    RecoveredTransaction,
};
use serde::{Deserialize, Serialize};

/// How far derivation is; part of the settled leaf (spec/claim.md).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cursor {
    /// Index of the record being worked off.
    pub record: u64,
    /// Index of the next block in its payload, or [`PAYLOAD_OVER`].
    pub block: u64,
    /// Forced items consumed: the head's forced count.
    pub forced: u64,
}

impl Cursor {
    /// After a block that consumed the forced items up to `forced`.
    pub fn applied(self, derived: bool, forced: u64) -> Self {
        Self { block: if derived { PAYLOAD_OVER } else { self.block + 1 }, forced, ..self }
    }

    /// After a block of the payload was rejected.
    pub fn payload_over(self) -> Self {
        Self { block: PAYLOAD_OVER, ..self }
    }

    /// After nothing was left of the record.
    pub fn exhausted(self) -> Self {
        Self { record: self.record + 1, block: 0, ..self }
    }
}

/// Where a step finds what it needs of the log. Asked only for four records, the cursor's, the one before it, the origin that a
/// block names and the one after that, and for as many forced items from the head's forced count on as a block can hold, and
/// one more.
pub trait Log {
    /// What whoever keeps the log failed to deliver.
    type Error;

    /// Timestamp of a record; none for one that cannot be asked for.
    fn timestamp(&self, record: u64) -> Option<u64>;

    /// Index of the record of a forced item; none at or above the batch's `forcedUpTo`.
    fn record_of_forced(&self, item: u64) -> Option<u64>;

    /// A record that has a [`timestamp`](Self::timestamp).
    fn origin(&self, record: u64) -> Result<Origin, Self::Error>;

    /// Gas limit of an item that has a [record](Self::record_of_forced).
    fn forced_gas(&self, item: u64) -> Result<u64, Self::Error>;

    /// An item that has a [record](Self::record_of_forced).
    fn forced(&self, item: u64) -> Result<ForcedItem, Self::Error>;
}

/// A batch's record without its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchTerms {
    pub submitter: Address,
    pub forced_up_to: u64,
}

/// What a batch's data says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Payload {
    pub blocks: Vec<BatchBlock>,
    /// Why there are no blocks, unless the batch is empty.
    pub skipped: Option<Skip>,
}

/// Why a batch's data yielded no block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Skip {
    #[error(transparent)]
    Payload(#[from] BatchError),
    #[error("the batch stands on {named}, the head is {head}")]
    WrongParent { named: B256, head: B256 },
}

impl Payload {
    /// Decodes data and, unless blocks of it stand already, checks what it stands on.
    pub fn open(
        data: Result<&[u8], BatchError>,
        limits: &Limits,
        chain_id: u64,
        head: B256,
        cursor: Cursor,
    ) -> Self {
        let skipped = |skip| Self { blocks: Vec::new(), skipped: Some(skip) };
        match data.and_then(|data| batch::decode(data, limits, chain_id)) {
            Err(error) => skipped(Skip::Payload(error)),
            Ok(None) => Self::default(),
            Ok(Some(batch)) if cursor.block == 0 && batch.parent_hash != head => {
                skipped(Skip::WrongParent { named: batch.parent_hash, head })
            }
            Ok(Some(batch)) => Self { blocks: batch.blocks, skipped: None },
        }
    }
}

/// What comes next at a cursor that stands on a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    Block {
        input: Box<BlockInput>,
        /// Made by the rules instead of named by the payload. It always executes.
        derived: bool,
    },
    Rejected(Rejection),
    Exhausted,
}

/// Where a step is taken.
#[derive(Clone, Copy, Debug)]
pub struct Position<'a> {
    pub config: &'a ChainConfig,
    pub head: &'a Head,
    pub cursor: Cursor,
}

impl Position<'_> {
    /// The next step of the batch at the cursor. `block` is the one that the payload has there: none behind its last, none
    /// once the payload is over.
    pub fn decide<L: Log>(
        &self,
        batch: &BatchTerms,
        block: Option<BatchBlock>,
        log: &L,
    ) -> Result<Decision, L::Error> {
        if let Some(block) = block {
            return Ok(match self.payload_block(block, batch.forced_up_to, log)? {
                Ok(input) => Decision::Block { input: Box::new(input), derived: false },
                Err(reason) => Decision::Rejected(reason),
            });
        }
        if self.head.forced_count < batch.forced_up_to {
            let input = Box::new(self.derived_block(batch, log)?);
            return Ok(Decision::Block { input, derived: true });
        }
        Ok(Decision::Exhausted)
    }

    fn payload_block<L: Log>(
        &self,
        block: BatchBlock,
        forced_up_to: u64,
        log: &L,
    ) -> Result<Result<BlockInput, Rejection>, L::Error> {
        let context = RuleContext {
            record: self.cursor.record,
            forced_up_to,
            timestamp_of: &|record| log.timestamp(record),
            record_of_forced: &|item| log.record_of_forced(item),
            max_origin_lag: self.config.max_origin_lag,
            timestamp_drift: self.config.timestamp_drift,
        };
        if let Err(reason) = check(self.head, &block, &context) {
            return Ok(Err(reason));
        }
        let transactions: Result<Vec<_>, _> =
            RecoveredTransaction::recover_all(block.transactions).collect();
        let Ok(transactions) = transactions else {
            return Ok(Err(Rejection::Signature));
        };
        let attributes = BlockAttributes {
            timestamp: block.timestamp,
            beneficiary: block.beneficiary,
            origin: log.origin(block.origin)?,
            blocks_in_second: self.head.next_in_second(block.timestamp),
        };
        // Bounded by the check above.
        let first = self.head.forced_count;
        let forced: Result<_, _> =
            (first..first + block.forced).map(|item| log.forced(item)).collect();
        Ok(Ok(BlockInput { attributes, forced: forced?, transactions }))
    }

    /// As many forced items as surely fit: their gas limits sum to at most a block's. Each fits alone, the Portal sees to it.
    fn derived_block<L: Log>(&self, batch: &BatchTerms, log: &L) -> Result<BlockInput, L::Error> {
        let record = self.cursor.record;
        let at = log.timestamp(record).unwrap_or_default();
        let timestamp = at.max(self.head.timestamp);
        let mut gas = 0u64;
        let mut forced = Vec::new();
        for item in self.head.forced_count..batch.forced_up_to {
            gas = gas.saturating_add(log.forced_gas(item)?);
            if gas > BLOCK_GAS_LIMIT {
                break;
            }
            forced.push(log.forced(item)?);
        }
        let is_same_second = timestamp == self.head.timestamp;
        let attributes = BlockAttributes {
            timestamp,
            beneficiary: batch.submitter,
            // Record 0 is no batch.
            origin: log.origin(record - 1)?,
            blocks_in_second: if is_same_second { self.head.blocks_in_second } else { 0 },
        };
        Ok(BlockInput { attributes, forced, transactions: Vec::new() })
    }
}
