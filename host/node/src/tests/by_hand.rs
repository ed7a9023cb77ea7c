//! A leader on an L1 that makes its blocks when the test says so: what becomes of batches above which few blocks lie, and of promises
//! while L1 stands still.

mod prices;
mod wasted;

use super::{
    Rpc, number, sign,
    waits::{OPERATOR, PROMISER, deployed, fund, key, limits},
};
use crate::{LeaderKeys, Node, NodeConfig, Role, follow::unix_now};
use alloy_primitives::{Bytes, TxKind, U256};
use annex_devl1::{DevAccount, DevL1, DevL1Config, dev_accounts};
use annex_l1::{Deployment, Deposit, DepositOutcome, L1Client, Parameters, deposit};
use annex_sequencer::Channel;
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep},
};

/// Most that anything may take here.
const PATIENCE: Duration = Duration::from_secs(60);
const ETHER: u128 = 10u128.pow(18);
/// Blocks above a record before a node takes it up, in the tests of batches.
const CONFIRMATIONS: u64 = 3;

/// An L1 with contracts, mining by hand.
struct Scene {
    l1: DevL1,
    client: L1Client,
    rpc: Rpc,
    deployment: Deployment,
    accounts: Vec<DevAccount>,
    dir: PathBuf,
}

impl Scene {
    /// All its blocks lie in the past, a second apart from block 0 on, `age` seconds ago. The first account has ether on L2.
    async fn new(dir: &Path, age: u64, parameters: impl Fn(u64) -> Parameters) -> Self {
        let genesis_timestamp = Some(unix_now() - age);
        let config = DevL1Config { genesis_timestamp, ..DevL1Config::new(dir.join("l1")) };
        let l1 = DevL1::start(config).await.expect("an L1");
        l1.set_timestamp_interval(Some(1));
        let client = L1Client::connect(&l1.url(), &[]).await.expect("answers");
        let rpc = Rpc::connect(&l1.url().replace("http", "ws")).await;
        let timestamp = client.head().await.expect("a block").timestamp;
        fund(&rpc, key(OPERATOR).address()).await;
        let deployment = deployed(&client, parameters(timestamp)).await;
        rpc.get("evm_setAutomine", json!([false])).await;
        let accounts = dev_accounts().expect("accounts");
        let scene = Self { l1, client, rpc, deployment, accounts, dir: dir.to_path_buf() };
        scene.deposit(0).await;
        scene.mine(CONFIRMATIONS).await;
        scene
    }

    async fn mine(&self, blocks: u64) {
        for _ in 0..blocks {
            self.rpc.get("evm_mine", json!([])).await;
        }
    }

    /// An ether for an account on L2, in the newest block.
    async fn deposit(&self, account: usize) {
        let DevAccount { address, signer } = self.accounts[account].clone();
        let wanted = Deposit {
            to: TxKind::Call(address),
            mint: U256::from(ETHER),
            value: U256::from(ETHER),
            gas_limit: 21_000,
            data: Bytes::new(),
        };
        let portal = self.deployment.contracts.portal;
        let mining = async {
            loop {
                sleep(Duration::from_millis(20)).await;
                let waits = json!([address, "pending"]);
                let mined = json!([address, "latest"]);
                let count = async |params| self.rpc.get("eth_getTransactionCount", params).await;
                if count(waits).await != count(mined).await {
                    self.mine(1).await;
                }
            }
        };
        tokio::select! {
            made = deposit(&self.client, signer, portal, &wanted, limits()) => {
                assert!(matches!(made, Ok(DepositOutcome::Taken(_))), "{made:?}");
            }
            () = mining => {}
        }
    }

    async fn start(&self, name: &str, role: Role) -> Node {
        self.start_with(name, role, |_| ()).await
    }

    async fn start_with(&self, name: &str, role: Role, set: impl FnOnce(&mut NodeConfig)) -> Node {
        let (url, dir) = (self.l1.url(), self.dir.join(name));
        let mut config = NodeConfig {
            addr: ([127, 0, 0, 1], 0).into(),
            role,
            poll_interval: Duration::from_millis(50),
            batch_interval: Duration::from_secs(1),
            channel: Some(Channel::Calldata),
            ..NodeConfig::new(url.clone(), url, self.deployment.clone(), dir)
        };
        set(&mut config);
        let metrics = PrometheusBuilder::new().build_recorder().handle();
        Node::start(config, metrics).await.expect("a node")
    }

    async fn leader(&self) -> Node {
        self.start("leader", leads()).await
    }

    /// Timestamp of L1's newest block.
    async fn now(&self) -> u64 {
        self.client.head().await.expect("a block").timestamp
    }

    /// The operator's transactions in L1's blocks, and those in its pool.
    async fn counts(&self) -> (u128, u128) {
        let operator = key(OPERATOR).address();
        let count = async |tag| {
            number(&self.rpc.get("eth_getTransactionCount", json!([operator, tag])).await)
        };
        let mined = count("latest").await;
        (mined, count("pending").await - mined)
    }

    /// Waits until so many of them wait in the pool.
    async fn waiting(&self, expected: u128) {
        let start = Instant::now();
        while self.counts().await.1 != expected {
            assert!(start.elapsed() < PATIENCE, "{:?}", self.counts().await);
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Hashes and calldata of the batches in L1's blocks, in their order.
    async fn batches(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let inbox = self.deployment.contracts.inbox.to_string().to_lowercase();
        let mut found = Vec::new();
        for block in 0..=number(&self.rpc.get("eth_blockNumber", json!([])).await) {
            let block = json!([format!("{block:#x}"), true]);
            let block = self.rpc.get("eth_getBlockByNumber", block).await;
            let transactions = block["transactions"].as_array().expect("a list").clone();
            let batches = transactions.iter().filter(|it| text(&it["to"]) == inbox);
            found.extend(batches.map(|it| (text(&it["hash"]), text(&it["input"]))));
        }
        found
    }

    /// Mines until L1 carries every block and the node has read it; returns the newest one's number.
    async fn everything_safe(&self, node: &Rpc) -> u128 {
        let start = Instant::now();
        loop {
            let tags = ["safe", "latest"].map(|tag| json!([tag, false]));
            let [safe, latest] = tags.map(|params| node.get("eth_getBlockByNumber", params));
            let (safe, latest) = (number(&safe.await["number"]), number(&latest.await["number"]));
            let open = node.get("eth_getBlockByNumber", json!(["pending", false])).await;
            if safe == latest && open["transactions"] == json!([]) {
                return safe;
            }
            assert!(start.elapsed() < PATIENCE, "block {safe} of {latest} is safe");
            self.mine(1).await;
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// Each batch on L1 made blocks, each once, and [`Self::word_is_kept`]. Returns the batches.
    async fn all_is_kept(&self, leader: &Rpc, acknowledged: &[Value]) -> Vec<(String, String)> {
        let safe = self.word_is_kept(leader, acknowledged).await;
        let batches = self.batches().await;
        let mut carriers = BTreeSet::new();
        for block in 1..=safe {
            let block = json!([format!("{block:#x}"), false]);
            let block = leader.get("eth_getBlockByNumber", block).await;
            let status = json!([block["transactions"][0]]);
            let status = leader.get("annex_transactionStatus", status).await;
            carriers.insert(status["l1Transaction"].as_str().expect("it is safe").to_owned());
        }
        let sent: BTreeSet<_> = batches.iter().map(|(hash, _)| hash.clone()).collect();
        assert_eq!(sent, carriers, "a batch for nothing, or a block without one");
        batches
    }

    /// What was acknowledged is where it was promised, and a node that begins now has the same blocks. Returns the newest one's
    /// number, which L1 carries.
    async fn word_is_kept(&self, leader: &Rpc, acknowledged: &[Value]) -> u128 {
        let safe = self.everything_safe(leader).await;
        assert_eq!(leader.get("annex_changedPromises", json!([])).await, json!([]));
        for promised in acknowledged {
            let hash = json!([promised["transactionHash"]]);
            let receipt = leader.get("eth_getTransactionReceipt", hash).await;
            assert_eq!(receipt["blockNumber"], promised["blockNumber"], "{promised}");
        }
        self.a_new_node_agrees(leader, safe).await;
        safe
    }

    /// A node that begins now has the leader's block, and so all before it.
    async fn a_new_node_agrees(&self, leader: &Rpc, safe: u128) {
        let fresh = self.start("fresh", Role::Follower).await;
        let follower = Rpc::to(&fresh).await;
        let last = json!([format!("{safe:#x}"), false]);
        let ours = leader.get("eth_getBlockByNumber", last.clone()).await;
        let start = Instant::now();
        while follower.get("eth_getBlockByNumber", last.clone()).await["hash"] != ours["hash"] {
            assert!(start.elapsed() < PATIENCE, "a new node does not arrive at {ours}");
            sleep(Duration::from_millis(50)).await;
        }
        fresh.stop().await;
    }

    async fn stop(self) {
        self.l1.stop().await;
    }
}

fn leads() -> Role {
    let promise = key(PROMISER).to_bytes();
    Role::Leader(LeaderKeys { submitter: key(OPERATOR), promise })
}

/// What L1's own time is checked against in nothing but minutes, so that the tests of batches need not wait for it.
fn shallow(timestamp: u64) -> Parameters {
    Parameters {
        // What is stuck is sent again after half of this.
        forced_delay: 6,
        l1_confirmations: CONFIRMATIONS,
        ..Parameters::development(timestamp)
    }
}

/// Waits until an account has something on L2.
async fn funded(node: &Rpc, account: &DevAccount) {
    let start = Instant::now();
    while node.get("eth_getBalance", json!([account.address, "latest"])).await == "0x0" {
        assert!(start.elapsed() < PATIENCE, "the deposit is not on L2");
        sleep(Duration::from_millis(20)).await;
    }
}

/// The receipt of the account's transaction with this number.
async fn promised(node: &Rpc, account: &DevAccount, nonce: u64) -> Value {
    let raw = json!([sign(account, nonce, 0, 0)]);
    let receipt = node.get("eth_sendRawTransactionSync", raw).await;
    assert_eq!(receipt["status"], "0x1", "{receipt}");
    assert!(receipt["promise"]["signature"].is_string(), "{receipt}");
    receipt
}

/// A leader posts a batch with a deposit and a transaction in it, and ends before it knows what became of that. Returns what it
/// acknowledged.
async fn posted_and_ended(scene: &Scene) -> Vec<Value> {
    let leader = scene.leader().await;
    let rpc = Rpc::to(&leader).await;
    funded(&rpc, &scene.accounts[0]).await;
    scene.everything_safe(&rpc).await;
    scene.deposit(1).await;
    let acknowledged = vec![promised(&rpc, &scene.accounts[0], 0).await];
    scene.mine(CONFIRMATIONS).await;
    funded(&rpc, &scene.accounts[1]).await;
    scene.waiting(1).await;
    drop(rpc);
    leader.stop().await;
    acknowledged
}

/// Waits until a node has read L1.
async fn ready(node: &Node) {
    let start = Instant::now();
    while health(node).await["status"] == "catching up" {
        assert!(start.elapsed() < PATIENCE, "it does not follow L1");
        sleep(Duration::from_millis(20)).await;
    }
}

/// The next process finds the batch on L1, with too few blocks above it to be read: it does nothing before it has read it.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_waits_for_what_an_earlier_process_has_posted() {
    let dir = tempfile::tempdir().expect("temp dir");
    let scene = Scene::new(dir.path(), 60, shallow).await;
    let mut acknowledged = posted_and_ended(&scene).await;
    scene.mine(1).await;
    let before = scene.counts().await;
    assert_eq!(before.1, 0, "the batch is in a block");
    let leader = scene.leader().await;
    let rpc = Rpc::to(&leader).await;
    // Longer than blocks wait to be posted.
    sleep(Duration::from_millis(2_500)).await;
    assert_eq!(health(&leader).await["status"], "catching up");
    assert_eq!(scene.counts().await, before);

    scene.mine(CONFIRMATIONS).await;
    ready(&leader).await;
    acknowledged.push(promised(&rpc, &scene.accounts[0], 1).await);
    scene.all_is_kept(&rpc, &acknowledged).await;
    leader.stop().await;
    scene.stop().await;
}

/// The next process begins while the batch is in the pool, and L1 takes it then.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_earlier_process_has_posted_is_not_posted_again() {
    let dir = tempfile::tempdir().expect("temp dir");
    let scene = Scene::new(dir.path(), 60, shallow).await;
    let mut acknowledged = posted_and_ended(&scene).await;
    let leader = scene.leader().await;
    let rpc = Rpc::to(&leader).await;
    ready(&leader).await;
    scene.mine(1).await;
    let before = scene.counts().await;
    assert_eq!(before.1, 0, "the batch is in a block");
    scene.deposit(2).await;
    acknowledged.push(promised(&rpc, &scene.accounts[0], 1).await);
    sleep(Duration::from_millis(2_500)).await;
    assert_eq!(scene.counts().await, before, "it does not know yet what L1 has of its blocks");

    scene.all_is_kept(&rpc, &acknowledged).await;
    leader.stop().await;
    scene.stop().await;
}

/// Two batches, the first with a deposit in it, are in blocks that L1 takes back, though no node has read them yet.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_shallow_reorganisation_drops_is_posted_again_as_it_was() {
    let dir = tempfile::tempdir().expect("temp dir");
    let scene = Scene::new(dir.path(), 60, shallow).await;
    let leader = scene.leader().await;
    let rpc = Rpc::to(&leader).await;
    let account = &scene.accounts[0];
    funded(&rpc, account).await;
    scene.everything_safe(&rpc).await;
    let (known, _) = scene.counts().await;
    scene.deposit(1).await;
    let mut acknowledged = vec![promised(&rpc, account, 0).await];
    scene.mine(CONFIRMATIONS).await;
    funded(&rpc, &scene.accounts[1]).await;
    scene.waiting(1).await;
    scene.mine(1).await;
    // With the next one under way it has noted that L1 took the first.
    acknowledged.push(promised(&rpc, account, 1).await);
    scene.waiting(1).await;
    scene.mine(1).await;
    assert_eq!(scene.counts().await, (known + 2, 0));
    let dropped = scene.batches().await;
    let first = dropped.len() - 2;
    scene.rpc.get("anvil_reorg", json!([2, []])).await;
    assert_eq!(scene.counts().await.0, known, "L1 has neither any more");

    acknowledged.push(promised(&rpc, account, 2).await);
    let batches = scene.all_is_kept(&rpc, &acknowledged).await;
    assert_eq!(batches[first].1, dropped[first].1, "with what it held, and nothing else");
    leader.stop().await;
    scene.stop().await;
}

/// A batch is in a block that L1 takes back, and a deposit now comes before it, for so long that no batch may omit it: as it was, the
/// batch is never taken again.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_inbox_takes_no_more_is_made_anew() {
    const EMPTY: u64 = 9;
    let dir = tempfile::tempdir().expect("temp dir");
    let scene = Scene::new(dir.path(), 60, shallow).await;
    let leader = scene.leader().await;
    let rpc = Rpc::to(&leader).await;
    let account = &scene.accounts[0];
    funded(&rpc, account).await;
    scene.everything_safe(&rpc).await;
    scene.mine(EMPTY).await;
    let acknowledged = vec![promised(&rpc, account, 0).await];
    scene.waiting(1).await;
    scene.mine(1).await;
    let (mined, _) = scene.counts().await;
    // For it to be noted that L1 took the batch.
    sleep(Duration::from_millis(1_000)).await;
    scene.deposit(1).await;
    let newest = scene.rpc.get("eth_getBlockByNumber", json!(["latest", false])).await;
    let hash = json!([newest["transactions"][0]]);
    let deposit = scene.rpc.get("debug_getRawTransaction", hash).await;
    scene.rpc.get("anvil_reorg", json!([EMPTY + 2, [[deposit, 0]]])).await;
    assert_eq!(scene.counts().await.0, mined - 1, "L1 has the batch no more");

    scene.all_is_kept(&rpc, &acknowledged).await;
    funded(&rpc, &scene.accounts[1]).await;
    leader.stop().await;
    scene.stop().await;
}

/// What `/health` says.
async fn health(node: &Node) -> Value {
    let mut stream = TcpStream::connect(node.addr()).await.expect("it listens");
    let request = b"GET /health HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("it answers");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"))
}

/// Waits until `/health` does or does not say that L1 stands still.
async fn says_still(node: &Node, still: bool) {
    let start = Instant::now();
    loop {
        let health = health(node).await;
        let troubles = health["troubles"].as_array().expect("a list").clone();
        if troubles.iter().any(|trouble| trouble["what"] == "l1_still") == still {
            assert_eq!(health["status"], if still { "in trouble" } else { "ok" }, "{health}");
            return;
        }
        assert!(start.elapsed() < PATIENCE, "{health}");
        sleep(Duration::from_millis(50)).await;
    }
}

/// With the delays of production, but for the one that is waited for: a leader that sees no new block of L1 may miss records that
/// are there, so it takes nothing any more before what it promises could be too late for them.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_promises_nothing_while_l1_stands_still() {
    /// Seconds by which a block may be later than the record that it should have named.
    const LAG: u64 = 16;
    let parameters =
        |timestamp| Parameters { max_origin_lag: LAG, ..Parameters::production(timestamp) };
    let dir = tempfile::tempdir().expect("temp dir");
    let scene = Scene::new(dir.path(), 10_000, parameters).await;
    let leader = scene.leader().await;
    let rpc = Rpc::to(&leader).await;
    let account = &scene.accounts[0];
    let refused = async |nonce: u64| {
        let raw = json!([sign(account, nonce, 0, 0)]);
        let (code, message) =
            rpc.call("eth_sendRawTransactionSync", raw.clone()).await.expect_err("sync");
        assert_eq!(code, 5, "{message}");
        assert!(message.contains("view of L1 is stale"), "{message}");
        let (code, message) = rpc.call("eth_sendRawTransaction", raw).await.expect_err("not ready");
        assert_eq!(code, -32002, "{message}");
    };

    // L1's newest block is of hours ago when it starts.
    says_still(&leader, true).await;
    refused(0).await;

    scene.l1.set_timestamp_interval(None);
    let (mut acknowledged, start) = (Vec::new(), Instant::now());
    while acknowledged.is_empty() {
        assert!(start.elapsed() < PATIENCE, "nothing is taken though L1 is there");
        scene.mine(1).await;
        sleep(Duration::from_millis(200)).await;
        let raw = json!([sign(account, 0, 0, 0)]);
        acknowledged.extend(rpc.call("eth_sendRawTransactionSync", raw).await.ok());
    }
    says_still(&leader, false).await;

    // Then there is no block any more, with a record in one that is not deep enough to be read: what is promised until the end must
    // not be too late for that one.
    scene.deposit(1).await;
    let recorded = scene.now().await;
    sleep(Duration::from_millis(1_500)).await;
    scene.mine(1).await;
    let newest = scene.now().await;
    let age = loop {
        let (nonce, age) = (acknowledged.len() as u64, unix_now().saturating_sub(newest));
        let raw = json!([sign(account, nonce, 0, 0)]);
        match rpc.call("eth_sendRawTransactionSync", raw).await {
            Ok(receipt) => acknowledged.push(receipt),
            Err(_) => break age,
        }
        assert!(age < LAG, "it promises {age} s after L1's newest block");
        sleep(Duration::from_millis(100)).await;
    };
    println!(
        "{} promises, the last {age} s after L1's newest block and {} s after the record",
        acknowledged.len(),
        unix_now().saturating_sub(recorded)
    );
    assert!(age >= LAG / 2, "it gives up {age} s after L1's newest block");
    let nonce = acknowledged.len() as u64;
    refused(nonce).await;
    says_still(&leader, true).await;
    sleep(Duration::from_secs(1)).await;
    refused(nonce).await;

    scene.mine(1).await;
    says_still(&leader, false).await;
    acknowledged.push(promised(&rpc, account, nonce).await);
    scene.all_is_kept(&rpc, &acknowledged).await;
    leader.stop().await;
    scene.stop().await;
}
