//! The engine over a real store, fed as the node feeds it.

use super::*;
use alloy_consensus::{SignableTransaction, TxEip1559};
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256, keccak256};
use annex_rpc::{Executed, Rejected};
use annex_store::{BlockCommit, Durability, Options, Store};
use annex_types::{
    BlockAttributes, BlockInput, ChainConfig, ForcedItem, Origin, Record, RecordEnv, RecordPayload,
    RecoveredTransaction, Transaction, batch,
    predeploys::{BLOCK_HASH_HISTORY, L1_BLOCK, L2_TO_L1_MESSAGE_PASSER},
    promise,
};
use k256::ecdsa::SigningKey;
use std::{
    collections::BTreeMap,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

const RICH: u128 = 10u128.pow(20);

fn config() -> ChainConfig {
    ChainConfig {
        l1_chain_id: 900,
        l2_chain_id: 901,
        inbox: Address::repeat_byte(1),
        lease: Address::repeat_byte(3),
        portal: Address::repeat_byte(2),
        l1_standard_bridge: Address::repeat_byte(4),
        forced_delay: 20,
        liveness_window: 60,
        max_origin_lag: 600,
        timestamp_drift: 5,
        gas_target_per_second: 480_000_000,
        base_fee_scalar: 0,
        blob_base_fee_scalar: 0,
        genesis_timestamp: 1,
    }
}

fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

struct Wallet {
    key: SigningKey,
    nonce: u64,
}

impl Wallet {
    fn new(seed: u8) -> Self {
        Self { key: SigningKey::from_slice(&[seed; 32]).expect("a small number"), nonce: 0 }
    }

    fn address(&self) -> Address {
        let point = self.key.verifying_key().to_encoded_point(false);
        Address::from_slice(&keccak256(&point.as_bytes()[1..])[12..])
    }

    /// With `size` bytes of input, paying `tip` wei.
    fn sign(&self, nonce: u64, size: usize, tip: u128) -> RecoveredTransaction {
        self.sign_input(nonce, noise(nonce).take(size).collect(), tip)
    }

    fn sign_input(&self, nonce: u64, input: Vec<u8>, tip: u128) -> RecoveredTransaction {
        let tx = TxEip1559 {
            chain_id: 901,
            nonce,
            gas_limit: 21_000 + 40 * input.len() as u64,
            max_fee_per_gas: 1_000_000_000 + tip,
            max_priority_fee_per_gas: tip,
            to: TxKind::Call(Address::repeat_byte(0xaa)),
            value: U256::from(1),
            access_list: Default::default(),
            input: input.into(),
        };
        let hash = tx.signature_hash();
        let (signature, id) =
            self.key.sign_prehash_recoverable(hash.as_slice()).expect("any hash signs");
        let signature = Signature::from_signature_and_parity(signature, id.is_y_odd());
        let tx = Transaction::Eip1559(tx.into_signed(signature));
        RecoveredTransaction::recover(tx).expect("just signed")
    }

    fn next(&mut self, size: usize, tip: u128) -> RecoveredTransaction {
        self.nonce += 1;
        self.sign(self.nonce - 1, size, tip)
    }
}

/// Bytes that do not compress.
fn noise(seed: u64) -> impl Iterator<Item = u8> {
    (0u64..).flat_map(move |at| keccak256([seed.to_be_bytes(), at.to_be_bytes()].concat()).0)
}

fn deposit(record: u64, item: u64, to: Address) -> Record {
    let item = ForcedItem {
        index: item,
        from: Address::repeat_byte(0xdd),
        to,
        mint: RICH,
        value: U256::from(RICH),
        gas_limit: 21_000,
        is_creation: false,
        data: Bytes::new(),
    };
    Record {
        index: record,
        accumulator: B256::repeat_byte(record as u8),
        env: RecordEnv { timestamp: 5, ..RecordEnv::default() },
        payload: RecordPayload::Forced(item),
    }
}

struct Leader {
    engine: Engine,
    store: Store,
    runtime: tokio::runtime::Runtime,
}

impl Leader {
    /// Reopens what `dir` holds. Sealed blocks take an hour unless a test makes them.
    fn start(dir: &Path, max_backlog: usize, posted: u64, interval: Duration) -> Self {
        Self::start_with(EngineConfig {
            chain: config(),
            block_interval: interval,
            ordering: Ordering::FirstCome,
            pool: PoolLimits::default(),
            held: false,
            durability: Durability::Process,
            log_dir: dir.join("log"),
            max_backlog,
            posted,
        })
    }

    fn start_with(settings: EngineConfig) -> Self {
        let dir = settings.log_dir.parent().expect("a folder of the data directory");
        let store =
            Store::open(&dir.join("store"), Options { cache: 1 << 20, ..Options::default() })
                .expect("opens");
        if store.head().expect("reads").is_none() {
            let code = [BLOCK_HASH_HISTORY, L1_BLOCK, L2_TO_L1_MESSAGE_PASSER];
            let code = code.map(|address| (address, Bytes::from_static(&[0])));
            let genesis = annex_stf::genesis(&config(), &BTreeMap::from(code));
            let commit = BlockCommit {
                header: &genesis.header,
                hash: genesis.hash,
                transactions: &[],
                receipts: &[],
                changes: &genesis.changes,
                update: &genesis.update,
                aliases: &[],
            };
            store.commit_block(commit).expect("genesis");
        }
        let domain = promise::domain(900, config().lease);
        let sequencing = Sequencing {
            beneficiary: Address::repeat_byte(5),
            lease_id: U256::from(1),
            signer: Some(PromiseSigner::new(&B256::repeat_byte(9), domain).expect("a key")),
        };
        let engine = Engine::start(settings, store.clone(), Some(sequencing)).expect("starts");
        engine.l1_seen(unix_now()).expect("runs");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        Self { engine, store, runtime }
    }

    fn submit(&self, tx: &RecoveredTransaction) -> Result<Taken, Rejected> {
        let mut results = self.runtime.block_on(self.engine.submit(vec![tx.clone()]));
        assert_eq!(results.len(), 1);
        results.pop().expect("counted")
    }

    fn executed(&self, tx: &RecoveredTransaction) -> Arc<Executed> {
        match self.submit(tx) {
            Ok(Taken::Executed(executed)) => executed,
            other => panic!("{other:?}"),
        }
    }

    /// Waits until block `number` is in the store.
    fn sealed(&self, number: u64) {
        let start = std::time::Instant::now();
        while self.store.head().expect("reads").is_none_or(|head| head.number < number) {
            assert!(start.elapsed() < Duration::from_secs(20), "block {number} is not sealed");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn balance(&self, address: Address) -> U256 {
        let account = self.engine.live().account(address).expect("reads");
        account.unwrap_or_default().balance
    }
}

const SOON: Duration = Duration::from_millis(20);
const NEVER: Duration = Duration::from_secs(3600);

#[test]
fn a_backlog_raises_the_price_then_refuses_until_l1_takes_it() {
    let dir = tempfile::tempdir().expect("temp dir");
    let (bound, size) = (40_000, 1_000);
    let leader = Leader::start(dir.path(), bound, 0, NEVER);
    let mut wallet = Wallet::new(1);
    leader.engine.records(vec![deposit(1, 0, wallet.address())]).expect("runs");
    let mut first = None;
    while leader.engine.min_tip() == 0 {
        let tx = wallet.next(size, 0);
        leader.executed(&tx);
        first.get_or_insert(tx);
    }
    assert!(wallet.nonce >= 15, "{} transactions fill less than half", wallet.nonce);

    // Half of the bound is reached: too little is refused with the price, enough is taken, and the price rises.
    let mut last = leader.engine.min_tip();
    assert!((1_000_000..4_000_000).contains(&last), "{last}");
    let cheap = wallet.sign(wallet.nonce, size, last - 1);
    assert_eq!(
        leader.submit(&cheap).expect_err("underpriced"),
        Rejected::TipTooLow { needed: last, tip: last - 1 }
    );
    leader.executed(&wallet.next(size, last));
    while leader.engine.min_tip() > last {
        last = leader.engine.min_tip();
        if let Err(error) = leader.submit(&wallet.sign(wallet.nonce, size, last)) {
            assert_eq!(error, Rejected::Backlog);
            break;
        }
        wallet.nonce += 1;
    }
    assert!(last > 100_000_000_000, "{last} wei at the end");
    let rich = wallet.sign(wallet.nonce, size, u128::from(u64::MAX));
    assert_eq!(leader.submit(&rich).expect_err("full"), Rejected::Backlog);

    // What was acknowledged stays known, and L1's deposits are taken.
    let known = leader.submit(&first.expect("it was sent")).expect_err("known");
    assert_eq!(known, Rejected::AlreadyKnown);
    let other = Wallet::new(2).address();
    leader.engine.records(vec![deposit(2, 1, other)]).expect("runs");
    leader.engine.stop();
    drop(leader);

    // After a restart the log is replayed whatever its transactions pay, and the price is what it was.
    let leader = Leader::start(dir.path(), bound, 0, SOON);
    assert!(leader.engine.min_tip() >= last, "{} after {last}", leader.engine.min_tip());
    leader
        .engine
        .records(vec![deposit(1, 0, wallet.address()), deposit(2, 1, other)])
        .expect("runs");
    leader.sealed(1);
    leader.sealed(2);
    assert_eq!(leader.balance(other), U256::from(RICH));
    // Nonces and recipients compress: there is room for some, not for many.
    let enough = 1_000_000_000_000;
    let room = (0..).find(|_| leader.submit(&wallet.next(size, enough)).is_err());
    assert!(room.is_some_and(|more| more < 5), "{room:?} more were taken");
    wallet.nonce -= 1;
    let rich = wallet.sign(wallet.nonce, size, enough);
    assert_eq!(leader.submit(&rich).expect_err("full"), Rejected::Backlog);
    leader.engine.safe(1, 1).expect("runs");
    leader.executed(&wallet.next(10, 0));
    assert_eq!(leader.engine.min_tip(), 0);
    leader.engine.stop();
}

#[test]
fn a_restart_counts_what_the_store_holds_beyond_l1() {
    let dir = tempfile::tempdir().expect("temp dir");
    let bound = 40_000;
    let leader = Leader::start(dir.path(), bound, 0, SOON);
    let mut wallet = Wallet::new(1);
    leader.engine.records(vec![deposit(1, 0, wallet.address())]).expect("runs");
    leader.sealed(1);
    leader.executed(&wallet.next(25_000, 0));
    leader.sealed(2);
    let price = leader.engine.min_tip();
    assert!(price > 0);
    leader.engine.stop();
    drop(leader);
    let leader = Leader::start(dir.path(), bound, 1, SOON);
    assert_eq!(leader.engine.min_tip(), price);
    leader.engine.stop();
    drop(leader);
    let leader = Leader::start(dir.path(), bound, 2, SOON);
    assert_eq!(leader.engine.min_tip(), 0);
    leader.engine.stop();
}

/// A batch takes twice its capacity of content and no more, however well that compresses: zeros that counted for next to nothing
/// would wait for hours.
#[test]
fn what_compresses_well_counts_for_its_share_of_a_batch() {
    let wallet = Wallet::new(1);
    let transactions: Vec<_> = (0..8).map(|n| wallet.sign_input(n, vec![0; 10_000], 0)).collect();
    let lengths = transactions.iter().map(|tx| batch::transaction_len(&tx.transaction, 901));
    let content: usize = lengths.sum();
    assert_eq!(batcher::packed_len(&transactions, 901).expect("packs"), content.div_ceil(2));
}

#[test]
fn sealed_blocks_count_as_they_compress() {
    let dir = tempfile::tempdir().expect("temp dir");
    let bound = 40_000;
    let leader = Leader::start(dir.path(), bound, 0, SOON);
    let mut wallet = Wallet::new(1);
    leader.engine.records(vec![deposit(1, 0, wallet.address())]).expect("runs");
    let mut content = 0;
    while content < bound * 3 / 5 {
        let tx = wallet.next(0, 1_000_000_000);
        content += batch::transaction_len(&tx.transaction, 901);
        leader.executed(&tx);
    }
    // More than half of the bound, but the recipient is always the same.
    let start = std::time::Instant::now();
    while leader.submit(&wallet.sign(wallet.nonce, 0, 0)).is_err() {
        assert!(start.elapsed() < Duration::from_secs(20), "{} wei", leader.engine.min_tip());
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(leader);
}

#[test]
fn what_waited_for_its_nonce_pays_the_price_of_its_turn() {
    let dir = tempfile::tempdir().expect("temp dir");
    let leader = Leader::start(dir.path(), 40_000, 0, NEVER);
    let mut wallet = Wallet::new(1);
    leader.engine.records(vec![deposit(1, 0, wallet.address())]).expect("runs");
    let (cheap, dear) = (wallet.sign(1, 10, 0), wallet.sign(1, 10, 10u128.pow(9)));
    assert!(matches!(leader.submit(&cheap), Ok(Taken::Waiting(_))));
    leader.executed(&wallet.next(25_000, 0));
    assert!(leader.engine.min_tip() > 0);
    assert_eq!(leader.engine.waiting().queued.len(), 0, "dropped");
    assert_eq!(leader.executed(&dear).index, 2);
    leader.engine.stop();
}

/// What a stranger puts on `parent`.
fn strangers_block(transactions: Vec<RecoveredTransaction>, forced: Vec<ForcedItem>) -> BlockInput {
    let env = RecordEnv { timestamp: 5, ..RecordEnv::default() };
    let origin = Origin { index: 1, accumulator: B256::repeat_byte(1), env };
    let attributes = BlockAttributes {
        timestamp: 6,
        beneficiary: Address::repeat_byte(0x66),
        origin,
        blocks_in_second: 1,
    };
    BlockInput { attributes, forced, transactions }
}

#[test]
fn every_promise_that_anothers_batch_changes_is_reported() {
    let dir = tempfile::tempdir().expect("temp dir");
    let leader = Leader::start(dir.path(), 1 << 20, 0, SOON);
    let (mut wallet, mut other) = (Wallet::new(1), Wallet::new(2));
    let records = [deposit(1, 0, wallet.address()), deposit(2, 1, other.address())];
    leader.engine.records(records[..1].to_vec()).expect("runs");
    leader.sealed(1);
    leader.engine.records(records[1..].to_vec()).expect("runs");
    leader.sealed(2);
    assert!(leader.engine.changed_promises(0, 10).is_empty());

    // Sealed, then taken back: the stranger takes the first as well, and another one in place of the second.
    let (first, second, third) = (wallet.next(0, 0), wallet.next(0, 0), other.next(0, 0));
    let before: Vec<_> = [&first, &second, &third].map(|tx| leader.executed(tx)).to_vec();
    leader.sealed(3);
    let RecordPayload::Forced(item) = records[0].payload.clone() else { panic!("a deposit") };
    let input = strangers_block(vec![first.clone(), wallet.sign(1, 1, 0)], vec![item]);
    let outcome = leader.runtime.block_on(leader.engine.import(0, input)).expect("runs");
    assert!(matches!(outcome, ImportOutcome::Applied(_)), "{outcome:?}");
    leader.engine.caught_up().expect("runs");
    let fourth = leader.executed(&wallet.next(0, 0));

    let changes = leader.engine.changed_promises(0, 10);
    let hashes: Vec<B256> = changes.iter().map(|change| change.transaction).collect();
    let expected = [&first, &second, &third].map(|tx| tx.transaction.hash());
    assert_eq!(hashes, expected);
    assert_eq!(changes.iter().map(|change| change.number).collect::<Vec<_>>(), [0, 1, 2]);
    for (change, executed) in changes.iter().zip(&before) {
        assert_eq!(change.promised_block, Some(executed.block_number));
        assert_eq!(change.promise.as_ref(), executed.promise.get());
        assert!(change.promise.is_some());
    }
    assert_eq!((changes[0].new_block, &changes[0].reason), (Some(1), &None));
    let reason = "nonce too low: next nonce 2, tx nonce 1".to_owned();
    assert_eq!((changes[1].new_block, &changes[1].reason), (None, &Some(reason)));
    assert_eq!(fourth.block_number, 2);
    // The stranger's block left the deposit that funds it for later.
    assert_eq!(changes[2].new_block, Some(2), "{:?}", changes[2].reason);
    assert_eq!(leader.engine.changed_promises(1, 1), changes[1..2]);

    // They outlive the process.
    leader.engine.stop();
    drop(leader);
    let leader = Leader::start(dir.path(), 1 << 20, 0, SOON);
    assert_eq!(leader.engine.changed_promises(0, 10), changes);
    leader.engine.stop();
}

/// L1 goes back further before anything is ordered again: what was taken back last came first.
#[test]
fn what_was_taken_back_twice_keeps_its_order() {
    let dir = tempfile::tempdir().expect("temp dir");
    let leader = Leader::start(dir.path(), 1 << 20, 0, SOON);
    let (mut wallet, other) = (Wallet::new(1), Wallet::new(2).address());
    let records = [(1, wallet.address()), (2, other), (3, other)]
        .map(|(record, to)| deposit(record, record - 1, to));
    let mut sent = Vec::new();
    for (record, block) in records.iter().zip([1, 3, 5]) {
        leader.engine.records(vec![record.clone()]).expect("runs");
        leader.sealed(block);
        let tx = wallet.next(0, 0);
        leader.executed(&tx);
        leader.sealed(block + 1);
        sent.push(tx.transaction.hash());
    }
    leader.engine.truncate_records(3).expect("runs");
    leader.engine.truncate_records(2).expect("runs");
    leader.engine.records(records[1..].to_vec()).expect("runs");
    leader.engine.caught_up().expect("runs");
    let last = leader.executed(&wallet.next(0, 0));
    assert_eq!(leader.engine.newest_origin().map(|origin| origin.index), Some(3));
    let changes = leader.engine.changed_promises(0, 10);
    let lost: Vec<_> = changes.iter().filter(|change| change.new_block.is_none()).collect();
    assert!(lost.is_empty(), "{lost:?}");
    leader.sealed(last.block_number);
    let snapshot = leader.store.snapshot().expect("reads");
    let places: Vec<_> =
        sent.iter().map(|hash| snapshot.transaction_position(*hash).expect("reads")).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?}");
    leader.engine.stop();
}

mod adopt;
mod ordering;
