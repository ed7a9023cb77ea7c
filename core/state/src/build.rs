//! Subtries under construction.

use alloy_primitives::{B256, Bytes};
use alloy_trie::Nibbles;

use crate::drafts::{Content, Drafts, Finished, Link};
use crate::node::{Branch, Child, EMPTY_CHILDREN, KEY_NIBBLES, Node, item_hash, nibble, prefix};
use crate::{EMPTY_ROOT, NodeChange, NodeSource, Trie, TrieError};

/// A subtrie under construction. Keys and paths are absolute, so that it can move up or down
/// without change until [`Builder::finish`] fixes where it starts.
pub(crate) enum Built {
    Empty,
    Leaf {
        key: B256,
        value: Vec<u8>,
    },
    /// The branch at `path`, drafted already, perhaps under an extension that is not.
    Branch {
        path: Nibbles,
        link: Link,
    },
}

/// What becomes of a node.
pub(crate) struct Change {
    pub built: Built,
    /// Where in the list of node changes the old node stands, if it was stored: what is written at
    /// its path goes there.
    pub place: Option<usize>,
}

impl Change {
    /// Replaces a reference to a draft by what became of it.
    pub(crate) fn resolve(&mut self, finished: &Finished) {
        if let Built::Branch { link, .. } = &mut self.built {
            *link = Link::Known(finished.child(*link));
        }
    }
}

/// A new child of a branch under construction.
pub(crate) struct Pending {
    pub nibble: u8,
    pub change: Change,
}

pub(crate) type Entry = (B256, Vec<u8>);

pub(crate) struct Builder<'a, 't, S> {
    trie: &'t Trie<'a, S>,
    pub out: &'t mut Vec<NodeChange>,
    /// New children of the branches under construction, the innermost one's last; each branch's
    /// by nibble.
    pub pending: Vec<Pending>,
    drafts: Drafts,
    /// Nibbles of a key that count.
    pub key_nibbles: fn(&B256) -> usize,
}

impl<'a, 't, S: NodeSource> Builder<'a, 't, S> {
    /// Appends to `out`.
    pub(crate) fn new(trie: &'t Trie<'a, S>, out: &'t mut Vec<NodeChange>) -> Self {
        let (pending, drafts) = (Vec::new(), Drafts::default());
        Self { trie, out, pending, drafts, key_nibbles: |_| KEY_NIBBLES }
    }

    pub(crate) fn push(&mut self, path: Nibbles) {
        self.out.push(NodeChange { owner: self.trie.owner, path, node: None });
    }

    fn draft(
        &mut self,
        content: Content,
        path: Nibbles,
        depth: usize,
        place: Option<usize>,
    ) -> Link {
        let at = place.unwrap_or(self.out.len());
        if place.is_none() {
            self.push(path);
        }
        self.drafts.push(content, depth, at, place.is_none())
    }

    /// Encodes everything drafted.
    pub(crate) fn finish_drafts(self) -> Finished {
        self.drafts.finish(self.out)
    }

    /// Encodes what stands at the root, too, and returns its hash.
    pub(crate) fn finish_root(mut self, change: Change) -> B256 {
        match self.finish(Nibbles::new(), change) {
            None => EMPTY_ROOT,
            Some(link) => {
                let child = self.finish_drafts().child(link);
                child.hash().expect("a root is hashed however short it is")
            }
        }
    }

    /// Adds sorted entries to a subtrie that starts at `depth`. None of them is in it, nor below
    /// its branch.
    pub(crate) fn insert(
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
            return Err(self.trie.malformed(&path));
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
        self.make_branch(path, base, Bytes::from_static(&EMPTY_CHILDREN), Branch::EMPTY, None)
    }

    fn await_child(&mut self, nibble: u8, built: Option<Built>) {
        let change = built.map(|built| Change { built, place: None });
        self.pending.extend(change.map(|change| Pending { nibble, change }));
    }

    /// The branch at `path` with the children of `old` (in `raw`), those pending from `base` in
    /// place of its own; or what is left when fewer than two remain.
    pub(crate) fn make_branch(
        &mut self,
        path: Nibbles,
        base: usize,
        raw: Bytes,
        old: Branch,
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
                    self.collapse(path, kept.trailing_zeros() as u8, &raw, &old)
                }
            };
        }
        let mut links = [(0, None); 16];
        let count = self.pending.len() - base;
        for (i, slot) in (base..).zip(&mut links[..count]) {
            let Pending { nibble, change } = &mut self.pending[i];
            let (nibble, place) = (*nibble, change.place);
            let built = core::mem::replace(&mut change.built, Built::Empty);
            let mut below = path;
            below.push(nibble);
            *slot = (nibble, self.finish(below, Change { built, place }));
        }
        self.pending.truncate(base);
        let children = self.drafts.children(links[..count].iter().copied());
        let content = Content::Branch { raw, old, children };
        let link = self.draft(content, path, path.len(), place);
        Ok(Built::Branch { path, link })
    }

    /// The subtrie of a branch's only remaining child, which was not changed: a leaf or extension
    /// takes up the branch's nibble, a branch gets an extension.
    fn collapse(
        &mut self,
        mut path: Nibbles,
        next: u8,
        raw: &Bytes,
        branch: &Branch,
    ) -> Result<Built, TrieError<S::Error>> {
        path.push(next);
        let item = branch.item(next);
        let hash = item_hash(&raw[item.clone()]);
        let node = match hash {
            Some(hash) => self.trie.load(&path, hash)?,
            None => raw.slice(item.clone()),
        };
        let known = |item: &[u8]| Link::Known(Child::from_item(item));
        let built = match self.trie.parse(&node, &path)? {
            Node::Branch(_) => return Ok(Built::Branch { path, link: known(&raw[item]) }),
            Node::Leaf { key, value } => Built::Leaf { key, value: node[value].to_vec() },
            Node::Extension { path: below, child } => {
                Built::Branch { path: below, link: known(&node[child]) }
            }
        };
        if hash.is_some() {
            self.push(path);
        }
        Ok(built)
    }

    /// Drafts the subtrie that starts at `path`; returns what its parent holds.
    fn finish(&mut self, path: Nibbles, change: Change) -> Option<Link> {
        let content = match change.built {
            Built::Empty => return None,
            Built::Branch { path: at, link } if at.len() == path.len() => return Some(link),
            Built::Branch { path: to, link: child } => Content::Extension { to, child },
            Built::Leaf { key, value } => {
                Content::Leaf { key, end: (self.key_nibbles)(&key), value }
            }
        };
        Some(self.draft(content, path, path.len(), change.place))
    }
}

/// Sorts the changes from `start` by path. Of several at one path the last stands.
pub(crate) fn sort_changes(changes: &mut Vec<NodeChange>, start: usize) {
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
