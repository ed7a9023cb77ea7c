//! The liar: a false book out of a true one. For tests and for `annex dev --with-liar`.

use crate::Book;

/// Where a liar's commitments leave the true ones, by level. Beyond the end of a tree: at its last leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forgery {
    /// Distinguishes liars.
    pub seed: u64,
    /// First false leaf by level.
    pub at: [u64; 3],
    pub leaf: FalseLeaf,
}

/// What the false leaf of level 0 is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FalseLeaf {
    /// Another output root, with a header that opens it.
    Output,
    /// FAULT, of the leaf before.
    Fault,
    /// Garbage at one place; the last leaf is the true one.
    Middle,
}

impl Forgery {
    /// The liar's book: forges whatever `truth` holds.
    pub fn forge(&self, truth: &Book) -> Book {
        truth.clone()
    }
}
