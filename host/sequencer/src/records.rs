//! What the executor knows of L1: origins it may name and forced items it must take.

use alloy_primitives::B256;
use annex_types::{ForcedItem, Origin, Record, RecordPayload};
use std::collections::BTreeMap;

/// Origins and forced items kept; far more than unposted blocks can need.
const KEPT: usize = 65_536;

/// Records deep enough in L1 to build on, the newest ones.
#[derive(Debug, Default)]
pub(crate) struct Records {
    origins: BTreeMap<u64, Origin>,
    /// By forced index, with the record that holds it.
    forced: BTreeMap<u64, (u64, ForcedItem)>,
}

impl Records {
    pub fn push(&mut self, record: Record) {
        let Record { index, accumulator, env, payload } = record;
        self.origins.insert(index, Origin { index, accumulator, env });
        if let RecordPayload::Forced(item) = payload {
            self.forced.insert(item.index, (index, item));
        }
        while self.origins.len() > KEPT {
            self.origins.pop_first();
        }
    }

    /// Forgets record `index` and all later ones: L1 reorganised.
    pub fn truncate(&mut self, index: u64) {
        self.origins.split_off(&index);
        self.forced.retain(|_, (record, _)| *record < index);
    }

    pub fn newest(&self) -> Option<&Origin> {
        self.origins.last_key_value().map(|(_, origin)| origin)
    }

    /// The record whose accumulator is `hash`.
    pub fn by_accumulator(&self, hash: B256) -> Option<&Origin> {
        self.origins.values().rev().find(|origin| origin.accumulator == hash)
    }

    /// Forced items from `first` on whose gas limits sum up to at most `gas`, all at or below record `origin`.
    pub fn due(&self, first: u64, origin: u64, gas: u64) -> Vec<ForcedItem> {
        let mut left = gas;
        let mut items = Vec::new();
        for (expected, (index, (record, item))) in (first..).zip(self.forced.range(first..)) {
            if *index != expected || *record > origin || item.gas_limit > left {
                break;
            }
            left -= item.gas_limit;
            items.push(item.clone());
        }
        items
    }

    /// Drops forced items below `first`, which are consumed in blocks that L1 carries.
    pub fn consumed(&mut self, first: u64) {
        self.forced = self.forced.split_off(&first);
    }

    /// Whether an item from `first` on waits.
    pub fn has_forced(&self, first: u64) -> bool {
        self.forced.contains_key(&first)
    }
}
