//! Forced items that mean to stop the chain: L1 takes them, so every node has to get past them.

use crate::world::healthy;
use alloy_primitives::{Address, U256};
use alloy_sol_types::SolCall;
use annex_e2e::{
    Dev, DevOptions, ETHER, Folder, GWEI, Inbox, Node, NodeOptions, Portal, Wallet, eventually,
    seconds, seed,
};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use serde_json::json;

/// What the Portal takes at most.
const MAX_DATA: usize = 65_536;
const MAX_GAS: u64 = 16_777_216;
const USER: u32 = 5;

/// `PUSH0 PUSH0 REVERT`, an invalid opcode, and a loop without end.
const REVERTS: [u8; 3] = [0x5f, 0x5f, 0xfd];
const INVALID: [u8; 1] = [0xfe];
const ENDLESS: [u8; 4] = [0x5b, 0x5f, 0x56, 0x00];

fn item(to: Address, value: U256, gas: u64, data: Vec<u8>) -> Portal::depositTransactionCall {
    let is_creation = to == Address::ZERO && !data.is_empty();
    let data = data.into();
    Portal::depositTransactionCall { to, value, gasLimit: gas, isCreation: is_creation, data }
}

/// The items and the ether minted with each.
fn wedges(random: &mut StdRng) -> Vec<(Portal::depositTransactionCall, U256)> {
    let nobody = Address::from(random.random::<[u8; 20]>());
    let one = Address::with_last_byte;
    let noise: Vec<u8> = (0..MAX_DATA).map(|_| random.random()).collect();
    let call = |to, gas, data: &[u8]| (item(to, U256::ZERO, gas, data.to_vec()), U256::ZERO);
    let mut items = vec![
        call(Address::ZERO, 100_000, &REVERTS),
        call(Address::ZERO, 100_000, &INVALID),
        call(Address::ZERO, MAX_GAS, &ENDLESS),
        call(Address::ZERO, MAX_GAS, &[0x5f; 60_000]),
        // EIP-3541 and EIP-3860: code that may not be deployed, init code that is too long.
        call(Address::ZERO, 1_000_000, &[0x60, 0xef, 0x5f, 0x53, 0x60, 0x01, 0x5f, 0xf3]),
        call(nobody, MAX_GAS, &noise),
        call(nobody, MAX_GAS, &vec![0; MAX_DATA]),
        // Every precompile, with nonsense.
        call(one(0x0a), MAX_GAS, &noise[..192]),
        call(one(0x05), MAX_GAS, &noise[..96]),
        call(one(0x08), MAX_GAS, &noise[..192 * 20]),
        call(one(0x11), MAX_GAS, &noise[..288]),
        // More than the sender owns, on L2; all that L2 counts with.
        (item(nobody, U256::MAX, 100_000, Vec::new()), U256::ZERO),
        (item(nobody, ETHER, 100_000, Vec::new()), U256::ONE),
        (item(Address::ZERO, ETHER, 21_000, Vec::new()), ETHER),
    ];
    items.shuffle(random);
    items
}

struct Sender<'a> {
    dev: &'a Dev,
    wallet: Wallet,
    nonce: u64,
}

impl Sender<'_> {
    /// Sends a deposit to L1 and does not wait; returns its hash there.
    fn send(&mut self, call: &Portal::depositTransactionCall, mint: U256, gas: u64) -> String {
        let mut outer =
            self.wallet.transaction(self.nonce, self.dev.contract("portal").into(), mint);
        outer.gas_limit = gas;
        outer.max_fee_per_gas *= 10;
        outer.max_priority_fee_per_gas = GWEI;
        outer.input = call.abi_encode().into();
        self.nonce += 1;
        let raw = self.wallet.sign(outer);
        eventually("L1's pool has room", seconds(60), || {
            self.dev.l1.call("eth_sendRawTransaction", json!([raw])).ok()
        });
        Wallet::hash(&raw).to_string()
    }

    fn taken(&self, hash: &str) -> bool {
        eventually("the L1 receipt", seconds(60), || self.dev.l1.receipt(hash))["status"] == "0x1"
    }
}

#[test]
fn forced_items_do_not_wedge_the_chain() {
    let seed = seed();
    let mut random = StdRng::seed_from_u64(seed);
    let folder = Folder::new();
    let options = DevOptions { l1_block_time: Some(1), ..DevOptions::default() };
    let dev = Dev::start(&folder, "dev", &options);
    let file = dev.deployment_file();
    let follower = Node::start(&folder, "follower", dev.l1.url(), &file, &NodeOptions::default());
    let wallet = Wallet::dev(900, USER);
    let nonce = json!([wallet.address(), "latest"]);
    let nonce = annex_e2e::number(&dev.l1.get_result("eth_getTransactionCount", nonce));
    let mut sender = Sender { dev: &dev, wallet, nonce };
    let count = || dev.inbox(Inbox::forcedCountCall {}).to::<u64>();

    // L1 itself refuses what no block could hold.
    let nobody = Address::repeat_byte(0x77);
    let before = count();
    for refused in [
        item(nobody, U256::ZERO, MAX_GAS + 1, Vec::new()),
        item(nobody, U256::ZERO, u64::MAX, Vec::new()),
        item(nobody, U256::ZERO, 0, Vec::new()),
        item(nobody, U256::ZERO, 21_000, vec![1; 1_000]),
        item(nobody, U256::ZERO, MAX_GAS, vec![0; MAX_DATA + 1]),
    ] {
        let hash = sender.send(&refused, U256::ZERO, MAX_GAS);
        assert!(!sender.taken(&hash), "{} gas, {} bytes", refused.gasLimit, refused.data.len());
    }
    assert_eq!(count(), before);

    let hashes: Vec<_> =
        wedges(&mut random).iter().map(|(call, mint)| sender.send(call, *mint, MAX_GAS)).collect();
    // And as many as fit into some L1 blocks, at once.
    let small = item(nobody, U256::ONE, 21_000, Vec::new());
    let many: Vec<_> = (0..300).map(|_| sender.send(&small, U256::ONE, 500_000)).collect();
    let taken = hashes.iter().chain(&many).filter(|hash| sender.taken(hash)).count() as u64;
    assert_eq!(count(), before + taken);
    let minted = U256::from(many.iter().filter(|hash| sender.taken(hash)).count());
    assert!(minted > U256::from(250), "{minted}");
    println!("{taken} items were taken");

    eventually("every item is consumed", seconds(60), || {
        (dev.inbox(Inbox::forcedConsumedCall {}).to::<u64>() == before + taken).then_some(())
    });
    let user = dev.wallet(seed, 1);
    dev.send(&user.transfer(0, nobody, U256::ZERO));
    dev.everything_safe();
    follower.agrees_with(&dev.rpc);
    let fresh = Node::start(&folder, "fresh", dev.l1.url(), &file, &NodeOptions::default());
    fresh.agrees_with(&dev.rpc);
    for rpc in [&dev.rpc, &follower.rpc, &fresh.rpc] {
        let balance = rpc.get_result("eth_getBalance", json!([nobody, "latest"]));
        assert_eq!(balance, format!("{minted:#x}"));
        healthy(rpc);
    }
}
