use std::collections::BTreeMap;

use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use annex_state::{
    EMPTY_ROOT, Nibbles, NodeChange, NodeSource, StateChanges, StateUpdate, apply_changes,
};
use annex_types::{Header, Receipt, RecoveredTransaction};
use redb::{ReadableTable, WriteTransaction};

use crate::cache::Staged;
use crate::snapshot::{Head, decode_head, decode_header, decode_transaction, split_leaf};
use crate::tables::{
    ChangedKeys, List, META_HEAD, META_OLDEST, META_VERSION, SLOT_KEY, Tab, Tables, WriteTable,
    account_value, decode_account, decode_slot, decode_u64, encode_list, history_key, node_key,
    open_write, slot_key, slot_value, split_slot_key,
};
use crate::{Result, StoreError};

/// Blocks whose history one block's write removes at most, so that a shortened window costs no
/// single write much.
const PRUNE_STEPS: u64 = 16;

/// A block with all that its execution made.
#[derive(Clone, Copy, Debug)]
pub struct BlockCommit<'a> {
    pub header: &'a Header,
    /// Hash of `header`.
    pub hash: B256,
    pub transactions: &'a [RecoveredTransaction],
    /// One per transaction.
    pub receipts: &'a [Receipt],
    pub changes: &'a StateChanges,
    /// [`apply_changes`] of `changes` to the parent's state.
    pub update: &'a StateUpdate,
    /// Other hashes by which transactions of the block are known: (alias, transaction hash).
    pub aliases: &'a [(B256, B256)],
}

/// What one atomic write can do; see [`crate::Store::write`]. It sees what it wrote.
pub struct Writer<'t> {
    pub(crate) tables: Tables<WriteTable<'t>>,
    history: u64,
    floor: u64,
    head: Option<Head>,
    oldest: u64,
    pub(crate) staged: Staged,
}

impl<'t> Writer<'t> {
    pub(crate) fn open(
        transaction: &'t WriteTransaction,
        history: u64,
        floor: u64,
    ) -> Result<Self> {
        let tables = open_write(transaction)?;
        let meta = |key| -> Result<_> { Ok(tables[Tab::Meta].get(key)?) };
        let number = |key| meta(key)?.map_or(Ok(0), |guard| decode_u64(guard.value()));
        let head = meta(META_HEAD)?.map(|guard| decode_head(guard.value())).transpose()?;
        let (oldest, version) = (number(META_OLDEST)?, number(META_VERSION)? + 1);
        let staged = Staged { version, ..Staged::default() };
        Ok(Self { tables, history, floor, head, oldest, staged })
    }

    pub(crate) fn finish(mut self) -> Result<Staged> {
        if let Some(head) = self.head {
            let value = [head.number.to_be_bytes().as_slice(), head.hash.as_slice()].concat();
            self.put(Tab::Meta, META_HEAD, &value)?;
        }
        self.put(Tab::Meta, META_OLDEST, &self.oldest.to_be_bytes())?;
        self.put(Tab::Meta, META_VERSION, &self.staged.version.to_be_bytes())?;
        Ok(self.staged)
    }

    fn put(&mut self, table: Tab, key: &[u8], value: &[u8]) -> Result<()> {
        self.tables[table].insert(key, value)?;
        Ok(())
    }

    fn remove(&mut self, table: Tab, key: &[u8]) -> Result<()> {
        self.tables[table].remove(key)?;
        Ok(())
    }

    /// Writes `value` (empty: removes) and returns the old one (empty: none).
    fn replace(&mut self, table: Tab, key: &[u8], value: &[u8]) -> Result<Vec<u8>> {
        let table = &mut self.tables[table];
        let old = if value.is_empty() { table.remove(key)? } else { table.insert(key, value)? };
        Ok(old.map(|guard| guard.value().to_vec()).unwrap_or_default())
    }

    fn get(&self, table: Tab, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.tables[table].get(key)?.map(|guard| guard.value().to_vec()))
    }

    fn header(&self, number: u64) -> Result<(Header, B256)> {
        let bytes = self.get(Tab::Headers, &number.to_be_bytes())?;
        decode_header(&bytes.ok_or(StoreError::UnknownBlock(number))?)
    }

    /// Number and hash of the newest block, `None` before genesis.
    pub fn head(&self) -> Option<Head> {
        self.head
    }

    /// Adds the next block, or the genesis block to an empty store.
    pub fn append_block(&mut self, block: BlockCommit<'_>) -> Result<()> {
        let BlockCommit { header, hash, changes, update, .. } = block;
        let number = header.number;
        let follows = match self.head {
            Some(head) => number == head.number + 1 && header.parent_hash == head.hash,
            None => true,
        };
        if !follows
            || update.root != header.state_root
            || block.receipts.len() != block.transactions.len()
        {
            return Err(StoreError::NotNext(number));
        }
        let genesis = self.head.is_none();
        let changed = self.write_state(changes, update, (!genesis).then_some(number))?;
        for (hash, code) in &changes.codes {
            self.put_code(*hash, code)?;
        }
        self.write_block(&block)?;
        self.head = Some(Head { number, hash });
        if genesis {
            self.oldest = number;
            return Ok(());
        }
        self.put(Tab::Changes, &number.to_be_bytes(), &changed.encode())?;
        self.prune_history(number)
    }

    /// Writes the flat state and its trie nodes; with `history` also the old values before that
    /// block. Returns the keys that changed.
    pub(crate) fn write_state(
        &mut self,
        changes: &StateChanges,
        update: &StateUpdate,
        history: Option<u64>,
    ) -> Result<ChangedKeys> {
        let mut changed = ChangedKeys { accounts: Vec::new(), slots: Vec::new() };
        for (address, account) in &update.accounts {
            let value = account_value(account.as_ref());
            let old = self.replace(Tab::Accounts, address.as_slice(), &value)?;
            if old != value {
                changed.accounts.push(*address);
                self.keep(Tab::AccountHistory, address.as_slice(), history, &old)?;
            }
            self.staged.accounts.push((*address, *account));
            let had_storage = decode_account(&old)?.is_some_and(|a| a.storage_root != EMPTY_ROOT);
            if account.is_none() && had_storage {
                changed.slots.extend(self.clear_storage(*address, history)?);
            }
        }
        let removed = |address| matches!(update.accounts.get(address), Some(None));
        for (address, slots) in changes.storage.iter().filter(|(address, _)| !removed(*address)) {
            for (slot, value) in slots {
                let key = slot_key(*address, *slot);
                let (bytes, entry) = (slot_value(*value), ((*address, *slot), *value));
                let old = self.replace(Tab::Slots, &key, &bytes)?;
                if old != bytes {
                    changed.slots.push(key);
                    self.keep(Tab::SlotHistory, &key, history, &old)?;
                }
                self.staged.slots.push(entry);
            }
        }
        for NodeChange { owner, path, node } in &update.nodes {
            let (table, key) = node_key(*owner, path);
            match node {
                Some(node) => self.put(table, &key, node)?,
                None => self.remove(table, &key)?,
            }
        }
        Ok(changed)
    }

    fn keep(&mut self, table: Tab, key: &[u8], block: Option<u64>, old: &[u8]) -> Result<()> {
        match block {
            Some(block) => self.put(table, &history_key(key, block), old),
            None => Ok(()),
        }
    }

    /// Removes all slots and storage nodes of a removed account.
    fn clear_storage(
        &mut self,
        address: Address,
        history: Option<u64>,
    ) -> Result<Vec<[u8; SLOT_KEY]>> {
        self.staged.clear = true;
        let (start, end) = (slot_key(address, U256::ZERO), slot_key(address, U256::MAX));
        let mut keys: Vec<[u8; SLOT_KEY]> = Vec::new();
        for entry in self.tables[Tab::Slots].range(start.as_slice()..=end.as_slice())? {
            let (key, _) = entry?;
            keys.push(key.value().try_into().map_err(|_| StoreError::Corrupt("slot key"))?);
        }
        for key in &keys {
            let old = self.replace(Tab::Slots, key, &[])?;
            self.keep(Tab::SlotHistory, key, history, &old)?;
        }
        let start = keccak256(address).to_vec();
        let end = [start.as_slice(), &[0xff]].concat();
        let nodes = &mut self.tables[Tab::StorageNodes];
        nodes.retain_in::<&[u8], _>(start.as_slice()..end.as_slice(), |_, _| false)?;
        Ok(keys)
    }

    pub(crate) fn write_block(&mut self, block: &BlockCommit<'_>) -> Result<()> {
        let (header, hash) = (block.header, block.hash);
        let key = header.number.to_be_bytes();
        let value = [hash.as_slice(), &alloy_rlp::encode(header)].concat();
        self.put(Tab::Headers, &key, &value)?;
        self.put(Tab::Numbers, hash.as_slice(), &key)?;

        let body: Vec<_> = block.transactions.iter().map(encode_transaction).collect();
        self.put(Tab::Bodies, &key, &encode_list(&body))?;
        let receipts: Vec<_> = block.receipts.iter().map(alloy_rlp::encode).collect();
        self.put(Tab::Receipts, &key, &encode_list(&receipts))?;
        if !header.logs_bloom.is_zero() {
            self.put(Tab::Blooms, &key, header.logs_bloom.as_slice())?;
        }

        let hashes = block.transactions.iter().map(|tx| tx.transaction.hash()).zip(0_u32..);
        let mut hashes: Vec<_> = hashes.collect();
        // Neighbours share pages.
        hashes.sort_unstable();
        for (hash, index) in hashes {
            let position = [key.as_slice(), &index.to_be_bytes()].concat();
            self.put(Tab::Transactions, hash.as_slice(), &position)?;
        }
        for (alias, hash) in block.aliases {
            self.put(Tab::Aliases, alias.as_slice(), hash.as_slice())?;
        }
        if !block.aliases.is_empty() {
            let aliases: Vec<_> = block.aliases.iter().map(|(alias, _)| alias).collect();
            self.put(Tab::BlockAliases, &key, &encode_list(&aliases))?;
        }
        Ok(())
    }

    pub(crate) fn put_code(&mut self, hash: B256, code: &[u8]) -> Result<()> {
        self.put(Tab::Codes, hash.as_slice(), code)
    }

    fn prune_history(&mut self, head: u64) -> Result<()> {
        for _ in 0..PRUNE_STEPS {
            if head - self.oldest <= self.history || self.oldest >= self.floor {
                break;
            }
            self.remove_history(self.oldest + 1)?;
            self.oldest += 1;
        }
        Ok(())
    }

    /// Removes what a block left for reading the state before it. Returns the old values.
    fn remove_history(&mut self, block: u64) -> Result<Old> {
        let number = block.to_be_bytes();
        let keys = self.get(Tab::Changes, &number)?.ok_or(StoreError::Corrupt("no changes"))?;
        let keys = ChangedKeys::decode(&keys)?;
        let mut old = Old::default();
        for address in keys.accounts {
            let key = history_key(address.as_slice(), block);
            old.accounts.insert(address, self.replace(Tab::AccountHistory, &key, &[])?);
        }
        for key in keys.slots {
            let value = self.replace(Tab::SlotHistory, &history_key(&key, block), &[])?;
            old.slots.insert(key, value);
        }
        self.remove(Tab::Changes, &number)?;
        Ok(old)
    }

    /// Removes all blocks after `number` and restores the state after it. Metadata and records
    /// stay.
    pub fn unwind_to(&mut self, number: u64) -> Result<()> {
        let head = self.head.ok_or(StoreError::Empty)?;
        if number > head.number {
            return Err(StoreError::UnknownBlock(number));
        }
        if number < self.oldest {
            return Err(StoreError::Pruned { block: number, oldest: self.oldest });
        }
        let latest = self.header(head.number)?.0.state_root;
        let mut old = Old::default();
        for block in (number + 1..=head.number).rev() {
            let earlier = self.remove_history(block)?;
            old.accounts.extend(earlier.accounts);
            old.slots.extend(earlier.slots);
            self.remove_block(block)?;
        }
        let changes = old.changes()?;
        let (header, hash) = self.header(number)?;
        let update = apply_changes(&WriterNodes(&self.tables), latest, &changes)?;
        let same = |(address, value): (&Address, &Vec<u8>)| {
            let account = update.accounts.get(address).copied().flatten();
            account_value(account.as_ref()) == *value
        };
        if update.root != header.state_root || !old.accounts.iter().all(same) {
            return Err(StoreError::Corrupt("history and state root differ"));
        }
        self.write_state(&changes, &update, None)?;
        self.staged.clear = true;
        self.staged.accounts.clear();
        self.staged.slots.clear();
        self.head = Some(Head { number, hash });
        Ok(())
    }

    fn remove_block(&mut self, number: u64) -> Result<()> {
        let key = number.to_be_bytes();
        let (_, hash) = self.header(number)?;
        let body = self.replace(Tab::Bodies, &key, &[])?;
        for item in List::new(&body)?.iter() {
            let hash = decode_transaction(item?)?.transaction.hash();
            self.remove(Tab::Transactions, hash.as_slice())?;
        }
        let aliases = self.replace(Tab::BlockAliases, &key, &[])?;
        if !aliases.is_empty() {
            for alias in List::new(&aliases)?.iter() {
                self.remove(Tab::Aliases, alias?)?;
            }
        }
        for table in [Tab::Headers, Tab::Receipts, Tab::Blooms] {
            self.remove(table, &key)?;
        }
        self.remove(Tab::Numbers, hash.as_slice())
    }

    /// Sets (`Some`) or removes (`None`) a value of the caller's.
    pub fn put_meta(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<()> {
        match value {
            Some(value) => self.put(Tab::UserMeta, key, value),
            None => self.remove(Tab::UserMeta, key),
        }
    }

    /// Sets a leaf: a state that the caller numbers and finds by its hash, too.
    pub fn put_leaf(&mut self, index: u64, hash: B256, leaf: &[u8]) -> Result<()> {
        let key = index.to_be_bytes();
        self.put(Tab::Leaves, &key, &[hash.as_slice(), leaf].concat())?;
        self.put(Tab::LeafIndexes, hash.as_slice(), &key)
    }

    /// Removes the leaves from `index` on.
    pub fn truncate_leaves(&mut self, index: u64) -> Result<()> {
        self.remove_leaves(index, u64::MAX)
    }

    /// Removes the leaves before `index`.
    pub fn prune_leaves(&mut self, index: u64) -> Result<()> {
        match index.checked_sub(1) {
            Some(last) => self.remove_leaves(0, last),
            None => Ok(()),
        }
    }

    fn remove_leaves(&mut self, first: u64, last: u64) -> Result<()> {
        let (first, last) = (first.to_be_bytes(), last.to_be_bytes());
        let range = first.as_slice()..=last.as_slice();
        let mut hashes = Vec::new();
        for entry in self.tables[Tab::Leaves].range::<&[u8]>(range.clone())? {
            hashes.push(split_leaf(entry?.1.value())?.0);
        }
        self.tables[Tab::Leaves].retain_in::<&[u8], _>(range, |_, _| false)?;
        hashes.iter().try_for_each(|hash| self.remove(Tab::LeafIndexes, hash.as_slice()))
    }

    /// Sets a record of the caller's.
    pub fn put_record(&mut self, index: u64, record: &[u8]) -> Result<()> {
        self.put(Tab::Records, &index.to_be_bytes(), record)
    }

    /// Removes the records from `index` on.
    pub fn truncate_records(&mut self, index: u64) -> Result<()> {
        let start = index.to_be_bytes();
        let records = &mut self.tables[Tab::Records];
        Ok(records.retain_in::<&[u8], _>(start.as_slice().., |_, _| false)?)
    }
}

/// Old values by key, as the history tables hold them.
#[derive(Default)]
struct Old {
    accounts: BTreeMap<Address, Vec<u8>>,
    slots: BTreeMap<[u8; SLOT_KEY], Vec<u8>>,
}

impl Old {
    fn changes(&self) -> Result<StateChanges> {
        let mut changes = StateChanges::default();
        for (address, value) in &self.accounts {
            let info = decode_account(value)?.map(|account| account.info());
            changes.accounts.insert(*address, info);
        }
        for (key, value) in &self.slots {
            let (address, slot) = split_slot_key(key);
            let slots = changes.storage.entry(address).or_default();
            slots.insert(slot, decode_slot(value)?);
        }
        Ok(changes)
    }
}

fn encode_transaction(tx: &RecoveredTransaction) -> Vec<u8> {
    let mut out = tx.sender.to_vec();
    out.extend(tx.data_size.to_be_bytes());
    tx.transaction.encode_2718(&mut out);
    out
}

/// The trie nodes as a write has them.
pub(crate) struct WriterNodes<'a, 't>(pub(crate) &'a Tables<WriteTable<'t>>);

impl NodeSource for WriterNodes<'_, '_> {
    type Error = StoreError;

    fn node(&self, owner: Option<B256>, path: &Nibbles, _: B256) -> Result<Bytes> {
        let (table, key) = node_key(owner, path);
        let guard = self.0[table].get(key.as_slice())?;
        let guard = guard.ok_or(StoreError::Corrupt("no trie node"))?;
        Ok(Bytes::copy_from_slice(guard.value()))
    }

    fn code(&self, hash: B256) -> Result<Bytes> {
        let guard = self.0[Tab::Codes].get(hash.as_slice())?;
        Ok(Bytes::copy_from_slice(guard.ok_or(StoreError::Corrupt("no code"))?.value()))
    }
}
