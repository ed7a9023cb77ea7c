//! A log, and headers that follow from block inputs by the rules alone: nothing is executed.

use super::*;
use alloy_consensus::{Signed, TxEip1559};
use alloy_primitives::{Signature, U256, address, keccak256};
use annex_types::{ExtraData, Transaction, batch::Batch};
use k256::ecdsa::SigningKey;

pub const CHAIN: u64 = 901;
pub const BENEFICIARY: Address = address!("00000000000000000000000000000000000000be");
pub const SUBMITTER: Address = address!("000000000000000000000000000000000000005b");
/// A transaction with this nonce cannot execute.
pub const POISON: u64 = 666;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Applied {
        record: u64,
        block: Option<u64>,
        forced: usize,
    },
    /// Execution failed.
    Failed {
        record: u64,
        block: Option<u64>,
    },
    Rejected {
        record: u64,
        block: u64,
        reason: Rejection,
    },
    Exhausted(u64),
    Skipped(u64, Skip),
}

pub struct World {
    pub config: ChainConfig,
    pub genesis: Header,
    pub records: Vec<Record>,
    pub blobs: Vec<Vec<Blob>>,
    pub forced_count: u64,
    /// What the next batch stands on.
    pub head: Header,
}

impl World {
    pub fn new(timestamp: u64) -> Self {
        let config = ChainConfig {
            l1_chain_id: 900,
            l2_chain_id: CHAIN,
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
            genesis_timestamp: timestamp,
        };
        let genesis =
            Header { timestamp, extra_data: ExtraData::default().encode(), ..Header::default() };
        let head = genesis.clone();
        let (records, blobs) = (Vec::new(), Vec::new());
        let mut world = Self { config, genesis, records, blobs, forced_count: 0, head };
        let payload = RecordPayload::Genesis { config_hash: B256::ZERO, genesis_hash: B256::ZERO };
        world.append(timestamp, payload, Vec::new());
        world
    }

    pub fn append(&mut self, timestamp: u64, payload: RecordPayload, blobs: Vec<Blob>) {
        let index = self.records.len() as u64;
        let previous = self.records.last().map_or(B256::ZERO, |record| record.accumulator);
        let env = RecordEnv { l1_block_number: index, timestamp, ..RecordEnv::default() };
        self.records.push(Record::new(index, previous, env, payload));
        self.blobs.push(blobs);
    }

    pub fn force(&mut self, timestamp: u64, gas_limit: u64) {
        let item = ForcedItem {
            index: self.forced_count,
            from: Address::ZERO,
            to: Address::ZERO,
            mint: 1,
            value: U256::ZERO,
            gas_limit,
            is_creation: false,
            data: Bytes::new(),
        };
        self.forced_count += 1;
        self.append(timestamp, RecordPayload::Forced(item), Vec::new());
    }

    /// A calldata batch of these bytes.
    pub fn data(&mut self, timestamp: u64, forced_up_to: u64, data: Vec<u8>) {
        let data = BatchData::Calldata(data.into());
        let batch =
            BatchRecord { submitter: SUBMITTER, lease_id: U256::from(1), forced_up_to, data };
        self.append(timestamp, RecordPayload::Batch(batch), Vec::new());
    }

    /// A blob batch.
    pub fn blobs(&mut self, timestamp: u64, forced_up_to: u64, blobs: Vec<Blob>) {
        let data = BatchData::Blobs(vec![B256::ZERO; blobs.len()]);
        let batch =
            BatchRecord { submitter: SUBMITTER, lease_id: U256::from(1), forced_up_to, data };
        self.append(timestamp, RecordPayload::Batch(batch), blobs);
    }

    /// A batch on the head of [`follow`](Self::follow), genesis to begin with.
    pub fn batch(&mut self, timestamp: u64, forced_up_to: u64, blocks: &[BatchBlock]) {
        self.batch_on(self.head.hash_slow(), timestamp, forced_up_to, blocks);
    }

    pub fn batch_on(&mut self, parent: B256, timestamp: u64, forced: u64, blocks: &[BatchBlock]) {
        self.data(timestamp, forced, payload(parent, blocks));
    }

    pub fn derivation_at_genesis(&self) -> Derivation {
        Derivation::new(self.config.clone(), &self.genesis).expect("genesis header")
    }

    /// All records pushed, no step taken.
    pub fn derivation(&self) -> Derivation {
        let mut derivation = self.derivation_at_genesis();
        self.push_rest(&mut derivation);
        derivation
    }

    pub fn push_one(&self, derivation: &mut Derivation) -> bool {
        let at = derivation.next_record() as usize;
        let Some(record) = self.records.get(at) else { return false };
        let needs_blobs = !derivation.next_is_exhausted();
        let blobs = if needs_blobs { &self.blobs[at][..] } else { &[] };
        derivation.push(record.clone(), blobs).expect("a log as an Inbox writes it");
        true
    }

    pub fn push_rest(&self, derivation: &mut Derivation) {
        while self.push_one(derivation) {}
    }

    /// Skips to the next block.
    pub fn next_block(&self, derivation: &mut Derivation) -> BlockStep {
        loop {
            if let Step::Block(step) = derivation.step().expect("a block is due") {
                return step;
            }
        }
    }

    pub fn apply(&mut self, derivation: &mut Derivation, step: &BlockStep) {
        self.head = child(&self.head, &step.input);
        derivation.applied(&self.head);
    }

    /// Everything pushed first, then every step.
    pub fn run(&self) -> (Vec<Event>, Derivation) {
        let mut derivation = self.derivation();
        let mut events = Vec::new();
        let mut head = self.genesis.clone();
        while let Some(more) = advance(&mut derivation, &mut head) {
            events.extend(more);
        }
        (events, derivation)
    }

    /// Each record pushed when the ones before are exhausted.
    pub fn run_one_by_one(&self) -> (Vec<Event>, Derivation) {
        let mut derivation = self.derivation_at_genesis();
        let mut events = Vec::new();
        let mut head = self.genesis.clone();
        while self.push_one(&mut derivation) {
            while let Some(more) = advance(&mut derivation, &mut head) {
                events.extend(more);
            }
        }
        (events, derivation)
    }

    /// A new process for every single step.
    pub fn run_restarting(&self) -> (Vec<Event>, Derivation) {
        let mut events = Vec::new();
        let mut head = self.genesis.clone();
        let mut derivation = self.derivation_at_genesis();
        loop {
            let checkpoint = derivation.checkpoint();
            derivation =
                Derivation::resume(self.config.clone(), &head, &checkpoint).expect("own header");
            assert_eq!(derivation.checkpoint(), checkpoint);
            self.push_rest(&mut derivation);
            let Some(more) = advance(&mut derivation, &mut head) else {
                return (events, derivation);
            };
            events.extend(more);
        }
    }

    /// Moves `head` to where all records so far lead.
    pub fn follow(&mut self) {
        let mut derivation = self.derivation();
        self.head = self.genesis.clone();
        while advance(&mut derivation, &mut self.head).is_some() {}
    }
}

/// One step, executed and reported.
pub fn advance(derivation: &mut Derivation, head: &mut Header) -> Option<Vec<Event>> {
    Some(match derivation.step()? {
        Step::Block(BlockStep { record, block, input }) => {
            let forced = input.forced.len();
            if is_poisoned(&input) {
                derivation.rejected().expect("not a derived block");
                vec![Event::Failed { record, block }]
            } else {
                *head = child(head, &input);
                derivation.applied(head);
                vec![Event::Applied { record, block, forced }]
            }
        }
        Step::Rejected { record, block, reason } => vec![Event::Rejected { record, block, reason }],
        Step::Exhausted { record, skipped: None } => vec![Event::Exhausted(record)],
        Step::Exhausted { record, skipped: Some(skip) } => {
            vec![Event::Skipped(record, skip), Event::Exhausted(record)]
        }
    })
}

pub fn is_poisoned(input: &BlockInput) -> bool {
    use alloy_consensus::Transaction as _;
    let nonce = |tx: &RecoveredTransaction| match &tx.transaction {
        Transaction::Eip1559(tx) => tx.nonce(),
        _ => 0,
    };
    input.transactions.iter().any(|tx| nonce(tx) == POISON)
}

/// The header that a block would have, with its contents hashed into one field.
pub fn child(parent: &Header, input: &BlockInput) -> Header {
    let extra = ExtraData::decode(&parent.extra_data).expect("own header");
    let contents: Vec<u8> =
        input.transactions.iter().flat_map(|tx| tx.transaction.hash().0).collect();
    let attributes = &input.attributes;
    Header {
        parent_hash: parent.hash_slow(),
        beneficiary: attributes.beneficiary,
        transactions_root: keccak256(contents),
        number: parent.number + 1,
        timestamp: attributes.timestamp,
        extra_data: ExtraData {
            origin: attributes.origin.index,
            forced_count: extra.forced_count + input.forced.len() as u64,
            excess: 0,
            blocks_in_second: attributes.blocks_in_second,
        }
        .encode(),
        ..Header::default()
    }
}

pub fn block(
    timestamp: u64,
    origin: u64,
    forced: u64,
    transactions: Vec<Transaction>,
) -> BatchBlock {
    BatchBlock { timestamp, beneficiary: BENEFICIARY, origin, forced, transactions }
}

pub fn payload(parent_hash: B256, blocks: &[BatchBlock]) -> Vec<u8> {
    let batch = Batch { parent_hash, blocks: blocks.to_vec() };
    compress(&batch::encode_content(&batch, CHAIN))
}

pub fn compress(content: &[u8]) -> Vec<u8> {
    batch::payload(&zstd::bulk::compress(content, 1).expect("compression of bytes in memory"))
}

fn key() -> SigningKey {
    SigningKey::from_slice(&[7; 32]).expect("a scalar below the order")
}

pub fn sender() -> Address {
    let point = key().verifying_key().to_encoded_point(false);
    Address::from_slice(&keccak256(&point.as_bytes()[1..])[12..])
}

fn unsigned(nonce: u64) -> TxEip1559 {
    TxEip1559 { chain_id: CHAIN, nonce, gas_limit: 21_000, ..TxEip1559::default() }
}

/// Truly signed.
pub fn transfer(nonce: u64) -> Transaction {
    use alloy_consensus::SignableTransaction;
    let tx = unsigned(nonce);
    let (signature, id) =
        key().sign_prehash_recoverable(tx.signature_hash().as_slice()).expect("any hash");
    let (r, s) = signature.split_bytes();
    let (r, s) = (U256::from_be_slice(&r), U256::from_be_slice(&s));
    Transaction::Eip1559(Signed::new_unhashed(tx, Signature::new(r, s, id.is_y_odd())))
}

/// The same with the other, high s, or with a signature that nobody made.
pub fn badly_signed(nonce: u64, high: bool) -> Transaction {
    let Transaction::Eip1559(good) = transfer(nonce) else {
        unreachable!("transfers are EIP-1559")
    };
    let signature = good.signature();
    let order = U256::from_be_slice(&alloy_primitives::hex!(
        "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141"
    ));
    let bad = if high {
        Signature::new(signature.r(), order - signature.s(), !signature.v())
    } else {
        Signature::new(U256::ZERO, U256::ZERO, false)
    };
    Transaction::Eip1559(Signed::new_unhashed(unsigned(nonce), bad))
}

/// Reasons why data yielded nothing are not repeated after a restart.
pub fn without_skips(events: &[Event]) -> Vec<Event> {
    events.iter().filter(|e| !matches!(e, Event::Skipped(..))).cloned().collect()
}
