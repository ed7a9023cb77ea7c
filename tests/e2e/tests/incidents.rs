//! What went wrong on other chains, done to this one.

use alloy_primitives::{Address, TxKind, U256};
use annex_e2e::{
    Dev, DevOptions, Folder, NodeOptions, OwnChain, Rpc, Shared, Usage, Wallet, eventually,
    everything_safe, number, place_and_result, seconds, seed, send, soak,
};
use jsonrpsee::client_transport::ws::WsTransportClientBuilder;
use jsonrpsee::core::client::{Client, ClientBuilder, ClientT, Subscription, SubscriptionClientT};
use jsonrpsee::rpc_params;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

struct Chain {
    dev: Dev,
    _folder: Folder,
}

/// One for all tests of this file that leave it as it was.
fn chain() -> Arc<Chain> {
    static CHAIN: Shared<Chain> = Shared::new();
    CHAIN.get(|| {
        let folder = Folder::new();
        let options = DevOptions { l1_block_time: Some(1), ..DevOptions::default() };
        Chain { dev: Dev::start(&folder, "dev", &options), _folder: folder }
    })
}

/// How long each test puts its load on: many seals.
fn load_time() -> Duration {
    if soak() { seconds(60) } else { seconds(3) }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

async fn websocket(rpc: &Rpc) -> Client {
    let url = rpc.ws_url().parse().expect("a URL");
    let transport = WsTransportClientBuilder::default().build(url).await;
    let (sender, receiver) = transport.expect("a connection");
    let builder = ClientBuilder::default().max_buffer_capacity_per_subscription(1 << 14);
    builder.build_with_tokio(sender, receiver)
}

/// A contract creation that logs as often as `logs` says: PUSH0 PUSH0 LOG0, then returns nothing.
fn logging(wallet: &Wallet, nonce: u64, logs: usize) -> alloy_primitives::Bytes {
    let mut creation = wallet.transaction(nonce, TxKind::Create, U256::ZERO);
    creation.gas_limit = 400_000;
    creation.input = [[0x5f, 0x5f, 0xa0].repeat(logs), vec![0x00]].concat().into();
    wallet.sign(creation)
}

fn log_key(log: &Value) -> (u64, u64) {
    (number(&log["blockNumber"]), number(&log["logIndex"]))
}

/// Sends until it is taken: what waits for L1 has a price, which nobody here pays.
fn taken(rpc: &Rpc, encoded: &alloy_primitives::Bytes) -> Value {
    eventually("a transaction is taken", seconds(60), || {
        send(rpc, encoded).expect("an answer").ok()
    })
}

/// Logs of a pending block that were announced, and then were others in the sealed block (op-geth's flashblocks, Base).
#[test]
fn pending_logs_are_those_of_the_sealed_block() {
    let chain = chain();
    let dev = &chain.dev;
    let wallets: Vec<_> = (0..2).map(|index| dev.wallet(seed(), 100 + index)).collect();
    let runtime = runtime();
    let client = runtime.block_on(websocket(&dev.rpc));
    let filter = json!({"fromBlock": "pending"});
    let mut feed: Subscription<Value> = runtime
        .block_on(client.subscribe("eth_subscribe", rpc_params!["logs", filter], "eth_unsubscribe"))
        .expect("a subscription");
    let done = Arc::new(AtomicBool::new(false));
    let senders: Vec<_> = wallets
        .into_iter()
        .map(|wallet| {
            let (rpc, done) = (dev.rpc.another(), done.clone());
            thread::spawn(move || {
                let mut logs = Vec::new();
                for nonce in 0.. {
                    if done.load(Ordering::Acquire) {
                        break;
                    }
                    let encoded = logging(&wallet, nonce, 1 + nonce as usize % 5);
                    let receipt = taken(&rpc, &encoded);
                    assert_eq!(receipt["status"], "0x1");
                    logs.extend(receipt["logs"].as_array().expect("logs").clone());
                }
                logs
            })
        })
        .collect();
    let (mut announced, start) = (Vec::new(), Instant::now());
    while start.elapsed() < load_time() {
        let wait = Duration::from_millis(50);
        let next = runtime.block_on(async { tokio::time::timeout(wait, feed.next()).await });
        announced.extend(next.ok().map(|next| next.expect("open").expect("a log")));
    }
    done.store(true, Ordering::Release);
    let mut receipts: Vec<Value> =
        senders.into_iter().flat_map(|sender| sender.join().expect("a sender")).collect();
    while announced.len() < receipts.len() {
        let next = async { tokio::time::timeout(seconds(10), feed.next()).await };
        let next = runtime.block_on(next).expect("every log is announced");
        announced.push(next.expect("open").expect("a log"));
    }
    let in_order = announced.windows(2).all(|pair| log_key(&pair[0]) < log_key(&pair[1]));
    assert!(in_order, "in the order of the chain, each once");
    let last = announced.last().expect("some").clone();
    eventually("the last block is sealed", seconds(20), || {
        (dev.rpc.block_number("latest") >= log_key(&last).0).then_some(())
    });
    receipts.sort_by_key(log_key);
    let bare = |log: &Value| {
        let mut log = log.clone();
        log.as_object_mut().expect("a log").remove("blockHash");
        log
    };
    let (first, last) = (log_key(&announced[0]).0, log_key(&last).0);
    assert!(last > first, "more than one block");
    let mut sealed = Vec::new();
    for block in first..=last {
        let block = format!("{block:#x}");
        let logs = json!([{"fromBlock": block, "toBlock": block}]);
        sealed.extend(dev.rpc.get_result("eth_getLogs", logs).as_array().expect("a list").clone());
    }
    assert_eq!(announced.len(), sealed.len());
    for ((announced, receipt), sealed) in announced.iter().zip(&receipts).zip(&sealed) {
        assert_eq!(bare(announced), bare(sealed));
        assert_eq!(bare(receipt), bare(sealed));
    }
}

/// `pending` that is null while one block ends and the next begins, nonces that go back (geth-based rollups).
#[test]
fn pending_is_never_null_and_never_goes_back() {
    let chain = chain();
    let dev = &chain.dev;
    let wallet = dev.wallet(seed(), 110);
    let acknowledged = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let done = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let (rpc, done, acknowledged) = (dev.rpc.another(), done.clone(), acknowledged.clone());
            let address = wallet.address();
            thread::spawn(move || {
                let (mut newest, mut reads) = (0, 0);
                while !done.load(Ordering::Acquire) {
                    let before = acknowledged.load(Ordering::Acquire);
                    let latest = rpc.block_number("latest");
                    let block = rpc.block("pending");
                    assert!(block.is_object(), "{block}");
                    let pending = number(&block["number"]);
                    assert!(pending > latest, "pending {pending} after latest {latest}");
                    assert!(pending >= newest, "{pending} after {newest}");
                    newest = pending;
                    for tag in ["pending", "latest"] {
                        let count = json!([address, tag]);
                        let nonce = number(&rpc.get_result("eth_getTransactionCount", count));
                        assert!(nonce >= before, "{tag}: {nonce} after {before}");
                    }
                    let call = json!([{"to": address}, "pending"]);
                    assert_eq!(rpc.get_result("eth_call", call), "0x");
                    let receipts = rpc.get_result("eth_getBlockReceipts", json!(["pending"]));
                    assert!(receipts.is_array(), "{receipts}");
                    reads += 1;
                }
                reads
            })
        })
        .collect();
    let (start, first) = (Instant::now(), dev.rpc.block_number("latest"));
    let mut nonce = 0;
    while start.elapsed() < load_time() {
        dev.send(&wallet.transfer(nonce, Address::repeat_byte(0xd2), U256::ONE));
        nonce += 1;
        acknowledged.store(nonce, Ordering::Release);
    }
    done.store(true, Ordering::Release);
    let reads: u64 = readers.into_iter().map(|reader| reader.join().expect("a reader")).sum();
    let seals = dev.rpc.block_number("latest") - first;
    assert!(reads > 30 && seals >= 5, "{reads} reads across {seals} seals");
}

/// A synchronous send whose receipt nobody knows a moment later, or that waits for a block that has gone by.
#[test]
fn a_synchronous_send_finds_its_receipt() {
    let chain = chain();
    let dev = &chain.dev;
    let wallet = dev.wallet(seed(), 120);
    let (other, start) = (dev.rpc.another(), Instant::now());
    let (mut nonce, mut late) = (0, 0);
    while start.elapsed() < load_time() {
        let encoded = wallet.transfer(nonce, Address::repeat_byte(0xd3), U256::ONE);
        nonce += 1;
        let hash = Wallet::hash(&encoded).to_string();
        // As little time as can be asked for: the answer is the receipt, or that it comes later.
        let params = if nonce % 3 == 0 { json!([encoded, 1]) } else { json!([encoded]) };
        let sent = match dev.rpc.call("eth_sendRawTransactionSync", params) {
            Ok(receipt) => Some(receipt),
            Err(error) => {
                let (code, message) = error.refusal();
                if message.contains("tip needed") {
                    // What waits for L1 has a price, which nobody here pays.
                    thread::sleep(Duration::from_millis(100));
                    nonce -= 1;
                    continue;
                }
                assert_eq!(code, 4, "{message}");
                late += 1;
                None
            }
        };
        let found = match &sent {
            Some(_) => other.receipt(&hash),
            None => Some(eventually("its receipt", seconds(10), || other.receipt(&hash))),
        };
        let found = found.unwrap_or_else(|| panic!("no receipt of {hash}, transaction {nonce}"));
        if let Some(sent) = sent {
            assert_eq!(place_and_result(&found), place_and_result(&sent));
        }
        let known = other.get_result("eth_getTransactionByHash", json!([hash]));
        assert_eq!(known["hash"], hash);
    }
    println!("{nonce} sends, of which {late} were told to ask later");
}

/// `pending` that stands still after a WebSocket broke, as a client or a follower may have cached what it told.
#[test]
fn pending_is_fresh_after_a_dropped_websocket() {
    let chain = chain();
    let dev = &chain.dev;
    let wallet = dev.wallet(seed(), 130);
    let runtime = runtime();
    let start = Instant::now();
    let (mut nonce, mut connections) = (0, 0);
    while start.elapsed() < load_time() {
        // Dropped with its subscriptions open and unread.
        let open = runtime.block_on(async {
            let client = websocket(&dev.rpc).await;
            let mut open: Vec<Subscription<Value>> = Vec::new();
            for kind in ["newHeads", "miniBlocks", "newPendingTransactions"] {
                let subscription =
                    client.subscribe("eth_subscribe", rpc_params![kind], "eth_unsubscribe");
                open.push(subscription.await.expect("a subscription"));
            }
            (client, open)
        });
        dev.send(&wallet.transfer(nonce, Address::repeat_byte(0xd4), U256::ONE));
        nonce += 1;
        runtime.block_on(async { drop(open) });
        connections += 1;
        let (count, block) = runtime.block_on(async {
            let client = websocket(&dev.rpc).await;
            let params = rpc_params![wallet.address(), "pending"];
            let count: Value =
                client.request("eth_getTransactionCount", params).await.expect("a count");
            let params = rpc_params!["pending", false];
            let block: Value =
                client.request("eth_getBlockByNumber", params).await.expect("a block");
            (count, block)
        });
        assert_eq!(number(&count), nonce);
        assert!(number(&block["number"]) > 0, "{block}");
    }
    assert!(connections > 10, "{connections}");
}

/// The feed of a follower breaks while the leader stands still: what it shows goes on when the leader does.
#[test]
fn a_follower_is_fresh_after_its_feed_stood_still() {
    let folder = Folder::new();
    let seed = seed();
    let chain = OwnChain::deploy(&folder, seed);
    let mut leader = chain.leader(&folder, "leader", (100, 1), &[]);
    let wallets = chain.wallets(&leader, 1);
    let follower = chain.follower(&folder, "follower");
    let promised = |nonce| {
        let encoded = wallets[0].transfer(nonce, Address::repeat_byte(0xd5), U256::ONE);
        let taken = eventually("it is taken", seconds(20), || {
            send(&leader.rpc, &encoded).and_then(Result::ok)
        });
        assert_eq!(taken["status"], "0x1");
    };
    let heard = || follower.metric("annex_promises_total");
    promised(0);
    eventually("the follower hears", seconds(20), || (heard() >= 1).then_some(()));
    leader.process.signal("STOP");
    eventually("the follower gives the connection up", seconds(40), || {
        let output = follower.process.output();
        ["the feed ended", "no feed"].iter().any(|why| output.contains(why)).then_some(())
    });
    leader.process.signal("CONT");
    promised(1);
    eventually("the follower hears again", seconds(60), || (heard() >= 2).then_some(()));
    everything_safe(&leader.rpc);
    follower.agrees_with(&leader.rpc);
    assert_eq!(follower.rpc.get_result("annex_brokenPromises", json!([])), json!([]));
    leader.process.kill();
}

/// `eth_getProof` of an old block that has every change since in memory at once (op-geth, Erigon).
#[test]
fn old_proofs_are_bounded() {
    let folder = Folder::new();
    let seed = seed();
    let chain = OwnChain::deploy(&folder, seed);
    let leader = chain.leader(&folder, "leader", (50, 1), &["--max-proof-changes", "40"]);
    let wallets = chain.wallets(&leader, 1);
    let first = leader.rpc.block_number("latest");
    let (mut nonce, recipients) = (0, if soak() { 3_000 } else { 300 });
    for index in 0..recipients {
        let to = Wallet::fresh(1, seed, index).address();
        let encoded = wallets[0].transfer(nonce, to, U256::ONE);
        eventually("it is taken", seconds(20), || send(&leader.rpc, &encoded)?.ok());
        nonce += 1;
    }
    everything_safe(&leader.rpc);
    let last = leader.rpc.block_number("latest");
    let ask = |rpc: &Rpc, block: u64| {
        let params = json!([wallets[0].address(), [], format!("{block:#x}")]);
        rpc.call("eth_getProof", params)
    };
    ask(&leader.rpc, last).expect("the newest block's");
    let before = Usage::of(&leader.process).kilobytes;
    let askers: Vec<_> = (0..8)
        .map(|_| {
            let rpc = leader.rpc.another();
            let params = json!([wallets[0].address(), [], format!("{first:#x}")]);
            thread::spawn(move || {
                for _ in 0..50 {
                    let refused = rpc.call("eth_getProof", params.clone());
                    let (code, message) = refused.expect_err("too old").refusal();
                    assert_eq!(code, -32005, "{message}");
                    assert!(message.contains("40"), "{message}");
                }
            })
        })
        .collect();
    askers.into_iter().for_each(|asker| asker.join().expect("an asker"));
    let after = Usage::of(&leader.process).kilobytes;
    assert!(after < before + 64_000, "{before} kB, then {after} kB");
    ask(&leader.rpc, last).expect("it still serves");

    // A node with the usual bound gives the same proof that it gave then.
    let usual = chain.node(&folder, "usual", &NodeOptions::default());
    usual.agrees_with(&leader.rpc);
    let proof = ask(&usual.rpc, first).expect("within the bound");
    assert!(!proof["accountProof"].as_array().expect("a list").is_empty());
}
