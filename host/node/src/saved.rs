//! Files that unfinished computations are kept in.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Time between two saves.
const INTERVAL: Duration = Duration::from_secs(20);

/// One computation's file.
pub(crate) struct SaveFile {
    path: PathBuf,
    /// When it was last written, or begun.
    saved: Instant,
}

impl SaveFile {
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_path_buf(), saved: Instant::now() }
    }

    /// What an earlier process left.
    pub fn read(&self) -> io::Result<Option<Vec<u8>>> {
        match fs::read(&self.path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether it is time to save again.
    pub fn is_due(&self) -> bool {
        self.saved.elapsed() > INTERVAL
    }

    /// Writes the file as a whole or not at all.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.saved = Instant::now();
        if let Some(dir) = self.path.parent() {
            fs::create_dir_all(dir)?;
        }
        let temporary = self.path.with_extension("tmp");
        fs::write(&temporary, bytes)?;
        fs::rename(temporary, &self.path)
    }

    /// Removes it, if it is there.
    pub fn remove(&self) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}
