//! Drives the real server over sockets.

mod chain;
mod config;
mod execution;
mod hostile;
mod shapes;

use crate::{Limits, PromiseJson, Reply, Route, ServerConfig, serve};
use alloy_eips::Decodable2718;
use alloy_primitives::{Address, B256, Bytes, U64, U256, keccak256};
use annex_evm::Rules;
use annex_types::promise::{self, SignedPromise};
use chain::*;
use jsonrpsee::core::client::{Client, Subscription, SubscriptionClientT};
use jsonrpsee::rpc_params;
use k256::ecdsa::SigningKey;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

struct Node {
    chain: Arc<TestChain>,
    handle: crate::Handle,
    http: tokio::sync::Mutex<TcpStream>,
    key: SigningKey,
}

impl Node {
    async fn start(rules: Rules) -> Self {
        Self::with(rules, |_| ()).await
    }

    async fn with(rules: Rules, change: impl FnOnce(&mut ServerConfig)) -> Self {
        let key = key(1);
        let chain = TestChain::new(rules, &[address_of(&key), address_of(&chain::key(2))]);
        let mut config = ServerConfig::new(([127, 0, 0, 1], 0).into());
        config.limits.max_request = 1 << 20;
        change(&mut config);
        let health = Route::new("/health", |_| async { Reply::json(200, "{\"ok\":true}") });
        let blobs = Route::new("/eth/v1/", |path| async move { Reply::text(path) });
        let mut extra = jsonrpsee::RpcModule::new(());
        extra.register_method("annex_extra", |_, _, _| "extra").expect("a new name");
        let handle = serve(config, chain.clone(), extra, vec![health, blobs]).await.expect("serve");
        let http = TcpStream::connect(handle.addr).await.expect("connect");
        http.set_nodelay(true).expect("nodelay");
        Self { chain, handle, http: tokio::sync::Mutex::new(http), key }
    }

    fn address(&self) -> Address {
        address_of(&self.key)
    }

    async fn http(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream = self.http.lock().await;
        exchange(&mut stream, request.as_bytes()).await
    }

    async fn post(&self, body: &Value) -> Value {
        let (status, text) = self.http("POST", "/", &body.to_string()).await;
        assert_eq!(status, 200, "{text}");
        serde_json::from_str(&text).expect("JSON answer")
    }

    /// `result` or `error`.
    async fn rpc(&self, method: &str, params: Value) -> Result<Value, Value> {
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let mut answer = self.post(&request).await;
        match answer.get_mut("error") {
            Some(error) => Err(error.take()),
            None => Ok(answer["result"].take()),
        }
    }

    async fn get(&self, method: &str, params: Value) -> Value {
        self.rpc(method, params).await.unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    async fn error(&self, method: &str, params: Value) -> (i64, String) {
        let error = self.rpc(method, params).await.expect_err(method);
        (error["code"].as_i64().expect("code"), error["message"].as_str().expect("text").to_owned())
    }

    /// Sends a call of the funded account and returns its hash.
    async fn send(&self, nonce: u64, to: Address, value: u64, input: Bytes) -> Value {
        let tx = sign(&self.key, call(nonce, to, value, input));
        self.get("eth_sendRawTransaction", json!([raw(&tx)])).await
    }

    async fn websocket(&self) -> Client {
        let url = format!("ws://{}", self.handle.addr).parse().expect("URL");
        let builder = jsonrpsee::client_transport::ws::WsTransportClientBuilder::default();
        let (sender, receiver) = builder.build(url).await.expect("connect");
        Client::builder().build_with_tokio(sender, receiver)
    }
}

async fn exchange(stream: &mut TcpStream, request: &[u8]) -> (u16, String) {
    stream.write_all(request).await.expect("write");
    let mut answer = Vec::new();
    let head = loop {
        let mut chunk = [0; 65536];
        let read = stream.read(&mut chunk).await.expect("read");
        assert_ne!(read, 0, "connection closed: {}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&chunk[..read]);
        if let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let header = String::from_utf8_lossy(&answer[..head]).to_lowercase();
    let status = header[9..12].parse().expect("status");
    let length = header.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.map_or(0, |length| length.trim().parse().expect("length"));
    let mut body = answer.split_off(head);
    while body.len() < length {
        let mut chunk = vec![0; length - body.len()];
        let read = stream.read(&mut chunk).await.expect("read");
        assert_ne!(read, 0, "connection closed");
        body.extend_from_slice(&chunk[..read]);
    }
    (status, String::from_utf8(body).expect("UTF-8"))
}

fn word(value: u64) -> Bytes {
    B256::from(U256::from(value)).into()
}

async fn next(subscription: &mut Subscription<Value>) -> Value {
    let item = tokio::time::timeout(Duration::from_secs(10), subscription.next()).await;
    item.expect("in time").expect("open").expect("JSON")
}

#[tokio::test]
async fn acknowledged_transactions_are_seen_and_stay_as_they_are() {
    let node = Node::start(Rules::L2).await;
    let me = node.address();
    assert_eq!(node.get("eth_chainId", json!([])).await, json!("0x385"));
    assert_eq!(node.get("eth_blockNumber", json!([])).await, json!("0x0"));
    let pending = node.get("eth_getBlockByNumber", json!(["pending", true])).await;
    assert_eq!((&pending["number"], &pending["transactions"]), (&json!("0x1"), &json!([])));

    let first = node.send(0, Address::repeat_byte(5), 77, Bytes::new()).await;
    let second = node.send(1, COUNTER, 0, word(42)).await;
    for tag in ["latest", "pending"] {
        assert_eq!(node.get("eth_getTransactionCount", json!([me, tag])).await, json!("0x2"));
        let balance = node.get("eth_getBalance", json!([Address::repeat_byte(5), tag])).await;
        assert_eq!(balance, json!("0x4d"));
        let slot = node.get("eth_getStorageAt", json!([COUNTER, "0x0", tag])).await;
        assert_eq!(slot, json!(word(42)));
        let output = node.get("eth_call", json!([{ "to": COUNTER }, tag])).await;
        assert_eq!(output, json!(word(42)));
    }
    assert_eq!(node.get("eth_blockNumber", json!([])).await, json!("0x0"));
    let latest = node.get("eth_getBlockByNumber", json!(["latest", false])).await;
    assert_eq!(latest["number"], json!("0x0"));
    let pending = node.get("eth_getBlockByNumber", json!(["pending", false])).await;
    assert_eq!(pending["transactions"], json!([first, second]));
    // A receipt names block 1, which is open: its state can be read by number.
    let by_number = node.get("eth_getStorageAt", json!([COUNTER, "0x0", "0x1"])).await;
    assert_eq!(by_number, json!(word(42)));
    assert_eq!(node.error("eth_getBalance", json!([me, "0x2"])).await.0, -32000);

    let methods = ["eth_getTransactionReceipt", "eth_getTransactionByHash"];
    let mut before = Vec::new();
    for hash in [&first, &second] {
        for method in methods {
            before.push((method, hash, node.get(method, json!([hash])).await));
        }
    }
    assert_eq!(before[2].2["logs"][0]["topics"][0], json!(word(42)));
    node.chain.seal();
    assert_eq!(node.get("eth_blockNumber", json!([])).await, json!("0x1"));
    let block = node.get("eth_getBlockByNumber", json!(["latest", true])).await;
    let zero = format!("\"{}\"", B256::ZERO);
    for (method, hash, old) in before {
        let new = node.get(method, json!([hash])).await;
        assert_eq!(old["blockHash"], json!(B256::ZERO));
        let sealed = old
            .to_string()
            .replace(&format!("\"blockHash\":{zero}"), &format!("\"blockHash\":{}", block["hash"]));
        assert_eq!(new.to_string(), sealed, "only the block hash changes");
    }
    let expected = node.get("eth_getTransactionByHash", json!([second])).await;
    assert_eq!(block["transactions"][1], expected);
    let place = json!([block["hash"], "0x1"]);
    assert_eq!(node.get("eth_getTransactionByBlockHashAndIndex", place).await, expected);
    // History: before and after the block, by number and by hash.
    assert_eq!(node.get("eth_getStorageAt", json!([COUNTER, "0x0", "0x0"])).await, json!(word(0)));
    let at = json!([COUNTER, "0x0", { "blockHash": block["hash"] }]);
    assert_eq!(node.get("eth_getStorageAt", at).await, json!(word(42)));
}

/// What alloy's own types (cast, and every client on alloy) make of blocks, transactions and receipts.
#[tokio::test]
async fn alloy_reads_what_the_node_writes() {
    let node = Node::start(Rules::L2).await;
    let hash = node.send(0, COUNTER, 0, word(1)).await;
    let pending = node.get("eth_getBlockByNumber", json!(["pending", true])).await;
    serde_json::from_value::<alloy_rpc_types_eth::Block>(pending).expect("pending block");
    node.chain.seal();
    let json = node.get("eth_getBlockByNumber", json!(["latest", true])).await;
    let block: alloy_rpc_types_eth::Block = serde_json::from_value(json).expect("block");
    assert_eq!(block.header.inner.hash_slow(), block.header.hash);
    let transactions: Vec<_> = block.transactions.txns().cloned().collect();
    let encoded = transactions.iter().map(|tx| tx.inner.clone().into_inner()).collect::<Vec<_>>();
    let root = alloy_consensus::proofs::calculate_transaction_root(&encoded);
    assert_eq!(root, block.header.transactions_root);
    assert_eq!(transactions[0].inner.signer(), node.address());
    let json = node.get("eth_getTransactionReceipt", json!([hash])).await;
    let receipt: alloy_rpc_types_eth::TransactionReceipt =
        serde_json::from_value(json.clone()).expect("receipt");
    assert!(receipt.inner.status());
    assert_eq!(receipt.inner.logs().len(), 1);
    assert_eq!(receipt.effective_gas_price, u128::from(BASE_FEE) + 1_000_000);
    let receipts = node.get("eth_getBlockReceipts", json!(["latest"])).await;
    assert_eq!(receipts, json!([json]));
    let raw = node.get("eth_getRawTransactionByHash", json!([hash])).await;
    let raw: Bytes = serde_json::from_value(raw).expect("bytes");
    let decoded = annex_types::Transaction::decode_2718(&mut &raw[..]).expect("transaction");
    assert_eq!(json!(decoded.hash()), hash);
}

#[tokio::test]
async fn deposits_show_what_op_stack_tools_read() {
    let node = Node::start(Rules::L2).await;
    let from = Address::repeat_byte(0xd0);
    for (index, to) in [(1, alloy_primitives::TxKind::Call(COUNTER)), (2, Default::default())] {
        node.chain.deposit(op_alloy_consensus::TxDeposit {
            source_hash: B256::with_last_byte(index),
            from,
            to,
            mint: 1000,
            value: U256::ZERO,
            gas_limit: 100_000,
            is_system_transaction: false,
            input: Bytes::new(),
        });
    }
    let open = node.get("eth_getBlockReceipts", json!(["pending"])).await;
    node.chain.seal();
    let block = node.get("eth_getBlockByNumber", json!(["latest", true])).await;
    let tx = &block["transactions"][1];
    assert_eq!(tx["type"], json!("0x7e"));
    assert_eq!(tx["sourceHash"], json!(B256::with_last_byte(2)));
    assert_eq!((&tx["mint"], &tx["isSystemTx"]), (&json!("0x3e8"), &json!(false)));
    assert_eq!((&tx["from"], &tx["nonce"]), (&json!(from), &json!("0x1")));
    let sealed = node.get("eth_getBlockReceipts", json!(["latest"])).await;
    assert_eq!(sealed[0]["depositNonce"], json!("0x0"));
    assert_eq!(sealed[1]["depositNonce"], json!("0x1"));
    assert_eq!(sealed[1]["contractAddress"], json!(from.create(1)));
    let zero = B256::ZERO.to_string();
    let hash = block["hash"].as_str().expect("hash");
    assert_eq!(
        open.to_string()
            .replace(&format!("\"blockHash\":\"{zero}\""), &format!("\"blockHash\":\"{hash}\"")),
        sealed.to_string()
    );
    let by_alias = node.get("eth_getTransactionReceipt", json!([ALIAS])).await;
    assert!(sealed.as_array().expect("receipts").contains(&by_alias));
}

#[tokio::test]
async fn synchronous_send_answers_with_receipt_and_promise() {
    let node = Node::start(Rules::L2).await;
    let timeouts = [
        None,
        Some(json!(500)),
        Some(json!("0x1f4")),
        Some(Value::Null),
        Some(json!(0)),
        Some(json!("x")),
    ];
    for (nonce, timeout) in timeouts.into_iter().enumerate() {
        let tx = sign(&node.key, call(nonce as u64, COUNTER, 0, word(nonce as u64)));
        let mut params = vec![json!(raw(&tx))];
        params.extend(timeout);
        let receipt = node.get("eth_sendRawTransactionSync", json!(params)).await;
        assert_eq!(receipt["transactionHash"], json!(tx.hash()));
        let promise: PromiseJson =
            serde_json::from_value(receipt["promise"].clone()).expect("promise");
        assert_eq!(promise.sequence, U64::from(nonce));
        let signed = SignedPromise::try_from(promise).expect("signed promise");
        assert_eq!(signed.signer(&lease_domain()), Ok(address_of(&key(99))));
        assert_eq!(signed.promise.firstIndex, nonce as u32);
        let receipt_hash = {
            let json = receipt.clone();
            let parsed: alloy_rpc_types_eth::TransactionReceipt =
                serde_json::from_value(json).expect("receipt");
            use alloy_eips::Encodable2718;
            let plain = parsed.inner.map_logs(|log| log.inner);
            keccak256(plain.encoded_2718())
        };
        let root = promise::root(&[promise::leaf(tx.hash(), receipt_hash)]);
        assert_eq!(signed.promise.root, root, "a client can check the promise against the receipt");
        // Sent again: the same answer.
        let again = node.get("eth_sendRawTransactionSync", json!([raw(&tx)])).await;
        assert_eq!(again, receipt);
    }
    node.chain.seal();
    let last = sign(&node.key, call(5, COUNTER, 0, word(5)));
    let sealed = node.get("eth_sendRawTransactionSync", json!([raw(&last)])).await;
    assert_eq!(sealed["blockNumber"], json!("0x1"));
    assert_eq!(sealed, node.get("eth_getTransactionReceipt", json!([last.hash()])).await);
    let gap = sign(&node.key, call(9, COUNTER, 0, word(9)));
    let error = node.rpc("eth_sendRawTransactionSync", json!([raw(&gap)])).await.expect_err("gap");
    assert_eq!((&error["code"], &error["data"]), (&json!(6), &json!("0x6")));
}

#[tokio::test]
async fn a_batch_of_sends_is_one_hand_off_in_order() {
    let node = Node::start(Rules::L2).await;
    let send = |id: u64, nonce: u64| {
        let tx = sign(&node.key, call(nonce, COUNTER, 0, word(nonce)));
        json!({ "jsonrpc": "2.0", "id": id, "method": "eth_sendRawTransaction", "params": [raw(&tx)] })
    };
    let batch = json!([
        send(1, 0),
        send(2, 1),
        { "jsonrpc": "2.0", "id": 3, "method": "eth_getTransactionCount", "params": [node.address(), "latest"] },
        send(4, 2),
        { "jsonrpc": "2.0", "id": 5, "method": "eth_sendRawTransaction", "params": ["0xzz"] },
        { "jsonrpc": "2.0", "id": 6, "method": "eth_sendRawTransaction", "params": ["0x02"] },
        send(7, 0),
        { "jsonrpc": "2.0", "id": 8 },
        send(9, 3),
    ]);
    let answers = node.post(&batch).await;
    let ids: Vec<_> = answers.as_array().expect("array").iter().map(|a| a["id"].clone()).collect();
    assert_eq!(ids, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(answers[2]["result"], json!("0x2"), "the read sees the sends before it, not after");
    assert!(answers[0]["result"].is_string() && answers[8]["result"].is_string());
    assert_eq!(answers[4]["error"]["code"], json!(-32602));
    assert_eq!(answers[5]["error"]["code"], json!(-32602));
    assert!(answers[6]["error"]["message"] == json!("already known"), "{}", answers[6]);
    assert_eq!(answers[7]["error"]["code"], json!(-32600));
    assert_eq!(*node.chain.handoffs.lock().expect("no panic"), [2, 1, 2, 1]);
}

#[tokio::test]
async fn calls_fail_as_on_ethereum() {
    let node = Node::start(Rules::L2).await;
    let call = json!({ "from": node.address(), "to": REVERTER });
    for method in ["eth_call", "eth_estimateGas"] {
        let error = node.rpc(method, json!([call])).await.expect_err("reverts");
        assert_eq!(error["code"], json!(3));
        assert_eq!(error["message"], json!("execution reverted: nope"));
        assert!(error["data"].as_str().expect("data").starts_with("0x08c379a0"));
    }
    // Overrides: other code, other storage, another block.
    let number = "0x4360005260206000f3";
    let overrides = json!({ REVERTER.to_string(): { "code": number } });
    let params = json!([call, "latest", overrides, { "number": "0x1234" }]);
    assert_eq!(node.get("eth_call", params).await, json!(word(0x1234)));
    let diff = json!({ COUNTER.to_string(): { "stateDiff": { B256::ZERO.to_string(): word(5) } } });
    assert_eq!(
        node.get("eth_call", json!([{ "to": COUNTER }, "latest", diff])).await,
        json!(word(5))
    );
    assert_eq!(node.get("eth_call", json!([{ "to": COUNTER }, "latest"])).await, json!(word(0)));
    // An endless loop ends at the gas cap.
    let endless = json!({ REVERTER.to_string(): { "code": "0x5b600056" } });
    let (code, message) = node.error("eth_call", json!([call, "latest", endless])).await;
    assert_eq!((code, message.as_str()), (-32000, "out of gas"));
    let poor = json!({ "from": Address::repeat_byte(9), "to": COUNTER, "value": "0x1" });
    let (code, message) = node.error("eth_call", json!([poor])).await;
    assert_eq!(code, -32000);
    assert!(message.starts_with("insufficient funds for gas * price + value"), "{message}");
}

#[tokio::test]
async fn estimates_are_enough_and_tight() {
    for rules in [Rules::L2, Rules::L1] {
        let node = Node::start(rules).await;
        for (nonce, (to, input)) in
            [(COUNTER, word(7)), (Address::repeat_byte(3), Bytes::new())].into_iter().enumerate()
        {
            let request = json!({ "from": node.address(), "to": to, "data": input });
            let gas: U64 =
                serde_json::from_value(node.get("eth_estimateGas", json!([request])).await)
                    .expect("gas");
            let mut tx = call(nonce as u64, to, 0, input);
            tx.gas_limit = gas.to();
            let tx = sign(&node.key, tx);
            let hash = node.get("eth_sendRawTransaction", json!([raw(&tx)])).await;
            node.chain.seal();
            let receipt = node.get("eth_getTransactionReceipt", json!([hash])).await;
            assert_eq!(receipt["status"], json!("0x1"), "{rules:?}");
            let used: U64 = serde_json::from_value(receipt["gasUsed"].clone()).expect("gas");
            assert!(used <= gas && gas.to::<u64>() < used.to::<u64>() * 13 / 10, "{used} of {gas}");
            if rules == Rules::L1 && to != COUNTER {
                assert_eq!(gas, U64::from(21_000));
            }
        }
    }
}

#[tokio::test]
async fn logs_and_filters() {
    let node = Node::start(Rules::L2).await;
    let logs = node.get("eth_newFilter", json!([{ "address": COUNTER }])).await;
    let blocks = node.get("eth_newBlockFilter", json!([])).await;
    let transactions = node.get("eth_newPendingTransactionFilter", json!([])).await;
    let mut hashes = Vec::new();
    for nonce in 0..4 {
        hashes.push(node.send(nonce, COUNTER, 0, word(nonce % 2)).await);
        if nonce % 2 == 1 {
            node.chain.seal();
        }
    }
    hashes.push(node.send(4, COUNTER, 0, word(1)).await);
    let all = node.get("eth_getFilterChanges", json!([logs])).await;
    assert_eq!(all.as_array().expect("logs").len(), 4);
    assert_eq!(node.get("eth_getFilterChanges", json!([logs])).await, json!([]));
    assert_eq!(node.get("eth_getFilterChanges", json!([transactions])).await, json!(hashes));
    let heads = node.get("eth_getFilterChanges", json!([blocks])).await;
    assert_eq!(heads.as_array().expect("hashes").len(), 2);

    let filter = json!({ "fromBlock": "0x0", "toBlock": "latest", "topics": [word(1)] });
    let found = node.get("eth_getLogs", json!([filter])).await;
    assert_eq!(found, json!([all[1], all[3]]));
    assert_eq!(found[1]["logIndex"], json!("0x1"));
    let filter = json!({ "fromBlock": "0x0", "toBlock": "pending", "topics": [word(1)] });
    let found = node.get("eth_getLogs", json!([filter])).await;
    assert_eq!(found.as_array().expect("logs").len(), 3);
    assert_eq!(found[2]["transactionHash"], hashes[4]);
    let by_hash = json!([{ "blockHash": heads[0] }]);
    assert_eq!(node.get("eth_getLogs", by_hash).await, json!([all[0], all[1]]));
    let unknown = json!([{ "blockHash": B256::repeat_byte(1) }]);
    assert_eq!(node.error("eth_getLogs", unknown).await.0, -32000);
    let reversed = json!([{ "fromBlock": "0x2", "toBlock": "0x1" }]);
    assert_eq!(node.error("eth_getLogs", reversed).await.0, -32602);
    assert_eq!(node.get("eth_uninstallFilter", json!([logs])).await, json!(true));
    assert_eq!(node.get("eth_uninstallFilter", json!([logs])).await, json!(false));
    let gone = node.error("eth_getFilterChanges", json!([logs])).await;
    assert_eq!(gone, (-32000, "filter not found".to_owned()));
    for _ in 0..Limits::default().max_filters - 2 {
        node.get("eth_newBlockFilter", json!([])).await;
    }
    assert_eq!(node.error("eth_newBlockFilter", json!([])).await.0, -32005);
}

#[tokio::test]
async fn subscriptions_miss_nothing() {
    let node = Node::start(Rules::L2).await;
    let ws = node.websocket().await;
    let subscribe = async |params| -> Subscription<Value> {
        ws.subscribe("eth_subscribe", params, "eth_unsubscribe").await.expect("subscribe")
    };
    let mut heads = subscribe(rpc_params!["newHeads"]).await;
    let mut logs = subscribe(rpc_params!["logs", json!({ "topics": [word(1)] })]).await;
    let pending = json!({ "fromBlock": "pending", "address": COUNTER });
    let mut pending_logs = subscribe(rpc_params!["logs", pending]).await;
    let mut transactions = subscribe(rpc_params!["newPendingTransactions"]).await;
    let mut mini = subscribe(rpc_params!["miniBlocks"]).await;
    let mut raw = subscribe(rpc_params!["miniBlocks", json!({ "raw": true })]).await;
    for nonce in 0..2 {
        let hash = node.send(nonce, COUNTER, 0, word(nonce)).await;
        assert_eq!(next(&mut transactions).await, hash);
        let log = next(&mut pending_logs).await;
        assert_eq!((&log["transactionHash"], &log["blockHash"]), (&hash, &json!(B256::ZERO)));
        let block = next(&mut mini).await;
        assert_eq!(block["transactions"][0]["hash"], hash);
        assert_eq!(block["receipts"][0]["logs"][0], log);
        let promise: PromiseJson =
            serde_json::from_value(block["promise"].clone()).expect("promise");
        let signed = SignedPromise::try_from(promise).expect("signed promise");
        assert_eq!(signed.signer(&lease_domain()), Ok(address_of(&key(99))));
        // What the promise covers, without what it says.
        let raw = next(&mut raw).await;
        assert_eq!(raw["promise"], block["promise"]);
        let words = |list: &Value| -> Vec<Bytes> {
            serde_json::from_value(list.clone()).expect("a list of bytes")
        };
        let (encoded, receipts) = (words(&raw["rawTransactions"]), words(&raw["receiptHashes"]));
        let leaf = promise::leaf(keccak256(&encoded[0]), B256::from_slice(&receipts[0]));
        assert_eq!((encoded.len(), signed.promise.root), (1, promise::root(&[leaf])));
    }
    // More heads at once than the channel holds: each is reported once and in order.
    for _ in 0..100 {
        node.chain.seal();
    }
    for number in 1..=100u64 {
        let head = next(&mut heads).await;
        assert_eq!(head["number"], json!(U64::from(number)));
    }
    let log = next(&mut logs).await;
    assert_eq!((&log["blockNumber"], &log["logIndex"]), (&json!("0x1"), &json!("0x1")));
    heads.unsubscribe().await.expect("unsubscribe");
    let unknown: Result<Subscription<Value>, _> =
        ws.subscribe("eth_subscribe", rpc_params!["nonsense"], "eth_unsubscribe").await;
    assert!(unknown.is_err());
}

#[tokio::test]
async fn proofs_hold_against_the_state_root() {
    let node = Node::start(Rules::L2).await;
    node.send(0, COUNTER, 0, word(1234)).await;
    node.chain.seal();
    node.send(1, COUNTER, 0, word(5678)).await;
    node.chain.seal();
    for (number, value) in [(1u64, 1234u64), (2, 5678)] {
        let block = node.get("eth_getBlockByNumber", json!([U64::from(number), false])).await;
        let root: B256 = serde_json::from_value(block["stateRoot"].clone()).expect("root");
        let json =
            node.get("eth_getProof", json!([COUNTER, ["0x0", "0x1"], U64::from(number)])).await;
        let proof: alloy_rpc_types_eth::EIP1186AccountProofResponse =
            serde_json::from_value(json).expect("proof");
        let account = annex_state::Account {
            nonce: proof.nonce,
            balance: proof.balance,
            storage_root: proof.storage_hash,
            code_hash: proof.code_hash,
        };
        let verify = |root, key: B256, value: Option<Vec<u8>>, nodes: &[Bytes]| {
            let path = alloy_trie::Nibbles::unpack_array(&key.0);
            alloy_trie::proof::verify_proof(root, path, value, nodes).expect("a valid proof");
        };
        verify(root, keccak256(COUNTER), Some(alloy_rlp::encode(account)), &proof.account_proof);
        let slot = |i: usize| (&proof.storage_proof[i].value, &proof.storage_proof[i].proof);
        let (found, nodes) = slot(0);
        assert_eq!(*found, U256::from(value));
        let key = keccak256(B256::ZERO);
        verify(proof.storage_hash, key, Some(alloy_rlp::encode(found)), nodes);
        verify(proof.storage_hash, keccak256(B256::with_last_byte(1)), None, slot(1).1);
    }
}

#[tokio::test]
async fn a_proof_of_an_old_state_is_bounded_by_what_changed_since() {
    // A block changes the sender, the contract, its slot and the beneficiary.
    let node = Node::with(Rules::L2, |config| config.limits.max_proof_changes = 12).await;
    for nonce in 0..8 {
        node.send(nonce, COUNTER, 0, word(nonce + 1)).await;
        node.chain.seal();
    }
    let proof = |number: u64| json!([COUNTER, ["0x0"], U64::from(number)]);
    for number in 6..=8 {
        let answer = node.get("eth_getProof", proof(number)).await;
        assert_eq!(answer["storageProof"][0]["value"], json!(U256::from(number)));
    }
    let (code, message) = node.error("eth_getProof", proof(1)).await;
    assert_eq!(code, -32005);
    assert!(message.starts_with("block 1 is too old for a proof"), "{message}");
    assert!(message.contains("--max-proof-changes"), "{message}");
    let slot = node.get("eth_getStorageAt", json!([COUNTER, "0x0", "0x1"])).await;
    assert_eq!(slot, json!(word(1)), "other reads go on");
    assert!(node.rpc("eth_getProof", json!([COUNTER, [], "latest"])).await.is_ok());
}

/// While the chain asks for a tip, everything wallets look at says so.
#[tokio::test]
async fn a_tip_that_is_asked_for_shows_in_every_price() {
    let node = Node::start(Rules::L2).await;
    for nonce in 0..3 {
        node.send(nonce, COUNTER, 0, word(nonce)).await;
        node.chain.seal();
    }
    *node.chain.min_tip.lock().expect("no panic") = 8_000_000;
    assert_eq!(node.get("eth_maxPriorityFeePerGas", json!([])).await, json!(U64::from(9_000_000)));
    let price = U64::from(BASE_FEE + 9_000_000);
    assert_eq!(node.get("eth_gasPrice", json!([])).await, json!(price));
    let rewards = async |newest: &str| {
        node.get("eth_feeHistory", json!(["0x2", newest, [0.0, 100.0]])).await["reward"].take()
    };
    let asked = json!(vec![vec![U64::from(9_000_000); 2]; 2]);
    assert_eq!(rewards("latest").await, asked);
    assert_eq!(rewards("pending").await, asked);
    assert_eq!(rewards("0x2").await, json!(vec![vec!["0xf4240"; 2]; 2]), "what was paid");
    // Below the usual tip it changes nothing.
    *node.chain.min_tip.lock().expect("no panic") = 8_000;
    assert_eq!(node.get("eth_maxPriorityFeePerGas", json!([])).await, json!("0xf4240"));
}

#[tokio::test]
async fn bad_input_gets_the_standard_error_and_the_node_serves_on() {
    let node = Node::start(Rules::L2).await;
    let malformed = node.http("POST", "/", "{\"jsonrpc\":").await;
    assert!(malformed.1.contains("-32700"), "{malformed:?}");
    let not_a_call = node.http("POST", "/", "{\"id\":1}").await;
    assert!(not_a_call.1.contains("-32600"), "{not_a_call:?}");
    assert_eq!(node.error("eth_nonsense", json!([])).await.0, -32601);
    for (method, params) in [
        ("eth_getBalance", json!(["0x12"])),
        ("eth_getBalance", json!([])),
        ("eth_getBlockByNumber", json!(["newest", false])),
        ("eth_call", json!([{ "to": 5 }])),
        ("eth_sendRawTransaction", json!(["0x"])),
        ("eth_sendRawTransaction", json!(["0x02c0"])),
        ("eth_sendRawTransactionSync", json!([])),
        ("eth_feeHistory", json!(["0x1", "latest", [90.0, 10.0]])),
    ] {
        assert_eq!(node.error(method, params).await.0, -32602, "{method}");
    }
    let wrong = |edit: fn(&mut alloy_consensus::TxEip1559)| {
        let mut tx = call(0, COUNTER, 0, word(1));
        edit(&mut tx);
        json!([raw(&sign(&node.key, tx))])
    };
    for (params, start) in [
        (wrong(|tx| tx.chain_id = 1), "invalid chain id for signer: have 1 want 901"),
        (wrong(|tx| tx.gas_limit = 21_000), "intrinsic gas too low"),
        (wrong(|tx| tx.gas_limit = 40_000_000), "transaction gas limit too high"),
        (wrong(|tx| tx.value = U256::MAX), "insufficient funds for gas * price + value"),
        (wrong(|tx| tx.max_fee_per_gas = 1_000_000), "max fee per gas less than block base fee"),
        (json!(["0x03c0"]), "transaction type not supported"),
    ] {
        for method in ["eth_sendRawTransaction", "eth_sendRawTransactionSync"] {
            let (code, message) = node.error(method, params.clone()).await;
            assert_eq!(code, -32000, "{message}");
            assert!(message.starts_with(start), "{message}");
        }
    }
    node.send(0, COUNTER, 0, word(1)).await;
    let low = node.error("eth_sendRawTransaction", wrong(|tx| tx.value = U256::from(1))).await;
    assert_eq!(low, (-32000, "nonce too low: next nonce 1, tx nonce 0".to_owned()));

    let mut other = TcpStream::connect(node.handle.addr).await.expect("connect");
    let huge = format!(
        "POST / HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        2 << 20
    );
    let (status, body) = exchange(&mut other, huge.as_bytes()).await;
    assert_eq!(status, 413);
    assert!(body.contains("-32007"), "{body}");
    let item = json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_chainId" });
    let answer = node.post(&Value::Array(vec![item; 2049])).await;
    assert_eq!(answer["error"]["code"], json!(-32010));
    assert_eq!(node.get("eth_chainId", json!([])).await, json!("0x385"));
}

#[tokio::test]
async fn other_routes_share_the_port() {
    let node = Node::start(Rules::L2).await;
    assert_eq!(node.http("GET", "/health", "").await, (200, "{\"ok\":true}".to_owned()));
    let path = "/eth/v1/beacon/blobs/0x1?indices=2";
    assert_eq!(node.http("GET", path, "").await, (200, path.to_owned()));
    assert_eq!(node.http("GET", "/elsewhere", "").await.0, 405);
    assert_eq!(node.http("OPTIONS", "/", "").await.0, 204);
    assert_eq!(node.get("annex_extra", json!([])).await, json!("extra"));
    node.handle.stop().await;
}

#[tokio::test]
async fn l1_keeps_a_pool_until_it_mines() {
    let node = Node::start(Rules::L1).await;
    let me = node.address();
    let hash = node.send(0, COUNTER, 0, word(3)).await;
    assert_eq!(node.get("eth_getTransactionReceipt", json!([hash])).await, Value::Null);
    let waiting = node.get("eth_getTransactionByHash", json!([hash])).await;
    assert_eq!(waiting["blockNumber"], Value::Null);
    assert_eq!(node.get("eth_getTransactionCount", json!([me, "latest"])).await, json!("0x0"));
    assert_eq!(node.get("eth_getTransactionCount", json!([me, "pending"])).await, json!("0x1"));
    assert_eq!(node.get("txpool_status", json!([])).await["pending"], json!("0x1"));
    let content = node.get("txpool_content", json!([])).await;
    assert_eq!(content["pending"][me.to_string()]["0"]["hash"], hash);
    assert_eq!(
        node.get("eth_getStorageAt", json!([COUNTER, "0x0", "latest"])).await,
        json!(word(0))
    );

    // A synchronous send waits for the block, and no longer than it was told.
    let tx = sign(&node.key, call(1, COUNTER, 0, word(4)));
    let error =
        node.rpc("eth_sendRawTransactionSync", json!([raw(&tx), 50])).await.expect_err("late");
    assert_eq!((&error["code"], &error["data"]), (&json!(4), &json!(tx.hash())));
    let chain = node.chain.clone();
    let miner = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        chain.seal();
    });
    let tx = sign(&node.key, call(2, COUNTER, 0, word(5)));
    let receipt = node.get("eth_sendRawTransactionSync", json!([raw(&tx), 5000])).await;
    miner.await.expect("mined");
    assert_eq!(receipt["blockNumber"], json!("0x1"));
    assert!(receipt.get("promise").is_none());
    assert_eq!(
        node.get("eth_getStorageAt", json!([COUNTER, "0x0", "latest"])).await,
        json!(word(5))
    );
}

#[tokio::test]
async fn fees_and_the_small_methods() {
    let node = Node::start(Rules::L2).await;
    for nonce in 0..3 {
        node.send(nonce, COUNTER, 0, word(nonce)).await;
        node.chain.seal();
    }
    let history = node.get("eth_feeHistory", json!(["0x2", "latest", [0.0, 50.0, 100.0]])).await;
    assert_eq!(history["oldestBlock"], json!("0x2"));
    assert_eq!(history["baseFeePerGas"], json!(["0x989680", "0x989680", "0x989680"]));
    assert_eq!(history["reward"], json!(vec![vec!["0xf4240"; 3]; 2]));
    assert_eq!(history["gasUsedRatio"].as_array().expect("ratios").len(), 2);
    assert_eq!(node.get("eth_feeHistory", json!([1, "0x0"])).await["oldestBlock"], json!("0x0"));
    assert_eq!(node.get("eth_gasPrice", json!([])).await, json!("0xa7d8c0"));
    assert_eq!(node.get("eth_accounts", json!([])).await, json!([]));
    assert_eq!(node.get("eth_syncing", json!([])).await, json!(false));
    assert_eq!(node.get("net_version", json!([])).await, json!("901"));
    assert_eq!(node.get("web3_sha3", json!(["0x"])).await, json!(keccak256([])));
    assert_eq!(node.get("eth_getUncleCountByBlockNumber", json!(["0x1"])).await, json!("0x0"));
    assert_eq!(
        node.get("eth_getBlockTransactionCountByNumber", json!(["0x1"])).await,
        json!("0x1")
    );
    for method in ["eth_getBlockByNumber", "eth_getBlockTransactionCountByNumber"] {
        assert_eq!(node.get(method, json!(["0x9", false])).await, Value::Null);
    }
    let code = node.get("eth_getCode", json!([COUNTER, "latest"])).await;
    assert!(code.as_str().expect("code").starts_with("0x3615"));
    assert_eq!(node.get("eth_getCode", json!([node.address()])).await, json!("0x"));
}

/// A reply must not wait for a delayed acknowledgement (40 ms) or for a poll.
#[tokio::test(flavor = "multi_thread")]
async fn a_synchronous_send_takes_well_under_a_millisecond() {
    let node = Node::start(Rules::L2).await;
    let mut times: Vec<Duration> = Vec::new();
    for nonce in 0..300 {
        let tx = sign(&node.key, call(nonce, Address::repeat_byte(8), 1, Bytes::new()));
        let params = json!([raw(&tx)]);
        let start = Instant::now();
        node.get("eth_sendRawTransactionSync", params).await;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    let (median, slow) = (times[150], times[297]);
    println!("eth_sendRawTransactionSync over HTTP: p50 {median:?}, p99 {slow:?}");
    assert!(median < Duration::from_millis(10), "{median:?}");
}
