//! Reads shared by the methods: which state a block parameter names, and blocks, receipts and transactions wherever
//! they are (sealed, open, or waiting).

use crate::chain::{Chain, Executed, PendingState, Unsealed};
use crate::error::RpcError;
use crate::filters::Filters;
use crate::json::{self, Block, ReceiptJson};
use crate::limits::Limits;
use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_primitives::{Address, B256, Bytes, U64, U256};
use alloy_serde::JsonStorageKey;
use annex_evm::{BlockEnv, Rules};
use annex_state::{AccountInfo, StateReader};
use annex_store::{Snapshot, StoreError, View};
use annex_types::{Header, Receipt, RecoveredTransaction, Transaction};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};
use tokio::sync::Semaphore;

/// Slots of one `eth_getStorageValues`, as in go-ethereum.
const MAX_STORAGE_VALUES: usize = 1024;

pub(crate) struct Api<C> {
    pub chain: Arc<C>,
    pub filters: Mutex<Filters>,
    pub heavy: Arc<Semaphore>,
    pub traces: Arc<Semaphore>,
    pub limits: Limits,
}

/// A state a call reads.
pub(crate) enum State {
    Pending(PendingState),
    Sealed(View),
}

impl StateReader for State {
    type Error = StoreError;

    fn account(&self, address: Address) -> Result<Option<AccountInfo>, StoreError> {
        match self {
            Self::Pending(state) => state.account(address),
            Self::Sealed(view) => view.account(address),
        }
    }

    fn storage(&self, address: Address, slot: U256) -> Result<U256, StoreError> {
        match self {
            Self::Pending(state) => state.storage(address, slot),
            Self::Sealed(view) => view.storage(address, slot),
        }
    }

    fn code(&self, hash: B256) -> Result<Bytes, StoreError> {
        match self {
            Self::Pending(state) => state.code(hash),
            Self::Sealed(view) => view.code(hash),
        }
    }

    fn block_hash(&self, number: u64) -> Result<B256, StoreError> {
        match self {
            Self::Pending(state) => state.block_hash(number),
            Self::Sealed(view) => view.block_hash(number),
        }
    }
}

/// What a block parameter of a state read names.
pub(crate) enum At {
    Pending,
    Sealed(u64),
}

impl<C: Chain> Api<C> {
    pub fn new(chain: Arc<C>, limits: Limits) -> Self {
        let places = |count: usize| Arc::new(Semaphore::new(count.max(1)));
        let (heavy, traces) = (places(limits.max_heavy), places(limits.max_traces));
        Self { chain, filters: Mutex::default(), heavy, traces, limits }
    }

    pub fn snapshot(&self) -> Result<Snapshot, RpcError> {
        Ok(self.chain.store().snapshot()?)
    }

    pub fn is_l2(&self) -> bool {
        self.chain.rules() == Rules::L2
    }

    /// Number of the last sealed block.
    pub fn head(&self) -> Result<u64, RpcError> {
        Ok(self.chain.store().head()?.ok_or(StoreError::Empty)?.number)
    }

    /// Number of the sealed block a tag names; of the head for `pending`.
    pub fn sealed_number(&self, tag: BlockNumberOrTag) -> Result<u64, RpcError> {
        Ok(match tag {
            BlockNumberOrTag::Number(number) => number,
            BlockNumberOrTag::Earliest => 0,
            BlockNumberOrTag::Latest | BlockNumberOrTag::Pending => self.head()?,
            BlockNumberOrTag::Safe => self.chain.finality().safe,
            BlockNumberOrTag::Finalized => self.chain.finality().finalized,
        })
    }

    pub fn at(&self, id: BlockId) -> Result<At, RpcError> {
        match id {
            // Only blocks of the chain are known by hash, so `requireCanonical` changes nothing.
            BlockId::Hash(hash) => {
                let number = self.snapshot()?.number(hash.block_hash)?;
                number.map(At::Sealed).ok_or(RpcError::UnknownBlock)
            }
            BlockId::Number(BlockNumberOrTag::Pending) => Ok(At::Pending),
            BlockId::Number(BlockNumberOrTag::Latest) if self.is_l2() => Ok(At::Pending),
            BlockId::Number(BlockNumberOrTag::Number(number)) => {
                if number <= self.head()? {
                    Ok(At::Sealed(number))
                } else if self.is_l2() && number <= self.chain.pending()?.header.number {
                    // A receipt may name a block that is not sealed yet; what it did must be readable.
                    Ok(At::Pending)
                } else {
                    Err(RpcError::UnknownBlock)
                }
            }
            BlockId::Number(tag) => Ok(At::Sealed(self.sealed_number(tag)?)),
        }
    }

    /// State and environment that a block parameter names.
    pub fn state(&self, id: BlockId) -> Result<(State, BlockEnv), RpcError> {
        match self.at(id)? {
            At::Pending => {
                let pending = self.chain.pending()?;
                Ok((State::Pending(pending.state), pending.env))
            }
            At::Sealed(number) => {
                let (view, env) = self.sealed(number)?;
                Ok((State::Sealed(view), env))
            }
        }
    }

    /// State after a sealed block, and the block's environment.
    pub fn sealed(&self, number: u64) -> Result<(View, BlockEnv), RpcError> {
        let view = self.chain.store().at(number)?;
        let env = self.chain.opening(view.snapshot(), view.header())?.env;
        Ok((view, env))
    }

    /// An account in the state that a block parameter names.
    pub fn account(&self, id: BlockId, address: Address) -> Result<AccountInfo, RpcError> {
        let account = match self.at(id)? {
            At::Pending => self.chain.account(address)?,
            At::Sealed(number) => self.chain.store().at(number)?.account(address)?,
        };
        Ok(account.unwrap_or_default())
    }

    /// The number of a sealed block by hash, number or tag; `None` if there is none.
    pub fn number(&self, id: BlockId) -> Result<Option<u64>, RpcError> {
        match id {
            BlockId::Hash(hash) => Ok(self.snapshot()?.number(hash.block_hash)?),
            BlockId::Number(tag) => {
                let number = self.sealed_number(tag)?;
                Ok((number <= self.head()?).then_some(number))
            }
        }
    }

    /// A block by hash, number or tag.
    pub fn block(&self, id: BlockId) -> Result<Option<Block>, RpcError> {
        if id == BlockId::Number(BlockNumberOrTag::Pending) {
            let pending = self.chain.pending()?;
            let transactions = pending.transactions;
            return Ok(Some(Block { hash: B256::ZERO, header: pending.header, transactions }));
        }
        match self.number(id)? {
            Some(number) => sealed_block(&self.snapshot()?, number),
            None => Ok(None),
        }
    }

    /// A block without what is in it.
    pub fn header_json(&self, id: BlockId) -> Result<Option<Value>, RpcError> {
        let json = |header: &Header, hash| {
            serde_json::to_value(json::head(header, hash)).expect("a header is a map")
        };
        if id == BlockId::Number(BlockNumberOrTag::Pending) {
            return Ok(Some(json(&self.chain.pending()?.header, B256::ZERO)));
        }
        let Some(number) = self.number(id)? else { return Ok(None) };
        let (header, hash) = self.header(number)?;
        Ok(Some(json(&header, hash)))
    }

    /// `eth_getStorageValues`: slots of several accounts in one state.
    pub fn storage_values(
        &self,
        wanted: BTreeMap<Address, Vec<JsonStorageKey>>,
        at: BlockId,
    ) -> Result<BTreeMap<Address, Vec<B256>>, RpcError> {
        if wanted.values().map(Vec::len).sum::<usize>() > MAX_STORAGE_VALUES {
            return Err(RpcError::BadRequest("too many slots"));
        }
        let (state, _) = self.state(at)?;
        let read = |(address, slots): (Address, Vec<JsonStorageKey>)| {
            let value = |slot: &JsonStorageKey| {
                let slot = U256::from_be_bytes(slot.as_b256().0);
                Ok(B256::from(state.storage(address, slot)?))
            };
            Ok((address, slots.iter().map(value).collect::<Result<_, RpcError>>()?))
        };
        wanted.into_iter().map(read).collect()
    }

    /// `eth_capabilities`: the blocks from which on each kind of question is answered.
    pub fn capabilities(&self) -> Result<Value, RpcError> {
        let snapshot = self.snapshot()?;
        let head = snapshot.head().ok_or(StoreError::Empty)?;
        let oldest = snapshot.oldest_state();
        let all = json!({ "disabled": false, "oldestBlock": U64::ZERO });
        let kept = U64::from(head.number - oldest.min(head.number));
        let window = json!({
            "disabled": false,
            "oldestBlock": U64::from(oldest),
            "deleteStrategy": { "type": "window", "retentionBlocks": kept },
        });
        Ok(json!({
            "head": { "number": U64::from(head.number), "hash": head.hash },
            "state": window,
            "stateproofs": window,
            "tx": all,
            "logs": all,
            "receipts": all,
            "blocks": all,
        }))
    }

    /// Header of a sealed block.
    pub fn header(&self, number: u64) -> Result<(Header, B256), RpcError> {
        self.snapshot()?.header(number)?.ok_or(RpcError::UnknownBlock)
    }

    /// Block and index of a sealed transaction, by its hash or an alias.
    pub fn position(&self, hash: B256) -> Result<Option<(Snapshot, u64, usize)>, RpcError> {
        let snapshot = self.snapshot()?;
        let position = match snapshot.transaction_position(hash)? {
            None => match snapshot.alias(hash)? {
                Some(hash) => snapshot.transaction_position(hash)?,
                None => None,
            },
            found => found,
        };
        Ok(position.map(|(number, index)| (snapshot, number, index)))
    }

    pub fn transaction(&self, hash: B256) -> Result<Option<Value>, RpcError> {
        // In this order: what is sealed in between is in the store before it is gone here.
        match self.chain.unsealed(hash) {
            Some(Unsealed::Acknowledged(tx)) => {
                return Ok(Some(json::executed_transaction(&tx, B256::ZERO)));
            }
            Some(Unsealed::Pooled(tx)) => return Ok(Some(json::pooled_transaction(&tx))),
            None => {}
        }
        let Some((snapshot, number, index)) = self.position(hash)? else { return Ok(None) };
        let found = sealed_transaction(&snapshot, number, index)?;
        Ok(found.map(|(tx, hash)| json::executed_transaction(&tx, hash)))
    }

    /// A transaction as it was sent.
    pub fn raw_transaction(&self, hash: B256) -> Result<Option<RecoveredTransaction>, RpcError> {
        match self.chain.unsealed(hash) {
            Some(Unsealed::Acknowledged(tx)) => return Ok(Some(tx.transaction.clone())),
            Some(Unsealed::Pooled(tx)) => return Ok(Some(tx.as_ref().clone())),
            None => {}
        }
        let Some((snapshot, number, index)) = self.position(hash)? else { return Ok(None) };
        Ok(snapshot.transaction_at(number, index)?)
    }

    pub fn receipt(&self, hash: B256) -> Result<Option<ReceiptJson>, RpcError> {
        if let Some(Unsealed::Acknowledged(tx)) = self.chain.unsealed(hash) {
            return Ok(Some(ReceiptJson::new(&tx, B256::ZERO)));
        }
        let Some((snapshot, number, index)) = self.position(hash)? else { return Ok(None) };
        let Some((tx, hash)) = sealed_transaction(&snapshot, number, index)? else {
            return Ok(None);
        };
        let blob_fee = snapshot.header(number)?.and_then(|(header, _)| json::blob_fee(&header));
        Ok(Some(ReceiptJson::new(&tx, hash).with_blob_gas_price(blob_fee)))
    }

    /// A transaction by its place.
    pub fn transaction_at(&self, id: BlockId, index: usize) -> Result<Option<Value>, RpcError> {
        if id == BlockId::Number(BlockNumberOrTag::Pending) {
            let transactions = self.chain.pending()?.transactions;
            let tx = transactions.get(index);
            return Ok(tx.map(|tx| json::executed_transaction(tx, B256::ZERO)));
        }
        let Some(number) = self.number(id)? else { return Ok(None) };
        let found = sealed_transaction(&self.snapshot()?, number, index)?;
        Ok(found.map(|(tx, hash)| json::executed_transaction(&tx, hash)))
    }

    /// Number of transactions in a block.
    pub fn transaction_count(&self, id: BlockId) -> Result<Option<usize>, RpcError> {
        if id == BlockId::Number(BlockNumberOrTag::Pending) {
            return Ok(Some(self.chain.pending()?.transactions.len()));
        }
        let Some(number) = self.number(id)? else { return Ok(None) };
        Ok(self.snapshot()?.transaction_count(number)?)
    }
}

/// A sealed block with everything in it.
pub(crate) fn sealed_block(snapshot: &Snapshot, number: u64) -> Result<Option<Block>, RpcError> {
    let Some(block) = snapshot.block(number)? else { return Ok(None) };
    let receipts = snapshot.receipts(number)?.ok_or(StoreError::Corrupt("no receipts"))?;
    if receipts.len() != block.transactions.len() {
        return Err(StoreError::Corrupt("receipts").into());
    }
    let mut place = Place::new(&block.header);
    let mut transactions = Vec::with_capacity(receipts.len());
    let mut senders = Vec::new();
    for (transaction, receipt) in block.transactions.into_iter().zip(receipts) {
        let deposit_nonce = deposit_nonce(snapshot, &transaction, number, &senders)?;
        if deposit_nonce.is_some() {
            senders.push(transaction.sender);
        }
        transactions.push(Arc::new(place.next(transaction, receipt, deposit_nonce)));
    }
    Ok(Some(Block { hash: block.hash, header: block.header, transactions }))
}

/// A sealed transaction and the hash of its block.
fn sealed_transaction(
    snapshot: &Snapshot,
    number: u64,
    index: usize,
) -> Result<Option<(Executed, B256)>, RpcError> {
    let Some(transaction) = snapshot.transaction_at(number, index)? else { return Ok(None) };
    let (header, hash) = snapshot.header(number)?.ok_or(StoreError::Corrupt("no header"))?;
    let mut receipts = snapshot.receipts(number)?.ok_or(StoreError::Corrupt("no receipts"))?;
    if index >= receipts.len() {
        return Err(StoreError::Corrupt("receipts").into());
    }
    receipts.truncate(index + 1);
    let receipt = receipts.pop().expect("it has index + 1 entries");
    let mut place = Place::new(&header);
    receipts.iter().for_each(|earlier| place.skip(earlier));
    let mut senders = Vec::new();
    if matches!(transaction.transaction, Transaction::Deposit(_)) {
        // Deposits come first in a block.
        for earlier in 0..index {
            senders.extend(snapshot.transaction_at(number, earlier)?.map(|tx| tx.sender));
        }
    }
    let deposit_nonce = deposit_nonce(snapshot, &transaction, number, &senders)?;
    Ok(Some((place.next(transaction, receipt, deposit_nonce), hash)))
}

/// The nonce the sender of a deposit had: its nonce before the block, and one more for each deposit of its before this.
/// Unknown once the state before the block is pruned.
fn deposit_nonce(
    snapshot: &Snapshot,
    tx: &RecoveredTransaction,
    block: u64,
    earlier_senders: &[Address],
) -> Result<Option<u64>, RpcError> {
    if !matches!(tx.transaction, Transaction::Deposit(_)) {
        return Ok(None);
    }
    let before = match snapshot.at(block.saturating_sub(1)) {
        Ok(view) => view.account(tx.sender)?.unwrap_or_default().nonce,
        Err(StoreError::Pruned { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let earlier = earlier_senders.iter().filter(|sender| **sender == tx.sender).count();
    Ok(Some(before.saturating_add(earlier as u64)))
}

/// Where in a block the next transaction is.
struct Place<'a> {
    header: &'a Header,
    index: u32,
    cumulative_gas: u64,
    logs: u64,
}

impl<'a> Place<'a> {
    fn new(header: &'a Header) -> Self {
        Self { header, index: 0, cumulative_gas: 0, logs: 0 }
    }

    fn skip(&mut self, receipt: &Receipt) {
        self.index += 1;
        self.cumulative_gas = receipt.cumulative_gas_used;
        self.logs += receipt.logs.len() as u64;
    }

    fn next(
        &mut self,
        transaction: RecoveredTransaction,
        receipt: Receipt,
        deposit_nonce: Option<u64>,
    ) -> Executed {
        let (index, cumulative_gas, first_log) = (self.index, self.cumulative_gas, self.logs);
        self.skip(&receipt);
        Executed {
            hash: transaction.transaction.hash(),
            transaction,
            block_number: self.header.number,
            timestamp: self.header.timestamp,
            base_fee: self.header.base_fee_per_gas.unwrap_or_default(),
            index,
            gas_used: receipt.cumulative_gas_used.saturating_sub(cumulative_gas),
            receipt,
            first_log,
            deposit_nonce,
            promise: OnceLock::new(),
        }
    }
}
