//! The leader stalls, a stranger's batch with blocks of its own comes first, and the leader comes back.

use crate::world::World;
use alloy_primitives::{Address, B256, U256, hex};
use annex_e2e::batch::{Block, payload};
use annex_e2e::{Inbox, L1Call, Node, NodeOptions, Wallet, eventually, number, record_of, seconds};
use serde_json::json;

const STRANGER: u32 = 7;

/// Index and timestamp of the newest record on L1.
fn newest_record(world: &World) -> (u64, u64) {
    let index = world.dev.records() - 1;
    let topics = json!([null, B256::from(U256::from(index))]);
    let inbox = world.dev.contract("inbox");
    let filter = json!([{"fromBlock": "0x0", "address": inbox, "topics": topics}]);
    let logs = world.anvil.rpc.get_result("eth_getLogs", filter);
    let data = hex::decode(logs[0]["data"].as_str().expect("a record")).expect("hex");
    (index, U256::from_be_slice(&data[64..96]).to())
}

#[test]
fn a_strangers_block_comes_first_and_broken_promises_are_reported() {
    let mut world = World::new();
    let other = world.dev.wallet(world.seed, 2);
    world.dev.everything_safe();
    let file = world.dev.deployment_file();
    let feed = Some(world.dev.rpc.ws_url());
    let options = NodeOptions { feed, ..NodeOptions::default() };
    let witness = Node::start(&world.folder, "witness", world.anvil.rpc.url(), &file, &options);
    eventually("the follower listens", seconds(60), || {
        witness.process.output().contains("following promises").then_some(())
    });

    // Promised, heard, and never posted: the leader stands still.
    world.traffic(3);
    eventually("the follower has heard the promises", seconds(60), || {
        (witness.metric("annex_promises_total") >= 3).then_some(())
    });
    world.dev.process.signal("STOP");
    let head = world.follower.rpc.block("latest");
    world.deposit();
    world.anvil.pass(61);

    // A block of a stranger, whose transaction the leader never saw, then the deposit in a derived block.
    let (origin, recorded) = newest_record(&world);
    let block = Block {
        timestamp: number(&head["timestamp"]).max(recorded),
        beneficiary: Wallet::dev(900, STRANGER).address(),
        origin: origin - 1,
        forced: 0,
        transactions: vec![other.transfer(0, Address::repeat_byte(0x57), U256::from(7))],
    };
    let parent: B256 = head["hash"].as_str().expect("a hash").parse().expect("a hash");
    let forced = world.dev.inbox(Inbox::forcedCountCall {}).to::<u64>();
    let inbox = world.dev.contract("inbox");
    let call = L1Call::calldata_batch(inbox, forced, payload(parent, &[block]));
    record_of(&call.send(&world.anvil.rpc, &Wallet::dev(900, STRANGER)));
    let account = json!([Address::repeat_byte(0x57), "latest"]);
    eventually("the stranger's block is a block", seconds(60), || {
        (world.follower.rpc.get_result("eth_getBalance", account.clone()) == "0x7").then_some(())
    });

    world.dev.process.signal("CONT");
    assert_eq!(world.recovers(), 0);
    assert!(!world.dev.inbox(Inbox::openPeriodCall {}), "the leader's batch ends the open period");
    let log = world.dev.process.output();
    assert!(log.contains("promise changed"), "the operator is told: {log}");
    // The leader's own promises, by its own node's account and by that of whoever heard them.
    eventually("the broken promises are known", seconds(60), || {
        let broken = witness.rpc.get_result("annex_brokenPromises", json!([]));
        (broken.as_array().expect("a list").len() >= 3).then_some(())
    });
    assert!(witness.metric("annex_broken_promises_total") >= 3);
    witness.agrees_with(&world.dev.rpc);
}
