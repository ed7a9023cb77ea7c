//! A leader's promises, live, checked against its key and against what L1 records.

use crate::{
    node::{self, NodeError},
    progress::Progress,
};
use alloy_consensus::TxReceipt;
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_sol_types::Eip712Domain;
use annex_l1::L1Client;
use annex_rpc::PromiseJson;
use annex_store::{Snapshot, Store, StoreError};
use annex_types::{
    ChainConfig, Origin, Promise,
    promise::{self, SignedPromise},
};
use jsonrpsee::{
    client_transport::ws::{Url, WsTransportClientBuilder},
    core::client::{Client, ClientBuilder, Subscription, SubscriptionClientT},
    rpc_params,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::time::{MissedTickBehavior, interval, sleep};

/// Broken promises that are remembered.
const MAX_BROKEN: usize = 1024;
/// Promises that may wait for L1; a feed that sends more is cut off at the old end.
const MAX_WAITING: usize = 1 << 20;
/// How often promises are compared with what L1 has recorded meanwhile.
const CHECK: Duration = Duration::from_millis(500);
const RECONNECT: Duration = Duration::from_secs(2);

/// How a promise was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Breach {
    #[error("not signed by the leader")]
    Signature,
    #[error("another promise has the same sequence number")]
    Equivocation,
    #[error("does not follow the promise before it")]
    Gap,
    #[error("L1 records another environment for the block")]
    Environment,
    #[error("L1 records other transactions or receipts at that place")]
    Transactions,
}

/// A broken promise: with its signature, it is the evidence.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BrokenPromise {
    pub breach: Breach,
    pub promise: PromiseJson,
}

#[derive(Debug, Default)]
pub(crate) struct FeedState {
    broken: Mutex<VecDeque<BrokenPromise>>,
}

impl FeedState {
    pub fn broken(&self) -> Vec<BrokenPromise> {
        self.broken.lock().expect("no holder panics").iter().cloned().collect()
    }

    fn report(&self, breach: Breach, promise: &SignedPromise) {
        let (block, sequence) = (promise.promise.blockNumber, promise.promise.sequence);
        tracing::error!(block, sequence, %breach, "the leader broke a promise");
        metrics::counter!("annex_broken_promises_total").increment(1);
        let mut broken = self.broken.lock().expect("no holder panics");
        broken.push_back(BrokenPromise { breach, promise: promise.into() });
        while broken.len() > MAX_BROKEN {
            broken.pop_front();
        }
    }
}

/// One notification; transactions and receipts are L1's to tell.
#[derive(Debug, Deserialize)]
struct MiniBlock {
    promise: Option<PromiseJson>,
}

pub(crate) struct Watcher {
    pub url: String,
    pub client: L1Client,
    pub lease: Address,
    pub chain: ChainConfig,
    pub store: Store,
    pub state: Arc<FeedState>,
    pub progress: Arc<Progress>,
}

impl Watcher {
    pub async fn run(self) -> Result<(), NodeError> {
        let domain = promise::domain(self.chain.l1_chain_id, self.lease);
        let mut checker = Checker { domain, last: None, waiting: BTreeMap::new(), count: 0 };
        loop {
            match self.follow(&mut checker).await {
                Ok(()) => tracing::info!(url = self.url, "the feed ended; connecting again"),
                Err(FeedError::Node(error)) => return Err(error),
                Err(FeedError::Connection(error)) => {
                    tracing::warn!(url = self.url, %error, "no feed; trying again");
                }
            }
            sleep(RECONNECT).await;
            // Promises may have been missed meanwhile.
            checker.last = None;
        }
    }

    async fn follow(&self, checker: &mut Checker) -> Result<(), FeedError> {
        let client = connect(&self.url).await?;
        let mut feed: Subscription<MiniBlock> = client
            .subscribe("eth_subscribe", rpc_params!["miniBlocks"], "eth_unsubscribe")
            .await
            .map_err(connection)?;
        let leader = node::leader(&self.client, self.lease).await.map_err(NodeError::from)?;
        tracing::info!(url = self.url, signer = %leader.promiseSigner, "following promises");
        let mut check = interval(CHECK);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                next = feed.next() => {
                    let Some(next) = next else { return Ok(()) };
                    let Some(json) = next.map_err(connection)?.promise else { continue };
                    let promise = SignedPromise::try_from(json).map_err(connection)?;
                    metrics::counter!("annex_promises_total").increment(1);
                    if let Some(breach) = checker.take(&promise, leader.promiseSigner) {
                        self.state.report(breach, &promise);
                    }
                }
                _ = check.tick() => {
                    let snapshot = self.store.snapshot().map_err(NodeError::from)?;
                    let broken = checker.compare(&snapshot, self.progress.safe());
                    for (breach, promise) in broken.map_err(NodeError::from)? {
                        self.state.report(breach, &promise);
                    }
                }
            }
        }
    }
}

#[derive(Debug)]
enum FeedError {
    Node(NodeError),
    Connection(Box<dyn std::error::Error + Send + Sync>),
}

impl From<NodeError> for FeedError {
    fn from(error: NodeError) -> Self {
        Self::Node(error)
    }
}

fn connection(error: impl std::error::Error + Send + Sync + 'static) -> FeedError {
    FeedError::Connection(Box::new(error))
}

async fn connect(url: &str) -> Result<Client, FeedError> {
    let url: Url = url.parse().map_err(connection)?;
    let (sender, receiver) =
        WsTransportClientBuilder::default().build(url).await.map_err(connection)?;
    Ok(ClientBuilder::default().build_with_tokio(sender, receiver))
}

/// Promises that L1 has not spoken about yet.
#[derive(Debug)]
struct Checker {
    domain: Eip712Domain,
    /// Lease, sequence and digest of the newest promise.
    last: Option<(U256, u64, B256)>,
    /// By block number.
    waiting: BTreeMap<u64, Vec<SignedPromise>>,
    count: usize,
}

impl Checker {
    /// Takes a promise in; says at once what is wrong with it alone.
    fn take(&mut self, signed: &SignedPromise, leader: Address) -> Option<Breach> {
        let Promise { leaseId, sequence, previous, blockNumber, .. } = signed.promise;
        if signed.signer(&self.domain) != Ok(leader) {
            return Some(Breach::Signature);
        }
        let digest = promise::digest(&signed.promise, &self.domain);
        let before = self.last.filter(|(lease, ..)| *lease == leaseId);
        if before == Some((leaseId, sequence, digest)) {
            return None;
        }
        self.last = Some((leaseId, sequence, digest));
        self.waiting.entry(blockNumber).or_default().push(signed.clone());
        self.count += 1;
        while self.count > MAX_WAITING {
            let (_, oldest) = self.waiting.pop_first().expect("they are counted");
            self.count -= oldest.len();
        }
        match before {
            Some((_, last, _)) if sequence <= last => Some(Breach::Equivocation),
            Some((_, last, digest)) if sequence != last + 1 || previous != digest => {
                Some(Breach::Gap)
            }
            _ => None,
        }
    }

    /// Compares promises about blocks that L1 carries with these blocks, and lets go of them.
    fn compare(
        &mut self,
        snapshot: &Snapshot,
        safe: u64,
    ) -> Result<Vec<(Breach, SignedPromise)>, StoreError> {
        let mut broken = Vec::new();
        while let Some(entry) = self.waiting.first_entry() {
            if *entry.key() > safe {
                break;
            }
            let promises = entry.remove();
            self.count -= promises.len();
            for promise in promises {
                if let Some(breach) = breach(&promise.promise, snapshot)? {
                    broken.push((breach, promise));
                }
            }
        }
        Ok(broken)
    }
}

/// What the block of the chain says against a promise about it.
fn breach(promise: &Promise, snapshot: &Snapshot) -> Result<Option<Breach>, StoreError> {
    let number = promise.blockNumber;
    let unknown = StoreError::UnknownBlock(number);
    let Some(block) = snapshot.block(number)? else { return Err(unknown) };
    let header = &block.header;
    let origin = Origin { index: 0, accumulator: promise.origin, env: Default::default() };
    if header.timestamp != promise.timestamp
        || header.beneficiary != promise.beneficiary
        || header.base_fee_per_gas.map(U256::from) != Some(promise.baseFee)
        || header.mix_hash != origin.prev_randao(number)
    {
        return Ok(Some(Breach::Environment));
    }
    let receipts = snapshot.receipts(number)?.ok_or(unknown)?;
    let (first, count) = (promise.firstIndex as usize, promise.count as usize);
    let leaves: Vec<B256> = block
        .transactions
        .iter()
        .zip(&receipts)
        .skip(first)
        .take(count)
        .map(|(tx, receipt)| {
            let receipt = keccak256(receipt.with_bloom_ref().encoded_2718());
            promise::leaf(tx.transaction.hash(), receipt)
        })
        .collect();
    let kept = leaves.len() == count && promise::root(&leaves) == promise.root;
    Ok((!kept).then_some(Breach::Transactions))
}

#[cfg(test)]
mod tests;
