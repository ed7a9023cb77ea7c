//! Call by call against Anvil: the same transactions go to both, and the answers must be equal but for what
//! spec/rpc.md exempts ("Embedded L1").

#![allow(clippy::unwrap_used)] // A test that fails here says where.

mod common;

use alloy_consensus::{TxEip1559, TxEip2930, TxEip7702, TxLegacy};
use alloy_eips::eip2930::{AccessList, AccessListItem};
use alloy_eips::eip7702::Authorization;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, address};
use alloy_signer::SignerSync;
use annex_devl1::{DevL1, DevL1Config};
use common::*;
use serde_json::{Value, json};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Fields that differ, wherever they are, or that only one has; a block's `hash`, too. [`normalise`] has the others.
const EXEMPT: [&str; 10] = [
    "blockHash",
    "parentHash",
    "stateRoot",
    "mixHash",
    "totalDifficulty",
    "size",
    "excessBlobGas",
    "blobs",
    "commitments",
    "cellProofs",
];

/// Start of the chain, in seconds.
const GENESIS: u64 = 1_900_000_000;

struct Anvil(Child);

impl Drop for Anvil {
    fn drop(&mut self) {
        // An error says that it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The binary that npm installed, or the one in `ANVIL`.
fn binary() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("ANVIL") {
        return Some(path.into());
    }
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let modules = ["tests/clients/node_modules/@foundry-rs", "contracts/node_modules/@foundry-rs"];
    modules
        .iter()
        .filter_map(|modules| std::fs::read_dir(root.join(modules)).ok())
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("anvil-")))
        .map(|path| path.join("bin/anvil"))
        .find(|path| path.exists())
}

struct Both {
    l1: DevL1,
    ours: Rpc,
    anvil: Rpc,
    differences: Vec<String>,
    time: u64,
    _process: Anvil,
    _dir: tempfile::TempDir,
}

impl Both {
    async fn start(binary: PathBuf) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = DevL1Config {
            genesis_timestamp: Some(GENESIS),
            ..DevL1Config::new(dir.path().join("l1"))
        };
        let l1 = DevL1::start(config).await.unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = Command::new(binary)
            .args(["--hardfork", "osaka", "--enable-tx-gas-limit", "--silent", "--steps-tracing"])
            .args(["--chain-id", "900", "--gas-limit", "60000000"])
            .args(["--timestamp", &GENESIS.to_string(), "--port", &port.to_string()])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let anvil = Rpc::new(format!("http://127.0.0.1:{port}"));
        for _ in 0..200 {
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let (ours, differences) = (Rpc::new(l1.url()), Vec::new());
        let process = Anvil(process);
        Self { l1, ours, anvil, differences, time: GENESIS, _process: process, _dir: dir }
    }

    /// Calls both and compares. Returns our answer.
    async fn same(&mut self, method: &str, params: Value) -> Result<Value, RpcError> {
        let ours = self.ours.try_call(method, params.clone()).await;
        let anvil = self.anvil.try_call(method, params.clone()).await;
        let params = short(&params);
        let normal = |answer: &Result<Value, RpcError>| {
            answer.clone().map(|mut value| {
                normalise(&mut value);
                value
            })
        };
        match (normal(&ours), normal(&anvil)) {
            (Ok(ours), Ok(anvil)) => {
                diff(&format!("{method} {params}"), &ours, &anvil, &mut self.differences)
            }
            (ours, anvil) if ours != anvil => self
                .differences
                .push(format!("{method} {params}:\n  ours  {ours:?}\n  anvil {anvil:?}")),
            _ => {}
        }
        ours
    }

    /// Calls both; both must fail, with messages and codes of their own.
    async fn both_fail(
        &mut self,
        method: &str,
        params: Value,
        ours: (i64, &str),
        anvil: (i64, &str),
    ) {
        for (rpc, (code, message)) in [(&self.ours, ours), (&self.anvil, anvil)] {
            let error = rpc.try_call(method, params.clone()).await;
            let matches =
                matches!(&error, Err(e) if e.code == code && e.message.starts_with(message));
            if !matches {
                let wanted = (code, message);
                self.differences.push(format!("{method}: wanted {wanted:?}, got {error:?}"));
            }
        }
    }

    async fn at_next_second(&mut self) {
        self.time += 7;
        self.same("evm_setNextBlockTimestamp", json!([self.time])).await.unwrap();
    }

    /// Sends to both, which mine it, and compares everything that can be asked about it.
    async fn mine(&mut self, raw: Bytes) -> Value {
        self.at_next_second().await;
        let hash = self.same("eth_sendRawTransaction", json!([raw])).await.unwrap();
        // Anvil answers before it mines, and for a moment afterwards tells of the transaction as of one that waits.
        for _ in 0..500 {
            let mined = self.anvil.call("eth_getTransactionByHash", json!([hash])).await;
            if mined["blockNumber"].is_string() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let receipt = self.same("eth_getTransactionReceipt", json!([hash])).await.unwrap();
        self.same("eth_getTransactionByHash", json!([hash])).await.unwrap();
        let number = &receipt["blockNumber"];
        for full in [false, true] {
            self.same("eth_getBlockByNumber", json!([number, full])).await.unwrap();
        }
        self.same("eth_getBlockReceipts", json!([number])).await.unwrap();
        self.same("eth_getTransactionByBlockNumberAndIndex", json!([number, "0x0"])).await.unwrap();
        self.same("eth_getBlockTransactionCountByNumber", json!([number])).await.unwrap();
        self.same("eth_getLogs", json!([{"fromBlock": number, "toBlock": number}])).await.unwrap();
        self.trace(&hash, number).await;
        receipt
    }

    /// Compares what every tracer that both have says of a transaction.
    async fn trace(&mut self, hash: &Value, number: &Value) {
        let with = |name: &str, config: Value| json!({"tracer": name, "tracerConfig": config});
        let options = [
            json!({}),
            json!({"enableMemory": true, "enableReturnData": true}),
            json!({"disableStack": true, "disableStorage": true}),
            with("callTracer", json!({})),
            with("callTracer", json!({"withLog": true})),
            with("callTracer", json!({"onlyTopCall": true})),
            with("prestateTracer", json!({})),
            with("prestateTracer", json!({"diffMode": true})),
            with("4byteTracer", json!({})),
            with("noopTracer", json!({})),
        ];
        for options in options {
            let params = json!([hash, options]);
            let mut ours = self.ours.call("debug_traceTransaction", params.clone()).await;
            let mut anvil = self.anvil.call("debug_traceTransaction", params.clone()).await;
            for trace in [&mut ours, &mut anvil] {
                normalise_trace(trace);
            }
            let path = format!("debug_traceTransaction {}", short(&params));
            diff(&path, &ours, &anvil, &mut self.differences);
        }
        let traces = self.ours.call("debug_traceBlockByNumber", json!([number])).await;
        let trace = self.ours.call("debug_traceTransaction", json!([hash])).await;
        assert!(traces.as_array().unwrap().contains(&json!({"txHash": hash, "result": trace})));
    }
}

/// Anvil's outermost frame has the gas that the execution begins with, ours and go-ethereum's the transaction's limit; its
/// prestate has accounts that did not exist.
fn normalise_trace(trace: &mut Value) {
    let Value::Object(fields) = trace else { return };
    if fields.contains_key("gasUsed") {
        fields.remove("gas");
    }
    fields.retain(|_, field| *field != json!({"balance": "0x0"}));
}

/// Removes what is exempt.
fn normalise(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(normalise),
        Value::Object(fields) => {
            if fields.contains_key("stateRoot") {
                fields.remove("hash");
                if fields["blobGasUsed"] != "0x0" {
                    fields.remove("transactionsRoot");
                }
            }
            if fields.contains_key("cumulativeGasUsed") {
                fields.remove("blockTimestamp");
                if !fields.contains_key("blobGasUsed") {
                    fields.remove("blobGasPrice");
                }
            }
            for name in EXEMPT {
                fields.remove(name);
            }
            fields.values_mut().for_each(normalise);
        }
        _ => {}
    }
}

/// Without the length of blobs.
fn short(value: &Value) -> String {
    value.to_string().chars().take(400).collect()
}

fn diff(path: &str, ours: &Value, anvil: &Value, out: &mut Vec<String>) {
    match (ours, anvil) {
        (Value::Object(a), Value::Object(b)) => {
            let names: std::collections::BTreeSet<_> = a.keys().chain(b.keys()).collect();
            for name in names {
                match (a.get(name), b.get(name)) {
                    (Some(a), Some(b)) => diff(&format!("{path} .{name}"), a, b, out),
                    (a, b) => out.push(format!("{path} .{name}: ours {a:?}, anvil {b:?}")),
                }
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                diff(&format!("{path} [{index}]"), a, b, out);
            }
        }
        (a, b) if a != b => out.push(format!("{path}: ours {}, anvil {}", short(a), short(b))),
        _ => {}
    }
}

#[tokio::test]
async fn answers_are_anvils() {
    let Some(binary) = binary() else {
        eprintln!("SKIPPED: no Anvil; run `npm ci` in tests/clients");
        return;
    };
    let mut both = Both::start(binary).await;
    // Anvil's block 1 has the base fee of block 0.
    both.same("anvil_setNextBlockBaseFeePerGas", json!(["0x3b9aca00"])).await.unwrap();
    constants(&mut both).await;
    let contract = transactions(&mut both).await;
    reads(&mut both, contract).await;
    errors(&mut both).await;
    steering(&mut both).await;
    blobs(&mut both).await;
    assert!(both.differences.is_empty(), "{}", both.differences.join("\n"));
    both.l1.stop().await;
}

async fn constants(both: &mut Both) {
    for method in ["eth_chainId", "net_version", "eth_syncing", "net_listening", "eth_blockNumber"]
    {
        both.same(method, json!([])).await.unwrap();
    }
    for method in ["eth_maxPriorityFeePerGas", "eth_blobBaseFee"] {
        both.same(method, json!([])).await.unwrap();
    }
    both.same("web3_sha3", json!(["0x1234"])).await.unwrap();
    both.same("eth_getBlockByNumber", json!(["0x0", true])).await.unwrap();
    both.same("eth_getBlockByNumber", json!(["0x99", true])).await.unwrap();
    both.same("eth_getTransactionReceipt", json!([B256::repeat_byte(1)])).await.unwrap();
    both.same("eth_getTransactionByHash", json!([B256::repeat_byte(1)])).await.unwrap();
    both.same("txpool_status", json!([])).await.unwrap();
    for index in 0..10 {
        let address = signer(index).address();
        both.same("eth_getBalance", json!([address, "latest"])).await.unwrap();
    }
    let deployer = address!("4e59b44847b379578588920cA78FbF26c0B4956C");
    let history = address!("0000F90827F1C53a10cb7A02335B175320002935");
    for code in [deployer, history, Address::repeat_byte(1)] {
        both.same("eth_getCode", json!([code, "latest"])).await.unwrap();
    }
}

fn call(nonce: u64, to: Address, word: u64) -> TxEip1559 {
    TxEip1559 {
        gas_limit: 100_000,
        to: TxKind::Call(to),
        value: U256::ZERO,
        input: B256::from(U256::from(word)).into(),
        ..transfer(nonce, 20 * GWEI, GWEI)
    }
}

/// One of each type, and each way to end. Returns a contract.
async fn transactions(both: &mut Both) -> Address {
    let create = TxEip1559 {
        gas_limit: 1_000_000,
        to: TxKind::Create,
        value: U256::ZERO,
        input: init_code(&runtime()),
        ..transfer(0, 20 * GWEI, GWEI)
    };
    let receipt = both.mine(sign(&signer(0), create)).await;
    let contract: Address = serde_json::from_value(receipt["contractAddress"].clone()).unwrap();
    assert_eq!(receipt["status"], "0x1");
    let receipt = both.mine(sign(&signer(0), call(1, contract, 7))).await;
    assert_eq!((&receipt["status"], receipt["logs"].as_array().unwrap().len()), (&json!("0x1"), 1));
    let receipt = both.mine(sign(&signer(0), call(2, contract, 0))).await;
    assert_eq!(receipt["status"], "0x0");
    let out_of_gas = TxEip1559 { gas_limit: 24_000, ..call(3, contract, 8) };
    assert_eq!(both.mine(sign(&signer(0), out_of_gas)).await["status"], "0x0");
    let legacy = TxLegacy {
        chain_id: Some(CHAIN_ID),
        nonce: 4,
        gas_price: 5 * GWEI,
        gas_limit: 21_000,
        to: TxKind::Call(Address::repeat_byte(0x55)),
        value: U256::from(10u64.pow(18)),
        input: Bytes::new(),
    };
    both.mine(sign(&signer(0), legacy)).await;
    let slot = AccessListItem { address: contract, storage_keys: vec![B256::ZERO] };
    let listed = TxEip2930 {
        chain_id: CHAIN_ID,
        nonce: 5,
        gas_price: 5 * GWEI,
        gas_limit: 100_000,
        to: TxKind::Call(contract),
        value: U256::ZERO,
        access_list: AccessList(vec![slot]),
        input: B256::from(U256::from(9)).into(),
    };
    both.mine(sign(&signer(0), listed)).await;
    let authorization =
        Authorization { chain_id: U256::from(CHAIN_ID), address: contract, nonce: 0 };
    let signature = signer(1).sign_hash_sync(&authorization.signature_hash()).unwrap();
    let delegating = TxEip7702 {
        chain_id: CHAIN_ID,
        nonce: 6,
        gas_limit: 200_000,
        max_fee_per_gas: 20 * GWEI,
        max_priority_fee_per_gas: GWEI,
        to: signer(1).address(),
        value: U256::ZERO,
        access_list: AccessList::default(),
        authorization_list: vec![authorization.into_signed(signature)],
        input: B256::from(U256::from(11)).into(),
    };
    let receipt = both.mine(sign(&signer(0), delegating)).await;
    assert_eq!(receipt["logs"][0]["address"], json!(signer(1).address()));
    contract
}

async fn reads(both: &mut Both, contract: Address) {
    let sender = signer(0).address();
    for address in [sender, signer(1).address(), contract, Address::repeat_byte(0x55)] {
        for block in ["latest", "0x2", "earliest", "pending"] {
            both.same("eth_getBalance", json!([address, block])).await.unwrap();
            both.same("eth_getTransactionCount", json!([address, block])).await.unwrap();
            both.same("eth_getCode", json!([address, block])).await.unwrap();
            both.same("eth_getStorageAt", json!([address, "0x0", block])).await.unwrap();
        }
    }
    let word = |word: u64| B256::from(U256::from(word));
    for word in [word(7), word(0)] {
        let request = json!({"from": sender, "to": contract, "data": word});
        let _ = both.same("eth_call", json!([request, "latest"])).await;
        let _ = both.same("eth_estimateGas", json!([request])).await;
    }
    let halts = json!({"from": sender, "data": "0xfe", "gas": "0x186a0"});
    both.both_fail(
        "eth_call",
        json!([halts, "latest"]),
        (-32000, "invalid opcode"),
        (-32603, "EVM error InvalidFEOpcode"),
    )
    .await;
    let creation = json!({"from": sender, "data": init_code(&runtime())});
    both.same("eth_call", json!([creation, "latest"])).await.unwrap();
    both.same("eth_estimateGas", json!([creation])).await.unwrap();
    let value = json!({"from": sender, "to": Address::repeat_byte(0x56), "value": "0x1"});
    both.same("eth_estimateGas", json!([value])).await.unwrap();
    let overrides = json!({contract.to_string(): {"code": "0x5f5460005260206000f3", "stateDiff": {word(0).to_string(): word(99)}}});
    both.same("eth_call", json!([{"to": contract}, "latest", overrides])).await.unwrap();
    for filter in [
        json!({"fromBlock": "0x0", "toBlock": "latest"}),
        json!({"fromBlock": "0x0", "address": contract}),
        json!({"fromBlock": "0x0", "topics": [word(9)]}),
        json!({"fromBlock": "0x0", "topics": [[word(7), word(11)]]}),
        json!({"fromBlock": "0x0", "topics": [word(1)]}),
    ] {
        both.same("eth_getLogs", json!([filter])).await.unwrap();
    }
    for method in ["eth_gasPrice", "eth_maxPriorityFeePerGas", "eth_blockNumber"] {
        both.same(method, json!([])).await.unwrap();
    }
    both.same("eth_getUncleCountByBlockNumber", json!(["0x1"])).await.unwrap();
}

async fn errors(both: &mut Both) {
    both.same("eth_noSuchMethod", json!([])).await.unwrap_err();
    let raw = |nonce, value: U256, chain_id, gas_limit| {
        let tx = TxEip1559 { value, chain_id, gas_limit, ..transfer(nonce, 20 * GWEI, GWEI) };
        json!([sign(&signer(0), tx)])
    };
    let one = U256::from(1);
    let send = "eth_sendRawTransaction";
    let (ours, anvil) = ((-32000, "nonce too low"), (-32003, "nonce too low"));
    both.both_fail(send, raw(0, one, CHAIN_ID, 21_000), ours, anvil).await;
    let ours = (-32000, "insufficient funds for gas * price + value");
    let anvil = (-32003, "Insufficient funds for gas * price + value");
    both.both_fail(send, raw(7, U256::MAX >> 1, CHAIN_ID, 21_000), ours, anvil).await;
    let ours = (-32000, "invalid chain id for signer");
    both.both_fail(send, raw(7, one, 1, 21_000), ours, (-32003, "invalid chain id for signer"))
        .await;
    let (ours, anvil) = ((-32000, "intrinsic gas too low"), (-32000, "intrinsic gas too low"));
    both.both_fail(send, raw(7, one, CHAIN_ID, 20_000), ours, anvil).await;
    let ours = (-32000, "transaction gas limit too high");
    both.both_fail(
        send,
        raw(7, one, CHAIN_ID, 20_000_000),
        ours,
        (-32000, "intrinsic gas too high"),
    )
    .await;
    let (ours, anvil) = ((-32000, "transaction type not supported: 18"), (-32602, ""));
    both.both_fail(send, json!(["0x1234"]), ours, anvil).await;
    let (ours, anvil) = ((-32602, ""), (-32602, ""));
    both.both_fail(send, json!(["0x"]), ours, anvil).await;
    both.both_fail("eth_getBalance", json!(["0x12", "latest"]), ours, anvil).await;
    both.both_fail("evm_setNextBlockTimestamp", json!([1]), ours, anvil).await;
    both.both_fail("anvil_reorg", json!([1000, []]), ours, anvil).await;
}

async fn steering(both: &mut Both) {
    both.at_next_second().await;
    both.same("evm_mine", json!([])).await.unwrap();
    both.same("eth_getBlockByNumber", json!(["latest", false])).await.unwrap();
    both.same("evm_setAutomine", json!([false])).await.unwrap();
    both.same("anvil_getAutomine", json!([])).await.unwrap();
    let first = sign(&signer(2), transfer(0, 20 * GWEI, GWEI));
    let hash = both.same("eth_sendRawTransaction", json!([first])).await.unwrap();
    both.same("txpool_status", json!([])).await.unwrap();
    both.same("eth_getTransactionCount", json!([signer(2).address(), "pending"])).await.unwrap();
    both.same("eth_getTransactionReceipt", json!([hash])).await.unwrap();
    let again = json!([first]);
    let (ours, anvil) = ((-32000, "already known"), (-32003, "transaction already imported"));
    both.both_fail("eth_sendRawTransaction", again, ours, anvil).await;
    let cheap = TxEip1559 { value: U256::from(2), ..transfer(0, 20 * GWEI, GWEI) };
    let cheap = json!([sign(&signer(2), cheap)]);
    let message = "replacement transaction underpriced";
    both.both_fail("eth_sendRawTransaction", cheap, (-32000, message), (-32003, message)).await;
    both.same("anvil_dropTransaction", json!([hash])).await.unwrap();
    both.same("anvil_dropTransaction", json!([hash])).await.unwrap();
    both.same("txpool_status", json!([])).await.unwrap();
    let second = sign(&signer(2), transfer(0, 20 * GWEI, GWEI));
    both.same("eth_sendRawTransaction", json!([second])).await.unwrap();
    both.at_next_second().await;
    both.same("evm_mine", json!([])).await.unwrap();
    both.same("eth_getTransactionReceipt", json!([hash])).await.unwrap();
    both.same("evm_setAutomine", json!([true])).await.unwrap();
    let snapshot = both.same("evm_snapshot", json!([])).await.unwrap();
    both.mine(sign(&signer(2), transfer(1, 20 * GWEI, GWEI))).await;
    both.same("evm_revert", json!([snapshot])).await.unwrap();
    both.same("evm_revert", json!([snapshot])).await.unwrap();
    // Anvil does not come back to the base fee.
    both.same("anvil_setNextBlockBaseFeePerGas", json!(["0x3b9aca00"])).await.unwrap();
    both.same("eth_blockNumber", json!([])).await.unwrap();
    both.same("eth_getTransactionCount", json!([signer(2).address(), "latest"])).await.unwrap();
    both.same("anvil_setBlockTimestampInterval", json!([5])).await.unwrap();
    both.same("anvil_removeBlockTimestampInterval", json!([])).await.unwrap();
    both.same("anvil_getIntervalMining", json!([])).await.unwrap();
    both.same("evm_setIntervalMining", json!([1000])).await.unwrap();
    both.same("anvil_getIntervalMining", json!([])).await.unwrap();
    both.same("evm_setIntervalMining", json!([0])).await.unwrap();
    both.same("evm_setAutomine", json!([true])).await.unwrap();
}

async fn blobs(both: &mut Both) {
    for (nonce, seeds) in
        [[20, 21, 22].as_slice(), &[23; 6], &[24; 6], &[25; 6]].into_iter().enumerate()
    {
        let sidecar = sidecar(seeds);
        let tx = blob_tx(nonce as u64, sidecar.versioned_hashes().collect(), 20 * GWEI, GWEI);
        let receipt = both.mine(sign_blobs(&signer(3), tx, sidecar.clone())).await;
        assert_eq!(receipt["status"], "0x1");
        let number = common::number(&receipt["blockNumber"]);
        let (_, anvil) = both.anvil.get(&format!("/eth/v1/beacon/blobs/{number}")).await;
        let (_, ours) = both.ours.get("/eth/v1/beacon/blobs/head").await;
        diff(&format!("blobs of {number}"), &ours, &anvil, &mut both.differences);
    }
    both.same("eth_blobBaseFee", json!([])).await.unwrap();
    let sidecar = sidecar(&[26]);
    let tx = blob_tx(4, sidecar.versioned_hashes().collect(), 20 * GWEI, GWEI);
    let mut wrong = sidecar.clone();
    wrong.cell_proofs.swap(3, 4);
    let raw = json!([sign_blobs(&signer(3), tx, wrong)]);
    let ours = (-32000, "invalid blob sidecar");
    both.both_fail("eth_sendRawTransaction", raw, ours, (-32003, "")).await;
    let history = json!(["0x8", "latest", [25, 75]]);
    both.same("eth_feeHistory", history).await.unwrap();
    let (_, ours) = both.ours.get("/eth/v1/beacon/genesis").await;
    let (_, anvil) = both.anvil.get("/eth/v1/beacon/genesis").await;
    assert_eq!(ours, anvil);
}
