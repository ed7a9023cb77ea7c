use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use annex_state::{
    Account, AccountInfo, EMPTY_ROOT, HISTORY_ADDRESS, HISTORY_WINDOW, KECCAK_EMPTY, Nibbles,
    NodeSource, StateReader, Trie,
};
use annex_types::Header;

use crate::cache::CACHED_DEPTH;
use crate::snapshot::Snapshot;
use crate::tables::{
    ChangedKeys, SLOT_KEY, Tab, decode_account, decode_slot, history_key, node_key, slot_key,
    split_slot_key,
};
use crate::{Result, StoreError};

/// The state after one block. Clones are cheap and share what was computed for proofs.
#[derive(Clone, Debug)]
pub struct View {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    snapshot: Snapshot,
    number: u64,
    header: Header,
    hash: B256,
    latest: bool,
    /// Of an older state: what changed since.
    changed: OnceLock<Changed>,
    /// Of an older state, by owner: its trie nodes that are not those of the latest state.
    nodes: Mutex<HashMap<Option<B256>, Arc<OldNodes>>>,
}

/// `None`: no node there.
type OldNodes = HashMap<Nibbles, Option<Bytes>>;

/// Keys that changed after a block, with the number of the first block that did it.
#[derive(Debug, Default)]
struct Changed {
    accounts: BTreeMap<Address, u64>,
    slots: BTreeMap<[u8; SLOT_KEY], u64>,
    owners: HashMap<B256, Address>,
}

/// An account with the nodes that prove it, as `eth_getProof` returns them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountProof {
    /// `None` if the nodes prove that there is none.
    pub account: Option<Account>,
    pub nodes: Vec<Bytes>,
    pub slots: Vec<SlotProof>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotProof {
    pub slot: U256,
    pub value: U256,
    pub nodes: Vec<Bytes>,
}

impl View {
    pub(crate) fn new(snapshot: Snapshot, number: u64) -> Result<Self> {
        let header = snapshot.header(number)?;
        let (header, hash) = header.ok_or(StoreError::Corrupt("no header"))?;
        let latest = snapshot.head().is_some_and(|head| head.number == number);
        let (changed, nodes) = (OnceLock::new(), Mutex::default());
        let inner = Inner { snapshot, number, header, hash, latest, changed, nodes };
        Ok(Self { inner: Arc::new(inner) })
    }

    pub fn number(&self) -> u64 {
        self.inner.number
    }

    pub fn hash(&self) -> B256 {
        self.inner.hash
    }

    pub fn header(&self) -> &Header {
        &self.inner.header
    }

    /// The state root, for [`Trie`] over this view.
    pub fn root(&self) -> B256 {
        self.inner.header.state_root
    }

    /// The snapshot this view reads.
    pub fn snapshot(&self) -> &Snapshot {
        &self.inner.snapshot
    }

    /// An account with its storage root.
    pub fn trie_account(&self, address: Address) -> Result<Option<Account>> {
        if !self.inner.latest {
            return match self.first_old(Tab::AccountHistory, address.as_slice())? {
                Some(old) => decode_account(&old),
                None => latest_account(&self.inner.snapshot, address),
            };
        }
        let (caches, version) = (self.inner.snapshot.caches(), self.inner.snapshot.version());
        if let Some(account) = caches.account(version, address) {
            return Ok(account);
        }
        let account = latest_account(&self.inner.snapshot, address)?;
        caches.insert_account(version, address, account);
        Ok(account)
    }

    fn slot(&self, address: Address, slot: U256) -> Result<U256> {
        let key = slot_key(address, slot);
        if !self.inner.latest {
            return match self.first_old(Tab::SlotHistory, &key)? {
                Some(old) => decode_slot(&old),
                None => latest_slot(&self.inner.snapshot, &key),
            };
        }
        let (caches, version) = (self.inner.snapshot.caches(), self.inner.snapshot.version());
        if let Some(value) = caches.slot(version, (address, slot)) {
            return Ok(value);
        }
        let value = latest_slot(&self.inner.snapshot, &key)?;
        caches.insert_slot(version, (address, slot), value);
        Ok(value)
    }

    /// The hash of a block before those that the store has, as EIP-2935 records it in the state.
    fn recorded_hash(&self, number: u64) -> Result<B256> {
        let unknown = StoreError::UnknownBlock(number);
        if number >= self.inner.number || self.inner.number - number > HISTORY_WINDOW {
            return Err(unknown);
        }
        let hash = self.slot(HISTORY_ADDRESS, U256::from(number % HISTORY_WINDOW))?;
        if hash.is_zero() { Err(unknown) } else { Ok(hash.into()) }
    }

    /// What the first change after this state replaced.
    fn first_old(&self, table: Tab, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let (start, end) = (history_key(key, self.inner.number + 1), history_key(key, u64::MAX));
        let table = self.inner.snapshot.table(table);
        let first = table.range(start.as_slice()..=end.as_slice())?.next();
        Ok(first.transpose()?.map(|(_, old)| old.value().to_vec()))
    }

    /// An account and slots of it with their proofs.
    pub fn proof(&self, address: Address, slots: &[U256]) -> Result<AccountProof> {
        let account = self.trie_account(address)?;
        let owner = keccak256(address);
        let nodes = Trie::new(self, None, self.root()).prove(owner)?;
        let storage_root = account.map_or(EMPTY_ROOT, |account| account.storage_root);
        let trie = Trie::new(self, Some(owner), storage_root);
        let prove = |slot: &U256| {
            let nodes = trie.prove(keccak256(slot.to_be_bytes::<32>()))?;
            Ok(SlotProof { slot: *slot, value: self.slot(address, *slot)?, nodes })
        };
        let slots = slots.iter().map(prove).collect::<Result<_>>()?;
        Ok(AccountProof { account, nodes, slots })
    }

    /// Accounts and slots that blocks after this state changed, each counted once for every block: what a proof of an older
    /// state costs. Stops counting beyond `limit`.
    pub fn changes_since(&self, limit: usize) -> Result<usize> {
        let (start, end) = ((self.inner.number + 1).to_be_bytes(), u64::MAX.to_be_bytes());
        let table = self.inner.snapshot.table(Tab::Changes);
        let mut count = 0;
        for entry in table.range(start.as_slice()..=end.as_slice())? {
            count += ChangedKeys::count(entry?.1.value())?;
            if count > limit {
                break;
            }
        }
        Ok(count)
    }

    fn changed(&self) -> Result<&Changed> {
        if let Some(changed) = self.inner.changed.get() {
            return Ok(changed);
        }
        let mut changed = Changed::default();
        let (start, end) = ((self.inner.number + 1).to_be_bytes(), u64::MAX.to_be_bytes());
        let table = self.inner.snapshot.table(Tab::Changes);
        for entry in table.range(start.as_slice()..=end.as_slice())? {
            let (number, keys) = entry?;
            let number = crate::tables::decode_u64(number.value())?;
            let keys = ChangedKeys::decode(keys.value())?;
            for address in keys.accounts {
                changed.accounts.entry(address).or_insert(number);
            }
            for key in keys.slots {
                changed.slots.entry(key).or_insert(number);
            }
        }
        let mut last = None;
        for (address, _) in changed.slots.keys().map(|key| split_slot_key(key)) {
            if last != Some(address) {
                changed.owners.insert(keccak256(address), address);
                last = Some(address);
            }
        }
        Ok(self.inner.changed.get_or_init(|| changed))
    }

    /// The nodes of an older trie that are not those of the latest one, by undoing the changes
    /// since on top of it.
    fn old_nodes(&self, owner: Option<B256>) -> Result<Arc<OldNodes>> {
        let cached = || self.inner.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(nodes) = cached().get(&owner) {
            return Ok(nodes.clone());
        }
        let nodes = match owner {
            None => self.undo_accounts()?,
            Some(owner) => match self.changed()?.owners.get(&owner) {
                Some(address) => self.undo_storage(owner, *address)?,
                None => OldNodes::new(),
            },
        };
        let nodes = Arc::new(nodes);
        cached().insert(owner, nodes.clone());
        Ok(nodes)
    }

    fn undo_accounts(&self) -> Result<OldNodes> {
        let snapshot = &self.inner.snapshot;
        let mut old = Vec::new();
        for (address, number) in &self.changed()?.accounts {
            let key = history_key(address.as_slice(), *number);
            let guard = snapshot.get(Tab::AccountHistory, &key)?;
            let guard = guard.ok_or(StoreError::Corrupt("no account history"))?;
            old.push((keccak256(address), guard.value().to_vec()));
        }
        let head = snapshot.head().ok_or(StoreError::Empty)?;
        let (latest, _) = snapshot.header(head.number)?.ok_or(StoreError::Corrupt("no header"))?;
        undo(snapshot, None, latest.state_root, old, self.root())
    }

    fn undo_storage(&self, owner: B256, address: Address) -> Result<OldNodes> {
        let snapshot = &self.inner.snapshot;
        let mut old = Vec::new();
        let range = slot_key(address, U256::ZERO)..=slot_key(address, U256::MAX);
        for (key, number) in self.changed()?.slots.range(range) {
            let guard = snapshot.get(Tab::SlotHistory, &history_key(key, *number))?;
            let guard = guard.ok_or(StoreError::Corrupt("no slot history"))?;
            let value = decode_slot(guard.value())?;
            let leaf = if value.is_zero() { Vec::new() } else { alloy_rlp::encode(value) };
            old.push((keccak256(&key[20..]), leaf));
        }
        let root = |account: Option<Account>| account.map_or(EMPTY_ROOT, |a| a.storage_root);
        let latest = root(latest_account(snapshot, address)?);
        undo(snapshot, Some(owner), latest, old, root(self.trie_account(address)?))
    }
}

/// Puts `old` leaves (empty: none) into the latest trie; the root must come out as `expected`.
fn undo(
    snapshot: &Snapshot,
    owner: Option<B256>,
    latest: B256,
    mut old: Vec<(B256, Vec<u8>)>,
    expected: B256,
) -> Result<OldNodes> {
    old.sort_unstable();
    let keys: Vec<_> = old.iter().map(|(key, _)| *key).collect();
    let resolve = |i: usize, _: Option<&[u8]>| {
        let leaf = std::mem::take(&mut old[i].1);
        Ok((!leaf.is_empty()).then_some(leaf))
    };
    let source = LatestNodes(snapshot);
    let mut nodes = Vec::new();
    if Trie::new(&source, owner, latest).update(&keys, resolve, &mut nodes)? != expected {
        return Err(StoreError::Corrupt("history and state root differ"));
    }
    Ok(nodes.into_iter().map(|change| (change.path, change.node)).collect())
}

fn latest_account(snapshot: &Snapshot, address: Address) -> Result<Option<Account>> {
    let guard = snapshot.get(Tab::Accounts, address.as_slice())?;
    guard.map_or(Ok(None), |guard| decode_account(guard.value()))
}

fn latest_slot(snapshot: &Snapshot, key: &[u8]) -> Result<U256> {
    let guard = snapshot.get(Tab::Slots, key)?;
    guard.map_or(Ok(U256::ZERO), |guard| decode_slot(guard.value()))
}

/// The trie nodes of a snapshot's latest state.
struct LatestNodes<'a>(&'a Snapshot);

impl NodeSource for LatestNodes<'_> {
    type Error = StoreError;

    fn node(&self, owner: Option<B256>, path: &Nibbles, hash: B256) -> Result<Bytes> {
        let cached = owner.is_none() && path.len() <= CACHED_DEPTH;
        if cached && let Some(node) = self.0.caches().node(hash) {
            return Ok(node);
        }
        let (table, key) = node_key(owner, path);
        let guard = self.0.get(table, &key)?.ok_or(StoreError::Corrupt("no trie node"))?;
        let node = Bytes::copy_from_slice(guard.value());
        if cached {
            self.0.caches().insert_node(hash, node.clone());
        }
        Ok(node)
    }

    fn code(&self, hash: B256) -> Result<Bytes> {
        self.0.code(hash)
    }
}

impl NodeSource for View {
    type Error = StoreError;

    fn node(&self, owner: Option<B256>, path: &Nibbles, hash: B256) -> Result<Bytes> {
        if !self.inner.latest
            && let Some(node) = self.old_nodes(owner)?.get(path)
        {
            return node.clone().ok_or(StoreError::Corrupt("no trie node"));
        }
        LatestNodes(&self.inner.snapshot).node(owner, path, hash)
    }

    fn code(&self, hash: B256) -> Result<Bytes> {
        self.inner.snapshot.code(hash)
    }
}

impl StateReader for View {
    type Error = StoreError;

    fn account(&self, address: Address) -> Result<Option<AccountInfo>> {
        Ok(self.trie_account(address)?.map(|account| account.info()))
    }

    fn storage(&self, address: Address, slot: U256) -> Result<U256> {
        self.slot(address, slot)
    }

    fn code(&self, hash: B256) -> Result<Bytes> {
        if hash == KECCAK_EMPTY {
            return Ok(Bytes::new());
        }
        self.inner.snapshot.code(hash)
    }

    fn block_hash(&self, number: u64) -> Result<B256> {
        if number > self.inner.number {
            return Err(StoreError::UnknownBlock(number));
        }
        match self.inner.snapshot.hash(number)? {
            Some(hash) => Ok(hash),
            None => self.recorded_hash(number),
        }
    }
}
