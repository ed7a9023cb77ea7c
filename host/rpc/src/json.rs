//! The JSON of transactions, receipts, logs, blocks and promises.

use crate::chain::{Executed, MiniBlock};
use alloy_consensus::{Transaction as _, TxReceipt as _};
use alloy_eips::Typed2718;
use alloy_eips::eip2718::Encodable2718;
use alloy_eips::eip7840::BlobParams;
use alloy_primitives::{Address, B256, Bloom, Bytes, TxKind, U8, U64, U128, U256, keccak256};
use alloy_rpc_types_eth::{BlockTransactions, Header as HeaderJson, Log};
use annex_types::promise::SignedPromise;
use annex_types::{Header, Promise, RecoveredTransaction, Transaction};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;

/// A block, sealed or open; of an open one the hash is zero.
#[derive(Debug)]
pub(crate) struct Block {
    pub hash: B256,
    pub header: Header,
    pub transactions: Vec<Arc<Executed>>,
}

impl Block {
    pub fn json(&self, full: bool) -> Value {
        let transactions = if full {
            let json = |tx: &Arc<Executed>| executed_transaction(tx, self.hash);
            BlockTransactions::Full(self.transactions.iter().map(json).collect())
        } else {
            BlockTransactions::Hashes(self.transactions.iter().map(|tx| tx.hash).collect())
        };
        let encoded = |tx: &Arc<Executed>| tx.transaction.transaction.network_len();
        let transactions_len = self.transactions.iter().map(encoded).sum::<usize>();
        // Header, transactions, ommers and withdrawals; the last two are empty lists.
        let content = alloy_rlp::Encodable::length(&self.header) + list_len(transactions_len) + 2;
        let size = list_len(content);
        let header = HeaderJson {
            hash: self.hash,
            inner: self.header.clone(),
            total_difficulty: None,
            size: Some(U256::from(size)),
        };
        let block = alloy_rpc_types_eth::Block::<Value> {
            header,
            uncles: Vec::new(),
            transactions,
            withdrawals: Some(Default::default()),
        };
        serde_json::to_value(block).expect("a block is a map with string keys")
    }

    pub fn receipts(&self) -> Vec<ReceiptJson> {
        let blob_fee = blob_fee(&self.header);
        let json =
            |tx: &Arc<Executed>| ReceiptJson::new(tx, self.hash).with_blob_gas_price(blob_fee);
        self.transactions.iter().map(json).collect()
    }
}

/// Price of blob gas in a block, in wei.
pub(crate) fn blob_fee(header: &Header) -> Option<u128> {
    header.blob_fee(BlobParams::osaka())
}

/// `newHeads`.
pub(crate) fn head(header: &Header, hash: B256) -> HeaderJson {
    HeaderJson { hash, inner: header.clone(), total_difficulty: None, size: None }
}

/// A transaction of a block; `block_hash` is zero until the seal.
pub(crate) fn executed_transaction(tx: &Executed, block_hash: B256) -> Value {
    let price = tx.transaction.transaction.effective_gas_price(Some(tx.base_fee));
    let mut json = transaction(&tx.transaction, price, tx.deposit_nonce);
    let mut set = |key: &str, value: Value| json.insert(key.to_owned(), value);
    set("blockHash", hex(block_hash));
    set("blockNumber", hex(U64::from(tx.block_number)));
    set("transactionIndex", hex(U64::from(tx.index)));
    set("blockTimestamp", hex(U64::from(tx.timestamp)));
    Value::Object(json)
}

/// A transaction that waits.
pub(crate) fn pooled_transaction(tx: &RecoveredTransaction) -> Value {
    let mut json = transaction(tx, tx.transaction.max_fee_per_gas(), None);
    for key in ["blockHash", "blockNumber", "transactionIndex"] {
        json.insert(key.to_owned(), Value::Null);
    }
    Value::Object(json)
}

fn transaction(
    tx: &RecoveredTransaction,
    gas_price: u128,
    deposit_nonce: Option<u64>,
) -> serde_json::Map<String, Value> {
    let json = serde_json::to_value(&tx.transaction).expect("a transaction is a map");
    let Value::Object(mut json) = json else { unreachable!("a transaction is a map") };
    json.insert("hash".to_owned(), hex(tx.transaction.hash()));
    json.insert("from".to_owned(), hex(tx.sender));
    json.insert("gasPrice".to_owned(), hex(U128::from(gas_price)));
    if matches!(tx.transaction, Transaction::Deposit(_)) {
        json.insert("nonce".to_owned(), hex(U64::from(deposit_nonce.unwrap_or_default())));
        json.insert("isSystemTx".to_owned(), Value::Bool(false));
    }
    json
}

fn hex<T: Serialize>(value: T) -> Value {
    serde_json::to_value(value).expect("hashes and integers become strings")
}

/// `eth_getTransactionReceipt`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReceiptJson {
    #[serde(rename = "type")]
    ty: U8,
    status: U8,
    cumulative_gas_used: U64,
    logs_bloom: Bloom,
    logs: Vec<Log>,
    transaction_hash: B256,
    transaction_index: U64,
    block_hash: B256,
    block_number: U64,
    gas_used: U64,
    effective_gas_price: U128,
    from: Address,
    to: Option<Address>,
    contract_address: Option<Address>,
    #[serde(skip_serializing_if = "Option::is_none")]
    blob_gas_used: Option<U64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    blob_gas_price: Option<U128>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deposit_nonce: Option<U64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    promise: Option<PromiseJson>,
}

impl ReceiptJson {
    /// `block_hash` is zero until the seal; nothing else changes then.
    pub fn new(executed: &Executed, block_hash: B256) -> Self {
        let RecoveredTransaction { transaction, sender, .. } = &executed.transaction;
        let receipt = &executed.receipt;
        let nonce = executed.deposit_nonce.unwrap_or_else(|| transaction.nonce());
        let to = match transaction.kind() {
            TxKind::Call(to) => Some(to),
            TxKind::Create => None,
        };
        let bloom = receipt.bloom();
        Self {
            ty: U8::from(transaction.ty()),
            status: U8::from(u8::from(receipt.success)),
            cumulative_gas_used: U64::from(receipt.cumulative_gas_used),
            logs_bloom: bloom,
            logs: logs(executed, block_hash).collect(),
            transaction_hash: executed.hash,
            transaction_index: U64::from(executed.index),
            block_hash,
            block_number: U64::from(executed.block_number),
            gas_used: U64::from(executed.gas_used),
            effective_gas_price: U128::from(
                transaction.effective_gas_price(Some(executed.base_fee)),
            ),
            from: *sender,
            to,
            contract_address: to.is_none().then(|| sender.create(nonce)),
            blob_gas_used: transaction.blob_gas_used().map(U64::from),
            blob_gas_price: None,
            deposit_nonce: executed.deposit_nonce.map(U64::from),
            promise: None,
        }
    }

    pub fn with_promise(mut self, promise: Option<&SignedPromise>) -> Self {
        self.promise = promise.map(PromiseJson::from);
        self
    }

    pub fn with_blob_gas_price(mut self, price: Option<u128>) -> Self {
        self.blob_gas_price = self.blob_gas_used.and(price).map(U128::from);
        self
    }
}

/// The logs of a transaction with their places.
pub(crate) fn logs(executed: &Executed, block_hash: B256) -> impl Iterator<Item = Log> {
    executed.receipt.logs.iter().zip(executed.first_log..).map(move |(log, index)| Log {
        inner: log.clone(),
        block_hash: Some(block_hash),
        block_number: Some(executed.block_number),
        block_timestamp: Some(executed.timestamp),
        transaction_hash: Some(executed.hash),
        transaction_index: Some(u64::from(executed.index)),
        log_index: Some(index),
        removed: false,
    })
}

/// Length of an RLP list with a payload of `content` bytes.
fn list_len(content: usize) -> usize {
    content + alloy_rlp::length_of_length(content)
}

/// A promise as JSON (spec/promise.md).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PromiseJson {
    pub l2_chain_id: U64,
    pub lease_id: U256,
    pub sequence: U64,
    pub previous: B256,
    pub block_number: U64,
    pub timestamp: U64,
    pub beneficiary: Address,
    pub base_fee: U256,
    pub origin: B256,
    pub first_index: U64,
    pub count: U64,
    pub root: B256,
    /// `r ‖ s ‖ v`, v 27 or 28.
    pub signature: Bytes,
}

impl From<&SignedPromise> for PromiseJson {
    fn from(SignedPromise { promise, signature }: &SignedPromise) -> Self {
        Self {
            l2_chain_id: U64::from(promise.l2ChainId),
            lease_id: promise.leaseId,
            sequence: U64::from(promise.sequence),
            previous: promise.previous,
            block_number: U64::from(promise.blockNumber),
            timestamp: U64::from(promise.timestamp),
            beneficiary: promise.beneficiary,
            base_fee: promise.baseFee,
            origin: promise.origin,
            first_index: U64::from(promise.firstIndex),
            count: U64::from(promise.count),
            root: promise.root,
            signature: signature.as_bytes().into(),
        }
    }
}

/// The promise's numbers or signature are out of range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a signed promise")]
pub struct PromiseJsonError;

impl TryFrom<PromiseJson> for SignedPromise {
    type Error = PromiseJsonError;

    fn try_from(json: PromiseJson) -> Result<Self, PromiseJsonError> {
        let small = |number: U64| u32::try_from(number.to::<u64>()).map_err(|_| PromiseJsonError);
        let promise = Promise {
            l2ChainId: json.l2_chain_id.to(),
            leaseId: json.lease_id,
            sequence: json.sequence.to(),
            previous: json.previous,
            blockNumber: json.block_number.to(),
            timestamp: json.timestamp.to(),
            beneficiary: json.beneficiary,
            baseFee: json.base_fee,
            origin: json.origin,
            firstIndex: small(json.first_index)?,
            count: small(json.count)?,
            root: json.root,
        };
        let signature = alloy_primitives::Signature::from_raw(&json.signature);
        Ok(Self { promise, signature: signature.map_err(|_| PromiseJsonError)? })
    }
}

/// One notification of `miniBlocks`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct MiniBlockJson {
    promise: Option<PromiseJson>,
    transactions: Vec<Value>,
    receipts: Vec<ReceiptJson>,
}

impl From<&MiniBlock> for MiniBlockJson {
    fn from(block: &MiniBlock) -> Self {
        let executed = &block.transactions;
        Self {
            promise: block.promise.as_deref().map(PromiseJson::from),
            transactions: executed.iter().map(|tx| executed_transaction(tx, B256::ZERO)).collect(),
            receipts: executed.iter().map(|tx| ReceiptJson::new(tx, B256::ZERO)).collect(),
        }
    }
}

/// One notification of `miniBlocks` with the option `raw`: what the promise's root is made of.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RawMiniBlockJson {
    promise: Option<PromiseJson>,
    /// EIP-2718.
    raw_transactions: Vec<Bytes>,
    receipt_hashes: Vec<B256>,
}

impl From<&MiniBlock> for RawMiniBlockJson {
    fn from(block: &MiniBlock) -> Self {
        let executed = &block.transactions;
        let raw = |e: &Arc<Executed>| e.transaction.transaction.encoded_2718().into();
        let receipt = |e: &Arc<Executed>| keccak256(e.receipt.with_bloom_ref().encoded_2718());
        Self {
            promise: block.promise.as_deref().map(PromiseJson::from),
            raw_transactions: executed.iter().map(raw).collect(),
            receipt_hashes: executed.iter().map(receipt).collect(),
        }
    }
}
