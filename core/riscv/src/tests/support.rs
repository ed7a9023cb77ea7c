//! Assembling instructions and putting machines together.

use std::collections::HashMap;

use alloy_primitives::{B256, keccak256};
use rand::Rng;
use rand::rngs::StdRng;

use crate::memory::{Memory, PAGE};
use crate::state::State;
use crate::{Host, Machine, PreimageKind};

pub const CODE: u64 = 0x1_0000;
pub const DATA: u64 = 0x2_0000;

/// Operands at which something tends to go wrong.
pub const EDGES: [u64; 18] = [
    0,
    1,
    2,
    31,
    32,
    63,
    64,
    0x7f,
    0xff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    0xffff_ffff_8000_0000,
    0xffff_ffff_ffff_fffe,
    0xffff_ffff_ffff_ffff,
];

pub fn r(opcode: u32, funct3: u32, funct7: u32, rd: u32, rs1: u32, rs2: u32) -> u32 {
    funct7 << 25 | rs2 << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | opcode
}

pub fn i(opcode: u32, funct3: u32, rd: u32, rs1: u32, immediate: i32) -> u32 {
    (immediate as u32) << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | opcode
}

pub fn s(funct3: u32, rs1: u32, rs2: u32, immediate: i32) -> u32 {
    let immediate = immediate as u32;
    let (high, low) = (immediate >> 5 & 0x7f, immediate & 0x1f);
    high << 25 | rs2 << 20 | rs1 << 15 | funct3 << 12 | low << 7 | 0x23
}

pub fn b(funct3: u32, rs1: u32, rs2: u32, offset: i32) -> u32 {
    let o = offset as u32;
    let high = o >> 12 & 1;
    let parts = high << 31 | (o >> 5 & 0x3f) << 25 | (o >> 1 & 0xf) << 8 | (o >> 11 & 1) << 7;
    parts | rs2 << 20 | rs1 << 15 | funct3 << 12 | 0x63
}

pub fn u(opcode: u32, rd: u32, immediate: u32) -> u32 {
    immediate & 0xffff_f000 | rd << 7 | opcode
}

pub fn j(rd: u32, offset: i32) -> u32 {
    let o = offset as u32;
    let high = (o >> 20 & 1) << 31 | (o >> 1 & 0x3ff) << 21;
    high | (o >> 11 & 1) << 20 | (o >> 12 & 0xff) << 12 | rd << 7 | 0x6f
}

pub const ECALL: u32 = 0x73;

pub fn addi(rd: u32, rs1: u32, immediate: i32) -> u32 {
    i(0x13, 0, rd, rs1, immediate)
}

/// (name, opcode, funct3, funct7)
pub const REGISTER_OPS: [(&str, u32, u32, u32); 28] = [
    ("add", 0x33, 0, 0),
    ("sub", 0x33, 0, 0x20),
    ("sll", 0x33, 1, 0),
    ("slt", 0x33, 2, 0),
    ("sltu", 0x33, 3, 0),
    ("xor", 0x33, 4, 0),
    ("srl", 0x33, 5, 0),
    ("sra", 0x33, 5, 0x20),
    ("or", 0x33, 6, 0),
    ("and", 0x33, 7, 0),
    ("addw", 0x3b, 0, 0),
    ("subw", 0x3b, 0, 0x20),
    ("sllw", 0x3b, 1, 0),
    ("srlw", 0x3b, 5, 0),
    ("sraw", 0x3b, 5, 0x20),
    ("mul", 0x33, 0, 1),
    ("mulh", 0x33, 1, 1),
    ("mulhsu", 0x33, 2, 1),
    ("mulhu", 0x33, 3, 1),
    ("div", 0x33, 4, 1),
    ("divu", 0x33, 5, 1),
    ("rem", 0x33, 6, 1),
    ("remu", 0x33, 7, 1),
    ("mulw", 0x3b, 0, 1),
    ("divw", 0x3b, 4, 1),
    ("divuw", 0x3b, 5, 1),
    ("remw", 0x3b, 6, 1),
    ("remuw", 0x3b, 7, 1),
];

/// (name, opcode, funct3): twelve signed bits.
pub const IMMEDIATE_OPS: [(&str, u32, u32); 7] = [
    ("addi", 0x13, 0),
    ("slti", 0x13, 2),
    ("sltiu", 0x13, 3),
    ("xori", 0x13, 4),
    ("ori", 0x13, 6),
    ("andi", 0x13, 7),
    ("addiw", 0x1b, 0),
];

/// (name, opcode, funct3, upper bits of the immediate, largest amount)
pub const SHIFT_OPS: [(&str, u32, u32, i32, i32); 6] = [
    ("slli", 0x13, 1, 0, 63),
    ("srli", 0x13, 5, 0, 63),
    ("srai", 0x13, 5, 0x400, 63),
    ("slliw", 0x1b, 1, 0, 31),
    ("srliw", 0x1b, 5, 0, 31),
    ("sraiw", 0x1b, 5, 0x400, 31),
];

/// (name, funct3, width)
pub const LOADS: [(&str, u32, u64); 7] = [
    ("lb", 0, 1),
    ("lh", 1, 2),
    ("lw", 2, 4),
    ("ld", 3, 8),
    ("lbu", 4, 1),
    ("lhu", 5, 2),
    ("lwu", 6, 4),
];

pub const STORES: [(&str, u32, u64); 4] = [("sb", 0, 1), ("sh", 1, 2), ("sw", 2, 4), ("sd", 3, 8)];

pub const BRANCHES: [(&str, u32); 6] =
    [("beq", 0), ("bne", 1), ("blt", 4), ("bge", 5), ("bltu", 6), ("bgeu", 7)];

/// A machine about to execute what lies at [`CODE`].
pub fn machine(code: &[u32]) -> Machine {
    let mut machine =
        Machine::from_parts(State::boot(CODE, B256::repeat_byte(0x1f)), Memory::new(), 0);
    let bytes: Vec<u8> = code.iter().flat_map(|word| word.to_le_bytes()).collect();
    poke(&mut machine, CODE, &bytes);
    machine
}

pub fn poke(machine: &mut Machine, address: u64, bytes: &[u8]) {
    for (offset, byte) in bytes.iter().enumerate() {
        machine.memory.write((address + offset as u64) as u32, &[*byte]);
        machine.forget_stale();
    }
}

pub fn set(machine: &mut Machine, registers: &[(usize, u64)]) {
    for (register, value) in registers {
        machine.state.registers[*register] = *value;
    }
}

/// Every register and 128 bytes around [`DATA`] are random.
pub fn scramble(machine: &mut Machine, rng: &mut StdRng) {
    for register in &mut machine.state.registers[1..32] {
        *register = rng.random();
    }
    let data: [u8; 128] = rng.random();
    poke(machine, DATA - 64, &data);
}

pub fn elf(entry: u64, segments: &[(u64, &[u8], u64)]) -> Vec<u8> {
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    file.extend(2u16.to_le_bytes());
    file.extend(243u16.to_le_bytes());
    file.extend(1u32.to_le_bytes());
    file.extend(entry.to_le_bytes());
    file.extend(64u64.to_le_bytes());
    file.extend(0u64.to_le_bytes());
    file.extend(0u32.to_le_bytes());
    for half in [64u16, 56, segments.len() as u16, 64, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    let mut offset = 64 + 56 * segments.len() as u64;
    for (address, bytes, in_memory) in segments {
        file.extend(1u32.to_le_bytes());
        file.extend(7u32.to_le_bytes());
        for field in [offset, *address, *address, bytes.len() as u64, *in_memory, PAGE as u64] {
            file.extend(field.to_le_bytes());
        }
        offset += bytes.len() as u64;
    }
    for (_, bytes, _) in segments {
        file.extend_from_slice(bytes);
    }
    file
}

/// What a [`Store`] lacks.
#[derive(Debug, PartialEq, Eq)]
pub struct Missing(pub B256);

/// A question for a preimage, and its answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub kind: PreimageKind,
    pub key: B256,
    pub offset: u32,
    pub word: B256,
    pub length: u64,
}

/// Preimages by key, and what was printed.
#[derive(Default)]
pub struct Store {
    pub preimages: HashMap<(PreimageKind, B256), Vec<u8>>,
    pub answers: Vec<Answer>,
    pub printed: Vec<(u64, Vec<u8>)>,
}

impl Store {
    pub fn insert(&mut self, bytes: &[u8]) -> B256 {
        let key = keccak256(bytes);
        self.preimages.insert((PreimageKind::Keccak, key), bytes.to_vec());
        key
    }
}

impl Host for Store {
    type Error = Missing;

    fn preimage(
        &mut self,
        kind: PreimageKind,
        key: B256,
        offset: u32,
    ) -> Result<(B256, u64), Missing> {
        let bytes = self.preimages.get(&(kind, key)).ok_or(Missing(key))?;
        let mut word = B256::ZERO;
        let rest = bytes.get(offset as usize..).unwrap_or_default();
        let length = rest.len().min(32);
        word[..length].copy_from_slice(&rest[..length]);
        let answer = Answer { kind, key, offset, word, length: bytes.len() as u64 };
        self.answers.push(answer);
        Ok((word, bytes.len() as u64))
    }

    fn write(&mut self, fd: u64, bytes: &[u8]) {
        self.printed.push((fd, bytes.to_vec()));
    }
}
