#![no_main]
//! A program file: read, booted, run for a while, and whatever it does, defined.
use alloy_primitives::B256;
use annex_riscv::{Host, Machine, PreimageKind, Program};
use libfuzzer_sys::fuzz_target;

struct Nothing;

impl Host for Nothing {
    type Error = ();

    fn preimage(&mut self, _: PreimageKind, _: B256, _: u32) -> Result<(B256, u64), ()> {
        Err(())
    }

    fn write(&mut self, _: u64, _: &[u8]) {}
}

fuzz_target!(|file: &[u8]| {
    let Ok(program) = Program::from_elf(file) else { return };
    let mut machine = Machine::boot(&program, B256::ZERO);
    // A program header takes 56 bytes and its segment at most two pages that it does not fill.
    let bound = (file.len() + file.len() / 56 * 2 * 4096) as u64;
    assert!(machine.resident_bytes() <= bound);
    let hash = machine.state_hash();
    assert_eq!(program.boot_state_hash(B256::ZERO), hash);
    if machine.run(&mut Nothing, 1000).is_ok() {
        machine.state_hash();
    }
});
