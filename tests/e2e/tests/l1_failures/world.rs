//! An L1 with an endpoint of its own for leader and follower each, and what was acknowledged.

use alloy_primitives::{Address, Bytes, U256};
use annex_e2e::{
    Anvil, CallError, Dev, DevOptions, ETHER, Folder, Node, NodeOptions, Portal, Proxy, Rpc, Rule,
    Wallet, eventually, number, seconds, seed, soak,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Submits the batches of `annex dev`.
pub const OPERATOR: u32 = 20;
/// Claims.
pub const CLAIMER: u32 = 22;
/// Deposits.
const USER: u32 = 5;

/// Time that something is wrong: short, or as long as real outages.
pub fn outage(short_ms: u64) -> Duration {
    if soak() { seconds(60) } else { Duration::from_millis(short_ms) }
}

/// How often to do a thing.
pub fn rounds(few: usize) -> usize {
    if soak() { few * 10 } else { few }
}

pub struct World {
    pub folder: Folder,
    pub anvil: Anvil,
    pub leader_l1: Proxy,
    pub follower_l1: Proxy,
    pub options: DevOptions,
    pub dev: Dev,
    pub follower: Node,
    pub seed: u64,
    pub random: StdRng,
    pub wallet: Wallet,
    nonce: u64,
    /// Receipts of synchronous sends.
    pub acknowledged: Vec<Value>,
    /// Who was given an ether on L1.
    pub deposited: Vec<Address>,
    paid: (U256, u64),
}

impl World {
    /// A leader and a follower with some history. `Rpc`s of the test itself go to L1 directly.
    pub fn new() -> Self {
        let seed = seed();
        let folder = Folder::new();
        let anvil = Anvil::start(&folder, 900, &["--block-time", "1"]);
        let leader_l1 = Proxy::start(anvil.rpc.url(), seed);
        let follower_l1 = Proxy::start(anvil.rpc.url(), seed ^ 1);
        let options = DevOptions { l1: Some(leader_l1.url().to_owned()), ..DevOptions::default() };
        let dev = start_leader(&folder, &anvil, &options);
        let file = dev.deployment_file();
        let node = NodeOptions::default();
        let follower = Node::start(&folder, "follower", follower_l1.url(), &file, &node);
        let wallet = dev.wallet(seed, 1);
        let mut world = Self {
            folder,
            anvil,
            leader_l1,
            follower_l1,
            options,
            dev,
            follower,
            seed,
            random: StdRng::seed_from_u64(seed),
            wallet,
            nonce: 0,
            acknowledged: Vec::new(),
            deposited: Vec::new(),
            paid: (U256::ZERO, 0),
        };
        world.traffic(3);
        world.dev.everything_safe();
        world.follower.agrees_with(&world.dev.rpc);
        world.paid = (world.operator_balance(), world.operator_nonce());
        world
    }

    pub fn set(&self, rules: &[Rule]) {
        self.leader_l1.set(rules);
        self.follower_l1.set(rules);
    }

    pub fn restart_leader(&mut self) {
        self.dev = start_leader(&self.folder, &self.anvil, &self.options);
    }

    /// Sends transfers and has them acknowledged.
    pub fn traffic(&mut self, count: usize) {
        for _ in 0..count {
            eventually("a transfer is taken", seconds(30), || self.transfer().then_some(()));
        }
    }

    /// Has a transfer acknowledged, if the leader knows L1 well enough to take one.
    fn transfer(&mut self) -> bool {
        let to = Address::from(self.random.random::<[u8; 20]>());
        let encoded = self.wallet.transfer(self.nonce, to, U256::ONE);
        match self.dev.rpc.call("eth_sendRawTransactionSync", json!([encoded])) {
            Ok(receipt) => {
                assert_eq!(receipt["status"], "0x1", "{receipt}");
                self.acknowledged.push(receipt);
                self.nonce += 1;
                true
            }
            Err(CallError::Refused { code: 5, message, .. })
                if message.starts_with("view of L1 is stale") =>
            {
                false
            }
            Err(refused) => panic!("nonce {}: {refused:?}", self.nonce),
        }
    }

    /// Forces an ether from L1 to somebody new.
    pub fn deposit(&mut self) {
        let to = Address::from(self.random.random::<[u8; 20]>());
        let call = Portal::depositTransactionCall {
            to,
            value: ETHER,
            gasLimit: 100_000,
            isCreation: false,
            data: Bytes::new(),
        };
        assert_eq!(self.dev.deposit(USER, ETHER, call)["status"], "0x1");
        self.deposited.push(to);
    }

    /// Sends until `time` has passed, calling `watch` after each transfer. Outages of a minute are longer than
    /// a development chain takes transactions without a look at L1.
    pub fn traffic_for(&mut self, time: Duration, mut watch: impl FnMut(&Self)) {
        let start = Instant::now();
        while start.elapsed() < time {
            let taken = self.transfer();
            assert!(taken || soak(), "refused in an outage of {time:?}");
            watch(self);
            std::thread::sleep(Duration::from_millis(150));
        }
    }

    pub fn nodes(&self) -> [&Rpc; 2] {
        [&self.dev.rpc, &self.follower.rpc]
    }

    fn operator_balance(&self) -> U256 {
        let operator = Wallet::dev(0, OPERATOR).address();
        let balance = self.anvil.rpc.get_result("eth_getBalance", json!([operator, "latest"]));
        balance.as_str().expect("a quantity").parse().expect("a quantity")
    }

    pub fn operator_nonce(&self) -> u64 {
        let operator = json!([Wallet::dev(0, OPERATOR).address(), "latest"]);
        number(&self.anvil.rpc.get_result("eth_getTransactionCount", operator))
    }

    /// Transactions of the operator in L1's blocks since the start, and what they cost.
    pub fn paid(&self) -> (u64, U256) {
        let (balance, nonce) = self.paid;
        (self.operator_nonce() - nonce, balance - self.operator_balance())
    }

    /// All is well again: everybody agrees, and nothing acknowledged is lost. Returns how many batches were posted in vain.
    #[track_caller]
    pub fn recovers(&mut self) -> u64 {
        self.set(&[]);
        self.traffic(1);
        self.dev.everything_safe();
        self.follower.agrees_with(&self.dev.rpc);
        let file = self.dev.deployment_file();
        let options = NodeOptions::default();
        let fresh = Node::start(&self.folder, "fresh", self.anvil.rpc.url(), &file, &options);
        fresh.agrees_with(&self.dev.rpc);
        let wasted = fresh.metric("annex_skipped_batches_total")
            + fresh.metric("annex_rejected_blocks_total");
        for rpc in [&self.dev.rpc, &self.follower.rpc, &fresh.rpc] {
            healthy(rpc);
            for account in &self.deposited {
                eventually("a deposit is on L2", seconds(30), || {
                    let balance = rpc.get_result("eth_getBalance", json!([account, "latest"]));
                    (balance == format!("{ETHER:#x}")).then_some(())
                });
            }
        }
        let hashes = self.acknowledged.iter().map(|receipt| json!([receipt["transactionHash"]]));
        let [ours, theirs] = [&self.dev.rpc, &fresh.rpc]
            .map(|rpc| rpc.batch("eth_getTransactionReceipt", hashes.clone()));
        for ((ours, theirs), acknowledged) in ours.iter().zip(&theirs).zip(&self.acknowledged) {
            assert!(ours.is_object(), "lost: {acknowledged}");
            assert_eq!(ours["blockHash"], theirs["blockHash"], "{acknowledged}");
            assert_eq!(ours["status"], "0x1", "{acknowledged}");
        }
        wasted
    }

    /// Every transaction is in the block in which it was acknowledged.
    #[track_caller]
    pub fn kept_its_word(&self) {
        for acknowledged in &self.acknowledged {
            let hash = acknowledged["transactionHash"].as_str().expect("a hash");
            let receipt = self.dev.rpc.receipt(hash).expect("a receipt");
            assert_eq!(receipt["blockNumber"], acknowledged["blockNumber"], "{acknowledged}");
        }
        assert!(!self.dev.process.output().contains("promise changed"));
    }
}

fn start_leader(folder: &Folder, anvil: &Anvil, options: &DevOptions) -> Dev {
    let mut dev = Dev::start(folder, "dev", options);
    dev.l1 = anvil.rpc.another();
    dev
}

/// The reason that `/health` gives for this trouble, if there is such trouble now.
pub fn reason(rpc: &Rpc, what: &str) -> Option<String> {
    let (_, health) = rpc.get("/health").expect("an answer");
    let health: Value = serde_json::from_str(&health).expect("JSON");
    let troubles = health["troubles"].as_array().expect("a list");
    let named = troubles.iter().find(|trouble| trouble["what"] == what)?;
    Some(named["why"].as_str().unwrap_or_else(|| panic!("no reason: {named}")).to_owned())
}

/// Whether `/health` names this trouble now.
pub fn in_trouble(rpc: &Rpc, what: &str) -> bool {
    reason(rpc, what).is_some()
}

#[track_caller]
pub fn says(rpc: &Rpc, what: &str, limit: Duration) {
    eventually(&format!("{} says what is wrong: {what}", rpc.url()), limit, || {
        in_trouble(rpc, what).then_some(())
    });
    let (_, metrics) = rpc.get("/metrics").expect("an answer");
    let gauge = format!("annex_trouble{{what=\"{what}\"}}");
    assert!(metrics.contains(&gauge), "{metrics}");
}

/// The same, and this is in the reason that it gives.
#[track_caller]
pub fn says_why(rpc: &Rpc, what: &str, why: &str, limit: Duration) {
    eventually(&format!("{} says of {what}: {why}", rpc.url()), limit, || {
        reason(rpc, what).filter(|reason| reason.contains(why))
    });
}

#[track_caller]
pub fn healthy(rpc: &Rpc) {
    eventually(&format!("{} is well", rpc.url()), seconds(60), || {
        let (status, health) = rpc.get("/health").expect("an answer");
        let health: Value = serde_json::from_str(&health).expect("JSON");
        (status == 200 && health["status"] == "ok" && health["troubles"] == json!([])).then_some(())
    });
}
