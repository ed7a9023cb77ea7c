#![no_main]
//! A log made of the input: every record is exhausted, every due forced item consumed, whatever the data and whenever the
//! node restarts.
use alloy_consensus::Header;
use alloy_primitives::{Address, B256, Bytes, U256};
use annex_derive::{Derivation, Step};
use annex_types::{
    BatchData, BatchRecord, BlockInput, ChainConfig, ExtraData, ForcedItem, Record, RecordEnv,
    RecordPayload,
};
use libfuzzer_sys::fuzz_target;

struct Chain {
    head: Header,
    derivation: Derivation,
    records: Vec<Record>,
    forced: u64,
    consumed: u64,
    time: u64,
}

fn config() -> ChainConfig {
    ChainConfig {
        l1_chain_id: 900,
        l2_chain_id: 901,
        inbox: Address::ZERO,
        lease: Address::ZERO,
        portal: Address::ZERO,
        l1_standard_bridge: Address::ZERO,
        forced_delay: 20,
        liveness_window: 60,
        max_origin_lag: 600,
        timestamp_drift: 5,
        gas_target_per_second: 480_000_000,
        base_fee_scalar: 200_000,
        blob_base_fee_scalar: 1_050_000,
        genesis_timestamp: 100,
    }
}

impl Chain {
    fn new() -> Self {
        let extra_data = ExtraData::default().encode();
        let head = Header { timestamp: 100, extra_data, ..Header::default() };
        let derivation = Derivation::new(config(), &head).expect("genesis header");
        let mut chain =
            Self { head, derivation, records: Vec::new(), forced: 0, consumed: 0, time: 100 };
        let genesis = RecordPayload::Genesis { config_hash: B256::ZERO, genesis_hash: B256::ZERO };
        chain.push(genesis);
        chain
    }

    fn push(&mut self, payload: RecordPayload) {
        let previous = self.records.last().map_or(B256::ZERO, |record| record.accumulator);
        let env = RecordEnv { timestamp: self.time, ..RecordEnv::default() };
        let record = Record::new(self.records.len() as u64, previous, env, payload);
        self.records.push(record.clone());
        self.derivation.push(record, &[]).expect("a log as an Inbox writes it");
    }

    fn restart(&mut self) {
        let checkpoint = self.derivation.checkpoint();
        let resumed = Derivation::resume(config(), &self.head, &checkpoint);
        self.derivation = resumed.expect("own header");
        for record in &self.records[checkpoint.first_record as usize..] {
            self.derivation.push(record.clone(), &[]).expect("the same log");
        }
    }

    fn step(&mut self) -> bool {
        match self.derivation.step() {
            None => return false,
            Some(Step::Block(step)) if step.block.is_some() && step.input.forced.len() == 3 => {
                self.derivation.rejected().expect("not a derived block");
            }
            Some(Step::Block(step)) => {
                self.head = child(&self.head, &step.input);
                self.derivation.applied(&self.head);
            }
            Some(Step::Rejected { .. } | Step::Exhausted { .. }) => {}
        }
        true
    }
}

fn child(parent: &Header, input: &BlockInput) -> Header {
    let extra = ExtraData::decode(&parent.extra_data).expect("own header");
    Header {
        parent_hash: parent.hash_slow(),
        number: parent.number + 1,
        timestamp: input.attributes.timestamp,
        extra_data: ExtraData {
            origin: input.attributes.origin.index,
            forced_count: extra.forced_count + input.forced.len() as u64,
            excess: 0,
            blocks_in_second: input.attributes.blocks_in_second,
        }
        .encode(),
        ..Header::default()
    }
}

/// Data whose frame and parent hash are right, so that the rest is judged.
fn framed(parent: B256, rest: &[u8]) -> Vec<u8> {
    let content = [parent.as_slice(), rest].concat();
    let mut out = vec![0, 0x28, 0xb5, 0x2f, 0xfd, 0xa0];
    out.extend_from_slice(&(content.len() as u32).to_le_bytes());
    out.extend_from_slice(&((content.len() as u32) << 3 | 1).to_le_bytes()[..3]);
    out.extend_from_slice(&content);
    out
}

fuzz_target!(|data: &[u8]| {
    let mut chain = Chain::new();
    let mut rest = data;
    while let [op, argument, tail @ ..] = rest {
        chain.time += u64::from(argument >> 3);
        let len = usize::from(u16::from(*argument) * 4).min(tail.len());
        let (bytes, after) = tail.split_at(if op % 6 >= 4 { len } else { 0 });
        rest = after;
        match op % 6 {
            0 => chain.restart(),
            1 => {
                chain.step();
            }
            2 => while chain.step() {},
            3 => {
                let item = ForcedItem {
                    index: chain.forced,
                    from: Address::ZERO,
                    to: Address::ZERO,
                    mint: 0,
                    value: U256::ZERO,
                    gas_limit: u64::from(*argument) << 16,
                    is_creation: false,
                    data: Bytes::new(),
                };
                chain.forced += 1;
                chain.push(RecordPayload::Forced(item));
            }
            op => {
                chain.consumed = (chain.consumed + u64::from(argument & 7)).min(chain.forced);
                let data = if op == 4 {
                    bytes.to_vec()
                } else {
                    while chain.step() {}
                    framed(chain.head.hash_slow(), bytes)
                };
                chain.push(RecordPayload::Batch(BatchRecord {
                    submitter: Address::ZERO,
                    lease_id: U256::from(1),
                    forced_up_to: chain.consumed,
                    data: BatchData::Calldata(data.into()),
                }));
            }
        }
    }
    while chain.step() {}
    let cursor = chain.derivation.cursor();
    assert_eq!((cursor.record, cursor.block), (chain.records.len() as u64, 0));
    assert_eq!(cursor.forced, chain.consumed);
});
