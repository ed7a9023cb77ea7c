//! Batch payloads and blob packing (spec/batch.md).
//!
//! Encoding, in the host: [`encode_content`], a zstd frame of that, [`payload`], and for blobs [`pack_blobs`].
//! Decoding, everywhere: [`unpack_blobs`] or the calldata itself, then [`decode`].

mod blob;
mod content;

pub use blob::{BLOB_CAPACITY, data_capacity, pack_blobs, unpack_blobs};
pub use content::{
    BLOCK_LEN_BOUND, CONTENT_OVERHEAD_BOUND, decode_content, encode_content, transaction_len,
};

use crate::{BatchBlock, MAX_BLOBS, MAX_L1_DATA};
use alloy_primitives::B256;
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// What a batch says when its data is not empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Hash of the block the first one stands on.
    pub parent_hash: B256,
    /// Neither timestamps nor origins decrease.
    pub blocks: Vec<BatchBlock>,
}

/// What decoders accept at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of content, and of the zstd window.
    pub max_content: usize,
    pub max_blocks: usize,
    pub max_transactions: usize,
    /// Bytes of one raw transaction.
    pub max_raw: usize,
}

impl Limits {
    /// The chain's; other limits are another chain.
    pub const SPEC: Self = Self {
        max_content: 8 << 20,
        max_blocks: 4_096,
        max_transactions: 65_536,
        max_raw: 1 << 20,
    };
}

/// Why data yields no batch. Part of the protocol: every implementation names the same reason, which is that of the
/// first failure in the order of spec/batch.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    #[error("a blob's field element has a non-zero high byte")]
    BlobElement,
    #[error("the length in the first blob exceeds what the blobs hold")]
    BlobLength,
    #[error("unknown payload version")]
    Version,
    #[error("not exactly one zstd frame within the limits")]
    Compression,
    #[error("the content or a column ends early")]
    Truncated,
    #[error("the content or a column has bytes left over")]
    Trailing,
    #[error("an integer is not in shortest form or too large")]
    Varint,
    #[error("too many blocks")]
    TooManyBlocks,
    #[error("too many transactions")]
    TooManyTransactions,
    #[error("timestamps or origin indices overflow")]
    Overflow,
    #[error("unknown block flag, or a first block without beneficiary")]
    Flags,
    #[error("unknown transaction kind")]
    Kind,
    #[error("a value is longer than 32 bytes or begins with zero")]
    Value,
    #[error("a raw transaction is too long")]
    RawTooLong,
    #[error("a raw transaction is not the encoding of a transaction of type 0, 1, 2 or 4")]
    Transaction,
}

const VERSION: u8 = 0;

/// The payload around a zstd frame. The frame must be one that [`decode`] takes: content size allowed, no checksum, no
/// dictionary, window at most 8 MiB (libzstd's defaults for one-shot compression at any level).
pub fn payload(frame: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + frame.len());
    out.push(VERSION);
    out.extend_from_slice(frame);
    out
}

/// Decodes a batch record's data; `None` is the empty batch.
///
/// Memory is bounded by a small multiple of `limits.max_content`, whatever the data claims.
pub fn decode(data: &[u8], limits: &Limits, chain_id: u64) -> Result<Option<Batch>, BatchError> {
    let Some((version, frame)) = data.split_first() else {
        return Ok(None);
    };
    if *version != VERSION {
        return Err(BatchError::Version);
    }
    let content = decompress(frame, limits.max_content)?;
    decode_content(&content, limits, chain_id).map(Some)
}

/// Longest content whose payload fits `capacity` bytes of data however badly it compresses (libzstd's
/// `ZSTD_compressBound`). Zero if there is none.
pub const fn max_content(capacity: usize) -> usize {
    let mut content = capacity;
    while content > 0 && 1 + compress_bound(content) > capacity {
        content -= 1;
    }
    content
}

/// [`max_content`] of six blobs.
pub const MAX_BLOB_CONTENT: usize = max_content(data_capacity(MAX_BLOBS));
/// [`max_content`] of a calldata batch.
pub const MAX_CALLDATA_CONTENT: usize = max_content(MAX_L1_DATA);

const fn compress_bound(len: usize) -> usize {
    const BLOCK: usize = 128 << 10;
    len + (len >> 8) + if len < BLOCK { (BLOCK - len) >> 11 } else { 0 }
}

/// Offset of the frame header descriptor, after the magic number.
const DESCRIPTOR_AT: usize = 4;
/// Dictionary id, checksum and reserved bits: nothing a batch needs, and nothing two decoders must agree about.
const FORBIDDEN_DESCRIPTOR_BITS: u8 = 0b0000_1111;
/// Single segment, or an explicit size: the frame states how long its content is.
const SIZED_DESCRIPTOR_BITS: u8 = 0b1110_0000;

/// Decodes block by block and stops as soon as the output exceeds `max`; ruzstd itself stops at 1 MiB a block.
fn decompress(frame: &[u8], max: usize) -> Result<Vec<u8>, BatchError> {
    let failed = BatchError::Compression;
    let descriptor = *frame.get(DESCRIPTOR_AT).ok_or(failed)?;
    if descriptor & FORBIDDEN_DESCRIPTOR_BITS != 0 {
        return Err(failed);
    }
    let mut source = frame;
    let mut decoder = FrameDecoder::new();
    decoder.set_max_window_size(max as u64);
    decoder.init(&mut source).map_err(|_| failed)?;
    let stated = (descriptor & SIZED_DESCRIPTOR_BITS != 0).then(|| decoder.content_size());
    if stated.is_some_and(|size| size > max as u64) {
        return Err(failed);
    }
    let mut content = Vec::new();
    let mut finished = false;
    while !finished {
        let one = BlockDecodingStrategy::UptoBlocks(1);
        finished = decoder.decode_blocks(&mut source, one).map_err(|_| failed)?;
        decoder.collect_to_writer(&mut content).map_err(|_| failed)?;
        if content.len() > max {
            return Err(failed);
        }
    }
    let as_stated = stated.is_none_or(|size| size == content.len() as u64);
    if !source.is_empty() || !as_stated { Err(failed) } else { Ok(content) }
}

#[cfg(test)]
mod tests;
