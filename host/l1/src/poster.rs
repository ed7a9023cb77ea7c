//! Batches to the Inbox.

use crate::beacon::kzg;
use crate::client::L1Client;
use crate::contracts::Inbox;
use crate::error::{L1Error, Revert};
use crate::send::{Call, Included, SendLimits, SendOutcome, Sender};
use alloy_eips::eip4844::Blob;
use alloy_eips::eip7594::BlobTransactionSidecarEip7594;
use alloy_primitives::{Address, Bytes, TxKind, U256};
use alloy_signer_local::PrivateKeySigner;
use alloy_sol_types::{SolCall, SolEvent};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

/// A batch's bytes in the form L1 takes them (spec/batch.md).
#[derive(Clone, Debug)]
pub enum BatchBody {
    /// One to six.
    Blobs(Vec<Blob>),
    /// At most 65,536 bytes.
    Calldata(Bytes),
}

/// Sends batches with the leader's key, one at a time (see [`Sender`]).
#[derive(Debug)]
pub struct Poster {
    sender: Sender,
    inbox: Address,
    limits: SendLimits,
}

impl Poster {
    pub fn new(
        client: L1Client,
        signer: PrivateKeySigner,
        inbox: Address,
        limits: SendLimits,
    ) -> Self {
        Self { sender: Sender::new(client, signer, limits), inbox, limits }
    }

    /// The submitter.
    pub fn address(&self) -> Address {
        self.sender.address()
    }

    /// Posts a batch that consumes forced items below number `forced_up_to`, and waits until it is in an L1 block or given up.
    /// With this nonce, if any, or not at all: a batch is right only after those before it.
    pub async fn post(
        &mut self,
        nonce: Option<u64>,
        forced_up_to: u64,
        body: BatchBody,
    ) -> Result<SendOutcome, L1Error> {
        let call = self.call(forced_up_to, body).await?;
        let deadline = Instant::now() + self.limits.resubmit_after;
        loop {
            let outcome = self.sender.send_as(&call, nonce).await?;
            // Endpoints that cannot simulate the next block simulate the newest one, which may hold a batch.
            let SendOutcome::Reverted { reason, tx: None } = &outcome else { return Ok(outcome) };
            if !is_batch_already_in_block(reason) || Instant::now() >= deadline {
                return Ok(outcome);
            }
            sleep(self.limits.poll_interval).await;
        }
    }

    async fn call(&self, forced_up_to: u64, body: BatchBody) -> Result<Call, L1Error> {
        let forced = U256::from(forced_up_to);
        let (input, sidecar) = match body {
            BatchBody::Calldata(data) => {
                (Inbox::submitCalldataCall { forcedUpTo: forced, data }.abi_encode(), None)
            }
            BatchBody::Blobs(blobs) => {
                // Cell proofs take a fraction of a second a blob.
                let sidecar = spawn_blocking(move || {
                    BlobTransactionSidecarEip7594::try_from_blobs_with_settings(blobs, kzg())
                })
                .await
                .expect("proving blobs does not panic and is not cancelled")?;
                (Inbox::submitCall { forcedUpTo: forced }.abi_encode(), Some(Box::new(sidecar)))
            }
        };
        Ok(Call { to: TxKind::Call(self.inbox), input: input.into(), value: U256::ZERO, sidecar })
    }

    /// Index of the record that the batch became.
    pub fn record(&self, included: &Included) -> Option<u64> {
        included.logs.iter().find_map(|log| {
            let event = Inbox::Record::decode_log(&log.inner).ok()?;
            (log.address() == self.inbox).then(|| event.index.saturating_to())
        })
    }
}

fn is_batch_already_in_block(reason: &Revert) -> bool {
    matches!(reason.inbox(), Some(Inbox::InboxErrors::BatchAlreadyInBlock(_)))
}
