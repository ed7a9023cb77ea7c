//! Packs sealed blocks into batches.

use annex_store::{Snapshot, StoreError};
use annex_types::{
    BatchBlock, ExtraData,
    batch::{self, MAX_BLOB_CONTENT, MAX_CALLDATA_CONTENT},
    block::ExtraDataError,
};
use std::io;

/// Compression level: beyond it zstd gains little on signatures and addresses.
const LEVEL: i32 = 9;
/// Blocks one batch may hold (spec/batch.md).
const MAX_BLOCKS: usize = 4096;

/// How batches reach L1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    Blobs,
    Calldata,
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

/// The batch of as many blocks after `posted` as fit; none if there is no such block.
pub fn next_batch(
    snapshot: &Snapshot,
    chain_id: u64,
    posted: u64,
    channel: Channel,
) -> Result<Option<Batch>, BatchError> {
    let head = snapshot.head().map_or(0, |head| head.number);
    if head <= posted {
        return Ok(None);
    }
    // Bounds the worst case: content that does not compress at all.
    let room = match channel {
        Channel::Blobs => MAX_BLOB_CONTENT,
        Channel::Calldata => MAX_CALLDATA_CONTENT,
    };
    let parent_hash = snapshot.hash(posted)?.ok_or(StoreError::UnknownBlock(posted))?;
    let mut packed = batch::Batch { parent_hash, blocks: Vec::new() };
    let mut content = Vec::new();
    let mut forced_up_to = forced_count(snapshot, posted)?;
    for number in posted + 1..=head {
        let (block, forced) = batch_block(snapshot, number, forced_up_to)?;
        packed.blocks.push(block);
        let longer = batch::encode_content(&packed, chain_id);
        let fits = longer.len() <= room && packed.blocks.len() <= MAX_BLOCKS;
        // A block alone fits the blobs: the executor seals before it would not.
        if !fits && packed.blocks.len() > 1 {
            packed.blocks.pop();
            break;
        }
        content = longer;
        forced_up_to = forced;
    }
    let last_block = posted + packed.blocks.len() as u64;
    let frame = zstd::bulk::compress(&content, LEVEL)?;
    let data = batch::payload(&frame);
    Ok(Some(Batch { data, first_block: posted + 1, last_block, forced_up_to }))
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
