//! Batches that L1 does not take, takes late, or takes for nothing.

use crate::world::{CLAIMER, OPERATOR, World, in_trouble, says, says_why};
use alloy_primitives::{Address, U256, hex};
use annex_e2e::{Fault, GWEI, Rule, Wallet, eventually, number, seconds, soak};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// The operator's transactions that wait in L1's pool.
fn waiting(world: &World) -> u64 {
    let operator = Wallet::dev(0, OPERATOR).address();
    let pending =
        world.anvil.rpc.get_result("eth_getTransactionCount", json!([operator, "pending"]));
    number(&pending) - world.operator_nonce()
}

fn mining(world: &World, seconds: u64) {
    world.anvil.rpc.get_result("evm_setIntervalMining", json!([seconds]));
}

#[test]
fn a_batch_that_is_dropped_or_loses_its_place_is_sent_again() {
    let mut world = World::new();
    // The endpoint takes it and forgets it.
    world.set(&[Rule::of("eth_sendRawTransaction", Fault::Swallowed)]);
    world.traffic(3);
    std::thread::sleep(Duration::from_millis(4_000));
    assert_eq!(waiting(&world), 0);
    // Meanwhile something else takes the nonce, from outside the node.
    let key = Wallet { chain_id: 900, ..Wallet::dev(900, OPERATOR) };
    let mut foreign =
        key.transaction(world.operator_nonce(), Address::repeat_byte(7).into(), U256::ONE);
    foreign.max_priority_fee_per_gas = 3 * GWEI;
    world.anvil.rpc.get_result("eth_sendRawTransaction", json!([key.sign(foreign)]));
    std::thread::sleep(Duration::from_millis(1_500));
    world.set(&[]);
    assert_eq!(world.recovers(), 0, "batches in vain");
    world.kept_its_word();

    // Pools drop what waits.
    mining(&world, 0);
    world.traffic(3);
    eventually("a batch waits", seconds(30), || (waiting(&world) == 1).then_some(()));
    world.anvil.rpc.get_result("anvil_dropAllTransactions", json!([]));
    mining(&world, 1);
    world.dev.everything_safe();
    world.kept_its_word();
}

/// L1 makes no blocks, the leader raises its fees, dies, and what it left is replaced; then fees are beyond all limits.
#[test]
fn a_stuck_batch_outlives_its_leader_and_is_paid_once() {
    let mut world = World::new();
    let before = world.operator_nonce();
    mining(&world, 0);
    world.traffic(3);
    eventually("a batch waits", seconds(30), || (waiting(&world) == 1).then_some(()));
    if soak() {
        // Raised twice.
        std::thread::sleep(seconds(25));
    }
    world.dev.process.kill();
    world.restart_leader();
    world.traffic(3);
    std::thread::sleep(seconds(3));
    assert_eq!(waiting(&world), 1, "one in flight, in the place of the other");
    mining(&world, 1);
    assert_eq!(world.recovers(), 0, "batches in vain");
    world.kept_its_word();
    assert!(world.operator_nonce() - before <= 3, "one for each time, and the one to recover");

    // A thousand gwei; it falls by an eighth a block.
    let paid = world.paid();
    world.anvil.rpc.get_result("anvil_setNextBlockBaseFeePerGas", json!(["0xe8d4a51000"]));
    world.traffic(2);
    says(&world.dev.rpc, "posting", seconds(20));
    assert_eq!(world.paid(), paid, "nothing is sent at such a price");
    world.dev.everything_safe();
    eventually("all is well", seconds(20), || {
        (!in_trouble(&world.dev.rpc, "posting")).then_some(())
    });
}

/// The operator's transactions in L1's blocks from this one on, each with its block's timestamp.
fn included(world: &World, first: u64) -> Vec<(u64, Value)> {
    let l1 = &world.anvil.rpc;
    let operator = Wallet::dev(0, OPERATOR).address().to_string().to_lowercase();
    let mut found = Vec::new();
    for block in first..=l1.block_number("latest") {
        let block = l1.get_result("eth_getBlockByNumber", json!([format!("{block:#x}"), true]));
        let transactions = block["transactions"].as_array().expect("a list");
        let own = transactions.iter().filter(|it| it["from"] == operator.as_str());
        found.extend(own.map(|it| (number(&block["timestamp"]), it.clone())));
    }
    found
}

/// Transactions of a party of settlement in L1's blocks.
fn sent_by_the_claimer(world: &World) -> u64 {
    let account = json!([Wallet::dev(900, CLAIMER).address(), "latest"]);
    number(&world.anvil.rpc.get_result("eth_getTransactionCount", account))
}

/// Timestamps of the blocks in which the operator's transactions reverted, from this block on, none of them for more wei than that.
fn reverted(world: &World, first: u64, most: u128) -> Vec<u64> {
    let receipt = |(time, transaction): (u64, Value)| {
        let hash = transaction["hash"].as_str().expect("a hash");
        (time, world.anvil.rpc.receipt(hash).expect("a receipt"))
    };
    let receipts = included(world, first).into_iter().map(receipt);
    let failed = receipts.filter(|(_, receipt)| receipt["status"] == "0x0");
    let paid = |receipt: &Value, used, price| {
        u128::from(number(&receipt[used])) * u128::from(number(&receipt[price]))
    };
    let check = |(time, receipt): (u64, Value)| {
        let gas = paid(&receipt, "gasUsed", "effectiveGasPrice");
        assert!(gas + paid(&receipt, "blobGasUsed", "blobGasPrice") <= most, "{receipt}");
        time
    };
    failed.map(check).collect()
}

/// Batches that were paid for and came to nothing, by the leader's own account.
fn wasted_batches(world: &World) -> u64 {
    let metrics = world.dev.rpc.get("/metrics").expect("an answer").1;
    assert!(metrics.contains("annex_poster_balance_wei "), "{metrics}");
    let wasted = metrics.lines().find_map(|it| it.strip_prefix("annex_batches_wasted_total "));
    wasted.expect("a counter").parse().expect("a number")
}

/// What kept other chains' batchers paying until they were empty: whatever they send fails, and is sent again at once. First the
/// endpoint refuses it, then blocks take it and it reverts there, for all the gas it has.
#[test]
fn batches_that_fail_cost_less_and_less_often() {
    /// Wei: the gas of a batch as this endpoint estimates it and what is added to that, at more than Anvil asks for a gas.
    const COST: u128 = (10_000 * 4 / 3 + 60_000) * 5 * GWEI;
    let mut world = World::new();
    let before = world.paid();
    let refused = Fault::Error(-32000, "insufficient funds for gas * price + value");
    world.set(&[Rule::of("eth_sendRawTransaction", refused)]);
    world.traffic(3);
    says(&world.dev.rpc, "posting", seconds(30));
    says_why(&world.dev.rpc, "posting", "insufficient funds", seconds(1));
    assert_eq!(world.paid(), before, "what is refused costs nothing");

    // Simulations promise what blocks do not keep.
    world.set(&[Rule::of("eth_estimateGas", Fault::Result("0x2710"))]);
    let inbox = world.dev.contract("inbox");
    let code = world.anvil.rpc.get_result("eth_getCode", json!([inbox, "latest"]));
    world.anvil.rpc.get_result("anvil_setCode", json!([inbox, "0xfe"]));
    let first = world.anvil.rpc.block_number("latest") + 1;
    let claims = sent_by_the_claimer(&world);
    let (nonce, failures) = (world.operator_nonce(), if soak() { 25 } else { 3 });
    let start = Instant::now();
    while world.operator_nonce() < nonce + failures {
        assert!(start.elapsed() < seconds(60 + 6 * failures), "nothing is sent any more");
        world.traffic(1);
        std::thread::sleep(Duration::from_millis(200));
    }
    says_why(&world.dev.rpc, "posting", "reverted", seconds(1));
    let last = world.anvil.rpc.block("latest");
    world.anvil.rpc.get_result("anvil_setCode", json!([inbox, code]));
    world.set(&[]);

    let times = reverted(&world, first, COST);
    let pauses: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    // After 2 and 4 seconds, then every 5: a quarter of the time after which a forced item may not be omitted. L1 tells seconds.
    assert!(pauses.len() >= 2, "{times:?}");
    assert!(
        pauses.iter().zip([1, 3].into_iter().chain([4; 99])).all(|(it, min)| *it >= min),
        "{pauses:?}"
    );
    let time = number(&last["timestamp"]) - times[0];
    let most = 3 + time / 5;
    assert!(times.len() as u64 <= most, "{times:?} in {time} s, at most {most}");
    let counted = wasted_batches(&world);
    assert!(counted + 1 >= times.len() as u64, "{counted} of {}", times.len());
    let claims = sent_by_the_claimer(&world) - claims;
    assert!(claims <= 4 + u64::from(time.ilog2()), "{claims} of the claimer's reverted");
    let (count, cost) = world.paid();
    let most = U256::from(count) * U256::from(COST);
    println!("in {time} s failures with pauses of {pauses:?} s; {count} batches for {cost} wei");
    assert!(cost <= most, "{count} batches cost {cost} wei, more than {most}");
    assert_eq!(world.recovers(), 0, "they reverted: none is a record");
    world.kept_its_word();
}

/// Has L1, while it is paused on an empty block, ask so much for blobs: Anvil has no method for it. With the blocks that follow the
/// price rises, as Anvil reckons with the fractions of two forks.
fn set_blob_base_fee(world: &World, wei: u64) {
    /// Of the fork after Osaka (EIP-7892): BASE_FEE_UPDATE_FRACTION, and the target, by which the excess falls until the next block.
    const UPDATE_FRACTION: f64 = 8_346_193.0;
    const TARGET_GAS: u64 = 10 << 17;
    let l1 = &world.anvil.rpc;
    let excess =
        if wei > 1 { TARGET_GAS + ((wei as f64).ln() * UPDATE_FRACTION) as u64 } else { 0 };
    let mut header = l1.block("latest");
    assert_eq!(header["transactions"], json!([]));
    header["excessBlobGas"] = json!(format!("{excess:#x}"));
    let state = json!({
        "block": {
            "number": header["number"],
            "beneficiary": header["miner"],
            "timestamp": header["timestamp"],
            "gas_limit": number(&header["gasLimit"]),
            "basefee": number(&header["baseFeePerGas"]),
            "difficulty": "0x0",
            "prevrandao": header["mixHash"],
            "blob_excess_gas_and_price": {"excess_blob_gas": excess, "blob_gasprice": wei},
            "slot_num": 0,
        },
        "accounts": {},
        "best_block_number": header["number"],
        "blocks": [{"header": header, "transactions": [], "ommers": []}],
        "transactions": [],
    });
    let state = hex::encode_prefixed(state.to_string());
    assert_eq!(l1.get_result("anvil_loadState", json!([state])), true);
    let price = number(&l1.get_result("eth_blobBaseFee", json!([])));
    assert!(price.abs_diff(wei) <= wei / 100, "{price}, not {wei}");
}

/// L1 makes no more blocks, and the newest is empty.
fn pause(world: &World) {
    eventually("an empty block", seconds(30), || {
        mining(world, 0);
        if world.anvil.rpc.block("latest")["transactions"] == json!([]) {
            return Some(());
        }
        mining(world, 1);
        std::thread::sleep(seconds(1));
        None
    });
}

/// Wei that a transaction offers for a blob gas.
fn blob_fee(transaction: &Value) -> u128 {
    u128::from(number(&transaction["maxFeePerBlobGas"]))
}

/// What the operator's transactions in L1's pool offer for a blob gas.
fn offers(world: &World) -> Vec<u128> {
    let pool = world.anvil.rpc.get_result("txpool_content", json!([]));
    let operator = Wallet::dev(0, OPERATOR).address().to_string();
    let accounts = pool["pending"].as_object().expect("accounts").iter();
    let own = accounts.filter(|(from, _)| from.eq_ignore_ascii_case(&operator));
    own.flat_map(|(_, list)| list.as_object().expect("nonces").values().map(blob_fee)).collect()
}

/// The price of blobs jumps while a batch waits in the pool, and later beyond all limits.
#[test]
fn a_jump_of_the_blob_fee_is_followed_up_to_the_limit() {
    const LIMIT: u128 = 500 * GWEI;
    let mut world = World::new();
    pause(&world);
    let first = world.anvil.rpc.block_number("latest") + 1;
    world.traffic(3);
    let offer = eventually("a batch waits", seconds(30), || offers(&world).pop());
    assert!(offer < 1_000, "{offer} wei a blob gas");
    // Twice the price, as is offered in quiet times, would be above the limit.
    set_blob_base_fee(&world, 300_000_000_000);
    let raised = eventually("the offer is raised", seconds(40), || {
        offers(&world).pop().filter(|now| *now != offer)
    });
    assert_eq!(raised, LIMIT);
    assert_eq!(offers(&world).len(), 1);
    set_blob_base_fee(&world, 1);
    mining(&world, 1);
    world.dev.everything_safe();
    let batches = included(&world, first);
    assert!(batches.len() == 1 && blob_fee(&batches[0].1) == LIMIT, "one for all this time");

    pause(&world);
    set_blob_base_fee(&world, 600_000_000_000);
    mining(&world, 1);
    let paid = world.paid();
    world.traffic(2);
    says(&world.dev.rpc, "posting", seconds(20));
    says_why(&world.dev.rpc, "posting", "a blob gas, more than is offered", seconds(1));
    world.traffic_for(seconds(3), |world| assert!(offers(world).is_empty(), "it is too dear"));
    assert_eq!(world.paid(), paid);

    pause(&world);
    set_blob_base_fee(&world, 1);
    mining(&world, 1);
    assert_eq!(world.recovers(), 0, "batches in vain");
    world.kept_its_word();
    let fees: Vec<_> = included(&world, first).iter().map(|(_, batch)| blob_fee(batch)).collect();
    assert!(fees.len() > 1 && fees.iter().all(|fee| *fee <= LIMIT), "{fees:?}");
}
