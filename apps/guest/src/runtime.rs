//! What std's `zkvm` platform expects from its host: an entry point, I/O, memory.
#![allow(unsafe_code)]

use core::alloc::{GlobalAlloc, Layout};
use core::arch::global_asm;

use crate::heap::Heap;
use crate::machine::{exit, write};

global_asm!(
    ".section .text._start, \"ax\"",
    ".globl _start",
    "_start:",
    ".option push",
    ".option norelax",
    "la gp, __global_pointer$",
    ".option pop",
    "la sp, _stack_top",
    "li a0, 0",
    "li a1, 0",
    "call main",
    "call sys_halt",
);

/// Exit code of a panic.
const PANICKED: usize = 101;

#[global_allocator]
static HEAP: Heap = Heap::new();

#[unsafe(no_mangle)]
extern "C" fn main() {
    crate::run();
}

#[unsafe(no_mangle)]
extern "C" fn sys_halt() -> ! {
    exit(0)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn sys_panic(message: *const u8, len: usize) -> ! {
    write(2, message, len);
    exit(PANICKED)
}

#[unsafe(no_mangle)]
extern "C" fn sys_log(message: *const u8, len: usize) {
    write(2, message, len);
}

#[unsafe(no_mangle)]
extern "C" fn sys_write(fd: u32, buffer: *const u8, len: usize) {
    write(fd as usize, buffer, len);
}

/// Nothing is read but preimages.
#[unsafe(no_mangle)]
extern "C" fn sys_read(_: u32, _: *mut u8, _: usize) -> usize {
    0
}

/// There is no randomness in a proof. std asks once, for the keys of its hash maps, whose order reaches no output; a constant
/// is what makes two runs equal.
#[unsafe(no_mangle)]
extern "C" fn sys_rand(buffer: *mut u32, words: usize) {
    // SAFETY: std passes a buffer of `words` words.
    unsafe { buffer.write_bytes(0, words) }
}

/// No variable is set.
#[unsafe(no_mangle)]
extern "C" fn sys_getenv(_: *mut u32, _: usize, _: *const u8, _: usize) -> usize {
    usize::MAX
}

#[unsafe(no_mangle)]
extern "C" fn sys_argc() -> usize {
    0
}

#[unsafe(no_mangle)]
extern "C" fn sys_argv(_: *mut u32, _: usize, _: usize) -> usize {
    0
}

#[unsafe(no_mangle)]
extern "C" fn sys_alloc_aligned(bytes: usize, align: usize) -> *mut u8 {
    match Layout::from_size_align(bytes, align) {
        // SAFETY: the heap takes a size of zero, too.
        Ok(layout) => unsafe { HEAP.alloc(layout) },
        Err(_) => core::ptr::null_mut(),
    }
}

#[unsafe(no_mangle)]
extern "C" fn sys_alloc_words(words: usize) -> *mut u32 {
    words.checked_mul(4).map_or(core::ptr::null_mut(), |bytes| sys_alloc_aligned(bytes, 4).cast())
}

/// Whoever asks for randomness by name gets an error, not a constant.
fn no_randomness(_: &mut [u8]) -> Result<(), getrandom::Error> {
    Err(getrandom::Error::UNSUPPORTED)
}
getrandom::register_custom_getrandom!(no_randomness);
