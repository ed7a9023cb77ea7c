//! What a player wants done.

use crate::{Preimage, Reason};
use alloy_primitives::{B256, Bytes, U256};
use annex_derive::Cursor;

/// A transaction on L1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// `Claims.open()`
    Open,
    /// `Claims.join(range, start, endAccumulator, path, output)` with a bond.
    Claim { range: u64, start: B256, end_accumulator: B256, path: Vec<B256>, output: Output },
    /// `Tournament.join(tournament, start, last, path, state)` with a bond; `state` is empty at level 2.
    Join { tournament: u64, start: B256, last: B256, path: Vec<B256>, state: Bytes },
    /// `Tournament.advance`
    Advance { match_id: u64, left: B256, right: B256, new_left: B256, new_right: B256 },
    /// `Tournament.seal`
    Seal { match_id: u64, left: B256, right: B256, agreed: B256, path: Vec<B256>, opening: Bytes },
    /// `PreimageOracle.loadKeccakPart` or `loadBlobElement`, before a proof that reads it.
    Load(Preimage),
    /// `Tournament.prove`
    Prove { match_id: u64, proof: Bytes },
    /// `Tournament.timeout`
    Timeout { match_id: u64 },
    /// `Tournament.close`, of a child
    Close { tournament: u64 },
    /// `Claims.settle`
    Settle { range: u64 },
    /// `Tournament.withdraw`
    Withdraw,
}

/// The last leaf of a claim, opened: `Claims.Output`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// RLP of the head's header.
    Head { header: Bytes, cursor: Cursor },
    /// FAULT of this leaf.
    Fault { of: B256 },
}

/// Something to be computed or fetched, and put into the [`Book`](crate::Book).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// The leaves after `start` up to the first that steps to itself at `end`.
    Range { start: B256, end: u64 },
    /// Output root and cursor of a leaf.
    Opening { leaf: B256 },
    /// The whole run of the step from a leaf.
    Run { leaf: B256 },
    /// The single instructions of one of its strides.
    Stride { leaf: B256, stride: u64 },
    /// The proof of an instruction, by the number of those before it.
    Step { leaf: B256, instruction: u64 },
}

/// What a player answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// To be sent now, the most urgent first. Each stands for itself: any may fail.
    pub actions: Vec<Action>,
    /// Not begun yet, the most urgent first.
    pub needs: Vec<Need>,
    /// What cannot go on, and why.
    pub waits: Vec<Wait>,
}

/// A tournament in which the player would act if it could.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// Whose; 0 if there is none yet.
    pub tournament: u64,
    pub why: Why,
}

/// Why a player waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It does not know this: see the [`Reason`].
    Unknown(Need, Reason),
    /// It has less than a bond and gas, wei.
    Funds { needed: U256 },
    /// What survived is not what it holds to be true.
    Lost { survivor: B256 },
}
