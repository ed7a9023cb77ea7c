//! Sealed blocks to L1, and ordering while the Inbox lets anyone.

mod filling;

use crate::{
    follow::finalized_l1_block,
    node::NodeError,
    progress::{self, Progress, Trouble, View},
};
use alloy_primitives::{B256, U256};
use annex_l1::{BatchBody, L1Client, Poster, SendOutcome, contracts::Inbox};
use annex_sequencer::{Batch, BatchError, Channel, Engine, Sequencing, block_content, next_batch};
use annex_store::{Store, StoreError};
use annex_types::{ChainConfig, RecordPayload, batch};
pub(crate) use filling::Filling;
use std::{collections::VecDeque, sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};

/// Wait after the first batch that came to nothing; doubles with each.
const AFTER_FAILURE: Duration = Duration::from_secs(2);
/// Longest wait while failures cost nothing.
const LONGEST_FREE: Duration = Duration::from_secs(16);
/// Longest wait while they cost gas.
const LONGEST_PAID: Duration = Duration::from_secs(600);
const GWEI: u64 = 1_000_000_000;

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
    /// Batches that L1 has taken and derivation has not worked off yet, oldest first.
    pub unread: VecDeque<Taken>,
    pub setbacks: Setbacks,
    pub filling: Filling,
}

/// Batches in a row that came to nothing. Whatever the cause, what they cost stays bounded: whoever posts again at once loses its
/// balance in an hour.
#[derive(Debug)]
pub(crate) struct Setbacks {
    /// L1 took gas for them: they reverted there, or derivation made nothing of them.
    paid: u32,
    /// Nothing was paid.
    free: u32,
    /// Forced items are not to be omitted for longer.
    longest: Duration,
    /// No batch before.
    until: Option<Instant>,
}

impl Setbacks {
    /// At most `longest` between two batches.
    pub fn new(longest: Duration) -> Self {
        Self { paid: 0, free: 0, longest, until: None }
    }

    fn wait(&self) -> Duration {
        let grown = |count: u32, most: Duration| {
            let doublings = count.saturating_sub(1).min(16);
            match count {
                0 => Duration::ZERO,
                _ => (AFTER_FAILURE * (1 << doublings)).min(most.min(self.longest)),
            }
        };
        grown(self.paid, LONGEST_PAID).max(grown(self.free, LONGEST_FREE))
    }

    /// One more; returns how long nothing is posted now.
    fn add(&mut self, paid: bool) -> Duration {
        let count = if paid { &mut self.paid } else { &mut self.free };
        *count = count.saturating_add(1);
        let wait = self.wait();
        self.until = Some(Instant::now() + wait);
        wait
    }

    /// L1 took one.
    fn taken(&mut self) {
        (self.free, self.until) = (0, None);
    }

    /// One became blocks.
    fn clear(&mut self) {
        (self.paid, self.free, self.until) = (0, 0, None);
    }

    fn is_waiting(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() < until)
    }
}

/// Which new batch is to be posted now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Nothing,
    /// One that holds as much as a batch can: there is nothing to wait for.
    Full,
    Any,
}

/// How a try to post ended.
enum Posted {
    /// L1 took it. Whether more blocks wait, with nothing to wait for.
    Taken { more: bool },
    /// There was nothing to post, after all.
    Nothing,
    /// It came to nothing.
    Failed { why: String },
    /// The Inbox does not take it. Whether gas was paid to learn that.
    Reverted { why: String, paid: bool },
}

/// A batch on its way from L1 back to derivation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    /// Of its transaction.
    nonce: u64,
    record: u64,
    first_block: u64,
    last_block: u64,
    last_hash: B256,
}

/// What is to be posted next. A batch stands on the one before, and forced items that it names become blocks of their own where it
/// does not: so each is signed for the place in the key's order in which it is right, and in no other.
#[derive(Clone, Copy, Debug)]
struct Slot {
    nonce: u64,
    /// The block it stands on.
    after: u64,
    after_hash: B256,
    /// The newest block it may hold: a batch that L1 has dropped is posted again as it was, as one after it may be in the pool.
    last: u64,
}

impl PostTask {
    pub async fn run(mut self) -> Result<(), NodeError> {
        let is_leader = self.leads;
        let mut waiting_since: Option<Instant> = None;
        // Blocks are left over from a full batch: there is nothing to wait for.
        let mut more = false;
        loop {
            sleep(self.poll_interval).await;
            let Some(view) = self.progress.view() else { continue };
            if !is_leader && !self.may_order().await? {
                continue;
            }
            let head = self.store.head()?.map_or(0, |head| head.number);
            let posted = self.unread.back().map_or(view.safe, |taken| taken.last_block);
            metrics::gauge!("annex_unposted_blocks").set(head.saturating_sub(posted) as f64);
            if head <= posted {
                waiting_since = None;
                if self.unread.is_empty() {
                    self.came_through();
                    continue;
                }
            }
            let due = if head <= posted {
                Due::Nothing
            } else if more
                || waiting_since.get_or_insert_with(Instant::now).elapsed() >= self.batch_interval
            {
                Due::Any
            } else if self.may_fill(posted)? {
                Due::Full
            } else {
                Due::Nothing
            };
            if (due == Due::Nothing && self.unread.is_empty()) || self.setbacks.is_waiting() {
                continue;
            }
            match self.post_next(view, due).await {
                Ok(Posted::Taken { more: left }) => {
                    (waiting_since, more) = (None, left);
                    self.setbacks.taken();
                }
                Ok(Posted::Nothing) => {}
                Ok(Posted::Failed { why }) => self.failed(&why, false),
                Ok(Posted::Reverted { why, paid }) => self.failed(&why, paid),
                Err(NodeError::L1(error)) if error.is_transient() => {
                    metrics::counter!("annex_l1_errors_total").increment(1);
                    self.failed(&error.to_string(), false);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether the blocks after `posted` may fill a batch.
    fn may_fill(&mut self, posted: u64) -> Result<bool, NodeError> {
        let (snapshot, chain_id) = (self.store.snapshot()?, self.chain.l2_chain_id);
        let head = snapshot.head().map_or(0, |head| head.number);
        // Which channel it is, if none was chosen, shows when the batch is packed.
        let least = self.channel.unwrap_or(Channel::Calldata).capacity();
        let content = |number| block_content(&snapshot, number, chain_id);
        Ok(self.filling.may_fill(posted, head, least, content)?)
    }

    /// L1 carries what was posted.
    fn came_through(&mut self) {
        self.setbacks.clear();
        self.progress.well(Trouble::Posting);
    }

    fn failed(&mut self, why: &str, paid: bool) {
        let wait = self.setbacks.add(paid);
        tracing::debug!(why, paid, ?wait, "no batch for a while");
        self.progress.trouble(Trouble::Posting, why);
        match paid {
            true => metrics::counter!("annex_batches_wasted_total").increment(1),
            false => metrics::counter!("annex_batches_refused_total").increment(1),
        }
    }

    /// Lets go of batches that derivation has worked off.
    fn worked_off(&mut self, known_nonce: u64, view: View) {
        while let Some(taken) = self.unread.front().copied() {
            if taken.nonce >= known_nonce || taken.record >= view.next_record {
                return;
            }
            self.unread.pop_front();
            if view.safe >= taken.last_block {
                self.came_through();
                continue;
            }
            // Those after it stand on what is not there.
            self.unread.clear();
            let (record, last) = (taken.record, taken.last_block);
            let why = format!("the batch in record {record} did not become blocks up to {last}");
            self.failed(&why, true);
        }
    }

    /// What to post now; none while L1 has transactions of the key that were not read yet: they may be the very batch, sent by a
    /// process before this one, or given up as stuck and included after all.
    async fn next_slot(&mut self, view: View) -> Result<Option<Slot>, NodeError> {
        let account = self.poster.address();
        // By its hash: an endpoint that is on another branch by now has other batches there, and must not answer.
        let known = self.client.nonce_at(account, view.l1_block).await?;
        let newest = self.client.nonce(account).await?;
        self.worked_off(known, view);
        let dropped = self.unread.iter().copied().find(|taken| taken.nonce >= newest);
        if let Some(Taken { nonce, first_block, last_block, last_hash, .. }) = dropped {
            let snapshot = self.store.snapshot()?;
            let after_hash = snapshot.hash(first_block - 1)?;
            if snapshot.hash(last_block)? == Some(last_hash)
                && let Some(after_hash) = after_hash
            {
                tracing::info!(nonce, last_block, "L1 dropped a batch");
                let after = first_block - 1;
                return Ok(Some(Slot { nonce, after, after_hash, last: last_block }));
            }
            // Other blocks took the place of those.
            self.unread.clear();
        }
        let (nonce, after, after_hash) = match self.unread.back() {
            Some(taken) => (taken.nonce + 1, taken.last_block, taken.last_hash),
            None => (known, view.safe, view.safe_hash),
        };
        Ok((newest == nonce).then_some(Slot { nonce, after, after_hash, last: u64::MAX }))
    }

    /// Posts what L1 has dropped, or else the next batch that is due.
    async fn post_next(&mut self, view: View, due: Due) -> Result<Posted, NodeError> {
        match self.next_slot(view).await? {
            Some(slot) if slot.last != u64::MAX => {
                let posted = self.post(slot, Due::Any).await?;
                if let Posted::Reverted { .. } = posted {
                    // As it was it will never be taken, since a forced item has become due, say: its blocks go with later ones.
                    self.unread.retain(|taken| taken.nonce < slot.nonce);
                }
                Ok(posted)
            }
            Some(slot) if due != Due::Nothing => self.post(slot, due).await,
            _ => Ok(Posted::Nothing),
        }
    }

    /// Notes that L1 has a batch, in the place of one that it dropped.
    fn taken(&mut self, taken: Taken) {
        match self.unread.iter_mut().find(|known| known.nonce == taken.nonce) {
            Some(known) => *known = taken,
            None => self.unread.push_back(taken),
        }
    }

    /// The batch that belongs there and the hash of its last block; none if what it stands on is not there any more, or its last
    /// block is replaced this very moment.
    async fn pack(&self, slot: Slot, channel: Channel) -> Result<Option<(Batch, B256)>, NodeError> {
        let (store, chain_id) = (self.store.clone(), self.chain.l2_chain_id);
        let packed = tokio::task::spawn_blocking(move || {
            let snapshot = store.snapshot()?;
            if snapshot.hash(slot.after)? != Some(slot.after_hash) {
                return Ok(None);
            }
            let batch = next_batch(&snapshot, chain_id, slot.after, slot.last, channel)?;
            let Some(batch) = batch else { return Ok(None) };
            let last_hash = snapshot.hash(batch.last_block)?;
            Ok(last_hash.map(|last_hash| (batch, last_hash)))
        });
        match packed.await.map_err(|_| NodeError::Ended)? {
            Ok(packed) => Ok(packed),
            Err(BatchError::Store(StoreError::UnknownBlock(_))) => Ok(None),
            Err(BatchError::Store(error)) => Err(error.into()),
            Err(BatchError::Header(error)) => Err(error.into()),
            Err(BatchError::Compression(error)) => Err(StoreError::from(error).into()),
        }
    }

    /// Posts the batch that belongs there, if it is due.
    async fn post(&mut self, slot: Slot, due: Due) -> Result<Posted, NodeError> {
        let balance = self.client.balance(self.poster.address()).await?;
        metrics::gauge!("annex_poster_balance_wei").set(f64::from(balance));
        let channel = match self.channel {
            Some(channel) => channel,
            None if self.client.head().await?.has_blobs() => Channel::Blobs,
            None => Channel::Calldata,
        };
        let Some((batch, last_hash)) = self.pack(slot, channel).await? else {
            return Ok(Posted::Nothing);
        };
        let size = batch.data.len();
        if due == Due::Full && !batch.full {
            self.filling.packed(size, channel.capacity());
            return Ok(Posted::Nothing);
        }
        let body = match channel {
            Channel::Blobs => BatchBody::Blobs(batch::pack_blobs(&batch.data)),
            Channel::Calldata => BatchBody::Calldata(batch.data.into()),
        };
        Ok(match self.poster.post(Some(slot.nonce), batch.forced_up_to, body).await? {
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
                let cost = (included.cost / U256::from(GWEI)).saturating_to();
                metrics::counter!("annex_batch_cost_gwei_total").increment(cost);
                if let Some(record) = record {
                    self.taken(Taken {
                        nonce: slot.nonce,
                        record,
                        first_block: batch.first_block,
                        last_block: batch.last_block,
                        last_hash,
                    });
                }
                Posted::Taken { more: batch.full }
            }
            SendOutcome::Reverted { reason, tx } => {
                Posted::Reverted { why: format!("reverted: {reason}"), paid: tx.is_some() }
            }
            SendOutcome::FeeTooHigh { fee_per_gas, fee_per_blob_gas } => {
                let why = format!(
                    "L1 wants {fee_per_gas} wei a gas and {fee_per_blob_gas} a blob gas, more than is offered"
                );
                Posted::Failed { why }
            }
            SendOutcome::Stuck { .. } => Posted::Failed { why: "stuck in L1's pool".to_owned() },
            // Which one it was, and what became of it, comes with the next blocks.
            SendOutcome::Superseded => {
                Posted::Failed { why: "another transaction of the key".to_owned() }
            }
        })
    }

    /// Starts or stops ordering as the Inbox allows; returns whether to post. Forced items that wait are put into a
    /// block by the engine as soon as it orders.
    async fn may_order(&mut self) -> Result<bool, NodeError> {
        let open = match self.client.read(self.chain.inbox, &Inbox::anyoneMaySubmitCall {}).await {
            Ok(open) => open && !self.leader_posted_last()?,
            Err(error) if error.is_transient() => {
                tracing::debug!(%error, "the Inbox cannot be asked");
                metrics::counter!("annex_l1_errors_total").increment(1);
                return Ok(false);
            }
            Err(error) => return Err(error.into()),
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

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    /// Batches sent in an hour in which each of them fails.
    fn tries(setbacks: &mut Setbacks, paid: bool) -> u32 {
        let (mut passed, mut tries) = (Duration::ZERO, 0);
        while passed < HOUR {
            tries += 1;
            passed += setbacks.add(paid);
        }
        tries
    }

    #[test]
    fn an_hour_of_failures_costs_a_few_batches() {
        // Forced items may be omitted for an hour on a chain of production.
        let mut setbacks = Setbacks::new(HOUR / 4);
        assert_eq!(tries(&mut setbacks, true), 14);
        assert_eq!(setbacks.wait(), LONGEST_PAID);
        // L1 takes one, which then comes to nothing as well: no reason to be quick again.
        setbacks.taken();
        assert_eq!(setbacks.add(true), LONGEST_PAID);
        setbacks.clear();
        assert_eq!(setbacks.add(true), AFTER_FAILURE);
    }

    #[test]
    fn what_is_free_is_tried_again_soon() {
        let mut setbacks = Setbacks::new(HOUR / 4);
        let waits: Vec<_> = (0..6).map(|_| setbacks.add(false).as_secs()).collect();
        assert_eq!(waits, [2, 4, 8, 16, 16, 16]);
        assert!(setbacks.is_waiting());
        setbacks.taken();
        assert!(!setbacks.is_waiting());
    }

    /// Whatever fails, forced items do not become overdue by waiting alone.
    #[test]
    fn no_wait_is_longer_than_the_chain_bears() {
        for longest in [1, 5, 60].map(Duration::from_secs) {
            let mut setbacks = Setbacks::new(longest);
            for paid in [true, false].repeat(20) {
                assert!(setbacks.add(paid) <= longest);
            }
        }
    }
}
