//! L1 as players see it, read and written by what nodes use.

use std::collections::BTreeMap;

use alloy_primitives::{Address, U256};
use annex_l1::contracts::{Claims, Inbox, Tournament};
use annex_l1::settlement::{Range, Settlement, TournamentState};
use annex_l1::{Call as NodeCall, L1Block};
use annex_settle::{Action, Book, Preimage, Targets, View, load_part};
use annex_types::TX_GAS_LIMIT_CAP;

use crate::compute::Computer;
use crate::l1::Call;
use crate::world::World;

/// Most entries of a list that are asked for at once.
const PAGE: u64 = 64;

impl World {
    /// What everybody sees of settlement in the newest block.
    pub fn view(&self) -> View {
        let at = &self.at;
        let mut ids = self.l1.view(at.claims, &Claims::openRangesCall {});
        ids.sort_unstable();
        let range = |id: &U256| {
            let range = self.l1.view(at.claims, &Claims::rangeCall { id: *id });
            Range::read(id.to(), range).expect("a status of ours").expect("it is open")
        };
        let mut tournaments = BTreeMap::new();
        let mut wanted = ids.clone();
        while let Some(id) = wanted.pop() {
            let tournament = self.tournament(id);
            let played = tournament.matches.iter().filter(|m| m.phase == annex_settle::PHASE_CHILD);
            wanted.extend(played.map(|m| m.child));
            tournaments.insert(id, tournament);
        }
        let found = Settlement {
            at: L1Block {
                number: self.l1.number(),
                hash: Default::default(),
                parent_hash: Default::default(),
                timestamp: self.l1.now(),
                base_fee: 0,
                excess_blob_gas: None,
                parent_beacon_root: None,
            },
            settled: self.l1.view(at.claims, &Claims::settledCall {}).into(),
            faulted: self.l1.view(at.claims, &Claims::faultedCall {}),
            last_opened: self.l1.view(at.claims, &Claims::lastOpenedCall {}),
            ranges: ids.iter().map(range).collect(),
            tournaments,
            claims: Vec::new(),
            record_count: self.l1.view(at.inbox, &Inbox::recordCountCall {}).to(),
            wealth: Vec::new(),
        };
        View::new(found, self.params)
    }

    /// The same as one account sees it.
    pub fn view_of(&self, common: &View, account: Address, book: &Book) -> View {
        let loaded = |call: &Preimage| self.l1.ask(self.at.oracle, &call.read()).success();
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
        (1..=count).map(|id| self.tournament(U256::from(id)).into()).collect()
    }

    /// A tournament with everything in it.
    fn tournament(&self, id: U256) -> TournamentState {
        let (l1, at, number) = (&self.l1, self.at.tournament, U256::from(PAGE));
        let view = l1.view(at, &Tournament::tournamentCall { id });
        let pages = |count: U256| (0..count.to::<u64>()).step_by(PAGE as usize).map(U256::from);
        let commitments = pages(view.commitments)
            .flat_map(|from| l1.view(at, &Tournament::commitmentsCall { id, from, number }));
        let matches = pages(view.matches)
            .flat_map(|from| l1.view(at, &Tournament::matchesCall { id, from, number }));
        let (commitments, matches) = (commitments.collect(), matches.collect());
        TournamentState { view, commitments, matches }
    }

    /// The transaction of an action. `computer` has the data of preimages.
    pub fn call(&self, from: Address, action: &Action, computer: &Computer) -> Call {
        let at = &self.at;
        let (claims, tournament, preimage_oracle) = (at.claims, at.tournament, at.oracle);
        let targets = Targets { claims, tournament, preimage_oracle };
        let part = |call: Preimage| load_part(computer.preimages(call), call).expect("a true blob");
        let call = action.call(&targets, self.params.bond, part).expect("what is read can be told");
        let (NodeCall { to, input, value, .. }, gas_limit) = (call, TX_GAS_LIMIT_CAP);
        Call { from, to, value, input, blobs: Vec::new(), gas_limit }
    }
}
