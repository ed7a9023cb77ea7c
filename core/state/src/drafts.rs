//! Nodes that an update decided on, encoded and hashed together once it is done.

use std::cmp::Reverse;
use std::ops::Range;

use alloy_primitives::{B256, Bytes};
use alloy_trie::Nibbles;

use crate::NodeChange;
use crate::keccak::keccak256_all;
use crate::node::{
    Branch, Child, EMPTY_CHILDREN, encode_branch, encode_extension, encode_leaf, patch_branch,
};

/// A reference to a child, which may still have to be computed.
#[derive(Clone, Copy)]
pub(crate) enum Link {
    Known(Child),
    /// Index of the draft.
    Draft(u32),
}

/// A node to be encoded.
pub(crate) enum Content {
    /// `raw` and `old` are the branch that was there before, or none.
    Branch { raw: Bytes, old: Branch, children: Children },
    /// `to` is the absolute path of the child.
    Extension { to: Nibbles, child: Link },
    /// `end` is the length of the key in nibbles.
    Leaf { key: B256, end: usize, value: Vec<u8> },
}

/// The children of a branch that are not as they were: by nibble, in [`Drafts`].
pub(crate) struct Children(Range<u32>);

struct Draft {
    content: Content,
    /// Nibbles above the node.
    depth: u8,
    /// Where the node goes in the list of changes.
    place: u32,
    /// Nothing was stored there before.
    new: bool,
}

#[derive(Default)]
pub(crate) struct Drafts {
    drafts: Vec<Draft>,
    children: Vec<(u8, Option<Link>)>,
}

/// What became of the drafts.
pub(crate) struct Finished {
    children: Vec<Child>,
}

impl Finished {
    pub(crate) fn child(&self, link: Link) -> Child {
        match link {
            Link::Known(child) => child,
            Link::Draft(index) => self.children[index as usize],
        }
    }
}

impl Drafts {
    /// Takes the changed children of a branch (`None`: no child now), sorted by nibble.
    pub(crate) fn children(
        &mut self,
        children: impl IntoIterator<Item = (u8, Option<Link>)>,
    ) -> Children {
        let start = self.children.len() as u32;
        self.children.extend(children);
        Children(start..self.children.len() as u32)
    }

    /// Adds the node `depth` nibbles below the root, whose children are added already. It goes to
    /// `place` in the list of changes; `new` if nothing was stored there.
    pub(crate) fn push(&mut self, content: Content, depth: usize, place: usize, new: bool) -> Link {
        let (depth, place) = (depth as u8, place as u32);
        self.drafts.push(Draft { content, depth, place, new });
        Link::Draft(self.drafts.len() as u32 - 1)
    }

    /// Encodes all nodes, the deepest ones first, and puts into `changes` those that are stored
    /// on their own: of 32 bytes or more, and the root.
    pub(crate) fn finish(mut self, changes: &mut Vec<NodeChange>) -> Finished {
        let drafts = core::mem::take(&mut self.drafts);
        let mut order: Vec<u32> = (0..drafts.len() as u32).collect();
        let depth = |index: &u32| drafts[*index as usize].depth;
        order.sort_by_key(|index| Reverse(depth(index)));
        let unknown = Child::from_item(&EMPTY_CHILDREN[..1]);
        let mut finished = Finished { children: vec![unknown; drafts.len()] };
        let (mut nodes, mut indices) = (Vec::new(), Vec::new());
        let mut embedded = Vec::new();
        for level in order.chunk_by(|a, b| depth(a) == depth(b)) {
            for index in level {
                let draft = &drafts[*index as usize];
                let rlp = self.encode(draft, &finished);
                if rlp.len() >= 32 || draft.depth == 0 {
                    nodes.push(rlp);
                    indices.push(*index as usize);
                    continue;
                }
                finished.children[*index as usize] = Child::from_item(&rlp);
                embedded.extend(draft.new.then_some(draft.place as usize));
            }
            let hashes = keccak256_all(&nodes);
            for ((index, rlp), hash) in indices.drain(..).zip(nodes.drain(..)).zip(hashes) {
                finished.children[index] = Child::of_hash(hash);
                changes[drafts[index].place as usize].node = Some(rlp.into());
            }
        }
        if !embedded.is_empty() {
            embedded.sort_unstable();
            let mut embedded = embedded.into_iter().peekable();
            let mut place = 0..changes.len();
            changes.retain(|_| place.next().is_none_or(|at| embedded.next_if_eq(&at).is_none()));
        }
        finished
    }

    fn encode(&self, draft: &Draft, finished: &Finished) -> Vec<u8> {
        let depth = draft.depth as usize;
        match &draft.content {
            Content::Leaf { key, end, value } => encode_leaf(key, depth..*end, value),
            Content::Extension { to, child } => {
                encode_extension(to, depth, &finished.child(*child))
            }
            Content::Branch { raw, old, children } => {
                let range = children.0.start as usize..children.0.end as usize;
                let child = |(nibble, link): &(u8, Option<Link>)| {
                    (*nibble, link.map(|link| finished.child(link)))
                };
                let children = self.children[range].iter().map(child);
                patch_branch(raw, old, children.clone())
                    .unwrap_or_else(|| encode_branch(raw, old, children))
            }
        }
    }
}
