//! Against QEMU user mode: random instruction sequences and whole programs compiled by GCC.
//! Debian's packages `qemu-user` and `gcc-riscv64-unknown-elf`; without them this says so.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use alloy_primitives::B256;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::generator::{REACH, immediate_op, program, register_op, value};
use super::support::*;
use crate::{Machine, Program, Status};

const BASE: u64 = 0x1_0000;
const HEADERS: u64 = 64 + 56;

fn available(tool: &str) -> bool {
    let found = Command::new(tool).arg("--version").output();
    let found = found.is_ok_and(|output| output.status.success());
    if !found {
        println!("skipped: no {tool} (Debian: qemu-user, gcc-riscv64-unknown-elf)");
    }
    found
}

/// Output and exit code on QEMU; `None` if a signal ended it.
fn on_qemu(path: &Path) -> (Vec<u8>, Option<i32>) {
    let output = Command::new("qemu-riscv64").arg(path).output().unwrap();
    (output.stdout, output.status.code())
}

fn on_machine(file: &[u8]) -> (Vec<u8>, Machine) {
    let mut machine = Machine::boot(&Program::from_elf(file).unwrap(), B256::ZERO);
    let mut host = Store::default();
    machine.run(&mut host, 1 << 32).unwrap();
    let printed = host.printed.into_iter().filter(|(fd, _)| *fd == 1);
    (printed.flat_map(|(_, bytes)| bytes).collect(), machine)
}

fn save(folder: &Path, name: &str, file: &[u8]) -> std::path::PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, file).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn compare(folder: &Path, file: &[u8], what: &str) {
    let (expected, code) = on_qemu(&save(folder, "program", file));
    let (found, machine) = on_machine(file);
    assert_eq!(machine.status(), Status::Exited, "{what}: {:?}", machine.trap());
    assert_eq!(Some(i32::from(machine.exit_code())), code, "{what}");
    assert!(!expected.is_empty(), "{what}");
    assert_eq!(found, expected, "{what}");
}

/// Loads x1 … x28 and x31 from a table, runs `body`, stores all registers there and writes the
/// table and the data around x30 to standard output.
fn harness(rng: &mut StdRng, body: &[u32]) -> Vec<u8> {
    let prologue = 4 + 30;
    let epilogue = 31 + 10;
    let code = 4 * (prologue + body.len() + epilogue) as u64;
    let table = (HEADERS + code).next_multiple_of(8);
    let middle = table + 256 + REACH;
    let distance = (middle - HEADERS) as u32;
    let mut words = vec![
        u(0x17, 30, 0),
        u(0x37, 31, distance.wrapping_add(0x800)),
        addi(31, 31, (distance as i32) << 20 >> 20),
        r(0x33, 0, 0, 30, 30, 31),
        // The table lies below what x30 reaches.
        addi(29, 30, -2048),
    ];
    let register = |n: u32| i64::from(n) as i32 * 8 - (256 + REACH as i32);
    for n in (1..=28).chain([31]) {
        words.push(i(0x03, 3, n, 29, register(n) + 2048));
    }
    words.extend(body);
    words.push(addi(29, 30, -2048));
    words.extend((1..=31).filter(|n| *n != 29).map(|n| s(3, 29, n, register(n) + 2048)));
    words.push(addi(10, 0, 1));
    words.push(addi(11, 29, -256));
    words.push(addi(12, 0, 2047));
    words.push(addi(12, 12, 2047));
    words.push(addi(12, 12, 258));
    words.push(addi(17, 0, 64));
    words.push(ECALL);
    words.push(addi(10, 0, 42));
    words.push(addi(17, 0, 93));
    words.push(ECALL);
    assert_eq!(4 * words.len() as u64, code);
    let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    bytes.resize((table - HEADERS) as usize, 0);
    bytes.extend((0..32).flat_map(|_| value(rng).to_le_bytes()));
    bytes.extend((0..2 * REACH).map(|_| rng.random::<u8>()));
    let length = bytes.len() as u64;
    elf(BASE + HEADERS, &[(BASE + HEADERS, &bytes, length)])
}

#[test]
fn random_sequences() {
    if !available("qemu-riscv64") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for seed in 0..150 {
        let mut rng = StdRng::seed_from_u64(seed);
        let length = rng.random_range(1..3000);
        let body = program(&mut rng, length);
        compare(folder.path(), &harness(&mut rng, &body), &format!("seed {seed}"));
    }
}

#[test]
fn code_that_changes() {
    if !available("qemu-riscv64") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for seed in 0..40 {
        let mut rng = StdRng::seed_from_u64(1_000_000 + seed);
        let mut body = Vec::new();
        for _ in 0..rng.random_range(1..40) {
            // A loop whose body another instruction replaces after its first round.
            let new = if rng.random() { register_op(&mut rng) } else { immediate_op(&mut rng) };
            body.push(addi(29, 0, rng.random_range(2..5)));
            body.push(register_op(&mut rng));
            body.push(addi(28, 29, 0));
            body.push(u(0x37, 26, new.wrapping_add(0x800)));
            body.push(addi(26, 26, (new as i32) << 20 >> 20));
            body.push(u(0x17, 27, 0));
            body.push(s(2, 27, 26, -16));
            body.push(i(0x0f, 1, 0, 0, 0));
            body.push(addi(29, 28, -1));
            body.push(b(1, 29, 0, -32));
        }
        compare(folder.path(), &harness(&mut rng, &body), &format!("seed {seed}"));
    }
}

#[test]
fn compiled_programs() {
    if !available("qemu-riscv64") || !available("riscv64-unknown-elf-gcc") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for (name, rounds) in [("bignum", 5), ("keccak", 50), ("interpreter", 50_000), ("heap", 3)] {
        for level in ["-O0", "-O1", "-O2", "-O3", "-Os"] {
            let source = format!("{}/programs/{name}.c", env!("CARGO_MANIFEST_DIR"));
            let path = folder.path().join("compiled");
            let status = Command::new("riscv64-unknown-elf-gcc")
                .args([level, "-march=rv64im", "-mabi=lp64", "-mcmodel=medany", "-nostdlib"])
                .args(["-static", "-ffreestanding", "-Wl,--no-relax"])
                .arg(format!("-DROUNDS={rounds}"))
                .args([source.as_str(), "-o", path.to_str().unwrap()])
                .status()
                .unwrap();
            assert!(status.success(), "{name} {level}");
            let file = std::fs::read(&path).unwrap();
            compare(folder.path(), &file, &format!("{name} {level}"));
        }
    }
}
