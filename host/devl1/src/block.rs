//! Block building: Ethereum's rules from Osaka on, without proposers, withdrawals and requests.

use crate::genesis::blob_base_fee;
use crate::pool::{Fees, Pool, PoolTransaction};
use alloy_consensus::constants::{EMPTY_OMMER_ROOT_HASH, EMPTY_WITHDRAWALS};
use alloy_consensus::{Transaction as _, TxReceipt, proofs};
use alloy_eips::eip1559::{BaseFeeParams, calc_next_block_base_fee};
use alloy_eips::eip4844::DATA_GAS_PER_BLOB;
use alloy_eips::eip7685::EMPTY_REQUESTS_HASH;
use alloy_eips::eip7840::BlobParams;
use alloy_eips::{Typed2718, eip2935, eip4788};
use alloy_primitives::{Address, B256, Bloom, U256, keccak256};
use annex_evm::{BlockEnv, CodeCache, Evm, InvalidTransaction, Outcome, Rules};
use annex_state::{AccountInfo, Overlay, StateReader};
use annex_types::{Header, Receipt, TxType, predeploys};
use std::collections::BinaryHeap;

/// Osaka's blob schedule: target 6, maximum 9, at most 6 a transaction, reserve price (EIP-7918).
pub const BLOBS: BlobParams = BlobParams::osaka();

/// What is decided before a block's first transaction.
#[derive(Clone, Debug)]
pub struct Plan {
    pub chain_id: u64,
    pub parent: Header,
    pub parent_hash: B256,
    pub timestamp: u64,
    pub gas_limit: u64,
    /// Instead of EIP-1559's, in wei.
    pub base_fee: Option<u64>,
    /// Balances to set at the start, in wei.
    pub balances: Vec<(Address, U256)>,
    /// Transactions that come before the pool's; an invalid one is left out.
    pub first: Vec<PoolTransaction>,
}

impl Plan {
    /// The header without what only execution tells.
    pub fn header(&self) -> Header {
        let parent = &self.parent;
        let number = parent.number + 1;
        let parent_fee = parent.base_fee_per_gas.unwrap_or_default();
        let ethereum = BaseFeeParams::ethereum();
        let base_fee = self.base_fee.unwrap_or_else(|| {
            calc_next_block_base_fee(parent.gas_used, parent.gas_limit, parent_fee, ethereum)
        });
        let excess_blob_gas = BLOBS.next_block_excess_blob_gas_osaka(
            parent.excess_blob_gas.unwrap_or_default(),
            parent.blob_gas_used.unwrap_or_default(),
            parent_fee,
        );
        let seed = [self.parent_hash.as_slice(), &number.to_be_bytes()].concat();
        Header {
            parent_hash: self.parent_hash,
            ommers_hash: EMPTY_OMMER_ROOT_HASH,
            number,
            gas_limit: self.gas_limit,
            timestamp: self.timestamp,
            mix_hash: keccak256(seed),
            base_fee_per_gas: Some(base_fee),
            withdrawals_root: Some(EMPTY_WITHDRAWALS),
            blob_gas_used: Some(0),
            excess_blob_gas: Some(excess_blob_gas),
            parent_beacon_block_root: Some(B256::ZERO),
            requests_hash: Some(EMPTY_REQUESTS_HASH),
            ..Header::default()
        }
    }
}

/// Fees of the block with this header.
pub fn fees(header: &Header) -> Fees {
    Fees { base: header.base_fee_per_gas.unwrap_or_default(), blob: blob_base_fee(header) }
}

/// What the transactions of the block with this header see.
pub fn environment(chain_id: u64, header: &Header) -> BlockEnv {
    let fees = fees(header);
    BlockEnv {
        chain_id,
        number: header.number,
        timestamp: header.timestamp,
        beneficiary: header.beneficiary,
        gas_limit: header.gas_limit,
        base_fee: fees.base,
        prev_randao: header.mix_hash,
        blob_base_fee: fees.blob,
        byte_cost: U256::ZERO,
    }
}

/// What EIP-2935 and EIP-4788 write before a block's first transaction. The beacon root, in the ring's second half, is
/// always zero.
pub fn system_slots(header: &Header) -> [(Address, U256, U256); 2] {
    let slot = predeploys::history_slot(header.number - 1);
    let hash = U256::from_be_bytes(header.parent_hash.0);
    let ring = U256::from(predeploys::HISTORY_SERVE_WINDOW);
    let timestamp = U256::from(header.timestamp);
    [
        (eip2935::HISTORY_STORAGE_ADDRESS, slot, hash),
        (eip4788::BEACON_ROOTS_ADDRESS, timestamp % ring, timestamp),
    ]
}

/// A transaction with its receipt.
#[derive(Debug)]
pub struct Included {
    pub tx: PoolTransaction,
    pub receipt: Receipt,
    pub gas_used: u64,
    /// Index in the block of the first log.
    pub first_log: u64,
}

/// An executed block. Its state root is not known yet.
#[derive(Debug)]
pub struct Built {
    pub header: Header,
    pub included: Vec<Included>,
    /// Pool transactions that no block can hold on this state.
    pub invalid: Vec<B256>,
    pub changes: Overlay,
    pub codes: CodeCache,
}

/// Executes a block on the state `reader` reads.
pub fn build<R: StateReader>(
    plan: Plan,
    pool: &Pool,
    reader: R,
    codes: CodeCache,
) -> Result<Built, R::Error> {
    let header = plan.header();
    let environment = environment(plan.chain_id, &header);
    let evm = Evm::with_codes(Rules::L1, environment, reader, codes);
    let gas_left = header.gas_limit;
    let blob_gas_left = BLOBS.max_blob_gas_per_block();
    let mut builder = Builder {
        evm,
        gas_left,
        blob_gas_left,
        logs: 0,
        included: Vec::new(),
        invalid: Vec::new(),
    };
    builder.prepare(&plan, &header)?;
    for tx in &plan.first {
        builder.include(tx)?;
    }
    builder.fill(pool, fees(&header))?;
    Ok(builder.finish(header))
}

struct Builder<R: StateReader> {
    evm: Evm<R>,
    gas_left: u64,
    blob_gas_left: u64,
    logs: u64,
    included: Vec<Included>,
    invalid: Vec<B256>,
}

impl<R: StateReader> Builder<R> {
    /// EIP-2935 and EIP-4788, which Ethereum does by system calls, and what tests set.
    fn prepare(&mut self, plan: &Plan, header: &Header) -> Result<(), R::Error> {
        for (address, slot, value) in system_slots(header) {
            self.evm.set_storage(address, slot, value);
        }
        for (address, balance) in &plan.balances {
            let account = self.evm.state().account(*address)?.unwrap_or_default();
            self.evm.set_account(*address, AccountInfo { balance: *balance, ..account });
        }
        Ok(())
    }

    /// Takes transactions from the pool by what they pay, each sender's by nonce.
    fn fill(&mut self, pool: &Pool, fees: Fees) -> Result<(), R::Error> {
        let mut next = BinaryHeap::new();
        for sender in pool.senders() {
            next.extend(pool.candidate(sender, self.nonce(sender)?, fees));
        }
        while let Some(candidate) = next.pop() {
            let sender = candidate.tx.recovered.sender;
            if self.include(candidate.tx)? {
                next.extend(pool.candidate(sender, self.nonce(sender)?, fees));
            }
        }
        Ok(())
    }

    fn nonce(&self, sender: Address) -> Result<u64, R::Error> {
        Ok(self.evm.state().account(sender)?.map_or(0, |account| account.nonce))
    }

    /// Whether the transaction was executed; it may not fit, or be invalid.
    fn include(&mut self, tx: &PoolTransaction) -> Result<bool, R::Error> {
        let transaction = &tx.recovered.transaction;
        let blobs = transaction.blob_versioned_hashes().map_or(0, <[_]>::len) as u64;
        let blob_gas = blobs * DATA_GAS_PER_BLOB;
        if transaction.gas_limit() > self.gas_left || blob_gas > self.blob_gas_left {
            return Ok(false);
        }
        match self.evm.execute(&tx.recovered)? {
            Ok(outcome) => {
                self.blob_gas_left -= blob_gas;
                self.record(tx, outcome);
                Ok(true)
            }
            Err(
                InvalidTransaction::FeeCapBelowBaseFee { .. }
                | InvalidTransaction::BlobFeeCapBelowBaseFee { .. }
                | InvalidTransaction::NonceTooHigh { .. },
            ) => Ok(false),
            Err(invalid) => {
                tracing::debug!(hash = %tx.hash(), %invalid, "transaction dropped");
                self.invalid.push(tx.hash());
                Ok(false)
            }
        }
    }

    fn record(&mut self, tx: &PoolTransaction, outcome: Outcome) {
        let gas_used = outcome.gas_used();
        let success = outcome.success();
        let before = self.included.last().map_or(0, |last| last.receipt.cumulative_gas_used);
        let ty = tx.recovered.transaction.ty();
        let tx_type = TxType::try_from(ty).expect("the type of an envelope that has it");
        let first_log = self.logs;
        self.gas_left -= gas_used;
        self.logs += outcome.logs.len() as u64;
        let cumulative_gas_used = before + gas_used;
        let receipt = Receipt { tx_type, success, cumulative_gas_used, logs: outcome.logs };
        let tx = tx.clone();
        self.included.push(Included { tx, receipt, gas_used, first_log });
    }

    fn finish(self, mut header: Header) -> Built {
        let Self { evm, gas_left, blob_gas_left, included, invalid, .. } = self;
        let transactions: Vec<_> =
            included.iter().map(|included| &included.tx.recovered.transaction).collect();
        let receipts: Vec<_> =
            included.iter().map(|included| included.receipt.with_bloom_ref()).collect();
        header.gas_used = header.gas_limit - gas_left;
        header.blob_gas_used = Some(BLOBS.max_blob_gas_per_block() - blob_gas_left);
        header.transactions_root = proofs::calculate_transaction_root(&transactions);
        header.receipts_root = proofs::calculate_receipt_root(&receipts);
        header.logs_bloom =
            receipts.iter().fold(Bloom::ZERO, |bloom, receipt| bloom | receipt.logs_bloom);
        let (changes, codes) = evm.into_parts();
        Built { header, included, invalid, changes, codes }
    }
}
