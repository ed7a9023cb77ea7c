//! Buys withdrawals before they are final (`annex node --buy-exits`): what this node has executed itself needs nobody's word.
//!
//! All that must not be forgotten is on L1: offers and purchases are the market's events, so a node that was stopped, or lost
//! its disk, goes on as if it had not been.

mod collect;
mod directory;
mod market;
mod quote;

pub use quote::{ExitQuote, Refusal};

use crate::{
    NodeError,
    api::internal,
    chain::L2,
    progress::{self, Progress},
};
use alloy_primitives::{Address, B256, Bytes, TxKind, U64, U256};
use alloy_signer_local::PrivateKeySigner;
use annex_l1::{
    Call, Deployment, Included, L1Client, L1Error, SendLimits, SendOutcome, Sender,
    exit_market::{self, Offer},
    withdrawal,
};
use directory::Directory;
use jsonrpsee::RpcModule;
use market::Market;
use quote::Look;
use serde::Serialize;
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Discounts are counted in millionths.
pub const MILLION: u64 = 1_000_000;
/// Most L1 gas of a purchase. It needs half of that, but pays a seller whose code may burn more.
const MAX_BUY_GAS: u64 = 150_000;
/// Longest wait between attempts while L1 fails.
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// At what price withdrawals are bought.
#[derive(Clone, Debug)]
pub struct ExitTerms {
    /// Pays, and must not be used from anywhere else.
    pub key: PrivateKeySigner,
    /// Millionths taken off the value for the longest wait; proportionally less for a shorter one.
    pub max_discount: u64,
    /// Most wei that may be in withdrawals that are bought and not paid yet.
    pub budget: U256,
}

/// The buyer, shared by its task and the RPC.
pub(crate) struct Buyer {
    terms: ExitTerms,
    client: L1Client,
    deployment: Deployment,
    l2: Arc<L2>,
    poll_interval: Duration,
    seen: Mutex<Option<Seen>>,
    directory: Mutex<Directory>,
}

/// What the newest round saw.
#[derive(Clone)]
struct Seen {
    look: Arc<Look>,
    report: Report,
}

/// Answer of `annex_exits`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    account: Address,
    l1_block: U64,
    /// Millionths.
    max_discount: U64,
    budget: U256,
    /// Wei of the budget that are in bought withdrawals.
    spent: U256,
    balance: U256,
    /// Offers that are looked at.
    offers: U64,
    held: Vec<HeldReport>,
    /// Why nothing at all is bought.
    reason: Option<Refusal>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct HeldReport {
    withdrawal: B256,
    value: U256,
    price: U256,
    /// Seconds.
    wait: U64,
}

/// The buyer at work.
struct Task {
    buyer: Arc<Buyer>,
    sender: Sender,
    market: Market,
    /// L1's head and the safe block that were looked at last, if there was nothing to send.
    looked: Option<(B256, u64)>,
}

impl Buyer {
    pub fn new(
        terms: ExitTerms,
        client: L1Client,
        deployment: Deployment,
        l2: Arc<L2>,
        poll_interval: Duration,
    ) -> Self {
        let (seen, directory) = Default::default();
        Self { terms, client, deployment, l2, poll_interval, seen, directory }
    }

    fn account(&self) -> Address {
        self.terms.key.address()
    }

    fn progress(&self) -> &Progress {
        &self.l2.progress
    }

    fn seen(&self) -> Option<Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn directory(&self) -> MutexGuard<'_, Directory> {
        self.directory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Buys what is offered at its price or below, and takes to L1 what was bought.
    pub async fn run(self: Arc<Self>) -> Result<(), NodeError> {
        let poll_interval = self.poll_interval;
        let limits = SendLimits { poll_interval, ..SendLimits::default() };
        let sender = Sender::new(self.client.clone(), self.terms.key.clone(), limits);
        let market = Market::new(self.account(), &self.deployment);
        let mut task = Task { buyer: self, sender, market, looked: None };
        let mut wait = poll_interval;
        loop {
            tokio::time::sleep(wait).await;
            wait = match task.round().await {
                Ok(()) => poll_interval,
                Err(NodeError::L1(error)) => {
                    tracing::warn!(%error, "exits: L1 fails, trying again");
                    metrics::counter!("annex_exits_l1_errors_total").increment(1);
                    (wait * 2).min(MAX_BACKOFF)
                }
                Err(error) => return Err(error),
            };
        }
    }
}

impl Task {
    async fn round(&mut self) -> Result<(), NodeError> {
        let buyer = self.buyer.clone();
        if !buyer.progress().caught_up() {
            return Ok(());
        }
        let head = buyer.client.head().await?;
        let safe = progress::derived(&buyer.l2.store.snapshot()?)?.safe;
        if self.looked == Some((head.hash, safe)) {
            return Ok(());
        }
        self.market.read(&buyer.client, head.number).await?;
        let look = Arc::new(buyer.look().await?);
        // What is bought is proved in the state that settles.
        buyer.l2.store.keep_states_from(look.settled);
        let market = buyer.deployment.contracts.exit_market;
        buyer.directory().update(&buyer.l2, market, look.settled)?;
        self.show(&look)?;
        let mut sent = self.collect(&look).await?;
        sent |= self.buy(&look).await?;
        self.looked = (!sent).then_some((head.hash, safe));
        Ok(())
    }

    /// Tells the RPC and the metrics what there is.
    fn show(&self, look: &Arc<Look>) -> Result<(), NodeError> {
        let buyer = &self.buyer;
        let snapshot = buyer.l2.store.snapshot()?;
        let mut held = Vec::new();
        for bought in self.market.held() {
            let Offer { withdrawal, price, .. } = bought;
            let hash = withdrawal.hash();
            let wait = U64::from(look.wait(&snapshot, hash)?);
            held.push(HeldReport {
                withdrawal: hash,
                value: withdrawal.value,
                price: *price,
                wait,
            });
        }
        let report = Report {
            account: buyer.account(),
            l1_block: U64::from(look.at.number),
            max_discount: U64::from(buyer.terms.max_discount),
            budget: buyer.terms.budget,
            spent: self.market.spent(),
            balance: look.balance,
            offers: U64::from(self.market.offers().len()),
            held,
            reason: look.refusal,
        };
        metrics::gauge!("annex_exits_offers").set(self.market.offers().len() as f64);
        metrics::gauge!("annex_exits_held").set(report.held.len() as f64);
        metrics::gauge!("annex_exits_spent_gwei").set(gwei(report.spent) as f64);
        metrics::gauge!("annex_exits_balance_gwei").set(gwei(report.balance) as f64);
        let seen = Some(Seen { look: look.clone(), report });
        *buyer.seen.lock().unwrap_or_else(PoisonError::into_inner) = seen;
        Ok(())
    }

    /// Buys what is worth its price, the oldest offer first. Whether anything was sent.
    async fn buy(&mut self, look: &Look) -> Result<bool, NodeError> {
        let buyer = self.buyer.clone();
        let (mut sent, mut balance) = (false, look.balance);
        for offer in self.market.offers() {
            let hash = offer.withdrawal.hash();
            let terms = match buyer.assess(&offer.withdrawal, look)? {
                Ok(terms) => terms,
                Err(refusal) => {
                    tracing::debug!(withdrawal = %hash, ?refusal, "exits: not bought");
                    continue;
                }
            };
            self.market.verified(hash);
            // Twice: fees may rise until they are final.
            let reserve = look.gas_cost(2 * (self.market.held().count() as u64 + 1));
            let left = buyer.terms.budget.saturating_sub(self.market.spent());
            if offer.price > terms.limit
                || offer.price > left
                || balance < offer.price.saturating_add(reserve)
            {
                let (price, worth) = (offer.price, terms.limit);
                tracing::debug!(withdrawal = %hash, %price, %worth, %left, %balance, "exits: too dear");
                continue;
            }
            match self.purchase(&offer).await? {
                Purchase::Bought => {
                    balance -= offer.price;
                    sent = true;
                }
                Purchase::Gone => {}
                Purchase::Failed => self.market.failed(hash),
                // Whatever comes next, fees or the nonce stand in its way too.
                Purchase::NotSent => return Ok(sent),
            }
        }
        Ok(sent)
    }

    async fn purchase(&mut self, offer: &Offer) -> Result<Purchase, NodeError> {
        let buyer = self.buyer.clone();
        let (client, contracts) = (&buyer.client, &buyer.deployment.contracts);
        let hash = offer.withdrawal.hash();
        let sale = exit_market::sale(client, contracts, &offer.withdrawal).await?;
        let same = sale.holder == offer.seller && sale.price == offer.price;
        if !same || withdrawal::is_finalized(client, contracts, hash).await? {
            return Ok(Purchase::Gone);
        }
        match exit_market::gas_to_buy(client, contracts, buyer.account(), offer).await {
            Ok(gas) if gas <= MAX_BUY_GAS => {}
            Ok(gas) => {
                tracing::warn!(withdrawal = %hash, gas, "exits: the seller burns gas");
                return Ok(Purchase::Failed);
            }
            Err(L1Error::Reverted(reason)) => {
                tracing::debug!(withdrawal = %hash, %reason, "exits: cannot be bought");
                return Ok(Purchase::Failed);
            }
            Err(error) => return Err(error.into()),
        }
        let input = exit_market::buy_call(&offer.withdrawal);
        match self.send("buy", contracts.exit_market, input, offer.price).await? {
            Sent::Included(included) => {
                let (price, value) = (offer.price, offer.withdrawal.value);
                let (gas, tx) = (included.gas_used, included.tx);
                tracing::info!(withdrawal = %hash, %value, %price, gas, %tx, "exits: bought");
                metrics::counter!("annex_exits_bought_total").increment(1);
                metrics::counter!("annex_exits_paid_gwei_total").increment(gwei(price));
                self.market.bought(offer);
                Ok(Purchase::Bought)
            }
            Sent::Reverted => Ok(Purchase::Failed),
            Sent::Not => Ok(Purchase::NotSent),
        }
    }

    async fn send(
        &mut self,
        action: &'static str,
        to: Address,
        input: Bytes,
        value: U256,
    ) -> Result<Sent, NodeError> {
        let call = Call { to: TxKind::Call(to), input, value, sidecar: None };
        self.sender.pause().await;
        let (sent, outcome) = match self.sender.send(&call).await? {
            SendOutcome::Included(included) => {
                metrics::counter!("annex_exits_gas_total").increment(included.gas_used);
                (Sent::Included(included), "included")
            }
            SendOutcome::Reverted { reason, tx } => {
                // Somebody else was faster.
                tracing::info!(action, %reason, paid = tx.is_some(), "exits: reverted");
                (Sent::Reverted, if tx.is_some() { "reverted" } else { "in vain" })
            }
            SendOutcome::FeeTooHigh { fee_per_gas, .. } => {
                tracing::warn!(action, fee_per_gas, "exits: L1's fees are above the limit");
                (Sent::Not, "fee too high")
            }
            SendOutcome::Stuck { attempts, .. } => {
                tracing::warn!(action, attempts, "exits: a transaction is stuck");
                (Sent::Not, "stuck")
            }
            SendOutcome::Superseded => (Sent::Not, "superseded"),
        };
        let labels = [("action", action), ("outcome", outcome)];
        metrics::counter!("annex_exits_transactions_total", &labels).increment(1);
        Ok(sent)
    }
}

/// How an attempt to buy ended.
enum Purchase {
    Bought,
    /// It is not for sale any more at that price.
    Gone,
    /// It reverts, or burns gas.
    Failed,
    NotSent,
}

enum Sent {
    Included(Included),
    Reverted,
    /// To be decided again.
    Not,
}

fn gwei(wei: U256) -> u64 {
    (wei / U256::from(1_000_000_000u64)).saturating_to()
}

/// `annex_exitQuote` and `annex_exits`
pub(crate) fn module(buyer: &Arc<Buyer>) -> RpcModule<impl Send + Sync + 'static> {
    let mut module = RpcModule::from_arc(buyer.clone());
    let quote = module.register_async_method("annex_exitQuote", |params, buyer, _| async move {
        let hash: B256 = params.one()?;
        buyer.quote(hash).await.map_err(internal)
    });
    quote.map(drop).expect("the first name");
    let report =
        module.register_method("annex_exits", |_, buyer, _| buyer.seen().map(|seen| seen.report));
    report.map(drop).expect("another name");
    module
}

#[cfg(test)]
mod tests;
