use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_rlp::{RlpDecodable, RlpEncodable};
use alloy_trie::Nibbles;

use crate::reader::{HISTORY_ADDRESS, HISTORY_WINDOW};
use crate::{AccountInfo, NodeSource, StateReader};

/// The nodes and codes that one block's execution and root computation touch, each list sorted by
/// the Keccak hash of its entries and free of duplicates (`spec/state.md`).
#[derive(Clone, Debug, Default, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct Witness {
    pub nodes: Vec<Bytes>,
    pub codes: Vec<Bytes>,
}

/// A node or code that a witness lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no entry with hash {0}")]
pub struct MissingEntry(pub B256);

/// Nodes and codes by hash, from a [`Witness`]. The default one is empty: enough to build a state
/// from nothing.
#[derive(Clone, Debug, Default)]
pub struct WitnessSource {
    nodes: Vec<(B256, Bytes)>,
    codes: Vec<(B256, Bytes)>,
}

impl WitnessSource {
    /// Every entry is known by the hash computed here, whatever the witness claims.
    pub fn new(witness: Witness) -> Self {
        let hashed = |entries: Vec<Bytes>| {
            let mut list: Vec<_> = entries.into_iter().map(|e| (keccak256(&e), e)).collect();
            list.sort_unstable_by_key(|(hash, _)| *hash);
            list
        };
        Self { nodes: hashed(witness.nodes), codes: hashed(witness.codes) }
    }
}

fn find(list: &[(B256, Bytes)], hash: B256) -> Result<Bytes, MissingEntry> {
    let index = list.binary_search_by_key(&hash, |(hash, _)| *hash);
    index.map(|i| list[i].1.clone()).map_err(|_| MissingEntry(hash))
}

impl NodeSource for WitnessSource {
    type Error = MissingEntry;

    fn node(&self, _: Option<B256>, _: &Nibbles, hash: B256) -> Result<Bytes, MissingEntry> {
        find(&self.nodes, hash)
    }

    fn code(&self, hash: B256) -> Result<Bytes, MissingEntry> {
        find(&self.codes, hash)
    }
}

/// A source that keeps what is taken from it.
#[derive(Debug)]
pub struct Recorder<S> {
    source: S,
    nodes: RefCell<BTreeMap<B256, Bytes>>,
    codes: RefCell<BTreeMap<B256, Bytes>>,
}

impl<S: NodeSource> Recorder<S> {
    pub fn new(source: S) -> Self {
        Self { source, nodes: RefCell::default(), codes: RefCell::default() }
    }

    pub fn into_witness(self) -> Witness {
        Witness {
            nodes: self.nodes.into_inner().into_values().collect(),
            codes: self.codes.into_inner().into_values().collect(),
        }
    }
}

impl<S: NodeSource> NodeSource for Recorder<S> {
    type Error = S::Error;

    fn node(&self, owner: Option<B256>, path: &Nibbles, hash: B256) -> Result<Bytes, S::Error> {
        let node = self.source.node(owner, path, hash)?;
        self.nodes.borrow_mut().entry(hash).or_insert_with(|| node.clone());
        Ok(node)
    }

    fn code(&self, hash: B256) -> Result<Bytes, S::Error> {
        let code = self.source.code(hash)?;
        self.codes.borrow_mut().entry(hash).or_insert_with(|| code.clone());
        Ok(code)
    }
}

/// Keys that an execution read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    pub accounts: BTreeSet<Address>,
    pub slots: BTreeSet<(Address, U256)>,
}

/// A reader that notes every key read through it; for the hash of a block, the key in the history
/// contract.
#[derive(Debug)]
pub struct ReadRecorder<'a, R> {
    base: R,
    reads: &'a RefCell<Reads>,
}

impl<'a, R> ReadRecorder<'a, R> {
    pub fn new(base: R, reads: &'a RefCell<Reads>) -> Self {
        Self { base, reads }
    }
}

impl<R: StateReader> StateReader for ReadRecorder<'_, R> {
    type Error = R::Error;

    fn account(&self, address: Address) -> Result<Option<AccountInfo>, R::Error> {
        self.reads.borrow_mut().accounts.insert(address);
        self.base.account(address)
    }

    fn storage(&self, address: Address, slot: U256) -> Result<U256, R::Error> {
        self.reads.borrow_mut().slots.insert((address, slot));
        self.base.storage(address, slot)
    }

    fn code(&self, hash: B256) -> Result<Bytes, R::Error> {
        self.base.code(hash)
    }

    fn block_hash(&self, number: u64) -> Result<B256, R::Error> {
        let slot = U256::from(number % HISTORY_WINDOW);
        self.reads.borrow_mut().slots.insert((HISTORY_ADDRESS, slot));
        self.base.block_hash(number)
    }
}
