//! `annex verify`: blocks of real traffic from their witnesses, natively, in the machine, and instruction by instruction on L1.

use alloy_primitives::{Address, B256, Bytes, TxKind, U256, address, hex, keccak256};
use annex_e2e::batch::{Block, payload};
use annex_e2e::{
    Dev, DevOptions, ETHER, Folder, Inbox, L1Call, Node, NodeOptions, Portal, Rpc, Wallet,
    eventually, number, record_of, run, seconds, seed,
};
use jsonrpsee::server::{RpcModule, Server, ServerHandle};
use jsonrpsee::types::ErrorObjectOwned;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use tokio::runtime::Runtime;

/// Leaves code that stores `calldata[1]` in slot `calldata[0]`, then the hash of block `calldata[2]` in slot `calldata[3]`.
const CREATION: &[u8] = &[
    0x60, 17, 0x80, 0x60, 11, 0x60, 0, 0x39, 0x60, 0, 0xf3, // the next 17 bytes are the code
    0x60, 0x20, 0x35, 0x60, 0, 0x35, 0x55, // SSTORE
    0x60, 0x40, 0x35, 0x40, 0x60, 0x60, 0x35, 0x55, 0, 0,
];

fn words(words: [u64; 4]) -> Bytes {
    words.iter().flat_map(|word| U256::from(*word).to_be_bytes::<32>()).collect()
}

/// Transfers, a contract with slots set and cleared, hashes of blocks, deposits, a failing call: until L1 carries all.
fn traffic(dev: &Dev, rng: &mut SmallRng, seed: u64) -> u64 {
    let wallet = dev.wallet(seed, 1);
    let create = wallet.transaction(0, TxKind::Create, U256::ZERO);
    let receipt =
        dev.send(&wallet.sign(alloy_consensus::TxEip1559 { input: CREATION.into(), ..create }));
    let contract: Address =
        receipt["contractAddress"].as_str().expect("a contract").parse().expect("an address");
    for nonce in 1..40 {
        let call = rng.random_bool(0.7);
        let encoded = if call {
            let block = dev.rpc.block_number("latest").saturating_sub(rng.random_range(0..3));
            let slots = [rng.random_range(0..4), rng.random_range(0..2), block, nonce % 7 + 4];
            let to = wallet.transaction(nonce, contract.into(), U256::ZERO);
            wallet.sign(alloy_consensus::TxEip1559 {
                input: words(slots),
                gas_limit: 200_000,
                ..to
            })
        } else {
            wallet.transfer(nonce, Address::with_last_byte(rng.random()), U256::from(nonce))
        };
        dev.rpc.get_result("eth_sendRawTransactionSync", json!([encoded]));
        if nonce % 13 == 0 {
            let deposit = Portal::depositTransactionCall {
                to: contract,
                value: U256::ZERO,
                gasLimit: 100_000,
                isCreation: false,
                data: words([1, nonce, 0, 9]),
            };
            dev.deposit(4, ETHER, deposit);
        }
    }
    dev.everything_safe()
}

fn verify(rpc: &str, l1: &Rpc, block: &str, more: &[&str]) -> (bool, String) {
    let arguments = ["verify", "--block", block, "--rpc", rpc, "--l1", l1.url()];
    run(&[&arguments[..], more].concat())
}

/// The number before `unit` in a text.
fn before(text: &str, unit: &str) -> u64 {
    let digits = text.split(unit).next().and_then(|head| head.split_whitespace().last());
    let digits = digits.unwrap_or_else(|| panic!("no {unit} in {text}")).replace(',', "");
    digits.parse().unwrap_or_else(|_| panic!("no number of {unit} in {text}"))
}

#[test]
fn blocks_verify_and_l1_executes_their_instructions() {
    let (folder, seed) = (Folder::new(), seed());
    let mut rng = SmallRng::seed_from_u64(seed);
    let dev = Dev::start(&folder, "dev", &DevOptions::default());
    let safe = traffic(&dev, &mut rng, seed);
    let mut steps = Vec::new();
    for block in 1..=safe {
        let (ok, text) = verify(dev.rpc.url(), &dev.l1, &block.to_string(), &[]);
        assert!(ok && text.contains("both leaves agree"), "block {block}: {text}");
        steps.push(before(&text, " instructions"));
    }
    println!("{safe} blocks, {} instructions", steps.iter().sum::<u64>());

    let block = rng.random_range(1..=safe);
    let ends = steps[block as usize - 1];
    let (first, some) = (0, rng.random_range(1..ends));
    for step in [first, some, ends - 1].map(|k| k.to_string()) {
        let (ok, text) = verify(dev.rpc.url(), &dev.l1, &block.to_string(), &["--step", &step]);
        assert!(ok && text.contains("both states agree"), "block {block} step {step}: {text}");
    }
    for (step, kind) in [("preimage", "preimage of keccak"), ("blob", "preimage of blob")] {
        let (ok, text) = verify(dev.rpc.url(), &dev.l1, &block.to_string(), &["--step", step]);
        assert!(ok && text.contains("both states agree"), "{text}");
        assert!(text.contains(kind) && text.contains("ecall"), "{text}");
    }
    let past = ends.to_string();
    let (ok, text) = verify(dev.rpc.url(), &dev.l1, &block.to_string(), &["--step", &past]);
    assert!(!ok && text.contains(&format!("the run ends after {ends} instructions")), "{text}");

    // A node that followed L1 and kept every witness serves the same, and one commitment comes out of both.
    let options = NodeOptions { keep_witnesses: true, ..NodeOptions::default() };
    let file = dev.deployment_file();
    let follower = Node::start(&folder, "follower", dev.l1.url(), &file, &options);
    follower.agrees_with(&dev.rpc);
    eventually("witnesses are kept", seconds(30), || {
        (follower.metric("annex_witness_bytes_total") > 0).then_some(())
    });
    let witness =
        |rpc: &Rpc| rpc.get_result("debug_executionWitness", json!([format!("{block:#x}")]));
    assert_eq!(witness(&dev.rpc), witness(&follower.rpc));
    let commitment = |rpc: &Rpc, name: &str| {
        let file = folder.path().join(name);
        let file = file.to_str().expect("UTF-8");
        let commit = ["--commit", "--stride-log2", "14", "--leaves-log2", "16", "--file", file];
        let (ok, text) = verify(rpc.url(), &dev.l1, &block.to_string(), &commit);
        assert!(ok, "{text}");
        let line = text.lines().find(|line| line.starts_with("commitment "));
        line.unwrap_or_else(|| panic!("no commitment in {text}")).to_owned()
    };
    assert_eq!(commitment(&dev.rpc, "a"), commitment(&follower.rpc, "b"));
}

#[test]
fn a_block_that_is_not_on_l1_is_replayed_and_has_no_leaf() {
    let (folder, seed) = (Folder::new(), seed());
    let dev = Dev::start(&folder, "dev", &DevOptions::default());
    let wallet = dev.wallet(seed, 1);
    dev.everything_safe();
    dev.l1.get_result("evm_setIntervalMining", json!([0]));
    let receipt = dev.send(&wallet.transfer(0, Address::repeat_byte(7), U256::ONE));
    let block = number(&receipt["blockNumber"]);
    eventually("it is sealed", seconds(10), || {
        (dev.rpc.block_number("latest") >= block).then_some(())
    });
    let block = block.to_string();
    let (ok, text) = verify(dev.rpc.url(), &dev.l1, &block, &[]);
    let said = format!("block {block} is not on L1 yet: it has no leaf");
    assert!(ok && text.contains("the same block") && text.contains(&said), "{text}");
    let (ok, text) = verify(dev.rpc.url(), &dev.l1, &block, &["--step", "1"]);
    assert!(!ok && text.contains(&said), "{text}");
    let asked = json!([format!("{:#x}", block.parse::<u64>().expect("a number"))]);
    let (code, message) = dev.rpc.call("annex_claimInput", asked).expect_err("no leaf").refusal();
    assert!(code == -32000 && message.contains(&said), "{code} {message}");
    dev.l1.get_result("evm_setIntervalMining", json!([1]));
    dev.everything_safe();
    let (ok, text) = verify(dev.rpc.url(), &dev.l1, &block, &["--native"]);
    assert!(ok && text.contains("native   leaf 0x"), "{text}");
}

const METHODS: [&str; 6] = [
    "annex_deployment",
    "annex_claimInput",
    "annex_records",
    "annex_executionWitness",
    "debug_getRawBlock",
    "eth_getBlockByNumber",
];

/// A node that answers as another does, but for what `forge` does to the result of a method with its parameters.
struct Forger {
    url: String,
    server: ServerHandle,
    _runtime: Runtime,
}

impl Forger {
    fn start(
        honest: &Rpc,
        forge: impl Fn(&str, &Value, &mut Value) + Clone + Send + Sync + 'static,
    ) -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build().expect("a runtime");
        let mut module = RpcModule::new((honest.url().to_owned(), reqwest::Client::new()));
        for method in METHODS {
            let forge = forge.clone();
            let registered = module.register_async_method(method, move |params, context, _| {
                let params = params.parse::<Value>().unwrap_or(json!([]));
                let forge = forge.clone();
                async move {
                    let (url, client) = &*context;
                    let body =
                        json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
                    let answer = client.post(url).json(&body).send().await.expect("an answer");
                    let mut answer: Value = answer.json().await.expect("JSON");
                    let mut result = answer["result"].take();
                    forge(method, &params, &mut result);
                    Ok::<_, ErrorObjectOwned>(result)
                }
            });
            registered.expect("names differ");
        }
        let (address, server) = runtime.block_on(async {
            let server = Server::builder().build("127.0.0.1:0").await.expect("a free port");
            (server.local_addr().expect("an address"), server.start(module))
        });
        Self { url: format!("http://{address}"), server, _runtime: runtime }
    }
}

impl Drop for Forger {
    fn drop(&mut self) {
        // An error says that it has stopped already.
        let _ = self.server.stop();
    }
}

/// Leaves the first entry of a page that begins with entry `from`.
fn cut(page: &mut Value, from: u64) {
    let lists = ["state", "codes", "headers"];
    let length = |page: &Value, list: &str| page[list].as_array().expect("a list").len();
    let total: usize = lists.iter().map(|list| length(page, list)).sum();
    let kept = lists.iter().position(|list| length(page, list) > 0).expect("an entry");
    for (at, list) in lists.iter().enumerate() {
        page[list].as_array_mut().expect("a list").truncate(usize::from(at == kept));
    }
    page["next"] = if total > 1 { json!(format!("{:#x}", from + 1)) } else { Value::Null };
}

#[test]
fn a_lying_node_is_found_out_and_the_lie_is_named() {
    let (folder, seed) = (Folder::new(), seed());
    let mut rng = SmallRng::seed_from_u64(seed);
    let dev = Dev::start(&folder, "dev", &DevOptions::default());
    let safe = traffic(&dev, &mut rng, seed);
    let asked = json!([format!("{safe:#x}")]);
    let witness = dev.rpc.get_result("debug_executionWitness", asked.clone());
    let by_hash = json!([dev.rpc.block(format!("{safe:#x}"))["hash"]]);
    assert_eq!(witness, dev.rpc.get_result("debug_executionWitnessByBlockHash", by_hash));
    let claims = |forger: &Forger| verify(&forger.url, &dev.l1, &safe.to_string(), &["--native"]);

    // Swapped entries are no lie, and neither are pages of one entry.
    let honest = Forger::start(&dev.rpc, |method, _, result| {
        if method == "annex_executionWitness" {
            result["state"].as_array_mut().expect("a list").reverse();
        }
    });
    let (ok, text) = claims(&honest);
    assert!(ok, "{text}");
    let stingy = Forger::start(&dev.rpc, |method, params, result| {
        if method == "annex_executionWitness" {
            cut(result, number(&params[1]));
        }
    });
    let (ok, text) = claims(&stingy);
    assert!(ok, "{text}");
    let liar = Forger::start(&dev.rpc, |method, _, result| {
        if method == "annex_executionWitness" {
            cut(result, 0);
        }
    });
    let (ok, text) = claims(&liar);
    assert!(!ok && text.contains("names 1 as the next"), "{text}");

    let nodes = witness["state"].as_array().expect("a list");
    for flip in [false, true] {
        let at = rng.random_range(0..nodes.len());
        let entry = hex::decode(nodes[at].as_str().expect("bytes")).expect("hex");
        let liar = Forger::start(&dev.rpc, move |method, _, result| {
            if method != "annex_executionWitness" {
                return;
            }
            let list = result["state"].as_array_mut().expect("a list");
            if flip {
                let mut entry = hex::decode(list[at].as_str().expect("bytes")).expect("hex");
                entry[0] ^= 1;
                list[at] = json!(Bytes::from(entry));
            } else {
                list.remove(at);
            }
        });
        let (ok, text) = claims(&liar);
        let named = format!("trie node {} is missing", keccak256(&entry));
        assert!(!ok && text.contains(&named), "flip {flip}, {named}: {text}");
        let mut altered = entry;
        altered[0] ^= 1;
        assert_eq!(text.contains(&keccak256(altered).to_string()), flip, "{text}");
    }

    let liar = Forger::start(&dev.rpc, |method, _, result| {
        if method == "annex_records" {
            let records = result.as_array_mut().expect("a list");
            records.last_mut().expect("a record")["baseFee"] = json!("0x7");
        }
    });
    let (ok, text) = claims(&liar);
    assert!(!ok && text.contains("is altered: it has accumulator"), "{text}");
    let liar = Forger::start(&dev.rpc, |method, _, result| {
        if method == "annex_records" {
            result.as_array_mut().expect("a list").pop();
        }
    });
    let (ok, text) = claims(&liar);
    assert!(!ok && text.contains("of the block's step are missing"), "{text}");
    let liar = Forger::start(&dev.rpc, |method, _, result| {
        if method == "annex_claimInput" {
            result["head"] = json!("0xc0");
        }
    });
    let (ok, text) = claims(&liar);
    assert!(!ok && text.contains("the node sent header"), "{text}");
}

/// Answers one request with spaces until nobody listens any more; how many.
fn endless(mut stream: TcpStream) -> usize {
    const CHUNK: usize = 1 << 20;
    let mut request = [0; 4096];
    // The client sends it at once, and nothing else before there is an answer.
    assert!(stream.read(&mut request).expect("a request") > 0);
    let head =
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).expect("it listens");
    let chunk = [format!("{CHUNK:x}\r\n").as_bytes(), &[b' '; CHUNK], b"\r\n"].concat();
    (0..1_000).take_while(|_| stream.write_all(&chunk).is_ok()).count() * CHUNK
}

#[test]
fn an_answer_without_end_is_not_read_to_its_end() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let server = thread::spawn(move || endless(listener.accept().expect("a connection").0));
    let (ok, text) = run(&["verify", "--block", "1", "--rpc", &url]);
    let said = format!("{url} sends more than 67108864 bytes in one answer");
    assert!(!ok && text.contains(&said), "{text}");
    let sent = server.join().expect("it ends");
    // What the sockets hold may have been sent, too.
    assert!((64 << 20..96 << 20).contains(&sent), "{sent} bytes");
}

/// The program of `cargo xtask guest --faulty`: it fails on blocks of certain beneficiaries.
fn faulty_guest() -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../apps/guest");
    let read = |name: &str| std::fs::read(format!("{folder}/{name}")).expect("it is committed");
    let (guest, patch) = (read("annex-guest.elf"), read("annex-guest-faulty.elf.zst"));
    let mut elf = Vec::new();
    let mut decoder = zstd::Decoder::with_ref_prefix(&patch[..], &guest).expect("a prefix");
    decoder.read_to_end(&mut elf).expect("it is renewed with the guest: cargo xtask guest --write");
    elf
}

/// A block that the leader's key posts with `beneficiary`, once L1 carries it.
fn post_block_for(dev: &Dev, beneficiary: Address, transaction: Bytes) -> u64 {
    /// Submits the batches of `annex dev`.
    const OPERATOR: u32 = 20;
    dev.everything_safe();
    let inbox = dev.contract("inbox");
    let head = dev.rpc.block("latest");
    let parent: B256 = head["hash"].as_str().expect("a hash").parse().expect("a hash");
    let origin = dev.records() - 1;
    let topics = json!([null, B256::from(U256::from(origin))]);
    let filter = json!([{"fromBlock": "0x0", "address": inbox, "topics": topics}]);
    let logs = dev.l1.get_result("eth_getLogs", filter);
    let record = hex::decode(logs[0]["data"].as_str().expect("a record")).expect("hex");
    // After the accumulator and the block number.
    let recorded: u64 = U256::from_be_slice(&record[64..96]).to();
    let timestamp = recorded.max(number(&head["timestamp"]));
    let block =
        Block { timestamp, beneficiary, origin, forced: 0, transactions: vec![transaction] };
    let consumed: u64 = dev.inbox(Inbox::forcedConsumedCall {}).to();
    let call = L1Call::calldata_batch(inbox, consumed, payload(parent, &[block]));
    record_of(&call.send(&dev.l1, &Wallet::dev(0, OPERATOR)));
    let block = number(&head["number"]) + 1;
    eventually("the block is derived", seconds(60), || {
        (dev.rpc.block_number("safe") >= block).then_some(())
    });
    assert_eq!(dev.rpc.block(format!("{block:#x}"))["miner"], json!(beneficiary));
    block
}

#[test]
fn a_program_that_fails_gives_fault() {
    const PANICS: Address = address!("00000000000000000000000000000000000fa117");
    let (folder, seed) = (Folder::new(), seed());
    let dev = Dev::start(&folder, "dev", &DevOptions::default());
    let wallet = dev.wallet(seed, 1);
    let to = Address::repeat_byte(7);
    dev.send(&wallet.transfer(0, to, U256::ONE));
    let good = dev.everything_safe();
    let bad = post_block_for(&dev, PANICS, wallet.transfer(1, to, U256::ONE));
    let file = folder.path().join("faulty.elf");
    std::fs::write(&file, faulty_guest()).expect("written");
    let guest = ["--guest", file.to_str().expect("UTF-8")];
    let (ok, text) = verify(dev.rpc.url(), &dev.l1, &bad.to_string(), &[]);
    assert!(ok && text.contains("both leaves agree"), "{text}");
    let (ok, text) = verify(dev.rpc.url(), &dev.l1, &good.to_string(), &guest);
    assert!(ok && text.contains("both leaves agree"), "{text}");
    let (ok, text) = verify(dev.rpc.url(), &dev.l1, &bad.to_string(), &guest);
    assert!(!ok && text.contains("(FAULT: the program failed)"), "{text}");
    assert!(text.contains("as the test wants it") && text.contains("the leaves differ"), "{text}");
}
