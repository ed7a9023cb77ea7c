//! The Merkle-Patricia state of `spec/state.md`: one trie implementation, generic over where its
//! nodes come from (a database, or the witness of one block).
//!
//! Deterministic and without I/O, so that a fault proof can run the same code.

mod account;
mod build;
mod changes;
mod drafts;
mod keccak;
mod node;
mod ordered;
mod overlay;
mod reader;
mod trie;
mod update;
mod witness;

pub use account::{Account, AccountInfo, EMPTY_ROOT, KECCAK_EMPTY};
pub use alloy_trie::Nibbles;
pub use changes::{StateChanges, StateUpdate, UpdatePart, apply_changes, apply_changes_in_parts};
pub use keccak::keccak256_all;
pub use ordered::ordered_root;
pub use overlay::{Overlay, OverlayReader};
pub use reader::{
    HISTORY_ADDRESS, HISTORY_WINDOW, StateReader, TrieReader, read_account, read_slot,
};
pub use trie::{NodeChange, NodeSource, Trie, TrieError};
pub use witness::{MissingEntry, ReadRecorder, Reads, Recorder, Witness, WitnessSource};

#[cfg(test)]
mod tests;
