//! Who sends all the time, and holds the node to what it said.

use alloy_primitives::{Address, U256};
use annex_e2e::{CallError, Dev, Rpc, Wallet, number};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::Duration;

/// Wallets that send at the same time.
const SENDERS: u64 = 3;
/// Between two transactions of one of them.
const PAUSE: Duration = Duration::from_millis(15);
/// Transactions of a burst.
const BURST: u64 = 300;

/// What clients hold against the node.
#[derive(Debug, Default)]
pub struct Load {
    /// Block and index of each transaction that was acknowledged.
    receipts: BTreeMap<String, (Value, Value)>,
    /// Hashes of sealed blocks.
    blocks: BTreeMap<u64, Value>,
}

/// Threads that send and watch.
pub struct Senders {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Load>>,
}

impl Senders {
    pub fn start(url: &str, dev: &Dev, seed: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let wallets = (0..SENDERS).map(|index| dev.wallet(seed, index));
        let mut threads: Vec<_> = wallets
            .map(|wallet| {
                let (rpc, stop) = (Rpc::new(url), stop.clone());
                thread::spawn(move || send(&rpc, &wallet, &stop))
            })
            .collect();
        let (rpc, stopped) = (Rpc::new(url), stop.clone());
        threads.push(thread::spawn(move || watch(&rpc, &stopped)));
        Self { stop, threads }
    }

    pub fn stop(self) -> Load {
        self.stop.store(true, Ordering::SeqCst);
        let mut all = Load::default();
        for thread in self.threads {
            let Load { receipts, blocks } = thread.join().expect("a sender");
            all.receipts.extend(receipts);
            all.blocks.extend(blocks);
        }
        all
    }
}

impl Load {
    pub fn acknowledged(&self) -> usize {
        self.receipts.len()
    }

    /// What was acknowledged is where it was said to be, and no sealed block was replaced.
    #[track_caller]
    pub fn holds(&self, rpc: &Rpc) {
        let hashes: Vec<_> = self.receipts.keys().collect();
        for chunk in hashes.chunks(500) {
            let params = chunk.iter().map(|hash| json!([hash]));
            for (hash, kept) in chunk.iter().zip(rpc.batch("eth_getTransactionReceipt", params)) {
                assert!(kept.is_object(), "lost: {hash}");
                let place = (kept["blockNumber"].clone(), kept["transactionIndex"].clone());
                assert_eq!(place, self.receipts[*hash], "{hash} has moved");
            }
        }
        for (number, hash) in &self.blocks {
            let block = rpc.block(format!("{number:#x}"));
            assert_eq!(&block["hash"], hash, "block {number} changed");
        }
    }
}

/// Sends one after another; what got no answer is sent again, as a wallet would.
fn send(rpc: &Rpc, wallet: &Wallet, stop: &AtomicBool) -> Load {
    let mut load = Load::default();
    let mut nonce = 0;
    while !stop.load(Ordering::SeqCst) {
        let encoded = wallet.transfer(nonce, Address::with_last_byte(nonce as u8 | 1), U256::ONE);
        match rpc.call("eth_sendRawTransactionSync", json!([encoded])) {
            Ok(receipt) => {
                let place = (receipt["blockNumber"].clone(), receipt["transactionIndex"].clone());
                load.receipts.insert(Wallet::hash(&encoded).to_string(), place);
                nonce += 1;
                sleep(PAUSE);
            }
            Err(CallError::Transport(_)) => sleep(Duration::from_millis(100)),
            // No receipt in time, no transactions now, the view of L1 too old, too much unposted data.
            Err(CallError::Refused { code: 4 | 5 | -32002 | -32005, .. }) => {
                sleep(Duration::from_millis(100));
            }
            Err(CallError::Refused { message, .. }) if message.contains("tip needed") => {
                sleep(Duration::from_millis(100));
            }
            Err(refused) => panic!("nonce {nonce}: {refused:?}"),
        }
    }
    load
}

fn watch(rpc: &Rpc, stop: &AtomicBool) -> Load {
    let mut load = Load::default();
    while !stop.load(Ordering::SeqCst) {
        if let Ok(block) = rpc.call("eth_getBlockByNumber", json!(["latest", false])) {
            let known = load.blocks.insert(number(&block["number"]), block["hash"].clone());
            assert!(known.is_none_or(|known| known == block["hash"]), "replaced: {block}");
        }
        sleep(Duration::from_millis(100));
    }
    load
}

/// Many transactions in one request, from an account that has sent in earlier bursts.
pub fn burst(url: &str, seed: u64, round: u32) {
    let rpc = Rpc::new(url);
    let wallet = Wallet::dev(901, 7);
    let count = json!([wallet.address(), "pending"]);
    let Ok(nonce) = rpc.call("eth_getTransactionCount", count) else { return };
    let nonce = number(&nonce);
    let to = Wallet::fresh(901, seed, u64::from(round)).address();
    let transactions =
        (nonce..nonce + BURST).map(|nonce| json!([wallet.transfer(nonce, to, U256::ONE)]));
    let hashes = rpc.batch("eth_sendRawTransaction", transactions);
    println!(
        "          {} of {BURST} taken",
        hashes.iter().filter(|hash| hash.is_string()).count()
    );
}
