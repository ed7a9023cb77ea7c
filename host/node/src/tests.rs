//! Whole nodes in this process, over their sockets.

mod by_hand;
mod settlement;
mod waits;

use crate::{Dev, DevConfig, Lie, Node, NodeConfig};
use alloy_consensus::{SignableTransaction, TxEip1559};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, Bytes, Signature, TxKind, U256, keccak256};
use annex_devl1::DevAccount;
use jsonrpsee::core::{
    ClientError,
    client::{Client, ClientT},
    params::{ArrayParams, BatchRequestBuilder},
};
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::{Value, json};
use std::{path::Path, time::Duration};
use tokio::time::{Instant, sleep};

/// The tip that wallets are told to pay in quiet times, in wei.
const USUAL_TIP: u128 = 1_000_000;
/// The deposit that funds an account counts as one of its transactions.
const FIRST: u64 = 1;

fn config(dir: &Path) -> DevConfig {
    DevConfig {
        port: 0,
        l1_port: 0,
        l1: None,
        l1_block_time: Duration::from_secs(1),
        l1_gas_limit: 60_000_000,
        data_dir: dir.to_path_buf(),
        with_liar: None,
        ordering: Default::default(),
        pool: Default::default(),
        limits: Default::default(),
    }
}

async fn dev(dir: &Path) -> Dev {
    let config = config(dir);
    Dev::start(config, PrometheusBuilder::new().build_recorder().handle()).await.expect("dev")
}

struct Rpc(Client);

impl Rpc {
    async fn connect(url: &str) -> Self {
        Self(crate::feed::connect(url).await.expect("connects"))
    }

    async fn to(node: &Node) -> Self {
        Self::connect(&format!("ws://{}", node.addr())).await
    }

    async fn call(&self, method: &str, params: Value) -> Result<Value, (i32, String)> {
        let mut array = ArrayParams::new();
        for param in params.as_array().expect("an array") {
            array.insert(param).expect("JSON");
        }
        match self.0.request(method, array).await {
            Ok(value) => Ok(value),
            Err(ClientError::Call(error)) => Err((error.code(), error.message().to_owned())),
            Err(error) => panic!("{method}: {error}"),
        }
    }

    async fn get(&self, method: &str, params: Value) -> Value {
        self.call(method, params).await.unwrap_or_else(|error| panic!("{method}: {error:?}"))
    }

    async fn wei(&self, method: &str) -> u128 {
        number(&self.get(method, json!([])).await)
    }
}

fn number(value: &Value) -> u128 {
    let digits = value.as_str().and_then(|text| text.strip_prefix("0x")).expect("a quantity");
    u128::from_str_radix(digits, 16).expect("hex")
}

/// Bytes that do not compress.
fn noise(seed: u64, size: usize) -> Bytes {
    let words = (seed..).step_by(1 << 32).flat_map(|word| keccak256(word.to_be_bytes()));
    words.take(size).collect()
}

/// The transaction with this number of an account.
fn sign(from: &DevAccount, nonce: u64, size: usize, tip: u128) -> Bytes {
    let tx = TxEip1559 {
        chain_id: crate::dev::L2_CHAIN_ID,
        nonce: FIRST + nonce,
        gas_limit: 16_000_000,
        max_fee_per_gas: 1_000_000_000 + tip,
        max_priority_fee_per_gas: tip,
        to: TxKind::Call(Address::repeat_byte(0xaa)),
        value: U256::from(1),
        access_list: Default::default(),
        input: noise(FIRST + nonce, size),
    };
    signed(from, tx)
}

fn signed(from: &DevAccount, tx: TxEip1559) -> Bytes {
    let key = from.signer.credential();
    let (signature, id) =
        key.sign_prehash_recoverable(tx.signature_hash().as_slice()).expect("any hash signs");
    let signature = Signature::from_signature_and_parity(signature, id.is_y_odd());
    tx.into_signed(signature).encoded_2718().into()
}

/// The leader goes on while L1 mines nothing, so that nothing it posts is taken.
#[tokio::test(flavor = "multi_thread")]
async fn while_l1_takes_nothing_the_price_rises_and_falls_when_it_does() {
    const SIZE: usize = 100_000;
    let dir = tempfile::tempdir().expect("temp dir");
    let dev = dev(dir.path()).await;
    let (l1, l2) =
        (Rpc::connect(&dev.l1_url.replace("http", "ws")).await, Rpc::to(&dev.node).await);
    l1.get("evm_setAutomine", json!([false])).await;
    l1.get("evm_setIntervalMining", json!([0])).await;
    assert_eq!(l2.wei("eth_maxPriorityFeePerGas").await, USUAL_TIP);
    let account = &dev.accounts[0];
    let mut nonce = 0;
    while l2.wei("eth_maxPriorityFeePerGas").await <= USUAL_TIP {
        assert!(nonce < 100, "the price did not rise");
        l2.get("eth_sendRawTransactionSync", json!([sign(account, nonce, SIZE, 0)])).await;
        nonce += 1;
    }

    // Whatever a wallet asks, the answer is enough.
    let asked = l2.wei("eth_maxPriorityFeePerGas").await;
    let pending = l2.get("eth_getBlockByNumber", json!(["pending", false])).await;
    let base_fee = number(&pending["baseFeePerGas"]);
    assert!(l2.wei("eth_gasPrice").await >= base_fee + asked);
    let history = l2.get("eth_feeHistory", json!(["0x4", "latest", [10.0, 50.0]])).await;
    for reward in history["reward"].as_array().expect("rewards") {
        assert!(reward.as_array().expect("two").iter().all(|tip| number(tip) >= asked), "{reward}");
    }
    let first = l2.get("eth_feeHistory", json!(["0x1", "0x1", [50.0]])).await;
    assert_eq!(first["reward"], json!([["0x0"]]), "what was paid long ago stays as it was");
    let (code, message) = l2
        .call("eth_sendRawTransaction", json!([sign(account, nonce, 0, 0)]))
        .await
        .expect_err("0");
    assert_eq!(code, -32000);
    assert!(message.starts_with("transaction underpriced: tip needed "), "{message}");
    let sync = json!([sign(account, nonce, 0, USUAL_TIP / 2)]);
    let (code, _) = l2.call("eth_sendRawTransactionSync", sync).await.expect_err("too little");
    assert_eq!(code, -32000);
    let taken = json!([sign(account, nonce, 0, asked)]);
    assert_eq!(l2.get("eth_sendRawTransactionSync", taken).await["status"], json!("0x1"));

    // At the bound nothing helps.
    let refused = loop {
        nonce += 1;
        assert!(nonce < 200, "there is no bound");
        let raw = sign(account, nonce, SIZE, 10u128.pow(12));
        if let Err(error) = l2.call("eth_sendRawTransaction", json!([raw])).await {
            break error;
        }
    };
    assert_eq!(refused, (-32005, "too much unposted data, try again later".to_owned()));

    let start = Instant::now();
    while l2.wei("eth_maxPriorityFeePerGas").await > USUAL_TIP {
        assert!(start.elapsed() < Duration::from_secs(90), "the price did not fall");
        l1.get("evm_mine", json!([])).await;
        sleep(Duration::from_millis(200)).await;
    }
    l2.get("eth_sendRawTransactionSync", json!([sign(account, nonce, 0, 0)])).await;
    dev.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_promises_are_served() {
    let dir = tempfile::tempdir().expect("temp dir");
    let dev = dev(dir.path()).await;
    let (l1, l2) =
        (Rpc::connect(&dev.l1_url.replace("http", "ws")).await, Rpc::to(&dev.node).await);
    l1.get("evm_setAutomine", json!([false])).await;
    l1.get("evm_setIntervalMining", json!([0])).await;
    let head = number(&l2.get("eth_blockNumber", json!([])).await) as u64;
    let mut receipts = Vec::new();
    for nonce in 0..2 {
        let raw = sign(&dev.accounts[0], nonce, 0, 0);
        receipts.push(l2.get("eth_sendRawTransactionSync", json!([raw])).await);
    }
    assert_eq!(l2.get("annex_changedPromises", json!([])).await, json!([]));
    // As when L1 records something else.
    dev.node.engine.take_back(head).expect("runs");
    dev.node.engine.caught_up().expect("runs");
    let start = Instant::now();
    let changes = loop {
        let changes = l2.get("annex_changedPromises", json!([])).await;
        if changes != json!([]) {
            break changes;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "nothing is reported");
        sleep(Duration::from_millis(20)).await;
    };
    for (index, receipt) in receipts.iter().enumerate() {
        let change = &changes[index];
        assert_eq!(change["number"], json!(format!("{index:#x}")));
        assert_eq!(change["transaction"], receipt["transactionHash"]);
        assert_eq!(change["promisedBlock"], receipt["blockNumber"]);
        assert_eq!(change["promise"], receipt["promise"]);
        assert_eq!(
            (&change["newBlock"], &change["reason"]),
            (&receipt["blockNumber"], &Value::Null)
        );
    }
    assert_eq!(changes.as_array().map(Vec::len), Some(2));
    let second = l2.get("annex_changedPromises", json!(["0x1"])).await;
    assert_eq!(second, json!([changes[1]]));
    dev.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_hands_transactions_to_its_leader() {
    let dir = tempfile::tempdir().expect("temp dir");
    let dev = dev(&dir.path().join("dev")).await;
    let follower = async |name: &str, feed: Option<String>| {
        let url = dev.l1_url.clone();
        let data_dir = dir.path().join(name);
        let base = NodeConfig::new(url.clone(), url, dev.deployment.clone(), data_dir);
        let config = NodeConfig { addr: ([127, 0, 0, 1], 0).into(), feed, ..base };
        let metrics = PrometheusBuilder::new().build_recorder().handle();
        Node::start(config, metrics).await.expect("a follower")
    };
    let alone = follower("alone", None).await;
    let fed = follower("fed", Some(format!("ws://{}", dev.node.addr()))).await;
    let (alone_rpc, rpc) = (Rpc::to(&alone).await, Rpc::to(&fed).await);
    let leader = Rpc::to(&dev.node).await;
    let account = &dev.accounts[0].clone();

    // Without a leader the error says what to do.
    let raw = sign(account, 0, 0, 0);
    let (code, message) =
        alone_rpc.call("eth_sendRawTransaction", json!([raw])).await.expect_err("nobody orders");
    assert_eq!(code, -32002);
    assert!(message.contains("--feed") && message.contains("Portal"), "{message}");
    let (code, same) =
        alone_rpc.call("eth_sendRawTransactionSync", json!([raw])).await.expect_err("as above");
    assert_eq!((code, same), (5, message));

    // With one, its answers come back: hash, receipt with promise, errors with their codes.
    let hash = rpc.get("eth_sendRawTransaction", json!([raw])).await;
    assert_eq!(hash, json!(keccak256(&raw)));
    assert_eq!(
        leader.get("eth_getTransactionReceipt", json!([hash])).await["status"],
        json!("0x1")
    );
    let raw = sign(account, 1, 0, 0);
    let receipt = rpc.get("eth_sendRawTransactionSync", json!([raw, 3000])).await;
    assert_eq!(receipt["transactionHash"], json!(keccak256(&raw)));
    assert!(receipt["promise"]["signature"].is_string(), "{receipt}");
    let again = rpc.call("eth_sendRawTransaction", json!([raw])).await.expect_err("known");
    assert_eq!(again, (-32000, "already known".to_owned()));
    let gap = json!([sign(account, 9, 0, 0)]);
    assert_eq!(rpc.call("eth_sendRawTransactionSync", gap).await.expect_err("a gap").0, 6);
    let (code, _) = rpc.call("eth_sendRawTransaction", json!(["0x02"])).await.expect_err("bytes");
    assert_eq!(code, -32602);

    // A batch keeps its order, with the bad one in its place.
    let mut batch = BatchRequestBuilder::new();
    for raw in [sign(account, 2, 0, 0), Bytes::from_static(&[2]), sign(account, 3, 0, 0)] {
        batch.insert("eth_sendRawTransaction", [raw]).expect("JSON");
    }
    let answers = rpc.0.batch_request::<Value>(batch).await.expect("answers");
    let answers: Vec<_> = answers.into_iter().map(|answer| answer.map_err(|e| e.code())).collect();
    assert!(answers[0].is_ok() && answers[2].is_ok(), "{answers:?}");
    assert_eq!(answers[1], Err(-32602));
    let next = leader.get("eth_getTransactionCount", json!([account.address, "latest"])).await;
    assert_eq!(next, json!(format!("{:#x}", FIRST + 4)));

    // A leader that is gone is named, and the transaction is not.
    drop(leader);
    dev.stop().await;
    let (code, message) = rpc
        .call("eth_sendRawTransaction", json!([sign(account, 4, 0, 0)]))
        .await
        .expect_err("gone");
    assert_eq!(code, -32002);
    assert!(message.starts_with("the leader does not answer"), "{message}");
    fed.stop().await;
    alone.stop().await;
}

/// Nobody may have the blobs of a batch that L1 does not carry any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_follower_does_not_wait_for_the_blobs_of_a_batch_that_is_gone() {
    let dir = tempfile::tempdir().expect("temp dir");
    let dev = dev(&dir.path().join("dev")).await;
    let (l1, leader) =
        (Rpc::connect(&dev.l1_url.replace("http", "ws")).await, Rpc::to(&dev.node).await);
    let before = l1.wei("eth_blockNumber").await;
    let safe = async || leader.get("eth_getBlockByNumber", json!(["safe", false])).await;
    assert_eq!(safe().await["number"], "0x0", "nothing is posted yet");
    let begin = Instant::now();
    while safe().await["number"] == "0x0" {
        assert!(begin.elapsed() < Duration::from_secs(60), "nothing is posted");
        sleep(Duration::from_millis(50)).await;
    }
    l1.get("evm_setAutomine", json!([false])).await;
    l1.get("evm_setIntervalMining", json!([0])).await;

    let unused = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let nothing = format!("http://{}", unused.local_addr().expect("bound"));
    drop(unused);
    let data_dir = dir.path().join("follower");
    let base = NodeConfig::new(dev.l1_url.clone(), nothing, dev.deployment.clone(), data_dir);
    let config = NodeConfig { addr: ([127, 0, 0, 1], 0).into(), ..base };
    let metrics = PrometheusBuilder::new().build_recorder().handle();
    let follower = Node::start(config, metrics).await.expect("a follower");
    let rpc = Rpc::to(&follower).await;
    sleep(Duration::from_secs(3)).await;
    assert_ne!(rpc.get("eth_syncing", json!([])).await, json!(false), "it waits for blobs");
    let depth = (l1.wei("eth_blockNumber").await - before) as u64;
    l1.get("anvil_rollback", json!([depth])).await;
    // A head that is only lower may be an endpoint that lags.
    l1.get("anvil_dropAllTransactions", json!([])).await;
    l1.get("anvil_mine", json!([depth + 2])).await;
    let begin = Instant::now();
    while rpc.get("eth_syncing", json!([])).await != json!(false) {
        assert!(begin.elapsed() < Duration::from_secs(60), "it waits for ever");
        sleep(Duration::from_millis(50)).await;
    }
    follower.stop().await;
    dev.stop().await;
}
