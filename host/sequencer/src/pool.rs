//! Transactions that wait for a nonce below theirs.
//!
//! Room is counted in slots of 32 KiB, as in go-ethereum. Time and the sender's next nonce are handed in, so what the pool
//! holds is a function of its calls.

use alloy_consensus::Transaction as _;
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256, map::B256Map};
use annex_types::{RecoveredTransaction, Transaction};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// Bytes of a transaction that count as one; each such part that is begun counts.
pub const SLOT: usize = 32 * 1024;
/// Percent that a replacement must add to both its fee cap and its tip.
const PRICE_BUMP: u128 = 10;

/// How much may wait, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolLimits {
    /// Slots of one sender.
    pub per_sender: usize,
    /// Slots in all.
    pub total: usize,
    /// After which a transaction is forgotten.
    pub lifetime: Duration,
}

impl Default for PoolLimits {
    /// 64 slots of one sender, 4,096 in all, three hours.
    fn default() -> Self {
        Self { per_sender: 64, total: 4096, lifetime: Duration::from_secs(3 * 3600) }
    }
}

/// The pool does not take the transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolError {
    /// The same transaction waits already.
    Known,
    /// Another one with this nonce waits and the new one does not add 10 % to both of its fees.
    ReplacementUnderpriced,
    /// The sender has no room but for lower nonces.
    SenderFull,
    /// There is no room, and what would have to yield pays as much.
    Underpriced,
}

#[derive(Clone, Debug)]
struct Waiting {
    tx: Arc<RecoveredTransaction>,
    slots: usize,
    /// Counts up.
    arrival: u64,
    since: Duration,
}

#[derive(Debug, Default)]
struct Sender {
    /// The nonce its account has, as far as the pool was told.
    next: u64,
    slots: usize,
    waiting: BTreeMap<u64, Waiting>,
}

/// A sender's last transaction. The first of these yields first: what pays least, then what is farthest from its turn,
/// then what came last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Tail {
    fees: Fees,
    gap: Reverse<u64>,
    arrival: Reverse<u64>,
    sender: Address,
}

/// Tip, then fee cap: what a transaction pays without regard to a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Fees {
    tip: u128,
    cap: u128,
}

impl Fees {
    fn of(tx: &Transaction) -> Self {
        Self { tip: tx.priority_fee_or_price(), cap: tx.max_fee_per_gas() }
    }
}

/// Whether `new` may take the place of `old` with the same sender and nonce: both fees up by 10 %, as in go-ethereum.
pub fn replaces(new: &Transaction, old: &Transaction) -> bool {
    let up = |new: u128, old: u128| {
        let bump = old / 100 * PRICE_BUMP + old % 100 * PRICE_BUMP / 100;
        new > old && new >= old.saturating_add(bump)
    };
    let (new, old) = (Fees::of(new), Fees::of(old));
    up(new.tip, old.tip) && up(new.cap, old.cap)
}

/// Nothing in here was acknowledged; a restart forgets it.
#[derive(Debug)]
pub struct Pool {
    limits: PoolLimits,
    senders: BTreeMap<Address, Sender>,
    tails: BTreeSet<Tail>,
    arrivals: BTreeMap<u64, (Address, u64)>,
    hashes: B256Map<(Address, u64)>,
    slots: usize,
    arrived: u64,
}

impl Pool {
    pub fn new(limits: PoolLimits) -> Self {
        Self {
            limits,
            senders: BTreeMap::new(),
            tails: BTreeSet::new(),
            arrivals: BTreeMap::new(),
            hashes: B256Map::default(),
            slots: 0,
            arrived: 0,
        }
    }

    /// Takes a transaction whose sender's next nonce is `next`, at time `now`. Others may have to yield.
    pub fn insert(
        &mut self,
        tx: Arc<RecoveredTransaction>,
        next: u64,
        now: Duration,
    ) -> Result<(), PoolError> {
        self.expire(now);
        self.advance(tx.sender, next);
        let (sender, nonce) = (tx.sender, tx.transaction.nonce());
        let slots = tx.transaction.encode_2718_len().div_ceil(SLOT);
        // What went, with its sender's next nonce, to be put back if the transaction is refused after all.
        let mut gone = Vec::new();
        if let Some(old) = self.senders.get(&sender).and_then(|s| s.waiting.get(&nonce)) {
            if old.tx.transaction.hash() == tx.transaction.hash() {
                return Err(PoolError::Known);
            }
            if !replaces(&tx.transaction, &old.tx.transaction) {
                return Err(PoolError::ReplacementUnderpriced);
            }
            gone.extend(self.remove(sender, nonce));
        }
        let room = self
            .make_room_of_sender(sender, nonce, slots, &mut gone)
            .and_then(|()| self.make_room(Fees::of(&tx.transaction), slots, &mut gone));
        if let Err(error) = room {
            for (waiting, next) in gone {
                self.put(waiting, next);
            }
            return Err(error);
        }
        self.arrived += 1;
        self.put(Waiting { tx, slots, arrival: self.arrived, since: now }, next);
        Ok(())
    }

    /// Lets the sender's transactions beyond `nonce` go, from the last one on, until it has room.
    fn make_room_of_sender(
        &mut self,
        sender: Address,
        nonce: u64,
        slots: usize,
        gone: &mut Vec<(Waiting, u64)>,
    ) -> Result<(), PoolError> {
        while let Some(known) = self.senders.get(&sender)
            && known.slots + slots > self.limits.per_sender
        {
            match known.waiting.last_key_value() {
                Some((last, _)) if *last > nonce => gone.extend(self.remove(sender, *last)),
                _ => return Err(PoolError::SenderFull),
            }
        }
        if slots > self.limits.per_sender { Err(PoolError::SenderFull) } else { Ok(()) }
    }

    /// Lets what pays less than `fees` go until there is room.
    fn make_room(
        &mut self,
        fees: Fees,
        slots: usize,
        gone: &mut Vec<(Waiting, u64)>,
    ) -> Result<(), PoolError> {
        while self.slots + slots > self.limits.total {
            let Some(tail) = self.tails.first().filter(|tail| tail.fees < fees).copied() else {
                return Err(PoolError::Underpriced);
            };
            let last = self.senders.get(&tail.sender).and_then(|s| s.waiting.last_key_value());
            let (nonce, _) = last.expect("a tail is a sender's last transaction");
            gone.extend(self.remove(tail.sender, *nonce));
        }
        Ok(())
    }

    /// Takes the transaction that waits for `nonce` of `sender`, forgetting those below.
    pub fn take(&mut self, sender: Address, nonce: u64) -> Option<Arc<RecoveredTransaction>> {
        self.advance(sender, nonce);
        Some(self.remove(sender, nonce)?.0.tx)
    }

    /// The account of `sender` has nonce `next` now: what waited below is forgotten. Whether something has its turn.
    pub fn advance(&mut self, sender: Address, next: u64) -> bool {
        let Some(known) = self.senders.get(&sender) else { return false };
        let stale: Vec<u64> = known.waiting.range(..next).map(|(nonce, _)| *nonce).collect();
        for nonce in stale {
            self.remove(sender, nonce);
        }
        self.change(sender, |known| known.next = next);
        self.senders.get(&sender).is_some_and(|known| known.waiting.contains_key(&next))
    }

    /// Forgets what waits for longer than it may.
    pub fn expire(&mut self, now: Duration) {
        while self.expiry().is_some_and(|expiry| expiry <= now)
            && let Some((_, (sender, nonce))) = self.arrivals.first_key_value()
        {
            self.remove(*sender, *nonce);
        }
    }

    /// When the next transaction is to be forgotten.
    pub fn expiry(&self) -> Option<Duration> {
        let (_, (sender, nonce)) = self.arrivals.first_key_value()?;
        let oldest = self.senders.get(sender)?.waiting.get(nonce)?;
        Some(oldest.since.saturating_add(self.limits.lifetime))
    }

    pub fn is_empty(&self) -> bool {
        self.senders.is_empty()
    }

    pub fn senders(&self) -> impl Iterator<Item = Address> {
        self.senders.keys().copied()
    }

    pub fn get(&self, hash: B256) -> Option<Arc<RecoveredTransaction>> {
        let (sender, nonce) = self.hashes.get(&hash)?;
        Some(self.senders.get(sender)?.waiting.get(nonce)?.tx.clone())
    }

    /// What waits with the sender's next nonce, by sender and nonce.
    pub fn iter(&self) -> impl Iterator<Item = (Arc<RecoveredTransaction>, u64)> {
        let senders = self.senders.values();
        senders.flat_map(|s| s.waiting.values().map(|waiting| (waiting.tx.clone(), s.next)))
    }

    fn put(&mut self, waiting: Waiting, next: u64) {
        let (sender, nonce) = (waiting.tx.sender, waiting.tx.transaction.nonce());
        self.slots += waiting.slots;
        self.arrivals.insert(waiting.arrival, (sender, nonce));
        self.hashes.insert(waiting.tx.transaction.hash(), (sender, nonce));
        self.senders.entry(sender).or_insert_with(|| Sender { next, ..Sender::default() });
        self.change(sender, |known| {
            known.slots += waiting.slots;
            known.waiting.insert(nonce, waiting);
        });
    }

    /// The transaction, with its sender's next nonce.
    fn remove(&mut self, sender: Address, nonce: u64) -> Option<(Waiting, u64)> {
        let (removed, next) = self.change(sender, |known| {
            let removed = known.waiting.remove(&nonce)?;
            known.slots -= removed.slots;
            Some((removed, known.next))
        })??;
        self.slots -= removed.slots;
        self.arrivals.remove(&removed.arrival);
        self.hashes.remove(&removed.tx.transaction.hash());
        Some((removed, next))
    }

    /// Changes what is known of a sender, and with it the rank of its last transaction.
    fn change<T>(&mut self, sender: Address, change: impl FnOnce(&mut Sender) -> T) -> Option<T> {
        let known = self.senders.get_mut(&sender)?;
        if let Some(tail) = tail(sender, known) {
            self.tails.remove(&tail);
        }
        let result = change(known);
        match tail(sender, known) {
            Some(tail) => {
                self.tails.insert(tail);
            }
            None => {
                self.senders.remove(&sender);
            }
        }
        Some(result)
    }
}

fn tail(sender: Address, known: &Sender) -> Option<Tail> {
    let (nonce, last) = known.waiting.last_key_value()?;
    Some(Tail {
        fees: Fees::of(&last.tx.transaction),
        gap: Reverse(nonce.saturating_sub(known.next)),
        arrival: Reverse(last.arrival),
        sender,
    })
}

#[cfg(test)]
mod tests;
