use std::collections::BTreeMap;
use std::collections::HashMap;

use alloy_consensus::{SignableTransaction, TxEip1559};
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256};
use annex_state::{
    AccountInfo, Nibbles, NodeChange, NodeSource, Overlay, Recorder, StateReader, TrieReader,
    WitnessSource,
};
use annex_types::predeploys::{
    BLOCK_HASH_HISTORY, L1_BLOCK, L2_STANDARD_BRIDGE, L2_TO_L1_MESSAGE_PASSER, history_slot,
};
use annex_types::{
    BLOCK_GAS_LIMIT, BlockAttributes, BlockInput, ChainConfig, ExtraData, ForcedItem, Header,
    Origin, RecordEnv, RecoveredTransaction, TX_GAS_LIMIT_CAP, Transaction, fees,
};

use super::*;

mod blocks;
mod random;

const BENEFICIARY: Address = Address::repeat_byte(0xcc);
const ETHER: u128 = 10u128.pow(18);
/// `SSTORE(calldata[0], calldata[1])`, then a log with topic `calldata[0]`.
const STORE: &[u8] =
    &[0x60, 0x20, 0x35, 0x60, 0, 0x35, 0x55, 0x60, 0, 0x35, 0x60, 0, 0x60, 0, 0xa1, 0];
/// `SSTORE(NUMBER, BLOCKHASH(NUMBER - 1))`
const STORE_PARENT_HASH: &[u8] = &[0x60, 1, 0x43, 0x03, 0x40, 0x43, 0x55];
const REVERT: &[u8] = &[0x60, 0, 0x60, 0, 0xfd];

#[derive(Debug, PartialEq, thiserror::Error)]
#[error("not there")]
struct Missing;

/// Trie nodes and codes in memory.
#[derive(Clone, Default)]
struct Store {
    nodes: HashMap<(Option<B256>, Nibbles), Bytes>,
    codes: HashMap<B256, Bytes>,
}

impl Store {
    fn write(&mut self, block: &SealedBlock) {
        for NodeChange { owner, path, node } in &block.update.nodes {
            match node {
                Some(node) => self.nodes.insert((*owner, *path), node.clone()),
                None => self.nodes.remove(&(*owner, *path)),
            };
        }
        self.codes.extend(block.changes.codes.clone());
    }
}

impl NodeSource for Store {
    type Error = Missing;

    fn node(&self, owner: Option<B256>, path: &Nibbles, _: B256) -> Result<Bytes, Missing> {
        self.nodes.get(&(owner, *path)).cloned().ok_or(Missing)
    }

    fn code(&self, hash: B256) -> Result<Bytes, Missing> {
        self.codes.get(&hash).cloned().ok_or(Missing)
    }
}

/// Nothing, and no block hash that anybody may ask for.
#[derive(Clone, Copy, Debug)]
struct Nothing;

impl StateReader for Nothing {
    type Error = Missing;

    fn account(&self, _: Address) -> Result<Option<AccountInfo>, Missing> {
        Ok(None)
    }

    fn storage(&self, _: Address, _: U256) -> Result<U256, Missing> {
        Ok(U256::ZERO)
    }

    fn code(&self, _: B256) -> Result<Bytes, Missing> {
        Err(Missing)
    }

    fn block_hash(&self, number: u64) -> Result<B256, Missing> {
        panic!("nobody reads the hash of block {number}")
    }
}

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

fn contract(index: u8) -> Address {
    Address::with_last_byte(0xc0 + index)
}

fn user(index: u8) -> Address {
    Address::repeat_byte(0x10 + index)
}

fn predeploys() -> BTreeMap<Address, Bytes> {
    BTreeMap::from([
        (BLOCK_HASH_HISTORY, Bytes::from_static(&[0])),
        (L1_BLOCK, Bytes::from_static(&[0])),
        (L2_STANDARD_BRIDGE, Bytes::from_static(&[0])),
        (L2_TO_L1_MESSAGE_PASSER, Bytes::from_static(STORE)),
        (contract(0), Bytes::from_static(STORE)),
        (contract(1), Bytes::from_static(STORE_PARENT_HASH)),
        (contract(2), Bytes::from_static(REVERT)),
        (contract(3), Bytes::from_static(&[0xfe])),
    ])
}

/// A chain with everything in memory: trie, and flat state.
struct Chain {
    config: ChainConfig,
    store: Store,
    flat: Overlay,
    head: Header,
}

impl Chain {
    fn new() -> Self {
        let config = config();
        let genesis = genesis(&config, &predeploys());
        let mut chain = Self {
            config,
            store: Store::default(),
            flat: Overlay::default(),
            head: Header::default(),
        };
        chain.take(&genesis);
        chain
    }

    fn take(&mut self, block: &SealedBlock) {
        self.store.write(block);
        self.flat.apply(&block.changes);
        self.flat.set_block_hash(block.header.number, block.hash);
        self.head = block.header.clone();
    }

    fn parent(&self) -> ParentBlock {
        ParentBlock::try_from(&self.head).unwrap()
    }

    fn attributes(&self, elapsed: u64) -> BlockAttributes {
        attributes(self.head.timestamp + elapsed)
    }

    fn open(&self, elapsed: u64) -> OpenBlock<annex_state::OverlayReader<'_, Nothing>> {
        let reader = self.flat.over(Nothing);
        let attributes = self.attributes(elapsed);
        OpenBlock::open(&self.config, self.parent(), attributes, reader, CodeCache::default())
    }

    /// Applies a block from the trie and keeps it.
    fn apply(&mut self, input: &BlockInput) -> Result<SealedBlock, InvalidBlock> {
        let parent = (self.head.number, self.head.hash_slow());
        let reader = TrieReader::new(&self.store, self.head.state_root, parent);
        let sealed = apply_block(&self.config, &self.head, input, reader, &self.store).unwrap()?;
        self.take(&sealed);
        Ok(sealed)
    }

    /// A block that gives each of six users ether.
    fn fund(&mut self) -> SealedBlock {
        let forced: Vec<_> = (0..6).map(|i| mint(u64::from(i), user(i), 10 * ETHER)).collect();
        let input = BlockInput { attributes: self.attributes(1), forced, transactions: vec![] };
        self.apply(&input).unwrap()
    }
}

fn attributes(timestamp: u64) -> BlockAttributes {
    let env = RecordEnv {
        l1_block_number: 77,
        timestamp: 1_759_999_990,
        base_fee: U256::from(10u64.pow(9)),
        blob_base_fee: U256::from(3),
        l1_parent_hash: B256::repeat_byte(0x11),
    };
    let origin = Origin { index: 5, accumulator: B256::repeat_byte(0x55), env };
    BlockAttributes { timestamp, beneficiary: BENEFICIARY, origin, blocks_in_second: 1 }
}

fn mint(index: u64, to: Address, amount: u128) -> ForcedItem {
    ForcedItem {
        index,
        from: to,
        to,
        mint: amount,
        value: U256::ZERO,
        gas_limit: 100_000,
        is_creation: false,
        data: Bytes::new(),
    }
}

fn transfer(nonce: u64) -> TxEip1559 {
    TxEip1559 {
        chain_id: 901,
        nonce,
        gas_limit: 1_000_000,
        max_fee_per_gas: 10u128.pow(9),
        max_priority_fee_per_gas: 1_000,
        to: TxKind::Call(user(1)),
        value: U256::from(3),
        ..Default::default()
    }
}

/// The signature is not looked at: the sender was recovered before.
fn from(sender: Address, tx: TxEip1559) -> RecoveredTransaction {
    let signed = tx.into_signed(Signature::test_signature());
    let transaction = Transaction::Eip1559(signed);
    RecoveredTransaction { transaction, sender, data_size: 100_000_000 }
}

fn words(words: [u64; 2]) -> Bytes {
    words.iter().flat_map(|word| U256::from(*word).to_be_bytes::<32>()).collect()
}
