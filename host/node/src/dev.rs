//! `annex dev`: an L1, contracts, funded accounts and a leader, at once.

mod lie;

pub use lie::{Lie, UnknownLie};

use crate::{
    LeaderKeys, Node, NodeConfig, NodeError, Party, Role,
    node::{genesis, program_boot},
};
use alloy_primitives::{Address, Bytes, TxKind, U256};
use alloy_signer_local::{
    LocalSignerError, MnemonicBuilder, PrivateKeySigner, coins_bip39::English,
};
use annex_devl1::{DevAccount, DevL1, DevL1Config, DevL1Error, MNEMONIC, dev_accounts};
use annex_l1::{
    Call, DeployError, DeployRequest, Deployment, DeploymentFileError, Deposit, DepositOutcome,
    L1Client, L1Error, Parameters, SendLimits, SendOutcome, Sender, deploy, deposit,
};
use annex_rpc::Limits;
use annex_sequencer::{Ordering, PoolLimits};
use futures_util::future::try_join_all;
use metrics_exporter_prometheus::PrometheusHandle;
use std::{
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

pub const L2_CHAIN_ID: u64 = 901;
/// Index in the mnemonic of the key that deploys and submits; the ten accounts stay the user's.
const OPERATOR: u32 = 20;
/// Index in the mnemonic of the key that signs promises.
const PROMISER: u32 = 21;
/// Indexes in the mnemonic of the keys of settlement's parties.
const CLAIMER: u32 = 22;
const CHALLENGER: u32 = 23;
/// Of the first liar; others follow.
const LIAR: u32 = 24;
const ETHER: u128 = 10u128.pow(18);
/// Blocks of the embedded L1 with contracts and deposits.
const SETUP_BLOCKS: u64 = 24;
/// Ether each account deposits.
const DEPOSIT: u128 = 1_000 * ETHER;
/// Ether the operator gets to pay for batches, and each party of settlement for bonds.
const OPERATOR_FUNDS: u128 = 100 * ETHER;
/// Longest time between two looks at L1.
const MAX_POLL_INTERVAL: Duration = Duration::from_secs(2);

#[derive(Clone, Debug)]
pub struct DevConfig {
    pub port: u16,
    /// Of the embedded L1.
    pub l1_port: u16,
    /// Another L1 than the embedded one; it must know the ten accounts.
    pub l1: Option<String>,
    pub l1_block_time: Duration,
    pub l1_gas_limit: u64,
    pub data_dir: PathBuf,
    /// Whether somebody claims what is false, and loses the bond.
    pub with_liar: Option<Lie>,
    /// In which order the leader executes transactions.
    pub ordering: Ordering,
    /// What may wait for a lower nonce.
    pub pool: PoolLimits,
    /// What JSON-RPC clients of either chain may ask for.
    pub limits: Limits,
}

#[derive(Debug, thiserror::Error)]
pub enum DevError {
    #[error("embedded L1: {0}")]
    L1Chain(#[from] DevL1Error),
    #[error("L1: {0}")]
    L1(#[from] L1Error),
    #[error("deployment: {0}")]
    Deploy(#[from] DeployError),
    #[error(transparent)]
    File(#[from] DeploymentFileError),
    #[error("development keys: {0}")]
    Keys(#[from] LocalSignerError),
    #[error(
        "{from} could not pay on L1 ({outcome:?}); the L1 must fund the accounts of the mnemonic \"test test … junk\""
    )]
    Funding { from: Address, outcome: Box<SendOutcome> },
    #[error(transparent)]
    Node(#[from] NodeError),
}

/// A running development setup.
#[derive(Debug)]
pub struct Dev {
    /// None where `l1` named another.
    l1: Option<DevL1>,
    pub node: Node,
    pub deployment: Deployment,
    pub l1_url: String,
    pub accounts: Vec<DevAccount>,
    /// Whether the data directory held a chain already.
    pub resumed: bool,
}

impl Dev {
    pub async fn start(config: DevConfig, metrics: PrometheusHandle) -> Result<Self, DevError> {
        let l1 = match &config.l1 {
            Some(_) => None,
            None => Some(start_l1(&config).await?),
        };
        let l1_url = match (&l1, &config.l1) {
            (Some(l1), _) => l1.url(),
            (None, url) => url.clone().unwrap_or_default(),
        };
        let file = config.data_dir.join("deployment.json");
        let resumed = file.exists();
        let deployment = match resumed {
            true => Deployment::read(&file)?,
            false => {
                let deployment = bootstrap(&l1_url).await?;
                deployment.write(&file)?;
                deployment
            }
        };
        fund_liars(&l1_url, config.with_liar).await?;
        if let Some(l1) = &l1 {
            l1.set_timestamp_interval(None);
            l1.set_block_time(Some(config.l1_block_time))?;
        }
        let keys = LeaderKeys { submitter: key(OPERATOR)?, promise: key(PROMISER)?.to_bytes() };
        let node = Node::start(
            NodeConfig {
                addr: SocketAddr::from(([127, 0, 0, 1], config.port)),
                role: Role::Leader(keys),
                parties: parties(config.with_liar)?,
                limits: config.limits,
                ordering: config.ordering,
                pool: config.pool,
                // Often enough to act in the next L1 block; each look costs an idle chain processor time.
                poll_interval: (config.l1_block_time / 4).min(MAX_POLL_INTERVAL),
                ..NodeConfig::new(
                    l1_url.clone(),
                    l1_url.clone(),
                    deployment.clone(),
                    config.data_dir.clone(),
                )
            },
            metrics,
        )
        .await?;
        let accounts = dev_accounts()?;
        let addresses: Vec<Address> = accounts.iter().map(|account| account.address).collect();
        if !resumed {
            node.funded(&addresses).await?;
        }
        Ok(Self { l1, node, deployment, l1_url, accounts, resumed })
    }

    /// Stops the node, then the L1.
    pub async fn stop(self) {
        self.node.stop().await;
        if let Some(l1) = self.l1 {
            l1.stop().await;
        }
    }
}

async fn start_l1(config: &DevConfig) -> Result<DevL1, DevL1Error> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let chain = DevL1Config {
        port: config.l1_port,
        gas_limit: config.l1_gas_limit,
        genesis_timestamp: Some(now.saturating_sub(SETUP_BLOCKS)),
        limits: config.limits,
        ..DevL1Config::new(config.data_dir.join("l1"))
    };
    let l1 = DevL1::start(chain).await?;
    // Contracts and deposits take no interval each; their blocks lie a second apart, in the past, lest L1 be ahead of the time of
    // day from then on, and take L2 along.
    l1.set_block_time(None)?;
    l1.set_timestamp_interval(Some(1));
    Ok(l1)
}

/// Deploys the contracts and has every account deposit, so that all ether on L2 lies in the Portal.
async fn bootstrap(url: &str) -> Result<Deployment, DevError> {
    let client = L1Client::connect(url, &[url.to_owned()]).await?;
    let (accounts, limits) = (dev_accounts()?, limits());
    let operator = key(OPERATOR)?;
    for index in [OPERATOR, CLAIMER, CHALLENGER] {
        fund(&client, &accounts[0], key(index)?.address(), limits).await?;
    }
    let request = DeployRequest {
        l2_chain_id: L2_CHAIN_ID,
        submitter: operator.address(),
        promise_signer: key(PROMISER)?.address(),
        program: program_boot(),
        parameters: Parameters::development(client.head().await?.timestamp),
        resume_from: None,
    };
    let header = |chain: &annex_types::ChainConfig| genesis(chain).header;
    let deployment = deploy(&client, operator, &request, header, limits).await?;
    let portal = deployment.contracts.portal;
    let deposits = accounts.into_iter().map(|account| {
        let client = client.clone();
        async move {
            let wanted = Deposit {
                to: TxKind::Call(account.address),
                mint: U256::from(DEPOSIT),
                value: U256::from(DEPOSIT),
                gas_limit: 21_000,
                data: Bytes::new(),
            };
            match deposit(&client, account.signer, portal, &wanted, limits).await? {
                DepositOutcome::Taken(_) => Ok(()),
                DepositOutcome::Failed(outcome) => {
                    Err(DevError::Funding { from: account.address, outcome: Box::new(outcome) })
                }
            }
        }
    });
    try_join_all(deposits).await?;
    Ok(deployment)
}

/// Here, because a chain that is resumed may get other liars.
async fn fund_liars(url: &str, lie: Option<Lie>) -> Result<(), DevError> {
    let Some(lie) = lie else { return Ok(()) };
    let client = L1Client::connect(url, &[]).await?;
    let accounts = dev_accounts()?;
    let liars: Vec<u32> = lie.roles().iter().zip(LIAR..).map(|(_, index)| index).collect();
    // From an account each, or each would wait for the one before.
    for liars in liars.chunks(accounts.len()) {
        let funds = liars.iter().zip(&accounts).map(|(index, from)| {
            let client = &client;
            async move { fund(client, from, key(*index)?.address(), limits()).await }
        });
        try_join_all(funds).await?;
    }
    Ok(())
}

fn limits() -> SendLimits {
    SendLimits {
        poll_interval: Duration::from_millis(20),
        resubmit_after: Duration::from_secs(20),
        ..SendLimits::default()
    }
}

async fn fund(
    client: &L1Client,
    from: &DevAccount,
    to: Address,
    limits: SendLimits,
) -> Result<(), DevError> {
    if client.balance(to).await? >= U256::from(OPERATOR_FUNDS / 2) {
        return Ok(());
    }
    let call = Call {
        to: TxKind::Call(to),
        input: Bytes::new(),
        value: U256::from(OPERATOR_FUNDS),
        sidecar: None,
    };
    match Sender::new(client.clone(), from.signer.clone(), limits).send(&call).await? {
        SendOutcome::Included(_) => Ok(()),
        outcome => Err(DevError::Funding { from: from.address, outcome: Box::new(outcome) }),
    }
}

/// A claimer, a challenger and, if wanted, liars.
fn parties(lie: Option<Lie>) -> Result<Vec<Party>, LocalSignerError> {
    let mut parties = vec![Party::claimer(key(CLAIMER)?), Party::challenger(key(CHALLENGER)?)];
    for (role, index) in lie.into_iter().flat_map(Lie::roles).zip(LIAR..) {
        parties.push(Party { role, signer: key(index)? });
    }
    Ok(parties)
}

fn key(index: u32) -> Result<PrivateKeySigner, LocalSignerError> {
    MnemonicBuilder::<English>::default().phrase(MNEMONIC).index(index)?.build()
}
