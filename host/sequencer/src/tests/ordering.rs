//! Ordering policies, and what waits.

use super::*;
use alloy_consensus::TxReceipt;
use alloy_eips::eip2718::Encodable2718;
use std::time::Instant;

fn settings(dir: &Path) -> EngineConfig {
    EngineConfig {
        chain: config(),
        block_interval: NEVER,
        ordering: Ordering::FirstCome,
        pool: PoolLimits::default(),
        held: false,
        durability: Durability::Process,
        log_dir: dir.join("log"),
        max_backlog: 1 << 30,
        posted: 0,
    }
}

fn funded(leader: &Leader, wallets: &[&Wallet]) {
    let deposits = wallets.iter().zip(0..).map(|(w, i)| deposit(i + 1, i, w.address()));
    leader.engine.records(deposits.collect()).expect("runs");
    let start = Instant::now();
    while wallets.iter().any(|wallet| leader.balance(wallet.address()).is_zero()) {
        assert!(start.elapsed() < Duration::from_secs(20), "deposits are not executed");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn receipts(results: Vec<Result<Taken, Rejected>>) -> Vec<Arc<Executed>> {
    let executed = results.into_iter().map(|result| match result {
        Ok(Taken::Executed(executed)) => executed,
        other => panic!("{other:?}"),
    });
    executed.collect()
}

#[test]
fn priority_orders_by_tip_and_one_promise_covers_the_window() {
    let dir = tempfile::tempdir().expect("temp dir");
    let window = Duration::from_millis(150);
    let ordering = Ordering::Priority { window };
    let leader = Leader::start_with(EngineConfig { ordering, ..settings(dir.path()) });
    let (mut a, mut b, mut c) = (Wallet::new(1), Wallet::new(2), Wallet::new(3));
    funded(&leader, &[&a, &b, &c]);

    let own = vec![a.next(0, 1), a.next(0, 9)];
    let (other, third) = (vec![b.next(0, 5), b.sign(5, 0, 100)], vec![c.next(0, 3)]);
    let engine = &leader.engine;
    let start = Instant::now();
    let (mut first, second, third, view) = leader.runtime.block_on(async {
        let view = async {
            std::thread::sleep(Duration::from_millis(30));
            let found = engine.find_waiting(own[0].transaction.hash()).is_some();
            (engine.waiting(), found)
        };
        let (own, other, third) = (own.clone(), other.clone(), third.clone());
        tokio::join!(engine.submit(own), engine.submit(other), engine.submit(third), view)
    });
    let took = start.elapsed();
    assert!(took >= window, "{took:?}");
    // While it waits it is to be seen, and what it will wait for afterwards, too.
    assert_eq!((view.0.executable.len(), view.0.queued.len(), view.1), (4, 1, true));
    assert!(matches!(second[1], Ok(Taken::Waiting(_))), "{second:?}");
    assert_eq!((engine.waiting().executable.len(), engine.waiting().queued.len()), (0, 1));

    first.extend(second.into_iter().take(1).chain(third));
    let executed = receipts(first);
    let indices: Vec<u32> = executed.iter().map(|executed| executed.index).collect();
    // Three deposits, then b, c, and a's two by nonce.
    assert_eq!(indices, [5, 6, 3, 4]);
    let promise = executed[0].promise.get().expect("promised").clone();
    assert!(executed.iter().all(|executed| executed.promise.get() == Some(&promise)));
    let mut ordered = executed.clone();
    ordered.sort_by_key(|executed| executed.index);
    let leaf = |e: &Arc<Executed>| {
        promise::leaf(e.hash, keccak256(e.receipt.with_bloom_ref().encoded_2718()))
    };
    let root = promise::root(&ordered.iter().map(leaf).collect::<Vec<_>>());
    let promised = &promise.promise;
    assert_eq!((promised.firstIndex, promised.count, promised.root), (3, 4, root));
    leader.engine.stop();
}

#[test]
fn a_synchronous_send_waits_for_the_window_and_no_longer() {
    let dir = tempfile::tempdir().expect("temp dir");
    let window = Duration::from_millis(10);
    let ordering = Ordering::Priority { window };
    let leader = Leader::start_with(EngineConfig { ordering, ..settings(dir.path()) });
    let mut wallet = Wallet::new(1);
    funded(&leader, &[&wallet]);
    let mut times = Vec::new();
    for _ in 0..15 {
        let tx = wallet.next(0, 1);
        let start = Instant::now();
        leader.executed(&tx);
        times.push(start.elapsed());
    }
    times.sort_unstable();
    assert!(times[0] >= window, "{times:?}");
    assert!(times[7] < 3 * window, "{times:?}");
    // What is refused at once needs no window, nor does nothing.
    assert_eq!(leader.runtime.block_on(leader.engine.submit(Vec::new())).len(), 0);
    let known = wallet.sign(0, 0, 1);
    assert_eq!(leader.submit(&known).expect_err("known"), Rejected::AlreadyKnown);
    leader.engine.stop();
}

#[test]
fn a_deposit_that_counts_a_nonce_gives_what_waits_its_turn() {
    for window in [None, Some(Duration::from_millis(5))] {
        let dir = tempfile::tempdir().expect("temp dir");
        let ordering = window.map_or(Ordering::FirstCome, |window| Ordering::Priority { window });
        let settings = EngineConfig { ordering, block_interval: SOON, ..settings(dir.path()) };
        let leader = Leader::start_with(settings);
        let wallet = Wallet::new(1);
        funded(&leader, &[&wallet]);
        let early = [wallet.sign(1, 0, 0), wallet.sign(2, 0, 0)];
        for tx in &early {
            assert!(matches!(leader.submit(tx), Ok(Taken::Waiting(_))));
        }
        let mut record = deposit(2, 1, Wallet::new(2).address());
        let RecordPayload::Forced(item) = &mut record.payload else { panic!("a deposit") };
        item.from = wallet.address();
        leader.engine.records(vec![record]).expect("runs");
        let start = Instant::now();
        let nonce = || leader.engine.live().account(wallet.address()).expect("reads");
        while nonce().is_none_or(|account| account.nonce < 3) {
            assert!(start.elapsed() < Duration::from_secs(20), "it waits for ever");
            std::thread::sleep(Duration::from_millis(2));
        }
        assert!(leader.engine.waiting().queued.is_empty());
        leader.engine.stop();
    }
}

#[test]
fn what_waits_too_long_is_forgotten_without_anybody_asking() {
    let dir = tempfile::tempdir().expect("temp dir");
    let pool = PoolLimits { lifetime: Duration::from_millis(200), ..PoolLimits::default() };
    let leader = Leader::start_with(EngineConfig { pool, ..settings(dir.path()) });
    let wallet = Wallet::new(1);
    funded(&leader, &[&wallet]);
    let early = wallet.sign(1, 0, 0);
    assert!(matches!(leader.submit(&early), Ok(Taken::Waiting(_))));
    let cheap = wallet.sign(1, 1, 0);
    assert_eq!(leader.submit(&cheap).expect_err("no more"), Rejected::ReplacementUnderpriced);
    assert_eq!(leader.engine.waiting().queued.len(), 1);
    let start = Instant::now();
    while !leader.engine.waiting().queued.is_empty() {
        assert!(start.elapsed() < Duration::from_secs(20), "it waits for ever");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(start.elapsed() < Duration::from_secs(5));
    leader.engine.stop();
}

#[test]
fn a_full_pool_makes_room_for_who_pays_more() {
    let dir = tempfile::tempdir().expect("temp dir");
    let pool = PoolLimits { per_sender: 2, total: 3, ..PoolLimits::default() };
    let leader = Leader::start_with(EngineConfig { pool, ..settings(dir.path()) });
    let (a, b, c) = (Wallet::new(1), Wallet::new(2), Wallet::new(3));
    funded(&leader, &[&a, &b, &c]);
    let (poor, rich) = (a.sign(2, 0, 10), a.sign(1, 0, 20));
    for tx in [&poor, &rich, &b.sign(1, 0, 15)] {
        assert!(matches!(leader.submit(tx), Ok(Taken::Waiting(_))));
    }
    let third = leader.submit(&a.sign(3, 0, 99)).expect_err("a sender's limit");
    assert_eq!(third.to_string(), "nonce too high: tx nonce 3, next nonce 0");
    assert_eq!(leader.submit(&c.sign(1, 0, 10)).expect_err("full"), Rejected::Underpriced);
    assert!(matches!(leader.submit(&c.sign(1, 0, 11)), Ok(Taken::Waiting(_))));
    assert!(leader.engine.find_waiting(poor.transaction.hash()).is_none());
    assert!(leader.engine.find_waiting(rich.transaction.hash()).is_some());
    leader.engine.stop();
}
