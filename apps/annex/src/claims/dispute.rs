//! A dispute told step by step, out of L1's events.

use super::{Claimed, Verdict};
use crate::ui::{self, Paint, paint};
use alloy_primitives::{Address, B256, U256};
use annex_l1::Deployment;
use annex_l1::settlement::{
    ClaimsEvents, Event, Logged, MatchView, Settlement, TournamentEvents, TournamentState,
};
use annex_settle::{Commitment, PHASE_CHILD, PHASE_PROVE, Params};
use std::collections::{BTreeMap, BTreeSet};

/// Binary logarithm of the instructions between two states of level 1.
const STRIDE: u32 = 20;
/// A match's number is its tournament's, then 32 bits of its place there.
const MATCH_BITS: usize = 32;

/// What was told so far, and who is who.
pub struct Story {
    bond: U256,
    params: Params,
    /// Only events of tournaments from this one on are told.
    oldest: U256,
    /// The past is not told, except of what is still open.
    past: bool,
    settled: bool,
    levels: BTreeMap<U256, u8>,
    /// The match that a child decides.
    parents: BTreeMap<U256, U256>,
    /// Where a match was sealed.
    sealed: BTreeMap<U256, u64>,
    players: BTreeMap<(U256, B256), Address>,
    /// Accounts that claimed what this node knows to be false.
    liars: BTreeSet<Address>,
    /// Wei of gas that a match paid back, by account.
    refunds: BTreeMap<U256, BTreeMap<Address, U256>>,
    matches: BTreeMap<U256, (B256, B256)>,
}

impl Story {
    pub fn new(deployment: &Deployment) -> Self {
        Self {
            bond: deployment.parameters.bond,
            params: Params::from(&deployment.parameters),
            oldest: U256::ZERO,
            past: true,
            settled: false,
            levels: BTreeMap::new(),
            parents: BTreeMap::new(),
            sealed: BTreeMap::new(),
            players: BTreeMap::new(),
            liars: BTreeSet::new(),
            refunds: BTreeMap::new(),
            matches: BTreeMap::new(),
        }
    }

    /// Of the past, only tournaments from this one on are told.
    pub fn skip_below(&mut self, oldest: U256) {
        self.oldest = oldest;
    }

    /// From now on everything is told.
    pub fn tell_all(&mut self) {
        self.oldest = U256::ZERO;
        self.past = false;
    }

    /// Whether a range was seen to settle.
    pub fn has_settled(&self) -> bool {
        self.settled
    }

    /// The claim that is told of, for a verdict.
    pub(super) fn claimed(logged: &Logged) -> Option<Claimed> {
        match &logged.event {
            Event::Claims(ClaimsEvents::Claimed(claimed)) => Some(Claimed {
                range: claimed.range.saturating_to(),
                commitment: claimed.commitment,
                block: claimed.l2Block,
                output_root: claimed.outputRoot,
            }),
            _ => None,
        }
    }

    /// The lines that an event is told in.
    pub fn tell(
        &mut self,
        logged: &Logged,
        verdict: Option<Verdict>,
        state: &Settlement,
    ) -> Vec<String> {
        let (tournament, lines) = match &logged.event {
            Event::Claims(event) => self.of_claims(event, verdict),
            Event::Tournament(event) => self.of_tournament(event, logged.tx, state),
        };
        if tournament < self.oldest {
            return Vec::new();
        }
        let stamp = paint(Paint::Dim, format!("{:>7}", logged.block));
        lines.into_iter().map(|line| format!("{stamp}  {line}")).collect()
    }

    fn of_claims(&mut self, event: &ClaimsEvents, verdict: Option<Verdict>) -> (U256, Vec<String>) {
        match event {
            ClaimsEvents::Opened(opened) => {
                let text = format!("range {} opened: records below {}", opened.range, opened.end);
                (opened.range, vec![paint(Paint::Bold, text)])
            }
            ClaimsEvents::Claimed(claimed) => {
                let (id, root) = (claimed.range, claimed.commitment);
                self.players.insert((id, root), claimed.claimer);
                let verdict = verdict.unwrap_or(Verdict::Unknown);
                if verdict == Verdict::False {
                    self.liars.insert(claimed.claimer);
                }
                let what = match claimed.outputRoot.is_zero() {
                    true => "FAULT".to_owned(),
                    false => format!(
                        "block {}, output {}",
                        claimed.l2Block,
                        ui::short(claimed.outputRoot)
                    ),
                };
                let (index, bond) = (claimed.index, ui::ether(self.bond));
                let line = format!(
                    "claim {index} by {}: {what} ({}), bond {bond} ether",
                    self.player(id, root),
                    verdict.shown()
                );
                (id, vec![line])
            }
            ClaimsEvents::Settled(settled) => {
                self.settled |= !self.past;
                let text = format!("range {} settled with claim {}", settled.range, settled.index);
                (settled.range, vec![paint(Paint::Green, text)])
            }
            ClaimsEvents::ClosedWithoutSurvivor(closed) => {
                (closed.range, vec![format!("range {} closed: nobody survived", closed.range)])
            }
            ClaimsEvents::Faulted(faulted) => {
                (faulted.range, vec![paint(Paint::Red, "FAULT has settled: the chain has ended")])
            }
        }
    }

    fn of_tournament(
        &mut self,
        event: &TournamentEvents,
        tx: B256,
        state: &Settlement,
    ) -> (U256, Vec<String>) {
        match event {
            TournamentEvents::Opened(opened) => {
                self.levels.insert(opened.id, opened.level);
                if opened.level > 0 {
                    self.parents.insert(opened.id, opened.parentMatch);
                }
                // Claims and the seal say it already.
                (opened.id, Vec::new())
            }
            TournamentEvents::Joined(joined) => {
                self.players.insert((joined.id, joined.root), joined.claimer);
                let (level, name) = (self.level(joined.id), self.player(joined.id, joined.root));
                let line = format!(
                    "  {name} commits to {} (root {}), bond {} ether",
                    covered(level),
                    ui::short(joined.root),
                    ui::ether(self.bond)
                );
                // At level 0 the claim says it.
                (joined.id, if level == 0 { Vec::new() } else { vec![line] })
            }
            TournamentEvents::Matched(matched) => {
                self.matches.insert(matched.matchId, (matched.one, matched.two));
                let (one, two) =
                    (self.player(matched.id, matched.one), self.player(matched.id, matched.two));
                let level = covered(self.level(matched.id));
                let name = match_name(matched.matchId);
                (matched.id, vec![format!("match {name}: {one} against {two}, about {level}")])
            }
            TournamentEvents::Advanced(advanced) => {
                let id = tournament_of(advanced.matchId);
                let unit = unit(self.level(id));
                let line = format!(
                    "  match {}: they differ among 2^{} {unit} from {}",
                    match_name(advanced.matchId),
                    advanced.height,
                    grouped(self.place(id, advanced.index))
                );
                (id, vec![line])
            }
            TournamentEvents::Sealed(sealed) => {
                self.sealed.insert(sealed.matchId, sealed.index);
                (tournament_of(sealed.matchId), self.of_seal(sealed.matchId, sealed.index, state))
            }
            TournamentEvents::Resolved(resolved) => (
                tournament_of(resolved.matchId),
                self.of_end(resolved.matchId, resolved.survivor, tx),
            ),
            TournamentEvents::Refunded(refunded) => {
                let refunds = self.refunds.entry(refunded.matchId).or_default();
                *refunds.entry(refunded.who).or_default() += refunded.amount;
                // Told when the match ends.
                (tournament_of(refunded.matchId), Vec::new())
            }
            TournamentEvents::Closed(_) | TournamentEvents::Withdrawn(_) => self.of_money(event),
        }
    }

    /// Who is paid what.
    fn of_money(&self, event: &TournamentEvents) -> (U256, Vec<String>) {
        match event {
            TournamentEvents::Closed(closed) => {
                let line = match closed.claimer.is_zero() {
                    true => format!("  tournament {} closed: nobody survives", closed.id),
                    false => format!(
                        "  tournament {} closed: {} ether to {}",
                        closed.id,
                        ui::ether(closed.amount),
                        self.named(closed.claimer)
                    ),
                };
                (closed.id, vec![line])
            }
            TournamentEvents::Withdrawn(withdrawn) => {
                let line = format!(
                    "{} takes out {} ether",
                    self.named(withdrawn.who),
                    ui::ether(withdrawn.amount)
                );
                (U256::MAX, vec![line])
            }
            _ => (U256::MAX, Vec::new()),
        }
    }

    /// They agree up to one step, and go on below it.
    fn of_seal(&self, id: U256, index: u64, state: &Settlement) -> Vec<String> {
        let tournament = tournament_of(id);
        let at = self.place(tournament, index);
        let name = match_name(id);
        let text = match self.level(tournament) {
            0 => format!(
                "match {name}: they differ first in step {} of the chain; now in its run",
                grouped(at)
            ),
            1 => format!(
                "match {name}: they differ first in stride {}, instructions {} to {}; now in that stride",
                grouped(index),
                grouped(index << STRIDE),
                grouped(((index + 1) << STRIDE) - 1)
            ),
            _ => format!(
                "match {name}: they differ first in instruction {}; L1 decides",
                grouped(at)
            ),
        };
        let mut lines = vec![paint(Paint::Bold, text)];
        let matches = state.tournaments.get(&tournament).map_or(&[][..], |t| &t.matches);
        if let Some(sealed) = matches.iter().find(|m| m.id == id) {
            let says = |root, state| {
                format!("{} says {}", self.player(tournament, root), ui::short(state))
            };
            lines.push(format!(
                "  from {} on: {}, {}",
                ui::short(sealed.agreed),
                says(sealed.one, sealed.states[0]),
                says(sealed.two, sealed.states[1])
            ));
        }
        lines
    }

    fn of_end(&self, id: U256, survivor: B256, tx: B256) -> Vec<String> {
        let tournament = tournament_of(id);
        let name = match_name(id);
        let Some((one, two)) = self.matches.get(&id) else { return Vec::new() };
        let bond = ui::ether(self.bond);
        let mut lines = Vec::new();
        if self.level(tournament) == 2 && self.sealed.contains_key(&id) && !survivor.is_zero() {
            let instruction = grouped(self.place(tournament, self.sealed[&id]));
            lines.push(format!(
                "match {name}: Machine.step executed instruction {instruction} on L1 (transaction {tx})"
            ));
        }
        for root in [one, two] {
            let player = self.player(tournament, *root);
            lines.push(match *root == survivor {
                true => paint(Paint::Green, format!("match {name}: {player} survives")),
                false => paint(
                    Paint::Red,
                    format!("match {name}: {player} lost its bond of {bond} ether"),
                ),
            });
        }
        lines
    }

    /// How a match stands, in one line.
    pub fn standing(&self, m: &MatchView, tournament: &TournamentState, now: u64) -> String {
        let id = tournament.view.id;
        let name = match_name(m.id);
        let at = grouped(self.place(id, m.index));
        let what = format!("match {name}, {}", covered(tournament.view.level));
        match m.phase {
            PHASE_CHILD => format!("{what}: decided by tournament {}", m.child),
            PHASE_PROVE => format!("{what}: instruction {at} is to be proved on L1"),
            _ => {
                let root = if m.oneMoves { m.one } else { m.two };
                let mover = tournament.commitments.iter().find(|c| c.root == root);
                let left = mover.map_or(0, |c| Commitment::from(c.clone()).left(now, &self.params));
                format!(
                    "{what}: 2^{} {} from {at}; {} is on turn, {} on its clock",
                    m.height,
                    unit(tournament.view.level),
                    self.player(id, root),
                    ui::duration(left)
                )
            }
        }
    }

    fn level(&self, tournament: U256) -> u8 {
        self.levels.get(&tournament).copied().unwrap_or_default()
    }

    /// Steps of the chain; strides, or instructions since the machine's boot.
    fn place(&self, tournament: U256, index: u64) -> u64 {
        if self.level(tournament) < 2 {
            return index;
        }
        let stride = self.parents.get(&tournament).and_then(|parent| self.sealed.get(parent));
        (stride.copied().unwrap_or_default() << STRIDE) + index
    }

    /// Who joined with a commitment.
    fn player(&self, tournament: U256, root: B256) -> String {
        self.named(self.players.get(&(tournament, root)).copied().unwrap_or_default())
    }

    fn named(&self, account: Address) -> String {
        let name = ui::short_address(account);
        match self.liars.contains(&account) {
            true => paint(Paint::Red, format!("liar {name}")),
            false => name,
        }
    }
}

pub fn covered(level: u8) -> &'static str {
    match level {
        0 => "the chain",
        1 => "a step's run",
        _ => "a stride's instructions",
    }
}

pub fn unit(level: u8) -> &'static str {
    match level {
        0 => "steps",
        1 => "strides",
        _ => "instructions",
    }
}

fn tournament_of(id: U256) -> U256 {
    id >> MATCH_BITS
}

/// Tournament and place.
pub fn match_name(id: U256) -> String {
    format!("{}.{}", tournament_of(id), id & U256::from(u32::MAX))
}

pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_for_people() {
        assert_eq!(grouped(7), "7");
        assert_eq!(grouped(1_048_576), "1,048,576");
        assert_eq!(match_name((U256::from(5) << MATCH_BITS) | U256::from(2)), "5.2");
    }
}
