//! What prices are asked for is what is charged.

use super::{
    super::{FIRST, noise, signed, waits::Gate},
    *,
};
use alloy_consensus::TxEip1559;

/// Wei of base fee on L1 in the block that is charged for, and in the next one.
const DEAR: u64 = 20_000_000_000;
const CHEAP: u64 = 7;
/// Bytes of input.
const SIZE: usize = 300;

/// L1 records a batch whose blobs nobody gives: the store has that record, at a price of almost nothing, and the executor, which
/// comes after derivation, goes on with the one before it.
#[tokio::test(flavor = "multi_thread")]
async fn gas_is_estimated_at_the_price_that_is_charged() {
    let dir = tempfile::tempdir().expect("temp dir");
    let scene = Scene::new(dir.path(), 120, Parameters::development).await;
    let gate = Gate::new(&scene.l1.url()).await;
    let leader = scene.start_with("leader", leads(), |config| {
        config.beacons = vec![gate.url.clone()];
        config.channel = Some(Channel::Blobs);
    });
    let leader = leader.await;
    let rpc = Rpc::to(&leader).await;
    let account = &scene.accounts[0];
    funded(&rpc, account).await;
    scene.everything_safe(&rpc).await;

    let base_fee = async |wei: u64| {
        scene.rpc.get("anvil_setNextBlockBaseFeePerGas", json!([format!("{wei:#x}")])).await;
        scene.mine(1).await;
    };
    base_fee(DEAR).await;
    scene.deposit(1).await;
    funded(&rpc, &scene.accounts[1]).await;
    scene.waiting(1).await;
    gate.close(true);
    base_fee(CHEAP).await;
    assert_eq!(scene.counts().await.1, 0, "the batch is in a block");
    let start = Instant::now();
    while gate.refused() == 0 {
        assert!(start.elapsed() < PATIENCE, "the record is not read");
        sleep(Duration::from_millis(20)).await;
    }

    let data = noise(0, SIZE);
    let estimate = async || {
        let call = json!([{"from": account.address, "to": account.address, "data": data}]);
        number(&rpc.get("eth_estimateGas", call).await) as u64
    };
    let asked = estimate().await;
    let tx = TxEip1559 {
        chain_id: crate::dev::L2_CHAIN_ID,
        nonce: FIRST,
        gas_limit: asked,
        max_fee_per_gas: 1_000_000_000,
        to: TxKind::Call(account.address),
        input: data.clone(),
        ..TxEip1559::default()
    };
    let raw = json!([signed(account, tx)]);
    let receipt = rpc.get("eth_sendRawTransactionSync", raw).await;
    assert_eq!(receipt["status"], "0x1", "{receipt}");
    let used = number(&receipt["gasUsed"]) as u64;
    assert!((asked / 2..=asked).contains(&used), "{used} of {asked} gas");

    gate.close(false);
    scene.everything_safe(&rpc).await;
    let later = estimate().await;
    println!("{asked} gas at the price that is charged, {later} at the next");
    assert!(later < used / 2, "{later} after {used}: the prices hardly differ");
    leader.stop().await;
    gate.task.abort();
    scene.stop().await;
}
