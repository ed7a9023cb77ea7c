//! Who goes first among transactions that arrive at about the same time.

use crate::{
    engine::{EngineError, Taken},
    executor::{Executor, Results, Submission},
    pool::replaces,
};
use alloy_consensus::Transaction as _;
use alloy_primitives::{Address, map::HashMap};
use annex_rpc::Rejected;
use annex_types::RecoveredTransaction;
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// The order in which arriving transactions are executed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ordering {
    /// In the order of arrival, at once.
    #[default]
    FirstCome,
    /// What arrives within `window` of a first transaction is executed together when it has passed: the highest priority
    /// fee per gas first, equal ones in the order of arrival, and those of one sender by nonce.
    Priority { window: Duration },
}

/// Transactions after which a window is closed before its time.
const MAX_WINDOW: usize = 4096;

/// Where the result of a transaction goes: submission and index in it.
pub(crate) type Slot = (usize, usize);

/// What has arrived and was not executed yet.
#[derive(Debug, Default)]
pub(crate) struct Window {
    arrived: Vec<(Gathered, Slot)>,
    /// The newest of a sender and nonce.
    places: HashMap<(Address, u64), usize>,
    opened: Option<Instant>,
}

/// A transaction with the nonce that its sender had when it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Gathered {
    pub tx: Arc<RecoveredTransaction>,
    pub next: u64,
}

impl Window {
    /// Takes a transaction. One with the sender and nonce of another must pay 10 % more, as in the pool; the other is still
    /// executed if this one turns out to be invalid.
    pub fn push(&mut self, gathered: Gathered, slot: Slot, now: Instant) -> Result<(), Rejected> {
        let new = &gathered.tx.transaction;
        let key = (gathered.tx.sender, new.nonce());
        if let Some(place) = self.places.get(&key) {
            let old = &self.arrived[*place].0.tx.transaction;
            if old.hash() == new.hash() {
                return Err(Rejected::AlreadyKnown);
            }
            if !replaces(new, old) {
                return Err(Rejected::ReplacementUnderpriced);
            }
        }
        self.places.insert(key, self.arrived.len());
        self.arrived.push((gathered, slot));
        self.opened.get_or_insert(now);
        Ok(())
    }

    /// When what arrived is to be executed.
    pub fn deadline(&self, window: Duration) -> Option<Instant> {
        match self.arrived.len() {
            MAX_WINDOW.. => self.opened,
            _ => self.opened.map(|opened| opened + window),
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Gathered> {
        self.arrived.iter().map(|(gathered, _)| gathered)
    }

    /// What arrived in the order of execution, in a block with this base fee.
    pub fn queue(&self, base_fee: u64) -> Queue<Slot> {
        let arrived = self.arrived.iter();
        Queue::new(arrived.map(|(gathered, slot)| (gathered.tx.clone(), *slot)), base_fee)
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

/// A sender's, each with a tag if it arrived in the window; where two have one nonce, the later one is the one that pays more.
type ByNonce<T> = BTreeMap<(u64, Reverse<u64>), (Arc<RecoveredTransaction>, Option<T>)>;

/// Transactions by what they pay, each after those of its sender with lower nonces.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    base_fee: u64,
    arrivals: u64,
    senders: HashMap<Address, ByNonce<T>>,
    /// The first transaction of every sender but `last`: tip, arrival, sender.
    heads: BinaryHeap<(u128, Reverse<u64>, Address)>,
    /// The sender whose transaction was popped last.
    last: Option<Address>,
}

impl<T> Queue<T> {
    fn new(
        transactions: impl Iterator<Item = (Arc<RecoveredTransaction>, T)>,
        base_fee: u64,
    ) -> Self {
        let mut queue = Self {
            base_fee,
            arrivals: 0,
            senders: HashMap::default(),
            heads: BinaryHeap::new(),
            last: None,
        };
        for (tx, tag) in transactions {
            queue.insert(tx, Some(tag));
        }
        let senders: Vec<Address> = queue.senders.keys().copied().collect();
        for sender in senders {
            queue.expose(sender);
        }
        queue
    }

    fn insert(&mut self, tx: Arc<RecoveredTransaction>, tag: Option<T>) {
        self.arrivals += 1;
        let key = (tx.transaction.nonce(), Reverse(self.arrivals));
        self.senders.entry(tx.sender).or_default().insert(key, (tx, tag));
    }

    fn expose(&mut self, sender: Address) {
        let Some(((_, arrival), (tx, _))) =
            self.senders.get(&sender).and_then(|transactions| transactions.first_key_value())
        else {
            return;
        };
        // What does not pay the base fee is refused, whenever its turn comes.
        let tip = tx.transaction.effective_tip_per_gas(self.base_fee).unwrap_or(0);
        self.heads.push((tip, *arrival, sender));
    }

    /// The next transaction, with its tag if it arrived in the window.
    pub fn pop(&mut self) -> Option<(Arc<RecoveredTransaction>, Option<T>)> {
        if let Some(last) = self.last.take() {
            self.expose(last);
        }
        let (_, _, sender) = self.heads.pop()?;
        self.last = Some(sender);
        let (_, first) = self.senders.get_mut(&sender)?.pop_first()?;
        Some(first)
    }

    /// Adds what waited for the nonce after the one that was popped last.
    pub fn follow(&mut self, tx: Arc<RecoveredTransaction>) {
        debug_assert_eq!(self.last, Some(tx.sender), "whoever was popped last");
        self.insert(tx, None);
    }
}

/// A submission whose transactions wait in the window: where its results go, and those that are known.
pub(crate) type Gathering = (oneshot::Sender<Results>, Vec<Option<Result<Taken, Rejected>>>);

impl Executor {
    /// Keeps transactions until the window closes.
    pub(crate) fn gather(&mut self, submission: Submission) -> Result<(), EngineError> {
        let Submission { transactions, reply } = submission;
        let mut results = Vec::with_capacity(transactions.len());
        for (index, tx) in transactions.into_iter().enumerate() {
            let next = self.shared.live.account(tx.sender)?.unwrap_or_default().nonce;
            let gathered = Gathered { tx: Arc::new(tx), next };
            let slot = (self.gathering.len(), index);
            let mut window = self.shared.window.lock().expect("no holder panics");
            results.push(window.push(gathered, slot, Instant::now()).err().map(Err));
        }
        self.gathering.push((reply, results));
        Ok(())
    }

    /// When what the window holds is to be executed.
    pub(crate) fn window_deadline(&self) -> Option<Instant> {
        let Ordering::Priority { window } = self.config.ordering else { return None };
        if self.importing || self.gathering.is_empty() {
            return None;
        }
        let gathered = self.shared.window.lock().expect("no holder panics");
        // Where everything was refused at once, nobody has to wait.
        Some(gathered.deadline(window).unwrap_or_else(Instant::now))
    }

    /// Executes what the window holds, by what it pays.
    pub(crate) fn close_window(&mut self) -> Result<(), EngineError> {
        let base_fee = self.base_fee()?;
        let mut queue = self.shared.window.lock().expect("no holder panics").queue(base_fee);
        while let Some((tx, slot)) = queue.pop() {
            let (hash, sender, nonce) = (tx.transaction.hash(), tx.sender, tx.transaction.nonce());
            let result = self.accept_one(Arc::unwrap_or_clone(tx))?;
            if matches!(result, Ok(Taken::Executed(_)))
                && let Some(waiting) = self.take_waiting(sender, nonce + 1)
            {
                queue.follow(waiting);
            }
            match (slot, result) {
                (Some((submission, index)), result) => {
                    self.gathering[submission].1[index] = Some(result);
                }
                (None, Err(error)) => {
                    tracing::info!(%hash, %error, "a waiting transaction is no longer taken");
                }
                (None, Ok(_)) => {}
            }
        }
        self.finish_group()?;
        // Only now: until they are promised, readers find them here.
        self.shared.window.lock().expect("no holder panics").clear();
        for (reply, results) in std::mem::take(&mut self.gathering) {
            let known = |result: Option<_>| result.expect("every transaction was popped");
            self.replies.push((reply, results.into_iter().map(known).collect()));
        }
        Ok(())
    }

    /// Wei for each gas in the block that is open or would be.
    fn base_fee(&mut self) -> Result<u64, EngineError> {
        if self.sequencing.is_none() || self.records.newest().is_none() || !self.sees_l1() {
            // Nothing will be executed.
            return Ok(0);
        }
        self.ensure_open()?;
        Ok(self.open.as_ref().map_or(0, |open| open.block.env().base_fee))
    }
}

#[cfg(test)]
mod tests;
