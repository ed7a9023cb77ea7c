//! mimalloc, told to give memory back sooner.

use std::ffi::{c_int, c_long};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_generic_collect` in the `mi_option_e` of mimalloc 3.3: every how many of a thread's slow allocations it looks
/// for pages that other threads have emptied. Of 10 000, what a flood took stays until the thread has worked for minutes.
const GENERIC_COLLECT: c_int = 34;
const SLOW_ALLOCATIONS: c_long = 1_000;

#[allow(unsafe_code)]
unsafe extern "C" {
    fn mi_option_set_default(option: c_int, value: c_long);
}

/// Before there are threads. `MIMALLOC_GENERIC_COLLECT` of the environment prevails.
pub fn configure() {
    // SAFETY: of mimalloc's interface, of which `ALLOCATOR` links the implementation. It writes a number that an
    // allocation reads; no other thread allocates as yet.
    #[allow(unsafe_code)]
    unsafe {
        mi_option_set_default(GENERIC_COLLECT, SLOW_ALLOCATIONS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number of an option may change with mimalloc's version, and with it the value that is found.
    #[test]
    #[allow(unsafe_code)]
    fn the_option_is_the_one_that_is_meant() {
        unsafe extern "C" {
            fn mi_option_get(option: c_int) -> c_long;
        }
        // SAFETY: it reads a number.
        let found = || unsafe { mi_option_get(GENERIC_COLLECT) };
        if std::env::var_os("MIMALLOC_GENERIC_COLLECT").is_none() {
            assert_eq!(found(), 10_000);
            configure();
            assert_eq!(found(), SLOW_ALLOCATIONS);
        }
    }
}
