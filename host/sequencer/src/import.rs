//! Taking over what L1 recorded, and taking back what it did not.

use crate::{
    changed::{ChangedPromise, Requeued},
    engine::{EngineError, ImportOutcome},
    executor::Executor,
    sealer::{self, promises_key},
};
use alloy_consensus::TxReceipt;
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{B256, keccak256};
use annex_stf::{ParentBlock, apply_block};
use annex_store::{Snapshot, StoreError};
use annex_types::{
    BlockInput, ExtraData, Promise,
    promise::{self, SignedPromise},
};
use std::sync::Arc;

impl Executor {
    /// Applies a block of L1 on block `parent`, in place of what stands there.
    pub(crate) fn import(
        &mut self,
        parent: u64,
        input: BlockInput,
    ) -> Result<ImportOutcome, EngineError> {
        self.importing = true;
        self.take_back(parent)?;
        let view = self.store.latest()?;
        let sealed = match apply_block(&self.config.chain, view.header(), &input, &view, &view)? {
            Ok(sealed) => sealed,
            Err(reason) => return Ok(ImportOutcome::Rejected(reason)),
        };
        drop(view);
        let header = sealer::commit(&self.store, &self.shared, sealed, &[], &self.promises)?;
        self.parent = ParentBlock::try_from(header.inner())?;
        Ok(ImportOutcome::Applied(header))
    }

    /// Undoes every block after `to`, keeping the transactions to execute them again.
    pub(crate) fn take_back(&mut self, to: u64) -> Result<(), EngineError> {
        self.finish_group()?;
        let open = self.open.take().is_some_and(|open| !open.transactions.is_empty());
        if !open && self.parent.number == to {
            return Ok(());
        }
        self.sealer.wait()?;
        let snapshot = self.store.snapshot()?;
        let head = snapshot.head().map_or(0, |head| head.number);
        let mut replaced = Vec::new();
        for number in to + 1..=head {
            replaced.extend(promised(&snapshot, number)?);
        }
        let live = self.shared.live.clear();
        replaced.extend(live.iter().map(|executed| Requeued {
            transaction: executed.transaction.clone(),
            promised_block: Some(executed.block_number),
            promise: executed.promise.get().cloned(),
        }));
        if self.sequencing.is_some() {
            replaced.retain(|requeued| requeued.transaction.transaction.signature().is_some());
            tracing::warn!(
                from = to + 1,
                to = head,
                transactions = replaced.len(),
                "L1 recorded other blocks; acknowledged transactions are executed again"
            );
            // What waits already was taken out of later blocks.
            replaced.extend(self.requeue.drain(..));
            self.requeue.extend(replaced);
            let encoded: Vec<Vec<u8>> =
                self.requeue.iter().map(|r| r.transaction.transaction.encoded_2718()).collect();
            self.log.replace(to + 1, encoded.iter().map(Vec::as_slice))?;
        }
        self.store.unwind_to(to)?;
        self.shared.backlog().undone(to);
        self.shared.live.hashes.clear();
        self.parent = ParentBlock::try_from(self.store.latest()?.header())?;
        Ok(())
    }

    /// Executes again what was taken back, then what arrived meanwhile.
    pub(crate) fn caught_up(&mut self) -> Result<(), EngineError> {
        self.importing = false;
        self.held = false;
        let orders = self.sequencing.is_some() && self.sees_l1() && self.records.newest().is_some();
        let mut changes = Vec::new();
        while orders && let Some(requeued) = self.requeue.pop_front() {
            changes.extend(self.execute_again(requeued)?);
        }
        self.finish_group()?;
        let shared = self.shared.clone();
        shared.changes.lock().expect("no holder panics").report(&self.store, changes)?;
        self.tell_pool(None)?;
        for submission in std::mem::take(&mut self.deferred) {
            self.submit(submission)?;
        }
        self.take_forced()
    }

    /// None if L1 carries it where it was promised.
    fn execute_again(&mut self, requeued: Requeued) -> Result<Option<ChangedPromise>, EngineError> {
        let Requeued { transaction, promised_block, promise } = requeued;
        let hash = transaction.transaction.hash();
        let (new_block, reason) = match self.execute(&transaction)? {
            Ok(executed) => (Some(executed.block_number), None),
            // It may have its place again, or in what L1 recorded.
            Err(invalid) => {
                if let Some(live) = self.shared.live.transaction(hash) {
                    if live.promise.get().is_some_and(|now| promise.as_ref() == Some(now)) {
                        return Ok(None);
                    }
                    let new_block = Some(live.block_number);
                    return Ok(Some(ChangedPromise {
                        number: 0,
                        transaction: hash,
                        promised_block,
                        promise,
                        new_block,
                        reason: None,
                    }));
                }
                let snapshot = self.store.snapshot()?;
                match snapshot.transaction_position(hash)? {
                    Some(place) if holds(promise.as_deref(), place, &snapshot)? => return Ok(None),
                    Some((number, _)) => (Some(number), None),
                    None => (None, Some(invalid.to_string())),
                }
            }
        };
        let transaction = hash;
        let changed =
            ChangedPromise { number: 0, transaction, promised_block, promise, new_block, reason };
        Ok(Some(changed))
    }

    /// Record `index` and all later ones are gone from L1.
    pub(crate) fn truncate_records(&mut self, index: u64) -> Result<(), EngineError> {
        self.records.truncate(index);
        self.tell_origin();
        self.importing = true;
        let open = self.open.as_ref().filter(|open| !open.transactions.is_empty());
        let newest = open.map_or(self.parent.extra.origin, |o| o.entry.attributes.origin.index);
        if newest < index {
            return Ok(());
        }
        self.finish_group()?;
        self.sealer.wait()?;
        let snapshot = self.store.snapshot()?;
        let mut to = snapshot.head().map_or(0, |head| head.number);
        while to > 0 {
            let (header, _) = snapshot.header(to)?.ok_or(StoreError::UnknownBlock(to))?;
            if ExtraData::decode(&header.extra_data)?.origin < index {
                break;
            }
            to -= 1;
        }
        drop(snapshot);
        self.take_back(to)
    }
}

/// Whether the store has a transaction (block, index) as a promise has it, which says the same of all that it covers.
fn holds(
    signed: Option<&SignedPromise>,
    (number, index): (u64, usize),
    snapshot: &Snapshot,
) -> Result<bool, StoreError> {
    let Some(Promise { blockNumber, timestamp, beneficiary, firstIndex, count, root, .. }) =
        signed.map(|signed| &signed.promise)
    else {
        return Ok(false);
    };
    let unknown = StoreError::UnknownBlock(number);
    let block = snapshot.block(number)?.ok_or(unknown)?;
    let header = &block.header;
    let covered = index.checked_sub(*firstIndex as usize).is_some_and(|o| o < *count as usize);
    if *blockNumber != number
        || !covered
        || (*timestamp, *beneficiary) != (header.timestamp, header.beneficiary)
    {
        return Ok(false);
    }
    let unknown = StoreError::UnknownBlock(number);
    let receipts = snapshot.receipts(number)?.ok_or(unknown)?;
    let transactions = block.transactions.iter().zip(&receipts);
    let leaves: Vec<B256> = transactions
        .skip(*firstIndex as usize)
        .take(*count as usize)
        .map(|(tx, receipt)| {
            let receipt = keccak256(receipt.with_bloom_ref().encoded_2718());
            promise::leaf(tx.transaction.hash(), receipt)
        })
        .collect();
    Ok(promise::root(&leaves) == *root)
}

/// Transactions of a block of the store with what was promised of each.
fn promised(snapshot: &Snapshot, number: u64) -> Result<Vec<Requeued>, StoreError> {
    let block = snapshot.block(number)?.ok_or(StoreError::UnknownBlock(number))?;
    let bytes = snapshot.get_meta(&promises_key(number))?.unwrap_or_else(|| b"[]".to_vec());
    let promises: Vec<Arc<SignedPromise>> =
        serde_json::from_slice(&bytes).map_err(|_| StoreError::Corrupt("promises"))?;
    let covers = |signed: &&Arc<SignedPromise>, index: usize| {
        let Promise { firstIndex, count, timestamp, beneficiary, .. } = signed.promise;
        // Those of a block that stood here before are kept until others are made.
        if (timestamp, beneficiary) != (block.header.timestamp, block.header.beneficiary) {
            return false;
        }
        (firstIndex as usize..firstIndex as usize + count as usize).contains(&index)
    };
    let transactions = block.transactions.into_iter().enumerate();
    Ok(transactions
        .map(|(index, transaction)| Requeued {
            transaction,
            promised_block: Some(number),
            promise: promises.iter().find(|promise| covers(promise, index)).cloned(),
        })
        .collect())
}
