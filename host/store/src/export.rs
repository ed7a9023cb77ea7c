//! A whole state, in order.

use crate::archive::Entry;
use crate::tables::{SLOT_KEY, Tab, decode_account, decode_slot, decode_u64, split_slot_key};
use crate::{Result, Snapshot, StoreError, View};
use alloy_primitives::{Address, B256};
use annex_state::KECCAK_EMPTY;
use redb::Range;
use std::collections::BTreeSet;
use std::iter::Peekable;

impl View {
    /// Hands over the state in the order of an archive.
    pub fn export<E: From<StoreError>>(
        &self,
        mut take: impl FnMut(Entry) -> core::result::Result<(), E>,
    ) -> core::result::Result<(), E> {
        let (snapshot, number) = (self.snapshot(), self.number());
        let accounts = Flat::new(snapshot, Tab::Accounts, Tab::AccountHistory, number, 20)?;
        let slots = Flat::new(snapshot, Tab::Slots, Tab::SlotHistory, number, SLOT_KEY)?;
        let mut slots = slots.peekable();
        let mut codes: BTreeSet<B256> = BTreeSet::new();
        for account in accounts {
            let (key, value) = account?;
            let address = Address::from_slice(&key);
            let account = decode_account(&value)?.ok_or(StoreError::Corrupt("account"))?;
            if account.code_hash != KECCAK_EMPTY {
                codes.insert(account.code_hash);
            }
            take(Entry::Account(address, account.info()))?;
            let own = |entry: &Result<(Vec<u8>, Vec<u8>)>| {
                entry.as_ref().map_or(true, |(key, _)| key.starts_with(address.as_slice()))
            };
            while let Some(slot) = slots.next_if(own) {
                let (key, value) = slot?;
                take(Entry::Slot(split_slot_key(&key).1, decode_slot(&value)?))?;
            }
        }
        if slots.next().transpose()?.is_some() {
            return Err(StoreError::Corrupt("slot without account").into());
        }
        for hash in codes {
            take(Entry::Code(snapshot.code(hash)?))?;
        }
        Ok(())
    }

    /// How many accounts the newest state has, to know how far an export is.
    pub fn count_accounts(&self) -> Result<u64> {
        self.snapshot().count(Tab::Accounts)
    }
}

type Entries = Range<'static, &'static [u8], &'static [u8]>;

/// A flat table as it was after a block: what it holds now, undone by what was kept of the blocks since.
struct Flat {
    now: Peekable<Pairs>,
    kept: Peekable<Pairs>,
    after: u64,
    key: usize,
}

impl Flat {
    fn new(snapshot: &Snapshot, now: Tab, kept: Tab, after: u64, key: usize) -> Result<Self> {
        let all = |table| -> Result<_> {
            Ok(Pairs(snapshot.table(table).range::<&[u8]>(..)?).peekable())
        };
        Ok(Self { now: all(now)?, kept: all(kept)?, after, key })
    }

    /// The next key that is in either table.
    fn next_key(&mut self) -> Result<Option<Vec<u8>>> {
        let now = self.now.peek().map(|entry| entry.as_ref().map(|(key, _)| key.as_slice()));
        let length = self.key;
        let kept = self
            .kept
            .peek()
            .map(|entry| entry.as_ref().map(|(key, _)| key.get(..length).unwrap_or_default()));
        let key = match (now, kept) {
            (None, None) => return Ok(None),
            (Some(Ok(now)), Some(Ok(kept))) => Ok(now.min(kept).to_vec()),
            (Some(Ok(key)), None) | (None, Some(Ok(key))) => Ok(key.to_vec()),
            (Some(Err(_)), _) => Err(true),
            (_, Some(Err(_))) => Err(false),
        };
        let failed = match key {
            Ok(key) => return Ok(Some(key)),
            Err(true) => self.now.next(),
            Err(false) => self.kept.next(),
        };
        failed.transpose().map(|_| None)
    }

    /// The value of `key` after the block, empty if there was none; moves both tables past it.
    fn value(&mut self, key: &[u8]) -> Result<Vec<u8>> {
        let is_next = |entry: &Result<(Vec<u8>, Vec<u8>)>| {
            entry.as_ref().map_or(true, |(found, _)| found.starts_with(key))
        };
        let mut first = None;
        while let Some(entry) = self.kept.next_if(is_next) {
            let (found, old) = entry?;
            let number = decode_u64(&found[key.len()..])?;
            if number > self.after && first.is_none() {
                first = Some(old);
            }
        }
        let now = self.now.next_if(is_next).transpose()?.map(|(_, value)| value);
        Ok(first.or(now).unwrap_or_default())
    }

    fn step(&mut self) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
        while let Some(key) = self.next_key()? {
            let value = self.value(&key)?;
            if !value.is_empty() {
                return Ok(Some((key, value)));
            }
        }
        Ok(None)
    }
}

impl Iterator for Flat {
    type Item = Result<(Vec<u8>, Vec<u8>)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}

/// Keys and values of a table, in order.
struct Pairs(Entries);

impl Iterator for Pairs {
    type Item = Result<(Vec<u8>, Vec<u8>)>;

    fn next(&mut self) -> Option<Self::Item> {
        let entry = self.0.next()?;
        let pair = entry.map(|(key, value)| (key.value().to_vec(), value.value().to_vec()));
        Some(pair.map_err(StoreError::from))
    }
}
