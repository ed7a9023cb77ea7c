//! Snapshots of random logs, from which derivation goes on as if it had never stopped.

use super::file::{Checked, Preamble, gather};
use super::l1::verdict;
use super::*;
use crate::{
    follow,
    leaves::tests::{Followed, random_log},
};
use alloy_primitives::U256;
use alloy_rlp::Decodable;
use annex_claim::OutputRoot;
use annex_derive::Step;
use annex_l1::settlement::{Range, RangeStatus, SettledLeaf};
use annex_stf::apply_block;
use annex_store::{
    BlockCommit, ImportError, Options,
    archive::{ArchiveReader, ArchiveWriter, Entry},
};
use annex_types::{BlockInput, Header};
use std::path::Path;

/// The file of a snapshot.
fn file(followed: &Followed, block: u64) -> Vec<u8> {
    let snapshot = followed.chain.store.snapshot().unwrap();
    let (preamble, base) = gather(&snapshot, Some(block)).unwrap();
    assert_eq!(base.block, block);
    let mut writer = ArchiveWriter::new(Vec::new(), &alloy_rlp::encode(&preamble)).unwrap();
    let view = snapshot.at(block).unwrap();
    view.export(|entry| writer.push(&entry).map_err(StoreError::from)).unwrap();
    writer.finish().unwrap().0
}

fn execute(followed: &Followed, store: &Store, input: &BlockInput) -> Option<Header> {
    let view = store.latest().unwrap();
    let config = &followed.chain.config;
    let sealed = apply_block(config, view.header(), input, &view, &view).unwrap().ok()?;
    let commit = BlockCommit {
        header: &sealed.header,
        hash: sealed.hash,
        transactions: &sealed.transactions,
        receipts: &sealed.receipts,
        changes: &sealed.changes,
        update: &sealed.update,
        aliases: &[],
    };
    store.commit_block(commit).unwrap();
    Some(sealed.header)
}

/// Derives what is left of the log in a store made from a snapshot; every leaf has to be the one of the chain.
fn goes_on(followed: &Followed, dir: &Path) {
    let store = Store::open(&dir.join("l2"), Options { cache: 1 << 20, ..Options::default() });
    let store = store.unwrap();
    let (_, mut derivation, mut tip) = follow::restore(&followed.chain.config, &store).unwrap();
    assert_eq!(tip.stored().hash, followed.leaves[tip.index as usize]);
    for index in derivation.next_record()..=followed.chain.record.index {
        let own = progress::record(&store.snapshot().unwrap(), index).unwrap();
        let theirs = progress::record(&followed.chain.store.snapshot().unwrap(), index).unwrap();
        assert!(own.is_none() || own == theirs);
        let blobs = followed.chain.blobs.get(&index).map_or(&[][..], |blobs| blobs);
        let blobs = if derivation.next_is_exhausted() { &[] } else { blobs };
        derivation.push(theirs.unwrap().record, blobs).unwrap();
        while let Some(step) = derivation.step() {
            if let Step::Block(step) = step {
                match execute(followed, &store, &step.input) {
                    Some(header) => {
                        derivation.applied(&header);
                        tip.applied(&header, derivation.head().hash);
                    }
                    None => derivation.rejected().unwrap(),
                }
            }
            let leaf = tip.step(derivation.cursor());
            assert_eq!(leaf.hash, followed.leaves[tip.index as usize], "leaf {}", tip.index);
        }
    }
    assert_eq!(tip.index as usize + 1, followed.leaves.len());
    let head = |store: &Store| store.head().unwrap();
    assert_eq!(head(&store), head(&followed.chain.store));
}

#[test]
fn derivation_goes_on_from_any_block() {
    let followed = random_log(77, 8, false);
    let safe = followed.chain.posted;
    assert!(safe > 8, "{safe}");
    for block in (0..=safe).step_by(3).chain([safe]) {
        let dir = tempfile::tempdir().unwrap();
        let bytes = file(&followed, block);
        let opened = Opened::new(bytes.as_slice()).unwrap();
        let info = opened.import(dir.path(), |_| {}).unwrap();
        assert_eq!(info.base.block, block);
        goes_on(&followed, dir.path());
    }
    let beyond = gather(&followed.chain.store.snapshot().unwrap(), Some(safe + 1));
    assert!(matches!(beyond, Err(SnapshotError::NotSafe { .. })));
}

#[test]
fn a_preamble_that_contradicts_itself_is_refused() {
    let followed = random_log(78, 6, false);
    let snapshot = followed.chain.store.snapshot().unwrap();
    let (good, base) = gather(&snapshot, Some(followed.chain.posted)).unwrap();
    assert_eq!(Checked::new(good.clone()).unwrap().base, base);
    let changes: [fn(&mut Preamble); 11] = [
        |it| it.header.number += 1,
        |it| it.header.extra_data = Default::default(),
        |it| it.header.transactions_root = B256::ZERO,
        |it| it.header.receipts_root = B256::ZERO,
        |it| it.forced += 1,
        |it| it.first_record = it.record + 1,
        |it| it.first = it.first_record + 1,
        |it| it.record += 1_000,
        |it| it.leaf = u64::MAX,
        |it| it.records.clear(),
        |it| it.records[0].kind = B256::ZERO,
    ];
    for (index, change) in changes.into_iter().enumerate() {
        let mut bad = good.clone();
        change(&mut bad);
        let refused = Checked::new(bad);
        assert!(matches!(refused, Err(SnapshotError::Damaged(_))), "change {index}");
    }
    // Other records are others for the Inbox.
    let mut other = good;
    other.records[0].timestamp += 1;
    if let Ok(checked) = Checked::new(other) {
        assert_ne!(checked.base.accumulator, base.accumulator);
    }
}

/// A snapshot in which somebody owns more than it does. Nothing in the file shows it.
pub(crate) fn falsified(good: &[u8]) -> Vec<u8> {
    let mut archive = ArchiveReader::new(good).unwrap();
    let mut preamble = Preamble::decode(&mut archive.preamble()).unwrap();
    let mut entries = Vec::new();
    while let Some(entry) = archive.next_entry().unwrap() {
        entries.push(entry);
    }
    let owner = entries.iter_mut().find_map(|entry| match entry {
        Entry::Account(_, info) if info.nonce > 0 && !info.balance.is_zero() => Some(info),
        _ => None,
    });
    owner.expect("somebody who sent something").balance += U256::ONE;
    let written = |preamble: &Preamble| {
        let mut writer = ArchiveWriter::new(Vec::new(), &alloy_rlp::encode(preamble)).unwrap();
        entries.iter().for_each(|entry| writer.push(entry).unwrap());
        writer.finish().unwrap().0
    };
    // Altered alone, it is refused, and the refusal tells the root that goes with it.
    let dir = tempfile::tempdir().unwrap();
    let altered = written(&preamble);
    let refused = Opened::new(altered.as_slice()).unwrap().import(dir.path(), |_| {});
    let Err(SnapshotError::Import(ImportError::Root { found, expected })) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(expected, preamble.header.state_root);
    preamble.header.state_root = found;
    written(&preamble)
}

/// What L1 would say if a leaf of the chain had settled as the end of range 1.
fn settled_with(followed: &Followed, index: usize) -> (SettledLeaf, Range) {
    let snapshot = followed.chain.store.snapshot().unwrap();
    let leaves = crate::Leaves::new(followed.chain.config.clone(), followed.chain.store.clone());
    let stored = leaves.at(index as u64).unwrap().unwrap();
    let (header, _) = snapshot.header(stored.block).unwrap().unwrap();
    let end = stored.cursor.record.max(1);
    let last = progress::record(&snapshot, end - 1).unwrap().unwrap();
    let settled = SettledLeaf {
        leaf: stored.hash,
        output_root: OutputRoot::of(&header).hash(),
        record: stored.cursor.record,
        block: stored.block,
        range: 1,
    };
    let range = Range {
        id: 1,
        start: B256::ZERO,
        end,
        end_accumulator: last.record.accumulator,
        opened: 0,
        status: RangeStatus::Settled,
    };
    (settled, range)
}

#[test]
fn what_settles_confirms_or_contradicts_what_was_derived() {
    let followed = random_log(79, 6, false);
    let snapshot = followed.chain.store.snapshot().unwrap();
    let (_, base) = gather(&snapshot, Some(followed.chain.posted / 2)).unwrap();
    let (settled, range) = settled_with(&followed, followed.leaves.len() - 1);
    assert!(settled.block > base.block);
    let says = |base: &Base, settled, range| verdict(&snapshot, base, &settled, &range).unwrap();
    assert_eq!(says(&base, settled, range), Some(true));

    let other_leaf = SettledLeaf { leaf: B256::repeat_byte(1), ..settled };
    assert_eq!(says(&base, other_leaf, range), Some(false), "the cursor is another one");
    let other = SettledLeaf { output_root: B256::repeat_byte(2), ..other_leaf };
    assert_eq!(says(&base, other, range), Some(false), "the block is another one");
    let beyond = SettledLeaf { block: settled.block + 9, ..other };
    assert_eq!(says(&base, beyond, range), Some(false), "there is no such block");

    // Not followed so far; another branch of L1; settled before the snapshot's block.
    let later = Range { end: followed.chain.record.index + 2, ..range };
    assert_eq!(says(&base, other, later), None);
    let branch = Range { end_accumulator: B256::repeat_byte(3), ..range };
    assert_eq!(says(&base, other, branch), None);
    let newer = Base { block: settled.block + 1, ..base };
    assert_eq!(says(&newer, other, range), None);
}

/// A false state leads to blocks that no claim settles, however long after.
#[test]
fn a_false_snapshot_is_consistent_and_contradicted() {
    let followed = random_log(80, 6, false);
    let block = followed.chain.posted / 2;
    let bytes = falsified(&file(&followed, block));
    let dir = tempfile::tempdir().unwrap();
    let info = Opened::new(bytes.as_slice()).unwrap().import(dir.path(), |_| {}).unwrap();
    assert_eq!(info.base.block, block);
    let store = Store::open(&dir.path().join("l2"), Options::default()).unwrap();
    let snapshot = store.snapshot().unwrap();
    let at = snapshot.leaf_range().unwrap().unwrap();
    assert_ne!(
        snapshot.leaf(*at.start()).unwrap().unwrap().0,
        followed.leaves[*at.start() as usize]
    );
    // Its own block settles, at the same cursor.
    let (settled, range) = settled_with(&followed, *at.start() as usize);
    assert_eq!(settled.block, block);
    assert_eq!(verdict(&snapshot, &info.base, &settled, &range).unwrap(), Some(false));
}
