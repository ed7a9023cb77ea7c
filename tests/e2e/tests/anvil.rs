//! The chain on somebody else's L1.

use alloy_primitives::{Address, U256};
use annex_e2e::{
    Anvil, Dev, DevOptions, ETHER, Folder, Node, NodeOptions, Portal, eventually, reorganise,
    script, seconds, seed,
};
use serde_json::json;

#[test]
fn the_chain_runs_on_anvil() {
    let seed = seed();
    let folder = Folder::new();
    let anvil = Anvil::start(&folder, 900, &["--block-time", "1"]);
    let options = DevOptions { l1: Some(anvil.rpc.url().to_owned()), ..DevOptions::default() };
    let dev = Dev::start(&folder, "dev", &options);

    let wallet = dev.wallet(seed, 1);
    script("viem.js", &[dev.rpc.url(), &wallet.key()]);
    let wallet = dev.wallet(seed, 2);
    script("sync.js", &[dev.rpc.url(), &wallet.key(), dev.l1.url()]);

    let to = Address::repeat_byte(0xd1);
    let call = Portal::depositTransactionCall {
        to,
        value: ETHER,
        gasLimit: 100_000,
        isCreation: false,
        data: Default::default(),
    };
    assert_eq!(dev.deposit(4, ETHER, call)["status"], "0x1");
    eventually("the deposit is on L2", seconds(20), || {
        let balance = dev.rpc.get_result("eth_getBalance", json!([to, "latest"]));
        (balance == format!("{ETHER:#x}")).then_some(())
    });
    dev.everything_safe();
    let file = dev.deployment_file();
    let node = Node::start(&folder, "node", anvil.rpc.url(), &file, &NodeOptions::default());
    assert!(node.agrees_with(&dev.rpc) > 2);

    // An L1 that goes back a few blocks: nothing acknowledged is lost, and both nodes agree again.
    let wallet = dev.wallet(seed, 3);
    let receipt = dev.send(&wallet.transfer(0, to, U256::ONE));
    dev.everything_safe();
    reorganise(&dev.l1, 3, json!([]));
    let again = dev.send(&wallet.transfer(1, to, U256::ONE));
    for receipt in [receipt, again] {
        let hash = receipt["transactionHash"].as_str().expect("a hash").to_owned();
        eventually("the transaction is safe", seconds(40), || {
            let status = dev.rpc.get_result("annex_transactionStatus", json!([hash]));
            (status["stage"] == "safe").then_some(())
        });
    }
    dev.everything_safe();
    node.agrees_with(&dev.rpc);
}
