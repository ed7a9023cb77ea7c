//! The handle to the executor thread.

use crate::{
    Adopted, ChangedPromise, Heard, LogError, PromiseSigner,
    backlog::Backlog,
    changed::Changes,
    executor::{Executor, Results, Submission},
    live::Live,
    order::{Gathered, Ordering, Window},
    pool::{Pool, PoolLimits},
};
use alloy_consensus::Transaction as _;
use alloy_primitives::{Address, B256, Sealed, U256};
use annex_rpc::{Arrival, Executed, Rejected};
use annex_state::TrieError;
use annex_stf::ApplyError;
use annex_store::{Durability, Store, StoreError};
use annex_types::{
    BlockInput, ChainConfig, ExtraData, Header, Origin, Record, RecoveredTransaction,
    block::ExtraDataError, promise::SignedPromise,
};
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{self, AtomicU64},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::Duration,
};
use tokio::sync::{broadcast, oneshot};

#[derive(Clone, Debug)]
pub struct EngineConfig {
    pub chain: ChainConfig,
    /// How long the first transaction of a block waits for others before the block seals.
    pub block_interval: Duration,
    pub ordering: Ordering,
    /// What may wait for a lower nonce.
    pub pool: PoolLimits,
    pub durability: Durability,
    /// Directory of the promise log.
    pub log_dir: PathBuf,
    /// Bytes of blocks that L1 does not carry yet, compressed once they are sealed, beyond which nothing more is taken.
    pub max_backlog: usize,
    /// Newest block that L1 carries.
    pub posted: u64,
    /// Whether nothing is ordered before the first [`Engine::caught_up`]: what a former process promised may have to be
    /// adopted until then.
    pub held: bool,
}

/// The right to order, and what signs for it.
#[derive(Debug)]
pub struct Sequencing {
    pub beneficiary: Address,
    /// Zero where nobody leads.
    pub lease_id: U256,
    /// Without one, blocks are built but nothing is promised.
    pub signer: Option<PromiseSigner>,
}

/// The engine stopped. All of them are fatal: restart once the cause is mended.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("a block of the store is not of this chain: {0}")]
    Header(#[from] ExtraDataError),
    #[error(
        "the promise log does not fit the store: block {number}, transaction {index} is invalid now; was the data directory mixed from two nodes?"
    )]
    Replay { number: u64, index: usize },
    #[error("the executor thread cannot start: {0}")]
    Thread(#[from] std::io::Error),
    #[error("the engine has stopped; the log says why")]
    Stopped,
}

impl From<TrieError<StoreError>> for EngineError {
    fn from(error: TrieError<StoreError>) -> Self {
        Self::Store(error.into())
    }
}

impl From<ApplyError<StoreError, StoreError>> for EngineError {
    fn from(error: ApplyError<StoreError, StoreError>) -> Self {
        match error {
            ApplyError::Reader(error) => error.into(),
            ApplyError::Trie(error) => error.into(),
            ApplyError::Parent(error) => error.into(),
        }
    }
}

/// What became of a block that L1 recorded.
#[derive(Clone, Debug)]
pub enum ImportOutcome {
    Applied(Arc<Sealed<Header>>),
    /// The reason is the transition's.
    Rejected(annex_stf::InvalidBlock),
}

/// What became of a submitted transaction that is not refused.
#[derive(Clone, Debug)]
pub enum Taken {
    Executed(Arc<Executed>),
    /// Hash of one that waits for a lower nonce: nothing is promised.
    Waiting(B256),
}

pub(crate) enum Command {
    Submit(Submission),
    Records(Vec<Record>),
    TruncateRecords(u64),
    Safe {
        block: u64,
        forced: u64,
    },
    Import {
        parent: u64,
        input: Box<BlockInput>,
        reply: oneshot::Sender<Result<ImportOutcome, EngineError>>,
    },
    TakeBack(u64),
    Adopt {
        heard: Vec<Heard>,
        shown: Vec<Arc<SignedPromise>>,
        reply: oneshot::Sender<Adopted>,
    },
    CaughtUp,
    /// L1 is known up to its head, which has this timestamp.
    L1Seen(u64),
    Sequence(Option<Box<Sequencing>>),
    Stop,
}

/// Handle to the executor; clones share it.
#[derive(Clone, Debug)]
pub struct Engine {
    commands: mpsc::Sender<Command>,
    shared: Arc<Shared>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

/// What executor, sealer and readers share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub live: Live,
    pub heads: broadcast::Sender<Arc<Sealed<Header>>>,
    pub arrivals: broadcast::Sender<Arrival>,
    pub pool: Mutex<Pool>,
    /// What will be executed with others that arrive at about the same time.
    pub window: Mutex<Window>,
    pub changes: Mutex<Changes>,
    /// What a block opened now would name.
    pub origin: Mutex<Option<Origin>>,
    pub backlog: Mutex<Backlog>,
    /// Wei of priority fee that a transaction must pay for each gas.
    pub price: AtomicU64,
    /// Hashes by which op-stack tools look for forced items, by forced index.
    pub aliases: Mutex<BTreeMap<u64, B256>>,
    pub stopped: tokio::sync::watch::Sender<bool>,
}

impl Shared {
    pub fn backlog(&self) -> MutexGuard<'_, Backlog> {
        self.backlog.lock().expect("no holder panics")
    }

    /// Aliases of the deposits of a block: (alias, transaction hash).
    pub fn aliases_of(
        &self,
        header: &Header,
        transactions: &[RecoveredTransaction],
    ) -> Vec<(B256, B256)> {
        let is_deposit = |tx: &&RecoveredTransaction| tx.transaction.signature().is_none();
        let deposits: Vec<_> = transactions.iter().take_while(is_deposit).collect();
        let Ok(extra) = ExtraData::decode(&header.extra_data) else { return Vec::new() };
        let first = extra.forced_count.saturating_sub(deposits.len() as u64);
        let known = self.aliases.lock().expect("no holder panics");
        let deposits = (first..).zip(deposits);
        deposits.filter_map(|(i, tx)| Some((*known.get(&i)?, tx.transaction.hash()))).collect()
    }
}

/// Of one sender: its next nonce, and what waits by nonce.
type Waiting = (u64, BTreeMap<u64, Arc<RecoveredTransaction>>);

/// Slow subscribers lose messages beyond this many.
const CHANNEL: usize = 4096;
/// Forced items whose aliases are remembered until their blocks are in the store.
const ALIASES: usize = 65_536;

impl Engine {
    /// Replays the promise log and starts the executor.
    pub fn start(
        config: EngineConfig,
        store: Store,
        sequencing: Option<Sequencing>,
    ) -> Result<Self, EngineError> {
        let shared = Arc::new(Shared {
            live: Live::new(store.clone()),
            heads: broadcast::channel(CHANNEL).0,
            arrivals: broadcast::channel(CHANNEL).0,
            pool: Mutex::new(Pool::new(config.pool)),
            window: Mutex::default(),
            changes: Mutex::default(),
            origin: Mutex::default(),
            backlog: Mutex::default(),
            price: AtomicU64::default(),
            aliases: Mutex::default(),
            stopped: tokio::sync::watch::channel(false).0,
        });
        let (commands, inbox) = mpsc::channel();
        let (started, ready) = mpsc::sync_channel(1);
        let in_thread = shared.clone();
        // The open state does not leave its thread, so it is made there.
        let thread = thread::Builder::new().name("executor".into()).spawn(move || {
            let stopped = in_thread.clone();
            match Executor::new(config, store, in_thread, inbox, sequencing) {
                Ok(executor) => {
                    // The other side waits for it.
                    let _waiting = started.send(Ok(()));
                    if let Err(error) = executor.run() {
                        tracing::error!(%error, "executor stopped");
                    }
                }
                Err(error) => drop(started.send(Err(error))),
            }
            stopped.stopped.send_replace(true);
        })?;
        ready.recv().unwrap_or(Err(EngineError::Stopped))?;
        let thread = Arc::new(Mutex::new(Some(thread)));
        Ok(Self { commands, shared, thread })
    }

    /// Executes in order and answers in that order, each transaction being logged and promised before its answer.
    pub async fn submit(&self, transactions: Vec<RecoveredTransaction>) -> Results {
        let count = transactions.len();
        let (reply, answer) = oneshot::channel();
        let stopping = || (0..count).map(|_| Err(Rejected::Stopping)).collect();
        if self.commands.send(Command::Submit(Submission { transactions, reply })).is_err() {
            return stopping();
        }
        answer.await.unwrap_or_else(|_| stopping())
    }

    /// Records that may serve as origins from now on, in order.
    pub fn records(&self, records: Vec<Record>) -> Result<(), EngineError> {
        self.send(Command::Records(records))
    }

    /// Other hashes by which forced items are looked for; to be set before their blocks are built.
    pub fn alias(&self, forced_index: u64, alias: B256) {
        let mut aliases = self.shared.aliases.lock().expect("no holder panics");
        aliases.insert(forced_index, alias);
        while aliases.len() > ALIASES {
            aliases.pop_first();
        }
    }

    /// L1 reorganised: record `index` and all later ones are gone. Blocks built on them are taken back and their
    /// transactions executed again.
    pub fn truncate_records(&self, index: u64) -> Result<(), EngineError> {
        self.send(Command::TruncateRecords(index))
    }

    /// L1 carries blocks up to `block`, which consume forced items below number `forced`.
    pub fn safe(&self, block: u64, forced: u64) -> Result<(), EngineError> {
        self.send(Command::Safe { block, forced })
    }

    /// Applies a block that L1 recorded on block `parent`, replacing what was built there. Call [`Self::caught_up`] after the last one.
    pub async fn import(
        &self,
        parent: u64,
        input: BlockInput,
    ) -> Result<ImportOutcome, EngineError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Import { parent, input: Box::new(input), reply })?;
        answer.await.map_err(|_| EngineError::Stopped)?
    }

    /// Undoes every block after `to`: L1 no longer records what they were derived from. Call [`Self::caught_up`] later.
    pub fn take_back(&self, to: u64) -> Result<(), EngineError> {
        self.send(Command::TakeBack(to))
    }

    /// Takes over what others have heard this leader promise beyond what it knows itself; of what was `shown` without what
    /// it covers, the number is not used again. Before the first [`Self::caught_up`], when L1's blocks are imported.
    pub async fn adopt(
        &self,
        heard: Vec<Heard>,
        shown: Vec<Arc<SignedPromise>>,
    ) -> Result<Adopted, EngineError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Adopt { heard, shown, reply })?;
        answer.await.map_err(|_| EngineError::Stopped)
    }

    /// No import follows for now: transactions of replaced blocks are executed again.
    pub fn caught_up(&self) -> Result<(), EngineError> {
        self.send(Command::CaughtUp)
    }

    /// L1 is known up to its head, whose timestamp (Unix seconds, by L1) is `timestamp`.
    pub fn l1_seen(&self, timestamp: u64) -> Result<(), EngineError> {
        self.send(Command::L1Seen(timestamp))
    }

    /// Starts or stops ordering.
    pub fn sequence(&self, sequencing: Option<Sequencing>) -> Result<(), EngineError> {
        self.send(Command::Sequence(sequencing.map(Box::new)))
    }

    pub fn live(&self) -> &Live {
        &self.shared.live
    }

    pub fn heads(&self) -> broadcast::Receiver<Arc<Sealed<Header>>> {
        self.shared.heads.subscribe()
    }

    pub fn arrivals(&self) -> broadcast::Receiver<Arrival> {
        self.shared.arrivals.subscribe()
    }

    /// The origin of a block that is opened now; none before the first record. The store may know a later record already.
    pub fn newest_origin(&self) -> Option<Origin> {
        *self.shared.origin.lock().expect("no holder panics")
    }

    /// Wei of priority fee for each gas below which transactions are refused now; 0 unless much data waits for L1.
    pub fn min_tip(&self) -> u128 {
        self.shared.price.load(atomic::Ordering::Relaxed).into()
    }

    /// At most `limit` promises that were changed, from number `from` on, oldest first; the oldest of many are forgotten.
    pub fn changed_promises(&self, from: u64, limit: usize) -> Vec<ChangedPromise> {
        self.shared.changes.lock().expect("no holder panics").page(from, limit)
    }

    /// What is not executed yet: with its sender's next nonces in turn, and behind a gap.
    pub fn waiting(&self) -> annex_rpc::Pool {
        let mut senders: BTreeMap<Address, Waiting> = BTreeMap::new();
        let window = self.shared.window.lock().expect("no holder panics");
        let pool = self.shared.pool.lock().expect("no holder panics");
        let pooled = pool.iter().map(|(tx, next)| Gathered { tx, next });
        for Gathered { tx, next } in pooled.chain(window.iter().cloned()) {
            let sender = senders.entry(tx.sender).or_default();
            // The window's is younger, and replaces what has its nonce.
            sender.0 = next;
            sender.1.insert(tx.transaction.nonce(), tx);
        }
        drop((window, pool));
        let mut waiting = annex_rpc::Pool::default();
        for (mut next, transactions) in senders.into_values() {
            for (nonce, tx) in transactions {
                if nonce <= next {
                    next = next.max(nonce.saturating_add(1));
                    waiting.executable.push(tx);
                } else {
                    waiting.queued.push(tx);
                }
            }
        }
        waiting
    }

    /// A transaction that is not executed yet.
    pub fn find_waiting(&self, hash: B256) -> Option<Arc<RecoveredTransaction>> {
        let window = self.shared.window.lock().expect("no holder panics");
        let gathered = window.iter().find(|gathered| gathered.tx.transaction.hash() == hash);
        if let Some(gathered) = gathered {
            return Some(gathered.tx.clone());
        }
        self.shared.pool.lock().expect("no holder panics").get(hash)
    }

    /// Resolves when the executor has ended, by [`Self::stop`] or by an error that the log names.
    pub async fn stopped(&self) {
        let mut stopped = self.shared.stopped.subscribe();
        // An error means that the sender is gone, and the executor with it.
        let _ended = stopped.wait_for(|stopped| *stopped).await;
    }

    /// Seals nothing, loses nothing: the log holds the open block. Blocks until the threads have ended.
    pub fn stop(&self) {
        if self.commands.send(Command::Stop).is_ok()
            && let Some(thread) = self.thread.lock().expect("no holder panics").take()
            && thread.join().is_err()
        {
            tracing::error!("executor thread panicked");
        }
    }

    fn send(&self, command: Command) -> Result<(), EngineError> {
        self.commands.send(command).map_err(|_| EngineError::Stopped)
    }
}
