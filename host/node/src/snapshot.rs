//! Snapshots (spec/snapshot.md): a block, its state and where derivation goes on from it, in a file.
//!
//! What a file says of the state is checked by hashes, what it says of L1 by the Inbox's accumulator. Only that this block is
//! what L1's records lead to is somebody's word, until a settled claim covers it.

mod file;
mod l1;

pub use file::{Export, Import, SnapshotError, SnapshotInfo, export, import};
pub use l1::{SnapshotStanding, check as check_snapshot};

use crate::progress;
use alloy_primitives::B256;
use annex_store::{Snapshot, StoreError, Writer};
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
