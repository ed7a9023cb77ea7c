//! The one thread that owns the open state.

use crate::{
    adopt,
    backlog::Backlog,
    changed::{Changes, Requeued},
    clock::{Clock, Moment},
    engine::{Command, EngineConfig, EngineError, Sequencing, Shared, Taken},
    live::{LiveBlock, LiveReader},
    log::{Entry, Link, OpenEntry, PromiseLog},
    merkle,
    order::{Gathering, Ordering},
    records::Records,
    sealer::{Job, PromiseState, Sealer},
};
use alloy_consensus::Transaction as _;
use alloy_consensus::{Sealable, TxReceipt};
use alloy_eips::eip2718::{Decodable2718, Encodable2718};
use alloy_primitives::{Address, Bytes, U256};
use annex_rpc::{Arrival, Executed, MiniBlock, Rejected};
use annex_state::StateReader;
use annex_stf::{CodeCache, Included, InvalidTransaction, OpenBlock, ParentBlock};
use annex_store::Store;
use annex_types::{
    BLOCK_GAS_LIMIT, BlockAttributes, ForcedItem, MAX_BLOCKS_PER_SECOND, Promise,
    RecoveredTransaction, Transaction, batch, promise::SignedPromise,
};
use std::{
    collections::VecDeque,
    sync::{Arc, OnceLock, atomic, mpsc},
    time::Instant,
};
use tokio::sync::oneshot;

/// Commands drained before a group is logged, signed and answered.
const MAX_GROUP: usize = 512;
/// Transactions' bytes after which a block seals: its batch must fit the blobs however badly it compresses.
const MAX_BLOCK_CONTENT: usize =
    batch::MAX_BLOB_CONTENT - batch::CONTENT_OVERHEAD_BOUND - batch::BLOCK_LEN_BOUND;

pub(crate) type Results = Vec<Result<Taken, Rejected>>;

/// Transactions of one hand-off and where their results go.
pub(crate) struct Submission {
    pub transactions: Vec<RecoveredTransaction>,
    pub reply: oneshot::Sender<Results>,
}

/// The block being filled.
pub(crate) struct Open {
    pub block: OpenBlock<LiveReader>,
    pub entry: OpenEntry,
    pub opened: Instant,
    /// Whether log and readers know it: a block without a transaction is nobody's business.
    pub announced: bool,
    /// Executed, all of them in a group or in `Executor::group`.
    pub transactions: Vec<Arc<Executed>>,
    pub logs: u64,
    pub content: usize,
}

pub(crate) struct Executor {
    pub config: EngineConfig,
    pub store: Store,
    pub shared: Arc<Shared>,
    pub inbox: mpsc::Receiver<Command>,
    pub log: PromiseLog,
    pub sealer: Sealer,
    pub records: Records,
    pub sequencing: Option<Sequencing>,
    pub promises: PromiseState,
    /// The newest executed block.
    pub parent: ParentBlock,
    /// Codes that recent blocks used.
    codes: CodeCache,
    pub open: Option<Open>,
    /// Executed but not yet logged, promised and answered.
    pub group: Vec<Arc<Executed>>,
    pub replies: Vec<(oneshot::Sender<Results>, Results)>,
    /// What the window holds came with these.
    pub gathering: Vec<Gathering>,
    /// Senders whose waiting transactions have their turn now, by what others did.
    pub ready: Vec<Address>,
    /// Blocks of L1 are being applied: submissions wait.
    pub importing: bool,
    pub deferred: Vec<Submission>,
    pub requeue: VecDeque<Requeued>,
    clock: Clock,
    replaying: bool,
    /// Nothing is ordered or sealed before it is known what a former process left.
    pub held: bool,
    /// Whether this process has promised something new.
    promised: bool,
    /// The pool's time counts from here.
    pub started: Instant,
}

impl Executor {
    pub fn new(
        config: EngineConfig,
        store: Store,
        shared: Arc<Shared>,
        inbox: mpsc::Receiver<Command>,
        sequencing: Option<Sequencing>,
    ) -> Result<Self, EngineError> {
        let (log, entries) = PromiseLog::open(&config.log_dir, config.durability)?;
        *shared.changes.lock().expect("no holder panics") = Changes::restore(&store)?;
        let parent = ParentBlock::try_from(store.latest()?.header())?;
        let chain_id = config.chain.l2_chain_id;
        let sealer = Sealer::start(store.clone(), shared.clone(), chain_id)?;
        *shared.backlog() = Backlog::restore(&store, chain_id, config.posted, config.max_backlog)?;
        let promises = store
            .get_meta(PromiseState::KEY)?
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        let held = config.held;
        let mut executor = Self {
            config,
            store,
            shared,
            inbox,
            log,
            sealer,
            records: Records::default(),
            sequencing,
            promises,
            parent,
            codes: CodeCache::default(),
            open: None,
            group: Vec::new(),
            replies: Vec::new(),
            gathering: Vec::new(),
            ready: Vec::new(),
            importing: false,
            deferred: Vec::new(),
            requeue: VecDeque::new(),
            clock: Clock::default(),
            replaying: true,
            held,
            promised: false,
            started: Instant::now(),
        };
        executor.replay(entries)?;
        executor.replaying = false;
        executor.show_price();
        let lease = executor.sequencing.as_ref().map(|sequencing| sequencing.lease_id);
        if lease.is_some_and(|lease| lease != executor.promises.lease_id) {
            let sequencing = executor.sequencing.take();
            executor.set_sequencing(sequencing)?;
        }
        Ok(executor)
    }

    pub fn run(mut self) -> Result<(), EngineError> {
        loop {
            let first = match self.deadline() {
                None => self.inbox.recv().ok(),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    match self.inbox.recv_timeout(left) {
                        Ok(command) => Some(command),
                        Err(mpsc::RecvTimeoutError::Timeout) => {
                            self.conclude()?;
                            continue;
                        }
                        Err(mpsc::RecvTimeoutError::Disconnected) => None,
                    }
                }
            };
            let Some(mut command) = first else { break };
            let mut stop = false;
            for _ in 0..MAX_GROUP {
                stop |= matches!(command, Command::Stop);
                self.handle(command)?;
                match self.inbox.try_recv() {
                    Ok(next) => command = next,
                    Err(_) => break,
                }
            }
            self.conclude()?;
            if stop {
                break;
            }
        }
        self.sealer.stop()
    }

    /// When something is to be done even if no command comes.
    fn deadline(&self) -> Option<Instant> {
        let fills = |open: &&Open| !open.transactions.is_empty() && !self.held;
        let open = self.open.as_ref().filter(fills);
        let seal = open.map(|open| open.opened + self.config.block_interval);
        let expiry = self.shared.pool.lock().expect("no holder panics").expiry();
        // A lifetime that no clock can hold never ends.
        let expiry = expiry.and_then(|expiry| self.started.checked_add(expiry));
        [seal, self.window_deadline(), expiry].into_iter().flatten().min()
    }

    /// Promises and answers what was executed, and does what is due.
    fn conclude(&mut self) -> Result<(), EngineError> {
        if self.window_deadline().is_some_and(|deadline| deadline <= Instant::now()) {
            self.close_window()?;
        }
        self.finish_group()?;
        self.show_price();
        self.answer();
        let due = |open: &Open| open.opened.elapsed() >= self.config.block_interval;
        if !self.held && self.open.as_ref().is_some_and(due) {
            self.seal()?;
            self.take_forced()?;
        }
        self.shared.pool.lock().expect("no holder panics").expire(self.started.elapsed());
        self.execute_ready()
    }

    fn handle(&mut self, command: Command) -> Result<(), EngineError> {
        match command {
            Command::Submit(submission) if self.importing => self.deferred.push(submission),
            Command::Submit(submission) => self.submit(submission)?,
            Command::Records(records) => {
                for record in records {
                    self.records.push(record);
                }
                self.tell_origin();
                self.take_forced()?;
            }
            Command::TruncateRecords(index) => self.truncate_records(index)?,
            Command::Safe { block, forced } => {
                self.records.consumed(forced);
                self.shared.backlog().posted(block);
            }
            Command::Import { parent, input, reply } => {
                let result = self.import(parent, *input);
                let fatal = result.is_err();
                // The caller may have gone; its answer then matters to nobody.
                let _gone = reply.send(result);
                if fatal {
                    return Err(EngineError::Stopped);
                }
            }
            Command::TakeBack(to) => {
                self.importing = true;
                self.take_back(to)?;
            }
            Command::CaughtUp => self.caught_up()?,
            Command::Adopt { heard, shown, reply } => {
                let adopted = self.adopt(heard, shown)?;
                // The caller may have gone; its answer then matters to nobody.
                let _gone = reply.send(adopted);
            }
            Command::L1Seen(head) => self.clock.seen(head, Moment::now()),
            Command::Sequence(sequencing) => self.set_sequencing(sequencing.map(|s| *s))?,
            Command::Stop => {}
        }
        Ok(())
    }

    fn set_sequencing(&mut self, sequencing: Option<Sequencing>) -> Result<(), EngineError> {
        if self.open.as_ref().is_some_and(|open| !open.transactions.is_empty()) {
            self.seal()?;
        }
        self.open = None;
        if let Some(new) = &sequencing
            && new.lease_id != self.promises.lease_id
        {
            self.promises = PromiseState { lease_id: new.lease_id, ..PromiseState::default() };
        }
        self.sequencing = sequencing;
        self.take_forced()
    }

    pub fn submit(&mut self, submission: Submission) -> Result<(), EngineError> {
        if let Ordering::Priority { .. } = self.config.ordering {
            return self.gather(submission);
        }
        let mut results = Vec::with_capacity(submission.transactions.len());
        for tx in submission.transactions {
            results.push(self.accept(tx)?);
        }
        self.replies.push((submission.reply, results));
        Ok(())
    }

    /// Executes a transaction and whatever waited for it.
    fn accept(&mut self, tx: RecoveredTransaction) -> Result<Result<Taken, Rejected>, EngineError> {
        let (sender, nonce) = (tx.sender, tx.transaction.nonce());
        let result = self.accept_one(tx)?;
        if let Ok(Taken::Executed(_)) = result {
            self.accept_waiting(sender, nonce + 1)?;
        }
        Ok(result)
    }

    /// Executes a transaction, or keeps it until its nonce's turn.
    pub fn accept_one(
        &mut self,
        tx: RecoveredTransaction,
    ) -> Result<Result<Taken, Rejected>, EngineError> {
        if self.sequencing.is_none() || self.records.newest().is_none() {
            return Ok(Err(Rejected::NotLeader));
        }
        if !self.sees_l1() {
            return Ok(Err(Rejected::StaleL1));
        }
        let known = |e: &Arc<Executed>| e.hash == tx.transaction.hash();
        if self.group.iter().any(known)
            || self.shared.live.transaction(tx.transaction.hash()).is_some()
        {
            return Ok(Err(Rejected::AlreadyKnown));
        }
        if let Err(rejected) = self.admit(&tx)? {
            let known = self.is_sealed(&tx)?;
            return Ok(Err(if known { Rejected::AlreadyKnown } else { rejected }));
        }
        match self.execute(&tx)? {
            Ok(executed) => Ok(Ok(Taken::Executed(executed))),
            Err(InvalidTransaction::NonceTooHigh { tx: got, state: next }) => {
                self.wait_for_nonce(tx, next, got)
            }
            Err(InvalidTransaction::NonceTooLow { .. }) if self.is_sealed(&tx)? => {
                Ok(Err(Rejected::AlreadyKnown))
            }
            Err(invalid) => Ok(Err(Rejected::Invalid(invalid))),
        }
    }

    /// Whether unposted data leaves room for the transaction at what it pays.
    fn admit(&mut self, tx: &RecoveredTransaction) -> Result<Result<(), Rejected>, EngineError> {
        let open = self.open_content();
        let (full, needed) = {
            let backlog = self.shared.backlog();
            (backlog.is_full(open), backlog.price(open))
        };
        if full {
            metrics::counter!("annex_backlog_refusals_total").increment(1);
            return Ok(Err(Rejected::Backlog));
        }
        if needed == 0 {
            return Ok(Ok(()));
        }
        self.ensure_open()?;
        let base_fee = self.open.as_ref().map_or(0, |open| open.block.env().base_fee);
        Ok(match tx.transaction.effective_tip_per_gas(base_fee) {
            Some(tip) if tip < needed => {
                metrics::counter!("annex_underpriced_total").increment(1);
                Err(Rejected::TipTooLow { needed, tip })
            }
            // Where it does not pay the base fee, execution says so.
            _ => Ok(()),
        })
    }

    fn open_content(&self) -> usize {
        self.open.as_ref().map_or(0, |open| open.content)
    }

    /// Lets readers know what a transaction has to pay now.
    fn show_price(&self) {
        let price = self.shared.backlog().price(self.open_content());
        // Its highest value is 38 bits long.
        self.shared.price.store(price as u64, atomic::Ordering::Relaxed);
    }

    /// Whether the view of L1 is fresh enough to promise anything on it.
    pub fn sees_l1(&self) -> bool {
        let limit = self.config.chain.max_origin_lag / 2;
        !self.held && self.clock.is_fresh(Moment::now(), limit)
    }

    /// Whether the transaction is in a block of the store: sent again, perhaps because an answer was lost.
    fn is_sealed(&self, tx: &RecoveredTransaction) -> Result<bool, EngineError> {
        let hash = tx.transaction.hash();
        Ok(self.store.snapshot()?.transaction_position(hash)?.is_some())
    }

    /// Executes in the open block, or in the next one where this one has no room.
    pub fn execute(
        &mut self,
        tx: &RecoveredTransaction,
    ) -> Result<Result<Arc<Executed>, InvalidTransaction>, EngineError> {
        let content = batch::transaction_len(&tx.transaction, self.config.chain.l2_chain_id);
        if self.open.as_ref().is_some_and(|open| open.content + content > MAX_BLOCK_CONTENT) {
            self.seal()?;
        }
        self.ensure_open()?;
        let mut result = self.execute_here(tx, content)?;
        if let Err(InvalidTransaction::GasLimitAboveBlock { .. }) = result
            && self.open.as_ref().is_some_and(|open| !open.transactions.is_empty())
        {
            self.seal()?;
            self.ensure_open()?;
            result = self.execute_here(tx, content)?;
        }
        Ok(result)
    }

    pub fn execute_here(
        &mut self,
        tx: &RecoveredTransaction,
        content: usize,
    ) -> Result<Result<Arc<Executed>, InvalidTransaction>, EngineError> {
        let open = self.open.as_mut().expect("ensure_open came before");
        let place = open.place();
        let executed = match open.block.execute(tx)? {
            Ok(included) => place.executed(tx.clone(), included),
            Err(invalid) => return Ok(Err(invalid)),
        };
        open.content += content;
        open.note(&executed);
        self.group.push(executed.clone());
        Ok(Ok(executed))
    }

    /// Opens a block unless one with a transaction is open. An empty one is opened anew: its environment is old.
    pub fn ensure_open(&mut self) -> Result<(), EngineError> {
        if self.open.as_ref().is_some_and(|open| !open.transactions.is_empty()) {
            return Ok(());
        }
        let origin = *self.records.newest().expect("checked before anything is executed");
        let (timestamp, blocks_in_second) = self.next_timestamp(origin.env.timestamp);
        let sequencing = self.sequencing.as_ref().expect("checked before anything is executed");
        let attributes = BlockAttributes {
            timestamp,
            beneficiary: sequencing.beneficiary,
            origin,
            blocks_in_second,
        };
        let extra = self.parent.extra;
        let entry = OpenEntry {
            number: self.parent.number + 1,
            attributes,
            forced: self.records.due(extra.forced_count, origin.index, BLOCK_GAS_LIMIT),
            lease_id: self.promises.lease_id,
            sequence: self.promises.sequence,
            previous: self.promises.previous,
        };
        self.open_block(entry)
    }

    /// What prices are asked for has to be what is charged.
    pub fn tell_origin(&self) {
        *self.shared.origin.lock().expect("no holder panics") = self.records.newest().copied();
    }

    /// The time now as L1 will bear it, but never before the parent or the origin, and at most 32 blocks to a second.
    fn next_timestamp(&self, origin: u64) -> (u64, u16) {
        let parent = self.parent.timestamp;
        let now = self.clock.timestamp(Moment::now(), self.config.chain.timestamp_drift);
        let timestamp = now.max(parent).max(origin);
        let before = self.parent.extra.blocks_in_second;
        match timestamp == parent {
            true if before >= MAX_BLOCKS_PER_SECOND => (timestamp + 1, 1),
            true => (timestamp, before + 1),
            false => (timestamp, 1),
        }
    }

    /// Opens a block and executes its forced items.
    pub fn open_block(&mut self, entry: OpenEntry) -> Result<(), EngineError> {
        let reader = LiveReader::new(&self.shared.live)?;
        let codes = std::mem::take(&mut self.codes);
        let config = &self.config.chain;
        let mut block = OpenBlock::open(config, self.parent, entry.attributes, reader, codes);
        block.track_delta();
        let mut open = Open {
            block,
            opened: Instant::now(),
            announced: false,
            transactions: Vec::new(),
            logs: 0,
            content: 0,
            entry,
        };
        for item in open.entry.forced.clone() {
            let mut place = open.place();
            let sender = open.block.state().account(item.from)?;
            place.deposit_nonce = Some(sender.map_or(0, |account| account.nonce));
            // Their gas limits sum up to no more than the block's.
            let Some(included) = open.block.push_forced(&item)? else { break };
            let executed = place.executed(deposit(&item, config.inbox), included);
            open.note(&executed);
            self.group.push(executed);
        }
        self.open = Some(open);
        Ok(())
    }

    /// Opens a block if forced items wait and none is open.
    pub fn take_forced(&mut self) -> Result<(), EngineError> {
        let waits = self.records.has_forced(self.parent.extra.forced_count);
        let idle = self.open.as_ref().is_none_or(|open| open.transactions.is_empty());
        let orders = self.sequencing.is_some() && self.sees_l1();
        if waits && idle && !self.importing && orders {
            self.ensure_open()?;
            self.finish_group()?;
        }
        Ok(())
    }

    /// Logs, signs and publishes what was executed since the last group.
    pub fn finish_group(&mut self) -> Result<(), EngineError> {
        if self.group.is_empty() {
            return Ok(());
        }
        let group = std::mem::take(&mut self.group);
        let open = self.open.as_mut().expect("a group belongs to the open block");
        if !self.replaying {
            if !open.announced {
                self.log.push_open(&open.entry)?;
            }
            let signs = self.sequencing.as_ref().is_some_and(|s| s.signer.is_some());
            if signs && !self.held && !std::mem::replace(&mut self.promised, true) {
                // A directory that is older than it looks must not repeat a number: see spec/promise.md.
                self.promises.sequence = self.promises.sequence.max(adopt::unix_micros());
                let PromiseState { sequence, previous, .. } = self.promises;
                self.log.push_skip(&Link { sequence, previous });
            }
            let signed = group.iter().filter(|e| e.transaction.transaction.signature().is_some());
            let encoded: Vec<Vec<u8>> =
                signed.map(|e| e.transaction.transaction.encoded_2718()).collect();
            self.log.push_group(encoded.iter().map(Vec::as_slice));
            self.log.commit()?;
        }
        if !open.announced {
            open.announced = true;
            self.shared.live.open(open.live_block());
        }
        let promise =
            promise(self.sequencing.as_ref(), &mut self.promises, &self.config, open, &group);
        if let Some(promise) = &promise {
            for executed in &group {
                executed.promise.set(promise.clone()).expect("a transaction is promised once");
            }
        }
        let delta = open.block.take_delta();
        self.tell_pool(Some(&delta))?;
        self.shared.live.extend(&group, delta);
        if !self.held {
            let block = Arc::new(MiniBlock { transactions: group, promise });
            // Nobody may be listening. What is adopted is no news.
            let _listeners = self.shared.arrivals.send(Arrival::Executed(block));
        }
        Ok(())
    }

    fn answer(&mut self) {
        for (reply, results) in self.replies.drain(..) {
            // A client that hung up wants no answer.
            let _gone = reply.send(results);
        }
    }

    /// Seals the open block if it holds anything.
    pub fn seal(&mut self) -> Result<(), EngineError> {
        self.finish_group()?;
        let Some(open) = self.open.take() else { return Ok(()) };
        if open.transactions.is_empty() {
            return Ok(());
        }
        if !self.replaying {
            self.log.push_seal();
            self.log.commit()?;
        }
        self.shared.backlog().push(open.entry.number, open.content);
        let (executed, codes) = open.block.finish();
        self.codes = codes;
        self.parent = executed.as_parent();
        let job = Job::Seal {
            block: Box::new(executed),
            promised: open.transactions,
            promises: self.promises,
        };
        self.sealer.push(job)?;
        let stored = self.store.head()?.map_or(0, |head| head.number);
        Ok(self.log.prune(stored)?)
    }

    /// Executes again what the log holds beyond the store.
    fn replay(&mut self, entries: Vec<Entry>) -> Result<(), EngineError> {
        let mut skip = true;
        for entry in entries {
            match entry {
                Entry::Open(entry) => {
                    skip = entry.number <= self.parent.number;
                    if skip {
                        continue;
                    }
                    if entry.number != self.parent.number + 1 || self.open.is_some() {
                        return Err(EngineError::Replay { number: entry.number, index: 0 });
                    }
                    self.promises = PromiseState {
                        lease_id: entry.lease_id,
                        sequence: entry.sequence,
                        previous: entry.previous,
                    };
                    self.open_block(*entry)?;
                }
                Entry::Group(raw) if !skip => {
                    for (index, raw) in raw.iter().enumerate() {
                        self.replay_one(index, raw)?;
                    }
                    self.finish_group()?;
                }
                Entry::Seal if !skip => self.seal()?,
                Entry::Skip(link) if !skip => self.promises.follow(link),
                Entry::Group(_) | Entry::Seal | Entry::Skip(_) => {}
                Entry::Requeue(raw) => {
                    let recovered = raw.iter().filter_map(|raw| decode(raw));
                    self.requeue.extend(recovered.map(|transaction| Requeued {
                        transaction,
                        promised_block: None,
                        promise: None,
                    }));
                }
            }
        }
        self.forget_executed()
    }

    /// Of what was to be executed again before a restart, most was.
    fn forget_executed(&mut self) -> Result<(), EngineError> {
        let snapshot = self.store.snapshot()?;
        for requeued in std::mem::take(&mut self.requeue) {
            let hash = requeued.transaction.transaction.hash();
            let live = self.shared.live.transaction(hash).is_some();
            if !live && snapshot.transaction_position(hash)?.is_none() {
                self.requeue.push_back(requeued);
            }
        }
        Ok(())
    }

    fn replay_one(&mut self, index: usize, raw: &Bytes) -> Result<(), EngineError> {
        let number = self.parent.number + 1;
        let damaged = EngineError::Replay { number, index };
        let Some(tx) = decode(raw) else { return Err(damaged) };
        let content = batch::transaction_len(&tx.transaction, self.config.chain.l2_chain_id);
        match self.execute_here(&tx, content)? {
            Ok(_) => Ok(()),
            Err(_) => Err(damaged),
        }
    }
}

/// Where the next transaction of a block will be.
struct Place {
    block_number: u64,
    timestamp: u64,
    base_fee: u64,
    first_log: u64,
    deposit_nonce: Option<u64>,
}

impl Place {
    fn executed(self, transaction: RecoveredTransaction, included: Included<'_>) -> Arc<Executed> {
        let Self { block_number, timestamp, base_fee, first_log, deposit_nonce } = self;
        Arc::new(Executed {
            hash: transaction.transaction.hash(),
            block_number,
            timestamp,
            base_fee,
            index: included.index as u32,
            receipt: included.receipt.clone(),
            gas_used: included.execution_gas.saturating_add(included.data_gas),
            first_log,
            deposit_nonce,
            promise: OnceLock::new(),
            transaction,
        })
    }
}

impl Open {
    fn place(&self) -> Place {
        Place {
            block_number: self.entry.number,
            timestamp: self.entry.attributes.timestamp,
            base_fee: self.block.env().base_fee,
            first_log: self.logs,
            deposit_nonce: None,
        }
    }

    fn note(&mut self, executed: &Arc<Executed>) {
        self.logs += executed.receipt.logs.len() as u64;
        self.transactions.push(executed.clone());
    }

    fn live_block(&self) -> LiveBlock {
        LiveBlock {
            number: self.entry.number,
            attributes: self.entry.attributes,
            env: self.block.env().clone(),
            transactions: Vec::new(),
            overlay: Arc::default(),
        }
    }
}

/// Signs the next promise for a group, if this node leads.
fn promise(
    sequencing: Option<&Sequencing>,
    state: &mut PromiseState,
    config: &EngineConfig,
    open: &Open,
    group: &[Arc<Executed>],
) -> Option<Arc<SignedPromise>> {
    let signer = sequencing?.signer.as_ref()?;
    let receipts: Vec<Vec<u8>> =
        group.iter().map(|e| e.receipt.with_bloom_ref().encoded_2718()).collect();
    let attributes = &open.entry.attributes;
    let (signed, digest) = signer.sign(Promise {
        l2ChainId: config.chain.l2_chain_id,
        leaseId: state.lease_id,
        sequence: state.sequence,
        previous: state.previous,
        blockNumber: open.entry.number,
        timestamp: attributes.timestamp,
        beneficiary: attributes.beneficiary,
        baseFee: U256::from(open.block.env().base_fee),
        origin: attributes.origin.accumulator,
        firstIndex: group[0].index,
        count: group.len() as u32,
        root: merkle::root(group.iter().map(|e| e.hash), &receipts),
    });
    state.sequence += 1;
    state.previous = digest;
    Some(Arc::new(signed))
}

pub(crate) fn deposit(item: &ForcedItem, inbox: Address) -> RecoveredTransaction {
    let deposit = Transaction::Deposit(item.to_deposit(inbox).seal_slow());
    RecoveredTransaction { transaction: deposit, sender: item.from, data_size: 0 }
}

pub(crate) fn decode(raw: &[u8]) -> Option<RecoveredTransaction> {
    let transaction = Transaction::decode_2718_exact(raw).ok()?;
    RecoveredTransaction::recover(transaction).ok()
}
