//! A toy chain on a toy machine, what an honest party computes of it, and parties that play.

use crate::model::{Model, Toy, Verdict};
use alloy_primitives::{Address, B256, keccak256};
use annex_claim::{Kind, OutputRoot, fault_leaf};
use annex_derive::Cursor;
use annex_settle::{
    Action, Book, Forgery, Need, Opening, Output, Params, Plan, Player, Preimage, Progress, Range,
    Reason, Run, Settled, Step, Traffic, Tree,
};
use annex_types::Header;
use rand::{Rng, SeedableRng, rngs::SmallRng, seq::SliceRandom};
use std::collections::BTreeMap;

pub const BOND: u128 = 1_000_000;
pub const FUNDS: u128 = 20 * BOND;
pub const PARAMS: Params = Params {
    claim_interval: 100,
    challenge_window: 4_000,
    move_grace: 100,
    bond: BOND,
    heights: [6, 4, 4],
};

/// One record makes one block; `leaves[k]` starts from record `k`.
pub struct Chain {
    headers: Vec<Header>,
    pub leaves: Vec<Opening>,
    /// How many instructions the step from a leaf takes, and where it leads.
    runs: BTreeMap<B256, (u64, B256)>,
}

impl Chain {
    /// The last step of a faulty one is FAULT.
    pub fn new(rng: &mut SmallRng, length: u64, faulty: bool) -> Self {
        let header = |number: u64, rng: &mut SmallRng| Header {
            number,
            state_root: B256::new(rng.random()),
            base_fee_per_gas: Some(0),
            withdrawals_root: Some(B256::ZERO),
            ..Header::default()
        };
        let headers: Vec<_> = (0..=length).map(|number| header(number, rng)).collect();
        let leaf = |header: &Header| Opening::Output {
            output_root: OutputRoot::of(header).hash(),
            cursor: Cursor { record: header.number, block: 0, forced: 0 },
        };
        let mut leaves: Vec<_> = headers.iter().map(leaf).collect();
        if faulty {
            let before = leaves[length as usize - 1].leaf();
            leaves[length as usize] = Opening::FaultOf(before);
        }
        let run = |pair: &[Opening]| {
            let steps = match rng.random_range(0..4) {
                0 => 1,
                1 => 256,
                _ => rng.random_range(1..=256),
            };
            (pair[0].leaf(), (steps, pair[1].leaf()))
        };
        let runs = leaves.windows(2).map(run).collect();
        Self { headers, leaves, runs }
    }

    fn words(leaf: B256, steps: u64) -> Vec<u8> {
        let mut words = vec![0; 384];
        words[..8].copy_from_slice(&steps.to_be_bytes());
        words[320..352].copy_from_slice(&leaf[..]);
        words
    }

    fn states(&self, leaf: B256, steps: u64) -> Vec<u8> {
        (0..steps).fold(Self::words(leaf, 0), |words, _| self.step(&words).0)
    }

    fn place(&self, leaf: B256) -> Option<usize> {
        self.leaves.iter().position(|opening| opening.leaf() == leaf)
    }

    pub fn settled(&self, place: usize) -> Settled {
        let leaf = self.leaves[place].leaf();
        Settled { leaf, record: place as u64, ..Settled::default() }
    }

    /// What an honest party computes.
    pub fn compute(&self, need: Need, book: &mut Book) {
        let stranger = |book: &mut Book| book.set_unknown(need, Reason::Stranger);
        match need {
            Need::Range { start, end } => {
                let Some(place) = self.place(start) else { return stranger(book) };
                let leaves = &self.leaves[place + 1..=end as usize];
                let last = match leaves[leaves.len() - 1] {
                    Opening::FaultOf(of) => Output::Fault { of },
                    Opening::Output { cursor, .. } => {
                        let header = alloy_rlp::encode(&self.headers[end as usize]).into();
                        Output::Head { header, cursor }
                    }
                };
                let leaves = leaves.iter().map(Opening::leaf).collect();
                let tree = Tree::new(PARAMS.heights[0], leaves);
                book.insert_range(start, end, Range { tree, last });
            }
            Need::Opening { leaf } => match self.place(leaf) {
                Some(place) => book.insert_opening(self.leaves[place]),
                None => stranger(book),
            },
            Need::Run { leaf } => {
                let Some((steps, _)) = self.runs.get(&leaf) else { return stranger(book) };
                let strides = (1..=steps.div_ceil(16)).map(|at| (at * 16).min(*steps));
                let leaves = strides.map(|at| keccak256(self.states(leaf, at))).collect();
                let last = self.states(leaf, *steps).into();
                book.insert_run(leaf, Run { tree: Tree::new(PARAMS.heights[1], leaves), last });
            }
            Need::Stride { leaf, stride } => {
                let states = (1..=16).map(|at| keccak256(self.states(leaf, stride * 16 + at)));
                let tree = Tree::new(PARAMS.heights[2], states.collect());
                book.insert_stride(leaf, stride, tree);
            }
            Need::Step { leaf, instruction } => {
                let words = self.states(leaf, instruction);
                let call = self.step(&words).1;
                book.insert_step(leaf, instruction, Step { proof: words.into(), call });
            }
        }
    }
}

impl Toy for Chain {
    fn boot(&self, leaf: B256) -> B256 {
        keccak256(Self::words(leaf, 0))
    }

    fn step(&self, words: &[u8]) -> (Vec<u8>, Option<Preimage>) {
        let mut next = words.to_vec();
        if words[286] != 0 {
            return (next, None);
        }
        let leaf = B256::from_slice(&words[320..352]);
        let steps = 1 + u64::from_be_bytes(words[..8].try_into().expect("eight bytes"));
        next[..8].copy_from_slice(&steps.to_be_bytes());
        let (end, output) = self.runs[&leaf];
        if steps == end && output == fault_leaf(leaf) {
            next[286] = 2;
        } else if steps == end {
            next[286] = 1;
            next[352..].copy_from_slice(&output[..]);
        }
        let key = keccak256(words);
        let call = Preimage { kind: Kind::Keccak, key, offset: 0 };
        (next, (key[0] & 1 == 0).then_some(call))
    }
}

/// Who plays.
pub struct Party {
    pub player: Player,
    pub forgery: Option<Forgery>,
    /// What it computed of the truth; liars need it, too.
    book: Book,
    /// What it computes just now.
    computing: Vec<Need>,
}

impl Party {
    pub fn new(player: Player, forgery: Option<Forgery>) -> Self {
        Self { player, forgery, book: Book::default(), computing: Vec::new() }
    }
}

/// How L1 and computers behave.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weather {
    /// Honest parties are killed after every transaction, and lose all that they computed.
    pub kills: bool,
    /// L1 drops honest transactions while this says so of the seconds since the first range was opened.
    pub drops: Option<(u64, u64)>,
    /// Transactions are sent against a state that others have changed by then.
    pub races: bool,
    /// One in so many decisions is not made at all; 0: all are.
    pub sleeps: u32,
}

pub struct World {
    pub rng: SmallRng,
    pub chain: Chain,
    pub model: Model,
    pub parties: Vec<Party>,
    pub weather: Weather,
    pub seed: u64,
    /// Honest transactions that failed.
    pub reverts: u64,
    /// Honest transactions that succeeded.
    pub sent: u64,
}

impl World {
    pub fn new(seed: u64, faulty: bool) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let length = rng.random_range(1..=40);
        let chain = Chain::new(&mut rng, length, faulty);
        let model = Model::new(PARAMS, chain.settled(0), length);
        let weather = Weather::default();
        Self { rng, chain, model, parties: Vec::new(), weather, seed, reverts: 0, sent: 0 }
    }

    pub fn add(&mut self, claims: bool, forgery: Option<Forgery>) -> Address {
        let address = Address::with_last_byte(self.parties.len() as u8 + 1);
        let player = if claims { Player::claimer(address) } else { Player::challenger(address) };
        self.parties.push(Party::new(player, forgery));
        self.model.balances.insert(address, FUNDS);
        address
    }

    /// Decides for a party, after it computed some of what it asked for before.
    fn decide(&mut self, at: usize) -> Plan {
        let party = &mut self.parties[at];
        for need in std::mem::take(&mut party.computing) {
            if self.rng.random_ratio(2, 3) {
                self.chain.compute(need, &mut party.book);
            } else {
                party.book.set_unknown(need, Reason::Computing(Progress { steps: 1 }));
                party.computing.push(need);
            }
        }
        for record in 0..self.model.record_count {
            let traffic = Traffic { time: 1_000, withdrawals: true };
            party.book.insert_traffic(record, traffic);
        }
        let view = self.model.view(party.player.address);
        party.book.prune(&view);
        let forged = party.forgery.map(|forgery| forgery.forge(&party.book));
        let book = forged.as_ref().unwrap_or(&party.book);
        let plan = party.player.act(&view, book);
        assert_eq!(plan, party.player.act(&view, book), "seed {}", self.seed);
        party.computing.extend(plan.needs.iter().copied());
        plan
    }

    /// What a party sends; a real sender drops what fails in a simulation.
    fn execute(&mut self, at: usize, actions: &[Action]) {
        let party = &self.parties[at];
        let (honest, from) = (party.forgery.is_none(), party.player.address);
        let since = self.model.games.get(&1).map(|game| self.model.now - game.opened);
        let drops = self.weather.drops.zip(since);
        let drops = drops.is_some_and(|((from, to), since)| (from..to).contains(&since));
        if honest && drops {
            return;
        }
        for action in actions {
            let verdict: Verdict = self.model.send(&self.chain, from, action);
            if honest && verdict.is_err() {
                self.reverts += 1;
                assert!(
                    self.weather.races,
                    "seed {}: {action:?} of {from} fails: {verdict:?}",
                    self.seed
                );
            }
            self.sent += u64::from(honest && verdict.is_ok());
            if honest && self.weather.kills {
                let player = self.parties[at].player;
                self.parties[at] = Party::new(player, None);
            }
        }
    }

    /// One block of L1.
    pub fn tick(&mut self) {
        self.model.now += self.rng.random_range(1..=24);
        let mut order: Vec<_> = (0..self.parties.len()).collect();
        order.shuffle(&mut self.rng);
        if self.weather.races {
            let plans: Vec<_> = order.iter().map(|at| (*at, self.decide(*at).actions)).collect();
            for (at, actions) in plans {
                self.execute(at, &actions);
            }
            return;
        }
        for at in order {
            if self.weather.sleeps > 0 && self.rng.random_ratio(1, self.weather.sleeps) {
                continue;
            }
            let actions = self.decide(at).actions;
            self.execute(at, &actions);
        }
    }

    fn is_honest(&self, address: Address) -> bool {
        let mut honest = self.parties.iter().filter(|party| party.forgery.is_none());
        honest.any(|party| party.player.address == address)
    }

    /// Runs until nothing is open and everybody has what is his; seconds that it took.
    pub fn run(&mut self) -> u64 {
        let begin = self.model.now;
        let limit = 40 * PARAMS.challenge_window;
        let mut quiet = 0;
        while quiet < 30 {
            self.tick();
            let idle = self.model.ranges.is_empty()
                && (self.model.settled.record >= self.model.record_count || self.model.faulted)
                && self.model.credits.iter().all(|(of, wei)| *wei == 0 || !self.is_honest(*of));
            quiet = if idle { quiet + 1 } else { 0 };
            assert!(self.model.now - begin < limit, "seed {}: no end", self.seed);
        }
        self.model.now - begin
    }

    /// The truth has settled, the honest have at least what they had, and nothing is left over.
    pub fn check(&self) {
        let seed = self.seed;
        let last = self.chain.leaves.last().expect("a chain has leaves");
        match last {
            Opening::FaultOf(_) => assert!(self.model.faulted, "seed {seed}"),
            Opening::Output { .. } => {
                assert!(!self.model.faulted, "seed {seed}");
                assert_eq!(self.model.settled.leaf, last.leaf(), "seed {seed}");
            }
        }
        for party in self.parties.iter().filter(|party| party.forgery.is_none()) {
            let balance = self.model.balances[&party.player.address];
            assert!(balance >= FUNDS, "seed {seed}: {balance} of {FUNDS} left");
        }
        let rest: u128 = self.model.games.values().map(|game| game.pot).sum();
        assert_eq!(rest, 0, "seed {seed}: stranded");
    }
}
