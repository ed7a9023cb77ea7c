//! What blocks are proved from: witnesses, records, and where the step of a leaf starts (spec/rpc.md, "Proofs").
//!
//! Nothing is recorded on the executor's or the sealer's thread, where it would cost a third of the speed. A witness is built
//! by executing the block again on the state before it, which the store keeps as reverse diffs: when somebody asks, or, with
//! `--keep-witnesses`, for every block as it comes ([`kept`]). A stored witness is some ten times as large as the diffs
//! (`cargo bench -p annex-store --bench witness`).

mod kept;
mod pages;

pub(crate) use kept::{
    Keeper, keep_rejected, kept, kept_rejected, prune as prune_witnesses, prune_rejected,
};
pub use pages::WitnessPage;

use crate::{chain::L2, leaves, progress};
use alloy_consensus::{Block, BlockBody};
use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_primitives::{Address, B256, Bytes, U64, U256};
use alloy_rlp::{RlpDecodable, RlpEncodable};
use annex_derive::Cursor;
use annex_l1::{LogFault, decode_payload, encode_payload};
use annex_rpc::Chain;
use annex_state::{ReadRecorder, Reads, Recorder, TrieError, TrieReader};
use annex_stf::{ApplyError, SealedBlock, apply_block};
use annex_store::{Snapshot, StoreError, StoredBlock};
use annex_types::{
    BlockAttributes, BlockInput, ChainConfig, ExtraData, ForcedItem, Header, Origin, Record,
    RecordEnv, RecordPayload, block::ExtraDataError,
};
use jsonrpsee::{
    RpcModule,
    core::RegisterMethodError,
    types::{
        ErrorObjectOwned,
        error::{INTERNAL_ERROR_CODE, INVALID_PARAMS_CODE},
    },
};
use serde::{Deserialize, Serialize};
use std::{cell::RefCell, collections::BTreeSet, sync::Arc};
use tokio::sync::Mutex;

/// Records of one answer.
const MAX_RECORDS: u64 = 256;
/// How many times as many changes may have to be undone for a witness, one at a time, as for an `eth_getProof`.
pub(crate) const WITNESS_CHANGES: usize = 32;
const SERVER_ERROR: i32 = -32000;
/// EIP-1474.
const LIMIT_EXCEEDED: i32 = -32005;
/// jsonrpsee's code for an answer that is too large.
const ANSWER_TOO_LARGE: i32 = -32008;

/// `debug_executionWitness`, in the shape of other clients.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, RlpEncodable, RlpDecodable,
)]
pub struct ExecutionWitness {
    /// Trie nodes, sorted by hash.
    pub state: Vec<Bytes>,
    /// Codes, sorted by hash.
    pub codes: Vec<Bytes>,
    /// Addresses, then slots, that execution read or wrote; each list sorted.
    pub keys: Vec<Bytes>,
    /// The parent's header, RLP.
    pub headers: Vec<Bytes>,
}

/// What `annex_claimInput` is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
enum Wanted {
    /// The step from this leaf.
    Leaf(B256),
    /// The step that makes this block.
    Block(U64),
}

/// `annex_claimInput`: where a step starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClaimStart {
    /// The block that the step makes, if it makes one.
    pub block: U64,
    /// Header of its parent, RLP.
    pub head: Bytes,
    pub record: U64,
    /// Index in the record's payload.
    pub index: U64,
    pub forced: U64,
    /// The first record that the step reads; the last one is `record`.
    pub first_record: U64,
    /// Accumulator before `first_record`.
    pub previous: B256,
}

impl ClaimStart {
    pub fn cursor(&self) -> Cursor {
        Cursor { record: self.record.to(), block: self.index.to(), forced: self.forced.to() }
    }
}

/// A record as `annex_records` serves it: the Inbox's event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordJson {
    pub index: U64,
    pub kind: B256,
    pub accumulator: B256,
    pub l1_block_number: U64,
    pub timestamp: U64,
    pub base_fee: U256,
    pub blob_base_fee: U256,
    pub l1_parent_hash: B256,
    pub payload: Bytes,
}

impl From<&Record> for RecordJson {
    fn from(record: &Record) -> Self {
        let RecordEnv { l1_block_number, timestamp, base_fee, blob_base_fee, l1_parent_hash } =
            record.env;
        Self {
            index: U64::from(record.index),
            kind: record.payload.kind(),
            accumulator: record.accumulator,
            l1_block_number: U64::from(l1_block_number),
            timestamp: U64::from(timestamp),
            base_fee,
            blob_base_fee,
            l1_parent_hash,
            payload: encode_payload(&record.payload),
        }
    }
}

impl RecordJson {
    /// The record that follows `previous`, its accumulator being computed here.
    pub fn record(&self, previous: B256) -> Result<Record, LogFault> {
        let env = RecordEnv {
            l1_block_number: self.l1_block_number.to(),
            timestamp: self.timestamp.to(),
            base_fee: self.base_fee,
            blob_base_fee: self.blob_base_fee,
            l1_parent_hash: self.l1_parent_hash,
        };
        let payload = decode_payload(self.kind, &self.payload)?;
        Ok(Record::new(self.index.to(), previous, env, payload))
    }
}

/// Why there is nothing to prove a block from.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProofError {
    #[error("header not found")]
    UnknownBlock,
    #[error("block 0 is genesis: nothing is executed to make it")]
    Genesis,
    #[error(
        "block {number} is not on L1 yet: it has no leaf; the newest block that has one is {safe}"
    )]
    NotOnL1 { number: u64, safe: u64 },
    #[error("record {0} is not known")]
    UnknownRecord(u64),
    #[error(
        "leaf {0} is not known: this node's chain does not go through it, as far as L1 was followed, or it is settled and forgotten"
    )]
    UnknownLeaf(B256),
    #[error(
        "block {block} is too old for a witness: more than {limit} changes of accounts and slots since; ask a node with a greater --max-proof-changes"
    )]
    TooOld { block: u64, limit: usize },
    #[error(
        "the witness of block {0} is larger than an answer may be; annex_executionWitness serves it in pages"
    )]
    TooLarge(u64),
    #[error("the witness has no entry {0}")]
    NoEntry(u64),
    #[error("at most {MAX_RECORDS} records at a time")]
    TooManyRecords,
    /// Its origin or forced items were replaced by a reorganisation that is being followed.
    #[error("block {0} is being replaced: L1 reorganised; ask again")]
    Replaced(u64),
    #[error("request was not completed")]
    Cancelled,
    #[error("a block of the store is not of this chain: {0}")]
    Header(#[from] ExtraDataError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<ApplyError<TrieError<StoreError>, StoreError>> for ProofError {
    fn from(error: ApplyError<TrieError<StoreError>, StoreError>) -> Self {
        match error {
            ApplyError::Reader(error) | ApplyError::Trie(error) => Self::Store(error.into()),
            ApplyError::Parent(error) => error.into(),
        }
    }
}

impl From<ProofError> for ErrorObjectOwned {
    fn from(error: ProofError) -> Self {
        let message = error.to_string();
        let code = match error {
            ProofError::TooManyRecords | ProofError::NoEntry(_) => INVALID_PARAMS_CODE,
            ProofError::TooLarge(_) => ANSWER_TOO_LARGE,
            ProofError::TooOld { .. } => LIMIT_EXCEEDED,
            ProofError::UnknownBlock
            | ProofError::Genesis
            | ProofError::NotOnL1 { .. }
            | ProofError::UnknownRecord(_)
            | ProofError::UnknownLeaf(_)
            | ProofError::Replaced(_)
            | ProofError::Store(StoreError::Pruned { .. } | StoreError::UnknownBlock(_)) => {
                SERVER_ERROR
            }
            ProofError::Cancelled | ProofError::Header(_) | ProofError::Store(_) => {
                tracing::warn!(%error, "a block cannot be proved");
                INTERNAL_ERROR_CODE
            }
        };
        Self::owned(code, message, None::<()>)
    }
}

/// A block's hash, and the witness of that block whose pages somebody is reading. Whoever builds one holds the lock: it takes
/// memory by what changed since.
type Reading = Option<(B256, ExecutionWitness)>;

struct Context {
    l2: Arc<L2>,
    reading: Arc<Mutex<Reading>>,
    max_changes: usize,
}

/// A witness is refused of a block since which more than `max_changes` accounts and slots changed.
pub(crate) fn module(l2: &Arc<L2>, max_changes: usize) -> RpcModule<impl Send + Sync + 'static> {
    let reading = Arc::default();
    let mut module = RpcModule::new(Context { l2: l2.clone(), reading, max_changes });
    register(&mut module).expect("the names below are distinct");
    module
}

fn register(module: &mut RpcModule<Context>) -> Result<(), RegisterMethodError> {
    module.register_async_method("debug_executionWitness", |params, context, _| async move {
        let id: BlockId = params.one()?;
        execution_witness(&context, id).await
    })?;
    module.register_async_method(
        "debug_executionWitnessByBlockHash",
        |params, context, _| async move {
            let hash: B256 = params.one()?;
            execution_witness(&context, hash.into()).await
        },
    )?;
    module.register_async_method("annex_executionWitness", |params, context, _| async move {
        let (id, from): (BlockId, Option<U64>) = params.parse()?;
        witness_page(&context, id, from.unwrap_or_default().to()).await
    })?;
    module.register_method("debug_getRawBlock", |params, context, _| {
        let id: BlockId = params.one()?;
        let snapshot = context.l2.store.snapshot().map_err(ProofError::from)?;
        let number = number(&context.l2, &snapshot, id)?;
        Ok::<_, ErrorObjectOwned>(raw_block(&snapshot, number)?)
    })?;
    module.register_method("annex_claimInput", |params, context, _| {
        let wanted: Wanted = params.one()?;
        let snapshot = context.l2.store.snapshot().map_err(ProofError::from)?;
        let start = match wanted {
            Wanted::Leaf(leaf) => claim_start_at(&snapshot, leaf)?,
            Wanted::Block(number) => {
                claim_start(&snapshot, context.l2.progress.safe(), number.to())?
            }
        };
        Ok::<_, ErrorObjectOwned>(start)
    })?;
    module.register_method("annex_records", |params, context, _| {
        let (first, count): (U64, U64) = params.parse()?;
        let snapshot = context.l2.store.snapshot().map_err(ProofError::from)?;
        Ok::<_, ErrorObjectOwned>(records(&snapshot, first.to(), count.to())?)
    })?;
    Ok(())
}

/// Number of the sealed block that `id` names.
fn number(l2: &L2, snapshot: &Snapshot, id: BlockId) -> Result<u64, ProofError> {
    let head = || snapshot.head().map(|head| head.number);
    let found = match id {
        BlockId::Hash(hash) => snapshot.number(hash.block_hash)?,
        BlockId::Number(BlockNumberOrTag::Number(number)) => Some(number),
        BlockId::Number(BlockNumberOrTag::Latest) => head(),
        BlockId::Number(BlockNumberOrTag::Earliest) => Some(0),
        BlockId::Number(BlockNumberOrTag::Safe) => Some(l2.finality().safe),
        BlockId::Number(BlockNumberOrTag::Finalized) => Some(l2.finality().finalized),
        // It is not sealed.
        BlockId::Number(BlockNumberOrTag::Pending) => None,
    };
    found.filter(|number| Some(*number) <= head()).ok_or(ProofError::UnknownBlock)
}

async fn execution_witness(
    context: &Context,
    id: BlockId,
) -> Result<ExecutionWitness, ErrorObjectOwned> {
    with_witness(context, id, |number, witness| {
        if pages::json_bytes(&witness) <= pages::ANSWER_BYTES {
            Ok((witness, None))
        } else {
            Err(ProofError::TooLarge(number))
        }
    })
    .await
}

async fn witness_page(
    context: &Context,
    id: BlockId,
    from: u64,
) -> Result<WitnessPage, ErrorObjectOwned> {
    with_witness(context, id, move |_, witness| {
        let page = pages::page(&witness, from, pages::PAGE_BYTES)?;
        let goes_on = page.next.is_some();
        Ok((page, goes_on.then_some(witness)))
    })
    .await
}

/// Hands a block's number and witness to `answer`, and keeps what it gives back for the next one who asks.
async fn with_witness<T: Send + 'static>(
    context: &Context,
    id: BlockId,
    answer: impl FnOnce(u64, ExecutionWitness) -> Result<(T, Option<ExecutionWitness>), ProofError>
    + Send
    + 'static,
) -> Result<T, ErrorObjectOwned> {
    // Held by the work itself: who asked may hang up.
    let mut reading = context.reading.clone().lock_owned().await;
    let (l2, max_changes) = (context.l2.clone(), context.max_changes);
    let build = move || {
        let snapshot = l2.store.snapshot()?;
        let number = number(&l2, &snapshot, id)?;
        let (_, hash) = snapshot.header(number)?.ok_or(ProofError::UnknownBlock)?;
        let witness = match reading.take() {
            Some((of, witness)) if of == hash => witness,
            _ => match kept::kept(&snapshot, number, hash)? {
                Some(kept) => kept,
                None => witness(&l2.config, &snapshot, number, max_changes)?,
            },
        };
        let (answer, kept) = answer(number, witness)?;
        *reading = kept.map(|witness| (hash, witness));
        Ok(answer)
    };
    let built = tokio::task::spawn_blocking(build).await;
    Ok(built.unwrap_or(Err(ProofError::Cancelled))?)
}

/// The witness of a block, by executing it again on its parent's state.
pub(crate) fn witness(
    config: &ChainConfig,
    snapshot: &Snapshot,
    number: u64,
    max_changes: usize,
) -> Result<ExecutionWitness, ProofError> {
    let block = snapshot.block(number)?.ok_or(ProofError::UnknownBlock)?;
    let view = snapshot.at(number.checked_sub(1).ok_or(ProofError::Genesis)?)?;
    if view.changes_since(max_changes)? > max_changes {
        return Err(ProofError::TooOld { block: number, limit: max_changes });
    }
    let (parent, hash) = (view.header(), block.hash);
    let input = block_input(snapshot, parent, block)?;
    let (recorder, reads) = (Recorder::new(&view), RefCell::default());
    let reader = TrieReader::new(&recorder, view.root(), (parent.number, view.hash()));
    let reader = ReadRecorder::new(reader, &reads);
    let sealed = match apply_block(config, parent, &input, reader, &recorder)? {
        Ok(sealed) if sealed.hash == hash => sealed,
        Ok(_) | Err(_) => return Err(ProofError::Replaced(number)),
    };
    let keys = touched(reads.into_inner(), &sealed);
    let witness = recorder.into_witness();
    Ok(ExecutionWitness {
        state: witness.nodes,
        codes: witness.codes,
        keys,
        headers: vec![alloy_rlp::encode(parent).into()],
    })
}

/// Addresses and slots that a block read or wrote.
fn touched(reads: Reads, sealed: &SealedBlock) -> Vec<Bytes> {
    let mut addresses: BTreeSet<Address> = reads.accounts;
    let mut slots: BTreeSet<U256> = BTreeSet::new();
    for (address, slot) in reads.slots {
        addresses.insert(address);
        slots.insert(slot);
    }
    addresses.extend(sealed.changes.accounts.keys());
    for (address, changed) in &sealed.changes.storage {
        addresses.insert(*address);
        slots.extend(changed.keys());
    }
    let addresses = addresses.into_iter().map(|address| Bytes::from(address.0));
    let slots = slots.into_iter().map(|slot| Bytes::from(slot.to_be_bytes::<32>()));
    addresses.chain(slots).collect()
}

/// What `block` was made from.
fn block_input(
    snapshot: &Snapshot,
    parent: &Header,
    block: StoredBlock,
) -> Result<BlockInput, ProofError> {
    let before = ExtraData::decode(&parent.extra_data)?;
    let extra = ExtraData::decode(&block.header.extra_data)?;
    let origin = stored(snapshot, extra.origin)?;
    let origin = Origin { index: origin.index, accumulator: origin.accumulator, env: origin.env };
    let forced = (before.forced_count..extra.forced_count)
        .map(|item| forced_item(snapshot, item))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(BlockInput {
        attributes: BlockAttributes {
            timestamp: block.header.timestamp,
            beneficiary: block.header.beneficiary,
            origin,
            blocks_in_second: extra.blocks_in_second,
        },
        transactions: block.transactions.into_iter().skip(forced.len()).collect(),
        forced,
    })
}

pub(crate) fn stored(snapshot: &Snapshot, record: u64) -> Result<Record, ProofError> {
    let found = progress::record(snapshot, record)?;
    found.map(|stored| stored.record).ok_or(ProofError::UnknownRecord(record))
}

fn forced_item(snapshot: &Snapshot, item: u64) -> Result<ForcedItem, ProofError> {
    let corrupt = ProofError::Store(StoreError::Corrupt("no record of a forced item"));
    let Some(record) = progress::record_of_forced(snapshot, item)? else { return Err(corrupt) };
    match stored(snapshot, record)?.payload {
        RecordPayload::Forced(forced) => Ok(forced),
        RecordPayload::Genesis { .. } | RecordPayload::Batch(_) => Err(corrupt),
    }
}

/// RLP of a block.
pub(crate) fn raw_block(snapshot: &Snapshot, number: u64) -> Result<Bytes, ProofError> {
    let block = snapshot.block(number)?.ok_or(ProofError::UnknownBlock)?;
    let body = BlockBody {
        transactions: block.transactions.into_iter().map(|tx| tx.transaction).collect(),
        ommers: Vec::<Header>::new(),
        withdrawals: Some(Default::default()),
    };
    Ok(alloy_rlp::encode(Block::new(block.header, body)).into())
}

/// Where the step starts that made block `number`; `safe` is the newest block that L1 carries.
pub(crate) fn claim_start(
    snapshot: &Snapshot,
    safe: u64,
    number: u64,
) -> Result<ClaimStart, ProofError> {
    if number > safe {
        return Err(ProofError::NotOnL1 { number, safe });
    }
    let parent = number.checked_sub(1).ok_or(ProofError::Genesis)?;
    let cursor = progress::cursor_of_block(snapshot, number)?;
    start(snapshot, parent, cursor.ok_or(ProofError::Replaced(number))?)
}

/// The same for the step from a leaf, whether it makes a block or not.
pub(crate) fn claim_start_at(snapshot: &Snapshot, leaf: B256) -> Result<ClaimStart, ProofError> {
    let unknown = ProofError::UnknownLeaf(leaf);
    let Some(index) = snapshot.leaf_index(leaf)? else { return Err(unknown) };
    let found = leaves::leaf(snapshot, index)?.ok_or(unknown)?;
    start(snapshot, found.block, found.cursor)
}

fn start(snapshot: &Snapshot, parent: u64, cursor: Cursor) -> Result<ClaimStart, ProofError> {
    let (head, _) = snapshot.header(parent)?.ok_or(ProofError::UnknownBlock)?;
    let first_record = first_record(snapshot, &head, cursor)?;
    let previous = match first_record.checked_sub(1) {
        Some(record) => stored(snapshot, record)?.accumulator,
        None => B256::ZERO,
    };
    Ok(ClaimStart {
        block: U64::from(parent + 1),
        head: alloy_rlp::encode(&head).into(),
        record: U64::from(cursor.record),
        index: U64::from(cursor.block),
        forced: U64::from(cursor.forced),
        first_record: U64::from(first_record),
        previous,
    })
}

/// How far back a step walks the records (spec/claim.md, "Input").
fn first_record(snapshot: &Snapshot, head: &Header, cursor: Cursor) -> Result<u64, ProofError> {
    let origin = ExtraData::decode(&head.extra_data)?.origin;
    let first = origin.min(cursor.record.saturating_sub(1));
    let RecordPayload::Batch(batch) = stored(snapshot, cursor.record)?.payload else {
        return Ok(first);
    };
    if batch.forced_up_to <= cursor.forced {
        return Ok(first);
    }
    let unconsumed = progress::record_of_forced(snapshot, cursor.forced)?;
    Ok(first.min(unconsumed.unwrap_or(first)))
}

pub(crate) fn records(
    snapshot: &Snapshot,
    first: u64,
    count: u64,
) -> Result<Vec<RecordJson>, ProofError> {
    if count > MAX_RECORDS {
        return Err(ProofError::TooManyRecords);
    }
    let wanted = first..first.saturating_add(count);
    wanted.map(|index| Ok(RecordJson::from(&stored(snapshot, index)?))).collect()
}

#[cfg(test)]
pub(crate) mod tests;
