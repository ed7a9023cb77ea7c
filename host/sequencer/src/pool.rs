//! Transactions that wait for a nonce below theirs.

use alloy_consensus::Transaction as _;
use alloy_primitives::Address;
use annex_types::RecoveredTransaction;
use std::collections::BTreeMap;

/// Waiting transactions one sender may have.
pub const MAX_PER_SENDER: usize = 64;
/// Waiting transactions in total.
pub const MAX_TOTAL: usize = 4096;

/// Nothing in here was acknowledged; a restart forgets it.
#[derive(Debug, Default)]
pub struct Pool {
    waiting: BTreeMap<(Address, u64), RecoveredTransaction>,
}

/// The pool cannot take the transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolError {
    /// The same transaction waits already.
    Known,
    /// Another one with this nonce waits and the new one pays no 10 % more.
    Underpriced,
    Full,
}

impl Pool {
    pub fn insert(&mut self, tx: RecoveredTransaction) -> Result<(), PoolError> {
        let key = (tx.sender, tx.transaction.nonce());
        if let Some(old) = self.waiting.get(&key) {
            if old.transaction.hash() == tx.transaction.hash() {
                return Err(PoolError::Known);
            }
            let floor = old.transaction.max_fee_per_gas().saturating_mul(11) / 10;
            if tx.transaction.max_fee_per_gas() < floor {
                return Err(PoolError::Underpriced);
            }
        } else if self.waiting.len() >= MAX_TOTAL || self.of(tx.sender).count() >= MAX_PER_SENDER {
            return Err(PoolError::Full);
        }
        self.waiting.insert(key, tx);
        Ok(())
    }

    /// Takes the transaction that waits for `nonce` of `sender`.
    pub fn take(&mut self, sender: Address, nonce: u64) -> Option<RecoveredTransaction> {
        self.waiting.remove(&(sender, nonce))
    }

    /// What waits for `sender`, by nonce.
    pub fn of(&self, sender: Address) -> impl Iterator<Item = &RecoveredTransaction> {
        self.waiting.range((sender, 0)..=(sender, u64::MAX)).map(|(_, tx)| tx)
    }

    pub fn iter(&self) -> impl Iterator<Item = &RecoveredTransaction> {
        self.waiting.values()
    }
}
