use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_rlp::Decodable;
use alloy_trie::Nibbles;

use crate::keccak::keccak256_all;
use crate::update::{Part, Updated};
use crate::{Account, AccountInfo, EMPTY_ROOT, NodeChange, NodeSource, Trie, TrieError};

/// What a block (or several) changed. Storage that is written belongs to an account that exists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateChanges {
    /// New values; `None` removes the account. An empty account (EIP-161) is removed, too.
    /// A removed account loses its storage.
    pub accounts: BTreeMap<Address, Option<AccountInfo>>,
    /// New values by slot; zero removes the slot.
    pub storage: BTreeMap<Address, BTreeMap<U256, U256>>,
    /// New codes by hash.
    pub codes: BTreeMap<B256, Bytes>,
}

impl StateChanges {
    /// Applies `later` on top.
    pub fn merge(&mut self, later: StateChanges) {
        for (address, account) in later.accounts {
            if account.is_none() {
                self.storage.remove(&address);
            }
            self.accounts.insert(address, account);
        }
        for (address, slots) in later.storage {
            self.storage.entry(address).or_default().extend(slots);
        }
        self.codes.extend(later.codes);
    }
}

/// The result of [`apply_changes`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateUpdate {
    /// The new state root.
    pub root: B256,
    /// Nodes written and removed, each path once: per storage trie sorted by path, the state trie
    /// last. The storage nodes of a removed account are not listed.
    pub nodes: Vec<NodeChange>,
    /// Every account named by the changes with its new storage root; `None`: absent now.
    pub accounts: BTreeMap<Address, Option<Account>>,
}

/// Computes the state after `changes` to the state with root `root`.
pub fn apply_changes<S: NodeSource>(
    source: &S,
    root: B256,
    changes: &StateChanges,
) -> Result<StateUpdate, TrieError<S::Error>> {
    apply_changes_in_parts(source, root, changes, |_| ())
}

/// [`apply_changes`], with a chance to run the parts of a large update at the same time: `run` may
/// call [`UpdatePart::run`] on each from any thread. What it leaves is run after it.
pub fn apply_changes_in_parts<S: NodeSource>(
    source: &S,
    root: B256,
    changes: &StateChanges,
    run: impl FnOnce(&mut [UpdatePart<'_, S>]),
) -> Result<StateUpdate, TrieError<S::Error>> {
    let targets = targets(changes);
    let addresses: Vec<Address> = targets.iter().map(|target| target.address).collect();
    let mut order: Vec<(B256, u32)> = keccak256_all(&addresses).into_iter().zip(0..).collect();
    order.sort_unstable();
    let keys: Vec<B256> = order.iter().map(|(key, _)| *key).collect();
    let trie = Trie::new(source, None, root);
    let (top, parts) = trie.split(&keys)?;

    let mut accounts = vec![None; keys.len()];
    let mut rest = accounts.as_mut_slice();
    let mut parts: Vec<_> = parts
        .into_iter()
        .map(|part| UpdatePart {
            trie: &trie,
            keys: &keys,
            order: &order[part.keys.clone()],
            targets: &targets,
            storage: &changes.storage,
            accounts: rest.split_off_mut(..part.keys.len()).expect("parts share the keys out"),
            storage_nodes: Vec::new(),
            work: PartWork::Waits(part),
        })
        .collect();
    run(&mut parts);

    let mut nodes = Vec::new();
    let mut updated = Vec::with_capacity(parts.len());
    for mut part in parts {
        part.run();
        nodes.append(&mut part.storage_nodes);
        if let PartWork::Done(result) = part.work {
            updated.push(result?);
        }
    }
    let root = trie.join(top, updated, &mut nodes)?;
    let mut by_target = vec![None; targets.len()];
    for ((_, target), account) in order.into_iter().zip(accounts) {
        by_target[target as usize] = account;
    }
    let accounts = addresses.into_iter().zip(by_target).collect();
    Ok(StateUpdate { root, nodes, accounts })
}

/// An account that changes.
struct Target<'a> {
    address: Address,
    /// `None` if only its storage changes.
    info: Option<&'a Option<AccountInfo>>,
}

/// All accounts that the changes name.
fn targets(changes: &StateChanges) -> Vec<Target<'_>> {
    let with_storage = changes.storage.keys().filter(|a| !changes.accounts.contains_key(*a));
    let with_storage = with_storage.map(|address| Target { address: *address, info: None });
    let accounts = changes.accounts.iter();
    let accounts = accounts.map(|(address, info)| Target { address: *address, info: Some(info) });
    accounts.chain(with_storage).collect()
}

/// A part of an update of the state that needs nothing of the others.
pub struct UpdatePart<'a, S: NodeSource> {
    trie: &'a Trie<'a, S>,
    /// Of all parts.
    keys: &'a [B256],
    /// The keys of this part, each with the index of its target.
    order: &'a [(B256, u32)],
    targets: &'a [Target<'a>],
    storage: &'a BTreeMap<Address, BTreeMap<U256, U256>>,
    /// The new accounts of this part, by key.
    accounts: &'a mut [Option<Account>],
    storage_nodes: Vec<NodeChange>,
    work: PartWork<S::Error>,
}

enum PartWork<E: core::error::Error> {
    Waits(Part),
    Done(Result<Updated, TrieError<E>>),
}

impl<S: NodeSource> UpdatePart<'_, S> {
    /// Does the work, unless it is done. An error is kept for the caller of
    /// [`apply_changes_in_parts`].
    pub fn run(&mut self) {
        let PartWork::Waits(part) = &self.work else { return };
        let (first, source) = (part.keys.start, self.trie.source());
        let (accounts, nodes) = (&mut *self.accounts, &mut self.storage_nodes);
        let resolve = |i: usize, old: Option<&[u8]>| {
            let (key, target) = self.order[i - first];
            let target = &self.targets[target as usize];
            let old = old.map(|value| decode_account(value, key)).transpose()?;
            let new = apply_account(source, key, target, old, self.storage, nodes)?;
            accounts[i - first] = new;
            Ok(new.map(alloy_rlp::encode))
        };
        let result = self.trie.update_part(part, self.keys, resolve);
        self.work = PartWork::Done(result);
    }
}

fn apply_account<S: NodeSource>(
    source: &S,
    key: B256,
    target: &Target<'_>,
    old: Option<Account>,
    storage: &BTreeMap<Address, BTreeMap<U256, U256>>,
    nodes: &mut Vec<NodeChange>,
) -> Result<Option<Account>, TrieError<S::Error>> {
    let info = match (target.info, old) {
        (Some(Some(info)), _) if !info.is_empty() => *info,
        (Some(_), _) => return Ok(None),
        (None, Some(old)) => old.info(),
        (None, None) => return Err(TrieError::StorageWithoutAccount(target.address)),
    };
    let mut storage_root = old.map_or(EMPTY_ROOT, |account| account.storage_root);
    if let Some(slots) = storage.get(&target.address) {
        storage_root = update_storage(source, key, storage_root, slots, nodes)?;
    }
    let AccountInfo { nonce, balance, code_hash } = info;
    Ok(Some(Account { nonce, balance, storage_root, code_hash }))
}

fn update_storage<S: NodeSource>(
    source: &S,
    owner: B256,
    root: B256,
    slots: &BTreeMap<U256, U256>,
    nodes: &mut Vec<NodeChange>,
) -> Result<B256, TrieError<S::Error>> {
    let names: Vec<[u8; 32]> = slots.keys().map(|slot| slot.to_be_bytes()).collect();
    let mut order: Vec<(B256, U256)> =
        keccak256_all(&names).into_iter().zip(slots.values().copied()).collect();
    order.sort_unstable();
    let keys: Vec<B256> = order.iter().map(|(key, _)| *key).collect();
    let resolve = |i: usize, _: Option<&[u8]>| {
        let value = order[i].1;
        Ok((!value.is_zero()).then(|| alloy_rlp::encode(value)))
    };
    Trie::new(source, Some(owner), root).update(&keys, resolve, nodes)
}

/// Where a slot is in the storage trie.
pub(crate) fn slot_key(slot: U256) -> B256 {
    keccak256(slot.to_be_bytes::<32>())
}

pub(crate) fn decode_account<E: core::error::Error>(
    mut value: &[u8],
    key: B256,
) -> Result<Account, TrieError<E>> {
    let account = Account::decode(&mut value).ok().filter(|_| value.is_empty());
    let path = Nibbles::unpack_array(&key.0);
    account.ok_or(TrieError::Malformed { owner: None, path })
}
