//! `spec/vectors/machine.json`, which the contract's tests read: made here, compared with the file.
//! `ANNEX_WRITE_VECTORS=1` rewrites it.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::support::*;
use crate::{Machine, PreimageKind, ProofError, Status, StepProof, verify_step};

const SEED: u64 = 20_261_122;
const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../spec/vectors/machine.json");
const ACCESS: usize = 896;

struct Vectors {
    rng: StdRng,
    steps: Vec<Value>,
    refused: Vec<Value>,
    /// Proofs of good steps, to be spoilt.
    good: Vec<StepProof>,
}

fn hex(bytes: &[u8]) -> String {
    alloy_primitives::hex::encode_prefixed(bytes)
}

impl Vectors {
    /// A machine with random registers before `code`.
    fn machine(&mut self, code: &[u32]) -> Machine {
        let mut machine = machine(code);
        scramble(&mut machine, &mut self.rng);
        machine
    }

    /// Adds the machine's next step; both faces must agree on it.
    fn step(&mut self, name: &str, machine: &mut Machine, host: &mut Store) -> StepProof {
        host.answers.clear();
        let proof = machine.prove_step(host).expect("the host has what is asked for");
        let answer = host.answers.first().cloned();
        assert_eq!(verify_step(&proof.bytes, host), Ok((proof.before, proof.after)), "{name}");
        let preimage = answer.map(|answer| {
            json!({
                "kind": u8::from(answer.kind == PreimageKind::Blob),
                "key": answer.key,
                "offset": answer.offset,
                "word": answer.word,
                "length": answer.length,
            })
        });
        self.steps.push(json!({
            "name": name,
            "proof": hex(&proof.bytes),
            "before": proof.before,
            "after": proof.after,
            "preimage": preimage,
        }));
        proof
    }

    /// One instruction with given registers.
    fn one(&mut self, name: &str, word: u32, registers: &[(usize, u64)]) -> StepProof {
        let mut machine = self.machine(&[word]);
        set(&mut machine, registers);
        self.step(name, &mut machine, &mut Store::default())
    }

    /// An instruction that must trap.
    fn trap(&mut self, name: &str, word: u32, registers: &[(usize, u64)]) {
        let mut machine = self.machine(&[word]);
        set(&mut machine, registers);
        let name = format!("trap: {name}");
        self.step(&name, &mut machine, &mut Store::default());
        assert_eq!(machine.status(), Status::Trapped, "{name}");
        assert_eq!(machine.pc(), CODE);
    }

    fn refuse(&mut self, name: &str, proof: &[u8]) {
        let result = verify_step(proof, &mut Store::default());
        let refused =
            matches!(result, Err(ProofError::Length | ProofError::Status | ProofError::Access(_)));
        assert!(refused, "{name}: {result:?}");
        self.refused.push(json!({ "name": name, "proof": hex(proof) }));
    }
}

fn computing(v: &mut Vectors) {
    let pairs = [
        (0x8000_0000_0000_0000, u64::MAX),
        (0xffff_ffff_8000_0000, u64::MAX),
        (0x1234_5678_9abc_def0, 0),
    ];
    for (name, opcode, funct3, funct7) in REGISTER_OPS {
        let word = r(opcode, funct3, funct7, 5, 6, 7);
        let random = (v.rng.random(), v.rng.random());
        for (a, b) in pairs.into_iter().chain([random]) {
            v.one(&format!("{name} {a:#x}, {b:#x}"), word, &[(6, a), (7, b)]);
        }
    }
    v.one("mul x31, x31, x31", r(0x33, 0, 1, 31, 31, 31), &[(31, 0xffff_ffff_0000_0001)]);
    v.one("add to x0", r(0x33, 0, 0, 0, 6, 7), &[]);
    v.one("sub from x0", r(0x33, 0, 0x20, 5, 0, 7), &[]);
    for (name, opcode, funct3) in IMMEDIATE_OPS {
        for (a, immediate) in [(0x7fff_ffff, 1), (0xffff_ffff_0000_0000, -1), (5, -2048)] {
            let word = i(opcode, funct3, 5, 6, immediate);
            v.one(&format!("{name} {a:#x}, {immediate}"), word, &[(6, a)]);
        }
    }
    for (name, opcode, funct3, upper, most) in SHIFT_OPS {
        for amount in [0, 7, most] {
            let word = i(opcode, funct3, 5, 6, upper | amount);
            v.one(&format!("{name} {amount}"), word, &[(6, 0xf00f_0ff0_8abc_def1)]);
        }
    }
    for (name, opcode) in [("lui", 0x37), ("auipc", 0x17)] {
        for immediate in [0x1000, 0x7fff_f000, 0x8000_0000, 0xffff_f000] {
            v.one(&format!("{name} {immediate:#x}"), u(opcode, 5, immediate), &[]);
        }
    }
    v.one("lui to x0", u(0x37, 0, 0x1000), &[]);
    v.one("fence", 0x0ff0_000f, &[]);
    v.one("fence with every bit", 0xffff_8f8f, &[]);
    v.one("fence.i", 0x0000_100f, &[]);
}

fn memory(v: &mut Vectors) {
    for (name, funct3, width) in LOADS {
        for offset in [0, 32 - width as i32, -(width as i32)] {
            let word = i(0x03, funct3, 5, 6, offset);
            let proof = v.one(&format!("{name} at {offset}"), word, &[(6, DATA)]);
            v.good.push(proof);
        }
        v.one(
            &format!("{name} from memory never written"),
            i(0x03, funct3, 5, 6, 0),
            &[(6, 0xffff_ffe0)],
        );
        v.one(&format!("{name} to x0"), i(0x03, funct3, 0, 6, 0), &[(6, DATA)]);
        for address in [0x1_0000_0000, u64::MAX - 7, 0x8000_0000_0000_0000] {
            let word = i(0x03, funct3, 5, 6, 0);
            v.trap(&format!("{name} at {address:#x}"), word, &[(6, address)]);
        }
        if width > 1 {
            v.trap(
                &format!("misaligned {name}"),
                i(0x03, funct3, 5, 6, width as i32 / 2),
                &[(6, DATA)],
            );
        }
    }
    for (name, funct3, width) in STORES {
        for offset in [0, 32 - width as i32, -(width as i32)] {
            let proof =
                v.one(&format!("{name} at {offset}"), s(funct3, 6, 7, offset), &[(6, DATA)]);
            v.good.push(proof);
        }
        v.one(&format!("{name} to memory never written"), s(funct3, 6, 7, 0), &[(6, 0xffff_ffe0)]);
        v.one(&format!("{name} of x0"), s(funct3, 6, 0, 0), &[(6, DATA)]);
        v.one(&format!("{name} over itself"), s(funct3, 6, 7, 0), &[(6, CODE)]);
        v.trap(&format!("{name} at 2^32"), s(funct3, 6, 7, 0), &[(6, 1 << 32)]);
        if width > 1 {
            v.trap(&format!("misaligned {name}"), s(funct3, 6, 7, 1), &[(6, DATA)]);
        }
    }
}

fn jumps(v: &mut Vectors) {
    let pairs = [(1, 1), (0, u64::MAX), (u64::MAX, 0)];
    for (name, funct3) in BRANCHES {
        for (a, c) in pairs {
            let word = b(funct3, 6, 7, -4096);
            v.one(&format!("{name} {a:#x}, {c:#x}"), word, &[(6, a), (7, c)]);
        }
        let word = b(funct3, 6, 7, 6);
        for (a, c) in pairs {
            let name = format!("{name} {a:#x}, {c:#x} to a misaligned target");
            v.one(&name, word, &[(6, a), (7, c)]);
        }
    }
    v.one("beq forward to the limit", b(0, 6, 6, 4092), &[]);
    v.one("jal forward", j(1, 0xf_fffc), &[]);
    v.one("jal back past zero", j(1, -0x10_0000), &[]);
    v.one("jal to itself, no link", j(0, 0), &[]);
    v.trap("jal to a misaligned target", j(1, 2), &[]);
    v.one("jalr", i(0x67, 0, 1, 6, -4), &[(6, 0x4000)]);
    v.one("jalr clears bit 0", i(0x67, 0, 1, 6, 1), &[(6, 0x4000)]);
    v.one("jalr through its own link", i(0x67, 0, 6, 6, 8), &[(6, 0x4000)]);
    v.one("jalr far away", i(0x67, 0, 1, 6, 0), &[(6, 0xffff_ffff_0000_0000)]);
    v.trap("jalr to a misaligned target", i(0x67, 0, 1, 6, 3), &[(6, 0x4000)]);
    for (name, pc) in
        [("misaligned", CODE + 2), ("odd", CODE + 1), ("2^32", 1 << 32), ("2^64 - 4", u64::MAX - 3)]
    {
        let mut machine = v.machine(&[addi(1, 1, 1)]);
        machine.state.pc = pc;
        let proof = v.step(&format!("trap: pc {name}"), &mut machine, &mut Store::default());
        assert_eq!(proof.bytes.len(), 384);
    }
    let mut machine = v.machine(&[]);
    poke(&mut machine, 0xffff_fffc, &addi(1, 1, 1).to_le_bytes());
    machine.state.pc = 0xffff_fffc;
    v.step("the last instruction of memory", &mut machine, &mut Store::default());
    v.step("trap: behind it", &mut machine, &mut Store::default());
}

fn illegal(v: &mut Vectors) {
    let words = [
        ("zero", 0),
        ("all ones", u32::MAX),
        ("compressed", 0x0001_0001),
        ("ebreak", 0x0010_0073),
        ("ecall with rd", 0xf3),
        ("csrrw", 0xc000_1073),
        ("wfi", 0x1050_0073),
        ("jalr funct3 1", i(0x67, 1, 1, 6, 0)),
        ("branch funct3 2", b(2, 6, 6, 8)),
        ("branch funct3 3", b(3, 6, 6, 8)),
        ("load funct3 7", i(0x03, 7, 5, 6, 0)),
        ("store funct3 4", s(4, 6, 7, 0)),
        ("store funct3 7", s(7, 6, 7, 0)),
        ("slli bit 26", i(0x13, 1, 5, 6, 0x40)),
        ("slli bit 30", i(0x13, 1, 5, 6, 0x400)),
        ("srli bit 31", i(0x13, 5, 5, 6, -0x800)),
        ("srai bit 26", i(0x13, 5, 5, 6, 0x440)),
        ("slliw bit 25", i(0x1b, 1, 5, 6, 0x20)),
        ("srliw bit 25", i(0x1b, 5, 5, 6, 0x20)),
        ("sraiw bit 25", i(0x1b, 5, 5, 6, 0x420)),
        ("0x1b funct3 2", i(0x1b, 2, 5, 6, 0)),
        ("0x1b funct3 7", i(0x1b, 7, 5, 6, 0)),
        ("0x33 funct7 2", r(0x33, 0, 2, 5, 6, 7)),
        ("0x33 funct7 0x20 funct3 1", r(0x33, 1, 0x20, 5, 6, 7)),
        ("0x33 funct7 0x20 funct3 7", r(0x33, 7, 0x20, 5, 6, 7)),
        ("0x33 funct7 0x21", r(0x33, 0, 0x21, 5, 6, 7)),
        ("0x3b funct3 2", r(0x3b, 2, 0, 5, 6, 7)),
        ("0x3b funct7 0x20 funct3 1", r(0x3b, 1, 0x20, 5, 6, 7)),
        ("0x3b funct7 1 funct3 1", r(0x3b, 1, 1, 5, 6, 7)),
        ("0x3b funct7 1 funct3 3", r(0x3b, 3, 1, 5, 6, 7)),
        ("0x0f funct3 2", i(0x0f, 2, 0, 0, 0)),
        ("atomic", r(0x2f, 2, 8, 5, 6, 7)),
        ("floating point", r(0x53, 0, 0, 5, 6, 7)),
        ("custom", 0x0b),
    ];
    for (name, word) in words {
        v.trap(name, word, &[(6, DATA)]);
    }
}

fn calls(v: &mut Vectors) {
    for (number, code) in [(93, 0), (94, 0x1ff), (93, u64::MAX), (93, 7)] {
        let mut machine = v.machine(&[ECALL]);
        set(&mut machine, &[(17, number), (10, code)]);
        v.step(&format!("exit {number} {code:#x}"), &mut machine, &mut Store::default());
        assert_eq!((machine.status(), machine.exit_code()), (Status::Exited, code as u8));
        v.step(&format!("exited {number} {code:#x}"), &mut machine, &mut Store::default());
    }
    v.one("write", ECALL, &[(17, 64), (10, 1), (11, DATA), (12, 5)]);
    v.one("write of nonsense", ECALL, &[(17, 64), (10, 77), (11, u64::MAX), (12, u64::MAX)]);
    for (name, number) in [("read input", 0x1000), ("write output", 0x1002)] {
        for at in [DATA, 0, 0xffff_ffe0] {
            let proof = v.one(&format!("{name} at {at:#x}"), ECALL, &[(17, number), (10, at)]);
            v.good.push(proof);
        }
        for at in [DATA + 8, DATA + 31, 1 << 32, u64::MAX - 31] {
            v.trap(&format!("{name} at {at:#x}"), ECALL, &[(17, number), (10, at)]);
        }
    }
    let mut machine = v.machine(&[ECALL]);
    set(&mut machine, &[(17, 0x1000), (10, CODE)]);
    v.step("read input over the instruction", &mut machine, &mut Store::default());
    for number in [0, 63, 92, 95, 0xfff, 0x1003, 1 << 32 | 93, u64::MAX] {
        v.trap(&format!("system call {number:#x}"), ECALL, &[(17, number), (10, DATA)]);
    }
    let valid = [(17, 0x1001), (10, DATA), (11, DATA + 32), (12, 0), (13, 0)];
    for (name, register, value) in [
        ("destination misaligned", 10, DATA + 1),
        ("destination beyond memory", 10, 1 << 32),
        ("key misaligned", 11, DATA + 16),
        ("key beyond memory", 11, u64::MAX - 31),
        ("offset misaligned", 12, 31),
        ("offset of 2^32", 12, 1 << 32),
        ("kind 2", 13, 2),
        ("kind 2^64 - 1", 13, u64::MAX),
        ("kind 2^32", 13, 1 << 32),
    ] {
        let mut registers = valid.to_vec();
        registers.push((register, value));
        v.trap(&format!("preimage {name}"), ECALL, &registers);
    }
}

fn preimages(v: &mut Vectors) {
    let text: [u8; 77] = v.rng.random();
    let blob_key = alloy_primitives::B256::repeat_byte(0x01);
    for (name, kind, offset, destination) in [
        ("keccak at 0", 0, 0, DATA),
        ("keccak in the middle", 0, 32, DATA),
        ("keccak at the end", 0, 64, DATA + 0x40),
        ("keccak behind the end", 0, 96, DATA),
        ("keccak far behind the end", 0, 0xffff_ffe0, DATA),
        ("keccak over its key", 0, 32, DATA + 32),
        ("keccak over the instruction", 0, 0, CODE),
        ("keccak to the end of memory", 0, 0, 0xffff_ffe0),
        ("blob at 0", 1, 0, DATA),
        ("blob's last element", 1, 131_040, DATA),
        ("blob behind its end", 1, 131_072, DATA),
    ] {
        let mut host = Store::default();
        let mut key = host.insert(&text);
        if kind == 1 {
            key = blob_key;
            let blob: Vec<u8> = (0..131_072u32).map(|at| (at / 32 + at % 31) as u8).collect();
            host.preimages.insert((PreimageKind::Blob, key), blob);
        }
        let mut machine = v.machine(&[ECALL]);
        poke(&mut machine, DATA + 32, &key[..]);
        set(
            &mut machine,
            &[(17, 0x1001), (10, destination), (11, DATA + 32), (12, offset), (13, kind)],
        );
        let proof = v.step(&format!("preimage {name}"), &mut machine, &mut host);
        assert_eq!(proof.bytes.len(), 384 + 3 * ACCESS);
    }
    let mut host = Store::default();
    let key = host.insert(b"");
    let mut machine = v.machine(&[ECALL]);
    poke(&mut machine, DATA + 32, &key[..]);
    set(&mut machine, &[(17, 0x1001), (10, DATA), (11, DATA + 32), (12, 0), (13, 0)]);
    v.step("preimage of nothing", &mut machine, &mut host);
}

fn refusals(v: &mut Vectors) {
    let load = v.good[0].bytes.clone();
    let store =
        v.good.iter().find(|proof| proof.bytes[..] != load[..] && proof.before != proof.after);
    let store = store.expect("stores were added").bytes.clone();
    v.refuse("empty", &[]);
    for length in [1, 32, 383, 384, 385, 384 + 896, 384 + 895, 384 + 897, 384 + 2 * 896 - 1] {
        v.refuse(&format!("load cut to {length} bytes"), &load[..length]);
    }
    for extra in [1, 32, 896] {
        let longer = [&load[..], &vec![0; extra]].concat();
        v.refuse(&format!("load with {extra} bytes more"), &longer);
    }
    let repeated = [&load[..], &load[384..384 + ACCESS]].concat();
    v.refuse("load with an access more", &repeated);
    for (name, at, bits) in [
        ("bit 16 of W_8", 285, 1),
        ("bit 255 of W_8", 256, 0x80),
        ("status 3", 286, 3),
        ("status 255", 286, 255),
        ("running with an exit code", 287, 1),
    ] {
        let mut proof = load.clone();
        proof[at] |= bits;
        v.refuse(name, &proof);
    }
    let mut trapped = load[..384].to_vec();
    trapped[286] = 2;
    v.refuse("halted with accesses", &[&trapped[..], &load[384..]].concat());
    trapped[287] = 9;
    v.refuse("trapped with an exit code", &trapped);
    for (name, proof) in [("load", &load), ("store", &store)] {
        for (part, at) in [
            ("memory root", 288),
            ("instruction's chunk", 384),
            ("instruction's first sibling", 384 + 32),
            ("instruction's last sibling", 384 + 27 * 32),
            ("data's chunk", 384 + ACCESS),
            ("data's first sibling", 384 + ACCESS + 32),
            ("data's tenth sibling", 384 + ACCESS + 10 * 32),
            ("data's last byte", 384 + 2 * ACCESS - 1),
        ] {
            let mut spoilt = proof.clone();
            spoilt[at] ^= 0x40;
            v.refuse(&format!("{name}: wrong {part}"), &spoilt);
        }
        let (words, accesses) = proof.split_at(384);
        let (first, second) = accesses.split_at(ACCESS);
        v.refuse(&format!("{name}: accesses swapped"), &[words, second, first].concat());
        v.refuse(&format!("{name}: the instruction twice"), &[words, first, first].concat());
    }
    let mut machine = v.machine(&[addi(1, 1, 1)]);
    machine.state.pc = 2;
    let proof = machine.prove_step(&mut Store::default()).expect("nothing is asked for").bytes;
    v.refuse("a fetch that does not happen", &[&proof[..], &load[384..384 + ACCESS]].concat());
    let illegal = machine_of_trap(v);
    v.refuse("an access after a trap", &[&illegal[..], &load[384 + ACCESS..]].concat());
}

/// The proof of a misaligned load.
fn machine_of_trap(v: &mut Vectors) -> Vec<u8> {
    let mut machine = v.machine(&[i(0x03, 3, 5, 6, 0)]);
    set(&mut machine, &[(6, DATA + 4)]);
    machine.prove_step(&mut Store::default()).expect("nothing is asked for").bytes
}

#[test]
fn file_is_current() {
    let mut v = Vectors {
        rng: StdRng::seed_from_u64(SEED),
        steps: Vec::new(),
        refused: Vec::new(),
        good: Vec::new(),
    };
    computing(&mut v);
    memory(&mut v);
    jumps(&mut v);
    illegal(&mut v);
    calls(&mut v);
    preimages(&mut v);
    refusals(&mut v);
    let lines =
        |values: &[Value]| values.iter().map(Value::to_string).collect::<Vec<_>>().join(",\n");
    let text = format!(
        "{{\"steps\":[\n{}\n],\"refused\":[\n{}\n]}}\n",
        lines(&v.steps),
        lines(&v.refused)
    );
    println!("{} steps, {} refused, {} bytes", v.steps.len(), v.refused.len(), text.len());
    assert!(text.len() < 2 << 20);
    if std::env::var_os("ANNEX_WRITE_VECTORS").is_some() {
        std::fs::write(PATH, &text).unwrap();
    }
    let file = std::fs::read_to_string(PATH).unwrap_or_default();
    assert!(file == text, "{PATH} is out of date: run with ANNEX_WRITE_VECTORS=1 to rewrite it");
}
