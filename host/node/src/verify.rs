//! Checks a block with nothing that has to be believed: every part is known by a hash, up to the accumulators that L1 stores.
//!
//! What a lying server can do is leave out or alter an entry; it is then missing under the hash it should have.

mod assembly;
mod machine;
mod pages;

pub use annex_settle::{Part, PartError, Preimage, load_part};
pub use assembly::disassemble;
pub use machine::{CommitError, MAX_STEPS, MachineRun, ProvedStep, Step, commit, prove, run};
pub use pages::{MAX_WITNESS, WitnessPages};

use crate::{ClaimStart, ExecutionWitness, RecordJson};
use alloy_consensus::{Block, Sealable};
use alloy_eips::eip4844::Blob;
use alloy_primitives::{B256, Bytes, keccak256, map::B256Set};
use annex_claim::{
    ClaimError, ClaimInput, ClaimStep, Impossible, Kind, Missing, Preimages, PrepareError,
    Rejected, StepData, Transition, prepare, step,
};
use annex_l1::LogFault;
use annex_state::{MissingEntry, TrieError, TrieReader, Witness, WitnessSource};
use annex_stf::{ApplyError, InvalidBlock, apply_block};
use annex_types::{
    BlockAttributes, BlockInput, ChainConfig, ExtraData, ForcedItem, Header, Origin, Record,
    RecoveredTransaction, Transaction, block::ExtraDataError, transaction::SignatureError,
};
use std::{
    fmt,
    time::{Duration, Instant},
};

/// What does not hold, and where.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error("block {number} is not RLP of a block: {source}")]
    Block { number: u64, source: alloy_rlp::Error },
    #[error("the node was asked for block {asked} and sent block {sent}")]
    OtherNumber { asked: u64, sent: u64 },
    #[error("block {number}: {source}")]
    ExtraData { number: u64, source: ExtraDataError },
    #[error("transaction {index}: {source}")]
    Signature { index: usize, source: SignatureError },
    #[error("record {index} is missing; the node sent record {sent} in its place")]
    Gap { index: u64, sent: u64 },
    #[error("record {index}: {fault}")]
    Record { index: u64, fault: LogFault },
    #[error("record {index} is altered: it has accumulator {computed}, not {claimed}")]
    Accumulator { index: u64, claimed: B256, computed: B256 },
    #[error("records {from} to {to} of the block's step are missing")]
    Records { from: u64, to: u64 },
    #[error(
        "the block's mixHash is not of record {record} as the node serves it (accumulator {accumulator})"
    )]
    Origin { record: u64, accumulator: B256 },
    #[error("header {expected} is missing; the node sent header {sent} for the block's parent")]
    Head { expected: B256, sent: B256 },
    #[error(
        "a page of the witness has {entries} entries from {from} on and names {next} as the next"
    )]
    Page { from: u64, entries: u64, next: u64 },
    #[error("the witness has more than {MAX_WITNESS} bytes, which no valid block reads")]
    WitnessTooLarge,
    #[error("the parent's header is not RLP of a header: {0}")]
    Header(alloy_rlp::Error),
    #[error("{what} {hash} is missing{strays}")]
    Missing { what: What, hash: B256, strays: Strays },
    #[error("the step cannot be prepared: {0}")]
    Prepare(#[from] PrepareError),
    #[error("the step leads nowhere: {0}")]
    Impossible(#[from] Impossible),
    #[error("a trie node does not fit its place")]
    Malformed,
    #[error("the block is invalid: {0}")]
    Invalid(#[from] InvalidBlock),
    #[error("the replayed block differs in {field}: {replayed}, the node has {node}")]
    OtherBlock { field: &'static str, replayed: B256, node: B256 },
    #[error("the step makes no block: the node's cursor is wrong ({0})")]
    NoBlock(NoBlock),
    /// The native step is done with the preimages that there are.
    #[error(
        "the machine asks for {kind} {key}, which the native step did not need: the program does not do the same"
    )]
    Program { kind: Kind, key: B256 },
    #[error("the run ends after {steps} instructions: there is no instruction {asked}")]
    PastEnd { asked: u64, steps: u64 },
    #[error("the run makes no such preimage call")]
    NoPreimageCall,
}

/// What a step does instead of making a block.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NoBlock {
    #[error("it rejects one: {0}")]
    Rejected(Box<Rejected>),
    #[error("it exhausts a record")]
    Exhausted,
}

/// What is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    TrieNode,
    Code,
    Header,
    Blob,
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TrieNode => "trie node",
            Self::Code => "code",
            Self::Header => "header",
            Self::Blob => "blob",
        })
    }
}

/// Hashes of entries of the witness that nothing refers to: where something is missing, what it was made into.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Strays(pub Vec<B256>);

impl fmt::Display for Strays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 4;
        if self.0.is_empty() {
            return Ok(());
        }
        f.write_str("; the witness has entries that nothing refers to, perhaps what was altered:")?;
        self.0.iter().take(SHOWN).try_for_each(|hash| write!(f, " {hash}"))?;
        let more = self.0.len().saturating_sub(SHOWN);
        if more > 0 { write!(f, " and {more} more") } else { Ok(()) }
    }
}

/// A block as the node serves it, not yet checked.
#[derive(Clone, Debug)]
pub struct ServedBlock {
    pub header: Header,
    /// Hash of `header`.
    pub hash: B256,
    pub transactions: Vec<Transaction>,
}

/// Reads what `debug_getRawBlock` answered.
pub fn decode_block(number: u64, rlp: &[u8]) -> Result<ServedBlock, VerifyError> {
    let block: Block<Transaction> =
        alloy_rlp::decode_exact(rlp).map_err(|source| VerifyError::Block { number, source })?;
    let Block { header, body } = block;
    if header.number != number {
        return Err(VerifyError::OtherNumber { asked: number, sent: header.number });
    }
    let hash = header.hash_slow();
    Ok(ServedBlock { header, hash, transactions: body.transactions })
}

/// Checks that records follow each other from index `first`, `previous` being the accumulator before it.
pub fn check_records(
    served: &[RecordJson],
    first: u64,
    mut previous: B256,
) -> Result<Vec<Record>, VerifyError> {
    let check = |(index, served): (u64, &RecordJson)| {
        let sent = served.index.to();
        if sent != index {
            return Err(VerifyError::Gap { index, sent });
        }
        let record =
            served.record(previous).map_err(|fault| VerifyError::Record { index, fault })?;
        let (claimed, computed) = (served.accumulator, record.accumulator);
        if computed != claimed {
            return Err(VerifyError::Accumulator { index, claimed, computed });
        }
        previous = computed;
        Ok(record)
    };
    (first..).zip(served).map(check).collect()
}

/// Replays a block that L1 does not carry yet from its witness alone. `origin` is the record that its header names; the
/// header's mixHash vouches for it.
pub fn replay(
    config: &ChainConfig,
    block: &ServedBlock,
    witness: &ExecutionWitness,
    origin: &Record,
) -> Result<Duration, VerifyError> {
    let expected = block.header.parent_hash;
    let parent = witness.headers.iter().find(|header| keccak256(header) == expected);
    let missing = || {
        let (what, hash) = (What::Header, expected);
        VerifyError::Missing { what, hash, strays: Strays::default() }
    };
    let parent: Header =
        alloy_rlp::decode_exact(parent.ok_or_else(missing)?).map_err(VerifyError::Header)?;
    let input = block_input(block, &parent, origin)?;
    let source =
        WitnessSource::new(Witness { nodes: witness.state.clone(), codes: witness.codes.clone() });
    let begin = Instant::now();
    let reader = TrieReader::new(&source, parent.state_root, (parent.number, expected));
    let applied = apply_block(config, &parent, &input, reader, &source);
    let time = begin.elapsed();
    let sealed = applied.map_err(|error| match error {
        ApplyError::Reader(TrieError::Source(MissingEntry(hash)))
        | ApplyError::Trie(TrieError::Source(MissingEntry(hash))) => {
            missing_entry(witness, parent.state_root, hash)
        }
        ApplyError::Reader(_) | ApplyError::Trie(_) => VerifyError::Malformed,
        ApplyError::Parent(source) => VerifyError::ExtraData { number: parent.number, source },
    })??;
    compare(&sealed.header, &block.header)?;
    Ok(time)
}

/// What the block says it was made from. That its deposits are the Inbox's shows once L1 carries it.
fn block_input(
    block: &ServedBlock,
    parent: &Header,
    origin: &Record,
) -> Result<BlockInput, VerifyError> {
    let extra = |header: &Header| {
        let number = header.number;
        ExtraData::decode(&header.extra_data)
            .map_err(|source| VerifyError::ExtraData { number, source })
    };
    let (before, after) = (extra(parent)?, extra(&block.header)?);
    let Record { index, accumulator, env, .. } = *origin;
    let origin = Origin { index, accumulator, env };
    if origin.prev_randao(block.header.number) != block.header.mix_hash {
        return Err(VerifyError::Origin { record: index, accumulator });
    }
    let mut forced = Vec::new();
    let mut transactions = Vec::new();
    for (at, transaction) in block.transactions.iter().enumerate() {
        if let Transaction::Deposit(deposit) = transaction {
            forced.push(ForcedItem {
                index: before.forced_count + forced.len() as u64,
                from: deposit.from,
                to: deposit.to.to().copied().unwrap_or_default(),
                mint: deposit.mint,
                value: deposit.value,
                gas_limit: deposit.gas_limit,
                is_creation: deposit.to.is_create(),
                data: deposit.input.clone(),
            });
            continue;
        }
        let recovered = RecoveredTransaction::recover(transaction.clone());
        let recovered = recovered.map_err(|source| VerifyError::Signature { index: at, source })?;
        transactions.push(recovered);
    }
    Ok(BlockInput {
        attributes: BlockAttributes {
            timestamp: block.header.timestamp,
            beneficiary: block.header.beneficiary,
            origin,
            blocks_in_second: after.blocks_in_second,
        },
        forced,
        transactions,
    })
}

/// The step that makes a block, ready to be taken.
#[derive(Clone, Debug)]
pub struct Claim {
    pub input: ClaimInput,
    pub preimages: Preimages,
    /// The state that it starts from.
    pub state_root: B256,
}

/// Puts together everything that a step reads; `blobs` are those of the last record, checked by their hashes.
pub fn claim(
    config: &ChainConfig,
    block: &ServedBlock,
    start: &ClaimStart,
    records: &[Record],
    blobs: &[Blob],
    witness: &ExecutionWitness,
) -> Result<Claim, VerifyError> {
    let (from, to) = (start.first_record.to(), start.record.to());
    let ends = (records.first().map(|r| r.index), records.last().map(|r| r.index));
    if ends != (Some(from), Some(to)) {
        return Err(VerifyError::Records { from, to });
    }
    let (expected, sent) = (block.header.parent_hash, keccak256(&start.head));
    if sent != expected {
        return Err(VerifyError::Head { expected, sent });
    }
    let head: Header = alloy_rlp::decode_exact(&start.head).map_err(VerifyError::Header)?;
    let (input, preimages) = prepare(&StepData {
        config,
        head: &head,
        cursor: start.cursor(),
        records,
        previous: start.previous,
        blobs,
        witness: &Witness { nodes: witness.state.clone(), codes: witness.codes.clone() },
    })?;
    Ok(Claim { input, preimages, state_root: head.state_root })
}

/// Takes the step natively and compares the block that it makes.
pub fn take(
    claim: &Claim,
    block: &ServedBlock,
    witness: &ExecutionWitness,
) -> Result<(ClaimStep, Duration), VerifyError> {
    let begin = Instant::now();
    let taken = step(claim.input.hash(), &claim.preimages);
    let time = begin.elapsed();
    let taken = taken.map_err(|error| match error {
        ClaimError::Source(Missing { kind: Kind::Blob, key }) => {
            VerifyError::Missing { what: What::Blob, hash: key, strays: Strays::default() }
        }
        ClaimError::Source(Missing { kind: Kind::Keccak, key }) => {
            missing_entry(witness, claim.state_root, key)
        }
        ClaimError::Impossible(reason) => reason.into(),
    })?;
    match &taken.transition {
        Transition::Applied { block: sealed, .. } => compare(&sealed.header, &block.header)?,
        Transition::Rejected(reason) => {
            return Err(VerifyError::NoBlock(NoBlock::Rejected(Box::new(*reason))));
        }
        Transition::Exhausted { .. } => {
            return Err(VerifyError::NoBlock(NoBlock::Exhausted));
        }
    }
    Ok((taken, time))
}

fn compare(replayed: &Header, node: &Header) -> Result<(), VerifyError> {
    type Field = (&'static str, fn(&Header) -> B256);
    let fields: [Field; 5] = [
        ("its state root", |header| header.state_root),
        ("its transactions", |header| header.transactions_root),
        ("its receipts", |header| header.receipts_root),
        ("its parent", |header| header.parent_hash),
        ("its hash", Sealable::hash_slow),
    ];
    for (field, of) in fields {
        let (replayed, node) = (of(replayed), of(node));
        if replayed != node {
            return Err(VerifyError::OtherBlock { field, replayed, node });
        }
    }
    Ok(())
}

/// An entry of the witness that is not there, and what may have become of it.
fn missing_entry(witness: &ExecutionWitness, state_root: B256, hash: B256) -> VerifyError {
    let entries = || witness.state.iter().chain(&witness.codes);
    // An account's leaf ends with the hash of its code; an extension, which ends with a hash as well, is shorter.
    let is_code = |entry: &Bytes| entry.len() > 70 && entry.ends_with(hash.as_slice());
    let what = if witness.state.iter().any(is_code) { What::Code } else { What::TrieNode };
    let mut unnamed: B256Set = entries().map(keccak256).collect();
    unnamed.remove(&state_root);
    for window in entries().flat_map(|entry| entry.windows(32)) {
        unnamed.remove(window);
    }
    let strays = entries().map(keccak256).filter(|hash| unnamed.contains(hash)).collect();
    VerifyError::Missing { what, hash, strays: Strays(strays) }
}

#[cfg(test)]
pub(crate) mod tests;
