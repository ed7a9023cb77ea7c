//! What a withdrawal is worth, and whether it is bought at all.

use super::{Buyer, MILLION};
use crate::{NodeError, progress};
use alloy_primitives::{Address, B256, U64, U256, uint};
use annex_claim::OutputRoot;
use annex_l1::{
    L1Block,
    exit_market::{self, MIN_GAS},
    settlement::{self, ClaimState, ClaimStatus, Settlement},
    withdrawal::{self, Withdrawal},
};
use annex_state::StateReader;
use annex_store::{Snapshot, StoreError};
use annex_types::predeploys;
use serde::Serialize;

/// Newest claims that are looked at.
const CLAIMS: u64 = 256;
/// L1 gas of buying (100,000), proving (250,000), finalising with settling (220,000) and taking out (50,000).
const GAS: U256 = uint!(620_000_U256);
/// Highest gas limit of a withdrawal that is bought: the Portal wants as much in the transaction that finalises it, and L1
/// limits that (EIP-7825).
pub(super) const MAX_GAS: U256 = U256::from_limbs([10 * MIN_GAS, 0, 0, 0]);

/// Answer of `annex_exitQuote`: terms, or why there are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExitQuote {
    /// Hash of the withdrawal, or what was asked for if none is known by it.
    pub withdrawal: B256,
    /// Where it is to be offered.
    pub market: Address,
    /// Wei that the withdrawal pays in the end.
    pub value: Option<U256>,
    /// Wei that this node pays for it now.
    pub price: Option<U256>,
    /// Wei: the value less the price.
    pub discount: Option<U256>,
    /// Seconds until it can be final, if nobody disputes.
    pub wait: Option<U64>,
    pub reason: Option<Refusal>,
}

/// Why a withdrawal is not bought.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Refusal {
    /// The node has not caught up.
    NotReady,
    /// A FAULT leaf has settled.
    Faulted,
    /// What has settled on L1 is not what this node has derived.
    Contradicted,
    /// No withdrawal of this node's chain.
    Unknown,
    /// L1 does not carry it yet: it could still be ordered otherwise.
    NotSafe,
    /// It does not call the market as one that can be sold does.
    NotSellable,
    /// It demands more gas of who finalises it than is affordable.
    TooMuchGas,
    /// The Portal holds less than its value.
    Unbacked,
    /// It would not pay for the gas.
    Worthless,
    Bought,
    Finalized,
    /// The price is above what is left of the budget.
    Budget,
}

/// What is paid for a withdrawal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    /// Wei that are quoted.
    pub price: U256,
    /// Wei that are paid at most: the base fee may have doubled since a quote.
    pub limit: U256,
    /// Seconds.
    pub wait: u64,
}

/// A claim of what this node has derived, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TrueClaim {
    pub index: u64,
    pub block: u64,
    /// Seconds until it can be final, if nobody disputes.
    pub wait: u64,
    /// It has settled, or does with the next withdrawal that is finalised.
    pub is_final: bool,
}

/// What prices depend on, at one L1 block.
#[derive(Clone, Debug)]
pub(super) struct Look {
    pub at: L1Block,
    /// The newest settled block.
    pub settled: u64,
    /// Why nothing at all is bought.
    pub refusal: Option<Refusal>,
    pub claims: Vec<TrueClaim>,
    /// Seconds from the beginning of a claim interval to the end of its range's window: for what no claim covers.
    pub longest: u64,
    /// Wei of the Portal.
    pub backing: U256,
    /// Wei of the buyer.
    pub balance: U256,
}

impl Look {
    /// Wei for the gas of that many withdrawals at the present base fee.
    pub fn gas_cost(&self, withdrawals: u64) -> U256 {
        GAS * U256::from(self.at.base_fee) * U256::from(withdrawals)
    }

    /// Seconds until a withdrawal of this node's chain can be final, if nobody disputes.
    pub fn wait(&self, snapshot: &Snapshot, hash: B256) -> Result<u64, StoreError> {
        let mut least = self.longest;
        for claim in &self.claims {
            if claim.wait < least && sent_at(snapshot, hash, claim.block)? {
                least = claim.wait;
            }
        }
        Ok(least)
    }

    /// A final claim of a state that has the withdrawal.
    pub fn final_claim(
        &self,
        snapshot: &Snapshot,
        hash: B256,
    ) -> Result<Option<TrueClaim>, StoreError> {
        for claim in self.claims.iter().filter(|claim| claim.is_final) {
            if sent_at(snapshot, hash, claim.block)? {
                return Ok(Some(*claim));
            }
        }
        Ok(None)
    }
}

impl Buyer {
    pub(super) async fn look(&self) -> Result<Look, NodeError> {
        let (client, contracts) = (&self.client, &self.deployment.contracts);
        let state = settlement::settlement(client, contracts, client.head().await?, &[]).await?;
        let snapshot = self.l2.store.snapshot()?;
        let safe = progress::derived(&snapshot)?.safe;
        let is_true = |block: u64, root: B256| -> Result<bool, StoreError> {
            let header = if block <= safe { snapshot.header(block)? } else { None };
            Ok(header.is_some_and(|(header, _)| OutputRoot::of(&header).hash() == root))
        };
        let mut claims = Vec::new();
        for claim in settlement::claims(client, contracts, None, CLAIMS).await?.iter().rev() {
            if claim.status != ClaimStatus::Beaten && is_true(claim.block, claim.output_root)? {
                claims.extend(self.judge(&state, claim).await?);
            }
        }
        let refusal = if state.faulted {
            Some(Refusal::Faulted)
        } else if !is_true(state.settled.block, state.settled.output_root)? {
            Some(Refusal::Contradicted)
        } else {
            None
        };
        let parameters = &self.deployment.parameters;
        let longest = parameters.claim_interval.saturating_add(parameters.challenge_window);
        Ok(Look {
            at: state.at,
            settled: state.settled.block,
            refusal,
            claims,
            longest: longest.max(1),
            backing: client.balance(contracts.portal).await?,
            balance: client.balance(self.account()).await?,
        })
    }

    /// When a true claim can be final; none if its range is closed without it.
    async fn judge(
        &self,
        state: &Settlement,
        claim: &ClaimState,
    ) -> Result<Option<TrueClaim>, NodeError> {
        let found = |wait, is_final| {
            Some(TrueClaim { index: claim.index, block: claim.block, wait, is_final })
        };
        if claim.status == ClaimStatus::Settled {
            return Ok(found(0, true));
        }
        let Some(range) = state.ranges.iter().find(|range| range.id == claim.range) else {
            return Ok(None);
        };
        let window = self.deployment.parameters.challenge_window;
        let wait = range.opened.saturating_add(window).saturating_sub(state.at.timestamp);
        if wait > 0 {
            return Ok(found(wait, false));
        }
        let contracts = &self.deployment.contracts;
        let (_, is_final) = settlement::claim_of(&self.client, contracts, claim.game).await?;
        // A dispute goes on, for as long as a clock at least.
        Ok(found(if is_final { 0 } else { window }, is_final))
    }

    /// What a withdrawal is worth to this node by its own chain.
    pub(super) fn assess(
        &self,
        withdrawal: &Withdrawal,
        look: &Look,
    ) -> Result<Result<Terms, Refusal>, StoreError> {
        if let Some(refusal) = look.refusal {
            return Ok(Err(refusal));
        }
        let market = self.deployment.contracts.exit_market;
        if exit_market::seller(withdrawal, market).is_none() {
            return Ok(Err(Refusal::NotSellable));
        }
        if withdrawal.gas_limit > MAX_GAS {
            return Ok(Err(Refusal::TooMuchGas));
        }
        let snapshot = self.l2.store.snapshot()?;
        let hash = withdrawal.hash();
        // Of one snapshot: no reorganisation comes between the number and the state.
        if !sent_at(&snapshot, hash, progress::derived(&snapshot)?.safe)? {
            let head = snapshot.head().map_or(0, |head| head.number);
            let promised = sent_at(&snapshot, hash, head)?;
            return Ok(Err(if promised { Refusal::NotSafe } else { Refusal::Unknown }));
        }
        if withdrawal.value > look.backing.min(U256::from(u128::MAX)) {
            return Ok(Err(Refusal::Unbacked));
        }
        let wait = look.wait(&snapshot, hash)?;
        let worth = price(withdrawal.value, self.terms.max_discount, wait, look.longest);
        let gas = look.gas_cost(1);
        let (price, limit) = (worth.saturating_sub(gas + gas), worth.saturating_sub(gas));
        if price.is_zero() {
            return Ok(Err(Refusal::Worthless));
        }
        Ok(Ok(Terms { price, limit, wait }))
    }

    /// What this node would pay now for a withdrawal, named by its hash or by its L2 transaction's.
    pub async fn quote(&self, hash: B256) -> Result<ExitQuote, NodeError> {
        let known = self.directory().get(hash);
        let found = match known {
            Some(withdrawal) => Some(withdrawal),
            None => self.of_transaction(hash)?,
        };
        let mut quote = ExitQuote {
            withdrawal: found.as_ref().map_or(hash, Withdrawal::hash),
            market: self.deployment.contracts.exit_market,
            value: found.as_ref().map(|withdrawal| withdrawal.value),
            price: None,
            discount: None,
            wait: None,
            reason: None,
        };
        match self.terms_of(found).await? {
            Ok((value, Terms { price, wait, .. })) => {
                quote.price = Some(price);
                quote.discount = Some(value - price);
                quote.wait = Some(U64::from(wait));
            }
            Err(refusal) => quote.reason = Some(refusal),
        }
        Ok(quote)
    }

    async fn terms_of(
        &self,
        found: Option<Withdrawal>,
    ) -> Result<Result<(U256, Terms), Refusal>, NodeError> {
        let seen = self.seen().filter(|_| self.progress().caught_up());
        let Some(seen) = seen else { return Ok(Err(Refusal::NotReady)) };
        let Some(withdrawal) = found else { return Ok(Err(Refusal::Unknown)) };
        let terms = match self.assess(&withdrawal, &seen.look)? {
            Ok(terms) => terms,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let (client, contracts) = (&self.client, &self.deployment.contracts);
        if withdrawal::is_finalized(client, contracts, withdrawal.hash()).await? {
            return Ok(Err(Refusal::Finalized));
        }
        let sale = exit_market::sale(client, contracts, &withdrawal).await?;
        let seller = exit_market::seller(&withdrawal, contracts.exit_market);
        // Who has bought it may offer it again.
        let resold = !sale.price.is_zero() && sale.holder != self.account();
        if Some(sale.holder) != seller && !resold {
            return Ok(Err(Refusal::Bought));
        }
        let left = self.terms.budget.saturating_sub(seen.report.spent);
        if terms.price > left {
            return Ok(Err(Refusal::Budget));
        }
        Ok(Ok((withdrawal.value, terms)))
    }

    /// The first withdrawal of an L2 transaction that can be sold; else the first.
    fn of_transaction(&self, tx: B256) -> Result<Option<Withdrawal>, StoreError> {
        let snapshot = self.l2.store.snapshot()?;
        let tx = snapshot.alias(tx)?.unwrap_or(tx);
        let Some((number, index)) = snapshot.transaction_position(tx)? else { return Ok(None) };
        let Some(receipt) = snapshot.receipt_at(number, index)? else { return Ok(None) };
        let found: Vec<_> = receipt.logs.iter().filter_map(Withdrawal::from_log).collect();
        let market = self.deployment.contracts.exit_market;
        let sellable = found.iter().find(|found| exit_market::seller(found, market).is_some());
        Ok(sellable.or(found.first()).cloned())
    }
}

/// Whether the state after a block has the withdrawal. Of states that this node does not keep: no.
pub(super) fn sent_at(snapshot: &Snapshot, hash: B256, number: u64) -> Result<bool, StoreError> {
    let newest = snapshot.head().map_or(0, |head| head.number);
    if number < snapshot.oldest_state() || number > newest {
        return Ok(false);
    }
    let slot = U256::from_be_bytes(withdrawal::storage_slot(hash).0);
    let view = snapshot.at(number)?;
    Ok(view.storage(predeploys::L2_TO_L1_MESSAGE_PASSER, slot)? == U256::ONE)
}

/// The value, at most 2^128, less the discount for a wait, which is rounded up.
pub(super) fn price(value: U256, max_discount: u64, wait: u64, longest: u64) -> U256 {
    let part = U256::from(max_discount.min(MILLION)) * U256::from(wait.min(longest));
    let whole = U256::from(MILLION) * U256::from(longest);
    value - (value * part).div_ceil(whole)
}
