//! The second and third step, on L1.

use super::exit::{Initiated, Pending, Provable, Stage, WithdrawalArgs, print_stage, unclaimed};
use super::{Chain, ChainArgs, Key, WalletError, send_l1};
use crate::ui::{self, Paint, paint};
use alloy_signer_local::PrivateKeySigner;
use annex_l1::exit_market;
use annex_l1::withdrawal::Proven;
use clap::Args;
use std::time::Duration;

const POLL: Duration = Duration::from_millis(1_000);

#[derive(Debug, Args)]
#[command(after_help = "Example: annex wallet prove 0x5c50… --key $KEY --wait")]
pub struct ProveArgs {
    #[command(flatten)]
    withdrawal: WithdrawalArgs,
    #[command(flatten)]
    key: Key,
    /// Wait until a claim covers it
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    chain: ChainArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Example: annex wallet finalize 0x5c50… --key $KEY --wait")]
pub struct FinalizeArgs {
    #[command(flatten)]
    withdrawal: WithdrawalArgs,
    #[command(flatten)]
    key: Key,
    /// Wait until its claim can settle
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    chain: ChainArgs,
}

pub async fn prove(args: ProveArgs) -> Result<(), WalletError> {
    let chain = args.chain.connect().await?;
    let initiated = chain.initiated(&args.withdrawal).await?;
    let signer = args.key.signer()?;
    let bar = ui::spinner("looking for a claim that covers it");
    let provable = loop {
        match chain.stage(&initiated).await? {
            Stage::Provable(provable) => break provable,
            Stage::Initiated if args.wait => {
                bar.set_message(unclaimed(&chain, initiated.block).to_string());
            }
            Stage::Initiated => {
                return Err(WalletError::NotProvable(unclaimed(&chain, initiated.block)));
            }
            Stage::Proved(_) | Stage::Finalizable(_) => {
                bar.finish_and_clear();
                println!("it is proved already");
                return print_stage(&chain, &initiated).await;
            }
            Stage::Finalized => return Err(WalletError::AlreadyFinalized),
        }
        tokio::time::sleep(POLL).await;
    };
    bar.set_message("proving on L1");
    let Provable { claim, output, proof } = provable;
    let input = initiated.withdrawal.prove_call(claim.index, &output, proof);
    let included = send_l1(&chain, signer, chain.deployment.contracts.portal, input).await?;
    bar.finish_and_clear();
    println!("proved against claim {} of block {}", claim.index, claim.block);
    println!("L1 transaction {}, {} gas", included.tx, included.gas_used);
    print_stage(&chain, &initiated).await
}

pub async fn finalize(args: FinalizeArgs) -> Result<(), WalletError> {
    let chain = args.chain.connect().await?;
    let initiated = chain.initiated(&args.withdrawal).await?;
    let signer = args.key.signer()?;
    let proven = until_final(&chain, &initiated, args.wait).await?;
    let bar = ui::spinner("finalising on L1");
    let input = initiated.withdrawal.finalize_call(proven.prover);
    let portal = chain.deployment.contracts.portal;
    let included = send_l1(&chain, signer.clone(), portal, input).await?;
    bar.finish_and_clear();
    let paid = chain.pays(&initiated.withdrawal).await?;
    println!("{} {paid}", paint(Paint::Green, "paid:"));
    println!("L1 transaction {}, {} gas", included.tx, included.gas_used);
    take_credit(&chain, signer, &initiated).await
}

async fn until_final(
    chain: &Chain,
    initiated: &Initiated,
    wait: bool,
) -> Result<Proven, WalletError> {
    let bar = ui::spinner("asking L1");
    loop {
        match chain.stage(initiated).await? {
            Stage::Finalizable(proven) => {
                bar.finish_and_clear();
                return Ok(proven);
            }
            Stage::Proved(proven) => {
                let claim = proven.claim.index;
                let pending = Pending { claim, settles: chain.settles(&proven.claim).await? };
                if !wait {
                    return Err(WalletError::NotFinal(pending));
                }
                bar.set_message(pending.to_string());
            }
            Stage::Initiated | Stage::Provable(_) => {
                return Err(WalletError::NotProved(initiated.tx));
            }
            Stage::Finalized => return Err(WalletError::AlreadyFinalized),
        }
        tokio::time::sleep(POLL).await;
    }
}

/// The market keeps what it receives for whoever holds the withdrawal: if that is the signer, it is taken out.
async fn take_credit(
    chain: &Chain,
    signer: PrivateKeySigner,
    initiated: &Initiated,
) -> Result<(), WalletError> {
    let contracts = &chain.deployment.contracts;
    if exit_market::seller(&initiated.withdrawal, contracts.exit_market).is_none() {
        return Ok(());
    }
    let credit = exit_market::credits(&chain.l1, contracts, signer.address()).await?;
    if credit.is_zero() {
        return Ok(());
    }
    let bar = ui::spinner("taking it out of the market");
    send_l1(chain, signer, contracts.exit_market, exit_market::withdraw_call()).await?;
    bar.finish_and_clear();
    println!("taken out of the market: {} ether", ui::ether(credit));
    Ok(())
}
