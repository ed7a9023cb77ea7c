//! What L1 says, as players take it.

use alloy_primitives::{Address, U256};
use annex_l1::{
    Deployment, L1Client, L1Error,
    contracts::{Inbox, Tournament as TournamentContract},
    settlement::{ClaimState, settlement},
};
use annex_settle::{Params, Preimage, View};
use std::collections::BTreeSet;

/// What differs from one account to another, wei.
pub(super) struct Own {
    credits: U256,
    balance: U256,
}

impl Own {
    pub fn of(self, common: &View) -> View {
        View { credits: self.credits, balance: self.balance, ..common.clone() }
    }
}

/// Everything at one L1 block.
pub(super) struct Seen {
    pub view: View,
    /// Of the open ranges.
    pub claims: Vec<ClaimState>,
    /// By account, as they were asked about.
    pub own: Vec<Own>,
}

/// Reads everything at the newest block. `calls` are what the oracle is asked for.
pub(super) async fn read(
    client: &L1Client,
    deployment: &Deployment,
    accounts: &[Address],
    calls: &BTreeSet<Preimage>,
) -> Result<Seen, L1Error> {
    let contracts = &deployment.contracts;
    let first = accounts.first().copied().unwrap_or_default();
    let mut found = settlement(client, contracts, first).await?;
    let block = found.at.hash;
    let record_count = client.read_at(contracts.inbox, &Inbox::recordCountCall {}, block).await?;
    let mut loaded = BTreeSet::new();
    for call in calls {
        match client.read_at(contracts.preimage_oracle, &call.read(), block).await {
            Ok(_) => {
                loaded.insert(*call);
            }
            Err(L1Error::Reverted(_)) => {}
            Err(error) => return Err(error),
        }
    }
    let mut own = Vec::with_capacity(accounts.len());
    for account in accounts {
        let credits = TournamentContract::creditsCall { account: *account };
        own.push(Own {
            credits: client.read_at(contracts.tournament, &credits, block).await?.saturating_to(),
            balance: client.balance(*account).await?,
        });
    }
    let claims = std::mem::take(&mut found.claims);
    let params = Params::from(&deployment.parameters);
    let view = View { loaded, ..View::new(found, params, record_count.saturating_to()) };
    Ok(Seen { view, claims, own })
}
