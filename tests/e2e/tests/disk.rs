//! A disk that runs full: nothing is acknowledged that could not be written, and nothing that was is lost.

use annex_e2e::{
    Disk, Folder, Load, OwnChain, Witnessed, eventually, everything_safe, seconds, seed, soak,
};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use std::thread;
use std::time::Duration;

#[test]
fn a_full_disk_stops_the_leader_and_loses_nothing() {
    let rounds = if soak() { 20 } else { 3 };
    let seed = seed();
    let mut rng = SmallRng::seed_from_u64(seed);
    let folder = Folder::new();
    let disk = match Disk::small(&folder, "leader", 96) {
        Ok(disk) => disk,
        Err(why) => return println!("skipped, no file system can be made: {why}"),
    };
    let chain = OwnChain::deploy(&folder, seed);
    let mut leader = chain.leader(&folder, "leader", (100, 1), &[]);
    let wallets = chain.wallets(&leader, 3);
    let follower = chain.follower(&folder, "follower");
    let mut all: Vec<Witnessed> = Vec::new();
    for round in 0..rounds {
        let load = Load::start(&leader.rpc, &wallets);
        thread::sleep(Duration::from_millis(rng.random_range(100..500)));
        disk.fill(rng.random_range(0..200_000));
        let status = eventually("it ends", seconds(30), || leader.process.exited());
        let witnessed = load.gone();
        println!("round {round}: {} receipts, then {status}", witnessed.receipts.len());
        assert!(!status.success());
        let output = leader.process.output();
        let why = ["No space left on device", "disk is full"];
        assert!(why.iter().any(|why| output.contains(why)), "{output}");
        assert!(!output.contains("panicked"), "{output}");
        for (code, message) in witnessed.refusals.keys() {
            // The more leaders end before they post, the more waits, and has a price.
            let priced = (*code, message.as_str()) == (-32000, "transaction underpriced");
            assert!(priced || [5, -32002, -32005].contains(code), "{code} {message}");
        }
        disk.clear();
        leader = chain.leader(&folder, "leader", (100, 1), &[]);
        witnessed.still_holds(&leader.rpc);
        all.push(witnessed);
    }
    let load = Load::start(&leader.rpc, &wallets);
    thread::sleep(Duration::from_millis(300));
    let last = load.join();
    assert!(!last.receipts.is_empty());
    all.push(last);
    everything_safe(&leader.rpc);
    for witnessed in &all {
        witnessed.still_holds(&leader.rpc);
        witnessed.promises_hold(&leader.rpc);
    }
    follower.agrees_with(&leader.rpc);
    assert_eq!(follower.rpc.get_result("annex_brokenPromises", json!([])), json!([]));
    leader.process.kill();
    drop(disk);
}
