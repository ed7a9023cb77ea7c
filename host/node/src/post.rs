//! Sealed blocks to L1, and ordering while the Inbox lets anyone.

use crate::{
    follow::finalized_l1_block,
    node::NodeError,
    progress::{self, Progress},
};
use alloy_primitives::U256;
use annex_l1::{BatchBody, L1Client, L1Error, Poster, SendOutcome, contracts::Inbox};
use annex_sequencer::{BatchError, Channel, Engine, Sequencing, next_batch};
use annex_store::{Store, StoreError};
use annex_types::{ChainConfig, RecordPayload, batch};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};

/// Wait after L1 refused a batch.
const AFTER_FAILURE: Duration = Duration::from_secs(2);

pub(crate) struct PostTask {
    pub poster: Poster,
    pub client: L1Client,
    pub chain: ChainConfig,
    pub store: Store,
    pub engine: Engine,
    pub progress: Arc<Progress>,
    pub channel: Option<Channel>,
    pub batch_interval: Duration,
    pub poll_interval: Duration,
    /// Whether this node may order now.
    pub leads: bool,
    /// The batch that L1 has taken and derivation has not worked off yet.
    pub optimistic: Option<Taken>,
}

/// A batch on its way from L1 back to derivation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    record: u64,
    last_block: u64,
    /// [`Progress::reorgs`] when L1 took it: a later one may have dropped it.
    reorgs: u64,
}

impl PostTask {
    pub async fn run(mut self) -> Result<(), NodeError> {
        let is_leader = self.leads;
        let mut waiting_since: Option<Instant> = None;
        // Blocks are left over from a full batch: there is nothing to wait for.
        let mut more = false;
        loop {
            sleep(self.poll_interval).await;
            if !self.progress.caught_up() {
                continue;
            }
            if !is_leader && !self.may_order().await? {
                continue;
            }
            let posted = self.posted();
            let head = self.store.head()?.map_or(0, |head| head.number);
            metrics::gauge!("annex_unposted_blocks").set(head.saturating_sub(posted) as f64);
            if head <= posted {
                waiting_since = None;
                continue;
            }
            let since = *waiting_since.get_or_insert_with(Instant::now);
            if since.elapsed() < self.batch_interval && !more {
                continue;
            }
            waiting_since = None;
            match self.post(posted).await? {
                Some(full) => more = full,
                None => sleep(AFTER_FAILURE).await,
            }
        }
    }

    /// The newest block that L1 carries or is known to have taken.
    fn posted(&mut self) -> u64 {
        let safe = self.progress.safe();
        match self.optimistic {
            Some(taken)
                if self.progress.next_record() <= taken.record
                    && self.progress.reorgs() == taken.reorgs =>
            {
                taken.last_block.max(safe)
            }
            _ => {
                self.optimistic = None;
                safe
            }
        }
    }

    /// Posts the next batch. Some: L1 took it, and whether more blocks wait; none: it did not.
    async fn post(&mut self, posted: u64) -> Result<Option<bool>, NodeError> {
        let channel = match self.channel {
            Some(channel) => channel,
            None => match self.client.head().await {
                Ok(head) if head.has_blobs() => Channel::Blobs,
                Ok(_) => Channel::Calldata,
                Err(error) => return transient(error).map(|()| None),
            },
        };
        let (store, chain_id) = (self.store.clone(), self.chain.l2_chain_id);
        let packed = tokio::task::spawn_blocking(move || {
            let snapshot = store.snapshot()?;
            next_batch(&snapshot, chain_id, posted, channel)
        });
        let batch = match packed.await.map_err(|_| NodeError::Ended)? {
            Ok(Some(batch)) => batch,
            Ok(None) => return Ok(Some(false)),
            Err(BatchError::Store(StoreError::UnknownBlock(_))) => return Ok(None),
            Err(BatchError::Store(error)) => return Err(error.into()),
            Err(BatchError::Header(error)) => return Err(error.into()),
            Err(BatchError::Compression(error)) => return Err(StoreError::from(error).into()),
        };
        let size = batch.data.len();
        let body = match channel {
            Channel::Blobs => BatchBody::Blobs(batch::pack_blobs(&batch.data)),
            Channel::Calldata => BatchBody::Calldata(batch.data.into()),
        };
        let outcome = match self.poster.post(batch.forced_up_to, body).await {
            Ok(outcome) => outcome,
            Err(error) => return transient(error).map(|()| None),
        };
        match outcome {
            SendOutcome::Included(included) => {
                let record = self.poster.record(&included);
                tracing::info!(
                    first = batch.first_block,
                    last = batch.last_block,
                    bytes = size,
                    record,
                    tx = %included.tx,
                    "batch posted"
                );
                metrics::counter!("annex_batches_total").increment(1);
                metrics::counter!("annex_batch_bytes_total").increment(size as u64);
                let (last_block, reorgs) = (batch.last_block, self.progress.reorgs());
                self.optimistic = record.map(|record| Taken { record, last_block, reorgs });
                Ok(Some(batch.full))
            }
            refused => {
                let why = match &refused {
                    SendOutcome::Reverted { reason, .. } => reason.to_string(),
                    other => format!("{other:?}"),
                };
                tracing::warn!(why, first = batch.first_block, "L1 did not take the batch");
                metrics::counter!("annex_batches_refused_total").increment(1);
                self.optimistic = None;
                Ok(None)
            }
        }
    }

    /// Starts or stops ordering as the Inbox allows; returns whether to post. Forced items that wait are put into a
    /// block by the engine as soon as it orders.
    async fn may_order(&mut self) -> Result<bool, NodeError> {
        let open = match self.client.read(self.chain.inbox, &Inbox::anyoneMaySubmitCall {}).await {
            Ok(open) => open && !self.leader_posted_last()?,
            Err(error) => return transient(error).map(|()| false),
        };
        if open != self.leads {
            self.leads = open;
            if open {
                tracing::warn!("the leader is silent: ordering and posting in its place");
            } else {
                tracing::info!("the leader posts again");
            }
            let beneficiary = self.poster.address();
            self.engine.sequence(open.then_some(Sequencing {
                beneficiary,
                lease_id: U256::ZERO,
                signer: None,
            }))?;
        }
        Ok(self.leads)
    }

    /// Whether the newest batch known is a leader's: then the silence is over, whatever a lagging endpoint says.
    fn leader_posted_last(&self) -> Result<bool, NodeError> {
        let snapshot = self.store.snapshot()?;
        let last = snapshot.last_record()?.map_or(0, |(index, _)| index);
        // Only what came since this node began to order can end it.
        if !self.leads {
            return Ok(false);
        }
        let newest = progress::record(&snapshot, last)?;
        Ok(newest.is_some_and(|stored| match stored.record.payload {
            RecordPayload::Batch(batch) => !batch.lease_id.is_zero(),
            _ => false,
        }))
    }
}

fn transient(error: L1Error) -> Result<(), NodeError> {
    if !error.is_transient() && !matches!(error, L1Error::Rejected(_)) {
        return Err(error.into());
    }
    tracing::warn!(%error, "L1 is not to be reached; trying again");
    metrics::counter!("annex_l1_errors_total").increment(1);
    Ok(())
}

/// Keeps the number of the newest block whose batch L1 calls final.
pub(crate) async fn watch_finality(
    client: L1Client,
    store: Store,
    progress: Arc<Progress>,
) -> Result<(), NodeError> {
    const INTERVAL: Duration = Duration::from_secs(4);
    loop {
        sleep(INTERVAL).await;
        let from = progress.finalized();
        if from >= progress.safe() {
            continue;
        }
        // An endpoint that does not say keeps the number where it is.
        let Ok(Some(finalized)) = finalized_l1_block(&client).await else { continue };
        let snapshot = store.snapshot()?;
        let mut newest = from;
        for block in from + 1..=progress.safe() {
            let Some(index) = progress::record_of_block(&snapshot, block)? else { break };
            let Some(stored) = progress::record(&snapshot, index)? else { break };
            if stored.record.env.l1_block_number > finalized {
                break;
            }
            newest = block;
        }
        progress.set_finalized(newest);
    }
}
