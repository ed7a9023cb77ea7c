//! What an instruction does. Both faces run this one function; they differ in the bus.

use crate::Trap;
use crate::instruction::{Instruction, op};

/// The integer registers. Only the first 32 are read; the rest lets a byte index them unchecked
/// and takes what is written to x0 (32).
pub(crate) type Registers = [u64; 256];

/// Aligned access to memory below 2^32, which the caller has checked.
pub(crate) trait Bus {
    /// Why the run cannot go on; never a state of the machine.
    type Error;

    fn load<const N: usize>(&mut self, address: u32) -> Result<[u8; N], Self::Error>;

    /// True if an instruction decoded before may have changed.
    fn store<const N: usize>(&mut self, address: u32, bytes: [u8; N]) -> Result<bool, Self::Error>;
}

/// What comes after an instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    /// The next one.
    Next,
    /// The next one, but what was decoded may be stale.
    Stored,
    Jump(u64),
    Call,
    Trap(Trap),
    /// The slot is empty: nothing was executed.
    Undecoded,
}

#[inline(always)]
pub(crate) fn execute<B: Bus>(
    instruction: Instruction,
    pc: u64,
    registers: &mut Registers,
    bus: &mut B,
) -> Result<Flow, B::Error> {
    let a = registers[instruction.rs1()];
    let b = registers[instruction.rs2()];
    let immediate = instruction.immediate();
    // Computed only where it is needed.
    let near = || pc.wrapping_add(immediate);
    let at = a.wrapping_add(immediate);
    let rd = &mut registers[instruction.rd()];
    match instruction.op() {
        op::LB => load(rd, bus, at, |bytes| i8::from_le_bytes(bytes) as u64),
        op::LH => load(rd, bus, at, |bytes| i16::from_le_bytes(bytes) as u64),
        op::LW => load(rd, bus, at, |bytes| i32::from_le_bytes(bytes) as u64),
        op::LD => load(rd, bus, at, u64::from_le_bytes),
        op::LBU => load(rd, bus, at, |bytes| u64::from(u8::from_le_bytes(bytes))),
        op::LHU => load(rd, bus, at, |bytes| u64::from(u16::from_le_bytes(bytes))),
        op::LWU => load(rd, bus, at, |bytes| u64::from(u32::from_le_bytes(bytes))),
        op::SB => store(bus, at, (b as u8).to_le_bytes()),
        op::SH => store(bus, at, (b as u16).to_le_bytes()),
        op::SW => store(bus, at, (b as u32).to_le_bytes()),
        op::SD => store(bus, at, b.to_le_bytes()),
        op::BEQ => Ok(branch(a == b, near)),
        op::BNE => Ok(branch(a != b, near)),
        op::BLT => Ok(branch((a as i64) < b as i64, near)),
        op::BGE => Ok(branch(a as i64 >= b as i64, near)),
        op::BLTU => Ok(branch(a < b, near)),
        op::BGEU => Ok(branch(a >= b, near)),
        op::JAL => Ok(jump(rd, pc, near())),
        op::JALR => Ok(jump(rd, pc, at & !1)),
        op::FENCE => Ok(Flow::Next),
        op::ECALL => Ok(Flow::Call),
        op::UNDECODED => Ok(Flow::Undecoded),
        op::ILLEGAL => Ok(Flow::Trap(Trap::Illegal)),
        _ => {
            *rd = compute(instruction.op(), a, b, immediate, pc);
            Ok(Flow::Next)
        }
    }
}

/// Instructions that only write a register.
#[inline(always)]
fn compute(operation: u8, a: u64, b: u64, immediate: u64, pc: u64) -> u64 {
    match operation {
        op::LUI => immediate,
        op::AUIPC => pc.wrapping_add(immediate),
        op::ADDI => a.wrapping_add(immediate),
        op::SLTI => u64::from((a as i64) < immediate as i64),
        op::SLTIU => u64::from(a < immediate),
        op::XORI => a ^ immediate,
        op::ORI => a | immediate,
        op::ANDI => a & immediate,
        op::SLLI => a << (immediate & 63),
        op::SRLI => a >> (immediate & 63),
        op::SRAI => (a as i64 >> (immediate & 63)) as u64,
        op::ADDIW => extend(a.wrapping_add(immediate) as u32),
        op::SLLIW => extend((a as u32) << (immediate & 31)),
        op::SRLIW => extend(a as u32 >> (immediate & 31)),
        op::SRAIW => extend((a as i32 >> (immediate & 31)) as u32),
        op::ADD => a.wrapping_add(b),
        op::SUB => a.wrapping_sub(b),
        op::SLL => a << (b & 63),
        op::SLT => u64::from((a as i64) < b as i64),
        op::SLTU => u64::from(a < b),
        op::XOR => a ^ b,
        op::SRL => a >> (b & 63),
        op::SRA => (a as i64 >> (b & 63)) as u64,
        op::OR => a | b,
        op::AND => a & b,
        op::MUL => a.wrapping_mul(b),
        op::MULH => ((i128::from(a as i64) * i128::from(b as i64)) >> 64) as u64,
        op::MULHSU => ((i128::from(a as i64) * i128::from(b)) >> 64) as u64,
        op::MULHU => ((u128::from(a) * u128::from(b)) >> 64) as u64,
        // Division by zero: all ones, and the dividend as remainder. Overflow wraps.
        op::DIV if b == 0 => u64::MAX,
        op::DIV => (a as i64).wrapping_div(b as i64) as u64,
        op::DIVU => a.checked_div(b).unwrap_or(u64::MAX),
        op::REM if b == 0 => a,
        op::REM => (a as i64).wrapping_rem(b as i64) as u64,
        op::REMU => a.checked_rem(b).unwrap_or(a),
        op::ADDW => extend(a.wrapping_add(b) as u32),
        op::SUBW => extend(a.wrapping_sub(b) as u32),
        op::SLLW => extend((a as u32) << (b & 31)),
        op::SRLW => extend(a as u32 >> (b & 31)),
        op::SRAW => extend((a as i32 >> (b & 31)) as u32),
        op::MULW => extend((a as u32).wrapping_mul(b as u32)),
        op::DIVW if b as u32 == 0 => u64::MAX,
        op::DIVW => extend((a as i32).wrapping_div(b as i32) as u32),
        op::DIVUW => extend((a as u32).checked_div(b as u32).unwrap_or(u32::MAX)),
        op::REMW if b as u32 == 0 => extend(a as u32),
        op::REMW => extend((a as i32).wrapping_rem(b as i32) as u32),
        op::REMUW => extend((a as u32).checked_rem(b as u32).unwrap_or(a as u32)),
        _ => unreachable!("`decode` makes no other operation"),
    }
}

/// Sign-extends the result of an instruction on 32 bits.
#[inline(always)]
fn extend(word: u32) -> u64 {
    word as i32 as u64
}

/// Bits that are zero in every valid address of an access to `N` bytes.
const fn forbidden<const N: usize>() -> u64 {
    !0xffff_ffff | (N as u64 - 1)
}

#[inline(always)]
fn load<B: Bus, const N: usize>(
    rd: &mut u64,
    bus: &mut B,
    address: u64,
    value: impl Fn([u8; N]) -> u64,
) -> Result<Flow, B::Error> {
    if address & forbidden::<N>() != 0 {
        return Ok(Flow::Trap(Trap::Load(address)));
    }
    *rd = value(bus.load(address as u32)?);
    Ok(Flow::Next)
}

#[inline(always)]
fn store<B: Bus, const N: usize>(
    bus: &mut B,
    address: u64,
    bytes: [u8; N],
) -> Result<Flow, B::Error> {
    if address & forbidden::<N>() != 0 {
        return Ok(Flow::Trap(Trap::Store(address)));
    }
    let stale = bus.store(address as u32, bytes)?;
    Ok(if stale { Flow::Stored } else { Flow::Next })
}

#[inline(always)]
fn branch(taken: bool, target: impl Fn() -> u64) -> Flow {
    if !taken {
        return Flow::Next;
    }
    let target = target();
    if target & 3 != 0 {
        return Flow::Trap(Trap::Jump(target));
    }
    Flow::Jump(target)
}

#[inline(always)]
fn jump(rd: &mut u64, pc: u64, target: u64) -> Flow {
    if target & 3 != 0 {
        return Flow::Trap(Trap::Jump(target));
    }
    *rd = pc.wrapping_add(4);
    Flow::Jump(target)
}
