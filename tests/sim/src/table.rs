//! A chain worth a dispute, and the parties to it.

use std::sync::Arc;

use alloy_primitives::{Address, B256, keccak256};
use annex_riscv::Program;
use annex_settle::{Conduct, Player};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::chain::{Chain, Lie, What};
use crate::compute::Computer;
use crate::game::{Game, Mind, Party};
use crate::l2::{ETHER, address, transaction, withdrawal};
use crate::liar::{Liar, Twist};
use crate::world::{Settings, World};

/// A world with a chain, before anybody claims it.
pub struct Table {
    pub world: World,
    pub truth: Arc<Computer>,
    program: Arc<Program>,
    pub parties: Vec<Party>,
}

/// Account of a party on L1.
pub fn account(number: u64) -> Address {
    Address::from_word(keccak256([b"party".as_slice(), &number.to_be_bytes()].concat()))
}

/// Makes records of every kind: deposits, batches with everything that can be wrong with them, forced items that a batch takes up and that the rules do.
pub fn traffic(world: &mut World, rng: &mut StdRng) {
    for user in 1..4 {
        world.deposit(user, 5 * ETHER + u128::from(rng.random::<u32>()));
    }
    let pay = |world: &World, user, value| {
        transaction(user, world.nonce(user), address(user + 1), value, Default::default())
    };
    // The deposits become accounts in this block.
    world.batch(2, Vec::new());
    let transactions = (1..3).map(|user| pay(world, user, rng.random_range(1..ETHER))).collect();
    world.batch(1, transactions);
    let stale = world.payload(vec![world.block(0, vec![pay(world, 1, 1)])]);
    world.post(world.consumed(), (0..rng.random_range(1..200)).map(|_| rng.random()).collect());
    let nonce = world.nonce(2);
    world.batch(
        0,
        vec![withdrawal(2, nonce, 7), transaction(2, nonce + 1, address(9), 1, Default::default())],
    );
    // On a head that is none any more.
    world.post(world.consumed(), stale);
    world.deposit(4, ETHER);
    // The second block has a transaction that its sender's nonce forbids.
    let (good, bad) = (pay(world, 1, 3), pay(world, 1, 4));
    let data = world.payload(vec![world.block(0, vec![good]), world.block(0, vec![bad])]);
    world.post(world.consumed(), data);
    // Nothing but what the rules make of the deposit.
    world.post(world.consumed() + 1, Vec::new());
    let last = pay(world, 3, rng.random_range(1..ETHER));
    world.batch(0, vec![last]);
}

impl Table {
    /// A chain of a seed, with the program that nodes embed.
    pub fn new(seed: u64, settings: Settings) -> Self {
        let program = crate::compute::GUEST.clone();
        let mut world = World::new(&program, settings);
        traffic(&mut world, &mut StdRng::seed_from_u64(seed));
        Self::of(world, program, None)
    }

    /// A world as it stands; with `fault`, the program fails on that step.
    pub fn of(world: World, program: Arc<Program>, fault: Option<usize>) -> Self {
        let truth = Arc::new(Computer::new(&world.truth, program.clone(), fault));
        Self { world, truth, program, parties: Vec::new() }
    }

    /// The first step, from the given one on, that is like this.
    pub fn step(&self, from: usize, like: impl Fn(What) -> bool) -> usize {
        let mut steps = self.world.truth.leaps.iter().enumerate().skip(from);
        steps.find(|(_, leap)| like(leap.what)).expect("the chain has such a step").0
    }

    /// Number of steps.
    pub fn steps(&self) -> usize {
        self.world.truth.leaps.len()
    }

    /// The lies that can be told of a step.
    pub fn lies(&self, step: usize) -> Vec<Lie> {
        let mut lies = vec![Lie::State];
        if let What::Block { derived, forced, .. } = self.world.truth.leaps[step].what {
            lies.extend([Lie::Origin, Lie::DataPrice]);
            if !derived {
                lies.push(Lie::SkippedBatch);
            }
            if forced > 0 {
                lies.extend([Lie::ForcedMint, Lie::ForcedLeftOut]);
            }
        }
        lies
    }

    /// What a liar computes who takes one step otherwise.
    pub fn lying(&self, step: usize, lie: Lie) -> Arc<Computer> {
        let mut chain = Chain::new(self.world.truth.config.clone(), Some((step, lie)));
        let truth = &self.world.truth;
        for (record, blobs) in truth.records.iter().zip(&truth.blobs) {
            chain.push(record.clone(), blobs.clone());
        }
        Arc::new(Computer::new(&chain, self.program.clone(), None))
    }

    /// What a liar computes who says that the program fails on a step; none: that it never fails.
    pub fn faulting(&self, step: Option<usize>) -> Arc<Computer> {
        Arc::new(Computer::new(&self.world.truth, self.program.clone(), step))
    }

    /// Adds an honest party; the first one claims, too.
    pub fn honest(&mut self) -> &mut Party {
        let number = self.parties.len() as u64;
        let player = match self.parties.iter().any(Party::is_honest) {
            false => Player::claimer(account(number)),
            true => Player::challenger(account(number)),
        };
        self.add(player, Mind::Honest(self.truth.clone()))
    }

    /// Adds a liar.
    pub fn liar(&mut self, own: Arc<Computer>, twist: Twist, conduct: Conduct) -> &mut Party {
        let player = Player { conduct, ..Player::claimer(account(self.parties.len() as u64)) };
        let truth = self.truth.clone();
        self.add(player, Mind::Liar(Box::new(Liar { truth, own, twist })))
    }

    fn add(&mut self, player: Player, mind: Mind) -> &mut Party {
        self.parties.push(Party::new(player, mind));
        self.parties.last_mut().expect("just added")
    }

    /// The leaf that everything comes to.
    pub fn last_leaf(&self) -> B256 {
        self.truth.leaf(self.steps())
    }

    /// Ready to play.
    pub fn game(self, seed: u64) -> Game {
        Game::new(self.world, self.truth, self.parties, seed)
    }
}

impl Twist {
    /// False from an instruction of a stride on, in favour of the liar's own next leaf.
    pub fn at(seed: u64, stride: u64, instruction: u64) -> Self {
        Self { seed, stride, instruction, stands_for: None }
    }
}
