//! The witness of a block of 1,000 transfers over ten thousand and over a million accounts: its size, what recording it
//! while the root is computed would cost every block, and what building it from history costs when somebody asks.
//! `STORE_BENCH_DIR` chooses where the store is.

use std::hint::black_box;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use alloy_primitives::{Address, U256};
use annex_state::{
    AccountInfo, EMPTY_ROOT, Recorder, StateChanges, StateReader, StateUpdate, TrieReader, Witness,
    WitnessSource, apply_changes,
};
use annex_store::{BlockCommit, Options, Store, View};
use annex_types::Header;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

const TRANSFERS: usize = 1_000;
/// Blocks between a block and the head.
const BEHIND: [u64; 3] = [1, 100, 1_000];
const SEED: u64 = 7;

struct Chain {
    store: Store,
    head: Header,
    addresses: Vec<Address>,
    rng: SmallRng,
}

impl Chain {
    fn new(dir: &std::path::Path, accounts: usize) -> Self {
        let mut rng = SmallRng::seed_from_u64(SEED);
        let addresses: Vec<Address> = (0..accounts).map(|_| Address::new(rng.random())).collect();
        let info = AccountInfo { nonce: 1, balance: U256::from(1_u64 << 60), ..Default::default() };
        let changes = StateChanges {
            accounts: addresses.iter().map(|a| (*a, Some(info))).collect(),
            ..StateChanges::default()
        };
        let update = apply_changes(&WitnessSource::default(), EMPTY_ROOT, &changes).expect("empty");
        let store = Store::open(dir, Options::default()).expect("opens");
        let head = Header { state_root: update.root, ..Header::default() };
        let mut chain = Self { store, head, addresses, rng };
        let genesis = chain.head.clone();
        chain.commit(genesis, &changes, &update, None);
        chain
    }

    fn commit(
        &mut self,
        header: Header,
        changes: &StateChanges,
        update: &StateUpdate,
        witness: Option<&[u8]>,
    ) {
        let block = BlockCommit {
            header: &header,
            hash: header.hash_slow(),
            transactions: &[],
            receipts: &[],
            changes,
            update,
            aliases: &[],
        };
        let written = self.store.write(|writer| {
            writer.append_block(block)?;
            match witness {
                Some(witness) => writer.put_meta(&header.number.to_be_bytes(), Some(witness)),
                None => Ok(()),
            }
        });
        written.expect("commits");
        self.head = header;
    }

    /// What 1,000 transfers between random accounts change.
    fn changes(&mut self, view: &View) -> StateChanges {
        let mut changes = StateChanges::default();
        for _ in 0..2 * TRANSFERS {
            let address = self.addresses[self.rng.random_range(0..self.addresses.len())];
            let mut account = view.account(address).expect("reads").expect("exists");
            account.balance += U256::from(view.number() + 1);
            changes.accounts.insert(address, Some(account));
        }
        changes
    }

    fn next(&self, update: &StateUpdate) -> Header {
        Header {
            number: self.head.number + 1,
            parent_hash: self.head.hash_slow(),
            state_root: update.root,
            ..Header::default()
        }
    }

    /// Time of a block's root and commit; with its witness recorded, compressed and stored if `record`.
    fn block(&mut self, record: bool) -> Duration {
        let view = self.store.latest().expect("view");
        let changes = self.changes(&view);
        let start = Instant::now();
        let (update, witness) = if record {
            let recorder = Recorder::new(&view);
            let update = apply_changes(&recorder, view.root(), &changes).expect("applies");
            (update, Some(compress(&recorder.into_witness())))
        } else {
            (apply_changes(&view, view.root(), &changes).expect("applies"), None)
        };
        drop(view);
        self.commit(self.next(&update), &changes, &update, witness.as_deref());
        start.elapsed()
    }

    /// The witness of the block after `number`, as a node builds it when asked.
    fn build(&self, number: u64, changes: &StateChanges) -> Witness {
        let view = self.store.at(number).expect("kept");
        let recorder = Recorder::new(&view);
        let reader = TrieReader::new(&recorder, view.root(), (number, view.hash()));
        for address in changes.accounts.keys() {
            black_box(reader.account(*address).expect("reads"));
        }
        black_box(apply_changes(&recorder, view.root(), changes).expect("applies"));
        recorder.into_witness()
    }
}

fn compress(witness: &Witness) -> Vec<u8> {
    zstd::bulk::compress(&alloy_rlp::encode(witness), 1).expect("compresses")
}

fn mean(count: u32, mut f: impl FnMut() -> Duration) -> Duration {
    (0..count).map(|_| f()).sum::<Duration>() / count
}

fn main() {
    for accounts in [10_000, 1_000_000] {
        let dir = match std::env::var_os("STORE_BENCH_DIR") {
            Some(dir) => tempfile::tempdir_in(PathBuf::from(dir)),
            None => tempfile::tempdir(),
        }
        .expect("directory");
        let mut chain = Chain::new(dir.path(), accounts);
        println!("{TRANSFERS} transfers over {accounts} accounts, seed {SEED}");
        mean(20, || chain.block(false));
        let without = mean(50, || chain.block(false));
        let with = mean(50, || chain.block(true));
        println!(
            "  root and commit {without:.2?}; with the witness recorded and stored {with:.2?}"
        );
        for behind in BEHIND {
            let view = chain.store.latest().expect("view");
            let number = view.number();
            let changes = chain.changes(&view);
            drop(view);
            for _ in 0..behind {
                chain.block(false);
            }
            let start = Instant::now();
            let witness = chain.build(number, &changes);
            let built = start.elapsed();
            let raw = alloy_rlp::encode(&witness).len();
            println!(
                "  {behind} blocks behind the head: built in {built:.2?}; {} nodes, {raw} bytes, {} compressed",
                witness.nodes.len(),
                compress(&witness).len(),
            );
        }
    }
}
