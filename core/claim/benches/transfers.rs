//! A block of 1,000 transfers as a step: instructions, memory, preimages, and the time here and in the machine.

#![allow(clippy::unwrap_used)] // A bench that cannot go on has nothing to handle.

#[path = "../tests/chain/mod.rs"]
mod chain;

use std::time::Instant;

use alloy_primitives::{Address, Bytes, U256, keccak256};
use annex_claim::{PROGRAM, step};
use annex_riscv::{Machine, Program};
use annex_state::{
    AccountInfo, EMPTY_ROOT, KECCAK_EMPTY, StateChanges, WitnessSource, apply_changes,
};
use annex_stf::genesis;
use annex_types::predeploys::{BLOCK_HASH_HISTORY, L1_BLOCK};
use chain::{Chain, Reading, Served, Store, What, deposit, sign_with, transfer};
use k256::ecdsa::SigningKey;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// The allocator of the node.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const TRANSFERS: u64 = 1_000;
const SEED: u64 = 0x61_6e_6e_65_78;

fn signer(index: u64) -> SigningKey {
    SigningKey::from_slice(&keccak256(index.to_be_bytes())[..]).unwrap()
}

fn signer_address(key: &SigningKey) -> Address {
    let point = key.verifying_key().to_encoded_point(false);
    Address::from_slice(&keccak256(&point.as_bytes()[1..])[12..])
}

/// Accounts beside the signers.
fn other(index: u64) -> Address {
    Address::from_slice(&keccak256((index + (1 << 40)).to_be_bytes())[12..])
}

fn world(accounts: u64, signers: &[SigningKey]) -> Chain {
    let config = chain::config();
    let rich =
        AccountInfo { nonce: 0, balance: U256::from(10u128.pow(24)), code_hash: KECCAK_EMPTY };
    let mut changes = StateChanges::default();
    let everybody = signers.iter().map(signer_address).chain((TRANSFERS..accounts).map(other));
    changes.accounts.extend(everybody.map(|address| (address, Some(rich))));
    let contract = AccountInfo { nonce: 1, ..rich };
    changes.accounts.extend([BLOCK_HASH_HISTORY, L1_BLOCK].map(|it| (it, Some(contract))));
    let update = apply_changes(&WitnessSource::default(), EMPTY_ROOT, &changes).unwrap();
    let mut store = Store::default();
    store.keep(&update, []);
    let mut header = genesis(&config, &Default::default()).header;
    header.state_root = update.root;
    Chain::on(config, header, store)
}

fn measure(accounts: u64, program: &Program) {
    let signers: Vec<_> = (0..TRANSFERS).map(signer).collect();
    let mut chain = world(accounts, &signers);
    let mut random = SmallRng::seed_from_u64(SEED);
    let transactions = signers.iter().map(|key| {
        let to = other(random.random_range(TRANSFERS..accounts));
        sign_with(key, transfer(0, to, Bytes::new()))
    });
    let block = chain.block(0, transactions.collect());
    chain.batch(chain.payload(vec![block]), 0, true);
    let leap = chain.leaps.iter().find(|leap| leap.what == What::Applied { derived: false });
    let (input, preimages) = chain.prepare(leap.expect("a valid block"));
    let input = input.hash();

    let reading = Reading::new(&preimages);
    let expected = step(input, &reading).unwrap().leaf.hash();
    let read = reading.minimal().size();
    let start = Instant::now();
    step(input, &preimages).unwrap();
    let native = start.elapsed();

    let mut machine = Machine::boot(program, input);
    let mut host = Served { preimages: &preimages, printed: String::new() };
    let start = Instant::now();
    machine.run(&mut host, u64::MAX).unwrap();
    let elapsed = start.elapsed();
    assert_eq!(machine.output(), expected, "{}", host.printed);
    println!(
        "{TRANSFERS} transfers over {accounts} accounts: {:.3} G instructions, {:.1} MiB written, {:.2} MB of \
         preimages; native {:.0} ms, machine {:.2} s ({:.0} MIPS)",
        machine.steps() as f64 / 1e9,
        machine.resident_bytes() as f64 / 1_048_576.0,
        read as f64 / 1e6,
        native.as_secs_f64() * 1e3,
        elapsed.as_secs_f64(),
        machine.steps() as f64 / 1e6 / elapsed.as_secs_f64(),
    );
}

/// What a step pays for each forced record that it walks over.
fn walk(program: &Program) {
    let steps = |records: u64| {
        let mut chain = Chain::new(chain::predeploys());
        for _ in 0..records {
            chain.force(deposit(0, 1));
        }
        chain.batch(vec![], 1, false);
        let leap = chain.leaps.iter().find(|leap| leap.what == What::Applied { derived: true });
        let (input, preimages) = chain.prepare(leap.expect("a derived block"));
        let (machine, _) = chain::execute(program, input.hash(), &preimages);
        machine.steps()
    };
    let (few, many) = (1_000, 3_000);
    let each = (steps(many) - steps(few)) / (many - few);
    println!("walking over a forced record: {each} instructions");
}

fn main() {
    let program = Program::from_elf(PROGRAM).unwrap();
    println!("seed {SEED:#x}");
    for accounts in [10_000, 1_000_000] {
        measure(accounts, &program);
    }
    walk(&program);
}
