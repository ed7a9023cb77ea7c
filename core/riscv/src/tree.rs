//! Hashing of Merkle trees.

use alloy_primitives::{B256, keccak256};
use annex_state::keccak256_all;

use crate::memory::DEPTH;

pub(crate) type Node = [u8; 32];

/// How many pairs are hashed in one call.
pub(crate) const GROUP: usize = 256;

/// Two nodes next to each other.
pub(crate) type Pair = [u8; 64];

pub(crate) fn pair(left: &Node, right: &Node) -> Pair {
    let mut pair = [0; 64];
    pair[..32].copy_from_slice(left);
    pair[32..].copy_from_slice(right);
    pair
}

/// `keccak(left ‖ right)`.
pub(crate) fn hash_pair(left: &Node, right: &Node) -> Node {
    keccak256(pair(left, right)).0
}

/// Hashes pairs, in order, several at once.
pub(crate) fn hash_pairs(pairs: &[Pair]) -> impl Iterator<Item = Node> {
    keccak256_all(pairs).into_iter().map(|hash| hash.0)
}

/// Hashes of subtrees of zero chunks, by level.
pub(crate) fn zero_hashes() -> [Node; DEPTH + 1] {
    let mut zero = [[0; 32]; DEPTH + 1];
    for level in 1..=DEPTH {
        zero[level] = hash_pair(&zero[level - 1], &zero[level - 1]);
    }
    zero
}

/// The root that a leaf and its siblings, from the leaf's up, make.
pub(crate) fn root_of(leaf: Node, index: u64, siblings: impl IntoIterator<Item = Node>) -> Node {
    siblings.into_iter().enumerate().fold(leaf, |node, (level, sibling)| {
        if index >> level & 1 == 0 {
            hash_pair(&node, &sibling)
        } else {
            hash_pair(&sibling, &node)
        }
    })
}

/// A binary tree over `2^height` leaves of which all from some place on are the same: all nodes
/// that are not mere repetition of the last leaf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    height: u8,
    /// From the leaves up. A level ends with the last node that covers a known leaf.
    levels: Vec<Vec<Node>>,
    /// By level: a subtree of nothing but the last leaf.
    tail: Vec<Node>,
}

impl Tree {
    /// The greatest height: indices of leaves fit 63 bits.
    pub const MAX_HEIGHT: u8 = 63;

    /// The leaves from the left; the last one repeats.
    ///
    /// # Panics
    ///
    /// Without leaves, with more than `2^height` of them, or above [`Tree::MAX_HEIGHT`].
    pub fn new(height: u8, leaves: Vec<B256>) -> Self {
        assert!(height <= Self::MAX_HEIGHT && leaves.len() as u64 <= 1 << height);
        let mut tail = leaves.last().expect("the caller has a leaf").0;
        let mut level: Vec<Node> = leaves.into_iter().map(|leaf| leaf.0).collect();
        let mut levels = Vec::new();
        let mut tails = Vec::new();
        for _ in 0..height {
            let pair = |nodes: &[Node]| pair(&nodes[0], nodes.get(1).unwrap_or(&tail));
            let mut above = Vec::with_capacity(level.len().div_ceil(2));
            for group in level.chunks(2 * GROUP) {
                let pairs: Vec<_> = group.chunks(2).map(pair).collect();
                above.extend(hash_pairs(&pairs));
            }
            levels.push(std::mem::replace(&mut level, above));
            tails.push(tail);
            tail = hash_pair(&tail, &tail);
        }
        levels.push(level);
        tails.push(tail);
        Self { height, levels, tail: tails }
    }

    /// Binary logarithm of the number of leaves.
    pub fn height(&self) -> u8 {
        self.height
    }

    /// The node above all leaves.
    pub fn root(&self) -> B256 {
        B256::new(self.levels[usize::from(self.height)][0])
    }

    /// Leaves before the last one repeats.
    pub fn known_leaves(&self) -> u64 {
        self.levels[0].len() as u64
    }

    /// Node `index`, from the left, of those over `2^height` leaves; `None` beyond the tree.
    pub fn node(&self, height: u8, index: u64) -> Option<B256> {
        if height > self.height || index >> (self.height - height) != 0 {
            return None;
        }
        let level = usize::from(height);
        // No level has more nodes than memory has room for.
        Some(B256::new(*self.levels[level].get(index as usize).unwrap_or(&self.tail[level])))
    }
}
