//! The second core: roots, headers and the store, beside the executor.

use crate::{
    batcher::packed_len,
    engine::{EngineError, Shared},
    log::Link,
};
use alloy_primitives::{B256, Sealed, U256};
use annex_rpc::Executed;
use annex_stf::{ExecutedBlock, SealPart, SealedBlock, seal_in_parts};
use annex_store::{BlockCommit, Store, StoreError, in_parallel};
use annex_types::{Header, promise::SignedPromise};
use serde::{Deserialize, Serialize};
use std::{
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
};

/// Blocks that may wait for their roots before the executor waits, too.
const QUEUE: usize = 8;

/// Where the chain of promises stands after a block; kept with it in the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PromiseState {
    pub lease_id: U256,
    /// Sequence number of the next promise.
    pub sequence: u64,
    /// Digest of the last one.
    pub previous: B256,
}

impl PromiseState {
    pub const KEY: &'static [u8] = b"sequencer/promise";

    /// Goes on elsewhere within the lease.
    pub fn follow(&mut self, link: Link) {
        (self.sequence, self.previous) = (link.sequence, link.previous);
    }
}

/// How many promises a node has made under the lease it held last, as its store knows.
pub fn promises_made(store: &Store) -> Result<u64, StoreError> {
    let Some(bytes) = store.get_meta(PromiseState::KEY)? else { return Ok(0) };
    let state: PromiseState =
        serde_json::from_slice(&bytes).map_err(|_| StoreError::Corrupt("promise state"))?;
    Ok(state.sequence)
}

pub(crate) enum Job {
    Seal {
        block: Box<ExecutedBlock>,
        promised: Vec<Arc<Executed>>,
        promises: PromiseState,
    },
    /// Answers once everything before it is in the store.
    Barrier(mpsc::SyncSender<()>),
}

#[derive(Debug)]
pub(crate) struct Sealer {
    jobs: Option<mpsc::SyncSender<Job>>,
    thread: Option<JoinHandle<Result<(), EngineError>>>,
}

impl Sealer {
    pub fn start(store: Store, shared: Arc<Shared>, chain_id: u64) -> Result<Self, EngineError> {
        let (jobs, inbox) = mpsc::sync_channel(QUEUE);
        let thread = thread::Builder::new()
            .name("sealer".into())
            .spawn(move || run(&store, &shared, chain_id, &inbox))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    pub fn push(&mut self, job: Job) -> Result<(), EngineError> {
        let jobs = self.jobs.as_ref().ok_or(EngineError::Stopped)?;
        if jobs.send(job).is_ok() { Ok(()) } else { Err(self.failure()) }
    }

    /// Waits until the store holds everything pushed so far.
    pub fn wait(&mut self) -> Result<(), EngineError> {
        let (done, waiting) = mpsc::sync_channel(1);
        self.push(Job::Barrier(done))?;
        waiting.recv().map_err(|_| self.failure())
    }

    /// Ends the thread after everything pushed so far.
    pub fn stop(mut self) -> Result<(), EngineError> {
        self.jobs = None;
        self.join()
    }

    fn failure(&mut self) -> EngineError {
        self.jobs = None;
        self.join().err().unwrap_or(EngineError::Stopped)
    }

    fn join(&mut self) -> Result<(), EngineError> {
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(_)) | None => Err(EngineError::Stopped),
        }
    }
}

fn run(
    store: &Store,
    shared: &Shared,
    chain_id: u64,
    inbox: &mpsc::Receiver<Job>,
) -> Result<(), EngineError> {
    while let Ok(job) = inbox.recv() {
        match job {
            Job::Seal { block, promised, promises } => {
                let number = block.env.number;
                let packed = packed_len(&block.transactions, chain_id);
                let result = seal_and_commit(store, shared, *block, &promised, &promises);
                if result.is_err() {
                    // Whoever waits for the hash must not wait for ever.
                    shared.live.hashes.fail();
                }
                result?;
                shared.live.committed(number);
                shared.backlog().packed(number, packed.map_err(StoreError::from)?);
            }
            // The receiver gave up only if the executor is gone.
            Job::Barrier(done) => drop(done.send(())),
        }
    }
    Ok(())
}

fn seal_and_commit(
    store: &Store,
    shared: &Shared,
    block: ExecutedBlock,
    promised: &[Arc<Executed>],
    promises: &PromiseState,
) -> Result<(), EngineError> {
    let view = store.latest()?;
    let run = |parts: &mut [SealPart<'_, '_, _>]| in_parallel(parts, SealPart::run);
    let sealed = seal_in_parts(block, view.header(), &view, run)?;
    shared.live.hashes.set(sealed.header.number, sealed.hash);
    commit(store, shared, sealed, promised, promises)?;
    Ok(())
}

/// Key under which the store holds the promises of a block: JSON of signed promises in order.
pub fn promises_key(number: u64) -> Vec<u8> {
    [b"promises/".as_slice(), &number.to_be_bytes()].concat()
}

/// Puts a block into the store with what was promised of it, and tells everyone.
pub(crate) fn commit(
    store: &Store,
    shared: &Shared,
    sealed: SealedBlock,
    promised: &[Arc<Executed>],
    promises: &PromiseState,
) -> Result<Arc<Sealed<Header>>, EngineError> {
    let SealedBlock { header, hash, transactions, receipts, changes, update } = &sealed;
    let mut signed: Vec<Arc<SignedPromise>> = Vec::new();
    for promise in promised.iter().filter_map(|e| e.promise.get()) {
        if signed.last().is_none_or(|last| !Arc::ptr_eq(last, promise)) {
            signed.push(promise.clone());
        }
    }
    let signed: Vec<&SignedPromise> = signed.iter().map(Arc::as_ref).collect();
    let aliases = shared.aliases_of(header, transactions);
    store.write(|writer| {
        writer.append_block(BlockCommit {
            header,
            hash: *hash,
            transactions,
            receipts,
            changes,
            update,
            aliases: &aliases,
        })?;
        let state = serde_json::to_vec(promises).expect("plain data serialises");
        writer.put_meta(PromiseState::KEY, Some(&state))?;
        if signed.is_empty() {
            return Ok(());
        }
        let signed = serde_json::to_vec(&signed).expect("plain data serialises");
        writer.put_meta(&promises_key(header.number), Some(&signed))
    })?;
    metrics::gauge!("annex_head_block").set(sealed.header.number as f64);
    metrics::counter!("annex_transactions_total").increment(sealed.transactions.len() as u64);
    metrics::counter!("annex_gas_total").increment(sealed.header.gas_used);
    let header = Arc::new(Sealed::new_unchecked(sealed.header, sealed.hash));
    // Nobody may be listening.
    let _listeners = shared.heads.send(header.clone());
    Ok(header)
}
