//! Claims and disputes of whole nodes on the embedded L1, its clock put forward.

use super::*;
use crate::{
    Base, Export, NodeError, Opened, SnapshotError, SnapshotStanding, check_snapshot, export,
};
use annex_store::StoreError;

/// Most that a dispute may take here.
const PATIENCE: Duration = Duration::from_secs(900);
const ETHER: u128 = 10u128.pow(18);

async fn start(dir: &Path, with_liar: Option<Lie>) -> Dev {
    let config = DevConfig { with_liar, ..config(dir) };
    Dev::start(config, PrometheusBuilder::new().build_recorder().handle()).await.expect("dev")
}

/// The newest report that satisfies `until`.
async fn settlement(rpc: &Rpc, until: impl Fn(&Value) -> bool) -> Value {
    let start = Instant::now();
    loop {
        let report = rpc.get("annex_settlement", json!([])).await;
        if !report.is_null() && until(&report) {
            return report;
        }
        assert!(start.elapsed() < PATIENCE, "{report:#}");
        sleep(Duration::from_millis(200)).await;
    }
}

fn party<'a>(report: &'a Value, role: &str) -> &'a Value {
    let mut parties = report["parties"].as_array().expect("parties").iter();
    parties.find(|party| party["role"] == role).expect("it plays")
}

/// What a party has on L1 and in the Tournament, in wei.
fn wealth(report: &Value, role: &str) -> u128 {
    let party = party(report, role);
    number(&party["balance"]) + number(&party["credits"])
}

/// Puts L1's clock forward beyond the challenge window, as the range has to be over.
async fn let_the_window_pass(l1: &Rpc) {
    l1.get("evm_increaseTime", json!([70])).await;
    l1.get("evm_mine", json!([])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_is_made_when_there_was_traffic_and_settles() {
    let dir = tempfile::tempdir().expect("temp dir");
    let dev = start(dir.path(), None).await;
    let (l1, l2) =
        (Rpc::connect(&dev.l1_url.replace("http", "ws")).await, Rpc::to(&dev.node).await);
    // The deposits that fund the accounts are traffic.
    let claimed = settlement(&l2, |report| party(report, "claimer")["staked"] == "0x1").await;
    assert_eq!(number(&party(&claimed, "challenger")["staked"]), 0, "{claimed:#}");
    let_the_window_pass(&l1).await;
    let settled = settlement(&l2, |report| number(&report["settled"]["block"]) > 0).await;
    let back = settlement(&l2, |report| wealth(report, "claimer") > 99 * ETHER).await;
    let spent = 100 * ETHER - wealth(&back, "claimer");
    println!("a claim costs {spent} wei");
    assert!(spent < ETHER / 100, "{back:#}");
    // Nothing more happens: nothing is claimed of an idle chain.
    let range = number(&settled["settled"]["range"]);
    for _ in 0..3 {
        let_the_window_pass(&l1).await;
        sleep(Duration::from_secs(2)).await;
    }
    let idle = settlement(&l2, |_| true).await;
    assert_eq!(number(&idle["openRanges"]), 0, "{idle:#}");
    assert_eq!(number(&idle["settled"]["range"]), range, "{idle:#}");
    // What is settled says so.
    let block = l2.get("eth_getBlockByNumber", json!([settled["settled"]["block"], false])).await;
    let status = json!([block["transactions"][0]]);
    assert_eq!(l2.get("annex_transactionStatus", status).await["stage"], "settled");
    dev.stop().await;
}

/// Down to one instruction; the honest ones are stopped in the middle and know nothing afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn a_liar_loses_its_bonds() {
    let dir = tempfile::tempdir().expect("temp dir");
    let dev = start(dir.path(), Some(Lie::Output)).await;
    let l2 = Rpc::to(&dev.node).await;
    let started = Instant::now();
    settlement(&l2, |report| number(&report["openMatches"]) > 0).await;
    dev.stop().await;
    let dev = start(dir.path(), Some(Lie::Output)).await;
    let (l1, l2) =
        (Rpc::connect(&dev.l1_url.replace("http", "ws")).await, Rpc::to(&dev.node).await);
    settlement(&l2, |report| number(&report["openMatches"]) > 0).await;
    let over = settlement(&l2, |report| number(&report["openMatches"]) == 0).await;
    assert_eq!(party(&over, "liar")["staked"], "0x0", "{over:#}");
    println!("the dispute took {:?}", started.elapsed());
    let_the_window_pass(&l1).await;
    settlement(&l2, |report| number(&report["settled"]["block"]) > 0).await;
    let honest = |report: &Value| wealth(report, "claimer") + wealth(report, "challenger");
    // Bonds of three levels are lost, less what is refunded.
    let end = settlement(&l2, |report| honest(report) > 200 * ETHER).await;
    println!("the liar lost {} wei", 100 * ETHER - wealth(&end, "liar"));
    assert!(wealth(&end, "liar") < 100 * ETHER - 3 * ETHER / 4 + ETHER / 10, "{end:#}");
    assert_eq!(end["faulted"], false);
    dev.stop().await;
}

/// L1 takes back what was moved and staked last: everybody goes on from what is left.
#[tokio::test(flavor = "multi_thread")]
async fn the_truth_settles_though_l1_reorganises_in_a_dispute() {
    let dir = tempfile::tempdir().expect("temp dir");
    let dev = start(dir.path(), Some(Lie::Output)).await;
    let (l1, l2) =
        (Rpc::connect(&dev.l1_url.replace("http", "ws")).await, Rpc::to(&dev.node).await);
    settlement(&l2, |report| number(&party(report, "liar")["staked"]) >= 2).await;
    let head = l1.get("eth_getBlockByNumber", json!(["latest", false])).await;
    l1.get("anvil_rollback", json!([3])).await;
    let again = number(&head["number"]);
    let seen =
        settlement(&l2, |report| number(&report["l1Block"]) > again || is_over(report)).await;
    let same = l1.get("eth_getBlockByNumber", json!([head["number"], false])).await;
    assert_ne!(same["hash"], head["hash"], "L1 reorganised");
    assert!(!is_over(&seen), "there was something left to play: {seen:#}");
    let over = settlement(&l2, is_over).await;
    assert_eq!(party(&over, "liar")["staked"], "0x0", "{over:#}");
    let_the_window_pass(&l1).await;
    let end = settlement(&l2, |report| number(&report["settled"]["block"]) > 0).await;
    assert_eq!(end["faulted"], false);
    let honest = |report: &Value| wealth(report, "claimer") + wealth(report, "challenger");
    settlement(&l2, |report| honest(report) > 200 * ETHER).await;
    dev.stop().await;
}

fn is_over(report: &Value) -> bool {
    number(&report["openMatches"]) == 0
}

async fn follower(dev: &Dev, data_dir: &Path) -> Result<Node, NodeError> {
    let url = dev.l1_url.clone();
    let base = NodeConfig::new(url.clone(), url, dev.deployment.clone(), data_dir.to_path_buf());
    let config = NodeConfig { addr: ([127, 0, 0, 1], 0).into(), ..base };
    Node::start(config, PrometheusBuilder::new().build_recorder().handle()).await
}

/// Sends something, and waits until L1 carries it.
async fn carried(dev: &Dev, nonce: u64) -> u64 {
    let l2 = Rpc::to(&dev.node).await;
    let raw = sign(&dev.accounts[0], nonce, 0, 0);
    let begin = Instant::now();
    let receipt = loop {
        // A chain that was just resumed has an old view of L1.
        match l2.call("eth_sendRawTransactionSync", json!([raw])).await {
            Ok(receipt) => break receipt,
            Err((5, _)) => sleep(Duration::from_millis(50)).await,
            Err(error) => panic!("{error:?}"),
        }
        assert!(begin.elapsed() < Duration::from_secs(90), "nothing is taken");
    };
    let block = number(&receipt["blockNumber"]);
    let safe =
        async || number(&l2.get("eth_getBlockByNumber", json!(["safe", false])).await["number"]);
    let begin = Instant::now();
    while safe().await < block {
        assert!(begin.elapsed() < Duration::from_secs(90), "nothing is posted");
        sleep(Duration::from_millis(50)).await;
    }
    block as u64
}

/// Nothing in the file shows that it is false, nor does L1 until a block has settled that follows from it.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_on_a_false_snapshot_stops_when_a_later_block_has_settled() {
    let dir = tempfile::tempdir().expect("temp dir");
    let (chain, file) = (dir.path().join("dev"), dir.path().join("a.snapshot"));
    let dev = start(&chain, None).await;
    let block = carried(&dev, 0).await;
    dev.stop().await;
    let request = Export { data_dir: &chain, out: &file, block: Some(block) };
    let begin = Instant::now();
    let base = loop {
        match export(&request, |_, _| {}) {
            Ok(exported) => break exported.base,
            // Tasks of a node that has stopped may be about to end.
            Err(SnapshotError::Store(StoreError::DataDirLocked(_)))
                if begin.elapsed() < PATIENCE =>
            {
                sleep(Duration::from_millis(20)).await;
            }
            Err(error) => panic!("{error}"),
        }
    };
    let good = std::fs::read(&file).expect("the file");
    let import = |name: &str, bytes: &[u8]| {
        let data_dir = dir.path().join(name);
        let opened = Opened::new(bytes).expect("consistent");
        let base = opened.import(&data_dir, |_| {}).expect("consistent").base;
        (data_dir, base)
    };
    let (honest, same) = import("honest", &good);
    let (deceived, other) = import("deceived", &crate::snapshot::tests::falsified(&good));
    assert_eq!(same, base);
    assert_ne!(other.output_root, base.output_root);
    assert_eq!(Base { output_root: base.output_root, ..other }, base);

    let dev = start(&chain, None).await;
    let (l1, l2) =
        (Rpc::connect(&dev.l1_url.replace("http", "ws")).await, Rpc::to(&dev.node).await);
    let later = carried(&dev, 1).await;
    assert!(later > block);
    let begin = Instant::now();
    let settled = loop {
        let report = settlement(&l2, |_| true).await;
        if number(&report["settled"]["block"]) as u64 >= later {
            break report;
        }
        assert!(begin.elapsed() < PATIENCE, "{report:#}");
        if party(&report, "claimer")["staked"] == "0x1" {
            let_the_window_pass(&l1).await;
            settlement(&l2, |report| number(&report["openRanges"]) == 0).await;
        }
        sleep(Duration::from_millis(200)).await;
    };
    let client = annex_l1::L1Client::connect(&dev.l1_url, &[]).await.expect("connects");
    match check_snapshot(&client, &dev.deployment, &other).await {
        // Only what is derived from it will tell.
        Ok(SnapshotStanding::Before { block }) => {
            assert_eq!(u128::from(block), number(&settled["settled"]["block"]));
            let mut node = follower(&dev, &deceived).await.expect("nothing contradicts it yet");
            let why = tokio::time::timeout(PATIENCE, node.failed()).await.expect("it stops");
            assert!(why.to_string().contains("is false: what this node derived"), "{why}");
            node.stop().await;
        }
        // A claim happened to end in its block.
        Err(SnapshotError::Contradicted { .. }) => {}
        standing => panic!("{standing:?}"),
    }
    let again = follower(&dev, &deceived).await.expect_err("it does not start any more");
    assert!(again.to_string().contains("is false"), "{again}");

    // Whoever has the true one goes on, and knows what has settled.
    let node = follower(&dev, &honest).await.expect("starts");
    let rpc = Rpc::to(&node).await;
    settlement(&rpc, |report| report["settled"] == settled["settled"]).await;
    let at = json!([format!("{later:#x}"), false]);
    let block = rpc.get("eth_getBlockByNumber", at.clone()).await;
    assert_eq!(block["hash"], l2.get("eth_getBlockByNumber", at).await["hash"]);
    node.stop().await;
    dev.stop().await;
}
