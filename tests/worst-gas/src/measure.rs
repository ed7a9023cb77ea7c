//! One block as a step of the claim, natively and in the machine.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use alloy_primitives::{B256, Bytes, U256};
use annex_claim::{ClaimStep, Kind, Missing, Preimages, StepData, Transition, prepare, step};
use annex_derive::Cursor;
use annex_riscv::{Host, Machine, PreimageKind, Program, Status};
use annex_state::Witness;
use annex_stf::genesis;
use annex_types::batch::{self, Batch};
use annex_types::{
    BatchBlock, BatchData, BatchRecord, ChainConfig, ForcedItem, Header, MAX_L1_DATA, Record,
    RecordEnv, RecordPayload,
};

use crate::world::{Block, NUMBER, config};

/// No valid block may take more (spec/claim.md).
pub const MAX_STEPS: u64 = 1 << 36;

/// What a block costs the machine.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Execution gas.
    pub gas: u64,
    /// Instructions.
    pub steps: u64,
    /// Bytes of the preimages that were read.
    pub witness: usize,
    /// Bytes of memory that were written.
    pub memory: u64,
}

impl Cost {
    pub fn steps_per_gas(&self) -> f64 {
        self.steps as f64 / self.gas.max(1) as f64
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Measured {
    pub cost: Cost,
    pub native: Duration,
    pub machine: Duration,
}

/// Keys that were read, and the preimages behind them.
struct Recording<'a> {
    preimages: &'a Preimages,
    read: BTreeSet<(Kind, B256)>,
    bytes: usize,
}

impl Host for Recording<'_> {
    type Error = Missing;

    fn preimage(
        &mut self,
        kind: PreimageKind,
        key: B256,
        offset: u32,
    ) -> Result<(B256, u64), Missing> {
        let kind = match kind {
            PreimageKind::Keccak => Kind::Keccak,
            PreimageKind::Blob => Kind::Blob,
        };
        let (word, length) = self.preimages.word(kind, key, offset)?;
        if self.read.insert((kind, key)) {
            self.bytes += length as usize;
        }
        Ok((B256::from(word), length))
    }

    fn write(&mut self, _: u64, bytes: &[u8]) {
        eprint!("{}", String::from_utf8_lossy(bytes));
    }
}

/// Takes the step natively and in the machine.
///
/// # Panics
///
/// If the block is not valid, or both do not arrive at one leaf: then the case, or the program, is wrong.
pub fn measure(program: &Program, block: Block) -> Measured {
    let (input, preimages) = claim(block);
    let start = Instant::now();
    let expected = step(input, &preimages).expect("every preimage is there");
    let native = start.elapsed();
    let ClaimStep { leaf, transition: Transition::Applied { block, .. } } = expected else {
        panic!("the block was not applied: {:?}", expected.transition);
    };
    let mut host = Recording { preimages: &preimages, read: BTreeSet::new(), bytes: 0 };
    let start = Instant::now();
    let mut machine = Machine::boot(program, input);
    machine.run(&mut host, 2 * MAX_STEPS).expect("every preimage is there");
    let elapsed = start.elapsed();
    assert_eq!(
        (machine.status(), machine.exit_code()),
        (Status::Exited, 0),
        "at {:#x}",
        machine.pc()
    );
    assert_eq!(machine.output(), leaf.hash(), "the machine and this computer disagree");
    let cost = Cost {
        gas: block.header.gas_used,
        steps: machine.steps(),
        witness: host.bytes,
        memory: machine.resident_bytes(),
    };
    Measured { cost, native, machine: elapsed }
}

/// The step that applies the block.
fn claim(block: Block) -> (B256, Preimages) {
    let config = config();
    let state = block.state();
    let mut head = genesis(&config, &Default::default()).header;
    head.number = NUMBER - 1;
    head.state_root = state.root;
    let nodes = state.nodes.into_iter().filter_map(|change| change.node).collect();
    let witness = Witness { nodes, codes: block.codes_by_hash().values().cloned().collect() };
    let (records, blobs) = records(&config, &head, block);
    let last = records.len() as u64 - 1;
    let data = StepData {
        config: &config,
        head: &head,
        cursor: Cursor { record: last, block: 0, forced: 0 },
        records: &records,
        previous: B256::ZERO,
        blobs: &blobs,
        witness: &witness,
    };
    let (input, preimages) = prepare(&data).expect("the records follow from each other");
    (input.hash(), preimages)
}

/// The log: genesis, the forced items, a batch that begins with the block.
fn records(
    config: &ChainConfig,
    head: &Header,
    block: Block,
) -> (Vec<Record>, Vec<alloy_eips::eip4844::Blob>) {
    let time = config.genesis_timestamp;
    let env = RecordEnv {
        l1_block_number: 1,
        timestamp: time,
        base_fee: U256::ONE,
        blob_base_fee: U256::ONE,
        l1_parent_hash: B256::ZERO,
    };
    let forced = block.forced.len() as u64;
    let first = BatchBlock {
        timestamp: time + 1,
        beneficiary: alloy_primitives::Address::repeat_byte(0xbe),
        origin: forced,
        forced,
        transactions: block.transactions,
    };
    let blocks = std::iter::once(first).chain(block.rest).collect();
    let batch = Batch { parent_hash: head.hash_slow(), blocks };
    let frame = zstd::bulk::compress(&batch::encode_content(&batch, config.l2_chain_id), 3);
    let payload = batch::payload(&frame.expect("a buffer of the bound's size"));
    let (data, blobs) = if payload.len() <= MAX_L1_DATA {
        (BatchData::Calldata(payload.into()), Vec::new())
    } else {
        let blobs = batch::pack_blobs(&payload);
        (BatchData::Blobs(blobs.iter().map(versioned_hash).collect()), blobs)
    };
    let batch = BatchRecord {
        submitter: alloy_primitives::Address::repeat_byte(0xbe),
        lease_id: U256::ZERO,
        forced_up_to: forced,
        data,
    };
    let genesis = RecordPayload::Genesis { config_hash: config.hash(), genesis_hash: B256::ZERO };
    let items = block.forced.into_iter().map(|item: ForcedItem| RecordPayload::Forced(item));
    let idle = BatchRecord { data: BatchData::Calldata(Bytes::new()), ..batch.clone() };
    let idle = std::iter::repeat_n(RecordPayload::Batch(idle), block.idle_records);
    let payloads =
        std::iter::once(genesis).chain(items).chain(idle).chain([RecordPayload::Batch(batch)]);
    let mut records: Vec<Record> = Vec::new();
    for (index, payload) in payloads.enumerate() {
        let previous = records.last().map_or(B256::ZERO, |record| record.accumulator);
        records.push(Record::new(index as u64, previous, env, payload));
    }
    (records, blobs)
}

fn versioned_hash(blob: &alloy_eips::eip4844::Blob) -> B256 {
    let blob = c_kzg::Blob::from_bytes(blob.as_slice()).expect("a blob's length");
    let commitment =
        c_kzg::ethereum_kzg_settings(0).blob_to_kzg_commitment(&blob).expect("canonical elements");
    alloy_eips::eip4844::kzg_to_versioned_hash(commitment.as_slice())
}
