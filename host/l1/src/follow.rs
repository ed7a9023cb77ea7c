//! Following the Inbox's log through L1 blocks and reorganisations.

use crate::client::{BlockRef, L1Client, MAX_LOG_RANGE};
use crate::error::L1Error;
use crate::records::{L1Record, LogPosition};
use alloy_primitives::Address;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

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
    /// L1 up to `to`, whose records these are (possibly none). More may follow at once when `to` is below `target`.
    Records { records: Vec<L1Record>, to: BlockRef, target: u64 },
    /// L1 reorganised. Records from index `keep` on are no longer there; what replaces them comes with the next polls.
    /// `common_ancestor` is a block that both branches have; none if that lies before the first record.
    Reorg { keep: u64, common_ancestor: Option<BlockRef> },
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
        let mut this =
            Self { inbox, start, confirmations, checkpoints: VecDeque::new(), step: MAX_LOG_RANGE };
        checkpoints.into_iter().for_each(|checkpoint| this.push(checkpoint));
        this
    }

    /// What to persist in order to continue after a restart.
    pub fn checkpoints(&self) -> impl Iterator<Item = &Checkpoint> {
        self.checkpoints.iter()
    }

    /// The last block read.
    pub fn block(&self) -> Option<BlockRef> {
        self.checkpoints.back().map(|checkpoint| checkpoint.block)
    }

    /// How far the log is known.
    pub fn position(&self) -> LogPosition {
        self.checkpoints.back().map(|checkpoint| checkpoint.position).unwrap_or_default()
    }

    /// Looks at L1 once. After an error, or dropped half-way, no record is lost or seen twice.
    pub async fn poll(&mut self, client: &L1Client) -> Result<Event, L1Error> {
        let head = client.head().await?;
        if self.block() == Some(head.reference()) {
            return Ok(Event::Idle);
        }
        let target = head.number.saturating_sub(self.confirmations);
        let from = self.block().map_or(self.start, |block| block.number + 1);
        loop {
            let end = target.min(from.saturating_add(self.step - 1));
            let before = if end == head.number { Some(head) } else { client.block(end).await? };
            if let Some(event) = self.check_reorg(client).await? {
                return Ok(event);
            }
            let Some(to) = before.filter(|_| end >= from) else { return Ok(Event::Idle) };

            let mut position = self.position();
            let (records, answered) =
                client.records_prefix(self.inbox, from, end, &mut self.step, &mut position).await?;
            if answered < end {
                self.step = answered - from + 1;
                continue;
            }
            if client.block(end).await?.map(|block| block.hash) != Some(to.hash) {
                // L1 reorganised meanwhile: these logs may be of either branch.
                return Ok(Event::Idle);
            }
            self.step = (self.step + self.step / 8 + 1).min(MAX_LOG_RANGE);
            let to = to.reference();
            records.iter().for_each(|record| self.push(checkpoint(record)));
            self.push(Checkpoint { block: to, position });
            return Ok(Event::Records { records, to, target });
        }
    }

    /// Rolls back to the newest checkpoint that is still canonical, if the last one is not.
    async fn check_reorg(&mut self, client: &L1Client) -> Result<Option<Event>, L1Error> {
        let canonical = |block: BlockRef| async move {
            let now = client.block(block.number).await?;
            Ok::<_, L1Error>(now.map(|now| now.hash) == Some(block.hash))
        };
        match self.block() {
            None => return Ok(None),
            Some(block) if canonical(block).await? => return Ok(None),
            Some(_) => {}
        }
        // Canonical checkpoints come first: find how many there are.
        let (mut low, mut high) = (0, self.checkpoints.len() - 1);
        while low < high {
            let middle = low + (high - low) / 2;
            if canonical(self.checkpoints[middle].block).await? {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
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

fn checkpoint(record: &L1Record) -> Checkpoint {
    Checkpoint {
        block: BlockRef { number: record.record.env.l1_block_number, hash: record.block_hash },
        position: LogPosition {
            next: record.record.index + 1,
            accumulator: record.record.accumulator,
        },
    }
}
