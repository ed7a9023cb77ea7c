use alloy_consensus::TxReceipt;
use alloy_consensus::constants::EMPTY_OMMER_ROOT_HASH;
use alloy_eips::eip2718::Encodable2718;
use alloy_eips::eip7685::EMPTY_REQUESTS_HASH;
use alloy_primitives::{B64, B256, Bloom, U256};
use annex_state::{
    EMPTY_ROOT, NodeSource, StateChanges, StateUpdate, TrieError, UpdatePart,
    apply_changes_in_parts, ordered_root,
};
use annex_types::predeploys::{BLOCK_HASH_HISTORY, L2_TO_L1_MESSAGE_PASSER, history_slot};
use annex_types::{ExtraData, Header, Receipt, RecoveredTransaction};

use crate::{BlockEnv, ExecutedBlock};

/// A block with its header.
#[derive(Clone, Debug)]
pub struct SealedBlock {
    pub header: Header,
    pub hash: B256,
    /// Deposits of forced items first.
    pub transactions: Vec<RecoveredTransaction>,
    pub receipts: Vec<Receipt>,
    /// What the block changed in the state.
    pub changes: StateChanges,
    /// The trie nodes that follow from the changes.
    pub update: StateUpdate,
}

/// Computes roots and header of an executed block on the state of its parent.
///
/// # Panics
///
/// If the block was not opened on `parent`.
pub fn seal<S: NodeSource>(
    executed: ExecutedBlock,
    parent: &Header,
    source: &S,
) -> Result<SealedBlock, TrieError<S::Error>> {
    seal_in_parts(executed, parent, source, |_| ())
}

/// A piece of the sealing of a large block that needs nothing of the others.
pub enum SealPart<'a, 'u, S: NodeSource> {
    State(&'a mut UpdatePart<'u, S>),
    /// The root of the transactions.
    Transactions(&'a [RecoveredTransaction], &'a mut Option<B256>),
    /// The root of the receipts and the bloom of them all.
    Receipts(&'a [Receipt], &'a mut Option<(B256, Bloom)>),
}

impl<S: NodeSource> SealPart<'_, '_, S> {
    /// Does the work. An error is kept for the caller of [`seal_in_parts`].
    pub fn run(&mut self) {
        match self {
            Self::State(part) => part.run(),
            Self::Transactions(transactions, root) => {
                root.get_or_insert_with(|| transactions_root(transactions));
            }
            Self::Receipts(receipts, root) => {
                root.get_or_insert_with(|| receipts_root(receipts));
            }
        }
    }
}

/// [`seal`], with a chance to do the parts of a large block at the same time: `run` may call
/// [`SealPart::run`] on each from any thread. What it leaves is done after it.
///
/// # Panics
///
/// If the block was not opened on `parent`.
pub fn seal_in_parts<S: NodeSource>(
    executed: ExecutedBlock,
    parent: &Header,
    source: &S,
    run: impl FnOnce(&mut [SealPart<'_, '_, S>]),
) -> Result<SealedBlock, TrieError<S::Error>> {
    let ExecutedBlock { env, extra, gas_used, transactions, receipts, overlay, .. } = executed;
    assert_eq!(env.number, parent.number + 1, "sealed on a block it was not opened on");
    let parent_hash = parent.hash_slow();
    let mut changes = overlay.into_changes();
    let history = changes.storage.entry(BLOCK_HASH_HISTORY).or_default();
    history.insert(history_slot(parent.number), U256::from_be_bytes(parent_hash.0));

    let (mut of_transactions, mut of_receipts) = (None, None);
    let update = apply_changes_in_parts(source, parent.state_root, &changes, |parts| {
        // The longest ones first. A small block is not worth another thread.
        let mut all = Vec::with_capacity(parts.len() + 2);
        if parts.len() > 1 {
            all.push(SealPart::Receipts(&receipts, &mut of_receipts));
            all.push(SealPart::Transactions(&transactions, &mut of_transactions));
        }
        all.extend(parts.iter_mut().map(SealPart::State));
        run(&mut all);
    })?;
    let (receipts_root, logs_bloom) = of_receipts.unwrap_or_else(|| receipts_root(&receipts));
    let header = Header {
        parent_hash,
        state_root: update.root,
        transactions_root: of_transactions.unwrap_or_else(|| transactions_root(&transactions)),
        receipts_root,
        logs_bloom,
        gas_used,
        withdrawals_root: Some(withdrawals_root(&update, parent)),
        ..unsealed_header(&env, extra)
    };
    let hash = header.hash_slow();
    Ok(SealedBlock { header, hash, transactions, receipts, changes, update })
}

fn transactions_root(transactions: &[RecoveredTransaction]) -> B256 {
    ordered_root(transactions.iter().map(|tx| tx.transaction.encoded_2718()))
}

fn receipts_root(receipts: &[Receipt]) -> (B256, Bloom) {
    let receipts: Vec<_> = receipts.iter().map(TxReceipt::with_bloom_ref).collect();
    let bloom = receipts.iter().fold(Bloom::ZERO, |all, receipt| all | receipt.logs_bloom);
    (ordered_root(receipts.iter().map(Encodable2718::encoded_2718)), bloom)
}

/// The storage root of the message passer after the block.
fn withdrawals_root(update: &StateUpdate, parent: &Header) -> B256 {
    match update.accounts.get(&L2_TO_L1_MESSAGE_PASSER) {
        Some(account) => account.map_or(EMPTY_ROOT, |account| account.storage_root),
        None => parent.withdrawals_root.unwrap_or(EMPTY_ROOT),
    }
}

/// A header with the fields that do not depend on transactions or state.
pub(crate) fn unsealed_header(env: &BlockEnv, extra: ExtraData) -> Header {
    Header {
        parent_hash: B256::ZERO,
        ommers_hash: EMPTY_OMMER_ROOT_HASH,
        beneficiary: env.beneficiary,
        state_root: EMPTY_ROOT,
        transactions_root: EMPTY_ROOT,
        receipts_root: EMPTY_ROOT,
        logs_bloom: Bloom::ZERO,
        difficulty: U256::ZERO,
        number: env.number,
        gas_limit: env.gas_limit,
        gas_used: 0,
        timestamp: env.timestamp,
        extra_data: extra.encode(),
        mix_hash: env.prev_randao,
        nonce: B64::ZERO,
        base_fee_per_gas: Some(env.base_fee),
        withdrawals_root: Some(EMPTY_ROOT),
        blob_gas_used: Some(0),
        excess_blob_gas: Some(0),
        parent_beacon_block_root: Some(B256::ZERO),
        requests_hash: Some(EMPTY_REQUESTS_HASH),
        ..Header::default()
    }
}
