//! What L1 says, as players take it.

use alloy_primitives::Address;
use annex_l1::{
    Deployment, L1Block, L1Client, L1Error,
    settlement::{ClaimState, Wealth, settlement},
};
use annex_settle::{Params, Preimage, View};
use std::collections::BTreeSet;

/// Everything at one L1 block.
pub(super) struct Seen {
    pub view: View,
    /// Of the open ranges.
    pub claims: Vec<ClaimState>,
    /// By account, as they were asked about.
    pub wealth: Vec<Wealth>,
}

/// Reads everything at a block. `calls` are what the oracle is asked for.
pub(super) async fn read(
    client: &L1Client,
    deployment: &Deployment,
    at: L1Block,
    accounts: &[Address],
    calls: &BTreeSet<Preimage>,
) -> Result<Seen, L1Error> {
    let contracts = &deployment.contracts;
    let mut found = settlement(client, contracts, at, accounts).await?;
    let mut loaded = BTreeSet::new();
    for call in calls {
        match client.read_at(contracts.preimage_oracle, &call.read(), at.hash).await {
            Ok(_) => {
                loaded.insert(*call);
            }
            Err(L1Error::Reverted(_)) => {}
            Err(error) => return Err(error),
        }
    }
    let claims = std::mem::take(&mut found.claims);
    let wealth = std::mem::take(&mut found.wealth);
    let view = View { loaded, ..View::new(found, Params::from(&deployment.parameters)) };
    Ok(Seen { view, claims, wealth })
}
