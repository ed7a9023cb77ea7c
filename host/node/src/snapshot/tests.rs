//! Snapshots of random logs, from which derivation goes on as if it had never stopped.

use super::file::{Checked, Preamble, gather};
use super::*;
use crate::{
    follow,
    leaves::tests::{Followed, random_log},
};
use annex_derive::Step;
use annex_stf::apply_block;
use annex_store::{BlockCommit, Options, archive::ArchiveWriter};
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
