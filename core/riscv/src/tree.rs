//! Hashing of Merkle trees.

use alloy_primitives::keccak256;
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
