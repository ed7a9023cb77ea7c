//! The proving face against the fast one, and proofs that lie.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::running::random_machine;
use super::support::*;
use crate::{Machine, ProofError, Status, verify_step};

const WORDS: usize = 384;
const ACCESS: usize = 896;

#[test]
fn faces_agree_step_by_step() {
    for seed in 0..12 {
        let mut proving = random_machine(seed, 60);
        let mut fast = random_machine(seed, 60);
        let mut chain = fast.state_hash();
        while proving.status() == Status::Running {
            let proof = proving.prove_step(&mut Store::default()).unwrap();
            assert_eq!(proof.before, chain, "seed {seed}");
            let verified = verify_step(&proof.bytes, &mut Store::default());
            assert_eq!(verified, Ok((proof.before, proof.after)), "seed {seed}");
            assert_eq!(fast.run(&mut Store::default(), 1), Ok(1));
            assert_eq!(fast.state_hash(), proof.after, "seed {seed}, step {}", fast.steps());
            chain = proof.after;
        }
        let mut whole = random_machine(seed, 60);
        whole.run(&mut Store::default(), u64::MAX).unwrap();
        assert_eq!((whole.state_hash(), whole.steps()), (chain, proving.steps()));
        let still = proving.prove_step(&mut Store::default()).unwrap();
        assert_eq!((still.bytes.len(), still.before, still.after), (WORDS, chain, chain));
        assert_eq!(proving.steps(), whole.steps());
    }
}

/// Random words as instructions with random registers: mostly traps, each the same on both faces.
#[test]
fn any_word_is_a_step() {
    let mut rng = StdRng::seed_from_u64(5);
    let opcodes = [0x37, 0x17, 0x6f, 0x67, 0x63, 0x03, 0x23, 0x13, 0x1b, 0x33, 0x3b, 0x0f, 0x73];
    for round in 0..6000 {
        let mut word: u32 = rng.random();
        if rng.random_ratio(7, 8) {
            word = word & !0x7f | opcodes[rng.random_range(0..opcodes.len())];
        }
        if rng.random() {
            word &= 0x41ff_ffff;
        }
        let build = |rng: &mut StdRng| {
            let mut machine = machine(&[word]);
            for register in &mut machine.state.registers[1..32] {
                *register = match rng.random_range(0..4) {
                    0 => rng.random(),
                    1 => DATA + rng.random_range(0..64),
                    2 => EDGES[rng.random_range(0..EDGES.len())],
                    _ => DATA,
                };
            }
            machine
        };
        let seed = rng.random();
        let mut proving = build(&mut StdRng::seed_from_u64(seed));
        let mut fast = build(&mut StdRng::seed_from_u64(seed));
        let proof = proving.prove_step(&mut Store::default()).unwrap();
        // Two steps at once, so that the first runs as decoded code; the second is known.
        fast.run(&mut Store::default(), 2).unwrap();
        proving.run(&mut Store::default(), 1).unwrap();
        assert_eq!(fast.state_hash(), proving.state_hash(), "{word:#010x}, round {round}");
        let verified = verify_step(&proof.bytes, &mut Store::default());
        assert_eq!(verified, Ok((proof.before, proof.after)), "{word:#010x}");
    }
}

fn store_step() -> Machine {
    let mut machine = machine(&[s(3, 6, 7, 8)]);
    set(&mut machine, &[(6, DATA), (7, 0x0123_4567_89ab_cdef)]);
    machine
}

#[test]
fn every_flipped_bit_of_an_access_is_refused() {
    let proof = store_step().prove_step(&mut Store::default()).unwrap();
    assert_eq!(proof.bytes.len(), WORDS + 2 * ACCESS);
    for at in WORDS..proof.bytes.len() {
        let mut spoilt = proof.bytes.clone();
        spoilt[at] ^= 1 << (at % 8);
        let result = verify_step(&spoilt, &mut Store::default());
        assert_eq!(result, Err(ProofError::Access((at - WORDS) / ACCESS)), "byte {at}");
    }
}

/// What the words say is part of the claim: changing them changes the state hash or is refused.
#[test]
fn flipped_bits_of_the_words_never_prove_the_same_state() {
    let proof = store_step().prove_step(&mut Store::default()).unwrap();
    for bit in 0..8 * WORDS {
        let mut spoilt = proof.bytes.clone();
        spoilt[bit / 8] ^= 1 << (bit % 8);
        if let Ok((before, _)) = verify_step(&spoilt, &mut Store::default()) {
            assert_ne!(before, proof.before, "bit {bit}");
        }
    }
}

#[test]
fn only_the_exact_length_is_taken() {
    for machine in [store_step(), random_machine(1, 10), machine(&[0])] {
        let mut machine = machine;
        let proof = machine.prove_step(&mut Store::default()).unwrap().bytes;
        for length in 0..proof.len() {
            let result = verify_step(&proof[..length], &mut Store::default());
            assert_eq!(result, Err(ProofError::Length), "{length} bytes");
        }
        for extra in [1, 32, 895, 896, 897] {
            let longer = [&proof[..], &proof[proof.len() - extra.min(proof.len())..]].concat();
            if longer.len() > proof.len() {
                let result = verify_step(&longer, &mut Store::default());
                assert_eq!(result, Err(ProofError::Length), "{extra} bytes more");
            }
        }
    }
}

#[test]
fn arbitrary_bytes_are_refused_without_panic() {
    let mut rng = StdRng::seed_from_u64(11);
    for _ in 0..2000 {
        let mut bytes: Vec<u8> = (0..rng.random_range(0..4000)).map(|_| rng.random()).collect();
        if bytes.len() > 288 && rng.random() {
            bytes[256..288].fill(0);
            // A fetchable pc.
            bytes[..4].fill(0);
            bytes[7] &= 0xfc;
        }
        assert!(verify_step(&bytes, &mut Store::default()).is_err());
    }
}
