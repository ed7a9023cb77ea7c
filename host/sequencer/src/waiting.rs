//! The executor's side of the pool: what waits for a lower nonce, and when its turn comes.

use crate::{
    engine::{EngineError, Taken},
    executor::Executor,
    pool::PoolError,
};
use alloy_consensus::Transaction as _;
use alloy_primitives::{Address, U256};
use annex_rpc::{Arrival, Rejected};
use annex_state::Overlay;
use annex_stf::InvalidTransaction;
use annex_types::RecoveredTransaction;
use std::sync::Arc;

impl Executor {
    /// Keeps a transaction until its nonce's turn, if its sender could pay for it now: room in the pool costs ether.
    pub fn wait_for_nonce(
        &mut self,
        tx: RecoveredTransaction,
        next: u64,
        got: u64,
    ) -> Result<Result<Taken, Rejected>, EngineError> {
        let inner = &tx.transaction;
        let fees = U256::from(inner.gas_limit()) * U256::from(inner.max_fee_per_gas());
        let want = fees.saturating_add(inner.value());
        let have = self.shared.live.account(tx.sender)?.unwrap_or_default().balance;
        if have < want {
            return Ok(Err(InvalidTransaction::InsufficientFunds { have, want }.into()));
        }
        let (hash, tx) = (tx.transaction.hash(), Arc::new(tx));
        let arrival = Arrival::Pooled(tx.clone());
        let now = self.started.elapsed();
        let inserted = self.shared.pool.lock().expect("no holder panics").insert(tx, next, now);
        Ok(match inserted {
            Ok(()) => {
                // Nobody may be listening.
                let _listeners = self.shared.arrivals.send(arrival);
                Ok(Taken::Waiting(hash))
            }
            Err(PoolError::Known) => Err(Rejected::AlreadyKnown),
            Err(PoolError::ReplacementUnderpriced) => Err(Rejected::ReplacementUnderpriced),
            Err(PoolError::Underpriced) => Err(Rejected::Underpriced),
            Err(PoolError::SenderFull) => {
                Err(InvalidTransaction::NonceTooHigh { tx: got, state: next }.into())
            }
        })
    }

    pub fn take_waiting(&self, sender: Address, nonce: u64) -> Option<Arc<RecoveredTransaction>> {
        self.shared.pool.lock().expect("no holder panics").take(sender, nonce)
    }

    /// Executes what waits for nonce `next` of `sender` and those after it.
    pub fn accept_waiting(&mut self, sender: Address, mut next: u64) -> Result<(), EngineError> {
        while let Some(waiting) = self.take_waiting(sender, next) {
            if let Err(error) = self.accept_one(Arc::unwrap_or_clone(waiting))? {
                tracing::info!(%sender, nonce = next, %error, "a waiting transaction is no longer taken");
                break;
            }
            next += 1;
        }
        Ok(())
    }

    /// Executes what waited for its nonce and has its turn by what others did: a deposit, a delegation, a batch on L1.
    pub fn execute_ready(&mut self) -> Result<(), EngineError> {
        let orders = self.sequencing.is_some() && self.records.newest().is_some() && self.sees_l1();
        while orders
            && !self.importing
            && let Some(sender) = self.ready.pop()
        {
            let next = self.shared.live.account(sender)?.unwrap_or_default().nonce;
            self.accept_waiting(sender, next)?;
            self.finish_group()?;
        }
        Ok(())
    }

    /// Tells the pool the nonces of accounts that changed; all of them where blocks were replaced.
    pub fn tell_pool(&mut self, changed: Option<&Overlay>) -> Result<(), EngineError> {
        let shared = self.shared.clone();
        let mut pool = shared.pool.lock().expect("no holder panics");
        if pool.is_empty() {
            return Ok(());
        }
        let senders: Vec<Address> = pool.senders().collect();
        for sender in senders {
            let account = match changed {
                Some(changed) => changed.account(&sender),
                None => Some(shared.live.account(sender)?),
            };
            if let Some(account) = account
                && pool.advance(sender, account.unwrap_or_default().nonce)
                && !self.ready.contains(&sender)
            {
                self.ready.push(sender);
            }
        }
        Ok(())
    }
}
