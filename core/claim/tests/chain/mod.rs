//! A chain in memory: a log, a state, and the steps by which a follower works it off.
#![allow(clippy::unwrap_used)] // A failed expectation is a failed test.
#![allow(dead_code)] // Each test file and bench uses its part.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use alloy_consensus::{SignableTransaction, TxEip1559};
use alloy_eips::eip4844::Blob;
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256, keccak256};
use annex_claim::{
    ClaimInput, Kind, Leaf, Missing, OutputRoot, PreimageSource, Preimages, Rejected, StepData,
    prepare,
};
use annex_derive::{Cursor, Derivation, Skip, Step};
use annex_riscv::{Host, Machine, PreimageKind, Program};
use annex_state::{
    AccountInfo, Nibbles, NodeSource, Recorder, StateReader, StateUpdate, TrieReader, Witness,
};
use annex_stf::{apply_block, genesis};
use annex_types::batch::{self, Batch};
use annex_types::predeploys::{
    BLOCK_HASH_HISTORY, L1_BLOCK, L2_STANDARD_BRIDGE, L2_TO_L1_MESSAGE_PASSER,
};
use annex_types::{
    BatchBlock, BatchData, BatchRecord, BlockInput, ChainConfig, ForcedItem, Header, Record,
    RecordEnv, RecordPayload, Transaction,
};
use k256::ecdsa::SigningKey;

pub const L2_CHAIN: u64 = 901;
pub const SUBMITTER: Address = Address::repeat_byte(0x5b);
pub const BENEFICIARY: Address = Address::repeat_byte(0xbe);
pub const ETHER: u128 = 10u128.pow(18);
/// `SSTORE(calldata[0], calldata[1])`, then a log with topic `calldata[0]`.
const STORE: &[u8] =
    &[0x60, 0x20, 0x35, 0x60, 0, 0x35, 0x55, 0x60, 0, 0x35, 0x60, 0, 0x60, 0, 0xa1, 0];
/// `SSTORE(NUMBER, BLOCKHASH(NUMBER - 2))`
const STORE_OLD_HASH: &[u8] = &[0x60, 2, 0x43, 0x03, 0x40, 0x43, 0x55];

/// Nodes and codes by hash. Nothing is ever removed.
#[derive(Default)]
pub struct Store(HashMap<B256, Bytes>);

impl Store {
    pub fn keep(&mut self, update: &StateUpdate, codes: impl IntoIterator<Item = Bytes>) {
        let nodes = update.nodes.iter().filter_map(|change| change.node.clone());
        for bytes in nodes.chain(codes) {
            self.0.insert(keccak256(&bytes), bytes);
        }
    }

    fn get(&self, hash: B256) -> Result<Bytes, Missing> {
        self.0.get(&hash).cloned().ok_or(Missing { kind: Kind::Keccak, key: hash })
    }
}

impl NodeSource for Store {
    type Error = Missing;

    fn node(&self, _: Option<B256>, _: &Nibbles, hash: B256) -> Result<Bytes, Missing> {
        self.get(hash)
    }

    fn code(&self, hash: B256) -> Result<Bytes, Missing> {
        self.get(hash)
    }
}

/// How a follower took a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    Applied { derived: bool },
    Rejected(Rejected),
    Exhausted(Option<Skip>),
}

/// A step, from where to where.
pub struct Leap {
    pub head: Header,
    pub cursor: Cursor,
    pub witness: Witness,
    pub leaf: Leaf,
    pub what: What,
}

pub struct Chain {
    pub config: ChainConfig,
    pub store: Store,
    pub genesis: Header,
    pub records: Vec<Record>,
    pub blobs: Vec<Vec<Blob>>,
    pub forced_count: u64,
    pub head: Header,
    derivation: Derivation,
    pub leaps: Vec<Leap>,
}

pub fn config() -> ChainConfig {
    ChainConfig {
        l1_chain_id: 900,
        l2_chain_id: L2_CHAIN,
        inbox: Address::repeat_byte(1),
        lease: Address::repeat_byte(2),
        portal: Address::repeat_byte(3),
        l1_standard_bridge: Address::repeat_byte(4),
        forced_delay: 20,
        liveness_window: 60,
        max_origin_lag: 600,
        timestamp_drift: 5,
        gas_target_per_second: 480_000_000,
        base_fee_scalar: 200_000,
        blob_base_fee_scalar: 1_050_000,
        genesis_timestamp: 1_760_000_000,
    }
}

/// Contracts to call, by number.
pub fn contract(number: u8) -> Address {
    Address::with_last_byte(0xc0 + number)
}

pub fn predeploys() -> BTreeMap<Address, Bytes> {
    BTreeMap::from([
        (BLOCK_HASH_HISTORY, Bytes::from_static(&[0])),
        (L1_BLOCK, Bytes::from_static(&[0])),
        (L2_STANDARD_BRIDGE, Bytes::from_static(&[0])),
        (L2_TO_L1_MESSAGE_PASSER, Bytes::from_static(STORE)),
        (contract(0), Bytes::from_static(STORE)),
        (contract(1), Bytes::from_static(STORE_OLD_HASH)),
    ])
}

impl Chain {
    pub fn new(codes: BTreeMap<Address, Bytes>) -> Self {
        let config = config();
        let start = genesis(&config, &codes);
        let mut store = Store::default();
        store.keep(&start.update, codes.into_values());
        Self::on(config, start.header, store)
    }

    /// On a genesis whose state is in `store`.
    pub fn on(config: ChainConfig, genesis: Header, store: Store) -> Self {
        let derivation = Derivation::new(config.clone(), &genesis).unwrap();
        let payload = RecordPayload::Genesis {
            config_hash: config.hash(),
            genesis_hash: genesis.hash_slow(),
        };
        let mut chain = Self {
            config,
            store,
            head: genesis.clone(),
            genesis,
            records: Vec::new(),
            blobs: Vec::new(),
            forced_count: 0,
            derivation,
            leaps: Vec::new(),
        };
        chain.append(payload, Vec::new());
        chain
    }

    /// Timestamp of the record that comes next: each is two seconds after the one before.
    pub fn now(&self) -> u64 {
        self.config.genesis_timestamp + 2 * self.records.len() as u64
    }

    /// Appends a record and follows.
    pub fn append(&mut self, payload: RecordPayload, blobs: Vec<Blob>) {
        let index = self.records.len() as u64;
        let previous = self.records.last().map_or(B256::ZERO, |record| record.accumulator);
        let env = RecordEnv {
            l1_block_number: 100 + index,
            timestamp: self.now(),
            base_fee: U256::from(7),
            blob_base_fee: U256::from(3),
            l1_parent_hash: B256::with_last_byte(index as u8),
        };
        let record = Record::new(index, previous, env, payload);
        self.records.push(record.clone());
        self.derivation.push(record, &blobs).unwrap();
        self.blobs.push(blobs);
        self.follow();
    }

    pub fn force(&mut self, item: ForcedItem) {
        let index = self.forced_count;
        self.forced_count += 1;
        self.append(RecordPayload::Forced(ForcedItem { index, ..item }), Vec::new());
    }

    /// A batch of these bytes that covers the forced items below `forced_up_to`.
    pub fn batch(&mut self, data: Vec<u8>, forced_up_to: u64, in_blobs: bool) {
        let (data, blobs) = if in_blobs {
            let blobs = batch::pack_blobs(&data);
            (BatchData::Blobs(blobs.iter().map(versioned_hash).collect()), blobs)
        } else {
            (BatchData::Calldata(data.into()), Vec::new())
        };
        self.batch_of(data, blobs, forced_up_to);
    }

    pub fn batch_of(&mut self, data: BatchData, blobs: Vec<Blob>, forced_up_to: u64) {
        let lease_id = U256::from(1);
        let batch = BatchRecord { submitter: SUBMITTER, lease_id, forced_up_to, data };
        self.append(RecordPayload::Batch(batch), blobs);
    }

    /// A payload of blocks on the head.
    pub fn payload(&self, blocks: Vec<BatchBlock>) -> Vec<u8> {
        payload(self.head.hash_slow(), blocks)
    }

    /// A block that any batch appended next may hold.
    pub fn block(&self, forced: u64, transactions: Vec<Transaction>) -> BatchBlock {
        BatchBlock {
            timestamp: self.now(),
            beneficiary: BENEFICIARY,
            origin: self.records.len() as u64 - 1,
            forced,
            transactions,
        }
    }

    pub fn nonce(&self, user: u8) -> u64 {
        let parent = (self.head.number, self.head.hash_slow());
        let reader = TrieReader::new(&self.store, self.head.state_root, parent);
        let account: Option<AccountInfo> = reader.account(address(user)).unwrap();
        account.map_or(0, |account| account.nonce)
    }

    /// Works off what there is as a follower does, noting each step.
    fn follow(&mut self) {
        loop {
            let (head, cursor) = (self.head.clone(), self.derivation.cursor());
            let Some(step) = self.derivation.step() else { return };
            let (witness, what) = match step {
                Step::Block(block) => self.execute(block.block.is_none(), &block.input),
                Step::Rejected { reason, .. } => {
                    (Witness::default(), What::Rejected(reason.into()))
                }
                Step::Exhausted { skipped, .. } => (Witness::default(), What::Exhausted(skipped)),
            };
            let leaf =
                Leaf { output: OutputRoot::of(&self.head), cursor: self.derivation.cursor() };
            self.leaps.push(Leap { head, cursor, witness, leaf, what });
        }
    }

    fn execute(&mut self, derived: bool, input: &BlockInput) -> (Witness, What) {
        let recorder = Recorder::new(&self.store);
        let parent = (self.head.number, self.head.hash_slow());
        let reader = TrieReader::new(&recorder, self.head.state_root, parent);
        let applied = apply_block(&self.config, &self.head, input, reader, &recorder).unwrap();
        let witness = recorder.into_witness();
        let what = match applied {
            Ok(sealed) => {
                self.store.keep(&sealed.update, sealed.changes.codes.values().cloned());
                self.derivation.applied(&sealed.header);
                self.head = sealed.header;
                What::Applied { derived }
            }
            Err(reason) => {
                self.derivation.rejected().unwrap();
                What::Rejected(reason.into())
            }
        };
        (witness, what)
    }

    /// Input and preimages of a step, more than it needs.
    pub fn prepare(&self, leap: &Leap) -> (ClaimInput, Preimages) {
        let record = leap.cursor.record as usize;
        let data = StepData {
            config: &self.config,
            head: &leap.head,
            cursor: leap.cursor,
            records: &self.records[..=record],
            previous: B256::ZERO,
            blobs: &self.blobs[record],
            witness: &leap.witness,
        };
        prepare(&data).unwrap()
    }
}

pub fn payload(parent_hash: B256, blocks: Vec<BatchBlock>) -> Vec<u8> {
    let content = batch::encode_content(&Batch { parent_hash, blocks }, L2_CHAIN);
    batch::payload(&zstd::bulk::compress(&content, 1).unwrap())
}

pub fn versioned_hash(blob: &Blob) -> B256 {
    Preimages::default().insert_blob(blob).unwrap()
}

pub fn key(user: u8) -> SigningKey {
    SigningKey::from_slice(&[user + 1; 32]).unwrap()
}

pub fn address(user: u8) -> Address {
    let point = key(user).verifying_key().to_encoded_point(false);
    Address::from_slice(&keccak256(&point.as_bytes()[1..])[12..])
}

pub fn deposit(user: u8, mint: u128) -> ForcedItem {
    let to = address(user);
    ForcedItem {
        index: 0,
        from: to,
        to,
        mint,
        value: U256::ZERO,
        gas_limit: 100_000,
        is_creation: false,
        data: Bytes::new(),
    }
}

pub fn transfer(nonce: u64, to: Address, data: Bytes) -> TxEip1559 {
    TxEip1559 {
        chain_id: L2_CHAIN,
        nonce,
        gas_limit: 1_000_000,
        max_fee_per_gas: 10u128.pow(9),
        max_priority_fee_per_gas: 1_000,
        to: TxKind::Call(to),
        value: if data.is_empty() { U256::from(3) } else { U256::ZERO },
        input: data,
        ..Default::default()
    }
}

pub fn sign(user: u8, tx: TxEip1559) -> Transaction {
    sign_with(&key(user), tx)
}

pub fn sign_with(key: &SigningKey, tx: TxEip1559) -> Transaction {
    let hash = tx.signature_hash();
    let (signature, id) = key.sign_prehash_recoverable(hash.as_slice()).unwrap();
    let (r, s) = signature.split_bytes();
    let (r, s) = (U256::from_be_slice(&r), U256::from_be_slice(&s));
    Transaction::Eip1559(tx.into_signed(Signature::new(r, s, id.is_y_odd())))
}

/// Notes what is read.
pub struct Reading<'a> {
    pub preimages: &'a Preimages,
    pub keys: std::cell::RefCell<BTreeSet<(Kind, B256)>>,
}

impl<'a> Reading<'a> {
    pub fn new(preimages: &'a Preimages) -> Self {
        Self { preimages, keys: Default::default() }
    }

    /// The preimages that were read.
    pub fn minimal(self) -> Preimages {
        let keys = self.keys.into_inner();
        let mut minimal = self.preimages.clone();
        for (kind, key) in self.preimages.keys() {
            if !keys.contains(&(kind, key)) {
                minimal.remove(kind, key);
            }
        }
        minimal
    }
}

impl PreimageSource for Reading<'_> {
    type Error = Missing;

    fn keccak(&self, key: B256) -> Result<Bytes, Missing> {
        self.keys.borrow_mut().insert((Kind::Keccak, key));
        self.preimages.keccak(key)
    }

    fn blob(&self, key: B256) -> Result<Box<Blob>, Missing> {
        self.keys.borrow_mut().insert((Kind::Blob, key));
        self.preimages.blob(key)
    }
}

/// The machine's host: preimages, and what the program prints.
pub struct Served<'a> {
    pub preimages: &'a Preimages,
    pub printed: String,
}

impl Host for Served<'_> {
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
        self.preimages.word(kind, key, offset)
    }

    fn write(&mut self, _: u64, bytes: &[u8]) {
        self.printed += &String::from_utf8_lossy(bytes);
    }
}

/// Runs a program on the step; the machine afterwards, and what it printed.
pub fn execute(program: &Program, input: B256, preimages: &Preimages) -> (Machine, String) {
    let mut machine = Machine::boot(program, input);
    let mut host = Served { preimages, printed: String::new() };
    machine.run(&mut host, 1 << 36).unwrap();
    (machine, host.printed)
}
