//! What L1 says, as players take it.

use alloy_primitives::{Address, U256};
use annex_claim::Kind;
use annex_l1::{
    Deployment, L1Client, L1Error,
    contracts::{Inbox, PreimageOracle, Tournament as TournamentContract},
    settlement::{CommitmentView, MatchView, TournamentState, settlement},
};
use annex_settle::{Commitment, Match, Params, Preimage, RangeView, Settled, Tournament, View};
use std::collections::BTreeSet;

/// What differs from one account to another, wei.
pub(super) struct Own {
    credits: U256,
    balance: U256,
}

impl Own {
    pub fn of(self, common: &View) -> View {
        View { credits: self.credits, balance: self.balance, ..common.clone() }
    }
}

/// Reads everything at the newest block. `calls` are what the oracle is asked for.
pub(super) async fn read(
    client: &L1Client,
    deployment: &Deployment,
    accounts: &[Address],
    calls: &BTreeSet<Preimage>,
) -> Result<(View, Vec<Own>), L1Error> {
    let contracts = &deployment.contracts;
    let first = accounts.first().copied().unwrap_or_default();
    let found = settlement(client, contracts, first).await?;
    let number = found.at.number;
    let record_count = client.read_at(contracts.inbox, &Inbox::recordCountCall {}, number).await?;
    let mut loaded = BTreeSet::new();
    for call in calls {
        if is_loaded(client, contracts.preimage_oracle, call, number).await? {
            loaded.insert(*call);
        }
    }
    let mut own = Vec::with_capacity(accounts.len());
    for account in accounts {
        let credits = TournamentContract::creditsCall { account: *account };
        own.push(Own {
            credits: client.read_at(contracts.tournament, &credits, number).await?.saturating_to(),
            balance: client.balance(*account).await?,
        });
    }
    let settled = found.settled;
    let ranges = found.ranges.iter().map(|range| RangeView {
        id: range.id,
        start: range.start,
        end: range.end,
        end_accumulator: range.end_accumulator,
        opened: range.opened,
    });
    let view = View {
        block: number,
        now: found.at.timestamp,
        params: params(deployment),
        record_count: record_count.saturating_to(),
        settled: Settled {
            leaf: settled.leaf,
            output_root: settled.output_root,
            record: settled.record,
            l2_block: settled.block,
            range: settled.range,
        },
        faulted: found.faulted,
        last_opened: found.last_opened,
        ranges: ranges.collect(),
        tournaments: found.tournaments.iter().map(|(id, state)| tournament(*id, state)).collect(),
        loaded,
        credits: U256::ZERO,
        balance: U256::ZERO,
    };
    Ok((view, own))
}

fn params(deployment: &Deployment) -> Params {
    let parameters = &deployment.parameters;
    Params {
        claim_interval: parameters.claim_interval,
        challenge_window: parameters.challenge_window,
        move_grace: parameters.move_grace,
        bond: parameters.bond.saturating_to(),
        ..Params::default()
    }
}

async fn is_loaded(
    client: &L1Client,
    oracle: Address,
    call: &Preimage,
    number: u64,
) -> Result<bool, L1Error> {
    let kind = match call.kind {
        Kind::Keccak => U256::ZERO,
        Kind::Blob => U256::ONE,
    };
    let offset = U256::from(call.offset);
    let read = PreimageOracle::readCall { kind, key: call.key, offset };
    match client.read_at(oracle, &read, number).await {
        Ok(_) => Ok(true),
        Err(L1Error::Reverted(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

fn tournament(id: U256, state: &TournamentState) -> Tournament {
    let view = &state.view;
    Tournament {
        id: id.saturating_to(),
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
        commitments: state.commitments.iter().map(commitment).collect(),
        matches: state.matches.iter().map(match_of).collect(),
    }
}

fn commitment(view: &CommitmentView) -> Commitment {
    Commitment {
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

fn match_of(view: &MatchView) -> Match {
    Match {
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
