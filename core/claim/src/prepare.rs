//! Everything a step reads, as preimages.

use alloy_eips::eip4844::Blob;
use alloy_primitives::B256;
use alloy_sol_types::SolValue;
use annex_derive::Cursor;
use annex_state::Witness;
use annex_types::{ChainConfig, Header, Record, RecordPayload, record};

use crate::{ClaimInput, OutputRoot, PreimageError, Preimages};

/// What a node knows of a step.
#[derive(Clone, Copy, Debug)]
pub struct StepData<'a> {
    pub config: &'a ChainConfig,
    pub head: &'a Header,
    pub cursor: Cursor,
    /// Consecutive, up to the cursor's, and back as far as the step needs: the head's origin, the record before the
    /// cursor's, and the first unconsumed forced item. More does no harm.
    pub records: &'a [Record],
    /// Accumulator before the first of `records`; zero before record 0.
    pub previous: B256,
    /// Of the cursor's record. May be empty if that is no blob batch or its payload is over.
    pub blobs: &'a [Blob],
    /// May be empty if the step executes nothing.
    pub witness: &'a Witness,
}

/// Why no step can be prepared from such data.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    #[error("record {0} is not the last one given")]
    Cursor(u64),
    #[error("record {0} does not follow from the one before it")]
    Chain(u64),
    #[error(transparent)]
    Preimage(#[from] PreimageError),
}

/// The input of a step and preimages for it. What the data lacks is found out, and named, by [`crate::step`].
pub fn prepare(data: &StepData<'_>) -> Result<(ClaimInput, Preimages), PrepareError> {
    let last = data.records.last().filter(|record| record.index == data.cursor.record);
    let last = last.ok_or(PrepareError::Cursor(data.cursor.record))?;
    let output = OutputRoot::of(data.head);
    let input = ClaimInput {
        inbox: data.config.inbox,
        config_hash: data.config.hash(),
        output_root: output.hash(),
        cursor: data.cursor,
        accumulator: last.accumulator,
    };
    let mut preimages = Preimages::default();
    preimages.insert(input.encode().into())?;
    preimages.insert(data.config.to_abi().abi_encode().into())?;
    preimages.insert(output.encode().into())?;
    preimages.insert(alloy_rlp::encode(data.head).into())?;
    let mut previous = data.previous;
    for (record, index) in data.records.iter().zip(data.records[0].index..) {
        let follows =
            record::accumulate(previous, &record.env, &record.payload) == record.accumulator;
        if !follows || record.index != index {
            return Err(PrepareError::Chain(record.index));
        }
        insert_record(&mut preimages, previous, record)?;
        previous = record.accumulator;
    }
    for blob in data.blobs {
        preimages.insert_blob(blob)?;
    }
    for bytes in data.witness.nodes.iter().chain(&data.witness.codes) {
        preimages.insert(bytes.clone())?;
    }
    Ok((input, preimages))
}

fn insert_record(
    preimages: &mut Preimages,
    previous: B256,
    record: &Record,
) -> Result<(), PreimageError> {
    let Record { env, payload, .. } = record;
    preimages.insert(record::encode(previous, env, payload).into())?;
    preimages.insert(payload.encode().into())?;
    match payload {
        RecordPayload::Genesis { .. } => {}
        RecordPayload::Forced(item) => _ = preimages.insert(item.data.clone())?,
        RecordPayload::Batch(batch) => _ = preimages.insert(batch.data.hashed_bytes())?,
    }
    Ok(())
}
