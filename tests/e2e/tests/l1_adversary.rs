//! A stranger writes nonsense to the Inbox while it is open to everybody.

use alloy_primitives::{Address, Bytes, U256};
use annex_e2e::{
    Anvil, Dev, DevOptions, ETHER, Folder, Inbox, Node, NodeOptions, Portal, eventually, seconds,
    seed,
};
use serde_json::json;

const STRANGER: u32 = 7;

/// A zstd frame (RFC 8878) of blocks `(kind, size, content)`; kind 0 is raw, 1 repeats a byte.
fn frame(blocks: &[(u32, u32, &[u8])]) -> Vec<u8> {
    // Magic number; no content size, checksum or dictionary; a window of 8 MiB.
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 13 << 3];
    for (index, (kind, size, content)) in blocks.iter().enumerate() {
        let last = u32::from(index + 1 == blocks.len());
        frame.extend(&(last | kind << 1 | size << 3).to_le_bytes()[..3]);
        frame.extend(*content);
    }
    frame
}

/// Payloads that yield no block (spec/batch.md).
fn nonsense() -> Vec<(&'static str, Vec<u8>)> {
    let versioned = |frame: Vec<u8>| [vec![0], frame].concat();
    // No blocks on a parent that never was: each of the 17 columns is empty.
    let stray = [vec![0xee; 32], vec![0], vec![0; 17]].concat();
    // 60 kB that unpack to 1.9 GB.
    let bomb: Vec<(u32, u32, &[u8])> = vec![(1, 131_072, &[0]); 15_000];
    let cut: Vec<u8> = frame(&[(0, 1_000, &[7; 1_000])])[..500].to_vec();
    vec![
        ("garbage", (0..=255).cycle().take(2_000).collect()),
        ("wrong version", [vec![1], frame(&[(0, stray.len() as u32, &stray)])].concat()),
        ("wrong parent", versioned(frame(&[(0, stray.len() as u32, &stray)]))),
        ("truncated", versioned(cut)),
        ("bomb", versioned(frame(&bomb))),
        ("empty", vec![]),
    ]
}

#[test]
fn nonsense_in_the_open_window_changes_nothing_but_forced_items() {
    let seed = seed();
    let folder = Folder::new();
    let anvil = Anvil::start(&folder, 900, &["--block-time", "1"]);
    let options = DevOptions { l1: Some(anvil.rpc.url().to_owned()), ..DevOptions::default() };
    let mut dev = Dev::start(&folder, "dev", &options);
    let inbox = dev.contract("inbox");
    let wallet = dev.wallet(seed, 1);
    dev.everything_safe();
    let follower = Node::start(
        &folder,
        "node",
        anvil.rpc.url(),
        &dev.deployment_file(),
        &NodeOptions::default(),
    );

    // Nobody but the leader may submit now, and not even the leader may skip what is due.
    let consumed = dev.inbox(Inbox::forcedConsumedCall {}).to();
    assert_eq!(anvil.submit(STRANGER, inbox, consumed, b"x")["status"], "0x0");

    // Acknowledged, and then the leader dies before it could post.
    let to = Address::repeat_byte(0xab);
    let acknowledged: Vec<_> =
        (0..5).map(|nonce| dev.send(&wallet.transfer(nonce, to, U256::ONE))).collect();
    dev.process.kill();
    let call = Portal::depositTransactionCall {
        to: Address::repeat_byte(0xac),
        value: ETHER,
        gasLimit: 100_000,
        isCreation: false,
        data: Bytes::new(),
    };
    assert_eq!(dev.deposit(STRANGER, ETHER, call)["status"], "0x1");
    anvil.pass(61);

    let forced = dev.inbox(Inbox::forcedCountCall {}).to::<u64>();
    for (name, payload) in nonsense() {
        let before = follower.rpc.block_number("latest");
        let receipt = anvil.submit(STRANGER, inbox, forced, &payload);
        assert_eq!(receipt["status"], "0x1", "{name} was not recorded");
        println!("{name}: on block {before}");
    }
    // The first of them consumed the deposit, in a derived block.
    eventually("the deposit", seconds(20), || {
        let balance = follower
            .rpc
            .get_result("eth_getBalance", json!([Address::repeat_byte(0xac), "latest"]));
        (balance == format!("{ETHER:#x}")).then_some(())
    });

    // The leader comes back and puts what it had acknowledged after the stranger's blocks.
    dev = Dev::start(&folder, "dev", &options);
    for receipt in &acknowledged {
        let hash = receipt["transactionHash"].as_str().expect("a hash");
        eventually("an acknowledged transaction is safe", seconds(40), || {
            let status = dev.rpc.get_result("annex_transactionStatus", json!([hash]));
            (status["stage"] == "safe").then_some(())
        });
    }
    assert!(!dev.inbox(Inbox::openPeriodCall {}), "the leader's batch ends the open period");
    dev.everything_safe();
    follower.agrees_with(&dev.rpc);
    assert_eq!(anvil.submit(STRANGER, inbox, forced, b"x")["status"], "0x0");
    let (status, _) = follower.rpc.get("/health").expect("an answer");
    assert_eq!(status, 200);
}
