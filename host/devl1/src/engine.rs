//! The chain: its pool, its clock, and when it mines.

use crate::accounts::DevAccount;
use crate::block::{self, Built, Plan};
use crate::clock::Clock;
use crate::pool::{Pool, PoolTransaction};
use crate::sidecars::{Sidecars, StoredBlob};
use crate::{DevL1Config, DevL1Error, blobs, genesis};
use alloy_consensus::{Sealable, Sealed, Transaction as _};
use alloy_primitives::{Address, B256, Bytes, U256};
use annex_evm::{CodeCache, InvalidTransaction, Rules};
use annex_rpc::{Arrival, Rejected};
use annex_state::{EMPTY_ROOT, StateReader, apply_changes};
use annex_store::{BlockCommit, Options, Store, StoreError, View};
use annex_types::{Header, RecoveredTransaction, Transaction};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{broadcast, watch};

/// Blocks back from the head that are `safe` and `finalized`, as on Anvil: one epoch and two.
const EPOCH: u64 = 32;
/// Heads and arrivals a slow subscriber may lag behind.
const CHANNEL: usize = 1024;
/// Memory for the store's caches, in bytes.
const CACHE: usize = 32 << 20;
const META_CHAIN_ID: &[u8] = b"chain id";

/// The chain. All of it is synchronous; callers on the runtime hand writes to a blocking thread.
#[derive(Debug)]
pub struct Engine {
    chain_id: u64,
    gas_limit: u64,
    genesis_time: u64,
    store: Store,
    pub(crate) accounts: Vec<DevAccount>,
    inner: Mutex<Inner>,
    block_time: watch::Sender<Option<Duration>>,
    heads: broadcast::Sender<Arc<Sealed<Header>>>,
    arrivals: broadcast::Sender<Arrival>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub pool: Pool,
    pub clock: Clock,
    pub automine: bool,
    sidecars: Sidecars,
    pub codes: CodeCache,
    next_base_fee: Option<u64>,
    snapshots: Vec<Taken>,
    taken: u64,
}

/// What `evm_snapshot` took.
#[derive(Debug)]
struct Taken {
    id: u64,
    number: u64,
    hash: B256,
    clock: Clock,
}

impl Engine {
    /// Opens the chain in the data directory and makes it if absent.
    pub fn open(config: &DevL1Config, accounts: Vec<DevAccount>) -> Result<Self, DevL1Error> {
        let options = Options { cache: CACHE, ..Options::default() };
        let store = Store::open(&config.data_dir, options)?;
        let clock = Clock::default();
        if store.head()?.is_none() {
            make_genesis(&store, config, &accounts, clock.now())?;
        }
        let known = store.get_meta(META_CHAIN_ID)?;
        if known.as_deref() != Some(config.chain_id.to_be_bytes().as_slice()) {
            return Err(DevL1Error::OtherChain(config.chain_id));
        }
        let snapshot = store.snapshot()?;
        let head = snapshot.head().ok_or(StoreError::Empty)?;
        let (first, _) = snapshot.header(0)?.ok_or(StoreError::Empty)?;
        let mut sidecars = Sidecars::open(config.data_dir.join("blobs"), config.retained_blobs)?;
        sidecars.remove_after(head.number)?;
        let inner = Inner {
            pool: Pool::default(),
            clock,
            automine: config.block_time.is_none(),
            sidecars,
            codes: CodeCache::default(),
            next_base_fee: None,
            snapshots: Vec::new(),
            taken: 0,
        };
        Ok(Self {
            chain_id: config.chain_id,
            gas_limit: config.gas_limit,
            genesis_time: first.timestamp,
            store,
            accounts,
            inner: Mutex::new(inner),
            block_time: watch::Sender::new(config.block_time),
            heads: broadcast::Sender::new(CHANNEL),
            arrivals: broadcast::Sender::new(CHANNEL),
        })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change of the inside is complete when a panic could come: the store is written last.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn chain_id(&self) -> u64 {
        self.chain_id
    }

    pub fn store(&self) -> &Store {
        &self.store
    }

    pub(crate) fn gas_limit(&self) -> u64 {
        self.gas_limit
    }

    /// Timestamp of block 0, in seconds.
    pub fn genesis_time(&self) -> u64 {
        self.genesis_time
    }

    pub fn head(&self) -> Result<Header, DevL1Error> {
        Ok(self.store.latest()?.header().clone())
    }

    pub fn header(&self, number: u64) -> Result<Option<Header>, DevL1Error> {
        Ok(self.store.snapshot()?.header(number)?.map(|(header, _)| header))
    }

    pub fn header_by_hash(&self, hash: B256) -> Result<Option<Header>, DevL1Error> {
        let snapshot = self.store.snapshot()?;
        let Some(number) = snapshot.number(hash)? else { return Ok(None) };
        Ok(snapshot.header(number)?.map(|(header, _)| header))
    }

    /// The block with exactly this timestamp; timestamps only rise.
    pub fn header_at_time(&self, timestamp: u64) -> Result<Option<Header>, DevL1Error> {
        let snapshot = self.store.snapshot()?;
        let head = snapshot.head().ok_or(StoreError::Empty)?.number;
        let (mut low, mut high) = (0, head + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            let (header, _) = snapshot.header(middle)?.ok_or(StoreError::UnknownBlock(middle))?;
            match header.timestamp.cmp(&timestamp) {
                std::cmp::Ordering::Equal => return Ok(Some(header)),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Ok(None)
    }

    pub fn transactions(&self, number: u64) -> Result<Vec<Transaction>, DevL1Error> {
        let block = self.store.snapshot()?.block(number)?;
        let transactions = block.map(|block| block.transactions).unwrap_or_default();
        Ok(transactions.into_iter().map(|recovered| recovered.transaction).collect())
    }

    /// Blobs of a transaction of block `number`; `None` if they are not kept any more.
    pub fn blobs(&self, number: u64, hash: B256) -> Result<Option<Vec<StoredBlob>>, DevL1Error> {
        Ok(self.lock().sidecars.get(number, hash)?)
    }

    pub fn heads(&self) -> broadcast::Receiver<Arc<Sealed<Header>>> {
        self.heads.subscribe()
    }

    pub fn arrivals(&self) -> broadcast::Receiver<Arrival> {
        self.arrivals.subscribe()
    }

    pub(crate) fn finality(head: u64) -> (u64, u64) {
        (head.saturating_sub(EPOCH), head.saturating_sub(2 * EPOCH))
    }

    /// A block as soon as a transaction can be mined, beside those at the interval.
    pub fn set_automine(&self, automine: bool) -> Result<(), DevL1Error> {
        let mut inner = self.lock();
        inner.automine = automine;
        if automine { self.mine_pool(&mut inner) } else { Ok(()) }
    }

    /// A block at this interval, and only then; `None`: no block but by request.
    pub fn set_interval(&self, interval: Option<Duration>) {
        self.lock().automine = false;
        self.block_time.send_replace(interval);
    }

    pub(crate) fn block_time(&self) -> watch::Receiver<Option<Duration>> {
        self.block_time.subscribe()
    }

    /// Mines one block with what the pool has, even if that is nothing.
    pub fn mine(&self) -> Result<Header, DevL1Error> {
        self.mine_with(&mut self.lock(), Extra::default())
    }

    /// Decodes, verifies and takes a transaction into the pool; with automining it is mined before this returns.
    pub fn send(&self, raw: &Bytes) -> Result<B256, Rejected> {
        let tx = decode(raw, self.chain_id)?;
        let mut inner = self.lock();
        let arrival = Arc::new(tx.recovered.clone());
        let hash = self.admit(&mut inner, tx)?;
        // Without subscribers nobody needs to know.
        let _ = self.arrivals.send(Arrival::Pooled(arrival));
        if inner.automine {
            self.mine_pool(&mut inner).map_err(|error| {
                tracing::error!(%error, "mining failed");
                Rejected::Internal
            })?;
        }
        Ok(hash)
    }

    /// Mines until the pool holds nothing that can be mined.
    fn mine_pool(&self, inner: &mut Inner) -> Result<(), DevL1Error> {
        loop {
            let built = self.build(inner, Extra::default())?;
            if built.0.included.is_empty() {
                forget(inner, &built.0);
                inner.codes = built.0.codes;
                return Ok(());
            }
            self.commit(inner, built)?;
        }
    }

    fn admit(&self, inner: &mut Inner, tx: PoolTransaction) -> Result<B256, Rejected> {
        let internal = |error: StoreError| {
            tracing::error!(%error, "reading the state failed");
            Rejected::Internal
        };
        let view = self.store.latest().map_err(internal)?;
        if view.snapshot().transaction_position(tx.hash()).map_err(internal)?.is_some() {
            return Err(Rejected::AlreadyKnown);
        }
        let mut environment = block::environment(self.chain_id, &self.plan(inner, &view).header());
        // Fees may fall while the transaction waits.
        (environment.base_fee, environment.blob_base_fee) = (0, 1);
        annex_evm::check(Rules::L1, &environment, &tx.recovered)?;
        let account = view.account(tx.recovered.sender).map_err(internal)?.unwrap_or_default();
        let nonce = tx.recovered.transaction.nonce();
        if nonce < account.nonce {
            return Err(InvalidTransaction::NonceTooLow { tx: nonce, state: account.nonce }.into());
        }
        let next = inner.pool.next_nonce(tx.recovered.sender, account.nonce);
        if tx.sidecar.is_some() && nonce > next {
            return Err(InvalidTransaction::NonceTooHigh { tx: nonce, state: next }.into());
        }
        let want = cost(&tx.recovered.transaction);
        if want > account.balance {
            return Err(
                InvalidTransaction::InsufficientFunds { have: account.balance, want }.into()
            );
        }
        inner.pool.insert(tx)
    }

    fn plan(&self, inner: &Inner, view: &View) -> Plan {
        let parent = view.header().clone();
        Plan {
            chain_id: self.chain_id,
            timestamp: inner.clock.peek(parent.timestamp),
            parent_hash: view.hash(),
            parent,
            gas_limit: self.gas_limit,
            base_fee: inner.next_base_fee,
            balances: Vec::new(),
            first: Vec::new(),
        }
    }

    /// Executes the next block without mining it.
    pub(crate) fn build(
        &self,
        inner: &mut Inner,
        extra: Extra,
    ) -> Result<(Built, View), StoreError> {
        let view = self.store.latest()?;
        let mut plan = self.plan(inner, &view);
        (plan.balances, plan.first) = (extra.balances, extra.first);
        let codes = std::mem::take(&mut inner.codes);
        let empty = Pool::default();
        let pool = if extra.without_pool { &empty } else { &inner.pool };
        let built = block::build(plan, pool, view.clone(), codes)?;
        Ok((built, view))
    }

    pub(crate) fn mine_with(&self, inner: &mut Inner, extra: Extra) -> Result<Header, DevL1Error> {
        let built = self.build(inner, extra)?;
        self.commit(inner, built)
    }

    fn commit(&self, inner: &mut Inner, built: (Built, View)) -> Result<Header, DevL1Error> {
        let (mut built, view) = built;
        let changes = std::mem::take(&mut built.changes).into_changes();
        let update = apply_changes(&view, view.root(), &changes).map_err(StoreError::from)?;
        built.header.state_root = update.root;
        let header = built.header.clone().seal_slow();
        let number = header.number;
        for included in &built.included {
            if let Some(sidecar) = &included.tx.sidecar {
                inner.sidecars.put(number, included.tx.hash(), sidecar)?;
            }
        }
        let (transactions, receipts): (Vec<_>, Vec<_>) = built
            .included
            .iter()
            .map(|included| (included.tx.recovered.clone(), included.receipt.clone()))
            .unzip();
        self.store.commit_block(BlockCommit {
            header: &header,
            hash: header.hash(),
            transactions: &transactions,
            receipts: &receipts,
            changes: &changes,
            update: &update,
            aliases: &[],
        })?;
        inner.clock.take(view.header().timestamp);
        inner.next_base_fee = None;
        forget(inner, &built);
        inner.codes = built.codes;
        let count = transactions.len();
        tracing::debug!(number, hash = %header.hash(), transactions = count, "mined");
        let _ = self.heads.send(Arc::new(header.clone()));
        Ok(header.into_inner())
    }

    /// Replaces the `depth` newest blocks by as many others: empty, except for the transactions given for each.
    /// Transactions of the old blocks are forgotten.
    pub fn reorg(&self, depth: u64, blocks: Vec<Vec<Bytes>>) -> Result<(), DevL1Error> {
        let decode = |raw: &Bytes| decode(raw, self.chain_id);
        let blocks: Vec<Vec<_>> = blocks
            .iter()
            .map(|raws| raws.iter().map(decode).collect::<Result<_, _>>())
            .collect::<Result<_, _>>()?;
        let mut inner = self.lock();
        let inner = &mut *inner;
        let height = self.unwind(inner, depth)?;
        let mut blocks = blocks.into_iter();
        for number in 0..depth {
            let mut extra = Extra { without_pool: true, ..Extra::default() };
            extra.first = blocks.next().unwrap_or_default();
            if number == 0 {
                // An empty block on the same parent could be the one that was removed.
                let parent = self.head()?.timestamp;
                let later = inner.clock.peek(parent).max(height.timestamp) + 1;
                inner.clock.set_next(later, parent)?;
            }
            self.mine_with(inner, extra)?;
        }
        Ok(())
    }

    /// Removes the `depth` newest blocks.
    pub fn rollback(&self, depth: u64) -> Result<(), DevL1Error> {
        let mut inner = self.lock();
        self.unwind(&mut inner, depth)?;
        self.announce()
    }

    /// The head that was.
    fn unwind(&self, inner: &mut Inner, depth: u64) -> Result<Header, DevL1Error> {
        let head = self.head()?;
        let Some(number) = head.number.checked_sub(depth) else {
            return Err(DevL1Error::ReorgDepth { height: head.number, depth });
        };
        self.store.unwind_to(number)?;
        inner.sidecars.remove_after(number)?;
        Ok(head)
    }

    fn announce(&self) -> Result<(), DevL1Error> {
        let view = self.store.latest()?;
        let header = Sealed::new_unchecked(view.header().clone(), view.hash());
        let _ = self.heads.send(Arc::new(header));
        Ok(())
    }

    /// Remembers the present; the number to come back by.
    pub fn snapshot(&self) -> Result<u64, DevL1Error> {
        let mut inner = self.lock();
        let head = self.store.head()?.ok_or(StoreError::Empty)?;
        let (id, clock) = (inner.taken, inner.clock.clone());
        inner.taken += 1;
        inner.snapshots.push(Taken { id, number: head.number, hash: head.hash, clock });
        Ok(id)
    }

    /// Comes back to a snapshot, once; false if there is no such one (any more).
    pub fn revert(&self, id: u64) -> Result<bool, DevL1Error> {
        let mut inner = self.lock();
        let Some(at) = inner.snapshots.iter().position(|taken| taken.id == id) else {
            return Ok(false);
        };
        let Some(taken) = inner.snapshots.drain(at..).next() else { return Ok(false) };
        if self.store.snapshot()?.hash(taken.number)? != Some(taken.hash) {
            return Ok(false);
        }
        self.store.unwind_to(taken.number)?;
        inner.sidecars.remove_after(taken.number)?;
        inner.pool.clear();
        inner.clock = taken.clock;
        self.announce()?;
        Ok(true)
    }

    /// Sets a balance by mining a block that starts with it, so that every node that follows agrees.
    pub fn set_balance(&self, address: Address, balance: U256) -> Result<(), DevL1Error> {
        let balances = vec![(address, balance)];
        let extra = Extra { balances, without_pool: true, ..Extra::default() };
        self.mine_with(&mut self.lock(), extra)?;
        Ok(())
    }

    /// Sets the base fee of the next block alone, in wei.
    pub fn set_next_base_fee(&self, base_fee: u64) {
        self.lock().next_base_fee = Some(base_fee);
    }
}

/// What a block has besides what the pool gives.
#[derive(Debug, Default)]
pub(crate) struct Extra {
    pub balances: Vec<(Address, U256)>,
    pub first: Vec<PoolTransaction>,
    pub without_pool: bool,
}

fn make_genesis(
    store: &Store,
    config: &DevL1Config,
    accounts: &[DevAccount],
    now: u64,
) -> Result<(), DevL1Error> {
    let changes = genesis::state(accounts.iter().map(|account| account.address))?;
    let update =
        apply_changes(&genesis::NoNodes, EMPTY_ROOT, &changes).map_err(StoreError::from)?;
    let timestamp = config.genesis_timestamp.unwrap_or(now);
    let header = genesis::header(update.root, timestamp, config.gas_limit).seal_slow();
    let block = BlockCommit {
        header: &header,
        hash: header.hash(),
        transactions: &[],
        receipts: &[],
        changes: &changes,
        update: &update,
        aliases: &[],
    };
    store.write(|writer| {
        writer.append_block(block)?;
        writer.put_meta(META_CHAIN_ID, Some(config.chain_id.to_be_bytes().as_slice()))
    })?;
    Ok(())
}

/// Takes out of the pool what a block holds or no block can.
fn forget(inner: &mut Inner, built: &Built) {
    for included in &built.included {
        let recovered = &included.tx.recovered;
        inner.pool.forget_below(recovered.sender, recovered.transaction.nonce() + 1);
    }
    for hash in &built.invalid {
        inner.pool.remove(*hash);
    }
}

/// Everything about a transaction that does not depend on the state.
fn decode(raw: &Bytes, chain_id: u64) -> Result<PoolTransaction, Rejected> {
    if raw.first() != Some(&3) {
        let recovered = annex_rpc::decode_raw(raw, chain_id)?;
        return Ok(PoolTransaction { recovered, sidecar: None });
    }
    let (tx, sidecar) = blobs::decode(raw)?;
    if tx.tx().chain_id != chain_id {
        let have = tx.tx().chain_id;
        return Err(InvalidTransaction::WrongChainId { have, want: chain_id }.into());
    }
    blobs::verify(tx.tx(), &sidecar)?;
    let recovered = RecoveredTransaction::recover(Transaction::Eip4844(tx))?;
    Ok(PoolTransaction { recovered, sidecar: Some(Arc::new(sidecar)) })
}

/// The most a transaction can take from its sender, in wei.
fn cost(tx: &Transaction) -> U256 {
    let gas = U256::from(tx.gas_limit()).saturating_mul(U256::from(tx.max_fee_per_gas()));
    let blob_gas = U256::from(tx.blob_gas_used().unwrap_or(0));
    let blob_fee = U256::from(tx.max_fee_per_blob_gas().unwrap_or(0));
    gas.saturating_add(blob_gas.saturating_mul(blob_fee)).saturating_add(tx.value())
}
