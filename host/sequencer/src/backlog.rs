//! Data that waits for L1, and the price it puts on more of it (spec/fees.md, "The leader's price").

use crate::batcher::packed_len;
use alloy_eips::eip4844::fake_exponential;
use annex_store::{Snapshot, Store, StoreError, in_parallel};
use annex_types::batch;
use std::collections::VecDeque;

/// Wei: where the price starts, the tip that wallets are told to pay in quiet times.
const FIRST_PRICE: u128 = 1_000_000;
/// The price rises e^12-fold from half of the bound to the bound.
const STEEPNESS: u128 = 12;
/// Keeps [`price`] far from overflow.
const MAX_HALF: u128 = 1 << 40;

/// Sealed blocks that L1 does not carry yet.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    /// Number and bytes, oldest first: what its transactions add to a batch before it is compressed, until it was packed alone.
    blocks: VecDeque<(u64, usize)>,
    /// Sum of the bytes.
    bytes: usize,
    /// Bytes beyond which nothing more is taken.
    bound: usize,
}

impl Backlog {
    /// What a store holds beyond block `posted`.
    pub fn restore(
        store: &Store,
        chain_id: u64,
        posted: u64,
        bound: usize,
    ) -> Result<Self, StoreError> {
        let mut backlog = Self { blocks: VecDeque::new(), bytes: 0, bound };
        let snapshot = store.snapshot()?;
        let head = snapshot.head().map_or(0, |head| head.number);
        // A million transactions that wait take a second.
        let mut blocks: Vec<_> = (posted + 1..=head).map(|number| (number, Ok(0))).collect();
        in_parallel(&mut blocks, |(number, bytes)| {
            *bytes = stored_len(&snapshot, *number, chain_id)
        });
        for (number, bytes) in blocks {
            backlog.push(number, bytes?);
        }
        Ok(backlog)
    }

    pub fn push(&mut self, number: u64, bytes: usize) {
        self.blocks.push_back((number, bytes));
        self.bytes += bytes;
    }

    /// Block `number` alone compresses to so many bytes.
    pub fn packed(&mut self, number: u64, bytes: usize) {
        if let Ok(at) = self.blocks.binary_search_by_key(&number, |(number, _)| *number) {
            self.bytes = self.bytes - self.blocks[at].1 + bytes;
            self.blocks[at].1 = bytes;
        }
    }

    /// L1 carries blocks up to `number`.
    pub fn posted(&mut self, number: u64) {
        while self.blocks.front().is_some_and(|(first, _)| *first <= number) {
            self.bytes -= self.blocks.pop_front().map_or(0, |(_, bytes)| bytes);
        }
    }

    /// Blocks after `number` are undone.
    pub fn undone(&mut self, number: u64) {
        while self.blocks.back().is_some_and(|(last, _)| *last > number) {
            self.bytes -= self.blocks.pop_back().map_or(0, |(_, bytes)| bytes);
        }
    }

    /// Whether nothing more is taken, the open block holding `open` bytes.
    pub fn is_full(&self, open: usize) -> bool {
        self.bytes.saturating_add(open) > self.bound
    }

    /// Wei of priority fee that a transaction must pay for each gas, the open block holding `open` bytes.
    pub fn price(&self, open: usize) -> u128 {
        price(self.bytes.saturating_add(open), self.bound)
    }
}

fn stored_len(snapshot: &Snapshot, number: u64, chain_id: u64) -> Result<usize, StoreError> {
    let block = snapshot.block(number)?.ok_or(StoreError::UnknownBlock(number))?;
    Ok(packed_len(&block.transactions, chain_id)?)
}

/// Bytes that the transactions of a block add to a batch, before it is compressed.
pub fn block_content(snapshot: &Snapshot, number: u64, chain_id: u64) -> Result<usize, StoreError> {
    let block = snapshot.block(number)?.ok_or(StoreError::UnknownBlock(number))?;
    let signed = block.transactions.iter().map(|tx| &tx.transaction);
    let signed = signed.filter(|tx| tx.signature().is_some());
    Ok(signed.map(|tx| batch::transaction_len(tx, chain_id)).sum())
}

/// Nothing up to half of the bound, from there on `fakeExponential(1_000_000, 12·(bytes - bound/2), bound/2)`.
fn price(bytes: usize, bound: usize) -> u128 {
    let half = (bound / 2) as u128;
    match (bytes as u128).saturating_sub(half).min(half.max(1)) {
        0 => 0,
        excess if half <= MAX_HALF => {
            fake_exponential(FIRST_PRICE, STEEPNESS * excess, half.max(1))
        }
        excess => fake_exponential(FIRST_PRICE, STEEPNESS * excess * MAX_HALF / half, MAX_HALF),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn backlog(bound: usize) -> Backlog {
        Backlog { bound, ..Backlog::default() }
    }

    #[test]
    fn blocks_count_until_they_are_posted_or_undone() {
        let mut backlog = backlog(100);
        for number in 1..=4 {
            backlog.push(number, 20);
        }
        assert!(!backlog.is_full(20));
        assert!(backlog.is_full(21));
        assert!(backlog.price(0) > FIRST_PRICE);
        backlog.posted(1);
        backlog.undone(3);
        assert_eq!(backlog.bytes, 40);
        assert_eq!(backlog.price(10), 0);
        assert_eq!(backlog.price(11), 1_271_249, "e^(12/50) of the first price");
        backlog.packed(3, 12);
        assert_eq!(backlog.bytes, 32);
        backlog.packed(4, 12);
        backlog.packed(1, 12);
        assert_eq!(backlog.bytes, 32, "neither waits any more");
        backlog.posted(9);
        assert_eq!((backlog.bytes, backlog.blocks.len()), (0, 0));
    }

    #[test]
    fn the_price_starts_at_half_and_ends_at_e_to_the_twelfth() {
        assert_eq!(price(500, 1_000), 0);
        assert_eq!(price(501, 1_000), 1_024_290);
        assert_eq!(price(1_000, 1_000), 162_754_791_418);
        assert_eq!(price(usize::MAX, 1_000), price(1_000, 1_000));
        for bound in [0, 1, 2, 3] {
            assert_eq!(price(0, bound), 0);
        }
    }

    proptest! {
        /// Against the real exponential, and never less for more data.
        #[test]
        fn the_price_is_an_exponential(bound in 2_000_usize..=usize::MAX, part in 0.0..1.0_f64) {
            let half = bound / 2;
            let bytes = half + (half as f64 * part) as usize;
            let got = price(bytes, bound);
            let excess = (bytes - half) as f64 / half as f64;
            let expected = 1e6 * (12.0 * excess).exp();
            if bytes > half {
                prop_assert!((got as f64 / expected - 1.0).abs() < 1e-5, "{got} {expected}");
            }
            prop_assert!(price(bytes.saturating_add(half / 100), bound) >= got);
        }
    }
}
