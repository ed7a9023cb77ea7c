//! Ether from L1 to L2.

use super::{ChainArgs, Key, WalletError, await_receipt, limits};
use crate::ui;
use alloy_primitives::{Address, Bytes, TxKind, U256, utils::parse_ether};
use annex_l1::{Deposit, DepositOutcome, deposit};
use clap::Args;

/// L2 gas of a plain transfer, and room for a recipient that is a contract.
const GAS_LIMIT: u64 = 100_000;

#[derive(Debug, Args)]
pub struct DepositArgs {
    /// Ether to deposit
    #[arg(long)]
    amount: String,
    #[command(flatten)]
    key: Key,
    /// Recipient on L2; default: the key's account
    #[arg(long)]
    to: Option<Address>,
    #[command(flatten)]
    chain: ChainArgs,
}

pub async fn run(args: DepositArgs) -> Result<(), WalletError> {
    let chain = args.chain.connect().await?;
    let signer = args.key.signer()?;
    let to = args.to.unwrap_or(signer.address());
    let amount: U256 = parse_ether(&args.amount)?;
    let wanted = Deposit {
        to: TxKind::Call(to),
        mint: amount,
        value: amount,
        gas_limit: GAS_LIMIT,
        data: Bytes::new(),
    };
    let bar = ui::spinner("depositing on L1");
    let portal = chain.deployment.contracts.portal;
    let taken = match deposit(&chain.l1, signer, portal, &wanted, limits()).await? {
        DepositOutcome::Taken(taken) => taken,
        DepositOutcome::Failed(outcome) => return Err(WalletError::NotTaken(Box::new(outcome))),
    };
    bar.set_message("waiting for L2");
    let receipt = await_receipt(&chain, taken.l2_hash).await?;
    bar.finish_and_clear();
    println!("deposited {} ether to {to}", ui::ether(amount));
    println!("L1 transaction {}, block {}", taken.l1_tx, taken.l1_block.number);
    println!("L2 transaction {}, status {}", taken.l2_hash, receipt["status"]);
    Ok(())
}
