#![no_main]
//! What is kept of an unfinished commitment: any bytes are refused or go on, and what is right goes on to the same root.
use alloy_primitives::B256;
use annex_riscv::{Committer, Host, Machine, PreimageKind, Program, Shape};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

const MEMORY: u64 = 1 << 20;
/// Bytes beyond which nothing is appended: each time may double them.
const MOST: usize = 4 << 20;
/// Counts in a register and in memory, then exits: `sd`, `addi`, `bne` in a loop.
const CODE: [u32; 8] = [
    0x0280_0293,
    0x0002_0337,
    0x0053_3023,
    0x0013_8393,
    0xfff2_8293,
    0xfe02_9ae3,
    0x05d0_0893,
    0x73,
];

struct Nothing;

impl Host for Nothing {
    type Error = ();

    fn preimage(&mut self, _: PreimageKind, _: B256, _: u32) -> Result<(B256, u64), ()> {
        Err(())
    }

    fn write(&mut self, _: u64, _: &[u8]) {}
}

fn elf() -> Vec<u8> {
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    for (value, width) in [(2, 2), (243, 2), (1, 4), (0x1_0000, 8), (64, 8), (0, 8), (0, 4)] {
        file.extend(&u64::to_le_bytes(value)[..width]);
    }
    for value in [64u16, 56, 1, 64, 0, 0] {
        file.extend(value.to_le_bytes());
    }
    file.extend([1, 0, 0, 0, 7, 0, 0, 0]);
    for value in [120u64, 0x1_0000, 0x1_0000, 32, 32, 1] {
        file.extend(value.to_le_bytes());
    }
    file.extend(CODE.iter().flat_map(|word| word.to_le_bytes()));
    file
}

fn shape() -> Shape {
    Shape::new(3, 6).expect("a small shape")
}

fn fresh() -> Committer {
    let program = Program::from_elf(&elf()).expect("one segment below 2^32");
    Committer::new(Machine::boot(&program, B256::ZERO), shape())
}

fn finish(mut committer: Committer) -> B256 {
    assert_eq!(committer.advance(&mut Nothing, u64::MAX, |_| {}), Ok(true));
    let Ok((commitment, _)) = committer.finish() else {
        unreachable!("it said that it is complete")
    };
    commitment.root()
}

static ROOT: LazyLock<B256> = LazyLock::new(|| finish(fresh()));

fuzz_target!(|data: &[u8]| {
    let [mode, at, rest @ ..] = data else { return };
    if *mode == 0 {
        if let Ok(mut machine) = Machine::restore(rest, MEMORY) {
            let _ = machine.run(&mut Nothing, 1000);
            let mut again = Vec::new();
            machine.save(&mut again);
            assert!(Machine::restore(&again, 2 * MEMORY).is_ok());
        }
        if let Ok(mut committer) = Committer::restore(rest, shape(), MEMORY) {
            let _ = committer.advance(&mut Nothing, 2, |_| {});
        }
        return;
    }
    let mut committer = fresh();
    committer.advance(&mut Nothing, u64::from(*at), |_| {}).expect("no preimage is asked for");
    let mut bytes = Vec::new();
    committer.save(&mut bytes);
    let right = bytes.clone();
    let (changes, _) = rest.as_chunks::<4>();
    for [high, low, what, byte] in changes {
        let at = usize::from(u16::from_be_bytes([*high, *low])) % bytes.len().max(1);
        match what % 16 {
            0 => bytes.truncate(at),
            1 if bytes.len() <= MOST => bytes.extend_from_within(at..),
            // The head, where it matters most.
            2..8 if bytes.len() > 700 => bytes[at % 700] ^= byte,
            _ if !bytes.is_empty() => bytes[at] ^= byte,
            _ => {}
        }
    }
    match Committer::restore(&bytes, shape(), MEMORY) {
        Ok(restored) if bytes == right => assert_eq!(finish(restored), *ROOT),
        Ok(mut restored) => {
            let _ = restored.advance(&mut Nothing, u64::MAX, |_| {});
        }
        Err(_) => assert_ne!(bytes, right),
    }
});
