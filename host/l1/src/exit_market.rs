//! Sales of withdrawals before they are final.

use crate::client::L1Client;
use crate::contracts::ExitMarket;
use crate::deployment::Contracts;
use crate::error::L1Error;
use crate::withdrawal::Withdrawal;
use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_rpc_types_eth::{Filter, Log};
use alloy_sol_types::{SolCall, SolEvent};

/// Least gas of a withdrawal that can be sold, as in the contract.
pub const MIN_GAS: u64 = 100_000;

/// A withdrawal in the market.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sale {
    /// Who gets the withdrawal's ether, as things stand.
    pub holder: Address,
    /// Wei; zero: not offered.
    pub price: U256,
}

/// An offer as it was made; it may have been taken or changed since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    pub withdrawal: Withdrawal,
    pub seller: Address,
    /// Wei.
    pub price: U256,
}

/// Who may sell a withdrawal before anybody bought it; none if it cannot be sold.
pub fn seller(withdrawal: &Withdrawal, market: Address) -> Option<Address> {
    let enough = withdrawal.gas_limit >= U256::from(MIN_GAS);
    let call = ExitMarket::receiveExitCall::abi_decode_validate(&withdrawal.data).ok()?;
    let exact = call.abi_encode() == withdrawal.data;
    (withdrawal.target == market && enough && exact).then_some(call.seller)
}

/// How a withdrawal that can be sold stands.
pub async fn sale(
    client: &L1Client,
    contracts: &Contracts,
    withdrawal: &Withdrawal,
) -> Result<Sale, L1Error> {
    let market = contracts.exit_market;
    let call = ExitMarket::holderOfCall { withdrawal: withdrawal.to_market() };
    let holder = client.read(market, &call).await?;
    let price =
        client.read(market, &ExitMarket::pricesCall { withdrawalHash: withdrawal.hash() }).await?;
    Ok(Sale { holder, price })
}

/// Wei that the market holds for an account.
pub async fn credits(
    client: &L1Client,
    contracts: &Contracts,
    account: Address,
) -> Result<U256, L1Error> {
    client.read(contracts.exit_market, &ExitMarket::creditsCall { account }).await
}

/// Offers made in L1 blocks `from..=to`, in order.
pub async fn offers(
    client: &L1Client,
    contracts: &Contracts,
    from: u64,
    to: u64,
) -> Result<Vec<Offer>, L1Error> {
    let market = contracts.exit_market;
    let filter = Filter::new().address(market).event_signature(ExitMarket::Offered::SIGNATURE_HASH);
    let logs = client.logs(filter, from, to).await?;
    Ok(logs.iter().filter_map(|log| offer(log, market)).collect())
}

fn offer(log: &Log, market: Address) -> Option<Offer> {
    let event = ExitMarket::Offered::decode_log(&log.inner).ok()?;
    if log.address() != market {
        return None;
    }
    let withdrawal = Withdrawal::from_market(&event.withdrawal);
    let same: B256 = withdrawal.hash();
    (same == event.withdrawalHash).then_some(Offer {
        withdrawal,
        seller: event.seller,
        price: event.price,
    })
}

/// Calldata that offers a withdrawal for `price` wei.
pub fn offer_call(withdrawal: &Withdrawal, price: U256) -> Bytes {
    ExitMarket::offerCall { withdrawal: withdrawal.to_market(), price }.abi_encode().into()
}

/// Calldata that buys a withdrawal for the price sent along.
pub fn buy_call(withdrawal: &Withdrawal) -> Bytes {
    ExitMarket::buyCall { withdrawal: withdrawal.to_market() }.abi_encode().into()
}

/// Calldata that takes out what the market holds for the sender.
pub fn withdraw_call() -> Bytes {
    ExitMarket::withdrawCall {}.abi_encode().into()
}

impl Withdrawal {
    fn to_market(&self) -> ExitMarket::WithdrawalTransaction {
        let Self { nonce, sender, target, value, gas_limit, data } = self.clone();
        ExitMarket::WithdrawalTransaction {
            nonce,
            sender,
            target,
            value,
            gasLimit: gas_limit,
            data,
        }
    }

    fn from_market(tx: &ExitMarket::WithdrawalTransaction) -> Self {
        let ExitMarket::WithdrawalTransaction { nonce, sender, target, value, gasLimit, data } =
            tx.clone();
        Self { nonce, sender, target, value, gas_limit: gasLimit, data }
    }
}
