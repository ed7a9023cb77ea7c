//! Nodes that begin in the middle: from a snapshot, and from other nodes where L1 has no blobs any more.

use alloy_primitives::{Address, B256, U256, keccak256};
use annex_e2e::{
    Dev, DevOptions, Fault, Folder, GWEI, Load, Node, NodeOptions, OwnChain, Proxy, Rpc, Rule,
    eventually, run, seconds, seed,
};
use serde_json::json;
use std::path::Path;

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn export(data_dir: &Path, out: &Path, more: &[&str]) -> (bool, String) {
    let arguments = ["snapshot", "export", "--data-dir", text(data_dir), "--out", text(out)];
    run(&[&arguments, more].concat())
}

fn import(data_dir: &Path, file: &Path, more: &[&str]) -> (bool, String) {
    let arguments = ["snapshot", "import", "--data-dir", text(data_dir), text(file)];
    run(&[&arguments, more].concat())
}

/// Number of the block that a command says it handled.
fn block(output: &str) -> u64 {
    let number = output.lines().find_map(|line| line.strip_prefix("block ")?.split(' ').next());
    number.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{output}"))
}

/// Waits until the node has what the leader says is safe, and compares the hashes from block `first` on.
#[track_caller]
fn agrees_from(node: &Node, leader: &Rpc, first: u64) -> u64 {
    let safe = leader.block_number("safe");
    eventually(&format!("the node has block {safe}"), seconds(60), || {
        (node.rpc.block_number("safe") >= safe).then_some(())
    });
    for number in first..=safe {
        let id = format!("{number:#x}");
        let (ours, theirs) = (node.rpc.block(id.as_str()), leader.block(id.as_str()));
        assert_eq!(ours["hash"], theirs["hash"], "block {number}");
    }
    safe
}

#[test]
fn a_killed_leaders_snapshot_becomes_a_follower() {
    let seed = seed();
    let folder = Folder::new();
    let chain = OwnChain::deploy(&folder, seed);
    let mut leader = chain.leader(&folder, "leader", (100, 1), &[]);
    let wallets = chain.wallets(&leader, 3);
    let load = Load::start(&leader.rpc, &wallets);
    eventually("batches are on L1", seconds(60), || {
        (leader.rpc.block_number("safe") >= 15).then_some(())
    });

    // A directory is one process's at a time; then the leader is killed in the middle of its work.
    let dir = folder.path().join("leader");
    let file = folder.path().join("a.snapshot");
    let (ok, refused) = export(&dir, &file, &[]);
    assert!(!ok && refused.contains("in use by another process"), "{refused}");
    leader.process.kill();
    load.gone();
    let (ok, said) = export(&dir, &file, &[]);
    assert!(ok, "{said}");
    let base = block(&said);
    assert!(base >= 15, "{said}");
    let older = folder.path().join("older.snapshot");
    let (ok, said) = export(&dir, &older, &["--block", &(base - 5).to_string()]);
    assert!(ok && block(&said) == base - 5, "{said}");
    let (ok, refused) = export(&dir, &older, &["--block", "1000000"]);
    assert!(!ok && refused.contains("is not carried by L1 yet"), "{refused}");

    // The leader goes on, and so do two nodes from where it was.
    let leader = chain.leader(&folder, "leader", (100, 1), &[]);
    let load = Load::start(&leader.rpc, &wallets);
    let l1 = ["--l1", chain.dev.l1.url(), "--deployment", text(&chain.file)];
    for (name, file, first) in [("new", &file, base), ("old", &older, base - 5)] {
        let (ok, said) = import(&folder.path().join(name), file, &l1);
        assert!(ok && said.contains("its records are L1's"), "{said}");
        let (ok, refused) = import(&folder.path().join(name), file, &l1);
        assert!(!ok && refused.contains("holds a chain already"), "{refused}");
        let node = chain.node(&folder, name, &NodeOptions::default());
        let safe = agrees_from(&node, &leader.rpc, first);
        assert!(safe >= first);
    }
    load.join();
    chain.dev.everything_safe();
    let safe = annex_e2e::everything_safe(&leader.rpc);
    assert!(safe > base);
    let mut node = chain.node(&folder, "new", &NodeOptions::default());
    agrees_from(&node, &leader.rpc, base);
    for wallet in &wallets {
        let state = json!([wallet.address(), [], format!("{safe:#x}")]);
        let proof = |rpc: &Rpc| rpc.get_result("eth_getProof", state.clone());
        assert_eq!(proof(&node.rpc), proof(&leader.rpc));
    }

    // What was made from a snapshot makes one.
    node.process.kill();
    let again = folder.path().join("again.snapshot");
    let (ok, said) = export(&folder.path().join("new"), &again, &[]);
    assert!(ok && block(&said) == safe, "{said}");
    refuses_what_is_wrong(&folder, &chain, &file);
}

/// Files that are cut off, altered or of another chain.
fn refuses_what_is_wrong(folder: &Folder, chain: &OwnChain, file: &Path) {
    let good = std::fs::read(file).expect("the snapshot");
    let bad = folder.path().join("bad.snapshot");
    let dir = folder.path().join("bad");
    let deployment = ["--deployment", text(&chain.file)];
    let refused = |bytes: &[u8], more: &[&str], why: &[&str]| {
        std::fs::write(&bad, bytes).expect("written");
        let (ok, said) = import(&dir, &bad, more);
        assert!(!ok && why.iter().any(|why| said.contains(why)), "{why:?}: {said}");
    };
    refused(&good[..good.len() / 2], &deployment, &["ends early"]);
    for place in [good.len() / 3, good.len() / 2, good.len() - 3] {
        let mut altered = good.clone();
        altered[place] ^= 0x20;
        refused(&altered, &deployment, &["get it again", "ends early"]);
    }
    refused(b"PK\x03\x04 something else", &deployment, &["not a snapshot"]);
    let foreign = chain.dev.deployment_file();
    refused(&good, &["--deployment", text(&foreign)], &["of another chain"]);

    // Nothing of it stayed; without L1 it says what it rests on.
    let (ok, said) = import(&dir, file, &[]);
    assert!(ok && said.contains("rests on whoever gave the file"), "{said}");

    // No leader begins with promises that it does not know.
    let mut options = chain.leader_options((100, 1), &[]);
    options.port = None;
    let (mut process, _) = Node::spawn(folder, "bad", chain.dev.l1.url(), &chain.file, &options);
    eventually("it gives up", seconds(30), || process.exited());
    assert!(process.output().contains("--catch-up-from"), "{}", process.output());
}

#[test]
fn blobs_that_l1_lost_come_from_other_nodes() {
    let seed = seed();
    let folder = Folder::new();
    let options = DevOptions { l1_block_time: Some(1), ..DevOptions::default() };
    let dev = Dev::start(&folder, "dev", &options);
    let wallet = dev.wallet(seed, 1);
    for nonce in 0..20 {
        dev.send(&wallet.transfer(nonce, Address::repeat_byte(7), U256::from(GWEI)));
    }
    dev.everything_safe();
    let file = dev.deployment_file();
    let keeper = Node::start(&folder, "keeper", dev.l1.url(), &file, &NodeOptions::default());
    keeper.agrees_with(&dev.rpc);

    let pruned = Proxy::start(dev.l1.url(), seed);
    pruned.set(&[Rule::of("/eth/", Fault::Status(404))]);
    let liar = Proxy::start(keeper.rpc.url(), seed);
    liar.set(&[Rule::of("annex_blobs", Fault::OtherBlobs)]);
    let follower = |name: &str, sources: &[&str]| {
        let more = sources.iter().flat_map(|url| ["--batch-source", url]).map(str::to_owned);
        let beacons = vec![pruned.url().to_owned()];
        let options = NodeOptions { beacons, more: more.collect(), ..NodeOptions::default() };
        let (process, rpc) = Node::spawn(&folder, name, dev.l1.url(), &file, &options);
        Node { process, rpc }
    };
    let stuck = follower("lied to", &[liar.url()]);
    let node = follower("served", &["http://127.0.0.1:9", liar.url(), keeper.rpc.url()]);
    node.answers();
    let safe = node.agrees_with(&dev.rpc);
    assert!(safe > 0);
    let log = node.process.output();
    assert!(log.contains("gave what is not the blob it was asked for"), "{log}");
    // The lie alone gets nobody anywhere; it goes on as soon as somebody is honest.
    stuck.answers();
    assert_eq!(stuck.rpc.block_number("safe"), 0);
    liar.set(&[]);
    eventually("the honest answer is taken", seconds(60), || {
        (stuck.rpc.block_number("safe") >= safe).then_some(())
    });

    // Who was served serves.
    let hashes = blob_hashes(&dev);
    let blobs = node.rpc.get_result("annex_blobs", json!([hashes[..1]]));
    assert_eq!(blobs, dev.rpc.get_result("annex_blobs", json!([hashes[..1]])));
    assert!(blobs[0].is_string());
    let unknown = node.rpc.get_result("annex_blobs", json!([[B256::ZERO]]));
    assert_eq!(unknown, json!([null]));
    let many = node.rpc.call("annex_blobs", json!([vec![hashes[0].clone(); 7]]));
    assert_eq!(many.expect_err("more than a batch has").refusal().0, -32602);
}

/// Versioned hashes that batches named so far.
fn blob_hashes(dev: &Dev) -> Vec<serde_json::Value> {
    let records = dev.rpc.get_result("annex_records", json!([0, dev.records()]));
    let records = records.as_array().expect("records");
    let blobs = json!(keccak256("annex.record.batch.blobs.v1"));
    let payloads = records.iter().filter(|record| record["kind"] == blobs);
    // submitter, lease, forcedUpTo, offset, count, and the hashes.
    let hashes = payloads.filter_map(|record| record["payload"].as_str()?.get(2 + 5 * 64..));
    let hash = |digits: &[u8]| json!(format!("0x{}", String::from_utf8_lossy(digits)));
    hashes.flat_map(|hashes| hashes.as_bytes().chunks(64).map(hash)).collect()
}
