//! L1 goes back some blocks, with batches and deposits in them; deposits come back in another order, or not at all.

use crate::world::{healthy, rounds};
use alloy_primitives::{Address, Bytes, U256};
use alloy_sol_types::SolCall;
use annex_e2e::{
    Anvil, Dev, DevOptions, Folder, Node, NodeOptions, Portal, Rpc, Wallet, eventually, number,
    reorganise, seconds, seed,
};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

/// Development accounts that deposit, once a round each, so that any order of their deposits is possible.
const USERS: std::ops::Range<u32> = 10..16;

struct Deposit {
    raw: Bytes,
    hash: String,
    to: Address,
}

struct Reorgs<'a> {
    dev: &'a Dev,
    l1: &'a Rpc,
    follower: &'a Node,
    random: StdRng,
    wallet: Wallet,
    nonce: u64,
    acknowledged: Vec<Value>,
    deposits: Vec<Deposit>,
}

fn block_number(l1: &Rpc) -> u64 {
    number(&l1.get_result("eth_blockNumber", json!([])))
}

fn balance(rpc: &Rpc, account: Address) -> U256 {
    let balance = rpc.get_result("eth_getBalance", json!([account, "latest"]));
    balance.as_str().expect("a quantity").parse().expect("a quantity")
}

impl Reorgs<'_> {
    fn traffic(&mut self, count: u64) {
        for _ in 0..count {
            let to = Address::from(self.random.random::<[u8; 20]>());
            let encoded = self.wallet.transfer(self.nonce, to, U256::ONE);
            self.acknowledged.push(self.dev.send(&encoded));
            self.nonce += 1;
        }
    }

    /// A deposit of one wei, signed and not sent.
    fn deposit(&mut self, user: u32) -> Deposit {
        let to = Address::from(self.random.random::<[u8; 20]>());
        let wallet = Wallet::dev(900, user);
        let nonce = json!([wallet.address(), "latest"]);
        let nonce = number(&self.l1.get_result("eth_getTransactionCount", nonce));
        let mut call = wallet.transaction(nonce, self.dev.contract("portal").into(), U256::ONE);
        call.gas_limit = 1_000_000;
        // Whoever sends it again pays enough, too.
        call.max_fee_per_gas *= 20;
        call.max_priority_fee_per_gas = call.max_fee_per_gas / 100;
        let request = Portal::depositTransactionCall {
            to,
            value: U256::ONE,
            gasLimit: 100_000,
            isCreation: false,
            data: Bytes::new(),
        };
        call.input = request.abi_encode().into();
        let raw = wallet.sign(call);
        Deposit { hash: Wallet::hash(&raw).to_string(), raw, to }
    }

    /// Deposits, traffic and a batch, and then all blocks that hold them but the oldest go.
    fn round(&mut self) {
        let depth = self.random.random_range(1..=10);
        while block_number(self.l1) < depth + 2 {
            std::thread::sleep(seconds(1));
        }
        let users: Vec<u32> = USERS.collect();
        let mut deposits: Vec<_> = users.iter().map(|user| self.deposit(*user)).collect();
        self.traffic(2);
        deposits.retain(|deposit| {
            std::thread::sleep(std::time::Duration::from_millis(200));
            match self.l1.call("eth_sendRawTransaction", json!([deposit.raw])) {
                Ok(_) => true,
                // What an earlier round took out of L1's blocks waits in its pool, and may come back any time.
                Err(error) => {
                    let (code, message) = error.refusal();
                    let taken = ["nonce too low", "replacement transaction underpriced"];
                    assert!(taken.iter().any(|it| message.contains(it)), "{code} {message}");
                    false
                }
            }
        });
        self.traffic(2);
        if self.random.random() {
            self.dev.everything_safe();
        }
        let (back, gone) = self.reorganise(depth, deposits);
        println!("{depth} blocks; {back} deposits came back, {gone} did not");
        self.traffic(2);
    }

    /// Some of what the blocks held comes back in another order.
    fn reorganise(&mut self, depth: u64, mut deposits: Vec<Deposit>) -> (usize, usize) {
        deposits.shuffle(&mut self.random);
        let first = block_number(self.l1) - depth;
        let (mut back, mut gone) = (Vec::new(), Vec::new());
        for deposit in deposits {
            let block = self.l1.receipt(&deposit.hash).map(|it| number(&it["blockNumber"]));
            match block {
                // L1 may have gone on meanwhile: one more block stays.
                Some(block) if block <= first + 1 => self.deposits.push(deposit),
                _ if self.random.random_range(0..3) > 0 => back.push(deposit),
                _ => gone.push(deposit),
            }
        }
        let last = self.random.random_range(0..depth);
        let pairs: Vec<_> = back.iter().map(|deposit| json!([deposit.raw, last])).collect();
        reorganise(self.l1, depth, json!(pairs));
        let counts = (back.len(), gone.len());
        self.deposits.extend(back);
        self.deposits.extend(gone);
        counts
    }

    /// L2 has just what L1 has.
    #[track_caller]
    fn agree(&self, fresh: &Node) {
        self.dev.everything_safe();
        self.follower.agrees_with(&self.dev.rpc);
        fresh.agrees_with(&self.dev.rpc);
        let nodes = [&self.dev.rpc, &self.follower.rpc, &fresh.rpc];
        for deposit in &self.deposits {
            let there = self.l1.receipt(&deposit.hash).is_some();
            for rpc in nodes {
                let what = format!("deposit {} is on L2 as on L1: {there}", deposit.hash);
                eventually(&what, seconds(30), || {
                    (balance(rpc, deposit.to) == U256::from(u8::from(there))).then_some(())
                });
            }
        }
        for acknowledged in &self.acknowledged {
            let hash = acknowledged["transactionHash"].as_str().expect("a hash");
            let found = nodes.map(|rpc| {
                eventually("a receipt", seconds(30), || rpc.receipt(hash))["blockHash"].clone()
            });
            assert!(found.iter().all(|hash| *hash == found[0]), "{found:?}");
        }
        nodes.into_iter().for_each(healthy);
        let wasted = fresh.metric("annex_skipped_batches_total")
            + fresh.metric("annex_rejected_blocks_total");
        println!("{wasted} batches or blocks in vain");
    }
}

fn run(folder: &Folder, dev: &Dev, l1: &Rpc, seed: u64) {
    let file = dev.deployment_file();
    let options = NodeOptions::default();
    let follower = Node::start(folder, "follower", l1.url(), &file, &options);
    let wallet = dev.wallet(seed, 1);
    for user in USERS {
        let wei = U256::from(10).pow(U256::from(18));
        l1.get_result("anvil_setBalance", json!([Wallet::dev(900, user).address(), wei]));
    }
    // Deeper than any reorganisation.
    l1.get_result("anvil_mine", json!(["0xc"]));
    dev.everything_safe();
    let mut reorgs = Reorgs {
        dev,
        l1,
        follower: &follower,
        random: StdRng::seed_from_u64(seed),
        wallet,
        nonce: 0,
        acknowledged: Vec::new(),
        deposits: Vec::new(),
    };
    for _ in 0..rounds(2) {
        reorgs.round();
    }
    let fresh = Node::start(folder, "fresh", l1.url(), &file, &options);
    reorgs.agree(&fresh);
    assert!(follower.metric("annex_l1_reorgs_total") > 0);
}

#[test]
fn reorganisations_of_anvil() {
    let seed = seed();
    let folder = Folder::new();
    let anvil = Anvil::start(&folder, 900, &["--block-time", "1"]);
    let options = DevOptions { l1: Some(anvil.rpc.url().to_owned()), ..DevOptions::default() };
    let dev = Dev::start(&folder, "dev", &options);
    run(&folder, &dev, &anvil.rpc, seed);
}

#[test]
fn reorganisations_of_the_embedded_l1() {
    let seed = seed();
    let folder = Folder::new();
    let options = DevOptions { l1_block_time: Some(1), ..DevOptions::default() };
    let dev = Dev::start(&folder, "dev", &options);
    let l1 = dev.l1.another();
    run(&folder, &dev, &l1, seed);
}
