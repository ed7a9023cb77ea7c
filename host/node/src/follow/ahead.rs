//! The blobs of one batch ahead, asked for and hashed while the batch before it is executed: a node that catches up waits for the
//! slower of both, not for their sum.

use super::blob_hashes;
use crate::progress::StoredRecord;
use alloy_eips::eip4844::Blob;
use alloy_primitives::B256;
use annex_l1::{L1Client, L1Error};
use tokio::task::JoinSet;

/// Records looked through for the next batch.
const LOOK_AHEAD: usize = 64;

#[derive(Debug, Default)]
pub(crate) struct Ahead {
    /// Index of the record and the L1 block that it is in.
    of: Option<(u64, B256)>,
    /// One request at most, which ends when it is dropped.
    request: JoinSet<Result<Vec<Box<Blob>>, L1Error>>,
}

impl Ahead {
    /// Asks for the blobs of the first batch among `records`, unless it was done.
    pub fn ask(&mut self, client: &L1Client, records: &[StoredRecord]) {
        let mut batches = records.iter().take(LOOK_AHEAD);
        let next = batches.find_map(|stored| Some((stored, blob_hashes(&stored.record)?.to_vec())));
        let Some((stored, hashes)) = next else { return };
        if self.of.replace(place(stored)) == Some(place(stored)) {
            return;
        }
        let (client, block) = (client.clone(), stored.record.env.l1_block_number);
        self.request = JoinSet::new();
        self.request.spawn(async move { client.blobs(block, &hashes).await });
    }

    /// The blobs of a record; none if they were not asked for or could not be had.
    pub async fn take(&mut self, stored: &StoredRecord) -> Option<Vec<Box<Blob>>> {
        if self.of.take() != Some(place(stored)) {
            return None;
        }
        match self.request.join_next().await? {
            Ok(Ok(blobs)) => Some(blobs),
            Ok(Err(error)) => {
                tracing::debug!(record = stored.record.index, %error, "no blobs ahead of time");
                None
            }
            Err(error) => {
                tracing::warn!(%error, "a request for blobs ended");
                None
            }
        }
    }
}

fn place(stored: &StoredRecord) -> (u64, B256) {
    (stored.record.index, stored.l1_block_hash)
}
