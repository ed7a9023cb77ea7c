//! One node, started and stopped.

use crate::{
    api,
    batches::{self, Batches},
    catch_up::CatchUp,
    chain::L2,
    config::{NodeConfig, Role},
    exits::{self, Buyer},
    feed::{self, FeedState},
    follow::{self, Ahead, FollowTask},
    forward::Forward,
    leaves::Leaves,
    post::{self, Filling, PostTask, Setbacks},
    progress::{self, Progress},
    proofs,
    settle::{self, Board, SettleConfig, SettleTask},
    snapshot,
    snapshot::SnapshotError,
};
use alloy_primitives::{Address, B256, U256};
use annex_derive::LogError;
use annex_l1::{
    Follower, L1Client, L1Error, Poster, ProgramBoot, SendLimits, SettlementError,
    check_settlement, contracts::Lease, predeploys,
};
use annex_riscv::{Machine, Program};
use annex_rpc::{Handle, Reply, Route, ServeError, ServerConfig};
use annex_sequencer::{Engine, EngineConfig, EngineError, KeyError, PromiseSigner, Sequencing};
use annex_stf::SealedBlock;
use annex_store::{BlockCommit, Options, Store, StoreError};
use annex_types::{ChainConfig, batch, block::ExtraDataError, promise};
use metrics_exporter_prometheus::PrometheusHandle;
use std::{collections::VecDeque, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{sync::watch, task::JoinHandle};

/// Why a node cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("L1: {0}")]
    L1(#[from] L1Error),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("the L1 log contradicts itself: {0}; is the endpoint honest?")]
    Log(#[from] LogError),
    #[error("a block of the store is not of this chain: {0}")]
    Header(#[from] ExtraDataError),
    #[error(transparent)]
    Serve(#[from] ServeError),
    #[error("promise key: {0}")]
    Key(#[from] KeyError),
    #[error(
        "deployment.json names genesis {named}, these parameters make {made}: is the file of this version and unaltered?"
    )]
    Genesis { named: B256, made: B256 },
    #[error("the data directory holds another chain (genesis {found}); choose another --data-dir")]
    OtherChain { found: B256 },
    #[error(transparent)]
    Settlement(#[from] SettlementError),
    #[error("record 0 on L1 commits to another configuration or genesis than deployment.json")]
    NotOurChain,
    #[error(
        "the lease is held by submitter {submitter} with promise key {signer}, not by these keys"
    )]
    NotLeader { submitter: Address, signer: Address },
    #[error("the folder for batches cannot be read: {0}")]
    Batches(std::io::Error),
    #[error(transparent)]
    Snapshot(#[from] Box<SnapshotError>),
    #[error(
        "L1 reorganised below block {block}, with which the snapshot begins that this node was made from: make it anew from another one"
    )]
    BelowSnapshot { block: u64 },
    #[error(
        "a leader that begins with a snapshot does not know what it promised: lead on its own data directory, or name followers with --catch-up-from"
    )]
    LeaderOnSnapshot,
    #[error("a task of the node ended unexpectedly; the log says why")]
    Ended,
}

/// A running node.
#[derive(Debug)]
pub struct Node {
    server: Handle,
    pub(crate) engine: Engine,
    leaves: Leaves,
    tasks: Vec<JoinHandle<()>>,
    failed: watch::Receiver<Option<Arc<NodeError>>>,
}

/// Block 0 of a chain.
pub fn genesis(config: &ChainConfig) -> SealedBlock {
    annex_stf::genesis(config, &predeploys())
}

/// The program of spec/claim.md.
fn program() -> Program {
    Program::from_elf(annex_claim::PROGRAM).expect("the committed file is a program")
}

/// How the program of spec/claim.md starts.
pub fn program_boot() -> ProgramBoot {
    boot(&program())
}

fn boot(program: &Program) -> ProgramBoot {
    let mut machine = Machine::boot(program, B256::ZERO);
    ProgramBoot { memory_root: machine.memory_root(), pc: machine.pc() }
}

impl Node {
    /// Opens the store, replays what was promised, starts to follow L1 and serves.
    pub async fn start(config: NodeConfig, metrics: PrometheusHandle) -> Result<Self, NodeError> {
        let client = L1Client::connect(&config.l1, &config.beacons).await?;
        let client = client.with_batch_sources(&config.batch_sources)?;
        client.expect_chain(config.deployment.l1_chain_id)?;
        let chain = config.deployment.chain_config();
        let store = open_store(&config, &chain)?;
        let program = program();
        let (boot, first) = (boot(&program), genesis(&chain).header);
        check_settlement(&client, &config.deployment, &boot, &first).await?;
        snapshot::check_start(&config, &client, &store).await?;
        let sequencing = sequencing(&config, &client).await?;
        let leads = sequencing.is_some();
        let engine = start_engine(&config, &chain, &store, sequencing)?;
        let progress = Arc::new(Progress::default());
        let batches =
            Batches::open(&config.data_dir.join("batches")).map_err(NodeError::Batches)?;
        let batches = Arc::new(batches);
        let follow = follow_task(&config, &client, &store, &engine, &progress, &batches)?;
        let feed = Arc::new(FeedState::restore(&store)?);
        let l2 = Arc::new(L2 {
            config: chain.clone(),
            store: store.clone(),
            engine: engine.clone(),
            progress: progress.clone(),
            orders: !matches!(config.role, Role::Follower),
            forward: config.feed.clone().map(Forward::new),
        });
        let mut methods = api::module(&config.deployment, &client, &l2, &feed);
        let max_changes = config.limits.max_proof_changes.saturating_mul(proofs::WITNESS_CHANGES);
        methods.merge(proofs::module(&l2, max_changes)).expect("their names are distinct");
        methods.merge(batches::module(&batches)).expect("their names are distinct");
        let leaves = Leaves::new(chain.clone(), store.clone());
        let buyer = buyer(&config, &client, &l2);
        if let Some(buyer) = &buyer {
            methods.merge(exits::module(buyer)).expect("their names are distinct");
        }
        let board = Arc::new(Board::default());
        settle::register(&mut methods, &board);
        let routes = routes(&l2, metrics);
        let limits = ServerConfig { addr: config.addr, limits: config.limits };
        let server = annex_rpc::serve(limits, l2.clone(), methods, routes).await?;

        let (fail, failed) = watch::channel(None);
        let finality = post::watch_finality(client.clone(), store.clone(), progress.clone());
        let mut tasks = vec![spawn(&fail, follow.run()), spawn(&fail, finality)];
        if let Some(task) = post_task(&config, &chain, &client, &store, &engine, &progress, leads) {
            tasks.push(spawn(&fail, task.run()));
        }
        let settling = settle_task(&config, &client, &store, &leaves, &progress, board, program)?;
        tasks.push(spawn(&fail, settling.run()));
        if config.keep_witnesses {
            let (config, store) = (chain.clone(), store.clone());
            let keeper = proofs::Keeper { config, store, heads: engine.heads() };
            tasks.push(spawn(&fail, keeper.run()));
        }
        if let Some(buyer) = buyer {
            tasks.push(spawn(&fail, buyer.run()));
        }
        if let Some(url) = config.feed.clone() {
            let lease = config.deployment.contracts.lease;
            let watcher = feed::Watcher { url, client, lease, chain, store, state: feed, progress };
            tasks.push(spawn(&fail, watcher.run()));
        }
        let stopped = engine.clone();
        tasks.push(spawn(&fail, async move {
            stopped.stopped().await;
            Err(EngineError::Stopped.into())
        }));
        Ok(Self { server, engine, leaves, tasks, failed })
    }

    pub fn addr(&self) -> SocketAddr {
        self.server.addr
    }

    /// What the node knows of the leaves that L1's records lead to.
    pub fn leaves(&self) -> &Leaves {
        &self.leaves
    }

    /// Resolves once every one of the accounts owns something on L2.
    pub async fn funded(&self, accounts: &[Address]) -> Result<(), NodeError> {
        for address in accounts {
            while self.engine.live().account(*address)?.is_none_or(|a| a.balance.is_zero()) {
                if self.failed.borrow().is_some() {
                    return Err(NodeError::Ended);
                }
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        }
        Ok(())
    }

    /// Resolves when the node cannot go on.
    pub async fn failed(&mut self) -> Arc<NodeError> {
        let failed = self.failed.wait_for(Option::is_some).await;
        failed.ok().and_then(|error| error.clone()).unwrap_or_else(|| Arc::new(NodeError::Ended))
    }

    /// Stops serving, then the tasks, then the engine: what was answered is logged.
    pub async fn stop(self) {
        let drain = tokio::time::timeout(std::time::Duration::from_secs(2), self.server.stop());
        if drain.await.is_err() {
            tracing::info!("connections were still open");
        }
        for task in self.tasks {
            task.abort();
        }
        let engine = self.engine;
        // Joining threads blocks.
        if tokio::task::spawn_blocking(move || engine.stop()).await.is_err() {
            tracing::error!("the engine did not stop cleanly");
        }
    }
}

fn start_engine(
    config: &NodeConfig,
    chain: &ChainConfig,
    store: &Store,
    sequencing: Option<Sequencing>,
) -> Result<Engine, NodeError> {
    let engine = EngineConfig {
        chain: chain.clone(),
        block_interval: config.block_interval,
        ordering: config.ordering,
        pool: config.pool,
        durability: config.durability,
        log_dir: config.data_dir.join("promises"),
        max_backlog: max_backlog(config),
        posted: progress::derived(&store.snapshot()?)?.safe,
        held: sequencing.is_some(),
    };
    Ok(Engine::start(engine, store.clone(), sequencing)?)
}

/// Bytes that L1 carries in half of `forced_delay`, one full batch a block: more unposted data could keep a forced item
/// waiting for longer than the Inbox bears.
fn max_backlog(config: &NodeConfig) -> usize {
    let blocks = config.deployment.parameters.forced_delay / 2 / config.l1_block_seconds.max(1);
    batch::MAX_BLOB_CONTENT.saturating_mul(usize::try_from(blocks.max(1)).unwrap_or(usize::MAX))
}

fn spawn(
    fail: &watch::Sender<Option<Arc<NodeError>>>,
    task: impl Future<Output = Result<(), NodeError>> + Send + 'static,
) -> JoinHandle<()> {
    let fail = fail.clone();
    tokio::spawn(async move {
        if let Err(error) = task.await {
            tracing::error!(%error, "node stops");
            fail.send_replace(Some(Arc::new(error)));
        }
    })
}

fn open_store(config: &NodeConfig, chain: &ChainConfig) -> Result<Store, NodeError> {
    let genesis = genesis(chain);
    let named = config.deployment.genesis_hash;
    if named != genesis.hash {
        return Err(NodeError::Genesis { named, made: genesis.hash });
    }
    let NodeConfig { durability, history, .. } = *config;
    let options = Options { cache: 256 << 20, history, durability };
    let store = Store::open(&config.data_dir.join("l2"), options)?;
    if !config.parties.is_empty() || config.exits.is_some() {
        // Whatever is not settled may have to be proved; what is will be said when L1 was read.
        store.keep_states_from(0);
    }
    match store.snapshot()?.hash(0)? {
        Some(found) if found != genesis.hash => return Err(NodeError::OtherChain { found }),
        Some(_) => {}
        None => store.commit_block(BlockCommit {
            header: &genesis.header,
            hash: genesis.hash,
            transactions: &[],
            receipts: &[],
            changes: &genesis.changes,
            update: &genesis.update,
            aliases: &[],
        })?,
    }
    Ok(store)
}

/// Checks that the leader's keys hold the lease.
async fn sequencing(
    config: &NodeConfig,
    client: &L1Client,
) -> Result<Option<Sequencing>, NodeError> {
    let Role::Leader(keys) = &config.role else { return Ok(None) };
    let lease = config.deployment.contracts.lease;
    let signer =
        PromiseSigner::new(&keys.promise, promise::domain(config.deployment.l1_chain_id, lease))?;
    let held = leader(client, lease).await?;
    if held.submitter != keys.submitter.address() || held.promiseSigner != signer.address() {
        return Err(NodeError::NotLeader { submitter: held.submitter, signer: held.promiseSigner });
    }
    Ok(Some(Sequencing {
        beneficiary: keys.submitter.address(),
        lease_id: held.leaseId,
        signer: Some(signer),
    }))
}

/// Who leads at the head of L1.
pub(crate) async fn leader(
    client: &L1Client,
    lease: Address,
) -> Result<Lease::leaderAtReturn, L1Error> {
    let head = client.head().await?.number;
    client.read(lease, &Lease::leaderAtCall(U256::from(head))).await
}

fn follow_task(
    config: &NodeConfig,
    client: &L1Client,
    store: &Store,
    engine: &Engine,
    progress: &Arc<Progress>,
    batches: &Arc<Batches>,
) -> Result<FollowTask, NodeError> {
    let chain = &config.deployment.chain_config();
    let parameters = &config.deployment.parameters;
    let follower = Follower::new(
        chain.inbox,
        parameters.l1_start_block,
        parameters.l1_confirmations,
        progress::l1_checkpoints(&store.snapshot()?)?,
    )
    .with_patience(config.l1_patience);
    let (derived, derivation, tip) = follow::restore(chain, store)?;
    progress.set_safe(derived.safe);
    progress.show_troubles();
    Ok(FollowTask {
        config: chain.clone(),
        client: client.clone(),
        follower,
        derivation,
        derived,
        tip,
        keep_rejected: config.keep_witnesses.then(|| Leaves::new(chain.clone(), store.clone())),
        ahead: Ahead::default(),
        batches: batches.clone(),
        keep_batches: config.keep_batches,
        store: store.clone(),
        engine: engine.clone(),
        progress: progress.clone(),
        poll_interval: config.poll_interval,
        orders: !matches!(config.role, Role::Follower),
        behind: false,
        catch_up: matches!(config.role, Role::Leader(_))
            .then(|| CatchUp::new(client.clone(), chain.inbox, config.catch_up_from.clone())),
        idle_l1: config.idle_l1,
        unsettled: 0,
    })
}

fn post_task(
    config: &NodeConfig,
    chain: &ChainConfig,
    client: &L1Client,
    store: &Store,
    engine: &Engine,
    progress: &Arc<Progress>,
    leads: bool,
) -> Option<PostTask> {
    let signer = match &config.role {
        Role::Follower => return None,
        Role::Leader(keys) => keys.submitter.clone(),
        Role::PostWhenSilent(signer) => signer.clone(),
    };
    let limits = SendLimits::default();
    // A batch that a reorganisation dropped or the market passed by has to be in a block before forced items are due.
    let in_time = Duration::from_secs(config.deployment.parameters.forced_delay / 2);
    let limits = SendLimits {
        resubmit_after: limits.resubmit_after.min(in_time),
        poll_interval: config.poll_interval,
        ..limits
    };
    Some(PostTask {
        poster: Poster::new(client.clone(), signer, chain.inbox, limits),
        client: client.clone(),
        chain: chain.clone(),
        store: store.clone(),
        engine: engine.clone(),
        progress: progress.clone(),
        channel: config.channel,
        batch_interval: config.batch_interval,
        poll_interval: config.poll_interval,
        leads,
        unread: VecDeque::new(),
        setbacks: Setbacks::new(in_time / 2),
        filling: Filling::default(),
    })
}

fn buyer(config: &NodeConfig, client: &L1Client, l2: &Arc<L2>) -> Option<Arc<Buyer>> {
    let (deployment, interval) = (config.deployment.clone(), config.poll_interval);
    let buyer = Buyer::new(config.exits.clone()?, client.clone(), deployment, l2.clone(), interval);
    Some(Arc::new(buyer))
}

fn settle_task(
    config: &NodeConfig,
    client: &L1Client,
    store: &Store,
    leaves: &Leaves,
    progress: &Arc<Progress>,
    board: Arc<Board>,
    program: Program,
) -> Result<SettleTask, NodeError> {
    let task = SettleTask::new(SettleConfig {
        client: client.clone(),
        deployment: config.deployment.clone(),
        store: store.clone(),
        leaves: leaves.clone(),
        progress: progress.clone(),
        board,
        poll_interval: config.poll_interval,
        history: config.history,
        dir: config.data_dir.join("disputes"),
        program,
        parties: config.parties.clone(),
    })?;
    Ok(task)
}

fn routes(l2: &Arc<L2>, metrics: PrometheusHandle) -> Vec<Route> {
    let health = l2.clone();
    vec![
        Route::new("/health", move |_| {
            let health = health.clone();
            async move { health.health() }
        }),
        Route::new("/metrics", move |_| {
            let text = metrics.render();
            async move { Reply::text(text) }
        }),
    ]
}
