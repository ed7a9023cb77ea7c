//! Plain transfers, uniformly random over a million accounts: the executor's lane alone, with sealing on a second
//! thread, and the time to seal one block.

#![allow(clippy::unwrap_used)] // A bench that cannot go on has nothing to handle.

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use alloy_consensus::{SignableTransaction, TxEip1559};
use alloy_primitives::map::HashMap;
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256};
use annex_state::{
    AccountInfo, EMPTY_ROOT, KECCAK_EMPTY, Nibbles, NodeChange, NodeSource, Overlay, StateChanges,
    StateReader, StateUpdate, WitnessSource, apply_changes,
};
use annex_stf::{
    CodeCache, ExecutedBlock, OpenBlock, ParentBlock, SealPart, SealedBlock, genesis, seal_in_parts,
};
use annex_store::in_parallel;
use annex_types::predeploys::{BLOCK_HASH_HISTORY, L1_BLOCK};
use annex_types::{
    BlockAttributes, ChainConfig, Header, Origin, RecordEnv, RecoveredTransaction, Transaction,
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// The allocator of the node.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ACCOUNTS: u64 = 1_000_000;
const TRANSFERS: usize = 1_000;
const SEED: u64 = 0x61_6e_6e_65_78;

#[derive(Debug, thiserror::Error)]
#[error("not there")]
struct Missing;

/// Below the state that is kept in memory there is nothing.
struct Nothing;

impl StateReader for Nothing {
    type Error = Missing;

    fn account(&self, _: Address) -> Result<Option<AccountInfo>, Missing> {
        Ok(None)
    }

    fn storage(&self, _: Address, _: U256) -> Result<U256, Missing> {
        Ok(U256::ZERO)
    }

    fn code(&self, _: B256) -> Result<Bytes, Missing> {
        Err(Missing)
    }

    fn block_hash(&self, _: u64) -> Result<B256, Missing> {
        Err(Missing)
    }
}

/// Trie nodes by path.
#[derive(Default)]
struct Nodes {
    state: HashMap<Nibbles, Bytes>,
    storage: HashMap<(B256, Nibbles), Bytes>,
}

impl Nodes {
    fn write(&mut self, update: StateUpdate) {
        for NodeChange { owner, path, node } in update.nodes {
            match (owner, node) {
                (None, Some(node)) => self.state.insert(path, node),
                (None, None) => self.state.remove(&path),
                (Some(owner), Some(node)) => self.storage.insert((owner, path), node),
                (Some(owner), None) => self.storage.remove(&(owner, path)),
            };
        }
    }
}

impl NodeSource for Nodes {
    type Error = Missing;

    fn node(&self, owner: Option<B256>, path: &Nibbles, _: B256) -> Result<Bytes, Missing> {
        let node = match owner {
            None => self.state.get(path),
            Some(owner) => self.storage.get(&(owner, *path)),
        };
        node.cloned().ok_or(Missing)
    }

    fn code(&self, _: B256) -> Result<Bytes, Missing> {
        Err(Missing)
    }
}

fn address(index: u64) -> Address {
    Address::from_slice(&alloy_primitives::keccak256(index.to_be_bytes())[12..])
}

fn config() -> ChainConfig {
    ChainConfig {
        l1_chain_id: 900,
        l2_chain_id: 901,
        inbox: Address::repeat_byte(1),
        lease: Address::repeat_byte(2),
        portal: Address::repeat_byte(3),
        l1_standard_bridge: Address::repeat_byte(4),
        forced_delay: 20,
        liveness_window: 60,
        max_origin_lag: 600,
        timestamp_drift: 5,
        gas_target_per_second: 480_000_000,
        base_fee_scalar: 200_000,
        blob_base_fee_scalar: 1_050_000,
        genesis_timestamp: 1_760_000_000,
    }
}

struct World {
    config: ChainConfig,
    flat: Overlay,
    nodes: Nodes,
    head: Header,
    parent: ParentBlock,
    nonces: Vec<u32>,
    addresses: Vec<Address>,
    random: SmallRng,
}

impl World {
    fn new() -> Self {
        let config = config();
        let addresses: Vec<Address> = (0..ACCOUNTS).map(address).collect();
        let rich =
            AccountInfo { nonce: 0, balance: U256::from(10u128.pow(24)), code_hash: KECCAK_EMPTY };
        let contract = AccountInfo { nonce: 1, ..rich };
        let mut changes = StateChanges::default();
        changes.accounts.extend(addresses.iter().map(|a| (*a, Some(rich))));
        changes.accounts.extend([BLOCK_HASH_HISTORY, L1_BLOCK].map(|a| (a, Some(contract))));
        let update = apply_changes(&WitnessSource::default(), EMPTY_ROOT, &changes).unwrap();
        let mut flat = Overlay::default();
        flat.apply(&changes);
        let mut head = genesis(&config, &Default::default()).header;
        head.state_root = update.root;
        let mut nodes = Nodes::default();
        nodes.write(update);
        let parent = ParentBlock::try_from(&head).unwrap();
        let random = SmallRng::seed_from_u64(SEED);
        let nonces = vec![0; ACCOUNTS as usize];
        Self { config, flat, nodes, head, parent, nonces, addresses, random }
    }

    fn transfers(&mut self, count: usize) -> Vec<RecoveredTransaction> {
        (0..count)
            .map(|_| {
                let from = self.random.random_range(0..ACCOUNTS) as usize;
                let to = self.random.random_range(0..ACCOUNTS) as usize;
                let tx = TxEip1559 {
                    chain_id: self.config.l2_chain_id,
                    nonce: u64::from(self.nonces[from]),
                    gas_limit: 100_000,
                    max_fee_per_gas: 10u128.pow(9),
                    max_priority_fee_per_gas: 1,
                    to: TxKind::Call(self.addresses[to]),
                    value: U256::from(1),
                    ..Default::default()
                };
                self.nonces[from] += 1;
                let signed = tx.into_signed(Signature::test_signature());
                let _ = signed.hash();
                RecoveredTransaction {
                    transaction: Transaction::Eip1559(signed),
                    sender: self.addresses[from],
                    data_size: 100_000_000,
                }
            })
            .collect()
    }

    fn attributes(&self) -> BlockAttributes {
        let env = RecordEnv {
            l1_block_number: 1,
            timestamp: 1_760_000_000,
            base_fee: U256::from(10u64.pow(9)),
            blob_base_fee: U256::from(1),
            l1_parent_hash: B256::ZERO,
        };
        BlockAttributes {
            timestamp: self.parent.timestamp + 1,
            beneficiary: Address::repeat_byte(0xbe),
            origin: Origin { index: 0, accumulator: B256::ZERO, env },
            blocks_in_second: 1,
        }
    }

    /// Executes one block and makes it the state the next one starts from.
    fn execute(
        &mut self,
        transfers: &[RecoveredTransaction],
        codes: &mut CodeCache,
    ) -> ExecutedBlock {
        let codes_in = core::mem::take(codes);
        let mut block = OpenBlock::open(
            &self.config,
            self.parent,
            self.attributes(),
            self.flat.over(Nothing),
            codes_in,
        );
        for transfer in transfers {
            let included = block.execute(transfer).unwrap().expect("valid transfers");
            black_box(included.execution_gas);
        }
        let (executed, kept) = block.finish();
        *codes = kept;
        self.parent = executed.as_parent();
        executed
    }

    fn keep(&mut self, executed: &ExecutedBlock) {
        self.flat.merge(executed.overlay.clone());
    }
}

fn machine() -> String {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find(|line| line.starts_with("model name"));
    let model = model.and_then(|line| line.split(": ").nth(1)).unwrap_or("unknown processor");
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    format!("machine: {model}, {threads} threads")
}

fn transfers(criterion: &mut Criterion) {
    println!("{}", machine());
    let mut world = World::new();
    let mut group = criterion.benchmark_group("transfers");
    group.throughput(Throughput::Elements(TRANSFERS as u64));
    group.sample_size(10).measurement_time(Duration::from_secs(6));

    let mut codes = CodeCache::default();
    group.bench_function("root of a block of 1000", |bencher| {
        bencher.iter_custom(|blocks| {
            let mut time = Duration::ZERO;
            for _ in 0..blocks {
                let batch = world.transfers(TRANSFERS);
                let executed = world.execute(&batch, &mut codes);
                world.keep(&executed);
                let start = Instant::now();
                let sealed = seal_block(executed, &world.head, &world.nodes);
                time += start.elapsed();
                world.nodes.write(sealed.update);
                world.head = sealed.header;
            }
            time
        });
    });

    group.bench_function("sealed on a second thread", |bencher| {
        bencher.iter_custom(|blocks| pipeline(&mut world, blocks as usize));
    });

    group.bench_function("executed", |bencher| {
        bencher.iter_custom(|blocks| {
            let mut time = Duration::ZERO;
            for _ in 0..blocks {
                let batch = world.transfers(TRANSFERS);
                let start = Instant::now();
                let executed = world.execute(&batch, &mut codes);
                time += start.elapsed();
                world.keep(&executed);
            }
            time
        });
    });
    group.finish();
}

/// Seals as the node does.
fn seal_block(executed: ExecutedBlock, parent: &Header, nodes: &Nodes) -> SealedBlock {
    seal_in_parts(executed, parent, nodes, |parts| in_parallel(parts, SealPart::run)).unwrap()
}

/// Executes on this thread, seals on another; the time until both are done. Making the
/// block's changes visible to the next block is part of the executor's side.
fn pipeline(world: &mut World, blocks: usize) -> Duration {
    let batches: Vec<_> = (0..blocks).map(|_| world.transfers(TRANSFERS)).collect();
    let (sender, receiver) = mpsc::sync_channel::<ExecutedBlock>(4);
    let mut nodes = core::mem::take(&mut world.nodes);
    let mut head = world.head.clone();
    let start = Instant::now();
    let sealer = thread::spawn(move || {
        for executed in receiver {
            let sealed = seal_block(executed, &head, &nodes);
            nodes.write(sealed.update);
            head = sealed.header;
        }
        (nodes, head)
    });
    let mut codes = CodeCache::default();
    for batch in &batches {
        let executed = world.execute(batch, &mut codes);
        world.keep(&executed);
        sender.send(executed).unwrap();
    }
    drop(sender);
    (world.nodes, world.head) = sealer.join().unwrap();
    start.elapsed()
}

criterion_group!(benches, transfers);
criterion_main!(benches);
