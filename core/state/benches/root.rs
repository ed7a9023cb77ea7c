//! State root of a block of 1,000 transfers (2,000 accounts of a million), nodes in memory.

use std::collections::HashMap;

use alloy_primitives::map::FbBuildHasher;
use alloy_primitives::{Address, B256, Bytes, U256};
use annex_state::{
    AccountInfo, EMPTY_ROOT, MissingEntry, Nibbles, NodeSource, StateChanges, apply_changes,
};
use criterion::{Criterion, criterion_group, criterion_main};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

#[derive(Default)]
struct Memory(HashMap<B256, Bytes, FbBuildHasher<32>>);

impl NodeSource for Memory {
    type Error = MissingEntry;

    fn node(&self, _: Option<B256>, _: &Nibbles, hash: B256) -> Result<Bytes, MissingEntry> {
        self.0.get(&hash).cloned().ok_or(MissingEntry(hash))
    }

    fn code(&self, hash: B256) -> Result<Bytes, MissingEntry> {
        Err(MissingEntry(hash))
    }
}

fn info(balance: u64) -> Option<AccountInfo> {
    Some(AccountInfo { nonce: 1, balance: U256::from(balance), ..Default::default() })
}

fn root(c: &mut Criterion) {
    let seed = 7;
    println!("seed {seed}");
    let mut rng = SmallRng::seed_from_u64(seed);
    let addresses: Vec<Address> = (0..1_000_000).map(|_| Address::new(rng.random())).collect();
    let accounts = addresses.iter().map(|a| (*a, info(1_000_000_000_000_000_000))).collect();
    let genesis = StateChanges { accounts, ..StateChanges::default() };
    let mut memory = Memory::default();
    let update = apply_changes(&memory, EMPTY_ROOT, &genesis).expect("nothing is loaded");
    let nodes = update.nodes.into_iter().filter_map(|change| change.node);
    memory.0 = nodes.map(|node| (alloy_primitives::keccak256(&node), node)).collect();
    let accounts =
        (0..2000).map(|i| (addresses[rng.random_range(0..addresses.len())], info(i))).collect();
    let block = StateChanges { accounts, ..StateChanges::default() };
    c.bench_function("root of 1,000 transfers among 1,000,000 accounts, in memory", |b| {
        b.iter(|| apply_changes(&memory, update.root, &block).expect("nodes are there").root);
    });
}

criterion_group!(benches, root);
criterion_main!(benches);
