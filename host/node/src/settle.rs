//! Settlement (spec/settlement.md): parties with a key each, that claim what is true and beat what is false.
//!
//! What to do is decided by [`annex_settle`], from nothing but what L1 says and what was computed. This reads the former with
//! every L1 block, has the latter computed on a thread of its own, and sends the transactions. Nothing that cannot be had
//! again is kept: a party that was stopped goes on as if it had not been.

mod act;
mod book;
mod claims;
mod compute;
mod report;
mod view;

pub(crate) use report::{Board, register};

use crate::{
    leaves::Leaves,
    node::NodeError,
    progress::Progress,
    proofs::prune_witnesses,
    snapshot::{self, SnapshotError},
};
use act::Sending;
use alloy_primitives::{Address, B256};
use alloy_signer_local::PrivateKeySigner;
use annex_l1::{Deployment, L1Block, L1Client, SendLimits, Sender, settlement::Wealth};
use annex_riscv::Program;
use annex_settle::{Action, Conduct, Forgery, Plan, Player, Targets, View};
use annex_store::{Store, StoreError};
use book::Knowledge;
use claims::Standing;
use compute::Computer;
use std::{path::PathBuf, sync::Arc, time::Duration};
use tokio::time::sleep;
use view::Seen;

/// Longest wait between attempts while L1 fails.
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// What a party of settlement is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartyRole {
    /// Claims what is true whenever a withdrawal waits or there was traffic, and defends it.
    Claimer,
    /// Joins where something false is claimed, and settles what nobody else does.
    Challenger,
    /// Claims and defends something false: for tests and demonstrations.
    Liar(Forgery, Conduct),
}

/// A party of settlement. Its key must not be used from anywhere else.
#[derive(Clone, Debug)]
pub struct Party {
    pub role: PartyRole,
    /// Pays for bonds and gas on L1.
    pub signer: PrivateKeySigner,
}

impl Party {
    pub fn claimer(signer: PrivateKeySigner) -> Self {
        Self { role: PartyRole::Claimer, signer }
    }

    pub fn challenger(signer: PrivateKeySigner) -> Self {
        Self { role: PartyRole::Challenger, signer }
    }

    fn player(&self) -> Player {
        let address = self.signer.address();
        match self.role {
            PartyRole::Claimer => Player::claimer(address),
            PartyRole::Challenger => Player::challenger(address),
            PartyRole::Liar(_, conduct) => Player { conduct, ..Player::claimer(address) },
        }
    }
}

impl PartyRole {
    fn name(self) -> &'static str {
        match self {
            Self::Claimer => "claimer",
            Self::Challenger => "challenger",
            Self::Liar(..) => "liar",
        }
    }
}

/// A party at work.
struct Seat {
    role: PartyRole,
    player: Player,
    /// Of the newest block.
    plan: Plan,
    /// None while it sends.
    sender: Option<Sender>,
    /// What it sends.
    in_flight: Vec<Action>,
}

pub(crate) struct SettleTask {
    client: L1Client,
    deployment: Deployment,
    store: Store,
    leaves: Leaves,
    progress: Arc<Progress>,
    board: Arc<Board>,
    poll_interval: Duration,
    /// Leaves before the newest settled one that stay, and blocks whose kept witnesses do.
    history: u64,
    seats: Vec<Seat>,
    sending: Sending,
    knowledge: Knowledge,
    computer: Computer,
    /// The snapshot that the store was made from, while no settled claim has confirmed it.
    unproven: Option<snapshot::Base>,
    /// The L1 block that was looked at last.
    seen: B256,
    /// Something was computed or sent since.
    news: bool,
}

/// What a [`SettleTask`] needs of its node.
pub(crate) struct SettleConfig {
    pub client: L1Client,
    pub deployment: Deployment,
    pub store: Store,
    pub leaves: Leaves,
    pub progress: Arc<Progress>,
    pub board: Arc<Board>,
    pub poll_interval: Duration,
    pub history: u64,
    /// For computations that are resumed.
    pub dir: PathBuf,
    pub program: Program,
    pub parties: Vec<Party>,
}

impl SettleTask {
    pub fn new(config: SettleConfig) -> Result<Self, StoreError> {
        let SettleConfig { client, deployment, store, leaves, .. } = config;
        let SettleConfig { progress, board, poll_interval, history, .. } = config;
        // A move that is stuck for half its grace is late.
        let grace = Duration::from_secs(deployment.parameters.move_grace.max(4));
        let limits = SendLimits::default();
        let limits = SendLimits {
            resubmit_after: limits.resubmit_after.min(grace / 2),
            poll_interval,
            ..limits
        };
        let seats = config.parties.into_iter().map(|party| Seat {
            role: party.role,
            player: party.player(),
            plan: Plan::default(),
            sender: Some(Sender::new(client.clone(), party.signer, limits)),
            in_flight: Vec::new(),
        });
        let seats = seats.collect();
        let computer =
            Computer::new(client.clone(), leaves.clone(), Arc::new(config.program), config.dir);
        let knowledge = Knowledge::new(store.clone(), leaves.clone(), progress.clone());
        let unproven = snapshot::base(&store.snapshot()?)?;
        Ok(Self {
            client,
            deployment,
            store,
            leaves,
            progress,
            board,
            poll_interval,
            history,
            seats,
            sending: Sending::default(),
            knowledge,
            computer,
            unproven,
            seen: B256::ZERO,
            news: false,
        })
    }

    /// Runs until the store fails.
    pub async fn run(mut self) -> Result<(), NodeError> {
        let mut wait = self.poll_interval;
        loop {
            tokio::select! {
                () = sleep(wait) => {}
                done = self.computer.done() => {
                    self.knowledge.learn(done);
                    self.news = true;
                }
                Some(back) = self.sending.join_next() => {
                    let (at, sender) = back.map_err(|_| NodeError::Ended)?;
                    self.seats[at].sender = Some(sender);
                    self.seats[at].in_flight.clear();
                    self.news = true;
                }
            }
            wait = match self.round().await {
                Ok(()) => self.poll_interval,
                // Whatever it is, settlement goes on when L1 does; the follower judges the endpoint.
                Err(NodeError::L1(error)) => {
                    tracing::warn!(%error, "settlement cannot be read; trying again");
                    metrics::counter!("annex_settlement_l1_errors_total").increment(1);
                    // The head that others were told may be of a node that this does not reach.
                    self.news = true;
                    (wait * 2).min(MAX_BACKOFF)
                }
                Err(error) => return Err(error),
            };
        }
    }

    /// Looks at a new block, or at what is new besides.
    async fn round(&mut self) -> Result<(), NodeError> {
        if !self.progress.caught_up() {
            return Ok(());
        }
        // What was sent is in a block that may be newer than what others saw.
        let head = match self.news {
            true => self.client.head().await?,
            false => self.client.recent_head(self.poll_interval).await?,
        };
        if head.hash == self.seen && !self.news && !self.knowledge.is_due() {
            return Ok(());
        }
        self.play(head).await?;
        (self.seen, self.news) = (head.hash, false);
        Ok(())
    }

    fn settled(&self, leaf: B256, block: u64) -> Result<(), NodeError> {
        self.progress.set_settled(block);
        if !self.seats.is_empty() {
            self.store.keep_states_from(block);
        }
        prune_witnesses(&self.store, block.saturating_sub(self.history))?;
        let Some(index) = self.leaves.index_of(leaf)? else { return Ok(()) };
        Ok(self.leaves.prune(index.saturating_sub(self.history))?)
    }

    /// Stops a node whose snapshot was false, before it claims or defends anything.
    async fn prove_snapshot(&mut self) -> Result<(), NodeError> {
        let Some(base) = &self.unproven else { return Ok(()) };
        match snapshot::is_proven(&self.client, &self.deployment, &self.store, base).await {
            Ok(true) => self.unproven = None,
            Ok(false) => {}
            Err(SnapshotError::L1(error)) => return Err(error.into()),
            Err(error) => return Err(Box::new(error).into()),
        }
        Ok(())
    }

    /// Decides at an L1 block.
    async fn play(&mut self, at: L1Block) -> Result<(), NodeError> {
        let addresses: Vec<Address> = self.seats.iter().map(|seat| seat.player.address).collect();
        let calls = self.knowledge.book().calls();
        let Seen { view: common, claims, wealth } =
            view::read(&self.client, &self.deployment, at, &addresses, &calls).await?;
        self.prove_snapshot().await?;
        self.settled(common.settled.leaf, common.settled.l2_block)?;
        if self.knowledge.update(&common)? {
            self.computer.reorganised();
        }
        if !self.seats.is_empty() {
            self.knowledge.count_traffic(common.settled.l2_block)?;
        }
        let view_of = |Wealth { balance, credits }| View { balance, credits, ..common.clone() };
        let views: Vec<_> = wealth.into_iter().map(view_of).collect();
        // Ranges and openings are looked up, and then more can be decided.
        loop {
            for (seat, view) in self.seats.iter_mut().zip(&views) {
                let book = self.knowledge.book();
                seat.plan = match seat.role {
                    PartyRole::Liar(forgery, _) => seat.player.act(view, &forgery.forge(book)),
                    PartyRole::Claimer | PartyRole::Challenger => seat.player.act(view, book),
                };
            }
            let needs = self.seats.iter().flat_map(|seat| &seat.plan.needs).copied().collect();
            if !self.knowledge.look_up(needs, &common)? {
                break;
            }
        }
        let needs = self.seats.iter().flat_map(|seat| &seat.plan.needs).copied();
        for need in needs {
            if self.computer.is_free() {
                self.computer.start(need);
            }
        }
        self.knowledge.computing(self.computer.current());
        if common.tournaments.iter().all(|tournament| tournament.open_matches == 0) {
            self.computer.clear();
        }
        self.knowledge.judge(&common)?;
        let report = self.report(&common, &views);
        self.board.put(report, Standing::new(common, claims, self.knowledge.book()));
        self.send();
        Ok(())
    }

    /// Hands every party that is not sending what it wants sent. What another one of this node sends already, it need not.
    fn send(&mut self) {
        let targets = Targets::from(&self.deployment.contracts);
        let bond = self.deployment.parameters.bond.saturating_to();
        for at in 0..self.seats.len() {
            let others = self.seats.iter().flat_map(|seat| &seat.in_flight);
            let mut actions = self.seats[at].plan.actions.clone();
            actions.retain(|action| others.clone().all(|other| other != action));
            let call = |action: &Action| {
                let part = |call| act::part(call, &self.computer);
                Some((act::name(action), action.call(&targets, bond, part)?))
            };
            let calls: Vec<_> = actions.iter().filter_map(call).collect();
            let seat = &mut self.seats[at];
            if calls.is_empty() {
                continue;
            }
            let Some(sender) = seat.sender.take() else { continue };
            seat.in_flight = actions;
            self.sending.spawn(act::send(at, seat.role.name(), sender, calls));
        }
    }
}
