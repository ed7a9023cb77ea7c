//! Transactions that wait for a block: per sender by nonce, one each.

use crate::blobs::Sidecar;
use alloy_consensus::Transaction as _;
use alloy_primitives::{Address, B256, U256};
use annex_rpc::Rejected;
use annex_types::{RecoveredTransaction, Transaction};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Waiting transactions one sender may have.
const MAX_PER_SENDER: usize = 256;
/// Waiting transactions in total.
const MAX_TOTAL: usize = 8_192;
/// Waiting blobs in total: 128 MiB.
const MAX_BLOBS: usize = 1_024;

/// A transaction with what only the network form of it carries.
#[derive(Clone, Debug)]
pub struct PoolTransaction {
    pub recovered: RecoveredTransaction,
    /// Of type-3 transactions, verified.
    pub sidecar: Option<Arc<Sidecar>>,
}

impl PoolTransaction {
    pub fn hash(&self) -> B256 {
        self.recovered.transaction.hash()
    }

    fn tx(&self) -> &Transaction {
        &self.recovered.transaction
    }

    fn blobs(&self) -> usize {
        self.sidecar.as_ref().map_or(0, |sidecar| sidecar.blobs.len())
    }

    /// Whether the fees cover a block's.
    fn affords(&self, fees: Fees) -> bool {
        let blob_fee = self.tx().max_fee_per_blob_gas();
        self.tx().max_fee_per_gas() >= u128::from(fees.base)
            && blob_fee.is_none_or(|fee| fee >= fees.blob)
    }

    /// Geth's rule: all fees up by 10 %, of blob transactions by 100 %, and both of one kind.
    fn replaces(&self, old: &Self) -> bool {
        let bump = if old.sidecar.is_some() { 200 } else { 110 };
        let up = |new: u128, old: u128| {
            U256::from(new) * U256::from(100) >= U256::from(old) * U256::from(bump)
        };
        let tip =
            |tx: &Self| tx.tx().max_priority_fee_per_gas().unwrap_or(tx.tx().max_fee_per_gas());
        let blob = |tx: &Self| tx.tx().max_fee_per_blob_gas().unwrap_or(0);
        self.sidecar.is_some() == old.sidecar.is_some()
            && up(self.tx().max_fee_per_gas(), old.tx().max_fee_per_gas())
            && up(tip(self), tip(old))
            && up(blob(self), blob(old))
    }
}

/// What a block asks for a unit of gas and of blob gas, in wei.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fees {
    pub base: u64,
    pub blob: u128,
}

/// The waiting transactions. A restart forgets them.
#[derive(Debug, Default)]
pub struct Pool {
    senders: BTreeMap<Address, BTreeMap<u64, Entry>>,
    places: HashMap<B256, (Address, u64)>,
    blobs: usize,
    arrivals: u64,
}

#[derive(Debug)]
struct Entry {
    /// Order of arrival, which decides between equal fees.
    arrival: u64,
    tx: PoolTransaction,
}

impl Pool {
    pub fn insert(&mut self, tx: PoolTransaction) -> Result<B256, Rejected> {
        let hash = tx.hash();
        let place = (tx.recovered.sender, tx.tx().nonce());
        if self.places.contains_key(&hash) {
            return Err(Rejected::AlreadyKnown);
        }
        let waiting = self.senders.get(&place.0);
        match waiting.and_then(|waiting| waiting.get(&place.1)) {
            Some(old) if !tx.replaces(&old.tx) => return Err(Rejected::ReplacementUnderpriced),
            Some(_) => {}
            None => {
                let of_sender = waiting.map_or(0, BTreeMap::len);
                let blobs = self.blobs + tx.blobs();
                if of_sender >= MAX_PER_SENDER || self.len() >= MAX_TOTAL || blobs > MAX_BLOBS {
                    return Err(Rejected::PoolFull);
                }
            }
        }
        self.take(place);
        self.blobs += tx.blobs();
        self.arrivals += 1;
        self.places.insert(hash, place);
        let entry = Entry { arrival: self.arrivals, tx };
        self.senders.entry(place.0).or_default().insert(place.1, entry);
        Ok(hash)
    }

    pub fn get(&self, hash: B256) -> Option<&PoolTransaction> {
        let (sender, nonce) = self.places.get(&hash)?;
        Some(&self.senders.get(sender)?.get(nonce)?.tx)
    }

    pub fn remove(&mut self, hash: B256) -> Option<PoolTransaction> {
        let place = self.places.get(&hash).copied()?;
        self.take(place)
    }

    fn take(&mut self, place: (Address, u64)) -> Option<PoolTransaction> {
        let waiting = self.senders.get_mut(&place.0)?;
        let entry = waiting.remove(&place.1)?;
        if waiting.is_empty() {
            self.senders.remove(&place.0);
        }
        self.places.remove(&entry.tx.hash());
        self.blobs -= entry.tx.blobs();
        Some(entry.tx)
    }

    /// Drops what a sender's account has outgrown.
    pub fn forget_below(&mut self, sender: Address, nonce: u64) {
        let Some(waiting) = self.senders.get(&sender) else { return };
        let stale: Vec<u64> = waiting.range(..nonce).map(|(nonce, _)| *nonce).collect();
        for nonce in stale {
            self.take((sender, nonce));
        }
    }

    /// The first nonce from `nonce` on for which nothing waits.
    pub fn next_nonce(&self, sender: Address, nonce: u64) -> u64 {
        let Some(waiting) = self.senders.get(&sender) else { return nonce };
        let run = waiting.range(nonce..).zip(nonce..).take_while(|((have, _), want)| *have == want);
        nonce + run.count() as u64
    }

    /// The sender's transaction with this nonce, if it pays a block's fees: its tip and arrival first.
    pub fn candidate(&self, sender: Address, nonce: u64, fees: Fees) -> Option<Candidate<'_>> {
        let entry = self.senders.get(&sender)?.get(&nonce)?;
        let tip = entry.tx.tx().effective_tip_per_gas(fees.base)?;
        let affords = entry.tx.affords(fees);
        affords.then_some(Candidate { tip, arrival: entry.arrival, tx: &entry.tx })
    }

    pub fn senders(&self) -> impl Iterator<Item = Address> {
        self.senders.keys().copied()
    }

    /// All transactions of a sender, by nonce.
    pub fn of(&self, sender: Address) -> impl Iterator<Item = &PoolTransaction> {
        self.senders.get(&sender).into_iter().flat_map(|all| all.values().map(|entry| &entry.tx))
    }

    pub fn len(&self) -> usize {
        self.places.len()
    }

    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    pub fn clear(&mut self) {
        *self = Self { arrivals: self.arrivals, ..Self::default() };
    }
}

/// A transaction that could be next; the greatest is.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// What the beneficiary gets for a unit of gas, in wei.
    pub tip: u128,
    arrival: u64,
    pub tx: &'a PoolTransaction,
}

impl Ord for Candidate<'_> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.tip.cmp(&other.tip).then(other.arrival.cmp(&self.arrival))
    }
}

impl PartialOrd for Candidate<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Candidate<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Candidate<'_> {}
