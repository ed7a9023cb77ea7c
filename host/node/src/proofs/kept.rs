//! Witnesses that are built as blocks are sealed or derived and kept until the blocks are settled: for whoever will have to
//! prove a block when its state is long out of reach. Building one costs as much as sealing the block did: a thread of its own
//! does it, which yields to all others, so that a leader that has more to do than it can loses no speed by it. How much can
//! wait is bounded by what L1 has yet to carry (`annex_witness_lag_blocks`).

use super::{ExecutionWitness, ProofError, witness};
use crate::node::NodeError;
use alloy_primitives::{B256, Sealed};
use annex_sequencer::EngineError;
use annex_store::{Snapshot, Store, StoreError};
use annex_types::{ChainConfig, Header};
use std::{
    sync::{Arc, mpsc},
    thread,
};
use tokio::sync::{
    broadcast::{Receiver, error::RecvError},
    oneshot,
};

/// In the store: number u64 of the next block to keep the witness of.
const NEXT: &[u8] = b"witness/next";
/// In the store: number u64 of the first block whose witness is not pruned.
const FIRST: &[u8] = b"witness/first";
/// Most witnesses that are pruned in one write, which the sealer has to wait for.
const MAX_PRUNED: u64 = 256;
const LEVEL: i32 = 1;
/// Of the builder's thread, from 0 to 19, the least (Linux, setpriority(2)). Not the least: it takes locks of the store, if
/// only for moments.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 15;
/// Blocks. Further behind, it yields to nobody: the more blocks came since, the longer a witness takes to build.
const MAX_LAG: u64 = 64;

/// `witness/` ‖ number u64 → the block's hash, then zstd of the RLP of its witness, or nothing where none could be built. A block
/// that a reorganisation replaced has another hash.
fn key(number: u64) -> Vec<u8> {
    [b"witness/".as_slice(), &number.to_be_bytes()].concat()
}

/// Why a witness could not be kept.
#[derive(Debug, thiserror::Error)]
enum KeepError {
    #[error(transparent)]
    Proof(#[from] ProofError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("compressing a witness: {0}")]
    Compress(std::io::Error),
    #[error("the thread that builds witnesses has ended")]
    Ended,
}

/// The witness kept of the block with this number and hash.
pub(crate) fn kept(
    snapshot: &Snapshot,
    number: u64,
    hash: B256,
) -> Result<Option<ExecutionWitness>, StoreError> {
    let Some(bytes) = snapshot.get_meta(&key(number))? else { return Ok(None) };
    match bytes.split_at_checked(hash.len()) {
        Some((of, frame)) if of == hash.as_slice() && !frame.is_empty() => decode(frame).map(Some),
        _ => Ok(None),
    }
}

fn decode(frame: &[u8]) -> Result<ExecutionWitness, StoreError> {
    let corrupt = || StoreError::Corrupt("a kept witness");
    let rlp = zstd::stream::decode_all(frame).map_err(|_| corrupt())?;
    alloy_rlp::decode_exact(&rlp).map_err(|_| corrupt())
}

/// `rejected/` ‖ hash of the leaf after a rejected block → zstd of the RLP of that block's witness.
fn rejected_key(leaf: B256) -> Vec<u8> {
    [b"rejected/".as_slice(), leaf.as_slice()].concat()
}

/// The witness kept of the rejected block whose step leads to a leaf.
pub(crate) fn kept_rejected(
    snapshot: &Snapshot,
    leaf: B256,
) -> Result<Option<ExecutionWitness>, StoreError> {
    snapshot.get_meta(&rejected_key(leaf))?.map(|frame| decode(&frame)).transpose()
}

pub(crate) fn keep_rejected(
    store: &Store,
    leaf: B256,
    witness: &ExecutionWitness,
) -> Result<(), StoreError> {
    let frame = zstd::bulk::compress(&alloy_rlp::encode(witness), LEVEL)?;
    store.put_meta(&rejected_key(leaf), Some(&frame))
}

/// Forgets the witnesses of blocks before `end`, if there are many only the oldest ones.
pub(crate) fn prune(store: &Store, end: u64) -> Result<(), StoreError> {
    let snapshot = store.snapshot()?;
    let (Some(first), Some(next)) = (number(&snapshot, FIRST)?, number(&snapshot, NEXT)?) else {
        return Ok(());
    };
    let end = end.min(next).min(first.saturating_add(MAX_PRUNED));
    if first >= end {
        return Ok(());
    }
    store.write(|writer| {
        (first..end).try_for_each(|number| writer.put_meta(&key(number), None))?;
        writer.put_meta(FIRST, Some(&end.to_be_bytes()))
    })
}

/// Forgets the witnesses of the rejected blocks whose steps lead to these leaves.
pub(crate) fn prune_rejected(store: &Store, leaves: &[B256]) -> Result<(), StoreError> {
    let snapshot = store.snapshot()?;
    let mut kept = Vec::new();
    for leaf in leaves {
        let key = rejected_key(*leaf);
        if snapshot.get_meta(&key)?.is_some() {
            kept.push(key);
        }
    }
    match kept.is_empty() {
        true => Ok(()),
        false => store.write(|writer| kept.iter().try_for_each(|key| writer.put_meta(key, None))),
    }
}

fn number(snapshot: &Snapshot, key: &[u8]) -> Result<Option<u64>, StoreError> {
    let bytes = snapshot.get_meta(key)?.map(<[u8; 8]>::try_from).transpose();
    let bytes = bytes.map_err(|_| StoreError::Corrupt("a block number"))?;
    Ok(bytes.map(u64::from_be_bytes))
}

/// Keeps the witnesses of all blocks from the newest at its first start on.
pub(crate) struct Keeper {
    pub config: ChainConfig,
    pub store: Store,
    pub heads: Receiver<Arc<Sealed<Header>>>,
}

impl Keeper {
    pub async fn run(mut self) -> Result<(), NodeError> {
        let builder = Builder::start(self.config.clone(), self.store.clone())?;
        let mut lag = 0;
        loop {
            match self.keep_next(&builder, lag).await {
                Ok(Some(left)) => {
                    lag = left;
                    continue;
                }
                Ok(None) => {}
                Err(KeepError::Ended) => return Err(NodeError::Ended),
                // The next head is another try.
                Err(error) => tracing::warn!(%error, "a witness could not be kept"),
            }
            if let Err(RecvError::Closed) = self.heads.recv().await {
                return Ok(());
            }
        }
    }

    /// Keeps the witness of the first block that has none; how many have none after it, or None if all had one.
    async fn keep_next(&self, builder: &Builder, lag: u64) -> Result<Option<u64>, KeepError> {
        let built = if lag > MAX_LAG {
            let (config, store) = (self.config.clone(), self.store.clone());
            let build = tokio::task::spawn_blocking(move || build_next(&config, &store)).await;
            build.map_err(|_| KeepError::Ended)?
        } else {
            builder.next().await
        };
        let Some(built) = built? else { return Ok(None) };
        let (store, left) = (self.store.clone(), built.left);
        // Not on the builder's thread: the sealer would wait for the store's writer as long as that thread for a core.
        let put = tokio::task::spawn_blocking(move || put(&store, &built)).await;
        put.map_err(|_| KeepError::Ended)??;
        Ok(Some(left))
    }
}

/// A witness to be kept.
struct Built {
    number: u64,
    /// What [`key`] leads to.
    bytes: Vec<u8>,
    /// Blocks after it.
    left: u64,
}

type Answer = oneshot::Sender<Result<Option<Built>, KeepError>>;

/// The thread that builds. It ends with the last request.
struct Builder {
    requests: mpsc::Sender<Answer>,
}

impl Builder {
    fn start(config: ChainConfig, store: Store) -> Result<Self, EngineError> {
        let (requests, inbox) = mpsc::channel::<Answer>();
        thread::Builder::new().name("witnesses".into()).spawn(move || {
            yield_to_others();
            while let Ok(answer) = inbox.recv() {
                // Nobody waits for it any more if the node stops.
                drop(answer.send(build_next(&config, &store)));
            }
        })?;
        Ok(Self { requests })
    }

    async fn next(&self) -> Result<Option<Built>, KeepError> {
        let (answer, built) = oneshot::channel();
        self.requests.send(answer).map_err(|_| KeepError::Ended)?;
        built.await.map_err(|_| KeepError::Ended)?
    }
}

/// On Linux priorities are a thread's own, elsewhere a process's.
fn yield_to_others() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
        tracing::warn!(%error, "witnesses are built at the priority of everything else");
    }
}

/// Builds the witness of the first block that has none kept, however much has changed since.
fn build_next(config: &ChainConfig, store: &Store) -> Result<Option<Built>, KeepError> {
    let snapshot = store.snapshot()?;
    let head = snapshot.head().map_or(0, |head| head.number);
    let number = next(&snapshot, head)?;
    metrics::gauge!("annex_witness_lag_blocks").set((head + 1).saturating_sub(number) as f64);
    if number > head {
        return Ok(None);
    }
    let (_, hash) = snapshot.header(number)?.ok_or(StoreError::UnknownBlock(number))?;
    let mut bytes = hash.to_vec();
    match witness(config, &snapshot, number, usize::MAX) {
        Ok(witness) => {
            let frame = zstd::bulk::compress(&alloy_rlp::encode(&witness), LEVEL);
            bytes.extend(frame.map_err(KeepError::Compress)?);
        }
        Err(error @ ProofError::Store(StoreError::Pruned { .. })) => {
            tracing::warn!(number, %error, "a block has no kept witness; raise --history");
        }
        Err(error) => return Err(error.into()),
    }
    Ok(Some(Built { number, bytes, left: head - number }))
}

fn put(store: &Store, built: &Built) -> Result<(), StoreError> {
    metrics::counter!("annex_witness_bytes_total").increment(built.bytes.len() as u64);
    let is_first = store.get_meta(FIRST)?.is_none();
    store.write(|writer| {
        if is_first {
            writer.put_meta(FIRST, Some(&built.number.to_be_bytes()))?;
        }
        writer.put_meta(&key(built.number), Some(&built.bytes))?;
        writer.put_meta(NEXT, Some(&(built.number + 1).to_be_bytes()))
    })
}

/// The first block from which on witnesses are missing: those of replaced blocks are made again.
fn next(snapshot: &Snapshot, head: u64) -> Result<u64, StoreError> {
    let Some(stored) = number(snapshot, NEXT)? else { return Ok(head.max(1)) };
    let mut next = stored.min(head + 1);
    while let Some(last) = next.checked_sub(1).filter(|last| *last > 0) {
        let Some(hash) = snapshot.header(last)?.map(|(_, hash)| hash) else { break };
        let stands = snapshot.get_meta(&key(last))?;
        if stands.is_none_or(|bytes| bytes.starts_with(hash.as_slice())) {
            break;
        }
        next = last;
    }
    Ok(next)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Chain, random_chain};
    use super::*;

    fn keep_all(chain: &Chain) {
        while let Some(built) = build_next(&chain.config, &chain.store).expect("built") {
            put(&chain.store, &built).expect("kept");
        }
    }

    /// What is there at its start, what comes, and it ends with whoever tells of heads.
    #[tokio::test]
    async fn the_keeper_follows_heads() {
        let mut chain = random_chain(5);
        let (heads, receiver) = tokio::sync::broadcast::channel(8);
        let (config, store) = (chain.config.clone(), chain.store.clone());
        let keeper = tokio::spawn(Keeper { config, store, heads: receiver }.run());
        let first = chain.store.head().expect("readable").expect("a head").number;
        for head in [first, first + 3] {
            if head > first {
                chain.grow(3);
                let header = chain.store.latest().expect("readable").header().clone();
                heads.send(Arc::new(Sealed::new(header))).expect("the keeper listens");
            }
            let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
            loop {
                let snapshot = chain.store.snapshot().expect("a snapshot");
                let (_, hash) = snapshot.header(head).expect("readable").expect("there");
                if kept(&snapshot, head, hash).expect("readable").is_some() {
                    break;
                }
                assert!(std::time::Instant::now() < deadline, "block {head} has no witness");
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        }
        drop(heads);
        keeper.await.expect("no panic").expect("it ends well");
    }

    #[test]
    fn what_is_kept_is_what_is_built() {
        let mut chain = random_chain(3);
        keep_all(&chain);
        let first = chain.store.snapshot().expect("a snapshot").head().expect("a head").number;
        chain.grow(10);
        keep_all(&chain);
        let snapshot = chain.store.snapshot().expect("a snapshot");
        let head = snapshot.head().expect("a head").number;
        assert_eq!(head, first + 10);
        for number in first..=head {
            let (_, hash) = snapshot.header(number).expect("readable").expect("there");
            let found = kept(&snapshot, number, hash).expect("readable").expect("kept");
            let built = witness(&chain.config, &snapshot, number, usize::MAX).expect("built");
            assert_eq!(found, built, "block {number}");
            assert_eq!(kept(&snapshot, number, B256::ZERO).expect("readable"), None);
        }
    }

    #[test]
    fn pruned_witnesses_are_gone_and_not_made_again() {
        let mut chain = random_chain(6);
        keep_all(&chain);
        let first = chain.store.head().expect("readable").expect("a head").number;
        chain.grow(MAX_PRUNED + 8);
        keep_all(&chain);
        let end = first + MAX_PRUNED + 3;
        let is_kept = |number| kept_of(&chain, number);
        assert!(is_kept(first));
        prune(&chain.store, end).expect("pruned");
        assert!(!is_kept(end - 4) && is_kept(end - 3), "so many in one write");
        for _ in 0..2 {
            prune(&chain.store, end).expect("pruned");
            keep_all(&chain);
            assert!(!is_kept(first) && !is_kept(end - 1) && is_kept(end));
        }
        prune(&chain.store, u64::MAX).expect("pruned");
        chain.grow(1);
        keep_all(&chain);
        let head = chain.store.head().expect("readable").expect("a head").number;
        assert!(kept_of(&chain, head) && !kept_of(&chain, head - 1));
    }

    fn kept_of(chain: &Chain, number: u64) -> bool {
        let snapshot = chain.store.snapshot().expect("a snapshot");
        let (_, hash) = snapshot.header(number).expect("readable").expect("there");
        kept(&snapshot, number, hash).expect("readable").is_some()
    }

    /// Another block in the place of one whose witness is kept.
    #[test]
    fn the_witness_of_a_replaced_block_is_made_again() {
        let mut chain = random_chain(4);
        keep_all(&chain);
        chain.grow(3);
        keep_all(&chain);
        let head = chain.store.head().expect("readable").expect("a head").number;
        chain.store.unwind_to(head - 2).expect("reverted");
        chain.grow(1);
        keep_all(&chain);
        let snapshot = chain.store.snapshot().expect("a snapshot");
        let (_, hash) = snapshot.header(head - 1).expect("readable").expect("there");
        let found = kept(&snapshot, head - 1, hash).expect("readable").expect("kept");
        let built = witness(&chain.config, &snapshot, head - 1, usize::MAX).expect("built");
        assert_eq!(found, built);
    }
}
