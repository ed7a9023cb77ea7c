//! With `--durability power`, what was acknowledged survives the loss of everything that was not synced.

use annex_e2e::{Disk, Folder, Load, Node, OwnChain, everything_safe, seed, soak};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use std::process::Command;
use std::thread;
use std::time::Duration;

const POWER: &[&str] = &["--durability", "power"];
/// Of the file system, in megabytes.
const SIZE: u32 = 256;

/// The disk as it is when the power goes: what only the kernel's memory holds is not in the image. The process stands
/// still meanwhile, and nothing else makes the kernel write.
fn cut_power(leader: &mut Node, image: &std::path::Path, after: &std::path::Path) {
    leader.process.signal("STOP");
    thread::sleep(Duration::from_millis(100));
    let copied = Command::new("cp").arg("--sparse=always").args([image, after]).status();
    assert!(copied.expect("cp runs").success());
    leader.process.kill();
}

#[test]
fn acknowledged_transactions_survive_a_power_loss() {
    let rounds = if soak() { 20 } else { 2 };
    let seed = seed();
    let mut rng = SmallRng::seed_from_u64(seed);
    let folder = Folder::new();
    let image = |round: u32| folder.path().join(format!("disk-{round}"));
    let mut disk = match Disk::image(&folder, "leader-0", &image(0), SIZE) {
        Ok(disk) => disk,
        Err(why) => return println!("skipped, no file system can be made: {why}"),
    };
    let chain = OwnChain::deploy(&folder, seed);
    let mut leader = chain.leader(&folder, "leader-0", (100, 1), POWER);
    let wallets = chain.wallets(&leader, 3);
    let follower = chain.follower(&folder, "follower");
    let mut all = Vec::new();
    for round in 0..rounds {
        let load = Load::start(&leader.rpc, &wallets);
        thread::sleep(Duration::from_millis(rng.random_range(300..2_000)));
        let next = image(round + 1);
        cut_power(&mut leader, &image(round), &next);
        let witnessed = load.gone();
        println!("round {round}: {} receipts", witnessed.receipts.len());
        assert!(!witnessed.receipts.is_empty());
        drop(disk);
        std::fs::remove_file(image(round)).expect("it is not mounted");

        let name = format!("leader-{}", round + 1);
        disk = Disk::of_image(&folder, &name, &next).expect("it was mounted before");
        leader = chain.leader(&folder, &name, (100, 1), POWER);
        witnessed.still_holds(&leader.rpc);
        all.push(witnessed);
    }
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

/// That the test above can fail: without syncs, what was acknowledged is not in the image.
#[test]
fn without_syncs_a_power_loss_does_lose() {
    let folder = Folder::new();
    let image = folder.path().join("disk");
    let disk = match Disk::image(&folder, "leader", &image, SIZE) {
        Ok(disk) => disk,
        Err(why) => return println!("skipped, no file system can be made: {why}"),
    };
    let chain = OwnChain::deploy(&folder, seed());
    let mut leader = chain.leader(&folder, "leader", (100, 1), &[]);
    let wallets = chain.wallets(&leader, 1);
    let load = Load::start(&leader.rpc, &wallets);
    thread::sleep(Duration::from_millis(500));
    let after = folder.path().join("after");
    cut_power(&mut leader, &image, &after);
    assert!(!load.gone().receipts.is_empty());
    drop(disk);
    let disk = Disk::of_image(&folder, "lost", &after).expect("an image");
    let log = std::fs::read_dir(disk.path().join("promises"));
    let bytes = log.map_or(0, |log| {
        log.map(|file| file.and_then(|file| file.metadata()).map_or(0, |file| file.len())).sum()
    });
    assert_eq!(bytes, 0, "the log is on the disk though nobody waited for that");
}
