//! What was acknowledged survives `kill -9`.

use alloy_primitives::{Address, U256};
use annex_e2e::{
    CallError, Dev, DevOptions, Folder, Rpc, Wallet, eventually, number, seconds, seed, soak,
};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

/// Wallets that send at the same time.
const SENDERS: u64 = 4;

/// What a client holds against the node.
#[derive(Default)]
struct Witnessed {
    /// Receipts as `eth_sendRawTransactionSync` gave them, with promises.
    receipts: Vec<Value>,
    /// Hashes of sealed blocks by number.
    blocks: BTreeMap<u64, Value>,
}

/// Sends until the node is gone; returns the receipts.
fn send_until_gone(rpc: &Rpc, wallet: &Wallet) -> Vec<Value> {
    let count = json!([wallet.address(), "pending"]);
    let mut nonce = number(&rpc.get_result("eth_getTransactionCount", count));
    let mut receipts = Vec::new();
    loop {
        let to = Address::with_last_byte(nonce as u8 | 1);
        let encoded = wallet.transfer(nonce, to, U256::from(nonce + 1));
        match rpc.call("eth_sendRawTransactionSync", json!([encoded])) {
            Ok(receipt) => {
                receipts.push(receipt);
                nonce += 1;
            }
            Err(CallError::Transport(_)) => return receipts,
            // Much is acknowledged that L1 has not taken; it is not acknowledged less for that.
            Err(CallError::Refused { message, .. })
                if message.contains("tip needed") || message.contains("unposted data") =>
            {
                thread::sleep(Duration::from_millis(20));
            }
            Err(refused) => panic!("{refused:?}"),
        }
    }
}

fn watch_until_gone(rpc: &Rpc) -> BTreeMap<u64, Value> {
    let mut blocks = BTreeMap::new();
    while let Ok(block) = rpc.call("eth_getBlockByNumber", json!(["latest", false])) {
        blocks.insert(number(&block["number"]), block["hash"].clone());
        thread::sleep(Duration::from_millis(20));
    }
    blocks
}

/// Load from all wallets until `kill -9` after `delay`.
fn load_and_kill(mut dev: Dev, wallets: &[Wallet], delay: Duration) -> Witnessed {
    let mut witnessed = Witnessed::default();
    thread::scope(|scope| {
        let senders: Vec<_> = wallets
            .iter()
            .map(|wallet| {
                let rpc = dev.rpc.another();
                scope.spawn(move || send_until_gone(&rpc, wallet))
            })
            .collect();
        let rpc = dev.rpc.another();
        let watcher = scope.spawn(move || watch_until_gone(&rpc));
        thread::sleep(delay);
        dev.process.kill();
        for sender in senders {
            witnessed.receipts.extend(sender.join().expect("a sender"));
        }
        witnessed.blocks = watcher.join().expect("the watcher");
    });
    witnessed
}

/// A receipt without what the seal changes and without the promise.
fn place_and_result(receipt: &Value) -> Value {
    let mut receipt = receipt.clone();
    let fields = receipt.as_object_mut().expect("a receipt");
    fields.remove("promise");
    fields.remove("blockHash");
    for log in fields["logs"].as_array_mut().expect("logs") {
        log.as_object_mut().expect("a log").remove("blockHash");
    }
    receipt
}

impl Witnessed {
    fn still_holds(&self, rpc: &Rpc) {
        for (number, hash) in &self.blocks {
            let block = rpc.block(format!("{number:#x}"));
            assert_eq!(&block["hash"], hash, "block {number} changed");
        }
        for chunk in self.receipts.chunks(500) {
            let hashes = chunk.iter().map(|receipt| json!([receipt["transactionHash"]]));
            let kept = rpc.batch("eth_getTransactionReceipt", hashes);
            for (acknowledged, kept) in chunk.iter().zip(&kept) {
                assert!(kept.is_object(), "lost: {acknowledged}");
                assert_eq!(place_and_result(kept), place_and_result(acknowledged));
            }
        }
    }

    /// Every block is sealed: the node tells the promises as the clients got them.
    fn promises_hold(&self, rpc: &Rpc) {
        let mut by_block: BTreeMap<u64, Value> = BTreeMap::new();
        for acknowledged in &self.receipts {
            let promise = &acknowledged["promise"];
            let block = &promise["blockNumber"];
            let kept = by_block
                .entry(number(block))
                .or_insert_with(|| rpc.get_result("annex_promises", json!([block])));
            let kept = kept.as_array().expect("a list");
            assert!(kept.contains(promise), "a promise is gone or changed: {promise}");
        }
    }
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
    println!("{acknowledged} transactions in {safe} blocks");
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
