//! `annex node --buy-exits`: what it quotes, buys and leaves alone, and that it gets its ether back by itself.

use alloy_primitives::{Address, B256, Bytes, U256, address, keccak256};
use alloy_sol_types::{SolCall, SolEvent, SolValue, sol};
use annex_e2e::{
    Dev, DevOptions, ETHER, Folder, L1Call, Node, NodeOptions, Rpc, Wallet, eventually, run,
    seconds,
};
use serde_json::{Value, json};

sol! {
    #[derive(Debug)]
    interface IMarket {
        struct WithdrawalTransaction { uint256 nonce; address sender; address target; uint256 value; uint256 gasLimit; bytes data; }
        function receiveExit(address seller) external payable;
        function offer(WithdrawalTransaction withdrawal, uint256 price) external;
        event Offered(bytes32 indexed withdrawalHash, address indexed seller, uint256 price, WithdrawalTransaction withdrawal);
        event Bought(bytes32 indexed withdrawalHash, address indexed seller, address indexed buyer, uint256 price);
    }
    interface IPasser {
        function initiateWithdrawal(address target, uint256 gasLimit, bytes data) external payable;
        event MessagePassed(uint256 indexed nonce, address indexed sender, address indexed target, uint256 value, uint256 gasLimit, bytes data, bytes32 withdrawalHash);
    }
}

type Withdrawal = IMarket::WithdrawalTransaction;

const PASSER: Address = address!("4200000000000000000000000000000000000016");
/// Development accounts, which own ether on both chains.
const OTHER: u32 = 5;
const SELLER: u32 = 7;
const BUYER: u32 = 8;
const RIVAL: u32 = 9;
/// Blocks of L1, of a second each, in which an offer is taken: one to see it, one to pay, and what a loaded machine adds.
const SOON: u64 = 6;

fn start(folder: &Folder, name: &str) -> Dev {
    let options = DevOptions { l1_block_time: Some(1), ..DevOptions::default() };
    Dev::start(folder, name, &options)
}

fn buyer(dev: &Dev, folder: &Folder, name: &str, account: u32) -> Node {
    let arguments = &["--max-discount", "2", "--exit-budget", "3"];
    let options = NodeOptions { buy_exits: Some((account, arguments)), ..NodeOptions::default() };
    Node::start(folder, name, dev.l1.url(), &dev.deployment_file(), &options)
}

fn balance(rpc: &Rpc, account: u32) -> U256 {
    let account = Wallet::dev(0, account).address();
    let balance = rpc.get_result("eth_getBalance", json!([account, "latest"]));
    balance.as_str().expect("a quantity").parse().expect("a quantity")
}

fn quantity(value: &Value) -> U256 {
    value.as_str().unwrap_or_else(|| panic!("not a quantity: {value}")).parse().expect("hex")
}

fn hash(withdrawal: &Withdrawal) -> B256 {
    let Withdrawal { nonce, sender, target, value, gasLimit, data } = withdrawal.clone();
    keccak256((nonce, sender, target, value, gasLimit, data).abi_encode_params())
}

/// Thousandths of an ether.
fn finney(count: u64) -> U256 {
    ETHER * U256::from(count) / U256::from(1_000)
}

/// A withdrawal of the seller's on L2, in whatever form; and its transaction.
#[track_caller]
fn withdraw(
    dev: &Dev,
    value: U256,
    target: Address,
    gas_limit: u64,
    data: Bytes,
) -> (Withdrawal, B256) {
    let wallet = Wallet::dev(901, SELLER);
    let mut tx = wallet.transaction(dev.nonce(wallet.address()), PASSER.into(), value);
    tx.gas_limit = 500_000;
    let call = IPasser::initiateWithdrawalCall { target, gasLimit: U256::from(gas_limit), data };
    tx.input = call.abi_encode().into();
    let receipt = dev.send(&wallet.sign(tx));
    let logs: Vec<alloy_primitives::Log> =
        serde_json::from_value(receipt["logs"].clone()).expect("logs");
    let event = logs.iter().find_map(|log| IPasser::MessagePassed::decode_log(log).ok());
    let event = event.expect("a withdrawal").data;
    let withdrawal = Withdrawal {
        nonce: event.nonce,
        sender: event.sender,
        target: event.target,
        value: event.value,
        gasLimit: event.gasLimit,
        data: event.data,
    };
    assert_eq!(hash(&withdrawal), event.withdrawalHash);
    (withdrawal, receipt["transactionHash"].as_str().expect("a hash").parse().expect("a hash"))
}

/// One that the market takes.
fn sellable(dev: &Dev, value: U256, gas_limit: u64) -> (Withdrawal, B256) {
    let data = to_market(Wallet::dev(0, SELLER).address());
    withdraw(dev, value, dev.contract("exitMarket"), gas_limit, data)
}

fn to_market(seller: Address) -> Bytes {
    IMarket::receiveExitCall { seller }.abi_encode().into()
}

/// Offers it on L1; whether the market took the offer.
fn offer(dev: &Dev, from: u32, withdrawal: &Withdrawal, price: U256) -> bool {
    let call = IMarket::offerCall { withdrawal: withdrawal.clone(), price };
    let to = dev.contract("exitMarket");
    let call = L1Call { to, input: call.abi_encode().into(), ..L1Call::default() };
    call.send(&dev.l1, &Wallet::dev(0, from))["status"] == "0x1"
}

/// The market's events of one kind: L1 block, withdrawal and third topic.
fn events(dev: &Dev, signature: B256) -> Vec<(u64, B256, Vec<B256>)> {
    let filter =
        json!([{"address": dev.contract("exitMarket"), "fromBlock": "0x0", "topics": [signature]}]);
    let logs = dev.l1.get_result("eth_getLogs", filter);
    let event = |log: &Value| {
        let topics: Vec<B256> = serde_json::from_value(log["topics"].clone()).expect("topics");
        (quantity(&log["blockNumber"]).to(), topics[1], topics[2..].to_vec())
    };
    logs.as_array().expect("logs").iter().map(event).collect()
}

fn bought(dev: &Dev) -> Vec<(u64, B256, Vec<B256>)> {
    events(dev, IMarket::Bought::SIGNATURE_HASH)
}

fn is_bought(dev: &Dev, withdrawal: &Withdrawal) -> bool {
    bought(dev).iter().any(|(_, of, _)| *of == hash(withdrawal))
}

/// L1 blocks between the offer of a withdrawal and its purchase.
fn delay(dev: &Dev, withdrawal: B256) -> u64 {
    let block = |signature| {
        let found = events(dev, signature).into_iter().find(|(_, of, _)| *of == withdrawal);
        found.expect("an event").0
    };
    block(IMarket::Bought::SIGNATURE_HASH) - block(IMarket::Offered::SIGNATURE_HASH)
}

fn quote(node: &Node, of: B256) -> Value {
    node.rpc.get_result("annex_exitQuote", json!([of]))
}

/// Why it is not bought.
#[track_caller]
fn refused(node: &Node, of: B256, reason: &str) {
    let what = format!("{of} is refused: {reason}");
    let quote = eventually(&what, seconds(30), || {
        let quote = quote(node, of);
        (quote["reason"] == reason).then_some(quote)
    });
    assert!(quote["price"].is_null() && quote["discount"].is_null(), "{quote}");
}

/// Terms, once there are any.
#[track_caller]
fn terms(node: &Node, of: B256) -> Value {
    eventually("a price", seconds(30), || Some(quote(node, of)).filter(|q| !q["price"].is_null()))
}

fn held(node: &Node) -> Vec<B256> {
    let report = node.rpc.get_result("annex_exits", json!([]));
    let held = report["held"].as_array().cloned().unwrap_or_default();
    held.iter()
        .map(|held| serde_json::from_value(held["withdrawal"].clone()).expect("hash"))
        .collect()
}

/// From `annex wallet withdraw --sellable` to the buyer's ether, with a rival and a loss of everything in between.
#[test]
fn bought_at_its_quote_and_paid_after_settlement() {
    let folder = Folder::new();
    let dev = start(&folder, "dev");
    let node = buyer(&dev, &folder, "buyer", BUYER);
    let rival = buyer(&dev, &folder, "rival", RIVAL);
    let before = [balance(&dev.l1, BUYER), balance(&dev.l1, RIVAL)];
    let key = Wallet::dev(0, SELLER).key();
    let chains = ["--key", &key, "--rpc", node.rpc.url(), "--l1", dev.l1.url()];
    let through = [&["--key", &key, "--rpc", dev.rpc.url(), "--l1", dev.l1.url()][..]].concat();

    let (ok, text) =
        run(&[&["wallet", "withdraw", "--amount", "2", "--sellable"], &through[..]].concat());
    assert!(ok, "{text}");
    let tx = text.lines().find_map(|line| line.strip_prefix("L2 transaction "));
    let tx: B256 = tx.expect("a hash").trim().parse().expect("a hash");
    let found = terms(&node, tx);
    let withdrawal: B256 = serde_json::from_value(found["withdrawal"].clone()).expect("a hash");
    // By either hash. A claim may have shortened the wait in between.
    let again = terms(&node, withdrawal);
    assert_eq!((&again["withdrawal"], &again["value"]), (&found["withdrawal"], &found["value"]));
    assert!(quantity(&again["price"]) >= quantity(&found["price"]), "{found} {again}");
    let (value, price) = (quantity(&found["value"]), quantity(&found["price"]));
    assert_eq!(value, finney(2_000));
    assert_eq!(quantity(&found["discount"]), value - price);
    // 2 % and gas at most; the wait is of a claim interval and a window.
    assert!(price <= value && price > finney(1_959), "{found}");
    assert!((1..=70).contains(&quantity(&found["wait"]).to()), "{found}");
    assert_eq!(found["market"], json!(dev.contract("exitMarket")));
    assert_eq!(found["reason"], Value::Null);

    let sell = ["wallet", "sell", &tx.to_string(), "--max-discount", "3", "--wait"];
    let (ok, text) = run(&[&sell[..], &chains[..]].concat());
    assert!(ok && text.contains("sold to"), "{text}");
    let took = delay(&dev, withdrawal);
    println!("bought {took} L1 blocks after the offer");
    assert!(took <= SOON, "{took} L1 blocks");
    let purchases = bought(&dev);
    assert_eq!(purchases.len(), 1);
    let winner = Address::from_word(purchases[0].2[1]);
    let won =
        [BUYER, RIVAL].iter().position(|account| Wallet::dev(0, *account).address() == winner);
    let won = won.expect("one of the two");
    let names = ["buyer", "rival"];
    let mut nodes = [node, rival];
    eventually("the winner knows what it holds", seconds(30), || {
        (held(&nodes[won]) == [withdrawal]).then_some(())
    });
    // The wallet has asked for a quote of its own.
    let paid = quantity(&nodes[won].rpc.get_result("annex_exits", json!([]))["spent"]);
    assert!(paid >= price && paid < value, "{paid} for a quote of {price}");
    refused(&nodes[won], withdrawal, "bought");
    assert_eq!(held(&nodes[1 - won]), [] as [B256; 0]);
    assert_eq!(nodes[won].metric("annex_exits_bought_total"), 1);
    assert_eq!(nodes[1 - won].metric("annex_exits_bought_total"), 0);

    // Killed, and without its data: L1 knows what it bought.
    nodes[won].process.kill();
    let fresh = format!("{} again", names[won]);
    let account = [BUYER, RIVAL][won];
    nodes[won] = buyer(&dev, &folder, &fresh, account);
    eventually("what it holds is on L1", seconds(60), || {
        (held(&nodes[won]) == [withdrawal]).then_some(())
    });
    eventually("its ether has come back", seconds(240), || {
        (balance(&dev.l1, account) > before[won] + value - paid - finney(5)).then_some(())
    });
    let gained = balance(&dev.l1, account) + paid - before[won];
    println!("{gained} wei came back for {paid}");
    assert!(gained <= value && balance(&dev.l1, account) > before[won], "more than was paid");
    eventually("nothing is held", seconds(30), || held(&nodes[won]).is_empty().then_some(()));
    refused(&nodes[won], withdrawal, "finalized");
    assert_eq!(nodes[won].metric("annex_exits_collected_gwei_total"), 2_000_000_000);
    // A race that was lost costs a revert at most.
    let rival = [BUYER, RIVAL][1 - won];
    assert!(balance(&dev.l1, rival) > before[1 - won] - finney(5));
    assert_eq!(bought(&dev).len(), 1);
}

/// Whatever is offered that L2 does not have, or that would not pay, stays where it is, and does not keep true offers from
/// being taken.
#[test]
fn false_offers_are_left_alone() {
    let folder = Folder::new();
    let dev = start(&folder, "dev");
    let node = buyer(&dev, &folder, "buyer", BUYER);
    let market = dev.contract("exitMarket");
    let seller = Wallet::dev(0, SELLER).address();

    // Ones that the market itself refuses.
    let (honest, _) = sellable(&dev, finney(2_000), 200_000);
    assert!(!offer(&dev, OTHER, &honest, finney(1_000)), "another's");
    let (weak, weak_tx) = sellable(&dev, finney(500), 50_000);
    assert!(!offer(&dev, SELLER, &weak, finney(100)), "too little gas");
    refused(&node, weak_tx, "notSellable");
    let (plain, plain_tx) = withdraw(&dev, finney(500), seller, 200_000, Bytes::new());
    assert!(!offer(&dev, SELLER, &plain, finney(100)), "not to the market");
    refused(&node, plain_tx, "notSellable");
    refused(&node, B256::repeat_byte(0x77), "unknown");

    // Ones that it cannot know to be false.
    let never = Withdrawal { nonce: honest.nonce + U256::from(1_000), ..honest.clone() };
    assert!(offer(&dev, SELLER, &never, finney(1_000)));
    let inflated = Withdrawal { value: finney(20_000), ..honest.clone() };
    assert!(offer(&dev, SELLER, &inflated, finney(1_000)));
    let foreign = Wallet::dev(0, OTHER).address();
    let stolen = Withdrawal { data: to_market(foreign), ..honest.clone() };
    assert!(offer(&dev, OTHER, &stolen, finney(1_000)));
    // Nobody could finalise this one.
    let (greedy, greedy_tx) = sellable(&dev, finney(500), 30_000_000);
    assert!(offer(&dev, SELLER, &greedy, finney(100)));
    refused(&node, greedy_tx, "tooMuchGas");
    refused(&node, hash(&never), "unknown");
    // True, but too dear.
    let (dear, _) = sellable(&dev, finney(600), 200_000);
    assert!(offer(&dev, SELLER, &dear, finney(600)));
    let (dust, dust_tx) = sellable(&dev, U256::from(7), 200_000);
    assert!(offer(&dev, SELLER, &dust, U256::from(1)));
    refused(&node, dust_tx, "worthless");

    // True ones, as far as the budget of 3 ether goes.
    assert!(offer(&dev, SELLER, &honest, finney(1_950)));
    eventually("the true offer is taken", seconds(60), || is_bought(&dev, &honest).then_some(()));
    let (second, second_tx) = sellable(&dev, finney(1_500), 200_000);
    assert!(offer(&dev, SELLER, &second, finney(1_300)));
    refused(&node, second_tx, "budget");
    let (third, _) = sellable(&dev, finney(800), 200_000);
    assert_eq!(terms(&node, hash(&third))["market"], json!(market));
    assert!(offer(&dev, SELLER, &third, finney(700)));
    eventually("what is within the budget is taken", seconds(60), || {
        is_bought(&dev, &third).then_some(())
    });
    let mut all: Vec<B256> = bought(&dev).into_iter().map(|(_, of, _)| of).collect();
    let mut good = vec![hash(&honest), hash(&third)];
    // Should the first one have been paid meanwhile, there was budget for the second.
    all.retain(|of| *of != hash(&second));
    all.sort();
    good.sort();
    assert_eq!(all, good);
    let report = node.rpc.get_result("annex_exits", json!([]));
    assert_eq!(report["reason"], Value::Null, "{report}");
}
