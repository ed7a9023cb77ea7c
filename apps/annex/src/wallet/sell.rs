//! A withdrawal for ether on L1 at once.

use super::exit::WithdrawalArgs;
use super::{Chain, ChainArgs, Key, WalletError, send_l1};
use crate::{rpc_client::RpcError, ui};
use alloy_primitives::{B256, U256, utils::parse_ether};
use annex_l1::exit_market;
use clap::{ArgGroup, Args};
use serde_json::json;
use std::time::Duration;

/// Code of JSON-RPC: the node has no such method.
const NO_METHOD: i64 = -32_601;
/// Discounts are counted in millionths.
const MILLION: u64 = 1_000_000;

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("terms").required(true))]
pub struct SellArgs {
    #[command(flatten)]
    withdrawal: WithdrawalArgs,
    #[command(flatten)]
    key: Key,
    /// Ether to ask for
    #[arg(long, group = "terms")]
    price: Option<String>,
    /// Percent of the amount to give up at most: asks for what the node's buyer pays, if it has one
    #[arg(long, group = "terms", value_name = "PERCENT")]
    max_discount: Option<f64>,
    /// Wait until somebody has bought it
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    chain: ChainArgs,
}

pub async fn run(args: SellArgs) -> Result<(), WalletError> {
    let chain = args.chain.connect().await?;
    let initiated = chain.initiated(&args.withdrawal).await?;
    let withdrawal = &initiated.withdrawal;
    let contracts = &chain.deployment.contracts;
    let signer = args.key.signer()?;
    exit_market::seller(withdrawal, contracts.exit_market).ok_or(WalletError::NotSellable)?;
    let holder = exit_market::sale(&chain.l1, contracts, withdrawal).await?.holder;
    let account = signer.address();
    if holder != account {
        return Err(WalletError::NotHolder { holder, account });
    }
    let price = match (&args.price, args.max_discount) {
        (Some(price), _) => parse_ether(price)?,
        (None, percent) => {
            let least = discounted(withdrawal.value, percent.unwrap_or_default())?;
            quoted(&chain, initiated.tx, least).await?
        }
    };
    let bar = ui::spinner("offering it on L1");
    let input = exit_market::offer_call(withdrawal, price);
    let included = send_l1(&chain, signer, contracts.exit_market, input).await?;
    bar.finish_and_clear();
    println!("offered: {} ether for {}", ui::ether(withdrawal.value), ui::ether(price));
    println!("L1 transaction {}, {} gas", included.tx, included.gas_used);
    if !args.wait {
        println!("next: annex wallet status {}", initiated.tx);
        return Ok(());
    }
    let bar = ui::spinner("waiting for a buyer");
    let buyer = loop {
        let sale = exit_market::sale(&chain.l1, contracts, withdrawal).await?;
        if sale.holder != account {
            break sale.holder;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    };
    bar.finish_and_clear();
    println!("sold to {buyer} for {} ether", ui::ether(price));
    Ok(())
}

/// What is left of an amount after a discount in percent.
fn discounted(amount: U256, percent: f64) -> Result<U256, WalletError> {
    if !(0.0..100.0).contains(&percent) {
        return Err(WalletError::Discount);
    }
    let kept = MILLION - (percent * (MILLION / 100) as f64).round() as u64;
    Ok(amount * U256::from(kept) / U256::from(MILLION))
}

/// What the node's buyer pays, if it has one; else the least.
async fn quoted(chain: &Chain, tx: B256, least: U256) -> Result<U256, WalletError> {
    let quote = match chain.l2.call("annex_exitQuote", json!([tx])).await {
        Err(RpcError::Call { code: NO_METHOD, .. }) => return Ok(least),
        answer => answer?,
    };
    if quote["price"].is_null() {
        // It does not buy this one, or not yet: somebody else may.
        return Ok(least);
    }
    let quote: U256 = serde_json::from_value(quote["price"].clone())?;
    if quote < least {
        return Err(WalletError::QuoteTooLow { quote, least });
    }
    Ok(quote)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn discounts_are_percent() {
        let ether = U256::from(10u64.pow(18));
        assert_eq!(discounted(ether, 0.0).expect("none"), ether);
        assert_eq!(discounted(ether, 1.5).expect("some"), U256::from(985 * 10u64.pow(15)));
        for percent in [-1.0, 100.0, f64::NAN] {
            assert!(discounted(ether, percent).is_err());
        }
    }
}
