//! Answers against the shapes of Ethereum's execution-apis: required fields, and patterns of values. Retyped from its
//! OpenRPC schemas (src/schemas/{base-types,block,receipt,transaction,state,execute,opcode-tracer,call-tracer}.yaml).

use super::*;

/// Field, whether it is required, shape.
type Fields = &'static [(&'static str, bool, Shape)];

#[derive(Clone, Copy, Debug)]
enum Shape {
    /// A quantity without leading zeros.
    Uint,
    /// Hex digits, as many as they are.
    Digits,
    /// Bytes in hex; of this length unless `None`.
    Hex(Option<usize>),
    /// A JSON number.
    Integer,
    Bool,
    Text,
    Any,
    /// Also null.
    Or(&'static Shape),
    List(&'static Shape),
    /// Values by keys of that many bytes in hex.
    Map(usize, &'static Shape),
    /// Values by names in capitals.
    Named(&'static Shape),
    Object(Fields),
}

use Shape::*;

const HASH: Shape = Hex(Some(32));
const ADDRESS: Shape = Hex(Some(20));
const BYTES: Shape = Hex(None);

const LOG: Shape = Object(&[
    ("address", true, ADDRESS),
    ("topics", true, List(&HASH)),
    ("data", true, BYTES),
    ("blockHash", true, HASH),
    ("blockNumber", true, Uint),
    ("blockTimestamp", false, Uint),
    ("transactionHash", true, HASH),
    ("transactionIndex", true, Uint),
    ("logIndex", true, Uint),
    ("removed", true, Bool),
]);

const RECEIPT: Shape = Object(&[
    ("type", true, Uint),
    ("transactionHash", true, HASH),
    ("transactionIndex", true, Uint),
    ("blockHash", true, HASH),
    ("blockNumber", true, Uint),
    ("from", true, ADDRESS),
    ("to", true, Or(&ADDRESS)),
    ("cumulativeGasUsed", true, Uint),
    ("gasUsed", true, Uint),
    ("contractAddress", true, Or(&ADDRESS)),
    ("logs", true, List(&LOG)),
    ("logsBloom", true, Hex(Some(256))),
    ("status", true, Uint),
    ("effectiveGasPrice", true, Uint),
    // Annex's.
    ("promise", false, Any),
    ("depositNonce", false, Uint),
]);

const TRANSACTION: Shape = Object(&[
    ("type", true, Uint),
    ("hash", true, HASH),
    ("nonce", true, Uint),
    ("from", true, ADDRESS),
    ("to", true, Or(&ADDRESS)),
    ("gas", true, Uint),
    ("value", true, Uint),
    ("input", true, BYTES),
    ("blockHash", true, Or(&HASH)),
    ("blockNumber", true, Or(&Uint)),
    ("blockTimestamp", false, Uint),
    ("transactionIndex", true, Or(&Uint)),
    ("gasPrice", true, Uint),
    ("maxFeePerGas", false, Uint),
    ("maxPriorityFeePerGas", false, Uint),
    ("accessList", false, List(&Any)),
    ("chainId", false, Uint),
    ("yParity", false, Uint),
    ("v", false, Uint),
    ("r", false, Uint),
    ("s", false, Uint),
    // Of deposits.
    ("sourceHash", false, HASH),
    ("mint", false, Or(&Uint)),
    ("isSystemTx", false, Bool),
]);

macro_rules! header {
    ($($more:expr),*) => {
        Object(&[
            ("hash", true, HASH),
            ("parentHash", true, HASH),
            ("sha3Uncles", true, HASH),
            ("miner", true, ADDRESS),
            ("stateRoot", true, HASH),
            ("transactionsRoot", true, HASH),
            ("receiptsRoot", true, HASH),
            ("logsBloom", true, Hex(Some(256))),
            ("difficulty", true, Uint),
            ("number", true, Uint),
            ("gasLimit", true, Uint),
            ("gasUsed", true, Uint),
            ("timestamp", true, Uint),
            ("extraData", true, BYTES),
            ("mixHash", true, HASH),
            ("nonce", true, Hex(Some(8))),
            ("baseFeePerGas", true, Uint),
            ("withdrawalsRoot", true, HASH),
            ("blobGasUsed", true, Uint),
            ("excessBlobGas", true, Uint),
            ("parentBeaconBlockRoot", true, HASH),
            ("requestsHash", true, HASH),
            $($more),*
        ])
    };
}

/// EIP-7910's.
const FORK: Shape = Object(&[
    ("activationTime", true, Integer),
    (
        "blobSchedule",
        true,
        Object(&[
            ("baseFeeUpdateFraction", true, Integer),
            ("max", true, Integer),
            ("target", true, Integer),
        ]),
    ),
    ("chainId", true, Uint),
    ("forkId", true, Hex(Some(4))),
    ("precompiles", true, Named(&ADDRESS)),
    ("systemContracts", true, Named(&ADDRESS)),
]);
const CONFIG: Shape =
    Object(&[("current", true, FORK), ("next", true, Or(&FORK)), ("last", true, Or(&FORK))]);

const HEADER: Shape = header!();
const BLOCK_OF_HASHES: Shape = header!(
    ("size", true, Uint),
    ("transactions", true, List(&HASH)),
    ("uncles", true, List(&HASH)),
    ("withdrawals", true, List(&Any))
);
const BLOCK: Shape = header!(
    ("size", true, Uint),
    ("transactions", true, List(&TRANSACTION)),
    ("uncles", true, List(&HASH)),
    ("withdrawals", true, List(&Any))
);
const SIMULATED: Shape = header!(
    ("size", true, Uint),
    ("transactions", true, List(&HASH)),
    ("uncles", true, List(&HASH)),
    ("withdrawals", true, List(&Any)),
    ("calls", true, List(&CALL_RESULT))
);

const CALL_RESULT: Shape = Object(&[
    ("status", true, Uint),
    ("returnData", true, BYTES),
    ("gasUsed", true, Uint),
    ("maxUsedGas", false, Uint),
    ("logs", true, List(&LOG)),
    (
        "error",
        false,
        Object(&[("code", true, Integer), ("message", true, Text), ("data", false, BYTES)]),
    ),
]);

const PROOF: Shape = Object(&[
    ("address", true, ADDRESS),
    ("accountProof", true, List(&BYTES)),
    ("balance", true, Uint),
    ("codeHash", true, HASH),
    ("nonce", true, Uint),
    ("storageHash", true, HASH),
    (
        "storageProof",
        true,
        List(&Object(&[
            ("key", true, Digits),
            ("value", true, Uint),
            ("proof", true, List(&BYTES)),
        ])),
    ),
]);

const FEE_HISTORY: Shape = Object(&[
    ("oldestBlock", true, Uint),
    ("baseFeePerGas", true, List(&Uint)),
    ("baseFeePerBlobGas", true, List(&Uint)),
    ("gasUsedRatio", true, List(&Any)),
    ("blobGasUsedRatio", true, List(&Any)),
    ("reward", true, List(&List(&Uint))),
]);

const ACCESS_LIST: Shape = Object(&[
    (
        "accessList",
        true,
        List(&Object(&[("address", true, ADDRESS), ("storageKeys", true, List(&HASH))])),
    ),
    ("gasUsed", true, Uint),
    ("error", false, Text),
]);

const STRUCT_LOGS: Shape = Object(&[
    ("gas", true, Integer),
    ("failed", true, Bool),
    ("returnValue", true, BYTES),
    (
        "structLogs",
        true,
        List(&Object(&[
            ("pc", true, Integer),
            ("op", true, Text),
            ("gas", true, Integer),
            ("gasCost", true, Integer),
            ("depth", true, Integer),
            ("refund", false, Integer),
            ("error", false, Text),
            ("stack", false, List(&Uint)),
            ("memory", false, List(&HASH)),
            ("returnData", false, BYTES),
            ("storage", false, Map(32, &HASH)),
        ])),
    ),
]);

const CALL_FRAME: Shape = Object(&[
    ("type", true, Text),
    ("from", true, ADDRESS),
    ("to", false, ADDRESS),
    ("value", false, Uint),
    ("gas", true, Uint),
    ("gasUsed", true, Uint),
    ("input", true, BYTES),
    ("output", false, BYTES),
    ("error", false, Text),
    ("revertReason", false, Text),
    ("logs", false, List(&Any)),
    ("calls", false, List(&Any)),
]);

const WINDOW: Shape = Object(&[
    ("disabled", true, Bool),
    ("oldestBlock", true, Uint),
    ("deleteStrategy", false, Object(&[("type", true, Text), ("retentionBlocks", true, Uint)])),
]);

const CAPABILITIES: Shape = Object(&[
    ("head", true, Object(&[("number", true, Uint), ("hash", true, HASH)])),
    ("state", true, WINDOW),
    ("tx", true, WINDOW),
    ("logs", true, WINDOW),
    ("receipts", true, WINDOW),
    ("blocks", true, WINDOW),
    ("stateproofs", true, WINDOW),
]);

fn hex(text: &str, bytes: Option<usize>) -> bool {
    let digits = text.strip_prefix("0x");
    digits.is_some_and(|digits| {
        digits.bytes().all(|digit| digit.is_ascii_hexdigit())
            && digits.len() % 2 == 0
            && bytes.is_none_or(|bytes| digits.len() == 2 * bytes)
    })
}

fn uint(text: &str) -> bool {
    text.strip_prefix("0x").is_some_and(|digits| {
        digits == "0"
            || (!digits.is_empty()
                && !digits.starts_with('0')
                && digits.bytes().all(|d| d.is_ascii_digit() || (b'a'..=b'f').contains(&d)))
    })
}

/// What is wrong with a value, with where in it.
fn check(value: &Value, shape: Shape, path: &str, wrong: &mut Vec<String>) {
    let text = value.as_str();
    let fits = match shape {
        Any => true,
        Uint => text.is_some_and(uint),
        Digits => text.and_then(|text| text.strip_prefix("0x")).is_some_and(|digits| {
            digits.len() <= 64 && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
        }),
        Hex(bytes) => text.is_some_and(|text| hex(text, bytes)),
        Integer => value.is_i64() || value.is_u64(),
        Bool => value.is_boolean(),
        Text => value.is_string(),
        Or(shape) => {
            if !value.is_null() {
                check(value, *shape, path, wrong);
            }
            true
        }
        List(shape) => value.as_array().is_some_and(|items| {
            for (index, item) in items.iter().enumerate() {
                check(item, *shape, &format!("{path}[{index}]"), wrong);
            }
            true
        }),
        Map(bytes, shape) => value.as_object().is_some_and(|map| {
            for (key, item) in map {
                check(item, *shape, &format!("{path}.{key}"), wrong);
            }
            map.keys().all(|key| hex(key, Some(bytes)))
        }),
        Named(shape) => value.as_object().is_some_and(|map| {
            for (key, item) in map {
                check(item, *shape, &format!("{path}.{key}"), wrong);
            }
            let capital = |c: u8| c == b'_' || c.is_ascii_uppercase() || c.is_ascii_digit();
            map.keys().all(|key| !key.is_empty() && key.bytes().all(capital))
        }),
        Object(fields) => value.as_object().is_some_and(|object| {
            for (name, required, shape) in fields {
                match object.get(*name) {
                    Some(field) => check(field, *shape, &format!("{path}.{name}"), wrong),
                    None if *required => wrong.push(format!("{path}.{name} is missing")),
                    None => {}
                }
            }
            for name in object.keys().filter(|name| fields.iter().all(|(known, ..)| known != name))
            {
                wrong.push(format!("{path}.{name} is no field"));
            }
            true
        }),
    };
    if !fits {
        wrong.push(format!("{path}: {value} is no {shape:?}"));
    }
}

#[test]
fn the_checker_finds_what_is_wrong() {
    let faults = |value: Value, shape| {
        let mut wrong = Vec::new();
        check(&value, shape, "", &mut wrong);
        wrong.len()
    };
    for good in ["0x0", "0x1", "0xa0"] {
        assert_eq!(faults(json!(good), Uint), 0, "{good}");
    }
    for bad in ["0x", "0x01", "1", "0xA0", ""] {
        assert_eq!(faults(json!(bad), Uint), 1, "{bad}");
    }
    assert_eq!(faults(json!("0x123"), BYTES), 1);
    assert_eq!(
        faults(
            json!({ "code": 1, "extra": 2 }),
            Object(&[("code", true, Integer), ("message", true, Text)])
        ),
        2
    );
}

/// Deposits, creations, calls and reverts, some sealed.
async fn chain(rules: Rules) -> Node {
    let node = Node::start(rules).await;
    let mut nonce = 0;
    if rules == Rules::L2 {
        let deposit = op_alloy_consensus::TxDeposit {
            from: node.address(),
            to: alloy_primitives::TxKind::Call(COUNTER),
            mint: 5,
            gas_limit: 100_000,
            input: word(1),
            ..Default::default()
        };
        node.chain.deposit(deposit);
        nonce = 1;
    }
    node.send(nonce, Address::repeat_byte(5), 77, Bytes::new()).await;
    node.send(nonce + 1, COUNTER, 0, word(42)).await;
    node.send(nonce + 2, REVERTER, 0, Bytes::new()).await;
    let mut create = call(nonce + 3, COUNTER, 0, Bytes::from_static(&[0x60, 0, 0x60, 0, 0xf3]));
    create.to = alloy_primitives::TxKind::Create;
    node.get("eth_sendRawTransaction", json!([raw(&sign(&node.key, create))])).await;
    node.chain.seal();
    node
}

#[tokio::test]
async fn answers_have_the_shapes_of_the_execution_apis() {
    for rules in [Rules::L1, Rules::L2] {
        let node = chain(rules).await;
        let me = node.address();
        let block = node.get("eth_getBlockByNumber", json!(["0x1", false])).await;
        let (hash, last) =
            (&block["hash"], block["transactions"].as_array().expect("hashes").len() - 1);
        let tx = &block["transactions"][1];
        let counter = json!({ "from": me, "to": COUNTER, "data": word(4) });
        let simulated =
            json!({ "blockStateCalls": [{ "calls": [counter, { "from": me, "to": REVERTER }] }] });
        let table: Vec<(&str, Value, Shape)> = vec![
            ("eth_blockNumber", json!([]), Uint),
            ("eth_chainId", json!([]), Uint),
            ("eth_gasPrice", json!([]), Uint),
            ("eth_maxPriorityFeePerGas", json!([]), Uint),
            ("eth_blobBaseFee", json!([]), Uint),
            ("eth_coinbase", json!([]), ADDRESS),
            ("eth_accounts", json!([]), List(&ADDRESS)),
            ("eth_syncing", json!([]), Bool),
            ("eth_capabilities", json!([]), CAPABILITIES),
            ("eth_config", json!([]), CONFIG),
            ("eth_getBalance", json!([me, "latest"]), Uint),
            ("eth_getTransactionCount", json!([me, "latest"]), Uint),
            ("eth_getCode", json!([COUNTER, "latest"]), BYTES),
            ("eth_getStorageAt", json!([COUNTER, "0x0", "latest"]), HASH),
            (
                "eth_getStorageValues",
                json!([{ COUNTER.to_string(): ["0x0"] }, "latest"]),
                Map(20, &List(&HASH)),
            ),
            ("eth_getProof", json!([COUNTER, ["0x0"], "latest"]), PROOF),
            ("eth_call", json!([counter, "latest"]), BYTES),
            ("eth_estimateGas", json!([counter]), Uint),
            ("eth_createAccessList", json!([counter, "latest"]), ACCESS_LIST),
            ("eth_feeHistory", json!(["0x2", "latest", [10.0, 90.0]]), FEE_HISTORY),
            ("eth_getBlockByNumber", json!(["0x1", true]), BLOCK),
            ("eth_getBlockByHash", json!([hash, false]), BLOCK_OF_HASHES),
            ("eth_getBlockByNumber", json!(["0x99", false]), Or(&BLOCK)),
            ("eth_getHeaderByHash", json!([hash]), HEADER),
            ("eth_getBlockReceipts", json!(["0x1"]), List(&RECEIPT)),
            ("eth_getBlockTransactionCountByHash", json!([hash]), Uint),
            ("eth_getBlockTransactionCountByNumber", json!(["0x1"]), Uint),
            ("eth_getUncleCountByBlockHash", json!([hash]), Uint),
            ("eth_getTransactionByHash", json!([tx]), TRANSACTION),
            ("eth_getTransactionByBlockHashAndIndex", json!([hash, "0x0"]), TRANSACTION),
            (
                "eth_getTransactionByBlockNumberAndIndex",
                json!(["0x1", format!("{last:#x}")]),
                TRANSACTION,
            ),
            ("eth_getTransactionReceipt", json!([tx]), RECEIPT),
            ("eth_getRawTransactionByHash", json!([tx]), BYTES),
            ("eth_getLogs", json!([{ "fromBlock": "0x0", "toBlock": "latest" }]), List(&LOG)),
            ("eth_newFilter", json!([{ "fromBlock": "0x0" }]), Uint),
            ("eth_newBlockFilter", json!([]), Uint),
            ("eth_newPendingTransactionFilter", json!([]), Uint),
            ("eth_getFilterLogs", json!(["0x1"]), List(&LOG)),
            ("eth_getFilterChanges", json!(["0x2"]), List(&HASH)),
            ("eth_uninstallFilter", json!(["0x1"]), Bool),
            ("eth_simulateV1", json!([simulated, "latest"]), List(&SIMULATED)),
            ("debug_getRawHeader", json!(["0x1"]), BYTES),
            ("debug_getRawReceipts", json!(["0x1"]), List(&BYTES)),
            ("debug_getRawTransaction", json!([tx]), BYTES),
            (
                "debug_traceTransaction",
                json!([tx, { "enableMemory": true, "enableReturnData": true }]),
                STRUCT_LOGS,
            ),
            ("debug_traceTransaction", json!([tx, { "tracer": "callTracer" }]), CALL_FRAME),
            (
                "debug_traceBlockByNumber",
                json!(["0x1", { "tracer": "callTracer", "tracerConfig": { "withLog": true } }]),
                List(&Object(&[("txHash", true, HASH), ("result", true, CALL_FRAME)])),
            ),
            (
                "debug_traceBlockByHash",
                json!([hash]),
                List(&Object(&[("txHash", true, HASH), ("result", true, STRUCT_LOGS)])),
            ),
            ("debug_traceCall", json!([counter, "latest"]), STRUCT_LOGS),
            (
                "txpool_status",
                json!([]),
                Object(&[("pending", true, Uint), ("queued", true, Uint)]),
            ),
            ("txpool_content", json!([]), Object(&[("pending", true, Any), ("queued", true, Any)])),
            ("net_version", json!([]), Text),
            ("net_listening", json!([]), Bool),
            ("net_peerCount", json!([]), Uint),
            ("web3_clientVersion", json!([]), Text),
            ("web3_sha3", json!(["0x68656c6c6f"]), HASH),
            ("rpc_modules", json!([]), Any),
        ];
        let mut wrong = Vec::new();
        for (method, params, shape) in table {
            let answer = node.get(method, params.clone()).await;
            check(&answer, shape, &format!("{rules:?} {method}"), &mut wrong);
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
