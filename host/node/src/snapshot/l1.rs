//! What L1 says of the block that a store was made from, and of what was derived from there.

use super::{Base, SnapshotError};
use crate::{
    leaves,
    progress::{self, Derived},
};
use alloy_primitives::{B256, U256};
use annex_claim::OutputRoot;
use annex_l1::{
    Deployment, L1Client, L1Error,
    contracts::{Claims, Inbox},
    settlement::{ClaimState, ClaimStatus, Range, SettledLeaf, claims},
};
use annex_store::{Snapshot, Store, StoreError};

/// Claims that are asked for at once, and most that are looked through for one of the block: the newest.
const CLAIMS: u64 = 64;
const MAX_CLAIMS: u64 = 4_096;

/// How far L1 vouches for a snapshot whose records are L1's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotStanding {
    /// The output root of its block has settled, with this range; genesis with none.
    Settled { range: u64 },
    /// A later block has settled: once the node has derived that one, it is compared.
    Before { block: u64 },
    /// Nothing that has settled covers it.
    Unsettled { block: u64 },
}

/// Compares what a store was made from with L1.
pub async fn check(
    client: &L1Client,
    deployment: &Deployment,
    base: &Base,
) -> Result<SnapshotStanding, SnapshotError> {
    if base.config_hash != deployment.chain_config().hash() {
        return Err(SnapshotError::OtherChain);
    }
    let contracts = &deployment.contracts;
    if base.record > 0 {
        let count = client.read(contracts.inbox, &Inbox::recordCountCall {}).await?;
        if count <= U256::from(base.last_record) {
            return Err(SnapshotError::AheadOfL1);
        }
        let call = Inbox::accumulatorCall { index: U256::from(base.last_record) };
        if client.read(contracts.inbox, &call).await? != base.accumulator {
            return Err(SnapshotError::NotOnL1);
        }
    }
    let settled = client.read(contracts.claims, &Claims::settledCall {}).await?;
    let range = settled.id.saturating_to();
    if settled.l2Block == base.block {
        return compared(base, settled.outputRoot, range);
    }
    if settled.l2Block < base.block {
        return Ok(SnapshotStanding::Unsettled { block: settled.l2Block });
    }
    match settled_at(client, deployment, base.block).await? {
        Some(claim) => compared(base, claim.output_root, claim.range),
        None => Ok(SnapshotStanding::Before { block: settled.l2Block }),
    }
}

/// The settled claim that ends in a block, if there is one.
async fn settled_at(
    client: &L1Client,
    deployment: &Deployment,
    block: u64,
) -> Result<Option<ClaimState>, L1Error> {
    let mut before = None;
    for _ in 0..MAX_CLAIMS / CLAIMS {
        let page = claims(client, &deployment.contracts, before, CLAIMS).await?;
        let mut settled = page.iter().filter(|claim| claim.status == ClaimStatus::Settled);
        if let Some(claim) = settled.clone().find(|claim| claim.block == block) {
            return Ok(Some(*claim));
        }
        // What settles rises.
        let Some(first) = page.first().filter(|_| settled.all(|claim| claim.block > block)) else {
            break;
        };
        before = Some(first.index);
    }
    Ok(None)
}

fn compared(base: &Base, settled: B256, range: u64) -> Result<SnapshotStanding, SnapshotError> {
    match settled == base.output_root {
        true => Ok(SnapshotStanding::Settled { range }),
        false => Err(SnapshotError::Contradicted { block: base.block, range }),
    }
}

/// Compares what was derived from a snapshot with what settled last. True once the chain is known to go through the settled
/// leaf, and so the snapshot to have been true; false while nothing that was derived has settled.
pub(crate) async fn is_proven(
    client: &L1Client,
    deployment: &Deployment,
    store: &Store,
    base: &Base,
) -> Result<bool, SnapshotError> {
    let contract = deployment.contracts.claims;
    let at = client.head().await?;
    let settled = client.read_at(contract, &Claims::settledCall {}, at.hash).await?;
    let settled = SettledLeaf::from(settled);
    let call = Claims::rangeCall { id: U256::from(settled.range) };
    let range = client.read_at(contract, &call, at.hash).await?;
    let Some(range) = Range::read(settled.range, range)? else { return Ok(false) };
    match verdict(&store.snapshot()?, base, &settled, &range)? {
        Some(true) => {
            let SettledLeaf { block, range, .. } = settled;
            tracing::info!(
                snapshot = base.block,
                block,
                range,
                "a settled claim confirms what was derived from the snapshot"
            );
            Ok(true)
        }
        None => Ok(false),
        // By number, a reorganisation could have mixed two chains.
        Some(false) if client.existing_block(at.number).await?.hash != at.hash => Ok(false),
        Some(false) => Err(SnapshotError::False {
            base: base.block,
            block: settled.block,
            range: settled.range,
        }),
    }
}

/// Whether a store that was made from a snapshot derived the leaf that settled; none while that cannot be said.
pub(super) fn verdict(
    snapshot: &Snapshot,
    base: &Base,
    settled: &SettledLeaf,
    range: &Range,
) -> Result<Option<bool>, StoreError> {
    let Derived { safe, checkpoint } = progress::derived(snapshot)?;
    if settled.block < base.block || checkpoint.cursor.record < range.end {
        return Ok(None);
    }
    // Of records that the snapshot came without, nothing can be said, nor has to be.
    let last = progress::record(snapshot, range.end.saturating_sub(1))?;
    if last.is_some_and(|last| last.record.accumulator != range.end_accumulator) {
        // It settled on another branch of L1 than this node follows.
        return Ok(None);
    }
    if snapshot.leaf_index(settled.leaf)?.is_some() {
        return Ok(Some(true));
    }
    let header = if settled.block <= safe { snapshot.header(settled.block)? } else { None };
    let same = header.is_some_and(|(it, _)| OutputRoot::of(&it).hash() == settled.output_root);
    let oldest = leaves::oldest(snapshot)?;
    let gone = oldest.is_some_and(|leaf| leaf.cursor.record >= settled.record);
    Ok(if same && gone { None } else { Some(false) })
}
