//! A JSON-RPC client without any knowledge of the chain, and signed transactions.

#![allow(clippy::unwrap_used)] // A test that fails here says where.
#![allow(dead_code)] // Each test file uses a part of it.

use alloy_consensus::{
    SignableTransaction, TxEip1559, TxEip4844, TxEip4844WithSidecar, TxEnvelope, TypedTransaction,
};
use alloy_eips::eip2718::Encodable2718;
use alloy_eips::eip4844::{BYTES_PER_BLOB, Blob};
use alloy_eips::eip7594::{BlobTransactionSidecarEip7594, BlobTransactionSidecarVariant};
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, hex, keccak256};
use alloy_signer::SignerSync;
use alloy_signer_local::PrivateKeySigner;
use annex_devl1::{DevL1, DevL1Config, dev_accounts};
use serde_json::{Value, json};

pub const CHAIN_ID: u64 = 900;
pub const GWEI: u128 = 1_000_000_000;

/// A JSON-RPC error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RpcError {
    pub code: i64,
    pub message: String,
}

#[derive(Clone, Debug)]
pub struct Rpc {
    client: reqwest::Client,
    url: String,
}

impl Rpc {
    pub fn new(url: impl Into<String>) -> Self {
        // An error says that another test was first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self { client: reqwest::Client::new(), url: url.into() }
    }

    pub async fn try_call(&self, method: &str, params: Value) -> Result<Value, RpcError> {
        let request = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let response = self.client.post(&self.url).json(&request).send().await.unwrap();
        let response: Value = response.json().await.unwrap();
        match response.get("error") {
            None => Ok(response["result"].clone()),
            Some(error) => Err(RpcError {
                code: error["code"].as_i64().unwrap(),
                message: error["message"].as_str().unwrap().to_owned(),
            }),
        }
    }

    pub async fn call(&self, method: &str, params: Value) -> Value {
        let result = self.try_call(method, params.clone()).await;
        result.unwrap_or_else(|error| panic!("{method} {params}: {error:?}"))
    }

    pub async fn send(&self, raw: &Bytes) -> Result<B256, RpcError> {
        let hash = self.try_call("eth_sendRawTransaction", json!([raw])).await?;
        Ok(serde_json::from_value(hash).unwrap())
    }

    pub async fn receipt(&self, hash: B256) -> Value {
        self.call("eth_getTransactionReceipt", json!([hash])).await
    }

    pub async fn block(&self, number: impl serde::Serialize) -> Value {
        self.call("eth_getBlockByNumber", json!([number, false])).await
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        let response = self.client.get(format!("{}{path}", self.url)).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }
}

pub async fn start() -> (DevL1, Rpc, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let l1 = DevL1::start(DevL1Config::new(dir.path().join("l1"))).await.unwrap();
    let rpc = Rpc::new(l1.url());
    (l1, rpc, dir)
}

pub fn signer(index: usize) -> PrivateKeySigner {
    dev_accounts().unwrap()[index].signer.clone()
}

pub fn number(value: &Value) -> u64 {
    u64::from_str_radix(value.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
}

pub fn transfer(nonce: u64, fee: u128, tip: u128) -> TxEip1559 {
    TxEip1559 {
        chain_id: CHAIN_ID,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: fee,
        max_priority_fee_per_gas: tip,
        to: TxKind::Call(Address::repeat_byte(0x42)),
        value: U256::from(1),
        ..TxEip1559::default()
    }
}

pub fn sign(signer: &PrivateKeySigner, tx: impl Into<TypedTransaction>) -> Bytes {
    let tx: TypedTransaction = tx.into();
    let signature = signer.sign_hash_sync(&tx.signature_hash()).unwrap();
    TxEnvelope::from(tx.into_signed(signature)).encoded_2718().into()
}

/// A blob of pseudo-random field elements.
pub fn blob(seed: u64) -> Blob {
    let mut blob = Blob::ZERO;
    for (index, element) in blob.chunks_exact_mut(32).take(BYTES_PER_BLOB / 64).enumerate() {
        let word = keccak256([seed.to_be_bytes(), (index as u64).to_be_bytes()].concat());
        element[1..].copy_from_slice(&word[1..]);
    }
    blob
}

pub fn sidecar(seeds: &[u64]) -> BlobTransactionSidecarEip7594 {
    let blobs = seeds.iter().map(|seed| blob(*seed)).collect();
    let settings = c_kzg::ethereum_kzg_settings(0);
    BlobTransactionSidecarEip7594::try_from_blobs_with_settings(blobs, settings).unwrap()
}

pub fn blob_tx(nonce: u64, hashes: Vec<B256>, fee: u128, blob_fee: u128) -> TxEip4844 {
    TxEip4844 {
        chain_id: CHAIN_ID,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: fee,
        max_priority_fee_per_gas: GWEI,
        to: Address::repeat_byte(0x42),
        max_fee_per_blob_gas: blob_fee,
        blob_versioned_hashes: hashes,
        ..TxEip4844::default()
    }
}

/// The network form.
pub fn sign_blobs(
    signer: &PrivateKeySigner,
    tx: TxEip4844,
    sidecar: impl Into<BlobTransactionSidecarVariant>,
) -> Bytes {
    let signature = signer.sign_hash_sync(&tx.signature_hash()).unwrap();
    let tx = TxEip4844WithSidecar::from_tx_and_sidecar(tx, sidecar.into());
    TxEnvelope::from(tx.into_signed(signature)).encoded_2718().into()
}

/// Init code that deploys `runtime`, which is at most 255 bytes long.
pub fn init_code(runtime: &[u8]) -> Bytes {
    let length = u8::try_from(runtime.len()).unwrap();
    // PUSH1 length, DUP1, PUSH1 offset, PUSH0, CODECOPY, PUSH0, RETURN
    [&[0x60, length, 0x80, 0x60, 0x09, 0x5f, 0x39, 0x5f, 0xf3], runtime].concat().into()
}

/// Stores its calldata's first word in slot 0, logs it with one topic and returns it; reverts with
/// `Error("no")` if the word is zero.
pub fn runtime() -> Vec<u8> {
    hex::decode(concat!(
        "5f3580602757",         // word := CALLDATALOAD(0); if word, go to 0x27
        "6308c379a060e01b5f52", // MSTORE(0, selector of Error(string))
        "60206004526002602452", // offset and length of the string
        "616e6f60f01b604452",   // "no"
        "60645ffd",             // REVERT(0, 100)
        "5b805f55",             // SSTORE(0, word)
        "805f5260205fa1",       // LOG1(0, 32, word)
        "60205ff3",             // RETURN(0, 32)
    ))
    .unwrap()
}
