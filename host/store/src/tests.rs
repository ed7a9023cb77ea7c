use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

use alloy_consensus::{Signed, TxLegacy};
use alloy_primitives::{Address, B256, Bloom, Bytes, Log, Signature, U256, keccak256};
use alloy_trie::proof::verify_proof;
use annex_state::{
    AccountInfo, EMPTY_ROOT, Nibbles, StateChanges, StateReader, WitnessSource, apply_changes,
};
use annex_types::{Header, Receipt, RecoveredTransaction, Transaction, TxType};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::*;

mod export;
mod power;

const ALL: u64 = u64::MAX;

fn options(history: u64) -> Options {
    Options { cache: 1 << 20, history, durability: Durability::Process }
}

fn address(n: u8) -> Address {
    Address::with_last_byte(n)
}

fn info(nonce: u64) -> AccountInfo {
    AccountInfo { nonce, balance: U256::from(nonce * 1000), ..Default::default() }
}

/// Executes a block that makes these changes, and commits it.
fn commit_with(
    store: &Store,
    changes: &StateChanges,
    transactions: &[RecoveredTransaction],
    receipts: &[Receipt],
    aliases: &[(B256, B256)],
) -> Result<Header> {
    let (number, parent_hash, update) = match store.head()? {
        None => {
            let update = apply_changes(&WitnessSource::default(), EMPTY_ROOT, changes).unwrap();
            (0, B256::ZERO, update)
        }
        Some(head) => {
            let view = store.latest()?;
            (head.number + 1, head.hash, apply_changes(&view, view.root(), changes)?)
        }
    };
    let mut logs_bloom = Bloom::ZERO;
    for log in receipts.iter().flat_map(|receipt| &receipt.logs) {
        logs_bloom.accrue_log(log);
    }
    let state_root = update.root;
    let header = Header { number, parent_hash, state_root, logs_bloom, ..Header::default() };
    let (hash, update) = (header.hash_slow(), &update);
    store.commit_block(BlockCommit {
        header: &header,
        hash,
        transactions,
        receipts,
        changes,
        update,
        aliases,
    })?;
    Ok(header)
}

fn commit(store: &Store, changes: &StateChanges) -> Header {
    commit_with(store, changes, &[], &[], &[]).unwrap()
}

/// Everything in the store but the count of writes.
fn dump(store: &Store) -> Vec<Vec<(Vec<u8>, Vec<u8>)>> {
    let snapshot = store.snapshot().unwrap();
    let all = |table: Tab| {
        let entries = snapshot.table(table).range::<&[u8]>(..).unwrap();
        let entries = entries.map(|entry| entry.unwrap());
        let entries = entries.map(|(key, value)| (key.value().to_vec(), value.value().to_vec()));
        entries.filter(|(key, _)| key != tables::META_VERSION).collect()
    };
    [
        Tab::Meta,
        Tab::Headers,
        Tab::Numbers,
        Tab::Bodies,
        Tab::Receipts,
        Tab::Blooms,
        Tab::Transactions,
        Tab::Aliases,
        Tab::BlockAliases,
        Tab::Accounts,
        Tab::Slots,
        Tab::Nodes,
        Tab::StorageNodes,
        Tab::AccountHistory,
        Tab::SlotHistory,
        Tab::Changes,
    ]
    .map(all)
    .into()
}

type Block = (BTreeMap<u8, Option<u64>>, BTreeMap<u8, BTreeMap<u8, u8>>);

fn block() -> impl Strategy<Value = Block> {
    let account = prop_oneof![4 => (1_u64..4).prop_map(Some), 1 => Just(None)];
    let slots = btree_map(0_u8..10, 0_u8..3, 0..8);
    (btree_map(0_u8..8, account, 0..5), btree_map(0_u8..8, slots, 0..4))
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    accounts: BTreeMap<Address, AccountInfo>,
    storage: BTreeMap<(Address, U256), U256>,
}

impl Model {
    /// Also removes accounts with storage, which no EVM does since EIP-6780.
    fn apply(&mut self, block: &Block) -> StateChanges {
        let mut changes = StateChanges::default();
        for (n, nonce) in &block.0 {
            let info = nonce.map(info);
            changes.accounts.insert(address(*n), info);
            match info {
                Some(info) => self.accounts.insert(address(*n), info),
                None => self.accounts.remove(&address(*n)),
            };
            if info.is_none() {
                self.storage.retain(|(owner, _), _| *owner != address(*n));
            }
        }
        for (n, slots) in &block.1 {
            if !self.accounts.contains_key(&address(*n)) {
                continue;
            }
            let slots = slots.iter().map(|(s, v)| (U256::from(*s), U256::from(*v)));
            let slots: BTreeMap<_, _> = slots.collect();
            self.storage.extend(slots.iter().map(|(slot, v)| ((address(*n), *slot), *v)));
            changes.storage.insert(address(*n), slots);
        }
        changes
    }
}

fn check_view(view: &View, model: &Model) {
    for n in 0..8 {
        let address = address(n);
        let expected = model.accounts.get(&address).copied();
        assert_eq!(view.account(address).unwrap(), expected, "account at {}", view.number());
        let slots: Vec<_> = (0..10).map(U256::from).collect();
        let proof = view.proof(address, &slots).unwrap();
        assert_eq!(proof.account.map(|account| account.info()), expected);
        let leaf = proof.account.map(alloy_rlp::encode);
        let key = Nibbles::unpack(keccak256(address));
        verify_proof(view.root(), key, leaf, &proof.nodes).unwrap();
        let root = proof.account.map_or(EMPTY_ROOT, |account| account.storage_root);
        for SlotProof { slot, value, nodes } in proof.slots {
            let expected = model.storage.get(&(address, slot)).copied().unwrap_or_default();
            assert_eq!(value, expected, "slot at {}", view.number());
            assert_eq!(view.storage(address, slot).unwrap(), expected);
            let key = Nibbles::unpack(keccak256(slot.to_be_bytes::<32>()));
            let leaf = (!expected.is_zero()).then(|| alloy_rlp::encode(expected));
            verify_proof(root, key, leaf, &nodes).unwrap();
        }
    }
}

fn check_window(store: &Store, models: &[Model], history: u64) {
    let head = models.len() as u64 - 1;
    for (number, model) in (0..).zip(models) {
        if head - number <= history {
            check_view(&store.at(number).unwrap(), model);
        } else {
            let error = store.at(number).unwrap_err();
            let oldest = head - history;
            assert!(
                matches!(error, StoreError::Pruned { block, oldest: o } if block == number && o == oldest)
            );
        }
    }
    check_view(&store.latest().unwrap(), &models[head as usize]);
    assert!(matches!(store.at(head + 1), Err(StoreError::UnknownBlock(n)) if n == head + 1));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_kept_state_reads_as_the_model(
        blocks in vec(block(), 1..9),
        history in prop::sample::select(vec![0, 1, 3, ALL]),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), options(history)).unwrap();
        let (mut model, mut models) = (Model::default(), Vec::new());
        let mut views = Vec::new();
        for block in &blocks {
            commit(&store, &model.apply(block));
            models.push(model.clone());
            check_window(&store, &models, history.min(100));
            views.push(store.latest().unwrap());
        }
        // Views taken on the way still see what they saw.
        for (view, model) in views.iter().zip(&models) {
            check_view(view, model);
        }
        drop((views, store));
        let store = Store::open(dir.path(), options(history)).unwrap();
        check_window(&store, &models, history.min(100));
    }

    #[test]
    fn unwinding_restores_everything(
        blocks in vec(block(), 2..9),
        other in vec(block(), 0..4),
        to in any::<prop::sample::Index>(),
    ) {
        let to = to.index(blocks.len());
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let [store, fresh] = [0, 1].map(|i| Store::open(dirs[i].path(), options(ALL)).unwrap());
        let (mut model, mut models) = (Model::default(), Vec::new());
        for (number, block) in blocks.iter().enumerate() {
            let changes = model.apply(block);
            commit(&store, &changes);
            if number <= to {
                commit(&fresh, &changes);
                models.push(model.clone());
            }
        }
        let before = store.latest().unwrap();
        store.unwind_to(to as u64).unwrap();
        prop_assert_eq!(dump(&store), dump(&fresh));
        check_window(&store, &models, ALL / 2);
        check_view(&before, &model);
        // And on along another way.
        model = models[to].clone();
        for block in &other {
            let changes = model.apply(block);
            commit(&store, &changes);
            commit(&fresh, &changes);
            models.push(model.clone());
        }
        prop_assert_eq!(dump(&store), dump(&fresh));
        check_window(&store, &models, ALL / 2);
    }
}

fn transfer(nonce: u64) -> RecoveredTransaction {
    let tx = TxLegacy { nonce, input: Bytes::from(vec![7; nonce as usize]), ..TxLegacy::default() };
    let signed = Signed::new_unhashed(tx, Signature::test_signature());
    let (transaction, sender) = (Transaction::Legacy(signed), address(nonce as u8));
    RecoveredTransaction { transaction, sender, data_size: nonce }
}

fn receipt(gas: u64, logs: Vec<Log>) -> Receipt {
    Receipt { tx_type: TxType::Legacy, success: true, cumulative_gas_used: gas, logs }
}

#[test]
fn blocks_are_found_by_all_their_names_until_unwound() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), options(ALL)).unwrap();
    let genesis = commit(&store, &StateChanges::default());
    let transactions = [transfer(1), transfer(2), transfer(3)];
    let topic = B256::repeat_byte(9);
    let log = Log::new_unchecked(address(4), vec![topic], Bytes::from_static(b"data"));
    let receipts =
        [receipt(1, vec![]), receipt(2, vec![log.clone(), log.clone()]), receipt(3, vec![])];
    let hash = transactions[1].transaction.hash();
    let aliases = [(B256::repeat_byte(1), hash)];
    let changes = StateChanges {
        codes: BTreeMap::from([(keccak256(b"code"), Bytes::from_static(b"code"))]),
        ..StateChanges::default()
    };
    let header = commit_with(&store, &changes, &transactions, &receipts, &aliases).unwrap();
    let last = commit(&store, &StateChanges::default());

    let check = |store: &Store| {
        let snapshot = store.snapshot().unwrap();
        assert_eq!(snapshot.head(), Some(Head { number: 2, hash: last.hash_slow() }));
        let block_hash = header.hash_slow();
        assert_eq!(snapshot.number(block_hash).unwrap(), Some(1));
        assert_eq!(snapshot.hash(1).unwrap(), Some(block_hash));
        assert_eq!(snapshot.header(1).unwrap(), Some((header.clone(), block_hash)));
        let block = snapshot.block(1).unwrap().unwrap();
        assert_eq!((&block.header, &block.transactions[..]), (&header, &transactions[..]));
        assert_eq!(snapshot.receipts(1).unwrap().unwrap(), receipts);
        assert_eq!(snapshot.transaction_count(1).unwrap(), Some(3));
        for (i, (transaction, receipt)) in transactions.iter().zip(&receipts).enumerate() {
            let position = snapshot.transaction_position(transaction.transaction.hash()).unwrap();
            assert_eq!(position, Some((1, i)));
            assert_eq!(snapshot.transaction_at(1, i).unwrap().as_ref(), Some(transaction));
            assert_eq!(snapshot.receipt_at(1, i).unwrap().as_ref(), Some(receipt));
        }
        assert_eq!(snapshot.transaction_at(1, 3).unwrap(), None);
        assert_eq!(snapshot.transaction_at(3, 0).unwrap(), None);
        assert_eq!(snapshot.alias(aliases[0].0).unwrap(), Some(hash));
        let mut bloom = Bloom::ZERO;
        bloom.accrue_log(&log);
        let with =
            |bloom: Bloom| snapshot.blocks_with_logs(0..=9, 5, |b| b.contains(&bloom)).unwrap();
        assert_eq!(with(bloom), [1]);
        assert_eq!(with(Bloom::repeat_byte(0xff)), [0_u64; 0]);
        let view = snapshot.at(1).unwrap();
        assert_eq!(StateReader::code(&view, keccak256(b"code")).unwrap()[..], *b"code");
        assert_eq!(view.block_hash(0).unwrap(), genesis.hash_slow());
        assert_eq!(view.block_hash(1).unwrap(), block_hash);
        assert!(matches!(view.block_hash(2), Err(StoreError::UnknownBlock(2))));
    };
    check(&store);
    drop(store);
    let store = Store::open(dir.path(), options(ALL)).unwrap();
    check(&store);

    store.unwind_to(0).unwrap();
    let snapshot = store.snapshot().unwrap();
    assert_eq!(snapshot.head(), Some(Head { number: 0, hash: genesis.hash_slow() }));
    assert_eq!(snapshot.number(header.hash_slow()).unwrap(), None);
    assert_eq!(snapshot.transaction_position(hash).unwrap(), None);
    assert_eq!(snapshot.alias(aliases[0].0).unwrap(), None);
    assert_eq!(snapshot.block(1).unwrap(), None);
    assert_eq!(snapshot.receipts(1).unwrap(), None);
    assert_eq!(snapshot.blocks_with_logs(0..=9, 5, |_| true).unwrap(), [0_u64; 0]);
}

#[test]
fn a_failed_write_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), options(ALL)).unwrap();
    assert!(matches!(store.latest(), Err(StoreError::Empty)));
    commit(&store, &StateChanges::default());
    store.put_meta(b"kept", Some(b"1")).unwrap();
    let before = dump(&store);
    let result = store.write(|writer| {
        writer.put_meta(b"kept", Some(b"2"))?;
        writer.put_record(3, b"record")?;
        writer.unwind_to(7)
    });
    assert!(matches!(result, Err(StoreError::UnknownBlock(7))));
    assert_eq!(dump(&store), before);
    assert_eq!(store.get_meta(b"kept").unwrap().as_deref(), Some(&b"1"[..]));
    assert_eq!(store.snapshot().unwrap().last_record().unwrap(), None);

    let wrong = Header { number: 2, ..Header::default() };
    let (changes, update) = Default::default();
    let block = BlockCommit {
        header: &wrong,
        hash: wrong.hash_slow(),
        transactions: &[],
        receipts: &[],
        changes: &changes,
        update: &update,
        aliases: &[],
    };
    assert!(matches!(store.commit_block(block), Err(StoreError::NotNext(2))));
}

#[test]
fn records_are_kept_and_cut() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), options(ALL)).unwrap();
    store
        .write(|writer| (0..300_u64).try_for_each(|i| writer.put_record(i, &i.to_le_bytes())))
        .unwrap();
    store.write(|writer| writer.truncate_records(257)).unwrap();
    let snapshot = store.snapshot().unwrap();
    assert_eq!(snapshot.last_record().unwrap(), Some((256, 256_u64.to_le_bytes().to_vec())));
    assert_eq!(snapshot.record(257).unwrap(), None);
    assert_eq!(snapshot.record(0).unwrap(), Some(vec![0; 8]));
}

#[test]
fn leaves_are_found_by_index_and_hash_cut_and_pruned() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), options(ALL)).unwrap();
    assert_eq!(store.snapshot().unwrap().leaf_range().unwrap(), None);
    let hash = |i: u64| keccak256(i.to_be_bytes());
    let put = |i: u64| store.write(|writer| writer.put_leaf(i, hash(i), &i.to_le_bytes()));
    (0..300).try_for_each(put).unwrap();
    store.write(|writer| writer.truncate_leaves(257)).unwrap();
    store.write(|writer| writer.prune_leaves(0)).unwrap();
    assert_eq!(store.snapshot().unwrap().leaf_range().unwrap(), Some(0..=256));
    store.write(|writer| writer.prune_leaves(10)).unwrap();
    let snapshot = store.snapshot().unwrap();
    assert_eq!(snapshot.leaf_range().unwrap(), Some(10..=256));
    for i in 0..300 {
        let there = (10..=256).contains(&i);
        let leaf = there.then(|| (hash(i), i.to_le_bytes().to_vec()));
        assert_eq!(snapshot.leaf(i).unwrap(), leaf);
        assert_eq!(snapshot.leaf_index(hash(i)).unwrap(), there.then_some(i));
    }
    let hashes: Vec<_> = (250..=256).map(hash).collect();
    assert_eq!(snapshot.leaf_hashes(250..=400).unwrap(), hashes);
    // Another one in the place of a removed one.
    store.write(|writer| writer.put_leaf(257, hash(1_000), &[])).unwrap();
    let snapshot = store.snapshot().unwrap();
    assert_eq!(snapshot.leaf_range().unwrap(), Some(10..=257));
    assert_eq!(snapshot.leaf_index(hash(257)).unwrap(), None);
}

#[test]
fn other_formats_and_other_files_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), options(ALL)).unwrap();
    assert!(matches!(
        Store::open(dir.path(), options(ALL)),
        Err(StoreError::DataDirLocked(path)) if path == dir.path()
    ));
    let write = store.inner.database.begin_write().unwrap();
    let mut tables = tables::open_write(&write).unwrap();
    tables[Tab::Meta].insert(META_FORMAT, 7_u32.to_be_bytes().as_slice()).unwrap();
    drop(tables);
    write.commit().unwrap();
    drop(store);
    assert!(matches!(
        Store::open(dir.path(), options(ALL)),
        Err(StoreError::Format { found: Some(7), expected: FORMAT })
    ));
    std::fs::write(dir.path().join("chain.redb"), vec![1; 10_000]).unwrap();
    assert!(matches!(Store::open(dir.path(), options(ALL)), Err(StoreError::Damaged(_))));
}

#[test]
fn states_from_a_floor_on_stay_beyond_the_window() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), options(2)).unwrap();
    let mut model = Model::default();
    let mut add = |n: u64| {
        commit(&store, &model.apply(&(BTreeMap::from([(1, Some(n + 1))]), BTreeMap::new())));
        store.snapshot().unwrap().oldest_state()
    };
    store.keep_states_from(0);
    (0..30).for_each(|n| assert_eq!(add(n), 0));
    store.keep_states_from(7);
    assert_eq!(add(30), 7);
    assert_eq!(add(31), 7);
    store.keep_states_from(u64::MAX);
    assert_eq!(add(32), 23);
    assert_eq!(add(33), 31);
    let state = store.snapshot().unwrap().at(31).unwrap();
    assert_eq!(state.account(address(1)).unwrap(), Some(info(32)));
}

#[test]
fn a_shortened_window_is_pruned_step_by_step() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), options(ALL)).unwrap();
    let mut model = Model::default();
    for n in 0..30 {
        commit(&store, &model.apply(&(BTreeMap::from([(1, Some(n + 1))]), BTreeMap::new())));
    }
    drop(store);
    let store = Store::open(dir.path(), options(2)).unwrap();
    for (n, oldest) in [(31, 16), (32, 29), (33, 30)] {
        commit(&store, &model.apply(&(BTreeMap::from([(1, Some(n))]), BTreeMap::new())));
        let snapshot = store.snapshot().unwrap();
        assert_eq!(snapshot.oldest_state(), oldest);
        assert_eq!(
            snapshot.at(oldest).unwrap().account(address(1)).unwrap(),
            Some(info(oldest + 1))
        );
    }
    let snapshot = store.snapshot().unwrap();
    assert_eq!(snapshot.table(Tab::Changes).range::<&[u8]>(..).unwrap().count(), 2);
    assert_eq!(snapshot.table(Tab::AccountHistory).range::<&[u8]>(..).unwrap().count(), 2);
    assert!(matches!(store.unwind_to(29), Err(StoreError::Pruned { block: 29, oldest: 30 })));
    store.unwind_to(30).unwrap();
    assert_eq!(store.latest().unwrap().account(address(1)).unwrap(), Some(info(31)));
}

#[test]
fn views_cross_threads() {
    fn shared<T: Send + Sync + Clone + 'static>() {}
    shared::<Store>();
    shared::<Snapshot>();
    shared::<View>();
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), options(ALL)).unwrap();
    commit(&store, &numbered_changes(0));
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    // Block n sets account 0 to nonce n + 1: a view must not mix blocks.
                    let view = store.latest().unwrap();
                    let account = view.account(address(0)).unwrap().unwrap();
                    assert_eq!(account.nonce, view.number() + 1);
                    let slot = view.storage(address(0), U256::ZERO).unwrap();
                    assert_eq!(slot, U256::from(view.number() + 1));
                }
            });
        }
        for n in 1..200 {
            commit(&store, &numbered_changes(n));
            if n % 20 == 0 {
                store.unwind_to(n - 1).unwrap();
                commit(&store, &numbered_changes(n));
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

/// A start on what `kill -9` leaves reads none of it; on what a crash of the machine leaves, and on a copy, all.
#[test]
fn the_whole_file_is_checked_where_writes_may_be_missing() {
    let dir = tempfile::tempdir().unwrap();
    let pattern: Vec<u8> = (0..=255).cycle().take(20_000).collect();
    let killed = dir.path().join("killed");
    std::fs::create_dir(&killed).unwrap();
    let store = Store::open(&dir.path().join("open"), options(ALL)).unwrap();
    store.put_meta(b"a", Some(&pattern)).unwrap();
    commit(&store, &StateChanges::default());
    for file in ["lock", "chain.redb"] {
        std::fs::copy(dir.path().join("open").join(file), killed.join(file)).unwrap();
    }
    let mut bytes = std::fs::read(killed.join("chain.redb")).unwrap();
    let mut at = 0;
    while let Some(found) = bytes[at..].windows(256).position(|window| window == &pattern[..256]) {
        bytes[at + found] ^= 1;
        at += found + 1;
    }
    assert!(at > 0, "the value is in the file");
    std::fs::write(killed.join("chain.redb"), &bytes).unwrap();
    // As a copy it is suspect; as what it is a copy of it would not be.
    let opened = Store::open(&killed, options(ALL));
    assert!(matches!(opened, Err(StoreError::Damaged(_))), "{opened:?}");
    let mark = std::fs::read_to_string(killed.join("lock")).unwrap();
    let (boot, _) = mark.split_once(' ').unwrap();
    let inode = std::fs::metadata(killed.join("lock")).unwrap().ino();
    std::fs::write(killed.join("lock"), format!("{boot} {inode}\n")).unwrap();
    let again = Store::open(&killed, options(ALL)).unwrap();
    assert!(again.head().unwrap().is_some());
    drop(again);
    assert_eq!(std::fs::read(killed.join("lock")).unwrap(), b"", "closed");

    for left in [&b"another start"[..], b"open"] {
        std::fs::write(killed.join("lock"), left).unwrap();
        let opened = Store::open(&killed, options(ALL));
        assert!(matches!(opened, Err(StoreError::Damaged(_))), "{opened:?}");
        assert_eq!(std::fs::read(killed.join("lock")).unwrap(), left, "no check succeeded");
    }
}

/// What block `n` of the crash test changes.
fn numbered_changes(n: u64) -> StateChanges {
    let mut rng = SmallRng::seed_from_u64(n);
    let mut changes = StateChanges::default();
    changes.accounts.insert(address(0), Some(info(n + 1)));
    let slots =
        (0..20).map(|_| (U256::from(rng.random_range(1..99)), U256::from(rng.random::<u8>())));
    let slots = slots.chain([(U256::ZERO, U256::from(n + 1))]);
    changes.storage.insert(address(0), slots.collect());
    for _ in 0..50 {
        let address = address(rng.random_range(1..=255));
        let account = rng.random_bool(0.8).then(|| info(rng.random_range(1..1000)));
        changes.accounts.insert(address, account);
    }
    changes
}

const CHILD: &str = "ANNEX_STORE_CRASH_TEST_DIR";

/// Not a test by itself: the process that [`kill_9_loses_no_completed_write`] kills.
#[test]
fn crash_child() {
    let Some(dir) = std::env::var_os(CHILD) else {
        return;
    };
    let store = Store::open(Path::new(&dir), options(5)).unwrap();
    loop {
        let number = store.head().unwrap().map_or(0, |head| head.number + 1);
        commit_with(
            &store,
            &numbered_changes(number),
            &[transfer(number % 50)],
            &[receipt(1, vec![])],
            &[],
        )
        .unwrap();
        println!("committed {number}");
    }
}

#[test]
fn kill_9_loses_no_completed_write() {
    let dir = tempfile::tempdir().unwrap();
    let seed = std::env::var("SEED").map_or(1, |seed| seed.parse().unwrap());
    println!("SEED={seed}");
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut least = 0;
    for round in 0..12 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["crash_child", "--nocapture", "--test-threads=1"])
            .env(CHILD, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut committed = || loop {
            let line = lines.next()?.unwrap();
            // The harness writes the test's name before its first line.
            if let Some((_, number)) = line.split_once("committed ") {
                return Some(number.parse::<u64>().unwrap());
            }
        };
        for _ in 0..rng.random_range(1..20) {
            least = committed().expect("child ended early");
        }
        assert!(matches!(Store::open(dir.path(), options(5)), Err(StoreError::DataDirLocked(_))));
        std::thread::sleep(std::time::Duration::from_micros(rng.random_range(0..5000)));
        child.kill().unwrap();
        child.wait().unwrap();
        while let Some(number) = committed() {
            least = number;
        }
        let store = Store::open(dir.path(), options(5)).unwrap();
        let head = store.head().unwrap().unwrap();
        assert!(head.number >= least, "round {round}: block {least} was lost");
        check_recovered(&store, head.number);
        least = head.number;
    }
}

/// Compares with a chain that was never killed.
fn check_recovered(store: &Store, head: u64) {
    let dir = tempfile::tempdir().unwrap();
    let fresh = Store::open(dir.path(), options(5)).unwrap();
    for number in 0..=head {
        let body = [transfer(number % 50)];
        commit_with(&fresh, &numbered_changes(number), &body, &[receipt(1, vec![])], &[]).unwrap();
    }
    assert_eq!(dump(store), dump(&fresh));
    let oldest = store.snapshot().unwrap().oldest_state();
    for number in oldest..=head {
        let proof = store.at(number).unwrap().proof(address(0), &[U256::ZERO]).unwrap();
        assert_eq!(proof.slots[0].value, U256::from(number + 1));
    }
}
