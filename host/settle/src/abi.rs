//! What L1 says, as players take it; and what they want, as transactions on L1.

use crate::{
    Action, Commitment, Match, Output, Params, Part, Preimage, RangeView, Settled, Tournament, View,
};
use alloy_primitives::{Address, B256, Bytes, TxKind, U256};
use alloy_sol_types::SolCall;
use annex_l1::{
    Call, Contracts, Parameters,
    contracts::{Claims, Tournament as Abi},
    settlement::{CommitmentView, MatchView, Range, SettledLeaf, Settlement, TournamentState},
};
use std::collections::BTreeSet;

impl View {
    /// All but what differs from one account to another, and what the oracle was told.
    pub fn new(found: Settlement, params: Params) -> Self {
        Self {
            block: found.at.number,
            now: found.at.timestamp,
            params,
            record_count: found.record_count,
            settled: found.settled.into(),
            faulted: found.faulted,
            last_opened: found.last_opened,
            ranges: found.ranges.into_iter().map(Into::into).collect(),
            tournaments: found.tournaments.into_values().map(Into::into).collect(),
            loaded: BTreeSet::new(),
            credits: U256::ZERO,
            balance: U256::ZERO,
        }
    }
}

impl From<&Parameters> for Params {
    fn from(parameters: &Parameters) -> Self {
        Self {
            claim_interval: parameters.claim_interval,
            challenge_window: parameters.challenge_window,
            move_grace: parameters.move_grace,
            bond: parameters.bond.saturating_to(),
            ..Self::default()
        }
    }
}

impl From<SettledLeaf> for Settled {
    fn from(settled: SettledLeaf) -> Self {
        let SettledLeaf { leaf, output_root, record, block, range } = settled;
        Self { leaf, output_root, record, l2_block: block, range }
    }
}

impl From<Range> for RangeView {
    fn from(range: Range) -> Self {
        let Range { id, start, end, end_accumulator, opened, .. } = range;
        Self { id, start, end, end_accumulator, opened }
    }
}

impl From<TournamentState> for Tournament {
    fn from(state: TournamentState) -> Self {
        let TournamentState { view, commitments, matches } = state;
        Self {
            id: view.id.saturating_to(),
            level: view.level,
            opened: view.opened,
            end: view.end,
            start: view.start,
            contested: view.contested,
            side_clocks: view.sideClocks,
            parent_match: view.parentMatch.saturating_to(),
            waiting: view.waiting,
            open_matches: view.openMatches,
            alive: view.alive,
            pot: view.pot,
            closed: view.closed,
            survivor: view.survivor,
            commitments: commitments.into_iter().map(Into::into).collect(),
            matches: matches.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<CommitmentView> for Commitment {
    fn from(view: CommitmentView) -> Self {
        Self {
            root: view.root,
            claimer: view.claimer,
            last: view.last,
            side: view.side,
            alive: view.alive,
            clock: view.clock,
            since: view.since,
            current_match: view.currentMatch.saturating_to(),
        }
    }
}

impl From<MatchView> for Match {
    fn from(view: MatchView) -> Self {
        Self {
            id: view.id.saturating_to(),
            tournament: view.tournament.saturating_to(),
            one: view.one,
            two: view.two,
            node: view.node,
            left: view.left,
            right: view.right,
            index: view.index,
            height: view.height,
            phase: view.phase,
            one_moves: view.oneMoves,
            child: view.child.saturating_to(),
            agreed: view.agreed,
            states: view.states,
        }
    }
}

/// The contracts that actions call.
#[derive(Clone, Copy, Debug)]
pub struct Targets {
    pub claims: Address,
    pub tournament: Address,
    pub preimage_oracle: Address,
}

impl From<&Contracts> for Targets {
    fn from(contracts: &Contracts) -> Self {
        let Contracts { claims, tournament, preimage_oracle, .. } = *contracts;
        Self { claims, tournament, preimage_oracle }
    }
}

impl Action {
    /// The transaction on L1; none for a preimage of which `part` has nothing. `bond` is in wei.
    pub fn call(
        &self,
        at: &Targets,
        bond: u128,
        part: impl FnOnce(Preimage) -> Option<Part>,
    ) -> Option<Call> {
        let (claims, tournament) = (at.claims, at.tournament);
        let id = |id: u64| U256::from(id);
        Some(match self.clone() {
            Self::Open => call(claims, &Claims::openCall {}, 0),
            Self::Claim { range, start, end_accumulator, path, output } => {
                let (id, output) = (id(range), output.into());
                let endAccumulator = end_accumulator;
                call(claims, &Claims::joinCall { id, start, endAccumulator, path, output }, bond)
            }
            Self::Join { tournament: to, start, last, path, state } => {
                let join = Abi::joinCall { id: id(to), start, last, path, state };
                call(tournament, &join, bond)
            }
            Self::Advance { match_id, left, right, new_left, new_right } => {
                let (matchId, newLeft, newRight) = (id(match_id), new_left, new_right);
                call(tournament, &Abi::advanceCall { matchId, left, right, newLeft, newRight }, 0)
            }
            Self::Seal { match_id, left, right, agreed, path, opening } => {
                let matchId = id(match_id);
                let seal = Abi::sealCall { matchId, left, right, agreed, path, opening };
                call(tournament, &seal, 0)
            }
            Self::Load(preimage) => to_call(at.preimage_oracle, part(preimage)?.encode(), 0),
            Self::Prove { match_id, proof } => {
                call(tournament, &Abi::proveCall { matchId: id(match_id), proof }, 0)
            }
            Self::Timeout { match_id } => {
                call(tournament, &Abi::timeoutCall { matchId: id(match_id) }, 0)
            }
            Self::Close { tournament: child } => {
                call(tournament, &Abi::closeCall { id: id(child) }, 0)
            }
            Self::Settle { range } => call(claims, &Claims::settleCall { id: id(range) }, 0),
            Self::Withdraw => call(tournament, &Abi::withdrawCall {}, 0),
        })
    }
}

fn call(to: Address, call: &impl SolCall, value: u128) -> Call {
    to_call(to, call.abi_encode(), value)
}

fn to_call(to: Address, input: Vec<u8>, value: u128) -> Call {
    let (to, input) = (TxKind::Call(to), input.into());
    Call { to, input, value: U256::from(value), sidecar: None }
}

impl From<Output> for Claims::Output {
    fn from(output: Output) -> Self {
        match output {
            Output::Head { header, cursor } => Self {
                header,
                record: cursor.record,
                block: cursor.block,
                forced: cursor.forced,
                faultOf: B256::ZERO,
            },
            Output::Fault { of } => {
                Self { header: Bytes::new(), record: 0, block: 0, forced: 0, faultOf: of }
            }
        }
    }
}
