//! Snapshots (spec/snapshot.md): a block, its state and where derivation goes on from it, in a file.
//!
//! What a file says of the state is checked by hashes, what it says of L1 by the Inbox's accumulator. Only that this block is
//! what L1's records lead to is somebody's word, until a claim of it or of a later block has settled: then it is compared with
//! what was derived, and a node on a false one stops.

mod file;
mod l1;

pub use file::{Export, Opened, SnapshotError, SnapshotInfo, export};
pub(crate) use l1::is_proven;
pub use l1::{SnapshotStanding, check as check_snapshot};

use crate::{
    config::{NodeConfig, Role},
    node::NodeError,
    progress,
};
use alloy_primitives::B256;
use annex_l1::L1Client;
use annex_store::{Snapshot, Store, StoreError, Writer};
use serde::{Deserialize, Serialize};

const BASE: &[u8] = b"node/snapshot";

/// What a store was made from; one that followed from genesis has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// Of [`annex_types::ChainConfig::hash`].
    pub config_hash: B256,
    pub block: u64,
    /// Of the block.
    pub output_root: B256,
    /// Records below this one are exhausted.
    pub record: u64,
    /// The newest record that came with it, and the log up to it.
    pub last_record: u64,
    pub accumulator: B256,
}

/// What the store was made from.
pub(crate) fn base(snapshot: &Snapshot) -> Result<Option<Base>, StoreError> {
    progress::decode(snapshot.get_meta(BASE)?)
}

fn put_base(writer: &mut Writer<'_>, base: &Base) -> Result<(), StoreError> {
    writer.put_meta(BASE, Some(&progress::encode(base)))
}

/// Looks at what a store was made from, before anything stands on it.
pub(crate) async fn check_start(
    config: &NodeConfig,
    client: &L1Client,
    store: &Store,
) -> Result<(), NodeError> {
    let snapshot = store.snapshot()?;
    let Some(base) = base(&snapshot)? else { return Ok(()) };
    let unknown = annex_sequencer::promises_made(store)? == 0 && config.catch_up_from.is_empty();
    if matches!(config.role, Role::Leader(_)) && unknown {
        return Err(NodeError::LeaderOnSnapshot);
    }
    if progress::derived(&snapshot)?.safe == base.block {
        check_base(config, client, &base).await?;
    }
    // What was read since follows from its records; what settled since may contradict what was derived.
    let proven = is_proven(client, &config.deployment, store, &base).await;
    proven.map(|_| ()).map_err(|error| Box::new(error).into())
}

/// What L1 says of the snapshot itself.
async fn check_base(config: &NodeConfig, client: &L1Client, base: &Base) -> Result<(), NodeError> {
    match check_snapshot(client, &config.deployment, base).await {
        Ok(SnapshotStanding::Settled { range }) => {
            tracing::info!(block = base.block, range, "the snapshot's block has settled");
        }
        Ok(_) => tracing::warn!(
            block = base.block,
            "no settled claim ends in the snapshot's block: until one of a later block confirms what is derived from it, it rests on whoever gave the file"
        ),
        // One endpoint of several may lag; following will tell.
        Err(SnapshotError::AheadOfL1) => {
            tracing::warn!(block = base.block, "L1 does not show the snapshot's records yet");
        }
        Err(error) => return Err(Box::new(error).into()),
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests;
