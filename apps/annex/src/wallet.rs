//! `annex wallet`: ether and tokens between L1 and L2, with a key and two endpoints.

mod deposit;
mod exit;
mod prove;
mod sell;
mod withdraw;

use crate::{
    rpc_client::{RpcClient, RpcError},
    ui,
};
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, utils::UnitsError};
use alloy_signer_local::{LocalSignerError, PrivateKeySigner};
use annex_l1::{Call, Deployment, Included, L1Client, L1Error, SendLimits, SendOutcome, Sender};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::time::Duration;

#[derive(Debug, Subcommand)]
pub enum Wallet {
    /// Deposit ether from L1 to L2 through the Portal
    #[command(after_help = "Example:
  annex wallet deposit --amount 1.5 --key $KEY --rpc http://127.0.0.1:9545 --l1 http://127.0.0.1:8545")]
    Deposit(deposit::DepositArgs),
    /// Withdraw ether or a token from L2 to L1: the first of three steps
    #[command(after_help = "Examples:
  annex wallet withdraw --amount 1 --key $KEY              ether to the same account on L1
  annex wallet withdraw --amount 1 --key $KEY --sellable   … that can be sold before it is final
  annex wallet withdraw --amount 100 --token 0x… --key $KEY   an ERC-20 token, by the standard bridge
  annex wallet withdraw --amount 1 --key $KEY --forced     by L1, when nobody on L2 takes transactions
Then: annex wallet prove, annex wallet finalize; annex wallet status says when")]
    Withdraw(withdraw::WithdrawArgs),
    /// Prove a withdrawal on L1 against a claim
    Prove(prove::ProveArgs),
    /// Finalise a proved withdrawal: L1 pays
    Finalize(prove::FinalizeArgs),
    /// Offer a withdrawal for sale, for ether on L1 at once
    #[command(after_help = "Examples:
  annex wallet sell 0x5c50… --price 0.99 --key $KEY
  annex wallet sell 0x5c50… --max-discount 1.5 --key $KEY   at what the node's buyer pays, or 1.5 percent off")]
    Sell(sell::SellArgs),
    /// Show how far a withdrawal is, and what is next
    Status(exit::StatusArgs),
}

/// Where both chains are.
#[derive(Clone, Debug, Args)]
pub struct ChainArgs {
    /// An L2 node of the chain, any that has its state
    #[arg(long, default_value = "http://127.0.0.1:9545")]
    rpc: String,
    /// L1 endpoint
    #[arg(long, default_value = "http://127.0.0.1:8545")]
    l1: String,
}

#[derive(Clone, Debug, Args)]
pub struct Key {
    /// Key of the account that acts and pays
    #[arg(long, env = "ANNEX_WALLET_KEY", hide_env_values = true)]
    key: B256,
}

impl Key {
    fn signer(&self) -> Result<PrivateKeySigner, LocalSignerError> {
        PrivateKeySigner::from_bytes(&self.key).map_err(LocalSignerError::from)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum WalletError {
    #[error(transparent)]
    Rpc(#[from] RpcError),
    #[error("L1: {0}")]
    L1(#[from] L1Error),
    #[error("--key is no secp256k1 key: {0}")]
    Key(#[from] LocalSignerError),
    #[error("--amount or --price is no amount: {0}")]
    Amount(#[from] UnitsError),
    #[error("the node's answer cannot be read: {0}; is it an Annex node?")]
    Shape(#[from] serde_json::Error),
    #[error("L1 did not take it: {0:?}")]
    NotTaken(Box<SendOutcome>),
    #[error("L1 refuses it: {0}")]
    Refused(annex_l1::Revert),
    #[error("L1 took it, but L2 has not executed it yet; `annex tx {0}` shows how far it is")]
    Late(B256),
    #[error("the node does not know transaction {0}")]
    UnknownTransaction(B256),
    #[error("transaction {0} failed on L2")]
    Failed(B256),
    #[error("transaction {tx} has {count} withdrawals, so there is none of index {index}")]
    NoWithdrawal { tx: B256, count: usize, index: usize },
    #[error("token {0} does not say what it is; is it an ERC-20 token on L2?")]
    NotAToken(Address),
    #[error("not provable yet: {0}; --wait waits")]
    NotProvable(exit::Unclaimed),
    #[error("not final yet: {0}; --wait waits")]
    NotFinal(exit::Pending),
    #[error("it is not proved yet; first: annex wallet prove {0}")]
    NotProved(B256),
    #[error("it is finalised already")]
    AlreadyFinalized,
    #[error("the withdrawal cannot be sold: only those made with --sellable can")]
    NotSellable,
    #[error("the withdrawal is {holder}'s, not {account}'s")]
    NotHolder { holder: Address, account: Address },
    #[error("--max-discount is no percentage between 0 and 100")]
    Discount,
    #[error(
        "the node's buyer pays {} ether, which is less than {}; name a --price to offer it to everybody",
        ui::ether(*quote),
        ui::ether(*least)
    )]
    QuoteTooLow { quote: U256, least: U256 },
}

pub async fn run(wallet: Wallet) -> Result<(), WalletError> {
    match wallet {
        Wallet::Deposit(args) => deposit::run(args).await,
        Wallet::Withdraw(args) => withdraw::run(args).await,
        Wallet::Prove(args) => prove::prove(args).await,
        Wallet::Finalize(args) => prove::finalize(args).await,
        Wallet::Sell(args) => sell::run(args).await,
        Wallet::Status(args) => exit::status(args).await,
    }
}

/// Both chains.
struct Chain {
    l2: RpcClient,
    l1: L1Client,
    deployment: Deployment,
}

impl ChainArgs {
    async fn connect(&self) -> Result<Chain, WalletError> {
        let l2 = RpcClient::new(&self.rpc);
        let deployment: Deployment =
            serde_json::from_value(l2.call("annex_deployment", json!([])).await?)?;
        let l1 = L1Client::connect(&self.l1, &[]).await?;
        l1.expect_chain(deployment.l1_chain_id)?;
        Ok(Chain { l2, l1, deployment })
    }
}

/// Time that L2 may take for what L1 has forced, beyond `forced_delay`.
const PATIENCE: Duration = Duration::from_secs(120);

fn limits() -> SendLimits {
    SendLimits { poll_interval: Duration::from_millis(200), ..SendLimits::default() }
}

/// Sends on L1 and waits until it is in a block.
async fn send_l1(
    chain: &Chain,
    signer: PrivateKeySigner,
    to: Address,
    input: Bytes,
) -> Result<Included, WalletError> {
    let call = Call { to: TxKind::Call(to), input, value: U256::ZERO, sidecar: None };
    match Sender::new(chain.l1.clone(), signer, limits()).send(&call).await? {
        SendOutcome::Included(included) => Ok(included),
        SendOutcome::Reverted { reason, .. } => Err(WalletError::Refused(reason)),
        outcome => Err(WalletError::NotTaken(Box::new(outcome))),
    }
}

/// Waits for an L2 receipt.
async fn await_receipt(chain: &Chain, hash: B256) -> Result<Value, WalletError> {
    let forced = Duration::from_secs(chain.deployment.parameters.forced_delay);
    let deadline = tokio::time::Instant::now() + PATIENCE + forced;
    while tokio::time::Instant::now() < deadline {
        let receipt = chain.l2.call("eth_getTransactionReceipt", json!([hash])).await?;
        if !receipt.is_null() {
            return Ok(receipt);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err(WalletError::Late(hash))
}
