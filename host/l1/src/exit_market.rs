//! Sales of withdrawals before they are final.

use crate::client::L1Client;
use crate::contracts::ExitMarket;
use crate::deployment::Contracts;
use crate::error::L1Error;
use crate::withdrawal::Withdrawal;
use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_rpc_types_eth::{Filter, Log, TransactionRequest};
use alloy_sol_types::{SolCall, SolEvent, SolEventInterface};

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

/// What happened to a withdrawal in the market.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MarketEvent {
    Offered(Offer),
    Cancelled {
        withdrawal: B256,
    },
    Bought {
        withdrawal: B256,
        buyer: Address,
        price: U256,
    },
    /// It was paid, to the market's credit of `holder`.
    Exited {
        withdrawal: B256,
        holder: Address,
    },
}

/// What happened in L1 blocks `from..=to`, in order.
pub async fn events(
    client: &L1Client,
    contracts: &Contracts,
    from: u64,
    to: u64,
) -> Result<Vec<MarketEvent>, L1Error> {
    let logs = client.logs(Filter::new().address(contracts.exit_market), from, to).await?;
    Ok(logs.iter().filter_map(|log| event(log, contracts.exit_market)).collect())
}

/// The newest offer of a withdrawal in L1 blocks `from..=to`.
pub async fn offer_of(
    client: &L1Client,
    contracts: &Contracts,
    withdrawal: B256,
    from: u64,
    to: u64,
) -> Result<Option<Offer>, L1Error> {
    let market = contracts.exit_market;
    let filter = Filter::new()
        .address(market)
        .event_signature(ExitMarket::Offered::SIGNATURE_HASH)
        .topic1(withdrawal);
    let logs = client.logs(filter, from, to).await?;
    Ok(logs.iter().rev().find_map(|log| match event(log, market)? {
        MarketEvent::Offered(offer) if offer.withdrawal.hash() == withdrawal => Some(offer),
        _ => None,
    }))
}

fn event(log: &Log, market: Address) -> Option<MarketEvent> {
    use ExitMarket::ExitMarketEvents as Event;
    if log.address() != market {
        return None;
    }
    Some(match Event::decode_log(&log.inner).ok()?.data {
        Event::Offered(event) => {
            let withdrawal = Withdrawal::from_market(&event.withdrawal);
            // An endpoint that says otherwise lies.
            (withdrawal.hash() == event.withdrawalHash).then_some(())?;
            let ExitMarket::Offered { seller, price, .. } = event;
            MarketEvent::Offered(Offer { withdrawal, seller, price })
        }
        Event::Cancelled(event) => MarketEvent::Cancelled { withdrawal: event.withdrawalHash },
        Event::Bought(ExitMarket::Bought { withdrawalHash: withdrawal, buyer, price, .. }) => {
            MarketEvent::Bought { withdrawal, buyer, price }
        }
        Event::Exited(ExitMarket::Exited { withdrawalHash: withdrawal, holder, .. }) => {
            MarketEvent::Exited { withdrawal, holder }
        }
        Event::Withdrawn(_) => return None,
    })
}

/// Gas that buying takes in the next block; reverts as the purchase does. A seller that is a contract can make it any number.
pub async fn gas_to_buy(
    client: &L1Client,
    contracts: &Contracts,
    buyer: Address,
    offer: &Offer,
) -> Result<u64, L1Error> {
    let request = TransactionRequest::default()
        .from(buyer)
        .to(contracts.exit_market)
        .value(offer.price)
        .input(buy_call(&offer.withdrawal).into());
    client.estimate_gas(request).await
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
