//! Speed of the machine on programs of `programs/` and on any ELF file named in
//! `ANNEX_RISCV_BENCH` that needs no preimages. Prints the processor, then for each program:
//! MIPS, what a state hash every 2^20 instructions adds, and the cost of a commitment to 2^20
//! single instructions.

use std::convert::Infallible;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use alloy_primitives::B256;
use annex_riscv::{Committer, Host, Machine, PreimageKind, Program, Shape, Status};

const PROGRAMS: [(&str, u64); 4] =
    [("bignum", 10_000), ("keccak", 100_000), ("interpreter", 40_000_000), ("heap", 1_000)];

struct Nobody;

impl Host for Nobody {
    type Error = Infallible;

    fn preimage(&mut self, _: PreimageKind, _: B256, _: u32) -> Result<(B256, u64), Infallible> {
        Ok((B256::ZERO, 0))
    }

    fn write(&mut self, _: u64, _: &[u8]) {}
}

fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown");
    model.trim_start_matches([' ', '\t', ':']).to_owned()
}

fn mips(steps: u64, time: Duration) -> f64 {
    steps as f64 / time.as_secs_f64() / 1e6
}

fn measure(name: &str, program: &Program) -> Result<(), Infallible> {
    let mut plain = Duration::MAX;
    let mut steps = 0;
    for _ in 0..3 {
        let mut machine = Machine::boot(program, B256::ZERO);
        let begin = Instant::now();
        steps = machine.run(&mut Nobody, u64::MAX)?;
        plain = plain.min(begin.elapsed());
        assert_eq!(machine.status(), Status::Exited, "{name}: {:?}", machine.trap());
    }
    let mut committer = Committer::new(Machine::boot(program, B256::ZERO), Shape::RUN);
    let begin = Instant::now();
    committer.advance(&mut Nobody, u64::MAX, |_| {})?;
    let strides = begin.elapsed();
    let mut machine = Machine::boot(program, B256::ZERO);
    machine.run(&mut Nobody, steps / 2)?;
    machine.state_hash();
    let mut committer = Committer::new(machine, Shape::STRIDE);
    let begin = Instant::now();
    committer.advance(&mut Nobody, u64::MAX, |_| {})?;
    let singles = begin.elapsed();
    println!(
        "{name:12} {steps:>12} instructions {:>6.1} MIPS  strides {:.2}x  2^20 singles {:.2} s",
        mips(steps, plain),
        strides.as_secs_f64() / plain.as_secs_f64(),
        singles.as_secs_f64(),
    );
    Ok(())
}

fn compile(name: &str, rounds: u64, to: &Path) -> Option<Vec<u8>> {
    let source = format!("{}/programs/{name}.c", env!("CARGO_MANIFEST_DIR"));
    let status = Command::new("riscv64-unknown-elf-gcc")
        .args(["-O2", "-march=rv64im", "-mabi=lp64", "-mcmodel=medany", "-nostdlib", "-static"])
        .args(["-ffreestanding", "-Wl,--no-relax", &format!("-DROUNDS={rounds}"), "-o"])
        .arg(to)
        .arg(source)
        .status()
        .ok()?;
    status.success().then(|| std::fs::read(to).ok())?
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("{}", processor());
    let folder = tempfile::tempdir()?;
    for (name, rounds) in PROGRAMS {
        let Some(file) = compile(name, rounds, &folder.path().join(name)) else {
            println!("{name}: riscv64-unknown-elf-gcc cannot compile it here");
            continue;
        };
        let Ok(()) = measure(name, &Program::from_elf(&file)?);
    }
    if let Some(path) = std::env::var_os("ANNEX_RISCV_BENCH") {
        let Ok(()) = measure("named", &Program::from_elf(&std::fs::read(path)?)?);
    }
    Ok(())
}
