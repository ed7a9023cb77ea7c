//! A chain set up by hand, as its operators would: contracts, leader, deposit, follower, measurements.

use alloy_primitives::{Address, U256};
use annex_e2e::{
    Anvil, Dev, DevOptions, ETHER, Folder, L1Call, LeaderOptions, Liar, Node, NodeOptions, Process,
    Rpc, Wallet, annex, eventually, everything_safe, number, run, seconds, seed,
};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

const L2: u64 = 4242;
/// Development account that owns something on L1 and nothing on L2.
const USER: u32 = 3;
/// Ether that the user deposits: the benches give away a hundred.
const DEPOSIT: u64 = 250;

struct Setup<'a> {
    folder: &'a Folder,
    l1: &'a Rpc,
    file: PathBuf,
    deployer: Wallet,
    submitter: Wallet,
    promiser: Wallet,
    user: Wallet,
}

impl<'a> Setup<'a> {
    fn new(folder: &'a Folder, l1: &'a Rpc) -> Self {
        let seed = seed();
        let chain_id = number(&l1.get_result("eth_chainId", json!([])));
        let key = |index| Wallet::fresh(chain_id, seed, index);
        let file = folder.path().join("own").join("deployment.json");
        let user = Wallet::dev(L2, USER);
        let (deployer, submitter, promiser) = (key(0), key(1), key(2));
        Self { folder, l1, file, deployer, submitter, promiser, user }
    }

    fn fund(&self, to: Address) {
        let call = L1Call { to, value: ETHER * U256::from(10), ..L1Call::default() };
        assert_eq!(call.send(self.l1, &Wallet::dev(0, 2))["status"], "0x1");
    }

    fn deploy(&self) -> (bool, String) {
        let file = self.file.to_str().expect("UTF-8");
        let (submitter, promiser) = (self.submitter.address(), self.promiser.address());
        run(&[
            "deploy",
            "--l1",
            self.l1.url(),
            "--key",
            &self.deployer.key(),
            "--l2-chain-id",
            &L2.to_string(),
            "--submitter",
            &submitter.to_string(),
            "--promise-signer",
            &promiser.to_string(),
            "--development",
            "--out",
            file,
        ])
    }

    fn options(&self, submitter: &Wallet, intervals: Option<(u64, u64)>) -> NodeOptions {
        let promiser = self.promiser.clone();
        let leader = LeaderOptions { submitter: submitter.clone(), promiser, intervals };
        NodeOptions { leader: Some(leader), ..NodeOptions::default() }
    }

    fn leader(&self, intervals: Option<(u64, u64)>) -> Node {
        let options = self.options(&self.submitter, intervals);
        Node::start(self.folder, "leader", self.l1.url(), &self.file, &options)
    }

    fn deposit(&self, leader: &Rpc) {
        let amount = DEPOSIT.to_string();
        let arguments = ["--amount", &amount, "--key", &self.user.key(), "--rpc", leader.url()];
        let (ok, text) =
            run(&[&["wallet", "deposit"], &arguments[..], &["--l1", self.l1.url()]].concat());
        assert!(ok && text.contains(&format!("deposited {DEPOSIT}")), "{text}");
        let balance = json!([self.user.address(), "latest"]);
        let balance = leader.get_result("eth_getBalance", balance);
        assert_eq!(balance, format!("{:#x}", ETHER * U256::from(DEPOSIT)));
    }
}

fn refusals(setup: &Setup<'_>) {
    let (ok, text) = setup.deploy();
    assert!(!ok && text.contains("error: ") && !text.contains("panicked"), "{text}");
    assert!(!setup.file.exists(), "nothing was deployed");
}

fn only_the_leaseholder_leads(setup: &Setup<'_>) {
    let options = setup.options(&setup.deployer, None);
    let (mut process, _) =
        Node::spawn(setup.folder, "usurper", setup.l1.url(), &setup.file, &options);
    let status = eventually("the usurper ends", seconds(60), || process.exited());
    assert!(!status.success());
    let output = process.output();
    assert!(output.contains("the lease is held by") && !output.contains("panicked"), "{output}");
}

/// A file that says something else than the contracts.
fn altered_settings_are_refused(setup: &Setup<'_>) {
    let mut altered = read(&setup.file);
    altered["parameters"]["challengeWindow"] = json!(61);
    let file = setup.folder.path().join("altered.json");
    std::fs::write(&file, altered.to_string()).expect("a file");
    let options = NodeOptions::default();
    let (mut process, _) = Node::spawn(setup.folder, "altered", setup.l1.url(), &file, &options);
    let status = eventually("it refuses", seconds(60), || process.exited());
    let output = process.output();
    assert!(
        !status.success() && output.contains("other settings than deployment.json"),
        "{output}"
    );
}

/// `annex tx HASH --wait safe`, started before the node knows the transaction.
fn walks_its_stages(folder: &Folder, leader: &Rpc, user: &Wallet) {
    let nonce = json!([user.address(), "pending"]);
    let nonce = number(&leader.get_result("eth_getTransactionCount", nonce));
    let encoded = user.transfer(nonce, Address::repeat_byte(0xd1), ETHER);
    let hash = Wallet::hash(&encoded).to_string();
    let mut command = Command::new(annex());
    command.args(["tx", &hash, "--rpc", leader.url(), "--wait", "safe"]);
    let mut process = Process::spawn(command, &folder.path().join("tx.log"));
    eventually("it says that nobody knows the transaction", seconds(60), || {
        process.output().contains("does not know").then_some(())
    });
    let receipt = leader.get_result("eth_sendRawTransactionSync", json!([encoded]));
    assert_eq!(receipt["status"], "0x1");
    let status = eventually("the transaction is safe", seconds(90), || process.exited());
    let output = process.output();
    assert!(status.success(), "{output}");

    let status = leader.get_result("annex_transactionStatus", json!([hash]));
    let text = |value: &Value| value.as_str().expect("a string").to_owned();
    let expected = [
        "○ acknowledged → ○ sealed → ○ safe → ○ settled".to_owned(),
        "● acknowledged → ○ sealed → ○ safe → ○ settled".to_owned(),
        format!("promise {}", number(&receipt["promise"]["sequence"])),
        "● acknowledged → ● sealed → ○ safe → ○ settled".to_owned(),
        format!("({})", text(&status["blockHash"])),
        "● acknowledged → ● sealed → ● safe → ○ settled".to_owned(),
        format!("L1 transaction {}", text(&status["l1Transaction"])),
    ];
    let mut rest = output.as_str();
    for part in &expected {
        let Some((_, after)) = rest.split_once(part) else {
            panic!("no `{part}` in its place:\n{output}");
        };
        rest = after;
    }
}

fn bench(name: &str, rpc: &str, key: &str, arguments: &[&str]) -> (bool, String) {
    run(&[&["bench", name, "--rpc", rpc, "--key", key], arguments].concat())
}

/// The line of JSON that a bench printed.
fn figures(name: &str, rpc: &Rpc, key: &str, arguments: &[&str]) -> Value {
    let (ok, text) = bench(name, rpc.url(), key, &[&["--json"], arguments].concat());
    assert!(ok, "{text}");
    let line = text.lines().find(|line| line.starts_with('{'));
    serde_json::from_str(line.unwrap_or_else(|| panic!("{text}"))).expect("JSON")
}

fn benches(leader: &Rpc, user: &Wallet) {
    let key = user.key();
    let latency = figures("latency", leader, &key, &["--count", "100"]);
    let field = |figures: &Value, name| figures[name].as_f64().expect("a number");
    let (p50, p99) = (field(&latency, "p50_us"), field(&latency, "p99_us"));
    assert!(0.0 < p50 && p50 <= p99 && p99 < 30e6, "{latency}");
    assert_eq!(latency["samples"], 100);
    let (ok, text) = bench("latency", leader.url(), &key, &["--count", "10"]);
    assert!(ok && text.contains("p50 ") && text.contains("promise checked"), "{text}");

    // A node that answers the same but for the signature is found out.
    let liar = Liar::start(leader, |receipt| {
        receipt["promise"]["sequence"] = json!("0xffff");
    });
    let (ok, text) = bench("latency", &liar.url(), &key, &["--count", "10"]);
    assert!(!ok && text.contains("is not signed by the leader"), "{text}");

    // As much as a development chain's bound on unposted data allows.
    let paced = ["--seconds", "2", "--warm-up", "1", "--rate", "500", "--batch", "10"];
    let throughput = figures("throughput", leader, &key, &paced);
    assert!(field(&throughput, "tps") > 1.0, "{throughput}");
    assert!(field(&throughput, "accepted") > 0.0, "{throughput}");
    assert!(field(&throughput, "sealed") > 0.0, "{throughput}");
    assert_eq!(throughput["failed"], 0, "{throughput}");
    // Within the measurement some are sealed that were accepted before it; of all, none too few and none twice.
    assert_eq!(throughput["sealed_in_all"], throughput["accepted_in_all"], "{throughput}");
    assert!(field(&throughput, "accepted_in_all") > field(&throughput, "accepted"), "{throughput}");
}

fn from_nothing_to_measurements(folder: &Folder, l1: &Rpc) {
    let setup = Setup::new(folder, l1);
    refusals(&setup);
    setup.fund(setup.deployer.address());
    setup.fund(setup.submitter.address());
    let (ok, text) = setup.deploy();
    assert!(ok && text.contains("deployed"), "{text}");
    only_the_leaseholder_leads(&setup);
    altered_settings_are_refused(&setup);

    // Slow enough that every stage is seen.
    let mut leader = setup.leader(Some((5_000, 5)));
    let deployment = leader.rpc.get_result("annex_deployment", json!([]));
    assert_eq!(deployment, read(&setup.file));
    assert_eq!(deployment["l2ChainId"], L2);
    setup.deposit(&leader.rpc);
    walks_its_stages(folder, &leader.rpc, &setup.user);
    let follower = Node::start(folder, "follower", l1.url(), &setup.file, &NodeOptions::default());
    follower.agrees_with(&leader.rpc);

    // As leaders are run.
    let status = leader.process.interrupt(seconds(30));
    assert!(status.success(), "{}", leader.process.output());
    drop(leader);
    let leader = setup.leader(None);
    benches(&leader.rpc, &setup.user);
    everything_safe(&leader.rpc);
    assert!(follower.agrees_with(&leader.rpc) > 2);
    let fresh = Node::start(folder, "fresh", l1.url(), &setup.file, &NodeOptions::default());
    fresh.agrees_with(&leader.rpc);
}

fn read(file: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(file).expect("a file")).expect("JSON")
}

#[test]
fn a_second_chain_on_the_embedded_l1() {
    let folder = Folder::new();
    let options = DevOptions { l1_block_time: Some(1), ..DevOptions::default() };
    let dev = Dev::start(&folder, "dev", &options);
    from_nothing_to_measurements(&folder, &dev.l1);
    // The first one does not mind.
    dev.wallet(1, 1);
}

#[test]
fn a_chain_on_anvil() {
    let folder = Folder::new();
    let anvil = Anvil::start(&folder, 900, &["--block-time", "1"]);
    from_nothing_to_measurements(&folder, &anvil.rpc);
}
