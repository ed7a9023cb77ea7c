//! `annex bench`: standard JSON-RPC only, so that it measures any Ethereum node alike.

mod latency;
mod load;
mod process;
mod throughput;
mod workload;

use crate::rpc_client::{RpcClient, RpcError};
use alloy_consensus::TxEip1559;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256};
use alloy_signer_local::{LocalSignerError, MnemonicBuilder, coins_bip39::English};
use clap::{Args, Subcommand};
use serde_json::json;
use std::path::PathBuf;
use workload::Account;

#[derive(Debug, Subcommand)]
pub enum Bench {
    /// Time from sending a transfer to holding its receipt, one client, one at a time
    #[command(after_help = "Examples:
  annex bench latency --rpc http://127.0.0.1:9545 --count 2000
  annex bench latency --load 7000      while others send 7,000 transfers a second")]
    Latency(latency::Latency),
    /// Transactions a second in sealed blocks, the load being signed beforehand
    #[command(after_help = "Examples:
  annex bench throughput --rpc http://127.0.0.1:9545 --seconds 30
  annex bench throughput --kind swaps --accounts 1000 --pid $(pidof annex)")]
    Throughput(throughput::Throughput),
}

#[derive(Clone, Debug, Args)]
pub struct Target {
    /// The node to measure
    #[arg(long, default_value = "http://127.0.0.1:9545")]
    rpc: String,
    /// Key of a funded account; default: the first development account
    #[arg(long, env = "ANNEX_BENCH_KEY", hide_env_values = true)]
    key: Option<B256>,
    /// Print one line of JSON instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    #[error(transparent)]
    Rpc(#[from] RpcError),
    #[error("--key is no secp256k1 key")]
    Key,
    #[error("development keys: {0}")]
    DevKey(#[from] LocalSignerError),
    #[error(
        "no creation code in {path}; `npm ci --prefix tests/clients` gets it, --artifacts says where it is"
    )]
    Artifact { path: PathBuf },
    #[error("a connection's task ended early")]
    Stopped,
    #[error("the process {pid} cannot be watched; is it running here?")]
    NoProcess { pid: u32 },
    #[error("transfer {hash} failed or never got a receipt")]
    Failed { hash: B256 },
    #[error("the promise of transfer {hash} is not signed by the leader {leader}")]
    BadPromise { hash: B256, leader: Address },
    #[error("account {address} holds no ether on {url}; name a funded one with --key")]
    NoFunds { address: Address, url: String },
}

pub async fn run(bench: Bench) -> Result<(), BenchError> {
    match bench {
        Bench::Latency(options) => latency::run(options).await,
        Bench::Throughput(options) => throughput::run(options).await,
    }
}

const DEV_MNEMONIC: &str = "test test test test test test test test test test test junk";

fn funded_account(target: &Target) -> Result<Account, BenchError> {
    let key = match target.key {
        Some(key) => key,
        None => MnemonicBuilder::<English>::default().phrase(DEV_MNEMONIC).build()?.to_bytes(),
    };
    Account::new(&key).ok_or(BenchError::Key)
}

/// What a transfer costs on the node measured, asked once.
#[derive(Clone, Copy, Debug)]
struct Terms {
    chain_id: u64,
    gas_limit: u64,
    max_fee_per_gas: u128,
    tip: u128,
}

impl Terms {
    async fn ask(client: &RpcClient, from: Address, to: Address) -> Result<Self, BenchError> {
        let chain_id = client.quantity("eth_chainId", json!([])).await? as u64;
        let call = json!([{"from": from, "to": to, "value": "0x1"}]);
        let gas = client.quantity("eth_estimateGas", call).await? as u64;
        let price = client.quantity("eth_gasPrice", json!([])).await?;
        // The price may double while the measurement runs.
        let terms = Self { chain_id, gas_limit: gas * 2, max_fee_per_gas: price * 10, tip: 0 };
        terms.with_tip_of(client).await
    }

    /// A node may ask for more the more it has to do; one that does not know the method asks for nothing.
    async fn with_tip_of(self, client: &RpcClient) -> Result<Self, BenchError> {
        let tip = match client.quantity("eth_maxPriorityFeePerGas", json!([])).await {
            Ok(tip) => 2 * tip,
            Err(RpcError::Call { .. }) => 0,
            Err(error) => return Err(error.into()),
        };
        Ok(self.with_tip(tip))
    }

    fn with_tip(self, tip: u128) -> Self {
        let base = self.max_fee_per_gas - self.tip;
        Self { tip, max_fee_per_gas: base + tip, ..self }
    }

    fn transaction(
        &self,
        nonce: u64,
        to: TxKind,
        value: U256,
        input: Bytes,
        gas_limit: u64,
    ) -> TxEip1559 {
        TxEip1559 {
            chain_id: self.chain_id,
            nonce,
            gas_limit,
            max_fee_per_gas: self.max_fee_per_gas,
            max_priority_fee_per_gas: self.tip,
            to,
            value,
            input,
            access_list: Default::default(),
        }
    }
}

async fn nonce_of(client: &RpcClient, address: Address) -> Result<u64, BenchError> {
    let nonce = client.quantity("eth_getTransactionCount", json!([address, "pending"])).await?;
    Ok(nonce as u64)
}

async fn require_funds(client: &RpcClient, url: &str, address: Address) -> Result<(), BenchError> {
    if client.quantity("eth_getBalance", json!([address, "latest"])).await? == 0 {
        return Err(BenchError::NoFunds { address, url: url.to_owned() });
    }
    Ok(())
}

/// Value at a per-mille rank of sorted samples.
fn rank(sorted: &[u64], per_mille: usize) -> u64 {
    let at = (sorted.len() * per_mille / 1000).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or_default()
}
