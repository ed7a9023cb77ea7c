//! What liars hold to be true, down to single instructions.

use std::sync::Arc;

use alloy_primitives::{B256, keccak256};
use annex_claim::fault_leaf;
use annex_settle::{Book, Need, Params, Reason, Run, Tree, forged_state};

use crate::compute::Computer;

/// Where a run is false, and what it stands for.
#[derive(Clone, Copy, Debug)]
pub struct Twist {
    /// Distinguishes liars.
    pub seed: u64,
    /// First false stride; beyond the run's end: its last.
    pub stride: u64,
    /// First false instruction of it; beyond the program's end: its last.
    pub instruction: u64,
    /// The run stands for this leaf; none: for the next one of the liar's own chain.
    pub stands_for: Option<B256>,
}

/// Knows what is true, and what it says instead.
pub struct Liar {
    pub truth: Arc<Computer>,
    /// The leaves of its level 0.
    pub own: Arc<Computer>,
    pub twist: Twist,
}

impl Liar {
    /// Puts what is needed into the book.
    pub fn answer(&self, need: Need, book: &mut Book) {
        let known = match need {
            Need::Range { .. } | Need::Opening { .. } => return self.own.answer(need, book),
            Need::Run { leaf } => self.run(leaf).map(|run| book.insert_run(leaf, run)),
            Need::Stride { leaf, stride } => {
                self.stride(leaf, stride).map(|tree| book.insert_stride(leaf, stride, tree))
            }
            // A proof would only help the others.
            Need::Step { .. } => None,
        };
        if known.is_none() {
            book.set_unknown(need, Reason::Stranger);
        }
    }

    fn true_run(&self, leaf: B256) -> Option<Run> {
        self.truth.run(leaf).or_else(|| self.own.run(leaf))
    }

    /// The run from a leaf, false from its stride on.
    fn run(&self, leaf: B256) -> Option<Run> {
        let run = self.true_run(leaf)?;
        let target = self.twist.stands_for.or_else(|| self.own.after(leaf))?;
        let output = Some(target).filter(|target| *target != fault_leaf(leaf));
        let last = forged_state(&run.last, self.twist.seed, output);
        let end = run.tree.known_leaves() - 1;
        let first = self.twist.stride.min(end);
        let garbage = |at: u64| keccak256([self.twist.seed, at].map(u64::to_be_bytes).concat());
        let truth = (0..first).filter_map(|at| run.tree.leaf(at));
        let leaves = truth.chain((first..end).map(garbage)).chain([keccak256(&last)]);
        Some(Run { tree: Tree::new(Params::HEIGHTS[1], leaves.collect()), last })
    }

    /// A stride, false from its instruction on if it is the run's first false one.
    fn stride(&self, leaf: B256, stride: u64) -> Option<Tree> {
        let tree = self.truth.stride(leaf, stride).or_else(|| self.own.stride(leaf, stride))?;
        let (run, truth) = (self.run(leaf)?, self.true_run(leaf)?);
        if run.tree.leaf(stride) == truth.tree.leaf(stride) {
            return Some(tree);
        }
        let first = self.twist.instruction.min(tree.known_leaves() - 1);
        let leaves = (0..first).filter_map(|at| tree.leaf(at)).chain(run.tree.leaf(stride));
        Some(Tree::new(Params::HEIGHTS[2], leaves.collect()))
    }
}
