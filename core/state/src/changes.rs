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
    run: impl FnOnce(&mut [UpdatePart<'_, '_, S>]),
) -> Result<StateUpdate, TrieError<S::Error>> {
    let mut targets = sorted_targets(changes);
    let keys: Vec<B256> = targets.iter().map(|target| target.key).collect();
    let trie = Trie::new(source, None, root);
    let (top, parts) = trie.split(&keys)?;

    let mut rest = targets.as_mut_slice();
    let mut parts: Vec<_> = parts
        .into_iter()
        .map(|part| {
            let own = rest.split_off_mut(..part.keys.len()).expect("parts share the keys out");
            let (trie, keys, storage) = (&trie, &keys, &changes.storage);
            let work = PartWork::Waits(part);
            UpdatePart { trie, keys, storage, targets: own, storage_nodes: Vec::new(), work }
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
    // The map is built in one go from what is sorted.
    targets.sort_unstable_by_key(|target| target.address);
    let accounts = targets.into_iter().map(|target| (target.address, target.new)).collect();
    Ok(StateUpdate { root, nodes, accounts })
}

/// An account that changes.
struct Target<'a> {
    /// `keccak(address)`.
    key: B256,
    address: Address,
    /// `None` if only its storage changes.
    info: Option<&'a Option<AccountInfo>>,
    /// As it is after the changes.
    new: Option<Account>,
}

/// All accounts that the changes name, by key.
fn sorted_targets(changes: &StateChanges) -> Vec<Target<'_>> {
    let with_storage = changes.storage.keys().filter(|a| !changes.accounts.contains_key(*a));
    let targets = changes.accounts.iter().map(|(address, info)| (*address, Some(info)));
    let targets: Vec<_> = targets.chain(with_storage.map(|address| (*address, None))).collect();
    let addresses: Vec<Address> = targets.iter().map(|(address, _)| *address).collect();
    let mut targets: Vec<Target<'_>> = keccak256_all(&addresses)
        .into_iter()
        .zip(targets)
        .map(|(key, (address, info))| Target { key, address, info, new: None })
        .collect();
    targets.sort_unstable_by_key(|target| target.key);
    targets
}

/// A part of an update of the state that needs nothing of the others.
pub struct UpdatePart<'a, 'c, S: NodeSource> {
    trie: &'a Trie<'a, S>,
    /// Of all parts.
    keys: &'a [B256],
    storage: &'a BTreeMap<Address, BTreeMap<U256, U256>>,
    /// The accounts of this part, by key.
    targets: &'a mut [Target<'c>],
    storage_nodes: Vec<NodeChange>,
    work: PartWork<S::Error>,
}

enum PartWork<E: core::error::Error> {
    Waits(Part),
    Done(Result<Updated, TrieError<E>>),
}

impl<S: NodeSource> UpdatePart<'_, '_, S> {
    /// Does the work, unless it is done. An error is kept for the caller of
    /// [`apply_changes_in_parts`].
    pub fn run(&mut self) {
        let PartWork::Waits(part) = &self.work else { return };
        let (first, source) = (part.keys.start, self.trie.source());
        let (targets, nodes) = (&mut *self.targets, &mut self.storage_nodes);
        let resolve = |i: usize, old: Option<&[u8]>| {
            let target = &mut targets[i - first];
            let old = old.map(|value| decode_account(value, target.key)).transpose()?;
            target.new = apply_account(source, target, old, self.storage, nodes)?;
            Ok(target.new.map(alloy_rlp::encode))
        };
        let result = self.trie.update_part(part, self.keys, resolve);
        self.work = PartWork::Done(result);
    }
}

fn apply_account<S: NodeSource>(
    source: &S,
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
        storage_root = update_storage(source, target.key, storage_root, slots, nodes)?;
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
