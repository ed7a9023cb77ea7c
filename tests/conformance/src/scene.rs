use crate::instruction::{ECALL, memory_access, rs1, rs2};
use alloy_primitives::{B256, U256, keccak256};
use rand::Rng;
use rand::rngs::StdRng;
use std::collections::BTreeMap;

/// Levels of the memory's tree.
const DEPTH: usize = 27;
/// Bytes of a state in a proof, and of an access.
pub const STATE_BYTES: usize = 384;
pub const ACCESS_BYTES: usize = 896;

pub const A0: usize = 10;
pub const A1: usize = 11;
pub const A2: usize = 12;
pub const A3: usize = 13;
pub const A7: usize = 17;

/// A state with the whole of its memory, hashed here a third time, by the text of spec/machine.md alone.
#[derive(Clone, Debug)]
pub struct Scene {
    /// `pc`, then `x1` … `x31`.
    pub registers: [u64; 32],
    /// `W_8`.
    pub status: U256,
    pub input: B256,
    pub output: B256,
    /// What was written, by the chunk's number.
    chunks: BTreeMap<u64, [u8; 32]>,
}

/// Numbers at which arithmetic goes wrong first.
pub fn edgy(rng: &mut StdRng) -> u64 {
    const EDGES: [u64; 18] = [
        0,
        1,
        2,
        31,
        32,
        63,
        64,
        0x7fff_ffff,
        0x8000_0000,
        0xffff_ffff,
        0x1_0000_0000,
        0x7fff_ffff_ffff_ffff,
        0x8000_0000_0000_0000,
        0x8000_0000_0000_0001,
        0xffff_ffff_8000_0000,
        0xffff_ffff_7fff_ffff,
        0xffff_ffff_ffff_fffe,
        0xffff_ffff_ffff_ffff,
    ];
    match rng.random_range(0..4) {
        0 => rng.random(),
        1 => rng.random::<u64>() >> rng.random_range(0..64),
        _ => EDGES[rng.random_range(0..EDGES.len())],
    }
}

/// An address in memory, often at an end of it, a multiple of `width`.
pub fn any_address(width: u64, rng: &mut StdRng) -> u64 {
    let address = match rng.random_range(0..6) {
        0 => 0,
        1 => 0xffff_ffff,
        2 => rng.random_range(0..64),
        _ => u64::from(rng.random::<u32>()),
    };
    address & !(width - 1)
}

impl Scene {
    /// Registers and memory at random; the machine runs.
    pub fn random(rng: &mut StdRng) -> Self {
        let mut registers = [0; 32];
        registers.fill_with(|| edgy(rng));
        let mut scene = Self {
            registers,
            status: U256::ZERO,
            input: B256::new(rng.random()),
            output: B256::new(rng.random()),
            chunks: BTreeMap::new(),
        };
        for _ in 0..3 {
            let address = any_address(32, rng);
            scene.write(address, &rng.random::<[u8; 32]>());
        }
        scene
    }

    /// Writes within a chunk.
    pub fn write(&mut self, address: u64, bytes: &[u8]) {
        let chunk = self.chunks.entry(address / 32).or_default();
        let first = (address % 32) as usize;
        chunk[first..first + bytes.len()].copy_from_slice(bytes);
    }

    /// Value of a register as instructions read it.
    fn read(&self, register: usize) -> u64 {
        if register == 0 { 0 } else { self.registers[register] }
    }

    /// Puts the instruction at `pc`, registers to where it may succeed, and returns the proof of its step. An honest one: its
    /// accesses are those that the page names.
    pub fn stage(&mut self, word: u32, rng: &mut StdRng) -> Vec<u8> {
        self.registers[0] = match rng.random_range(0..20) {
            0 => edgy(rng),
            _ => any_address(4, rng),
        };
        let pc = self.registers[0];
        if !pc.is_multiple_of(4) || pc >> 32 != 0 {
            return self.proof(&[]);
        }
        self.write(pc, &word.to_le_bytes());
        if rng.random() {
            self.registers[rs2(word)] = self.read(rs1(word));
            self.registers[0] = pc;
        }
        if word == ECALL {
            let accesses = self.call_accesses();
            return self.proof(&[&[pc], &accesses[..]].concat());
        }
        let Some((width, immediate)) = memory_access(word) else { return self.proof(&[pc]) };
        if rs1(word) != 0 && rng.random_range(0..8) != 0 {
            let address = if rng.random() { any_address(width, rng) } else { pc & !(width - 1) };
            self.registers[rs1(word)] = address.wrapping_sub(immediate);
        }
        let address = self.read(rs1(word)).wrapping_add(immediate);
        if !address.is_multiple_of(width) || address >> 32 != 0 {
            return self.proof(&[pc]);
        }
        self.proof(&[pc, address])
    }

    fn call_accesses(&self) -> Vec<u64> {
        let valid = |address: u64| address.is_multiple_of(32) && address >> 32 == 0;
        let [a0, a1, a2, a3, a7] = [A0, A1, A2, A3, A7].map(|it| self.registers[it]);
        match a7 {
            0x1000 | 0x1002 if valid(a0) => vec![a0],
            0x1001 if valid(a0) && valid(a1) && valid(a2) && a3 < 2 => vec![a1, a0],
            _ => vec![],
        }
    }

    /// The words of the state.
    pub fn words(&self) -> Vec<u8> {
        let mut words: Vec<u8> = self.registers.iter().flat_map(|it| it.to_be_bytes()).collect();
        words.extend(self.status.to_be_bytes::<32>());
        words.extend(self.levels()[DEPTH].get(&0).copied().unwrap_or_default());
        words.extend(self.input);
        words.extend(self.output);
        words
    }

    /// The proof of a step that makes these accesses.
    pub fn proof(&self, accesses: &[u64]) -> Vec<u8> {
        let (levels, empty) = (self.levels(), empty_nodes());
        let mut proof = self.words();
        for address in accesses {
            let index = address / 32;
            proof.extend(levels[0].get(&index).copied().unwrap_or_default());
            for level in 0..DEPTH {
                let sibling = levels[level].get(&(index >> level ^ 1));
                proof.extend(sibling.unwrap_or(&empty[level]));
            }
        }
        proof
    }

    /// The nodes of each level above something written, from the chunks to the root.
    fn levels(&self) -> Vec<BTreeMap<u64, [u8; 32]>> {
        let empty = empty_nodes();
        let mut levels = vec![self.chunks.clone()];
        for level in 0..DEPTH {
            let below = &levels[level];
            let node = |index: u64| below.get(&index).unwrap_or(&empty[level]);
            let above = below.keys().map(|index| index / 2);
            let above = above.map(|index| (index, pair(node(2 * index), node(2 * index + 1))));
            levels.push(above.collect());
        }
        levels
    }
}

fn pair(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    keccak256([left.as_slice(), right].concat()).0
}

fn empty_nodes() -> Vec<[u8; 32]> {
    let next = |node: &[u8; 32]| Some(pair(node, node));
    std::iter::successors(Some([0; 32]), next).take(DEPTH + 1).collect()
}
