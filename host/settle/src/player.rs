//! Decides: which ranges to open, what to join, what to close. Matches are in `play`.

use crate::{
    Action, Book, Commitment, Lookup, Need, Params, Plan, RangeView, Reason, Tournament, Traffic,
    Tree, View, Wait, Why, play,
};
use alloy_primitives::{Address, B256, U256, keccak256};

/// A party with one account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Player {
    /// Its account on L1.
    pub address: Address,
    /// Whether it opens ranges and joins those in which nothing is claimed yet.
    pub claims: bool,
    pub conduct: Conduct,
}

/// How a party plays what it has staked on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Conduct {
    #[default]
    AtOnce,
    /// Joins at level 0 and then does nothing: a liar's.
    Never,
    /// Moves and joins children when so many seconds are left, or fewer: a liar's.
    AtLast { seconds: u64 },
}

/// One decision in the making.
pub(crate) struct Turn<'a> {
    pub player: &'a Player,
    pub view: &'a View,
    pub book: &'a Book,
    /// With the second from which on it is too late.
    actions: Vec<(u64, Action)>,
    needs: Vec<Need>,
    waits: Vec<Wait>,
    /// Wei that are not staked by `actions`.
    balance: U256,
}

/// For what can be done at any time.
pub(crate) const NO_HURRY: u64 = u64::MAX;

impl Player {
    /// Claims what is true, and does all that a challenger does.
    pub fn claimer(address: Address) -> Self {
        Self { address, claims: true, conduct: Conduct::AtOnce }
    }

    /// Joins where something false is claimed.
    pub fn challenger(address: Address) -> Self {
        Self { address, claims: false, conduct: Conduct::AtOnce }
    }

    /// What to do and to compute now. The same view and book give the same plan.
    pub fn act(&self, view: &View, book: &Book) -> Plan {
        let mut turn = Turn {
            player: self,
            view,
            book,
            actions: Vec::new(),
            needs: Vec::new(),
            waits: Vec::new(),
            balance: view.balance,
        };
        // What is at stake already comes before new stakes.
        if self.conduct != Conduct::Never {
            view.tournaments.iter().for_each(|tournament| play::tournament(&mut turn, tournament));
        }
        view.ranges.iter().for_each(|range| turn.range(range));
        if self.claims {
            turn.open();
        }
        turn.withdraw();
        turn.actions.sort_by_key(|(deadline, _)| *deadline);
        let actions = turn.actions.into_iter().map(|(_, action)| action).collect();
        Plan { actions, needs: turn.needs, waits: turn.waits }
    }
}

impl<'a> Turn<'a> {
    pub fn push(&mut self, deadline: u64, action: Action) {
        self.actions.push((deadline, action));
    }

    pub fn wait(&mut self, tournament: u64, why: Why) {
        let wait = Wait { tournament, why };
        if !self.waits.contains(&wait) {
            self.waits.push(wait);
        }
    }

    /// What the book says; if it does not know, asks for it and waits.
    pub fn know<T>(&mut self, tournament: u64, lookup: Lookup<T>) -> Option<T> {
        match lookup {
            Lookup::Known(known) => Some(known),
            Lookup::Unknown(need, reason) => {
                if reason == Reason::NotBegun && !self.needs.contains(&need) {
                    self.needs.push(need);
                }
                self.wait(tournament, Why::Unknown(need, reason));
                None
            }
        }
    }

    /// Whether a bond can be staked in this tournament so that others are left; it is then set aside.
    pub fn stake(&mut self, tournament: u64, left: u8) -> bool {
        let bond = U256::from(self.view.params.bond);
        let needed = bond * U256::from(1 + left);
        if self.balance < needed {
            self.wait(tournament, Why::Funds { needed: needed - self.balance });
            return false;
        }
        self.balance -= bond;
        true
    }

    pub fn is_mine(&self, commitment: &Commitment) -> bool {
        commitment.claimer == self.player.address
    }

    /// Seconds, below `bound`, by which honest parties keep out of each other's way.
    pub fn jitter(&self, id: u64, bound: u64) -> u64 {
        let hash = keccak256([self.player.address.as_slice(), &id.to_be_bytes()].concat());
        let word = hash.iter().take(8).fold(0, |word, byte| word << 8 | u64::from(*byte));
        word % bound.max(1)
    }

    /// Seconds of a turn that are left to the one whose commitment it is: half the grace and some more, so that no clock runs.
    pub fn patience(&self, id: u64) -> u64 {
        let grace = self.view.params.move_grace;
        grace / 2 + self.jitter(id, grace / 4)
    }

    /// Joins a range, or settles it.
    fn range(&mut self, range: &RangeView) {
        let Some(tournament) = self.view.tournament(range.id) else { return };
        let params = &self.view.params;
        if tournament.is_over(self.view.now, params) {
            self.settle(range, tournament);
            return;
        }
        let claimed = !tournament.commitments.is_empty();
        if !claimed && !self.is_to_be_claimed(range) {
            return;
        }
        let lookup = self.book.range(range.start, range.end);
        let Some(truth) = self.know(range.id, lookup) else { return };
        let root = truth.tree.root();
        // Unprovoked, nothing is claimed that could not be defended at all levels.
        let left = if claimed { 0 } else { 2 };
        let until = tournament.joinable_until(0, params);
        if tournament.commitment(root).is_some()
            || self.view.now >= until
            || self.view.now < range.opened + self.jitter(range.id, params.move_grace / 4)
            || !self.stake(range.id, left)
        {
            return;
        }
        let claim = Action::Claim {
            range: range.id,
            start: range.start,
            end_accumulator: range.end_accumulator,
            path: last_path(&truth.tree),
            output: truth.last.clone(),
        };
        self.push(until, claim);
    }

    /// Whether something must be claimed that no range with a true commitment covers, and this range can be used.
    fn is_to_be_claimed(&self, range: &RangeView) -> bool {
        let covered = self.covered();
        let newest = self.view.ranges.iter().map(|range| range.end).max();
        let half = range.opened.saturating_add(self.view.params.challenge_window / 2);
        self.player.claims
            && newest == Some(range.end)
            && self.view.now < half
            && self.book.traffic_in(covered..range.end).is_some()
    }

    /// The record up to which the truth has settled or is claimed.
    fn covered(&self) -> u64 {
        let claimed = self.view.ranges.iter().filter(|range| self.is_claimed(range));
        claimed.map(|range| range.end).fold(self.view.settled.record, u64::max)
    }

    /// Whether the true commitment to a range is alive.
    fn is_claimed(&self, range: &RangeView) -> bool {
        let Some(tournament) = self.view.tournament(range.id) else { return false };
        let Lookup::Known(truth) = self.book.range(range.start, range.end) else { return false };
        tournament.commitment(truth.tree.root()).is_some_and(|commitment| commitment.alive)
    }

    /// A range that is over.
    fn settle(&mut self, range: &RangeView, tournament: &Tournament) {
        let Some(survivor) = tournament.survivor() else {
            // With a pot it pays who does it; without one it makes room.
            let crowded = self.view.ranges.len() >= Params::MAX_OPEN || self.wants_to_open();
            if tournament.pot > 0 || (self.player.claims && crowded) {
                self.push(NO_HURRY, Action::Settle { range: range.id });
            }
            return;
        };
        let lookup = self.book.range(range.start, range.end);
        let Some(truth) = self.know(range.id, lookup) else { return };
        if truth.tree.root() != survivor.root {
            self.wait(range.id, Why::Lost { survivor: survivor.root });
            return;
        }
        let over = tournament.joinable_until(0, &self.view.params);
        let mine = self.is_mine(survivor);
        if mine || self.view.now >= over.saturating_add(self.patience(range.id)) {
            self.push(NO_HURRY, Action::Settle { range: range.id });
        }
    }

    /// Whether a withdrawal waits, or traffic for as long as `claim_interval`, that no range covers.
    fn wants_to_open(&self) -> bool {
        let View { params, now, last_opened, record_count, .. } = self.view;
        let Some(waiting) = self.book.traffic_in(self.covered()..*record_count) else {
            return false;
        };
        let Traffic { time, withdrawals } = waiting;
        let due = |since: u64| *now >= since.saturating_add(params.claim_interval);
        self.player.claims
            && !self.view.faulted
            && (*last_opened == 0 || due(*last_opened))
            && (withdrawals || due(time))
    }

    fn open(&mut self) {
        let ranges = &self.view.ranges;
        let same_end = ranges.iter().any(|range| range.end == self.view.record_count);
        // A range that can still be used comes first.
        let usable = ranges.iter().any(|range| self.is_to_be_claimed(range));
        if ranges.len() < Params::MAX_OPEN && !same_end && !usable && self.wants_to_open() {
            self.push(NO_HURRY, Action::Open);
        }
    }

    /// Takes credits out when they make a bond, are needed for one, or nothing of this party is at stake.
    fn withdraw(&mut self) {
        let credits = self.view.credits;
        let staked = self.view.tournaments.iter().filter(|tournament| !tournament.closed);
        let staked = staked.flat_map(|tournament| &tournament.commitments);
        let playing = staked.into_iter().any(|c| c.alive && self.is_mine(c));
        let short = self.waits.iter().any(|wait| matches!(wait.why, Why::Funds { .. }));
        let enough = credits >= U256::from(self.view.params.bond);
        if !credits.is_zero() && (enough || short || !playing) {
            self.push(if short { 0 } else { NO_HURRY }, Action::Withdraw);
        }
    }
}

/// The siblings of a tree's last leaf: what joins a commitment.
pub(crate) fn last_path(tree: &Tree) -> Vec<B256> {
    tree.path(tree.leaves() - 1).expect("every tree has a last leaf")
}
