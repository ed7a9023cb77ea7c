//! What a former process of the leader promised beyond what its data directory holds, as others heard it
//! (spec/promise.md, "After a loss").

use crate::{
    changed::Requeued,
    engine::EngineError,
    executor::{Executor, decode},
    log::{Link, OpenEntry},
};
use alloy_consensus::TxReceipt;
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{B256, Bytes, U256, keccak256};
use annex_rpc::Executed;
use annex_types::{
    BLOCK_GAS_LIMIT, BlockAttributes, Promise, RecoveredTransaction, batch,
    promise::{self, SignedPromise},
};
use serde::{Deserialize, Serialize};
use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

/// First byte of a deposit's EIP-2718 encoding.
const DEPOSIT: u8 = 0x7e;

/// A promise with what it covers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    pub promise: Arc<SignedPromise>,
    /// EIP-2718 encodings, deposits included.
    pub transactions: Vec<Bytes>,
    /// Hashes of the receipts' EIP-2718 encodings.
    pub receipts: Vec<B256>,
}

impl Heard {
    /// Whether the promise is about these transactions and receipts. Its signature is another matter.
    pub fn fits(&self) -> bool {
        let Self { promise, transactions, receipts } = self;
        let count = promise.promise.count as usize;
        let leaf = |(tx, receipt): (&Bytes, &B256)| promise::leaf(keccak256(tx), *receipt);
        transactions.len() == count
            && receipts.len() == count
            && promise::root(&transactions.iter().zip(receipts).map(leaf).collect::<Vec<_>>())
                == promise.promise.root
    }
}

/// What became of what others had heard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Adopted {
    /// Promises that the data directory lacked and that are kept word for word.
    pub kept: usize,
    /// Transactions that were promised elsewhere or otherwise: they are executed again, as after another's batch.
    pub again: usize,
}

/// Why a promise cannot be kept word for word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Misfit {
    #[error("promises before it were not heard")]
    Gap,
    #[error("its origin is not on L1")]
    Origin,
    #[error("its block has another environment on this chain")]
    Environment,
    #[error("its transactions have other results on this chain")]
    Results,
}

impl Executor {
    /// Takes over promises of this key and lease beyond what the store and the log hold. Of `shown` only the numbers matter.
    pub(crate) fn adopt(
        &mut self,
        mut heard: Vec<Heard>,
        mut shown: Vec<Arc<SignedPromise>>,
    ) -> Result<Adopted, EngineError> {
        let Some(signer) = self.sequencing.as_ref().and_then(|s| s.signer.as_ref()) else {
            return Ok(Adopted::default());
        };
        let lease = self.promises.lease_id;
        let ours = |signed: &SignedPromise| signed.promise.leaseId == lease && signer.made(signed);
        heard.retain(|heard| ours(&heard.promise) && heard.fits());
        heard.sort_by_key(|heard| heard.promise.promise.sequence);
        heard.dedup_by_key(|heard| heard.promise.promise.sequence);
        shown.retain(|shown| ours(shown));
        shown.extend(heard.iter().map(|heard| heard.promise.clone()));
        let Some(last) = shown.iter().max_by_key(|shown| shown.promise.sequence) else {
            return Ok(Adopted::default());
        };
        let last = &last.promise;
        let (next, previous) = (last.sequence.saturating_add(1), signer.digest(last));
        let mut adopted = Adopted::default();
        let mut unkept = Vec::new();
        for heard in heard {
            let place = &heard.promise.promise;
            if !unkept.is_empty() {
                unkept.push(heard);
                continue;
            }
            if self.has(place) {
                continue;
            }
            match self.keep(&heard)? {
                Ok(()) => adopted.kept += 1,
                Err(misfit) => {
                    let (block, sequence) = (place.blockNumber, place.sequence);
                    tracing::warn!(block, sequence, %misfit, "a former promise cannot be kept");
                    unkept.push(heard);
                }
            }
        }
        if adopted.kept > 0 {
            // Its hash may have been told already.
            self.seal()?;
        }
        adopted.again = self.requeue_heard(unkept)?;
        // Whatever was not kept, no number is given twice.
        if self.promises.sequence < next {
            self.go_on_from(Link { sequence: next, previous });
        }
        Ok(adopted)
    }

    /// Whether something stands at the promise's place already, from L1 or the log.
    fn has(&self, promise: &Promise) -> bool {
        let Promise { blockNumber, firstIndex, count, .. } = *promise;
        let open = self.open.as_ref().map_or(0, |open| open.transactions.len() as u64);
        blockNumber <= self.parent.number
            || blockNumber == self.parent.number + 1
                && u64::from(firstIndex) + u64::from(count) <= open
    }

    /// Executes what a promise covers where it says, and promises it again in the same words.
    fn keep(&mut self, heard: &Heard) -> Result<Result<(), Misfit>, EngineError> {
        let promise = &heard.promise.promise;
        let open = self.open.as_ref().map_or(0, |open| open.transactions.len());
        let follows = promise.previous == self.promises.previous;
        if promise.blockNumber == self.parent.number + 2 && open > 0 && follows {
            self.seal()?;
        }
        let open = self.open.as_ref().map_or(0, |open| open.transactions.len());
        if promise.blockNumber != self.parent.number + 1 || promise.firstIndex as usize != open {
            return Ok(Err(Misfit::Gap));
        }
        let transactions: Option<Vec<RecoveredTransaction>> = {
            let signed = heard.transactions.iter().filter(|raw| raw.first() != Some(&DEPOSIT));
            signed.map(|raw| decode(raw)).collect()
        };
        let Some(transactions) = transactions else { return Ok(Err(Misfit::Results)) };
        let before = self.promises;
        self.go_on_from(Link { sequence: promise.sequence, previous: promise.previous });
        let kept = match open {
            0 => self.open_as_promised(heard)?,
            _ => Ok(()),
        };
        let kept = match kept {
            Ok(()) => self.execute_as_promised(promise, &transactions)?,
            misfit => misfit,
        };
        if kept.is_ok() {
            self.finish_group()?;
        } else {
            self.undo_to(open)?;
            self.go_on_from(Link { sequence: before.sequence, previous: before.previous });
        }
        Ok(kept)
    }

    /// Sets what the next promise says of the one before; in the middle of a block, for a replay, too.
    fn go_on_from(&mut self, link: Link) {
        self.promises.follow(link);
        if self.open.as_ref().is_some_and(|open| open.announced) {
            self.log.push_skip(&link);
        }
    }

    /// Opens the block of its first promise.
    fn open_as_promised(&mut self, heard: &Heard) -> Result<Result<(), Misfit>, EngineError> {
        let promise = &heard.promise.promise;
        let Some(origin) = self.records.by_accumulator(promise.origin).copied() else {
            return Ok(Err(Misfit::Origin));
        };
        let (timestamp, beneficiary) = (promise.timestamp, promise.beneficiary);
        if timestamp < self.parent.timestamp {
            return Ok(Err(Misfit::Environment));
        }
        let blocks_in_second = match timestamp == self.parent.timestamp {
            true => self.parent.extra.blocks_in_second.saturating_add(1),
            false => 1,
        };
        let deposits =
            heard.transactions.iter().filter(|raw| raw.first() == Some(&DEPOSIT)).count();
        let first = self.parent.extra.forced_count;
        let mut forced = self.records.due(first, origin.index, BLOCK_GAS_LIMIT);
        forced.truncate(deposits);
        self.open_block(OpenEntry {
            number: promise.blockNumber,
            attributes: BlockAttributes { timestamp, beneficiary, origin, blocks_in_second },
            forced,
            lease_id: self.promises.lease_id,
            sequence: promise.sequence,
            previous: promise.previous,
        })?;
        let base_fee = self.open.as_ref().map(|open| U256::from(open.block.env().base_fee));
        Ok(if base_fee == Some(promise.baseFee) { Ok(()) } else { Err(Misfit::Environment) })
    }

    fn execute_as_promised(
        &mut self,
        promise: &Promise,
        transactions: &[RecoveredTransaction],
    ) -> Result<Result<(), Misfit>, EngineError> {
        for tx in transactions {
            let content = batch::transaction_len(&tx.transaction, self.config.chain.l2_chain_id);
            if self.execute_here(tx, content)?.is_err() {
                return Ok(Err(Misfit::Results));
            }
        }
        let leaf = |e: &Arc<Executed>| {
            promise::leaf(e.hash, keccak256(e.receipt.with_bloom_ref().encoded_2718()))
        };
        let leaves: Vec<B256> = self.group.iter().map(leaf).collect();
        let same = leaves.len() == promise.count as usize && promise::root(&leaves) == promise.root;
        Ok(if same { Ok(()) } else { Err(Misfit::Results) })
    }

    /// Leaves the first `count` transactions of the open block, which are promised, and forgets what was tried on top.
    fn undo_to(&mut self, count: usize) -> Result<(), EngineError> {
        self.group.clear();
        let Some(open) = self.open.take() else { return Ok(()) };
        if count == 0 {
            return Ok(());
        }
        let announced = open.announced;
        let promised = open.transactions[..count].to_vec();
        self.open_block(open.entry)?;
        for (index, executed) in promised.iter().enumerate() {
            let tx = &executed.transaction;
            if tx.transaction.signature().is_none() {
                continue;
            }
            let content = batch::transaction_len(&tx.transaction, self.config.chain.l2_chain_id);
            if self.execute_here(tx, content)?.is_err() {
                return Err(EngineError::Replay { number: self.parent.number + 1, index });
            }
        }
        self.group.clear();
        if let Some(open) = &mut self.open {
            // Readers have the effects, and the answers hold these.
            open.block.take_delta();
            open.announced = announced;
            open.transactions = promised;
        }
        Ok(())
    }

    /// Keeps the transactions of promises that cannot be kept, to be executed wherever they now fit.
    fn requeue_heard(&mut self, heard: Vec<Heard>) -> Result<usize, EngineError> {
        let mut transactions = Vec::new();
        for Heard { promise, transactions: raw, .. } in heard {
            transactions.extend(raw.iter().filter_map(|raw| decode(raw)).map(|transaction| {
                let promised_block = Some(promise.promise.blockNumber);
                Requeued { transaction, promised_block, promise: Some(promise.clone()) }
            }));
        }
        transactions.retain(|r| r.transaction.transaction.signature().is_some());
        if transactions.is_empty() {
            return Ok(0);
        }
        let encoded: Vec<Vec<u8>> =
            transactions.iter().map(|r| r.transaction.transaction.encoded_2718()).collect();
        self.log.requeue(self.parent.number + 1, encoded.iter().map(Vec::as_slice))?;
        let count = transactions.len();
        self.requeue.extend(transactions);
        Ok(count)
    }
}

/// Microseconds since 1970, which no former process has counted to. A clock before 1970 counts as 1970.
pub(crate) fn unix_micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // Enough for half a million years.
    since.as_micros() as u64
}
