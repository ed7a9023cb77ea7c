//! Endpoints that fail and lie.

use crate::world::{World, in_trouble, outage, rounds, says};
use annex_e2e::{Fault, Rule, View, eventually, number, seconds, soak};
use rand::seq::SliceRandom;
use std::time::Duration;

#[test]
fn an_endpoint_that_fails_in_every_way_is_outlived() {
    let mut world = World::new();
    let mut faults = vec![
        Fault::Cut,
        Fault::Status(500),
        Fault::Status(429),
        Fault::Error(-32603, "internal error"),
        Fault::Error(-32000, "header not found"),
        Fault::Error(-32005, "daily request count exceeded"),
        Fault::Error(3, "execution reverted"),
        Fault::Garbage,
        Fault::Truncated,
        Fault::Absurd,
    ];
    for _ in 0..if soak() { 3 } else { 1 } {
        faults.shuffle(&mut world.random);
        for fault in &faults {
            println!("{fault:?}");
            world.set(&[Rule::always(*fault)]);
            world.deposit();
            world.traffic_for(outage(1_000), |_| {});
            // Now and then an answer comes through.
            world.set(&[Rule::sometimes(70, *fault)]);
            world.traffic_for(Duration::from_millis(700), |_| {});
        }
    }
    world.set(&[Rule::always(Fault::Cut)]);
    for rpc in world.nodes() {
        says(rpc, "l1", seconds(60));
    }
    assert_eq!(world.recovers(), 0, "batches in vain");
    world.kept_its_word();
    for rpc in world.nodes() {
        let (_, metrics) = rpc.get("/metrics").expect("an answer");
        assert!(metrics.contains("annex_trouble{what=\"l1\"} 0"), "{metrics}");
        assert!(metrics.contains("annex_l1_errors_total "), "{metrics}");
    }
    assert!(world.follower.process.output().contains("out of trouble"));
}

#[test]
fn a_slow_endpoint_slows_down_and_nothing_else() {
    let mut world = World::new();
    let delay = Duration::from_millis(if soak() { 5_000 } else { 300 });
    world.set(&[Rule::always(Fault::Slow(delay))]);
    world.deposit();
    world.traffic(5);
    let head = world.dev.rpc.block_number("latest");
    // About twenty answers in a row until L1 has a batch, and some more until it is read.
    for rpc in world.nodes() {
        eventually("blocks are safe in spite of it", delay * 60 + seconds(30), || {
            (rpc.block_number("safe") >= head).then_some(())
        });
    }
    assert_eq!(world.recovers(), 0, "batches in vain");
    world.kept_its_word();
}

/// Several nodes behind one URL, of which some lag: no reason to take anything back, or to post anything twice.
#[test]
fn an_endpoint_that_lags_and_boasts_takes_nothing_back() {
    let mut world = World::new();
    let half = |view| Rule { fault: Fault::View(view), only: "", percent: 50 };
    let mut safe = [0, 0];
    for _ in 0..rounds(1) {
        let behind = 1 + u64::from(rand::Rng::random::<u8>(&mut world.random) % 5);
        let head = number(&world.anvil.rpc.get_result("eth_blockNumber", serde_json::json!([])));
        let mut rules = [
            Rule::always(Fault::View(View::Behind(behind))),
            half(View::Behind(behind)),
            half(View::Ahead(5)),
            Rule { only: "eth_getLogs", ..half(View::Behind(behind)) },
            Rule::of("eth_getBlockByNumber", Fault::View(View::Ahead(3))),
            Rule::always(Fault::View(View::Until(head))),
        ];
        rules.shuffle(&mut world.random);
        for rule in rules {
            println!("{rule:?}");
            world.set(&[rule]);
            world.deposit();
            world.traffic_for(Duration::from_millis(2_500), |world| {
                let now = world.nodes().map(|rpc| rpc.block_number("safe"));
                assert!(now[0] >= safe[0] && now[1] >= safe[1], "{now:?} after {safe:?}");
                safe = now;
            });
            world.set(&[]);
            world.traffic_for(Duration::from_millis(1_000), |_| {});
        }
    }
    // One that boasts without end is not believed to be up to date.
    world.set(&[Rule::of("eth_getBlockByNumber", Fault::View(View::Ahead(3)))]);
    says(&world.follower.rpc, "l1", seconds(30));
    assert_eq!(world.recovers(), 0, "batches in vain");
    world.kept_its_word();
    let log = world.dev.process.output() + &world.follower.process.output();
    assert!(!log.contains("L1 reorganised"), "{log}");
}

/// Two nodes behind one URL that are on different branches; and one that is behind for so long that L1 seems to be shorter.
#[test]
fn an_endpoint_on_another_branch_is_followed_there_and_back() {
    let mut world = World::new();
    for round in 0..rounds(2) {
        let head = number(&world.anvil.rpc.get_result("eth_blockNumber", serde_json::json!([])));
        let fork = Fault::View(View::Fork(head - 4));
        world.set(&[if round % 2 == 0 { Rule::always(fork) } else { Rule::sometimes(50, fork) }]);
        world.traffic_for(Duration::from_millis(4_000), |_| {});
        world.deposit();
        world.set(&[]);
        world.traffic_for(Duration::from_millis(2_500), |_| {});
    }
    let head = number(&world.anvil.rpc.get_result("eth_blockNumber", serde_json::json!([])));
    world.set(&[Rule::always(Fault::View(View::Until(head - 3)))]);
    world.traffic_for(Duration::from_millis(3_000), |_| {});
    assert!(world.nodes().iter().all(|rpc| in_trouble(rpc, "l1_behind")));
    // Longer than the patience of nodes on a development chain.
    world.traffic_for(Duration::from_millis(4_500), |_| {});
    assert_eq!(world.recovers(), 0, "batches in vain");
    let log = world.follower.process.output();
    assert!(log.contains("L1 reorganised"), "{log}");
    // One batch every two seconds, as ever: none was paid for twice.
    let (transactions, cost) = world.paid();
    println!("{transactions} batches cost {cost} wei");
}
