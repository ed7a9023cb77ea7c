//! From L1's records to blocks of the store.

mod ahead;

use crate::{
    batches::Batches,
    catch_up::CatchUp,
    leaves::{self, Leaves, Tip},
    node::NodeError,
    progress::{self, Derived, Progress, StoredRecord, Trouble, View},
    snapshot,
};
pub(crate) use ahead::Ahead;
use alloy_eips::eip4844::Blob;
use alloy_primitives::B256;
use annex_derive::{BlockStep, Checkpoint, Cursor, Derivation, Step};
use annex_l1::{BlockRef, Event, Follower, L1Client, L1Error};
use annex_sequencer::{Engine, ImportOutcome};
use annex_store::{Snapshot, Store, StoreError, StoredBlock};
use annex_types::{
    BatchData, BatchRecord, BlockInput, ChainConfig, ExtraData, Header, Record, RecordPayload,
};
use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::time::{sleep, timeout};

/// Longest wait between attempts while L1 fails.
const MAX_BACKOFF: Duration = Duration::from_secs(30);
/// Polls in a row that the endpoint may answer with what does not belong together before it is trouble.
const UNSETTLED: u32 = 8;
/// One look at L1 that takes longer is trouble.
const SLOW: Duration = Duration::from_secs(15);

pub(crate) struct FollowTask {
    pub config: ChainConfig,
    pub client: L1Client,
    pub follower: Follower,
    pub derivation: Derivation,
    pub derived: Derived,
    pub tip: Tip,
    /// Where witnesses of rejected blocks are kept, if they are.
    pub keep_rejected: Option<Leaves>,
    pub ahead: Ahead,
    pub batches: Arc<Batches>,
    /// How long after its L1 block a batch is kept.
    pub keep_batches: Duration,
    pub store: Store,
    pub engine: Engine,
    pub progress: Arc<Progress>,
    pub poll_interval: Duration,
    /// Whether blocks beyond L1's are this node's own, not leftovers.
    pub orders: bool,
    /// What a leader waits for before it orders.
    pub catch_up: Option<CatchUp>,
    /// Records of the store wait to be worked off: L1 seemed to reorganise while blobs were asked for.
    pub behind: bool,
    /// Whether L1 may be without blocks for long, as a development chain is that nobody uses.
    pub idle_l1: bool,
    /// Polls in a row that came to [`Event::Unsettled`].
    pub unsettled: u32,
}

/// Where derivation goes on, by what the store holds.
pub(crate) fn restore(
    config: &ChainConfig,
    store: &Store,
) -> Result<(Derived, Derivation, Tip), NodeError> {
    let tip = Tip::restore(store)?;
    let snapshot = store.snapshot()?;
    let derived = progress::derived(&snapshot)?;
    check_tip(&tip, &derived)?;
    Ok((derived, resume(config, &snapshot, &derived)?, tip))
}

/// Both are written at once.
fn check_tip(tip: &Tip, derived: &Derived) -> Result<(), StoreError> {
    let leaf = tip.stored();
    match leaf.block == derived.safe && leaf.cursor == derived.checkpoint.cursor {
        true => Ok(()),
        false => Err(StoreError::Corrupt("the newest leaf is not where derivation stands")),
    }
}

impl FollowTask {
    /// Runs until an error that no waiting mends.
    pub async fn run(mut self) -> Result<(), NodeError> {
        self.reload().await?;
        let mut backoff = self.poll_interval;
        loop {
            let wait = match self.poll().await {
                Ok(event) => {
                    backoff = self.poll_interval;
                    if self.handle(event).await? { Duration::ZERO } else { self.poll_interval }
                }
                Err(error) if error.is_transient() => {
                    self.progress.trouble(Trouble::L1, &error);
                    metrics::counter!("annex_l1_errors_total").increment(1);
                    backoff = (backoff * 2).min(MAX_BACKOFF);
                    backoff
                }
                Err(error) => return Err(error.into()),
            };
            sleep(wait).await;
        }
    }

    /// Looks at L1 once; says so when that takes long.
    async fn poll(&mut self) -> Result<Event, L1Error> {
        let poll = self.follower.poll(&self.client);
        tokio::pin!(poll);
        if let Ok(found) = timeout(SLOW, &mut poll).await {
            return found;
        }
        let why = format!("an answer takes longer than {} seconds", SLOW.as_secs());
        self.progress.trouble(Trouble::L1, why);
        poll.await
    }

    /// Returns whether more can be had at once.
    async fn handle(&mut self, event: Event) -> Result<bool, NodeError> {
        match event {
            Event::Behind { head } => {
                let read = self.follower.block().map_or(0, |block| block.number);
                let why = format!("its head is {}, block {read} was read already", head.number);
                self.progress.trouble(Trouble::L1Behind, why);
                return Ok(false);
            }
            Event::Unsettled => {
                self.unsettled += 1;
                if self.unsettled >= UNSETTLED {
                    self.progress.trouble(Trouble::L1, "its answers contradict each other");
                }
                return Ok(false);
            }
            Event::Idle | Event::Records { .. } | Event::Reorg { .. } => {}
        }
        self.unsettled = 0;
        self.progress.well(Trouble::L1);
        self.progress.well(Trouble::L1Behind);
        match event {
            Event::Behind { .. } | Event::Unsettled => Ok(false),
            Event::Idle => {
                if self.behind {
                    self.reload().await?;
                }
                self.seen().await?;
                Ok(false)
            }
            Event::Records { records, to, target } => {
                self.new_records(records.into_iter().map(StoredRecord::from).collect(), to).await?;
                let more = to.number < target;
                if !more {
                    self.seen().await?;
                }
                Ok(more)
            }
            Event::Reorg { keep, common_ancestor } => {
                tracing::warn!(keep, ?common_ancestor, "L1 reorganised");
                metrics::counter!("annex_l1_reorgs_total").increment(1);
                self.rewind(keep).await?;
                Ok(true)
            }
        }
    }

    /// L1 is known up to now.
    async fn seen(&mut self) -> Result<(), NodeError> {
        if let Some(catch_up) = self.catch_up.as_mut().filter(|_| !self.behind) {
            if !catch_up.attempt(&self.store, &self.engine, self.derived.safe).await? {
                return Ok(());
            }
            self.catch_up = None;
        }
        let head = self.follower.head().filter(|_| !self.behind);
        let Some(head) = head.map(|head| head.timestamp) else { return Ok(()) };
        let age = unix_now().saturating_sub(head);
        metrics::gauge!("annex_l1_head_age_seconds").set(age as f64);
        // A record may be there that this endpoint does not show, or that is not deep enough to be read: what is promised on such a
        // view may be too late for it (spec/batch.md, `StaleOrigin`). The engine goes by what it saw for half of the lag; the
        // quarter that is left is for unread blocks.
        if age > self.config.max_origin_lag / 4 && !self.idle_l1 {
            let minutes = age / 60;
            self.progress.trouble(Trouble::L1Still, format!("no block for {minutes} minutes"));
        } else {
            self.progress.well(Trouble::L1Still);
            self.engine.l1_seen(head)?;
        }
        if !self.progress.caught_up() {
            tracing::info!(
                safe = self.derived.safe,
                l1 = self.progress.l1_block().number,
                "caught up with L1"
            );
        }
        let l1_block = self.progress.l1_block().hash;
        let (safe, safe_hash) = (self.derived.safe, self.derivation.head().hash);
        let next_record = self.derivation.cursor().record;
        self.progress.set_view(Some(View { l1_block, safe, safe_hash, next_record }));
        self.engine.caught_up()?;
        Ok(())
    }

    async fn new_records(
        &mut self,
        records: Vec<StoredRecord>,
        to: BlockRef,
    ) -> Result<(), NodeError> {
        if let Some(first) = records.first().filter(|stored| stored.record.index == 0) {
            check_genesis(&self.config, &self.store.snapshot()?, &first.record)?;
        }
        if !records.is_empty() {
            let checkpoints: Vec<_> = self.follower.checkpoints().collect();
            progress::put_records(&self.store, &records, &checkpoints)?;
        }
        if self.behind {
            self.reload().await?;
        } else {
            for (at, stored) in records.iter().enumerate() {
                self.work_off(stored, &records[at + 1..]).await?;
                if self.behind {
                    break;
                }
            }
        }
        self.engine.records(records.into_iter().map(|stored| stored.record).collect())?;
        self.progress.set_l1_block(to);
        Ok(())
    }

    /// Hands a record to derivation and takes every step that follows; or does nothing and is [`Self::behind`]. `later`: what
    /// comes after it, as far as it is known.
    async fn work_off(
        &mut self,
        stored: &StoredRecord,
        later: &[StoredRecord],
    ) -> Result<(), NodeError> {
        let record = &stored.record;
        if let (RecordPayload::Forced(item), Some(alias)) = (&record.payload, stored.alias) {
            self.engine.alias(item.index, alias);
        }
        let exhausted = self.derivation.next_is_exhausted();
        let blobs = if exhausted { Some(Vec::new()) } else { self.blobs(stored).await };
        self.behind = blobs.is_none();
        let Some(blobs) = blobs else { return Ok(()) };
        self.derivation.push(record.clone(), &blobs)?;
        self.keep_batch(record, &blobs);
        drop(blobs);
        if !exhausted {
            self.ahead.ask(&self.client, later);
        }
        while let Some(step) = self.derivation.step() {
            self.take_step(step).await?;
        }
        self.progress.set_next_record(self.derivation.cursor().record);
        Ok(())
    }

    /// Keeps what other nodes may ask for, and forgets what they have had time for. The chain goes on without it.
    fn keep_batch(&self, record: &Record, blobs: &[Blob]) {
        let Some(hashes) = blob_hashes(record) else { return };
        let kept = self.batches.keep(record.index, hashes, blobs);
        if let Err(error) = kept.map_err(NodeError::Batches).and_then(|()| self.forget_batches()) {
            tracing::warn!(record = record.index, %error, "a batch could not be kept for others");
        }
    }

    fn forget_batches(&self) -> Result<(), NodeError> {
        let snapshot = self.store.snapshot()?;
        let settled = progress::record_of_block(&snapshot, self.progress.settled())?.unwrap_or(0);
        let ends = unix_now().saturating_sub(self.keep_batches.as_secs());
        while let Some(oldest) = self.batches.oldest().filter(|oldest| *oldest < settled) {
            let stored = progress::record(&snapshot, oldest)?;
            if stored.is_some_and(|stored| stored.record.env.timestamp >= ends) {
                break;
            }
            self.batches.forget(oldest).map_err(NodeError::Batches)?;
        }
        Ok(())
    }

    /// Asks until some source has them: the chain cannot go on without. None if L1 has reorganised: nobody may have blobs of a
    /// batch that is gone.
    async fn blobs(&mut self, stored: &StoredRecord) -> Option<Vec<Blob>> {
        let record = &stored.record;
        let Some(hashes) = blob_hashes(record) else { return Some(Vec::new()) };
        let mut ahead = self.ahead.take(stored).await;
        let mut backoff = self.poll_interval;
        loop {
            let blobs = match ahead.take() {
                Some(blobs) => Ok(blobs),
                None => self.client.blobs(record.env.l1_block_number, hashes).await,
            };
            match blobs {
                Ok(blobs) => {
                    self.progress.well(Trouble::Blobs);
                    return Some(blobs.into_iter().map(|blob| *blob).collect());
                }
                Err(error) => {
                    let why = format!("waiting for the blobs of record {}: {error}", record.index);
                    self.progress.trouble(Trouble::Blobs, why);
                    metrics::counter!("annex_missing_blobs_total").increment(1);
                }
            }
            if self.is_gone(stored).await {
                self.progress.well(Trouble::Blobs);
                return None;
            }
            sleep(backoff).await;
            backoff = (backoff * 2).min(MAX_BACKOFF);
        }
    }

    /// Whether L1 has another block in the place of the record's; the follower will say the same. An endpoint that has none may
    /// lag.
    async fn is_gone(&self, stored: &StoredRecord) -> bool {
        match self.client.block(stored.record.env.l1_block_number).await {
            Ok(found) => found.is_some_and(|found| found.hash != stored.l1_block_hash),
            Err(error) => {
                tracing::debug!(%error, "L1 does not answer");
                false
            }
        }
    }

    async fn take_step(&mut self, step: Step) -> Result<(), NodeError> {
        match step {
            Step::Block(step) => {
                let (number, before) = (self.derived.safe + 1, self.derivation.cursor());
                let header = match self.own_block(number, &step.input)? {
                    Some(block) => block.header,
                    None => match self.import(step).await? {
                        Some(header) => header,
                        None => return Ok(()),
                    },
                };
                self.derivation.applied(&header);
                self.tip.applied(&header, self.derivation.head().hash);
                self.derived.safe = number;
                let forced = self.derivation.head().forced_count;
                self.engine.safe(number, forced)?;
                self.keep(Some((number, before)))?;
                self.progress.set_safe(number);
                Ok(())
            }
            Step::Rejected { record, block, reason } => {
                tracing::warn!(record, block, %reason, "block rejected");
                metrics::counter!("annex_rejected_blocks_total").increment(1);
                self.take_back_stale()?;
                self.keep(None)
            }
            Step::Exhausted { record, skipped } => {
                if let Some(reason) = skipped {
                    tracing::warn!(record, %reason, "batch skipped");
                    metrics::counter!("annex_skipped_batches_total").increment(1);
                }
                self.keep(None)
            }
        }
    }

    /// Takes back own blocks that no batch can carry any more, as the record after the first one's origin came too long before it
    /// (spec/batch.md, `StaleOrigin`): posted again, they would be paid for and rejected again.
    fn take_back_stale(&self) -> Result<(), NodeError> {
        let snapshot = self.store.snapshot()?;
        let own = snapshot.header(self.derived.safe + 1)?.filter(|_| self.orders);
        let Some((header, _)) = own else { return Ok(()) };
        let origin = ExtraData::decode(&header.extra_data)?.origin;
        let next = progress::record(&snapshot, origin + 1)?;
        let latest = next.map(|next| {
            let recorded = next.record.env.timestamp;
            recorded.saturating_add(self.config.max_origin_lag)
        });
        if latest.is_some_and(|latest| latest < header.timestamp) {
            tracing::warn!(block = header.number, origin, "no batch can carry this block any more");
            self.engine.take_back(self.derived.safe)?;
        }
        Ok(())
    }

    /// Executes a block of a batch. None if it was rejected, which is kept as a step of its own.
    async fn import(&mut self, step: BlockStep) -> Result<Option<Header>, NodeError> {
        let witnessed = self.keep_rejected.clone().map(|leaves| (leaves, step.input.clone()));
        let outcome = self.engine.import(self.derived.safe, step.input).await?;
        let reason = match outcome {
            ImportOutcome::Applied(header) => return Ok(Some(header.inner().clone())),
            ImportOutcome::Rejected(reason) => reason,
        };
        tracing::warn!(record = step.record, block = ?step.block, %reason, "block rejected");
        metrics::counter!("annex_rejected_blocks_total").increment(1);
        self.derivation.rejected()?;
        self.keep(None)?;
        if let Some((leaves, input)) = witnessed
            && let Err(error) =
                leaves.keep_rejected(self.derived.safe, &input, self.tip.stored().hash)
        {
            tracing::warn!(%error, "the witness of a rejected block could not be kept");
        }
        Ok(None)
    }

    fn keep(&mut self, block: Option<(u64, Cursor)>) -> Result<(), NodeError> {
        self.derived.checkpoint = self.derivation.checkpoint();
        let leaf = self.tip.step(self.derived.checkpoint.cursor);
        Ok(progress::put_step(&self.store, &self.derived, block, (self.tip.index, leaf))?)
    }

    /// The block of the store at `number`, if it is what `input` makes on the derived head.
    fn own_block(&self, number: u64, input: &BlockInput) -> Result<Option<StoredBlock>, NodeError> {
        let block = self.store.snapshot()?.block(number)?;
        let parent = self.derivation.head();
        Ok(block.filter(|block| {
            block.header.parent_hash == parent.hash && same_input(block, parent.forced_count, input)
        }))
    }

    /// After a restart or when it is behind: hands derivation and engine the records they still need.
    async fn reload(&mut self) -> Result<(), NodeError> {
        self.behind = false;
        let snapshot = self.store.snapshot()?;
        let mut known = Vec::new();
        let mut index = self.derivation.next_record();
        let mut next = progress::record(&snapshot, index)?;
        while let Some(stored) = next {
            index += 1;
            next = progress::record(&snapshot, index)?;
            self.work_off(&stored, next.as_slice()).await?;
            known.push(stored.record);
            if self.behind {
                break;
            }
        }
        if let Some(block) = self.follower.block() {
            self.progress.set_l1_block(block);
        }
        Ok(self.engine.records(known)?)
    }

    /// Record `keep` and all later ones are gone.
    async fn rewind(&mut self, keep: u64) -> Result<(), NodeError> {
        self.progress.set_view(None);
        self.progress.count_reorg();
        let snapshot = self.store.snapshot()?;
        if let Some(base) = snapshot::base(&snapshot)?
            && keep < base.record
        {
            return Err(NodeError::BelowSnapshot { block: base.block });
        }
        let mut safe = self.derived.safe;
        let least = snapshot::base(&snapshot)?.map_or(0, |base| base.block);
        while safe > least && progress::record_of_block(&snapshot, safe)?.is_none_or(|r| r >= keep)
        {
            safe -= 1;
        }
        if self.derivation.cursor().record <= keep && safe == self.derived.safe {
            let checkpoint = self.derivation.checkpoint();
            self.derived = Derived { safe, checkpoint };
        } else {
            self.derived = Derived { safe, checkpoint: checkpoint_before(&snapshot, safe, keep)? };
        }
        self.tip = Tip::at(&snapshot, leaves::last_before(&snapshot, keep)?)?;
        check_tip(&self.tip, &self.derived)?;
        let checkpoints: Vec<_> = self.follower.checkpoints().collect();
        progress::rewind(&self.store, keep, &checkpoints, &self.derived, self.tip.index)?;
        self.engine.truncate_records(keep)?;
        self.progress.set_safe(safe);
        if !self.orders {
            self.engine.take_back(safe)?;
        }
        self.derivation = resume(&self.config, &snapshot, &self.derived)?;
        self.reload().await
    }
}

/// Versioned hashes of the blobs that a batch is in; none for every other record.
fn blob_hashes(record: &Record) -> Option<&[B256]> {
    match &record.payload {
        RecordPayload::Batch(BatchRecord { data: BatchData::Blobs(hashes), .. }) => Some(hashes),
        _ => None,
    }
}

/// Where derivation stands once every record below `keep` is exhausted, the last block being `safe`.
fn checkpoint_before(snapshot: &Snapshot, safe: u64, keep: u64) -> Result<Checkpoint, NodeError> {
    let (header, _) = snapshot.header(safe)?.ok_or(StoreError::UnknownBlock(safe))?;
    let extra = ExtraData::decode(&header.extra_data)?;
    let unconsumed = progress::record_of_forced(snapshot, extra.forced_count)?.unwrap_or(keep);
    let cursor = Cursor { record: keep, block: 0, forced: extra.forced_count };
    Ok(Checkpoint { cursor, first_record: extra.origin.min(unconsumed).min(keep) })
}

fn resume(
    config: &ChainConfig,
    snapshot: &Snapshot,
    derived: &Derived,
) -> Result<Derivation, NodeError> {
    let header = snapshot.header(derived.safe)?;
    let (header, _) = header.ok_or(StoreError::UnknownBlock(derived.safe))?;
    Ok(Derivation::resume(config.clone(), &header, &derived.checkpoint)?)
}

fn check_genesis(
    config: &ChainConfig,
    snapshot: &Snapshot,
    record: &Record,
) -> Result<(), NodeError> {
    let RecordPayload::Genesis { config_hash, genesis_hash } = record.payload else {
        return Err(NodeError::NotOurChain);
    };
    let ours = snapshot.hash(0)?;
    if config_hash != config.hash() || Some(genesis_hash) != ours {
        return Err(NodeError::NotOurChain);
    }
    Ok(())
}

/// Whether a stored block was made of this input, its parent's forced count being known.
pub(crate) fn same_input(block: &StoredBlock, forced_before: u64, input: &BlockInput) -> bool {
    let header = &block.header;
    let Ok(extra) = ExtraData::decode(&header.extra_data) else { return false };
    let attributes = &input.attributes;
    let signed = block.transactions.iter().skip(input.forced.len());
    header.timestamp == attributes.timestamp
        && header.beneficiary == attributes.beneficiary
        && extra.origin == attributes.origin.index
        && header.mix_hash == attributes.origin.prev_randao(header.number)
        && extra.blocks_in_second == attributes.blocks_in_second
        && extra.forced_count == forced_before + input.forced.len() as u64
        && block.transactions.len() == input.forced.len() + input.transactions.len()
        && signed
            .zip(&input.transactions)
            .all(|(ours, theirs)| ours.transaction.hash() == theirs.transaction.hash())
}

pub(crate) fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// What L1 says is final, as a block number; `None` where it does not say.
pub(crate) async fn finalized_l1_block(client: &L1Client) -> Result<Option<u64>, L1Error> {
    let block: Option<serde_json::Value> =
        client.request("eth_getBlockByNumber", ("finalized", false)).await?;
    let number = block.as_ref().and_then(|block| block["number"].as_str());
    Ok(number.and_then(|hex| u64::from_str_radix(hex.trim_start_matches("0x"), 16).ok()))
}
