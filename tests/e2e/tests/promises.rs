//! A leader that breaks its word is found out by everybody who follows its promises.

use alloy_primitives::{Address, B256, U256};
use annex_e2e::promise::{Promise, domain};
use annex_e2e::{
    Dev, DevOptions, Folder, Liar, Node, NodeOptions, Wallet, eventually, number, seconds, seed,
};
use serde_json::{Value, json};

/// Development account whose key signs the promises of `annex dev`.
const PROMISER: u32 = 21;

struct Setup {
    dev: Dev,
    liar: Liar,
    node: Node,
    wallet: Wallet,
    domain: alloy_sol_types::Eip712Domain,
    /// The leader's real key.
    key: Wallet,
    _folder: Folder,
}

impl Setup {
    fn new() -> Self {
        let folder = Folder::new();
        let options = DevOptions { l1_block_time: Some(1), ..DevOptions::default() };
        let dev = Dev::start(&folder, "dev", &options);
        let liar = Liar::start(&dev.rpc, |_| {});
        let options = NodeOptions { feed: Some(liar.ws_url()), ..NodeOptions::default() };
        let node = Node::start(&folder, "node", dev.l1.url(), &dev.deployment_file(), &options);
        let wallet = dev.wallet(seed(), 1);
        let domain = domain(&dev.deployment());
        let key = Wallet::dev(901, PROMISER);
        let setup = Self { dev, liar, node, wallet, domain, key, _folder: folder };
        setup.subscribed(1);
        setup
    }

    fn subscribed(&self, times: usize) {
        eventually("the follower subscribes", seconds(60), || {
            (self.liar.subscriptions() >= times).then_some(())
        });
    }

    /// A transfer in a block of its own, and its promise.
    fn promised(&self) -> Value {
        let nonce = self.dev.nonce(self.wallet.address());
        let to = Address::repeat_byte(0xd1);
        let receipt = self.dev.send(&self.wallet.transfer(nonce, to, U256::ONE));
        let block = number(&receipt["blockNumber"]);
        eventually("the seal", seconds(30), || {
            (self.dev.rpc.block_number("latest") >= block).then_some(())
        });
        receipt["promise"].clone()
    }

    /// The follower has all that the leader made, and found as much broken.
    fn reported(&self, count: u64) -> Vec<Value> {
        eventually(&format!("{count} broken promises are reported"), seconds(60), || {
            let (metric, list) = (self.node.metric("annex_broken_promises_total"), self.list());
            assert!(list.len() as u64 <= count, "{list:?}");
            (metric == count && list.len() as u64 == count).then_some(list)
        })
    }

    fn list(&self) -> Vec<Value> {
        let list = self.node.rpc.get_result("annex_brokenPromises", json!([]));
        list.as_array().expect("a list").clone()
    }

    /// Sends a promise as the feed's next, and waits until it was counted.
    fn notify(&self, promise: Value) {
        let before = self.node.metric("annex_promises_total");
        self.liar.notify(promise);
        eventually("the promise is counted", seconds(60), || {
            (self.node.metric("annex_promises_total") > before).then_some(())
        });
    }
}

#[test]
fn lies_are_told_from_promises_kept() {
    let setup = Setup::new();
    let honest = [setup.promised(), setup.promised(), setup.promised()];
    setup.dev.everything_safe();
    setup.node.agrees_with(&setup.dev.rpc);
    let [first, second, third] = &honest;
    let sign = |promise: &Promise| promise.sign(&setup.key, &setup.domain);
    let mut expected = Vec::new();

    // What the leader said; JSON from here and from the node is the same.
    for promise in &honest {
        assert_eq!(&sign(&Promise::from_json(promise)), promise);
    }
    setup.notify(first.clone());
    // Somebody else's signature under the true words changes nothing else.
    let forged = Promise::from_json(second).sign(&setup.wallet, &setup.domain);
    setup.notify(forged.clone());
    expected.push(("signature", forged));
    setup.notify(second.clone());
    setup.notify(third.clone());
    assert_eq!(setup.reported(1).len(), 1);

    // After the third, chained as they ought to be, but not what L1 carries.
    let mut chained = Promise::from_json(third);
    let mut next = |change: &dyn Fn(&mut Promise)| {
        let mut promise = Promise::from_json(third);
        (promise.previous, promise.sequence) =
            (chained.digest(&setup.domain), chained.sequence + 1);
        change(&mut promise);
        chained = promise.clone();
        sign(&promise)
    };
    let lies = [
        ("transactions", next(&|promise| promise.root = B256::repeat_byte(1))),
        ("transactions", next(&|promise| promise.firstIndex += 1)),
        ("transactions", next(&|promise| promise.count += 1)),
        ("environment", next(&|promise| promise.timestamp += 1)),
        ("environment", next(&|promise| promise.beneficiary = Address::ZERO)),
        ("environment", next(&|promise| promise.baseFee += U256::ONE)),
        ("environment", next(&|promise| promise.origin = B256::ZERO)),
        ("gap", next(&|promise| promise.sequence += 1)),
        ("gap", next(&|promise| promise.previous = B256::ZERO)),
    ];
    for (breach, lie) in lies {
        setup.notify(lie.clone());
        expected.push((breach, lie));
    }
    // Twice the same is no lie; two under one number is.
    let last = expected.last().expect("some").1.clone();
    setup.notify(last.clone());
    let mut other = Promise::from_json(&last);
    other.root = B256::repeat_byte(2);
    let other = sign(&other);
    setup.notify(other.clone());
    expected.push(("equivocation", other.clone()));
    expected.push(("transactions", other));

    let reported = setup.reported(expected.len() as u64);
    for (breach, promise) in &expected {
        let found = reported
            .iter()
            .find(|found| found["breach"] == *breach && found["promise"] == *promise);
        let found = found.unwrap_or_else(|| panic!("not {breach} of {promise}: {reported:?}"));
        if *breach == "equivocation" {
            assert_eq!(found["conflicting"], last, "both halves are the evidence");
        }
    }
    let log = setup.node.process.output();
    assert_eq!(log.matches("the leader broke a promise").count(), expected.len(), "{log}");
    for why in ["not signed by the leader", "L1 records another environment for the block"] {
        assert!(log.contains(why), "{log}");
    }

    // Nothing of this kept it from following.
    setup.promised();
    setup.dev.everything_safe();
    setup.node.agrees_with(&setup.dev.rpc);
}

#[test]
fn promises_wait_until_l1_speaks() {
    let setup = Setup::new();
    let honest = setup.promised();
    setup.notify(honest.clone());
    // About the block after, which does not exist yet.
    let mut lie = Promise::from_json(&honest);
    (lie.previous, lie.sequence) = (lie.digest(&setup.domain), lie.sequence + 1);
    (lie.blockNumber, lie.root) = (lie.blockNumber + 1, B256::repeat_byte(3));
    let lie = lie.sign(&setup.key, &setup.domain);
    setup.notify(lie.clone());
    setup.dev.everything_safe();
    setup.node.agrees_with(&setup.dev.rpc);
    assert_eq!(setup.list(), Vec::<Value>::new(), "L1 has said nothing against it");

    let kept = setup.promised();
    assert_eq!(kept["blockNumber"], lie["blockNumber"]);
    setup.dev.everything_safe();
    let reported = setup.reported(1);
    let breach = reported[0]["breach"].as_str().expect("a breach");
    assert!(["transactions", "environment"].contains(&breach), "{reported:?}");
    assert_eq!(reported[0]["promise"], lie);
}

#[test]
fn a_feed_of_nonsense_is_left_and_tried_again() {
    let setup = Setup::new();
    let honest = setup.promised();
    setup.notify(honest.clone());
    let mut nonsense = honest.clone();
    nonsense["signature"] = json!("0x00");
    let wide = json!({"promise": "0x", "count": format!("{:#x}", u64::MAX)});
    let mut times = 1;
    for promise in [nonsense, wide, json!("text"), json!([])] {
        setup.liar.notify(promise);
        times += 1;
        setup.subscribed(times);
    }
    assert_eq!(setup.list(), Vec::<Value>::new(), "what nobody signed is no evidence");
    let forged = Promise::from_json(&honest).sign(&setup.wallet, &setup.domain);
    setup.notify(forged.clone());
    let reported = &setup.reported(1)[0];
    assert_eq!((&reported["breach"], &reported["promise"]), (&json!("signature"), &forged));
    setup.dev.everything_safe();
    setup.node.agrees_with(&setup.dev.rpc);
}
