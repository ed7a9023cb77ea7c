//! States taken out of one store and into another.

use super::*;
use crate::archive::{ArchiveReader, ArchiveWriter, Entry};

fn export(view: &View) -> Vec<u8> {
    let mut writer = ArchiveWriter::new(Vec::new(), b"state").unwrap();
    view.export(|entry| writer.push(&entry).map_err(StoreError::from)).unwrap();
    writer.finish().unwrap().0
}

fn import(
    store: &Store,
    bytes: &[u8],
    header: &Header,
    genesis: &Header,
) -> core::result::Result<archive::Counts, ImportError> {
    let (changes, update) = Default::default();
    let commit = |header| BlockCommit {
        header,
        hash: header.hash_slow(),
        transactions: &[],
        receipts: &[],
        changes: &changes,
        update: &update,
        aliases: &[],
    };
    let imported = Imported { block: commit(header), genesis: commit(genesis) };
    let mut archive = ArchiveReader::new(bytes)?;
    store.import(&mut archive, imported, |_| {}, |writer| writer.put_meta(b"made", Some(b"yes")))
}

/// What both stores must hold alike: the state and its trie.
fn state(store: &Store) -> Vec<Vec<(Vec<u8>, Vec<u8>)>> {
    let snapshot = store.snapshot().unwrap();
    let all = |table: Tab| {
        let entries = snapshot.table(table).range::<&[u8]>(..).unwrap();
        let entries = entries.map(|entry| entry.unwrap());
        entries.map(|(key, value)| (key.value().to_vec(), value.value().to_vec())).collect()
    };
    [Tab::Accounts, Tab::Slots, Tab::Nodes, Tab::StorageNodes].map(all).into()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn every_kept_state_moves_to_another_store(blocks in vec(block(), 1..8)) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("from"), options(ALL)).unwrap();
        let (mut model, mut headers) = (Model::default(), Vec::new());
        for block in &blocks {
            headers.push(commit(&store, &model.apply(block)));
        }
        for header in headers.iter().rev() {
            let bytes = export(&store.at(header.number).unwrap());
            let to = dir.path().join(header.number.to_string());
            let other = Store::open(&to, options(ALL)).unwrap();
            import(&other, &bytes, header, &headers[0]).unwrap();
            // What an unwound store holds is compared with the model elsewhere.
            store.unwind_to(header.number).unwrap();
            prop_assert_eq!(state(&other), state(&store));
            prop_assert_eq!(other.head().unwrap(), store.head().unwrap());
            prop_assert_eq!(other.snapshot().unwrap().oldest_state(), header.number);
            prop_assert_eq!(other.snapshot().unwrap().hash(0).unwrap(), Some(headers[0].hash_slow()));
            prop_assert_eq!(export(&other.latest().unwrap()), bytes);
            prop_assert_eq!(other.get_meta(b"made").unwrap(), Some(b"yes".to_vec()));
        }
    }
}

#[test]
fn many_slots_are_built_piece_by_piece() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("from"), options(ALL)).unwrap();
    let mut changes = StateChanges::default();
    for n in 1..=3 {
        let code = Bytes::from(std::vec![n; usize::from(n)]);
        let code_hash = keccak256(&code);
        changes.accounts.insert(address(n), Some(AccountInfo { code_hash, ..info(n.into()) }));
        changes.codes.insert(code_hash, code);
        let slots =
            (1..=40_000_u64).map(|slot| (U256::from(slot), U256::from(slot * u64::from(n))));
        changes.storage.insert(address(n), slots.collect());
    }
    let header = commit(&store, &changes);
    let bytes = export(&store.latest().unwrap());
    let other = Store::open(&dir.path().join("to"), options(ALL)).unwrap();
    let counts = import(&other, &bytes, &header, &header).unwrap();
    assert_eq!((counts.accounts, counts.slots, counts.codes), (3, 120_000, 3));
    assert_eq!(state(&other), state(&store));
    let view = other.latest().unwrap();
    assert_eq!(view.code(keccak256([2, 2])).unwrap(), Bytes::from_static(&[2, 2]));

    // It goes on like any other.
    let next =
        StateChanges { accounts: [(address(9), Some(info(9)))].into(), ..StateChanges::default() };
    let (first, second) = (commit(&store, &next), commit(&other, &next));
    assert_eq!(first, second);
}

#[test]
fn a_false_state_or_a_second_import_leaves_the_store_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("from"), options(ALL)).unwrap();
    let changes = Model::default().apply(&([(1, Some(1)), (2, Some(2))].into(), [].into()));
    let header = commit(&store, &changes);
    let mut writer = ArchiveWriter::new(Vec::new(), &[]).unwrap();
    store
        .latest()
        .unwrap()
        .export(|entry| {
            let richer = match entry {
                Entry::Account(address, info) => {
                    Entry::Account(address, AccountInfo { balance: U256::MAX, ..info })
                }
                other => other,
            };
            writer.push(&richer).map_err(StoreError::from)
        })
        .unwrap();
    let bytes = writer.finish().unwrap().0;
    let other = Store::open(&dir.path().join("to"), options(ALL)).unwrap();
    let empty = dump(&other);
    let error = import(&other, &bytes, &header, &header).unwrap_err();
    assert!(matches!(error, ImportError::Root { .. }), "{error}");
    let cut = export(&store.latest().unwrap());
    let error = import(&other, &cut[..cut.len() - 9], &header, &header).unwrap_err();
    assert!(matches!(error, ImportError::Archive(_)), "{error}");
    assert_eq!((dump(&other), other.head().unwrap()), (empty, None));
    import(&other, &cut, &header, &header).unwrap();
    let error = import(&other, &cut, &header, &header).unwrap_err();
    assert!(matches!(error, ImportError::NotEmpty), "{error}");
}

/// BLOCKHASH reaches back 256 blocks, of which a store that was made from an archive has only the last.
#[test]
fn hashes_of_blocks_before_the_first_come_from_the_state() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), options(ALL)).unwrap();
    let hash = B256::repeat_byte(7);
    let mut changes = StateChanges::default();
    changes.accounts.insert(annex_state::HISTORY_ADDRESS, Some(info(1)));
    let slot = U256::from(8_190 + 5) % U256::from(annex_state::HISTORY_WINDOW);
    changes.storage.insert(annex_state::HISTORY_ADDRESS, [(slot, hash.into())].into());
    let update = apply_changes(&WitnessSource::default(), EMPTY_ROOT, &changes).unwrap();
    let header = Header { number: 8_200, state_root: update.root, ..Header::default() };
    let (hash_of_it, update) = (header.hash_slow(), &update);
    let (transactions, receipts, aliases) = (&[], &[], &[]);
    let block = BlockCommit {
        header: &header,
        hash: hash_of_it,
        transactions,
        receipts,
        changes: &changes,
        update,
        aliases,
    };
    store.commit_block(block).unwrap();
    let view = store.latest().unwrap();
    assert_eq!(view.block_hash(8_200).unwrap(), hash_of_it);
    assert_eq!(view.block_hash(8_195).unwrap(), hash);
    for unknown in [4, 8_194, 8_201] {
        assert!(matches!(view.block_hash(unknown), Err(StoreError::UnknownBlock(_))), "{unknown}");
    }
}
