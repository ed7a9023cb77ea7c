//! Prints what the machine is before its first step with a program: `boot FILE`. The state hash is that for an input of zero.

use alloy_primitives::B256;
use annex_riscv::Program;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args_os().nth(1).ok_or("the path of an ELF file is missing")?;
    let program = Program::from_elf(&std::fs::read(path)?)?;
    println!("memory root {}", program.memory_root());
    println!("boot state  {}", program.boot_state_hash(B256::ZERO));
    Ok(())
}
