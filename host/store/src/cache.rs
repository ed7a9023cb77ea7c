use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

use alloy_primitives::map::FbBuildHasher;
use alloy_primitives::{Address, B256, Bytes, U256};
use annex_state::Account;

/// Bounded map that forgets what was not used for a while: when the young half is full, it
/// becomes the old one, which is dropped.
#[derive(Debug)]
struct TwoGenerations<K, V, H = RandomState> {
    young: HashMap<K, V, H>,
    old: HashMap<K, V, H>,
    half: usize,
}

impl<K: Eq + Hash + Clone, V: Clone, H: BuildHasher + Default> TwoGenerations<K, V, H> {
    fn new(entries: usize) -> Self {
        Self { young: HashMap::default(), old: HashMap::default(), half: entries / 2 + 1 }
    }

    fn get(&mut self, key: &K) -> Option<V> {
        if let Some(value) = self.young.get(key) {
            return Some(value.clone());
        }
        let value = self.old.remove(key)?;
        self.insert(key.clone(), value.clone());
        Some(value)
    }

    fn insert(&mut self, key: K, value: V) {
        if self.young.len() >= self.half {
            self.old = std::mem::take(&mut self.young);
        }
        self.old.remove(&key);
        self.young.insert(key, value);
    }

    fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
    }
}

/// Accounts and slots of the state after write `version`, and only of that.
#[derive(Debug)]
struct Latest {
    version: u64,
    accounts: TwoGenerations<Address, Option<Account>>,
    slots: TwoGenerations<(Address, U256), U256>,
}

/// What a write changes in the caches.
#[derive(Debug, Default)]
pub(crate) struct Staged {
    /// Number of the write: the version of the snapshots that see it.
    pub version: u64,
    /// More changed than is listed.
    pub clear: bool,
    pub accounts: Vec<(Address, Option<Account>)>,
    pub slots: Vec<((Address, U256), U256)>,
}

/// Parts of the node cache, by the last bits of the hash: a state root is computed by several
/// threads at once.
const SHARDS: usize = 16;

/// Nodes by hash, which needs no further hashing.
type NodeShard = TwoGenerations<B256, Bytes, FbBuildHasher<32>>;

/// In-memory caches shared by all snapshots of a store.
///
/// Nodes are kept by hash, so that they can never be stale. Accounts and slots serve only the
/// snapshots of one version; others pass them by.
#[derive(Debug)]
pub(crate) struct Caches {
    nodes: [Mutex<NodeShard>; SHARDS],
    latest: Mutex<Latest>,
}

/// Longest path of a state trie node that is worth caching: these nodes are shared by many keys.
pub(crate) const CACHED_DEPTH: usize = 5;

impl Caches {
    pub(crate) fn new(bytes: usize) -> Self {
        // Rough sizes of an entry with its map: a branch 700 bytes, an account 250, a slot 200.
        let latest = Latest {
            version: 0,
            accounts: TwoGenerations::new(bytes / 4 / 250),
            slots: TwoGenerations::new(bytes / 4 / 200),
        };
        let shard = |_| Mutex::new(NodeShard::new(bytes / 2 / 700 / SHARDS));
        Self { nodes: std::array::from_fn(shard), latest: Mutex::new(latest) }
    }

    fn shard(&self, hash: B256) -> &Mutex<NodeShard> {
        &self.nodes[hash[31] as usize % SHARDS]
    }

    pub(crate) fn node(&self, hash: B256) -> Option<Bytes> {
        lock(self.shard(hash)).get(&hash)
    }

    pub(crate) fn insert_node(&self, hash: B256, node: Bytes) {
        lock(self.shard(hash)).insert(hash, node);
    }

    pub(crate) fn account(&self, version: u64, address: Address) -> Option<Option<Account>> {
        let mut latest = lock(&self.latest);
        if latest.version == version { latest.accounts.get(&address) } else { None }
    }

    pub(crate) fn insert_account(&self, version: u64, address: Address, value: Option<Account>) {
        let mut latest = lock(&self.latest);
        if latest.version == version {
            latest.accounts.insert(address, value);
        }
    }

    pub(crate) fn slot(&self, version: u64, key: (Address, U256)) -> Option<U256> {
        let mut latest = lock(&self.latest);
        if latest.version == version { latest.slots.get(&key) } else { None }
    }

    pub(crate) fn insert_slot(&self, version: u64, key: (Address, U256), value: U256) {
        let mut latest = lock(&self.latest);
        if latest.version == version {
            latest.slots.insert(key, value);
        }
    }

    /// Moves the caches from the version before to that of a completed write.
    pub(crate) fn publish(&self, staged: Staged) {
        let mut latest = lock(&self.latest);
        // Writes may come here out of order; what was missed is not known, so start afresh.
        if staged.version < latest.version {
            latest.accounts.clear();
            latest.slots.clear();
            return;
        }
        if staged.clear || staged.version != latest.version + 1 {
            latest.accounts.clear();
            latest.slots.clear();
        }
        latest.version = staged.version;
        for (address, account) in staged.accounts {
            latest.accounts.insert(address, account);
        }
        for (key, value) in staged.slots {
            latest.slots.insert(key, value);
        }
    }
}

/// A panic elsewhere leaves these maps whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
