//! What a block of a batch must satisfy besides executing (the rules table of spec/batch.md).

use alloy_primitives::B256;
use annex_types::{
    BatchBlock, ExtraData, Header, MAX_BLOCK_TRANSACTIONS, MAX_BLOCKS_PER_SECOND,
    block::ExtraDataError,
};

/// What derivation needs to know of the block it continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub hash: B256,
    pub timestamp: u64,
    /// Record index.
    pub origin: u64,
    /// Forced items consumed so far.
    pub forced_count: u64,
    /// Batch blocks so far with this timestamp.
    pub blocks_in_second: u16,
}

impl Head {
    /// Everything is in the header; the error means that it is not of an Annex chain.
    pub fn of(header: &Header) -> Result<Self, ExtraDataError> {
        let extra = ExtraData::decode(&header.extra_data)?;
        Ok(Self {
            hash: header.hash_slow(),
            timestamp: header.timestamp,
            origin: extra.origin,
            forced_count: extra.forced_count,
            blocks_in_second: extra.blocks_in_second,
        })
    }

    /// Number among the batch blocks of its second that a batch block at `timestamp` has on top of this.
    pub fn next_in_second(&self, timestamp: u64) -> u16 {
        if timestamp == self.timestamp { self.blocks_in_second.saturating_add(1) } else { 1 }
    }
}

/// Why a block of a batch was rejected; rules are checked in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error("the block is empty")]
    Empty,
    #[error("more transactions, forced items included, than a block has gas for")]
    TooManyTransactions,
    #[error("the origin is below the parent's or not before the batch's record")]
    OriginOutOfRange,
    #[error("the timestamp is before the parent's or the origin's")]
    TimestampTooOld,
    #[error("the timestamp is too far ahead of the batch record's")]
    TimestampTooNew,
    #[error("the record after the origin is too old")]
    StaleOrigin,
    #[error("the block consumes forced items beyond the batch's")]
    ForcedBeyondBatch,
    #[error("the block consumes forced items recorded after its origin")]
    ForcedBeyondOrigin,
    #[error("too many blocks in one second")]
    TooManyBlocksInSecond,
    #[error("a signature does not recover")]
    Signature,
}

/// What the rules look up in the records; see [`check`].
#[derive(Clone, Copy, Debug)]
pub struct RuleContext<'a, T, F> {
    /// Index of the batch's record.
    pub record: u64,
    /// `forcedUpTo` of the batch.
    pub forced_up_to: u64,
    /// Timestamp of a record from the parent's origin up to `record`.
    pub timestamp_of: &'a T,
    /// Index of the record of a forced item that is not consumed yet and below `forced_up_to`.
    pub record_of_forced: &'a F,
    /// See [`annex_types::ChainConfig`].
    pub max_origin_lag: u64,
    /// See [`annex_types::ChainConfig`].
    pub timestamp_drift: u64,
}

/// Checks every rule that needs neither signatures nor execution. A leader checks its own blocks with this, against the
/// batch record it expects. Where a lookup answers `None`, the rule that needs it fails.
pub fn check<T, F>(
    parent: &Head,
    block: &BatchBlock,
    context: &RuleContext<'_, T, F>,
) -> Result<(), Rejection>
where
    T: Fn(u64) -> Option<u64>,
    F: Fn(u64) -> Option<u64>,
{
    let require = |holds: bool, otherwise| if holds { Ok(()) } else { Err(otherwise) };
    let timestamp_of = context.timestamp_of;

    require(block.forced > 0 || !block.transactions.is_empty(), Rejection::Empty)?;

    let payable = block.forced.saturating_add(block.transactions.len() as u64);
    require(payable <= MAX_BLOCK_TRANSACTIONS as u64, Rejection::TooManyTransactions)?;

    let in_range = parent.origin <= block.origin && block.origin < context.record;
    require(in_range, Rejection::OriginOutOfRange)?;

    let origin_time = timestamp_of(block.origin);
    let not_old = block.timestamp >= parent.timestamp
        && origin_time.is_some_and(|time| block.timestamp >= time);
    require(not_old, Rejection::TimestampTooOld)?;

    let latest = timestamp_of(context.record)
        .is_some_and(|time| block.timestamp <= time.saturating_add(context.timestamp_drift));
    require(latest, Rejection::TimestampTooNew)?;

    let fresh = timestamp_of(block.origin + 1)
        .is_some_and(|time| time.saturating_add(context.max_origin_lag) >= block.timestamp);
    require(fresh, Rejection::StaleOrigin)?;

    let forced_count = parent.forced_count.checked_add(block.forced);
    let forced_count = forced_count
        .filter(|count| *count <= context.forced_up_to)
        .ok_or(Rejection::ForcedBeyondBatch)?;

    // Items are recorded in order, so the last one decides.
    let known = block.forced == 0
        || (context.record_of_forced)(forced_count - 1).is_some_and(|at| at <= block.origin);
    require(known, Rejection::ForcedBeyondOrigin)?;

    let few = parent.next_in_second(block.timestamp) <= MAX_BLOCKS_PER_SECOND;
    require(few, Rejection::TooManyBlocksInSecond)
}
