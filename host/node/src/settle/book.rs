//! What is true, as far as this node knows it.

use super::compute::{Answer, Running};
use crate::{
    leaves::{Leaves, RANGE_HEIGHT},
    progress::{self, Progress},
};
use alloy_primitives::B256;
use annex_claim::{OutputRoot, fault_leaf};
use annex_settle::{Book, Lookup, Need, Opening, Output, Range, Reason, Traffic, View};
use annex_store::{Store, StoreError};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

/// After what was missing is looked for again.
const RETRY: Duration = Duration::from_secs(5);

#[derive(Clone, Copy)]
struct Counted {
    block: u64,
    record: u64,
    /// Whether one of the record's blocks so far has withdrawals.
    withdrawals: bool,
}

/// The book of truth, and what goes into it.
pub(super) struct Knowledge {
    store: Store,
    leaves: Leaves,
    progress: Arc<Progress>,
    book: Book,
    /// The newest block that is in the book's traffic.
    traffic: Option<Counted>,
    /// Leaves whose step the machine fails, whatever the native one made: by spec/claim.md FAULT follows.
    faults: BTreeSet<B256>,
    /// [`Progress::reorgs`] of the L1 that the book is of.
    reorgs: u64,
    /// When to ask again.
    retries: BTreeMap<Need, Instant>,
}

impl Knowledge {
    pub fn new(store: Store, leaves: Leaves, progress: Arc<Progress>) -> Self {
        let (book, reorgs) = (Book::default(), progress.reorgs());
        let (traffic, faults, retries) = (None, BTreeSet::new(), BTreeMap::new());
        Self { store, leaves, progress, book, traffic, faults, reorgs, retries }
    }

    pub fn book(&self) -> &Book {
        &self.book
    }

    /// Whether it is time to ask again for something.
    pub fn is_due(&self) -> bool {
        self.retries.values().any(|at| *at <= Instant::now())
    }

    /// Forgets what is over. Whether L1 has reorganised.
    pub fn update(&mut self, view: &View) -> Result<bool, StoreError> {
        let reorgs = self.progress.reorgs();
        let reorganised = reorgs != self.reorgs || self.is_of_another_l1(view)?;
        if reorganised {
            // A leaf does not commit to the records behind its cursor: after a reorganisation nothing is sure.
            (self.book, self.traffic, self.reorgs) = (Book::default(), None, reorgs);
            self.faults.clear();
            self.retries.clear();
        }
        self.book.prune(view);
        let now = Instant::now();
        let due = self.retries.extract_if(.., |_, at| *at <= now);
        for (need, _) in due {
            self.book.set_unknown(need, Reason::NotBegun);
        }
        Ok(reorganised)
    }

    /// Whether a range that was computed here ends elsewhere on the L1 of the view: what is joined must be what was computed.
    fn is_of_another_l1(&self, view: &View) -> Result<bool, StoreError> {
        let snapshot = self.store.snapshot()?;
        for range in &view.ranges {
            let stored = progress::record(&snapshot, range.end.saturating_sub(1))?;
            let same = stored.is_some_and(|it| it.record.accumulator == range.end_accumulator);
            let known = matches!(self.book.range(range.start, range.end), Lookup::Known(_));
            if known && !same {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Learns which records carried blocks, and whether these have withdrawals: what claims are made for.
    pub fn count_traffic(&mut self, settled: u64) -> Result<(), StoreError> {
        let snapshot = self.store.snapshot()?;
        let from = self.traffic.map_or(0, |counted| counted.block).max(settled);
        let root = |number| -> Result<Option<B256>, StoreError> {
            Ok(snapshot.header(number)?.and_then(|(header, _)| header.withdrawals_root))
        };
        let Some(mut before) = root(from)? else { return Ok(()) };
        for number in from + 1..=self.progress.safe() {
            let Some(after) = root(number)? else { break };
            let Some(record) = progress::record_of_block(&snapshot, number)? else { break };
            let Some(stored) = progress::record(&snapshot, record)? else { break };
            let same = self.traffic.filter(|counted| counted.record == record);
            let withdrawals = after != before || same.is_some_and(|counted| counted.withdrawals);
            let time = stored.record.env.timestamp;
            self.book.insert_traffic(record, Traffic { time, withdrawals });
            self.traffic = Some(Counted { block: number, record, withdrawals });
            before = after;
        }
        Ok(())
    }

    /// Looks up what is true of every open range, claimed or not.
    pub fn judge(&mut self, view: &View) -> Result<(), StoreError> {
        let unjudged = view.ranges.iter().filter(|range| {
            let known = self.book.range(range.start, range.end);
            matches!(known, Lookup::Unknown(_, Reason::NotBegun))
        });
        let needs = unjudged.map(|range| Need::Range { start: range.start, end: range.end });
        self.look_up(needs.collect(), view)?;
        Ok(())
    }

    /// Answers what only has to be looked up; whether there was such a need.
    pub fn look_up(&mut self, needs: Vec<Need>, view: &View) -> Result<bool, StoreError> {
        let mut any = false;
        for need in needs {
            let found = match need {
                Need::Range { start, end } => self.range(start, end, view)?.map(Answer::Range),
                Need::Opening { leaf } => self.opening(leaf)?.map(Answer::Opening),
                Need::Run { .. } | Need::Stride { .. } | Need::Step { .. } => continue,
            };
            any = true;
            self.learn((need, found));
        }
        Ok(any)
    }

    /// Puts an answer in, or why there is none.
    pub fn learn(&mut self, (need, answer): (Need, Result<Answer, Reason>)) {
        let book = &mut self.book;
        match (need, answer) {
            (Need::Range { start, end }, Ok(Answer::Range(range))) => {
                book.insert_range(start, end, range);
            }
            (_, Ok(Answer::Opening(opening))) => book.insert_opening(opening),
            (Need::Run { leaf }, Ok(Answer::Run(run))) => {
                if run.leaf_after(leaf) == fault_leaf(leaf) && self.faults.insert(leaf) {
                    tracing::error!(%leaf, "the machine fails this step: the chain has faulted");
                    // Ranges that it lies in are other ones now.
                    (*book, self.traffic) = (Book::default(), None);
                }
                book.insert_run(leaf, run);
            }
            (Need::Stride { leaf, stride }, Ok(Answer::Stride(tree))) => {
                book.insert_stride(leaf, stride, tree);
            }
            (Need::Step { leaf, instruction }, Ok(Answer::Step(step))) => {
                book.insert_step(leaf, instruction, step);
            }
            (_, Ok(_)) => {}
            (need, Err(reason)) => {
                self.retries.insert(need, Instant::now() + RETRY);
                book.set_unknown(need, reason);
            }
        }
    }

    /// Notes how far the computation is that runs.
    pub fn computing(&mut self, running: Option<Running>) {
        if let Some(Running { need, steps }) = running {
            let progress = annex_settle::Progress { steps };
            self.book.set_unknown(need, Reason::Computing(progress));
        }
    }

    fn range(
        &self,
        start: B256,
        end: u64,
        view: &View,
    ) -> Result<Result<Range, Reason>, StoreError> {
        let snapshot = self.store.snapshot()?;
        let followed = self.progress.next_record();
        let stored = progress::record(&snapshot, end.saturating_sub(1))?;
        let same = |accumulator| {
            let mut of = view.ranges.iter().filter(|it| (it.start, it.end) == (start, end));
            of.all(|range| range.end_accumulator == accumulator)
        };
        let ours = stored.is_some_and(|stored| same(stored.record.accumulator));
        if !ours || followed < end {
            return Ok(Err(Reason::Following { record: followed }));
        }
        let Some(first) = self.leaves.index_of(start)? else { return Ok(Err(Reason::Stranger)) };
        let (Some(last), Some(tree)) = (self.leaves.end_of(end)?, self.leaves.tree(first, end)?)
        else {
            return Ok(Err(Reason::Following { record: followed }));
        };
        let last = last.min(first.saturating_add(1 << RANGE_HEIGHT)).max(first);
        if let Some((at, of)) = self.first_fault(first, last)? {
            let tree = self.leaves.tree_to_fault(first, at)?;
            return Ok(Ok(Range { tree: tree.into(), last: Output::Fault { of } }));
        }
        let Some(leaf) = self.leaves.at(last)? else { return Ok(Err(Reason::Stranger)) };
        let (header, _) =
            snapshot.header(leaf.block)?.ok_or(StoreError::UnknownBlock(leaf.block))?;
        let output = Output::Head { header: alloy_rlp::encode(header).into(), cursor: leaf.cursor };
        Ok(Ok(Range { tree: tree.into(), last: output }))
    }

    /// The first step of leaves `first..last` that the machine fails.
    fn first_fault(&self, first: u64, last: u64) -> Result<Option<(u64, B256)>, StoreError> {
        let mut found = None;
        for leaf in &self.faults {
            let Some(at) = self.leaves.index_of(*leaf)? else { continue };
            if (first..last).contains(&at) && found.is_none_or(|(before, _)| at < before) {
                found = Some((at, *leaf));
            }
        }
        Ok(found)
    }

    fn opening(&self, leaf: B256) -> Result<Result<Opening, Reason>, StoreError> {
        if let Some(of) = self.faults.iter().find(|of| fault_leaf(**of) == leaf) {
            return Ok(Ok(Opening::FaultOf(*of)));
        }
        let Some(index) = self.leaves.index_of(leaf)? else { return Ok(Err(Reason::Stranger)) };
        let Some(found) = self.leaves.at(index)? else { return Ok(Err(Reason::Stranger)) };
        let header = self.store.snapshot()?.header(found.block)?;
        let (header, _) = header.ok_or(StoreError::UnknownBlock(found.block))?;
        let output_root = OutputRoot::of(&header).hash();
        Ok(Ok(Opening::Output { output_root, cursor: found.cursor }))
    }
}

#[cfg(test)]
mod tests;
