//! Witnesses that are built as blocks are sealed or derived and kept until the blocks are settled: for whoever will have to
//! prove a block when its state is long out of reach. On a thread of its own, which shares the store's writer with the sealer.

use super::{ExecutionWitness, ProofError, witness};
use crate::node::NodeError;
use alloy_primitives::{B256, Sealed};
use annex_store::{Snapshot, Store, StoreError};
use annex_types::{ChainConfig, Header};
use std::sync::Arc;
use tokio::sync::broadcast::{Receiver, error::RecvError};

/// In the store: number u64 of the next block to keep the witness of.
const NEXT: &[u8] = b"witness/next";
const LEVEL: i32 = 1;

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
    Compress(#[from] std::io::Error),
}

/// The witness kept of the block with this number and hash.
pub(super) fn kept(
    snapshot: &Snapshot,
    number: u64,
    hash: B256,
) -> Result<Option<ExecutionWitness>, StoreError> {
    let Some(bytes) = snapshot.get_meta(&key(number))? else { return Ok(None) };
    match bytes.split_at_checked(hash.len()) {
        Some((of, frame)) if of == hash.as_slice() && !frame.is_empty() => {
            let corrupt = || StoreError::Corrupt("a kept witness");
            let rlp = zstd::stream::decode_all(frame).map_err(|_| corrupt())?;
            alloy_rlp::decode_exact(&rlp).map(Some).map_err(|_| corrupt())
        }
        _ => Ok(None),
    }
}

/// Keeps the witnesses of all blocks from the newest at its first start on.
pub(crate) struct Keeper {
    pub config: ChainConfig,
    pub store: Store,
    pub heads: Receiver<Arc<Sealed<Header>>>,
}

impl Keeper {
    pub async fn run(mut self) -> Result<(), NodeError> {
        loop {
            let (config, store) = (self.config.clone(), self.store.clone());
            // One block at a time, so that the node can stop in between.
            let kept = tokio::task::spawn_blocking(move || keep_next(&config, &store)).await;
            match kept {
                Ok(Ok(true)) => continue,
                Ok(Ok(false)) => {}
                // The next head is another try.
                Ok(Err(error)) => tracing::warn!(%error, "a witness could not be kept"),
                Err(_) => return Err(NodeError::Ended),
            }
            if let Err(RecvError::Closed) = self.heads.recv().await {
                return Ok(());
            }
        }
    }
}

/// Builds and keeps the witness of the first block that has none, however much has changed since; whether there was one.
fn keep_next(config: &ChainConfig, store: &Store) -> Result<bool, KeepError> {
    let snapshot = store.snapshot()?;
    let head = snapshot.head().map_or(0, |head| head.number);
    let number = next(&snapshot, head)?;
    metrics::gauge!("annex_witness_lag_blocks").set((head + 1).saturating_sub(number) as f64);
    if number > head {
        return Ok(false);
    }
    let (_, hash) = snapshot.header(number)?.ok_or(StoreError::UnknownBlock(number))?;
    let mut bytes = hash.to_vec();
    match witness(config, &snapshot, number, usize::MAX) {
        Ok(witness) => {
            bytes.extend(zstd::bulk::compress(&alloy_rlp::encode(&witness), LEVEL)?);
        }
        Err(error @ ProofError::Store(StoreError::Pruned { .. })) => {
            tracing::warn!(number, %error, "a block has no kept witness; raise --history");
        }
        Err(error) => return Err(error.into()),
    }
    drop(snapshot);
    metrics::counter!("annex_witness_bytes_total").increment(bytes.len() as u64);
    store.write(|writer| {
        writer.put_meta(&key(number), Some(&bytes))?;
        writer.put_meta(NEXT, Some(&(number + 1).to_be_bytes()))
    })?;
    Ok(true)
}

/// The first block from which on witnesses are missing: those of replaced blocks are made again.
fn next(snapshot: &Snapshot, head: u64) -> Result<u64, StoreError> {
    let Some(stored) = snapshot.get_meta(NEXT)? else { return Ok(head.max(1)) };
    let stored = stored[..].try_into().map_err(|_| StoreError::Corrupt("a block number"))?;
    let mut next = u64::from_be_bytes(stored).min(head + 1);
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
        while keep_next(&chain.config, &chain.store).expect("kept") {}
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
