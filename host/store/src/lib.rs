//! Blocks, state, indexes and node metadata of one chain in one redb file. It serves the L2 and the
//! embedded L1 alike and knows nothing of sequencing.
//!
//! The latest state is stored flat (accounts, slots) and as trie nodes by path. Each block leaves
//! the old values of what it changed, so that every state in the retained window can be read and
//! the chain can be unwound into it; trie nodes of old states are computed from these when a proof
//! is asked for.
//!
//! A write is one redb transaction: readers hold snapshots and are never blocked, and after a
//! crash the store is as it was after some whole write.

pub mod archive;
mod backend;
mod cache;
mod error;
mod export;
mod import;
mod lock;
mod parallel;
mod snapshot;
mod tables;
mod view;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use redb::{Builder, Database, ReadableDatabase, StorageBackend};

pub use error::StoreError;
pub use import::{ImportError, Imported};
pub use parallel::in_parallel;
pub use snapshot::{Head, Snapshot, StoredBlock};
pub use view::{AccountProof, SlotProof, View};
pub use writer::{BlockCommit, Writer};

use cache::{Caches, Staged};
use lock::DirLock;
use tables::{FORMAT, META_FORMAT, Tab};

type Result<T> = core::result::Result<T, StoreError>;

/// What a completed write survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// The end of the process, even by `kill -9`: every write has reached the operating system.
    /// After a power loss the store may be found corrupt and must be rebuilt.
    #[default]
    Process,
    /// Power loss, too: every write waits for the disk.
    Power,
}

/// How a store is opened.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Memory for caches, in bytes.
    pub cache: usize,
    /// Blocks before the head whose states stay readable.
    pub history: u64,
    pub durability: Durability,
}

impl Default for Options {
    fn default() -> Self {
        Self { cache: 1 << 30, history: 10_000, durability: Durability::default() }
    }
}

/// The store of one chain. Clones share it.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    database: Database,
    caches: Arc<Caches>,
    history: u64,
    /// States from this block on stay readable, however old.
    floor: AtomicU64,
    durability: Durability,
    /// Last, so that it outlives the database.
    _lock: DirLock,
}

impl Store {
    /// Opens the store in `dir`, which is made if absent and locked until the last clone is
    /// dropped. This verifies the checksums of the whole file after a crash of the machine, of a
    /// copy of a store that was open, and with [`Durability::Power`] after any crash.
    pub fn open(dir: &Path, options: Options) -> Result<Self> {
        std::fs::create_dir_all(dir)?;
        let lock = DirLock::take(dir)?;
        let backend = backend::FileStorage::open(&dir.join("chain.redb"), options.durability)?;
        if options.durability == Durability::Power {
            backend::sync_dirs(dir)?;
        }
        Self::on(backend, lock, options)
    }

    fn on(backend: impl StorageBackend, mut lock: DirLock, options: Options) -> Result<Self> {
        let mut builder = Builder::new();
        builder.set_cache_size(options.cache / 4 * 3);
        builder.set_repair_callback(|session| {
            let percent = (session.progress() * 100.0) as u64;
            tracing::info!(percent, "checking the store after an unclean stop");
        });
        if lock.may_lack_writes() {
            tracing::info!(
                "left open on an earlier start of the machine, or a copy of an open store: checking all of it"
            );
            builder.set_check_integrity_on_open(true);
        }
        let database = builder.create_with_backend(backend)?;
        lock.opened()?;
        let caches = Arc::new(Caches::new(options.cache / 4));
        let floor = AtomicU64::new(u64::MAX);
        let Options { history, durability, .. } = options;
        let inner = Inner { database, caches, history, floor, durability, _lock: lock };
        let store = Self { inner: Arc::new(inner) };
        store.check_format()?;
        let version = store.snapshot()?.version();
        store.inner.caches.publish(Staged { version, ..Staged::default() });
        Ok(store)
    }

    fn check_format(&self) -> Result<()> {
        let write = self.inner.database.begin_write()?;
        let new = write.list_tables()?.next().is_none();
        if new {
            let mut tables = tables::open_write(&write)?;
            tables[Tab::Meta].insert(META_FORMAT, FORMAT.to_be_bytes().as_slice())?;
            drop(tables);
            write.commit()?;
            return Ok(());
        }
        write.abort()?;
        let snapshot = self.snapshot()?;
        let found = snapshot.get(Tab::Meta, META_FORMAT)?;
        let found = found.as_ref().map(|guard| guard.value());
        if found != Some(&FORMAT.to_be_bytes()) {
            let found = found.and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes);
            return Err(StoreError::Format { found, expected: FORMAT });
        }
        Ok(())
    }

    /// Everything as of the last completed write.
    pub fn snapshot(&self) -> Result<Snapshot> {
        let transaction = self.inner.database.begin_read()?;
        Snapshot::open(&transaction, self.inner.caches.clone())
    }

    /// The state after the newest block.
    pub fn latest(&self) -> Result<View> {
        self.snapshot()?.latest()
    }

    /// The state after block `number`.
    pub fn at(&self, number: u64) -> Result<View> {
        self.snapshot()?.at(number)
    }

    /// Number and hash of the newest block, `None` before genesis.
    pub fn head(&self) -> Result<Option<Head>> {
        Ok(self.snapshot()?.head())
    }

    /// One atomic write: all that `f` does, or nothing if it fails. Writes wait for each other.
    pub fn write<T>(&self, f: impl FnOnce(&mut Writer<'_>) -> Result<T>) -> Result<T> {
        let mut transaction = self.inner.database.begin_write()?;
        // The write then says which pages are free, or else a start after `kill -9` reads the whole file to know. It takes
        // another flush before the write counts, which costs nothing where nobody waits for the disk.
        transaction.set_quick_repair(self.inner.durability == Durability::Process);
        let (result, staged) = {
            let floor = self.inner.floor.load(Ordering::Acquire);
            let mut writer = Writer::open(&transaction, self.inner.history, floor)?;
            let result = f(&mut writer)?;
            (result, writer.finish()?)
        };
        transaction.commit()?;
        self.inner.caches.publish(staged);
        Ok(result)
    }

    /// From now on, and until it is said otherwise or the store is opened again, states from block `floor` on are kept
    /// beyond the window of [`Options::history`].
    pub fn keep_states_from(&self, floor: u64) {
        self.inner.floor.store(floor, Ordering::Release);
    }

    /// Adds the next block, or the genesis block to an empty store.
    pub fn commit_block(&self, block: BlockCommit<'_>) -> Result<()> {
        self.write(|writer| writer.append_block(block))
    }

    /// Removes all blocks after `number` and restores the state after it. Metadata and records
    /// stay.
    pub fn unwind_to(&self, number: u64) -> Result<()> {
        self.write(|writer| writer.unwind_to(number))
    }

    /// A value of the caller's.
    pub fn get_meta(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.snapshot()?.get_meta(key)
    }

    /// Sets (`Some`) or removes (`None`) a value of the caller's.
    pub fn put_meta(&self, key: &[u8], value: Option<&[u8]>) -> Result<()> {
        self.write(|writer| writer.put_meta(key, value))
    }
}

#[cfg(test)]
mod tests;
