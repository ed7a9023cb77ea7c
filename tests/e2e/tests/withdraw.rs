//! Ether and tokens from L2 to L1: by viem's op-stack actions, by the wallet, with and without a leader.

use alloy_primitives::{Address, U256};
use alloy_sol_types::{SolCall, sol};
use annex_e2e::{
    Anvil, Clock, Dev, DevOptions, ETHER, Folder, L1Call, Node, NodeOptions, Pace, Rpc, Wallet,
    eventually, number, run, script, seconds, seed,
};
use serde_json::{Value, json};

sol! {
    interface IMarket {
        struct WithdrawalTransaction { uint256 nonce; address sender; address target; uint256 value; uint256 gasLimit; bytes data; }
        function buy(WithdrawalTransaction withdrawal) external payable;
        event MessagePassed(uint256 indexed nonce, address indexed sender, address indexed target, uint256 value, uint256 gasLimit, bytes data, bytes32 withdrawalHash);
    }
}

/// Development accounts, which own ether on both chains.
const VIEM: u32 = 5;
const WALLET: u32 = 6;
const SELLER: u32 = 7;
const BUYER: u32 = 8;

/// `annex wallet …` on both chains, as an account; what it printed.
#[track_caller]
fn wallet(dev: &Dev, account: u32, arguments: &[&str]) -> String {
    let (ok, text) = try_wallet(&dev.rpc, &dev.l1, account, arguments);
    assert!(ok, "annex wallet {arguments:?}:\n{text}");
    text
}

fn try_wallet(rpc: &Rpc, l1: &Rpc, account: u32, arguments: &[&str]) -> (bool, String) {
    let key = Wallet::dev(0, account).key();
    let key = if arguments[0] == "status" { vec![] } else { vec!["--key", &key] };
    let chains = ["--rpc", rpc.url(), "--l1", l1.url()];
    run(&[&["wallet"], arguments, &key, &chains].concat())
}

/// The hash in a line that begins with `name`.
#[track_caller]
fn hash_after(text: &str, name: &str) -> String {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let line = line.unwrap_or_else(|| panic!("no line `{name}…`:\n{text}"));
    line.trim().chars().take_while(|c| c.is_ascii_alphanumeric()).collect()
}

fn balance(rpc: &Rpc, account: Address) -> U256 {
    let balance = rpc.get_result("eth_getBalance", json!([account, "latest"]));
    balance.as_str().expect("a quantity").parse().expect("a quantity")
}

/// An account that owns nothing.
fn stranger(seed: u64, index: u64) -> Address {
    Wallet::fresh(0, seed, index).address()
}

/// The three steps, with what is said before each.
fn by_wallet(dev: &Dev, seed: u64) {
    let to = stranger(seed, 1);
    let text = wallet(dev, WALLET, &["withdraw", "--amount", "0.75", "--to", &to.to_string()]);
    assert!(text.contains("initiated: 0.75 ether") && text.contains("next: annex wallet prove"));
    let tx = hash_after(&text, "L2 transaction ");
    let (ok, text) = try_wallet(&dev.rpc, &dev.l1, WALLET, &["finalize", &tx]);
    assert!(!ok && text.contains("not proved yet"), "{text}");

    let text = wallet(dev, WALLET, &["prove", &tx, "--wait"]);
    assert!(text.contains("proved against claim"), "{text}");
    let text = wallet(dev, WALLET, &["status", &tx]);
    assert!(text.contains("● proved") && text.contains("○ paid"), "{text}");
    assert!(text.contains("next: annex wallet finalize"), "{text}");
    let text = wallet(dev, WALLET, &["prove", &tx]);
    assert!(text.contains("it is proved already"), "{text}");
    assert_eq!(balance(&dev.l1, to), U256::ZERO);

    let text = wallet(dev, WALLET, &["finalize", &tx, "--wait"]);
    assert!(text.contains("paid: 0.75 ether"), "{text}");
    assert_eq!(balance(&dev.l1, to), ETHER * U256::from(3) / U256::from(4));
    let text = wallet(dev, WALLET, &["status", &tx]);
    assert!(text.contains("● paid"), "{text}");
    for again in [["prove", &tx], ["finalize", &tx]] {
        let (ok, text) = try_wallet(&dev.rpc, &dev.l1, WALLET, &again);
        assert!(!ok && text.contains("finalised already"), "{text}");
    }
    let claims = ["claims", "--rpc", dev.rpc.url(), "--l1", dev.l1.url()];
    let (ok, text) = run(&claims);
    assert!(ok && text.contains("settled   block") && text.contains("true"), "{text}");
    assert!(!text.contains("FALSE"), "{text}");
}

/// What `MessagePassed` says, for a buyer.
#[track_caller]
fn message(receipt: &Value) -> IMarket::WithdrawalTransaction {
    let logs: Vec<alloy_primitives::Log> =
        serde_json::from_value(receipt["logs"].clone()).expect("logs");
    let decode = |log| <IMarket::MessagePassed as alloy_sol_types::SolEvent>::decode_log(log);
    let event = logs.iter().find_map(|log| decode(log).ok()).expect("a withdrawal").data;
    IMarket::WithdrawalTransaction {
        nonce: event.nonce,
        sender: event.sender,
        target: event.target,
        value: event.value,
        gasLimit: event.gasLimit,
        data: event.data,
    }
}

/// Sold at once, and the buyer gets the ether in the end.
fn by_sale(dev: &Dev) {
    let text = wallet(dev, SELLER, &["withdraw", "--amount", "2", "--sellable"]);
    let tx = hash_after(&text, "L2 transaction ");
    let (ok, text) = try_wallet(&dev.rpc, &dev.l1, BUYER, &["sell", &tx, "--price", "1"]);
    assert!(!ok && text.contains("'s, not "), "only the holder sells: {text}");
    let text = wallet(dev, SELLER, &["sell", &tx, "--price", "1.98"]);
    assert!(text.contains("offered: 2 ether for 1.98"), "{text}");

    let seller = Wallet::dev(0, SELLER);
    let before = balance(&dev.l1, seller.address());
    let price = ETHER * U256::from(198) / U256::from(100);
    let withdrawal = message(&dev.rpc.receipt(&tx).expect("a receipt"));
    let call = IMarket::buyCall { withdrawal };
    let to = dev.contract("exitMarket");
    let buy = L1Call { to, value: price, input: call.abi_encode().into(), ..L1Call::default() };
    assert_eq!(buy.send(&dev.l1, &Wallet::dev(0, BUYER))["status"], "0x1");
    assert_eq!(balance(&dev.l1, seller.address()), before + price);
    let text = wallet(dev, SELLER, &["status", &tx]);
    assert!(text.contains("sold to"), "{text}");

    wallet(dev, BUYER, &["prove", &tx, "--wait"]);
    let before = balance(&dev.l1, Wallet::dev(0, BUYER).address());
    let text = wallet(dev, BUYER, &["finalize", &tx, "--wait"]);
    assert!(text.contains("taken out of the market: 2 ether"), "{text}");
    let gained = balance(&dev.l1, Wallet::dev(0, BUYER).address()) - before;
    assert!(gained > ETHER * U256::from(199) / U256::from(100), "{gained}");
}

/// A token that viem has bridged, by the wallet.
fn token_by_wallet(dev: &Dev, token: &str) {
    let text = wallet(dev, VIEM, &["withdraw", "--amount", "10", "--token", token]);
    assert!(text.contains("initiated: 10 RT"), "{text}");
    let tx = hash_after(&text, "L2 transaction ");
    wallet(dev, VIEM, &["prove", &tx, "--wait"]);
    let text = wallet(dev, VIEM, &["finalize", &tx, "--wait"]);
    assert!(text.contains("paid"), "{text}");
    let (ok, text) =
        try_wallet(&dev.rpc, &dev.l1, VIEM, &["withdraw", "--amount", "1", "--token", &tx[..42]]);
    assert!(!ok && text.contains("is it an ERC-20 token"), "{text}");
}

fn everything(dev: &Dev) {
    let seed = seed();
    let observed = std::thread::scope(|scope| {
        let viem = scope.spawn(|| {
            let key = Wallet::dev(901, VIEM).key();
            script("withdraw.js", &[dev.rpc.url(), &key, dev.l1.url()])
        });
        let wallet = scope.spawn(|| by_wallet(dev, seed));
        by_sale(dev);
        wallet.join().expect("the wallet's withdrawal");
        viem.join().expect("viem's withdrawals")
    });
    for side in ["ether", "token"] {
        let gas = |name: &str| observed[side][name].as_str().map(str::parse::<u64>);
        let (Some(Ok(prove)), Some(Ok(finalize))) = (gas("proveGas"), gas("finalizeGas")) else {
            panic!("no gas: {observed}");
        };
        println!("{side}: {prove} gas to prove, {finalize} to finalise");
        assert!(prove <= 250_000, "proving {side} took {prove} gas");
        assert_eq!(
            observed[side]["statuses"].as_array().and_then(|s| s.last()),
            Some(&json!("finalized"))
        );
    }
    // viem waits by the time of day; the wallet need not.
    let clock = Clock::start(&dev.l1, Pace::DEVELOPMENT);
    clock.follow(&[&dev.rpc]);
    token_by_wallet(dev, observed["token"]["localToken"].as_str().expect("an address"));
}

#[test]
fn on_the_embedded_l1() {
    let folder = Folder::new();
    let options = DevOptions { l1_block_time: Some(1), ..DevOptions::default() };
    everything(&Dev::start(&folder, "dev", &options));
}

#[test]
fn on_anvil() {
    let folder = Folder::new();
    let anvil = Anvil::start(&folder, 900, &["--block-time", "1"]);
    let options = DevOptions { l1: Some(anvil.rpc.url().to_owned()), ..DevOptions::default() };
    everything(&Dev::start(&folder, "dev", &options));
}

/// Everybody who ran the chain is gone: one node, and an account with some ether, are enough to get out.
#[test]
fn without_a_leader() {
    let seed = seed();
    let folder = Folder::new();
    let anvil = Anvil::start(&folder, 900, &["--block-time", "1"]);
    let clock = Clock::start(&anvil.rpc, Pace::DEVELOPMENT);
    let options = DevOptions { l1: Some(anvil.rpc.url().to_owned()), ..DevOptions::default() };
    let dev = Dev::start(&folder, "dev", &options);
    let file = folder.path().join("deployment.json");
    std::fs::copy(dev.deployment_file(), &file).expect("a copy");
    dev.everything_safe();
    drop(dev);

    let keys = vec![("--post-when-silent", 3), ("--claimer", 4), ("--buy-exits", BUYER)];
    let options = NodeOptions { keys, ..NodeOptions::default() };
    let node = Node::start(&folder, "node", anvil.rpc.url(), &file, &options);
    clock.follow(&[&node.rpc]);
    let act = |account, arguments: &[&str]| {
        let (ok, text) = try_wallet(&node.rpc, &anvil.rpc, account, arguments);
        assert!(ok, "annex wallet {arguments:?}:\n{text}");
        text
    };
    // Nobody takes transactions before the leader was silent for a while; L1 does at once.
    let to = stranger(seed, 2);
    let text = act(WALLET, &["withdraw", "--amount", "3", "--to", &to.to_string(), "--forced"]);
    let tx = hash_after(&text, "L2 transaction ");
    let text = act(SELLER, &["withdraw", "--amount", "4", "--sellable", "--forced"]);
    let sellable = hash_after(&text, "L2 transaction ");

    // The node's buyer pays at once for what will be final in a minute or more.
    let before = balance(&anvil.rpc, Wallet::dev(0, SELLER).address());
    eventually("the buyer's quote", seconds(60), || {
        let quote = node.rpc.get_result("annex_exitQuote", json!([sellable]));
        (!quote.is_null()).then_some(())
    });
    let text = act(SELLER, &["sell", &sellable, "--max-discount", "2", "--wait"]);
    assert!(text.contains("sold to"), "{text}");
    let gained = balance(&anvil.rpc, Wallet::dev(0, SELLER).address()) - before;
    assert!(gained > ETHER * U256::from(39) / U256::from(10), "{gained}");
    assert!(gained < ETHER * U256::from(4), "{gained}");

    act(WALLET, &["prove", &tx, "--wait"]);
    act(WALLET, &["finalize", &tx, "--wait"]);
    assert_eq!(balance(&anvil.rpc, to), ETHER * U256::from(3));
    eventually("the buyer has its ether", seconds(120), || {
        act(SELLER, &["status", &sellable]).contains("● paid").then_some(())
    });
}

/// An idle chain claims nothing.
#[test]
fn nothing_is_claimed_while_nobody_waits() {
    let folder = Folder::new();
    let dev = Dev::start(&folder, "dev", &DevOptions::default());
    let clock = Clock::start(&dev.l1, Pace::DEVELOPMENT);
    clock.follow(&[&dev.rpc]);
    let settled = |text: &str| text.contains("settled   block");
    let claims = || {
        let (ok, text) = run(&["claims", "--rpc", dev.rpc.url(), "--l1", dev.l1.url()]);
        assert!(ok, "{text}");
        text
    };
    let count = |text: &str| text.lines().filter(|line| line.contains("0.25")).count();
    // The accounts' deposits were traffic.
    eventually("what there was is settled", seconds(180), || {
        let text = claims();
        (settled(&text) && !text.contains("RECORDS")).then_some(())
    });
    let before = count(&claims());
    let head = number(&dev.l1.get_result("eth_blockNumber", json!([])));
    eventually("many claim intervals pass", seconds(60), || {
        (number(&dev.l1.get_result("eth_blockNumber", json!([]))) >= head + 30).then_some(())
    });
    assert_eq!(count(&claims()), before, "{}", claims());
}
