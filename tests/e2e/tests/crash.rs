//! What was acknowledged survives `kill -9`.

use alloy_primitives::{Address, U256};
use annex_e2e::{
    Dev, DevOptions, Folder, Load, Node, NodeOptions, Usage, Wallet, Witnessed, eventually,
    place_and_result, seconds, seed, soak,
};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeSet;
use std::io::Write;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// Wallets that send at the same time.
const SENDERS: u64 = 4;

/// Load from all wallets until `kill -9` after `delay`.
fn load_and_kill(mut dev: Dev, wallets: &[Wallet], delay: Duration) -> Witnessed {
    let load = Load::start(&dev.rpc, wallets);
    thread::sleep(delay);
    dev.process.kill();
    load.gone()
}

/// Every file of a data directory, by its path within.
fn files(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => drop(found.insert(path)),
        }
    }
    found
}

/// Whatever came and went, as many files and threads are held as by a node that was just started, and no file is left behind.
fn nothing_leaks(dev: &Dev, fresh: Usage) {
    // Connections that say nothing, that are dropped, and calls that nobody waits for.
    for _ in 0..50 {
        let idle = TcpStream::connect(dev.rpc.url().trim_start_matches("http://"));
        let mut idle = idle.expect("a connection");
        idle.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{").expect("sent");
        dev.rpc.another().block_number("latest");
    }
    let held = eventually("what was opened is closed", seconds(60), || {
        let held = Usage::of(&dev.process);
        (held.descriptors <= fresh.descriptors + 8 && held.threads <= fresh.threads + 4)
            .then_some(held)
    });
    println!("{fresh:?}, then {held:?}");
    assert!(held.megabytes() < 1_000, "{held:?}");
    let logs = files(&dev.data_dir.join("promises"));
    assert!(logs.len() <= 2, "{logs:?}");
    let strange = files(&dev.data_dir).into_iter().filter(|path| {
        let known = ["redb", "log", "json", "lock"];
        let extension = path.extension().or(path.file_name()).and_then(|name| name.to_str());
        // Kept for a while, each named by its hash.
        let kept = ["disputes", "batches", "l1/blobs"].map(|folder| dev.data_dir.join(folder));
        !kept.iter().any(|folder| path.starts_with(folder) && path.extension().is_none())
            && !extension.is_some_and(|name| known.contains(&name))
    });
    assert_eq!(strange.collect::<Vec<_>>(), Vec::<PathBuf>::new());
}

#[test]
fn acknowledged_transactions_survive_kill_9() {
    let rounds = std::env::var("ANNEX_CRASHES").ok().and_then(|text| text.parse().ok());
    let rounds = rounds.unwrap_or(if soak() { 50 } else { 10 });
    let seed = seed();
    let mut rng = SmallRng::seed_from_u64(seed);
    let folder = Folder::new();
    let options = DevOptions { l1_block_time: Some(1), ..DevOptions::default() };
    let mut dev = Dev::start(&folder, "dev", &options);
    let wallets: Vec<_> = (0..SENDERS).map(|index| dev.wallet(seed, index)).collect();
    let mut acknowledged = 0;
    let mut all = Vec::new();
    let fresh = Usage::of(&dev.process);
    for round in 0..rounds {
        let delay = Duration::from_millis(rng.random_range(30..900));
        let url = dev.rpc.url().to_owned();
        let witnessed = load_and_kill(dev, &wallets, delay);
        acknowledged += witnessed.receipts.len();
        println!("round {round}: {} receipts in {delay:?}", witnessed.receipts.len());
        // Always on other ports.
        dev = Dev::start(&folder, "dev", &options);
        assert_ne!(dev.rpc.url(), url);
        witnessed.still_holds(&dev.rpc);
        all.push(witnessed);
    }
    assert!(acknowledged > rounds * 10, "only {acknowledged} transactions were acknowledged");
    let safe = dev.everything_safe();
    for witnessed in &all {
        witnessed.still_holds(&dev.rpc);
        witnessed.promises_hold(&dev.rpc);
    }
    nothing_leaks(&dev, fresh);
    println!("{acknowledged} transactions in {safe} blocks");

    // Claimer and challenger ran all the while.
    let node = Node::start(
        &folder,
        "follower",
        dev.l1.url(),
        &dev.deployment_file(),
        &NodeOptions::default(),
    );
    node.agrees_with(&dev.rpc);
    let claims = dev.rpc.get_result("annex_claims", serde_json::json!([]));
    println!("claims: {claims}");
}

#[test]
fn a_second_process_on_the_same_data_is_refused() {
    let folder = Folder::new();
    let options = DevOptions::default();
    let mut dev = Dev::start(&folder, "dev", &options);
    let wallet = dev.wallet(seed(), 0);
    let mut second = dev.start_twice(&folder, &options);
    let status = eventually("the second process ends", seconds(20), || second.exited());
    assert!(!status.success());
    let output = second.output().to_lowercase();
    assert!(
        output.contains("already")
            || output.contains("in use")
            || output.contains("another process"),
        "{output}"
    );
    assert!(!output.contains("panicked"), "{output}");
    // The first one does not mind.
    let receipt = dev.send(&wallet.transfer(0, Address::repeat_byte(1), U256::ONE));

    // A clean stop keeps what no block holds yet.
    let status = dev.process.interrupt(seconds(15));
    assert!(status.success(), "{status}: {}", dev.process.output());
    let dev = Dev::start(&folder, "dev", &options);
    let hash = receipt["transactionHash"].as_str().expect("a hash");
    let kept = dev.rpc.receipt(hash).expect("what was acknowledged is there");
    assert_eq!(place_and_result(&kept), place_and_result(&receipt));
}
