//! A leader's promises, live, checked against its key, against each other and against what L1 records.

mod check;
mod heard;

pub(crate) use heard::{HeardJson, HeardSummary, own_promises};

use crate::{
    node::{self, NodeError},
    progress::Progress,
};
use alloy_primitives::{Address, B256, Bytes, U64};
use annex_l1::L1Client;
use annex_rpc::PromiseJson;
use annex_sequencer::Heard;
use annex_store::{Store, StoreError};
use annex_types::{
    ChainConfig,
    promise::{self, SignedPromise},
};
use check::{Breach, Broken, Checker, Source};
use heard::{HeardPromises, MAX_BLOCKS};
use jsonrpsee::{
    client_transport::ws::{Url, WsTransportClientBuilder},
    core::{
        ClientError,
        client::{
            Client, ClientBuilder, ClientT, Subscription, SubscriptionClientT,
            async_client::PingConfig,
        },
    },
    rpc_params,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::time::{MissedTickBehavior, interval, sleep};

/// Broken promises that are remembered.
const MAX_BROKEN: usize = 1024;
/// How often promises are compared with what L1 has recorded meanwhile.
const CHECK: Duration = Duration::from_millis(500);
/// Wait before the first new connection; doubled by each that brought nothing.
const RECONNECT: Duration = Duration::from_millis(500);
const MAX_RECONNECT: Duration = Duration::from_secs(30);
/// A connection that carries nothing is asked for a sign of life, and given up without one.
const PING: Duration = Duration::from_secs(5);
const SILENCE: Duration = Duration::from_secs(12);
/// Blocks whose promises are asked for at each check, while some were missed.
const FILL: usize = 64;
/// How long a leader may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Asks for what promises are about, and not for what it says.
const RAW: MiniBlockOptions = MiniBlockOptions { raw: true };
/// Notifications that may wait while something else is checked.
const BUFFER: usize = 8192;

/// A broken promise: with its signature, it is the evidence; of two that contradict each other, both are.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BrokenPromise {
    pub breach: Breach,
    pub promise: PromiseJson,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conflicting: Option<PromiseJson>,
}

#[derive(Debug)]
pub(crate) struct FeedState {
    broken: Mutex<VecDeque<BrokenPromise>>,
    pub heard: HeardPromises,
}

impl FeedState {
    pub fn restore(store: &Store) -> Result<Self, StoreError> {
        Ok(Self { broken: Mutex::default(), heard: HeardPromises::restore(store)? })
    }

    pub fn broken(&self) -> Vec<BrokenPromise> {
        self.broken.lock().expect("no holder panics").iter().cloned().collect()
    }

    fn report(&self, found: &Broken) {
        let Broken { breach, promise, conflicting } = found;
        let (block, sequence) = (promise.promise.blockNumber, promise.promise.sequence);
        tracing::error!(block, sequence, %breach, "the leader broke a promise");
        metrics::counter!("annex_broken_promises_total").increment(1);
        let conflicting = conflicting.as_deref().map(PromiseJson::from);
        let mut broken = self.broken.lock().expect("no holder panics");
        broken.push_back(BrokenPromise {
            breach: *breach,
            promise: promise.as_ref().into(),
            conflicting,
        });
        while broken.len() > MAX_BROKEN {
            broken.pop_front();
        }
    }
}

#[derive(Clone, Copy, Debug, Serialize)]
struct MiniBlockOptions {
    raw: bool,
}

/// One notification. What transactions do is L1's to tell; they are kept for a leader that loses them.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct MiniBlock {
    promise: Option<PromiseJson>,
    #[serde(default)]
    raw_transactions: Vec<Bytes>,
    #[serde(default)]
    receipt_hashes: Vec<B256>,
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
        let mut checker = Checker::new(domain);
        let mut wait = RECONNECT;
        loop {
            let before = checker.heard_so_far();
            match self.follow(&mut checker).await {
                Ok(()) => tracing::info!(url = self.url, "the feed ended; connecting again"),
                Err(FeedError::Node(error)) => return Err(error),
                Err(FeedError::Connection(error)) => {
                    tracing::warn!(url = self.url, %error, "no feed; trying again");
                }
            }
            checker.disconnected();
            // A leader that went silent is the one whose promises want comparing.
            self.compare(&mut checker)?;
            wait = match checker.heard_so_far() > before {
                true => RECONNECT,
                false => wait.min(MAX_RECONNECT),
            };
            sleep(wait).await;
            wait *= 2;
        }
    }

    async fn follow(&self, checker: &mut Checker) -> Result<(), FeedError> {
        let client = connect(&self.url).await.map_err(FeedError::Connection)?;
        let mut feed: Subscription<MiniBlock> = client
            .subscribe("eth_subscribe", rpc_params!["miniBlocks", RAW], "eth_unsubscribe")
            .await
            .map_err(connection)?;
        // Whatever L1 fails at here, the next connection asks again.
        let leader = node::leader(&self.client, self.lease).await.map_err(connection)?;
        let leader = leader.promiseSigner;
        tracing::info!(url = self.url, signer = %leader, "following promises");
        self.hear_of_before(checker, &client, leader).await?;
        let mut check = interval(CHECK);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                next = feed.next() => {
                    let Some(next) = next else { return Ok(()) };
                    let MiniBlock { promise, raw_transactions, receipt_hashes } =
                        next.map_err(connection)?;
                    let Some(json) = promise else { continue };
                    let Some(promise) = self.take(checker, json, leader, Source::Feed)? else {
                        continue;
                    };
                    let heard =
                        Heard { promise, transactions: raw_transactions, receipts: receipt_hashes };
                    if self.state.heard.take(heard) {
                        self.state.heard.flush(&self.store, self.progress.safe())?;
                    }
                }
                _ = check.tick() => {
                    self.fill(checker, &client, leader).await?;
                    self.compare(checker)?;
                }
            }
        }
    }

    /// Asks for everything that L1 does not carry yet: whoever connects later than the leader began has not heard it.
    async fn hear_of_before(
        &self,
        checker: &mut Checker,
        client: &Client,
        leader: Address,
    ) -> Result<(), FeedError> {
        let safe = self.progress.safe();
        for block in safe + 1..=safe.saturating_add(MAX_BLOCKS as u64) {
            let params = rpc_params![U64::from(block)];
            let told: Vec<HeardJson> = match client.request("annex_heardPromises", params).await {
                Ok(told) => told,
                // A leader that does not tell.
                Err(ClientError::Call(_)) => return Ok(()),
                Err(error) => return Err(connection(error)),
            };
            if told.is_empty() {
                return Ok(());
            }
            let known = self.state.heard.of_block(&self.store, block)?;
            for json in told {
                let heard = Heard::try_from(json).map_err(connection)?;
                if known.contains(&heard) {
                    continue;
                }
                let promise = SignedPromise::clone(&heard.promise);
                if self.check(checker, promise, leader, Source::Filling).is_some() {
                    self.state.heard.take(heard);
                }
            }
            self.state.heard.flush(&self.store, self.progress.safe())?;
        }
        Ok(())
    }

    /// Compares promises with what L1 has recorded meanwhile.
    fn compare(&self, checker: &mut Checker) -> Result<(), NodeError> {
        let snapshot = self.store.snapshot()?;
        for found in checker.compare(&snapshot, self.progress.safe())? {
            self.state.report(&found);
        }
        Ok(self.state.heard.flush(&self.store, self.progress.safe())?)
    }

    /// Checks a promise; none if the leader did not sign it.
    fn take(
        &self,
        checker: &mut Checker,
        json: PromiseJson,
        leader: Address,
        from: Source,
    ) -> Result<Option<Arc<SignedPromise>>, FeedError> {
        let promise = SignedPromise::try_from(json).map_err(connection)?;
        Ok(self.check(checker, promise, leader, from))
    }

    fn check(
        &self,
        checker: &mut Checker,
        promise: SignedPromise,
        leader: Address,
        from: Source,
    ) -> Option<Arc<SignedPromise>> {
        metrics::counter!("annex_promises_total").increment(1);
        let promise = Arc::new(promise);
        let found = checker.take(promise.clone(), leader, from);
        if let Some(found) = &found {
            self.state.report(found);
        }
        let forged = found.is_some_and(|found| found.breach == Breach::Signature);
        (!forged).then_some(promise)
    }

    /// Asks for promises that were made while there was no feed: one of them may contradict what was heard.
    async fn fill(
        &self,
        checker: &mut Checker,
        client: &Client,
        leader: Address,
    ) -> Result<(), FeedError> {
        for _ in 0..FILL {
            let Some(gap) = checker.gap() else { return Ok(()) };
            let block = gap.next_block;
            let params = rpc_params![U64::from(block)];
            let promises: Vec<PromiseJson> = match client.request("annex_promises", params).await {
                Ok(promises) => promises,
                Err(error @ ClientError::Call(_)) => {
                    tracing::warn!(%error, "the feed does not serve the promises that were missed");
                    checker.abandon_gap();
                    continue;
                }
                Err(error) => return Err(connection(error)),
            };
            // The leader may not have sealed it yet.
            if promises.is_empty() && block > self.progress.safe() {
                return Ok(());
            }
            gap.next_block = block.saturating_add(1);
            for json in promises {
                self.take(checker, json, leader, Source::Filling)?;
            }
        }
        Ok(())
    }
}

pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

#[derive(Debug)]
enum FeedError {
    Node(NodeError),
    Connection(BoxError),
}

impl From<StoreError> for FeedError {
    fn from(error: StoreError) -> Self {
        Self::Node(error.into())
    }
}

impl From<NodeError> for FeedError {
    fn from(error: NodeError) -> Self {
        Self::Node(error)
    }
}

fn connection(error: impl std::error::Error + Send + Sync + 'static) -> FeedError {
    FeedError::Connection(Box::new(error))
}

/// Connects to a leader.
pub(crate) async fn connect(url: &str) -> Result<Client, BoxError> {
    let url: Url = url.parse()?;
    let (sender, receiver) =
        WsTransportClientBuilder::default().connection_timeout(TIMEOUT).build(url).await?;
    let ping = PingConfig::new().ping_interval(PING).inactive_limit(SILENCE);
    let builder =
        ClientBuilder::default().max_buffer_capacity_per_subscription(BUFFER).enable_ws_ping(ping);
    Ok(builder.build_with_tokio(sender, receiver))
}
