//! A witness put together from the pages in which a node serves it.

use super::VerifyError;
use crate::{ExecutionWitness, WitnessPage};
use alloy_primitives::Bytes;

/// Bytes of the largest witness that is read. 30,000,000 gas reach 11,500 codes of 24 KiB, 284 MB.
pub const MAX_WITNESS: usize = 512 << 20;

/// What was read so far.
#[derive(Clone, Debug, Default)]
pub struct WitnessPages {
    witness: ExecutionWitness,
    entries: u64,
    bytes: usize,
}

impl WitnessPages {
    /// Number of the entry at which the next page begins.
    pub fn next(&self) -> u64 {
        self.entries
    }

    /// Takes the page that begins there; whether it was the last one.
    pub fn add(&mut self, page: WitnessPage) -> Result<bool, VerifyError> {
        let WitnessPage { state, codes, headers, next } = page;
        let from = self.entries;
        let entries = (state.len() + codes.len() + headers.len()) as u64;
        if let Some(next) = next.map(|next| next.to::<u64>())
            && (entries == 0 || next != from + entries)
        {
            return Err(VerifyError::Page { from, entries, next });
        }
        let size = |list: &[Bytes]| list.iter().map(|entry| entry.len()).sum::<usize>();
        self.entries += entries;
        self.bytes += size(&state) + size(&codes) + size(&headers);
        // Every entry takes room, an empty one, too.
        if self.bytes.saturating_add(32 * self.entries as usize) > MAX_WITNESS {
            return Err(VerifyError::WitnessTooLarge);
        }
        self.witness.state.extend(state);
        self.witness.codes.extend(codes);
        self.witness.headers.extend(headers);
        Ok(next.is_none())
    }

    /// The witness, without the keys, which nothing is checked with.
    pub fn finish(self) -> ExecutionWitness {
        self.witness
    }
}
