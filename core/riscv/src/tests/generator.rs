//! Random programs that end: straight code, forward branches, counted loops, loads and stores
//! around [`DATA`]. They use x30 as pointer to their data and x29 as counter.

use rand::Rng;
use rand::rngs::StdRng;

use super::support::*;

/// Bytes that a program may touch around its pointer, to either side.
pub const REACH: u64 = 2048;

/// `count` random instructions or a few more.
pub fn program(rng: &mut StdRng, count: usize) -> Vec<u32> {
    let mut words = Vec::new();
    while words.len() < count {
        let length = rng.random_range(1..30);
        let body = body(rng, length);
        if rng.random_ratio(1, 3) && body.len() < 500 {
            words.push(addi(29, 0, rng.random_range(1..12)));
            let back = -4 * (body.len() as i32 + 1);
            words.extend(body);
            words.push(addi(29, 29, -1));
            words.push(b(1, 29, 0, back));
        } else {
            words.extend(body);
        }
    }
    words
}

/// What a jump may lead to the beginning of, but not into.
enum Unit {
    Words(Vec<u32>),
    /// A jump over so many units, to be assembled once their lengths are known.
    Skip(usize, Box<dyn Fn(i32) -> u32>),
}

fn body(rng: &mut StdRng, length: usize) -> Vec<u32> {
    let units: Vec<Unit> = (0..length).map(|_| unit(rng)).collect();
    let size = |unit: &Unit| match unit {
        Unit::Words(words) => words.len() as i32,
        Unit::Skip(..) => 1,
    };
    let emit = |(at, unit): (usize, &Unit)| match unit {
        Unit::Words(words) => words.clone(),
        Unit::Skip(count, assemble) => {
            let over = &units[at..units.len().min(at + count)];
            vec![assemble(4 * over.iter().map(size).sum::<i32>())]
        }
    };
    units.iter().enumerate().flat_map(emit).collect()
}

fn unit(rng: &mut StdRng) -> Unit {
    let word = match rng.random_range(0..20) {
        0..=8 => register_op(rng),
        9..=12 => immediate_op(rng),
        13 => u(*pick(rng, &[0x37, 0x17]), destination(rng), rng.random()),
        14 | 15 => {
            let (_, funct3, width) = *pick(rng, &LOADS);
            i(0x03, funct3, destination(rng), 30, offset(rng, width))
        }
        16 | 17 => {
            let (_, funct3, width) = *pick(rng, &STORES);
            s(funct3, 30, source(rng), offset(rng, width))
        }
        18 => {
            let (_, funct3) = *pick(rng, &BRANCHES);
            let (rs1, rs2) = (source(rng), source(rng));
            let assemble = move |offset| b(funct3, rs1, rs2, offset);
            return Unit::Skip(rng.random_range(1..8), Box::new(assemble));
        }
        _ if rng.random() => {
            // auipc, and jalr to just behind it.
            let register = destination(rng).max(1);
            let jump = i(0x67, 0, destination(rng), register, 8 + rng.random_range(0..2));
            return Unit::Words(vec![u(0x17, register, 0), jump]);
        }
        _ => {
            let rd = destination(rng);
            return Unit::Skip(rng.random_range(1..8), Box::new(move |offset| j(rd, offset)));
        }
    };
    Unit::Words(vec![word])
}

fn pick<'a, T>(rng: &mut StdRng, from: &'a [T]) -> &'a T {
    &from[rng.random_range(0..from.len())]
}

/// Any register but those that keep a program together.
fn destination(rng: &mut StdRng) -> u32 {
    let register = rng.random_range(0..31);
    if register == 29 || register == 30 { 31 } else { register }
}

fn source(rng: &mut StdRng) -> u32 {
    rng.random_range(0..32)
}

fn offset(rng: &mut StdRng, width: u64) -> i32 {
    let width = width as i32;
    rng.random_range(-2048 / width..2048 / width) * width
}

pub fn register_op(rng: &mut StdRng) -> u32 {
    let (_, opcode, funct3, funct7) = *pick(rng, &REGISTER_OPS);
    r(opcode, funct3, funct7, destination(rng), source(rng), source(rng))
}

pub fn immediate_op(rng: &mut StdRng) -> u32 {
    if rng.random() {
        let (_, opcode, funct3, upper, most) = *pick(rng, &SHIFT_OPS);
        let amount = upper | rng.random_range(0..=most);
        return i(opcode, funct3, destination(rng), source(rng), amount);
    }
    let (_, opcode, funct3) = *pick(rng, &IMMEDIATE_OPS);
    i(opcode, funct3, destination(rng), source(rng), rng.random_range(-2048..2048))
}

/// A value with many edges among it.
pub fn value(rng: &mut StdRng) -> u64 {
    if rng.random() { rng.random() } else { *pick(rng, &EDGES) }
}
