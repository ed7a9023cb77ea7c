//! What a party holds to be true.

use crate::{Need, Output, Preimage, Tree, View};
use alloy_primitives::{B256, Bytes, keccak256};
use annex_claim::{Missing, fault_leaf};
use annex_derive::Cursor;
use std::collections::{BTreeMap, BTreeSet};

/// Everything that was computed so far, and why the rest was not.
#[derive(Clone, Debug, Default)]
pub struct Book {
    pub(crate) ranges: BTreeMap<(B256, u64), Range>,
    pub(crate) openings: BTreeMap<B256, Opening>,
    pub(crate) runs: BTreeMap<B256, Run>,
    pub(crate) strides: BTreeMap<(B256, u64), Tree>,
    pub(crate) steps: BTreeMap<(B256, u64), Step>,
    pub(crate) unknown: BTreeMap<Need, Reason>,
    pub(crate) traffic: BTreeMap<u64, Traffic>,
}

/// An answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup<T> {
    Known(T),
    Unknown(Need, Reason),
}

impl<T> Lookup<T> {
    pub(crate) fn map<U>(self, of: impl FnOnce(T) -> U) -> Lookup<U> {
        match self {
            Self::Known(known) => Lookup::Known(of(known)),
            Self::Unknown(need, reason) => Lookup::Unknown(need, reason),
        }
    }
}

/// Why something is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reason {
    /// Nobody has begun.
    #[default]
    NotBegun,
    Computing(Progress),
    /// The chain is followed up to this record only.
    Following {
        record: u64,
    },
    /// A preimage that nobody served yet, for example a blob.
    Missing(Missing),
    /// A record's data that nobody served yet.
    NoData {
        record: u64,
    },
    /// The state after a block, which is kept no longer.
    NoState {
        block: u64,
    },
    /// The leaf is not one of the chain that this party follows.
    Stranger,
    /// The machine's run comes to another leaf than the native step: one of the two is wrong, and nothing is staked on either.
    Disagrees,
}

/// How far a computation is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Instructions so far.
    pub steps: u64,
}

/// The chain's leaves from a start to the end of a range.
#[derive(Clone, Debug)]
pub struct Range {
    /// Of level 0.
    pub tree: Tree,
    pub last: Output,
}

/// A leaf's meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    Output { output_root: B256, cursor: Cursor },
    FaultOf(B256),
}

/// A whole run of the program.
#[derive(Clone, Debug)]
pub struct Run {
    /// Of level 1.
    pub tree: Tree,
    /// The words of its last state, 384 bytes.
    pub last: Bytes,
}

/// One instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What `Machine.step` takes.
    pub proof: Bytes,
    /// The preimage that it reads, if it reads one.
    pub call: Option<Preimage>,
}

/// What a record carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// When L1 recorded it, seconds.
    pub time: u64,
    /// Whether its blocks have withdrawals.
    pub withdrawals: bool,
}

impl Run {
    /// The leaf that it stands for (spec/settlement.md, "Commitments"): its output, or FAULT of `leaf`, where it began.
    pub fn leaf_after(&self, leaf: B256) -> B256 {
        const EXITED: [u8; 2] = [1, 0];
        let exited = self.last.get(286..288) == Some(&EXITED[..]);
        match self.last.get(352..384) {
            Some(output) if exited => B256::from_slice(output),
            _ => fault_leaf(leaf),
        }
    }
}

impl Opening {
    /// The leaf's hash (spec/claim.md).
    pub fn leaf(&self) -> B256 {
        match *self {
            Self::FaultOf(leaf) => fault_leaf(leaf),
            Self::Output { .. } => keccak256(self.encode()),
        }
    }

    /// What `Tournament.seal` takes: `abi.encode(outputRoot, record, block, forced)`, or the leaf of which it is FAULT.
    pub fn encode(&self) -> Bytes {
        match *self {
            Self::FaultOf(leaf) => leaf.to_vec().into(),
            Self::Output { output_root, cursor } => {
                let word = |number: u64| B256::from(alloy_primitives::U256::from(number));
                let Cursor { record, block, forced } = cursor;
                [output_root, word(record), word(block), word(forced)].concat().into()
            }
        }
    }
}

impl Book {
    /// Whatever is put in for a need ends what [`Book::set_unknown`] said of it.
    pub fn insert_range(&mut self, start: B256, end: u64, range: Range) {
        self.unknown.remove(&Need::Range { start, end });
        self.ranges.insert((start, end), range);
    }

    pub fn insert_opening(&mut self, opening: Opening) {
        let leaf = opening.leaf();
        self.unknown.remove(&Need::Opening { leaf });
        self.openings.insert(leaf, opening);
    }

    pub fn insert_run(&mut self, leaf: B256, run: Run) {
        self.unknown.remove(&Need::Run { leaf });
        self.runs.insert(leaf, run);
    }

    pub fn insert_stride(&mut self, leaf: B256, stride: u64, tree: Tree) {
        self.unknown.remove(&Need::Stride { leaf, stride });
        self.strides.insert((leaf, stride), tree);
    }

    pub fn insert_step(&mut self, leaf: B256, instruction: u64, step: Step) {
        self.unknown.remove(&Need::Step { leaf, instruction });
        self.steps.insert((leaf, instruction), step);
    }

    /// Says why something is not known: it is not asked for again as long as the reason is not [`Reason::NotBegun`].
    pub fn set_unknown(&mut self, need: Need, reason: Reason) {
        self.unknown.insert(need, reason);
    }

    /// A record that carried blocks.
    pub fn insert_traffic(&mut self, record: u64, traffic: Traffic) {
        self.traffic.insert(record, traffic);
    }

    /// Forgets what no open range and no match that is played has to do with.
    pub fn prune(&mut self, view: &View) {
        let Self { ranges, openings, runs, strides, steps, unknown, traffic } = self;
        traffic.retain(|record, _| *record >= view.settled.record);
        let open =
            |start, end| view.ranges.iter().any(|range| (range.start, range.end) == (start, end));
        ranges.retain(|(start, end), _| open(*start, *end));
        let matches = view.tournaments.iter().filter(|tournament| tournament.level == 0);
        let matches = matches.flat_map(|tournament| &tournament.matches).filter(|m| m.is_open());
        let agreed: BTreeSet<B256> = matches.map(|m| m.agreed).collect();
        if view.ranges.is_empty() {
            openings.clear();
        }
        runs.retain(|leaf, _| agreed.contains(leaf));
        strides.retain(|(leaf, _), _| agreed.contains(leaf));
        steps.retain(|(leaf, _), _| agreed.contains(leaf));
        unknown.retain(|need, _| match need {
            Need::Range { start, end } => open(*start, *end),
            Need::Opening { .. } => !view.ranges.is_empty(),
            Need::Run { leaf } | Need::Stride { leaf, .. } | Need::Step { leaf, .. } => {
                agreed.contains(leaf)
            }
        });
    }

    /// The oldest traffic of these records, and whether any of them has withdrawals.
    pub(crate) fn traffic_in(&self, records: std::ops::Range<u64>) -> Option<Traffic> {
        if records.is_empty() {
            return None;
        }
        let mut traffic = self.traffic.range(records).map(|(_, traffic)| *traffic);
        let first = traffic.next()?;
        let withdrawals = first.withdrawals || traffic.any(|traffic| traffic.withdrawals);
        Some(Traffic { withdrawals, ..first })
    }

    /// Preimages that proofs in this book read: what [`View::loaded`](crate::View::loaded) is asked about.
    pub fn calls(&self) -> BTreeSet<Preimage> {
        self.steps.values().filter_map(|step| step.call).collect()
    }

    pub fn range(&self, start: B256, end: u64) -> Lookup<&Range> {
        self.answer(self.ranges.get(&(start, end)), Need::Range { start, end })
    }

    pub fn opening(&self, leaf: B256) -> Lookup<&Opening> {
        self.answer(self.openings.get(&leaf), Need::Opening { leaf })
    }

    pub fn run(&self, leaf: B256) -> Lookup<&Run> {
        self.answer(self.runs.get(&leaf), Need::Run { leaf })
    }

    pub fn stride(&self, leaf: B256, stride: u64) -> Lookup<&Tree> {
        self.answer(self.strides.get(&(leaf, stride)), Need::Stride { leaf, stride })
    }

    pub fn step(&self, leaf: B256, instruction: u64) -> Lookup<&Step> {
        self.answer(self.steps.get(&(leaf, instruction)), Need::Step { leaf, instruction })
    }

    fn answer<'a, T>(&self, found: Option<&'a T>, need: Need) -> Lookup<&'a T> {
        match found {
            Some(found) => Lookup::Known(found),
            None => Lookup::Unknown(need, self.unknown.get(&need).copied().unwrap_or_default()),
        }
    }
}
