use alloy_primitives::{Address, B256, Bytes};
use alloy_rlp::Decodable;
use annex_derive::{Decision, Head, PAYLOAD_OVER, Payload, Position, Rejection, Skip};
use annex_state::{TrieError, TrieReader};
use annex_stf::{ApplyError, InvalidBlock, SealedBlock, apply_block};
use annex_types::batch::{self, BatchError, Limits};
use annex_types::{BatchBlock, BlockInput, ChainConfig, Header, MAX_BLOBS};

use crate::source::State;
use crate::walk::{BatchWords, Entry, RecordKind, Tags, Walk};
use crate::words::Words;
use crate::{ClaimInput, Leaf, OutputRoot, PreimageSource};

/// The next leaf and how it came to be.
#[derive(Clone, Debug)]
pub struct ClaimStep {
    pub leaf: Leaf,
    pub transition: Transition,
}

/// One step of derivation.
#[derive(Clone, Debug)]
pub enum Transition {
    Applied {
        block: Box<SealedBlock>,
        /// Made by the rules instead of named by the batch.
        derived: bool,
    },
    /// A block of the batch broke a rule; the rest of the payload is over.
    Rejected(Rejected),
    /// Nothing is left of the record.
    Exhausted {
        /// Why its data yielded no block, if it was read in this step.
        skipped: Option<Skip>,
    },
}

/// Why a block of a batch was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    #[error(transparent)]
    Rule(#[from] Rejection),
    #[error(transparent)]
    Execution(#[from] InvalidBlock),
}

/// Why there is no next leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError<E: core::error::Error> {
    /// The host could not deliver a preimage: nothing is known about the step.
    #[error("{0}")]
    Source(E),
    /// The preimages are true, but no chain leads to them. In the guest this is FAULT.
    #[error(transparent)]
    Impossible(#[from] Impossible),
}

/// What an Inbox and the transition never produce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Impossible {
    #[error("a preimage is not the list of words it stands for")]
    Words,
    #[error("the head is no header of this chain, or not the one the output root names")]
    Head,
    #[error("a record that no Inbox writes")]
    Record,
    #[error("a trie node that does not fit its place, or storage of no account")]
    State,
    #[error("a derived block does not execute")]
    DerivedBlock,
}

/// One step of the chain from the leaf that `input` commits to; see [`ClaimInput::hash`].
pub fn step<S: PreimageSource>(input: B256, source: &S) -> Result<ClaimStep, ClaimError<S::Error>> {
    let keccak = |key| source.keccak(key).map_err(ClaimError::Source);
    let input = ClaimInput::decode(&Words::new(keccak(input)?)?)?;
    let parent = read_head(source, input.output_root)?;
    let head = Head::of(&parent).map_err(|_| Impossible::Head)?;
    let cursor = input.cursor;
    if head.forced_count != cursor.forced {
        return Err(Impossible::Head.into());
    }
    let next = |header: &Header, cursor, transition| {
        Ok(ClaimStep { leaf: Leaf { output: OutputRoot::of(header), cursor }, transition })
    };

    let tags = Tags::new();
    let entry = Entry::read(source, &tags, input.accumulator)?;
    if !matches!(entry.kind, RecordKind::Blobs | RecordKind::Calldata) {
        return next(&parent, cursor.exhausted(), Transition::Exhausted { skipped: None });
    }
    if cursor.record == 0 {
        return Err(Impossible::Record.into());
    }
    let config = read_config(keccak(input.config_hash)?, input.inbox)?;
    let batch = BatchWords::read(source, entry.payload_hash)?;
    let (block, skipped) = if cursor.block == PAYLOAD_OVER {
        (None, None)
    } else {
        let data = read_data(source, entry.kind, batch.data_hash)?;
        next_block(data, config.l2_chain_id, head.hash, &input)
    };
    let forced_up_to = batch.terms.forced_up_to;
    let log = if block.is_some() || head.forced_count < forced_up_to {
        let origin = block.as_ref().map(|block| block.origin);
        Walk::back(source, &tags, &head, &input, forced_up_to, origin)?
    } else {
        Walk::none(source, &tags)
    };
    let position = Position { config: &config, head: &head, cursor };
    match position.decide(&batch.terms, block, &log)? {
        Decision::Exhausted => next(&parent, cursor.exhausted(), Transition::Exhausted { skipped }),
        Decision::Rejected(reason) => {
            next(&parent, cursor.payload_over(), Transition::Rejected(reason.into()))
        }
        Decision::Block { input: block, derived } => {
            match execute(&config, &parent, &block, source)? {
                Ok(sealed) => {
                    let forced = cursor.forced + block.forced.len() as u64;
                    let cursor = cursor.applied(derived, forced);
                    let header = sealed.header.clone();
                    next(&header, cursor, Transition::Applied { block: Box::new(sealed), derived })
                }
                Err(_) if derived => Err(Impossible::DerivedBlock.into()),
                Err(reason) => {
                    next(&parent, cursor.payload_over(), Transition::Rejected(reason.into()))
                }
            }
        }
    }
}

fn read_head<S: PreimageSource>(
    source: &S,
    output_root: B256,
) -> Result<Header, ClaimError<S::Error>> {
    let words = source.keccak(output_root).map_err(ClaimError::Source)?;
    let words = Words::<4>::new(words)?;
    let rlp = source.keccak(words.hash(3)).map_err(ClaimError::Source)?;
    let mut rest = &rlp[..];
    let header = Header::decode(&mut rest).map_err(|_| Impossible::Head)?;
    let output = OutputRoot::of(&header);
    let named = [B256::ZERO, output.state_root, output.withdrawals_root, output.block_hash];
    if !rest.is_empty() || (0..4).any(|at| words.hash(at) != named[at]) {
        return Err(Impossible::Head.into());
    }
    Ok(header)
}

/// The L1 chain's id is not part of the hash, and nothing here depends on it: it is zero.
fn read_config(words: Bytes, inbox: Address) -> Result<ChainConfig, Impossible> {
    let words = Words::<12>::new(words)?;
    Ok(ChainConfig {
        l1_chain_id: 0,
        l2_chain_id: words.u64(0)?,
        inbox,
        lease: words.address(1)?,
        portal: words.address(2)?,
        l1_standard_bridge: words.address(3)?,
        forced_delay: words.u64(4)?,
        liveness_window: words.u64(5)?,
        max_origin_lag: words.u64(6)?,
        timestamp_drift: words.u64(7)?,
        gas_target_per_second: words.u64(8)?,
        base_fee_scalar: words.u64(9)?,
        blob_base_fee_scalar: words.u64(10)?,
        genesis_timestamp: words.u64(11)?,
    })
}

/// A batch's data, or why there is none.
fn read_data<S: PreimageSource>(
    source: &S,
    kind: RecordKind,
    data_hash: B256,
) -> Result<Result<Bytes, BatchError>, ClaimError<S::Error>> {
    let bytes = source.keccak(data_hash).map_err(ClaimError::Source)?;
    if kind == RecordKind::Calldata {
        return Ok(Ok(bytes));
    }
    let (hashes, rest) = bytes.as_chunks::<32>();
    if !rest.is_empty() || !(1..=MAX_BLOBS).contains(&hashes.len()) {
        return Err(Impossible::Record.into());
    }
    let mut blobs = Vec::with_capacity(hashes.len());
    for hash in hashes {
        blobs.push(*source.blob(B256::from(*hash)).map_err(ClaimError::Source)?);
    }
    Ok(batch::unpack_blobs(&blobs))
}

/// The payload's block at the cursor.
fn next_block(
    data: Result<Bytes, BatchError>,
    chain_id: u64,
    head: B256,
    input: &ClaimInput,
) -> (Option<BatchBlock>, Option<Skip>) {
    let data = data.as_ref().map(|data| &data[..]).map_err(|error| *error);
    let payload = Payload::open(data, &Limits::SPEC, chain_id, head, input.cursor);
    let block = usize::try_from(input.cursor.block).ok();
    let block = block.and_then(|at| payload.blocks.into_iter().nth(at));
    (block, payload.skipped)
}

type Executed<E> = Result<Result<SealedBlock, InvalidBlock>, ClaimError<E>>;

fn execute<S: PreimageSource>(
    config: &ChainConfig,
    parent: &Header,
    input: &BlockInput,
    source: &S,
) -> Executed<S::Error> {
    let state = State(source);
    let number = (parent.number, parent.hash_slow());
    let reader = TrieReader::new(&state, parent.state_root, number);
    apply_block(config, parent, input, reader, &state).map_err(|error| match error {
        ApplyError::Reader(error) | ApplyError::Trie(error) => match error {
            TrieError::Source(error) => ClaimError::Source(error),
            TrieError::Malformed { .. } | TrieError::StorageWithoutAccount(_) => {
                Impossible::State.into()
            }
        },
        ApplyError::Parent(_) => Impossible::Head.into(),
    })
}
