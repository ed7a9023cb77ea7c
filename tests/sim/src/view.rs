//! What L1 says, as the players take it, and what they want, as transactions.

use std::collections::BTreeSet;

use alloy_primitives::{Address, Bytes, U256};
use annex_claim::Kind;
use annex_l1::contracts::PreimageOracle::{
    loadBlobElementCall, loadKeccakPartCall, pointOfCall, readCall,
};
use annex_l1::contracts::{Claims, Inbox, Tournament};
use annex_settle::{Action, Book, Commitment, Match, Output, Preimage, RangeView, Settled, View};

use crate::compute::Computer;
use crate::l1::{Call, L1};
use crate::world::World;

/// Most entries of a list that are asked for at once.
const PAGE: u64 = 64;

impl World {
    /// What everybody sees of settlement in the newest block.
    pub fn view(&self) -> View {
        let at = &self.at;
        let settled = self.l1.view(at.claims, &Claims::settledCall {});
        let ids = self.l1.view(at.claims, &Claims::openRangesCall {});
        let mut ids: Vec<u64> = ids.into_iter().map(|id| id.to()).collect();
        ids.sort_unstable();
        let ranges: Vec<RangeView> = ids.iter().map(|id| self.range(*id)).collect();
        let mut tournaments = Vec::new();
        let mut wanted = ids;
        while let Some(id) = wanted.pop() {
            let tournament = tournament(&self.l1, at.tournament, id);
            let played = |m: &&Match| m.phase == annex_settle::PHASE_CHILD;
            wanted.extend(tournament.matches.iter().filter(played).map(|m| m.child));
            tournaments.push(tournament);
        }
        tournaments.sort_by_key(|tournament| tournament.id);
        View {
            block: self.l1.number(),
            now: self.l1.now(),
            params: self.params,
            record_count: self.l1.view(at.inbox, &Inbox::recordCountCall {}).to(),
            settled: Settled {
                leaf: settled.leaf,
                output_root: settled.outputRoot,
                record: settled.record,
                l2_block: settled.l2Block,
                range: settled.id.to(),
            },
            faulted: self.l1.view(at.claims, &Claims::faultedCall {}),
            last_opened: self.l1.view(at.claims, &Claims::lastOpenedCall {}),
            ranges,
            tournaments,
            loaded: BTreeSet::new(),
            credits: U256::ZERO,
            balance: U256::ZERO,
        }
    }

    /// The same as one account sees it.
    pub fn view_of(&self, common: &View, account: Address, book: &Book) -> View {
        let loaded = |call: &Preimage| {
            let kind = match call.kind {
                Kind::Keccak => 0u64,
                Kind::Blob => 1,
            };
            let (kind, offset) = (U256::from(kind), U256::from(call.offset));
            self.l1.ask(self.at.oracle, &readCall { kind, key: call.key, offset }).success()
        };
        View {
            loaded: book.calls().into_iter().filter(loaded).collect(),
            credits: self.credits(account),
            balance: self.l1.balance(account),
            ..common.clone()
        }
    }

    /// Wei that the Tournament owes an account.
    pub fn credits(&self, account: Address) -> U256 {
        self.l1.view(self.at.tournament, &Tournament::creditsCall { account })
    }

    /// All there ever were.
    pub fn tournaments(&self) -> Vec<annex_settle::Tournament> {
        let count: u64 = self.l1.view(self.at.tournament, &Tournament::countCall {}).to();
        (1..=count).map(|id| tournament(&self.l1, self.at.tournament, id)).collect()
    }

    fn range(&self, id: u64) -> RangeView {
        let range = self.l1.view(self.at.claims, &Claims::rangeCall { id: U256::from(id) });
        RangeView {
            id,
            start: range.start,
            end: range.end,
            end_accumulator: range.endAccumulator,
            opened: range.opened,
        }
    }

    /// The transaction of an action. `computer` has the data of preimages.
    pub fn call(&self, from: Address, action: &Action, computer: &Computer) -> Call {
        let (claims, tournament) = (self.at.claims, self.at.tournament);
        let bond = U256::from(self.params.bond);
        match action.clone() {
            Action::Open => Call::new(from, claims, &Claims::openCall {}),
            Action::Claim { range, start, end_accumulator, path, output } => {
                let call = Claims::joinCall {
                    id: U256::from(range),
                    start,
                    endAccumulator: end_accumulator,
                    path,
                    output: opened(output),
                };
                Call::new(from, claims, &call).with_value(bond)
            }
            Action::Join { tournament: id, start, last, path, state } => {
                let call = Tournament::joinCall { id: U256::from(id), start, last, path, state };
                Call::new(from, tournament, &call).with_value(bond)
            }
            Action::Advance { match_id, left, right, new_left, new_right } => {
                let call = Tournament::advanceCall {
                    matchId: U256::from(match_id),
                    left,
                    right,
                    newLeft: new_left,
                    newRight: new_right,
                };
                Call::new(from, tournament, &call)
            }
            Action::Seal { match_id, left, right, agreed, path, opening } => {
                let call = Tournament::sealCall {
                    matchId: U256::from(match_id),
                    left,
                    right,
                    agreed,
                    path,
                    opening,
                };
                Call::new(from, tournament, &call)
            }
            Action::Load(preimage) => self.load(from, preimage, computer),
            Action::Prove { match_id, proof } => {
                let call = Tournament::proveCall { matchId: U256::from(match_id), proof };
                Call::new(from, tournament, &call)
            }
            Action::Timeout { match_id } => {
                let call = Tournament::timeoutCall { matchId: U256::from(match_id) };
                Call::new(from, tournament, &call)
            }
            Action::Close { tournament: id } => {
                Call::new(from, tournament, &Tournament::closeCall { id: U256::from(id) })
            }
            Action::Settle { range } => {
                Call::new(from, claims, &Claims::settleCall { id: U256::from(range) })
            }
            Action::Withdraw => Call::new(from, tournament, &Tournament::withdrawCall {}),
        }
    }
}

impl World {
    /// What tells the oracle what a proof reads.
    fn load(&self, from: Address, preimage: Preimage, computer: &Computer) -> Call {
        let Preimage { kind, key, offset } = preimage;
        if kind == Kind::Keccak {
            let (offset, data) = (U256::from(offset), computer.preimage(key));
            return Call::new(from, self.at.oracle, &loadKeccakPartCall { offset, data });
        }
        let index = U256::from(offset / 32);
        let point = self.l1.view(self.at.oracle, &pointOfCall { index });
        let kzg = c_kzg::ethereum_kzg_settings(0);
        let blob = c_kzg::Blob::new(self.blobs[&key].0);
        let point = c_kzg::Bytes32::new(point.to_be_bytes());
        let (proof, element) = kzg.compute_kzg_proof(&blob, &point).expect("a point of the field");
        let commitment = kzg.blob_to_kzg_commitment(&blob).expect("a blob that was posted");
        let call = loadBlobElementCall {
            versionedHash: key,
            index,
            element: element.as_slice().try_into().expect("32 bytes"),
            commitment: Bytes::copy_from_slice(commitment.as_slice()),
            proof: Bytes::copy_from_slice(proof.to_bytes().as_slice()),
        };
        Call::new(from, self.at.oracle, &call)
    }
}

fn opened(output: Output) -> Claims::Output {
    match output {
        Output::Head { header, cursor } => Claims::Output {
            header,
            record: cursor.record,
            block: cursor.block,
            forced: cursor.forced,
            faultOf: Default::default(),
        },
        Output::Fault { of } => {
            Claims::Output { header: Bytes::new(), record: 0, block: 0, forced: 0, faultOf: of }
        }
    }
}

/// A tournament with everything in it.
pub fn tournament(l1: &L1, at: Address, id: u64) -> annex_settle::Tournament {
    let name = U256::from(id);
    let view = l1.view(at, &Tournament::tournamentCall { id: name });
    let pages = |count: U256| (0..count.to::<u64>()).step_by(PAGE as usize).map(U256::from);
    let number = U256::from(PAGE);
    let commitments = pages(view.commitments)
        .flat_map(|from| l1.view(at, &Tournament::commitmentsCall { id: name, from, number }))
        .map(commitment);
    let matches = pages(view.matches)
        .flat_map(|from| l1.view(at, &Tournament::matchesCall { id: name, from, number }))
        .map(match_of);
    annex_settle::Tournament {
        id,
        level: view.level,
        opened: view.opened,
        end: view.end,
        start: view.start,
        contested: view.contested,
        side_clocks: view.sideClocks,
        parent_match: view.parentMatch.to(),
        waiting: view.waiting,
        open_matches: view.openMatches,
        alive: view.alive,
        pot: view.pot,
        closed: view.closed,
        survivor: view.survivor,
        commitments: commitments.collect(),
        matches: matches.collect(),
    }
}

fn commitment(view: Tournament::CommitmentView) -> Commitment {
    Commitment {
        root: view.root,
        claimer: view.claimer,
        last: view.last,
        side: view.side,
        alive: view.alive,
        clock: view.clock,
        since: view.since,
        current_match: view.currentMatch.to(),
    }
}

fn match_of(view: Tournament::MatchView) -> Match {
    Match {
        id: view.id.to(),
        tournament: view.tournament.to(),
        one: view.one,
        two: view.two,
        node: view.node,
        left: view.left,
        right: view.right,
        index: view.index,
        height: view.height,
        phase: view.phase,
        one_moves: view.oneMoves,
        child: view.child.to(),
        agreed: view.agreed,
        states: view.states,
    }
}
