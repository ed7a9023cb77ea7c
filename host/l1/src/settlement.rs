//! What L1 says about settlement (spec/settlement.md).

use crate::client::{L1Block, L1Client};
use crate::contracts::{Claims, Inbox, Multicall3, Tournament};
use crate::deployment::Contracts;
use crate::error::L1Error;
use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_rpc_types_eth::{Filter, Log};
use alloy_sol_types::{SolCall, SolEventInterface};
use std::collections::BTreeMap;

pub use crate::contracts::Claims::ClaimsEvents;
pub use crate::contracts::Tournament::{
    CommitmentView, MatchView, TournamentEvents, TournamentView,
};

/// Commitments, matches or claims asked for at once.
const PAGE: u64 = 128;
/// Most commitments or matches that are read of a tournament: each stands for a bond.
const MAX_ENTRIES: u64 = 65_536;
/// Most tournaments that are read: each beyond the open ranges' stands for a match.
const MAX_TOURNAMENTS: usize = 16_384;
/// Claims of the open ranges that are read: the newest. Each stands for a bond.
const MAX_CLAIMS: usize = 1_024;
/// Claims asked for at once: there are few in an honest chain.
const CLAIMS_PAGE: u64 = 16;
/// [`MatchView::phase`] of a match whose child is played.
const CHILD_IS_PLAYED: u8 = 1;

/// The newest leaf that has settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SettledLeaf {
    pub leaf: B256,
    pub output_root: B256,
    /// Index of the Inbox's record that it is in.
    pub record: u64,
    /// Number of the L2 block that is its head.
    pub block: u64,
    /// The range that settled it; zero: none, it is genesis.
    pub range: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeStatus {
    Open,
    Settled,
    /// Closed without a survivor; may be opened again, under another id.
    WithoutSurvivor,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Also the id of its tournament of level 0.
    pub id: u64,
    /// The leaf before it.
    pub start: B256,
    /// Index of the first record beyond it.
    pub end: u64,
    pub end_accumulator: B256,
    /// L1 timestamp, seconds.
    pub opened: u64,
    pub status: RangeStatus,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimStatus {
    InProgress,
    Beaten,
    Settled,
}

/// A commitment of level 0 as a dispute game of the OP Stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClaimState {
    pub index: u64,
    pub range: u64,
    pub commitment: B256,
    pub leaf: B256,
    /// Zero if the leaf is a FAULT leaf.
    pub output_root: B256,
    /// Number of the claimed L2 block.
    pub block: u64,
    /// L1 timestamp, seconds.
    pub created_at: u64,
    /// L1 timestamp, seconds; zero while it is in progress.
    pub resolved_at: u64,
    pub status: ClaimStatus,
    /// Address of its contract.
    pub game: Address,
}

/// A tournament with all that joined it and all that was played.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TournamentState {
    pub view: TournamentView,
    /// In the order in which they joined.
    pub commitments: Vec<CommitmentView>,
    /// In the order in which they began.
    pub matches: Vec<MatchView>,
}

/// Settlement at one L1 block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settlement {
    pub at: L1Block,
    pub settled: SettledLeaf,
    /// A FAULT leaf settled: nothing settles any more.
    pub faulted: bool,
    /// L1 timestamp of the newest opening, seconds; zero: none.
    pub last_opened: u64,
    /// Those that are open, in order of their ids.
    pub ranges: Vec<Range>,
    /// The tournaments of the open ranges and, below them, of matches that are not over, by id.
    pub tournaments: BTreeMap<U256, TournamentState>,
    /// Claims of the open ranges, in order of their indexes; of very many the newest.
    pub claims: Vec<ClaimState>,
    /// Records that the Inbox counts.
    pub record_count: u64,
    /// Those that were asked about, in that order.
    pub wealth: Vec<Wealth>,
}

/// What an account has, wei.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wealth {
    pub balance: U256,
    /// What it can withdraw from the Tournament.
    pub credits: U256,
}

/// Reads settlement at a block, and what these accounts have there.
pub async fn settlement(
    client: &L1Client,
    contracts: &Contracts,
    at: L1Block,
    accounts: &[Address],
) -> Result<Settlement, L1Error> {
    let reader = Reader { client, contracts, block: at.hash };
    // In one request: a node asks this at every L1 block, and providers bill requests.
    let (claims, tournament) = (contracts.claims, contracts.tournament);
    let mut questions = vec![
        question(claims, &Claims::settledCall {}),
        question(claims, &Claims::faultedCall {}),
        question(claims, &Claims::lastOpenedCall {}),
        question(claims, &Claims::openRangesCall {}),
        question(claims, &Claims::gameCountCall {}),
        question(contracts.inbox, &Inbox::recordCountCall {}),
    ];
    for account in accounts.iter().copied() {
        let balance = Multicall3::getEthBalanceCall { addr: account };
        questions.push(question(contracts.multicall3, &balance));
        questions.push(question(tournament, &Tournament::creditsCall { account }));
    }
    let mut answers = reader.ask(questions).await?.into_iter();
    let settled = answer::<Claims::settledCall>(&mut answers)?.into();
    let faulted = answer::<Claims::faultedCall>(&mut answers)?;
    let last_opened = answer::<Claims::lastOpenedCall>(&mut answers)?;
    let open = answer::<Claims::openRangesCall>(&mut answers)?;
    let count = answer::<Claims::gameCountCall>(&mut answers)?.saturating_to();
    let record_count = answer::<Inbox::recordCountCall>(&mut answers)?.saturating_to();
    let mut wealth = Vec::with_capacity(accounts.len());
    for _ in accounts {
        let balance = answer::<Multicall3::getEthBalanceCall>(&mut answers)?;
        let credits = answer::<Tournament::creditsCall>(&mut answers)?;
        wealth.push(Wealth { balance, credits });
    }
    let ranges = reader.ranges(&open).await?;
    let tournaments = reader.tournaments(&ranges).await?;
    let claims = reader.claims_since(&ranges, count).await?;
    Ok(Settlement {
        at,
        settled,
        faulted,
        last_opened,
        ranges,
        tournaments,
        claims,
        record_count,
        wealth,
    })
}

/// The newest `count` claims, oldest first, of those below index `before`.
pub async fn claims(
    client: &L1Client,
    contracts: &Contracts,
    before: Option<u64>,
    count: u64,
) -> Result<Vec<ClaimState>, L1Error> {
    let block = client.head().await?.hash;
    let reader = Reader { client, contracts, block };
    let all: u64 = reader.claims(&Claims::gameCountCall {}).await?.saturating_to();
    let end = before.unwrap_or(all).min(all);
    reader.claims_at(end.saturating_sub(count)..end).await
}

/// The claim whose contract is `game`, and whether a withdrawal proved against it can be finalised now; none if it is none.
pub async fn claim_of(
    client: &L1Client,
    contracts: &Contracts,
    game: Address,
) -> Result<(ClaimState, bool), L1Error> {
    let block = client.head().await?.hash;
    let reader = Reader { client, contracts, block };
    let index = reader.claims(&Claims::claimOfCall { game }).await?;
    let claim = claim_state(index, reader.claims(&Claims::claimCall { index }).await?)?;
    Ok((claim, reader.claims(&Claims::isSettleableCall { index }).await?))
}

/// A range, settled or not; none if there is none of that id.
pub async fn range(
    client: &L1Client,
    contracts: &Contracts,
    id: u64,
) -> Result<Option<Range>, L1Error> {
    let block = client.head().await?.hash;
    let reader = Reader { client, contracts, block };
    Range::read(id, reader.claims(&Claims::rangeCall { id: U256::from(id) }).await?)
}

/// What happened in a block.
#[derive(Clone, Debug)]
pub struct Logged {
    pub event: Event,
    pub block: u64,
    pub tx: B256,
}

#[derive(Clone, Debug)]
pub enum Event {
    Claims(ClaimsEvents),
    Tournament(TournamentEvents),
}

/// What happened in L1 blocks `from..=to`, in order.
pub async fn events(
    client: &L1Client,
    contracts: &Contracts,
    from: u64,
    to: u64,
) -> Result<Vec<Logged>, L1Error> {
    let filter = Filter::new().address(vec![contracts.claims, contracts.tournament]);
    let logs = client.logs(filter, from, to).await?;
    Ok(logs.iter().filter_map(|log| logged(log, contracts)).collect())
}

fn logged(log: &Log, contracts: &Contracts) -> Option<Logged> {
    let event = if log.address() == contracts.claims {
        Event::Claims(ClaimsEvents::decode_log(&log.inner).ok()?.data)
    } else if log.address() == contracts.tournament {
        Event::Tournament(TournamentEvents::decode_log(&log.inner).ok()?.data)
    } else {
        return None;
    };
    Some(Logged { event, block: log.block_number?, tx: log.transaction_hash? })
}

/// Who joined a tournament with that commitment; zero: nobody.
pub async fn claimer(
    client: &L1Client,
    contracts: &Contracts,
    tournament: u64,
    commitment: B256,
) -> Result<Address, L1Error> {
    let call = Tournament::commitmentCall { id: U256::from(tournament), root: commitment };
    Ok(client.read(contracts.tournament, &call).await?.claimer)
}

/// Target, whether it may fail, data: a call as Multicall3 takes it.
type Question = (Address, bool, Bytes);

fn question<C: SolCall>(contract: Address, call: &C) -> Question {
    (contract, false, call.abi_encode().into())
}

fn answer<C: SolCall>(answers: &mut impl Iterator<Item = Bytes>) -> Result<C::Return, L1Error> {
    let output = answers.next().expect("an answer to each question");
    C::abi_decode_returns(&output).map_err(|error| malformed(&error.to_string()))
}

fn malformed(what: &str) -> L1Error {
    L1Error::Malformed(serde::de::Error::custom(what))
}

impl From<Claims::settledReturn> for SettledLeaf {
    fn from(settled: Claims::settledReturn) -> Self {
        Self {
            leaf: settled.leaf,
            output_root: settled.outputRoot,
            record: settled.record,
            block: settled.l2Block,
            range: settled.id.saturating_to(),
        }
    }
}

impl Range {
    /// What `Claims.range(id)` answers; none if there is none of that id.
    pub fn read(id: u64, range: Claims::rangeReturn) -> Result<Option<Self>, L1Error> {
        let status = match range.status {
            0 => return Ok(None),
            1 => RangeStatus::Open,
            2 => RangeStatus::Settled,
            3 => RangeStatus::WithoutSurvivor,
            _ => return Err(malformed("unknown status of a range")),
        };
        Ok(Some(Self {
            id,
            start: range.start,
            end: range.end,
            end_accumulator: range.endAccumulator,
            opened: range.opened,
            status,
        }))
    }
}

fn claim_state(index: U256, claim: Claims::ClaimView) -> Result<ClaimState, L1Error> {
    let status = match claim.status {
        0 => ClaimStatus::InProgress,
        1 => ClaimStatus::Beaten,
        2 => ClaimStatus::Settled,
        _ => return Err(malformed("unknown status of a claim")),
    };
    Ok(ClaimState {
        index: index.saturating_to(),
        range: claim.range.saturating_to(),
        commitment: claim.commitment,
        leaf: claim.leaf,
        output_root: claim.outputRoot,
        block: claim.l2Block,
        created_at: claim.createdAt,
        resolved_at: claim.resolvedAt,
        status,
        game: claim.game,
    })
}

/// Reads contracts at one block.
struct Reader<'a> {
    client: &'a L1Client,
    contracts: &'a Contracts,
    /// Its hash: by number, a reorganisation could mix two chains, as could several nodes under one URL.
    block: B256,
}

impl Reader<'_> {
    async fn claims<C: SolCall>(&self, call: &C) -> Result<C::Return, L1Error> {
        self.client.read_at(self.contracts.claims, call, self.block).await
    }

    async fn tournament<C: SolCall>(&self, call: &C) -> Result<C::Return, L1Error> {
        self.client.read_at(self.contracts.tournament, call, self.block).await
    }

    /// Reads one contract many times in few requests.
    async fn many<C: SolCall>(
        &self,
        contract: Address,
        calls: &[C],
    ) -> Result<Vec<C::Return>, L1Error> {
        let questions = calls.iter().map(|call| question(contract, call)).collect();
        let mut answers = self.ask(questions).await?.into_iter();
        calls.iter().map(|_| answer::<C>(&mut answers)).collect()
    }

    /// The output of each, in few requests.
    async fn ask(&self, questions: Vec<Question>) -> Result<Vec<Bytes>, L1Error> {
        let mut answers = Vec::with_capacity(questions.len());
        for page in questions.chunks(PAGE as usize) {
            let call = Multicall3::aggregate3Call { calls: page.to_vec() };
            let multicall = self.contracts.multicall3;
            let results = self.client.read_at(multicall, &call, self.block).await?;
            if results.len() != page.len() {
                return Err(malformed("Multicall3 has not answered every call"));
            }
            answers.extend(results.into_iter().map(|(_, output)| output));
        }
        Ok(answers)
    }

    /// Those of these ids, in order.
    async fn ranges(&self, ids: &[U256]) -> Result<Vec<Range>, L1Error> {
        let calls: Vec<_> = ids.iter().map(|id| Claims::rangeCall { id: *id }).collect();
        let found = self.many(self.contracts.claims, &calls).await?;
        let ranges =
            ids.iter().zip(found).map(|(id, range)| Range::read(id.saturating_to(), range));
        let mut ranges: Vec<_> =
            ranges.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
        ranges.sort_by_key(|range| range.id);
        Ok(ranges)
    }

    async fn claims_at(&self, indexes: std::ops::Range<u64>) -> Result<Vec<ClaimState>, L1Error> {
        let calls: Vec<_> =
            indexes.map(|index| Claims::claimCall { index: U256::from(index) }).collect();
        let found = self.many(self.contracts.claims, &calls).await?;
        calls.iter().zip(found).map(|(call, claim)| claim_state(call.index, claim)).collect()
    }

    /// The claims of these ranges, of `count` claims: none is older than the oldest of them.
    async fn claims_since(&self, ranges: &[Range], count: u64) -> Result<Vec<ClaimState>, L1Error> {
        let Some(oldest) = ranges.iter().map(|range| range.opened).min() else {
            return Ok(Vec::new());
        };
        let mut end = count;
        let mut found = Vec::new();
        while end > 0 && found.len() < MAX_CLAIMS {
            let from = end.saturating_sub(CLAIMS_PAGE);
            found.extend(self.claims_at(from..end).await?.into_iter().rev());
            end =
                if found.last().is_some_and(|claim| claim.created_at < oldest) { 0 } else { from };
        }
        found.retain(|claim| ranges.iter().any(|range| range.id == claim.range));
        found.reverse();
        Ok(found)
    }

    /// The ranges' tournaments and those below them whose match is not over.
    async fn tournaments(
        &self,
        ranges: &[Range],
    ) -> Result<BTreeMap<U256, TournamentState>, L1Error> {
        let mut tournaments = BTreeMap::new();
        let mut wanted: Vec<U256> = ranges.iter().map(|range| U256::from(range.id)).collect();
        while !wanted.is_empty() {
            if tournaments.len() + wanted.len() > MAX_TOURNAMENTS {
                return Err(L1Error::TooLarge);
            }
            let calls: Vec<_> =
                wanted.iter().map(|id| Tournament::tournamentCall { id: *id }).collect();
            let views = self.many(self.contracts.tournament, &calls).await?;
            let mut below = Vec::new();
            for (id, view) in wanted.into_iter().zip(views) {
                let state = self.tournament_state(id, view).await?;
                let played = state.matches.iter().filter(|m| m.phase == CHILD_IS_PLAYED);
                below.extend(played.map(|m| m.child));
                tournaments.insert(id, state);
            }
            below.retain(|id| !tournaments.contains_key(id));
            wanted = below;
        }
        Ok(tournaments)
    }

    async fn tournament_state(
        &self,
        id: U256,
        view: TournamentView,
    ) -> Result<TournamentState, L1Error> {
        let number = U256::from(PAGE);
        let mut commitments = Vec::new();
        for from in pages(view.commitments)? {
            let call = Tournament::commitmentsCall { id, from, number };
            commitments.extend(self.tournament(&call).await?);
        }
        let mut matches = Vec::new();
        for from in pages(view.matches)? {
            let call = Tournament::matchesCall { id, from, number };
            matches.extend(self.tournament(&call).await?);
        }
        Ok(TournamentState { view, commitments, matches })
    }
}

/// Where the pages of so many entries begin.
fn pages(count: U256) -> Result<impl Iterator<Item = U256>, L1Error> {
    let count: u64 = count.saturating_to();
    if count > MAX_ENTRIES {
        return Err(L1Error::TooLarge);
    }
    Ok((0..count).step_by(PAGE as usize).map(U256::from))
}
