//! `annex riscv run`: the exit codes that a test suite's runner looks at.

#![allow(clippy::unwrap_used)] // A test that cannot go on has nothing to handle.

use std::process::{Command, Output};

use annex_e2e::annex;

const BASE: u64 = 0x8000_0000;
const ECALL: u32 = 0x73;

/// `addi rd, x0, value`.
fn li(rd: u32, value: u32) -> u32 {
    value << 20 | rd << 7 | 0x13
}

/// A static ELF with one segment at [`BASE`].
fn elf(code: &[u32]) -> Vec<u8> {
    const HEADERS: u64 = 64 + 56;
    let size = code.len() as u64 * 4;
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let half = |file: &mut Vec<u8>, value: u16| file.extend(value.to_le_bytes());
    let word = |file: &mut Vec<u8>, value: u32| file.extend(value.to_le_bytes());
    let long = |file: &mut Vec<u8>, value: u64| file.extend(value.to_le_bytes());
    // EXEC, RISC-V, entry, one program header of 56 bytes after this header of 64.
    half(&mut file, 2);
    half(&mut file, 243);
    word(&mut file, 1);
    long(&mut file, BASE);
    long(&mut file, 64);
    long(&mut file, 0);
    word(&mut file, 0);
    for value in [64, 56, 1, 64, 0, 0] {
        half(&mut file, value);
    }
    // LOAD, readable, writable, executable.
    word(&mut file, 1);
    word(&mut file, 7);
    for value in [HEADERS, BASE, BASE, size, size, 8] {
        long(&mut file, value);
    }
    file.extend(code.iter().flat_map(|instruction| instruction.to_le_bytes()));
    file
}

fn run(file: &[u8], more: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("program");
    std::fs::write(&path, file).unwrap();
    Command::new(annex()).args(["riscv", "run"]).arg(path).args(more).output().unwrap()
}

#[test]
fn ends_as_the_program_ends() {
    for code in [0, 1, 42, 253] {
        let output = run(&elf(&[li(10, code), li(17, 93), ECALL]), &[]);
        assert_eq!(output.status.code(), Some(code as i32), "{output:?}");
    }
}

/// Its own first instruction.
#[test]
fn writes_what_the_program_writes() {
    let auipc_a1 = 0x0000_0597;
    // write(1, a1 = pc of auipc, 4), exit(0)
    let code = [auipc_a1, li(10, 1), li(12, 4), li(17, 64), ECALL, li(10, 0), li(17, 93), ECALL];
    let output = run(&elf(&code), &["--stats"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(output.stdout, auipc_a1.to_le_bytes());
    assert!(String::from_utf8_lossy(&output.stderr).contains("8 instructions"), "{output:?}");
}

#[test]
fn says_why_it_could_not_end() {
    let loops = elf(&[0x0000_006f]);
    for (file, more, code, said) in [
        (elf(&[0]), &[][..], 255, "trap at pc 0x80000000"),
        // ld a0, 1(x0)
        (elf(&[0x0010_3503]), &[], 255, "trap at pc 0x80000000"),
        (loops, &["--limit", "1000"], 254, "1000 instructions"),
        (b"no program".to_vec(), &[], 254, "not an ELF"),
        (elf(&[ECALL])[..100].to_vec(), &[], 254, "not an ELF"),
    ] {
        let output = run(&file, more);
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(said), "{output:?}");
    }
}
