//! A machine as bytes, and back, for whoever keeps a long run across restarts.
//!
//! Layout: `"annexrv1" ‖ steps ‖ W_0 ‖ … ‖ W_11 ‖ count`, then for each page of memory that was ever
//! written, in order, `page number ‖ 4,096 bytes`. Numbers are big-endian: steps uint64, count and
//! page number uint32. `W_9`, the memory root, is checked.

use crate::Machine;
use crate::memory::{Memory, PAGE, PAGE_BITS};
use crate::state::{State, WORDS};
use alloy_primitives::B256;

const MAGIC: &[u8; 8] = b"annexrv1";

/// Why bytes are no snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    #[error("not a snapshot of this version")]
    Version,
    #[error("cut off, too long, or with impossible parts")]
    Malformed,
    #[error("larger than allowed")]
    TooLarge,
    #[error("its memory does not have the root that it says")]
    Root,
    #[error("it is of another commitment: stride or length differ")]
    Shape,
    #[error("its last leaf is not its machine's state")]
    Leaf,
}

/// Reads off the front of a slice.
pub(crate) struct Reader<'a>(pub &'a [u8]);

impl Reader<'_> {
    pub fn take<const N: usize>(&mut self) -> Result<[u8; N], SnapshotError> {
        let (head, rest) = self.0.split_first_chunk().ok_or(SnapshotError::Malformed)?;
        self.0 = rest;
        Ok(*head)
    }
}

impl Machine {
    /// Appends the machine to `bytes`.
    pub fn save(&mut self, bytes: &mut Vec<u8>) {
        let root = self.memory_root();
        let mut pages = self.memory.resident_pages().to_vec();
        pages.sort_unstable();
        bytes.reserve(MAGIC.len() + 8 + WORDS + 4 + pages.len() * (4 + PAGE));
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&self.steps.to_be_bytes());
        bytes.extend_from_slice(&self.state.words(root));
        bytes.extend_from_slice(&(pages.len() as u32).to_be_bytes());
        let mut content = [0; PAGE];
        for page in pages {
            self.memory.read(u64::from(page) << PAGE_BITS, &mut content);
            bytes.extend_from_slice(&page.to_be_bytes());
            bytes.extend_from_slice(&content);
        }
    }

    /// The machine that was saved, if its memory is at most `max_memory` bytes. Allocates no more
    /// than a small multiple of the bytes given.
    pub fn restore(bytes: &[u8], max_memory: u64) -> Result<Self, SnapshotError> {
        let mut reader = Reader(bytes);
        if &reader.take::<8>()? != MAGIC {
            return Err(SnapshotError::Version);
        }
        let steps = u64::from_be_bytes(reader.take()?);
        let words = reader.take::<WORDS>()?;
        let (state, root) = State::from_words(&words).ok_or(SnapshotError::Malformed)?;
        let count = u32::from_be_bytes(reader.take()?);
        if u64::from(count) * PAGE as u64 > max_memory {
            return Err(SnapshotError::TooLarge);
        }
        let mut memory = Memory::new();
        let mut next = 0;
        for _ in 0..count {
            let page = u32::from_be_bytes(reader.take()?);
            if page < next || page >> (32 - PAGE_BITS) != 0 {
                return Err(SnapshotError::Malformed);
            }
            memory.write(page << PAGE_BITS, &reader.take::<PAGE>()?);
            next = page + 1;
        }
        if !reader.0.is_empty() {
            return Err(SnapshotError::Malformed);
        }
        if B256::new(memory.root()) != root {
            return Err(SnapshotError::Root);
        }
        Ok(Self::from_parts(state, memory, steps))
    }
}
