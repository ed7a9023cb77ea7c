//! Runs, strides and single instructions of a small program, against the machine's own check of proofs.

use alloy_primitives::{B256, Bytes};
use annex_claim::{Kind, Missing, Preimages};
use annex_riscv::{Host, PreimageKind, Program, verify_step};
use annex_settle::{Preimage, Run, RunJob, StrideJob};

const CODE: u32 = 0x1_0000;
const BUFFER: u32 = 0x2_0000;
/// Of the loop, two instructions each: three strides in all.
const ROUNDS: u32 = 1_200 << 10;

fn lui(rd: u32, value: u32) -> u32 {
    value & 0xffff_f000 | rd << 7 | 0x37
}

fn addi(rd: u32, rs1: u32, value: i32) -> u32 {
    (value as u32) << 20 | rs1 << 15 | rd << 7 | 0x13
}

/// BNE x5, x0, back by one instruction.
const AGAIN: u32 = 0xfe02_9ee3;
const ECALL: u32 = 0x73;

/// Reads its input, counts down, reads the preimage of the input, and gives the input as output.
fn program() -> Program {
    let (a0, a1, a2, a3, a7) = (10, 11, 12, 13, 17);
    let words = [
        lui(a0, BUFFER),
        lui(a7, 0x1000),
        ECALL,
        lui(5, ROUNDS),
        addi(5, 5, -1),
        AGAIN,
        lui(a0, BUFFER),
        addi(a0, a0, 64),
        lui(a1, BUFFER),
        addi(a2, 0, 32),
        addi(a3, 0, 0),
        addi(a7, a7, 1),
        ECALL,
        lui(a0, BUFFER),
        addi(a7, a7, 1),
        ECALL,
        addi(a0, 0, 0),
        addi(a7, 0, 93),
        ECALL,
    ];
    let code: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
    elf.resize(16, 0);
    let half = |elf: &mut Vec<u8>, value: u16| elf.extend_from_slice(&value.to_le_bytes());
    let word = |elf: &mut Vec<u8>, value: u32| elf.extend_from_slice(&value.to_le_bytes());
    let wide = |elf: &mut Vec<u8>, value: u64| elf.extend_from_slice(&value.to_le_bytes());
    half(&mut elf, 2);
    half(&mut elf, 243);
    word(&mut elf, 1);
    [CODE.into(), 64, 0].into_iter().for_each(|value| wide(&mut elf, value));
    word(&mut elf, 0);
    [64, 56, 1, 0, 0, 0].into_iter().for_each(|value| half(&mut elf, value));
    word(&mut elf, 1);
    word(&mut elf, 5);
    let (at, len) = (u64::from(CODE), code.len() as u64);
    [120, at, at, len, len, 4096].into_iter().for_each(|value| wide(&mut elf, value));
    elf.extend_from_slice(&code);
    Program::from_elf(&elf).expect("it is well-formed")
}

struct Oracle<'a>(&'a Preimages);

impl Host for Oracle<'_> {
    type Error = Missing;

    fn preimage(&mut self, kind: PreimageKind, key: B256, at: u32) -> Result<(B256, u64), Missing> {
        assert_eq!(kind, PreimageKind::Keccak);
        self.0.word(Kind::Keccak, key, at)
    }

    fn write(&mut self, _: u64, _: &[u8]) {}
}

/// Also with an interruption after each stride, and while the preimage is missing.
fn run(program: &Program, input: B256, preimages: &Preimages) -> Run {
    let mut job = RunJob::new(program, input);
    assert!(!job.advance(&Preimages::default(), 1).expect("the first stride needs no preimage"));
    let mut halted = job.advance(&Preimages::default(), u64::MAX);
    assert_eq!(halted, Err(Missing { kind: Kind::Keccak, key: input }));
    while !halted.unwrap_or_default() {
        let mut bytes = Vec::new();
        job.save(&mut bytes);
        job = RunJob::restore(&bytes).expect("it was just saved");
        halted = job.advance(preimages, 1);
    }
    let Ok(run) = job.finish() else { panic!("it is complete") };
    run
}

#[test]
fn runs_strides_and_steps_fit_together() {
    let program = program();
    let mut preimages = Preimages::default();
    let text = Bytes::from_static(b"what the program asks for, 32 bytes and then some");
    let input = preimages.insert(text).expect("it is short");
    let run = run(&program, input, &preimages);
    assert_eq!(run.leaf_after(B256::ZERO), input);
    assert_eq!(run.tree.known_leaves(), 3);
    assert_eq!(run.tree.last(), alloy_primitives::keccak256(&run.last));

    let steps = 4 + 2 * u64::from(ROUNDS) + 13;
    let call = steps - 7;
    for stride in [0, 2, 5] {
        let mut job = StrideJob::new(&program, input, stride);
        assert!(job.tree(&preimages).is_err(), "it is not there yet");
        while !job.advance(&preimages, 300_000).expect("all preimages are there") {}
        let tree = job.tree(&preimages).expect("the stride is reached");
        assert_eq!(Some(tree.last()), run.tree.leaf(stride));
        let first = stride << 20;
        for at in [0, 1, 77, call - 1, call, steps - 1, steps, (1 << 20) - 1] {
            let at = if at < 1 << 20 { at } else { at.wrapping_sub(first) };
            if at >= 1 << 20 {
                continue;
            }
            let step = job.step(&preimages, first + at).expect("it is of the stride");
            let (before, after) =
                verify_step(&step.proof, &mut Oracle(&preimages)).expect("the proof holds");
            assert_eq!(Some(after), tree.leaf(at), "instruction {}", first + at);
            match at.checked_sub(1) {
                Some(last) => assert_eq!(Some(before), tree.leaf(last)),
                None if stride > 0 => assert_eq!(Some(before), run.tree.leaf(stride - 1)),
                None => {
                    assert_eq!(before, program.boot_state_hash(input));
                }
            }
            let asked = Preimage { kind: Kind::Keccak, key: input, offset: 32 };
            assert_eq!(step.call, (first + at == call).then_some(asked));
        }
        assert!(job.step(&preimages, first + (1 << 20)).is_err());
    }
}
