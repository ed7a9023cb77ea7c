//! RLP of trie nodes (Yellow Paper, appendix D), read in place.

use std::ops::Range;

use alloy_primitives::B256;
use alloy_trie::Nibbles;

/// Nibbles in a key: keys are Keccak hashes.
pub(crate) const KEY_NIBBLES: usize = 64;

const EMPTY_STRING: u8 = 0x80;
const HASH_ITEM: u8 = 0xa0;

/// A reference to a child as it stands in its parent: `0xa0 ‖ hash`, or the child itself if its
/// RLP is shorter than 32 bytes.
#[derive(Clone, Copy)]
pub(crate) struct Child {
    len: u8,
    item: [u8; 33],
}

impl Child {
    pub(crate) fn of_hash(hash: B256) -> Self {
        let mut item = [HASH_ITEM; 33];
        item[1..].copy_from_slice(hash.as_slice());
        Self { len: 33, item }
    }

    /// `item` is at most 33 bytes: parsing sees to it, and that shorter nodes only are embedded.
    pub(crate) fn from_item(bytes: &[u8]) -> Self {
        let mut item = [0; 33];
        item[..bytes.len()].copy_from_slice(bytes);
        Self { len: bytes.len() as u8, item }
    }

    pub(crate) fn item(&self) -> &[u8] {
        &self.item[..self.len as usize]
    }

    /// The hash, unless the child is embedded.
    pub(crate) fn hash(&self) -> Option<B256> {
        item_hash(self.item())
    }
}

/// The hash in a child's item, unless the child is embedded.
pub(crate) fn item_hash(item: &[u8]) -> Option<B256> {
    (item.len() == 33).then(|| B256::from_slice(&item[1..]))
}

/// Byte ranges of a branch's sixteen children.
pub(crate) struct Branch {
    starts: [u16; 17],
    /// Bit `n` is set if there is a child at nibble `n`.
    children: u16,
}

/// The items of a branch without children, as [`Branch::EMPTY`] finds them.
pub(crate) const EMPTY_CHILDREN: [u8; 16] = [EMPTY_STRING; 16];

impl Branch {
    /// No children, in [`EMPTY_CHILDREN`].
    pub(crate) const EMPTY: Self =
        Self { starts: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16], children: 0 };

    pub(crate) fn item(&self, nibble: u8) -> Range<usize> {
        self.items(nibble, nibble + 1)
    }

    /// The items from nibble `from` until nibble `to` (at most 16).
    pub(crate) fn items(&self, from: u8, to: u8) -> Range<usize> {
        self.starts[from as usize] as usize..self.starts[to as usize] as usize
    }

    /// Bit `n` is set if there is a child at nibble `n`.
    pub(crate) fn children(&self) -> u16 {
        self.children
    }

    /// The child's item, `None` if there is no child.
    pub(crate) fn child<'a>(&self, raw: &'a [u8], nibble: u8) -> Option<&'a [u8]> {
        (self.children >> nibble & 1 == 1).then(|| &raw[self.item(nibble)])
    }
}

/// A node read in place: ranges point into the bytes it was parsed from.
pub(crate) enum Node {
    Branch(Branch),
    /// `path` is the absolute path of the child.
    Extension {
        path: Nibbles,
        child: Range<usize>,
    },
    /// `key` is the whole key.
    Leaf {
        key: B256,
        value: Range<usize>,
    },
}

/// Parses the node at `path`. `None` for anything but a well-formed node that fits there.
pub(crate) fn parse(raw: &[u8], path: &Nibbles) -> Option<Node> {
    let (header, total, list) = item_bounds(raw)?;
    if !list || total != raw.len() || total > u16::MAX as usize {
        return None;
    }
    // Either rejects the other's nodes at the first or second item.
    let branch = parse_branch(raw, header, path).map(Node::Branch);
    branch.or_else(|| parse_short(raw, header, path))
}

fn parse_branch(raw: &[u8], header: usize, path: &Nibbles) -> Option<Branch> {
    let mut branch = Branch { starts: [0; 17], children: 0 };
    let mut at = header;
    for n in 0..16 {
        branch.starts[n] = at as u16;
        let rest = &raw[at..];
        let len = match *rest.first()? {
            EMPTY_STRING => 1,
            HASH_ITEM if rest.len() >= 33 => 33,
            _ => item_bounds(rest).map(|(_, len, _)| len).filter(|len| is_child(&rest[..*len]))?,
        };
        branch.children |= u16::from(len > 1 || rest[0] != EMPTY_STRING) << n;
        at += len;
    }
    branch.starts[16] = at as u16;
    // Keys have one length, so a branch holds no value.
    (path.len() < KEY_NIBBLES && raw[at..] == [EMPTY_STRING]).then_some(branch)
}

fn is_child(item: &[u8]) -> bool {
    match item.first() {
        Some(&HASH_ITEM) => item.len() == 33,
        Some(&first) => first >= 0xc0 && item.len() < 32,
        None => false,
    }
}

fn parse_short(raw: &[u8], start: usize, path: &Nibbles) -> Option<Node> {
    let (header, len, list) = item_bounds(&raw[start..])?;
    let key = start..start + len;
    let (second_header, len, second_list) = item_bounds(&raw[key.end..])?;
    let second = key.end..key.end + len;
    if second.end != raw.len() {
        return None;
    }
    let compact = &raw[key.start + header..key.end];
    let (&flags, rest) = compact.split_first()?;
    let odd = flags & 0x10 != 0;
    let length = path.len() + rest.len() * 2 + usize::from(odd);
    if list || flags > 0x3f || (!odd && flags & 0x0f != 0) || length > KEY_NIBBLES {
        return None;
    }
    let mut full = *path;
    if odd {
        full.push(flags & 0x0f);
    }
    if flags & 0x20 == 0 {
        full.extend(&Nibbles::unpack(rest));
        // An extension is not empty, and leaves a nibble for the branch below it.
        let fits = full.len() > path.len() && full.len() < KEY_NIBBLES;
        return (fits && is_child(&raw[second.clone()]))
            .then_some(Node::Extension { path: full, child: second });
    }
    let value = second.start + second_header..second.end;
    if second_list || length != KEY_NIBBLES || value.is_empty() {
        return None;
    }
    // The rest is whole bytes, so what comes before it is, too.
    let mut key = B256::ZERO;
    let (before, after) = key.split_at_mut(KEY_NIBBLES / 2 - rest.len());
    full.pack_to(before);
    after.copy_from_slice(rest);
    Some(Node::Leaf { key, value })
}

/// Length of an item's header, of the whole item, and whether it is a list. Lengths are checked
/// against `bytes` and to be in shortest form.
fn item_bounds(bytes: &[u8]) -> Option<(usize, usize, bool)> {
    let first = *bytes.first()?;
    let list = first >= 0xc0;
    let (header, payload) = match first {
        0..0x80 => return Some((0, 1, false)),
        0x80..=0xb7 => (1, (first - 0x80) as usize),
        0xc0..=0xf7 => (1, (first - 0xc0) as usize),
        _ => {
            let width = (first - if list { 0xf7 } else { 0xb7 }) as usize;
            let digits = bytes.get(1..1 + width)?;
            // No node comes near four bytes of length.
            if width > 4 || digits[0] == 0 {
                return None;
            }
            let payload = digits.iter().fold(0_usize, |n, &b| n << 8 | b as usize);
            if payload < 56 {
                return None;
            }
            (1 + width, payload)
        }
    };
    let total = header.checked_add(payload)?;
    let canonical = first != 0x81 || *bytes.get(1)? >= 0x80;
    (canonical && total <= bytes.len()).then_some((header, total, list))
}

/// Appends the RLP header of a string or list of `payload` bytes: a receipt may be megabytes long.
fn push_header(out: &mut Vec<u8>, base: u8, payload: usize) {
    if payload < 56 {
        return out.push(base + payload as u8);
    }
    let bytes = payload.to_be_bytes();
    let width = header_len(payload) - 1;
    out.push(base + 55 + width as u8);
    out.extend_from_slice(&bytes[bytes.len() - width..]);
}

fn header_len(payload: usize) -> usize {
    if payload < 56 { 1 } else { 1 + (payload.ilog2() / 8 + 1) as usize }
}

/// Hex-prefix encoding of the nibbles of `key` in `range` into `out`; returns its length.
fn compact(key: &B256, range: Range<usize>, leaf: bool, out: &mut [u8; 33]) -> usize {
    let flag = if leaf { 0x20 } else { 0 };
    let (mut at, end) = (range.start, range.end);
    if (end - at) % 2 == 1 {
        out[0] = flag | 0x10 | nibble(key, at);
        at += 1;
    } else {
        out[0] = flag;
    }
    let mut len = 1;
    while at < end {
        out[len] = nibble(key, at) << 4 | nibble(key, at + 1);
        len += 1;
        at += 2;
    }
    len
}

/// The RLP of `[compact(key nibbles in range), second]`. `string` wraps `second` as an RLP string
/// (a leaf's value); otherwise it is an item already.
fn encode_short(key: &B256, range: Range<usize>, second: &[u8], string: bool) -> Vec<u8> {
    let mut buffer = [0; 33];
    let key_len = compact(key, range, string, &mut buffer);
    let path = &buffer[..key_len];
    let bare = |s: &[u8]| s.len() == 1 && s[0] < 0x80;
    let string_len = |s: &[u8]| s.len() + if bare(s) { 0 } else { header_len(s.len()) };
    let second_len = if string { string_len(second) } else { second.len() };
    let payload = string_len(path) + second_len;
    let mut out = Vec::with_capacity(header_len(payload) + payload);
    push_header(&mut out, 0xc0, payload);
    if !bare(path) {
        push_header(&mut out, 0x80, path.len());
    }
    out.extend_from_slice(path);
    if string && !bare(second) {
        push_header(&mut out, 0x80, second.len());
    }
    out.extend_from_slice(second);
    out
}

/// RLP of a leaf whose remaining key is the nibbles of `key` in `range`.
pub(crate) fn encode_leaf(key: &B256, range: Range<usize>, value: &[u8]) -> Vec<u8> {
    encode_short(key, range, value, true)
}

/// RLP of an extension from nibble `depth` to the branch at `path`.
pub(crate) fn encode_extension(path: &Nibbles, depth: usize, child: &Child) -> Vec<u8> {
    let mut key = B256::ZERO;
    let (whole, len) = (path.len(), path.len().div_ceil(2));
    path.pack_to(&mut key.as_mut_slice()[..len]);
    encode_short(&key, depth..whole, child.item(), false)
}

/// RLP of the branch `old` in `raw` with these children (`None`: no child) in place of its own,
/// if none of them is longer or shorter than what it replaces.
pub(crate) fn patch_branch(
    raw: &[u8],
    old: &Branch,
    children: impl Iterator<Item = (u8, Option<Child>)> + Clone,
) -> Option<Vec<u8>> {
    let fits = |(nibble, child): (u8, Option<Child>)| {
        child.is_some_and(|child| child.item().len() == old.item(nibble).len())
    };
    if !children.clone().all(fits) {
        return None;
    }
    let mut rlp = raw.to_vec();
    for (nibble, child) in children {
        if let Some(child) = child {
            rlp[old.item(nibble)].copy_from_slice(child.item());
        }
    }
    Some(rlp)
}

/// RLP of the branch `old` in `raw` with these children (`None`: no child), sorted by nibble, in
/// place of its own.
pub(crate) fn encode_branch(
    raw: &[u8],
    old: &Branch,
    children: impl Iterator<Item = (u8, Option<Child>)> + Clone,
) -> Vec<u8> {
    let len = |child: Option<Child>| child.map_or(1, |child| child.item().len());
    let payload = children.clone().fold(old.items(0, 16).len() + 1, |all, (nibble, child)| {
        all - old.item(nibble).len() + len(child)
    });
    let mut rlp = Vec::with_capacity(header_len(payload) + payload);
    push_header(&mut rlp, 0xc0, payload);
    let mut next = 0;
    for (nibble, child) in children {
        rlp.extend_from_slice(&raw[old.items(next, nibble)]);
        match child {
            Some(child) => rlp.extend_from_slice(child.item()),
            None => rlp.push(EMPTY_STRING),
        }
        next = nibble + 1;
    }
    rlp.extend_from_slice(&raw[old.items(next, 16)]);
    rlp.push(EMPTY_STRING);
    rlp
}

/// Nibble `index` (below 64) of a key.
pub(crate) fn nibble(key: &B256, index: usize) -> u8 {
    let byte = key[index / 2];
    if index.is_multiple_of(2) { byte >> 4 } else { byte & 0x0f }
}

/// The first `len` nibbles of a key.
pub(crate) fn prefix(key: &B256, len: usize) -> Nibbles {
    Nibbles::unpack_array(&key.0).slice(..len)
}
