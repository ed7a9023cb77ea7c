//! Taking over what L1 recorded, and taking back what it did not.

use crate::{
    engine::{EngineError, ImportOutcome},
    executor::Executor,
    sealer,
};
use alloy_eips::eip2718::Encodable2718;
use annex_stf::{ParentBlock, apply_block};
use annex_store::StoreError;
use annex_types::{BlockInput, ExtraData, RecoveredTransaction};

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
        let mut replaced: Vec<(RecoveredTransaction, u64)> = Vec::new();
        for number in to + 1..=head {
            let block = snapshot.block(number)?.ok_or(StoreError::UnknownBlock(number))?;
            replaced.extend(block.transactions.into_iter().map(|tx| (tx, number)));
        }
        let live = self.shared.live.clear();
        replaced.extend(live.iter().map(|e| (e.transaction.clone(), e.block_number)));
        if self.sequencing.is_some() {
            replaced.retain(|(tx, _)| tx.transaction.signature().is_some());
            tracing::warn!(
                from = to + 1,
                to = head,
                transactions = replaced.len(),
                "L1 recorded other blocks; acknowledged transactions are executed again"
            );
            self.requeue.extend(replaced);
            let encoded: Vec<Vec<u8>> =
                self.requeue.iter().map(|(tx, _)| tx.transaction.encoded_2718()).collect();
            self.log.replace(to + 1, encoded.iter().map(Vec::as_slice))?;
        }
        self.store.unwind_to(to)?;
        self.unposted.retain(|(number, _)| *number <= to);
        self.shared.live.hashes.clear();
        self.parent = ParentBlock::try_from(self.store.latest()?.header())?;
        Ok(())
    }

    /// Executes again what was taken back, then what arrived meanwhile.
    pub(crate) fn caught_up(&mut self) -> Result<(), EngineError> {
        self.importing = false;
        let orders = self.sequencing.is_some() && self.sees_l1() && self.records.newest().is_some();
        while orders && let Some((tx, promised_block)) = self.requeue.pop_front() {
            let new_block = self.execute(&tx)?.ok().map(|executed| executed.block_number);
            let transaction = tx.transaction.hash();
            tracing::warn!(%transaction, promised_block, new_block, "promise changed");
            metrics::counter!("annex_promises_changed_total").increment(1);
        }
        self.finish_group()?;
        for submission in std::mem::take(&mut self.deferred) {
            self.submit(submission)?;
        }
        self.take_forced()
    }

    /// Record `index` and all later ones are gone from L1.
    pub(crate) fn truncate_records(&mut self, index: u64) -> Result<(), EngineError> {
        self.records.truncate(index);
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
