//! Everything that the step from a leaf to the next reads, whatever it does (spec/claim.md, "Input").

use super::{CORRUPT, Leaves, StoredLeaf, leaf};
use crate::{
    progress,
    proofs::{ExecutionWitness, keep_rejected, kept, kept_rejected},
    verify::Claim,
};
use alloy_eips::eip4844::Blob;
use alloy_primitives::B256;
use annex_claim::{ClaimError, Missing, PrepareError, StepData, prepare, step};
use annex_derive::{Checkpoint, Cursor, Derivation, LogError, PAYLOAD_OVER, Step};
use annex_state::{Recorder, TrieError, TrieReader, Witness};
use annex_stf::{ApplyError, apply_block};
use annex_store::{Snapshot, StoreError};
use annex_types::{
    BatchData, BatchRecord, BlockInput, ExtraData, Header, MAX_BLOBS, Record, RecordPayload,
    block::ExtraDataError,
};

/// Why a step cannot be put together.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// It may come, or was pruned.
    #[error("leaf {0} is not known")]
    UnknownLeaf(u64),
    #[error("record {0} is not known")]
    UnknownRecord(u64),
    /// The state is not kept so far back, and no witness was kept: `--history`, `--keep-witnesses`.
    #[error("the state of block {block}, which the step of leaf {leaf} reads, is no longer kept")]
    Pruned { leaf: u64, block: u64 },
    /// Its records were replaced by a reorganisation that is being followed.
    #[error("leaf {0} is being replaced: L1 reorganised")]
    Replaced(u64),
    /// The program of the chain and this node do not do the same, or the store is damaged.
    #[error("the step of leaf {leaf} leads to {made}, not to {kept}")]
    Differs { leaf: u64, made: B256, kept: B256 },
    #[error("the step of leaf {leaf}: {source}")]
    Step { leaf: u64, source: ClaimError<Missing> },
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    #[error("a block of the store is not of this chain: {0}")]
    Header(#[from] ExtraDataError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<ApplyError<TrieError<StoreError>, StoreError>> for StepError {
    fn from(error: ApplyError<TrieError<StoreError>, StoreError>) -> Self {
        match error {
            ApplyError::Reader(error) | ApplyError::Trie(error) => Self::Store(error.into()),
            ApplyError::Parent(error) => error.into(),
        }
    }
}

/// Blobs that a step reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobsNeeded {
    /// Number of the L1 block that carries them.
    pub l1_block: u64,
    /// Versioned hashes.
    pub hashes: Vec<B256>,
}

impl Leaves {
    /// Blobs that the step from leaf `index` reads; none if it reads none.
    pub fn blobs_of(&self, index: u64) -> Result<Option<BlobsNeeded>, StepError> {
        let snapshot = self.store.snapshot()?;
        let leaf = leaf(&snapshot, index)?.ok_or(StepError::UnknownLeaf(index))?;
        let record = stored(&snapshot, leaf.cursor.record)?;
        Ok(blobs_needed(leaf.cursor, &record))
    }

    /// The step from leaf `index`, whatever it does. `blobs` are those of [`blobs_of`](Self::blobs_of). It is taken natively,
    /// too, and must lead to the next leaf. Takes as long as executing the block twice.
    pub fn step_claim(&self, index: u64, blobs: &[Blob]) -> Result<Claim, StepError> {
        let snapshot = self.store.snapshot()?;
        let at = |index| leaf(&snapshot, index)?.ok_or(StepError::UnknownLeaf(index));
        let (from, to) = (at(index)?, at(index + 1)?);
        let (head, _) = snapshot.header(from.block)?.ok_or(StoreError::UnknownBlock(from.block))?;
        let records = records(&snapshot, &head, from.cursor)?;
        let previous = match records[0].index.checked_sub(1) {
            Some(before) => stored(&snapshot, before)?.accumulator,
            None => B256::ZERO,
        };
        let input = self.decide(&head, from.cursor, &records, blobs)?;
        let witness = match input {
            None => Witness::default(),
            Some(input) => match kept_witness(&snapshot, &from, &to)? {
                Some(witness) => witness,
                None => self.witness(&snapshot, index, &head, &input)?,
            },
        };
        let (input, preimages) = prepare(&StepData {
            config: &self.config,
            head: &head,
            cursor: from.cursor,
            records: &records,
            previous,
            blobs,
            witness: &witness,
        })?;
        if input.leaf() != from.hash {
            return Err(StepError::Replaced(index));
        }
        let taken = step(input.hash(), &preimages)
            .map_err(|source| StepError::Step { leaf: index, source })?;
        let (made, kept) = (taken.leaf.hash(), to.hash);
        if made != kept {
            return Err(StepError::Differs { leaf: index, made, kept });
        }
        Ok(Claim { input, preimages, state_root: head.state_root })
    }

    /// The block that a step executes, if it executes one.
    fn decide(
        &self,
        head: &Header,
        cursor: Cursor,
        records: &[Record],
        blobs: &[Blob],
    ) -> Result<Option<BlockInput>, StepError> {
        let first_record = records[0].index;
        let checkpoint = Checkpoint { cursor, first_record };
        let mut derivation = Derivation::resume(self.config.clone(), head, &checkpoint)?;
        // Data that is not read any more is not decoded either.
        let over = match cursor.block {
            PAYLOAD_OVER => vec![Blob::ZERO; blob_count(records)],
            _ => Vec::new(),
        };
        let blobs = if cursor.block == PAYLOAD_OVER { &over[..] } else { blobs };
        for record in records {
            let own = record.index == cursor.record;
            derivation.push(record.clone(), if own { blobs } else { &[] })?;
        }
        Ok(match derivation.step() {
            Some(Step::Block(block)) => Some(block.input),
            Some(Step::Rejected { .. } | Step::Exhausted { .. }) | None => None,
        })
    }

    /// Keeps the witness of a block that was just rejected on the state of block `parent`; the step led to `leaf`. Nobody
    /// could build it once that state is out of reach.
    pub(crate) fn keep_rejected(
        &self,
        parent: u64,
        input: &BlockInput,
        leaf: B256,
    ) -> Result<(), StepError> {
        let snapshot = self.store.snapshot()?;
        let (header, _) = snapshot.header(parent)?.ok_or(StoreError::UnknownBlock(parent))?;
        let index = snapshot.leaf_index(leaf)?.ok_or(CORRUPT)?;
        let Witness { nodes, codes } = self.witness(&snapshot, index - 1, &header, input)?;
        drop(snapshot);
        let witness = ExecutionWitness { state: nodes, codes, ..ExecutionWitness::default() };
        Ok(keep_rejected(&self.store, leaf, &witness)?)
    }

    /// What executing a block touches, to its end or to where it fails.
    fn witness(
        &self,
        snapshot: &Snapshot,
        leaf: u64,
        parent: &Header,
        input: &BlockInput,
    ) -> Result<Witness, StepError> {
        let view = snapshot.at(parent.number).map_err(|error| match error {
            StoreError::Pruned { block, .. } => StepError::Pruned { leaf, block },
            error => error.into(),
        })?;
        let recorder = Recorder::new(&view);
        let reader = TrieReader::new(&recorder, view.root(), (parent.number, view.hash()));
        // A block that is rejected has a witness, too.
        let _executed = apply_block(&self.config, parent, input, reader, &recorder)?;
        Ok(recorder.into_witness())
    }
}

fn stored(snapshot: &Snapshot, index: u64) -> Result<Record, StepError> {
    let found = progress::record(snapshot, index)?;
    found.map(|stored| stored.record).ok_or(StepError::UnknownRecord(index))
}

fn blobs_needed(cursor: Cursor, record: &Record) -> Option<BlobsNeeded> {
    match &record.payload {
        RecordPayload::Batch(BatchRecord { data: BatchData::Blobs(hashes), .. })
            if cursor.block != PAYLOAD_OVER =>
        {
            Some(BlobsNeeded { l1_block: record.env.l1_block_number, hashes: hashes.clone() })
        }
        _ => None,
    }
}

fn blob_count(records: &[Record]) -> usize {
    match records.last().map(|record| &record.payload) {
        Some(RecordPayload::Batch(BatchRecord { data: BatchData::Blobs(hashes), .. })) => {
            hashes.len().clamp(1, MAX_BLOBS)
        }
        _ => 0,
    }
}

/// All records that a step can read: up to the cursor's from the head's origin, the one before the cursor's or that of the
/// first forced item that is not consumed, whichever is first.
fn records(snapshot: &Snapshot, head: &Header, cursor: Cursor) -> Result<Vec<Record>, StepError> {
    let extra = ExtraData::decode(&head.extra_data)?;
    let unconsumed = progress::record_of_forced(snapshot, extra.forced_count)?;
    let first = extra.origin.min(cursor.record.saturating_sub(1));
    let first = first.min(unconsumed.unwrap_or(first));
    (first..=cursor.record).map(|index| stored(snapshot, index)).collect()
}

/// The witness that was kept of the block that a step makes or rejects.
fn kept_witness(
    snapshot: &Snapshot,
    from: &StoredLeaf,
    to: &StoredLeaf,
) -> Result<Option<Witness>, StoreError> {
    let found = match to.block > from.block {
        true => {
            let hash = snapshot.hash(to.block)?.ok_or(StoreError::UnknownBlock(to.block))?;
            kept(snapshot, to.block, hash)?
        }
        false => kept_rejected(snapshot, to.hash)?,
    };
    Ok(found.map(|ExecutionWitness { state, codes, .. }| Witness { nodes: state, codes }))
}
