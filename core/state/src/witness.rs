use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_rlp::{RlpDecodable, RlpEncodable};
use alloy_trie::Nibbles;

use crate::reader::{HISTORY_ADDRESS, HISTORY_WINDOW};
use crate::{
    AccountInfo, KECCAK_EMPTY, NodeSource, StateReader, TrieError, read_account, read_slot,
};

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

    /// Takes the nodes and codes that reading these keys from the trie touches, for a block that
    /// was executed on a flat state with root `root` after block `parent`.
    pub fn record(
        &self,
        root: B256,
        parent: u64,
        reads: &Reads,
    ) -> Result<(), TrieError<S::Error>> {
        let mut slots = reads.slots.clone();
        for number in reads.block_hashes.iter().filter(|number| **number != parent) {
            slots.insert((HISTORY_ADDRESS, U256::from(number % HISTORY_WINDOW)));
        }
        let owners = slots.iter().map(|(address, _)| *address);
        let addresses: BTreeSet<_> = reads.accounts.iter().copied().chain(owners).collect();
        for address in addresses {
            let account = read_account(self, root, address)?;
            let range = (address, U256::ZERO)..=(address, U256::MAX);
            for (_, slot) in slots.range(range) {
                if let Some(account) = account {
                    read_slot(self, account.storage_root, address, *slot)?;
                }
            }
        }
        for hash in reads.codes.iter().filter(|hash| **hash != KECCAK_EMPTY) {
            self.code(*hash).map_err(TrieError::Source)?;
        }
        Ok(())
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
    pub codes: BTreeSet<B256>,
    pub block_hashes: BTreeSet<u64>,
}

impl Reads {
    pub fn merge(&mut self, other: Reads) {
        self.accounts.extend(other.accounts);
        self.slots.extend(other.slots);
        self.codes.extend(other.codes);
        self.block_hashes.extend(other.block_hashes);
    }
}

/// A reader that notes every key read through it.
#[derive(Debug)]
pub struct ReadRecorder<R> {
    base: R,
    reads: RefCell<Reads>,
}

impl<R> ReadRecorder<R> {
    pub fn new(base: R) -> Self {
        Self { base, reads: RefCell::default() }
    }

    pub fn into_reads(self) -> Reads {
        self.reads.into_inner()
    }
}

impl<R: StateReader> StateReader for ReadRecorder<R> {
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
        self.reads.borrow_mut().codes.insert(hash);
        self.base.code(hash)
    }

    fn block_hash(&self, number: u64) -> Result<B256, R::Error> {
        self.reads.borrow_mut().block_hashes.insert(number);
        self.base.block_hash(number)
    }
}
