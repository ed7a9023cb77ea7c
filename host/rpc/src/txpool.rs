//! `txpool_*`: what waits, as go-ethereum shows it.

use crate::api::Api;
use crate::chain::Chain;
use crate::json::pooled_transaction;
use alloy_consensus::Transaction as _;
use alloy_primitives::{Address, U64};
use annex_types::RecoveredTransaction;
use serde_json::{Map, Value, json};
use std::sync::Arc;

type Waiting = [Arc<RecoveredTransaction>];

impl<C: Chain> Api<C> {
    /// How many.
    pub fn pool_status(&self) -> Value {
        let pool = self.chain.pool();
        let (pending, queued) = (U64::from(pool.executable.len()), U64::from(pool.queued.len()));
        json!({ "pending": pending, "queued": queued })
    }

    /// All of them.
    pub fn pool_content(&self) -> Value {
        let pool = self.chain.pool();
        let show = |waiting: &Waiting| by_sender(waiting, pooled_transaction);
        json!({ "pending": show(&pool.executable), "queued": show(&pool.queued) })
    }

    /// One sender's.
    pub fn pool_content_from(&self, sender: Address) -> Value {
        let pool = self.chain.pool();
        let show = |waiting: &Waiting| {
            let own = waiting.iter().filter(|tx| tx.sender == sender);
            Value::Object(own.map(|tx| (nonce(tx), pooled_transaction(tx))).collect())
        };
        json!({ "pending": show(&pool.executable), "queued": show(&pool.queued) })
    }

    /// All of them in a line each.
    pub fn pool_inspect(&self) -> Value {
        let pool = self.chain.pool();
        let show = |waiting: &Waiting| by_sender(waiting, |tx| json!(summary(tx)));
        json!({ "pending": show(&pool.executable), "queued": show(&pool.queued) })
    }
}

fn nonce(tx: &RecoveredTransaction) -> String {
    tx.transaction.nonce().to_string()
}

/// sender → nonce → what is shown of the transaction.
fn by_sender(waiting: &Waiting, show: impl Fn(&RecoveredTransaction) -> Value) -> Value {
    let mut senders = Map::new();
    for tx in waiting {
        let sender = senders.entry(tx.sender.to_string()).or_insert_with(|| json!({}));
        sender[nonce(tx)] = show(tx);
    }
    Value::Object(senders)
}

fn summary(tx: &RecoveredTransaction) -> String {
    let inner = &tx.transaction;
    let to = inner.to().map_or("contract creation".to_owned(), |to| to.to_string());
    format!(
        "{to}: {} wei + {} gas × {} wei",
        inner.value(),
        inner.gas_limit(),
        inner.max_fee_per_gas()
    )
}
