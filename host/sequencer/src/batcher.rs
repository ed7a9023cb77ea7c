//! Packs sealed blocks into batches.

use alloy_primitives::{Address, B256};
use annex_store::{Snapshot, StoreError};
use annex_types::{
    BatchBlock, ExtraData, MAX_BLOBS, MAX_L1_DATA, RecoveredTransaction,
    batch::{self, BLOCK_LEN_BOUND, CONTENT_OVERHEAD_BOUND, Limits},
    block::ExtraDataError,
};
use std::io;

/// Compression level: beyond it zstd gains little on signatures and addresses.
const LEVEL: i32 = 9;
/// For the size alone.
const QUICK: i32 = 1;
/// Transfers compress to a half and rarely further: more is tried and dropped again.
const EXPECTED_RATIO: usize = 2;

/// How batches reach L1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    Blobs,
    Calldata,
}

impl Channel {
    /// Bytes of data one batch may have.
    pub fn capacity(self) -> usize {
        match self {
            Self::Blobs => batch::data_capacity(MAX_BLOBS),
            Self::Calldata => MAX_L1_DATA,
        }
    }
}

/// Data of a batch and what it covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// `version ‖ zstd frame`, before it is packed into blobs.
    pub data: Vec<u8>,
    pub first_block: u64,
    pub last_block: u64,
    /// Forced items consumed after its last block.
    pub forced_up_to: u64,
    /// Whether sealed blocks had to wait for the next batch.
    pub full: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("a block of the store is not of this chain: {0}")]
    Header(#[from] ExtraDataError),
    #[error("zstd: {0}")]
    Compression(#[from] io::Error),
}

/// The batch of as many blocks after `posted`, up to `last`, as fit; none if there is no such block.
pub fn next_batch(
    snapshot: &Snapshot,
    chain_id: u64,
    posted: u64,
    last: u64,
    channel: Channel,
) -> Result<Option<Batch>, BatchError> {
    let head = snapshot.head().map_or(0, |head| head.number).min(last);
    if head <= posted {
        return Ok(None);
    }
    let capacity = channel.capacity();
    let (mut packed, mut forced) = collect(snapshot, chain_id, posted, head, capacity)?;
    loop {
        let frame = zstd::bulk::compress(&batch::encode_content(&packed, chain_id), LEVEL)?;
        let data = batch::payload(&frame);
        let count = packed.blocks.len();
        // A block alone fits the blobs: the executor seals before it would not.
        if data.len() <= capacity || count == 1 {
            let forced_up_to = forced[count - 1];
            let last_block = posted + count as u64;
            let full = last_block < head;
            return Ok(Some(Batch {
                data,
                first_block: posted + 1,
                last_block,
                forced_up_to,
                full,
            }));
        }
        let fewer = (count * capacity / data.len()).clamp(1, count - 1);
        packed.blocks.truncate(fewer);
        forced.truncate(fewer);
    }
}

/// What these transactions take of a batch, in bytes of its data: compressed alone and in haste, where beside others they take rather
/// less; but as a batch is given [`EXPECTED_RATIO`] times its capacity at most, no less than that part of their content.
pub(crate) fn packed_len(
    transactions: &[RecoveredTransaction],
    chain_id: u64,
) -> Result<usize, io::Error> {
    let signed = transactions.iter().map(|tx| &tx.transaction);
    let signed = signed.filter(|tx| tx.signature().is_some()).cloned();
    let block = BatchBlock {
        timestamp: 0,
        beneficiary: Address::ZERO,
        origin: 0,
        forced: 0,
        transactions: signed.collect(),
    };
    let content: usize =
        block.transactions.iter().map(|tx| batch::transaction_len(tx, chain_id)).sum();
    let alone = batch::Batch { parent_hash: B256::ZERO, blocks: vec![block] };
    let frame = zstd::bulk::compress(&batch::encode_content(&alone, chain_id), QUICK)?;
    Ok(frame.len().clamp(content.div_ceil(EXPECTED_RATIO), content))
}

/// Blocks after `posted` that are likely to fit once they are compressed, and the forced count after each.
fn collect(
    snapshot: &Snapshot,
    chain_id: u64,
    posted: u64,
    head: u64,
    capacity: usize,
) -> Result<(batch::Batch, Vec<u64>), BatchError> {
    let parent_hash = snapshot.hash(posted)?.ok_or(StoreError::UnknownBlock(posted))?;
    let mut packed = batch::Batch { parent_hash, blocks: Vec::new() };
    let mut forced = Vec::new();
    let mut before = forced_count(snapshot, posted)?;
    let mut content = CONTENT_OVERHEAD_BOUND;
    let mut transactions = 0;
    for number in posted + 1..=head {
        let (block, after) = batch_block(snapshot, number, before)?;
        let lengths = block.transactions.iter().map(|tx| batch::transaction_len(tx, chain_id));
        content += BLOCK_LEN_BOUND + lengths.sum::<usize>();
        transactions += block.transactions.len();
        let full = content > (capacity * EXPECTED_RATIO).min(Limits::SPEC.max_content)
            || transactions > Limits::SPEC.max_transactions
            || packed.blocks.len() >= Limits::SPEC.max_blocks;
        if full && !packed.blocks.is_empty() {
            break;
        }
        packed.blocks.push(block);
        forced.push(after);
        before = after;
    }
    Ok((packed, forced))
}

fn forced_count(snapshot: &Snapshot, number: u64) -> Result<u64, BatchError> {
    let (header, _) = snapshot.header(number)?.ok_or(StoreError::UnknownBlock(number))?;
    Ok(ExtraData::decode(&header.extra_data)?.forced_count)
}

/// A sealed block as batches carry it, and the forced count after it.
fn batch_block(
    snapshot: &Snapshot,
    number: u64,
    forced_before: u64,
) -> Result<(BatchBlock, u64), BatchError> {
    let block = snapshot.block(number)?.ok_or(StoreError::UnknownBlock(number))?;
    let extra = ExtraData::decode(&block.header.extra_data)?;
    let signed = block.transactions.into_iter().map(|tx| tx.transaction);
    let block = BatchBlock {
        timestamp: block.header.timestamp,
        beneficiary: block.header.beneficiary,
        origin: extra.origin,
        forced: extra.forced_count - forced_before,
        transactions: signed.filter(|tx| tx.signature().is_some()).collect(),
    };
    Ok((block, extra.forced_count))
}
