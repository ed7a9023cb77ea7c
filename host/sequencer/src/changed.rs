//! Promises that the leader could not keep, because L1 recorded other blocks first.

use crate::engine::EngineError;
use alloy_primitives::B256;
use annex_store::{Store, StoreError};
use annex_types::{RecoveredTransaction, promise::SignedPromise};
use serde::{Deserialize, Serialize};
use std::{collections::VecDeque, sync::Arc};

/// Changes that are remembered.
const KEPT: usize = 1024;
const KEY: &[u8] = b"sequencer/changed";

/// An acknowledged transaction that was executed again because its block was replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedPromise {
    /// Counts up from 0.
    pub number: u64,
    pub transaction: B256,
    /// Block it was promised in; unknown where a restart came in between.
    pub promised_block: Option<u64>,
    /// What was promised; unknown as above.
    pub promise: Option<Arc<SignedPromise>>,
    /// Block it is in now.
    pub new_block: Option<u64>,
    /// Why it is in none.
    pub reason: Option<String>,
}

/// A transaction of a replaced block, to be executed again.
#[derive(Debug)]
pub(crate) struct Requeued {
    pub transaction: RecoveredTransaction,
    pub promised_block: Option<u64>,
    pub promise: Option<Arc<SignedPromise>>,
}

/// The newest changes, as the store keeps them.
#[derive(Debug, Default)]
pub(crate) struct Changes(VecDeque<ChangedPromise>);

impl Changes {
    pub fn restore(store: &Store) -> Result<Self, StoreError> {
        let Some(bytes) = store.get_meta(KEY)? else { return Ok(Self::default()) };
        let kept = serde_json::from_slice(&bytes);
        kept.map(Self).map_err(|_| StoreError::Corrupt("changed promises"))
    }

    /// Numbers changes and adds them.
    pub fn report(
        &mut self,
        store: &Store,
        changes: Vec<ChangedPromise>,
    ) -> Result<(), EngineError> {
        if changes.is_empty() {
            return Ok(());
        }
        let next = self.0.back().map_or(0, |last| last.number + 1);
        for (number, mut change) in (next..).zip(changes) {
            let ChangedPromise { transaction, promised_block, new_block, reason, .. } = &change;
            tracing::warn!(%transaction, promised_block, new_block, reason, "promise changed");
            metrics::counter!("annex_promises_changed_total").increment(1);
            change.number = number;
            self.0.push_back(change);
        }
        while self.0.len() > KEPT {
            self.0.pop_front();
        }
        let kept = serde_json::to_vec(&self.0).expect("plain data serialises");
        Ok(store.write(|writer| writer.put_meta(KEY, Some(&kept)))?)
    }

    /// At most `limit` from number `from` on.
    pub fn page(&self, from: u64, limit: usize) -> Vec<ChangedPromise> {
        let start = self.0.partition_point(|change| change.number < from);
        self.0.iter().skip(start).take(limit).cloned().collect()
    }
}
