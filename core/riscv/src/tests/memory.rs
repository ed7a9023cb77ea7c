//! The incremental tree against one computed from scratch, and memory's edges.

use std::collections::BTreeMap;

use alloy_primitives::keccak256;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::execute::Bus;
use crate::memory::{DEPTH, Memory, PAGE};
use crate::tree;

/// The root over the chunks given, all others being zero.
fn naive(chunks: &BTreeMap<u64, [u8; 32]>) -> [u8; 32] {
    fn node(chunks: &BTreeMap<u64, [u8; 32]>, level: u32, index: u64) -> [u8; 32] {
        let range = index << level..(index + 1) << level;
        if level == 0 {
            return chunks.get(&index).copied().unwrap_or_default();
        }
        if chunks.range(range).next().is_none() {
            let zero = (0..level).fold([0; 32], |zero, _| keccak256([zero, zero].concat()).0);
            return zero;
        }
        let children = [node(chunks, level - 1, 2 * index), node(chunks, level - 1, 2 * index + 1)];
        keccak256(children.concat()).0
    }
    node(chunks, DEPTH as u32, 0)
}

#[test]
fn root_equals_naive_tree() {
    for seed in 0..6 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut memory = Memory::new();
        let mut chunks: BTreeMap<u64, [u8; 32]> = BTreeMap::new();
        assert_eq!(memory.root(), naive(&chunks));
        for _ in 0..8 {
            for _ in 0..rng.random_range(0..200) {
                let near = rng.random_range(0..4u32) << 30 | rng.random_range(0..0x3000);
                let address = if rng.random() { near } else { rng.random() } & !7;
                let value = if rng.random_ratio(1, 8) { 0 } else { rng.random::<u64>() };
                let Ok(_) = memory.store(address, value.to_le_bytes());
                let chunk = chunks.entry(u64::from(address) / 32).or_default();
                chunk[address as usize % 32..][..8].copy_from_slice(&value.to_le_bytes());
            }
            assert_eq!(memory.root(), naive(&chunks), "seed {seed}");
        }
        for address in chunks.keys().map(|chunk| (chunk * 32) as u32).take(50) {
            let path = memory.path(address);
            let root = tree::root_of(path[0], u64::from(address) / 32, path[1..].iter().copied());
            assert_eq!(root, memory.root());
        }
    }
}

#[test]
fn reading_ends_at_the_end() {
    let mut memory = Memory::new();
    memory.write(u32::MAX - 7, &[1, 2, 3, 4, 5, 6, 7, 8]);
    let mut bytes = [0xff; 16];
    assert_eq!(memory.read((1 << 32) - 4, &mut bytes), 4);
    assert_eq!(bytes[..4], [5, 6, 7, 8]);
    assert_eq!(memory.read(1 << 32, &mut bytes), 0);
    assert_eq!(memory.read(u64::MAX, &mut bytes), 0);
    // Across segments, one of which does not exist.
    let mut bytes = [0xff; 8];
    memory.write(0x0010_0000, &[9; 4]);
    assert_eq!(memory.read(0x000f_fffc, &mut bytes), 8);
    assert_eq!(bytes, [0, 0, 0, 0, 9, 9, 9, 9]);
}

#[test]
fn loads_allocate_nothing() {
    let mut memory = Memory::new();
    for page in 0..1 << 20 {
        let Ok(bytes) = memory.load::<8>(page * PAGE as u32);
        assert_eq!(bytes, [0; 8]);
    }
    assert!(memory.resident_pages().is_empty());
}
