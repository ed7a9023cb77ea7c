//! Wallets that send until the node is gone, and what its answers oblige it to.

use crate::{CallError, Dev, Process, Rpc, Wallet, annex, eventually, number, seconds, soak};
use alloy_primitives::{Address, Bytes, U256};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// What a client holds against the node.
#[derive(Clone, Debug, Default)]
pub struct Witnessed {
    /// Receipts as `eth_sendRawTransactionSync` gave them, with promises.
    pub receipts: Vec<Value>,
    /// Hashes of sealed blocks by number.
    pub blocks: BTreeMap<u64, Value>,
    /// Codes and messages of refusals that ask to send again later, with how often.
    pub refusals: BTreeMap<(i64, String), u64>,
}

/// Load that goes on beside a test.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    senders: Vec<JoinHandle<Witnessed>>,
    watcher: JoinHandle<BTreeMap<u64, Value>>,
}

impl Load {
    /// Sends from all wallets at the same time, and watches the head.
    pub fn start(rpc: &Rpc, wallets: &[Wallet]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let sender = |wallet: &Wallet| {
            let (rpc, wallet, stop) = (rpc.another(), wallet.clone(), stop.clone());
            thread::spawn(move || send_until_gone(&rpc, &wallet, &stop))
        };
        let senders = wallets.iter().map(sender).collect();
        let (rpc, stopped) = (rpc.another(), stop.clone());
        let watcher = thread::spawn(move || watch_until_gone(&rpc, &stopped));
        Self { stop, senders, watcher }
    }

    /// Stops, if the node is not gone, and returns what was witnessed.
    pub fn join(self) -> Witnessed {
        self.stop.store(true, Ordering::Release);
        self.gone()
    }

    /// The same, of a node that ends by itself.
    pub fn gone(self) -> Witnessed {
        let mut witnessed = Witnessed::default();
        for sender in self.senders {
            let part = sender.join().expect("a sender");
            witnessed.receipts.extend(part.receipts);
            for (refusal, count) in part.refusals {
                *witnessed.refusals.entry(refusal).or_default() += count;
            }
        }
        witnessed.blocks = self.watcher.join().expect("the watcher");
        witnessed
    }
}

/// Sends one transaction; some if the node took it or refused it for now, none if it is gone.
pub fn send(rpc: &Rpc, encoded: &Bytes) -> Option<Result<Value, (i64, String)>> {
    match rpc.call("eth_sendRawTransactionSync", json!([encoded])) {
        Ok(receipt) => Some(Ok(receipt)),
        Err(CallError::Transport(_)) => None,
        Err(CallError::Refused { code, message, .. }) => {
            // Much is acknowledged that L1 has not taken; L1 is not known yet; the node stops.
            let later = message.contains("tip needed")
                || ["unposted data", "view of L1", "shutting down"]
                    .iter()
                    .any(|why| message.contains(why));
            assert!(later, "{code} {message}");
            Some(Err((code, message)))
        }
    }
}

fn send_until_gone(rpc: &Rpc, wallet: &Wallet, stop: &AtomicBool) -> Witnessed {
    let mut witnessed = Witnessed::default();
    let count = json!([wallet.address(), "pending"]);
    let Ok(count) = rpc.call("eth_getTransactionCount", count) else { return witnessed };
    let mut nonce = number(&count);
    while !stop.load(Ordering::Acquire) {
        let to = Address::with_last_byte(nonce as u8 | 1);
        let encoded = wallet.transfer(nonce, to, U256::from(nonce + 1));
        match send(rpc, &encoded) {
            Some(Ok(receipt)) => {
                witnessed.receipts.push(receipt);
                nonce += 1;
            }
            Some(Err((code, message))) => {
                // The price is another each time.
                let message = message.split([':', ';']).next().unwrap_or_default().to_owned();
                *witnessed.refusals.entry((code, message)).or_default() += 1;
                thread::sleep(Duration::from_millis(20));
            }
            None => break,
        }
    }
    witnessed
}

fn watch_until_gone(rpc: &Rpc, stop: &AtomicBool) -> BTreeMap<u64, Value> {
    let mut blocks = BTreeMap::new();
    while !stop.load(Ordering::Acquire)
        && let Ok(block) = rpc.call("eth_getBlockByNumber", json!(["latest", false]))
    {
        blocks.insert(number(&block["number"]), block["hash"].clone());
        thread::sleep(Duration::from_millis(20));
    }
    blocks
}

/// A receipt without what the seal changes and without the promise.
pub fn place_and_result(receipt: &Value) -> Value {
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
    /// Every block that was seen and every receipt that was given.
    #[track_caller]
    pub fn still_holds(&self, rpc: &Rpc) {
        for (number, hash) in &self.blocks {
            let block = rpc.block(format!("{number:#x}"));
            assert_eq!(&block["hash"], hash, "block {number} changed");
        }
        self.receipts_hold(rpc);
    }

    #[track_caller]
    pub fn receipts_hold(&self, rpc: &Rpc) {
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
    #[track_caller]
    pub fn promises_hold(&self, rpc: &Rpc) {
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

/// Transfers by `annex bench throughput` beside a test, until they are dropped or two minutes are over: as many as L1's blobs
/// carry in time, which is what a node can be asked for without end, or a tenth of that on a machine that tests other things too.
pub fn full_load(dev: &Dev) -> Process {
    let rate = if soak() { "8000" } else { "800" };
    let mut command = Command::new(annex());
    command.args(["bench", "throughput", "--rpc", dev.rpc.url(), "--rate", rate]);
    command.args(["--warm-up", "0", "--seconds", "120", "--key", &Wallet::dev(901, 9).key()]);
    let load = Process::spawn(command, &dev.data_dir.with_extension("load.log"));
    eventually("there is load", seconds(120), || {
        // More than the hundred that give its accounts their ether.
        let transactions = &dev.rpc.block("latest")["transactions"];
        transactions.as_array().is_some_and(|list| list.len() >= 150).then_some(())
    });
    load
}
