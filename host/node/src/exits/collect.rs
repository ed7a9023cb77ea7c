//! Takes to L1 what was bought, once it can be final.

use super::{Sent, Task, gwei, quote::Look};
use crate::NodeError;
use alloy_primitives::{Address, Bytes, U256};
use annex_l1::{
    exit_market,
    withdrawal::{OutputProof, PortalStatus, Withdrawal, portal_status},
};
use annex_store::{Snapshot, StoreError};
use annex_types::predeploys;

impl Task {
    /// Proves and finalises what is final, and takes out what the market was paid. Whether anything was sent.
    pub(super) async fn collect(&mut self, look: &Look) -> Result<bool, NodeError> {
        let mut sent = false;
        let held: Vec<_> = self.market.held().map(|offer| offer.withdrawal.clone()).collect();
        for withdrawal in &held {
            sent |= self.advance(withdrawal, look).await?;
        }
        let buyer = self.buyer.clone();
        let contracts = &buyer.deployment.contracts;
        let credit = exit_market::credits(&buyer.client, contracts, buyer.account()).await?;
        if credit.is_zero() {
            return Ok(sent);
        }
        let market = contracts.exit_market;
        let taken = self.send("withdraw", market, exit_market::withdraw_call(), U256::ZERO).await?;
        if let Sent::Included(included) = taken {
            let (gas, tx) = (included.gas_used, included.tx);
            tracing::info!(amount = %credit, gas, %tx, "exits: taken out of the market");
            metrics::counter!("annex_exits_collected_gwei_total").increment(gwei(credit));
        }
        Ok(true)
    }

    /// The next step of a withdrawal, if it can be final. Whether anything was sent.
    async fn advance(&mut self, withdrawal: &Withdrawal, look: &Look) -> Result<bool, NodeError> {
        let buyer = self.buyer.clone();
        let snapshot = buyer.l2.store.snapshot()?;
        let hash = withdrawal.hash();
        let Some(claim) = look.final_claim(&snapshot, hash)? else { return Ok(false) };
        let contracts = &buyer.deployment.contracts;
        let (action, input) = match portal_status(&buyer.client, contracts, hash).await? {
            PortalStatus::Finalized => return Ok(false),
            PortalStatus::Proven(proven) if proven.finalizable => {
                ("finalize", withdrawal.finalize_call(proven.prover))
            }
            // Proved against a claim that is not final or never will be: there is a better one.
            PortalStatus::Proven(_) | PortalStatus::Unproven => {
                let wanted = withdrawal.clone();
                let prove = move || proof(&snapshot, &wanted, claim.block, claim.index);
                let proved = tokio::task::spawn_blocking(prove).await;
                let Some(input) = proved.map_err(|_| NodeError::Ended)?? else { return Ok(false) };
                ("prove", input)
            }
        };
        self.step(action, contracts.portal, input, withdrawal).await
    }

    async fn step(
        &mut self,
        action: &'static str,
        to: Address,
        input: Bytes,
        withdrawal: &Withdrawal,
    ) -> Result<bool, NodeError> {
        let (hash, value) = (withdrawal.hash(), withdrawal.value);
        let sent = self.send(action, to, input, U256::ZERO).await?;
        if let Sent::Included(included) = &sent {
            let (gas, tx) = (included.gas_used, included.tx);
            tracing::info!(withdrawal = %hash, %value, gas, %tx, "exits: {action}");
        }
        Ok(matches!(sent, Sent::Included(_)))
    }
}

/// The call that proves a withdrawal in the state after a block, which a claim is of.
fn proof(
    snapshot: &Snapshot,
    withdrawal: &Withdrawal,
    block: u64,
    claim: u64,
) -> Result<Option<Bytes>, StoreError> {
    let Some((header, block_hash)) = snapshot.header(block)? else { return Ok(None) };
    let slot = U256::from_be_bytes(withdrawal.storage_slot().0);
    let proof = snapshot.at(block)?.proof(predeploys::L2_TO_L1_MESSAGE_PASSER, &[slot])?;
    let output = OutputProof {
        state_root: header.state_root,
        withdrawals_root: header.withdrawals_root.unwrap_or_default(),
        block_hash,
    };
    let nodes = proof.slots.into_iter().next().map(|slot| slot.nodes);
    Ok(nodes.map(|nodes| withdrawal.prove_call(claim, &output, nodes)))
}
