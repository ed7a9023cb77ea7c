//! Roots of lists.

use alloy_primitives::B256;

use crate::build::{Builder, Built, Change, Entry};
use crate::{EMPTY_ROOT, Trie, WitnessSource};

/// Root of the trie of `values` (none of them empty) by the RLP of their index: what a header holds
/// of transactions and receipts.
pub fn ordered_root(values: impl IntoIterator<Item = Vec<u8>>) -> B256 {
    let entry = |(index, value): (usize, Vec<u8>)| {
        let mut key = B256::ZERO;
        let rlp = alloy_rlp::encode_fixed_size(&index);
        key[..rlp.len()].copy_from_slice(&rlp);
        (key, value)
    };
    let mut entries: Vec<Entry> = values.into_iter().enumerate().map(entry).collect();
    entries.sort_unstable_by_key(|(key, _)| *key);
    let (source, mut nodes) = (WitnessSource::default(), Vec::new());
    let trie = Trie::new(&source, None, EMPTY_ROOT);
    let mut builder = Builder::new(&trie, &mut nodes);
    builder.key_nibbles = |key| index_len(key) * 2;
    let built = builder.insert(0, Built::Empty, &mut entries).expect("nothing is loaded");
    builder.finish_root(Change { built, place: None })
}

/// Bytes of the index at the start of a key. No index is the start of another, so that what
/// follows it in the key never tells two keys apart.
fn index_len(key: &B256) -> usize {
    match key[0] {
        0..=0x80 => 1,
        more => 1 + (more - 0x80) as usize,
    }
}
