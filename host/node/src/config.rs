//! What a node is told.

use crate::ExitTerms;
use crate::settle::Party;
use alloy_primitives::B256;
use alloy_signer_local::PrivateKeySigner;
use annex_l1::Deployment;
use annex_rpc::Limits;
use annex_sequencer::{Channel, Ordering, PoolLimits};
use annex_store::Durability;
use std::{net::SocketAddr, path::PathBuf, time::Duration};

/// Blocks before the head whose states stay readable, unless configured.
pub const HISTORY: u64 = 10_000;

/// The leader's two keys.
#[derive(Clone, Debug)]
pub struct LeaderKeys {
    /// Pays for batches and receives fees.
    pub submitter: PrivateKeySigner,
    /// Signs promises.
    pub promise: B256,
}

/// What a node does besides following.
#[derive(Clone, Debug)]
pub enum Role {
    Follower,
    /// Orders, promises and posts.
    Leader(LeaderKeys),
    /// Orders and posts while the Inbox lets anyone.
    PostWhenSilent(PrivateKeySigner),
}

#[derive(Clone, Debug)]
pub struct NodeConfig {
    pub l1: String,
    /// Beacon endpoints; where the L1 endpoint serves the Beacon API, too, its URL.
    pub beacons: Vec<String>,
    /// Nodes that are asked for blobs which no beacon endpoint has.
    pub batch_sources: Vec<String>,
    /// How long after its L1 block a batch is kept for other nodes; it is at least until it has settled.
    pub keep_batches: Duration,
    pub deployment: Deployment,
    pub data_dir: PathBuf,
    pub addr: SocketAddr,
    pub role: Role,
    /// WebSocket URL of a leader whose promises are followed live and checked, and which gets the transactions that this
    /// node does not order.
    pub feed: Option<String>,
    /// Followers that a leader asks for what it promised and lost, before it promises anything.
    pub catch_up_from: Vec<String>,
    pub ordering: Ordering,
    /// What may wait for a lower nonce.
    pub pool: PoolLimits,
    pub durability: Durability,
    /// How long a block stays open after its first transaction.
    pub block_interval: Duration,
    /// How long sealed blocks wait for others before they are posted.
    pub batch_interval: Duration,
    /// Who claims and challenges with this node's knowledge; each with a key of its own.
    pub parties: Vec<Party>,
    /// How often L1 is asked for news.
    pub poll_interval: Duration,
    /// Seconds between L1 blocks, to know how much unposted data L1 can carry in time.
    pub l1_block_seconds: u64,
    /// How long the L1 endpoint may lack what it had before that counts as gone.
    pub l1_patience: Duration,
    /// Whether L1 may be without blocks for long, as a development chain is that nobody uses.
    pub idle_l1: bool,
    /// What JSON-RPC clients may ask for. Since the block of a witness 32 times as much may have changed as since that of an
    /// `eth_getProof`.
    pub limits: Limits,
    /// Blocks before the head whose states stay readable.
    pub history: u64,
    /// Whether the witness of every block is kept until the block is settled.
    pub keep_witnesses: bool,
    /// Withdrawals are bought at these terms.
    pub exits: Option<ExitTerms>,
    /// `None`: blobs where L1 has them, else calldata.
    pub channel: Option<Channel>,
}

impl NodeConfig {
    /// A follower on loopback.
    pub fn new(l1: String, beacon: String, deployment: Deployment, data_dir: PathBuf) -> Self {
        // Twelve seconds of L1 hold one batch; a development chain wants to see its batches sooner.
        let development = deployment.parameters.forced_delay < 300;
        Self {
            l1,
            beacons: vec![beacon],
            batch_sources: Vec::new(),
            keep_batches: Duration::ZERO,
            deployment,
            data_dir,
            addr: SocketAddr::from(([127, 0, 0, 1], 9545)),
            role: Role::Follower,
            feed: None,
            catch_up_from: Vec::new(),
            ordering: Ordering::default(),
            pool: PoolLimits::default(),
            durability: Durability::Process,
            block_interval: Duration::from_millis(250),
            batch_interval: Duration::from_secs(if development { 2 } else { 60 }),
            parties: Vec::new(),
            poll_interval: Duration::from_millis(if development { 250 } else { 2_000 }),
            l1_block_seconds: if development { 2 } else { 12 },
            l1_patience: Duration::from_secs(if development { 5 } else { 600 }),
            idle_l1: development,
            limits: Limits::default(),
            history: HISTORY,
            keep_witnesses: false,
            exits: None,
            channel: None,
        }
    }
}
