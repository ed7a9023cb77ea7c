//! A leader that is started on an old copy of its data, or on none, repeats no number and loses nothing that a follower
//! has heard.

use alloy_primitives::{Address, U256};
use annex_e2e::promise::{Promise, domain, promiser};
use annex_e2e::{
    Folder, Load, Node, OwnChain, Wallet, Witnessed, eventually, everything_safe, free_port,
    number, place_and_result, seconds, seed, send, soak,
};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

/// Wallets that send at the same time.
const SENDERS: u64 = 3;
/// Longer than a test: L1 carries nothing of what is sealed.
const NEVER: u64 = 600;

fn copy(folder: &Folder, from: &str, to: &str) {
    let path = |name: &str| folder.path().join(name);
    let copied = Command::new("cp").arg("-r").args([path(from), path(to)]).status();
    assert!(copied.expect("cp runs").success());
}

fn sequence(receipt: &Value) -> u64 {
    number(&receipt["promise"]["sequence"])
}

/// No two promises under one number, whoever got them.
#[derive(Default)]
struct Numbers(BTreeMap<u64, Value>);

impl Numbers {
    #[track_caller]
    fn check(&mut self, receipts: &[Value]) {
        for receipt in receipts {
            let promise = &receipt["promise"];
            let known = self.0.entry(sequence(receipt)).or_insert_with(|| promise.clone());
            assert_eq!(known, promise, "two promises under one number");
        }
    }

    fn last(&self) -> u64 {
        *self.0.last_key_value().expect("some").0
    }
}

/// Hashes of what a follower can give back, once it has read what the leader had sent when it was killed.
fn everything_heard(follower: &Node) -> BTreeSet<String> {
    let mut known = BTreeSet::new();
    eventually("the follower has heard everything", seconds(60), || {
        let now = heard(follower);
        let ended = !now.is_empty() && now.len() == known.len();
        known = now;
        thread::sleep(seconds(1));
        ended.then_some(())
    });
    known
}

fn heard(follower: &Node) -> BTreeSet<String> {
    let summary = follower.rpc.get_result("annex_heard", json!([]));
    let Some(last) = summary["last"].as_str() else { return BTreeSet::new() };
    let last = number(&json!(last));
    let mut hashes = BTreeSet::new();
    for block in number(&summary["safe"]) + 1..=last {
        let block = json!([format!("{block:#x}")]);
        let promises = follower.rpc.get_result("annex_heardPromises", block);
        for heard in promises.as_array().expect("a list") {
            for raw in heard["rawTransactions"].as_array().expect("a list") {
                let raw = raw.as_str().expect("bytes").parse().expect("hex");
                hashes.insert(Wallet::hash(&raw).to_string());
            }
        }
    }
    hashes
}

fn hash(receipt: &Value) -> &str {
    receipt["transactionHash"].as_str().expect("a hash")
}

/// One transaction of a wallet, acknowledged.
#[track_caller]
fn one(leader: &Node, wallet: &Wallet) -> Value {
    let count = json!([wallet.address(), "pending"]);
    let nonce = number(&leader.rpc.get_result("eth_getTransactionCount", count));
    let encoded = wallet.transfer(nonce, Address::repeat_byte(0xd1), U256::ONE);
    eventually("the leader takes a transaction", seconds(30), || {
        send(&leader.rpc, &encoded).expect("an answer").ok()
    })
}

#[track_caller]
fn nothing_broken(follower: &Node) {
    assert_eq!(follower.rpc.get_result("annex_brokenPromises", json!([])), json!([]));
}

/// Leader and follower with load until `kill -9`; `age` is done with the data before.
struct Killed {
    chain: OwnChain,
    follower: Node,
    wallets: Vec<Wallet>,
    /// From before and after the copy was made.
    before: Witnessed,
    after: Witnessed,
    numbers: Numbers,
}

impl Killed {
    fn new(
        folder: &Folder,
        seed: u64,
        batch_interval: u64,
        on_l1: bool,
        age: impl FnOnce(&Folder),
    ) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let chain = OwnChain::deploy(folder, seed);
        let mut leader = chain.leader(folder, "leader", (100, 1), &[]);
        let wallets = chain.wallets(&leader, SENDERS);
        let load = Load::start(&leader.rpc, &wallets);
        thread::sleep(Duration::from_millis(rng.random_range(100..800)));
        let before = load.join();
        // Its blocks may or may not be on L1.
        let on_l1 = on_l1 || rng.random_bool(0.5);
        if on_l1 {
            everything_safe(&leader.rpc);
        }
        assert!(leader.process.interrupt(seconds(20)).success(), "{}", leader.process.output());
        age(folder);

        let mut leader = chain.leader(folder, "leader", (100, batch_interval), &[]);
        let follower = chain.follower(folder, "follower");
        one(&leader, &wallets[0]);
        eventually("the follower hears the leader", seconds(30), || {
            (follower.metric("annex_promises_total") > 0).then_some(())
        });
        let load = Load::start(&leader.rpc, &wallets);
        thread::sleep(Duration::from_millis(rng.random_range(800..2_000)));
        leader.process.kill();
        let after = load.gone();
        assert!(after.receipts.len() > 20, "only {} transactions", after.receipts.len());
        let mut numbers = Numbers::default();
        numbers.check(&before.receipts);
        numbers.check(&after.receipts);
        Self { chain, follower, wallets, before, after, numbers }
    }

    fn follower_url(&self) -> &str {
        self.follower.rpc.url()
    }

    /// The leader goes on with `name`, then everybody agrees.
    #[track_caller]
    fn goes_on(&mut self, folder: &Folder, name: &str, more: &[&str]) -> Node {
        let leader = self.chain.leader(folder, name, (100, 1), more);
        let last = self.numbers.last();
        let receipt = one(&leader, &self.wallets[0]);
        assert!(sequence(&receipt) > last, "{receipt} after {last}");
        let load = Load::start(&leader.rpc, &self.wallets);
        thread::sleep(Duration::from_millis(500));
        let anew = load.join();
        self.numbers.check(&anew.receipts);
        self.numbers.check(&[receipt]);
        everything_safe(&leader.rpc);
        anew.still_holds(&leader.rpc);
        anew.promises_hold(&leader.rpc);
        self.follower.agrees_with(&leader.rpc);
        leader
    }
}

fn an_old_copy_and_a_follower(seed: u64, empty: bool) {
    let folder = Folder::new();
    let age = |folder: &Folder| match empty {
        true => {}
        false => copy(folder, "leader", "copy"),
    };
    let mut killed = Killed::new(&folder, seed, NEVER, empty, age);
    let heard = everything_heard(&killed.follower);
    let (kept, lost): (Vec<Value>, Vec<Value>) =
        killed.after.receipts.drain(..).partition(|receipt| heard.contains(hash(receipt)));
    println!("{} heard by the follower, {} not", kept.len(), lost.len());
    // How much died with the leader before it was sent is up to the machine.
    assert!(kept.len() > 20, "{} of {} not heard", lost.len(), kept.len());
    killed.after.receipts = kept;

    let url = killed.follower_url().to_owned();
    let leader = killed.goes_on(&folder, "copy", &["--catch-up-from", &url]);
    killed.before.receipts_hold(&leader.rpc);
    killed.after.receipts_hold(&leader.rpc);
    killed.after.promises_hold(&leader.rpc);
    // Blocks that were sealed, of what was heard whole.
    let last = killed.after.receipts.iter().map(|receipt| number(&receipt["blockNumber"])).max();
    for (number, hash) in killed.after.blocks.iter().filter(|(number, _)| Some(**number) < last) {
        assert_eq!(&leader.rpc.block(format!("{number:#x}"))["hash"], hash, "block {number}");
    }
    nothing_broken(&killed.follower);
    assert_eq!(leader.rpc.get_result("annex_changedPromises", json!([])), json!([]));
}

/// An old copy or nothing at all, as the seed says.
#[test]
fn old_data_catch_up_from_a_follower() {
    let rounds = if soak() { 20 } else { 1 };
    let seed = seed();
    for round in 0..rounds {
        let seed = seed.wrapping_add(round);
        println!("round {round}, seed {seed}");
        an_old_copy_and_a_follower(seed, seed % 2 == 0);
    }
}

/// Nobody but L1 knows: what it carries stands, and no number is given twice.
#[test]
fn an_old_copy_catches_up_from_l1() {
    let folder = Folder::new();
    let mut killed = Killed::new(&folder, seed(), 1, false, |folder| {
        copy(folder, "leader", "copy");
        copy(folder, "leader", "another");
    });
    let safe = killed.follower.rpc.block_number("safe");
    let mut leader = killed.goes_on(&folder, "copy", &[]);
    let safe = safe.max(killed.before.blocks.keys().next_back().copied().unwrap_or_default());
    killed.before.receipts_hold(&leader.rpc);
    let carried = |receipt: &&Value| number(&receipt["blockNumber"]) <= safe;
    for receipt in killed.after.receipts.iter().filter(carried) {
        let kept = leader.rpc.receipt(hash(receipt));
        assert_eq!(kept.as_ref().map(place_and_result), Some(place_and_result(receipt)));
    }
    // Once more, from the same copy.
    leader.process.kill();
    let leader = killed.goes_on(&folder, "another", &[]);
    let breaches = killed.follower.rpc.get_result("annex_brokenPromises", json!([]));
    let equivocates = |breach: &&Value| breach["breach"] == "equivocation";
    assert_eq!(breaches.as_array().expect("a list").iter().find(equivocates), None);
    drop(leader);
}

/// A follower that the leader was told to ask is not there: nothing is ordered until it is.
#[test]
fn a_leader_waits_for_the_followers_it_was_given() {
    let folder = Folder::new();
    let seed = seed();
    let chain = OwnChain::deploy(&folder, seed);
    let mut leader = chain.leader(&folder, "leader", (100, 1), &[]);
    let wallets = chain.wallets(&leader, 1);
    let receipt = one(&leader, &wallets[0]);
    let signer = promiser(&receipt["promise"], &domain(&read(&chain.file)));
    assert_eq!(Promise::from_json(&receipt["promise"]).count, 1, "promised by {signer}");
    leader.process.kill();

    let port = free_port();
    let url = format!("http://127.0.0.1:{port}");
    let options = chain.leader_options((100, 1), &["--catch-up-from", &url]);
    let (process, rpc) = Node::spawn(&folder, "leader", chain.dev.l1.url(), &chain.file, &options);
    let encoded = wallets[0].transfer(1, Address::repeat_byte(0xd1), U256::ONE);
    eventually("it says for whom it waits", seconds(30), || {
        let output = process.output();
        (output.contains("nothing is ordered before this follower") && output.contains(&url))
            .then_some(())
    });
    for _ in 0..5 {
        let refused = send(&rpc, &encoded).expect("an answer").expect_err("it must not order");
        assert_eq!(refused.0, 5, "{refused:?}");
        assert_eq!(rpc.get("/health").expect("an answer").0, 503);
        thread::sleep(Duration::from_millis(100));
    }
    let follower = {
        let mut options = annex_e2e::NodeOptions { port: Some(port), ..Default::default() };
        options.feed = Some(format!("ws://127.0.0.1:{}", chain.leader_port));
        chain.node(&folder, "follower", &options)
    };
    let next =
        eventually("it orders", seconds(30), || send(&rpc, &encoded).expect("an answer").ok());
    assert!(sequence(&next) > sequence(&receipt));
    everything_safe(&rpc);
    follower.agrees_with(&rpc);
    nothing_broken(&follower);
}

fn read(file: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(file).expect("a file")).expect("JSON")
}
