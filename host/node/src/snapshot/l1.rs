//! What L1 says of the block that a store was made from.

use super::{Base, SnapshotError};
use alloy_primitives::U256;
use annex_l1::{
    Deployment, L1Client,
    contracts::{Claims, Inbox},
    settlement::{ClaimStatus, claims},
};

/// Claims that are looked through for one that covers the block: the newest.
const CLAIMS: u64 = 64;

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
    let claims = claims(client, contracts, None, CLAIMS).await?;
    let settled_here = claims
        .iter()
        .find(|claim| claim.status == ClaimStatus::Settled && claim.block == base.block);
    match settled_here {
        Some(claim) => compared(base, claim.output_root, claim.range),
        None => Ok(SnapshotStanding::Before { block: settled.l2Block }),
    }
}

fn compared(
    base: &Base,
    settled: alloy_primitives::B256,
    range: u64,
) -> Result<SnapshotStanding, SnapshotError> {
    match settled == base.output_root {
        true => Ok(SnapshotStanding::Settled { range }),
        false => Err(SnapshotError::Contradicted { block: base.block, range }),
    }
}
