//! The pool against a list that is searched from one end to the other.

use super::*;
use alloy_consensus::{SignableTransaction, TxEip1559};
use alloy_primitives::{Bytes, Signature, TxKind, U256};
use proptest::prelude::*;

fn tx(sender: u8, nonce: u64, tip: u128, cap: u128, slots: usize) -> Arc<RecoveredTransaction> {
    let tx = TxEip1559 {
        chain_id: 901,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: cap,
        max_priority_fee_per_gas: tip,
        to: TxKind::Call(Address::ZERO),
        value: U256::from(sender),
        access_list: Default::default(),
        input: Bytes::from(vec![0; (slots - 1) * SLOT]),
    };
    let signature = Signature::new(U256::from(1), U256::from(1), false);
    let transaction = Transaction::Eip1559(tx.into_signed(signature));
    let sender = Address::repeat_byte(sender);
    Arc::new(RecoveredTransaction { transaction, sender, data_size: 0 })
}

/// What waits, in the order of arrival, and each sender's next nonce.
#[derive(Clone, Debug, Default)]
struct Model {
    limits: PoolLimits,
    waiting: Vec<(Arc<RecoveredTransaction>, usize, u64)>,
    next: BTreeMap<Address, u64>,
}

impl Model {
    fn sum(&self, sender: Option<Address>) -> usize {
        let of = self.waiting.iter().filter(|w| sender.is_none_or(|sender| w.0.sender == sender));
        of.map(|w| w.1).sum()
    }

    /// Index of the last transaction of a sender.
    fn last(&self, sender: Address) -> Option<usize> {
        let own = (0..self.waiting.len()).filter(|i| self.waiting[*i].0.sender == sender);
        own.max_by_key(|i| self.waiting[*i].0.transaction.nonce())
    }

    fn insert(
        &mut self,
        tx: Arc<RecoveredTransaction>,
        slots: usize,
        next: u64,
        now: u64,
    ) -> Result<(), PoolError> {
        self.expire(now);
        self.advance(tx.sender, next);
        let mut after = self.clone();
        let pays = |tx: &RecoveredTransaction| {
            let fees = &tx.transaction;
            (fees.max_priority_fee_per_gas().expect("type 2"), fees.max_fee_per_gas())
        };
        let nonce = tx.transaction.nonce();
        let same = |w: &(Arc<RecoveredTransaction>, usize, u64)| {
            (w.0.sender, w.0.transaction.nonce()) == (tx.sender, nonce)
        };
        if let Some(place) = self.waiting.iter().position(same) {
            let old = &self.waiting[place].0;
            let ((old_tip, old_cap), (tip, cap)) = (pays(old), pays(&tx));
            if old.transaction == tx.transaction {
                return Err(PoolError::Known);
            }
            let enough = tip > old_tip && cap > old_cap;
            if !enough || tip < old_tip * 110 / 100 || cap < old_cap * 110 / 100 {
                return Err(PoolError::ReplacementUnderpriced);
            }
            after.waiting.remove(place);
        }
        while after.sum(Some(tx.sender)) + slots > self.limits.per_sender {
            match after.last(tx.sender) {
                Some(last) if after.waiting[last].0.transaction.nonce() > nonce => {
                    after.waiting.remove(last);
                }
                _ => return Err(PoolError::SenderFull),
            }
        }
        while after.sum(None) + slots > self.limits.total {
            let senders: BTreeSet<Address> = after.waiting.iter().map(|w| w.0.sender).collect();
            let lasts = senders.into_iter().filter_map(|sender| after.last(sender));
            let rank = |i: &usize| {
                let waiting = &after.waiting[*i].0;
                let gap = waiting.transaction.nonce() - after.next[&waiting.sender];
                (pays(waiting), Reverse(gap), Reverse(*i))
            };
            let first = lasts.min_by_key(rank);
            match first.filter(|i| pays(&after.waiting[*i].0) < pays(&tx)) {
                Some(yields) => after.waiting.remove(yields),
                None => return Err(PoolError::Underpriced),
            };
        }
        after.waiting.push((tx, slots, now));
        *self = after;
        Ok(())
    }

    fn advance(&mut self, sender: Address, next: u64) {
        self.next.insert(sender, next);
        self.waiting.retain(|w| w.0.sender != sender || w.0.transaction.nonce() >= next);
    }

    fn take(&mut self, sender: Address, nonce: u64) -> Option<Arc<RecoveredTransaction>> {
        self.advance(sender, nonce);
        let place = self
            .waiting
            .iter()
            .position(|w| (w.0.sender, w.0.transaction.nonce()) == (sender, nonce))?;
        Some(self.waiting.remove(place).0)
    }

    fn expire(&mut self, now: u64) {
        let lifetime = self.limits.lifetime.as_secs();
        self.waiting.retain(|w| w.2 + lifetime > now);
    }

    fn contents(&self) -> BTreeMap<(Address, u64), B256> {
        let key = |tx: &RecoveredTransaction| (tx.sender, tx.transaction.nonce());
        self.waiting.iter().map(|w| (key(&w.0), w.0.transaction.hash())).collect()
    }
}

#[derive(Clone, Debug)]
enum Step {
    Insert { sender: u8, gap: u64, tip: u128, cap: u128, slots: usize },
    Take { sender: u8, ahead: u64 },
    Advance { sender: u8, next: u64 },
    Expire,
}

fn step() -> impl Strategy<Value = (Step, u64)> {
    let insert = (0..5u8, 1..8u64, 1..30u128, 0..30u128, 1..=3usize).prop_map(
        |(sender, gap, tip, over, slots)| Step::Insert { sender, gap, tip, cap: tip + over, slots },
    );
    let take = (0..5u8, 0..4u64).prop_map(|(sender, ahead)| Step::Take { sender, ahead });
    let advance = (0..5u8, 0..12u64).prop_map(|(sender, next)| Step::Advance { sender, next });
    (prop_oneof![12 => insert, 2 => take, 1 => advance, 1 => Just(Step::Expire)], 0..4u64)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn the_pool_does_what_a_list_does(
        steps in prop::collection::vec(step(), 1..120),
        per_sender in 1..8usize,
        total in 3..16usize,
    ) {
        let limits = PoolLimits { per_sender, total, lifetime: Duration::from_secs(40) };
        let (mut pool, mut model) = (Pool::new(limits), Model { limits, ..Model::default() });
        let mut nonces = [0u64; 5];
        let mut now = 0;
        for (step, seconds) in steps {
            now += seconds;
            let time = Duration::from_secs(now);
            match step {
                Step::Insert { sender, gap, tip, cap, slots } => {
                    let next = nonces[usize::from(sender)];
                    let tx = tx(sender, next + gap, tip, cap, slots);
                    let result = pool.insert(tx.clone(), next, time);
                    prop_assert_eq!(result, model.insert(tx, slots, next, now));
                }
                Step::Take { sender, ahead } => {
                    let nonce = nonces[usize::from(sender)] + ahead;
                    let address = Address::repeat_byte(sender);
                    let taken = pool.take(address, nonce);
                    prop_assert_eq!(&taken, &model.take(address, nonce));
                    nonces[usize::from(sender)] = nonce + u64::from(taken.is_some());
                }
                Step::Advance { sender, next } => {
                    let address = Address::repeat_byte(sender);
                    let ready = pool.advance(address, next);
                    model.advance(address, next);
                    nonces[usize::from(sender)] = next;
                    let waits = model.contents().contains_key(&(address, next));
                    prop_assert_eq!(ready, waits);
                }
                Step::Expire => {
                    pool.expire(time);
                    model.expire(now);
                }
            }
            let key = |tx: &RecoveredTransaction| (tx.sender, tx.transaction.nonce());
            let held: Vec<_> = pool.iter().map(|(tx, _)| tx).collect();
            let contents = held.iter().map(|tx| (key(tx), tx.transaction.hash())).collect();
            prop_assert_eq!(model.contents(), contents);
            for tx in &held {
                let found = pool.get(tx.transaction.hash());
                prop_assert_eq!(found.as_ref(), Some(tx));
            }
            prop_assert_eq!(pool.hashes.len(), held.len());
            prop_assert_eq!(pool.is_empty(), held.is_empty());
            prop_assert!(pool.slots <= total);
            let oldest = model.waiting.iter().map(|w| w.2 + 40).min();
            prop_assert_eq!(pool.expiry().map(|expiry| expiry.as_secs()), oldest);
        }
    }
}
