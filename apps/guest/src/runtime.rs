//! What std's `zkvm` platform expects from its host: an entry point, an allocator and I/O.
//!
//! System calls have the numbers of Linux on RISC-V (`read` 63, `write` 64, `exit` 93), so
//! that `qemu-riscv64` runs the same file.
#![allow(unsafe_code)]

use core::arch::{asm, global_asm};

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
    "call sys_exit",
);

const READ: usize = 63;
const WRITE: usize = 64;
const EXIT: usize = 93;
/// Exit status of a panic. The machine maps it to FAULT.
const PANICKED: usize = 101;

fn system_call(number: usize, a0: usize, a1: usize, a2: usize) -> usize {
    let result;
    // SAFETY: each caller passes a buffer it owns and that buffer's length.
    unsafe {
        asm!("ecall", in("a7") number, inlateout("a0") a0 => result, in("a1") a1, in("a2") a2);
    }
    result
}

#[unsafe(no_mangle)]
extern "C" fn sys_exit(status: usize) -> ! {
    system_call(EXIT, status, 0, 0);
    loop {}
}

#[unsafe(no_mangle)]
extern "C" fn sys_halt() -> ! {
    sys_exit(0)
}

#[unsafe(no_mangle)]
extern "C" fn sys_panic(message: *const u8, len: usize) -> ! {
    sys_write(2, message, len);
    sys_exit(PANICKED)
}

#[unsafe(no_mangle)]
extern "C" fn sys_log(message: *const u8, len: usize) {
    sys_write(2, message, len);
}

#[unsafe(no_mangle)]
extern "C" fn sys_read(fd: u32, buffer: *mut u8, len: usize) -> usize {
    system_call(READ, fd as usize, buffer as usize, len)
}

#[unsafe(no_mangle)]
extern "C" fn sys_write(fd: u32, buffer: *const u8, len: usize) {
    system_call(WRITE, fd as usize, buffer as usize, len);
}

/// There is no randomness in a proof. std asks once, for the keys of its hash maps, whose
/// order reaches no output; a constant is what makes two runs equal.
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

unsafe extern "C" {
    static mut _heap_start: u8;
    static mut _heap_end: u8;
}

/// Hands out the heap from the bottom and never takes back: a run is short, and the machine
/// pays for touched memory only. Null at the end, which std turns into an abort.
#[unsafe(no_mangle)]
extern "C" fn sys_alloc_aligned(bytes: usize, align: usize) -> *mut u8 {
    static mut NEXT: usize = 0;
    // SAFETY: the guest has one thread, and the two symbols are only ever used as addresses.
    unsafe {
        if NEXT == 0 {
            NEXT = &raw mut _heap_start as usize;
        }
        let start = NEXT.next_multiple_of(align.max(1));
        match start.checked_add(bytes) {
            Some(end) if end <= &raw mut _heap_end as usize => {
                NEXT = end;
                start as *mut u8
            }
            _ => core::ptr::null_mut(),
        }
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
