use std::num::NonZeroUsize;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::thread;

/// More threads than these would mostly wait for memory.
const MOST_THREADS: usize = 4;

static THREADS: LazyLock<usize> = LazyLock::new(|| {
    thread::available_parallelism().map_or(1, NonZeroUsize::get).min(MOST_THREADS)
});

/// Calls `run` on each part, on this thread and, where the machine has more processors, on others
/// at the same time. Each takes the next part when it is done with one, so that a processor that
/// is busy with something else holds nobody up.
pub fn in_parallel<T: Send>(parts: &mut [T], run: impl Fn(&mut T) + Sync) {
    let helpers = (*THREADS - 1).min(parts.len().saturating_sub(1));
    let parts = Mutex::new(parts.iter_mut());
    let next = || parts.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || {
        while let Some(part) = next() {
            run(part);
        }
    };
    thread::scope(|scope| {
        for _ in 0..helpers {
            let started = thread::Builder::new().name("seal-part".into()).spawn_scoped(scope, work);
            if let Err(error) = started {
                // The others do it.
                tracing::warn!(%error, "no helper thread for sealing");
            }
        }
        work();
    });
}
