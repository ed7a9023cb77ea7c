//! Batches as somebody writes them who has read spec/batch.md and has other aims than a leader: nothing is checked here.

use alloy_eips::eip4844::Blob;
use alloy_primitives::{Address, B256, Bytes, keccak256};

/// A block of a batch.
#[derive(Clone, Debug)]
pub struct Block {
    pub timestamp: u64,
    pub beneficiary: Address,
    /// Record index.
    pub origin: u64,
    /// Forced items consumed.
    pub forced: u64,
    /// EIP-2718 encodings.
    pub transactions: Vec<Bytes>,
}

/// Bytes of data in one blob, behind the length.
const BLOB_DATA: usize = 4_096 * 31 - 4;
/// RFC 8878: no block regenerates more.
const MAX_ZSTD_BLOCK: usize = 128 << 10;

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 1 << 7 {
        out.push(value as u8 | 1 << 7);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Content of a batch: every transaction is of kind 0 (raw), every block names its beneficiary.
fn content(parent: B256, blocks: &[Block]) -> Vec<u8> {
    let [mut timestamps, mut beneficiaries, mut flags, mut origins] = [const { Vec::new() }; 4];
    let [mut forced, mut counts, mut kinds, mut raw_lengths, mut raw] = [const { Vec::new() }; 5];
    let (mut timestamp, mut origin) = (0, 0);
    for block in blocks {
        put_varint(&mut timestamps, block.timestamp.wrapping_sub(timestamp));
        put_varint(&mut origins, block.origin.wrapping_sub(origin));
        (timestamp, origin) = (block.timestamp, block.origin);
        beneficiaries.extend(block.beneficiary);
        flags.push(1);
        put_varint(&mut forced, block.forced);
        put_varint(&mut counts, block.transactions.len() as u64);
        for transaction in &block.transactions {
            kinds.push(0);
            put_varint(&mut raw_lengths, transaction.len() as u64);
            raw.extend(transaction);
        }
    }
    let mut out = parent.to_vec();
    put_varint(&mut out, blocks.len() as u64);
    // Nine columns of kinds 1 and 2 stand between the kinds and the raw lengths.
    let plain = [const { Vec::new() }; 9];
    let first = [timestamps, beneficiaries, flags, origins, forced, counts, kinds];
    for column in first.into_iter().chain(plain).chain([raw_lengths, raw]) {
        put_varint(&mut out, column.len() as u64);
        out.extend(column);
    }
    out
}

/// A zstd frame (RFC 8878) of blocks `(kind, size, bytes)`; kind 0 is raw, 1 repeats one byte.
pub fn frame(blocks: &[(u32, u32, &[u8])]) -> Vec<u8> {
    // Magic number; no content size, checksum or dictionary; a window of 8 MiB.
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 13 << 3];
    for (index, (kind, size, bytes)) in blocks.iter().enumerate() {
        let last = u32::from(index + 1 == blocks.len());
        frame.extend(&(last | kind << 1 | size << 3).to_le_bytes()[..3]);
        frame.extend(*bytes);
    }
    frame
}

/// Data of a batch, uncompressed.
pub fn payload(parent: B256, blocks: &[Block]) -> Vec<u8> {
    let content = content(parent, blocks);
    let chunks: Vec<_> =
        content.chunks(MAX_ZSTD_BLOCK).map(|chunk| (0, chunk.len() as u32, chunk)).collect();
    [vec![0], frame(&chunks)].concat()
}

/// 60 kB that unpack to 1.9 GB.
pub fn bomb() -> Vec<u8> {
    let blocks: Vec<(u32, u32, &[u8])> = vec![(1, MAX_ZSTD_BLOCK as u32, &[0]); 15_000];
    [vec![0], frame(&blocks)].concat()
}

/// Bytes that mean nothing, the same every time.
pub fn noise(length: usize) -> Vec<u8> {
    let words = (0u64..).flat_map(|word| keccak256(word.to_be_bytes()).0);
    words.take(length).collect()
}

/// `data` in one blob, which says that it holds `claimed` bytes.
pub fn blob(claimed: u32, data: &[u8]) -> Blob {
    assert!(data.len() <= BLOB_DATA, "one blob");
    let stream = [&claimed.to_be_bytes()[..], data].concat();
    let mut blob = Blob::ZERO;
    for (element, bytes) in blob.chunks_exact_mut(32).zip(stream.chunks(31)) {
        element[1..=bytes.len()].copy_from_slice(bytes);
    }
    blob
}
