use crate::rpc_client::{RpcClient, RpcError};
use alloy_primitives::{
    Address, B256, Bytes, TxKind, U256,
    utils::{UnitsError, format_ether, parse_ether},
};
use alloy_signer_local::{LocalSignerError, PrivateKeySigner};
use annex_l1::{Deposit, DepositOutcome, L1Client, L1Error, SendLimits, SendOutcome, deposit};
use clap::{Args, Subcommand};
use indicatif::ProgressBar;
use serde_json::json;
use std::time::Duration;

#[derive(Debug, Subcommand)]
pub enum Wallet {
    /// Deposit ether from L1 to L2 through the Portal
    #[command(after_help = "Example:
  annex wallet deposit --amount 1.5 --key $KEY --rpc http://127.0.0.1:9545 --l1 http://127.0.0.1:8545")]
    Deposit(DepositArgs),
}

#[derive(Debug, Args)]
pub struct DepositArgs {
    /// Ether to deposit
    #[arg(long)]
    amount: String,
    /// L1 key that pays
    #[arg(long, env = "ANNEX_WALLET_KEY", hide_env_values = true)]
    key: B256,
    /// Recipient on L2; default: the key's account
    #[arg(long)]
    to: Option<Address>,
    /// An L2 node of the chain
    #[arg(long, default_value = "http://127.0.0.1:9545")]
    rpc: String,
    /// L1 endpoint
    #[arg(long, default_value = "http://127.0.0.1:8545")]
    l1: String,
}

#[derive(Debug, thiserror::Error)]
pub enum WalletError {
    #[error(transparent)]
    Rpc(#[from] RpcError),
    #[error("L1: {0}")]
    L1(#[from] L1Error),
    #[error("--key is no secp256k1 key: {0}")]
    Key(#[from] LocalSignerError),
    #[error("--amount is no amount of ether: {0}")]
    Amount(#[from] UnitsError),
    #[error("the node's deployment cannot be read: {0}; is it an Annex node?")]
    Deployment(#[from] serde_json::Error),
    #[error("L1 did not take the deposit: {0:?}")]
    NotTaken(Box<SendOutcome>),
    #[error(
        "L1 took the deposit, but L2 has not executed it yet; `annex tx {0}` shows how far it is"
    )]
    Late(B256),
}

/// L2 gas of a plain transfer, and room for a recipient that is a contract.
const GAS_LIMIT: u64 = 100_000;
const PATIENCE: Duration = Duration::from_secs(120);

pub async fn run(wallet: Wallet) -> Result<(), WalletError> {
    let Wallet::Deposit(args) = wallet;
    let l2 = RpcClient::new(&args.rpc);
    let deployment: annex_l1::Deployment =
        serde_json::from_value(l2.call("annex_deployment", json!([])).await?)?;
    let client = L1Client::connect(&args.l1, &[]).await?;
    client.expect_chain(deployment.l1_chain_id)?;
    let signer = PrivateKeySigner::from_bytes(&args.key).map_err(LocalSignerError::from)?;
    let to = args.to.unwrap_or(signer.address());
    let amount: U256 = parse_ether(&args.amount)?;
    let wanted = Deposit {
        to: TxKind::Call(to),
        mint: amount,
        value: amount,
        gas_limit: GAS_LIMIT,
        data: Bytes::new(),
    };
    let bar = ProgressBar::new_spinner().with_message("depositing on L1");
    bar.enable_steady_tick(Duration::from_millis(100));
    let limits = SendLimits { poll_interval: Duration::from_millis(200), ..SendLimits::default() };
    let portal = deployment.contracts.portal;
    let taken = match deposit(&client, signer, portal, &wanted, limits).await? {
        DepositOutcome::Taken(taken) => taken,
        DepositOutcome::Failed(outcome) => return Err(WalletError::NotTaken(Box::new(outcome))),
    };
    bar.set_message("waiting for L2");
    let receipt = wait(&l2, taken.l2_hash).await?;
    bar.finish_and_clear();
    println!("deposited {} ether to {to}", format_ether(amount));
    println!("L1 transaction {}, block {}", taken.l1_tx, taken.l1_block.number);
    println!("L2 transaction {}, status {}", taken.l2_hash, receipt["status"]);
    Ok(())
}

async fn wait(l2: &RpcClient, hash: B256) -> Result<serde_json::Value, WalletError> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while tokio::time::Instant::now() < deadline {
        let receipt = l2.call("eth_getTransactionReceipt", json!([hash])).await?;
        if !receipt.is_null() {
            return Ok(receipt);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err(WalletError::Late(hash))
}
