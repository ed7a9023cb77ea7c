//! The state machine.

use crate::{Head, PAYLOAD_OVER, Rejection, RuleContext, check};
use alloy_eips::eip4844::Blob;
use alloy_primitives::{Address, B256, Bytes};
use annex_types::batch::{self, BatchError, Limits};
use annex_types::{
    BLOCK_GAS_LIMIT, BatchBlock, BatchData, BatchRecord, BlockAttributes, BlockInput, ChainConfig,
    ForcedItem, Header, MAX_BLOBS, Origin, Record, RecordEnv, RecordPayload, RecoveredTransaction,
    TX_GAS_LIMIT_CAP, block::ExtraDataError,
};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// How far derivation is; part of the settled leaf (spec/block.md).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cursor {
    /// Index of the record being worked off.
    pub record: u64,
    /// Index of the next block in its payload, or [`PAYLOAD_OVER`].
    pub block: u64,
    /// Forced items consumed: the head's forced count.
    pub forced: u64,
}

/// What to keep, beside the head's header and the records, to continue later; see [`Derivation::resume`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    pub cursor: Cursor,
    /// Index of the first record that has to be pushed again. Blobs are needed again only from `cursor.record` on.
    pub first_record: u64,
}

/// What happens next. One step is one step of the settled leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A block to execute on the head. Answer with [`Derivation::applied`] or [`Derivation::rejected`].
    Block(BlockStep),
    /// A block of a batch broke a rule; its batch's payload is over.
    Rejected { record: u64, block: u64, reason: Rejection },
    /// Nothing is left of a record.
    Exhausted {
        record: u64,
        /// Why its data yielded no block; not repeated after [`Derivation::resume`] in the middle of the record.
        skipped: Option<Skip>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockStep {
    /// Index of the batch's record.
    pub record: u64,
    /// Index in the payload; none for a derived block, which cannot be rejected.
    pub block: Option<u64>,
    pub input: BlockInput,
}

/// Why a batch's data yielded no block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Skip {
    #[error(transparent)]
    Payload(#[from] BatchError),
    #[error("the batch stands on {named}, the head is {head}")]
    WrongParent { named: B256, head: B256 },
}

/// A log that no Inbox writes: whoever served it lies, or the caller mixes logs up. The derivation is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    #[error("record {got} where {expected} comes next")]
    Gap { expected: u64, got: u64 },
    #[error("record 0, and it alone, is the genesis record")]
    Genesis,
    #[error("forced item {got} where {expected} comes next")]
    ForcedIndex { expected: u64, got: u64 },
    #[error("a forced item with more gas than the Portal accepts")]
    ForcedGas,
    #[error("forcedUpTo {got} is not in {from}..={to}")]
    ForcedUpTo { from: u64, to: u64, got: u64 },
    #[error("{got} blobs for {expected} blob hashes")]
    Blobs { expected: usize, got: usize },
    #[error("a derived block was rejected")]
    DerivedBlock,
}

/// A record as far as derivation needs it.
struct Entry {
    env: RecordEnv,
    accumulator: B256,
    batch: Option<PendingBatch>,
}

struct PendingBatch {
    submitter: Address,
    forced_up_to: u64,
    data: Result<Bytes, BatchError>,
}

/// The payload of the batch at the cursor.
#[derive(Default)]
struct Payload {
    blocks: Vec<BatchBlock>,
    skipped: Option<Skip>,
}

/// Derives blocks from records.
///
/// Its state is what [`Checkpoint`] and the head's header name, and what of the records from `first_record` on is still
/// needed: environments and accumulators from the head's origin, forced items not yet consumed, and data from the cursor.
/// Memory is bounded by that; a caller pushes a record only when [`step`](Self::step) has answered `None`, unless it wants a
/// queue.
pub struct Derivation {
    config: ChainConfig,
    limits: Limits,
    head: Head,
    cursor: Cursor,
    /// Index of `records[0]`.
    first: u64,
    records: VecDeque<Entry>,
    /// Record index and item, the first being number `head.forced_count`.
    forced: VecDeque<(u64, ForcedItem)>,
    /// Least `forcedUpTo` that the next batch can have.
    forced_up_to: u64,
    /// Decoded when the cursor first points into it.
    payload: Option<Payload>,
    /// Where the block comes from whose execution the caller reports next.
    awaiting: Option<Awaiting>,
}

#[derive(Clone, Copy)]
enum Awaiting {
    Payload,
    Derived,
}

impl Derivation {
    /// At genesis: the first record to push is record 0.
    pub fn new(config: ChainConfig, genesis: &Header) -> Result<Self, ExtraDataError> {
        Self::resume(config, genesis, &Checkpoint::default())
    }

    /// Where [`checkpoint`](Self::checkpoint) was taken; `head` is the head of that moment. The first record to push is
    /// `checkpoint.first_record`.
    pub fn resume(
        config: ChainConfig,
        head: &Header,
        checkpoint: &Checkpoint,
    ) -> Result<Self, ExtraDataError> {
        let head = Head::of(head)?;
        Ok(Self {
            config,
            limits: Limits::SPEC,
            head,
            cursor: Cursor { forced: head.forced_count, ..checkpoint.cursor },
            first: checkpoint.first_record,
            records: VecDeque::new(),
            forced: VecDeque::new(),
            forced_up_to: head.forced_count,
            payload: None,
            awaiting: None,
        })
    }

    /// To be stored with the head, whenever that changes or a record is exhausted.
    pub fn checkpoint(&self) -> Checkpoint {
        let cursor = self.cursor;
        // Resumed and not pushed so far yet: unconsumed items may still be missing here.
        if self.next_record() < cursor.record {
            return Checkpoint { cursor, first_record: self.first };
        }
        let unconsumed = self.forced.front().map_or(u64::MAX, |(record, _)| *record);
        let first_record = self.head.origin.min(cursor.record).min(unconsumed);
        Checkpoint { cursor, first_record }
    }

    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// The block that the next one stands on.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Index of the record to push next.
    pub fn next_record(&self) -> u64 {
        self.first + self.records.len() as u64
    }

    /// Whether the next record is already exhausted, so that its blobs are not needed.
    pub fn next_is_exhausted(&self) -> bool {
        self.next_record() < self.cursor.record
    }

    /// Appends record [`next_record`](Self::next_record), whose accumulator the caller has checked. `blobs` are those the
    /// record names, checked against their hashes; empty for every other record and for one already exhausted.
    pub fn push(&mut self, record: Record, blobs: &[Blob]) -> Result<(), LogError> {
        let expected = self.next_record();
        if record.index != expected {
            return Err(LogError::Gap { expected, got: record.index });
        }
        if (record.index == 0) != matches!(record.payload, RecordPayload::Genesis { .. }) {
            return Err(LogError::Genesis);
        }
        let batch = match record.payload {
            RecordPayload::Genesis { .. } => None,
            RecordPayload::Forced(item) => {
                self.push_forced(record.index, item)?;
                None
            }
            RecordPayload::Batch(_) if self.next_is_exhausted() => None,
            RecordPayload::Batch(batch) => Some(self.pending(batch, blobs)?),
        };
        self.records.push_back(Entry { env: record.env, accumulator: record.accumulator, batch });
        Ok(())
    }

    fn push_forced(&mut self, record: u64, item: ForcedItem) -> Result<(), LogError> {
        let expected = self.forced_end();
        if item.index < self.head.forced_count && self.next_is_exhausted() {
            return Ok(());
        }
        if item.index != expected {
            return Err(LogError::ForcedIndex { expected, got: item.index });
        }
        if item.gas_limit > TX_GAS_LIMIT_CAP {
            return Err(LogError::ForcedGas);
        }
        self.forced.push_back((record, item));
        Ok(())
    }

    fn pending(&mut self, batch: BatchRecord, blobs: &[Blob]) -> Result<PendingBatch, LogError> {
        let (from, to) = (self.forced_up_to, self.forced_end());
        if !(from..=to).contains(&batch.forced_up_to) {
            return Err(LogError::ForcedUpTo { from, to, got: batch.forced_up_to });
        }
        let data = match batch.data {
            BatchData::Calldata(data) => Ok(data),
            BatchData::Blobs(hashes) => {
                let expected = hashes.len().clamp(1, MAX_BLOBS);
                if blobs.len() != expected {
                    return Err(LogError::Blobs { expected, got: blobs.len() });
                }
                batch::unpack_blobs(blobs)
            }
        };
        self.forced_up_to = batch.forced_up_to;
        Ok(PendingBatch { submitter: batch.submitter, forced_up_to: batch.forced_up_to, data })
    }

    /// Number of forced items in the records so far.
    fn forced_end(&self) -> u64 {
        self.head.forced_count + self.forced.len() as u64
    }

    /// The next step; `None` needs another record. A block is named again until its execution is reported.
    pub fn step(&mut self) -> Option<Step> {
        let entry = self.entry(self.cursor.record)?;
        let Some(batch) = &entry.batch else {
            return Some(self.exhaust());
        };
        let (submitter, forced_up_to) = (batch.submitter, batch.forced_up_to);
        if self.cursor.block != PAYLOAD_OVER {
            let payload = match self.payload.take() {
                Some(payload) => payload,
                None => self.open_payload(),
            };
            let block = usize::try_from(self.cursor.block).ok();
            let block = block.and_then(|i| payload.blocks.get(i)).cloned();
            self.payload = Some(payload);
            if let Some(block) = block {
                return Some(self.payload_block(block, forced_up_to));
            }
        }
        if self.head.forced_count < forced_up_to {
            return Some(self.derived_block(submitter, forced_up_to));
        }
        Some(self.exhaust())
    }

    /// The block of the last step is the head now.
    ///
    /// # Panics
    /// If the last step was no block, or `header` is not what its input executes to.
    pub fn applied(&mut self, header: &Header) {
        let awaiting = self.awaiting.take().expect("applied() answers a Step::Block");
        let head = Head::of(header).expect("a header that execution made has valid extraData");
        let consumed = head.forced_count.checked_sub(self.head.forced_count);
        let consumed = consumed.expect("forced items are consumed in order") as usize;
        self.forced.drain(..consumed);
        self.cursor.forced = head.forced_count;
        self.cursor.block = match awaiting {
            Awaiting::Payload => self.cursor.block + 1,
            Awaiting::Derived => PAYLOAD_OVER,
        };
        self.head = head;
        self.prune();
    }

    /// The block of the last step cannot execute: its batch's payload is over. A derived block always can, so the error means
    /// that the records are not of an Inbox, or a bug; the derivation is unchanged then.
    ///
    /// # Panics
    /// If the last step was no block.
    pub fn rejected(&mut self) -> Result<(), LogError> {
        match self.awaiting.take().expect("rejected() answers a Step::Block") {
            Awaiting::Derived => Err(LogError::DerivedBlock),
            Awaiting::Payload => {
                self.end_payload();
                Ok(())
            }
        }
    }

    fn entry(&self, record: u64) -> Option<&Entry> {
        self.records.get(usize::try_from(record.checked_sub(self.first)?).ok()?)
    }

    /// Decodes the data at the cursor and, unless blocks of it stand already, checks what it stands on.
    fn open_payload(&self) -> Payload {
        let batch = self.entry(self.cursor.record).and_then(|entry| entry.batch.as_ref());
        let Some(batch) = batch else {
            return Payload::default();
        };
        let decoded = batch
            .data
            .as_ref()
            .map_err(|e| *e)
            .and_then(|data| batch::decode(data, &self.limits, self.config.l2_chain_id));
        match decoded {
            Err(error) => Payload { blocks: Vec::new(), skipped: Some(Skip::Payload(error)) },
            Ok(None) => Payload::default(),
            Ok(Some(batch)) => {
                let (named, head) = (batch.parent_hash, self.head.hash);
                if self.cursor.block == 0 && named != head {
                    let skipped = Some(Skip::WrongParent { named, head });
                    return Payload { blocks: Vec::new(), skipped };
                }
                Payload { blocks: batch.blocks, skipped: None }
            }
        }
    }

    fn payload_block(&mut self, block: BatchBlock, forced_up_to: u64) -> Step {
        let (record, index) = (self.cursor.record, self.cursor.block);
        match self.payload_input(block, forced_up_to) {
            Ok(input) => {
                self.awaiting = Some(Awaiting::Payload);
                Step::Block(BlockStep { record, block: Some(index), input })
            }
            Err(reason) => {
                self.end_payload();
                Step::Rejected { record, block: index, reason }
            }
        }
    }

    fn payload_input(&self, block: BatchBlock, forced_up_to: u64) -> Result<BlockInput, Rejection> {
        let forced_at = |item: u64| {
            let at = usize::try_from(item.checked_sub(self.head.forced_count)?).ok()?;
            self.forced.get(at).map(|(record, _)| *record)
        };
        let context = RuleContext {
            record: self.cursor.record,
            forced_up_to,
            timestamp_of: &|record| self.entry(record).map(|entry| entry.env.timestamp),
            record_of_forced: &forced_at,
            max_origin_lag: self.config.max_origin_lag,
            timestamp_drift: self.config.timestamp_drift,
        };
        check(&self.head, &block, &context)?;
        let origin = self.origin(block.origin).ok_or(Rejection::OriginOutOfRange)?;
        let transactions: Result<Vec<_>, _> =
            block.transactions.into_iter().map(RecoveredTransaction::recover).collect();
        let attributes = BlockAttributes {
            timestamp: block.timestamp,
            beneficiary: block.beneficiary,
            origin,
            blocks_in_second: self.head.next_in_second(block.timestamp),
        };
        // Bounded by the check above.
        let forced = self.forced.iter().take(block.forced as usize);
        Ok(BlockInput {
            attributes,
            forced: forced.map(|(_, item)| item.clone()).collect(),
            transactions: transactions.map_err(|_| Rejection::Signature)?,
        })
    }

    /// As many forced items as surely fit: their gas limits sum to at most a block's. Each fits alone, see `push_forced`.
    fn derived_block(&mut self, submitter: Address, forced_up_to: u64) -> Step {
        let record = self.cursor.record;
        let origin = self.origin(record - 1).expect("records before the cursor are kept");
        let at = self.entry(record).map_or(0, |entry| entry.env.timestamp);
        let timestamp = at.max(self.head.timestamp);
        let due = (forced_up_to - self.head.forced_count) as usize;
        let mut gas = 0u64;
        let forced = self.forced.iter().take(due).map(|(_, item)| item).take_while(|item| {
            gas += item.gas_limit;
            gas <= BLOCK_GAS_LIMIT
        });
        let is_same_second = timestamp == self.head.timestamp;
        let input = BlockInput {
            attributes: BlockAttributes {
                timestamp,
                beneficiary: submitter,
                origin,
                blocks_in_second: if is_same_second { self.head.blocks_in_second } else { 0 },
            },
            forced: forced.cloned().collect(),
            transactions: Vec::new(),
        };
        self.awaiting = Some(Awaiting::Derived);
        Step::Block(BlockStep { record, block: None, input })
    }

    fn origin(&self, index: u64) -> Option<Origin> {
        let entry = self.entry(index)?;
        Some(Origin { index, accumulator: entry.accumulator, env: entry.env })
    }

    fn end_payload(&mut self) {
        self.cursor.block = PAYLOAD_OVER;
        if let Some(payload) = &mut self.payload {
            payload.blocks = Vec::new();
        }
    }

    fn exhaust(&mut self) -> Step {
        let record = self.cursor.record;
        let skipped = self.payload.take().and_then(|payload| payload.skipped);
        if let Some(entry) = self.records.get_mut((record - self.first) as usize) {
            entry.batch = None;
        }
        self.cursor = Cursor { record: record + 1, block: 0, ..self.cursor };
        self.prune();
        Step::Exhausted { record, skipped }
    }

    /// Forgets records that no rule can name again. The one before the cursor stays: derived blocks name it.
    fn prune(&mut self) {
        let needed = self.head.origin.min(self.cursor.record.saturating_sub(1));
        while self.first < needed && self.records.pop_front().is_some() {
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests;
