//! A block of 1,000 transfers (2,000 accounts of a million) in redb: reading the accounts, the
//! state root, and the commit. `STORE_BENCH_DIR` chooses where the store is.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use alloy_consensus::{Signed, TxLegacy};
use alloy_primitives::{Address, B256, Signature, U256};
use annex_state::{
    AccountInfo, EMPTY_ROOT, StateChanges, StateReader, StateUpdate, UpdatePart, WitnessSource,
    apply_changes, apply_changes_in_parts,
};
use annex_store::{BlockCommit, Durability, Options, Store, in_parallel};
use annex_types::{Header, Receipt, RecoveredTransaction, Transaction, TxType};
use criterion::{Criterion, criterion_group, criterion_main};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

const ACCOUNTS: usize = 1_000_000;
const TRANSFERS: usize = 1_000;

fn info(balance: u64) -> AccountInfo {
    AccountInfo { nonce: 1, balance: U256::from(balance), ..Default::default() }
}

struct Chain {
    store: Store,
    head: Header,
    addresses: Vec<Address>,
    transactions: Vec<RecoveredTransaction>,
    rng: SmallRng,
}

impl Chain {
    fn new(dir: &std::path::Path, durability: Durability) -> Self {
        let seed = 7;
        println!("seed {seed}, {ACCOUNTS} accounts, {durability:?}");
        let mut rng = SmallRng::seed_from_u64(seed);
        let addresses: Vec<Address> = (0..ACCOUNTS).map(|_| Address::new(rng.random())).collect();
        let accounts = addresses.iter().map(|a| (*a, Some(info(1 << 60)))).collect();
        let changes = StateChanges { accounts, ..StateChanges::default() };
        let update = apply_changes(&WitnessSource::default(), EMPTY_ROOT, &changes).expect("empty");
        let options = Options { durability, ..Options::default() };
        let store = Store::open(dir, options).expect("opens");
        let head = Header { state_root: update.root, ..Header::default() };
        let mut chain = Self { store, head, addresses, transactions: Vec::new(), rng };
        let genesis = chain.head.clone();
        chain.commit(genesis, &changes, &update);
        chain
    }

    fn commit(&mut self, header: Header, changes: &StateChanges, update: &StateUpdate) {
        let receipt = Receipt {
            tx_type: TxType::Legacy,
            success: true,
            cumulative_gas_used: 21_000,
            logs: Vec::new(),
        };
        let receipts = vec![receipt; self.transactions.len()];
        let block = BlockCommit {
            header: &header,
            hash: header.hash_slow(),
            transactions: &self.transactions,
            receipts: &receipts,
            changes,
            update,
            aliases: &[],
        };
        self.store.commit_block(block).expect("commits");
        self.head = header;
    }

    /// Time to read the accounts, to compute the root, and to commit.
    fn block(&mut self) -> [Duration; 3] {
        let number = self.head.number + 1;
        let transfer = |n: usize| {
            let tx = TxLegacy { nonce: number, value: U256::from(n), ..TxLegacy::default() };
            let signed = Signed::new_unhashed(tx, Signature::test_signature());
            let transaction = Transaction::Legacy(signed);
            transaction.hash();
            RecoveredTransaction { transaction, sender: Address::ZERO, data_size: 0 }
        };
        self.transactions = (0..TRANSFERS).map(transfer).collect();
        let touched: Vec<Address> = (0..2 * TRANSFERS)
            .map(|_| self.addresses[self.rng.random_range(0..ACCOUNTS)])
            .collect();
        let start = Instant::now();
        let view = self.store.latest().expect("view");
        let mut changes = StateChanges::default();
        for address in touched {
            let mut account = view.account(address).expect("reads").expect("exists");
            account.balance += U256::from(number);
            changes.accounts.insert(address, Some(account));
        }
        let read = start.elapsed();
        let start = Instant::now();
        let update = apply_changes_in_parts(&view, view.root(), &changes, |parts| {
            in_parallel(parts, UpdatePart::run);
        });
        let update = update.expect("applies");
        let root = start.elapsed();
        drop(view);
        let header = Header {
            number,
            parent_hash: self.head.hash_slow(),
            state_root: update.root,
            ..Header::default()
        };
        let start = Instant::now();
        self.commit(header, &changes, &update);
        [read, root, start.elapsed()]
    }
}

fn commit(c: &mut Criterion) {
    for durability in [Durability::Process, Durability::Power] {
        let dir = match std::env::var_os("STORE_BENCH_DIR") {
            Some(dir) => tempfile::tempdir_in(PathBuf::from(dir)),
            None => tempfile::tempdir(),
        }
        .expect("directory");
        let mut chain = Chain::new(dir.path(), durability);
        let (mut sums, mut count) = ([Duration::ZERO; 3], 0);
        c.bench_function(&format!("1,000 transfers, root and commit, {durability:?}"), |b| {
            b.iter_custom(|blocks| {
                let mut total = Duration::ZERO;
                for _ in 0..blocks {
                    let times = chain.block();
                    total += times.iter().sum::<Duration>();
                    (0..3).for_each(|i| sums[i] += times[i]);
                    count += 1;
                }
                total
            });
        });
        let [read, root, commit] = sums.map(|sum| sum / count);
        println!("mean of {count} blocks: read {read:?}, root {root:?}, commit {commit:?}");
        let size = std::fs::metadata(dir.path().join("chain.redb")).expect("file").len();
        println!("file: {} MiB", size >> 20);
        assert_ne!(chain.head.state_root, B256::ZERO);
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = commit
}
criterion_main!(benches);
