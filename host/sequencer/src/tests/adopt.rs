//! A leader on an old copy of its data: what a listener heard is kept, and no number is used twice.

use super::*;
use alloy_consensus::TxReceipt;
use alloy_eips::eip2718::Encodable2718;
use annex_rpc::{Arrival, MiniBlock};
use annex_types::promise::SignedPromise;
use rand::{Rng, SeedableRng, rngs::SmallRng, seq::SliceRandom};
use std::collections::BTreeSet;
use std::thread::sleep;
use tokio::sync::broadcast::Receiver;

fn heard(block: &MiniBlock) -> Heard {
    let receipt = |e: &Arc<Executed>| keccak256(e.receipt.with_bloom_ref().encoded_2718());
    Heard {
        promise: block.promise.clone().expect("a leader promises"),
        transactions: block
            .transactions
            .iter()
            .map(|e| e.transaction.transaction.encoded_2718().into())
            .collect(),
        receipts: block.transactions.iter().map(receipt).collect(),
    }
}

fn drain(arrivals: &mut Receiver<Arrival>) -> Vec<Heard> {
    let mut out = Vec::new();
    while let Ok(arrival) = arrivals.try_recv() {
        if let Arrival::Executed(block) = arrival {
            out.push(heard(&block));
        }
    }
    out
}

fn settings(dir: &Path, held: bool) -> EngineConfig {
    EngineConfig {
        chain: config(),
        block_interval: SOON,
        ordering: Ordering::FirstCome,
        pool: PoolLimits::default(),
        held,
        durability: Durability::Process,
        log_dir: dir.join("log"),
        max_backlog: 1 << 30,
        posted: 0,
    }
}

fn copy(from: &Path, to: &Path) {
    for folder in ["store", "log"] {
        std::fs::create_dir_all(to.join(folder)).expect("a folder");
        for file in std::fs::read_dir(from.join(folder)).expect("a folder") {
            let file = file.expect("a file");
            std::fs::copy(file.path(), to.join(folder).join(file.file_name())).expect("copies");
        }
    }
}

/// A leader and what it made until it was lost.
struct Lost {
    dir: tempfile::TempDir,
    records: Vec<Record>,
    wallets: [Wallet; 2],
    heard: Vec<Heard>,
    executed: Vec<Arc<Executed>>,
    head: (u64, B256),
}

impl Lost {
    /// Some before the copy, some after, in several blocks.
    fn new(rng: &mut SmallRng) -> Self {
        let dir = tempfile::tempdir().expect("temp dir");
        let mut wallets = [Wallet::new(1), Wallet::new(2)];
        let records: Vec<_> =
            (0..2).map(|i| deposit(i as u64 + 1, i as u64, wallets[i].address())).collect();
        let path = dir.path().join("leader");
        let mut executed = Vec::new();
        let mut heard = Vec::new();
        for copied in [false, true] {
            let leader = Leader::start_with(settings(&path, false));
            let mut arrivals = leader.engine.arrivals();
            leader.engine.records(records[..1].to_vec()).expect("runs");
            if copied {
                leader.engine.records(records[1..].to_vec()).expect("runs");
            }
            let usable = if copied { 2 } else { 1 };
            for _ in 0..rng.random_range(1..12) {
                let wallet = &mut wallets[rng.random_range(0..usable)];
                let tx = wallet.next(rng.random_range(0..50), 0);
                while leader.balance(tx.sender).is_zero() {
                    sleep(Duration::from_millis(1));
                }
                executed.push(leader.executed(&tx));
                if rng.random_bool(0.4) {
                    sleep(SOON * 2);
                }
            }
            leader.engine.stop();
            heard.extend(drain(&mut arrivals));
            if copied {
                let head = leader.store.head().expect("reads").expect("a head");
                return Self {
                    dir,
                    records,
                    wallets,
                    heard,
                    executed,
                    head: (head.number, head.hash),
                };
            }
            drop(leader);
            copy(&path, &dir.path().join("copy"));
        }
        unreachable!("the second round returns")
    }

    fn copy(&self) -> Leader {
        let leader = Leader::start_with(settings(&self.dir.path().join("copy"), true));
        leader.engine.records(self.records.clone()).expect("runs");
        leader
    }

    fn numbers(&self) -> BTreeSet<u64> {
        self.heard.iter().map(|heard| heard.promise.promise.sequence).collect()
    }
}

fn adopt(leader: &Leader, heard: Vec<Heard>, shown: Vec<Arc<SignedPromise>>) -> Adopted {
    leader.runtime.block_on(leader.engine.adopt(heard, shown)).expect("runs")
}

fn promise_of(executed: &Executed) -> &SignedPromise {
    executed.promise.get().expect("promised")
}

#[test]
fn what_was_heard_is_kept_word_for_word() {
    for seed in 0..8 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut lost = Lost::new(&mut rng);
        let leader = lost.copy();
        // Two followers, neither of which has them in order, and one of which has some twice.
        let mut heard = lost.heard.clone();
        heard.extend(lost.heard.iter().take(3).cloned());
        heard.shuffle(&mut rng);
        let adopted = adopt(&leader, heard, Vec::new());
        assert_eq!(adopted.again, 0, "seed {seed}");
        for executed in &lost.executed {
            let live = leader.engine.live().transaction(executed.hash);
            let place = |e: &Executed| (e.block_number, e.index, e.receipt.clone());
            match live {
                Some(live) => {
                    assert_eq!(place(&live), place(executed), "seed {seed}");
                    assert_eq!(promise_of(&live), promise_of(executed), "seed {seed}");
                }
                None => leader.sealed(executed.block_number),
            }
        }
        // Nothing new before it may.
        let next = lost.wallets[0].next(0, 0);
        assert_eq!(leader.submit(&next).expect_err("held"), Rejected::StaleL1);
        leader.engine.caught_up().expect("runs");
        let executed = leader.executed(&next);
        let promise = &promise_of(&executed).promise;
        assert!(!lost.numbers().contains(&promise.sequence), "seed {seed}");
        assert!(promise.sequence > *lost.numbers().last().expect("some"), "seed {seed}");
        leader.sealed(executed.block_number);
        let (number, hash) = lost.head;
        let found = leader.store.snapshot().expect("opens").hash(number).expect("reads");
        assert_eq!(found, Some(hash), "seed {seed}: block {number}");
        assert_eq!(leader.engine.changed_promises(0, 10), [], "seed {seed}");

        // The same again from its log.
        leader.engine.stop();
        drop(leader);
        let leader = lost.copy();
        leader.engine.caught_up().expect("runs");
        let after = promise_of(&leader.executed(&lost.wallets[0].next(0, 0))).promise.sequence;
        assert!(after > promise.sequence, "seed {seed}");
        leader.engine.stop();
    }
}

/// Of a promise in the middle nothing is known: what follows it cannot stand where it stood.
#[test]
fn what_follows_a_hole_is_executed_again() {
    for seed in 0..6 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let lost = Lost::new(&mut rng);
        let leader = lost.copy();
        let known = leader.engine.live().snapshot().expect("reads").1.base.number();
        let newest = lost.heard.last().expect("some").promise.clone();
        let mut heard = lost.heard.clone();
        let hole = rng.random_range(0..heard.len());
        let gone = heard.remove(hole);
        let adopted = adopt(&leader, heard, vec![newest.clone()]);
        leader.engine.caught_up().expect("runs");
        // Answered when that is done.
        leader.runtime.block_on(leader.engine.submit(Vec::new()));
        let snapshot = || leader.store.snapshot().expect("opens");
        let missing: BTreeSet<B256> = gone.transactions.iter().map(keccak256).collect();
        let mut broken = 0;
        for executed in &lost.executed {
            // It waits for a nonce that is gone for good.
            let sender = executed.transaction.sender;
            let after_gone = lost
                .executed
                .iter()
                .any(|e| missing.contains(&e.hash) && e.transaction.sender == sender);
            let live = leader.engine.live().transaction(executed.hash).is_some();
            let stored = snapshot().transaction_position(executed.hash).expect("reads").is_some();
            broken += usize::from(!live && !stored && !missing.contains(&executed.hash));
            assert!(live || stored || after_gone, "seed {seed}: {executed:?}");
        }
        if broken > 0 {
            assert!(!leader.engine.changed_promises(0, 100).is_empty(), "seed {seed}");
        }
        println!("seed {seed}: block {known}, hole {hole}, {adopted:?}, {broken} gone");
        let mut third = Wallet::new(1);
        third.nonce = {
            let account = leader.engine.live().account(third.address()).expect("reads");
            account.unwrap_or_default().nonce
        };
        let promise = promise_of(&leader.executed(&third.next(0, 0))).promise.sequence;
        assert!(promise > newest.promise.sequence, "seed {seed}");
        leader.engine.stop();
    }
}

#[test]
fn strangers_and_liars_are_not_heard() {
    let mut rng = SmallRng::seed_from_u64(1);
    let lost = Lost::new(&mut rng);
    let leader = lost.copy();
    let stranger = PromiseSigner::new(&B256::repeat_byte(8), promise::domain(900, config().lease));
    let stranger = stranger.expect("a key");
    let before = leader.engine.live().snapshot().expect("reads").0.len();
    let mut heard = lost.heard.clone();
    for (index, heard) in heard.iter_mut().enumerate() {
        let mut promise = heard.promise.promise.clone();
        match index % 3 {
            0 => heard.promise = Arc::new(stranger.sign(promise).0),
            1 => heard.transactions[0] = Bytes::from_static(&[2, 1]),
            _ => {
                promise.leaseId = U256::from(2);
                heard.promise = Arc::new(stranger.sign(promise).0);
            }
        }
    }
    let mut far = lost.heard[0].promise.promise.clone();
    far.sequence = u64::MAX;
    let shown = vec![Arc::new(stranger.sign(far).0)];
    assert_eq!(adopt(&leader, heard, shown), Adopted::default());
    assert_eq!(leader.engine.live().snapshot().expect("reads").0.len(), before);
    leader.engine.stop();
}
