//! How far the node has followed L1, as it is kept in the store and shown to readers.

use crate::{follow::unix_now, leaves::StoredLeaf};
use alloy_primitives::B256;
use annex_derive::{Checkpoint as DeriveCheckpoint, Cursor};
use annex_l1::{BlockRef, Checkpoint as L1Checkpoint, L1Record};
use annex_store::{Snapshot, Store, StoreError, Writer};
use annex_types::{Origin, Record, RecordEnv, RecordPayload};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    collections::BTreeMap,
    fmt::Display,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

const DERIVE: &[u8] = b"node/derive";
const L1: &[u8] = b"node/l1";

/// The newest block that L1 carries, and where derivation goes on from there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Derived {
    pub safe: u64,
    pub checkpoint: DeriveCheckpoint,
}

/// A record with its place on L1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredRecord {
    pub record: Record,
    pub l1_block_hash: B256,
    pub l1_tx: B256,
    /// Hash by which op-stack tools look for it, of a forced item.
    pub alias: Option<B256>,
}

impl From<L1Record> for StoredRecord {
    fn from(found: L1Record) -> Self {
        Self {
            alias: found.op_alias(),
            l1_block_hash: found.block_hash,
            l1_tx: found.tx_hash,
            record: found.record,
        }
    }
}

fn block_cursor_key(block: u64) -> Vec<u8> {
    [b"block_cursor/".as_slice(), &block.to_be_bytes()].concat()
}

fn forced_record_key(item: u64) -> Vec<u8> {
    [b"forced_record/".as_slice(), &item.to_be_bytes()].concat()
}

pub(crate) fn decode<T: DeserializeOwned>(bytes: Option<Vec<u8>>) -> Result<Option<T>, StoreError> {
    let decoded = bytes.map(|bytes| serde_json::from_slice(&bytes)).transpose();
    decoded.map_err(|_| StoreError::Corrupt("node metadata"))
}

pub(crate) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("plain data serialises")
}

pub(crate) fn derived(snapshot: &Snapshot) -> Result<Derived, StoreError> {
    Ok(decode(snapshot.get_meta(DERIVE)?)?.unwrap_or_default())
}

/// Keeps where a step led, the leaf after it, and, if it made a block, where derivation stood before that.
pub(crate) fn put_step(
    store: &Store,
    derived: &Derived,
    block: Option<(u64, Cursor)>,
    (index, leaf): (u64, StoredLeaf),
) -> Result<(), StoreError> {
    store.write(|writer| {
        writer.put_meta(DERIVE, Some(&encode(derived)))?;
        writer.put_leaf(index, leaf.hash, &leaf.encode())?;
        match block {
            Some((block, before)) => {
                writer.put_meta(&block_cursor_key(block), Some(&encode(&before)))
            }
            None => Ok(()),
        }
    })
}

/// Notes where derivation stood before a block.
#[cfg(test)]
pub(crate) fn put_block_cursor(
    store: &Store,
    block: u64,
    before: Cursor,
) -> Result<(), StoreError> {
    store.put_meta(&block_cursor_key(block), Some(&encode(&before)))
}

pub(crate) fn l1_checkpoints(snapshot: &Snapshot) -> Result<Vec<L1Checkpoint>, StoreError> {
    Ok(decode(snapshot.get_meta(L1)?)?.unwrap_or_default())
}

/// Keeps new records and how far L1 was read with them, in one write.
pub(crate) fn put_records(
    store: &Store,
    records: &[StoredRecord],
    checkpoints: &[&L1Checkpoint],
) -> Result<(), StoreError> {
    store.write(|writer| {
        put_records_in(writer, records)?;
        writer.put_meta(L1, Some(&encode(&checkpoints)))
    })
}

/// Where a store begins that was made from a snapshot.
pub(crate) fn put_snapshot(
    writer: &mut Writer<'_>,
    derived: &Derived,
    (index, leaf): (u64, StoredLeaf),
    records: &[StoredRecord],
    checkpoints: &[L1Checkpoint],
) -> Result<(), StoreError> {
    writer.put_meta(DERIVE, Some(&encode(derived)))?;
    writer.put_leaf(index, leaf.hash, &leaf.encode())?;
    put_records_in(writer, records)?;
    writer.put_meta(L1, Some(&encode(&checkpoints)))
}

fn put_records_in(writer: &mut Writer<'_>, records: &[StoredRecord]) -> Result<(), StoreError> {
    for stored in records {
        let index = stored.record.index;
        writer.put_record(index, &encode(stored))?;
        if let RecordPayload::Forced(item) = &stored.record.payload {
            writer.put_meta(&forced_record_key(item.index), Some(&index.to_be_bytes()))?;
        }
    }
    Ok(())
}

/// Forgets record `keep` and all later ones, and the leaves after leaf `last`.
pub(crate) fn rewind(
    store: &Store,
    keep: u64,
    checkpoints: &[&L1Checkpoint],
    derived: &Derived,
    last: u64,
) -> Result<(), StoreError> {
    store.write(|writer| {
        writer.truncate_records(keep)?;
        writer.truncate_leaves(last + 1)?;
        writer.put_meta(DERIVE, Some(&encode(derived)))?;
        writer.put_meta(L1, Some(&encode(&checkpoints)))
    })
}

pub(crate) fn record(snapshot: &Snapshot, index: u64) -> Result<Option<StoredRecord>, StoreError> {
    decode(snapshot.record(index)?)
}

/// Where derivation stood before a block that L1 carries: the cursor of the leaf before it.
pub(crate) fn cursor_of_block(
    snapshot: &Snapshot,
    block: u64,
) -> Result<Option<Cursor>, StoreError> {
    decode(snapshot.get_meta(&block_cursor_key(block))?)
}

/// Index of the record a block was derived from.
pub(crate) fn record_of_block(snapshot: &Snapshot, block: u64) -> Result<Option<u64>, StoreError> {
    Ok(cursor_of_block(snapshot, block)?.map(|cursor| cursor.record))
}

/// Index of the record that holds a forced item.
pub(crate) fn record_of_forced(snapshot: &Snapshot, item: u64) -> Result<Option<u64>, StoreError> {
    let bytes = snapshot.get_meta(&forced_record_key(item))?.map(<[u8; 8]>::try_from).transpose();
    let bytes = bytes.map_err(|_| StoreError::Corrupt("node metadata"))?;
    Ok(bytes.map(u64::from_be_bytes))
}

/// What may be wrong while the node goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Trouble {
    /// L1 does not answer, or answers what cannot be.
    L1,
    /// The L1 endpoint is behind what it said before.
    L1Behind,
    /// L1 has had no block for long.
    L1Still,
    /// Nobody has the blobs of a batch.
    Blobs,
    /// L1 does not take batches, or takes them for nothing.
    Posting,
}

impl Trouble {
    const ALL: [Self; 5] = [Self::L1, Self::L1Behind, Self::L1Still, Self::Blobs, Self::Posting];

    /// As `/health` and the metric `annex_trouble` call it.
    fn name(self) -> &'static str {
        match self {
            Self::L1 => "l1",
            Self::L1Behind => "l1_behind",
            Self::L1Still => "l1_still",
            Self::Blobs => "blobs",
            Self::Posting => "posting",
        }
    }
}

/// A [`Trouble`] as `/health` tells it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    what: &'static str,
    why: String,
    /// Unix seconds.
    since: u64,
}

/// What is known of L1 and what follows from it, all of one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct View {
    /// Hash of the newest L1 block read.
    pub l1_block: B256,
    /// The newest block that L1 carries.
    pub safe: u64,
    pub safe_hash: B256,
    /// Records below this index are worked off.
    pub next_record: u64,
}

/// Numbers that readers show, and what is wrong. Each is of its own moment; for what must belong together there is [`View`].
#[derive(Debug, Default)]
pub(crate) struct Progress {
    troubles: Mutex<BTreeMap<Trouble, Report>>,
    safe: AtomicU64,
    finalized: AtomicU64,
    settled: AtomicU64,
    l1_block: Mutex<BlockRef>,
    next_record: AtomicU64,
    reorgs: AtomicU64,
    view: Mutex<Option<View>>,
}

impl Progress {
    /// Something is wrong, or still is. Logged when it begins and when its reason changes.
    pub fn trouble(&self, what: Trouble, why: impl Display) {
        let why = why.to_string();
        let mut troubles = self.troubles.lock().expect("no holder panics");
        let known = troubles.get(&what);
        if known.is_none_or(|known| known.why != why) {
            tracing::warn!(what = what.name(), why, "in trouble");
        }
        let since = known.map_or_else(unix_now, |known| known.since);
        troubles.insert(what, Report { what: what.name(), why, since });
        metrics::gauge!("annex_trouble", "what" => what.name()).set(1.0);
    }

    /// That is not wrong, or not any more.
    pub fn well(&self, what: Trouble) {
        if let Some(report) = self.troubles.lock().expect("no holder panics").remove(&what) {
            let seconds = unix_now().saturating_sub(report.since);
            tracing::info!(what = what.name(), seconds, was = report.why, "out of trouble");
            metrics::gauge!("annex_trouble", "what" => what.name()).set(0.0);
        }
    }

    /// What is wrong now.
    pub fn troubles(&self) -> Vec<Report> {
        self.troubles.lock().expect("no holder panics").values().cloned().collect()
    }

    /// Lets metrics say of each trouble that there is none.
    pub fn show_troubles(&self) {
        for what in Trouble::ALL {
            metrics::gauge!("annex_trouble", "what" => what.name()).set(0.0);
        }
    }

    pub fn safe(&self) -> u64 {
        self.safe.load(Ordering::Acquire)
    }

    pub fn set_safe(&self, block: u64) {
        self.safe.store(block, Ordering::Release);
        metrics::gauge!("annex_safe_block").set(block as f64);
    }

    pub fn finalized(&self) -> u64 {
        self.finalized.load(Ordering::Acquire)
    }

    pub fn set_finalized(&self, block: u64) {
        self.finalized.store(block, Ordering::Release);
    }

    /// The newest block whose state is settled on L1.
    pub fn settled(&self) -> u64 {
        self.settled.load(Ordering::Acquire)
    }

    pub fn set_settled(&self, block: u64) {
        self.settled.store(block, Ordering::Release);
    }

    /// Newest L1 block read.
    pub fn l1_block(&self) -> BlockRef {
        *self.l1_block.lock().expect("no holder panics")
    }

    pub fn set_l1_block(&self, block: BlockRef) {
        *self.l1_block.lock().expect("no holder panics") = block;
        metrics::gauge!("annex_l1_block").set(block.number as f64);
    }

    /// Records below this index are worked off.
    pub fn next_record(&self) -> u64 {
        self.next_record.load(Ordering::Acquire)
    }

    pub fn set_next_record(&self, index: u64) {
        self.next_record.store(index, Ordering::Release);
    }

    /// Reorganisations of L1 so far: what was seen before the last one may be gone.
    pub fn reorgs(&self) -> u64 {
        self.reorgs.load(Ordering::Acquire)
    }

    pub fn count_reorg(&self) {
        self.reorgs.fetch_add(1, Ordering::AcqRel);
    }

    pub fn caught_up(&self) -> bool {
        self.view().is_some()
    }

    /// As of the last moment at which everything on L1 was worked off; none since L1 reorganised.
    pub fn view(&self) -> Option<View> {
        *self.view.lock().expect("no holder panics")
    }

    pub fn set_view(&self, view: Option<View>) {
        *self.view.lock().expect("no holder panics") = view;
    }
}

/// The newest record with its environment, not below `least`: what a block opened now would name.
pub(crate) fn newest_origin(snapshot: &Snapshot, least: u64) -> Result<Origin, StoreError> {
    let index = snapshot.last_record()?.map_or(least, |(index, _)| index.max(least));
    let (accumulator, env) = match record(snapshot, index)? {
        Some(stored) => (stored.record.accumulator, stored.record.env),
        None => (B256::ZERO, RecordEnv::default()),
    };
    Ok(Origin { index, accumulator, env })
}
