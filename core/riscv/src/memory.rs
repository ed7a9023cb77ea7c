//! Memory of the fast face: 2^32 bytes in lazily allocated segments, with the Merkle tree over
//! them kept up to date by rehashing only what changed.
//!
//! A segment is one allocation of zeroes, of which the operating system backs only what is
//! touched. Each page has a flag byte, so that a store checks one thing: whether the page needs
//! attention (first store since the last hash, or code decoded from it).

use std::convert::Infallible;

use alloy_primitives::keccak256;

use crate::execute::Bus;
use crate::tree::{self, Node};

/// 1 MiB, 4,096 of them.
pub(crate) const SEGMENT_BITS: u32 = 20;
pub(crate) const SEGMENT: usize = 1 << SEGMENT_BITS;
pub(crate) const SEGMENTS: usize = 1 << (32 - SEGMENT_BITS);
/// 4 KiB.
pub(crate) const PAGE_BITS: u32 = 12;
pub(crate) const PAGE: usize = 1 << PAGE_BITS;
const PAGES: usize = 1 << (32 - PAGE_BITS);
/// A leaf of the tree, bytes.
pub(crate) const CHUNK: usize = 32;
const SEGMENT_CHUNKS: usize = SEGMENT / CHUNK;
const PAGE_CHUNKS: usize = PAGE / CHUNK;
/// Levels of the tree: chunks are level 0, the root is level 27.
pub(crate) const DEPTH: usize = 27;
/// The level of a segment's root.
const SEGMENT_LEVEL: usize = (SEGMENT_BITS - CHUNK.trailing_zeros()) as usize;

/// The page was stored to at least once.
const RESIDENT: u8 = 1;
/// The page is on the list of pages to hash.
const LISTED: u8 = 2;
/// Instructions were decoded from the page.
const CODE: u8 = 4;
/// Stores to such a page need nothing but the chunk's mark.
const PLAIN: u8 = RESIDENT | LISTED;

/// A large array of zeroes that costs nothing until it is touched.
pub(crate) fn zeroes<T: Clone, const N: usize>(zero: T) -> Box<[T; N]> {
    let slice = vec![zero; N].into_boxed_slice();
    slice.try_into().unwrap_or_else(|_| unreachable!("the slice has N elements"))
}

/// A table of segments, none of which exists.
pub(crate) fn nothing<T>() -> Box<[Option<T>; SEGMENTS]> {
    let slice: Box<[_]> = (0..SEGMENTS).map(|_| None).collect();
    slice.try_into().unwrap_or_else(|_| unreachable!("the slice has as many elements"))
}

struct Segment {
    data: Box<[u8; SEGMENT]>,
    /// Which chunks were stored to since the last hash: 0 or 1 each.
    changed: Box<[u8; SEGMENT_CHUNKS]>,
    /// The tree's inner nodes as a heap: 1 is the segment's root, the children of `k` are `2k` and
    /// `2k + 1`, and those of the last level are chunks. Zero stands for a subtree of zeroes.
    nodes: Box<[Node; SEGMENT_CHUNKS]>,
}

impl Segment {
    fn new() -> Self {
        Self { data: zeroes(0), changed: zeroes(0), nodes: zeroes([0; 32]) }
    }
}

pub(crate) struct Memory {
    segments: Box<[Option<Segment>; SEGMENTS]>,
    flags: Box<[u8; PAGES]>,
    listed: Vec<u32>,
    resident: Vec<u32>,
    /// The tree above the segments, a heap as in them; its last level's children are their roots.
    top: Box<[Node; SEGMENTS]>,
    /// The hash of a subtree of zeroes, by level.
    zero: [Node; DEPTH + 1],
    /// Where a store last touched a page with decoded instructions.
    stale: Option<(u32, usize)>,
}

impl Memory {
    pub fn new() -> Self {
        Self {
            segments: nothing(),
            flags: zeroes(0),
            listed: Vec::new(),
            resident: Vec::new(),
            top: zeroes([0; 32]),
            zero: tree::zero_hashes(),
            stale: None,
        }
    }

    /// Pages that were stored to, in the order in which that first happened.
    pub fn resident_pages(&self) -> &[u32] {
        &self.resident
    }

    /// Copies memory from `address` on; it ends at 2^32, and the number of bytes copied says so.
    pub fn read(&self, address: u64, bytes: &mut [u8]) -> usize {
        let mut done = 0;
        while done < bytes.len() {
            let Ok(at) = u32::try_from(address.saturating_add(done as u64)) else { break };
            let offset = at as usize % SEGMENT;
            let length = (SEGMENT - offset).min(bytes.len() - done);
            let into = &mut bytes[done..done + length];
            match &self.segments[(at >> SEGMENT_BITS) as usize] {
                Some(segment) => into.copy_from_slice(&segment.data[offset..offset + length]),
                None => into.fill(0),
            }
            done += length;
        }
        done
    }

    /// Writes within one page.
    pub fn write(&mut self, address: u32, bytes: &[u8]) {
        let offset = address as usize % SEGMENT;
        debug_assert!(address as usize % PAGE + bytes.len() <= PAGE);
        if bytes.is_empty() {
            return;
        }
        self.attend(address, bytes.len());
        let segment = self.segment(address);
        segment.data[offset..offset + bytes.len()].copy_from_slice(bytes);
        segment.changed[offset / CHUNK..=(offset + bytes.len() - 1) / CHUNK].fill(1);
    }

    fn segment(&mut self, address: u32) -> &mut Segment {
        self.segments[(address >> SEGMENT_BITS) as usize].get_or_insert_with(Segment::new)
    }

    /// Before a store to a page that is not plain. True if instructions were decoded from it.
    #[cold]
    fn attend(&mut self, address: u32, length: usize) -> bool {
        let page = address >> PAGE_BITS;
        let flags = &mut self.flags[page as usize];
        if *flags & RESIDENT == 0 {
            self.resident.push(page);
        }
        if *flags & LISTED == 0 {
            self.listed.push(page);
        }
        *flags |= PLAIN;
        let stale = *flags & CODE != 0;
        if stale {
            self.stale = Some((address, length));
        }
        stale
    }

    /// From now on, stores to this address's page are reported.
    pub fn mark_code(&mut self, address: u32) {
        self.flags[(address >> PAGE_BITS) as usize] |= CODE;
    }

    /// Address and length of a store to decoded code, once.
    pub fn take_stale(&mut self) -> Option<(u32, usize)> {
        self.stale.take()
    }

    #[cold]
    fn store_slowly<const N: usize>(&mut self, address: u32, bytes: [u8; N]) -> bool {
        let stale = self.attend(address, N);
        let offset = address as usize % SEGMENT;
        let segment = self.segment(address);
        segment.data[offset..offset + N].copy_from_slice(&bytes);
        segment.changed[offset / CHUNK] = 1;
        stale
    }

    /// The Merkle root, after hashing what changed since the last call.
    pub fn root(&mut self) -> Node {
        self.rehash();
        self.node(DEPTH, 0)
    }

    /// The chunk that holds `address` and its 27 siblings from the leaf's up. The tree must be
    /// up to date.
    pub fn path(&self, address: u32) -> [Node; DEPTH + 1] {
        debug_assert!(self.listed.is_empty());
        let chunk = address as usize / CHUNK;
        let mut path = [[0; 32]; DEPTH + 1];
        path[0] = self.node(0, chunk);
        for (level, sibling) in path[1..].iter_mut().enumerate() {
            *sibling = self.node(level, (chunk >> level) ^ 1);
        }
        path
    }

    /// Node `index` of a level, from the left.
    fn node(&self, level: usize, index: usize) -> Node {
        let stored = if level > SEGMENT_LEVEL {
            self.top[(1 << (DEPTH - level)) + index]
        } else {
            let bits = SEGMENT_LEVEL - level;
            let Some(segment) = &self.segments[index >> bits] else { return self.zero[level] };
            let within = index & ((1 << bits) - 1);
            if level == 0 {
                let at = within * CHUNK;
                let mut chunk = [0; CHUNK];
                chunk.copy_from_slice(&segment.data[at..at + CHUNK]);
                return chunk;
            }
            segment.nodes[(1 << bits) + within]
        };
        if stored == [0; 32] { self.zero[level] } else { stored }
    }

    fn set_node(&mut self, level: usize, index: usize, node: Node) {
        if level > SEGMENT_LEVEL {
            self.top[(1 << (DEPTH - level)) + index] = node;
            return;
        }
        let bits = SEGMENT_LEVEL - level;
        let segment = self.segments[index >> bits].get_or_insert_with(Segment::new);
        segment.nodes[(1 << bits) + (index & ((1 << bits) - 1))] = node;
    }

    fn rehash(&mut self) {
        let mut indices = self.take_changed();
        let mut pairs = Vec::new();
        for level in 1..=DEPTH {
            for group in indices.chunks(tree::GROUP) {
                let pair = |index: u32| self.children(level, index as usize);
                if let [index] = *group {
                    self.set_node(level, index as usize, keccak256(pair(index)).0);
                    continue;
                }
                pairs.clear();
                pairs.extend(group.iter().map(|index| pair(*index)));
                for (index, node) in group.iter().zip(tree::hash_pairs(&pairs)) {
                    self.set_node(level, *index as usize, node);
                }
            }
            indices.iter_mut().for_each(|index| *index >>= 1);
            indices.dedup();
        }
    }

    fn children(&self, level: usize, index: usize) -> tree::Pair {
        tree::pair(&self.node(level - 1, 2 * index), &self.node(level - 1, 2 * index + 1))
    }

    /// The nodes of level 1 above chunks that changed, in order; they count as unchanged then.
    fn take_changed(&mut self) -> Vec<u32> {
        let mut pages = std::mem::take(&mut self.listed);
        pages.sort_unstable();
        let mut indices = Vec::new();
        for page in &pages {
            self.flags[*page as usize] &= !LISTED;
            let first = *page as usize * PAGE_CHUNKS;
            let Some(segment) = &mut self.segments[first / SEGMENT_CHUNKS] else { continue };
            let from = first % SEGMENT_CHUNKS;
            let marks = &mut segment.changed[from..from + PAGE_CHUNKS];
            let parents = (first / 2) as u32..;
            for (marks, parent) in marks.as_chunks_mut::<2>().0.iter_mut().zip(parents) {
                if *marks != [0; 2] {
                    *marks = [0; 2];
                    indices.push(parent);
                }
            }
        }
        pages.clear();
        self.listed = pages;
        indices
    }
}

impl Bus for Memory {
    type Error = Infallible;

    #[inline(always)]
    fn load<const N: usize>(&mut self, address: u32) -> Result<[u8; N], Infallible> {
        let Some(segment) = &self.segments[(address >> SEGMENT_BITS) as usize] else {
            return Ok([0; N]);
        };
        // The address is aligned; saying so spares a check of bounds.
        let offset = address as usize & (SEGMENT - N);
        let mut bytes = [0; N];
        bytes.copy_from_slice(&segment.data[offset..offset + N]);
        Ok(bytes)
    }

    #[inline(always)]
    fn store<const N: usize>(&mut self, address: u32, bytes: [u8; N]) -> Result<bool, Infallible> {
        if self.flags[(address >> PAGE_BITS) as usize] != PLAIN {
            return Ok(self.store_slowly(address, bytes));
        }
        let Some(segment) = &mut self.segments[(address >> SEGMENT_BITS) as usize] else {
            return Ok(self.store_slowly(address, bytes));
        };
        let offset = address as usize & (SEGMENT - N);
        segment.data[offset..offset + N].copy_from_slice(&bytes);
        segment.changed[offset / CHUNK] = 1;
        Ok(false)
    }
}
