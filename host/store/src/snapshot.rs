use std::ops::RangeInclusive;
use std::sync::Arc;

use alloy_eips::eip2718::Decodable2718;
use alloy_primitives::{Address, B256, Bloom, Bytes};
use annex_types::{Header, Receipt, RecoveredTransaction, Transaction};
use redb::{AccessGuard, ReadTransaction, ReadableTableMetadata};

use crate::cache::Caches;
use crate::tables::{
    List, META_HEAD, META_OLDEST, META_VERSION, ReadTable, Tab, Tables, decode_u64, open_read,
};
use crate::view::View;
use crate::{Result, StoreError};

/// The newest block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub number: u64,
    pub hash: B256,
}

/// A block with the senders of its transactions.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredBlock {
    pub header: Header,
    pub hash: B256,
    pub transactions: Vec<RecoveredTransaction>,
}

/// The store as it was when the snapshot was taken. Clones are cheap; a snapshot that is held keeps
/// the space of what was since removed.
#[derive(Clone, Debug)]
pub struct Snapshot {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    tables: Tables<ReadTable>,
    caches: Arc<Caches>,
    head: Option<Head>,
    oldest: u64,
    version: u64,
}

impl Snapshot {
    pub(crate) fn open(transaction: &ReadTransaction, caches: Arc<Caches>) -> Result<Self> {
        let tables = open_read(transaction)?;
        let meta = |key| -> Result<_> { Ok(tables[Tab::Meta].get(key)?) };
        let number = |key| meta(key)?.map_or(Ok(0), |guard| decode_u64(guard.value()));
        let head = meta(META_HEAD)?.map(|guard| decode_head(guard.value())).transpose()?;
        let (oldest, version) = (number(META_OLDEST)?, number(META_VERSION)?);
        Ok(Self { inner: Arc::new(Inner { tables, caches, head, oldest, version }) })
    }

    pub(crate) fn get(
        &self,
        table: Tab,
        key: &[u8],
    ) -> Result<Option<AccessGuard<'_, &'static [u8]>>> {
        Ok(self.inner.tables[table].get(key)?)
    }

    pub(crate) fn table(&self, table: Tab) -> &ReadTable {
        &self.inner.tables[table]
    }

    pub(crate) fn caches(&self) -> &Caches {
        &self.inner.caches
    }

    pub(crate) fn version(&self) -> u64 {
        self.inner.version
    }

    fn get_number(
        &self,
        table: Tab,
        number: u64,
    ) -> Result<Option<AccessGuard<'_, &'static [u8]>>> {
        self.get(table, &number.to_be_bytes())
    }

    /// `None` before genesis.
    pub fn head(&self) -> Option<Head> {
        self.inner.head
    }

    /// The oldest block whose state can be read.
    pub fn oldest_state(&self) -> u64 {
        self.inner.oldest
    }

    /// The state after the newest block.
    pub fn latest(&self) -> Result<View> {
        let head = self.head().ok_or(StoreError::Empty)?;
        View::new(self.clone(), head.number)
    }

    /// The state after block `number`.
    pub fn at(&self, number: u64) -> Result<View> {
        let head = self.head().ok_or(StoreError::Empty)?;
        if number > head.number {
            return Err(StoreError::UnknownBlock(number));
        }
        if number < self.inner.oldest {
            return Err(StoreError::Pruned { block: number, oldest: self.inner.oldest });
        }
        View::new(self.clone(), number)
    }

    pub fn hash(&self, number: u64) -> Result<Option<B256>> {
        let guard = self.get_number(Tab::Headers, number)?;
        guard.map(|guard| Ok(split_header(guard.value())?.0)).transpose()
    }

    pub fn number(&self, hash: B256) -> Result<Option<u64>> {
        let guard = self.get(Tab::Numbers, hash.as_slice())?;
        guard.map(|guard| decode_u64(guard.value())).transpose()
    }

    /// Header and hash.
    pub fn header(&self, number: u64) -> Result<Option<(Header, B256)>> {
        let guard = self.get_number(Tab::Headers, number)?;
        guard.map(|guard| decode_header(guard.value())).transpose()
    }

    pub fn block(&self, number: u64) -> Result<Option<StoredBlock>> {
        let Some((header, hash)) = self.header(number)? else {
            return Ok(None);
        };
        let body = self.get_number(Tab::Bodies, number)?.ok_or(StoreError::Corrupt("no body"))?;
        let list = List::new(body.value())?;
        let transactions = list.iter().map(|item| decode_transaction(item?)).collect::<Result<_>>();
        Ok(Some(StoredBlock { header, hash, transactions: transactions? }))
    }

    /// Number of transactions in a block.
    pub fn transaction_count(&self, number: u64) -> Result<Option<usize>> {
        let guard = self.get_number(Tab::Bodies, number)?;
        guard.map(|guard| Ok(List::new(guard.value())?.len())).transpose()
    }

    pub fn transaction_at(
        &self,
        number: u64,
        index: usize,
    ) -> Result<Option<RecoveredTransaction>> {
        let Some(guard) = self.get_number(Tab::Bodies, number)? else {
            return Ok(None);
        };
        List::new(guard.value())?.get(index)?.map(decode_transaction).transpose()
    }

    /// The receipts of a block, in order.
    pub fn receipts(&self, number: u64) -> Result<Option<Vec<Receipt>>> {
        let Some(guard) = self.get_number(Tab::Receipts, number)? else {
            return Ok(None);
        };
        let list = List::new(guard.value())?;
        list.iter().map(|item| decode_receipt(item?)).collect::<Result<_>>().map(Some)
    }

    pub fn receipt_at(&self, number: u64, index: usize) -> Result<Option<Receipt>> {
        let Some(guard) = self.get_number(Tab::Receipts, number)? else {
            return Ok(None);
        };
        List::new(guard.value())?.get(index)?.map(decode_receipt).transpose()
    }

    /// Block number and index in the block of a transaction.
    pub fn transaction_position(&self, hash: B256) -> Result<Option<(u64, usize)>> {
        let Some(guard) = self.get(Tab::Transactions, hash.as_slice())? else {
            return Ok(None);
        };
        let (number, index) = guard.value().split_at_checked(8).unwrap_or_default();
        let index = index.try_into().map(u32::from_be_bytes);
        let index = index.map_err(|_| StoreError::Corrupt("transaction index"))?;
        Ok(Some((decode_u64(number)?, index as usize)))
    }

    /// The transaction hash that an alias stands for.
    pub fn alias(&self, alias: B256) -> Result<Option<B256>> {
        let guard = self.get(Tab::Aliases, alias.as_slice())?;
        let hash = |guard: AccessGuard<'_, &'static [u8]>| B256::try_from(guard.value());
        guard.map(hash).transpose().map_err(|_| StoreError::Corrupt("alias"))
    }

    /// The first `limit` blocks of a range that have logs and whose bloom passes `filter`.
    pub fn blocks_with_logs(
        &self,
        blocks: RangeInclusive<u64>,
        limit: usize,
        filter: impl Fn(&Bloom) -> bool,
    ) -> Result<Vec<u64>> {
        let (start, end) = (blocks.start().to_be_bytes(), blocks.end().to_be_bytes());
        let mut found = Vec::new();
        for entry in self.table(Tab::Blooms).range(start.as_slice()..=end.as_slice())? {
            let (number, bloom) = entry?;
            let bloom = bloom.value().try_into().map_err(|_| StoreError::Corrupt("bloom"))?;
            if filter(&Bloom::new(bloom)) {
                if found.len() == limit {
                    break;
                }
                found.push(decode_u64(number.value())?);
            }
        }
        Ok(found)
    }

    /// A value of the caller's.
    pub fn get_meta(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.get(Tab::UserMeta, key)?.map(|guard| guard.value().to_vec()))
    }

    /// A record of the caller's.
    pub fn record(&self, index: u64) -> Result<Option<Vec<u8>>> {
        Ok(self.get_number(Tab::Records, index)?.map(|guard| guard.value().to_vec()))
    }

    /// The last record of the caller's.
    pub fn last_record(&self) -> Result<Option<(u64, Vec<u8>)>> {
        let last = self.table(Tab::Records).range::<&[u8]>(..)?.next_back();
        let Some((key, value)) = last.transpose()? else {
            return Ok(None);
        };
        Ok(Some((decode_u64(key.value())?, value.value().to_vec())))
    }

    /// Hash and bytes of a leaf of the caller's.
    pub fn leaf(&self, index: u64) -> Result<Option<(B256, Vec<u8>)>> {
        let Some(guard) = self.get_number(Tab::Leaves, index)? else {
            return Ok(None);
        };
        let (hash, leaf) = split_leaf(guard.value())?;
        Ok(Some((hash, leaf.to_vec())))
    }

    /// Index of the leaf with this hash.
    pub fn leaf_index(&self, hash: B256) -> Result<Option<u64>> {
        let guard = self.get(Tab::LeafIndexes, hash.as_slice())?;
        guard.map(|guard| decode_u64(guard.value())).transpose()
    }

    /// Indexes of the first and the last leaf; between them none is missing.
    pub fn leaf_range(&self) -> Result<Option<RangeInclusive<u64>>> {
        let mut leaves = self.table(Tab::Leaves).range::<&[u8]>(..)?;
        let Some((first, _)) = leaves.next().transpose()? else {
            return Ok(None);
        };
        let first = decode_u64(first.value())?;
        let last = leaves.next_back().transpose()?;
        let last = last.map_or(Ok(first), |(key, _)| decode_u64(key.value()))?;
        Ok(Some(first..=last))
    }

    /// Hashes of the leaves of a range that there are, in order.
    pub fn leaf_hashes(&self, range: RangeInclusive<u64>) -> Result<Vec<B256>> {
        let (first, last) = (range.start().to_be_bytes(), range.end().to_be_bytes());
        let leaves = self.table(Tab::Leaves).range(first.as_slice()..=last.as_slice())?;
        leaves.map(|entry| Ok(split_leaf(entry?.1.value())?.0)).collect()
    }

    pub(crate) fn count(&self, table: Tab) -> Result<u64> {
        Ok(self.table(table).len()?)
    }

    pub(crate) fn code(&self, hash: B256) -> Result<Bytes> {
        let guard = self.get(Tab::Codes, hash.as_slice())?;
        let guard = guard.ok_or(StoreError::Corrupt("no code"))?;
        Ok(Bytes::copy_from_slice(guard.value()))
    }
}

pub(crate) fn decode_head(bytes: &[u8]) -> Result<Head> {
    let (number, hash) = bytes.split_at_checked(8).unwrap_or_default();
    let hash = B256::try_from(hash).map_err(|_| StoreError::Corrupt("head"))?;
    Ok(Head { number: decode_u64(number)?, hash })
}

pub(crate) fn split_leaf(bytes: &[u8]) -> Result<(B256, &[u8])> {
    let (hash, leaf) = bytes.split_first_chunk().ok_or(StoreError::Corrupt("leaf"))?;
    Ok((B256::new(*hash), leaf))
}

fn split_header(bytes: &[u8]) -> Result<(B256, &[u8])> {
    let (hash, rlp) = bytes.split_first_chunk().ok_or(StoreError::Corrupt("header"))?;
    Ok((B256::new(*hash), rlp))
}

pub(crate) fn decode_header(bytes: &[u8]) -> Result<(Header, B256)> {
    let (hash, rlp) = split_header(bytes)?;
    let header = alloy_rlp::decode_exact(rlp).map_err(|_| StoreError::Corrupt("header"))?;
    Ok((header, hash))
}

pub(crate) fn decode_transaction(bytes: &[u8]) -> Result<RecoveredTransaction> {
    let parse = || {
        let (sender, rest) = bytes.split_first_chunk::<20>()?;
        let (data_size, mut encoded) = rest.split_first_chunk()?;
        let transaction = Transaction::decode_2718(&mut encoded).ok()?;
        let data_size = u64::from_be_bytes(*data_size);
        Some(RecoveredTransaction { transaction, sender: Address::new(*sender), data_size })
    };
    parse().ok_or(StoreError::Corrupt("transaction"))
}

fn decode_receipt(bytes: &[u8]) -> Result<Receipt> {
    alloy_rlp::decode_exact(bytes).map_err(|_| StoreError::Corrupt("receipt"))
}
