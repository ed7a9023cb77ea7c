//! The state machine.

use crate::step::{BatchTerms, Cursor, Decision, Log, Payload, Position, Skip};
use crate::{Head, PAYLOAD_OVER, Rejection};
use alloy_eips::eip4844::Blob;
use alloy_primitives::{B256, Bytes};
use annex_types::batch::{self, BatchError, Limits};
use annex_types::{
    BatchData, BatchRecord, BlockInput, ChainConfig, ForcedItem, Header, MAX_BLOBS, Origin, Record,
    RecordEnv, RecordPayload, TX_GAS_LIMIT_CAP, block::ExtraDataError,
};
use core::convert::Infallible;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

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
    terms: BatchTerms,
    data: Result<Bytes, BatchError>,
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
        let terms = BatchTerms { submitter: batch.submitter, forced_up_to: batch.forced_up_to };
        Ok(PendingBatch { terms, data })
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
        let terms = batch.terms;
        if self.cursor.block != PAYLOAD_OVER && self.payload.is_none() {
            self.payload = Some(self.open_payload());
        }
        let block = usize::try_from(self.cursor.block).ok();
        let block = self.payload.as_ref().zip(block).and_then(|(it, i)| it.blocks.get(i)).cloned();
        let position = Position { config: &self.config, head: &self.head, cursor: self.cursor };
        let Ok(decision) = position.decide(&terms, block, &Kept(self));
        Some(self.take(decision))
    }

    fn take(&mut self, decision: Decision) -> Step {
        let (record, block) = (self.cursor.record, self.cursor.block);
        match decision {
            Decision::Block { input, derived } => {
                self.awaiting = Some(if derived { Awaiting::Derived } else { Awaiting::Payload });
                Step::Block(BlockStep { record, block: (!derived).then_some(block), input: *input })
            }
            Decision::Rejected(reason) => {
                self.end_payload();
                Step::Rejected { record, block, reason }
            }
            Decision::Exhausted => self.exhaust(),
        }
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
        let derived = matches!(awaiting, Awaiting::Derived);
        self.cursor = self.cursor.applied(derived, head.forced_count);
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

    fn open_payload(&self) -> Payload {
        let batch = self.entry(self.cursor.record).and_then(|entry| entry.batch.as_ref());
        let Some(batch) = batch else {
            return Payload::default();
        };
        let data = batch.data.as_ref().map(|data| &data[..]).map_err(|e| *e);
        Payload::open(data, &self.limits, self.config.l2_chain_id, self.head.hash, self.cursor)
    }

    fn end_payload(&mut self) {
        self.cursor = self.cursor.payload_over();
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
        self.cursor = self.cursor.exhausted();
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

/// What a derivation keeps of the log.
struct Kept<'a>(&'a Derivation);

impl Kept<'_> {
    fn forced_entry(&self, item: u64) -> Option<&(u64, ForcedItem)> {
        let at = item.checked_sub(self.0.head.forced_count)?;
        self.0.forced.get(usize::try_from(at).ok()?)
    }

    /// A batch's `forcedUpTo` is within the items pushed before it.
    fn forced_item(&self, item: u64) -> &ForcedItem {
        &self.forced_entry(item).expect("unconsumed items are kept").1
    }
}

impl Log for Kept<'_> {
    type Error = Infallible;

    fn timestamp(&self, record: u64) -> Option<u64> {
        self.0.entry(record).map(|entry| entry.env.timestamp)
    }

    fn record_of_forced(&self, item: u64) -> Option<u64> {
        self.forced_entry(item).map(|(record, _)| *record)
    }

    fn origin(&self, index: u64) -> Result<Origin, Infallible> {
        let entry = self.0.entry(index).expect("records from the head's origin on are kept");
        Ok(Origin { index, accumulator: entry.accumulator, env: entry.env })
    }

    fn forced_gas(&self, item: u64) -> Result<u64, Infallible> {
        Ok(self.forced_item(item).gas_limit)
    }

    fn forced(&self, item: u64) -> Result<ForcedItem, Infallible> {
        Ok(self.forced_item(item).clone())
    }
}

#[cfg(test)]
mod tests;
