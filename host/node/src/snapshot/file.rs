//! From a data directory to a file and back.

use super::{Base, base, put_base};
use crate::{
    leaves::{self, StoredLeaf},
    progress::{self, Derived, StoredRecord},
};
use alloy_consensus::TxReceipt;
use alloy_eips::eip2718::{Decodable2718, Encodable2718};
use alloy_primitives::{B256, Bytes, U256};
use alloy_rlp::{Decodable, RlpDecodable, RlpEncodable};
use annex_claim::{Leaf, OutputRoot};
use annex_derive::{Checkpoint, Cursor};
use annex_l1::{
    BlockRef, Checkpoint as L1Checkpoint, Deployment, L1Error, LogPosition, decode_payload,
    encode_payload,
};
use annex_state::ordered_root;
use annex_store::{
    BlockCommit, ImportError, Imported, Options, Snapshot, Store, StoreError,
    archive::{ArchiveError, ArchiveReader, ArchiveWriter, Counts},
};
use annex_types::{
    ExtraData, Header, Origin, Receipt, Record, RecordEnv, RecordPayload, RecoveredTransaction,
    SignatureError, Transaction,
};
use std::{
    fs::File,
    io::{self, BufRead, BufWriter, Write},
    path::Path,
};

/// Why a snapshot is not written or taken over, by what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error(transparent)]
    Import(#[from] ImportError),
    #[error("the snapshot cannot be written: {0}")]
    Write(io::Error),
    #[error("{0} holds no chain: name the --data-dir of a node")]
    NoChain(std::path::PathBuf),
    #[error(
        "block {block} is not carried by L1 yet, as far as this node followed; the newest that is, is {safe}"
    )]
    NotSafe { block: u64, safe: u64 },
    #[error("where derivation stood at block {0} is no longer kept; name a newer block")]
    Forgotten(u64),
    #[error("the snapshot is damaged ({0}): get it again, or from somebody else")]
    Damaged(&'static str),
    #[error(
        "the snapshot is of another chain: its configuration or genesis is not that of deployment.json"
    )]
    OtherChain,
    #[error(
        "the snapshot rests on records that L1's Inbox does not have: it is false, or L1 has reorganised; get another one"
    )]
    NotOnL1,
    #[error(
        "the snapshot is ahead of L1 as this endpoint knows it: try again later, or ask another endpoint"
    )]
    AheadOfL1,
    #[error(
        "the snapshot is false: claim {range} settled another output root for block {block}; get it from somebody else"
    )]
    Contradicted { block: u64, range: u64 },
    #[error(
        "the snapshot of block {base} is false: what this node derived from it up to block {block} is not what claim {range} settled; delete the data directory, and make it anew from another snapshot"
    )]
    False { base: u64, block: u64, range: u64 },
    #[error("L1: {0}")]
    L1(#[from] L1Error),
}

impl From<alloy_rlp::Error> for SnapshotError {
    fn from(_: alloy_rlp::Error) -> Self {
        Self::Damaged("preamble")
    }
}

impl From<SignatureError> for SnapshotError {
    fn from(_: SignatureError) -> Self {
        Self::Damaged("transactions")
    }
}

/// What comes before the state.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub(super) struct Preamble {
    pub config_hash: B256,
    pub genesis: Header,
    pub header: Header,
    pub record: u64,
    pub block: u64,
    pub forced: u64,
    pub first_record: u64,
    pub leaf: u64,
    pub first: u64,
    pub previous: B256,
    pub records: Vec<PreambleRecord>,
    pub transactions: Vec<Bytes>,
    pub receipts: Vec<Receipt>,
}

#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub(super) struct PreambleRecord {
    pub kind: B256,
    pub l1_block_number: u64,
    pub timestamp: u64,
    pub base_fee: U256,
    pub blob_base_fee: U256,
    pub l1_parent_hash: B256,
    pub payload: Bytes,
    pub l1_block_hash: B256,
    pub l1_tx: B256,
    /// Zero: none.
    pub alias: B256,
}

impl From<&StoredRecord> for PreambleRecord {
    fn from(stored: &StoredRecord) -> Self {
        let RecordEnv { l1_block_number, timestamp, base_fee, blob_base_fee, l1_parent_hash } =
            stored.record.env;
        Self {
            kind: stored.record.payload.kind(),
            l1_block_number,
            timestamp,
            base_fee,
            blob_base_fee,
            l1_parent_hash,
            payload: encode_payload(&stored.record.payload),
            l1_block_hash: stored.l1_block_hash,
            l1_tx: stored.l1_tx,
            alias: stored.alias.unwrap_or_default(),
        }
    }
}

impl PreambleRecord {
    fn into_stored(self, index: u64, previous: B256) -> Result<StoredRecord, SnapshotError> {
        let env = RecordEnv {
            l1_block_number: self.l1_block_number,
            timestamp: self.timestamp,
            base_fee: self.base_fee,
            blob_base_fee: self.blob_base_fee,
            l1_parent_hash: self.l1_parent_hash,
        };
        let payload = decode_payload(self.kind, &self.payload);
        let payload = payload.map_err(|_| SnapshotError::Damaged("records"))?;
        Ok(StoredRecord {
            record: Record::new(index, previous, env, payload),
            l1_block_hash: self.l1_block_hash,
            l1_tx: self.l1_tx,
            alias: Some(self.alias).filter(|alias| !alias.is_zero()),
        })
    }
}

/// What a snapshot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotInfo {
    pub base: Base,
    pub block_hash: B256,
    pub counts: Counts,
}

/// A snapshot to be made.
#[derive(Clone, Debug)]
pub struct Export<'a> {
    pub data_dir: &'a Path,
    pub out: &'a Path,
    /// `None`: the newest that L1 carries.
    pub block: Option<u64>,
}

/// Writes a snapshot of what a stopped node left. `seen` is told of accounts: how many were written, of how many.
pub fn export(
    request: &Export<'_>,
    mut seen: impl FnMut(u64, u64),
) -> Result<SnapshotInfo, SnapshotError> {
    let dir = request.data_dir.join("l2");
    if !dir.join("chain.redb").exists() {
        return Err(SnapshotError::NoChain(request.data_dir.to_owned()));
    }
    let store = Store::open(&dir, Options { cache: 64 << 20, ..Options::default() })?;
    let snapshot = store.snapshot()?;
    let (preamble, base) = gather(&snapshot, request.block)?;
    let view = snapshot.at(base.block)?;
    let all = view.count_accounts()?;
    // Beside it, so that an interrupted export leaves no half of a file under its name.
    let partial = request.out.with_extension("partial");
    let file = File::create(&partial).map_err(SnapshotError::Write)?;
    let encoded = alloy_rlp::encode(&preamble);
    let mut writer =
        ArchiveWriter::new(BufWriter::new(file), &encoded).map_err(SnapshotError::Write)?;
    let mut done = 0;
    view.export(|entry| {
        if matches!(entry, annex_store::archive::Entry::Account(..)) {
            done += 1;
            seen(done, all.max(done));
        }
        writer.push(&entry).map_err(SnapshotError::Write)
    })?;
    let (mut file, counts) = writer.finish().map_err(SnapshotError::Write)?;
    let written = file.flush().and_then(|()| file.get_ref().sync_all());
    written.and_then(|()| std::fs::rename(&partial, request.out)).map_err(SnapshotError::Write)?;
    Ok(SnapshotInfo { base, block_hash: preamble.header.hash_slow(), counts })
}

/// Where derivation stands after a block that L1 carries, and the leaf there.
fn standing(snapshot: &Snapshot, block: u64) -> Result<(Checkpoint, u64), SnapshotError> {
    let derived = progress::derived(snapshot)?;
    if block > derived.safe {
        return Err(SnapshotError::NotSafe { block, safe: derived.safe });
    }
    let checkpoint = match block == derived.safe {
        true => derived.checkpoint,
        false => {
            // Where it stood before the next one.
            let cursor = progress::cursor_of_block(snapshot, block + 1)?;
            let cursor = cursor.ok_or(SnapshotError::Forgotten(block))?;
            let (header, _) = snapshot.header(block)?.ok_or(SnapshotError::Forgotten(block))?;
            let extra = extra(&header)?;
            let unconsumed = progress::record_of_forced(snapshot, extra.forced_count)?;
            let first_record = extra.origin.min(cursor.record).min(unconsumed.unwrap_or(u64::MAX));
            Checkpoint { cursor, first_record }
        }
    };
    let leaf = leaves::index_at(snapshot, checkpoint.cursor)?;
    Ok((checkpoint, leaf.ok_or(SnapshotError::Forgotten(block))?))
}

fn extra(header: &Header) -> Result<ExtraData, SnapshotError> {
    ExtraData::decode(&header.extra_data).map_err(|_| SnapshotError::Damaged("header"))
}

pub(super) fn gather(
    snapshot: &Snapshot,
    block: Option<u64>,
) -> Result<(Preamble, Base), SnapshotError> {
    let number = match block {
        Some(block) => block,
        None => progress::derived(snapshot)?.safe,
    };
    let (checkpoint, leaf) = standing(snapshot, number)?;
    let stored = snapshot.block(number)?.ok_or(SnapshotError::Forgotten(number))?;
    let receipts = snapshot.receipts(number)?.ok_or(SnapshotError::Forgotten(number))?;
    let (genesis, _) = snapshot.header(0)?.ok_or(StoreError::UnknownBlock(0))?;
    let records = records(snapshot, &checkpoint)?;
    let first = records.first().map_or(0, |stored| stored.record.index);
    let previous = match first.checked_sub(1) {
        None => B256::ZERO,
        Some(before) => {
            let before = progress::record(snapshot, before)?;
            before.ok_or(SnapshotError::Forgotten(number))?.record.accumulator
        }
    };
    let Cursor { record, block, forced } = checkpoint.cursor;
    let preamble = Preamble {
        config_hash: config_hash(snapshot)?,
        genesis,
        header: stored.header,
        record,
        block,
        forced,
        first_record: checkpoint.first_record,
        leaf,
        first,
        previous,
        records: records.iter().map(PreambleRecord::from).collect(),
        transactions: stored
            .transactions
            .iter()
            .map(|tx| tx.transaction.encoded_2718().into())
            .collect(),
        receipts,
    };
    let base = base_of(&preamble, &records);
    Ok((preamble, base))
}

fn base_of(preamble: &Preamble, records: &[StoredRecord]) -> Base {
    let last = records.last().map(|stored| (stored.record.index, stored.record.accumulator));
    let (last_record, accumulator) = last.unwrap_or_default();
    Base {
        config_hash: preamble.config_hash,
        block: preamble.header.number,
        output_root: OutputRoot::of(&preamble.header).hash(),
        record: preamble.record,
        last_record,
        accumulator,
    }
}

/// The records that derivation needs from here on, and those of the L1 block that the last exhausted one is in; the one
/// before the first of them is known, or there is none.
fn records(
    snapshot: &Snapshot,
    checkpoint: &Checkpoint,
) -> Result<Vec<StoredRecord>, SnapshotError> {
    let Some(exhausted) = checkpoint.cursor.record.checked_sub(1) else { return Ok(Vec::new()) };
    let first = checkpoint.first_record.min(exhausted);
    let mut records = Vec::new();
    for index in first.. {
        let Some(stored) = progress::record(snapshot, index)? else { break };
        let in_block = |last: &StoredRecord| last.l1_block_hash == stored.l1_block_hash;
        if index > exhausted && !records.last().is_some_and(in_block) {
            break;
        }
        records.push(stored);
    }
    Ok(records)
}

fn config_hash(snapshot: &Snapshot) -> Result<B256, SnapshotError> {
    if let Some(base) = base(snapshot)? {
        return Ok(base.config_hash);
    }
    match progress::record(snapshot, 0)?.map(|stored| stored.record.payload) {
        Some(RecordPayload::Genesis { config_hash, .. }) => Ok(config_hash),
        _ => Err(SnapshotError::NotSafe { block: 0, safe: 0 }),
    }
}

/// A snapshot whose preamble was read, and is consistent in itself.
pub struct Opened<R: BufRead> {
    archive: ArchiveReader<R>,
    checked: Checked,
}

impl<R: BufRead> Opened<R> {
    pub fn new(file: R) -> Result<Self, SnapshotError> {
        let archive = ArchiveReader::new(file)?;
        let mut bytes = archive.preamble();
        let preamble = Preamble::decode(&mut bytes)?;
        if !bytes.is_empty() {
            return Err(SnapshotError::Damaged("preamble"));
        }
        Ok(Self { checked: Checked::new(preamble)?, archive })
    }

    /// What it claims to be.
    pub fn base(&self) -> &Base {
        &self.checked.base
    }

    /// Fails unless it is of that chain.
    pub fn expect_chain(&self, deployment: &Deployment) -> Result<(), SnapshotError> {
        let ours = deployment.chain_config().hash() == self.checked.base.config_hash
            && deployment.genesis_hash == self.checked.preamble.genesis.hash_slow();
        if ours { Ok(()) } else { Err(SnapshotError::OtherChain) }
    }

    /// Makes a data directory of it, all of it or nothing. `seen` is told what was read so far.
    pub fn import(
        mut self,
        data_dir: &Path,
        seen: impl FnMut(Counts),
    ) -> Result<SnapshotInfo, SnapshotError> {
        let options = Options { cache: 256 << 20, ..Options::default() };
        let store = Store::open(&data_dir.join("l2"), options)?;
        let Checked { preamble, base, records, transactions } = &self.checked;
        let (header, genesis) = (&preamble.header, &preamble.genesis);
        let (changes, update) = Default::default();
        let block = BlockCommit {
            header,
            hash: header.hash_slow(),
            transactions,
            receipts: &preamble.receipts,
            changes: &changes,
            update: &update,
            aliases: &[],
        };
        let genesis = BlockCommit {
            header: genesis,
            hash: genesis.hash_slow(),
            transactions: &[],
            receipts: &[],
            ..block
        };
        let (derived, leaf) = (self.checked.derived(), self.checked.leaf());
        let checkpoints = self.checked.l1_checkpoints();
        let imported = Imported { block, genesis };
        let counts = store.import(&mut self.archive, imported, seen, |writer| {
            progress::put_snapshot(writer, &derived, leaf, records, &checkpoints)?;
            put_base(writer, base)
        })?;
        Ok(SnapshotInfo { base: *base, block_hash: block.hash, counts })
    }
}

/// A preamble that is consistent in itself.
pub(super) struct Checked {
    preamble: Preamble,
    pub base: Base,
    records: Vec<StoredRecord>,
    transactions: Vec<RecoveredTransaction>,
}

impl Checked {
    pub fn new(mut preamble: Preamble) -> Result<Self, SnapshotError> {
        let mut previous = preamble.previous;
        let mut records = Vec::new();
        for (index, record) in (preamble.first..).zip(std::mem::take(&mut preamble.records)) {
            let stored = record.into_stored(index, previous)?;
            previous = stored.record.accumulator;
            records.push(stored);
        }
        check_cursor(&preamble, &records)?;
        let transactions = transactions(&preamble)?;
        let base = base_of(&preamble, &records);
        Ok(Self { preamble, base, records, transactions })
    }

    fn cursor(&self) -> Cursor {
        let Preamble { record, block, forced, .. } = self.preamble;
        Cursor { record, block, forced }
    }

    fn derived(&self) -> Derived {
        let checkpoint =
            Checkpoint { cursor: self.cursor(), first_record: self.preamble.first_record };
        Derived { safe: self.preamble.header.number, checkpoint }
    }

    fn leaf(&self) -> (u64, StoredLeaf) {
        let (output, cursor) = (OutputRoot::of(&self.preamble.header), self.cursor());
        let hash = Leaf { output, cursor }.hash();
        (self.preamble.leaf, StoredLeaf { hash, block: self.preamble.header.number, cursor })
    }

    /// The L1 blocks of the records, each with the log after it.
    fn l1_checkpoints(&self) -> Vec<L1Checkpoint> {
        let mut checkpoints: Vec<L1Checkpoint> = Vec::new();
        for StoredRecord { record, l1_block_hash, .. } in &self.records {
            let block = BlockRef { number: record.env.l1_block_number, hash: *l1_block_hash };
            if checkpoints.last().is_some_and(|last| last.block.number == block.number) {
                checkpoints.pop();
            }
            let position = LogPosition { next: record.index + 1, accumulator: record.accumulator };
            checkpoints.push(L1Checkpoint { block, position });
        }
        checkpoints
    }
}

/// Whether derivation can go on from there with these records.
fn check_cursor(preamble: &Preamble, records: &[StoredRecord]) -> Result<(), SnapshotError> {
    let damaged = Err(SnapshotError::Damaged("cursor"));
    let Preamble { header, record, forced, first_record, first, leaf, .. } = preamble;
    if records.is_empty() {
        let genesis = *record == 0 && *first_record == 0 && *leaf == 0 && header.number == 0;
        return if genesis { Ok(()) } else { damaged };
    }
    let extra = extra(header)?;
    let last = first.saturating_add(records.len() as u64 - 1);
    let needed = extra.origin.min(*record);
    let rising = |pair: &[StoredRecord]| {
        pair[0].record.env.l1_block_number <= pair[1].record.env.l1_block_number
    };
    let holds = *forced == extra.forced_count
        && *first_record <= needed
        && extra.origin <= last
        && first <= first_record
        && *first < *record
        && record.saturating_sub(1) <= last
        && *leaf < u64::MAX / 2
        && records.windows(2).all(rising);
    if !holds {
        return damaged;
    }
    // The block names its origin's accumulator.
    let origin = &records[(extra.origin - first) as usize].record;
    let origin = Origin { index: origin.index, accumulator: origin.accumulator, env: origin.env };
    match header.number == 0 || origin.prev_randao(header.number) == header.mix_hash {
        true => Ok(()),
        false => damaged,
    }
}

/// The block's transactions with their senders, if these and the receipts are the header's.
fn transactions(preamble: &Preamble) -> Result<Vec<RecoveredTransaction>, SnapshotError> {
    let Preamble { header, transactions, receipts, .. } = preamble;
    let root = ordered_root(transactions.iter().map(|raw| raw.to_vec()));
    if root != header.transactions_root || receipts.len() != transactions.len() {
        return Err(SnapshotError::Damaged("transactions"));
    }
    let root = ordered_root(receipts.iter().map(|receipt| receipt.with_bloom_ref().encoded_2718()));
    if root != header.receipts_root {
        return Err(SnapshotError::Damaged("receipts"));
    }
    let recover = |raw: &Bytes| {
        let transaction = Transaction::decode_2718_exact(raw);
        let transaction = transaction.map_err(|_| SnapshotError::Damaged("transactions"))?;
        Ok(RecoveredTransaction::recover(transaction)?)
    };
    transactions.iter().map(recover).collect()
}
