//! Batches that L1 does not take, takes late, or takes for nothing.

use crate::world::{OPERATOR, World, in_trouble, says};
use alloy_primitives::{Address, U256};
use annex_e2e::{Fault, GWEI, Rule, Wallet, eventually, number, seconds, soak};
use serde_json::json;
use std::time::Duration;

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
