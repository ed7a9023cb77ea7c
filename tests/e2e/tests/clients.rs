//! Real clients on Annex, and the same scripts on Anvil: what they observe must be the same.

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_trie::proof::verify_proof;
use alloy_trie::{EMPTY_ROOT_HASH, KECCAK_EMPTY, Nibbles, TrieAccount};
use annex_e2e::{
    Anvil, Dev, DevOptions, ETHER, Folder, GWEI, Rpc, Shared, Wallet, annex, eventually, run,
    script, seconds, seed,
};
use serde_json::{Value, json};
use std::fmt::Debug;
use std::str::FromStr;
use std::sync::Arc;

struct Setup {
    dev: Dev,
    anvil: Anvil,
    seed: u64,
    _folder: Folder,
}

fn setup() -> Arc<Setup> {
    static SETUP: Shared<Setup> = Shared::new();
    SETUP.get(|| {
        let folder = Folder::new();
        let options = DevOptions { l1_block_time: Some(1), ..DevOptions::default() };
        let dev = Dev::start(&folder, "dev", &options);
        let anvil = Anvil::start(&folder, 901, &[]);
        Setup { dev, anvil, seed: seed(), _folder: folder }
    })
}

impl Setup {
    /// An account with ten ether on both chains.
    fn wallet(&self, index: u64) -> Wallet {
        let wallet = self.dev.wallet(self.seed, index);
        self.anvil.set_balance(wallet.address(), ETHER * U256::from(10));
        wallet
    }

    /// Runs a script on both chains; it must observe the same.
    fn same_on_both(&self, name: &str, index: u64) {
        let wallet = self.wallet(index);
        let run = |rpc: &Rpc| script(name, &[rpc.url(), &wallet.key(), &rpc.ws_url()]);
        let (annex, anvil) = (run(&self.dev.rpc), run(&self.anvil.rpc));
        assert_eq!(annex, anvil);
    }
}

#[test]
fn viem_makes_a_market_and_trades() {
    setup().same_on_both("viem.js", 1);
}

#[test]
fn ethers_makes_a_market_and_trades() {
    setup().same_on_both("ethers.js", 2);
}

#[test]
fn cast_makes_a_market_and_trades() {
    setup().same_on_both("cast.js", 3);
}

/// What a comparison found, which is nothing, and what it left out.
#[track_caller]
fn compare(name: &str, index: u64, left_out: &[&str]) -> Value {
    let setup = setup();
    let key = setup.wallet(index).key();
    let report = script(name, &[setup.dev.rpc.url(), &key, setup.anvil.rpc.url()]);
    let exempted = report["exempted"].as_array().expect("a list");
    for field in exempted {
        println!("{name} leaves out {}: {}", field["field"], field["reason"]);
    }
    let fields: Vec<&str> = exempted.iter().filter_map(|field| field["field"].as_str()).collect();
    let unknown: Vec<_> = fields.iter().filter(|field| !left_out.contains(field)).collect();
    assert!(unknown.is_empty(), "left out without being listed here: {unknown:?}");
    println!("{name}: {} fields are equal", report["compared"]);
    report
}

/// Each chain's own time, base fee and place of a transaction, and Annex's data gas, without which gas is compared.
const PLACE: &[&str] = &[
    "log.blockHash",
    "log.blockNumber",
    "log.blockTimestamp",
    "log.logIndex",
    "log.transactionIndex",
    "receipt.blobGasPrice",
    "receipt.blockHash",
    "receipt.blockNumber",
    "receipt.blockTimestamp",
    "receipt.cumulativeGasUsed",
    "receipt.effectiveGasPrice",
    "receipt.gasUsed",
    "receipt.transactionIndex",
    "transaction.blockHash",
    "transaction.blockNumber",
    "transaction.blockTimestamp",
    "transaction.gasPrice",
    "transaction.transactionIndex",
];
/// And what a tool chooses when it may.
const OWN_FEES: &[&str] = &[
    "log.transactionHash",
    "receipt.transactionHash",
    "transaction.gas",
    "transaction.hash",
    "transaction.maxFeePerGas",
    "transaction.maxPriorityFeePerGas",
    "transaction.r",
    "transaction.s",
    "transaction.v",
    "transaction.yParity",
];

#[test]
fn published_contracts_do_what_they_do_on_anvil() {
    let others =
        ["message.text", "state.storageRoot", "step.estimate", "step.executionGas"].as_slice();
    let report = compare("compare.js", 10, &[PLACE, others].concat());
    let scenarios = report["scenarios"].as_array().expect("a list");
    assert_eq!(scenarios.len(), 24, "twelve scenarios through two clients");
    for scenario in scenarios {
        println!("{scenario}");
    }
}

#[test]
fn forge_deploys_as_on_anvil() {
    compare("forge.js", 11, &[PLACE, OWN_FEES].concat());
}

#[test]
fn hardhat_tests_and_runs_as_on_anvil() {
    compare("hardhat.js", 12, &[PLACE, OWN_FEES].concat());
}

#[test]
fn simulations_say_what_they_say_on_anvil() {
    let block = [
        "blobGasUsed",
        "excessBlobGas",
        "hash",
        "mixHash",
        "number",
        "parentBeaconBlockRoot",
        "parentHash",
        "receiptsRoot",
        "requestsHash",
        "size",
        "transactionsRoot",
        "withdrawals",
        "withdrawalsRoot",
    ];
    let transaction = ["blockHash", "blockNumber", "blockTimestamp", "chainId", "hash", "nonce"];
    let of = |kind: &str, fields: &[&str]| -> Vec<String> {
        fields.iter().map(|field| format!("{kind}.{field}")).collect()
    };
    let left_out = [
        of("simulatedBlock", &block),
        of("simulatedTransaction", &transaction),
        of("simulatedTransaction", &["transactionIndex"]),
        of("simulatedTransfers", &["logsBloom"]),
        of("simulatedCall", &["maxUsedGas"]),
        of("simulatedBaseFee", &["maxUsedGas", "returnData"]),
        of("simulatedError", &["code", "message", "data"]),
        of("simulatedLog", &["blockHash", "blockNumber", "transactionHash"]),
        of("refusal", &["accepted", "code", "text"]),
    ];
    let left_out: Vec<_> = left_out.iter().flatten().map(String::as_str).collect();
    let report = compare("simulate.js", 14, &left_out);
    assert!(report["simulated"].as_u64().expect("a number") >= 35, "{report}");
}

#[test]
fn watching_over_websocket_misses_nothing() {
    setup().same_on_both("watch.js", 13);
}

#[test]
fn watching_goes_on_after_a_kill() {
    let folder = Folder::new();
    let path = folder.path().to_str().expect("UTF-8").to_owned();
    let binary = annex().to_str().expect("UTF-8").to_owned();
    let report = script("reconnect.js", &[&binary, &Wallet::dev(901, 4).key(), &path]);
    println!("{report}");
}

#[test]
fn deposits_arrive_and_fees_are_estimated() {
    let setup = setup();
    let key = Wallet::dev(901, 5).key();
    let report = script("deposit.js", &[setup.dev.rpc.url(), &key, setup.dev.l1.url()]);
    println!("{report}");
}

#[test]
fn reads_agree_with_each_other() {
    setup().same_on_both("reads.js", 4);
}

#[test]
fn subscriptions_miss_nothing() {
    setup().same_on_both("live.js", 5);
}

#[test]
fn synchronous_sends_bear_signed_promises() {
    let setup = setup();
    let wallet = setup.wallet(6);
    script("sync.js", &[setup.anvil.rpc.url(), &wallet.key()]);
    script("sync.js", &[setup.dev.rpc.url(), &wallet.key(), setup.dev.l1.url()]);
}

/// A hex string of JSON as what it is.
#[track_caller]
fn parse<T: FromStr<Err: Debug>>(value: &Value) -> T {
    let text = value.as_str().unwrap_or_else(|| panic!("not a string: {value}"));
    text.parse().unwrap_or_else(|error| panic!("{text}: {error:?}"))
}

fn nodes(list: &Value) -> Vec<Bytes> {
    list.as_array().expect("a list").iter().map(parse).collect()
}

/// Checks an answer of `eth_getProof` against a state root; returns the account's nonce.
fn check_proof(root: B256, address: Address, proof: &Value) -> u64 {
    let nonce = annex_e2e::number(&proof["nonce"]);
    let storage_root = parse(&proof["storageHash"]);
    let account = TrieAccount {
        nonce,
        balance: parse(&proof["balance"]),
        storage_root,
        code_hash: parse(&proof["codeHash"]),
    };
    let absent = nonce == 0
        && account.balance.is_zero()
        && account.code_hash == KECCAK_EMPTY
        && storage_root == EMPTY_ROOT_HASH;
    let expected = (!absent).then(|| alloy_rlp::encode(account));
    let key = Nibbles::unpack(keccak256(address));
    verify_proof(root, key, expected, &nodes(&proof["accountProof"])).expect("the account's proof");
    for slot in proof["storageProof"].as_array().expect("a list") {
        let value: U256 = parse(&slot["value"]);
        let expected = (!value.is_zero()).then(|| alloy_rlp::encode(value));
        let key = B256::from(parse::<U256>(&slot["key"]));
        let key = Nibbles::unpack(keccak256(key));
        verify_proof(storage_root, key, expected, &nodes(&slot["proof"])).expect("a slot's proof");
    }
    nonce
}

#[test]
fn proofs_verify_against_the_state_root() {
    let setup = setup();
    let rpc = &setup.dev.rpc;
    let wallet = setup.wallet(7);
    setup.dev.send(&wallet.transfer(0, Address::repeat_byte(1), ETHER));
    let number = eventually("the seal", seconds(5), || {
        let nonce_at = |block: u64| {
            let params = json!([wallet.address(), [], format!("{block:#x}")]);
            annex_e2e::number(&rpc.get_result("eth_getProof", params)["nonce"])
        };
        let head = rpc.block_number("latest");
        (nonce_at(head) == 1).then_some(head)
    });

    let l1_block: Address =
        "0x4200000000000000000000000000000000000015".parse().expect("an address");
    let subjects = [
        (wallet.address(), vec![]),
        (Address::repeat_byte(0xee), vec!["0x0"]),
        (l1_block, vec!["0x0", "0x6", "0x1234"]),
    ];
    for (address, slots) in subjects {
        for block in [0, number] {
            let tag = format!("{block:#x}");
            let root = parse(&rpc.block(tag.clone())["stateRoot"]);
            let proof = rpc.get_result("eth_getProof", json!([address, slots, tag]));
            assert_eq!(proof["storageProof"].as_array().expect("a list").len(), slots.len());
            let nonce = check_proof(root, address, &proof);
            if address == wallet.address() {
                assert_eq!(nonce, u64::from(block == number));
            }
        }
    }
}

#[test]
fn a_transaction_goes_through_its_stages() {
    let setup = setup();
    let dev = &setup.dev;
    let wallet = setup.wallet(8);
    let encoded = wallet.transfer(0, Address::repeat_byte(2), ETHER);
    let hash = Wallet::hash(&encoded).to_string();
    let status = || dev.rpc.get_result("annex_transactionStatus", json!([hash]));
    assert_eq!(status()["stage"], "unknown");

    dev.send(&encoded);
    let mut stages = vec![];
    eventually("the transaction is safe", seconds(30), || {
        let status = status();
        let stage = status["stage"].as_str().expect("a stage").to_owned();
        assert!(!status["guarantee"].as_str().expect("a guarantee").is_empty());
        if stages.last() != Some(&stage) {
            stages.push(stage);
        }
        (status["stage"] == "safe").then_some(())
    });
    let known = ["acknowledged", "sealed", "safe"];
    assert!(
        known.iter().filter(|stage| stages.iter().any(|s| s == *stage)).eq(stages.iter()),
        "{stages:?}"
    );

    let status = status();
    let l1_transaction = status["l1Transaction"].as_str().expect("the batch's transaction");
    let receipt = dev.l1.receipt(l1_transaction).expect("the batch is on L1");
    assert_eq!(receipt["status"], "0x1");
    assert_eq!(receipt["blockNumber"], status["l1Block"]);

    let (ok, text) = run(&["tx", &hash, "--rpc", dev.rpc.url()]);
    assert!(ok && text.contains("safe"), "{text}");
    let (_, text) = run(&["tx", &B256::repeat_byte(9).to_string(), "--rpc", dev.rpc.url()]);
    assert!(text.contains("does not know"), "{text}");
}

#[test]
fn the_node_reports_deployment_health_and_metrics() {
    let setup = setup();
    let dev = &setup.dev;
    let deployment = dev.deployment();
    assert_eq!(dev.rpc.get_result("annex_deployment", json!([])), deployment);
    assert_eq!((&deployment["l1ChainId"], &deployment["l2ChainId"]), (&json!(900), &json!(901)));

    let (status, health) = dev.rpc.get("/health").expect("an answer");
    assert_eq!(status, 200, "{health}");
    let wallet = setup.wallet(9);
    dev.send(&wallet.transfer(0, Address::repeat_byte(3), ETHER));
    let (status, metrics) = dev.rpc.get("/metrics").expect("an answer");
    assert_eq!(status, 200);
    assert!(metrics.lines().any(|line| line.starts_with("annex_")), "{metrics}");
}

/// `annex dev` takes the options of whoever orders.
#[test]
fn a_development_chain_orders_as_it_is_told() {
    let folder = Folder::new();
    let more = &["--ordering", "priority", "--ordering-window", "500"];
    let dev = Dev::start(&folder, "dev", &DevOptions { more, ..DevOptions::default() });
    let seed = seed();
    let wallets = [1, 2, 3].map(|index| dev.wallet(seed, index));
    let to = Address::repeat_byte(0xcc);
    let tips = [1, 3, 2].map(|gwei| gwei * GWEI);
    let sent: Vec<_> = wallets
        .iter()
        .zip(tips)
        .map(|(wallet, tip)| {
            let mut transaction = wallet.transaction(0, to.into(), U256::ONE);
            transaction.max_priority_fee_per_gas = tip;
            transaction.max_fee_per_gas += tip;
            wallet.sign(transaction)
        })
        .collect();
    let hashes = dev.rpc.batch("eth_sendRawTransaction", sent.iter().map(|raw| json!([raw])));
    let place = |hash: &Value| {
        let receipt = dev.rpc.receipt(hash.as_str().expect("a hash")).expect("a receipt");
        ["blockNumber", "transactionIndex"].map(|field| annex_e2e::number(&receipt[field]))
    };
    let places: Vec<_> = hashes.iter().map(place).collect();
    assert!(places[1] < places[2] && places[2] < places[0], "{places:?}");

    let (ok, text) = run(&["dev", "--ordering", "fairest"]);
    assert!(!ok && text.contains("first-come") && text.contains("priority"), "{text}");
}
