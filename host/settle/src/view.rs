//! What L1 says, at one block. Names are those of the contracts' ABI.

use crate::Preimage;
use alloy_primitives::{Address, B256, U256};
use std::collections::BTreeSet;

/// Everything that a decision needs of L1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Number of the block that was read.
    pub block: u64,
    /// Its timestamp, seconds.
    pub now: u64,
    pub params: Params,
    /// `Inbox.recordCount()`
    pub record_count: u64,
    pub settled: Settled,
    pub faulted: bool,
    /// When a range was last opened, seconds; 0 if never.
    pub last_opened: u64,
    /// The open ones.
    pub ranges: Vec<RangeView>,
    /// Those of the open ranges and below them, in order of their ids. Closed children may be left out.
    pub tournaments: Vec<Tournament>,
    /// Of [`Book::calls`](crate::Book::calls), what the oracle can answer.
    pub loaded: BTreeSet<Preimage>,
    /// What `withdraw()` would pay this account, wei.
    pub credits: U256,
    /// Of this account, wei.
    pub balance: U256,
}

/// What the contracts were deployed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Params {
    /// Least seconds between two openings.
    pub claim_interval: u64,
    /// Seconds in which a range can be joined; the clock of a commitment.
    pub challenge_window: u64,
    /// Seconds of each turn that no clock counts.
    pub move_grace: u64,
    /// Wei with each commitment.
    pub bond: u128,
    /// Binary logarithm of the number of leaves by level.
    pub heights: [u8; 3],
}

impl Params {
    /// Those of spec/settlement.md.
    pub const HEIGHTS: [u8; 3] = [26, 20, 20];
    /// Ranges that may be open at once.
    pub const MAX_OPEN: usize = 8;
}

impl Default for Params {
    fn default() -> Self {
        Self {
            claim_interval: 0,
            challenge_window: 0,
            move_grace: 0,
            bond: 0,
            heights: Self::HEIGHTS,
        }
    }
}

/// `Claims.settled()`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    pub leaf: B256,
    pub output_root: B256,
    pub record: u64,
    pub l2_block: u64,
    /// The range that it was settled with; 0 for genesis.
    pub range: u64,
}

/// `Claims.range(id)` of an open one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RangeView {
    /// Also its tournament's.
    pub id: u64,
    /// Leaf that it starts from.
    pub start: B256,
    /// Record before which it ends.
    pub end: u64,
    pub end_accumulator: B256,
    pub opened: u64,
}

/// `Tournament.tournament(id)` with everything in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tournament {
    pub id: u64,
    pub level: u8,
    pub opened: u64,
    /// Level 0: record before which the range ends.
    pub end: u64,
    /// The state before leaf 0.
    pub start: B256,
    /// In a child: the parent's two states.
    pub contested: [B256; 2],
    /// In a child: clocks that the parent's commitments had left, seconds.
    pub side_clocks: [u64; 2],
    /// In a child: the match that it decides.
    pub parent_match: u64,
    /// The commitment that waits for another; zero if none does.
    pub waiting: B256,
    pub open_matches: u32,
    pub alive: u32,
    pub pot: u128,
    pub closed: bool,
    pub survivor: B256,
    pub commitments: Vec<Commitment>,
    pub matches: Vec<Match>,
}

/// `CommitmentView`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Commitment {
    pub root: B256,
    pub claimer: Address,
    /// Its last leaf.
    pub last: B256,
    /// In a child: which contested state it stands for.
    pub side: u8,
    pub alive: bool,
    /// Seconds left, as of `since`.
    pub clock: u64,
    /// When its turn began, seconds; 0 while it rests.
    pub since: u64,
    /// Its last one; 0 if it has had none.
    pub current_match: u64,
}

/// `MatchView`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Match {
    pub id: u64,
    pub tournament: u64,
    /// Root of the one that waited.
    pub one: B256,
    pub two: B256,
    /// The mover's node.
    pub node: B256,
    /// Children of the other side's node at the same place.
    pub left: B256,
    pub right: B256,
    /// Of the leftmost leaf below `node`; after `seal` of the first leaf in which the two differ.
    pub index: u64,
    /// Of `node` above the leaves; 0 after `seal`.
    pub height: u8,
    /// `PHASE_…`
    pub phase: u8,
    /// Whether `one` is on turn.
    pub one_moves: bool,
    /// 0 if there is none.
    pub child: u64,
    /// State before the contested leaf.
    pub agreed: B256,
    /// The contested leaf as `one` and as `two` have it.
    pub states: [B256; 2],
}

/// Going down; at height 1 to be sealed.
pub const PHASE_MOVE: u8 = 0;
/// Its child is played.
pub const PHASE_CHILD: u8 = 1;
/// The instruction is to be proved.
pub const PHASE_PROVE: u8 = 2;
/// Decided.
pub const PHASE_OVER: u8 = 3;

impl View {
    /// The range with this tournament.
    pub fn range(&self, id: u64) -> Option<&RangeView> {
        self.ranges.iter().find(|range| range.id == id)
    }

    pub fn tournament(&self, id: u64) -> Option<&Tournament> {
        self.tournaments.iter().find(|tournament| tournament.id == id)
    }

    /// A match with its tournament.
    pub fn find_match(&self, id: u64) -> Option<(&Tournament, &Match)> {
        let of = |tournament: &'_ Tournament| tournament.matches.iter().position(|m| m.id == id);
        let (tournament, at) = self.tournaments.iter().find_map(|t| Some((t, of(t)?)))?;
        Some((tournament, &tournament.matches[at]))
    }
}

impl Tournament {
    pub fn commitment(&self, root: B256) -> Option<&Commitment> {
        self.commitments.iter().find(|commitment| commitment.root == root)
    }

    /// The one commitment that is alive, if it is one.
    pub fn survivor(&self) -> Option<&Commitment> {
        let mut alive = self.commitments.iter().filter(|commitment| commitment.alive);
        alive.next().filter(|_| alive.next().is_none())
    }

    /// From when on no commitment can join, seconds: of the given side in a child.
    pub fn joinable_until(&self, side: usize, params: &Params) -> u64 {
        match self.level {
            0 => self.opened.saturating_add(params.challenge_window),
            _ => {
                let clock = self.side_clocks.get(side).copied().unwrap_or_default();
                self.opened.saturating_add(params.move_grace).saturating_add(clock)
            }
        }
    }

    /// Whether nothing can change its result any more (spec/settlement.md, "Matches").
    pub fn is_over(&self, now: u64, params: &Params) -> bool {
        let alive = self.commitments.iter().filter(|commitment| commitment.alive).count();
        if self.open_matches != 0 || alive > 1 {
            return false;
        }
        let over = |side| now >= self.joinable_until(side, params);
        match (self.level, self.survivor()) {
            (0, _) => over(0),
            (_, Some(survivor)) => over(usize::from(survivor.side ^ 1)),
            (_, None) => over(0) && over(1),
        }
    }
}

impl Commitment {
    /// When its clock has run out, if its turn goes on; `None` while it rests.
    pub fn deadline(&self, params: &Params) -> Option<u64> {
        let until = || self.since.saturating_add(params.move_grace).saturating_add(self.clock);
        (self.since != 0).then(until)
    }

    /// Seconds left at `now`.
    pub fn left(&self, now: u64, params: &Params) -> u64 {
        if self.since == 0 {
            return self.clock;
        }
        let spent = now.saturating_sub(self.since).saturating_sub(params.move_grace);
        self.clock.saturating_sub(spent)
    }
}

impl Match {
    /// The commitment on turn while it goes down.
    pub fn mover(&self) -> B256 {
        if self.one_moves { self.one } else { self.two }
    }

    /// 0 if `root` is `one`, 1 if it is `two`.
    pub fn side_of(&self, root: B256) -> Option<usize> {
        [self.one, self.two].iter().position(|side| *side == root)
    }

    pub fn is_open(&self) -> bool {
        self.phase != PHASE_OVER
    }
}
