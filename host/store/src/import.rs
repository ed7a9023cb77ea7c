//! A store made from an archive.

use crate::archive::{ArchiveError, ArchiveReader, Counts, Entry};
use crate::cache::Staged;
use crate::writer::WriterNodes;
use crate::{BlockCommit, Result, Store, StoreError, Writer};
use alloy_primitives::{Address, B256, keccak256};
use annex_state::{EMPTY_ROOT, StateChanges, StateUpdate, apply_changes};
use std::io::BufRead;
use std::sync::atomic::Ordering;

/// Entries that are built into the trie at once: memory against time.
const CHUNK: usize = 1 << 16;

/// Why an archive was not taken over. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error(
        "the state of the snapshot has root {found}, its block {expected}: get it again, or from somebody else"
    )]
    Root { found: B256, expected: B256 },
    #[error("the data directory holds a chain already; choose another --data-dir")]
    NotEmpty,
}

impl From<redb::TransactionError> for ImportError {
    fn from(error: redb::TransactionError) -> Self {
        StoreError::from(error).into()
    }
}

impl From<redb::CommitError> for ImportError {
    fn from(error: redb::CommitError) -> Self {
        StoreError::from(error).into()
    }
}

/// The block that an import begins with.
#[derive(Clone, Copy, Debug)]
pub struct Imported<'a> {
    /// Its state is the archive's; `changes`, `update` and `aliases` are not looked at.
    pub block: BlockCommit<'a>,
    /// Block 0, without its state.
    pub genesis: BlockCommit<'a>,
}

impl Store {
    /// Makes an empty store hold a block and its state, which `archive` has to yield to the last entry; `then` adds what else
    /// belongs to it. All in one write; `seen` is told how far it is.
    pub fn import<R: BufRead>(
        &self,
        archive: &mut ArchiveReader<R>,
        imported: Imported<'_>,
        mut seen: impl FnMut(Counts),
        then: impl FnOnce(&mut Writer<'_>) -> Result<()>,
    ) -> core::result::Result<Counts, ImportError> {
        let transaction = self.inner.database.begin_write()?;
        let floor = self.inner.floor.load(Ordering::Acquire);
        let staged = {
            let mut writer = Writer::open(&transaction, self.inner.history, floor)?;
            if writer.head().is_some() {
                return Err(ImportError::NotEmpty);
            }
            let found = writer.import_state(archive, &mut seen)?;
            let Imported { block, genesis } = imported;
            let expected = block.header.state_root;
            if found != expected {
                return Err(ImportError::Root { found, expected });
            }
            if block.header.number > 0 {
                writer.write_block(&genesis)?;
            }
            let (changes, update) =
                (StateChanges::default(), StateUpdate { root: found, ..StateUpdate::default() });
            let block = BlockCommit { changes: &changes, update: &update, aliases: &[], ..block };
            writer.append_block(block)?;
            then(&mut writer)?;
            let finished = writer.finish()?;
            Staged { version: finished.version, clear: true, ..Staged::default() }
        };
        transaction.commit()?;
        self.inner.caches.publish(staged);
        Ok(archive.counts())
    }
}

impl Writer<'_> {
    /// Writes the state of an archive and returns its root.
    fn import_state<R: BufRead>(
        &mut self,
        archive: &mut ArchiveReader<R>,
        seen: &mut impl FnMut(Counts),
    ) -> core::result::Result<B256, ImportError> {
        let mut root = EMPTY_ROOT;
        let mut chunk = StateChanges::default();
        let mut size = 0;
        let mut owner = Address::ZERO;
        while let Some(entry) = archive.next_entry()? {
            match entry {
                Entry::Account(address, info) => {
                    owner = address;
                    chunk.accounts.insert(address, Some(info));
                }
                Entry::Slot(slot, value) => {
                    chunk.storage.entry(owner).or_default().insert(slot, value);
                }
                Entry::Code(code) => {
                    self.put_code(keccak256(&code), &code)?;
                    continue;
                }
            }
            size += 1;
            if size == CHUNK {
                root = self.build(root, &std::mem::take(&mut chunk))?;
                size = 0;
                seen(archive.counts());
            }
        }
        root = self.build(root, &chunk)?;
        seen(archive.counts());
        Ok(root)
    }

    fn build(&mut self, root: B256, chunk: &StateChanges) -> Result<B256> {
        let update = apply_changes(&WriterNodes(&self.tables), root, chunk)?;
        self.write_state(chunk, &update, None)?;
        // The caches begin empty.
        self.staged.accounts.clear();
        self.staged.slots.clear();
        Ok(update.root)
    }
}
