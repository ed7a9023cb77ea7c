//! The leaves that the chain went through, one for each step of derivation (spec/claim.md): what settlement claims, and what
//! it proves the steps between.
//!
//! They are written by the follower, in the writes in which it keeps how far it is, and go with L1's reorganisations.

mod step;

pub use step::{BlobsNeeded, StepError};

use crate::proofs::prune_rejected;
use alloy_primitives::B256;
use annex_claim::{Leaf, OutputRoot, fault_leaf};
use annex_derive::Cursor;
use annex_riscv::Tree;
use annex_store::{Snapshot, Store, StoreError};
use annex_types::{ChainConfig, Header};
use std::ops::RangeInclusive;

/// Height of the tree over the leaves of a range (spec/settlement.md, "Commitments").
pub const RANGE_HEIGHT: u8 = 26;

/// Most leaves that are pruned in one write, which others have to wait for.
const MAX_PRUNED: u64 = 1 << 13;

const CORRUPT: StoreError = StoreError::Corrupt("leaf");

/// A leaf as it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredLeaf {
    /// See [`Leaf::hash`].
    pub hash: B256,
    /// Number of the block whose output root it has.
    pub block: u64,
    pub cursor: Cursor,
}

impl StoredLeaf {
    /// `block ‖ cursor's record ‖ block ‖ forced`, a big-endian uint64 each.
    pub(crate) fn encode(&self) -> [u8; 32] {
        let Cursor { record, block, forced } = self.cursor;
        let mut bytes = [0; 32];
        let (words, _) = bytes.as_chunks_mut::<8>();
        for (word, value) in words.iter_mut().zip([self.block, record, block, forced]) {
            *word = value.to_be_bytes();
        }
        bytes
    }

    fn decode((hash, bytes): (B256, Vec<u8>)) -> Result<Self, StoreError> {
        let (words, rest) = bytes.as_chunks::<8>();
        match (words, rest) {
            (&[block, record, index, forced], []) => Ok(Self {
                hash,
                block: u64::from_be_bytes(block),
                cursor: Cursor {
                    record: u64::from_be_bytes(record),
                    block: u64::from_be_bytes(index),
                    forced: u64::from_be_bytes(forced),
                },
            }),
            _ => Err(CORRUPT),
        }
    }
}

/// The newest leaf, from which the follower makes the next.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tip {
    /// Steps since genesis.
    pub index: u64,
    block: u64,
    leaf: Leaf,
}

impl Tip {
    /// The newest leaf of the store; the one of genesis if there is none, which is then written.
    pub fn restore(store: &Store) -> Result<Self, StoreError> {
        let snapshot = store.snapshot()?;
        if let Some(kept) = snapshot.leaf_range()? {
            return Self::at(&snapshot, *kept.end());
        }
        let leaf = Leaf { output: output(&snapshot, 0)?, cursor: Cursor::default() };
        let tip = Self { index: 0, block: 0, leaf };
        let stored = tip.stored();
        store.write(|writer| writer.put_leaf(0, stored.hash, &stored.encode()))?;
        Ok(tip)
    }

    pub fn at(snapshot: &Snapshot, index: u64) -> Result<Self, StoreError> {
        let stored = leaf(snapshot, index)?.ok_or(CORRUPT)?;
        let leaf = Leaf { output: output(snapshot, stored.block)?, cursor: stored.cursor };
        if leaf.hash() != stored.hash {
            return Err(CORRUPT);
        }
        Ok(Self { index, block: stored.block, leaf })
    }

    /// A block is the head now, by the step that [`step`](Self::step) will be told.
    pub fn applied(&mut self, header: &Header, hash: B256) {
        self.block = header.number;
        self.leaf.output = OutputRoot {
            state_root: header.state_root,
            withdrawals_root: header.withdrawals_root.unwrap_or_default(),
            block_hash: hash,
        };
    }

    /// A step was taken, to this cursor.
    pub fn step(&mut self, cursor: Cursor) -> StoredLeaf {
        self.index += 1;
        self.leaf.cursor = cursor;
        self.stored()
    }

    pub fn stored(&self) -> StoredLeaf {
        StoredLeaf { hash: self.leaf.hash(), block: self.block, cursor: self.leaf.cursor }
    }
}

fn output(snapshot: &Snapshot, block: u64) -> Result<OutputRoot, StoreError> {
    let (header, _) = snapshot.header(block)?.ok_or(StoreError::UnknownBlock(block))?;
    Ok(OutputRoot::of(&header))
}

/// The leaf after `index` steps from genesis, if it is kept.
pub(crate) fn leaf(snapshot: &Snapshot, index: u64) -> Result<Option<StoredLeaf>, StoreError> {
    snapshot.leaf(index)?.map(StoredLeaf::decode).transpose()
}

/// The oldest leaf that is kept.
pub(crate) fn oldest(snapshot: &Snapshot) -> Result<Option<StoredLeaf>, StoreError> {
    match snapshot.leaf_range()? {
        Some(kept) => leaf(snapshot, *kept.start()),
        None => Ok(None),
    }
}

/// The first leaf whose cursor satisfies `reached`, which holds for all that come after one for which it holds.
fn first(snapshot: &Snapshot, reached: impl Fn(Cursor) -> bool) -> Result<Option<u64>, StoreError> {
    let Some(kept) = snapshot.leaf_range()? else { return Ok(None) };
    let (mut low, mut high) = (*kept.start(), *kept.end() + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        match reached(leaf(snapshot, middle)?.ok_or(CORRUPT)?.cursor) {
            true => high = middle,
            false => low = middle + 1,
        }
    }
    Ok((low <= *kept.end()).then_some(low))
}

/// How many steps from genesis the leaf with this cursor is, if it is kept.
pub(crate) fn index_at(snapshot: &Snapshot, cursor: Cursor) -> Result<Option<u64>, StoreError> {
    let order = |cursor: Cursor| (cursor.record, cursor.block, cursor.forced);
    let Some(index) = first(snapshot, |found| order(found) >= order(cursor))? else {
        return Ok(None);
    };
    let found = leaf(snapshot, index)?.is_some_and(|leaf| leaf.cursor == cursor);
    Ok(found.then_some(index))
}

/// The newest leaf that does not depend on record `keep` or a later one.
pub(crate) fn last_before(snapshot: &Snapshot, keep: u64) -> Result<u64, StoreError> {
    let last = snapshot.leaf_range()?.ok_or(CORRUPT)?;
    match first(snapshot, |cursor| (cursor.record, cursor.block) > (keep, 0))? {
        Some(gone) if gone == *last.start() => Err(CORRUPT),
        Some(gone) => Ok(gone - 1),
        None => Ok(*last.end()),
    }
}

/// What a node knows of the chain's leaves and of the steps between them. Clones are cheap.
#[derive(Clone, Debug)]
pub struct Leaves {
    config: ChainConfig,
    store: Store,
}

impl Leaves {
    pub(crate) fn new(config: ChainConfig, store: Store) -> Self {
        Self { config, store }
    }

    /// The leaf after `index` steps from genesis, which is leaf 0.
    pub fn at(&self, index: u64) -> Result<Option<StoredLeaf>, StoreError> {
        leaf(&self.store.snapshot()?, index)
    }

    /// How many steps from genesis a leaf is. `None` for one that the chain does not go through, as far as this node
    /// followed it, and for one that is no longer kept.
    pub fn index_of(&self, hash: B256) -> Result<Option<u64>, StoreError> {
        self.store.snapshot()?.leaf_index(hash)
    }

    /// Indexes of the leaves that are kept.
    pub fn kept(&self) -> Result<RangeInclusive<u64>, StoreError> {
        self.store.snapshot()?.leaf_range()?.ok_or(CORRUPT)
    }

    /// Index of the first leaf whose cursor's record is not below `end`: it steps to itself in a range that ends there.
    /// `None` if the chain is not followed so far.
    pub fn end_of(&self, end: u64) -> Result<Option<u64>, StoreError> {
        first(&self.store.snapshot()?, |cursor| cursor.record >= end)
    }

    /// The tree of a range that starts at leaf `start` and ends before record `end`: leaf `i` of it is leaf
    /// `start + i + 1` of the chain, and that of the end once it is reached. `None` as for [`end_of`](Self::end_of). Takes
    /// 64 bytes and a hash for each step.
    pub fn tree(&self, start: u64, end: u64) -> Result<Option<Tree>, StoreError> {
        let snapshot = self.store.snapshot()?;
        let Some(last) = first(&snapshot, |cursor| cursor.record >= end)? else { return Ok(None) };
        let last = last.min(start.saturating_add(1 << RANGE_HEIGHT));
        let leaves = match start < last {
            true => snapshot.leaf_hashes(start + 1..=last)?,
            false => snapshot.leaf_hashes(start..=start)?,
        };
        match leaves.is_empty() {
            true => Err(CORRUPT),
            false => Ok(Some(Tree::new(RANGE_HEIGHT, leaves))),
        }
    }

    /// The tree of a range that starts at leaf `start` and in which leaf `at` steps to FAULT.
    pub(crate) fn tree_to_fault(&self, start: u64, at: u64) -> Result<Tree, StoreError> {
        let snapshot = self.store.snapshot()?;
        let mut leaves = match start < at {
            true => snapshot.leaf_hashes(start + 1..=at)?,
            false => Vec::new(),
        };
        leaves.push(fault_leaf(leaf(&snapshot, at)?.ok_or(CORRUPT)?.hash));
        Ok(Tree::new(RANGE_HEIGHT, leaves))
    }

    /// Forgets the leaves before `index`, and the witnesses of rejected blocks between them; if there are many, only the first.
    pub fn prune(&self, index: u64) -> Result<(), StoreError> {
        let first = *self.kept()?.start();
        let index = index.min(first.saturating_add(MAX_PRUNED));
        if first >= index {
            return Ok(());
        }
        let gone = self.store.snapshot()?.leaf_hashes(first..=index - 1)?;
        prune_rejected(&self.store, &gone)?;
        self.store.write(|writer| writer.prune_leaves(index))
    }
}

#[cfg(test)]
pub(crate) mod tests;
