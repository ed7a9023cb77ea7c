//! Nobody needs the leader (P2 of the protocol): what the Portal takes is executed within a bound, whatever the leader does.

use alloy_primitives::{Address, Bytes, U256};
use annex_e2e::{
    Anvil, Dev, DevOptions, ETHER, Folder, Inbox, Node, NodeOptions, Portal, Rpc, Wallet,
    eventually, number, seconds, seed,
};
use serde_json::json;

/// Account that carries the chain on.
const CARRIER: u32 = 6;
/// Account that deposits.
const USER: u32 = 5;

/// Mints an ether to `to`.
fn ether_to(to: Address) -> Portal::depositTransactionCall {
    Portal::depositTransactionCall {
        to,
        value: ETHER,
        gasLimit: 100_000,
        isCreation: false,
        data: Bytes::new(),
    }
}

fn balance(rpc: &Rpc, account: Address) -> U256 {
    let balance = rpc.get_result("eth_getBalance", json!([account, "latest"]));
    balance.as_str().expect("a quantity").parse().expect("a quantity")
}

fn has_ether(what: &str, rpc: &Rpc, account: Address) {
    eventually(what, seconds(30), || (balance(rpc, account) == ETHER).then_some(()));
}

struct Setup {
    folder: Folder,
    anvil: Anvil,
    options: DevOptions,
    dev: Dev,
}

impl Setup {
    fn new() -> Self {
        let folder = Folder::new();
        let anvil = Anvil::start(&folder, 900, &["--block-time", "1"]);
        let options = DevOptions { l1: Some(anvil.rpc.url().to_owned()), ..DevOptions::default() };
        let dev = Dev::start(&folder, "dev", &options);
        Self { folder, anvil, options, dev }
    }

    fn node(&self, name: &str, options: &NodeOptions) -> Node {
        let file = self.dev.deployment_file();
        Node::start(&self.folder, name, self.anvil.rpc.url(), &file, options)
    }

    fn restart_leader(&mut self) {
        self.dev = Dev::start(&self.folder, "dev", &self.options);
    }
}

#[test]
fn the_chain_goes_on_without_its_leader() {
    let mut setup = Setup::new();
    let seed = seed();
    let wallet = setup.dev.wallet(seed, 1);
    let carrier_options = NodeOptions { post_when_silent: Some(CARRIER), ..NodeOptions::default() };
    let carrier = setup.node("carrier", &carrier_options);
    let follower = setup.node("follower", &NodeOptions::default());

    // While the leader lives: a deposit, and a call that the leader cannot refuse.
    setup.dev.deposit(USER, ETHER, ether_to(Address::repeat_byte(0xf0)));
    has_ether("a deposit that the leader takes", &setup.dev.rpc, Address::repeat_byte(0xf0));
    setup.dev.everything_safe();
    carrier.agrees_with(&setup.dev.rpc);

    setup.dev.process.kill();
    let silent_since = number(&carrier.rpc.block("latest")["number"]);
    // A deposit, and a creation whose code runs: PUSH1 42 PUSH0 SSTORE, then returns nothing.
    let to = Address::repeat_byte(0xf1);
    assert_eq!(setup.dev.deposit(USER, ETHER, ether_to(to))["status"], "0x1");
    let creation = Portal::depositTransactionCall {
        to: Address::ZERO,
        value: U256::ZERO,
        gasLimit: 200_000,
        isCreation: true,
        data: vec![0x60, 0x2a, 0x5f, 0x55, 0x00].into(),
    };
    let user = Wallet::dev(901, USER).address();
    let nonce = number(&carrier.rpc.get_result("eth_getTransactionCount", json!([user, "latest"])));
    assert_eq!(setup.dev.deposit(USER, U256::ZERO, creation)["status"], "0x1");
    std::thread::sleep(seconds(3));
    assert_eq!(carrier.rpc.block_number("latest"), silent_since, "before the window opens");

    setup.anvil.pass(61);
    has_ether("the deposit, carried on", &carrier.rpc, to);
    has_ether("the deposit in a follower", &follower.rpc, to);
    let created = user.create(nonce + 1);
    let slot = follower.rpc.get_result("eth_getStorageAt", json!([created, "0x0", "latest"]));
    assert_eq!(number(&slot), 42);

    // Block after block, with no window to wait for again, and for signed transactions, too.
    for byte in [0xf2, 0xf3] {
        let to = Address::repeat_byte(byte);
        assert_eq!(setup.dev.deposit(USER, ETHER, ether_to(to))["status"], "0x1");
        has_ether("the next deposit", &follower.rpc, to);
    }
    assert!(setup.dev.inbox(Inbox::openPeriodCall {}));
    let nonce = number(
        &carrier.rpc.get_result("eth_getTransactionCount", json!([wallet.address(), "pending"])),
    );
    let to = Address::repeat_byte(0xf4);
    let sent = wallet.transfer(nonce, to, ETHER);
    carrier.rpc.get_result("eth_sendRawTransaction", json!([sent]));
    has_ether("a signed transaction by way of the carrier", &follower.rpc, to);

    // The leader comes back, adopts what happened, and ends the open period with its next batch.
    setup.restart_leader();
    has_ether("the leader knows", &setup.dev.rpc, Address::repeat_byte(0xf4));
    let again = setup.dev.wallet(seed, 2);
    setup.dev.send(&again.transfer(0, Address::repeat_byte(0xf5), ETHER));
    eventually("the leader posts again", seconds(30), || {
        (!setup.dev.inbox(Inbox::openPeriodCall {})).then_some(())
    });
    setup.dev.everything_safe();
    follower.agrees_with(&setup.dev.rpc);
    carrier.agrees_with(&setup.dev.rpc);
    has_ether("the leader's transaction", &follower.rpc, Address::repeat_byte(0xf5));
    // The carrier asks L1 now and then, and takes transactions until it knows; each of these is another one.
    let mut next = nonce;
    eventually("the carrier steps back", seconds(30), || {
        next += 1;
        let sent = json!([wallet.transfer(next, to, U256::ONE)]);
        let refused = carrier.rpc.call("eth_sendRawTransaction", sent).err()?;
        (refused.refusal().0 == -32002).then_some(())
    });
}

#[test]
fn a_leader_that_stalls_keeps_what_it_acknowledged() {
    let setup = Setup::new();
    let seed = seed();
    let wallet = setup.dev.wallet(seed, 1);
    let carrier_options = NodeOptions { post_when_silent: Some(CARRIER), ..NodeOptions::default() };
    let carrier = setup.node("carrier", &carrier_options);
    setup.dev.everything_safe();

    // Acknowledged but not posted when the leader freezes; then L1 gets blocks that it knows nothing of.
    let to = Address::repeat_byte(0xe0);
    let receipts: Vec<_> =
        (0..5).map(|n| setup.dev.send(&wallet.transfer(n, to, U256::ONE))).collect();
    setup.dev.process.signal("STOP");
    let deposited = Address::repeat_byte(0xe1);
    assert_eq!(setup.dev.deposit(USER, ETHER, ether_to(deposited))["status"], "0x1");
    setup.anvil.pass(61);
    has_ether("the deposit, carried on", &carrier.rpc, deposited);

    setup.dev.process.signal("CONT");
    has_ether("the leader knows", &setup.dev.rpc, deposited);
    for receipt in &receipts {
        let hash = receipt["transactionHash"].as_str().expect("a hash");
        eventually("an acknowledged transaction is safe", seconds(40), || {
            let status = setup.dev.rpc.get_result("annex_transactionStatus", json!([hash]));
            (status["stage"] == "safe").then_some(())
        });
    }
    assert_eq!(balance(&setup.dev.rpc, to), U256::from(5));
    setup.dev.everything_safe();
    carrier.agrees_with(&setup.dev.rpc);
    assert!(!setup.dev.inbox(Inbox::openPeriodCall {}));
}
