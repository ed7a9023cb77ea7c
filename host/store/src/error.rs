use std::io;
use std::path::PathBuf;

use annex_state::TrieError;

/// Why the store failed, by what can be done about it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process works on this directory: stop it, or use another directory.
    #[error("data directory {0} is in use by another process")]
    DataDirLocked(PathBuf),
    /// Written by another version: use that one, or rebuild.
    #[error(
        "the store has format {found:?}, this version reads {expected}: use the version that wrote it, or start over with another data directory"
    )]
    Format { found: Option<u32>, expected: u32 },
    /// The file contradicts itself: rebuild.
    #[error("store is corrupt: {0}")]
    Corrupt(&'static str),
    /// The file is damaged as redb sees it: rebuild.
    #[error("store is damaged: {0}")]
    Damaged(#[source] redb::Error),
    /// Make room.
    #[error("disk is full")]
    Full(#[source] io::Error),
    #[error(transparent)]
    Io(io::Error),
    /// The database cannot go on in this process, for example after an earlier I/O error: restart.
    #[error(transparent)]
    Database(redb::Error),
    /// The state is older than the retained window, which starts at `oldest`.
    #[error("state of block {block} is no longer kept (oldest: {oldest})")]
    Pruned { block: u64, oldest: u64 },
    /// There is no such block yet.
    #[error("no block {0}")]
    UnknownBlock(u64),
    /// There is no block at all.
    #[error("store is empty")]
    Empty,
    /// The block does not follow the head, or its state root is not the update's: a bug in the
    /// caller.
    #[error("block {0} does not extend the head")]
    NotNext(u64),
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full(error),
            _ => Self::Io(error),
        }
    }
}

impl From<redb::Error> for StoreError {
    fn from(error: redb::Error) -> Self {
        use redb::Error as E;
        match error {
            E::Io(error) if error.kind() == io::ErrorKind::InvalidData => {
                Self::Damaged(E::Io(error))
            }
            E::Io(error) => error.into(),
            E::Corrupted(_)
            | E::RepairAborted
            | E::UpgradeRequired(_)
            | E::TableTypeMismatch { .. }
            | E::TableIsMultimap(_)
            | E::TableDoesNotExist(_) => Self::Damaged(error),
            error => Self::Database(error),
        }
    }
}

macro_rules! through_redb_error {
    ($($error:ident)*) => {$(
        impl From<redb::$error> for StoreError {
            fn from(error: redb::$error) -> Self {
                redb::Error::from(error).into()
            }
        }
    )*};
}

through_redb_error!(StorageError TableError TransactionError DatabaseError CommitError);

impl From<TrieError<StoreError>> for StoreError {
    fn from(error: TrieError<StoreError>) -> Self {
        match error {
            TrieError::Source(error) => error,
            TrieError::Malformed { .. } => Self::Corrupt("trie node"),
            TrieError::StorageWithoutAccount(_) => Self::Corrupt("storage without account"),
        }
    }
}
