//! The first step: L2 is told.

use super::{Chain, ChainArgs, Key, WalletError, await_receipt, limits};
use crate::{rpc_client::RpcError, ui};
use alloy_consensus::{SignableTransaction, TxEip1559};
use alloy_eips::eip2718::Encodable2718;
use alloy_network::TxSignerSync;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, utils::parse_ether};
use alloy_signer_local::PrivateKeySigner;
use alloy_sol_types::{SolCall, sol};
use annex_l1::contracts::{ExitMarket, L2StandardBridge, L2ToL1MessagePasser};
use annex_l1::{Deposit, DepositOutcome, deposit};
use annex_types::predeploys;
use clap::Args;
use serde_json::{Value, json};

sol! {
    /// What ERC-20 tokens say of themselves.
    interface IToken {
        function decimals() external view returns (uint8);
        function symbol() external view returns (string);
    }
}

/// L1 gas for a recipient that is a contract.
const L1_GAS: u64 = 100_000;
/// Code of EIP-7966: the receipt is not there yet.
const SYNC_TIMEOUT: i64 = 4;

#[derive(Debug, Args)]
pub struct WithdrawArgs {
    /// Ether, or of the token
    #[arg(long)]
    amount: String,
    #[command(flatten)]
    key: Key,
    /// Recipient on L1; default: the key's account
    #[arg(long)]
    to: Option<Address>,
    /// An ERC-20 token on L2; default: ether
    #[arg(long)]
    token: Option<Address>,
    /// Make it one that can be sold before it is final
    #[arg(long, conflicts_with = "token")]
    sellable: bool,
    /// Send it through L1: needs nobody on L2 but takes longer
    #[arg(long)]
    forced: bool,
    #[command(flatten)]
    chain: ChainArgs,
}

/// A transaction on L2.
struct Wanted {
    to: Address,
    value: U256,
    data: Bytes,
    /// For people: amount and unit.
    what: String,
}

pub async fn run(args: WithdrawArgs) -> Result<(), WalletError> {
    let chain = args.chain.connect().await?;
    let signer = args.key.signer()?;
    let to = args.to.unwrap_or(signer.address());
    let wanted = match args.token {
        Some(token) => of_token(&chain, token, to, &args.amount).await?,
        None => of_ether(&chain, to, parse_ether(&args.amount)?, args.sellable),
    };
    let receipt = match args.forced {
        true => force(&chain, signer, &wanted).await?,
        false => send(&chain, &signer, &wanted).await?,
    };
    let hash: B256 = serde_json::from_value(receipt["transactionHash"].clone())?;
    if receipt["status"] != "0x1" {
        return Err(WalletError::Failed(hash));
    }
    println!("initiated: {} to {to} on L1", wanted.what);
    println!("L2 transaction {hash}");
    super::exit::print_next(&chain, hash).await
}

fn of_ether(chain: &Chain, to: Address, amount: U256, sellable: bool) -> Wanted {
    let (target, data) = match sellable {
        true => {
            let receive = ExitMarket::receiveExitCall { seller: to };
            (chain.deployment.contracts.exit_market, receive.abi_encode().into())
        }
        false => (to, Bytes::new()),
    };
    let call =
        L2ToL1MessagePasser::initiateWithdrawalCall { target, gasLimit: U256::from(L1_GAS), data };
    Wanted {
        to: predeploys::L2_TO_L1_MESSAGE_PASSER,
        value: amount,
        data: call.abi_encode().into(),
        what: format!("{} ether", ui::ether(amount)),
    }
}

async fn of_token(
    chain: &Chain,
    token: Address,
    to: Address,
    amount: &str,
) -> Result<Wanted, WalletError> {
    let decimals = read(chain, token, &IToken::decimalsCall {}).await?;
    let symbol = read(chain, token, &IToken::symbolCall {}).await?;
    let amount = ui::parse_amount(amount, decimals)?;
    let call = L2StandardBridge::withdrawToCall {
        l2Token: token,
        to,
        amount,
        minGasLimit: 0,
        extraData: Bytes::new(),
    };
    // A token may say anything of itself, so nothing of it goes to the terminal but letters.
    let symbol: String = symbol.chars().filter(|c| c.is_alphanumeric()).take(16).collect();
    Ok(Wanted {
        to: predeploys::L2_STANDARD_BRIDGE,
        value: U256::ZERO,
        data: call.abi_encode().into(),
        what: format!("{} {symbol}", ui::units(amount, decimals)?),
    })
}

async fn read<C: SolCall>(
    chain: &Chain,
    token: Address,
    call: &C,
) -> Result<C::Return, WalletError> {
    let request = json!([{"to": token, "data": Bytes::from(call.abi_encode())}, "latest"]);
    let output: Bytes = serde_json::from_value(chain.l2.call("eth_call", request).await?)?;
    C::abi_decode_returns(&output).map_err(|_| WalletError::NotAToken(token))
}

/// Signs an L2 transaction and waits for its receipt.
async fn send(
    chain: &Chain,
    signer: &PrivateKeySigner,
    wanted: &Wanted,
) -> Result<Value, WalletError> {
    let bar = ui::spinner("sending to L2");
    let l2 = &chain.l2;
    let (from, Wanted { to, value, data, .. }) = (signer.address(), wanted);
    let call = json!([{"from": from, "to": to, "value": value, "data": data}]);
    let gas = l2.quantity("eth_estimateGas", call).await? as u64;
    let price = l2.quantity("eth_gasPrice", json!([])).await?;
    let tip = l2.quantity("eth_maxPriorityFeePerGas", json!([])).await?;
    let nonce = l2.quantity("eth_getTransactionCount", json!([from, "pending"])).await? as u64;
    let mut tx = TxEip1559 {
        chain_id: chain.deployment.l2_chain_id,
        nonce,
        gas_limit: gas + gas / 4,
        max_fee_per_gas: 2 * price + tip,
        max_priority_fee_per_gas: tip,
        to: TxKind::Call(*to),
        value: *value,
        input: data.clone(),
        ..Default::default()
    };
    let signature = signer.sign_transaction_sync(&mut tx).expect("a local key signs");
    let signed = tx.into_signed(signature);
    let (raw, hash) = (Bytes::from(signed.encoded_2718()), *signed.hash());
    let receipt = match l2.call("eth_sendRawTransactionSync", json!([raw])).await {
        Err(RpcError::Call { code: SYNC_TIMEOUT, .. }) => await_receipt(chain, hash).await?,
        answer => answer?,
    };
    bar.finish_and_clear();
    Ok(receipt)
}

/// Has L1 force the transaction into L2, and waits for its receipt there.
async fn force(
    chain: &Chain,
    signer: PrivateKeySigner,
    wanted: &Wanted,
) -> Result<Value, WalletError> {
    let bar = ui::spinner("forcing it on L1");
    let Wanted { to, value, data, .. } = wanted;
    let call = json!([{"from": signer.address(), "to": to, "value": value, "data": data}]);
    let gas = chain.l2.quantity("eth_estimateGas", call).await? as u64;
    let item = Deposit {
        to: TxKind::Call(*to),
        mint: U256::ZERO,
        value: *value,
        gas_limit: gas + gas / 4 + 64 * data.len() as u64,
        data: data.clone(),
    };
    let portal = chain.deployment.contracts.portal;
    let taken = match deposit(&chain.l1, signer, portal, &item, limits()).await? {
        DepositOutcome::Taken(taken) => taken,
        DepositOutcome::Failed(outcome) => return Err(WalletError::NotTaken(Box::new(outcome))),
    };
    let delay = ui::duration(chain.deployment.parameters.forced_delay);
    bar.set_message(format!("record {}: L2 has to execute it within {delay}", taken.record));
    let receipt = await_receipt(chain, taken.l2_hash).await?;
    bar.finish_and_clear();
    Ok(receipt)
}
