use std::fs::File;
use std::io;
use std::path::Path;

use redb::StorageBackend;
use redb::backends::FileBackend;

use crate::{Durability, StoreError};

/// redb's file, with or without waiting for the disk. redb writes its pages before the commit
/// slot that names them, so the page cache of the operating system, which outlives the process,
/// is all that [`Durability::Process`] needs.
#[derive(Debug)]
pub(crate) struct FileStorage {
    file: FileBackend,
    sync: bool,
}

impl FileStorage {
    pub(crate) fn open(path: &Path, durability: Durability) -> Result<Self, StoreError> {
        let mut options = File::options();
        let file = options.read(true).write(true).create(true).truncate(false).open(path)?;
        Ok(Self { file: FileBackend::new(file)?, sync: durability == Durability::Power })
    }
}

/// Makes the names durable by which a file in `dir` is found: syncing the file does not.
pub(crate) fn sync_dirs(dir: &Path) -> Result<(), StoreError> {
    let named = |dir: &&Path| !dir.as_os_str().is_empty();
    for dir in dir.ancestors().take(3).filter(named) {
        File::open(dir)?.sync_all()?;
    }
    Ok(())
}

impl StorageBackend for FileStorage {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.sync { self.file.sync_data() } else { Ok(()) }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }
}
