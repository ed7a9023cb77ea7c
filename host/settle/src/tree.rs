//! The tree of a commitment.

use alloy_primitives::{B256, keccak256};
use std::sync::Arc;

/// A tree of spec/settlement.md, cheap to clone. A forged one shares the true one's nodes.
#[derive(Clone, Debug)]
pub struct Tree {
    base: Arc<annex_riscv::Tree>,
    patch: Option<Patch>,
}

/// Leaves `from..to` are all `leaf`.
#[derive(Clone, Debug)]
struct Patch {
    from: u64,
    to: u64,
    /// By height: a subtree of nothing but the leaf.
    uniform: Arc<[B256]>,
}

impl From<annex_riscv::Tree> for Tree {
    fn from(base: annex_riscv::Tree) -> Self {
        Self { base: Arc::new(base), patch: None }
    }
}

impl Tree {
    /// The leaves from the left; the last one repeats.
    ///
    /// # Panics
    ///
    /// As [`annex_riscv::Tree::new`]: without leaves or with too many.
    pub fn new(height: u8, leaves: Vec<B256>) -> Self {
        annex_riscv::Tree::new(height, leaves).into()
    }

    /// The tree with leaves `from..to` replaced. Replaces an earlier patch.
    pub(crate) fn patched(&self, from: u64, to: u64, leaf: B256) -> Self {
        let above = |node: &B256| Some(pair(*node, *node));
        let uniform = std::iter::successors(Some(leaf), above);
        let uniform = uniform.take(usize::from(self.height()) + 1).collect();
        Self { base: self.base.clone(), patch: Some(Patch { from, to, uniform }) }
    }

    /// Binary logarithm of the number of leaves.
    pub fn height(&self) -> u8 {
        self.base.height()
    }

    pub fn leaves(&self) -> u64 {
        1 << self.height()
    }

    /// Leaves before the last one repeats, a forgery aside.
    pub fn known_leaves(&self) -> u64 {
        self.base.known_leaves()
    }

    /// Node `index`, from the left, of those over `2^height` leaves; `None` beyond the tree.
    pub fn node(&self, height: u8, index: u64) -> Option<B256> {
        let base = self.base.node(height, index)?;
        let Some(patch) = &self.patch else { return Some(base) };
        let (first, next) = (index << height, (index + 1) << height);
        if next <= patch.from || patch.to <= first {
            Some(base)
        } else if patch.from <= first && next <= patch.to {
            Some(patch.uniform[usize::from(height)])
        } else {
            // On the border: two such nodes a level.
            let below = height.checked_sub(1)?;
            Some(pair(self.node(below, 2 * index)?, self.node(below, 2 * index + 1)?))
        }
    }

    pub fn root(&self) -> B256 {
        self.node(self.height(), 0).expect("every tree has a root")
    }

    pub fn leaf(&self, index: u64) -> Option<B256> {
        self.node(0, index)
    }

    pub fn last(&self) -> B256 {
        self.node(0, self.leaves() - 1).expect("every tree has a last leaf")
    }

    /// The siblings of leaf `index` from the leaf's up; `None` beyond the tree.
    pub fn path(&self, index: u64) -> Option<Vec<B256>> {
        (0..self.height()).map(|height| self.node(height, index >> height ^ 1)).collect()
    }

    /// The children of the node over `2^height` leaves whose first one is `index`.
    pub fn children(&self, height: u8, index: u64) -> Option<(B256, B256)> {
        let below = height.checked_sub(1)?;
        let left = index.checked_shr(below.into())?;
        Some((self.node(below, left)?, self.node(below, left + 1)?))
    }
}

fn pair(left: B256, right: B256) -> B256 {
    keccak256([left, right].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng, rngs::SmallRng};

    fn naive(leaves: &[B256]) -> B256 {
        match leaves {
            [leaf] => *leaf,
            _ => {
                let (left, right) = leaves.split_at(leaves.len() / 2);
                pair(naive(left), naive(right))
            }
        }
    }

    #[test]
    fn nodes_are_those_of_the_leaves_spelled_out() {
        for seed in 0..200 {
            let mut rng = SmallRng::seed_from_u64(seed);
            let height = rng.random_range(1..=6);
            let count = 1usize << height;
            let known = rng.random_range(1..=count);
            let mut leaves: Vec<_> = (0..known).map(|_| B256::new(rng.random())).collect();
            let mut tree = Tree::new(height, leaves.clone());
            leaves.resize(count, leaves[known - 1]);
            if rng.random() {
                let from = rng.random_range(0..count);
                let to = rng.random_range(from + 1..=count);
                let leaf = B256::new(rng.random());
                tree = tree.patched(from as u64, to as u64, leaf);
                leaves[from..to].fill(leaf);
            }
            for level in 0..=height {
                for (index, below) in (0..).zip(leaves.chunks(1 << level)) {
                    assert_eq!(tree.node(level, index), Some(naive(below)), "seed {seed}");
                }
                assert_eq!(tree.node(level, 1 << (height - level)), None);
            }
            assert_eq!((tree.root(), tree.last()), (naive(&leaves), leaves[count - 1]));
            for (index, leaf) in (0..).zip(&leaves) {
                let path = tree.path(index).expect("a leaf of the tree");
                assert_eq!(annex_riscv::Commitment::root_of(*leaf, index, &path), tree.root());
            }
        }
    }
}
