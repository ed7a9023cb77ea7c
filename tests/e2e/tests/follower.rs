//! A second process that knows L1 and the deployment file alone.

use alloy_primitives::{Address, TxKind, U256};
use annex_e2e::{
    Dev, DevOptions, ETHER, Folder, Node, NodeOptions, Portal, Wallet, eventually, seconds, seed,
};
use serde_json::json;

/// Transfers, contract creations, failing calls, and a deposit.
fn traffic(dev: &Dev, seed: u64, index: u64, count: u64) -> Vec<String> {
    let wallet = dev.wallet(seed, index);
    let mut hashes = Vec::new();
    for nonce in 0..count {
        let mut tx = match nonce % 5 {
            // Creates a contract that stores its nonce and logs: PUSH1 n PUSH0 SSTORE PUSH0 PUSH0 LOG0, then returns nothing.
            3 => {
                let mut creation = wallet.transaction(nonce, TxKind::Create, U256::ZERO);
                creation.input = vec![0x60, nonce as u8, 0x5f, 0x55, 0x5f, 0x5f, 0xa0, 0x00].into();
                creation
            }
            // Fails: its init code is the invalid opcode.
            4 => {
                let mut creation = wallet.transaction(nonce, TxKind::Create, U256::ZERO);
                creation.input = vec![0xfe].into();
                creation
            }
            _ => {
                let to = Address::with_last_byte(nonce as u8);
                wallet.transaction(nonce, to.into(), U256::from(nonce + 1))
            }
        };
        tx.gas_limit = 200_000;
        let encoded = wallet.sign(tx);
        hashes.push(Wallet::hash(&encoded).to_string());
        dev.rpc.get_result("eth_sendRawTransactionSync", json!([encoded]));
    }
    hashes
}

fn deposit(dev: &Dev, to: Address) {
    let call = Portal::depositTransactionCall {
        to,
        value: ETHER,
        gasLimit: 100_000,
        isCreation: false,
        data: Default::default(),
    };
    assert_eq!(dev.deposit(3, ETHER, call)["status"], "0x1");
    eventually("the deposit is on L2", seconds(30), || {
        let balance = dev.rpc.get_result("eth_getBalance", json!([to, "latest"]));
        (balance != "0x0").then_some(())
    });
}

#[test]
fn a_follower_derives_the_same_chain() {
    let seed = seed();
    let folder = Folder::new();
    let dev =
        Dev::start(&folder, "dev", &DevOptions { l1_block_time: Some(1), ..DevOptions::default() });
    let hashes = traffic(&dev, seed, 1, 60);
    deposit(&dev, Address::repeat_byte(0xd1));
    dev.everything_safe();

    // From scratch, after the traffic.
    let file = dev.deployment_file();
    let mut node = Node::start(&folder, "node", dev.l1.url(), &file, &NodeOptions::default());
    let safe = node.agrees_with(&dev.rpc);
    assert!(safe > 1, "{safe}");
    for hash in &hashes {
        assert_eq!(node.rpc.receipt(hash), dev.rpc.receipt(hash));
    }
    let state = json!([Address::repeat_byte(0xd1), [], format!("{safe:#x}")]);
    assert_eq!(
        node.rpc.get_result("eth_getProof", state.clone()),
        dev.rpc.get_result("eth_getProof", state)
    );
    assert_eq!(node.rpc.get_result("annex_deployment", json!([])), dev.deployment());

    // It does not order.
    let wallet = Wallet::dev(901, 1);
    let (code, message) = node
        .rpc
        .call("eth_sendRawTransaction", json!([wallet.transfer(1, Address::ZERO, ETHER)]))
        .expect_err("a follower takes no transactions")
        .refusal();
    assert_eq!(code, -32002);
    assert!(message.starts_with("this node does not order transactions"), "{message}");

    // While traffic goes on, and after it was killed.
    traffic(&dev, seed, 2, 20);
    node.process.kill();
    traffic(&dev, seed, 3, 20);
    dev.everything_safe();
    let node = Node::start(&folder, "node", dev.l1.url(), &file, &NodeOptions::default());
    let later = node.agrees_with(&dev.rpc);
    assert!(later > safe);
}

#[test]
fn a_feed_tells_what_l1_does_not_carry_yet() {
    let seed = seed();
    let folder = Folder::new();
    let dev =
        Dev::start(&folder, "dev", &DevOptions { l1_block_time: Some(1), ..DevOptions::default() });
    let options = NodeOptions { feed: Some(dev.rpc.ws_url()), ..NodeOptions::default() };
    let node = Node::start(&folder, "node", dev.l1.url(), &dev.deployment_file(), &options);
    traffic(&dev, seed, 1, 30);
    dev.everything_safe();
    node.agrees_with(&dev.rpc);
    assert_eq!(node.rpc.get_result("annex_brokenPromises", json!([])), json!([]));
    let (_, metrics) = node.rpc.get("/metrics").expect("an answer");
    let promises = metrics.lines().find_map(|line| line.strip_prefix("annex_promises_total "));
    let promises: u64 = promises.unwrap_or("0").parse().expect("a number");
    assert!(promises >= 30, "promises that were followed: {promises}");
}
