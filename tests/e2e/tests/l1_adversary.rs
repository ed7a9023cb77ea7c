//! Nonsense in the Inbox: a stranger's while it is open to everybody, and the leader's own. Every node skips it for the
//! same reason, and the chain goes on.

use alloy_eips::eip4844::Blob;
use alloy_primitives::{Address, B256, Bytes, U256, hex};
use annex_e2e::batch::{self, Block, blob, noise, payload};
use annex_e2e::promise::{Promise, domain, promiser};
use annex_e2e::{
    Anvil, Dev, DevOptions, ETHER, Folder, Inbox, L1Call, Node, NodeOptions, Portal, Process, Rpc,
    Wallet, eventually, number, record_of, seconds, seed,
};
use serde_json::{Value, json};

const STRANGER: u32 = 7;
/// Submits the batches of `annex dev`.
const OPERATOR: u32 = 20;
/// Signs its promises.
const PROMISER: u32 = 21;

const COMPRESSION: &str = "not exactly one zstd frame within the limits";
const WRONG_PARENT: &str = "the batch stands on 0x";

struct Setup {
    folder: Folder,
    anvil: Anvil,
    options: DevOptions,
    dev: Dev,
    inbox: Address,
    seed: u64,
    /// Record, what the log says, and why.
    reasons: Vec<(u64, &'static str, &'static str)>,
}

impl Setup {
    fn new() -> Self {
        let seed = seed();
        let folder = Folder::new();
        let anvil = Anvil::start(&folder, 900, &["--block-time", "1"]);
        let options = DevOptions { l1: Some(anvil.rpc.url().to_owned()), ..DevOptions::default() };
        let dev = Dev::start(&folder, "dev", &options);
        let inbox = dev.contract("inbox");
        Self { folder, anvil, options, dev, inbox, seed, reasons: Vec::new() }
    }

    fn node(&self, name: &str, options: &NodeOptions) -> Node {
        let file = self.dev.deployment_file();
        Node::start(&self.folder, name, self.anvil.rpc.url(), &file, options)
    }

    /// An L1 receipt of what the leader's key sent, though the leader did not.
    fn operator(&self, call: L1Call) -> Value {
        call.send(&self.anvil.rpc, &Wallet::dev(0, OPERATOR))
    }

    fn consumed(&self) -> u64 {
        self.dev.inbox(Inbox::forcedConsumedCall {}).to()
    }

    fn calldata(&self, data: Vec<u8>) -> L1Call {
        L1Call::calldata_batch(self.inbox, self.consumed(), data)
    }

    fn blobs(&self, blobs: Vec<Blob>) -> L1Call {
        L1Call::blob_batch(self.inbox, self.consumed(), blobs)
    }

    /// A batch of the leader's key that the log must explain so.
    fn bad(&mut self, call: L1Call, what: &'static str, why: &'static str) {
        let record = record_of(&self.operator(call));
        println!("record {record}: {why}");
        self.reasons.push((record, what, why));
    }

    fn skipped(&mut self, call: L1Call, why: &'static str) {
        self.bad(call, "batch skipped", why);
    }

    fn rejected(&mut self, call: L1Call, why: &'static str) {
        self.bad(call, "block rejected", why);
    }

    fn deposit(&self, to: Address) {
        let call = Portal::depositTransactionCall {
            to,
            value: ETHER,
            gasLimit: 100_000,
            isCreation: false,
            data: Bytes::new(),
        };
        assert_eq!(self.dev.deposit(STRANGER, ETHER, call)["status"], "0x1");
    }

    /// The newest record's index and timestamp.
    fn newest_record(&self) -> (u64, u64) {
        let index = self.dev.records() - 1;
        let topics = json!([null, B256::from(U256::from(index))]);
        let filter = json!([{"fromBlock": "0x0", "address": self.inbox, "topics": topics}]);
        let logs = self.anvil.rpc.get_result("eth_getLogs", filter);
        let data = logs[0]["data"].as_str().expect("a record");
        let data = hex::decode(data).expect("hex");
        // After the accumulator and the block number.
        (index, U256::from_be_slice(&data[64..96]).to())
    }

    /// A block that every rule lets pass on `head`: in the name of the newest record, as early as can be.
    fn block(&self, head: &Head, transactions: Vec<Bytes>) -> Block {
        let (origin, recorded) = self.newest_record();
        let timestamp = head.timestamp.max(recorded);
        Block { timestamp, beneficiary: Address::ZERO, origin, forced: 0, transactions }
    }

    fn explained_by(&self, process: &Process) {
        for (record, what, why) in &self.reasons {
            let what = format!("{what} record={record} ");
            eventually(&format!("{what}because {why}"), seconds(60), || {
                let log = process.output();
                log.lines().any(|line| line.contains(&what) && line.contains(why)).then_some(())
            });
        }
    }

    /// The leader goes on, and `follower` and a node that begins now arrive where it is, for the same reasons.
    fn all_agree(&self, follower: &Node) {
        self.explained_by(&follower.process);
        self.explained_by(&self.dev.process);
        let wallet = self.dev.wallet(self.seed, 100);
        self.dev.send(&wallet.transfer(0, Address::repeat_byte(0xaf), U256::ONE));
        self.dev.everything_safe();
        follower.agrees_with(&self.dev.rpc);
        let fresh = self.node("fresh", &NodeOptions::default());
        fresh.agrees_with(&self.dev.rpc);
        self.explained_by(&fresh.process);
        for rpc in [&self.dev.rpc, &follower.rpc, &fresh.rpc] {
            assert_eq!(rpc.get("/health").expect("an answer").0, 200);
        }
    }
}

/// What a batch has to continue.
#[derive(Debug)]
struct Head {
    number: u64,
    hash: B256,
    timestamp: u64,
    origin: u64,
}

fn head(rpc: &Rpc) -> Head {
    let block = rpc.block("latest");
    let extra = hex::decode(block["extraData"].as_str().expect("bytes")).expect("hex");
    Head {
        number: number(&block["number"]),
        hash: block["hash"].as_str().expect("a hash").parse().expect("a hash"),
        timestamp: number(&block["timestamp"]),
        origin: u64::from_be_bytes(extra[1..9].try_into().expect("eight bytes")),
    }
}

fn transfers(wallet: &Wallet, nonces: impl IntoIterator<Item = u64>) -> Vec<Bytes> {
    let to = Address::repeat_byte(0xad);
    nonces.into_iter().map(|nonce| wallet.transfer(nonce, to, U256::ONE)).collect()
}

fn all_safe(rpc: &Rpc, receipts: &[Value]) {
    for receipt in receipts {
        let hash = receipt["transactionHash"].as_str().expect("a hash");
        eventually("an acknowledged transaction is safe", seconds(60), || {
            let status = rpc.get_result("annex_transactionStatus", json!([hash]));
            (status["stage"] == "safe").then_some(())
        });
    }
}

fn has_ether(rpc: &Rpc, account: Address) {
    eventually("the deposit", seconds(60), || {
        let balance = rpc.get_result("eth_getBalance", json!([account, "latest"]));
        (balance == format!("{ETHER:#x}")).then_some(())
    });
}

#[test]
fn nonsense_in_the_open_window_changes_nothing_but_forced_items() {
    let mut setup = Setup::new();
    let wallet = setup.dev.wallet(setup.seed, 1);
    setup.dev.everything_safe();
    let follower = setup.node("node", &NodeOptions::default());

    // Nobody but the leader may submit now.
    let consumed = setup.consumed();
    assert_eq!(setup.anvil.submit(STRANGER, setup.inbox, consumed, b"x")["status"], "0x0");

    // Acknowledged, and then the leader dies before it could post.
    let to = Address::repeat_byte(0xab);
    let acknowledged: Vec<_> =
        (0..5).map(|nonce| setup.dev.send(&wallet.transfer(nonce, to, U256::ONE))).collect();
    setup.dev.process.kill();
    let to = Address::repeat_byte(0xac);
    setup.deposit(to);
    setup.anvil.pass(61);

    let forced = setup.dev.inbox(Inbox::forcedCountCall {}).to::<u64>();
    let stray = payload(B256::repeat_byte(0xee), &[]);
    let other_version = [&[1], &stray[1..]].concat();
    let nonsense = [
        ((0..=255).cycle().take(2_000).collect(), Some(COMPRESSION)),
        (other_version, Some("unknown payload version")),
        (stray.clone(), Some(WRONG_PARENT)),
        (stray[..stray.len() - 1].to_vec(), Some(COMPRESSION)),
        (batch::bomb(), Some(COMPRESSION)),
        (Vec::new(), None),
    ];
    for (data, why) in nonsense {
        let record = record_of(&setup.anvil.submit(STRANGER, setup.inbox, forced, &data));
        setup.reasons.extend(why.map(|why| (record, "batch skipped", why)));
    }
    // The first of them consumed the deposit, in a derived block.
    has_ether(&follower.rpc, to);

    // The leader comes back and puts what it had acknowledged after the stranger's blocks.
    setup.dev = Dev::start(&setup.folder, "dev", &setup.options);
    all_safe(&setup.dev.rpc, &acknowledged);
    assert!(!setup.dev.inbox(Inbox::openPeriodCall {}), "the leader's batch ends the open period");
    setup.all_agree(&follower);
    assert_eq!(setup.anvil.submit(STRANGER, setup.inbox, forced, b"x")["status"], "0x0");
}

/// Somebody else has the leader's key and posts while the leader runs.
#[test]
fn nonsense_by_the_leaders_key_is_skipped_while_the_leader_goes_on() {
    let mut setup = Setup::new();
    let wallet = setup.dev.wallet(setup.seed, 1);
    setup.dev.everything_safe();
    let follower = setup.node("node", &NodeOptions::default());
    follower.agrees_with(&setup.dev.rpc);
    let before = head(&setup.dev.rpc);

    data_that_is_no_batch(&mut setup, &before);
    blocks_that_break_a_rule(&mut setup, &before, &wallet);
    setup.explained_by(&setup.dev.process);
    setup.explained_by(&follower.process);
    assert_eq!(head(&setup.dev.rpc).hash, before.hash, "not one block was made");
    assert_eq!(head(&follower.rpc).hash, before.hash, "not one block was made");

    blocks_that_break_a_rule_late(&mut setup, &follower, &wallet);
    time_that_jumps(&mut setup, &wallet);
    setup.all_agree(&follower);
}

fn data_that_is_no_batch(setup: &mut Setup, head: &Head) {
    let empty = payload(head.hash, &[]);
    let long = noise(100_000);
    let other_version = [&[9], &empty[1..]].concat();
    setup.skipped(setup.calldata([vec![0], noise(2_000)].concat()), COMPRESSION);
    setup.skipped(setup.calldata(other_version), "unknown payload version");
    setup.skipped(setup.calldata(empty[..empty.len() - 1].to_vec()), COMPRESSION);
    let short = [vec![0], batch::frame(&[(0, 40, &[0; 40])])].concat();
    setup.skipped(setup.calldata(short), "the content or a column ends early");
    // In blobs: cut off, of field elements that carry more than 31 bytes, cut off inside, and unpacking to 1.9 GB.
    let length = "the length in the first blob exceeds what the blobs hold";
    setup.skipped(setup.blobs(vec![blob(200_000, &long)]), length);
    let element = "a blob's field element has a non-zero high byte";
    setup.skipped(setup.blobs(vec![Blob::repeat_byte(0x11)]), element);
    let cut = &empty[..empty.len() - 1];
    setup.skipped(setup.blobs(vec![blob(cut.len() as u32, cut)]), COMPRESSION);
    let bomb = batch::bomb();
    setup.skipped(setup.blobs(vec![blob(bomb.len() as u32, &bomb)]), COMPRESSION);
}

/// The first block of a batch breaks it, so nothing of the batch stands.
fn blocks_that_break_a_rule(setup: &mut Setup, head: &Head, wallet: &Wallet) {
    let good = |setup: &Setup| setup.block(head, transfers(wallet, [0]));
    let stray = payload(B256::repeat_byte(0xee), &[good(setup)]);
    setup.skipped(setup.calldata(stray), WRONG_PARENT);

    type Change = fn(&mut Block, &Head);
    let bad: [(Change, &str); 7] = [
        (|block, _| block.transactions.clear(), "the block is empty"),
        (|block, _| block.origin += 1, "the origin is below the parent's or not before"),
        (
            |block, head| (block.origin, block.timestamp) = (head.origin, head.timestamp - 1),
            "the timestamp is before the parent's or the origin's",
        ),
        (|block, _| block.timestamp += 3_600, "the timestamp is too far ahead"),
        (|block, _| block.timestamp = u64::MAX, "the timestamp is too far ahead"),
        (|block, _| block.forced = 1, "consumes forced items beyond the batch's"),
        (|block, _| block.forced = u64::MAX, "than a block has gas for"),
    ];
    for (change, why) in bad {
        let mut block = good(setup);
        change(&mut block, head);
        setup.rejected(setup.calldata(payload(head.hash, &[block])), why);
    }
    // The Inbox itself refuses to be lied to about the forced queue.
    for forced_up_to in [setup.consumed() - 1, setup.consumed() + 1, u64::MAX] {
        let call = L1Call::calldata_batch(setup.inbox, forced_up_to, Vec::new());
        assert_eq!(setup.operator(call)["status"], "0x0", "{forced_up_to}");
    }
}

/// Blocks before the bad one stand; what follows it does not.
fn blocks_that_break_a_rule_late(setup: &mut Setup, follower: &Node, wallet: &Wallet) {
    let before = head(&setup.dev.rpc);
    // 40 blocks in a second: 32 of them stand.
    let mut frozen = setup.block(&before, Vec::new());
    frozen.timestamp = frozen.timestamp.max(before.timestamp + 1);
    let at = |nonce| Block { transactions: transfers(wallet, [nonce]), ..frozen.clone() };
    let blocks: Vec<_> = (0..40).map(at).collect();
    let data = payload(before.hash, &blocks);
    setup.rejected(setup.calldata(data.clone()), "too many blocks in one second");
    let all_there = |rpc: &Rpc, number: u64, nonce: u64| {
        eventually("the blocks before the bad one stand", seconds(60), || {
            (rpc.block_number("safe") == number).then_some(())
        });
        let count = json!([wallet.address(), "latest"]);
        let count = annex_e2e::number(&rpc.get_result("eth_getTransactionCount", count));
        assert_eq!(count, nonce);
    };
    for rpc in [&setup.dev.rpc, &follower.rpc] {
        all_there(rpc, before.number + 32, 32);
    }
    setup.skipped(setup.calldata(data), WRONG_PARENT);

    // The second block fails at its second transaction: the first one of it is as if it were not there.
    let before = head(&setup.dev.rpc);
    let block = |nonces: &[u64]| setup.block(&before, transfers(wallet, nonces.iter().copied()));
    let data = payload(before.hash, &[block(&[32]), block(&[33, 99]), block(&[33])]);
    setup.rejected(setup.calldata(data), "block=Some(1)");
    for rpc in [&setup.dev.rpc, &follower.rpc] {
        all_there(rpc, before.number + 1, 33);
    }
}

/// L1's clock is ahead of the leader's from here on.
fn time_that_jumps(setup: &mut Setup, wallet: &Wallet) {
    let head = head(&setup.dev.rpc);
    assert!(setup.newest_record().0 > head.origin, "a record follows the origin");
    setup.anvil.pass(700);
    let l1_time = number(&setup.anvil.rpc.block("latest")["timestamp"]);
    let mut stale = setup.block(&head, transfers(wallet, [33]));
    (stale.origin, stale.timestamp) = (head.origin, l1_time);
    let why = "the record after the origin is too old";
    setup.rejected(setup.calldata(payload(head.hash, &[stale])), why);
}

/// The leader promises one thing and posts another.
#[test]
fn what_the_leaders_key_posts_against_its_promises_is_evidence() {
    let mut setup = Setup::new();
    let wallet = setup.dev.wallet(setup.seed, 1);
    let other = setup.dev.wallet(setup.seed, 2);
    setup.dev.everything_safe();
    let feed = Some(setup.dev.rpc.ws_url());
    let follower = setup.node("node", &NodeOptions { feed, ..NodeOptions::default() });
    eventually("the follower listens", seconds(60), || {
        follower.process.output().contains("following promises").then_some(())
    });
    follower.agrees_with(&setup.dev.rpc);

    // L1 stands still until the leader is dead, so that it posts nothing of what it promised.
    setup.anvil.rpc.get_result("evm_setIntervalMining", json!([0]));
    let before = head(&setup.dev.rpc);
    let (newest, _) = setup.newest_record();
    let to = Address::repeat_byte(0xab);
    let heard = follower.metric("annex_promises_total");
    let acknowledged: Vec<_> =
        (0..5).map(|nonce| setup.dev.send(&wallet.transfer(nonce, to, U256::ONE))).collect();
    let promises: Vec<_> = acknowledged.iter().map(|receipt| receipt["promise"].clone()).collect();
    eventually("the follower has heard the promises", seconds(60), || {
        (follower.metric("annex_promises_total") >= heard + 5).then_some(())
    });
    setup.dev.process.kill();
    setup.anvil.rpc.get_result("anvil_dropAllTransactions", json!([]));
    setup.anvil.rpc.get_result("evm_setIntervalMining", json!([1]));

    // The promised block's place, time and origin, but another transaction.
    let first = Promise::from_json(&promises[0]);
    assert_eq!(first.blockNumber, before.number + 1);
    let data = payload(
        before.hash,
        &[Block {
            timestamp: first.timestamp,
            beneficiary: first.beneficiary,
            origin: newest,
            forced: 0,
            transactions: transfers(&other, [0]),
        }],
    );
    record_of(&setup.operator(setup.calldata(data.clone())));
    setup.skipped(setup.calldata(data), WRONG_PARENT);
    eventually("the follower has the other block", seconds(60), || {
        (follower.rpc.block_number("safe") == first.blockNumber).then_some(())
    });
    forced_items_come_in_spite_of_it(&mut setup, &follower, &other);

    // The leader's program does not know what its key did; it keeps what it acknowledged all the same.
    setup.dev = Dev::start(&setup.folder, "dev", &setup.options);
    all_safe(&setup.dev.rpc, &acknowledged);
    assert!(setup.dev.process.output().contains("promise changed"), "the operator is told");
    setup.all_agree(&follower);
    every_promise_was_broken(&setup, &follower, &promises);
}

fn forced_items_come_in_spite_of_it(setup: &mut Setup, follower: &Node, wallet: &Wallet) {
    // In the name of a record from before the deposit; the batch's end consumes it, in a derived block.
    let (origin, _) = setup.newest_record();
    let to = Address::repeat_byte(0xac);
    setup.deposit(to);
    let before = head(&follower.rpc);
    let early = Block { origin, forced: 1, ..setup.block(&before, transfers(wallet, [1])) };
    let data = payload(before.hash, &[early]);
    let call = L1Call::calldata_batch(setup.inbox, setup.consumed() + 1, data);
    setup.rejected(call, "consumes forced items recorded after its origin");
    has_ether(&follower.rpc, to);

    // What is due cannot be left out; an empty batch takes it, too.
    let to = Address::repeat_byte(0xae);
    setup.deposit(to);
    setup.anvil.pass(21);
    assert_eq!(setup.operator(setup.calldata(Vec::new()))["status"], "0x0", "an item is omitted");
    let call = L1Call::calldata_batch(setup.inbox, setup.consumed() + 1, Vec::new());
    record_of(&setup.operator(call));
    has_ether(&follower.rpc, to);
}

fn every_promise_was_broken(setup: &Setup, follower: &Node, promises: &[Value]) {
    let broken = follower.rpc.get_result("annex_brokenPromises", json!([]));
    let broken = broken.as_array().expect("a list");
    for evidence in broken {
        let promise = &evidence["promise"];
        assert!(promises.contains(promise), "another promise was broken: {evidence}");
        let signer = promiser(promise, &domain(&setup.dev.deployment()));
        assert_eq!(signer, Wallet::dev(0, PROMISER).address());
    }
    assert_eq!(broken.len(), promises.len(), "{broken:?}");
    assert_eq!(broken[0]["breach"], "transactions", "{broken:?}");
    assert_eq!(broken[0]["promise"], promises[0], "{broken:?}");
    assert_eq!(follower.metric("annex_broken_promises_total"), promises.len() as u64);
    let log = follower.process.output();
    assert_eq!(log.matches("the leader broke a promise").count(), promises.len(), "{log}");
}
