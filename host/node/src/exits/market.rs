//! What the market's events say: offers, and what this node has bought.

use super::quote::MAX_GAS;
use alloy_primitives::{Address, B256, U256};
use annex_l1::{
    BlockRef, Contracts, Deployment, L1Client, L1Error,
    exit_market::{self, MarketEvent, Offer},
};
use std::collections::BTreeMap;

/// Offers that are remembered.
pub(super) const MAX_OFFERS: usize = 1_024;
/// L1 blocks whose events are read at once.
const PAGE: u64 = 16_384;
/// Failed attempts after which a withdrawal is left to others.
const MAX_FAILURES: u8 = 3;

pub(super) struct Market {
    account: Address,
    contracts: Contracts,
    /// L1 block of the chain's first record.
    start: u64,
    confirmations: u64,
    /// The newest block whose events were taken up.
    read: Option<BlockRef>,
    offers: BTreeMap<B256, Listed>,
    /// Offers so far.
    count: u64,
    held: BTreeMap<B256, Offer>,
    /// Bought in blocks that are not confirmed.
    fresh: BTreeMap<B256, Offer>,
}

struct Listed {
    offer: Offer,
    order: u64,
    /// This node's chain has the withdrawal.
    verified: bool,
    failures: u8,
}

impl Market {
    pub fn new(account: Address, deployment: &Deployment) -> Self {
        let parameters = &deployment.parameters;
        Self {
            account,
            contracts: deployment.contracts.clone(),
            start: parameters.l1_start_block,
            confirmations: parameters.l1_confirmations,
            read: None,
            offers: BTreeMap::new(),
            count: 0,
            held: BTreeMap::new(),
            fresh: BTreeMap::new(),
        }
    }

    /// What is offered, the oldest first.
    pub fn offers(&self) -> Vec<Offer> {
        let mut listed: Vec<&Listed> =
            self.offers.values().filter(|listed| listed.failures < MAX_FAILURES).collect();
        listed.sort_by_key(|listed| listed.order);
        listed.into_iter().map(|listed| listed.offer.clone()).collect()
    }

    /// What this node has bought and L1 has not paid yet.
    pub fn held(&self) -> impl Iterator<Item = &Offer> {
        let fresh = self.fresh.iter().filter(|(hash, _)| !self.held.contains_key(*hash));
        self.held.iter().chain(fresh).map(|(_, offer)| offer)
    }

    /// Wei that were paid for what is held.
    pub fn spent(&self) -> U256 {
        self.held().fold(U256::ZERO, |sum, offer| sum.saturating_add(offer.price))
    }

    /// Prefers an offer when memory is short.
    pub fn verified(&mut self, withdrawal: B256) {
        if let Some(listed) = self.offers.get_mut(&withdrawal) {
            listed.verified = true;
        }
    }

    pub fn failed(&mut self, withdrawal: B256) {
        if let Some(listed) = self.offers.get_mut(&withdrawal) {
            listed.failures = listed.failures.saturating_add(1);
        }
    }

    /// Notes a purchase until its event is read.
    pub fn bought(&mut self, offer: &Offer) {
        let hash = offer.withdrawal.hash();
        self.offers.remove(&hash);
        self.fresh.insert(hash, offer.clone());
    }

    /// Takes up what happened in confirmed blocks, and this node's purchases beyond.
    pub async fn read(&mut self, client: &L1Client, head: u64) -> Result<(), L1Error> {
        self.notice_reorg(client).await?;
        let end = head.saturating_sub(self.confirmations);
        let mut from = self.read.map_or(self.start, |read| read.number + 1);
        while from <= end {
            let to = end.min(from + PAGE - 1);
            // First the hash: should the chain change in between, the next look notices.
            let block = client.existing_block(to).await?.reference();
            for event in exit_market::events(client, &self.contracts, from, to).await? {
                self.apply(client, event, to).await?;
            }
            (self.read, from) = (Some(block), to + 1);
        }
        let fresh = match from <= head {
            true => exit_market::events(client, &self.contracts, from, head).await?,
            false => Vec::new(),
        };
        self.fresh.clear();
        for event in fresh {
            if let MarketEvent::Bought { withdrawal, buyer, price } = event
                && buyer == self.account
                && let Some(listed) = self.offers.get(&withdrawal)
            {
                self.fresh.insert(withdrawal, Offer { price, ..listed.offer.clone() });
            }
        }
        self.offers.retain(|hash, _| !self.fresh.contains_key(hash));
        Ok(())
    }

    /// Forgets everything if the blocks that it is from are gone: it is read again.
    async fn notice_reorg(&mut self, client: &L1Client) -> Result<(), L1Error> {
        let Some(read) = self.read else { return Ok(()) };
        let now = client.block(read.number).await?;
        if now.is_none_or(|block| block.hash != read.hash) {
            tracing::info!(block = read.number, "exits: L1 reorganised");
            self.read = None;
            self.offers.clear();
            self.held.clear();
        }
        Ok(())
    }

    async fn apply(
        &mut self,
        client: &L1Client,
        event: MarketEvent,
        to: u64,
    ) -> Result<(), L1Error> {
        match event {
            MarketEvent::Offered(offer) => self.offered(offer),
            MarketEvent::Cancelled { withdrawal } => {
                self.offers.remove(&withdrawal);
            }
            MarketEvent::Bought { withdrawal, buyer, price } => {
                let listed = self.offers.remove(&withdrawal).map(|listed| listed.offer);
                self.held.remove(&withdrawal);
                if buyer != self.account {
                    return Ok(());
                }
                let offer = match listed {
                    Some(offer) => Some(offer),
                    // It did not fit into memory.
                    None => {
                        let contracts = &self.contracts;
                        exit_market::offer_of(client, contracts, withdrawal, self.start, to).await?
                    }
                };
                let offer = offer.ok_or(L1Error::NotFound)?;
                self.held.insert(withdrawal, Offer { price, ..offer });
            }
            MarketEvent::Exited { withdrawal, .. } => {
                self.offers.remove(&withdrawal);
                self.held.remove(&withdrawal);
            }
        }
        Ok(())
    }

    fn offered(&mut self, offer: Offer) {
        let hash = offer.withdrawal.hash();
        let before = self.offers.remove(&hash);
        let hopeless = offer.price >= offer.withdrawal.value
            || offer.withdrawal.gas_limit > MAX_GAS
            || offer.seller == self.account;
        if hopeless {
            return;
        }
        if self.offers.len() >= MAX_OFFERS {
            // Offers cost a fee on L1 alone, withdrawals cost their value.
            let least = self.offers.iter().min_by_key(|(_, l)| (l.verified, l.order));
            if let Some(hash) = least.map(|(hash, _)| *hash) {
                self.offers.remove(&hash);
            }
        }
        let failures = before.as_ref().map_or(0, |listed| listed.failures);
        let verified = before.is_some_and(|listed| listed.verified);
        let order = self.count;
        self.count += 1;
        self.offers.insert(hash, Listed { offer, order, verified, failures });
    }
}

#[cfg(test)]
mod tests;
