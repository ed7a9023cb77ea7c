use super::*;
use crate::node::genesis;
use alloy_consensus::Transaction as _;
use annex_sequencer::PromiseSigner;
use annex_stf::{SealedBlock, apply_block};
use annex_store::{BlockCommit, Options};
use annex_types::{BlockAttributes, BlockInput, ForcedItem, RecordEnv};

const L1: u64 = 900;
const LEASE: Address = Address::repeat_byte(3);

fn config() -> ChainConfig {
    ChainConfig {
        l1_chain_id: L1,
        l2_chain_id: 901,
        inbox: Address::repeat_byte(1),
        lease: LEASE,
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

fn signer(key: u8) -> PromiseSigner {
    let domain = promise::domain(L1, LEASE);
    PromiseSigner::new(&B256::repeat_byte(key), domain).expect("a valid key")
}

fn checker() -> Checker {
    Checker { domain: promise::domain(L1, LEASE), last: None, waiting: BTreeMap::new(), count: 0 }
}

fn commit(store: &Store, block: &SealedBlock) {
    let commit = BlockCommit {
        header: &block.header,
        hash: block.hash,
        transactions: &block.transactions,
        receipts: &block.receipts,
        changes: &block.changes,
        update: &block.update,
        aliases: &[],
    };
    store.commit_block(commit).expect("the next block");
}

/// A store with block 1, which holds two deposits, and what an honest leader promises of it.
fn chain(dir: &std::path::Path) -> (Store, Promise) {
    let store = Store::open(dir, Options { cache: 1 << 20, ..Options::default() }).expect("opens");
    let config = config();
    commit(&store, &genesis(&config));
    let env = RecordEnv { timestamp: 5, ..RecordEnv::default() };
    let origin = Origin { index: 2, accumulator: B256::repeat_byte(9), env };
    let item = |index| ForcedItem {
        index,
        from: Address::repeat_byte(7),
        to: Address::repeat_byte(8),
        mint: 100,
        value: U256::from(10),
        gas_limit: 100_000,
        is_creation: false,
        data: Default::default(),
    };
    let attributes = BlockAttributes {
        timestamp: 6,
        beneficiary: Address::repeat_byte(5),
        origin,
        blocks_in_second: 1,
    };
    let input = BlockInput { attributes, forced: vec![item(0), item(1)], transactions: Vec::new() };
    let view = store.latest().expect("genesis");
    let block = apply_block(&config, view.header(), &input, &view, &view);
    let block = block.expect("the store answers").expect("deposits are always valid");
    assert!(block.transactions.iter().all(|tx| tx.transaction.gas_limit() == 100_000));
    commit(&store, &block);
    let leaves: Vec<B256> = block
        .transactions
        .iter()
        .zip(&block.receipts)
        .map(|(tx, receipt)| {
            let receipt = keccak256(receipt.with_bloom_ref().encoded_2718());
            promise::leaf(tx.transaction.hash(), receipt)
        })
        .collect();
    let promise = Promise {
        l2ChainId: 901,
        leaseId: U256::from(1),
        sequence: 0,
        previous: B256::ZERO,
        blockNumber: 1,
        timestamp: 6,
        beneficiary: attributes.beneficiary,
        baseFee: U256::from(block.header.base_fee_per_gas.expect("an L2 header")),
        origin: origin.accumulator,
        firstIndex: 0,
        count: 2,
        root: promise::root(&leaves),
    };
    (store, promise)
}

/// What is found once L1 carries the block.
fn found(store: &Store, promise: Promise) -> Vec<Breach> {
    let (mut checker, leader) = (checker(), signer(1));
    assert_eq!(checker.take(&leader.sign(promise).0, leader.address()), None);
    let snapshot = store.snapshot().expect("opens");
    assert!(checker.compare(&snapshot, 0).expect("reads").is_empty(), "L1 says nothing yet");
    let broken = checker.compare(&snapshot, 1).expect("reads");
    broken.into_iter().map(|(breach, _)| breach).collect()
}

#[test]
fn l1_contradicts_what_differs_from_its_block() {
    let dir = tempfile::tempdir().expect("temp dir");
    let (store, kept) = chain(dir.path());
    assert_eq!(found(&store, kept.clone()), []);
    let first_only = Promise { count: 1, ..kept.clone() };
    assert_eq!(found(&store, first_only), [Breach::Transactions]);
    assert_eq!(found(&store, Promise { count: 3, ..kept.clone() }), [Breach::Transactions]);
    assert_eq!(found(&store, Promise { firstIndex: 1, ..kept.clone() }), [Breach::Transactions]);
    let other = Promise { root: B256::repeat_byte(1), ..kept.clone() };
    assert_eq!(found(&store, other), [Breach::Transactions]);
    let environments = [
        Promise { timestamp: 7, ..kept.clone() },
        Promise { beneficiary: Address::ZERO, ..kept.clone() },
        Promise { baseFee: U256::from(1), ..kept.clone() },
        Promise { origin: B256::ZERO, ..kept.clone() },
    ];
    for promise in environments {
        assert_eq!(found(&store, promise), [Breach::Environment]);
    }
}

#[test]
fn promises_that_do_not_chain_are_found_at_once() {
    let dir = tempfile::tempdir().expect("temp dir");
    let (_store, first) = chain(dir.path());
    let (mut checker, leader, stranger) = (checker(), signer(1), signer(2));
    let take = |checker: &mut Checker, promise: &Promise| {
        checker.take(&leader.sign(promise.clone()).0, leader.address())
    };
    let forged = stranger.sign(first.clone()).0;
    assert_eq!(checker.take(&forged, leader.address()), Some(Breach::Signature));
    assert_eq!(take(&mut checker, &first), None);
    // The same again, as after a reconnection.
    assert_eq!(take(&mut checker, &first), None);
    let previous = promise::digest(&first, &checker.domain);
    let second = Promise { sequence: 1, previous, ..first.clone() };
    assert_eq!(take(&mut checker, &second), None);
    let rival = Promise { root: B256::repeat_byte(1), ..second.clone() };
    assert_eq!(take(&mut checker, &rival), Some(Breach::Equivocation));
    let far = Promise { sequence: 5, ..second };
    assert_eq!(take(&mut checker, &far), Some(Breach::Gap));
}
