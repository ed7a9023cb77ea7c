//! Traces, access lists and simulations.

use super::*;
use op_alloy_consensus::TxDeposit;

const SENDER_ETHER: &str = "0x56bc75e2d63100000";

/// A transfer, a call that stores, one that reverts, and a deposit, in sealed block 1.
async fn traced_chain() -> (Node, Vec<Value>) {
    let node = Node::start(Rules::L2).await;
    let deposit = TxDeposit {
        from: node.address(),
        to: alloy_primitives::TxKind::Call(COUNTER),
        mint: 5,
        value: U256::from(5),
        gas_limit: 100_000,
        input: word(1),
        ..Default::default()
    };
    node.chain.deposit(deposit);
    node.send(1, Address::repeat_byte(5), 77, Bytes::new()).await;
    node.send(2, COUNTER, 0, word(42)).await;
    node.send(3, REVERTER, 0, Bytes::new()).await;
    node.chain.seal();
    let block = node.get("eth_getBlockByNumber", json!(["0x1", false])).await;
    let hashes = block["transactions"].as_array().expect("hashes").clone();
    assert_eq!(hashes.len(), 4);
    (node, hashes)
}

fn tracer(name: &str, config: Value) -> Value {
    json!({ "tracer": name, "tracerConfig": config })
}

#[tokio::test]
async fn traces_tell_what_the_receipts_tell() {
    let (node, hashes) = traced_chain().await;
    let all = node.get("debug_traceBlockByNumber", json!(["0x1"])).await;
    let by_hash = {
        let block = node.get("eth_getBlockByNumber", json!(["0x1", false])).await;
        node.get("debug_traceBlockByHash", json!([block["hash"]])).await
    };
    assert_eq!(all, by_hash);
    for (index, hash) in hashes.iter().enumerate() {
        let receipt = node.get("eth_getTransactionReceipt", json!([hash])).await;
        let gas = annex_u64(&receipt["gasUsed"]);
        let logs = node.get("debug_traceTransaction", json!([hash])).await;
        assert_eq!(all[index], json!({ "txHash": hash, "result": logs }));
        assert_eq!(logs["gas"], json!(gas));
        assert_eq!(logs["failed"], json!(receipt["status"] == "0x0"));
        let frame = node
            .get(
                "debug_traceTransaction",
                json!([hash, tracer("callTracer", json!({ "withLog": true }))]),
            )
            .await;
        assert_eq!(frame["gasUsed"], receipt["gasUsed"]);
        assert_eq!(frame["from"], receipt["from"]);
        let traced = frame["logs"].as_array().map_or(0, Vec::len);
        assert_eq!(traced, receipt["logs"].as_array().expect("logs").len());
        assert_eq!(frame.get("error").is_some(), receipt["status"] == "0x0");
    }
    // SSTORE shows what was written.
    let logs = node.get("debug_traceTransaction", json!([hashes[2]])).await;
    let stored =
        logs["structLogs"].as_array().expect("steps").iter().find(|step| step["op"] == "SSTORE");
    let storage = stored.expect("a store")["storage"].as_object().expect("slots");
    assert!(storage.values().any(|value| value == &json!(B256::from(U256::from(42)))));
    let short = node.get("debug_traceTransaction", json!([hashes[2], { "limit": 2 }])).await;
    assert_eq!(short["structLogs"].as_array().map(Vec::len), Some(2));
    let diff = tracer("prestateTracer", json!({ "diffMode": true }));
    let diff = node.get("debug_traceTransaction", json!([hashes[2], diff])).await;
    let key = B256::ZERO.to_string();
    let counter = COUNTER.to_string().to_lowercase();
    assert_eq!(diff["pre"][&counter]["storage"][&key], json!(B256::from(U256::from(1))));
    assert_eq!(diff["post"][&counter]["storage"][&key], json!(B256::from(U256::from(42))));
    for name in ["4byteTracer", "flatCallTracer", "noopTracer"] {
        let traced =
            node.get("debug_traceTransaction", json!([hashes[2], tracer(name, json!({}))])).await;
        assert_eq!(traced.is_array(), name == "flatCallTracer", "{name}: {traced}");
    }
    let mux = tracer("muxTracer", json!({ "callTracer": {}, "4byteTracer": {} }));
    let mux = node.get("debug_traceTransaction", json!([hashes[2], mux])).await;
    assert_eq!(mux["callTracer"]["to"], json!(counter));
}

fn annex_u64(quantity: &Value) -> u64 {
    let text = quantity.as_str().expect("a quantity");
    u64::from_str_radix(text.trim_start_matches("0x"), 16).expect("hex")
}

#[tokio::test]
async fn what_cannot_be_traced_is_refused() {
    let (node, hashes) = traced_chain().await;
    let refused = |method: &'static str, params: Value| {
        let node = &node;
        async move { node.error(method, params).await }
    };
    let script = json!([hashes[0], { "tracer": "{ result: () => 1 }" }]);
    let (code, message) = refused("debug_traceTransaction", script).await;
    assert_eq!(code, -32602);
    assert!(message.starts_with("JavaScript tracers are not supported"), "{message}");
    let unknown = refused("debug_traceTransaction", json!([B256::repeat_byte(9)])).await;
    assert_eq!(unknown, (-32000, "transaction not found".to_owned()));
    let genesis = refused("debug_traceBlockByNumber", json!(["0x0"])).await;
    assert_eq!(genesis, (-32000, "genesis is not traceable".to_owned()));
    assert_eq!(refused("debug_traceBlockByNumber", json!(["0x9"])).await.0, -32000);
    assert_eq!(refused("debug_traceBlockByNumber", json!(["pending"])).await.0, -32000);
    let timeout = json!([hashes[2], { "timeout": "0s" }]);
    let (code, message) = refused("debug_traceTransaction", timeout).await;
    assert_eq!((code, &message[..17]), (-32000, "execution aborted"));
}

#[tokio::test]
async fn calls_are_traced_where_they_are_told_to_be() {
    let (node, _) = traced_chain().await;
    let call = json!({ "to": COUNTER });
    let at = |options: Value| json!([call, "0x1", options]);
    let frame = node.get("debug_traceCall", at(tracer("callTracer", json!({})))).await;
    assert_eq!(frame["output"], json!(word(42)));
    // Before the transaction that stored 42, the deposit had stored 1.
    let options = json!({ "tracer": "callTracer", "txIndex": "0x2" });
    assert_eq!(node.get("debug_traceCall", at(options)).await["output"], json!(word(1)));
    let options = json!({
        "tracer": "callTracer",
        "stateOverrides": { COUNTER.to_string(): { "stateDiff": { B256::ZERO.to_string(): word(7) } } },
        "blockOverrides": { "time": "0x1" },
    });
    assert_eq!(node.get("debug_traceCall", at(options)).await["output"], json!(word(7)));
    let latest = node.get("debug_traceCall", json!([call])).await;
    assert_eq!(latest["returnValue"], json!(word(42)));
}

#[tokio::test]
async fn endless_and_huge_executions_end() {
    let node = Node::with(Rules::L2, |config| {
        config.limits.call_timeout = Duration::from_millis(200);
        config.limits.trace_timeout = Duration::from_millis(200);
        config.limits.call_gas = u64::MAX / 4;
        config.limits.max_trace = 4 << 20;
    })
    .await;
    // Jumps to itself for ever.
    let endless = json!({ "0x00000000000000000000000000000000000000e1": { "code": "0x5b600056" } });
    let call =
        json!({ "to": "0x00000000000000000000000000000000000000e1", "gas": "0x3fffffffffffffff" });
    let started = Instant::now();
    let (code, message) = node.error("eth_call", json!([call, "latest", endless])).await;
    assert_eq!((code, &message[..17]), (-32000, "execution aborted"));
    let options = json!({ "tracer": "callTracer", "stateOverrides": endless });
    let (code, message) = node.error("debug_traceCall", json!([call, "latest", options])).await;
    assert_eq!((code, &message[..17]), (-32000, "execution aborted"));
    let options = json!({ "stateOverrides": endless });
    let (code, _) = node.error("debug_traceCall", json!([call, "latest", options])).await;
    assert_eq!(code, -32005);
    let payload = json!({ "blockStateCalls": [{
        "stateOverrides": endless, "blockOverrides": { "gasLimit": "0x3fffffffffffffff" }, "calls": [call],
    }] });
    let (code, _) = node.error("eth_simulateV1", json!([payload])).await;
    assert_eq!(code, -32016);
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn access_lists_say_what_a_call_touches() {
    let node = Node::start(Rules::L2).await;
    let to_counter = json!({ "from": node.address(), "to": COUNTER, "data": word(3) });
    let answer = node.get("eth_createAccessList", json!([to_counter])).await;
    let keys = json!([{ "address": COUNTER, "storageKeys": [B256::ZERO] }]);
    assert_eq!(lower(&answer["accessList"]), lower(&keys));
    assert!(answer.get("error").is_none());
    let mut with = to_counter.clone();
    with["accessList"] = answer["accessList"].clone();
    let estimate = node.get("eth_createAccessList", json!([with, "latest"])).await;
    assert_eq!(estimate, answer);
    let reverting = json!({ "from": node.address(), "to": REVERTER });
    let answer = node.get("eth_createAccessList", json!([reverting])).await;
    assert_eq!(answer["error"], json!("execution reverted: nope"));
}

fn lower(value: &Value) -> String {
    value.to_string().to_lowercase()
}

#[tokio::test]
async fn simulated_blocks_follow_each_other() {
    let node = Node::start(Rules::L2).await;
    let (rich, poor) = (Address::repeat_byte(0x11), Address::repeat_byte(0x22));
    let transfer = |value: &str| json!({ "from": rich, "to": poor, "value": value });
    let payload = json!({
        "blockStateCalls": [
            { "stateOverrides": { rich.to_string(): { "balance": SENDER_ETHER } },
              "calls": [transfer("0x5"), { "from": rich, "to": COUNTER, "data": word(8) }] },
            { "blockOverrides": { "number": "0x4", "time": "0x77359400" },
              "calls": [{ "from": rich, "to": COUNTER }, { "from": rich, "to": REVERTER }] },
        ],
        "traceTransfers": true,
        "returnFullTransactions": true,
    });
    let blocks = node.get("eth_simulateV1", json!([payload, "latest"])).await;
    let numbers: Vec<_> =
        blocks.as_array().expect("blocks").iter().map(|b| b["number"].clone()).collect();
    assert_eq!(numbers, ["0x1", "0x2", "0x3", "0x4"]);
    for pair in blocks.as_array().expect("blocks").windows(2) {
        assert_eq!(pair[1]["parentHash"], pair[0]["hash"]);
        assert!(annex_u64(&pair[1]["timestamp"]) > annex_u64(&pair[0]["timestamp"]));
    }
    let genesis = node.get("eth_getBlockByNumber", json!(["0x0", false])).await;
    assert_eq!(blocks[0]["parentHash"], genesis["hash"]);
    let [sent, stored] = [&blocks[0]["calls"][0], &blocks[0]["calls"][1]];
    assert_eq!((&sent["status"], &sent["gasUsed"]), (&json!("0x1"), &json!("0x5208")));
    let log = &sent["logs"][0];
    assert_eq!(log["address"], json!("0xeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee"));
    assert_eq!((&log["data"], &log["blockHash"]), (&json!(word(5)), &blocks[0]["hash"]));
    assert_eq!(stored["logs"][0]["logIndex"], json!("0x1"));
    assert_eq!(blocks[0]["transactions"][0]["from"], json!(rich));
    assert_eq!(blocks[0]["transactions"][1]["nonce"], json!("0x1"));
    let [read, reverted] = [&blocks[3]["calls"][0], &blocks[3]["calls"][1]];
    assert_eq!(read["returnData"], json!(word(8)));
    assert_eq!(reverted["error"]["code"], json!(3));
    assert_eq!(reverted["error"]["message"], json!("execution reverted: nope"));
    // Nothing of it happened.
    let balance = node.get("eth_getBalance", json!([poor, "latest"])).await;
    assert_eq!(balance, json!("0x0"));
}

#[tokio::test]
async fn simulations_fail_with_the_codes_of_the_specification() {
    for rules in [Rules::L1, Rules::L2] {
        let node = Node::start(rules).await;
        let me = node.address();
        let code = |payload: Value| {
            let node = &node;
            async move { node.error("eth_simulateV1", json!([payload, "latest"])).await.0 }
        };
        let blocks = |blocks: Value| json!({ "blockStateCalls": blocks });
        let strict =
            |call: Value| json!({ "blockStateCalls": [{ "calls": [call] }], "validation": true });
        assert_eq!(code(blocks(json!([]))).await, -32602);
        let back = json!([{ "blockOverrides": { "number": "0x5" } }, { "blockOverrides": { "number": "0x5" } }]);
        assert_eq!(code(blocks(back)).await, -38020);
        let early = json!([{ "blockOverrides": { "time": "0x0" } }]);
        assert_eq!(code(blocks(early)).await, -38021);
        assert_eq!(
            code(blocks(json!([{ "blockOverrides": { "number": "0x101" } }]))).await,
            -38026
        );
        let fees = json!({ "maxFeePerGas": "0x3b9aca00", "maxPriorityFeePerGas": "0x0" });
        let with = |more: Value| {
            let mut call = fees.clone();
            for (key, value) in more.as_object().expect("fields") {
                call[key] = value.clone();
            }
            call
        };
        assert_eq!(
            code(strict(with(json!({ "from": me, "to": me, "nonce": "0x7" })))).await,
            -38011
        );
        assert_eq!(
            code(strict(json!({ "from": me, "to": me, "maxFeePerGas": "0x1" }))).await,
            -38012
        );
        assert_eq!(
            code(strict(with(json!({ "from": me, "to": me, "gas": "0x100" })))).await,
            -38013
        );
        let poor = Address::repeat_byte(0x33);
        assert_eq!(code(strict(with(json!({ "from": poor, "to": me })))).await, -38014);
        let broke = json!([{ "calls": [{ "from": poor, "to": me, "value": "0x1" }] }]);
        assert_eq!(code(blocks(broke)).await, -38014);
        let greedy = json!([{ "calls": [{ "from": me, "to": me, "gas": "0xffffffff" }] }]);
        assert_eq!(code(blocks(greedy)).await, -38015);
        let long = format!("0x{}", "00".repeat(49_153));
        assert_eq!(code(strict(with(json!({ "from": me, "data": long })))).await, -38025);
        node.handle.stop().await;
    }
}

/// Every block parameter in every form, over history and what is open.
#[tokio::test]
async fn old_states_answer_by_every_name() {
    let (node, hashes) = traced_chain().await;
    node.send(4, COUNTER, 0, word(43)).await;
    node.chain.seal();
    node.send(5, COUNTER, 0, word(44)).await;
    let block = node.get("eth_getBlockByNumber", json!(["0x1", false])).await;
    let hash = &block["hash"];
    let names = [
        (json!("earliest"), 0),
        (json!("0x0"), 0),
        (json!("safe"), 0),
        (json!("finalized"), 0),
        (json!("0x1"), 42),
        (json!(hash), 42),
        (json!({ "blockHash": hash }), 42),
        (json!({ "blockHash": hash, "requireCanonical": true }), 42),
        (json!({ "blockNumber": "0x1" }), 42),
        (json!("0x2"), 43),
        (json!("latest"), 44),
        (json!("pending"), 44),
        (json!("0x3"), 44),
    ];
    for (name, value) in names {
        let expected = json!(word(value));
        let call = json!([{ "to": COUNTER }, name]);
        assert_eq!(node.get("eth_call", call.clone()).await, expected, "{name}");
        let slot = json!([COUNTER, "0x0", name]);
        assert_eq!(node.get("eth_getStorageAt", slot).await, expected, "{name}");
        let slots = json!([{ COUNTER.to_string(): ["0x0"] }, name]);
        let values = node.get("eth_getStorageValues", slots).await;
        assert_eq!(values[COUNTER.to_string().to_lowercase()], json!([expected]), "{name}");
        assert_ne!(node.get("eth_getCode", json!([COUNTER, name])).await, json!("0x"));
        let gas = node.get("eth_estimateGas", call).await;
        assert!(annex_u64(&gas) > 21_000, "{name}");
        assert!(
            node.get("eth_createAccessList", json!([{ "to": COUNTER }, name])).await["gasUsed"]
                .is_string()
        );
        let trace = node.get("debug_traceCall", json!([{ "to": COUNTER }, name])).await;
        assert_eq!(trace["returnValue"], expected, "{name}");
    }
    let unknown = json!([COUNTER, { "blockHash": B256::repeat_byte(1), "requireCanonical": true }]);
    assert_eq!(
        node.error("eth_getBalance", unknown).await,
        (-32000, "header not found".to_owned())
    );
    // What is acknowledged is traced once it is sealed.
    let open = node.get("eth_getBlockByNumber", json!(["pending", false])).await["transactions"][0]
        .clone();
    let trace = node.rpc("debug_traceTransaction", json!([open]));
    let seal = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        node.chain.seal();
    };
    let (trace, ()) = tokio::join!(trace, seal);
    assert_eq!(trace.expect("a trace")["failed"], json!(false));
    let raw = node.get("debug_getRawReceipts", json!(["0x1"])).await;
    assert_eq!(raw.as_array().map(Vec::len), Some(4));
    let header: Bytes =
        serde_json::from_value(node.get("debug_getRawHeader", json!([hash])).await).expect("bytes");
    assert_eq!(&json!(keccak256(&header)), hash);
    let raw = node.get("debug_getRawTransaction", json!([hashes[1]])).await;
    let raw: Bytes = serde_json::from_value(raw).expect("bytes");
    assert_eq!(json!(keccak256(&raw)), hashes[1]);
}

/// `state` of a later block replaces what earlier blocks, overrides and calls left, slot by slot.
#[tokio::test]
async fn a_simulation_forgets_replaced_storage() {
    let node = Node::start(Rules::L2).await;
    // Stores 5 in slot 1 where there is input; returns slot 0 plus slot 1.
    let code = "0x3615600a5760056001555b6000546001540160005260206000f3";
    let at = Address::repeat_byte(0xc0);
    let words = |slot: u64, value: u64| json!({ B256::from(U256::from(slot)).to_string(): B256::from(U256::from(value)) });
    let read = json!({ "to": at });
    let blocks = json!({ "blockStateCalls": [
        { "stateOverrides": { at.to_string(): { "code": code, "stateDiff": words(0, 7) } },
          "calls": [read, { "to": at, "input": "0x01" }, read] },
        { "stateOverrides": { at.to_string(): { "state": words(2, 1) } }, "calls": [read] },
        { "stateOverrides": { at.to_string(): { "stateDiff": words(0, 9) } }, "calls": [read] },
    ] });
    let simulated = node.get("eth_simulateV1", json!([blocks, "latest"])).await;
    let value = |block: usize, call: usize| {
        let data = &simulated[block]["calls"][call]["returnData"];
        U256::from_str_radix(data.as_str().expect("hex").trim_start_matches("0x"), 16)
            .expect("a word")
    };
    assert_eq!(value(0, 0), U256::from(7));
    assert_eq!(value(0, 2), U256::from(12));
    assert_eq!(value(1, 0), U256::ZERO);
    assert_eq!(value(2, 0), U256::from(9));
    assert_eq!(simulated[0]["stateRoot"], json!(B256::ZERO));
}
