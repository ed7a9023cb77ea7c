//! Tables and the byte layout of their keys and values. Integers are big-endian.

use std::ops::{Index, IndexMut};

use alloy_primitives::{Address, B256, U256};
use annex_state::{Account, Nibbles};
use redb::{ReadOnlyTable, ReadTransaction, Table, TableDefinition, WriteTransaction};

use crate::StoreError;

/// Version of all that follows.
pub(crate) const FORMAT: u32 = 3;

type Bytes = &'static [u8];
pub(crate) type WriteTable<'t> = Table<'t, Bytes, Bytes>;
pub(crate) type ReadTable = ReadOnlyTable<Bytes, Bytes>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tab {
    /// See the `META_` keys.
    Meta,
    /// Keys and values of the caller's.
    UserMeta,
    /// index u64 → bytes of the caller's.
    Records,
    /// index u64 → hash ‖ bytes of the caller's.
    Leaves,
    /// hash → index u64 in `Leaves`.
    LeafIndexes,
    /// number u64 → hash ‖ rlp(header).
    Headers,
    /// hash → number u64.
    Numbers,
    /// number u64 → list of sender(20) ‖ data size u64 ‖ EIP-2718 transaction.
    Bodies,
    /// number u64 → list of rlp(receipt without bloom).
    Receipts,
    /// number u64 → logs bloom, if not zero.
    Blooms,
    /// transaction hash → number u64 ‖ index u32.
    Transactions,
    /// alias hash → transaction hash.
    Aliases,
    /// number u64 → list of the block's alias hashes, if there are any.
    BlockAliases,
    /// address → rlp(account).
    Accounts,
    /// address ‖ slot(32) → value without leading zeros.
    Slots,
    /// path, one byte a nibble → RLP of the node of the state trie.
    Nodes,
    /// keccak(address) ‖ path, one byte a nibble → RLP of the node of the storage trie.
    StorageNodes,
    /// hash → code.
    Codes,
    /// key in `Accounts` ‖ number u64 → the value before that block, empty if there was none.
    AccountHistory,
    /// key in `Slots` ‖ number u64 → the value before that block, empty if there was none.
    SlotHistory,
    /// number u64 → account count u32 ‖ keys in `Accounts` ‖ keys in `Slots`, of what changed.
    Changes,
}

const COUNT: usize = 21;

const DEFINITIONS: [TableDefinition<'static, Bytes, Bytes>; COUNT] = [
    TableDefinition::new("meta"),
    TableDefinition::new("user_meta"),
    TableDefinition::new("records"),
    TableDefinition::new("leaves"),
    TableDefinition::new("leaf_indexes"),
    TableDefinition::new("headers"),
    TableDefinition::new("numbers"),
    TableDefinition::new("bodies"),
    TableDefinition::new("receipts"),
    TableDefinition::new("blooms"),
    TableDefinition::new("transactions"),
    TableDefinition::new("aliases"),
    TableDefinition::new("block_aliases"),
    TableDefinition::new("accounts"),
    TableDefinition::new("slots"),
    TableDefinition::new("nodes"),
    TableDefinition::new("storage_nodes"),
    TableDefinition::new("codes"),
    TableDefinition::new("account_history"),
    TableDefinition::new("slot_history"),
    TableDefinition::new("changes"),
];

/// In `Meta`: format version u32.
pub(crate) const META_FORMAT: &[u8] = b"format";
/// In `Meta`: number of the newest block u64 ‖ its hash.
pub(crate) const META_HEAD: &[u8] = b"head";
/// In `Meta`: number u64 of the oldest block whose state can be read.
pub(crate) const META_OLDEST: &[u8] = b"oldest";
/// In `Meta`: count of writes u64.
pub(crate) const META_VERSION: &[u8] = b"version";

/// One handle per table.
#[derive(Debug)]
pub(crate) struct Tables<T>([T; COUNT]);

impl<T> Index<Tab> for Tables<T> {
    type Output = T;

    fn index(&self, table: Tab) -> &T {
        &self.0[table as usize]
    }
}

impl<T> IndexMut<Tab> for Tables<T> {
    fn index_mut(&mut self, table: Tab) -> &mut T {
        &mut self.0[table as usize]
    }
}

fn open<T>(mut open: impl FnMut(usize) -> Result<T, StoreError>) -> Result<Tables<T>, StoreError> {
    let handles = (0..COUNT).map(&mut open).collect::<Result<Vec<_>, _>>()?;
    let handles = handles.try_into().map_err(|_| StoreError::Corrupt("tables"))?;
    Ok(Tables(handles))
}

pub(crate) fn open_write(
    transaction: &WriteTransaction,
) -> Result<Tables<WriteTable<'_>>, StoreError> {
    open(|i| Ok(transaction.open_table(DEFINITIONS[i])?))
}

pub(crate) fn open_read(transaction: &ReadTransaction) -> Result<Tables<ReadTable>, StoreError> {
    open(|i| Ok(transaction.open_table(DEFINITIONS[i])?))
}

pub(crate) const SLOT_KEY: usize = 52;

pub(crate) fn slot_key(address: Address, slot: U256) -> [u8; SLOT_KEY] {
    let mut key = [0; SLOT_KEY];
    key[..20].copy_from_slice(address.as_slice());
    key[20..].copy_from_slice(&slot.to_be_bytes::<32>());
    key
}

pub(crate) fn split_slot_key(key: &[u8]) -> (Address, U256) {
    (Address::from_slice(&key[..20]), U256::from_be_slice(&key[20..]))
}

pub(crate) fn history_key(key: &[u8], block: u64) -> Vec<u8> {
    [key, &block.to_be_bytes()].concat()
}

/// Where a node is: the table and its key there.
pub(crate) fn node_key(owner: Option<B256>, path: &Nibbles) -> (Tab, Vec<u8>) {
    let Some(owner) = owner else {
        return (Tab::Nodes, path.iter().collect());
    };
    (Tab::StorageNodes, owner.iter().copied().chain(path.iter()).collect())
}

/// Minimal big-endian bytes; none for zero, which is not stored.
pub(crate) fn slot_value(value: U256) -> Vec<u8> {
    value.to_be_bytes_trimmed_vec()
}

pub(crate) fn decode_slot(bytes: &[u8]) -> Result<U256, StoreError> {
    U256::try_from_be_slice(bytes).ok_or(StoreError::Corrupt("slot"))
}

/// Empty for an account that does not exist.
pub(crate) fn account_value(account: Option<&Account>) -> Vec<u8> {
    account.map(alloy_rlp::encode).unwrap_or_default()
}

pub(crate) fn decode_account(bytes: &[u8]) -> Result<Option<Account>, StoreError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    alloy_rlp::decode_exact(bytes).map(Some).map_err(|_| StoreError::Corrupt("account"))
}

pub(crate) fn decode_u64(bytes: &[u8]) -> Result<u64, StoreError> {
    bytes.try_into().map(u64::from_be_bytes).map_err(|_| StoreError::Corrupt("number"))
}

/// A list in one value: count u32 ‖ end offsets u32 ‖ items.
pub(crate) fn encode_list<T: AsRef<[u8]>>(items: &[T]) -> Vec<u8> {
    let size: usize = items.iter().map(|item| item.as_ref().len() + 4).sum();
    let mut out = Vec::with_capacity(4 + size);
    out.extend((items.len() as u32).to_be_bytes());
    let mut end = 0_u32;
    for item in items {
        end += item.as_ref().len() as u32;
        out.extend(end.to_be_bytes());
    }
    for item in items {
        out.extend_from_slice(item.as_ref());
    }
    out
}

/// Reads an [`encode_list`].
pub(crate) struct List<'a> {
    ends: &'a [[u8; 4]],
    items: &'a [u8],
}

impl<'a> List<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Result<Self, StoreError> {
        let parse = || {
            let (count, rest) = bytes.split_first_chunk::<4>()?;
            let count = u32::from_be_bytes(*count) as usize;
            let (ends, items) = rest.split_at_checked(count.checked_mul(4)?)?;
            Some(Self { ends: ends.as_chunks().0, items })
        };
        parse().ok_or(StoreError::Corrupt("list"))
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// `None` past the end.
    pub(crate) fn get(&self, index: usize) -> Result<Option<&'a [u8]>, StoreError> {
        let Some(end) = self.ends.get(index) else {
            return Ok(None);
        };
        let start = index.checked_sub(1).map_or(0, |i| u32::from_be_bytes(self.ends[i]) as usize);
        let item = self.items.get(start..u32::from_be_bytes(*end) as usize);
        item.map(Some).ok_or(StoreError::Corrupt("list"))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Result<&'a [u8], StoreError>> {
        (0..self.len()).filter_map(|i| self.get(i).transpose())
    }
}

/// The keys a block changed.
pub(crate) struct ChangedKeys {
    pub accounts: Vec<Address>,
    pub slots: Vec<[u8; SLOT_KEY]>,
}

impl ChangedKeys {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = (self.accounts.len() as u32).to_be_bytes().to_vec();
        self.accounts.iter().for_each(|address| out.extend_from_slice(address.as_slice()));
        self.slots.iter().for_each(|key| out.extend_from_slice(key));
        out
    }

    /// How many keys an encoding holds.
    pub(crate) fn count(bytes: &[u8]) -> Result<usize, StoreError> {
        let (count, rest) = bytes.split_first_chunk::<4>().ok_or(StoreError::Corrupt("changes"))?;
        let accounts = u32::from_be_bytes(*count) as usize;
        let slots = rest.len().saturating_sub(accounts.saturating_mul(20)) / SLOT_KEY;
        Ok(accounts.saturating_add(slots))
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        let parse = || {
            let (count, rest) = bytes.split_first_chunk::<4>()?;
            let size = (u32::from_be_bytes(*count) as usize).checked_mul(20)?;
            let (accounts, slots) = rest.split_at_checked(size)?;
            let (accounts, (slots, rest)) = (accounts.as_chunks::<20>().0, slots.as_chunks());
            let accounts = accounts.iter().map(|address| Address::new(*address)).collect();
            rest.is_empty().then(|| Self { accounts, slots: slots.to_vec() })
        };
        parse().ok_or(StoreError::Corrupt("changes"))
    }
}
