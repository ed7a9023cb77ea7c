//! Buys withdrawals before they are final (`annex node --buy-exits`): what this node has executed itself needs nobody's word.

use crate::{NodeError, api::internal, chain::L2};
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, uint};
use alloy_signer_local::PrivateKeySigner;
use annex_claim::OutputRoot;
use annex_l1::settlement::{self, ClaimStatus, Settlement};
use annex_l1::withdrawal::{OutputProof, PortalStatus, Withdrawal, portal_status};
use annex_l1::{
    Call, Deployment, L1Client, L1Error, SendLimits, SendOutcome, Sender,
    exit_market::{self, Offer},
};
use annex_state::StateReader;
use annex_store::StoreError;
use annex_types::predeploys;
use jsonrpsee::RpcModule;
use serde::Serialize;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// Offers that are remembered until they are sold, paid or withdrawn; the newest.
const MAX_OFFERS: usize = 1_024;
/// Newest claims among which one is looked for.
const CLAIMS: u64 = 64;
/// L1 gas of buying, proving and finalising, which the seller bears.
const GAS: U256 = uint!(900_000_U256);
/// Ether kept for gas: 0.05.
const RESERVE: U256 = uint!(50_000_000_000_000_000_U256);
/// Discounts are counted in millionths.
pub const MILLION: u64 = 1_000_000;

/// At what price withdrawals are bought.
#[derive(Clone, Debug)]
pub struct ExitTerms {
    pub key: PrivateKeySigner,
    /// Millionths taken off the amount for the longest wait; proportionally less for a shorter one.
    pub max_discount: u64,
}

/// Answer of `annex_exitQuote`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExitQuote {
    pub withdrawal: B256,
    /// Wei that the withdrawal pays in the end.
    pub amount: U256,
    /// Wei that this node pays for it now.
    pub price: U256,
    /// Seconds until it can be final, if nobody disputes.
    pub wait: U256,
}

/// The buyer, shared by its task and the RPC.
pub(crate) struct Buyer {
    pub terms: ExitTerms,
    pub client: L1Client,
    pub deployment: Deployment,
    pub l2: Arc<L2>,
    pub poll_interval: Duration,
}

impl Buyer {
    /// What a withdrawal is worth to this node; none if it cannot be sold, is not safe on L2, or is paid.
    pub async fn quote(&self, withdrawal: &Withdrawal) -> Result<Option<ExitQuote>, NodeError> {
        let contracts = &self.deployment.contracts;
        let hash = withdrawal.hash();
        let sellable = exit_market::seller(withdrawal, contracts.exit_market).is_some();
        // What L1 does not carry yet could still be ordered otherwise.
        if !sellable || !self.sent_at(hash, self.l2.progress.safe())? {
            return Ok(None);
        }
        if matches!(portal_status(&self.client, contracts, hash).await?, PortalStatus::Finalized) {
            return Ok(None);
        }
        let state =
            settlement::settlement(&self.client, contracts, self.terms.key.address()).await?;
        if state.faulted {
            return Ok(None);
        }
        let wait = self.wait(hash, &state).await?;
        let gas = GAS * U256::from(2 * state.at.base_fee);
        let price = price(withdrawal.value, self.terms.max_discount, wait, self.longest_wait());
        let price = price.saturating_sub(gas);
        let quote =
            ExitQuote { withdrawal: hash, amount: withdrawal.value, price, wait: U256::from(wait) };
        Ok((!price.is_zero()).then_some(quote))
    }

    /// The sellable withdrawal of an L2 transaction, and its quote.
    pub async fn quote_transaction(&self, tx: B256) -> Result<Option<ExitQuote>, NodeError> {
        let snapshot = self.l2.store.snapshot()?;
        let tx = snapshot.alias(tx)?.unwrap_or(tx);
        let Some((number, index)) = snapshot.transaction_position(tx)? else { return Ok(None) };
        let Some(receipt) = snapshot.receipt_at(number, index)? else { return Ok(None) };
        for withdrawal in receipt.logs.iter().filter_map(Withdrawal::from_log) {
            if let Some(quote) = self.quote(&withdrawal).await? {
                return Ok(Some(quote));
            }
        }
        Ok(None)
    }

    /// Whether the state after a block remembers the withdrawal. Of states that this node does not keep: no.
    fn sent_at(&self, hash: B256, number: u64) -> Result<bool, StoreError> {
        let snapshot = self.l2.store.snapshot()?;
        let newest = snapshot.head().map_or(0, |head| head.number);
        if number < snapshot.oldest_state() || number > newest {
            return Ok(false);
        }
        let slot = U256::from_be_bytes(annex_l1::withdrawal::storage_slot(hash).0);
        let view = snapshot.at(number)?;
        Ok(view.storage(predeploys::L2_TO_L1_MESSAGE_PASSER, slot)? == U256::ONE)
    }

    /// Seconds from the beginning of a claim interval to the end of its range's window.
    fn longest_wait(&self) -> u64 {
        let parameters = &self.deployment.parameters;
        parameters.claim_interval.saturating_add(parameters.challenge_window).max(1)
    }

    /// Seconds until the withdrawal can be final, if nobody disputes.
    async fn wait(&self, hash: B256, state: &Settlement) -> Result<u64, NodeError> {
        if self.sent_at(hash, state.settled.block)? {
            return Ok(0);
        }
        let contracts = &self.deployment.contracts;
        let mut wait = self.longest_wait();
        for claim in settlement::claims(&self.client, contracts, None, CLAIMS).await? {
            let open = claim.status == ClaimStatus::InProgress;
            let range = state.ranges.iter().find(|range| range.id == claim.range);
            let Some(range) = range.filter(|_| open) else { continue };
            if self.is_true(claim.block, claim.output_root)? && self.sent_at(hash, claim.block)? {
                let end = range.opened.saturating_add(self.deployment.parameters.challenge_window);
                wait = wait.min(end.saturating_sub(state.at.timestamp));
            }
        }
        Ok(wait)
    }

    /// Whether an output root is that of this node's block.
    fn is_true(&self, number: u64, output_root: B256) -> Result<bool, StoreError> {
        let header = self.l2.store.snapshot()?.header(number)?;
        Ok(header.is_some_and(|(header, _)| OutputRoot::of(&header).hash() == output_root))
    }

    /// Buys what is offered at its price or below, and takes to L1 what was bought.
    pub async fn run(self: Arc<Self>) -> Result<(), NodeError> {
        let limits = SendLimits { poll_interval: self.poll_interval, ..SendLimits::default() };
        let mut sender = Sender::new(self.client.clone(), self.terms.key.clone(), limits);
        let mut market = Market {
            next_block: self.deployment.parameters.l1_start_block,
            offers: BTreeMap::new(),
        };
        loop {
            match self.round(&mut sender, &mut market).await {
                Ok(()) => {}
                Err(NodeError::L1(error)) => {
                    tracing::warn!(%error, "exits: L1 fails, trying again");
                }
                Err(error) => return Err(error),
            }
            tokio::time::sleep(self.poll_interval).await;
        }
    }

    async fn round(&self, sender: &mut Sender, market: &mut Market) -> Result<(), NodeError> {
        market.read(self).await?;
        let hashes: Vec<B256> = market.offers.keys().copied().collect();
        for hash in hashes {
            let Some(withdrawal) = market.offers.get(&hash).cloned() else { continue };
            let done = self.consider(sender, &withdrawal).await?;
            if done {
                market.offers.remove(&hash);
            }
        }
        let credits =
            exit_market::credits(&self.client, &self.deployment.contracts, self.account()).await?;
        if !credits.is_zero() {
            let input = exit_market::withdraw_call();
            let market = self.deployment.contracts.exit_market;
            self.send(sender, market, input, U256::ZERO, "took out what was bought").await?;
        }
        Ok(())
    }

    /// One step for a withdrawal; true if there is nothing more to do about it.
    async fn consider(
        &self,
        sender: &mut Sender,
        withdrawal: &Withdrawal,
    ) -> Result<bool, NodeError> {
        let contracts = &self.deployment.contracts;
        let hash = withdrawal.hash();
        let status = portal_status(&self.client, contracts, hash).await?;
        if status == PortalStatus::Finalized {
            return Ok(true);
        }
        let sale = exit_market::sale(&self.client, contracts, withdrawal).await?;
        if sale.holder == self.account() {
            self.take_home(sender, withdrawal, status).await?;
            return Ok(false);
        }
        if sale.price.is_zero() {
            // Sold to others, or taken back: a new offer is a new event.
            return Ok(true);
        }
        let Some(quote) = self.quote(withdrawal).await? else { return Ok(false) };
        let funds = self.client.balance(self.account()).await?;
        if sale.price <= quote.price && funds >= sale.price + RESERVE {
            let input = exit_market::buy_call(withdrawal);
            let what = "bought a withdrawal";
            self.send(sender, contracts.exit_market, input, sale.price, what).await?;
        }
        Ok(false)
    }

    /// Proves and finalises what was bought.
    async fn take_home(
        &self,
        sender: &mut Sender,
        withdrawal: &Withdrawal,
        status: PortalStatus,
    ) -> Result<(), NodeError> {
        let portal = self.deployment.contracts.portal;
        match status {
            PortalStatus::Proven(proven) if proven.finalizable => {
                let input = withdrawal.finalize_call(proven.prover);
                self.send(sender, portal, input, U256::ZERO, "finalised a bought withdrawal").await
            }
            PortalStatus::Proven(proven) if proven.claim.status != ClaimStatus::Beaten => Ok(()),
            _ => match self.proof(withdrawal).await? {
                Some(input) => {
                    self.send(sender, portal, input, U256::ZERO, "proved a bought withdrawal").await
                }
                None => Ok(()),
            },
        }
    }

    /// The call that proves a withdrawal against the first true claim that covers it.
    async fn proof(&self, withdrawal: &Withdrawal) -> Result<Option<Bytes>, NodeError> {
        let contracts = &self.deployment.contracts;
        let hash = withdrawal.hash();
        for claim in settlement::claims(&self.client, contracts, None, CLAIMS).await? {
            let alive = claim.status != ClaimStatus::Beaten;
            let covers = alive && self.is_true(claim.block, claim.output_root)?;
            if !covers || !self.sent_at(hash, claim.block)? {
                continue;
            }
            let snapshot = self.l2.store.snapshot()?;
            let Some((header, block_hash)) = snapshot.header(claim.block)? else { continue };
            let view = snapshot.at(claim.block)?;
            let slot = U256::from_be_bytes(withdrawal.storage_slot().0);
            let prove = move || view.proof(predeploys::L2_TO_L1_MESSAGE_PASSER, &[slot]);
            let proof =
                tokio::task::spawn_blocking(prove).await.map_err(|_| NodeError::Ended)??;
            let output = OutputProof {
                state_root: header.state_root,
                withdrawals_root: header.withdrawals_root.unwrap_or_default(),
                block_hash,
            };
            let nodes = proof.slots.into_iter().next().map(|slot| slot.nodes);
            return Ok(nodes.map(|nodes| withdrawal.prove_call(claim.index, &output, nodes)));
        }
        Ok(None)
    }

    async fn send(
        &self,
        sender: &mut Sender,
        to: Address,
        input: Bytes,
        value: U256,
        what: &'static str,
    ) -> Result<(), NodeError> {
        let call = Call { to: TxKind::Call(to), input, value, sidecar: None };
        match sender.send(&call).await? {
            SendOutcome::Included(included) => {
                tracing::info!(tx = %included.tx, %value, "exits: {what}");
            }
            // Somebody else was faster, or fees are high: the next round looks again.
            outcome => tracing::debug!(?outcome, "exits: not {what}"),
        }
        Ok(())
    }

    fn account(&self) -> Address {
        self.terms.key.address()
    }
}

/// `annex_exitQuote`
pub(crate) fn module(buyer: &Arc<Buyer>) -> RpcModule<impl Send + Sync + 'static> {
    let mut module = RpcModule::from_arc(buyer.clone());
    let registered =
        module.register_async_method("annex_exitQuote", |params, buyer, _| async move {
            let tx: B256 = params.one()?;
            buyer.quote_transaction(tx).await.map_err(internal)
        });
    registered.map(drop).expect("the only name");
    module
}

/// What was seen of the market.
struct Market {
    next_block: u64,
    /// By hash: offered once, and not known to be over.
    offers: BTreeMap<B256, Withdrawal>,
}

impl Market {
    async fn read(&mut self, buyer: &Buyer) -> Result<(), L1Error> {
        let head = buyer.client.head().await?.number;
        let head = head.saturating_sub(buyer.deployment.parameters.l1_confirmations);
        if head < self.next_block {
            return Ok(());
        }
        let contracts = &buyer.deployment.contracts;
        let offers = exit_market::offers(&buyer.client, contracts, self.next_block, head).await?;
        for Offer { withdrawal, .. } in offers {
            if self.offers.len() >= MAX_OFFERS {
                self.offers.pop_first();
            }
            self.offers.insert(withdrawal.hash(), withdrawal);
        }
        self.next_block = head + 1;
        Ok(())
    }
}

/// The amount less the discount for a wait.
fn price(amount: U256, max_discount: u64, wait: u64, longest: u64) -> U256 {
    let (part, whole) = (U256::from(max_discount) * U256::from(wait), U256::from(longest));
    let discount = amount.saturating_mul(part) / whole / U256::from(MILLION);
    amount.saturating_sub(discount)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_discount_grows_with_the_wait() {
        let ether = uint!(1_000_000_000_000_000_000_U256);
        assert_eq!(price(ether, 20_000, 70, 70), ether * U256::from(98) / U256::from(100));
        assert_eq!(price(ether, 20_000, 35, 70), ether * U256::from(99) / U256::from(100));
        assert_eq!(price(ether, 20_000, 0, 70), ether);
        assert_eq!(price(U256::MAX, MILLION, 70, 70).leading_zeros(), 0);
    }
}
