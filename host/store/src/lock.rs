use std::fs::{self, File, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::{Result, StoreError};

/// Another one after each start of the machine (random(4)).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The lock on a data directory: a file that is locked, and that says, while a store is open here, on which start of the machine and
/// which file it is itself. So a store that the machine went down under is told from one whose process was killed, and from a
/// copy that was made while it was written.
#[derive(Debug)]
pub(crate) struct DirLock {
    file: File,
    /// What it says while a store is open; none where nothing tells one start from another.
    mark: Option<Vec<u8>>,
    /// What the file said.
    left_open: Vec<u8>,
    /// Whether a store was opened under this lock.
    opened: bool,
}

impl DirLock {
    pub fn take(dir: &Path) -> Result<Self> {
        Self::take_on(dir, fs::read_to_string(BOOT_ID).ok())
    }

    fn take_on(dir: &Path, boot: Option<String>) -> Result<Self> {
        let mut options = File::options();
        let options = options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(dir.join("lock"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::DataDirLocked(dir.to_path_buf()));
            }
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        let mut left_open = Vec::new();
        file.read_to_end(&mut left_open)?;
        let inode = file.metadata()?.ino();
        let mark = boot.map(|boot| format!("{} {inode}\n", boot.trim()).into_bytes());
        Ok(Self { file, mark, left_open, opened: false })
    }

    /// Whether the store may lack writes, in any order: the machine went down under it, or it is a copy of an open one.
    pub fn may_lack_writes(&self) -> bool {
        // Where nothing tells one start from another, any store that was left open is suspect.
        !self.left_open.is_empty() && self.mark.as_ref() != Some(&self.left_open)
    }

    /// A store is open, and sound, from now on until the lock is dropped.
    pub fn opened(&mut self) -> Result<()> {
        self.file.rewind()?;
        self.file.set_len(0)?;
        self.file.write_all(self.mark.as_deref().unwrap_or(b"open"))?;
        self.file.sync_data()?;
        self.opened = true;
        Ok(())
    }
}

impl Drop for DirLock {
    /// Closing the file is not enough: a child process that is just being started has it, too.
    fn drop(&mut self) {
        if self.opened
            && let Err(error) = self.file.set_len(0)
        {
            tracing::warn!(%error, "the next start will check the store if the machine goes down");
        }
        if let Err(error) = self.file.unlock() {
            tracing::warn!(%error, "data directory stays locked until the process ends");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_store_left_open_on_an_earlier_start_is_suspect() {
        let dir = tempfile::tempdir().expect("temp dir");
        let take = |boot: Option<&str>, close: bool| {
            let mut lock = DirLock::take_on(dir.path(), boot.map(str::to_owned)).expect("free");
            lock.opened().expect("written");
            lock.opened = close;
            lock.may_lack_writes()
        };
        assert!(!take(Some("first"), true), "new");
        assert!(!take(Some("second"), false), "closed before");
        assert!(!take(Some("second"), false), "killed on the same start");
        assert!(take(Some("third"), false), "killed on an earlier one");
        assert!(!take(Some("third"), true), "checked since");
        assert!(!take(None, false), "closed before");
        assert!(take(None, false), "nobody knows on which start it was killed");
    }

    #[test]
    fn a_copy_of_an_open_store_is_suspect() {
        let (dir, other) =
            (tempfile::tempdir().expect("temp dir"), tempfile::tempdir().expect("temp dir"));
        let mut lock = DirLock::take(dir.path()).expect("free");
        lock.opened().expect("written");
        fs::copy(dir.path().join("lock"), other.path().join("lock")).expect("copied");
        assert!(DirLock::take(other.path()).expect("free").may_lack_writes());
        drop(lock);
        fs::copy(dir.path().join("lock"), other.path().join("lock")).expect("copied");
        assert!(!DirLock::take(other.path()).expect("free").may_lack_writes());
    }
}
