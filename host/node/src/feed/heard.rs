//! What a leader was heard to promise and L1 does not carry yet, kept for a leader that loses it (spec/promise.md).

use alloy_consensus::TxReceipt;
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{B256, Bytes, U64, keccak256};
use annex_rpc::{Executed, PromiseJson, PromiseJsonError};
use annex_sequencer::{Engine, Heard, promises_key};
use annex_store::{Snapshot, Store, StoreError};
use annex_types::{Receipt, promise::SignedPromise};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

const INDEX: &[u8] = b"node/heard";
/// Blocks whose promises are kept; of more, the oldest are forgotten.
pub(super) const MAX_BLOCKS: usize = 1 << 12;
/// Bytes of transactions that wait for a write at most.
const MAX_BUFFER: usize = 1 << 20;

/// A promise and what it covers, as nodes hand it to each other.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HeardJson {
    promise: PromiseJson,
    raw_transactions: Vec<Bytes>,
    receipt_hashes: Vec<B256>,
}

impl From<Heard> for HeardJson {
    fn from(heard: Heard) -> Self {
        Self {
            promise: heard.promise.as_ref().into(),
            raw_transactions: heard.transactions,
            receipt_hashes: heard.receipts,
        }
    }
}

impl TryFrom<HeardJson> for Heard {
    type Error = PromiseJsonError;

    fn try_from(json: HeardJson) -> Result<Self, PromiseJsonError> {
        Ok(Self {
            promise: Arc::new(json.promise.try_into()?),
            transactions: json.raw_transactions,
            receipts: json.receipt_hashes,
        })
    }
}

/// What a node has to tell a leader about its promises.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct HeardSummary {
    /// The one with the highest number.
    pub newest: Option<PromiseJson>,
    /// The newest block that L1 carries: of later ones, promises are kept.
    pub safe: U64,
    /// The last block of which there are some.
    pub last: Option<U64>,
}

/// What the store holds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Index {
    newest: Option<Arc<SignedPromise>>,
    /// How many pieces the promises of a block are in.
    pieces: BTreeMap<u64, u32>,
}

#[derive(Debug, Default)]
struct Inner {
    index: Index,
    /// Whether `index.newest` is not written yet.
    changed: bool,
    /// Not written yet.
    buffer: Vec<Heard>,
    bytes: usize,
}

#[derive(Debug)]
pub(crate) struct HeardPromises(Mutex<Inner>);

fn piece_key(block: u64, piece: u32) -> Vec<u8> {
    [b"heard/".as_slice(), &block.to_be_bytes(), &piece.to_be_bytes()].concat()
}

fn corrupt<E>(_: E) -> StoreError {
    StoreError::Corrupt("heard promises")
}

impl HeardPromises {
    pub fn restore(store: &Store) -> Result<Self, StoreError> {
        let index = store.get_meta(INDEX)?.map(|bytes| serde_json::from_slice(&bytes));
        let index = index.transpose().map_err(corrupt)?.unwrap_or_default();
        Ok(Self(Mutex::new(Inner { index, ..Inner::default() })))
    }

    /// Takes a promise that the leader signed, and what it covers if it is that. Returns whether much waits for a write.
    pub fn take(&self, heard: Heard) -> bool {
        let mut inner = self.0.lock().expect(POISONED);
        let promise = &heard.promise.promise;
        let newest = inner.index.newest.as_ref().map(|newest| &newest.promise);
        if newest.is_none_or(|newest| {
            newest.leaseId != promise.leaseId || newest.sequence < promise.sequence
        }) {
            inner.index.newest = Some(heard.promise.clone());
            inner.changed = true;
        }
        if heard.fits() && promise.count > 0 {
            inner.bytes += heard.transactions.iter().map(|tx| tx.len() + 64).sum::<usize>();
            inner.buffer.push(heard);
        }
        inner.bytes > MAX_BUFFER
    }

    /// Writes what was heard of blocks after `safe`, and forgets the others.
    pub fn flush(&self, store: &Store, safe: u64) -> Result<(), StoreError> {
        let mut inner = self.0.lock().expect(POISONED);
        inner.buffer.retain(|heard| heard.promise.promise.blockNumber > safe);
        let mut index = inner.index.clone();
        let kept = index.pieces.split_off(&(safe + 1));
        let mut forgotten = std::mem::replace(&mut index.pieces, kept);
        let mut blocks: BTreeMap<u64, Vec<&Heard>> = BTreeMap::new();
        for heard in &inner.buffer {
            blocks.entry(heard.promise.promise.blockNumber).or_default().push(heard);
        }
        if blocks.is_empty() && forgotten.is_empty() && !inner.changed {
            return Ok(());
        }
        store.write(|writer| {
            for (block, heard) in blocks {
                let piece = index.pieces.entry(block).or_default();
                let encoded = serde_json::to_vec(&heard).expect("plain data serialises");
                writer.put_meta(&piece_key(block, *piece), Some(&encoded))?;
                *piece += 1;
            }
            while index.pieces.len() > MAX_BLOCKS {
                forgotten.extend(index.pieces.pop_first());
            }
            for (block, pieces) in &forgotten {
                for piece in 0..*pieces {
                    writer.put_meta(&piece_key(*block, piece), None)?;
                }
            }
            let encoded = serde_json::to_vec(&index).expect("plain data serialises");
            writer.put_meta(INDEX, Some(&encoded))
        })?;
        *inner = Inner { index, ..Inner::default() };
        Ok(())
    }

    pub fn summary(&self, safe: u64) -> HeardSummary {
        let inner = self.0.lock().expect(POISONED);
        let buffered = inner.buffer.iter().map(|heard| heard.promise.promise.blockNumber).max();
        let written = inner.index.pieces.last_key_value().map(|(block, _)| *block);
        HeardSummary {
            newest: inner.index.newest.as_deref().map(PromiseJson::from),
            safe: U64::from(safe),
            last: buffered.max(written).map(U64::from),
        }
    }

    /// What was heard of a block, in the order of arrival.
    pub fn of_block(&self, store: &Store, block: u64) -> Result<Vec<Heard>, StoreError> {
        let inner = self.0.lock().expect(POISONED);
        let pieces = inner.index.pieces.get(&block).copied().unwrap_or_default();
        let buffered = inner.buffer.iter().filter(|h| h.promise.promise.blockNumber == block);
        let buffered: Vec<Heard> = buffered.cloned().collect();
        // Under the lock: what leaves the buffer is in the store by then.
        let snapshot = store.snapshot()?;
        drop(inner);
        let mut heard = Vec::new();
        for piece in 0..pieces {
            heard.extend(read_piece(&snapshot, block, piece)?);
        }
        heard.extend(buffered);
        Ok(heard)
    }
}

fn read_piece(snapshot: &Snapshot, block: u64, piece: u32) -> Result<Vec<Heard>, StoreError> {
    let bytes = snapshot.get_meta(&piece_key(block, piece))?.unwrap_or_else(|| b"[]".to_vec());
    serde_json::from_slice(&bytes).map_err(corrupt)
}

/// What this node itself has promised about a block, sealed or not.
pub(crate) fn own_promises(
    store: &Store,
    engine: &Engine,
    number: u64,
) -> Result<Vec<Heard>, StoreError> {
    let (live, pending) = engine.live().snapshot()?;
    let snapshot = pending.base.snapshot();
    let Some(block) = snapshot.block(number)? else {
        let live = live.into_iter().find(|block| block.number == number);
        return Ok(live.map_or_else(Vec::new, |block| of_live(&block.transactions)));
    };
    let bytes = store.get_meta(&promises_key(number))?.unwrap_or_else(|| b"[]".to_vec());
    let promises: Vec<Arc<SignedPromise>> = serde_json::from_slice(&bytes).map_err(corrupt)?;
    let receipts = snapshot.receipts(number)?.ok_or(StoreError::UnknownBlock(number))?;
    let of_promise = |promise: Arc<SignedPromise>| {
        let (first, count) = (promise.promise.firstIndex, promise.promise.count);
        let place = first as usize..(first as usize).saturating_add(count as usize);
        let transactions = block.transactions.get(place.clone())?.iter();
        let receipts = receipts.get(place)?.iter();
        let heard = Heard {
            promise,
            transactions: transactions.map(|tx| tx.transaction.encoded_2718().into()).collect(),
            receipts: receipts.map(receipt_hash).collect(),
        };
        // Others may be about a block that stood here before.
        heard.fits().then_some(heard)
    };
    Ok(promises.into_iter().filter_map(of_promise).collect())
}

fn of_live(transactions: &[Arc<Executed>]) -> Vec<Heard> {
    let mut heard: Vec<Heard> = Vec::new();
    for executed in transactions {
        let Some(promise) = executed.promise.get() else { continue };
        if heard.last().is_none_or(|last| !Arc::ptr_eq(&last.promise, promise)) {
            let (transactions, receipts) = (Vec::new(), Vec::new());
            heard.push(Heard { promise: promise.clone(), transactions, receipts });
        }
        if let Some(last) = heard.last_mut() {
            last.transactions.push(executed.transaction.transaction.encoded_2718().into());
            last.receipts.push(receipt_hash(&executed.receipt));
        }
    }
    heard
}

fn receipt_hash(receipt: &Receipt) -> B256 {
    keccak256(receipt.with_bloom_ref().encoded_2718())
}

const POISONED: &str = "no holder panics";
