//! Filters that are polled: `eth_newFilter` and its kin.

use crate::api::Api;
use crate::chain::{Arrival, Chain};
use crate::error::RpcError;
use alloy_eips::BlockNumberOrTag;
use alloy_primitives::{B256, U64};
use alloy_rpc_types_eth::{Filter, FilterBlockOption, Log};
use serde::Serialize;
use std::collections::HashMap;
use std::time::{Duration, Instant};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::TryRecvError;

/// A filter that nobody polls for so long is forgotten.
pub(crate) const FILTER_LIFETIME: Duration = Duration::from_secs(300);
/// Blocks one poll of a block filter reports.
const MAX_HASHES: u64 = 10_000;

#[derive(Default)]
pub(crate) struct Filters {
    next: u64,
    filters: HashMap<u64, Entry>,
}

struct Entry {
    kind: Kind,
    polled: Instant,
}

enum Kind {
    /// The next block to report.
    Blocks(u64),
    /// The next block to search.
    Logs {
        filter: Box<Filter>,
        next: u64,
    },
    Transactions(Receiver<Arrival>),
}

#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Changes {
    Hashes(Vec<B256>),
    Logs(Vec<Log>),
}

impl Filters {
    fn add(&mut self, kind: Kind, most: usize) -> Result<U64, RpcError> {
        let now = Instant::now();
        self.filters.retain(|_, entry| now.duration_since(entry.polled) < FILTER_LIFETIME);
        if self.filters.len() >= most {
            return Err(RpcError::TooManyFilters);
        }
        self.next += 1;
        self.filters.insert(self.next, Entry { kind, polled: now });
        Ok(U64::from(self.next))
    }

    fn poll(&mut self, id: U64) -> Result<&mut Kind, RpcError> {
        let entry = self.filters.get_mut(&id.to()).ok_or(RpcError::FilterNotFound)?;
        entry.polled = Instant::now();
        Ok(&mut entry.kind)
    }
}

/// Work that a poll leaves to do without the lock.
enum Poll {
    Blocks(u64, u64),
    Logs(Box<Filter>, u64, u64),
    Transactions(Vec<B256>),
}

impl<C: Chain> Api<C> {
    fn filters(&self) -> std::sync::MutexGuard<'_, Filters> {
        self.filters.lock().expect("no holder of this lock panics")
    }

    fn add_filter(&self, kind: Kind) -> Result<U64, RpcError> {
        self.filters().add(kind, self.limits.max_filters)
    }

    pub fn new_filter(&self, filter: Filter) -> Result<U64, RpcError> {
        let next = self.head()? + 1;
        self.add_filter(Kind::Logs { filter: Box::new(filter), next })
    }

    pub fn new_block_filter(&self) -> Result<U64, RpcError> {
        let next = self.head()? + 1;
        self.add_filter(Kind::Blocks(next))
    }

    pub fn new_pending_transaction_filter(&self) -> Result<U64, RpcError> {
        let arrivals = self.chain.arrivals();
        self.add_filter(Kind::Transactions(arrivals))
    }

    pub fn uninstall_filter(&self, id: U64) -> bool {
        self.filters().filters.remove(&id.to()).is_some()
    }

    pub fn filter_changes(&self, id: U64) -> Result<Changes, RpcError> {
        let head = self.head()?;
        let poll = match self.filters().poll(id)? {
            Kind::Blocks(next) => {
                let end = head.min(next.saturating_add(MAX_HASHES - 1));
                let from = std::mem::replace(next, (end + 1).max(*next));
                Poll::Blocks(from, end)
            }
            Kind::Logs { filter, next } => {
                let last = match filter.block_option {
                    FilterBlockOption::Range {
                        to_block: Some(BlockNumberOrTag::Number(to)),
                        ..
                    } => head.min(to),
                    _ => head,
                };
                let from = std::mem::replace(next, (last + 1).max(*next));
                Poll::Logs(filter.clone(), from, last)
            }
            Kind::Transactions(arrivals) => Poll::Transactions(drain(arrivals)),
        };
        match poll {
            Poll::Blocks(from, end) => {
                let snapshot = self.snapshot()?;
                let hashes = (from..=end).filter_map(|number| snapshot.hash(number).transpose());
                Ok(Changes::Hashes(hashes.collect::<Result<_, _>>()?))
            }
            Poll::Logs(filter, from, last) => {
                Ok(Changes::Logs(self.logs_between(&filter, from, last)?))
            }
            Poll::Transactions(hashes) => Ok(Changes::Hashes(hashes)),
        }
    }

    pub fn filter_logs(&self, id: U64) -> Result<Vec<Log>, RpcError> {
        let filter = match self.filters().poll(id)? {
            Kind::Logs { filter, .. } => filter.clone(),
            _ => return Err(RpcError::FilterNotFound),
        };
        self.logs(&filter)
    }
}

/// Hashes that arrived since the last poll; the oldest are lost where nobody polled for long.
fn drain(arrivals: &mut Receiver<Arrival>) -> Vec<B256> {
    let mut hashes = Vec::new();
    loop {
        match arrivals.try_recv() {
            Ok(Arrival::Executed(block)) => {
                hashes.extend(block.transactions.iter().map(|tx| tx.hash))
            }
            Ok(Arrival::Pooled(tx)) => hashes.push(tx.transaction.hash()),
            Err(TryRecvError::Lagged(_)) => {}
            Err(TryRecvError::Empty | TryRecvError::Closed) => return hashes,
        }
    }
}
