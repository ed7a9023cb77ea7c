//! Every instruction with edge operands, against plain arithmetic on wide integers.

use alloy_primitives::{I256, U256};

use super::support::*;
use crate::Machine;

/// The integer that 64 bits stand for.
fn signed(value: u64) -> I256 {
    I256::try_from(value as i64).unwrap()
}

fn unsigned(value: u64) -> I256 {
    I256::from_raw(U256::from(value))
}

/// The low 32 bits as an integer, both ways.
fn signed_word(value: u64) -> I256 {
    I256::try_from(value as u32 as i32).unwrap()
}

fn unsigned_word(value: u64) -> I256 {
    I256::from_raw(U256::from(value as u32))
}

/// An integer modulo 2^64.
fn wrap(value: I256) -> u64 {
    (value.into_raw() & U256::from(u64::MAX)).to()
}

/// An integer modulo 2^32, extended by its sign.
fn wrap_word(value: I256) -> u64 {
    let low: u64 = (value.into_raw() & U256::from(u32::MAX)).to();
    if low >= 1 << 31 { low.wrapping_sub(1 << 32) } else { low }
}

/// Euclid's equation with the quotient rounded to zero, and the specification's table for zero.
fn quotient(a: I256, b: I256) -> I256 {
    if b.is_zero() { I256::MINUS_ONE } else { a / b }
}

fn remainder(a: I256, b: I256) -> I256 {
    if b.is_zero() { a } else { a - (a / b) * b }
}

fn times_power(value: I256, amount: u64) -> I256 {
    value.wrapping_mul(I256::from_raw(U256::from(1) << amount))
}

/// Division by a power of two, rounded down.
fn shifted_down(value: I256, amount: u64) -> I256 {
    let power = I256::from_raw(U256::from(1) << amount);
    value.div_euclid(power)
}

fn product_high(a: I256, b: I256) -> I256 {
    shifted_down(a.wrapping_mul(b), 64)
}

fn oracle(name: &str, a: u64, b: u64) -> u64 {
    let (amount, short) = (b % 64, b % 32);
    match name {
        "add" | "addi" => wrap(unsigned(a) + unsigned(b)),
        "sub" => wrap(unsigned(a) - unsigned(b)),
        "sll" | "slli" => wrap(times_power(unsigned(a), amount)),
        "srl" | "srli" => wrap(shifted_down(unsigned(a), amount)),
        "sra" | "srai" => wrap(shifted_down(signed(a), amount)),
        "slt" | "slti" => u64::from(signed(a) < signed(b)),
        "sltu" | "sltiu" => u64::from(unsigned(a) < unsigned(b)),
        "xor" | "xori" => (a | b) - (a & b),
        "or" | "ori" => !(!a & !b),
        "and" | "andi" => !(!a | !b),
        "addw" | "addiw" => wrap_word(unsigned(a) + unsigned(b)),
        "subw" => wrap_word(unsigned(a) - unsigned(b)),
        "sllw" | "slliw" => wrap_word(times_power(unsigned(a), short)),
        "srlw" | "srliw" => wrap_word(shifted_down(unsigned_word(a), short)),
        "sraw" | "sraiw" => wrap_word(shifted_down(signed_word(a), short)),
        "mul" => wrap(signed(a).wrapping_mul(signed(b))),
        "mulh" => wrap(product_high(signed(a), signed(b))),
        "mulhsu" => wrap(product_high(signed(a), unsigned(b))),
        "mulhu" => wrap(product_high(unsigned(a), unsigned(b))),
        "div" => wrap(quotient(signed(a), signed(b))),
        "divu" => wrap(quotient(unsigned(a), unsigned(b))),
        "rem" => wrap(remainder(signed(a), signed(b))),
        "remu" => wrap(remainder(unsigned(a), unsigned(b))),
        "mulw" => wrap_word(unsigned(a).wrapping_mul(unsigned(b))),
        "divw" => wrap_word(quotient(signed_word(a), signed_word(b))),
        "divuw" => wrap_word(quotient(unsigned_word(a), unsigned_word(b))),
        "remw" => wrap_word(remainder(signed_word(a), signed_word(b))),
        "remuw" => wrap_word(remainder(unsigned_word(a), unsigned_word(b))),
        other => panic!("no oracle for {other}"),
    }
}

/// Executes one instruction both singly and as decoded code.
struct Pair([Machine; 2]);

impl Pair {
    fn new() -> Self {
        Self([machine(&[]), machine(&[])])
    }

    /// The result in `x5`, or whatever register is asked for.
    fn result(&mut self, word: u32, registers: &[(usize, u64)], register: usize) -> u64 {
        let results = [1, 2].map(|budget| {
            let machine = &mut self.0[budget as usize - 1];
            // A second instruction follows, so that the first is not the last of its budget.
            poke(machine, CODE, &word.to_le_bytes());
            poke(machine, CODE + 4, &addi(0, 0, 0).to_le_bytes());
            machine.state.pc = CODE;
            machine.state.registers = [0; 256];
            set(machine, registers);
            machine.run(&mut Store::default(), budget).unwrap();
            assert_eq!(machine.pc(), CODE + 4 * budget);
            assert_eq!(machine.register(0), 0);
            for (register, value) in registers.iter().filter(|it| it.0 as u32 != word >> 7 & 31) {
                assert_eq!(machine.register(*register), *value);
            }
            machine.register(register)
        });
        assert_eq!(results[0], results[1]);
        results[0]
    }
}

#[test]
fn registers_with_edges() {
    let mut pair = Pair::new();
    for (name, opcode, funct3, funct7) in REGISTER_OPS {
        for (a, b) in EDGES.iter().flat_map(|a| EDGES.iter().map(move |b| (*a, *b))) {
            let operands = [(6, a), (7, b)];
            let found = pair.result(r(opcode, funct3, funct7, 5, 6, 7), &operands, 5);
            assert_eq!(found, oracle(name, a, b), "{name} {a:#x}, {b:#x}");
            // Source and destination may be one register; x0 stays zero.
            let found = pair.result(r(opcode, funct3, funct7, 6, 6, 7), &operands, 6);
            assert_eq!(found, oracle(name, a, b));
            assert_eq!(pair.result(r(opcode, funct3, funct7, 0, 6, 7), &operands, 0), 0);
            let found = pair.result(r(opcode, funct3, funct7, 5, 0, 7), &operands, 5);
            assert_eq!(found, oracle(name, 0, b));
        }
    }
}

#[test]
fn immediates_with_edges() {
    let mut pair = Pair::new();
    for (name, opcode, funct3) in IMMEDIATE_OPS {
        for a in EDGES {
            for immediate in [0, 1, 2, 31, 1024, 2047, -1, -2, -2048] {
                let found = pair.result(i(opcode, funct3, 5, 6, immediate), &[(6, a)], 5);
                let expected = oracle(name, a, i64::from(immediate) as u64);
                assert_eq!(found, expected, "{name} {a:#x}, {immediate}");
            }
        }
    }
    for (name, opcode, funct3, upper, most) in SHIFT_OPS {
        for a in EDGES {
            for amount in 0..=most {
                let found = pair.result(i(opcode, funct3, 5, 6, upper | amount), &[(6, a)], 5);
                assert_eq!(found, oracle(name, a, amount as u64), "{name} {a:#x}, {amount}");
            }
        }
    }
}

#[test]
fn upper_immediates() {
    let mut pair = Pair::new();
    for immediate in [0, 0x1000, 0x7fff_f000, 0x8000_0000, 0xffff_f000] {
        let value = immediate as i32 as u64;
        assert_eq!(pair.result(u(0x37, 5, immediate), &[], 5), value);
        assert_eq!(pair.result(u(0x17, 5, immediate), &[], 5), CODE.wrapping_add(value));
    }
}

#[test]
fn loads_and_stores() {
    let bytes: Vec<u8> = (0..16u8).map(|at| at.wrapping_mul(37) ^ 0xa5).collect();
    for (name, funct3, width) in LOADS {
        for at in (0..16).step_by(width as usize) {
            let mut machine = machine(&[i(0x03, funct3, 5, 6, at - 8)]);
            poke(&mut machine, DATA, &bytes);
            set(&mut machine, &[(6, DATA + 8)]);
            machine.run(&mut Store::default(), 1).unwrap();
            let raw = bytes[at as usize..][..width as usize].iter().rev();
            let raw = raw.fold(0u64, |value, byte| value * 256 + u64::from(*byte));
            let negative = raw >> (8 * width - 1) == 1;
            let extended = funct3 < 4 && negative && width < 8;
            let expected = if extended { raw.wrapping_sub(1 << (8 * width)) } else { raw };
            assert_eq!(machine.register(5), expected, "{name} at {at}");
        }
    }
    for (name, funct3, width) in STORES {
        for at in (0..16).step_by(width as usize) {
            let value = 0x8182_8384_8586_8788u64;
            let mut machine = machine(&[s(funct3, 6, 7, at as i32 - 8)]);
            poke(&mut machine, DATA, &bytes);
            set(&mut machine, &[(6, DATA + 8), (7, value)]);
            machine.run(&mut Store::default(), 1).unwrap();
            let mut expected = bytes.clone();
            for byte in 0..width {
                expected[(at + byte) as usize] = (value >> (8 * byte)) as u8;
            }
            let mut found = [0; 16];
            machine.read_memory(DATA, &mut found);
            assert_eq!(found[..], expected, "{name} at {at}");
        }
    }
}

#[test]
fn branches_and_jumps() {
    let holds = |name: &str, a: u64, b: u64| match name {
        "beq" => a == b,
        "bne" => a != b,
        "blt" => signed(a) < signed(b),
        "bge" => signed(a) >= signed(b),
        "bltu" => unsigned(a) < unsigned(b),
        "bgeu" => unsigned(a) >= unsigned(b),
        other => panic!("no oracle for {other}"),
    };
    let mut machine = machine(&[]);
    let mut step = |word: u32, registers: &[(usize, u64)]| {
        poke(&mut machine, CODE, &word.to_le_bytes());
        machine.state.pc = CODE;
        set(&mut machine, registers);
        machine.run(&mut Store::default(), 1).unwrap();
        (machine.pc(), machine.register(1))
    };
    for (name, funct3) in BRANCHES {
        for (a, b_) in EDGES.iter().flat_map(|a| EDGES.iter().map(move |b| (*a, *b))) {
            for offset in [-4096, -4, 8, 2048, 4092] {
                let (pc, _) = step(b(funct3, 6, 7, offset), &[(6, a), (7, b_)]);
                let target = CODE.wrapping_add(i64::from(offset) as u64);
                let expected = if holds(name, a, b_) { target } else { CODE + 4 };
                assert_eq!(pc, expected, "{name} {a:#x}, {b_:#x}");
            }
        }
    }
    for offset in [-1_048_576, -4, 4, 2048, 4096, 1_048_572] {
        let target = CODE.wrapping_add(i64::from(offset) as u64);
        assert_eq!(step(j(1, offset), &[]), (target, CODE + 4));
    }
    for (base, immediate, target) in
        [(0x4000, -4, 0x3ffc), (0x4001, 0, 0x4000), (0x4000, 2047, 0x47fe), (4, -5, u64::MAX - 1)]
    {
        // Through the register that also takes the link.
        let expected = if target % 4 == 0 { (target, CODE + 4) } else { (CODE, base) };
        assert_eq!(step(i(0x67, 0, 1, 1, immediate), &[(1, base)]), expected);
    }
}
