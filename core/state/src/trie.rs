use alloy_primitives::{B256, Bytes};
use alloy_trie::Nibbles;

use crate::EMPTY_ROOT;
use crate::node::{Node, item_hash, nibble, parse};

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
    pub(crate) owner: Option<B256>,
    pub(crate) root: B256,
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

    /// Applies changes to the entries at `keys` (sorted, without duplicates) and returns the new
    /// root.
    ///
    /// `resolve(i, old)` is called once for each key, in no fixed order, with the value it has, and
    /// returns the value it shall have (not empty), or `None` to remove it. The nodes written and
    /// removed are appended to `out`, sorted by path.
    pub fn update<F>(
        &self,
        keys: &[B256],
        mut resolve: F,
        out: &mut Vec<NodeChange>,
    ) -> Result<B256, TrieError<S::Error>>
    where
        F: FnMut(usize, Option<&[u8]>) -> Result<Option<Vec<u8>>, TrieError<S::Error>>,
    {
        let (top, parts) = self.split(keys)?;
        let update = |part| self.update_part(part, keys, &mut resolve);
        let parts = parts.iter().map(update).collect::<Result<_, _>>()?;
        self.join(top, parts, out)
    }

    pub(crate) fn source(&self) -> &'a S {
        self.source
    }

    pub(crate) fn load(&self, path: &Nibbles, hash: B256) -> Result<Bytes, TrieError<S::Error>> {
        self.source.node(self.owner, path, hash).map_err(TrieError::Source)
    }

    pub(crate) fn parse(&self, raw: &[u8], path: &Nibbles) -> Result<Node, TrieError<S::Error>> {
        parse(raw, path).ok_or_else(|| self.malformed(path))
    }

    pub(crate) fn malformed(&self, path: &Nibbles) -> TrieError<S::Error> {
        TrieError::Malformed { owner: self.owner, path: *path }
    }
}
