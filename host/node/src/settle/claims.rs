//! Claims and matches one by one, for whoever asks (`annex_claims`, spec/rpc.md).

use alloy_primitives::{Address, B256, U64, U256};
use annex_l1::settlement::ClaimState;
use annex_settle::{
    Book, Commitment, Lookup, Match, PHASE_CHILD, PHASE_MOVE, RangeView, Tournament, View,
};
use serde::Serialize;
use std::collections::BTreeMap;

/// Most claims, and most matches, of a range that one answer lists.
const PAGE: usize = 256;
/// A match's number is its tournament's, then 32 bits of its place there.
const MATCH_BITS: u32 = 32;

/// Settlement at the L1 block that was looked at last, and what this node makes of it.
#[derive(Debug)]
pub(crate) struct Standing {
    view: View,
    /// By range and commitment.
    claims: BTreeMap<(u64, B256), ClaimState>,
    /// The true commitment of a range, where this node knows it.
    truth: BTreeMap<u64, B256>,
}

/// Answer of `annex_claims`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ClaimsReport {
    l1_block: U64,
    l1_timestamp: U64,
    ranges: Vec<RangeReport>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct RangeReport {
    range: U64,
    start: B256,
    end: U64,
    opened: U64,
    joinable_until: U64,
    claim_count: U64,
    alive: U64,
    match_count: U64,
    pot: U256,
    claims: Vec<ClaimReport>,
    matches: Vec<MatchReport>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct ClaimReport {
    /// Null if it is not among the newest, of very many.
    claim: Option<U64>,
    commitment: B256,
    claimer: Address,
    leaf: B256,
    block: Option<U64>,
    /// Zero for a FAULT.
    output_root: Option<B256>,
    bond: U256,
    alive: bool,
    clock: U64,
    is_true: Option<bool>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct MatchReport {
    r#match: U64,
    tournament: U64,
    level: U64,
    phase: &'static str,
    /// Of the first leaf below which the two differ.
    index: U64,
    height: U64,
    sides: [SideReport; 2],
    /// 0 or 1; null while a child is played or a proof is due.
    on_turn: Option<u8>,
    child: Option<U64>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct SideReport {
    commitment: B256,
    claimer: Address,
    clock: U64,
}

impl Standing {
    pub fn new(view: View, claims: Vec<ClaimState>, book: &Book) -> Self {
        let truth = view.ranges.iter().filter_map(|range| {
            let Lookup::Known(truth) = book.range(range.start, range.end) else { return None };
            Some((range.id, truth.tree.root()))
        });
        let truth = truth.collect();
        let claims = claims.into_iter().map(|claim| ((claim.range, claim.commitment), claim));
        Self { claims: claims.collect(), truth, view }
    }

    /// One of the open ranges, or all; of each at most [`PAGE`] claims and matches, from place `from` on.
    pub fn list(&self, range: Option<u64>, from: u64) -> ClaimsReport {
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        let wanted = self.view.ranges.iter().filter(|it| range.is_none_or(|id| id == it.id));
        ClaimsReport {
            l1_block: U64::from(self.view.block),
            l1_timestamp: U64::from(self.view.now),
            ranges: wanted.filter_map(|range| self.range(range, from)).collect(),
        }
    }

    fn range(&self, range: &RangeView, from: usize) -> Option<RangeReport> {
        let View { params, .. } = &self.view;
        let tournament = self.view.tournament(range.id)?;
        let claims = tournament.commitments.iter().skip(from).take(PAGE);
        let below = self.view.tournaments.iter().filter(|it| self.range_of(it) == Some(range.id));
        let matches: Vec<_> = below
            .flat_map(|it| it.matches.iter().filter(|m| m.is_open()).map(move |m| (it, m)))
            .collect();
        Some(RangeReport {
            range: U64::from(range.id),
            start: range.start,
            end: U64::from(range.end),
            opened: U64::from(range.opened),
            joinable_until: U64::from(tournament.joinable_until(0, params)),
            claim_count: U64::from(tournament.commitments.len()),
            alive: U64::from(tournament.alive),
            match_count: U64::from(matches.len()),
            pot: U256::from(tournament.pot),
            claims: claims.map(|commitment| self.claim(range.id, commitment)).collect(),
            matches: matches.iter().skip(from).take(PAGE).map(|(it, m)| self.of(it, m)).collect(),
        })
    }

    /// The range whose tournament it is, or lies above it.
    fn range_of(&self, tournament: &Tournament) -> Option<u64> {
        let parent = |at: &Tournament| self.view.tournament(at.parent_match >> MATCH_BITS);
        match tournament.level {
            0 => Some(tournament.id),
            1 => Some(parent(tournament)?.id),
            _ => Some(parent(parent(tournament)?)?.id),
        }
    }

    fn claim(&self, range: u64, commitment: &Commitment) -> ClaimReport {
        let View { params, now, .. } = &self.view;
        let claim = self.claims.get(&(range, commitment.root));
        let faulty = claim.is_some_and(|claim| claim.output_root.is_zero());
        ClaimReport {
            claim: claim.map(|claim| U64::from(claim.index)),
            commitment: commitment.root,
            claimer: commitment.claimer,
            leaf: commitment.last,
            block: claim.filter(|_| !faulty).map(|claim| U64::from(claim.block)),
            output_root: claim.map(|claim| claim.output_root),
            bond: U256::from(params.bond),
            alive: commitment.alive,
            clock: U64::from(commitment.left(*now, params)),
            is_true: self.truth.get(&range).map(|truth| *truth == commitment.root),
        }
    }

    fn of(&self, tournament: &Tournament, m: &Match) -> MatchReport {
        let View { params, now, .. } = &self.view;
        let side = |root| {
            let commitment = tournament.commitment(root).copied().unwrap_or_default();
            let clock = U64::from(commitment.left(*now, params));
            SideReport { commitment: root, claimer: commitment.claimer, clock }
        };
        MatchReport {
            r#match: U64::from(m.id),
            tournament: U64::from(m.tournament),
            level: U64::from(tournament.level),
            phase: match m.phase {
                PHASE_MOVE => "moving",
                PHASE_CHILD => "child",
                _ => "prove",
            },
            index: U64::from(m.index),
            height: U64::from(m.height),
            sides: [side(m.one), side(m.two)],
            on_turn: (m.phase == PHASE_MOVE).then_some(u8::from(!m.one_moves)),
            child: (m.child != 0).then(|| U64::from(m.child)),
        }
    }
}
