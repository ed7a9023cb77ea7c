//! Updating a trie: whole, or in parts that need nothing of each other.

use core::hint::black_box;
use core::ops::Range;
use std::vec;

use alloy_primitives::{B256, Bytes};
use alloy_trie::Nibbles;

use crate::build::{Builder, Built, Change, Entry, Pending, sort_changes};
use crate::drafts::Link;
use crate::node::{Branch, Child, Node, item_hash, nibble, prefix};
use crate::{EMPTY_ROOT, NodeChange, NodeSource, Trie, TrieError};

/// An update of this many keys is split.
const SPLIT: usize = if cfg!(test) { 12 } else { 256 };

/// The update of a subtrie.
pub(crate) struct Part {
    /// Where it starts: at the root, or at a child of it.
    path: Nibbles,
    /// The keys that change, all of which start with `path`.
    pub keys: Range<usize>,
    start: Start,
}

/// What is at the start of a [`Part`].
enum Start {
    Absent,
    Stored(B256),
    Embedded(Bytes),
}

/// The root of an update in parts below it.
pub(crate) type Top = Option<(Bytes, Branch)>;

/// What becomes of a [`Part`].
pub(crate) struct Updated {
    path: Nibbles,
    /// `None`: stays as it was. Its place is in `nodes`, and nothing of it is a draft.
    change: Option<Change>,
    nodes: Vec<NodeChange>,
}

impl<'a, S: NodeSource> Trie<'a, S> {
    /// Splits an update of these keys into parts: of many keys, by the first nibble.
    pub(crate) fn split(&self, keys: &[B256]) -> Result<(Top, Vec<Part>), TrieError<S::Error>> {
        debug_assert!(keys.is_sorted_by(|a, b| a < b));
        let root = Nibbles::new();
        if keys.len() >= SPLIT && self.root != EMPTY_ROOT {
            let raw = self.load(&root, self.root)?;
            if let Node::Branch(branch) = self.parse(&raw, &root)? {
                let mut parts = Vec::with_capacity(16);
                let mut first = 0;
                while first < keys.len() {
                    let (next, end) = group(keys, first..keys.len(), 0);
                    let path = Nibbles::from_nibbles([next]);
                    let item = branch.child(&raw, next).map(|_| branch.item(next));
                    let start =
                        item.map_or(Start::Absent, |item| match item_hash(&raw[item.clone()]) {
                            Some(hash) => Start::Stored(hash),
                            None => Start::Embedded(raw.slice(item)),
                        });
                    parts.push(Part { path, keys: first..end, start });
                    first = end;
                }
                return Ok((Some((raw, branch)), parts));
            }
        }
        let start = if self.root == EMPTY_ROOT { Start::Absent } else { Start::Stored(self.root) };
        Ok((None, vec![Part { path: root, keys: 0..keys.len(), start }]))
    }

    /// Updates a subtrie; see [`Self::update`]. `keys` are those of all parts.
    pub(crate) fn update_part<F>(
        &self,
        part: &Part,
        keys: &[B256],
        resolve: F,
    ) -> Result<Updated, TrieError<S::Error>>
    where
        F: FnMut(usize, Option<&[u8]>) -> Result<Option<Vec<u8>>, TrieError<S::Error>>,
    {
        let (path, range) = (part.path, part.keys.clone());
        let mut nodes = Vec::new();
        if range.is_empty() {
            return Ok(Updated { path, change: None, nodes });
        }
        // In a trie of millions, a key that changes writes about four nodes.
        nodes.reserve(range.len() * 4);
        let builder = Builder::new(self, &mut nodes);
        let mut updater = Updater { trie: self, keys, resolve, builder, levels: Vec::new() };
        let mut change = match &part.start {
            Start::Absent => updater.insert_absent(&path, range),
            Start::Stored(hash) => {
                updater.levels = self.read_levels((path, *hash, range.clone()), keys)?;
                updater.update_stored(0, path, range)
            }
            Start::Embedded(raw) => {
                let node = self.parse(raw, &path)?;
                updater.update_node(raw.clone(), node, None, 0, path, range)
            }
        }?;
        let finished = updater.builder.finish_drafts();
        if let Some(change) = &mut change {
            change.resolve(&finished);
        }
        Ok(Updated { path, change, nodes })
    }

    /// Makes the new root of the updated parts, which are in order. Appends all node changes to
    /// `out`, sorted by path.
    pub(crate) fn join(
        &self,
        top: Top,
        parts: Vec<Updated>,
        out: &mut Vec<NodeChange>,
    ) -> Result<B256, TrieError<S::Error>> {
        if parts.iter().all(|part| part.change.is_none()) {
            return Ok(self.root);
        }
        let start = out.len();
        out.reserve(parts.iter().map(|part| part.nodes.len()).sum::<usize>() + 1);
        let mut builder = Builder::new(self, out);
        let place = top.is_some().then_some(start);
        if place.is_some() {
            builder.push(Nibbles::new());
        }
        let mut root = None;
        for Updated { path, change, mut nodes } in parts {
            let base = builder.out.len();
            builder.out.append(&mut nodes);
            let Some(Change { built, place }) = change else { continue };
            let change = Change { built, place: place.map(|place| base + place) };
            match path.get(0) {
                Some(nibble) => builder.pending.push(Pending { nibble, change }),
                None => root = Some(change),
            }
        }
        if let Some((raw, branch)) = top {
            let built = builder.make_branch(Nibbles::new(), 0, raw, branch, place)?;
            root = Some(Change { built, place });
        }
        let root = builder.finish_root(root.expect("a part changed"));
        sort_changes(out, start);
        Ok(root)
    }

    /// Reads the stored nodes on the paths of the keys from `top` on: path, hash and the keys, which
    /// are not none, that start with the path.
    ///
    /// A node of a large state is in no processor cache. Level by level, many are waited for at
    /// once; on the way down to one key each would wait for the one above.
    fn read_levels(
        &self,
        top: (Nibbles, B256, Range<usize>),
        keys: &[B256],
    ) -> Result<Levels, TrieError<S::Error>> {
        let mut levels = Vec::new();
        let mut level = vec![top];
        while !level.is_empty() {
            let mut nodes = Vec::with_capacity(level.len());
            for (path, hash, _) in &level {
                nodes.push(self.load(path, *hash)?);
            }
            if cfg!(feature = "host") {
                for line in nodes.iter().flat_map(|node| node.chunks(CACHE_LINE)) {
                    black_box(line[0]);
                }
            }
            let mut next = Vec::with_capacity(level.len());
            let mut parsed = Vec::with_capacity(level.len());
            for (raw, (path, _, range)) in nodes.into_iter().zip(level) {
                let node = self.parse(&raw, &path)?;
                stored_children(&raw, &node, path, keys, range, &mut next);
                parsed.push((raw, node));
            }
            levels.push(parsed.into_iter());
            level = next;
        }
        Ok(levels)
    }
}

/// Bytes that come from memory together, at least.
const CACHE_LINE: usize = 64;

/// Stored nodes by the number of nodes above and then by path.
type Levels = Vec<vec::IntoIter<(Bytes, Node)>>;

/// Appends path, hash and keys of the stored children of a node at `path` on the way to
/// `keys[range]`.
fn stored_children(
    raw: &[u8],
    node: &Node,
    path: Nibbles,
    keys: &[B256],
    range: Range<usize>,
    out: &mut Vec<(Nibbles, B256, Range<usize>)>,
) {
    match node {
        // No child of an embedded node is stored: a hash alone is longer than such a node.
        Node::Branch(branch) => {
            let mut start = range.start;
            while start < range.end {
                let (next, end) = group(keys, start..range.end, path.len());
                if let Some(hash) = branch.child(raw, next).and_then(item_hash) {
                    let mut below = path;
                    below.push(next);
                    out.push((below, hash, start..end));
                }
                start = end;
            }
        }
        Node::Extension { path: below, child } => {
            let range = under(keys, range, below);
            let hash = item_hash(&raw[child.clone()]).filter(|_| !range.is_empty());
            out.extend(hash.map(|hash| (*below, hash, range)));
        }
        Node::Leaf { .. } => {}
    }
}

/// The nibble at `depth` of the first key in `range`, and the end of the keys that share it.
fn group(keys: &[B256], range: Range<usize>, depth: usize) -> (u8, usize) {
    let next = nibble(&keys[range.start], depth);
    let same = keys[range.clone()].partition_point(|key| nibble(key, depth) == next);
    (next, range.start + same)
}

/// The part of `range` whose keys start with `path`.
fn under(keys: &[B256], range: Range<usize>, path: &Nibbles) -> Range<usize> {
    let group = &keys[range.clone()];
    let before = group.partition_point(|key| prefix(key, path.len()) < *path);
    let until = group.partition_point(|key| prefix(key, path.len()) <= *path);
    range.start + before..range.start + until
}

struct Updater<'a, 't, S, F> {
    trie: &'t Trie<'a, S>,
    keys: &'t [B256],
    resolve: F,
    builder: Builder<'a, 't, S>,
    /// The stored nodes to visit.
    levels: Levels,
}

impl<S, F> Updater<'_, '_, S, F>
where
    S: NodeSource,
    F: FnMut(usize, Option<&[u8]>) -> Result<Option<Vec<u8>>, TrieError<S::Error>>,
{
    /// Updates the subtrie whose stored node, the next one at `level`, is at `path` with the
    /// changes of `keys[range]`, all of which start with `path`. `None` if nothing changes.
    fn update_stored(
        &mut self,
        level: usize,
        path: Nibbles,
        range: Range<usize>,
    ) -> Result<Option<Change>, TrieError<S::Error>> {
        let (raw, node) = self.levels[level].next().expect("read for the same keys");
        let mark = self.builder.out.len();
        // Removed, unless something is written here later.
        self.builder.push(path);
        let result = self.update_node(raw, node, Some(mark), level + 1, path, range)?;
        if result.is_none() {
            self.builder.out.truncate(mark);
        }
        Ok(result)
    }

    /// The same for the child that `item` of the node `raw` refers to. Stored nodes at or below
    /// the child are from `level` on.
    fn update_child(
        &mut self,
        raw: &Bytes,
        item: Range<usize>,
        level: usize,
        path: Nibbles,
        range: Range<usize>,
    ) -> Result<Option<Change>, TrieError<S::Error>> {
        if item_hash(&raw[item.clone()]).is_some() {
            return self.update_stored(level, path, range);
        }
        let raw = raw.slice(item);
        let node = self.trie.parse(&raw, &path)?;
        self.update_node(raw, node, None, level, path, range)
    }

    /// The same for a node; `place` is where it stands in the list of changes, if it was stored.
    fn update_node(
        &mut self,
        raw: Bytes,
        node: Node,
        place: Option<usize>,
        level: usize,
        path: Nibbles,
        range: Range<usize>,
    ) -> Result<Option<Change>, TrieError<S::Error>> {
        let result = match node {
            Node::Branch(branch) => self.update_branch(raw, branch, place, level, path, range),
            Node::Extension { path: below, child } => {
                self.update_extension(&raw, child, level, path, below, range)
            }
            Node::Leaf { key, value } => self.update_leaf(key, &raw[value], &path, range),
        }?;
        Ok(result.map(|built| Change { built, place }))
    }

    fn update_branch(
        &mut self,
        raw: Bytes,
        branch: Branch,
        place: Option<usize>,
        level: usize,
        path: Nibbles,
        range: Range<usize>,
    ) -> Result<Option<Built>, TrieError<S::Error>> {
        let base = self.builder.pending.len();
        let mut start = range.start;
        while start < range.end {
            let (next, end) = group(self.keys, start..range.end, path.len());
            let mut below = path;
            below.push(next);
            let result = match branch.child(&raw, next) {
                None => self.insert_absent(&below, start..end)?,
                Some(_) => self.update_child(&raw, branch.item(next), level, below, start..end)?,
            };
            self.builder.pending.extend(result.map(|change| Pending { nibble: next, change }));
            start = end;
        }
        if self.builder.pending.len() == base {
            return Ok(None);
        }
        self.builder.make_branch(path, base, raw, branch, place).map(Some)
    }

    fn update_extension(
        &mut self,
        raw: &Bytes,
        child: Range<usize>,
        level: usize,
        path: Nibbles,
        below: Nibbles,
        range: Range<usize>,
    ) -> Result<Option<Built>, TrieError<S::Error>> {
        let Range { start, end } = under(self.keys, range.clone(), &below);
        let mut entries = self.resolve_absent(range.start..start)?;
        entries.extend(self.resolve_absent(end..range.end)?);
        let mut result = None;
        if start < end {
            result = self.update_child(raw, child.clone(), level, below, start..end)?;
        }
        let existing = match result {
            None if entries.is_empty() => return Ok(None),
            None => {
                let link = Link::Known(Child::from_item(&raw[child]));
                Built::Branch { path: below, link }
            }
            Some(change) => change.built,
        };
        self.builder.insert(path.len(), existing, &mut entries).map(Some)
    }

    fn update_leaf(
        &mut self,
        key: B256,
        value: &[u8],
        path: &Nibbles,
        range: Range<usize>,
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
        self.builder.insert(path.len(), existing, &mut entries).map(Some)
    }

    fn resolve_absent(&mut self, range: Range<usize>) -> Result<Vec<Entry>, TrieError<S::Error>> {
        let mut entries = Vec::with_capacity(range.len());
        for i in range {
            entries.extend((self.resolve)(i, None)?.map(|value| (self.keys[i], value)));
        }
        Ok(entries)
    }

    fn insert_absent(
        &mut self,
        path: &Nibbles,
        range: Range<usize>,
    ) -> Result<Option<Change>, TrieError<S::Error>> {
        let mut entries = self.resolve_absent(range)?;
        if entries.is_empty() {
            return Ok(None);
        }
        let built = self.builder.insert(path.len(), Built::Empty, &mut entries)?;
        Ok(Some(Change { built, place: None }))
    }
}
