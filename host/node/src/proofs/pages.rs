//! Witnesses in pages: a block that reads a thousand large contracts has one that no single answer may hold.

use super::{ExecutionWitness, ProofError};
use alloy_primitives::{Bytes, U64};
use serde::{Deserialize, Serialize};

/// Bytes of the entries of a page; in JSON they are twice as many.
pub(super) const PAGE_BYTES: usize = 8 << 20;
/// Bytes of JSON that an answer has room for, in 64 MiB (spec/rpc.md, "Limits").
pub(super) const ANSWER_BYTES: usize = (64 << 20) - 1024;

/// `annex_executionWitness`: entries of a witness, the first one being that which was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WitnessPage {
    /// Trie nodes.
    pub state: Vec<Bytes>,
    pub codes: Vec<Bytes>,
    /// The parent's header, RLP.
    pub headers: Vec<Bytes>,
    /// Number of the entry at which the next page begins; none after the last one.
    pub next: Option<U64>,
}

/// The page that begins with entry `from`: as many as fit into `limit` bytes, but one at least.
pub(super) fn page(
    witness: &ExecutionWitness,
    from: u64,
    limit: usize,
) -> Result<WitnessPage, ProofError> {
    let ExecutionWitness { state, codes, headers, .. } = witness;
    let all = state.iter().chain(codes).chain(headers);
    let total = state.len() + codes.len() + headers.len();
    let first = usize::try_from(from).ok().filter(|first| *first < total);
    let first = first.ok_or(ProofError::NoEntry(from))?;
    let mut bytes = 0usize;
    let fits = |entry: &&Bytes| {
        let is_first = bytes == 0;
        bytes += entry.len();
        is_first || bytes <= limit
    };
    let end = first + all.skip(first).take_while(fits).count();
    // Where the list that begins at entry `start` meets the page.
    let part = |list: &[Bytes], start: usize| {
        let place = |at: usize| at.clamp(start, start + list.len()) - start;
        list[place(first)..place(end)].to_vec()
    };
    Ok(WitnessPage {
        state: part(state, 0),
        codes: part(codes, state.len()),
        headers: part(headers, state.len() + codes.len()),
        next: (end < total).then(|| U64::from(end)),
    })
}

/// Bytes of the witness as JSON; up to four more where lists are not empty.
pub(super) fn json_bytes(witness: &ExecutionWitness) -> usize {
    const FIELDS: usize = r#"{"state":[],"codes":[],"keys":[],"headers":[]}"#.len();
    let ExecutionWitness { state, codes, keys, headers } = witness;
    let entries = [state, codes, keys, headers].into_iter().flatten();
    // Two digits a byte, `0x`, quotes and comma.
    FIELDS + entries.map(|entry| 2 * entry.len() + 5).sum::<usize>()
}

#[cfg(test)]
mod tests;
