#![no_main]
//! Proofs of steps: right ones say what the machine does, no other one proves the same state, and none makes the verifier
//! panic.
use alloy_primitives::{B256, keccak256};
use annex_riscv::{Host, Machine, PreimageKind, Program, Status, verify_step};
use libfuzzer_sys::fuzz_target;

/// Words of a state and of an access.
const STATE: usize = 384;
const CODE: u64 = 0x1_0000;
const OPCODES: [u32; 13] =
    [0x37, 0x17, 0x6f, 0x67, 0x63, 0x03, 0x23, 0x13, 0x1b, 0x33, 0x3b, 0x0f, 0x73];

/// Knows a preimage of everything: what it is does not matter here.
struct Anything;

impl Host for Anything {
    type Error = std::convert::Infallible;

    fn preimage(
        &mut self,
        kind: PreimageKind,
        key: B256,
        offset: u32,
    ) -> Result<(B256, u64), Self::Error> {
        let length = match kind {
            PreimageKind::Keccak => u64::from(key[0]) << 8,
            PreimageKind::Blob => 131_072,
        };
        Ok((keccak256([key.as_slice(), &offset.to_be_bytes()].concat()), length))
    }

    fn write(&mut self, _: u64, _: &[u8]) {}
}

/// An ELF file with one segment.
fn elf(code: &[u8]) -> Vec<u8> {
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    for (value, width) in [(2, 2), (243, 2), (1, 4), (CODE, 8), (64, 8), (0, 8), (0, 4)] {
        file.extend(&u64::to_le_bytes(value)[..width]);
    }
    for value in [64u16, 56, 1, 64, 0, 0] {
        file.extend(value.to_le_bytes());
    }
    let length = code.len() as u64;
    file.extend([1, 0, 0, 0, 7, 0, 0, 0]);
    for value in [120, CODE, CODE, length, length, 1] {
        file.extend(u64::to_le_bytes(value));
    }
    file.extend(code);
    file
}

/// The words as a program behind instructions that set every register; with `legal` most of them are instructions.
fn program(words: &[[u8; 4]], legal: bool) -> Program {
    let addi = |rd: u32, rs1: u32, value: u32| value << 20 | rs1 << 15 | rd << 7 | 0x13;
    let set = |rd: u32| [(rd & 0x1f) << 12 | rd << 7 | 0x37, addi(rd, rd, 8 * rd)];
    let words = words.iter().map(|word| u32::from_le_bytes(*word)).map(|word| match legal {
        true => word & !0x7f | OPCODES[(word & 0x7f) as usize % OPCODES.len()],
        false => word,
    });
    // `a7` is a system call's number.
    let call = [0x1u32 << 12 | 17 << 7 | 0x37, addi(17, 17, 1)];
    let code = (1..32).flat_map(set).chain(call).chain(words);
    let code: Vec<u8> = code.flat_map(u32::to_le_bytes).collect();
    Program::from_elf(&elf(&code)).expect("one segment below 2^32")
}

fn steps(words: &[[u8; 4]], legal: bool, changes: &[[u8; 4]]) {
    let program = program(words, legal);
    let mut fast = Machine::boot(&program, B256::repeat_byte(7));
    let mut proving = Machine::boot(&program, B256::repeat_byte(7));
    // Nothing of interest happens in front of the words.
    for machine in [&mut fast, &mut proving] {
        let Ok(_) = machine.run(&mut Anything, 64);
    }
    for _ in 0..16 {
        let Ok(proof) = proving.prove_step(&mut Anything);
        let said = verify_step(&proof.bytes, &mut Anything);
        assert_eq!(said, Ok((proof.before, proof.after)));
        let Ok(_) = fast.run(&mut Anything, 1);
        assert_eq!(fast.state_hash(), proof.after);
        let mut wrong = proof.bytes.clone();
        for [high, low, what, byte] in changes {
            let at = usize::from(u16::from_be_bytes([*high, *low])) % wrong.len().max(1);
            match what % 8 {
                0 => wrong.truncate(at),
                1 => wrong.extend_from_slice(&proof.bytes[..at.min(proof.bytes.len())]),
                _ if at < wrong.len() => wrong[at] ^= byte,
                _ => {}
            }
        }
        if wrong != proof.bytes
            && let Ok((before, _)) = verify_step(&wrong, &mut Anything)
        {
            assert_ne!(before, proof.before, "a second proof of a step");
        }
        if proving.status() != Status::Running {
            break;
        }
    }
}

fuzz_target!(|data: &[u8]| {
    match data {
        [0, proof @ ..] => {
            // Halted states need nothing else, so they may be accepted.
            if let Ok((before, _)) = verify_step(proof, &mut Anything) {
                assert_eq!(before, keccak256(&proof[..STATE]));
            }
        }
        [mode, count, rest @ ..] => {
            let (words, _) = rest.as_chunks::<4>();
            let (changes, words) = words.split_at((usize::from(*count) % 8).min(words.len()));
            steps(&words[..words.len().min(64)], mode % 2 == 0, changes);
        }
        _ => {}
    }
});
