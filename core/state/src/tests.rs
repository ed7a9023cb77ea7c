//! Differential tests against `alloy-trie`.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_trie::proof::verify_proof;
use alloy_trie::{HashBuilder, Nibbles};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use crate::*;

mod parts;

type Model = BTreeMap<B256, Vec<u8>>;

/// Nodes by place. `checked` sources refuse a node whose hash is not the one asked for.
#[derive(Clone, Debug, Default, PartialEq)]
struct Memory {
    nodes: BTreeMap<(Option<B256>, Nibbles), Bytes>,
    codes: BTreeMap<B256, Bytes>,
    unchecked: bool,
}

impl Memory {
    fn apply(&mut self, changes: Vec<NodeChange>) {
        for NodeChange { owner, path, node } in changes {
            match node {
                Some(node) => self.nodes.insert((owner, path), node),
                None => self.nodes.remove(&(owner, path)),
            };
        }
    }
}

impl NodeSource for Memory {
    type Error = MissingEntry;

    fn node(&self, owner: Option<B256>, path: &Nibbles, hash: B256) -> Result<Bytes, MissingEntry> {
        let node = self.nodes.get(&(owner, *path));
        let node = node.filter(|node| self.unchecked || keccak256(node) == hash);
        node.cloned().ok_or(MissingEntry(hash))
    }

    fn code(&self, hash: B256) -> Result<Bytes, MissingEntry> {
        self.codes.get(&hash).cloned().ok_or(MissingEntry(hash))
    }
}

fn reference_root(model: &Model) -> B256 {
    let mut builder = HashBuilder::default();
    for (key, value) in model {
        builder.add_leaf(Nibbles::unpack(key), value);
    }
    builder.root()
}

fn update<S: NodeSource>(
    source: &S,
    root: B256,
    batch: &BTreeMap<B256, Option<Vec<u8>>>,
    old: &Model,
) -> Result<(B256, Vec<NodeChange>), TrieError<S::Error>> {
    let keys: Vec<_> = batch.keys().copied().collect();
    let (mut out, mut seen) = (Vec::new(), BTreeSet::new());
    let resolve = |i: usize, value: Option<&[u8]>| {
        assert_eq!(value, old.get(&keys[i]).map(|v| &v[..]), "old value of {}", keys[i]);
        assert!(seen.insert(i), "resolved twice");
        Ok(batch[&keys[i]].clone())
    };
    let root = Trie::new(source, None, root).update(&keys, resolve, &mut out)?;
    assert_eq!(seen.len(), keys.len(), "not all resolved");
    Ok((root, out))
}

/// Keys that share prefixes of all lengths.
fn key() -> impl Strategy<Value = B256> {
    let byte = || prop::sample::select(vec![0x00, 0x01, 0x10, 0x11, 0xff]);
    let positions = prop::sample::select(vec![[0, 1, 2], [0, 1, 31], [0, 15, 31], [29, 30, 31]]);
    (positions, byte(), byte(), byte()).prop_map(|(at, a, b, c)| {
        let mut key = B256::ZERO;
        (key[at[0]], key[at[1]], key[at[2]]) = (a, b, c);
        key
    })
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![vec(1_u8..=255, 1..4), vec(any::<u8>(), 30..120)]
}

fn batches() -> impl Strategy<Value = Vec<BTreeMap<B256, Option<Vec<u8>>>>> {
    let change = prop_oneof![3 => value().prop_map(Some), 2 => Just(None)];
    vec(btree_map(key(), change, 0..24), 1..7)
}

fn apply_model(model: &mut Model, batch: &BTreeMap<B256, Option<Vec<u8>>>) {
    for (key, value) in batch {
        match value {
            Some(value) => model.insert(*key, value.clone()),
            None => model.remove(key),
        };
    }
}

fn check_proofs(memory: &Memory, root: B256, keys: impl Iterator<Item = B256>, model: &Model) {
    let trie = Trie::new(memory, None, root);
    for key in keys {
        let expected = model.get(&key).cloned();
        assert_eq!(trie.get(key).unwrap().map(|v| v.to_vec()), expected);
        let proof = trie.prove(key).unwrap();
        verify_proof(root, Nibbles::unpack(key), expected, &proof).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn batches_match_alloy(batches in batches()) {
        let (mut memory, mut model, mut root) = (Memory::default(), Model::new(), EMPTY_ROOT);
        for batch in &batches {
            let recorder = Recorder::new(&memory);
            let (new, changes) = update(&recorder, root, batch, &model).unwrap();
            let witness = recorder.into_witness();

            let source = WitnessSource::new(witness.clone());
            prop_assert_eq!(&update(&source, root, batch, &model).unwrap(), &(new, changes.clone()));
            for i in 0..witness.nodes.len() {
                let mut less = witness.clone();
                let hash = keccak256(less.nodes.remove(i));
                let error = update(&WitnessSource::new(less), root, batch, &model).unwrap_err();
                prop_assert_eq!(error, TrieError::Source(MissingEntry(hash)));
            }

            prop_assert!(changes.is_sorted_by(|a, b| a.path < b.path));
            memory.apply(changes);
            apply_model(&mut model, batch);
            root = new;
            prop_assert_eq!(root, reference_root(&model));
            check_proofs(&memory, root, batch.keys().copied(), &model);
        }
        // Nothing stale is left: the nodes are those of the trie built at once.
        let whole = model.iter().map(|(k, v)| (*k, Some(v.clone()))).collect();
        let mut fresh = Memory::default();
        let (same, changes) = update(&fresh, EMPTY_ROOT, &whole, &Model::new()).unwrap();
        fresh.apply(changes);
        prop_assert_eq!(same, root);
        prop_assert_eq!(&fresh, &memory);
        // Down to nothing.
        let none = model.keys().map(|k| (*k, None)).collect();
        let (empty, changes) = update(&memory, root, &none, &model).unwrap();
        memory.apply(changes);
        prop_assert_eq!(empty, EMPTY_ROOT);
        prop_assert!(memory.nodes.is_empty());
    }

    #[test]
    fn hostile_nodes_do_not_panic(
        batch in btree_map(key(), value(), 1..40),
        other in btree_map(key(), prop::option::of(value()), 1..20),
        garble in vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 1..6),
        swap in vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..3),
    ) {
        let mut memory = Memory { unchecked: true, ..Memory::default() };
        let whole = batch.into_iter().map(|(k, v)| (k, Some(v))).collect();
        let (root, changes) = update(&memory, EMPTY_ROOT, &whole, &Model::new()).unwrap();
        memory.apply(changes);
        let places: Vec<_> = memory.nodes.keys().copied().collect();
        for (node, at, byte) in garble {
            let place = node.get(&places);
            let mut bytes = memory.nodes[place].to_vec();
            let at = at.index(bytes.len() + 1);
            if at == bytes.len() { bytes.truncate(byte as usize); } else { bytes[at] = byte; }
            memory.nodes.insert(*place, bytes.into());
        }
        for (a, b) in swap {
            let node = memory.nodes[a.get(&places)].clone();
            memory.nodes.insert(*b.get(&places), node);
        }
        let keys: Vec<_> = other.keys().copied().collect();
        let trie = Trie::new(&memory, None, root);
        for key in &keys {
            let (got, proof) = (trie.get(*key), trie.prove(*key));
            prop_assert_eq!(got.is_ok(), proof.is_ok());
            prop_assert!(proof.map_or(0, |proof| proof.len()) <= 65);
        }
        let mut calls = 0;
        let resolve = |i: usize, _: Option<&[u8]>| { calls += 1; Ok(other[&keys[i]].clone()) };
        let _error_or_garbage = trie.update(&keys, resolve, &mut Vec::new());
        prop_assert!(calls <= keys.len());
    }

    #[test]
    fn states_match_alloy(blocks in vec(block(), 1..6)) {
        check_states(&blocks);
    }
}

fn address(n: u8) -> Address {
    Address::with_last_byte(n)
}

/// Accounts to set or remove, and storage to write where the account then exists.
type Block = (BTreeMap<u8, Option<u64>>, BTreeMap<u8, BTreeMap<u8, u8>>);

fn block() -> impl Strategy<Value = Block> {
    let account = prop_oneof![4 => (0_u64..3).prop_map(Some), 1 => Just(None)];
    let slots = btree_map(0_u8..20, 0_u8..3, 0..12);
    (btree_map(0_u8..12, account, 0..8), btree_map(0_u8..12, slots, 0..5))
}

#[derive(Default, Clone)]
struct States {
    accounts: BTreeMap<Address, AccountInfo>,
    storage: BTreeMap<Address, BTreeMap<U256, U256>>,
}

impl States {
    fn root(&self) -> B256 {
        let mut leaves = Model::new();
        for (address, info) in &self.accounts {
            let slots = self.storage.get(address).into_iter().flatten();
            let slots = slots.filter(|(_, value)| !value.is_zero());
            let slots =
                slots.map(|(s, v)| (keccak256(s.to_be_bytes::<32>()), alloy_rlp::encode(v)));
            let account = alloy_trie::TrieAccount {
                nonce: info.nonce,
                balance: info.balance,
                storage_root: reference_root(&slots.collect()),
                code_hash: info.code_hash,
            };
            leaves.insert(keccak256(address), alloy_rlp::encode(account));
        }
        reference_root(&leaves)
    }

    fn apply(&mut self, block: &Block) -> StateChanges {
        let mut changes = StateChanges::default();
        for (n, nonce) in &block.0 {
            let balance = U256::from(*n) * U256::from(nonce.unwrap_or(0));
            let info = nonce.map(|nonce| AccountInfo { nonce, balance, ..Default::default() });
            let removed = info.is_none_or(|info| info.is_empty());
            // As since EIP-6780, an account with storage is not removed.
            if removed && self.storage.contains_key(&address(*n)) {
                continue;
            }
            changes.accounts.insert(address(*n), info);
            match info.filter(|_| !removed) {
                Some(info) => self.accounts.insert(address(*n), info),
                None => self.accounts.remove(&address(*n)),
            };
        }
        for (n, slots) in &block.1 {
            if self.accounts.contains_key(&address(*n)) {
                let slots = slots.iter().map(|(s, v)| (U256::from(*s), U256::from(*v)));
                let slots: BTreeMap<_, _> = slots.collect();
                self.storage.entry(address(*n)).or_default().extend(slots.clone());
                changes.storage.insert(address(*n), slots);
            }
        }
        changes
    }
}

fn check_reader<R: StateReader>(reader: &R, states: &States) {
    for n in 0..12 {
        let account = reader.account(address(n)).unwrap();
        assert_eq!(account, states.accounts.get(&address(n)).copied());
        for slot in (0..20).map(U256::from) {
            let expected = states.storage.get(&address(n)).and_then(|s| s.get(&slot));
            let value = reader.storage(address(n), slot).unwrap();
            assert_eq!(value, expected.copied().unwrap_or_default());
        }
    }
}

fn check_states(blocks: &[Block]) {
    let (mut memory, mut states, mut root) = (Memory::default(), States::default(), EMPTY_ROOT);
    let (mut pending, mut squashed) = (Overlay::default(), StateChanges::default());
    let empty = WitnessSource::default();
    for block in blocks {
        let before = states.clone();
        let changes = states.apply(block);

        // The witness of all reads and of the update is enough to do both again.
        let recorder = Recorder::new(&memory);
        check_reader(&TrieReader::new(&recorder, root, (0, B256::ZERO)), &before);
        let update = apply_changes(&recorder, root, &changes).unwrap();
        let witness = WitnessSource::new(recorder.into_witness());
        check_reader(&TrieReader::new(&witness, root, (0, B256::ZERO)), &before);
        assert_eq!(apply_changes(&witness, root, &changes).unwrap(), update);

        memory.apply(update.nodes);
        root = update.root;
        assert_eq!(root, states.root());
        check_reader(&TrieReader::new(&memory, root, (0, B256::ZERO)), &states);
        pending.apply(&changes);
        squashed.merge(changes);
        check_reader(&pending.over(TrieReader::new(&empty, EMPTY_ROOT, (0, B256::ZERO))), &states);
    }
    // All blocks at once give the same state.
    assert_eq!(apply_changes(&empty, EMPTY_ROOT, &squashed).unwrap().root, root);
    let at_once = apply_changes(&empty, EMPTY_ROOT, &pending.into_changes()).unwrap();
    assert_eq!(at_once.root, root);
}

#[test]
fn an_account_removed_with_its_storage_starts_afresh() {
    let info = AccountInfo { nonce: 1, ..Default::default() };
    let mut changes = StateChanges::default();
    changes.accounts.insert(address(1), Some(info));
    changes.storage.insert(address(1), BTreeMap::from([(U256::ONE, U256::ONE)]));
    let mut memory = Memory::default();
    let with_storage = apply_changes(&memory, EMPTY_ROOT, &changes).unwrap();
    memory.apply(with_storage.nodes);
    let remove =
        StateChanges { accounts: BTreeMap::from([(address(1), None)]), ..StateChanges::default() };
    let removed = apply_changes(&memory, with_storage.root, &remove).unwrap();
    assert_eq!(removed.root, EMPTY_ROOT);
    assert_eq!(removed.accounts, BTreeMap::from([(address(1), None)]));
    changes.merge(remove);
    assert!(changes.storage.is_empty());
}

#[test]
fn storage_without_account_is_refused() {
    let storage = BTreeMap::from([(address(1), BTreeMap::from([(U256::ONE, U256::ONE)]))]);
    let changes = StateChanges { storage, ..StateChanges::default() };
    let error = apply_changes(&WitnessSource::default(), EMPTY_ROOT, &changes).unwrap_err();
    assert_eq!(error, TrieError::StorageWithoutAccount(address(1)));
}

#[test]
fn block_hashes_come_from_the_history_contract() {
    let hash = |n: u64| keccak256(n.to_be_bytes());
    let slots = (8000..9000_u64).map(|n| (U256::from(n % 8191), U256::from_be_bytes(hash(n).0)));
    let mut changes = StateChanges::default();
    let contract = AccountInfo { nonce: 1, ..Default::default() };
    changes.accounts.insert(HISTORY_ADDRESS, Some(contract));
    changes.storage.insert(HISTORY_ADDRESS, slots.collect());
    let mut memory = Memory::default();
    let update = apply_changes(&memory, EMPTY_ROOT, &changes).unwrap();
    memory.apply(update.nodes);

    let parent = (9000, B256::repeat_byte(7));
    let (recorder, reads) = (Recorder::new(&memory), RefCell::default());
    let reader = ReadRecorder::new(TrieReader::new(&recorder, update.root, parent), &reads);
    assert_eq!(reader.block_hash(9000).unwrap(), parent.1);
    assert_eq!(reader.block_hash(8999).unwrap(), hash(8999));
    assert_eq!(reader.block_hash(8191).unwrap(), hash(8191));
    let slots = [0, 808, 809].map(|slot| (HISTORY_ADDRESS, U256::from(slot)));
    assert_eq!(*reads.borrow(), Reads { slots: slots.into(), ..Reads::default() });
    let witness = WitnessSource::new(recorder.into_witness());
    let reader = TrieReader::new(&witness, update.root, parent);
    assert_eq!(reader.block_hash(8191).unwrap(), hash(8191));
    assert!(reader.block_hash(8500).is_err(), "not in the witness");
}

#[test]
fn codes_are_recorded() {
    let code = Bytes::from_static(&[0x60, 0x00]);
    let hash = keccak256(&code);
    let memory = Memory { codes: BTreeMap::from([(hash, code.clone())]), ..Memory::default() };
    let recorder = Recorder::new(&memory);
    let reader = TrieReader::new(&recorder, EMPTY_ROOT, (0, B256::ZERO));
    assert_eq!(reader.code(KECCAK_EMPTY).unwrap(), Bytes::new());
    assert_eq!(reader.code(hash).unwrap(), code);
    let witness = recorder.into_witness();
    assert_eq!(witness.codes.len(), 1);
    assert_eq!(WitnessSource::new(witness).code(hash).unwrap(), code);
    assert_eq!(WitnessSource::default().code(hash), Err(MissingEntry(hash)));
}
