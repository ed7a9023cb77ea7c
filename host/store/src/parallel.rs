use std::num::NonZeroUsize;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::thread;

use annex_state::{NodeSource, UpdatePart};

/// More threads than these would mostly wait for memory.
const MOST_THREADS: usize = 4;

static THREADS: LazyLock<usize> = LazyLock::new(|| {
    thread::available_parallelism().map_or(1, NonZeroUsize::get).min(MOST_THREADS)
});

/// Does the parts of a state update (see [`annex_state::apply_changes_in_parts`]) on this thread
/// and, where the machine has more processors, on others at the same time. Each takes the next
/// part when it is done with one, so that a busy processor holds nobody up.
pub fn update_in_parallel<S: NodeSource + Sync>(parts: &mut [UpdatePart<'_, '_, S>]) {
    let helpers = (*THREADS - 1).min(parts.len().saturating_sub(1));
    let parts = Mutex::new(parts.iter_mut());
    let next = || parts.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || {
        while let Some(part) = next() {
            part.run();
        }
    };
    thread::scope(|scope| {
        for _ in 0..helpers {
            let started = thread::Builder::new().name("trie".into()).spawn_scoped(scope, work);
            if let Err(error) = started {
                // This thread does it alone.
                tracing::warn!(%error, "no helper thread for a state root");
            }
        }
        work();
    });
}
