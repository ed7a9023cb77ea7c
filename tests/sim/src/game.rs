//! Parties play on the contracts, through an L1 that may drop, delay, reorder and take back.

use std::sync::Arc;

use alloy_primitives::{Address, B256, TxKind, U256};
use alloy_sol_types::SolCall;

use annex_l1::contracts::Tournament::{proveCall, withdrawCall};
use annex_settle::{Action, Book, Commitment, Need, Plan, Player, View};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use crate::compute::Computer;
use crate::l1::{BLOCK_TIME, Call, GAS_PRICE, L1, said};
use crate::l2::ETHER;
use crate::liar::Liar;
use crate::world::World;

/// Most gas that a match refunds (spec/settlement.md, "Bonds").
const MATCH_GAS: u128 = 3_150_000;
/// Wei that a party begins with.
const PURSE: u128 = 100 * ETHER;

/// What a party computes with.
pub enum Mind {
    Honest(Arc<Computer>),
    Liar(Box<Liar>),
}

impl Mind {
    /// What a party knows that has computed nothing.
    fn begin(&self) -> Book {
        let own = match self {
            Self::Honest(computer) => computer,
            Self::Liar(liar) => &liar.own,
        };
        let mut book = Book::default();
        own.traffic().for_each(|(record, traffic)| book.insert_traffic(record, traffic));
        book
    }

    fn answer(&self, need: Need, book: &mut Book) {
        match self {
            Self::Honest(computer) => computer.answer(need, book),
            Self::Liar(liar) => liar.answer(need, book),
        }
    }
}

/// One account.
pub struct Party {
    pub player: Player,
    pub mind: Mind,
    /// Killed after every move: it remembers nothing.
    pub forgets: bool,
    /// From when on it plays, in seconds.
    pub from: u64,
    /// Joins whatever it can at once, and never moves.
    pub idles: bool,
    /// Wei that it begins with.
    pub purse: u128,
    book: Book,
}

impl Party {
    pub fn new(player: Player, mind: Mind) -> Self {
        let book = mind.begin();
        Self { player, mind, forgets: false, from: 0, idles: false, purse: PURSE, book }
    }

    pub fn is_honest(&self) -> bool {
        matches!(self.mind, Mind::Honest(_))
    }

    /// Computes what is asked for until nothing more is.
    fn plan(&mut self, world: &World, common: &View) -> Plan {
        if self.forgets {
            self.book = self.mind.begin();
        }
        loop {
            let view = world.view_of(common, self.player.address, &self.book);
            let plan = self.player.act(&view, &self.book);
            if plan.needs.is_empty() {
                return plan;
            }
            for need in plan.needs {
                self.mind.answer(need, &mut self.book);
            }
        }
    }
}

/// What L1 does with transactions.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mempool {
    /// Probability that a transaction never arrives.
    pub drops: f64,
    /// Most blocks that it waits.
    pub delay: u64,
    /// Whether those of a block come in any order.
    pub reorders: bool,
    /// Nothing of the honest arrives between these times.
    pub censors: Option<(u64, u64)>,
}

struct Pending {
    call: Call,
    action: Action,
    block: u64,
}

/// How it ended.
#[derive(Clone, Debug)]
pub struct Report {
    /// Seconds from the opening of the range to the end of it.
    pub delay: u64,
    /// What the honest gained, and lost if negative, in wei, gas included.
    pub honest: Vec<i128>,
    /// The same of all others together.
    pub others: i128,
    /// Commitments of others that did not survive.
    pub lost: u64,
    /// Wei that the honest paid for gas.
    pub gas_wei: U256,
    /// Gas that the honest used, and the most of one of their transactions.
    pub gas: u64,
    pub most_gas: u64,
    /// Transactions of everybody, those of the honest, and of these those that reverted.
    pub transactions: u64,
    pub honest_transactions: u64,
    pub reverted: u64,
    /// Tournaments that were opened, by level.
    pub tournaments: [u64; 3],
    /// Commitments, by level, and most of one tournament.
    pub commitments: [u64; 3],
    pub most: [u64; 3],
    /// Instructions executed in Solidity.
    pub proofs: u64,
    /// Parts of preimages that the oracle was told.
    pub loads: u64,
    /// Last leaves of what survived in the ranges; none where nothing did.
    pub survivors: Vec<Option<B256>>,
    /// What settled.
    pub leaf: B256,
    pub faulted: bool,
}

/// A range's game.
pub struct Game {
    pub world: World,
    pub parties: Vec<Party>,
    pub mempool: Mempool,
    /// Blocks after which the last so many are replaced.
    pub reorg: Option<(u64, usize)>,
    /// Has what preimages are made of.
    pub computer: Arc<Computer>,
    rng: StdRng,
    pool: Vec<Pending>,
    history: Vec<L1>,
    proofs: u64,
    loads: u64,
    purse: Vec<(Address, U256)>,
}

impl Game {
    pub fn new(world: World, computer: Arc<Computer>, parties: Vec<Party>, seed: u64) -> Self {
        let mut world = world;
        for party in &parties {
            world.l1.fund(party.player.address, U256::from(party.purse));
        }
        let purse = parties.iter().map(|it| it.player.address);
        let purse = purse.map(|it| (it, world.l1.balance(it))).collect();
        Self {
            world,
            parties,
            mempool: Mempool::default(),
            reorg: None,
            computer,
            rng: StdRng::seed_from_u64(seed),
            pool: Vec::new(),
            history: Vec::new(),
            proofs: 0,
            loads: 0,
            purse,
        }
    }

    /// Plays until a range has settled and none is open, within so many seconds. Then everybody takes out what it has.
    pub fn play(&mut self, deadline: u64) -> Report {
        let begin = self.world.view();
        let mut opened = None;
        loop {
            let view = self.world.view();
            let settled = view.faulted || view.settled.leaf != begin.settled.leaf;
            if view.ranges.is_empty() && settled {
                break;
            }
            opened = view.ranges.first().map(|range| range.opened).or(opened);
            let late = view.now > begin.now + deadline;
            assert!(!late, "not over after {deadline} s: {:#?}", self.stuck(&view));
            self.act(&view);
            self.mine();
        }
        let delay = self.world.l1.now() - opened.expect("a range was opened");
        self.finish(delay)
    }

    /// What everybody wants goes to the pool.
    fn act(&mut self, view: &View) {
        let height = self.world.l1.number();
        for party in &mut self.parties {
            if view.now < party.from {
                continue;
            }
            let plan = party.plan(&self.world, view);
            let from = party.player.address;
            let moves = |it: &Action| matches!(it, Action::Advance { .. } | Action::Seal { .. });
            for action in plan.actions.into_iter().filter(|it| !(party.idles && moves(it))) {
                let known = |it: &Pending| it.call.from == from && it.action == action;
                if self.pool.iter().any(known) {
                    continue;
                }
                let mut call = self.world.call(from, &action, &self.computer);
                // As a node does: what reverts when its gas is estimated is not sent.
                let estimate = self.world.l1.simulate(&call);
                if !estimate.success() {
                    continue;
                }
                call.gas_limit = 2 * estimate.execution_gas;
                let censored = self
                    .mempool
                    .censors
                    .is_some_and(|(from, to)| party.is_honest() && (from..to).contains(&view.now));
                if censored || self.rng.random_bool(self.mempool.drops) {
                    continue;
                }
                let block = height + self.rng.random_range(0..=self.mempool.delay);
                self.pool.push(Pending { call, action, block });
            }
        }
    }

    /// A block of what has waited long enough.
    fn mine(&mut self) {
        let height = self.world.l1.number();
        let (mut ready, waiting): (Vec<_>, Vec<_>) =
            self.pool.drain(..).partition(|it| it.block <= height);
        self.pool = waiting;
        if self.mempool.reorders {
            ready.shuffle(&mut self.rng);
        }
        let idle = ready.is_empty() && self.pool.is_empty();
        // Nobody misses anything in half of a grace.
        let after = if idle { self.world.params.move_grace / 2 } else { BLOCK_TIME };
        if self.reorg.is_some() {
            self.history.push(self.world.l1.clone());
        }
        let calls: Vec<Call> = ready.into_iter().map(|it| it.call).collect();
        let oracle = TxKind::Call(self.world.at.oracle);
        let kinds =
            calls.iter().map(|it| (it.input.starts_with(&proveCall::SELECTOR), it.to == oracle));
        let kinds: Vec<_> = kinds.collect();
        let outcomes = self.world.l1.mine(after, calls);
        for (outcome, (proves, loads)) in outcomes.into_iter().zip(kinds) {
            let success = outcome.is_some_and(|outcome| outcome.success());
            self.proofs += u64::from(proves && success);
            self.loads += u64::from(loads && success);
        }
        if let Some((at, depth)) = self.reorg
            && self.history.len() as u64 == at
        {
            self.reorg = None;
            let now = self.world.l1.now();
            self.world.l1 = self.history.swap_remove(self.history.len() - depth);
            self.world.l1.fork();
            // The other branch is as old, and has none of the transactions.
            self.world.l1.mine(now - self.world.l1.now(), Vec::new());
            self.pool.clear();
            self.history.clear();
        }
    }

    fn stuck(&mut self, view: &View) -> Vec<String> {
        let mut said_of = Vec::new();
        for party in &mut self.parties {
            let plan = party.plan(&self.world, view);
            for action in &plan.actions {
                let call = self.world.call(party.player.address, action, &self.computer);
                let outcome = said(&self.world.l1.simulate(&call));
                let name = format!("{action:?}");
                said_of.push(format!(
                    "{}: {} {outcome}",
                    party.player.address,
                    &name[..name.len().min(200)]
                ));
            }
            said_of.push(format!("{}: waits {:?}", party.player.address, plan.waits));
        }
        for tournament in &view.tournaments {
            said_of.push(format!("{tournament:?}"));
        }
        said_of
    }

    /// Everybody takes out what it has. Nothing may be left, and nothing may be made or lost.
    fn finish(&mut self, delay: u64) -> Report {
        let at = self.world.at;
        let accounts: Vec<Address> = self.purse.iter().map(|(account, _)| *account).collect();
        let owed: U256 = accounts.iter().map(|it| self.world.credits(*it)).sum();
        assert_eq!(self.world.l1.balance(at.tournament), owed, "what the Tournament has it owes");
        for account in &accounts {
            if !self.world.credits(*account).is_zero() {
                let call = Call::new(*account, at.tournament, &withdrawCall {});
                let outcome = self.world.l1.transact(call);
                assert!(outcome.success(), "{}", said(&outcome));
            }
        }
        for contract in [at.tournament, at.claims, at.exit_market] {
            assert_eq!(self.world.l1.balance(contract), U256::ZERO, "stranded in {contract}");
        }
        self.conserved();
        self.report(delay)
    }

    /// What everybody has and what burned is what there was.
    fn conserved(&self) {
        let l1 = &self.world.l1;
        let held: U256 = l1.funded().map(|it| l1.balance(it)).sum();
        let backing = l1.balance(self.world.at.portal);
        assert_eq!(held + backing, l1.supply(), "wei was made or lost");
    }

    fn report(&self, delay: u64) -> Report {
        let view = self.world.view();
        let spent = |account: &Address| self.world.l1.spent(*account);
        let honest: Vec<Address> =
            self.parties.iter().filter(|it| it.is_honest()).map(|it| it.player.address).collect();
        let balance = |account: &Address| {
            let begin =
                self.purse.iter().find(|(it, _)| it == account).map_or(U256::ZERO, |it| it.1);
            self.world.l1.balance(*account).to::<i128>() - begin.to::<i128>()
        };
        let (mut tournaments, mut commitments, mut most) = ([0; 3], [0; 3], [0; 3]);
        let (mut survivors, mut lost, mut matches, mut paid) = (Vec::new(), 0, 0, true);
        for tournament in self.world.tournaments() {
            let of_others = |it: &&Commitment| !honest.contains(&it.claimer);
            let died = |it: &&Commitment| it.root != tournament.survivor;
            lost += tournament.commitments.iter().filter(of_others).filter(died).count() as u64;
            matches += tournament.matches.len() as u64;
            let survivor = tournament.commitment(tournament.survivor);
            paid &= tournament.level > 0 || survivor.is_some_and(|it| !of_others(&it));
            let (level, count) =
                (usize::from(tournament.level), tournament.commitments.len() as u64);
            tournaments[level] += 1;
            commitments[level] += count;
            most[level] = most[level].max(count);
            if level == 0 {
                survivors.push(tournament.commitment(tournament.survivor).map(|it| it.last));
            }
            assert!(tournament.closed, "{tournament:?}");
            assert_eq!(tournament.pot, 0, "{tournament:?}");
        }
        let others: i128 = self
            .purse
            .iter()
            .map(|(it, _)| it)
            .filter(|it| !honest.contains(it))
            .map(balance)
            .sum();
        // Spec/settlement.md, "The attacker": the bonds, less what its own moves were refunded. Unless it was first with the truth.
        let params = self.world.params;
        let refunds = u128::from(matches) * MATCH_GAS * u128::from(GAS_PRICE);
        let owed = (u128::from(lost) * params.bond).saturating_sub(refunds);
        assert!(!paid || -others >= owed as i128, "lies cost {} wei, not {owed}", -others);
        Report {
            delay,
            honest: honest.iter().map(balance).collect(),
            others,
            lost,
            gas_wei: honest.iter().map(|it| spent(it).wei).sum(),
            gas: honest.iter().map(|it| spent(it).gas).sum(),
            most_gas: honest.iter().map(|it| spent(it).most_gas).max().unwrap_or_default(),
            transactions: self.purse.iter().map(|(it, _)| spent(it).transactions).sum(),
            honest_transactions: honest.iter().map(|it| spent(it).transactions).sum(),
            reverted: honest.iter().map(|it| spent(it).reverted).sum(),
            tournaments,
            commitments,
            most,
            proofs: self.proofs,
            loads: self.loads,
            survivors,
            leaf: view.settled.leaf,
            faulted: view.faulted,
        }
    }
}
