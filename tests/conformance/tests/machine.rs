//! `Machine.sol` against `annex-riscv`: whatever a proof holds, both accept it with the same hashes or both refuse it for the
//! same reason, and the contract stays below its price.

use alloy_primitives::{B256, U256, hex, keccak256};
use annex_conformance::{
    A0, A1, A2, A3, A7, ACCESS_BYTES, Contracts, ECALL, INSTRUCTIONS, Missing, Preimages, Refusal,
    STATE_BYTES, Scene, any_address, any_word, cases, edgy, instance, is_legal, rng,
};
use annex_l1::contracts::Machine::MachineErrors;
use annex_l1::contracts::PreimageOracle::PreimageOracleErrors;
use annex_riscv::{Machine, Program, ProofError, Status, Trap, verify_step};
use rand::Rng;
use rand::rngs::StdRng;

/// Most gas of a step.
const MAX_GAS: u64 = 1_500_000;

/// What both sides say of a proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Step(B256, B256),
    BadLength,
    BadStatus,
    BadAccess,
    NotLoaded,
}

struct Pair {
    contracts: Contracts,
    preimages: Preimages,
    most_gas: u64,
}

impl Pair {
    fn new(rng: &mut StdRng) -> Self {
        let mut contracts = Contracts::new();
        let preimages = Preimages::load(&mut contracts, rng);
        Self { contracts, preimages, most_gas: 0 }
    }

    /// Has both judge a proof; they must agree.
    fn judge(&mut self, proof: &[u8], what: &str) -> Said {
        let verdict = self.contracts.step(proof);
        let contract = match verdict.result {
            Ok((before, after)) => Said::Step(before, after),
            Err(Refusal::Machine(MachineErrors::BadLength(_))) => Said::BadLength,
            Err(Refusal::Machine(MachineErrors::BadStatus(_))) => Said::BadStatus,
            Err(Refusal::Machine(MachineErrors::BadAccess(_))) => Said::BadAccess,
            Err(Refusal::Oracle(PreimageOracleErrors::NotLoaded(_))) => Said::NotLoaded,
            Err(Refusal::Oracle(error)) => panic!("{what}: {error:?}"),
        };
        let rust = match verify_step(proof, &mut &self.preimages) {
            Ok((before, after)) => Said::Step(before, after),
            Err(ProofError::Length) => Said::BadLength,
            Err(ProofError::Status) => Said::BadStatus,
            Err(ProofError::Access(_)) => Said::BadAccess,
            Err(ProofError::Host(Missing)) => Said::NotLoaded,
        };
        assert_eq!(contract, rust, "contract, then Rust: {what}\nproof {}", hex::encode(proof));
        assert!(verdict.gas <= MAX_GAS, "{} gas: {what}", verdict.gas);
        self.most_gas = self.most_gas.max(verdict.gas);
        contract
    }

    /// The state after an honest proof.
    fn step(&mut self, proof: &[u8], what: &str) -> (B256, B256) {
        match self.judge(proof, what) {
            Said::Step(before, after) => (before, after),
            refused => {
                panic!("an honest proof is refused ({refused:?}): {what}\n{}", hex::encode(proof))
            }
        }
    }
}

/// Hash of the scene's state, trapped.
fn trapped(scene: &Scene) -> B256 {
    let mut scene = scene.clone();
    scene.status = U256::from(2 << 8);
    keccak256(scene.words())
}

#[test]
fn every_instruction() {
    let mut rng = rng("every_instruction");
    let mut pair = Pair::new(&mut rng);
    for (name, mask, value) in INSTRUCTIONS {
        let mut done = 0;
        for _ in 0..cases(40) {
            let word = instance(*mask, *value, &mut rng);
            let mut scene = Scene::random(&mut rng);
            let proof = scene.stage(word, &mut rng);
            let what = format!("{name} {word:#010x} {:x?}", scene.registers);
            let (_, after) = pair.step(&proof, &what);
            done += u64::from(after != trapped(&scene));
        }
        assert!(done > cases(5), "{name} trapped in nearly every case");
    }
    println!("worst step: {} gas with 64 gas a byte of calldata", pair.most_gas);
}

#[test]
fn every_other_word_traps() {
    let mut rng = rng("every_other_word_traps");
    let mut pair = Pair::new(&mut rng);
    for _ in 0..cases(2_000) {
        let word = any_word(&mut rng);
        let mut scene = Scene::random(&mut rng);
        // A call that does not trap, if the word is taken for one.
        scene.registers[A7] = 64;
        let proof = scene.stage(word, &mut rng);
        let (_, after) = pair.step(&proof, &format!("{word:#010x}"));
        assert!(is_legal(word) || after == trapped(&scene), "{word:#010x} is no instruction");
    }
}

/// A scene before a system call, and the proof of it.
fn call(pair: &Pair, rng: &mut StdRng) -> (Scene, Vec<u8>) {
    let mut scene = Scene::random(rng);
    let numbers = [93, 94, 64, 0x1000, 0x1001, 0x1001, 0x1001, 0x1002, 0x1003, edgy(rng)];
    scene.registers[A7] = numbers[rng.random_range(0..numbers.len())];
    let (kind, key, offset) = pair.preimages.any(rng);
    let pointer = any_address(32, rng);
    scene.write(pointer, key.as_slice());
    scene.registers[A0] = if rng.random() { pointer } else { any_address(32, rng) };
    (scene.registers[A1], scene.registers[A2], scene.registers[A3]) = (pointer, offset, kind);
    if rng.random_range(0..6) == 0 {
        scene.registers[[A0, A1, A2, A3][rng.random_range(0..4)]] = edgy(rng);
    }
    if rng.random_range(0..10) == 0 {
        scene.registers[[A0, A1][rng.random_range(0..2)]] += rng.random_range(0..40);
    }
    let proof = scene.stage(ECALL, rng);
    (scene, proof)
}

#[test]
fn every_system_call() {
    let mut rng = rng("every_system_call");
    let mut pair = Pair::new(&mut rng);
    let (mut stepped, mut trapping, mut missing) = (0, 0, 0);
    for _ in 0..cases(2_500) {
        let (scene, proof) = call(&pair, &mut rng);
        pair.preimages.check(&mut pair.contracts, &mut rng);
        match pair.judge(&proof, &format!("{:x?}", scene.registers)) {
            Said::Step(_, after) if after == trapped(&scene) => trapping += 1,
            Said::Step(..) => stepped += 1,
            Said::NotLoaded => missing += 1,
            refused => panic!("an honest proof is refused ({refused:?}): {}", hex::encode(&proof)),
        }
    }
    println!("{stepped} stepped, {trapping} trapped, {missing} lacked a preimage");
    println!("worst step: {} gas with 64 gas a byte of calldata", pair.most_gas);
    assert!(stepped > cases(500) && trapping > cases(100) && missing > cases(50));
}

/// A proof like a given one, but wrong.
fn malformed(proof: &[u8], rng: &mut StdRng) -> Vec<u8> {
    let mut wrong = proof.to_vec();
    let accesses = (proof.len() - STATE_BYTES) / ACCESS_BYTES;
    match rng.random_range(0..8) {
        0 => wrong.truncate(rng.random_range(0..proof.len())),
        1 => wrong.extend((0..rng.random_range(1..1_000)).map(|_| rng.random::<u8>())),
        2 if accesses > 0 => wrong.truncate(proof.len() - ACCESS_BYTES),
        3 => wrong.extend_from_within(proof.len().saturating_sub(ACCESS_BYTES)..),
        // W_8.
        4 => wrong[256 + rng.random_range(0..32)] = rng.random(),
        5 => wrong[286 + rng.random_range(0..2)] = rng.random_range(0..4),
        // An access's chunk or sibling.
        6 if accesses > 0 => {
            let at = STATE_BYTES + 32 * rng.random_range(0..28 * accesses);
            rng.fill(&mut wrong[at..at + 32]);
        }
        _ => wrong[rng.random_range(0..proof.len())] ^= 1 << rng.random_range(0..8),
    }
    wrong
}

#[test]
fn malformed_proofs() {
    let mut rng = rng("malformed_proofs");
    let mut pair = Pair::new(&mut rng);
    let mut refused = [0u64; 4];
    for _ in 0..cases(700) {
        let proof = match rng.random_range(0..4) {
            0 => call(&pair, &mut rng).1,
            _ => {
                let (_, mask, value) = INSTRUCTIONS[rng.random_range(0..INSTRUCTIONS.len())];
                let word = instance(mask, value, &mut rng);
                Scene::random(&mut rng).stage(word, &mut rng)
            }
        };
        for _ in 0..4 {
            let wrong = malformed(&proof, &mut rng);
            let said = pair.judge(&wrong, "malformed");
            if let Said::Step(before, _) = said {
                let unchanged = before == keccak256(&proof[..STATE_BYTES]);
                assert!(
                    !unchanged || wrong == proof,
                    "a second proof of a step: {}",
                    hex::encode(&wrong)
                );
            }
            let reasons = [Said::BadLength, Said::BadStatus, Said::BadAccess, Said::NotLoaded];
            for (count, reason) in refused.iter_mut().zip(reasons) {
                *count += u64::from(said == reason);
            }
        }
    }
    println!("refused by length, status, access, preimage: {refused:?}");
    assert!(refused[..3].iter().all(|count| *count > cases(100)), "{refused:?}");
}

#[test]
fn halted_and_impossible_states() {
    let mut rng = rng("halted_and_impossible_states");
    let mut pair = Pair::new(&mut rng);
    for word in (0..1_024).map(U256::from).chain((10..256).map(|bit| U256::from(1) << bit)) {
        let mut scene = Scene::random(&mut rng);
        scene.status = word;
        scene.registers[0] |= 1;
        let proof = scene.proof(&[]);
        let possible = matches!(u64::try_from(word), Ok(0 | 0x100..=0x200));
        match pair.judge(&proof, &format!("W_8 {word:#x}")) {
            Said::Step(before, after) => {
                assert!(possible);
                // What runs traps at this pc; what is halted stays.
                assert_eq!(after, if word.is_zero() { trapped(&scene) } else { before });
            }
            said => assert_eq!((said, possible), (Said::BadStatus, false), "W_8 {word:#x}"),
        }
    }
}

/// An ELF file with one segment.
fn elf(address: u64, code: &[u8]) -> Vec<u8> {
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    for (value, width) in [(2, 2), (243, 2), (1, 4), (address, 8), (64, 8), (0, 8), (0, 4)] {
        file.extend(&u64::to_le_bytes(value)[..width]);
    }
    for value in [64u16, 56, 1, 64, 0, 0] {
        file.extend(value.to_le_bytes());
    }
    let length = code.len() as u64;
    file.extend([1, 0, 0, 0, 7, 0, 0, 0]);
    for value in [120, address, address, length, length, 1] {
        file.extend(u64::to_le_bytes(value));
    }
    file.extend(code);
    file
}

/// Instructions at random behind ones that set every register, so that some of the loads, stores and jumps succeed.
fn program(rng: &mut StdRng) -> Vec<u8> {
    let address = 0x10000;
    let addi = |rd: u32, rs1: u32, value: u32| value << 20 | rs1 << 15 | rd << 7 | 0x13;
    let mut words: Vec<u32> = (1..32)
        .flat_map(|rd| [rng.random_range(0..0x20u32) << 12 | rd << 7 | 0x37, addi(rd, rd, 8 * rd)])
        .collect();
    for _ in 0..rng.random_range(1..60) {
        let (_, mask, value) = INSTRUCTIONS[rng.random_range(0..INSTRUCTIONS.len())];
        words.push(instance(mask, value, rng));
    }
    words.extend([addi(17, 0, 93), ECALL]);
    elf(address, &words.into_iter().flat_map(u32::to_le_bytes).collect::<Vec<_>>())
}

/// Step by step, the proving face's proofs hold in the contract, and one begins where the last one ended.
#[test]
fn whole_programs() {
    let mut rng = rng("whole_programs");
    let mut pair = Pair::new(&mut rng);
    let mut steps = 0;
    for _ in 0..cases(20) {
        let program = Program::from_elf(&program(&mut rng)).expect("an ELF file");
        let mut machine = Machine::boot(&program, B256::new(rng.random()));
        let mut hash = machine.state_hash();
        for _ in 0..150 {
            let proof = machine.prove_step(&mut &pair.preimages).expect("no preimage is read");
            let said = pair.step(&proof.bytes, "a program's step");
            assert_eq!(said, (proof.before, proof.after));
            assert_eq!(said.0, hash);
            hash = said.1;
            steps += 1;
            if machine.status() != Status::Running && rng.random() {
                break;
            }
        }
    }
    println!("{steps} steps");
    assert!(steps > cases(800), "{steps} steps: the programs trap too soon");
}

fn i(opcode: u32, funct3: u32, rd: u32, rs1: u32, immediate: u32) -> u32 {
    immediate << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | opcode
}

fn li(rd: u32, value: u32) -> u32 {
    i(0x13, 0, rd, 0, value)
}

/// How a program ends that does what a guest must not.
type End = (Status, u8, Option<Trap>);

/// Programs at 0x10000, by what is wrong with them. Of registers they use `t0` (5), `t1` (6) and arguments.
fn bad_programs() -> Vec<(&'static str, Vec<u32>, End)> {
    const LOOP: u32 = 0x6f;
    const BACK_TWO: u32 = 0xff9f_f06f;
    const EBREAK: u32 = 0x0010_0073;
    let sd = |rs1: u32, rs2: u32| rs2 << 20 | rs1 << 15 | 3 << 12 | 0x23;
    let [lw, jalr, slli] = [(0x03, 2), (0x67, 0), (0x13, 1)]
        .map(|(opcode, funct3)| move |rd, rs1, value| i(opcode, funct3, rd, rs1, value));
    let exit = |code| [li(10, code), li(17, 93), ECALL];
    let trap = |trap| (Status::Trapped, 0, Some(trap));
    // 2^27 in `t0`, a step through memory.
    let large = 0x0800_0000 | 5 << 7 | 0x37;
    vec![
        ("loops", vec![LOOP], (Status::Running, 0, None)),
        (
            "panics",
            [&[li(10, 2), li(11, 64), li(12, 9), li(17, 64), ECALL][..], &exit(101)].concat(),
            (Status::Exited, 101, None),
        ),
        ("jumps out of memory", vec![li(5, 1), slli(5, 5, 32), jalr(1, 5, 0)], trap(Trap::Fetch)),
        ("jumps to where nothing is", vec![jalr(1, 0, 0)], trap(Trap::Illegal)),
        ("runs off its end", vec![li(5, 1)], trap(Trap::Illegal)),
        (
            "stores to its code",
            // `auipc t0`; the last word takes the place of the one behind the store.
            vec![
                5 << 7 | 0x17,
                lw(6, 5, 24),
                6 << 20 | 5 << 15 | 2 << 12 | 12 << 7 | 0x23,
                li(10, 1),
                li(17, 93),
                ECALL,
                li(10, 77),
            ],
            (Status::Exited, 77, None),
        ),
        ("loads misaligned", vec![li(5, 6), lw(6, 5, 0)], trap(Trap::Load(6))),
        ("stores misaligned", vec![li(5, 12), sd(5, 5)], trap(Trap::Store(12))),
        ("jumps misaligned", vec![li(5, 6), jalr(1, 5, 0)], trap(Trap::Jump(6))),
        ("branches misaligned", vec![2 << 7 | 0x63], trap(Trap::Jump(0x1_0002))),
        // Upwards until memory ends, and the stack downwards until it begins.
        (
            "takes all memory",
            vec![large, sd(6, 5), 5 << 20 | 6 << 15 | 6 << 7 | 0x33, BACK_TWO],
            trap(Trap::Store(1 << 32)),
        ),
        (
            "overflows its stack",
            vec![large, sd(2, 5), 0x20 << 25 | 5 << 20 | 2 << 15 | 2 << 7 | 0x33, BACK_TWO],
            trap(Trap::Store(0xffff_f000_u64.wrapping_sub(32 << 27))),
        ),
        ("breaks", vec![EBREAK], trap(Trap::Illegal)),
        ("calls what is not there", vec![li(17, 63), ECALL], trap(Trap::Call(63))),
        (
            "reads its input to nowhere",
            vec![li(17, 1), slli(17, 17, 12), li(10, 8), ECALL],
            trap(Trap::Pointer(8)),
        ),
    ]
}

/// Each ends as it must, at once and step by step, and the contract says the same of every step and of what comes after.
#[test]
fn bad_programs_end_the_same_everywhere() {
    const LIMIT: u64 = 150;
    let mut rng = rng("bad_programs_end_the_same_everywhere");
    let mut pair = Pair::new(&mut rng);
    for (name, words, end) in bad_programs() {
        let code: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
        let program = Program::from_elf(&elf(0x10000, &code)).expect("an ELF file");
        let input = B256::new(rng.random());
        let mut fast = Machine::boot(&program, input);
        fast.run(&mut &pair.preimages, LIMIT).expect("no preimage is read");
        assert_eq!((fast.status(), fast.exit_code(), fast.trap()), end, "{name}");
        let mut proving = Machine::boot(&program, input);
        let mut hash = proving.state_hash();
        while proving.status() == Status::Running && proving.steps() < LIMIT {
            let proof = proving.prove_step(&mut &pair.preimages).expect("no preimage is read");
            assert_eq!(pair.step(&proof.bytes, name), (hash, proof.after));
            hash = proof.after;
        }
        assert_eq!((fast.state_hash(), fast.steps()), (hash, proving.steps()), "{name}");
        if end.0 != Status::Running {
            let proof = proving.prove_step(&mut &pair.preimages).expect("no preimage is read");
            assert_eq!(pair.step(&proof.bytes, name), (hash, hash));
        }
    }
}
