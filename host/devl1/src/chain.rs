//! The chain as JSON-RPC reads it.

use crate::block::{Included, environment, system_slots};
use crate::engine::{Engine, Extra};
use alloy_consensus::{Sealed, Transaction as _};
use alloy_primitives::{Address, B256, Bytes};
use annex_evm::Rules;
use annex_rpc::{
    Accepted, Arrival, Chain, Executed, Finality, Opening, Pending, PendingState, Pool, Rejected,
    Unsealed,
};
use annex_state::{AccountInfo, StateReader};
use annex_store::{Snapshot, Store, StoreError};
use annex_types::{Header, RecoveredTransaction};
use std::sync::{Arc, OnceLock};
use tokio::sync::broadcast;

/// The embedded L1 behind JSON-RPC.
#[derive(Clone, Debug)]
pub struct DevChain(pub Arc<Engine>);

impl Chain for DevChain {
    fn chain_id(&self) -> u64 {
        self.0.chain_id()
    }

    fn rules(&self) -> Rules {
        Rules::L1
    }

    fn store(&self) -> &Store {
        self.0.store()
    }

    /// What would be mined now.
    fn pending(&self) -> Result<Pending, StoreError> {
        let (built, base) = {
            let mut inner = self.0.lock();
            let (mut built, view) = self.0.build(&mut inner, Extra::default())?;
            inner.codes = std::mem::take(&mut built.codes);
            (built, view)
        };
        let env = environment(self.0.chain_id(), &built.header);
        let header = built.header;
        let executed = |(index, included)| Arc::new(executed(&header, index, included));
        let transactions = built.included.into_iter().enumerate().map(executed).collect();
        let state = PendingState { layers: vec![Arc::new(built.changes)], base };
        Ok(Pending { header, env, transactions, state })
    }

    fn account(&self, address: Address) -> Result<Option<AccountInfo>, StoreError> {
        if self.0.lock().pool.is_empty() {
            return self.0.store().latest()?.account(address);
        }
        self.pending()?.state.account(address)
    }

    fn unsealed(&self, hash: B256) -> Option<Unsealed> {
        let inner = self.0.lock();
        let tx = inner.pool.get(hash)?;
        Some(Unsealed::Pooled(Arc::new(tx.recovered.clone())))
    }

    fn pool(&self) -> Pool {
        let inner = self.0.lock();
        let mut pool = Pool::default();
        let view = match self.0.store().latest() {
            Ok(view) => view,
            Err(error) => {
                tracing::error!(%error, "reading the state failed");
                return pool;
            }
        };
        for sender in inner.pool.senders() {
            let account = view.account(sender).ok().flatten().unwrap_or_default();
            let next = inner.pool.next_nonce(sender, account.nonce);
            for tx in inner.pool.of(sender) {
                let recovered = Arc::new(tx.recovered.clone());
                let executable = tx.recovered.transaction.nonce() < next;
                let list = if executable { &mut pool.executable } else { &mut pool.queued };
                list.push(recovered);
            }
        }
        pool
    }

    async fn send_raw(&self, transactions: Vec<Bytes>) -> Vec<Result<Accepted, Rejected>> {
        let engine = self.0.clone();
        let count = transactions.len();
        let send = move || {
            let accepted = |hash| Accepted { hash, executed: None };
            transactions.iter().map(|raw| engine.send(raw).map(accepted)).collect()
        };
        // Proofs and block building take milliseconds.
        match tokio::task::spawn_blocking(send).await {
            Ok(results) => results,
            Err(error) => {
                tracing::error!(%error, "taking transactions failed");
                vec![Err(Rejected::Internal); count]
            }
        }
    }

    /// Without balances that `anvil_setBalance` set at a block's start: no block tells them.
    fn opening(&self, _: &Snapshot, header: &Header) -> Result<Opening, StoreError> {
        let env = environment(self.0.chain_id(), header);
        let slots = if header.number == 0 { Vec::new() } else { system_slots(header).into() };
        Ok(Opening { env, slots })
    }

    fn heads(&self) -> broadcast::Receiver<Arc<Sealed<Header>>> {
        self.0.heads()
    }

    fn arrivals(&self) -> broadcast::Receiver<Arrival> {
        self.0.arrivals()
    }

    fn finality(&self) -> Finality {
        let head = self.0.store().head().ok().flatten().map_or(0, |head| head.number);
        let (safe, finalized) = Engine::finality(head);
        Finality { safe, finalized }
    }

    fn syncing(&self) -> Option<u64> {
        None
    }
}

fn executed(header: &Header, index: usize, included: Included) -> Executed {
    let Included { tx, receipt, gas_used, first_log } = included;
    let transaction: RecoveredTransaction = tx.recovered;
    Executed {
        hash: transaction.transaction.hash(),
        transaction,
        block_number: header.number,
        timestamp: header.timestamp,
        base_fee: header.base_fee_per_gas.unwrap_or_default(),
        index: index as u32,
        receipt,
        gas_used,
        first_log,
        deposit_nonce: None,
        promise: OnceLock::new(),
    }
}
