//! The chain by itself, through its endpoints.

#![allow(clippy::unwrap_used)] // A test that fails here says where.

mod common;

use alloy_consensus::TxEip1559;
use alloy_eips::eip4844::{BlobTransactionSidecar, Bytes48};
use alloy_eips::eip7594::BlobTransactionSidecarVariant;
use alloy_primitives::{Address, B256, TxKind, U256, address, keccak256};
use annex_devl1::{DevL1, DevL1Config};
use common::*;
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::test]
async fn blobs_are_served_at_both_endpoints() {
    let (l1, rpc, _dir) = start().await;
    let sidecar = sidecar(&[1, 2]);
    let hashes: Vec<B256> = sidecar.versioned_hashes().collect();
    let tx = blob_tx(0, hashes.clone(), 10 * GWEI, GWEI);
    let bare = keccak256(sign(&signer(0), tx.clone()));
    let hash = rpc.send(&sign_blobs(&signer(0), tx, sidecar.clone())).await.unwrap();
    assert_eq!(hash, bare);

    let receipt = rpc.receipt(hash).await;
    assert_eq!(receipt["status"], "0x1");
    assert_eq!(receipt["type"], "0x3");
    assert_eq!(receipt["blobGasUsed"], "0x40000");
    let block = rpc.block(&receipt["blockNumber"]).await;
    assert_eq!(block["blobGasUsed"], "0x40000");

    let (status, genesis) = rpc.get("/eth/v1/beacon/genesis").await;
    assert_eq!(status, 200);
    let genesis: u64 = genesis["data"]["genesis_time"].as_str().unwrap().parse().unwrap();
    let (_, spec) = rpc.get("/eth/v1/config/spec").await;
    let seconds: u64 = spec["data"]["SECONDS_PER_SLOT"].as_str().unwrap().parse().unwrap();
    let slot = (number(&block["timestamp"]) - genesis) / seconds;

    let block_hash = block["hash"].as_str().unwrap();
    for id in [slot.to_string(), "head".to_owned(), block_hash.to_owned()] {
        let (status, blobs) = rpc.get(&format!("/eth/v1/beacon/blobs/{id}")).await;
        assert_eq!(status, 200, "{id}");
        assert!(blobs["data"] == json!(sidecar.blobs), "{id}");
    }
    let one = format!("/eth/v1/beacon/blobs/{slot}?versioned_hashes={}", hashes[1]);
    assert!(rpc.get(&one).await.1["data"] == json!([sidecar.blobs[1]]));
    let both = format!(
        "/eth/v1/beacon/blobs/{slot}?versioned_hashes={}&versioned_hashes={}",
        hashes[0], hashes[1]
    );
    assert!(rpc.get(&both).await.1["data"] == json!(sidecar.blobs));

    let (status, sidecars) = rpc.get(&format!("/eth/v1/beacon/blob_sidecars/{slot}")).await;
    assert_eq!(status, 200);
    for (index, served) in sidecars["data"].as_array().unwrap().iter().enumerate() {
        assert_eq!(served["index"], index.to_string());
        assert!(served["blob"] == json!(sidecar.blobs[index]));
        assert_eq!(served["kzg_commitment"], json!(sidecar.commitments[index]));
        let proof: Bytes48 = serde_json::from_value(served["kzg_proof"].clone()).unwrap();
        let valid = c_kzg::ethereum_kzg_settings(0).verify_blob_kzg_proof(
            &c_kzg::Blob::new(sidecar.blobs[index].0),
            &c_kzg::Bytes48::new(sidecar.commitments[index].0),
            &c_kzg::Bytes48::new(proof.0),
        );
        assert!(valid.unwrap());
    }
    let one = format!("/eth/v1/beacon/blob_sidecars/{slot}?indices=1");
    assert_eq!(rpc.get(&one).await.1["data"].as_array().unwrap().len(), 1);

    assert_eq!(rpc.get(&format!("/eth/v1/beacon/blobs/{}", slot + 1)).await.0, 404);
    assert_eq!(rpc.get("/eth/v1/beacon/blobs/x").await.0, 400);
    assert_eq!(rpc.get("/eth/v1/beacon/blobs/genesis").await.1["data"], json!([]));
    assert_eq!(rpc.get("/eth/v1/beacon/headers/head").await.0, 404);
    l1.stop().await;
}

#[tokio::test]
async fn bad_sidecars_are_refused() {
    let (l1, rpc, _dir) = start().await;
    let good = sidecar(&[3]);
    let hashes: Vec<B256> = good.versioned_hashes().collect();
    let tx = blob_tx(0, hashes.clone(), 10 * GWEI, GWEI);
    let refused = async |raw, message: &str| {
        let error = rpc.send(&raw).await.unwrap_err();
        assert_eq!(error.message, message);
    };

    let mut bad = good.clone();
    bad.cell_proofs.swap(0, 1);
    refused(sign_blobs(&signer(0), tx.clone(), bad), "invalid blob sidecar").await;
    let mut bad = good.clone();
    bad.commitments = sidecar(&[4]).commitments;
    refused(sign_blobs(&signer(0), tx.clone(), bad), "invalid blob sidecar").await;
    let mut bad = good.clone();
    bad.blobs[0][40] ^= 1;
    refused(sign_blobs(&signer(0), tx.clone(), bad), "invalid blob sidecar").await;
    let mut bad = good.clone();
    bad.cell_proofs.pop();
    refused(sign_blobs(&signer(0), tx.clone(), bad), "invalid blob sidecar").await;
    let mut bad = good.clone();
    bad.blobs.push(blob(4));
    refused(sign_blobs(&signer(0), tx.clone(), bad), "invalid blob sidecar").await;

    let version_0 = BlobTransactionSidecar {
        blobs: good.blobs.clone(),
        commitments: good.commitments.clone(),
        proofs: vec![Bytes48::ZERO],
    };
    let raw = sign_blobs(&signer(0), tx.clone(), BlobTransactionSidecarVariant::Eip4844(version_0));
    refused(raw, "unexpected sidecar version, want: 1, got: 0").await;
    refused(sign(&signer(0), tx.clone()), "missing sidecar in blob transaction").await;
    let many = blob_tx(0, vec![hashes[0]; 7], 10 * GWEI, GWEI);
    refused(
        sign_blobs(&signer(0), many, good.clone()),
        "too many blobs in transaction: have 7, permitted 6",
    )
    .await;
    let none = blob_tx(0, vec![], 10 * GWEI, GWEI);
    refused(sign_blobs(&signer(0), none, good.clone()), "blob transaction missing blob hashes")
        .await;
    let mut raw = sign_blobs(&signer(0), tx.clone(), good.clone()).to_vec();
    raw.push(0);
    refused(raw.clone().into(), "failed to decode transaction").await;
    raw.truncate(1000);
    refused(raw.into(), "failed to decode transaction").await;

    // Nothing of this was kept, and the good one is taken.
    assert_eq!(rpc.call("eth_blockNumber", json!([])).await, "0x0");
    rpc.send(&sign_blobs(&signer(0), tx, good)).await.unwrap();
    assert_eq!(rpc.call("eth_blockNumber", json!([])).await, "0x1");
    l1.stop().await;
}

#[tokio::test]
async fn blob_gas_is_limited_and_priced() {
    let (l1, rpc, _dir) = start().await;
    rpc.call("evm_setAutomine", json!([false])).await;
    let sidecar = sidecar(&[5, 6, 7, 8, 9, 10]);
    let hashes: Vec<B256> = sidecar.versioned_hashes().collect();
    for nonce in 0..3 {
        let tx = blob_tx(nonce, hashes.clone(), 10 * GWEI, GWEI);
        rpc.send(&sign_blobs(&signer(0), tx, sidecar.clone())).await.unwrap();
    }
    // Two transactions of six blobs do not fit nine.
    for count in 1..=3 {
        rpc.call("evm_mine", json!([])).await;
        let block = rpc.block("latest").await;
        assert_eq!(block["transactions"].as_array().unwrap().len(), 1, "{count}");
        assert_eq!(block["blobGasUsed"], "0xc0000");
        // With a base fee near 1 gwei the reserve price (EIP-7918) is above the blob fee of 1 wei, so excess grows
        // though the target is just met: by 6 blobs · 131,072 · (9 - 6) / 9 a block.
        assert_eq!(number(&block["excessBlobGas"]), (count - 1) * 6 * 131_072 / 3);
    }
    l1.stop().await;
}

#[tokio::test]
async fn replacement_needs_higher_fees() {
    let (l1, rpc, _dir) = start().await;
    rpc.call("evm_setAutomine", json!([false])).await;
    let underpriced = "replacement transaction underpriced";
    let first = rpc.send(&sign(&signer(0), transfer(0, 100 * GWEI, 10 * GWEI))).await.unwrap();
    let known = rpc.send(&sign(&signer(0), transfer(0, 100 * GWEI, 10 * GWEI))).await.unwrap_err();
    assert_eq!(known.message, "already known");
    for (fee, tip) in [(109, 11), (110, 10), (200, 10)] {
        let raw = sign(&signer(0), transfer(0, fee * GWEI, tip * GWEI));
        assert_eq!(rpc.send(&raw).await.unwrap_err().message, underpriced, "{fee} {tip}");
    }
    let second = rpc.send(&sign(&signer(0), transfer(0, 110 * GWEI, 11 * GWEI))).await.unwrap();
    assert_eq!(rpc.call("eth_getTransactionByHash", json!([first])).await, Value::Null);

    let sidecar = sidecar(&[11]);
    let hashes: Vec<B256> = sidecar.versioned_hashes().collect();
    let blob = |fee: u128, blob_fee| {
        let mut tx = blob_tx(0, hashes.clone(), fee * GWEI, blob_fee * GWEI);
        tx.max_priority_fee_per_gas = fee * GWEI / 10;
        sign_blobs(&signer(1), tx, sidecar.clone())
    };
    rpc.send(&blob(10, 1)).await.unwrap();
    for (fee, blob_fee) in [(20, 1), (19, 2)] {
        assert_eq!(rpc.send(&blob(fee, blob_fee)).await.unwrap_err().message, underpriced);
    }
    let third = rpc.send(&blob(20, 2)).await.unwrap();
    assert_eq!(
        rpc.call("txpool_status", json!([])).await,
        json!({"pending": "0x2", "queued": "0x0"})
    );
    rpc.call("evm_mine", json!([])).await;
    for hash in [second, third] {
        assert_eq!(rpc.receipt(hash).await["blockNumber"], "0x1");
    }
    assert_eq!(rpc.receipt(first).await, Value::Null);
    l1.stop().await;
}

#[tokio::test]
async fn the_pool_waits_for_nonces_and_fees() {
    let (l1, rpc, _dir) = start().await;
    // A gap waits, and is filled by one block.
    let third = rpc.send(&sign(&signer(0), transfer(2, 10 * GWEI, GWEI))).await.unwrap();
    let second = rpc.send(&sign(&signer(0), transfer(1, 10 * GWEI, GWEI))).await.unwrap();
    assert_eq!(
        rpc.call("txpool_status", json!([])).await,
        json!({"pending": "0x0", "queued": "0x2"})
    );
    assert_eq!(rpc.call("eth_blockNumber", json!([])).await, "0x0");
    let first = rpc.send(&sign(&signer(0), transfer(0, 10 * GWEI, GWEI))).await.unwrap();
    for hash in [first, second, third] {
        assert_eq!(rpc.receipt(hash).await["blockNumber"], "0x1");
    }
    // Below the base fee it waits, too.
    let poor = rpc.send(&sign(&signer(0), transfer(3, 100_000_000, 0))).await.unwrap();
    assert_eq!(rpc.receipt(poor).await, Value::Null);
    rpc.call("anvil_setNextBlockBaseFeePerGas", json!(["0x5f5e100"])).await;
    rpc.call("evm_mine", json!([])).await;
    assert_eq!(rpc.receipt(poor).await["blockNumber"], "0x2");
    // The best tip comes first.
    rpc.call("evm_setAutomine", json!([false])).await;
    let low = rpc.send(&sign(&signer(1), transfer(0, 10 * GWEI, GWEI))).await.unwrap();
    let high = rpc.send(&sign(&signer(2), transfer(0, 10 * GWEI, 2 * GWEI))).await.unwrap();
    let pending = rpc.block("pending").await;
    assert_eq!(pending["transactions"], json!([high, low]));
    let nonce = json!([signer(1).address(), "pending"]);
    assert_eq!(rpc.call("eth_getTransactionCount", nonce).await, "0x1");
    rpc.call("anvil_dropTransaction", json!([low])).await;
    rpc.call("evm_setAutomine", json!([true])).await;
    assert_eq!(rpc.block("latest").await["transactions"], json!([high]));
    l1.stop().await;
}

#[tokio::test]
async fn a_reorganisation_replaces_blocks() {
    let (l1, rpc, _dir) = start().await;
    let raw = sign(&signer(0), transfer(0, 10 * GWEI, GWEI));
    let hash = rpc.send(&raw).await.unwrap();
    let sidecar = sidecar(&[12]);
    let tx = blob_tx(1, sidecar.versioned_hashes().collect(), 10 * GWEI, GWEI);
    rpc.send(&sign_blobs(&signer(0), tx, sidecar)).await.unwrap();
    let old = [rpc.block("0x1").await, rpc.block("0x2").await];

    rpc.call("anvil_reorg", json!([2, []])).await;
    assert_eq!(rpc.call("eth_blockNumber", json!([])).await, "0x2");
    for (number, old) in old.iter().enumerate() {
        let new = rpc.block(format!("{:#x}", number + 1)).await;
        assert_ne!(new["hash"], old["hash"]);
        assert_eq!(new["transactions"], json!([]));
        let gone = rpc.call("eth_getBlockByHash", json!([old["hash"], false])).await;
        assert_eq!(gone, Value::Null);
    }
    assert_eq!(rpc.receipt(hash).await, Value::Null);
    let balance = json!([Address::repeat_byte(0x42), "latest"]);
    assert_eq!(rpc.call("eth_getBalance", balance.clone()).await, "0x0");

    // The same transaction in another block.
    rpc.call("anvil_reorg", json!([2, [[raw, 1]]])).await;
    assert_eq!(rpc.receipt(hash).await["blockNumber"], "0x2");
    assert_eq!(rpc.call("eth_getBalance", balance).await, "0x1");
    let error = rpc.try_call("anvil_reorg", json!([3, []])).await.unwrap_err();
    let message = "Reorg depth must not exceed current chain height: current height 2, depth 3";
    assert_eq!((error.code, error.message.as_str()), (-32602, message));
    rpc.call("anvil_rollback", json!([1])).await;
    assert_eq!(rpc.call("eth_blockNumber", json!([])).await, "0x1");
    rpc.send(&sign(&signer(0), transfer(0, 10 * GWEI, GWEI))).await.unwrap();
    assert_eq!(rpc.receipt(hash).await["blockNumber"], "0x2");
    l1.stop().await;
}

#[tokio::test]
async fn a_snapshot_is_come_back_to() {
    let (l1, rpc, _dir) = start().await;
    rpc.call("anvil_mine", json!(["0x3", "0xa"])).await;
    let head = rpc.block("latest").await;
    let id = rpc.call("evm_snapshot", json!([])).await;
    rpc.call("anvil_setBalance", json!([Address::repeat_byte(7), "0x64"])).await;
    assert_eq!(
        rpc.call("eth_getBalance", json!([Address::repeat_byte(7), "latest"])).await,
        "0x64"
    );
    assert_eq!(rpc.call("evm_revert", json!([id])).await, true);
    assert_eq!(rpc.block("latest").await["hash"], head["hash"]);
    assert_eq!(rpc.call("eth_getBalance", json!([Address::repeat_byte(7), "latest"])).await, "0x0");
    assert_eq!(rpc.call("evm_revert", json!([id])).await, false);
    let (second, third) = (rpc.block("0x2").await, rpc.block("0x3").await);
    assert_eq!(number(&third["timestamp"]) - number(&second["timestamp"]), 10);
    l1.stop().await;
}

#[tokio::test]
async fn tests_move_time() {
    let (l1, rpc, _dir) = start().await;
    let now = number(&rpc.block("latest").await["timestamp"]);
    rpc.call("evm_increaseTime", json!([1000])).await;
    rpc.call("evm_mine", json!([])).await;
    let later = number(&rpc.block("latest").await["timestamp"]);
    assert!((1000..1100).contains(&(later - now)), "{now} {later}");
    rpc.call("evm_setNextBlockTimestamp", json!([later + 5000])).await;
    rpc.call("evm_mine", json!([])).await;
    assert_eq!(number(&rpc.block("latest").await["timestamp"]), later + 5000);
    rpc.call("evm_mine", json!([])).await;
    let follows = number(&rpc.block("latest").await["timestamp"]);
    assert!((later + 5001..later + 5100).contains(&follows));
    let error = rpc.try_call("evm_setNextBlockTimestamp", json!([1])).await.unwrap_err();
    assert_eq!(error.code, -32602);
    rpc.call("anvil_setBlockTimestampInterval", json!([7])).await;
    rpc.call("anvil_mine", json!([2])).await;
    assert_eq!(number(&rpc.block("latest").await["timestamp"]), follows + 14);
    l1.stop().await;
}

#[tokio::test]
async fn system_contracts_hold_the_past() {
    let (l1, rpc, _dir) = start().await;
    rpc.call("anvil_mine", json!([300])).await;
    let history = address!("0000F90827F1C53a10cb7A02335B175320002935");
    let roots = address!("000F3df6D732807Ef1319fB7B8bB8522d0Beac02");
    for number in [0_u64, 1, 150, 299] {
        let block = rpc.block(format!("{number:#x}")).await;
        let call = json!([{"to": history, "data": B256::from(U256::from(number))}, "latest"]);
        assert_eq!(rpc.call("eth_call", call).await, block["hash"], "{number}");
        if number > 0 {
            let time = B256::from(U256::from(common::number(&block["timestamp"])));
            let call = json!([{"to": roots, "data": time}, "latest"]);
            assert_eq!(rpc.call("eth_call", call).await, block["parentBeaconBlockRoot"]);
        }
    }
    // BLOCKHASH(298)
    let code = json!({"to": Address::repeat_byte(9)});
    let overrides =
        json!({Address::repeat_byte(9).to_string(): {"code": "0x61012a405f5260205ff3"}});
    let got = rpc.call("eth_call", json!([code, "latest", overrides])).await;
    assert_eq!(got, rpc.block("0x12a").await["hash"]);
    for contract in
        ["0xcA11bde05977b3631167028862bE2a173976CA11", "0x4e59b44847b379578588920cA78FbF26c0B4956C"]
    {
        assert_ne!(rpc.call("eth_getCode", json!([contract, "latest"])).await, "0x");
    }
    l1.stop().await;
}

#[tokio::test]
async fn invalid_transactions_are_refused() {
    let (l1, rpc, _dir) = start().await;
    let message = async |tx: TxEip1559| rpc.send(&sign(&signer(0), tx)).await.unwrap_err().message;
    let good = transfer(0, 10 * GWEI, GWEI);
    let funds = message(TxEip1559 { value: U256::MAX, ..good.clone() }).await;
    assert!(funds.starts_with("insufficient funds for gas * price + value"), "{funds}");
    let chain = message(TxEip1559 { chain_id: 1, ..good.clone() }).await;
    assert_eq!(chain, "invalid chain id for signer: have 1 want 900");
    let gas = message(TxEip1559 { gas_limit: 20_999, ..good.clone() }).await;
    assert!(gas.starts_with("intrinsic gas too low"), "{gas}");
    let cap = message(TxEip1559 { gas_limit: (1 << 24) + 1, ..good.clone() }).await;
    assert_eq!(cap, "transaction gas limit too high (cap: 16777216, tx: 16777217)");
    let tip = message(TxEip1559 { max_priority_fee_per_gas: 11 * GWEI, ..good.clone() }).await;
    assert!(tip.starts_with("max priority fee per gas higher than max fee per gas"), "{tip}");
    let init = TxEip1559 {
        to: TxKind::Create,
        input: vec![0; 49_153].into(),
        gas_limit: 10_000_000,
        ..good.clone()
    };
    let init = message(init).await;
    assert_eq!(init, "max initcode size exceeded: code size 49153, limit 49152");
    rpc.send(&sign(&signer(0), good.clone())).await.unwrap();
    let nonce = message(TxEip1559 { value: U256::from(2), ..good }).await;
    assert_eq!(nonce, "nonce too low: next nonce 1, tx nonce 0");
    assert_eq!(rpc.call("eth_blockNumber", json!([])).await, "0x1");
    l1.stop().await;
}

/// Serves the chain in `ANNEX_DEVL1_DIR` until it is killed, or its parent has ended.
#[tokio::test]
#[ignore = "the child process of `the_chain_survives_being_killed`"]
async fn child() {
    let dir = std::env::var("ANNEX_DEVL1_DIR").unwrap();
    let l1 = DevL1::start(DevL1Config::new(dir.clone().into())).await.unwrap();
    let partial = format!("{dir}.url.partial");
    std::fs::write(&partial, l1.url()).unwrap();
    std::fs::rename(partial, format!("{dir}.url")).unwrap();
    let wait = || std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
    tokio::task::spawn_blocking(wait).await.unwrap().unwrap();
    l1.stop().await;
}

/// Clock ticks of 10 ms that a process has used.
fn ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_chain_survives_being_killed() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("l1");
    let url_file = root.path().join("l1.url");
    let mut hashes: Vec<(B256, Value)> = Vec::new();
    let sidecar = sidecar(&[13]);
    for round in 0..4_u64 {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--ignored", "--nocapture"])
            .env("ANNEX_DEVL1_DIR", &dir)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        while !url_file.exists() {
            assert_eq!(child.try_wait().unwrap(), None, "the child ended");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let rpc = Rpc::new(std::fs::read_to_string(&url_file).unwrap());
        std::fs::remove_file(&url_file).unwrap();
        for (hash, receipt) in &hashes {
            assert_eq!(rpc.receipt(*hash).await, *receipt, "round {round}");
        }
        // Another process cannot have the same directory.
        let second = DevL1::start(DevL1Config::new(dir.clone())).await.unwrap_err();
        assert!(second.to_string().contains("in use"), "{second}");
        if round == 0 {
            let tx = blob_tx(0, sidecar.versioned_hashes().collect(), 10 * GWEI, GWEI);
            rpc.send(&sign_blobs(&signer(9), tx, sidecar.clone())).await.unwrap();
            // Idle with a block every two seconds: under 1 % of a core, so at most 70 ms in seven seconds.
            rpc.call("evm_setIntervalMining", json!([2])).await;
            let before = ticks(child.id());
            tokio::time::sleep(Duration::from_secs(7)).await;
            let used = ticks(child.id()) - before;
            assert!(used <= 7, "{used} ticks");
            assert_eq!(rpc.call("eth_blockNumber", json!([])).await, "0x4");
            rpc.call("evm_setAutomine", json!([true])).await;
        }
        let from = hashes.len() as u64;
        for nonce in from..from + 20 {
            let raw = sign(&signer(0), transfer(nonce, 10 * GWEI, GWEI));
            let hash = rpc.send(&raw).await.unwrap();
            hashes.push((hash, rpc.receipt(hash).await));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let l1 = DevL1::start(DevL1Config::new(dir.clone())).await.unwrap();
    let rpc = Rpc::new(l1.url());
    for (hash, receipt) in &hashes {
        assert_eq!(rpc.receipt(*hash).await, *receipt);
    }
    let block = rpc.block("0x1").await;
    let blobs = rpc.get(&format!("/eth/v1/beacon/blobs/{}", block["hash"].as_str().unwrap())).await;
    assert!(blobs.1["data"] == json!(sidecar.blobs), "blobs differ");
    l1.stop().await;
    let other = DevL1Config { chain_id: 1, ..DevL1Config::new(dir) };
    let error = DevL1::start(other).await.unwrap_err();
    assert_eq!(error.to_string(), "the data directory does not hold chain 1");
}
