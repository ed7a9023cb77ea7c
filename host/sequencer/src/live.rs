//! What is acknowledged but not yet in the store, as the RPC reads it.

use alloy_primitives::{Address, B256, Bytes, U256, map::B256Map};
use annex_evm::BlockEnv;
use annex_rpc::{Executed, PendingState};
use annex_state::{AccountInfo, Overlay, StateReader};
use annex_store::{Store, StoreError};
use annex_types::{
    BlockAttributes,
    predeploys::{BLOCK_HASH_HISTORY, history_slot},
};
use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, RwLock},
};

/// A block between its first transaction and the store.
#[derive(Clone, Debug)]
pub struct LiveBlock {
    pub number: u64,
    pub attributes: BlockAttributes,
    pub env: BlockEnv,
    pub transactions: Vec<Arc<Executed>>,
    pub overlay: Arc<Overlay>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Oldest first; the last one may still be open.
    blocks: VecDeque<LiveBlock>,
    index: B256Map<Arc<Executed>>,
}

/// Shared between the executor, which writes, and readers.
#[derive(Debug)]
pub struct Live {
    store: Store,
    inner: RwLock<Inner>,
    pub(crate) hashes: Arc<Hashes>,
}

impl Live {
    pub(crate) fn new(store: Store) -> Self {
        Self { store, inner: RwLock::default(), hashes: Arc::default() }
    }

    /// Everything acknowledged: the live blocks, oldest first (the last one may be open), and the state after them.
    pub fn snapshot(&self) -> Result<(Vec<LiveBlock>, PendingState), StoreError> {
        let inner = self.inner.read().expect(POISONED);
        let blocks: Vec<LiveBlock> = inner.blocks.iter().cloned().collect();
        let layers = blocks.iter().map(|b| b.overlay.clone()).collect();
        // Under the lock: the sealer commits a block before it takes it from here.
        let base = self.store.latest()?;
        Ok((blocks, PendingState { layers, base }))
    }

    /// The newest acknowledged value of an account.
    pub fn account(&self, address: Address) -> Result<Option<AccountInfo>, StoreError> {
        let inner = self.inner.read().expect(POISONED);
        for block in inner.blocks.iter().rev() {
            if let Some(account) = block.overlay.account(&address) {
                return Ok(account);
            }
        }
        self.store.latest()?.account(address)
    }

    /// An acknowledged transaction that the store does not hold yet.
    pub fn transaction(&self, hash: B256) -> Option<Arc<Executed>> {
        self.inner.read().expect(POISONED).index.get(&hash).cloned()
    }

    pub(crate) fn open(&self, block: LiveBlock) {
        self.inner.write().expect(POISONED).blocks.push_back(block);
    }

    /// Adds a group to the open block.
    pub(crate) fn extend(&self, transactions: &[Arc<Executed>], delta: Overlay) {
        let mut inner = self.inner.write().expect(POISONED);
        let block = inner.blocks.back_mut().expect("a block is open");
        Arc::make_mut(&mut block.overlay).merge(delta);
        block.transactions.extend_from_slice(transactions);
        for tx in transactions {
            inner.index.insert(tx.hash, tx.clone());
        }
    }

    /// The store holds the oldest live block now.
    pub(crate) fn committed(&self, number: u64) {
        let mut inner = self.inner.write().expect(POISONED);
        while inner.blocks.front().is_some_and(|b| b.number <= number) {
            let block = inner.blocks.pop_front().expect("checked");
            for tx in &block.transactions {
                inner.index.remove(&tx.hash);
            }
        }
    }

    /// Takes everything out, oldest first: its blocks were replaced.
    pub(crate) fn clear(&self) -> Vec<Arc<Executed>> {
        let mut inner = self.inner.write().expect(POISONED);
        inner.index.clear();
        inner.blocks.drain(..).flat_map(|b| b.transactions).collect()
    }
}

const POISONED: &str = "no holder of this lock panics";

/// Hashes of blocks that were executed, known once they are sealed.
#[derive(Debug, Default)]
pub(crate) struct Hashes {
    sealed: Mutex<Sealing>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Sealing {
    /// Number and hash.
    hashes: VecDeque<(u64, B256)>,
    /// No further hash will come.
    failed: bool,
}

impl Hashes {
    /// How many hashes are remembered: more than blocks can wait for their roots.
    const KEPT: usize = 64;

    pub fn set(&self, number: u64, hash: B256) {
        let mut sealed = self.sealed.lock().expect(POISONED);
        sealed.hashes.push_back((number, hash));
        while sealed.hashes.len() > Self::KEPT {
            sealed.hashes.pop_front();
        }
        self.changed.notify_all();
    }

    /// Waits until block `number` is sealed; none if it never will be.
    pub fn wait(&self, number: u64) -> Option<B256> {
        let mut sealed = self.sealed.lock().expect(POISONED);
        loop {
            if let Some((_, hash)) = sealed.hashes.iter().rev().find(|(n, _)| *n == number) {
                return Some(*hash);
            }
            if sealed.failed {
                return None;
            }
            sealed = self.changed.wait(sealed).expect(POISONED);
        }
    }

    pub fn fail(&self) {
        self.sealed.lock().expect(POISONED).failed = true;
        self.changed.notify_all();
    }

    pub fn clear(&self) {
        self.sealed.lock().expect(POISONED).hashes.clear();
    }
}

/// The state a block executes on. Hashes of blocks that are being sealed resolve when something reads them.
#[derive(Debug)]
pub(crate) struct LiveReader {
    state: PendingState,
    hashes: Arc<Hashes>,
    /// Newest block of the store's view; younger ones are being sealed.
    stored: u64,
}

impl LiveReader {
    pub fn new(live: &Live) -> Result<Self, StoreError> {
        let (_, state) = live.snapshot()?;
        let stored = state.base.number();
        Ok(Self { state, hashes: live.hashes.clone(), stored })
    }
}

impl StateReader for LiveReader {
    type Error = StoreError;

    fn account(&self, address: Address) -> Result<Option<AccountInfo>, StoreError> {
        self.state.account(address)
    }

    fn storage(&self, address: Address, slot: U256) -> Result<U256, StoreError> {
        if address == BLOCK_HASH_HISTORY {
            // The seal of block n writes the hash of block n - 1, so the layers lack it.
            let unsealed = self.stored..self.stored + self.state.layers.len() as u64;
            for number in unsealed {
                if slot == history_slot(number) {
                    return Ok(U256::from_be_bytes(self.block_hash(number)?.0));
                }
            }
        }
        self.state.storage(address, slot)
    }

    fn code(&self, hash: B256) -> Result<Bytes, StoreError> {
        self.state.code(hash)
    }

    fn block_hash(&self, number: u64) -> Result<B256, StoreError> {
        if number <= self.stored {
            return self.state.block_hash(number);
        }
        self.hashes.wait(number).ok_or(StoreError::UnknownBlock(number))
    }
}
