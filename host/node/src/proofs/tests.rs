use super::*;
use crate::progress::StoredRecord;
use alloy_consensus::{SignableTransaction, TxEip1559, TxEip7702};
use alloy_eips::eip4844::Blob;
use alloy_eips::eip7702::Authorization;
use alloy_primitives::{TxKind, keccak256};
use alloy_signer::SignerSync;
use alloy_signer_local::PrivateKeySigner;
use annex_sequencer::{Channel, next_batch};
use annex_state::{MissingEntry, Witness, WitnessSource};
use annex_stf::{CodeCache, OpenBlock, ParentBlock, seal};
use annex_store::{BlockCommit, Options, Store};
use annex_types::batch::pack_blobs;
use annex_types::{BatchData, BatchRecord, RecoveredTransaction, Transaction};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use std::collections::BTreeMap;

const ETHER: u128 = 10u128.pow(18);
pub(crate) const USERS: u8 = 6;
/// `SSTORE(calldata[0], calldata[1])`
const STORE: &[u8] = &[0x60, 0x20, 0x35, 0x60, 0, 0x35, 0x55, 0];
/// `SSTORE(NUMBER, BLOCKHASH(NUMBER - calldata[0]))`
const STORE_HASH: &[u8] = &[0x60, 0, 0x35, 0x43, 0x03, 0x40, 0x43, 0x55, 0];
/// `SSTORE(calldata[0], EXTCODEHASH(calldata[1]) ^ BALANCE(calldata[1]))`
const PROBE: &[u8] =
    &[0x60, 0x20, 0x35, 0x3f, 0x60, 0x20, 0x35, 0x31, 0x18, 0x60, 0, 0x35, 0x55, 0];
/// A constructor that writes a slot and destroys what it makes.
const DESTROY: &[u8] = &[0x60, 1, 0x60, 0, 0x55, 0x33, 0xff];

fn config() -> ChainConfig {
    ChainConfig {
        l1_chain_id: 900,
        l2_chain_id: 901,
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

fn words(words: [U256; 2]) -> Bytes {
    words.iter().flat_map(|word| word.to_be_bytes::<32>()).collect()
}

/// Initcode that leaves `code`.
fn deploying(code: &[u8]) -> Bytes {
    let mut init = vec![0x60, code.len() as u8, 0x80, 0x60, 11, 0x60, 0, 0x39, 0x60, 0, 0xf3];
    init.extend(code);
    init.into()
}

fn signer(index: u8) -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&B256::repeat_byte(index + 1)).unwrap()
}

/// A chain in a store, with the records its blocks name.
pub(crate) struct Chain {
    _dir: tempfile::TempDir,
    pub config: ChainConfig,
    pub store: Store,
    pub rng: SmallRng,
    /// Of the blocks that come.
    pub beneficiary: Address,
    /// The newest record.
    pub record: Record,
    pub forced: u64,
    /// Newest block that a batch carries.
    pub posted: u64,
    /// Of blob batches, by record.
    pub blobs: BTreeMap<u64, Vec<Blob>>,
}

impl Chain {
    pub fn new(seed: u64) -> Self {
        let config = config();
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Options::default()).unwrap();
        let genesis = crate::genesis(&config);
        let payload =
            RecordPayload::Genesis { config_hash: config.hash(), genesis_hash: genesis.hash };
        let record = Record::new(0, B256::ZERO, RecordEnv::default(), payload);
        let rng = SmallRng::seed_from_u64(seed);
        let (forced, posted, blobs) = (0, 0, BTreeMap::new());
        let beneficiary = Address::repeat_byte(0xcc);
        let mut chain =
            Self { _dir: dir, config, store, rng, beneficiary, record, forced, posted, blobs };
        chain.commit(&genesis);
        let first = chain.record.clone();
        chain.keep(first);
        chain
    }

    pub fn commit(&self, block: &SealedBlock) {
        let SealedBlock { header, hash, transactions, receipts, changes, update } = block;
        let aliases = &[];
        let hash = *hash;
        let block = BlockCommit { header, hash, transactions, receipts, changes, update, aliases };
        self.store.commit_block(block).unwrap();
    }

    fn keep(&mut self, record: Record) {
        self.record = record.clone();
        let stored =
            StoredRecord { record, l1_block_hash: B256::ZERO, l1_tx: B256::ZERO, alias: None };
        progress::put_records(&self.store, &[stored], &[]).unwrap();
    }

    /// A record at the time of the newest block.
    pub fn push(&mut self, payload: RecordPayload) {
        let timestamp = self.store.latest().unwrap().header().timestamp;
        let env = RecordEnv { timestamp, base_fee: U256::from(7), ..RecordEnv::default() };
        let (index, previous) = (self.record.index + 1, self.record.accumulator);
        self.keep(Record::new(index, previous, env, payload));
    }

    fn push_forced(&mut self, item: ForcedItem) {
        self.forced = item.index + 1;
        self.push(RecordPayload::Forced(item));
    }

    /// A batch of everything not posted yet, in blobs or as calldata, worked off at once.
    pub fn post(&mut self) {
        let snapshot = self.store.snapshot().unwrap();
        let channel = if self.rng.random() { Channel::Blobs } else { Channel::Calldata };
        let batch = next_batch(&snapshot, 901, self.posted, u64::MAX, channel).unwrap().unwrap();
        assert!(!batch.full);
        let data = match channel {
            Channel::Calldata => BatchData::Calldata(batch.data.into()),
            Channel::Blobs => {
                let blobs = pack_blobs(&batch.data);
                let hashes = blobs.iter().map(|blob| annex_l1::versioned_hash(blob).unwrap());
                let hashes = hashes.collect();
                self.blobs.insert(self.record.index + 1, blobs);
                BatchData::Blobs(hashes)
            }
        };
        let (submitter, lease_id) = (Address::repeat_byte(0xcc), U256::ONE);
        let forced_up_to = batch.forced_up_to;
        let record = self.record.index + 1;
        self.push(RecordPayload::Batch(BatchRecord { submitter, lease_id, forced_up_to, data }));
        for (number, block) in (batch.first_block..=batch.last_block).zip(0..) {
            let (parent, _) = snapshot.header(number - 1).unwrap().unwrap();
            let forced = ExtraData::decode(&parent.extra_data).unwrap().forced_count;
            let before = Cursor { record, block, forced };
            progress::put_block_cursor(&self.store, number, before).unwrap();
        }
        self.posted = batch.last_block;
    }

    fn mint(&mut self, to: u8) {
        let from = signer(to).address();
        let data = Bytes::new();
        let (index, mint, value, gas_limit) = (self.forced, 10 * ETHER, U256::ZERO, 50_000);
        let to = from;
        self.push_forced(ForcedItem {
            index,
            from,
            to,
            mint,
            value,
            gas_limit,
            is_creation: false,
            data,
        });
    }

    /// Gas that may be too little, a creation or a call.
    pub fn random_forced(&mut self) {
        let from = signer(self.rng.random_range(0..USERS)).address();
        let is_creation = self.rng.random_bool(0.3);
        let data = if is_creation { deploying(STORE) } else { Bytes::from_static(&[1, 2]) };
        let to = Address::with_last_byte(self.rng.random());
        let item = ForcedItem {
            index: self.forced,
            from,
            to: if is_creation { Address::ZERO } else { to },
            mint: self.rng.random_range(0..ETHER),
            value: U256::from(self.rng.random_range(0..2 * ETHER)),
            gas_limit: self.rng.random_range(21_000..200_000),
            is_creation,
            data,
        };
        self.push_forced(item);
    }

    /// Fills a block with `count` transactions that `next` makes of sender and nonce.
    pub fn block(
        &mut self,
        count: usize,
        mut next: impl FnMut(&mut SmallRng, usize, u8, u64) -> Transaction,
    ) -> SealedBlock {
        let view = self.store.latest().unwrap();
        let parent = ParentBlock::try_from(view.header()).unwrap();
        let Record { index, accumulator, env, .. } = self.record;
        let elapsed = self.rng.random_range(0..3);
        let before = if elapsed == 0 { parent.extra.blocks_in_second } else { 0 };
        let attributes = BlockAttributes {
            timestamp: parent.timestamp + elapsed,
            beneficiary: self.beneficiary,
            origin: Origin { index, accumulator, env },
            blocks_in_second: before + 1,
        };
        let codes = CodeCache::default();
        let mut open = OpenBlock::open(&self.config, parent, attributes, &view, codes);
        for item in parent.extra.forced_count..self.forced {
            let item = forced_item(view.snapshot(), item).unwrap();
            open.push_forced(&item).unwrap().expect("little gas");
        }
        for at in 0..count {
            let user = self.rng.random_range(0..USERS);
            let sender = signer(user).address();
            let nonce = annex_state::StateReader::account(&open.state(), sender).unwrap();
            let nonce = nonce.map_or(0, |account| account.nonce);
            let transaction = next(&mut self.rng, at, user, nonce);
            let tx = RecoveredTransaction::recover(transaction).unwrap();
            assert_eq!(tx.sender, sender);
            // It may be invalid: then it is left out.
            let _taken = open.execute(&tx).unwrap();
        }
        let (executed, _) = open.finish();
        let sealed = seal(executed, view.header(), &view).unwrap();
        drop(view);
        self.commit(&sealed);
        sealed
    }
}

pub(crate) fn transfer(nonce: u64, to: TxKind, value: u128, input: Bytes) -> TxEip1559 {
    TxEip1559 {
        chain_id: 901,
        nonce,
        gas_limit: 500_000,
        max_fee_per_gas: 10u128.pow(9),
        max_priority_fee_per_gas: 1_000,
        to,
        value: U256::from(value),
        input,
        ..Default::default()
    }
}

pub(crate) fn signed(user: u8, tx: TxEip1559) -> Transaction {
    let signature = signer(user).sign_hash_sync(&tx.signature_hash()).unwrap();
    Transaction::Eip1559(tx.into_signed(signature))
}

/// Delegates `user` to `to` (zero: no more) and calls it at once.
fn delegating(
    nonce: u64,
    user: u8,
    authority_nonce: u64,
    to: Address,
    input: Bytes,
) -> Transaction {
    let authorization =
        Authorization { chain_id: U256::from(901), address: to, nonce: authority_nonce };
    let signature = signer(user).sign_hash_sync(&authorization.signature_hash()).unwrap();
    let TxEip1559 { gas_limit, max_fee_per_gas, max_priority_fee_per_gas, .. } =
        transfer(0, TxKind::Create, 0, Bytes::new());
    let tx = TxEip7702 {
        chain_id: 901,
        nonce,
        gas_limit,
        max_fee_per_gas,
        max_priority_fee_per_gas,
        to: signer(user).address(),
        input,
        authorization_list: vec![authorization.into_signed(signature)],
        ..Default::default()
    };
    let signature = signer(user).sign_hash_sync(&tx.signature_hash()).unwrap();
    Transaction::Eip7702(tx.into_signed(signature))
}

pub(crate) fn random_transaction(
    rng: &mut SmallRng,
    contracts: &[Address; 3],
    user: u8,
    nonce: u64,
) -> Transaction {
    // Slots and values are few, so that they are cleared and set again.
    let pair = words([U256::from(rng.random_range(0..5)), U256::from(rng.random_range(0..2))]);
    let call =
        |contract: usize, input| transfer(nonce, TxKind::Call(contracts[contract]), 0, input);
    let tx = match rng.random_range(0..9) {
        0 => {
            let to = Address::with_last_byte(rng.random());
            transfer(nonce, TxKind::Call(to), rng.random_range(0..2 * ETHER), Bytes::new())
        }
        1..=3 => call(0, pair),
        4 => call(1, words([U256::from(rng.random_range(0..40)), U256::ZERO])),
        5 => {
            let probed = match rng.random_range(0..3) {
                0 => contracts[1].into_word().into(),
                1 => signer(rng.random_range(0..USERS)).address().into_word().into(),
                _ => U256::from(rng.random::<u64>()),
            };
            call(2, words([U256::from(rng.random_range(0..5)), probed]))
        }
        6 => transfer(nonce, TxKind::Create, 0, deploying(STORE)),
        7 => transfer(nonce, TxKind::Create, 1, Bytes::from_static(DESTROY)),
        _ => {
            let to = if rng.random_bool(0.3) { Address::ZERO } else { contracts[0] };
            // By its own sender: the transaction takes one nonce, the authorisation the next.
            return delegating(nonce, user, nonce + 1, to, pair);
        }
    };
    signed(user, tx)
}

impl Chain {
    pub fn nonce(&self, user: u8) -> u64 {
        let view = self.store.latest().unwrap();
        let account = annex_state::StateReader::account(&view, signer(user).address()).unwrap();
        account.map_or(0, |account| account.nonce)
    }

    /// Blocks of one transfer.
    pub fn grow(&mut self, blocks: u64) {
        for _ in 0..blocks {
            self.block(1, |_, _, user, nonce| {
                signed(user, transfer(nonce, TxKind::Call(Address::ZERO), 1, Bytes::new()))
            });
        }
    }
}

/// A chain whose newest block reads as many different contracts of 24 KiB; that block's number.
pub(crate) fn code_chain(codes: usize) -> (Chain, u64) {
    /// A constructor that leaves 24 KiB of zeros with its address in front.
    const LARGE: &[u8] = &[0x30, 0x60, 0, 0x52, 0x61, 0x60, 0, 0x60, 0, 0xf3];
    /// Calls every address of its calldata.
    const CALL_ALL: &[u8] = &[
        0x5f, 0x5b, 0x5f, 0x5f, 0x5f, 0x5f, 0x84, 0x35, 0x5a, 0xfa, 0x50, 0x60, 0x20, 0x01, 0x80,
        0x36, 0x11, 0x60, 0x01, 0x57, 0,
    ];
    /// Six of them fill a block.
    const GAS: u64 = 4_990_000;
    let mut chain = Chain::new(codes as u64);
    (0..USERS).for_each(|user| chain.mint(user));
    let mut caller = Address::ZERO;
    chain.block(1, |_, _, user, nonce| {
        caller = signer(user).address().create(nonce);
        signed(user, transfer(nonce, TxKind::Create, 0, deploying(CALL_ALL)))
    });
    let mut made = Vec::new();
    while made.len() < codes {
        chain.block(6.min(codes - made.len()), |_, _, user, nonce| {
            made.push(signer(user).address().create(nonce));
            let create = transfer(nonce, TxKind::Create, 0, Bytes::from_static(LARGE));
            signed(user, TxEip1559 { gas_limit: GAS, ..create })
        });
    }
    let all: Vec<u8> = made.iter().flat_map(|address| address.into_word().0).collect();
    let block = chain.block(1, |_, _, user, nonce| {
        let call = transfer(nonce, TxKind::Call(caller), 0, all.clone().into());
        signed(user, TxEip1559 { gas_limit: 16_000_000, ..call })
    });
    (chain, block.header.number)
}

/// Funds the users and deploys what they call.
pub(crate) fn deploying_blocks(chain: &mut Chain) -> [Address; 3] {
    (0..USERS).for_each(|user| chain.mint(user));
    chain.block(0, |_, _, _, _| unreachable!());
    let mut contracts = [Address::ZERO; 3];
    chain.block(3, |_, at, user, nonce| {
        contracts[at] = signer(user).address().create(nonce);
        let code = deploying([STORE, STORE_HASH, PROBE][at]);
        signed(user, transfer(nonce, TxKind::Create, 0, code))
    });
    contracts
}

/// Random blocks over everything that makes witnesses differ; the last ones are in no batch.
pub(crate) fn random_chain(seed: u64) -> Chain {
    let mut chain = Chain::new(seed);
    let contracts = deploying_blocks(&mut chain);
    for _ in 0..20 {
        for _ in 0..chain.rng.random_range(0..3) {
            chain.random_forced();
        }
        let count = chain.rng.random_range(1..12);
        chain.block(count, |rng, at, user, nonce| match at {
            // Never an empty block: batches have none.
            0 => signed(user, transfer(nonce, TxKind::Call(contracts[1]), 0, Bytes::new())),
            _ => random_transaction(rng, &contracts, user, nonce),
        });
        if chain.rng.random_bool(0.3) {
            chain.post();
        }
    }
    chain.block(1, |_, _, user, nonce| {
        signed(user, transfer(nonce, TxKind::Call(contracts[0]), 0, Bytes::new()))
    });
    chain
}

type Applied = Result<SealedBlock, ApplyError<TrieError<MissingEntry>, MissingEntry>>;

/// What a verifier does: nothing but the witness and the block's input.
fn replay(config: &ChainConfig, witness: &ExecutionWitness, input: &BlockInput) -> Applied {
    let parent: Header = alloy_rlp::decode_exact(&witness.headers[0]).unwrap();
    let (nodes, codes) = (witness.state.clone(), witness.codes.clone());
    let source = WitnessSource::new(Witness { nodes, codes });
    let id = (parent.number, parent.hash_slow());
    let reader = TrieReader::new(&source, parent.state_root, id);
    apply_block(config, &parent, input, reader, &source).map(|block| block.expect("valid"))
}

fn missing(applied: Applied) -> B256 {
    match applied.expect_err("an entry is missing") {
        ApplyError::Reader(TrieError::Source(MissingEntry(hash)))
        | ApplyError::Trie(TrieError::Source(MissingEntry(hash))) => hash,
        other => panic!("{other}"),
    }
}

#[test]
fn every_block_replays_from_its_witness_and_nothing_of_that_is_superfluous() {
    let (mut succeeded, mut delegations, mut codes) = (0, 0, 0);
    for seed in 0..6 {
        println!("seed {seed}");
        let mut chain = random_chain(seed);
        let snapshot = chain.store.snapshot().unwrap();
        let head = snapshot.head().unwrap().number;
        for number in 1..=head {
            let built = witness(&chain.config, &snapshot, number, usize::MAX).unwrap();
            let json = serde_json::to_string(&built).unwrap();
            let mut read: ExecutionWitness = serde_json::from_str(&json).unwrap();
            assert_eq!(read, built, "block {number}");
            assert!(built.state.is_sorted_by_key(keccak256), "block {number}");
            let parent: Header = alloy_rlp::decode_exact(&built.headers[0]).unwrap();
            let block = snapshot.block(number).unwrap().unwrap();
            let header = block.header.clone();
            let receipts = snapshot.receipts(number).unwrap().unwrap();
            for (tx, receipt) in block.transactions.iter().zip(receipts) {
                let delegates = matches!(tx.transaction, Transaction::Eip7702(_));
                delegations += usize::from(delegates && receipt.success);
                succeeded += usize::from(receipt.success);
            }
            codes += built.codes.len();
            let input = block_input(&snapshot, &parent, block).unwrap();

            read.state.reverse();
            read.codes.reverse();
            let sealed = replay(&chain.config, &read, &input).unwrap();
            assert_eq!(sealed.header, header, "block {number}");
            for address in sealed.changes.accounts.keys() {
                assert!(built.keys.contains(&Bytes::from(address.0)), "block {number}");
            }
            for _ in 0..6 {
                let mut lying = built.clone();
                let at = chain.rng.random_range(0..lying.state.len() + lying.codes.len());
                let (list, at) = match at.checked_sub(lying.state.len()) {
                    Some(at) => (&mut lying.codes, at),
                    None => (&mut lying.state, at),
                };
                let mut entry = list.remove(at).to_vec();
                let hash = keccak256(&entry);
                if chain.rng.random() {
                    let byte = chain.rng.random_range(0..entry.len());
                    entry[byte] ^= chain.rng.random_range(1..=255_u8);
                    list.push(entry.into());
                }
                assert_eq!(missing(replay(&chain.config, &lying, &input)), hash, "block {number}");
            }
        }
    }
    // The workload is what it is meant to be.
    println!("{succeeded} transactions, {delegations} delegations, {codes} codes");
    assert!(succeeded > 500 && delegations > 50 && codes > 200);
}

#[test]
fn what_has_no_witness_says_why() {
    let chain = random_chain(1);
    let snapshot = chain.store.snapshot().unwrap();
    let head = snapshot.head().unwrap().number;
    let error = |number| witness(&chain.config, &snapshot, number, usize::MAX).unwrap_err();
    assert!(matches!(error(0), ProofError::Genesis));
    assert!(matches!(error(head + 1), ProofError::UnknownBlock));
    let changes = snapshot.at(head - 3).unwrap().changes_since(usize::MAX).unwrap();
    let bounded = |limit| witness(&chain.config, &snapshot, head - 2, limit);
    assert!(bounded(changes).is_ok());
    let refused = bounded(changes - 1).unwrap_err();
    assert!(matches!(refused, ProofError::TooOld { block, .. } if block == head - 2));
    // Another origin than the one that the block was made with: what a reorganisation leaves for a moment.
    let (header, _) = snapshot.header(head).unwrap().unwrap();
    let origin = ExtraData::decode(&header.extra_data).unwrap().origin;
    let record = Record { accumulator: B256::ZERO, ..stored(&snapshot, origin).unwrap() };
    drop(snapshot);
    let replaced =
        StoredRecord { record, l1_block_hash: B256::ZERO, l1_tx: B256::ZERO, alias: None };
    progress::put_records(&chain.store, &[replaced], &[]).unwrap();
    let snapshot = chain.store.snapshot().unwrap();
    let error = witness(&chain.config, &snapshot, head, usize::MAX).unwrap_err();
    assert!(matches!(error, ProofError::Replaced(number) if number == head));
}

#[test]
fn records_are_read_back_from_json_and_lies_show() {
    let chain = random_chain(2);
    let snapshot = chain.store.snapshot().unwrap();
    let mut previous = B256::ZERO;
    for index in 0..=chain.record.index {
        let record = stored(&snapshot, index).unwrap();
        let json = serde_json::to_string(&RecordJson::from(&record)).unwrap();
        let read: RecordJson = serde_json::from_str(&json).unwrap();
        assert_eq!(read.record(previous).unwrap(), record);
        let lying = RecordJson { timestamp: read.timestamp + U64::ONE, ..read };
        assert_ne!(lying.record(previous).unwrap().accumulator, record.accumulator);
        previous = record.accumulator;
    }
}

#[test]
fn a_step_walks_back_to_the_first_item_that_its_batch_covers() {
    let mut chain = Chain::new(3);
    (0..3).for_each(|user| chain.mint(user));
    let batch = |forced_up_to| {
        let data = BatchData::Calldata(Bytes::new());
        let (submitter, lease_id) = (Address::ZERO, U256::ZERO);
        RecordPayload::Batch(BatchRecord { submitter, lease_id, forced_up_to, data })
    };
    let genesis = chain.store.snapshot().unwrap().header(0).unwrap().unwrap().0;
    let head = Header {
        extra_data: ExtraData { origin: 3, forced_count: 1, ..ExtraData::default() }.encode(),
        ..genesis
    };
    for (forced_up_to, expected) in [(1, 3), (2, 2), (3, 2)] {
        let (index, previous) = (4, chain.record.accumulator);
        let previous = if chain.record.index == 4 { B256::ZERO } else { previous };
        let record = Record::new(index, previous, RecordEnv::default(), batch(forced_up_to));
        chain.keep(record);
        let cursor = Cursor { record: 4, block: 0, forced: 1 };
        let snapshot = chain.store.snapshot().unwrap();
        assert_eq!(first_record(&snapshot, &head, cursor).unwrap(), expected, "{forced_up_to}");
    }
}
