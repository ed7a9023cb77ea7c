//! Following the Inbox's log through L1 blocks and reorganisations.

use crate::client::{BlockRef, L1Block, L1Client, MAX_LOG_RANGE};
use crate::contracts::Inbox;
use crate::error::L1Error;
use crate::records::{L1Record, LogPosition};
use alloy_primitives::{Address, U256};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// Blocks remembered to find how deep a reorganisation goes. Beyond, it starts over from the first record.
const MAX_CHECKPOINTS: usize = 1_024;

/// An L1 block and how far the log was known after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    pub block: BlockRef,
    pub position: LogPosition,
}

/// What [`Follower::poll`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Nothing: L1 has no new block that is deep enough.
    Idle,
    /// The endpoint's head is before the last block read, and it names no other block in the place of one that was read: it
    /// lags, or L1 got shorter for the time being.
    Behind { head: BlockRef },
    /// The answers do not belong together: the endpoint lacks the head that it names, its logs lack records that the Inbox
    /// counts, or L1 reorganised between two of them. Nothing was read.
    Unsettled,
    /// L1 up to `to`, whose records these are (possibly none). More may follow at once when `to` is below `target`.
    Records { records: Vec<L1Record>, to: BlockRef, target: u64 },
    /// L1 reorganised. Records from index `keep` on are no longer there; what replaces them comes with the next polls.
    /// `common_ancestor` is a block that both branches have; none if that lies before the first record.
    Reorg { keep: u64, common_ancestor: Option<BlockRef> },
}

/// What an endpoint has in the place of a block that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Canonical,
    Replaced,
    Missing,
}

/// Reads the log forward. Holds no connection; its state is in [`Self::checkpoints`].
#[derive(Clone, Debug)]
pub struct Follower {
    inbox: Address,
    /// L1 block of record 0.
    start: u64,
    /// Blocks that must lie above one before it is read.
    confirmations: u64,
    /// Rising block numbers; the last one is where the next poll goes on.
    checkpoints: VecDeque<Checkpoint>,
    /// Blocks the endpoint answers for at once.
    step: u64,
    /// The newest head that an endpoint named.
    head: Option<L1Block>,
    /// How long an endpoint may be behind before L1 counts as shortened.
    patience: Duration,
    behind_since: Option<Instant>,
}

impl Follower {
    /// Starts after the last of `checkpoints` (rising block numbers, as [`Self::checkpoints`] gave them), or with none at
    /// `start`, the L1 block of record 0.
    pub fn new(
        inbox: Address,
        start: u64,
        confirmations: u64,
        checkpoints: impl IntoIterator<Item = Checkpoint>,
    ) -> Self {
        let mut this = Self {
            inbox,
            start,
            confirmations,
            checkpoints: VecDeque::new(),
            step: MAX_LOG_RANGE,
            head: None,
            patience: Duration::ZERO,
            behind_since: None,
        };
        checkpoints.into_iter().for_each(|checkpoint| this.push(checkpoint));
        this
    }

    /// Lets an endpoint be behind for that long before what it lacks counts as gone: several may answer in turn under one URL.
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// What to persist in order to continue after a restart.
    pub fn checkpoints(&self) -> impl Iterator<Item = &Checkpoint> {
        self.checkpoints.iter()
    }

    /// The last block read.
    pub fn block(&self) -> Option<BlockRef> {
        self.checkpoints.back().map(|checkpoint| checkpoint.block)
    }

    /// The head as the last poll was told.
    pub fn head(&self) -> Option<&L1Block> {
        self.head.as_ref()
    }

    /// How far the log is known.
    pub fn position(&self) -> LogPosition {
        self.checkpoints.back().map(|checkpoint| checkpoint.position).unwrap_or_default()
    }

    /// Looks at L1 once. After an error, or dropped half-way, no record is lost or seen twice.
    pub async fn poll(&mut self, client: &L1Client) -> Result<Event, L1Error> {
        let head = client.head().await?;
        self.head = Some(head);
        let last = self.block();
        if last == Some(head.reference()) {
            self.behind_since = None;
            return Ok(Event::Idle);
        }
        let target = head.number.saturating_sub(self.confirmations);
        let from = last.map_or(self.start, |block| block.number + 1);
        loop {
            let end = target.min(from.saturating_add(self.step - 1));
            let before = match end >= from {
                true if end == head.number => Some(head),
                true => client.block(end).await?,
                false => None,
            };
            match last {
                None => {}
                // No need to ask whether it is still there.
                Some(last) if before.is_some_and(|next| next.parent_hash == last.hash) => {
                    self.behind_since = None;
                }
                Some(last) => match standing(client, last).await? {
                    Standing::Canonical if target >= last.number => self.behind_since = None,
                    Standing::Canonical | Standing::Missing => {
                        return self.behind(client, head).await;
                    }
                    Standing::Replaced => {
                        let event = self.roll_back(client).await?;
                        return Ok(event.unwrap_or(Event::Unsettled));
                    }
                },
            }
            if end < from {
                return Ok(Event::Idle);
            }
            let Some(to) = before else { return Ok(Event::Unsettled) };
            match self.read(client, from, to.reference()).await? {
                Read::All(records, position) => {
                    self.step = (self.step + self.step / 8 + 1).min(MAX_LOG_RANGE);
                    let to = to.reference();
                    records.iter().for_each(|record| self.push(checkpoint(record)));
                    self.push(Checkpoint { block: to, position });
                    return Ok(Event::Records { records, to, target });
                }
                Read::UpTo(answered) => self.step = answered - from + 1,
                Read::Unsettled => return Ok(Event::Unsettled),
            }
        }
    }

    /// The records in `from..=to.number`, of the branch that ends in `to`.
    async fn read(&mut self, client: &L1Client, from: u64, to: BlockRef) -> Result<Read, L1Error> {
        let mut position = self.position();
        let read =
            client.records_prefix(self.inbox, from, to.number, &mut self.step, &mut position).await;
        match read {
            Ok((_, answered)) if answered < to.number => return Ok(Read::UpTo(answered)),
            Ok(_) | Err(L1Error::Log { .. }) => {}
            Err(error) => return Err(error),
        }
        // If L1 reorganised meanwhile, these logs may be of either branch.
        if standing(client, to).await? != Standing::Canonical {
            return Ok(Read::Unsettled);
        }
        match read {
            // One of several nodes under this URL may have lagged when it answered for blocks that count as read.
            Err(_) if self.forget_recordless() => Ok(Read::Unsettled),
            Err(error) => Err(error),
            Ok((records, _)) => match self.are_all(client, to, position.next).await? {
                true => Ok(Read::All(records, position)),
                false => Ok(Read::Unsettled),
            },
        }
    }

    /// Whether the Inbox counts so many records after a block. True where the endpoint does not keep that state: then the first
    /// record that does not follow tells.
    async fn are_all(
        &self,
        client: &L1Client,
        block: BlockRef,
        known: u64,
    ) -> Result<bool, L1Error> {
        use L1Error::{Output, Rejected, Reverted};
        let call = Inbox::recordCountCall {};
        // By hash: a node on another branch would confirm there what its logs lack.
        match client.read_at(self.inbox, &call, block.hash).await {
            Ok(count) => return Ok(count == U256::from(known)),
            Err(Rejected(_) | Output(_) | Reverted(_)) => {}
            Err(error) => return Err(error),
        }
        match client.read_at_number(self.inbox, &call, block.number).await {
            // The state is kept, of another block.
            Ok(_) => Ok(false),
            Err(Rejected(_) | Output(_) | Reverted(_)) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Takes back that the blocks since the newest record were read. False if there are none.
    fn forget_recordless(&mut self) -> bool {
        let before = self.checkpoints.len();
        while let [.., previous, last] = self.checkpoints.make_contiguous()
            && previous.position == last.position
        {
            self.checkpoints.pop_back();
        }
        // Nothing comes before record 0.
        if self.position().next == 0 {
            self.checkpoints.clear();
        }
        self.checkpoints.len() < before
    }

    /// The endpoint lacks the last block read, or forgets that it has it.
    async fn behind(&mut self, client: &L1Client, head: L1Block) -> Result<Event, L1Error> {
        let known = self.checkpoints.iter().rev().find(|known| known.block.number <= head.number);
        let replaced = match known.map(|known| known.block) {
            Some(block) => standing(client, block).await? == Standing::Replaced,
            None => false,
        };
        let since = *self.behind_since.get_or_insert_with(Instant::now);
        if (replaced || since.elapsed() >= self.patience)
            && let Some(reorg) = self.roll_back(client).await?
        {
            return Ok(reorg);
        }
        Ok(Event::Behind { head: head.reference() })
    }

    /// Rolls back to the newest checkpoint that is canonical, if that is not the last one.
    async fn roll_back(&mut self, client: &L1Client) -> Result<Option<Event>, L1Error> {
        // Canonical checkpoints come first: find how many there are.
        let (mut low, mut high) = (0, self.checkpoints.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match standing(client, self.checkpoints[middle].block).await? {
                Standing::Canonical => low = middle + 1,
                Standing::Replaced | Standing::Missing => high = middle,
            }
        }
        if low == self.checkpoints.len() {
            return Ok(None);
        }
        self.behind_since = None;
        self.checkpoints.truncate(low);
        Ok(Some(Event::Reorg { keep: self.position().next, common_ancestor: self.block() }))
    }

    fn push(&mut self, checkpoint: Checkpoint) {
        // The last record of a block tells its position.
        if self.block().map(|block| block.number) == Some(checkpoint.block.number) {
            self.checkpoints.pop_back();
        }
        if self.checkpoints.len() == MAX_CHECKPOINTS {
            self.checkpoints.pop_front();
        }
        self.checkpoints.push_back(checkpoint);
    }
}

/// What came of reading a range.
enum Read {
    All(Vec<L1Record>, LogPosition),
    /// The endpoint answers for fewer blocks at once; the last of them.
    UpTo(u64),
    Unsettled,
}

async fn standing(client: &L1Client, block: BlockRef) -> Result<Standing, L1Error> {
    Ok(match client.block(block.number).await? {
        Some(found) if found.hash == block.hash => Standing::Canonical,
        Some(_) => Standing::Replaced,
        None => Standing::Missing,
    })
}

fn checkpoint(record: &L1Record) -> Checkpoint {
    Checkpoint {
        block: BlockRef { number: record.record.env.l1_block_number, hash: record.block_hash },
        position: LogPosition {
            next: record.record.index + 1,
            accumulator: record.record.accumulator,
        },
    }
}
