//! The liar: a false book out of a true one. For tests and for `annex dev --with-liar`.

use crate::{Book, Need, Opening, Output, Range, Reason, Run, Tree};
use alloy_primitives::{B256, Bytes, keccak256};
use annex_claim::{OutputRoot, fault_leaf};
use annex_derive::Cursor;
use annex_types::Header;

/// A lie, told of every range. Whoever plays with [`Forgery::forge`]'s book defends it with what such a liar has: true states up to
/// where it begins, false ones from there on, and no proof of the instruction that leads to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forgery {
    /// Distinguishes liars.
    pub seed: u64,
    /// First false leaf by level.
    pub at: [Place; 3],
    pub leaf: FalseLeaf,
}

/// A leaf of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// At most the tree's last.
    At(u64),
    /// The last one before the last state repeats.
    Last,
    /// The last of the tree.
    End,
}

/// What the false leaf of level 0 is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FalseLeaf {
    /// Another output root, opened by a made-up header with this block number.
    Output { number: u64 },
    /// FAULT, of the leaf before.
    Fault,
    /// Garbage at one place; the last leaf is the true one.
    Middle,
}

/// Where words of a machine's state lie.
const STATUS: std::ops::Range<usize> = 286..288;
const EXITED: [u8; 2] = [1, 0];
const TRAPPED: [u8; 2] = [2, 0];
const PC: std::ops::Range<usize> = 0..8;
const OUTPUT: std::ops::Range<usize> = 352..384;

impl Place {
    fn index(self, tree: &Tree) -> u64 {
        let end = tree.leaves() - 1;
        match self {
            Self::At(index) => index.min(end),
            Self::Last => tree.known_leaves() - 1,
            Self::End => end,
        }
    }
}

impl Forgery {
    /// The liar's book: what `truth` holds, forged. A pure function, so it can be made anew whenever `truth` grows.
    pub fn forge(&self, truth: &Book) -> Book {
        let mut book = truth.clone();
        for ((start, end), range) in &truth.ranges {
            let (leaf, forged) = self.range(*start, range);
            book.ranges.insert((*start, *end), forged);
            let Some(run) = truth.runs.get(&leaf) else { continue };
            let (stride, forged) = self.run(leaf, run);
            let state = forged.tree.last();
            book.runs.insert(leaf, forged);
            let Some(tree) = truth.strides.get(&(leaf, stride)) else { continue };
            let at = self.at[2].index(tree);
            book.strides.insert((leaf, stride), tree.patched(at, tree.leaves(), state));
            let instruction = (stride << tree.height()) + at;
            book.steps.remove(&(leaf, instruction));
            book.unknown.insert(Need::Step { leaf, instruction }, Reason::Stranger);
        }
        book
    }

    /// The agreed leaf, and the range in which a false one follows it.
    fn range(&self, start: B256, range: &Range) -> (B256, Range) {
        let Range { tree, last } = range;
        let mut at = self.at[0].index(tree);
        if self.leaf == FalseLeaf::Middle {
            // The last leaf must be one that can be opened.
            at = at.min(tree.leaves() - 2);
        }
        let agreed = match at.checked_sub(1) {
            None => start,
            Some(before) => tree.leaf(before).expect("below a leaf of the tree"),
        };
        let (leaf, output) = self.leaf_after(agreed);
        let to = if output.is_some() { tree.leaves() } else { at + 1 };
        let tree = tree.patched(at, to, leaf);
        (agreed, Range { tree, last: output.unwrap_or_else(|| last.clone()) })
    }

    /// The false leaf after `agreed`: a function of nothing else, since ranges overlap.
    fn leaf_after(&self, agreed: B256) -> (B256, Option<Output>) {
        let noise = keccak256([agreed.as_slice(), &self.seed.to_be_bytes()].concat());
        match self.leaf {
            FalseLeaf::Middle => (noise, None),
            FalseLeaf::Fault => (fault_leaf(agreed), Some(Output::Fault { of: agreed })),
            FalseLeaf::Output { number } => {
                let header = Header {
                    number,
                    state_root: noise,
                    withdrawals_root: Some(noise),
                    base_fee_per_gas: Some(0),
                    blob_gas_used: Some(0),
                    excess_blob_gas: Some(0),
                    parent_beacon_block_root: Some(B256::ZERO),
                    requests_hash: Some(B256::ZERO),
                    ..Header::default()
                };
                let cursor = Cursor { record: 0, block: 0, forced: 0 };
                let output_root = OutputRoot::of(&header).hash();
                let leaf = Opening::Output { output_root, cursor }.leaf();
                let header: Bytes = alloy_rlp::encode(&header).into();
                (leaf, Some(Output::Head { header, cursor }))
            }
        }
    }

    /// The first false stride, and the run that ends in the false leaf after `agreed`.
    fn run(&self, agreed: B256, run: &Run) -> (u64, Run) {
        let (leaf, _) = self.leaf_after(agreed);
        let output = (self.leaf != FalseLeaf::Fault).then_some(leaf);
        let last = forged_state(&run.last, self.seed, output);
        let stride = self.at[1].index(&run.tree);
        let tree = run.tree.patched(stride, run.tree.leaves(), keccak256(&last));
        (stride, Run { tree, last })
    }
}

/// The words of a run's last state, altered: exited with this output, or trapped. `seed` distinguishes liars.
pub fn forged_state(last: &[u8], seed: u64, output: Option<B256>) -> Bytes {
    let mut state = last.to_vec();
    state[PC].copy_from_slice(&seed.to_be_bytes());
    state[STATUS].copy_from_slice(&if output.is_some() { EXITED } else { TRAPPED });
    if let Some(output) = output {
        state[OUTPUT].copy_from_slice(&output[..]);
    }
    state.into()
}
