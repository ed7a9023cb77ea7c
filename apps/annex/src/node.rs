use crate::limits::LimitArgs;
use crate::ordering::OrderingArgs;
use alloy_primitives::{
    Address, B256, U256,
    utils::{UnitsError, parse_ether},
};
use alloy_signer_local::PrivateKeySigner;
use annex_l1::{
    DeployError, DeployRequest, Deployment, DeploymentFileError, L1Client, L1Error, Parameters,
    SendLimits,
};
use annex_node::{
    ExitTerms, LeaderKeys, MILLION, Node, NodeConfig, NodeError, Party, Role, genesis,
};
use clap::{Args, ValueEnum};
use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, SocketAddr},
    num::ParseFloatError,
    path::PathBuf,
    str::FromStr,
    sync::Arc,
    time::Duration,
};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  a follower, from L1 alone:
    annex node --l1 http://127.0.0.1:8545 --beacon http://127.0.0.1:8545 \\
               --deployment deployment.json --data-dir follower --port 9645
  the same, checking the leader's promises as they come, and handing transactions to it:
    … --feed ws://127.0.0.1:9545
  the leader:
    … --leader-key $SUBMITTER --promise-key $PROMISER
  somebody who carries the chain on when the leader is silent:
    … --post-when-silent $KEY
  somebody who claims, and somebody who watches claims (keys with some ether):
    … --claimer $KEY --challenger $OTHER_KEY
  somebody who buys withdrawals before they are final:
    … --buy-exits $KEY --max-discount 1.5 --exit-budget 20")]
pub struct NodeArgs {
    /// L1 execution endpoint
    #[arg(long)]
    l1: String,
    /// L1 beacon endpoint, for blobs; may be repeated
    #[arg(long, required = true)]
    beacon: Vec<String>,
    /// JSON-RPC of another node of the chain, asked for blobs that no beacon endpoint has any more; may be repeated. Needs
    /// no trust: every blob is checked by its hash
    #[arg(long, value_name = "URL")]
    batch_source: Vec<String>,
    /// Keep batches for other nodes until they have settled, and this many days beyond their L1 block
    #[arg(long, value_name = "DAYS", default_value_t = 0)]
    keep_batches: u32,
    /// deployment.json of the chain
    #[arg(long)]
    deployment: PathBuf,
    /// Where the chain is kept
    #[arg(long)]
    data_dir: PathBuf,
    #[arg(long, default_value_t = 9545)]
    port: u16,
    /// Address to listen on; anything but loopback exposes the node
    #[arg(long, default_value = "127.0.0.1")]
    host: IpAddr,
    /// WebSocket endpoint of the leader: follow its promises and check each, and hand it transactions
    #[arg(long)]
    feed: Option<String>,
    /// A follower with --feed that the leader asks, before it orders, for what it promised and no longer has: after a
    /// restart on an old copy of its data. May be repeated; all must answer
    #[arg(long, value_name = "URL", requires = "leader_key")]
    catch_up_from: Vec<String>,
    /// Order, promise and post with this key, which must hold the lease
    #[arg(
        long,
        env = "ANNEX_LEADER_KEY",
        hide_env_values = true,
        requires = "promise_key",
        conflicts_with = "post_when_silent"
    )]
    leader_key: Option<B256>,
    /// Sign promises with this key
    #[arg(long, env = "ANNEX_PROMISE_KEY", hide_env_values = true, requires = "leader_key")]
    promise_key: Option<B256>,
    /// Order and post with this key while the leader is silent
    #[arg(long, value_name = "KEY", env = "ANNEX_POST_KEY", hide_env_values = true)]
    post_when_silent: Option<B256>,
    /// Claim on L1 what L2 came to, with this account's bonds, whenever a withdrawal waits or there was traffic
    #[arg(long, value_name = "KEY", env = "ANNEX_CLAIMER_KEY", hide_env_values = true)]
    claimer: Option<B256>,
    /// Beat false claims with this account, whose bonds come back with the gas; settle what nobody else does
    #[arg(long, value_name = "KEY", env = "ANNEX_CHALLENGER_KEY", hide_env_values = true)]
    challenger: Option<B256>,
    /// Buy withdrawals that are offered on L1 with this account, verified by this node's own execution
    #[arg(long, value_name = "KEY", env = "ANNEX_BUYER_KEY", hide_env_values = true)]
    buy_exits: Option<B256>,
    /// Percent of a withdrawal that the buyer takes off for the longest wait; less for a shorter one
    #[arg(long, value_name = "PERCENT", default_value_t = 1.0, requires = "buy_exits", value_parser = percent)]
    max_discount: f64,
    /// Most ether in withdrawals that are bought and not paid by L1 yet
    #[arg(long, value_name = "ETHER", default_value = "10", requires = "buy_exits", value_parser = ether)]
    exit_budget: U256,
    #[command(flatten)]
    ordering: OrderingArgs,
    /// What an acknowledged transaction survives
    #[arg(long, value_enum, default_value_t = Durability::Process)]
    durability: Durability,
    /// Milliseconds a block stays open after its first transaction
    #[arg(long, default_value_t = 250)]
    block_interval: u64,
    /// Seconds sealed blocks wait for others before they are posted
    #[arg(long)]
    batch_interval: Option<u64>,
    #[command(flatten)]
    limits: LimitArgs,
    /// Blocks before the head whose states can be read and of which witnesses can be built
    #[arg(long, value_name = "BLOCKS", default_value_t = annex_node::HISTORY)]
    history: u64,
    /// Keep the witness of every block from now on until --history blocks after it are settled: some 0.4 to 2 MB for 1,000
    /// transfers. A claimer or challenger, who may have to prove any, always does
    #[arg(long)]
    keep_witnesses: bool,
}

#[derive(Debug, thiserror::Error)]
enum PercentError {
    #[error(transparent)]
    Number(#[from] ParseFloatError),
    #[error("not between 0 and 100")]
    Range,
}

fn percent(text: &str) -> Result<f64, PercentError> {
    let value = f64::from_str(text)?;
    (0.0..100.0).contains(&value).then_some(value).ok_or(PercentError::Range)
}

fn ether(text: &str) -> Result<U256, UnitsError> {
    parse_ether(text)
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Durability {
    /// kill -9
    Process,
    /// the loss of power, too: fdatasync before every answer
    Power,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  annex deploy --l1 http://127.0.0.1:8545 --key $KEY --l2-chain-id 4242 \\
               --submitter 0x… --promise-signer 0x… --out deployment.json")]
pub struct DeployArgs {
    /// L1 execution endpoint
    #[arg(long)]
    l1: String,
    /// Pays for the contracts; has no power over them afterwards
    #[arg(long, env = "ANNEX_DEPLOY_KEY", hide_env_values = true)]
    key: B256,
    #[arg(long, default_value_t = 901)]
    l2_chain_id: u64,
    /// Who may submit batches; the zero address: anyone
    #[arg(long)]
    submitter: Address,
    /// Whose signature makes a promise
    #[arg(long)]
    promise_signer: Address,
    /// Short delays, for development
    #[arg(long)]
    development: bool,
    /// First nonce of an interrupted deployment
    #[arg(long)]
    resume_from: Option<u64>,
    /// Genesis timestamp of an interrupted deployment
    #[arg(long, requires = "resume_from")]
    genesis_timestamp: Option<u64>,
    #[arg(long, default_value = "deployment.json")]
    out: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Start(#[from] NodeError),
    #[error("{0}")]
    Failed(Arc<NodeError>),
    #[error(transparent)]
    Deployment(#[from] DeploymentFileError),
    #[error("two options name the key of {0}: each needs an account of its own")]
    SameKey(Address),
    #[error("not a secp256k1 key: {0}")]
    Key(#[from] alloy_signer_local::LocalSignerError),
    #[error("L1: {0}")]
    L1(#[from] L1Error),
    #[error(transparent)]
    Deploy(#[from] DeployError),
    #[error("signals cannot be handled: {0}")]
    Signal(io::Error),
}

fn signer(key: &B256) -> Result<PrivateKeySigner, RunError> {
    Ok(PrivateKeySigner::from_bytes(key).map_err(alloy_signer_local::LocalSignerError::from)?)
}

/// Each key counts its own transactions.
fn distinct(args: &NodeArgs) -> Result<(), RunError> {
    let NodeArgs { leader_key, post_when_silent, claimer, challenger, buy_exits, .. } = args;
    let mut accounts = BTreeSet::new();
    for key in [leader_key, post_when_silent, claimer, challenger, buy_exits].into_iter().flatten()
    {
        let account = signer(key)?.address();
        if !accounts.insert(account) {
            return Err(RunError::SameKey(account));
        }
    }
    Ok(())
}

fn parties(args: &NodeArgs) -> Result<Vec<Party>, RunError> {
    let claimer = args.claimer.iter().map(|key| Ok(Party::claimer(signer(key)?)));
    let challenger = args.challenger.iter().map(|key| Ok(Party::challenger(signer(key)?)));
    claimer.chain(challenger).collect()
}

fn exits(args: &NodeArgs) -> Result<Option<ExitTerms>, RunError> {
    let Some(key) = &args.buy_exits else { return Ok(None) };
    let max_discount = (args.max_discount * (MILLION / 100) as f64).round() as u64;
    Ok(Some(ExitTerms { key: signer(key)?, max_discount, budget: args.exit_budget }))
}

pub async fn run(args: NodeArgs) -> Result<(), RunError> {
    let role = match (&args.leader_key, args.promise_key, &args.post_when_silent) {
        (Some(key), Some(promise), _) => {
            Role::Leader(LeaderKeys { submitter: signer(key)?, promise })
        }
        (_, _, Some(key)) => Role::PostWhenSilent(signer(key)?),
        _ => Role::Follower,
    };
    distinct(&args)?;
    let (parties, exits) = (parties(&args)?, exits(&args)?);
    let deployment = Deployment::read(&args.deployment)?;
    let base = NodeConfig::new(args.l1, String::new(), deployment, args.data_dir);
    let config = NodeConfig {
        beacons: args.beacon,
        batch_sources: args.batch_source,
        keep_batches: Duration::from_secs(u64::from(args.keep_batches) * 86_400),
        addr: SocketAddr::from((args.host, args.port)),
        role,
        feed: args.feed,
        catch_up_from: args.catch_up_from,
        ordering: args.ordering.ordering(),
        pool: args.ordering.pool(),
        durability: match args.durability {
            Durability::Process => annex_node::Durability::Process,
            Durability::Power => annex_node::Durability::Power,
        },
        block_interval: Duration::from_millis(args.block_interval),
        batch_interval: args.batch_interval.map_or(base.batch_interval, Duration::from_secs),
        limits: args.limits.limits(),
        history: args.history,
        exits,
        // A dispute may be about any of them.
        keep_witnesses: args.keep_witnesses || !parties.is_empty(),
        parties,
        ..base
    };
    let mut node = Node::start(config, crate::metrics()).await?;
    println!("serving on http://{0} and ws://{0}", node.addr());
    let result = tokio::select! {
        signal = crate::interrupted() => signal.map_err(RunError::Signal),
        error = node.failed() => Err(RunError::Failed(error)),
    };
    node.stop().await;
    result
}

pub async fn deploy(args: DeployArgs) -> Result<(), RunError> {
    let client = L1Client::connect(&args.l1, &[]).await?;
    let timestamp = match args.genesis_timestamp {
        Some(timestamp) => timestamp,
        None => client.head().await?.timestamp,
    };
    let parameters = match args.development {
        true => Parameters::development(timestamp),
        false => Parameters::production(timestamp),
    };
    let request = DeployRequest {
        l2_chain_id: args.l2_chain_id,
        submitter: args.submitter,
        promise_signer: args.promise_signer,
        program: annex_node::program_boot(),
        parameters,
        resume_from: args.resume_from,
    };
    let header = |chain: &annex_types::ChainConfig| genesis(chain).header;
    let key = signer(&args.key)?;
    let deployment =
        annex_l1::deploy(&client, key, &request, header, SendLimits::default()).await?;
    deployment.write(&args.out)?;
    println!("deployed; inbox {}", deployment.contracts.inbox);
    println!("wrote {}", args.out.display());
    Ok(())
}
