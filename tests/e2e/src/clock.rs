//! L1's clock in a test's hands: as fast as those who play keep up with it, so that nobody waits and nobody is late.

use crate::{Rpc, number, reorganise};
use alloy_primitives::{Address, U256};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

/// Between two looks at L1 and the nodes.
const LOOK: Duration = Duration::from_millis(40);
/// Whoever owns less, wei, does not play.
const POOR: U256 = U256::from_limbs([10_000_000_000_000_000, 0, 0, 0]);

/// Seconds of L1 between two blocks.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pub step: u64,
    /// At most, while nobody has anything to do. It grows up to there.
    pub leap: u64,
    /// Between two blocks for who computes, sends, or does not answer: longer than a node takes to look at L1.
    pub patience: Duration,
}

impl Pace {
    /// For a development chain, whose `moveGrace` is ten seconds.
    pub const DEVELOPMENT: Self = Self { step: 1, leap: 5, patience: Duration::from_secs(1) };
    /// For one of production, whose clocks are of seven days.
    pub const PRODUCTION: Self = Self { step: 12, leap: 14_400, patience: Duration::from_secs(6) };
}

/// Mines on an L1 until it is dropped: a block for each transaction at once, and empty ones when all nodes that it follows have seen
/// the last, none of their parties of settlement has anything to do, and nothing is computed; otherwise at the pace of
/// the wall's clock.
#[derive(Debug)]
pub struct Clock {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    stop: AtomicBool,
    /// No empty block is mined with a timestamp beyond.
    limit: AtomicU64,
    /// Endpoints.
    nodes: Mutex<Vec<String>>,
    /// Whose transactions are dropped; those of others wait for the next empty block meanwhile.
    dropped: Mutex<Vec<Address>>,
    /// Held by who makes blocks.
    mining: Mutex<()>,
    pace: Pace,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Clock {
    pub fn start(l1: &Rpc, pace: Pace) -> Self {
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            limit: AtomicU64::new(u64::MAX),
            nodes: Mutex::default(),
            dropped: Mutex::default(),
            mining: Mutex::default(),
            pace,
        });
        let l1 = l1.another();
        l1.get_result("anvil_setBlockTimestampInterval", json!([pace.step]));
        l1.get_result("evm_setIntervalMining", json!([0]));
        l1.get_result("evm_setAutomine", json!([true]));
        let for_thread = shared.clone();
        let thread = std::thread::spawn(move || for_thread.run(&l1));
        Self { shared, thread: Some(thread) }
    }

    /// Waits for these from now on.
    pub fn follow(&self, nodes: &[&Rpc]) {
        *lock(&self.shared.nodes) = nodes.iter().map(|rpc| rpc.url().to_owned()).collect();
    }

    /// Lets it go to a timestamp.
    pub fn until(&self, timestamp: u64) {
        self.shared.limit.store(timestamp, Ordering::Release);
    }

    /// Drops transactions of these accounts before every block, until told otherwise by an empty list. On Anvil.
    pub fn drop_from(&self, l1: &Rpc, accounts: &[Address]) {
        *lock(&self.shared.dropped) = accounts.to_vec();
        l1.get_result("evm_setAutomine", json!([accounts.is_empty()]));
    }

    /// Takes blocks of L1 back, with nothing in the new ones.
    pub fn reorganise(&self, l1: &Rpc, depth: u64) {
        let _mining = lock(&self.shared.mining);
        reorganise(l1, depth, json!([]));
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // Its panic has been printed; the test fails by itself where it waits for L1.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn run(&self, l1: &Rpc) {
        let mut nodes: Vec<Rpc> = Vec::new();
        let (mut last, mut since, mut quiet) = (0, Instant::now(), 0);
        while !self.stop.load(Ordering::Acquire) {
            sleep(LOOK);
            let urls = lock(&self.nodes).clone();
            if !nodes.iter().map(Rpc::url).eq(urls.iter()) {
                nodes = urls.iter().map(Rpc::new).collect();
            }
            // A test may end its L1 first.
            let Ok(head) = l1.call("eth_getBlockByNumber", json!(["latest", false])) else {
                continue;
            };
            let (height, now) = (number(&head["number"]), number(&head["timestamp"]));
            if height != last {
                (last, since, quiet) = (height, Instant::now(), 0);
            }
            let calm = !nodes.is_empty() && nodes.iter().all(|node| is_calm(node, height));
            let limit = self.limit.load(Ordering::Acquire);
            if now >= limit || !(calm || since.elapsed() >= self.pace.patience) {
                continue;
            }
            let _mining = lock(&self.mining);
            self.drop_pending(l1);
            let step = if calm { self.pace.step + quiet * self.pace.step } else { self.pace.step };
            let next = limit.min(now + step.min(self.pace.leap.max(self.pace.step)));
            // Refused if a transaction was faster: then there is a block.
            if l1.call("evm_setNextBlockTimestamp", json!([next])).is_err()
                || l1.call("evm_mine", json!([])).is_err()
            {
                continue;
            }
            quiet = if calm { (quiet * 2).max(1) } else { 0 };
            (last, since) = (height + 1, Instant::now());
        }
    }

    fn drop_pending(&self, l1: &Rpc) {
        let dropped = lock(&self.dropped);
        if dropped.is_empty() {
            return;
        }
        let pool = l1.get_result("txpool_content", json!([]));
        let lists = ["pending", "queued"].map(|list| pool[list].as_object().expect("accounts"));
        for (from, transactions) in lists.into_iter().flatten() {
            if !dropped.contains(&from.parse().expect("an address")) {
                continue;
            }
            for transaction in transactions.as_object().expect("nonces").values() {
                l1.get_result("anvil_dropTransaction", json!([transaction["hash"]]));
            }
        }
    }
}

/// Whether a node has looked at this block and has nothing to do about it.
fn is_calm(node: &Rpc, height: u64) -> bool {
    let Ok(report) = node.call("annex_settlement", json!([])) else { return false };
    let Some(parties) = report["parties"].as_array() else { return false };
    let idle = |party: &Value| {
        let balance: U256 =
            party["balance"].as_str().and_then(|it| it.parse().ok()).unwrap_or_default();
        let nothing = party["actions"].as_array().is_some_and(Vec::is_empty);
        balance < POOR || (party["sending"] == false && nothing)
    };
    number(&report["l1Block"]) >= height
        && report["computing"].is_null()
        && parties.iter().all(idle)
}
