//! One instance for all tests of a file.

use std::sync::{Arc, Mutex, OnceLock, Weak};

/// Made when the first test asks, dropped with the last that uses it: statics themselves are never dropped.
pub struct Shared<T>(OnceLock<Mutex<Weak<T>>>);

impl<T> Shared<T> {
    pub const fn new() -> Self {
        Self(OnceLock::new())
    }

    pub fn get(&self, make: impl FnOnce() -> T) -> Arc<T> {
        let slot = self.0.get_or_init(|| Mutex::new(Weak::new()));
        let mut slot = slot.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        slot.upgrade().unwrap_or_else(|| {
            let made = Arc::new(make());
            *slot = Arc::downgrade(&made);
            made
        })
    }
}

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self::new()
    }
}
