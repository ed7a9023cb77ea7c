//! A leader that breaks its word is found out by everybody who follows its promises.

use alloy_primitives::{Address, B256, U256};
use annex_e2e::promise::{Promise, domain};
use annex_e2e::{
    Dev, DevOptions, Folder, Liar, Node, NodeOptions, Wallet, eventually, free_port, number,
    seconds, seed, soak,
};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::time::Duration;

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

/// What the feed of [`a_hostile_feed_hides_nothing`] did.
#[derive(Default)]
struct Sent {
    /// The leader's own words, in order.
    honest: Vec<Value>,
    forged: Vec<Value>,
    rivals: Vec<Value>,
    out_of_order: bool,
}

/// Replays, swaps, forgeries, contradictions, silence and broken connections, at random: the follower derives what L1 has,
/// and tells exactly what is wrong.
#[test]
fn a_hostile_feed_hides_nothing() {
    let seed = seed();
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut setup = Setup::new();
    let steps = if soak() { 400 } else { 40 };
    let mut waiting: VecDeque<Value> = (0..6).map(|_| setup.promised()).collect();
    let mut sent = Sent::default();
    for step in 0..steps {
        let known =
            (!sent.honest.is_empty()).then(|| rng.random_range(0..sent.honest.len().max(1)));
        match (rng.random_range(0..10), known) {
            (0..3, _) | (_, None) => {
                let Some(next) = waiting.pop_front() else { continue };
                setup.notify(next.clone());
                sent.honest.push(next);
            }
            (3, Some(_)) if waiting.len() > 1 => {
                waiting.swap(0, 1);
                sent.out_of_order = true;
            }
            (4 | 5, Some(old)) => setup.notify(sent.honest[old].clone()),
            (6, Some(old)) => {
                let mut promise = Promise::from_json(&sent.honest[old]);
                promise.root = B256::from(U256::from(step));
                let forged = promise.sign(&setup.wallet, &setup.domain);
                setup.notify(forged.clone());
                sent.forged.push(forged);
            }
            (7, Some(old)) => {
                let mut promise = Promise::from_json(&sent.honest[old]);
                promise.root = B256::from(U256::from(step));
                let rival = promise.sign(&setup.key, &setup.domain);
                setup.notify(rival.clone());
                sent.rivals.push(rival);
            }
            (8, Some(_)) if step % 4 == 0 => {
                setup.liar = setup.liar.hang_up(&setup.dev.rpc);
                setup.subscribed(1);
            }
            _ => std::thread::sleep(Duration::from_millis(rng.random_range(0..200))),
        }
    }
    setup.dev.everything_safe();
    setup.node.agrees_with(&setup.dev.rpc);
    // Of each rival once more when L1 has spoken.
    let told = |list: &[Value], breach: &str| {
        list.iter().filter(|found| found["breach"] == breach).count()
    };
    let reported = eventually("all is reported", seconds(30), || {
        let list = setup.list();
        let all = told(&list, "signature") >= sent.forged.len()
            && told(&list, "equivocation") >= sent.rivals.len()
            && told(&list, "transactions") >= sent.rivals.len();
        all.then_some(list)
    });
    let of = |breach: &str| -> Vec<&Value> {
        let found = reported.iter().filter(|found| found["breach"] == breach);
        found.map(|found| &found["promise"]).collect()
    };
    assert_eq!(of("signature"), sent.forged.iter().collect::<Vec<_>>());
    assert_eq!(of("equivocation"), sent.rivals.iter().collect::<Vec<_>>());
    let mut differ = of("transactions");
    let mut rivals: Vec<&Value> = sent.rivals.iter().collect();
    differ.sort_by_key(|promise| promise.to_string());
    rivals.sort_by_key(|promise| promise.to_string());
    assert_eq!(differ, rivals, "and nothing that was true");
    assert!(sent.out_of_order || of("gap").is_empty(), "{reported:?}");
    assert!(of("gap").iter().all(|promise| sent.honest.contains(promise)), "{reported:?}");
    assert_eq!(of("environment"), Vec::<&Value>::new());
}

/// A feed that says nothing, and one that cannot be reached: L1 is enough, and both are tried again, less and less often.
#[test]
fn a_feed_that_is_gone_is_tried_less_and_less_often() {
    let folder = Folder::new();
    let options = DevOptions { l1_block_time: Some(1), ..DevOptions::default() };
    let dev = Dev::start(&folder, "dev", &options);
    let nobody = format!("ws://127.0.0.1:{}", free_port());
    let options = NodeOptions { feed: Some(nobody), ..NodeOptions::default() };
    let node = Node::start(&folder, "node", dev.l1.url(), &dev.deployment_file(), &options);
    let wallet = dev.wallet(seed(), 1);
    dev.send(&wallet.transfer(0, Address::repeat_byte(0xd1), U256::ONE));
    dev.everything_safe();
    node.agrees_with(&dev.rpc);
    // After half a second, one, two and four.
    std::thread::sleep(seconds(8));
    let tries = node.process.output().matches("no feed; trying again").count();
    assert!((3..=7).contains(&tries), "{tries}: {}", node.process.output());
}
