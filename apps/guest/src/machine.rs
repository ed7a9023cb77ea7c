//! System calls of spec/machine.md, and the hash function.
#![allow(unsafe_code)]

use core::arch::asm;
use core::convert::Infallible;

use alloy_eips::eip4844::{BYTES_PER_BLOB, Blob};
use alloy_primitives::{B256, Bytes};
use annex_claim::{Kind, PreimageSource};
use annex_types::keccak;

const WRITE: usize = 64;
const EXIT: usize = 93;
const READ_INPUT: usize = 0x1000;
const PREIMAGE: usize = 0x1001;
const WRITE_OUTPUT: usize = 0x1002;

/// As long and as aligned as system calls want it.
#[repr(C, align(32))]
struct Word([u64; 4]);

impl Word {
    const LEN: usize = 32;

    fn of(bytes: &[u8; 32]) -> Self {
        let (lanes, _) = bytes.as_chunks::<8>();
        Self([0, 1, 2, 3].map(|at| u64::from_ne_bytes(lanes[at])))
    }

    fn bytes(&self) -> [u8; 32] {
        // SAFETY: the same bytes, and any are valid.
        unsafe { core::mem::transmute(self.0) }
    }
}

#[inline(always)]
fn system_call(number: usize, a0: usize, a1: usize, a2: usize, a3: usize) -> usize {
    let result;
    // SAFETY: each caller passes words or buffers that it owns.
    unsafe {
        asm!(
            "ecall",
            in("a7") number, inlateout("a0") a0 => result, in("a1") a1, in("a2") a2, in("a3") a3,
            options(nostack)
        );
    }
    result
}

pub fn exit(status: usize) -> ! {
    system_call(EXIT, status, 0, 0, 0);
    unreachable!("exit ends the program")
}

pub fn write(fd: usize, buffer: *const u8, len: usize) {
    system_call(WRITE, fd, buffer as usize, len, 0);
}

/// The machine's input word.
pub fn input() -> B256 {
    let mut word = Word([0; 4]);
    system_call(READ_INPUT, &raw mut word as usize, 0, 0, 0);
    B256::new(word.bytes())
}

/// Sets the machine's output word.
pub fn output(leaf: B256) {
    let word = Word::of(&leaf.0);
    system_call(WRITE_OUTPUT, &raw const word as usize, 0, 0, 0);
}

/// Preimages from outside. The machine proves each of them, so they are not hashed again.
pub struct Preimages;

impl Preimages {
    fn read(kind: Kind, key: B256) -> Vec<u8> {
        let key = Word::of(&key.0);
        let mut word = Word([0; 4]);
        let mut read = |offset: usize| {
            let (to, key) = (&raw mut word as usize, &raw const key as usize);
            let len = system_call(PREIMAGE, to, key, offset, kind as usize);
            (word.0, len)
        };
        let (first, len) = read(0);
        if len == 0 {
            return Vec::new();
        }
        let mut bytes = Vec::<u8>::with_capacity(len.next_multiple_of(Word::LEN));
        let to = bytes.as_mut_ptr().cast::<[u64; 4]>();
        assert!(to.is_aligned(), "the heap aligns blocks to 16 bytes");
        // SAFETY: whole words up to the capacity, aligned as just checked; `len` of them are initialised.
        unsafe {
            to.write(first);
            for at in 1..len.div_ceil(Word::LEN) {
                to.add(at).write(read(at * Word::LEN).0);
            }
            bytes.set_len(len);
        }
        bytes
    }
}

impl PreimageSource for Preimages {
    type Error = Infallible;

    fn keccak(&self, key: B256) -> Result<Bytes, Infallible> {
        Ok(Self::read(Kind::Keccak, key).into())
    }

    fn blob(&self, versioned_hash: B256) -> Result<Box<Blob>, Infallible> {
        let bytes = Self::read(Kind::Blob, versioned_hash);
        assert_eq!(bytes.len(), BYTES_PER_BLOB, "a blob has one length");
        Ok(Box::new(Blob::from_slice(&bytes)))
    }
}

const RATE: usize = 136;

/// Keccak-256, as alloy-primitives asks for it (`native-keccak`).
#[unsafe(no_mangle)]
unsafe extern "C" fn native_keccak256(bytes: *const u8, len: usize, output: *mut u8) {
    // SAFETY: the caller passes a slice and 32 bytes to write to.
    let (bytes, output) = unsafe {
        (core::slice::from_raw_parts(bytes, len), core::slice::from_raw_parts_mut(output, 32))
    };
    let mut state = [0; 25];
    let (blocks, rest) = bytes.as_chunks::<RATE>();
    for block in blocks {
        absorb(&mut state, block);
    }
    let mut last = Last([0; RATE]);
    last.0[..rest.len()].copy_from_slice(rest);
    last.0[rest.len()] = 0x01;
    last.0[RATE - 1] |= 0x80;
    absorb(&mut state, &last.0);
    for (to, lane) in output.as_chunks_mut::<8>().0.iter_mut().zip(state) {
        *to = lane.to_le_bytes();
    }
}

#[repr(align(8))]
struct Last([u8; RATE]);

fn absorb(state: &mut [u64; 25], block: &[u8; RATE]) {
    // SAFETY: any eight bytes are a u64, and the target is little-endian.
    let (before, lanes, _) = unsafe { block.align_to::<u64>() };
    if before.is_empty() {
        // One load a lane instead of eight.
        for (lane, word) in state.iter_mut().zip(lanes) {
            *lane ^= word;
        }
    } else {
        for (lane, bytes) in state.iter_mut().zip(block.as_chunks::<8>().0) {
            *lane ^= u64::from_le_bytes(*bytes);
        }
    }
    keccak::permute(state);
}
