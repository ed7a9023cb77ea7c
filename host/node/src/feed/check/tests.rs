use super::*;
use crate::node::genesis;
use alloy_consensus::Transaction as _;
use annex_sequencer::PromiseSigner;
use annex_stf::{SealedBlock, apply_block};
use annex_store::Store;
use annex_store::{BlockCommit, Options};
use annex_types::ChainConfig;
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
    Checker::new(promise::domain(L1, LEASE))
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
    assert_eq!(
        checker.take(Arc::new(leader.sign(promise).0), leader.address(), Source::Feed),
        None
    );
    let snapshot = store.snapshot().expect("opens");
    assert!(checker.compare(&snapshot, 0).expect("reads").is_empty(), "L1 says nothing yet");
    let broken = checker.compare(&snapshot, 1).expect("reads");
    broken.into_iter().map(|found| found.breach).collect()
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
        let found =
            checker.take(Arc::new(leader.sign(promise.clone()).0), leader.address(), Source::Feed);
        found.map(|found| found.breach)
    };
    let forged = Arc::new(stranger.sign(first.clone()).0);
    let found = checker.take(forged, leader.address(), Source::Feed);
    assert_eq!(found.map(|found| found.breach), Some(Breach::Signature));
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

/// Promises that form a chain, from sequence 0 on, each about the block of its number.
fn promises(count: u64, root: u8) -> Vec<Promise> {
    let mut previous = B256::ZERO;
    let link = |sequence| {
        let promise = Promise {
            l2ChainId: 901,
            leaseId: U256::from(1),
            sequence,
            previous,
            blockNumber: sequence + 1,
            timestamp: 6,
            beneficiary: Address::repeat_byte(5),
            baseFee: U256::from(10_000_000),
            origin: B256::ZERO,
            firstIndex: 0,
            count: 1,
            root: B256::repeat_byte(root),
        };
        previous = promise::digest(&promise, &promise::domain(L1, LEASE));
        promise
    };
    (0..count).map(link).collect()
}

fn hear(checker: &mut Checker, promise: &Promise, from: Source) -> Option<Broken> {
    let leader = signer(1);
    checker.take(Arc::new(leader.sign(promise.clone()).0), leader.address(), from)
}

#[test]
fn a_reconnection_does_not_hide_an_equivocation() {
    let (mut checker, leader) = (checker(), signer(1));
    let (heard, rivals) = (promises(4, 1), promises(6, 2));
    for promise in &heard {
        assert_eq!(hear(&mut checker, promise, Source::Feed), None);
    }
    checker.disconnected();
    // The leader goes on with another history: the number that both have tells, with both signatures.
    let found = hear(&mut checker, &rivals[2], Source::Feed).expect("a rival");
    let evidence = (found.promise.as_ref(), found.conflicting.as_deref().expect("the other one"));
    assert_eq!(found.breach, Breach::Equivocation);
    assert_eq!(evidence, (&leader.sign(rivals[2].clone()).0, &leader.sign(heard[2].clone()).0));
    for signed in [evidence.0, evidence.1] {
        assert_eq!(signed.signer(&checker.domain), Ok(leader.address()));
    }
    // One that follows the rival does not follow what was heard.
    let mut checker = self::checker();
    heard.iter().for_each(|promise| drop(hear(&mut checker, promise, Source::Feed)));
    checker.disconnected();
    let found = hear(&mut checker, &rivals[4], Source::Feed).expect("no link");
    assert_eq!(found.breach, Breach::Gap);
    assert_eq!(found.conflicting.as_deref(), Some(&leader.sign(heard[3].clone()).0));
}

#[test]
fn what_a_feed_replays_accuses_nobody() {
    let mut checker = checker();
    let chain = promises(6, 1);
    for sequence in [0, 1, 2, 0, 3, 3, 1, 4] {
        assert_eq!(hear(&mut checker, &chain[sequence], Source::Feed), None, "{sequence}");
    }
    // A replay is not what was missed either.
    checker.disconnected();
    assert_eq!(hear(&mut checker, &chain[2], Source::Feed), None);
    assert_eq!(checker.gap(), None);
    assert_eq!(hear(&mut checker, &chain[5], Source::Feed), None);
}

#[test]
fn what_a_reconnection_missed_is_asked_for_and_checked() {
    let (mut checker, leader) = (checker(), signer(1));
    let (chain, rivals) = (promises(9, 1), promises(9, 2));
    hear(&mut checker, &chain[0], Source::Feed);
    hear(&mut checker, &chain[1], Source::Feed);
    assert_eq!(checker.gap(), None);
    checker.disconnected();
    // Not a breach: nobody was listening.
    assert_eq!(hear(&mut checker, &chain[5], Source::Feed), None);
    assert_eq!(hear(&mut checker, &chain[6], Source::Feed), None);
    let gap = checker.gap().expect("2 to 4 are missing").clone();
    let expected = Gap { lease: U256::from(1), sequences: (2, 5), next_block: 2, last_block: 6 };
    assert_eq!(gap, expected);

    // Asked for out of order; what is known already changes nothing.
    for sequence in [4, 1, 3, 5] {
        assert_eq!(hear(&mut checker, &chain[sequence], Source::Filling), None);
        assert!(checker.gap().is_some());
    }
    // The leader answers with a lie: it does not fit between its neighbours.
    let mut lying = rivals[2].clone();
    let found = hear(&mut checker, &lying, Source::Filling).expect("no link");
    assert_eq!(found.breach, Breach::Gap);
    assert_eq!(found.conflicting.as_deref(), Some(&leader.sign(chain[1].clone()).0));
    lying.previous = chain[2].previous;
    let found = hear(&mut checker, &lying, Source::Filling).expect("a rival");
    assert_eq!(found.breach, Breach::Equivocation);
    assert_eq!(checker.gap(), None, "every number was seen");

    // Without a break, a number that is left out is a breach, and so is one that comes back.
    assert_eq!(hear(&mut checker, &chain[7], Source::Feed), None);
    let mut skipping = chain[8].clone();
    skipping.sequence = 20;
    let found = hear(&mut checker, &skipping, Source::Feed).expect("a gap");
    assert_eq!(found.breach, Breach::Gap);

    // A gap that the leader does not fill ends with its blocks.
    checker.disconnected();
    skipping.sequence = 30;
    skipping.blockNumber = 11;
    assert_eq!(hear(&mut checker, &skipping, Source::Feed), None);
    while let Some(gap) = checker.gap() {
        gap.next_block += 1;
    }
    assert!(checker.gaps.is_empty());
}

/// A leader that was started anew skips numbers, and says so by the digest before.
#[test]
fn numbers_that_a_restart_skipped_are_not_missing() {
    let mut checker = checker();
    let chain = promises(4, 1);
    for promise in &chain[..2] {
        assert_eq!(hear(&mut checker, promise, Source::Feed), None);
    }
    checker.disconnected();
    let previous = promise::digest(&chain[3], &checker.domain);
    let anew = Promise { sequence: 1 << 50, previous, blockNumber: 5, ..chain[3].clone() };
    assert_eq!(hear(&mut checker, &anew, Source::Feed), None);
    assert!(checker.gap().is_some(), "2 and 3 were not heard");
    assert_eq!(hear(&mut checker, &chain[3], Source::Filling), None);
    assert!(checker.gap().is_some(), "2 was not heard");
    assert_eq!(hear(&mut checker, &chain[2], Source::Filling), None);
    assert_eq!(checker.gap(), None);
}

#[test]
fn memory_is_bounded() {
    let mut checker = checker();
    let promise = promises(1, 1).remove(0);
    let leader = signer(1);
    for round in 0..MAX_GAPS as u64 + 5 {
        checker.disconnected();
        let jump = Promise { sequence: 1 + round * 10, blockNumber: round, ..promise.clone() };
        hear(&mut checker, &jump, Source::Feed);
    }
    assert_eq!(checker.gaps.len(), MAX_GAPS);
    let signed = Arc::new(leader.sign(promise).0);
    for sequence in 0..MAX_SEEN as u64 {
        let seen = Seen { digest: B256::ZERO, promise: signed.clone() };
        checker.seen.insert((U256::ZERO, sequence), seen);
    }
    let last = Promise { sequence: 999, ..promises(1, 3).remove(0) };
    hear(&mut checker, &last, Source::Feed);
    assert_eq!(checker.seen.len(), MAX_SEEN);
    assert!(checker.seen.contains_key(&(U256::from(1), 999)));
}
