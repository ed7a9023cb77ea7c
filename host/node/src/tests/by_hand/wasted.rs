//! Batches that L1 takes, and takes gas for, and that make no blocks.

use super::*;

/// Seconds that a batch's block may be ahead of its record.
const DRIFT: u64 = 1;
/// Batches that come to nothing.
const FAILURES: u64 = 3;

/// Waits until a node has read L1 up to that many blocks below the newest.
async fn has_read(scene: &Scene, node: &Node, above: u128) {
    let newest = number(&scene.rpc.get("eth_blockNumber", json!([])).await) - above;
    let start = Instant::now();
    while health(node).await["l1Block"].as_u64().map(u128::from) != Some(newest) {
        assert!(start.elapsed() < PATIENCE, "{newest}: {}", health(node).await);
        sleep(Duration::from_millis(20)).await;
    }
}

/// Of the block in which something was acknowledged.
async fn timestamp(node: &Rpc, acknowledged: &Value) -> u64 {
    let block = json!([acknowledged["blockNumber"], false]);
    number(&node.get("eth_getBlockByNumber", block).await["timestamp"]) as u64
}

/// Why `/health` says that posting is in trouble, once it does.
async fn posting_fails(node: &Node) -> String {
    let start = Instant::now();
    loop {
        let health = health(node).await;
        let mut troubles = health["troubles"].as_array().expect("a list").iter();
        if let Some(posting) = troubles.find(|trouble| trouble["what"] == "posting") {
            return posting["why"].as_str().expect("a reason").to_owned();
        }
        assert!(start.elapsed() < PATIENCE, "{health}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// L1 stands still and goes on with its clock where it stood, a second a block: what was ordered meanwhile is too new for the next
/// blocks (`TimestampTooNew`), so they take batches for nothing until their clock has caught up.
#[tokio::test(flavor = "multi_thread")]
async fn batches_that_make_no_blocks_are_posted_less_and_less_often() {
    let parameters = |timestamp| Parameters {
        // A quarter of it is the longest pause.
        forced_delay: 64,
        liveness_window: 192,
        timestamp_drift: DRIFT,
        ..Parameters::development(timestamp)
    };
    let dir = tempfile::tempdir().expect("temp dir");
    let scene = Scene::new(dir.path(), 120, parameters).await;
    let leader = scene.leader().await;
    let rpc = Rpc::to(&leader).await;
    let account = &scene.accounts[0];
    funded(&rpc, account).await;
    scene.everything_safe(&rpc).await;
    has_read(&scene, &leader, 0).await;
    let (before, _) = scene.counts().await;

    let stood = scene.now().await;
    sleep(Duration::from_secs(FAILURES + DRIFT + 1)).await;
    let mut acknowledged = vec![promised(&rpc, account, 0).await];
    scene.waiting(1).await;
    let time = timestamp(&rpc, &acknowledged[0]).await;
    assert!(time > stood + FAILURES + DRIFT, "{time} is not too new after {stood}");

    let safe =
        async || number(&rpc.get("eth_getBlockByNumber", json!(["safe", false])).await["number"]);
    let before_failures = safe().await;
    let mut pauses = Vec::new();
    for failure in 1..=FAILURES {
        let taken = Instant::now();
        scene.mine(1).await;
        assert_eq!(scene.counts().await, (before + u128::from(failure), 0), "L1 took it");
        has_read(&scene, &leader, 0).await;
        let why = posting_fails(&leader).await;
        assert!(why.contains("did not become blocks"), "{why}");
        assert_eq!(safe().await, before_failures);
        // It goes on to order.
        acknowledged.push(promised(&rpc, account, failure).await);
        scene.waiting(1).await;
        pauses.push(taken.elapsed());
    }
    println!("batches in vain with pauses of {pauses:?}");
    for (failure, pause) in pauses.iter().enumerate() {
        assert!(*pause >= Duration::from_secs(2 << failure), "{pauses:?}");
    }

    // L1's clock is right again.
    scene.rpc.get("evm_setNextBlockTimestamp", json!([time])).await;
    scene.mine(1).await;
    has_read(&scene, &leader, 0).await;
    assert!(safe().await > before_failures, "one batch carries what the others did not");
    acknowledged.push(promised(&rpc, account, FAILURES + 1).await);
    let last = scene.word_is_kept(&rpc, &acknowledged).await;
    assert!(last > before_failures);
    let start = Instant::now();
    while health(&leader).await["status"] != "ok" {
        assert!(start.elapsed() < PATIENCE, "{}", health(&leader).await);
        sleep(Duration::from_millis(20)).await;
    }
    let paid = scene.counts().await.0 - before;
    // Those in vain, the one that carried everything, and one or two for what came after it was packed.
    let most = u128::from(FAILURES) + 3;
    assert!(paid <= most, "{paid} batches, at most {most}");
    leader.stop().await;
    scene.stop().await;
}

/// A block is ordered when L1 shows a newest one of the present, which it takes back for one of minutes ago: that one has the batch,
/// for nothing as the block is too new, and its record comes too long before the block for any other batch (`StaleOrigin`).
#[tokio::test(flavor = "multi_thread")]
async fn what_no_batch_can_carry_any_more_is_executed_again() {
    const AGE: u64 = 120;
    let parameters = |timestamp| Parameters {
        max_origin_lag: AGE / 4,
        timestamp_drift: DRIFT,
        l1_confirmations: 1,
        ..Parameters::development(timestamp)
    };
    let dir = tempfile::tempdir().expect("temp dir");
    let scene = Scene::new(dir.path(), AGE, parameters).await;
    // Its blocks may be old.
    let leader = scene.start_with("leader", leads(), |config| config.idle_l1 = true).await;
    let rpc = Rpc::to(&leader).await;
    let account = &scene.accounts[0];
    funded(&rpc, account).await;
    let before_safe = scene.everything_safe(&rpc).await;
    let (before, _) = scene.counts().await;

    let now = json!([unix_now()]);
    scene.rpc.get("evm_setNextBlockTimestamp", now.clone()).await;
    scene.mine(1).await;
    has_read(&scene, &leader, 1).await;
    let acknowledged = promised(&rpc, account, 0).await;
    scene.waiting(1).await;
    let time = timestamp(&rpc, &acknowledged).await;
    scene.rpc.get("anvil_rollback", json!([1])).await;
    scene.mine(1).await;
    assert_eq!(scene.counts().await, (before + 1, 0), "the batch is in a block");
    let recorded = scene.now().await;
    assert!(time > recorded + AGE / 4, "{time} is not too late for {recorded}");
    scene.rpc.get("evm_setNextBlockTimestamp", now).await;
    scene.mine(1).await;
    has_read(&scene, &leader, 1).await;

    let safe = scene.everything_safe(&rpc).await;
    assert!(safe > before_safe);
    let changes = rpc.get("annex_changedPromises", json!([])).await;
    let changes = changes.as_array().expect("a list");
    assert_eq!(changes.len(), 1, "{changes:?}");
    assert_eq!(changes[0]["transaction"], acknowledged["transactionHash"]);
    let hash = json!([acknowledged["transactionHash"]]);
    let receipt = rpc.get("eth_getTransactionReceipt", hash).await;
    assert_eq!(
        (&receipt["status"], &receipt["blockNumber"]),
        (&json!("0x1"), &changes[0]["newBlock"])
    );
    assert_eq!(scene.counts().await.0, before + 2, "one in vain, and one that carries it");
    scene.a_new_node_agrees(&rpc, safe).await;
    leader.stop().await;
    scene.stop().await;
}
