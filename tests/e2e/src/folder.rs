//! Where a test's processes keep data and logs.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, Once};
use tempfile::TempDir;

static FAILED: AtomicBool = AtomicBool::new(false);
static HOOK: Once = Once::new();
static RECENT: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// A temporary folder that stays when a test of this process has failed.
#[derive(Debug)]
pub struct Folder(Option<TempDir>);

impl Folder {
    pub fn new() -> Self {
        HOOK.call_once(|| {
            let report = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                FAILED.store(true, Ordering::Relaxed);
                report(info);
            }));
        });
        let folder = tempfile::Builder::new().prefix("annex-e2e-").tempdir();
        let folder = folder.expect("a temporary folder");
        RECENT.lock().expect("no panic inside").push(folder.path().to_owned());
        Self(Some(folder))
    }

    pub fn path(&self) -> &Path {
        self.0.as_ref().expect("taken only when dropped").path()
    }
}

impl Default for Folder {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let folder = self.0.take().expect("dropped once");
        let mut recent = RECENT.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if FAILED.load(Ordering::Relaxed) {
            eprintln!("data and logs are kept in {}", folder.keep().display());
        } else {
            recent.retain(|path| path != folder.path());
        }
    }
}

/// The folders in use, for messages.
pub(crate) fn recent() -> String {
    let recent = RECENT.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let paths: Vec<_> = recent.iter().map(|path| path.display().to_string()).collect();
    paths.join(", ")
}
