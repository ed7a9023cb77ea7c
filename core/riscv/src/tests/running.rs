//! Whole runs: traps, budgets, code that changes, what a program prints, hosts that fail.

use alloy_primitives::B256;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::generator::program;
use super::support::*;
use crate::{Machine, Status, Trap};

fn exit(code: i32) -> [u32; 3] {
    [addi(10, 0, code), addi(17, 0, 93), ECALL]
}

fn run(machine: &mut Machine) -> Store {
    let mut host = Store::default();
    machine.run(&mut host, 1 << 30).unwrap();
    host
}

/// A random program with random registers.
pub fn random_machine(seed: u64, length: usize) -> Machine {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut code = program(&mut rng, length);
    code.extend(exit(7));
    let mut machine = machine(&code);
    scramble(&mut machine, &mut rng);
    set(&mut machine, &[(30, DATA)]);
    let data: Vec<u8> = (0..4096).map(|_| rng.random()).collect();
    poke(&mut machine, DATA - 2048, &data);
    machine
}

#[test]
fn every_trap() {
    let ld = i(0x03, 3, 5, 6, 0);
    let sd = s(3, 6, 7, 0);
    type Case = (&'static str, u32, &'static [(usize, u64)], Trap);
    let cases: [Case; 13] = [
        ("illegal", 0, &[], Trap::Illegal),
        ("load", ld, &[(6, 12)], Trap::Load(12)),
        ("load beyond", ld, &[(6, 1 << 32)], Trap::Load(1 << 32)),
        ("store", sd, &[(6, 4)], Trap::Store(4)),
        ("store beyond", sd, &[(6, u64::MAX - 7)], Trap::Store(u64::MAX - 7)),
        ("jal", j(1, 6), &[], Trap::Jump(CODE + 10)),
        ("branch", b(0, 0, 0, 2), &[], Trap::Jump(CODE + 6)),
        ("jalr", i(0x67, 0, 1, 6, 0), &[(6, 2)], Trap::Jump(2)),
        ("call", ECALL, &[(17, 63)], Trap::Call(63)),
        ("pointer", ECALL, &[(17, 0x1000), (10, 8)], Trap::Pointer(8)),
        ("key", ECALL, &[(17, 0x1001), (10, 0), (11, 1 << 32)], Trap::Pointer(1 << 32)),
        ("offset", ECALL, &[(17, 0x1001), (10, 0), (11, 0), (12, 5)], Trap::Offset(5)),
        ("kind", ECALL, &[(17, 0x1001), (10, 0), (11, 0), (12, 0), (13, 2)], Trap::Kind(2)),
    ];
    for (name, word, registers, trap) in cases {
        // After another instruction, so that decoded code traps; and as the only step allowed.
        for (code, budget) in [(vec![addi(0, 0, 0), word], 100), (vec![addi(0, 0, 0), word], 2)] {
            let mut machine = machine(&code);
            // `jal` and branch count from where they stand.
            set(&mut machine, registers);
            let before = machine.state.registers;
            let steps = machine.run(&mut Store::default(), budget).unwrap();
            assert_eq!(
                (steps, machine.status(), machine.trap()),
                (2, Status::Trapped, Some(trap)),
                "{name}"
            );
            assert_eq!(machine.pc(), CODE + 4, "{name}");
            assert_eq!(machine.exit_code(), 0);
            assert_eq!(machine.state.registers[..32], before[..32], "{name}");
            let hash = machine.state_hash();
            assert_eq!(machine.run(&mut Store::default(), 100).unwrap(), 0);
            assert_eq!(machine.state_hash(), hash);
        }
    }
    for pc in [2, 1, 1 << 32, u64::MAX - 3] {
        let mut machine = machine(&[]);
        machine.state.pc = pc;
        run(&mut machine);
        assert_eq!((machine.pc(), machine.trap()), (pc, Some(Trap::Fetch)));
    }
    // A jump out of memory succeeds; what follows it traps. So does falling off the end.
    let mut jumps = machine(&[i(0x67, 0, 1, 6, 0)]);
    set(&mut jumps, &[(6, 1 << 32)]);
    run(&mut jumps);
    assert_eq!(
        (jumps.pc(), jumps.trap(), jumps.register(1)),
        (1 << 32, Some(Trap::Fetch), CODE + 4)
    );
    let mut falls = machine(&[]);
    poke(&mut falls, 0xffff_fff8, &addi(1, 1, 1).to_le_bytes());
    poke(&mut falls, 0xffff_fffc, &addi(1, 1, 1).to_le_bytes());
    falls.state.pc = 0xffff_fff8;
    run(&mut falls);
    assert_eq!((falls.pc(), falls.trap(), falls.steps()), (1 << 32, Some(Trap::Fetch), 3));
}

#[test]
fn any_division_of_a_run_is_the_same_run() {
    for seed in 0..60 {
        let length = 1 + seed as usize * 7;
        let mut whole = random_machine(seed, length);
        let done = whole.run(&mut Store::default(), u64::MAX).unwrap();
        assert_eq!((done, whole.exit_code(), whole.status()), (whole.steps(), 7, Status::Exited));
        let mut rng = StdRng::seed_from_u64(seed);
        let most = rng.random_range(1..200);
        let mut parts = random_machine(seed, length);
        let mut sum = 0;
        while parts.status() == Status::Running {
            let budget = rng.random_range(1..=most);
            let done = parts.run(&mut Store::default(), budget).unwrap();
            assert!(done == budget || parts.status() != Status::Running, "seed {seed}");
            sum += done;
            if rng.random_ratio(1, 16) {
                parts.state_hash();
            }
        }
        assert_eq!(sum, whole.steps(), "seed {seed}");
        assert_eq!(parts.state_hash(), whole.state_hash(), "seed {seed}");
    }
}

#[test]
fn stores_to_code_are_seen_by_the_next_fetch() {
    // The next instruction, without a fence; twice, so that decoded code is changed.
    let new = addi(5, 5, 100);
    let code = [
        addi(7, 0, 2),
        u(0x17, 6, 0),
        s(2, 6, 28, 8),
        addi(5, 5, 1),
        s(2, 6, 29, 8),
        addi(7, 7, -1),
        b(1, 7, 0, -16),
    ];
    let mut machine = machine(&[&code[..], &exit(0)].concat());
    set(&mut machine, &[(5, 0), (28, new.into()), (29, addi(5, 5, 1).into())]);
    run(&mut machine);
    assert_eq!((machine.status(), machine.register(5)), (Status::Exited, 200));
}

#[test]
fn an_instruction_may_replace_itself() {
    let mut machine = machine(&[&[s(2, 6, 28, 0), j(0, -4)][..], &exit(3)].concat());
    set(&mut machine, &[(6, CODE), (28, addi(5, 0, 77).into())]);
    // Runs the store, jumps back, runs what it stored, jumps back again and again.
    machine.run(&mut Store::default(), 1001).unwrap();
    assert_eq!(
        (machine.status(), machine.register(5), machine.steps()),
        (Status::Running, 77, 1001)
    );
}

#[test]
fn bytes_across_instructions_and_segments() {
    // Code on both sides of a border of segments, changed byte by byte from outside.
    let border = 0x0010_0000u64;
    let mut machine = machine(&[]);
    let words = [addi(5, 5, 1), addi(5, 5, 1), addi(7, 7, -1), b(1, 7, 0, -12)];
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    poke(&mut machine, border - 4, &bytes);
    machine.state.pc = border - 4;
    set(&mut machine, &[(5, 0), (7, 3)]);
    run(&mut machine);
    assert_eq!((machine.register(5), machine.trap()), (6, Some(Trap::Illegal)));
}

#[test]
fn calls_that_write_memory_change_code() {
    // The input becomes the eight instructions at `CODE + 64`, which ran before.
    let word = addi(5, 5, 1).to_le_bytes();
    let mut input = [0; 32];
    for slot in input.chunks_exact_mut(4) {
        slot.copy_from_slice(&word);
    }
    let mut code = vec![addi(17, 0, 0x7ff), addi(17, 17, 0x7ff), addi(17, 17, 2), addi(7, 0, 2)];
    code.push(j(0, 64 - 16));
    code.resize(16, 0);
    code.extend([addi(5, 0, 0); 8]);
    code.extend([u(0x17, 10, 0), addi(10, 10, -32), ECALL, addi(7, 7, -1), b(1, 7, 0, -48)]);
    code.extend(exit(0));
    let mut machine = machine(&code);
    machine.state.input = B256::new(input);
    run(&mut machine);
    assert_eq!((machine.status(), machine.register(5)), (Status::Exited, 8));
}

#[test]
fn prints_what_is_there() {
    let write = [addi(17, 0, 64), ECALL];
    let mut prints = machine(&[&write[..], &exit(0)].concat());
    poke(&mut prints, DATA, b"hello");
    set(&mut prints, &[(10, 2), (11, DATA), (12, 5)]);
    let host = run(&mut prints);
    assert_eq!(host.printed, [(2, b"hello".to_vec())]);
    // Nonsense costs a bounded amount of work and has the specified effect.
    for (at, length) in [(0, u64::MAX), (u64::MAX, u64::MAX), (0xffff_fffe, 10), (DATA, 0)] {
        let mut machine = machine(&write);
        set(&mut machine, &[(10, 1), (11, at), (12, length)]);
        let mut host = Store::default();
        machine.run(&mut host, 2).unwrap();
        assert_eq!(machine.register(10), length);
        let shown: usize = host.printed.iter().map(|(_, bytes)| bytes.len()).sum();
        assert!(shown <= 1 << 20);
        assert_eq!(shown == 2, at == 0xffff_fffe);
    }
    // Another instruction with the same registers prints nothing.
    let mut silent = machine(&[addi(1, 1, 1)]);
    set(&mut silent, &[(10, 1), (11, DATA), (12, 5), (17, 64)]);
    let mut host = Store::default();
    silent.run(&mut host, 1).unwrap();
    assert!(host.printed.is_empty());
}

#[test]
fn a_missing_preimage_stops_the_run_where_it_was() {
    let call = [addi(5, 5, 1), ECALL, addi(5, 5, 1)];
    let mut machine = machine(&[&call[..], &exit(0)].concat());
    let mut host = Store::default();
    let text = b"what the machine asks for, in more than one word";
    let key = alloy_primitives::keccak256(text);
    poke(&mut machine, DATA, &key[..]);
    set(&mut machine, &[(5, 0), (17, 0x1001), (10, DATA + 32), (11, DATA), (12, 32), (13, 0)]);
    assert_eq!(machine.run(&mut host, 100), Err(Missing(key)));
    assert_eq!((machine.steps(), machine.pc(), machine.status()), (1, CODE + 4, Status::Running));
    let hash = machine.state_hash();
    assert_eq!(machine.prove_step(&mut host).map(|proof| proof.after), Err(Missing(key)));
    assert_eq!((machine.steps(), machine.state_hash()), (1, hash));
    host.insert(text);
    machine.run(&mut host, 100).unwrap();
    assert_eq!((machine.status(), machine.register(5)), (Status::Exited, 2));
    let mut word = [0; 32];
    machine.read_memory(DATA + 32, &mut word);
    assert_eq!(word[..text.len() - 32], text[32..]);
    assert_eq!(word[text.len() - 32..], [0; 64][..64 - text.len()]);
}

#[test]
fn a_loop_ends_with_its_budget() {
    let mut machine = machine(&[j(0, 0)]);
    assert_eq!(machine.run(&mut Store::default(), 1_000_003), Ok(1_000_003));
    assert_eq!((machine.status(), machine.pc()), (Status::Running, CODE));
    assert_eq!(machine.run(&mut Store::default(), 0), Ok(0));
}
