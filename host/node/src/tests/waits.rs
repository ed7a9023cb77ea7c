//! Parties that cannot go on: they say why, and go on when they can. On the real contracts, L1's clock put forward.

use super::{Rpc, number};
use crate::{LeaderKeys, Node, NodeConfig, Party, PartyRole, Role, genesis, program_boot};
use alloy_primitives::{Address, Bytes, TxKind, U256};
use alloy_signer_local::{MnemonicBuilder, PrivateKeySigner, coins_bip39::English};
use annex_devl1::{DevL1, DevL1Config, MNEMONIC, dev_accounts};
use annex_l1::{
    DeployRequest, Deployment, Deposit, DepositOutcome, L1Client, Parameters, SendLimits, deploy,
    deposit,
};
use annex_settle::{Conduct, FalseLeaf, Forgery, Place};
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::{Instant, sleep},
};

/// Most that anything may take here.
const PATIENCE: Duration = Duration::from_secs(120);
const ETHER: u128 = 10u128.pow(18);
/// Indexes of keys in the mnemonic.
pub(super) const OPERATOR: u32 = 30;
pub(super) const PROMISER: u32 = 31;
const LIAR: u32 = 32;
const CHALLENGER: u32 = 33;

pub(super) fn key(index: u32) -> PrivateKeySigner {
    let mnemonic = MnemonicBuilder::<English>::default().phrase(MNEMONIC);
    mnemonic.index(index).and_then(|it| it.build()).expect("a key of the mnemonic")
}

/// An L1 with contracts, and a leader with a liar and a challenger.
struct Scene {
    l1: DevL1,
    client: L1Client,
    rpc: Rpc,
    deployment: Deployment,
    data_dir: PathBuf,
    parties: Vec<Party>,
    /// Mines when nobody sends.
    ticks: JoinHandle<()>,
}

impl Scene {
    /// `window` and `grace` in seconds. Only the operator and the liar have ether.
    async fn new(dir: &Path, window: u64, grace: u64, lie: PartyRole) -> Self {
        let l1 = DevL1::start(DevL1Config::new(dir.join("l1"))).await.expect("an L1");
        let client = L1Client::connect(&l1.url(), &[]).await.expect("answers");
        let rpc = Rpc::connect(&l1.url().replace("http", "ws")).await;
        let parties =
            vec![Party { role: lie, signer: key(LIAR) }, Party::challenger(key(CHALLENGER))];
        let timestamp = client.head().await.expect("a block").timestamp;
        let parameters = Parameters {
            claim_interval: window.div_ceil(8),
            challenge_window: window,
            move_grace: grace,
            ..Parameters::development(timestamp)
        };
        for index in [OPERATOR, LIAR] {
            fund(&rpc, key(index).address()).await;
        }
        let deployment = deployed(&client, parameters).await;
        let data_dir = dir.join("node");
        let clock = Rpc::connect(&l1.url().replace("http", "ws")).await;
        let ticks = tokio::spawn(async move {
            loop {
                sleep(Duration::from_secs(1)).await;
                clock.get("evm_mine", json!([])).await;
            }
        });
        Self { l1, client, rpc, deployment, data_dir, parties, ticks }
    }

    async fn start(&self, beacon: String) -> Node {
        let promise = key(PROMISER).to_bytes();
        let keys = LeaderKeys { submitter: key(OPERATOR), promise };
        let (deployment, dir) = (self.deployment.clone(), self.data_dir.clone());
        let config = NodeConfig {
            addr: ([127, 0, 0, 1], 0).into(),
            role: Role::Leader(keys),
            parties: self.parties.clone(),
            poll_interval: Duration::from_millis(50),
            // All deposits of the scene's traffic go before the batch.
            batch_interval: Duration::from_secs(5),
            ..NodeConfig::new(self.l1.url(), beacon, deployment, dir)
        };
        let metrics = PrometheusBuilder::new().build_recorder().handle();
        Node::start(config, metrics).await.expect("a leader")
    }

    /// Traffic: a deposit each to so many accounts.
    async fn traffic(&self, accounts: usize) {
        for account in dev_accounts().expect("accounts").into_iter().take(accounts) {
            let wanted = Deposit {
                to: TxKind::Call(account.address),
                mint: U256::from(1),
                value: U256::from(1),
                gas_limit: 21_000,
                data: Bytes::new(),
            };
            let portal = self.deployment.contracts.portal;
            let made = deposit(&self.client, account.signer, portal, &wanted, limits()).await;
            assert!(matches!(made, Ok(DepositOutcome::Taken(_))), "{made:?}");
        }
    }

    async fn stop(self) {
        self.ticks.abort();
        self.l1.stop().await;
    }

    /// Puts L1's clock forward. Blocks that are mined at once have put it ahead of the time of day by a second each.
    async fn pass(&self, seconds: u64) {
        let head = self.client.head().await.expect("a block");
        let next = head.timestamp + seconds;
        self.rpc.get("evm_setNextBlockTimestamp", json!([next])).await;
        self.rpc.get("evm_mine", json!([])).await;
    }
}

pub(super) fn limits() -> SendLimits {
    let poll_interval = Duration::from_millis(20);
    SendLimits { poll_interval, resubmit_after: PATIENCE, ..SendLimits::default() }
}

/// The operator deploys a chain, and leads it.
pub(super) async fn deployed(client: &L1Client, parameters: Parameters) -> Deployment {
    let request = DeployRequest {
        l2_chain_id: crate::dev::L2_CHAIN_ID,
        submitter: key(OPERATOR).address(),
        promise_signer: key(PROMISER).address(),
        program: program_boot(),
        parameters,
        resume_from: None,
    };
    let header = |chain: &annex_types::ChainConfig| genesis(chain).header;
    let deployed = deploy(client, key(OPERATOR), &request, header, limits()).await;
    deployed.expect("a deployment")
}

pub(super) async fn fund(l1: &Rpc, account: Address) {
    l1.get("anvil_setBalance", json!([account, U256::from(100 * ETHER)])).await;
}

/// The newest answer that satisfies `until`.
async fn answer(rpc: &Rpc, method: &str, until: impl Fn(&Value) -> bool) -> Value {
    let start = Instant::now();
    loop {
        let answer = rpc.get(method, json!([])).await;
        if !answer.is_null() && until(&answer) {
            return answer;
        }
        assert!(start.elapsed() < PATIENCE, "{answer:#}");
        sleep(Duration::from_millis(20)).await;
    }
}

async fn settlement(rpc: &Rpc, until: impl Fn(&Value) -> bool) -> Value {
    answer(rpc, "annex_settlement", until).await
}

fn party<'a>(report: &'a Value, role: &str) -> &'a Value {
    let mut parties = report["parties"].as_array().expect("parties").iter();
    parties.find(|party| party["role"] == role).expect("it plays")
}

fn staked(report: &Value, role: &str) -> u128 {
    number(&party(report, role)["staked"])
}

fn waits_for(report: &Value, what: &str) -> bool {
    let waits = party(report, "challenger")["waits"].as_array().expect("waits");
    waits.iter().any(|it| it["reason"].as_str().is_some_and(|reason| reason.contains(what)))
}

/// A Beacon API that can lose its blobs.
pub(super) struct Gate {
    pub url: String,
    closed: Arc<AtomicBool>,
    /// How often blobs were asked for while it was closed.
    refused: Arc<AtomicUsize>,
    pub task: JoinHandle<()>,
}

impl Gate {
    pub async fn new(behind: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let behind = behind.trim_start_matches("http://").to_owned();
        let (closed, refused) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let (is_closed, count) = (closed.clone(), refused.clone());
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (behind, is_closed, count) = (behind.clone(), is_closed.clone(), count.clone());
                tokio::spawn(async move {
                    // A connection that breaks is its client's affair.
                    let _ = pass_on(client, &behind, &is_closed, &count).await;
                });
            }
        });
        Self { url, closed, refused, task }
    }

    pub fn close(&self, closed: bool) {
        self.closed.store(closed, Ordering::SeqCst);
    }

    pub fn refused(&self) -> usize {
        self.refused.load(Ordering::SeqCst)
    }
}

/// One request, and no other on its connection.
async fn pass_on(
    mut client: TcpStream,
    behind: &str,
    closed: &AtomicBool,
    refused: &AtomicUsize,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let byte = client.read_u8().await?;
        head.push(byte);
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    if closed.load(Ordering::SeqCst) && text.contains("/blob") {
        refused.fetch_add(usize::from(text.contains("/blobs/")), Ordering::SeqCst);
        let gone = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        return client.write_all(gone).await;
    }
    let mut server = TcpStream::connect(behind).await?;
    let head = text.replacen("\r\n", "\r\nconnection: close\r\n", 1);
    server.write_all(head.as_bytes()).await?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

/// A challenger without ether, then without a blob.
#[tokio::test(flavor = "multi_thread")]
async fn a_party_says_what_it_waits_for_and_goes_on() {
    let dir = tempfile::tempdir().expect("temp dir");
    let leaf = FalseLeaf::Output { number: 1 };
    let lie = Forgery { seed: 7, at: [Place::At(11), Place::At(0), Place::At(12_345)], leaf };
    let scene = Scene::new(dir.path(), 4_000, 8, PartyRole::Liar(lie, Conduct::AtOnce)).await;
    let gate = Gate::new(&scene.l1.url()).await;
    let node = scene.start(gate.url.clone()).await;
    let rpc = Rpc::to(&node).await;
    scene.traffic(10).await;
    answer_blocks(&rpc, 1).await;
    scene.pass(500).await;

    // Without ether.
    let poor = settlement(&rpc, |report| waits_for(report, "wei more on L1")).await;
    assert_eq!((staked(&poor, "challenger"), staked(&poor, "liar")), (0, 1), "{poor:#}");
    let claims = rpc.get("annex_claims", json!([])).await;
    let claim = &claims["ranges"][0]["claims"][0];
    assert_eq!((&claim["isTrue"], &claim["alive"]), (&json!(false), &json!(true)), "{claims:#}");
    assert_eq!(claim["claimer"], json!(key(LIAR).address().to_string().to_lowercase()));
    gate.close(true);
    fund(&scene.rpc, key(CHALLENGER).address()).await;
    settlement(&rpc, |report| staked(report, "challenger") == 1).await;

    // Without the blob, which is looked for again after seconds and not in a loop.
    settlement(&rpc, |report| waits_for(report, "blob")).await;
    let before = gate.refused();
    sleep(Duration::from_secs(6)).await;
    let again = gate.refused() - before;
    assert!((1..=2).contains(&again), "asked {again} times in 6 s, every 5 s is due");
    let blind = settlement(&rpc, |report| waits_for(report, "blob")).await;
    assert_eq!(number(&blind["openMatches"]), 1, "{blind:#}");
    gate.close(false);

    settlement(&rpc, |report| staked(report, "challenger") > 1).await;
    node.stop().await;
    gate.task.abort();
    scene.stop().await;
}

/// Waits until L1 carries so many L2 blocks.
async fn answer_blocks(rpc: &Rpc, count: u128) -> u128 {
    let start = Instant::now();
    loop {
        let safe = rpc.get("eth_getBlockByNumber", json!(["safe", false])).await;
        let safe = if safe.is_null() { 0 } else { number(&safe["number"]) };
        if safe >= count {
            return safe;
        }
        assert!(start.elapsed() < PATIENCE, "L1 carries {safe} blocks");
        sleep(Duration::from_millis(20)).await;
    }
}

/// As many ranges as can be open, and a liar in each: the challenger answers all, and every bond is its own in the end.
#[tokio::test(flavor = "multi_thread")]
async fn eight_disputed_ranges_are_open_at_once() {
    const RANGES: u128 = 8;
    const WINDOW: u64 = 800;
    let dir = tempfile::tempdir().expect("temp dir");
    let leaf = FalseLeaf::Output { number: 1 };
    let lie = Forgery { seed: 8, at: [Place::At(0); 3], leaf };
    let scene = Scene::new(dir.path(), WINDOW, 8, PartyRole::Liar(lie, Conduct::Never)).await;
    fund(&scene.rpc, key(CHALLENGER).address()).await;
    let node = scene.start(scene.l1.url()).await;
    let rpc = Rpc::to(&node).await;
    let mut safe = 0;
    for open in 1..=RANGES {
        scene.traffic(1).await;
        safe = answer_blocks(&rpc, safe + 1).await;
        scene.pass(WINDOW / 8).await;
        let both =
            |report: &Value| ["liar", "challenger"].iter().all(|role| staked(report, role) == open);
        let report = settlement(&rpc, both).await;
        assert_eq!(number(&report["openRanges"]), open, "{report:#}");
    }
    let claims = answer(&rpc, "annex_claims", |claims| {
        let ranges = claims["ranges"].as_array().expect("ranges");
        ranges.iter().all(|range| range["matchCount"] == "0x1")
    });
    let claims = claims.await;
    let ranges = claims["ranges"].as_array().expect("ranges");
    assert_eq!(ranges.len() as u128, RANGES, "{claims:#}");
    for range in ranges {
        let truths = range["claims"].as_array().expect("claims").iter();
        let truths: Vec<_> = truths.map(|it| it["isTrue"].as_bool()).collect();
        assert_eq!(truths, [Some(false), Some(true)], "{range:#}");
        let clocks = range["matches"][0]["sides"].as_array().expect("two").iter();
        assert!(clocks.into_iter().all(|side| number(&side["clock"]) <= u128::from(WINDOW)));
        assert_eq!(number(&range["pot"]), ETHER / 2, "{range:#}");
        let one = rpc.get("annex_claims", json!([range["range"]])).await;
        assert_eq!(one["ranges"], json!([range]), "{one:#}");
    }
    scene.pass(WINDOW + 60).await;
    let over = settlement(&rpc, |report| number(&report["openRanges"]) == 0).await;
    assert_eq!((staked(&over, "liar"), &over["faulted"]), (0, &json!(false)), "{over:#}");
    let wealth = |report: &Value| {
        let party = party(report, "challenger");
        number(&party["balance"]) + number(&party["credits"])
    };
    let end = settlement(&rpc, |report| wealth(report) > 101 * ETHER).await;
    println!("the challenger won {} wei", wealth(&end) - 100 * ETHER);
    node.stop().await;
    scene.stop().await;
}
