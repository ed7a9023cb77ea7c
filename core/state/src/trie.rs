use alloy_primitives::{B256, Bytes, keccak256};
use alloy_trie::Nibbles;

use crate::EMPTY_ROOT;
use crate::node::{
    Branch, BranchEncoder, Child, EMPTY_CHILDREN, KEY_NIBBLES, Node, encode_extension, encode_leaf,
    item_hash, nibble, parse, prefix,
};

/// Where trie nodes and contract codes come from: the store, or a witness.
pub trait NodeSource {
    type Error: core::error::Error + Send + Sync + 'static;

    /// RLP of the node with this `hash` (32 bytes or longer, or a root) at `path` of the storage
    /// trie of the account with `keccak(address) = owner`, or of the state trie.
    fn node(&self, owner: Option<B256>, path: &Nibbles, hash: B256) -> Result<Bytes, Self::Error>;

    /// The code with this hash, which is not [`crate::KECCAK_EMPTY`].
    fn code(&self, hash: B256) -> Result<Bytes, Self::Error>;
}

impl<S: NodeSource + ?Sized> NodeSource for &S {
    type Error = S::Error;

    fn node(&self, owner: Option<B256>, path: &Nibbles, hash: B256) -> Result<Bytes, S::Error> {
        (**self).node(owner, path, hash)
    }

    fn code(&self, hash: B256) -> Result<Bytes, S::Error> {
        (**self).code(hash)
    }
}

/// Why a trie operation failed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrieError<E: core::error::Error> {
    /// The source could not deliver an entry.
    #[error(transparent)]
    Source(E),
    /// The source delivered bytes that are no trie node, or no account, at this place.
    #[error("malformed trie node at {path:?} (storage of {owner:?})")]
    Malformed { owner: Option<B256>, path: Nibbles },
    /// Storage was written for an account that neither exists nor is created.
    #[error("storage written without an account at {0}")]
    StorageWithoutAccount(alloy_primitives::Address),
}

/// A node written (`Some`: its RLP) or removed (`None`) by an update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeChange {
    /// `keccak(address)` for a storage trie, `None` for the state trie.
    pub owner: Option<B256>,
    pub path: Nibbles,
    pub node: Option<Bytes>,
}

/// A trie with 32-byte keys by its root.
#[derive(Debug)]
pub struct Trie<'a, S> {
    source: &'a S,
    owner: Option<B256>,
    root: B256,
}

impl<'a, S: NodeSource> Trie<'a, S> {
    pub fn new(source: &'a S, owner: Option<B256>, root: B256) -> Self {
        Self { source, owner, root }
    }

    /// The value at `key`.
    pub fn get(&self, key: B256) -> Result<Option<Bytes>, TrieError<S::Error>> {
        self.walk(key, |_| {})
    }

    /// The nodes on the path of `key` from the root down, as `eth_getProof` lists them: embedded
    /// nodes are inside their parents. They prove the value, or its absence.
    pub fn prove(&self, key: B256) -> Result<Vec<Bytes>, TrieError<S::Error>> {
        let mut proof = Vec::new();
        self.walk(key, |node| proof.push(node.clone()))?;
        Ok(proof)
    }

    fn walk(
        &self,
        key: B256,
        mut visit: impl FnMut(&Bytes),
    ) -> Result<Option<Bytes>, TrieError<S::Error>> {
        if self.root == EMPTY_ROOT {
            return Ok(None);
        }
        let whole = Nibbles::unpack_array(&key.0);
        let mut path = Nibbles::new();
        let mut raw = self.load(&path, self.root)?;
        visit(&raw);
        loop {
            let child = match self.parse(&raw, &path)? {
                Node::Leaf { key: found, value } => {
                    return Ok((found == key).then(|| raw.slice(value)));
                }
                Node::Extension { path: below, child } => {
                    if !whole.starts_with(&below) {
                        return Ok(None);
                    }
                    path = below;
                    child
                }
                Node::Branch(branch) => {
                    let next = nibble(&key, path.len());
                    if branch.child(&raw, next).is_none() {
                        return Ok(None);
                    }
                    path.push(next);
                    branch.item(next)
                }
            };
            raw = match item_hash(&raw[child.clone()]) {
                Some(hash) => {
                    let node = self.load(&path, hash)?;
                    visit(&node);
                    node
                }
                None => raw.slice(child),
            };
        }
    }

    /// Applies changes to the entries at `keys` (sorted, without duplicates) in one traversal and
    /// returns the new root.
    ///
    /// `resolve(i, old)` is called once for each key, in no fixed order, with the value it has, and
    /// returns the value it shall have (not empty), or `None` to remove it. The nodes written and
    /// removed are appended to `out`, sorted by path.
    pub fn update<F>(
        &self,
        keys: &[B256],
        resolve: F,
        out: &mut Vec<NodeChange>,
    ) -> Result<B256, TrieError<S::Error>>
    where
        F: FnMut(usize, Option<&[u8]>) -> Result<Option<Vec<u8>>, TrieError<S::Error>>,
    {
        debug_assert!(keys.is_sorted_by(|a, b| a < b));
        let start = out.len();
        // In a trie of millions, a key that changes writes about four nodes.
        out.reserve(keys.len() * 4);
        let mut updater = Updater {
            trie: Trie { source: self.source, owner: self.owner, root: self.root },
            keys,
            resolve,
            out,
            pending: Vec::new(),
            branch_buffer: Vec::with_capacity(17 * 33 + 3),
            short_buffer: Vec::with_capacity(160),
        };
        let Some(change) = updater.update_root()? else {
            return Ok(self.root);
        };
        let root = updater.finish_root(&change);
        sort_changes(out, start);
        Ok(root)
    }

    fn load(&self, path: &Nibbles, hash: B256) -> Result<Bytes, TrieError<S::Error>> {
        self.source.node(self.owner, path, hash).map_err(TrieError::Source)
    }

    fn parse(&self, raw: &[u8], path: &Nibbles) -> Result<Node, TrieError<S::Error>> {
        parse(raw, path).ok_or(TrieError::Malformed { owner: self.owner, path: *path })
    }
}

/// A subtrie under construction. Keys and paths are absolute, so that it can move up or down
/// without change until [`Updater::finish`] fixes where it starts.
enum Built {
    Empty,
    Leaf {
        key: B256,
        value: Vec<u8>,
    },
    /// The branch at `path`, written already, perhaps under an extension that is not.
    Branch {
        path: Nibbles,
        child: Child,
    },
}

/// What becomes of a node.
struct Change {
    built: Built,
    /// Where in the list of node changes the old node stands, if it was stored: what is written at
    /// its path goes there.
    place: Option<usize>,
}

/// A new child of a branch under construction.
struct Pending {
    nibble: u8,
    change: Change,
}

type Entry = (B256, Vec<u8>);

struct Updater<'a, S, F> {
    trie: Trie<'a, S>,
    keys: &'a [B256],
    resolve: F,
    out: &'a mut Vec<NodeChange>,
    /// New children of the branches under construction, the innermost one's last; each branch's
    /// by nibble.
    pending: Vec<Pending>,
    branch_buffer: Vec<u8>,
    short_buffer: Vec<u8>,
}

impl<S, F> Updater<'_, S, F>
where
    S: NodeSource,
    F: FnMut(usize, Option<&[u8]>) -> Result<Option<Vec<u8>>, TrieError<S::Error>>,
{
    fn update_root(&mut self) -> Result<Option<Change>, TrieError<S::Error>> {
        let range = 0..self.keys.len();
        if range.is_empty() {
            return Ok(None);
        }
        let path = Nibbles::new();
        if self.trie.root == EMPTY_ROOT {
            return self.insert_absent(&path, range);
        }
        let raw = self.trie.load(&path, self.trie.root)?;
        self.update_node(&raw, true, path, range)
    }

    /// Encodes what stands at the root, which is stored however short it is.
    fn finish_root(&mut self, change: &Change) -> B256 {
        let rlp = match &change.built {
            Built::Empty => return EMPTY_ROOT,
            Built::Branch { path, child } if path.is_empty() => match child.hash() {
                Some(hash) => return hash,
                None => child.item(),
            },
            Built::Branch { path, child } => {
                encode_extension(&mut self.short_buffer, path, 0, child);
                &self.short_buffer
            }
            Built::Leaf { key, value } => {
                encode_leaf(&mut self.short_buffer, key, 0, value);
                &self.short_buffer
            }
        };
        let (hash, rlp) = (keccak256(rlp), Bytes::copy_from_slice(rlp));
        self.write(Nibbles::new(), change.place, rlp);
        hash
    }

    fn push(&mut self, path: Nibbles, node: Option<Bytes>) {
        self.out.push(NodeChange { owner: self.trie.owner, path, node });
    }

    fn write(&mut self, path: Nibbles, place: Option<usize>, node: Bytes) {
        match place {
            Some(place) => self.out[place].node = Some(node),
            None => self.push(path, Some(node)),
        }
    }

    /// Updates the subtrie whose node `raw` is at `path` with the changes of `keys[range]`, all of
    /// which start with `path`. `None` if nothing changes. `stored` if the node is not embedded.
    fn update_node(
        &mut self,
        raw: &Bytes,
        stored: bool,
        path: Nibbles,
        range: core::ops::Range<usize>,
    ) -> Result<Option<Change>, TrieError<S::Error>> {
        let mark = self.out.len();
        let place = stored.then_some(mark);
        if stored {
            // Stands unless something is written here later.
            self.push(path, None);
        }
        let result = match self.trie.parse(raw, &path)? {
            Node::Branch(branch) => self.update_branch(raw, &branch, place, path, range),
            Node::Extension { path: below, child } => {
                self.update_extension(raw, child, path, below, range)
            }
            Node::Leaf { key, value } => self.update_leaf(key, &raw[value], &path, range),
        }?;
        if result.is_none() {
            self.out.truncate(mark);
        }
        Ok(result.map(|built| Change { built, place }))
    }

    fn update_branch(
        &mut self,
        raw: &Bytes,
        branch: &Branch,
        place: Option<usize>,
        path: Nibbles,
        range: core::ops::Range<usize>,
    ) -> Result<Option<Built>, TrieError<S::Error>> {
        let depth = path.len();
        let base = self.pending.len();
        let mut start = range.start;
        while start < range.end {
            let next = nibble(&self.keys[start], depth);
            let group = &self.keys[start..range.end];
            let end = start + group.partition_point(|key| nibble(key, depth) == next);
            let mut below = path;
            below.push(next);
            let result = match branch.child(raw, next) {
                None => self.insert_absent(&below, start..end)?,
                Some(item) => {
                    let hash = item_hash(item);
                    let node = match hash {
                        Some(hash) => self.trie.load(&below, hash)?,
                        None => raw.slice(branch.item(next)),
                    };
                    self.update_node(&node, hash.is_some(), below, start..end)?
                }
            };
            self.pending.extend(result.map(|change| Pending { nibble: next, change }));
            start = end;
        }
        if self.pending.len() == base {
            return Ok(None);
        }
        self.make_branch(path, base, raw, branch, place).map(Some)
    }

    fn update_extension(
        &mut self,
        raw: &Bytes,
        child: core::ops::Range<usize>,
        path: Nibbles,
        below: Nibbles,
        range: core::ops::Range<usize>,
    ) -> Result<Option<Built>, TrieError<S::Error>> {
        let group = &self.keys[range.clone()];
        let before = group.partition_point(|key| prefix(key, below.len()) < below);
        let until = group.partition_point(|key| prefix(key, below.len()) <= below);
        let (start, end) = (range.start + before, range.start + until);
        let mut entries = self.resolve_absent(range.start..start)?;
        entries.extend(self.resolve_absent(end..range.end)?);
        let item = &raw[child.clone()];
        let mut result = None;
        if start < end {
            let hash = item_hash(item);
            let node = match hash {
                Some(hash) => self.trie.load(&below, hash)?,
                None => raw.slice(child.clone()),
            };
            result = self.update_node(&node, hash.is_some(), below, start..end)?;
        }
        let existing = match result {
            None if entries.is_empty() => return Ok(None),
            None => Built::Branch { path: below, child: Child::from_item(item) },
            Some(change) => change.built,
        };
        self.insert(path.len(), existing, &mut entries).map(Some)
    }

    fn update_leaf(
        &mut self,
        key: B256,
        value: &[u8],
        path: &Nibbles,
        range: core::ops::Range<usize>,
    ) -> Result<Option<Built>, TrieError<S::Error>> {
        let mut entries = Vec::new();
        let mut existing = None;
        for i in range {
            let is_leaf = self.keys[i] == key;
            let new = (self.resolve)(i, is_leaf.then_some(value))?;
            if !is_leaf {
                entries.extend(new.map(|new| (self.keys[i], new)));
            } else if new.as_deref() != Some(value) {
                existing = Some(match new {
                    Some(value) => Built::Leaf { key, value },
                    None => Built::Empty,
                });
            }
        }
        if entries.is_empty() {
            return Ok(existing);
        }
        let existing = existing.unwrap_or_else(|| Built::Leaf { key, value: value.to_vec() });
        self.insert(path.len(), existing, &mut entries).map(Some)
    }

    fn resolve_absent(
        &mut self,
        range: core::ops::Range<usize>,
    ) -> Result<Vec<Entry>, TrieError<S::Error>> {
        let mut entries = Vec::with_capacity(range.len());
        for i in range {
            entries.extend((self.resolve)(i, None)?.map(|value| (self.keys[i], value)));
        }
        Ok(entries)
    }

    fn insert_absent(
        &mut self,
        path: &Nibbles,
        range: core::ops::Range<usize>,
    ) -> Result<Option<Change>, TrieError<S::Error>> {
        let mut entries = self.resolve_absent(range)?;
        if entries.is_empty() {
            return Ok(None);
        }
        let built = self.insert(path.len(), Built::Empty, &mut entries)?;
        Ok(Some(Change { built, place: None }))
    }

    /// Adds sorted entries to a subtrie that starts at `depth`. None of them is in it, nor below
    /// its branch.
    fn insert(
        &mut self,
        depth: usize,
        existing: Built,
        entries: &mut [Entry],
    ) -> Result<Built, TrieError<S::Error>> {
        let (existing, entries) = match (existing, entries) {
            (Built::Empty, [(key, value), rest @ ..]) => {
                (Built::Leaf { key: *key, value: core::mem::take(value) }, rest)
            }
            (existing, entries) => (existing, entries),
        };
        let (Some((first, _)), Some((last, _))) = (entries.first(), entries.last()) else {
            return Ok(existing);
        };
        let (first, last) = (*first, *last);
        let at = match &existing {
            Built::Leaf { key, .. } => Nibbles::unpack_array(&key.0),
            Built::Branch { path, .. } => *path,
            // Both lists empty was returned above.
            Built::Empty => return Ok(existing),
        };
        let common = |key: &B256| at.common_prefix_length(&Nibbles::unpack_array(&key.0));
        let split = common(&first).min(common(&last));
        let path = prefix(&first, split);
        debug_assert!(split >= depth);
        let Some(own) = at.get(split) else {
            // A source that put a branch's entries beside it.
            return Err(TrieError::Malformed { owner: self.trie.owner, path });
        };
        let base = self.pending.len();
        let mut existing = Some(existing);
        let mut rest = entries;
        while let Some((key, _)) = rest.first() {
            let next = nibble(key, split);
            let end = rest.partition_point(|(key, _)| nibble(key, split) == next);
            let (group, tail) = rest.split_at_mut(end);
            if next > own {
                self.await_child(own, existing.take());
            }
            let inner = if next == own { existing.take() } else { None };
            let built = self.insert(split + 1, inner.unwrap_or(Built::Empty), group)?;
            self.await_child(next, Some(built));
            rest = tail;
        }
        self.await_child(own, existing);
        self.make_branch(path, base, &EMPTY_CHILDREN, &Branch::EMPTY, None)
    }

    fn await_child(&mut self, nibble: u8, built: Option<Built>) {
        let change = built.map(|built| Change { built, place: None });
        self.pending.extend(change.map(|change| Pending { nibble, change }));
    }

    /// The branch at `path` with the children of `old` (in `raw`), those pending from `base` in
    /// place of its own; or what is left when fewer than two remain.
    fn make_branch(
        &mut self,
        path: Nibbles,
        base: usize,
        raw: &[u8],
        old: &Branch,
        place: Option<usize>,
    ) -> Result<Built, TrieError<S::Error>> {
        let pending = &self.pending[base..];
        let bit = |set: fn(&Built) -> bool| {
            let of = move |p: &Pending| u16::from(set(&p.change.built)) << p.nibble;
            pending.iter().map(of).fold(0, |mask, bit| mask | bit)
        };
        let built = bit(|built| !matches!(built, Built::Empty));
        let kept = old.children() & !bit(|_| true);
        if (built | kept).count_ones() < 2 {
            let mut left = self.pending.drain(base..).map(|pending| pending.change.built);
            return match left.find(|built| !matches!(built, Built::Empty)) {
                Some(built) => Ok(built),
                None if kept == 0 => Ok(Built::Empty),
                None => {
                    drop(left);
                    self.collapse(path, kept.trailing_zeros() as u8, raw, old)
                }
            };
        }
        let mut encoder = BranchEncoder::new(core::mem::take(&mut self.branch_buffer));
        let mut next = 0;
        for i in base..self.pending.len() {
            let nibble = self.pending[i].nibble;
            encoder.push(&raw[old.items(next, nibble)]);
            let mut below = path;
            below.push(nibble);
            match self.finish(below, i) {
                Some(child) => encoder.push(child.item()),
                None => encoder.push_empty(),
            }
            next = nibble + 1;
        }
        self.pending.truncate(base);
        encoder.push(&raw[old.items(next, 16)]);
        let (buffer, start) = encoder.finish();
        let rlp = &buffer[start..];
        let child = Child::of_rlp(rlp);
        if rlp.len() >= 32 {
            self.write(path, place, Bytes::copy_from_slice(rlp));
        }
        self.branch_buffer = buffer;
        Ok(Built::Branch { path, child })
    }

    /// The subtrie of a branch's only remaining child, which was not changed: a leaf or extension
    /// takes up the branch's nibble, a branch gets an extension.
    fn collapse(
        &mut self,
        mut path: Nibbles,
        next: u8,
        raw: &[u8],
        branch: &Branch,
    ) -> Result<Built, TrieError<S::Error>> {
        path.push(next);
        let item = branch.item(next);
        let hash = item_hash(&raw[item.clone()]);
        let node = match hash {
            Some(hash) => self.trie.load(&path, hash)?,
            None => Bytes::copy_from_slice(&raw[item.clone()]),
        };
        let built = match self.trie.parse(&node, &path)? {
            Node::Branch(_) => {
                return Ok(Built::Branch { path, child: Child::from_item(&raw[item]) });
            }
            Node::Leaf { key, value } => Built::Leaf { key, value: node[value].to_vec() },
            Node::Extension { path: below, child } => {
                Built::Branch { path: below, child: Child::from_item(&node[child]) }
            }
        };
        if hash.is_some() {
            self.push(path, None);
        }
        Ok(built)
    }

    /// Writes the pending child that starts at `path`; returns what its parent holds.
    fn finish(&mut self, path: Nibbles, pending: usize) -> Option<Child> {
        let Change { built, place } = &self.pending[pending].change;
        match built {
            Built::Empty => return None,
            Built::Branch { path: at, child } if at.len() == path.len() => return Some(*child),
            Built::Branch { path: at, child } => {
                encode_extension(&mut self.short_buffer, at, path.len(), child);
            }
            Built::Leaf { key, value } => {
                debug_assert!(path.len() <= KEY_NIBBLES);
                encode_leaf(&mut self.short_buffer, key, path.len(), value);
            }
        }
        let place = *place;
        let child = Child::of_rlp(&self.short_buffer);
        if self.short_buffer.len() >= 32 {
            let rlp = Bytes::copy_from_slice(&self.short_buffer);
            self.write(path, place, rlp);
        }
        Some(child)
    }
}

/// Sorts the changes from `start` by path. Of several at one path the last stands.
fn sort_changes(changes: &mut Vec<NodeChange>, start: usize) {
    let own = &mut changes[start..];
    // An update that adds or removes no key lists its nodes from the root down, left to right.
    if own.is_sorted_by(|a, b| a.path < b.path) {
        return;
    }
    own.sort_by_key(|change| change.path);
    let mut kept = 0;
    for i in 0..own.len() {
        if own.get(i + 1).is_none_or(|next| next.path != own[i].path) {
            own.swap(kept, i);
            kept += 1;
        }
    }
    changes.truncate(start + kept);
}
