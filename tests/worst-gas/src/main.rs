//! Prints what every kind of block costs the proof machine: the table of `spec/proof-cost.md`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use annex_riscv::Program;
use annex_worst_gas::{MAX_STEPS, Measured, cases, measure};
use clap::Parser;

/// The block gas limit.
const BLOCK_GAS: u64 = 30_000_000;

#[derive(Parser)]
#[command(about = "What every kind of block costs the proof machine")]
struct Options {
    /// Gas of each measured block; figures of a full block are extrapolated.
    #[arg(long, default_value_t = 3_000_000)]
    gas: u64,
    /// Only cases whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// The guest program.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../../apps/guest/annex-guest.elf"))]
    program: PathBuf,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let elf = match std::fs::read(&options.program) {
        Ok(elf) => elf,
        Err(error) => {
            eprintln!(
                "error: {}: {error}; `cargo xtask guest` builds it",
                options.program.display()
            );
            return ExitCode::FAILURE;
        }
    };
    let program = match Program::from_elf(&elf) {
        Ok(program) => program,
        Err(error) => {
            eprintln!("error: {}: {error}", options.program.display());
            return ExitCode::FAILURE;
        }
    };
    let chosen: Vec<_> =
        cases().into_iter().filter(|case| case.name.contains(&options.only)).collect();
    let mut rows = Vec::new();
    for (at, case) in chosen.iter().enumerate() {
        // Progress belongs to a person, the table to a file.
        eprint!("\r[{}/{}] {:<40}", at + 1, chosen.len(), case.name);
        let _ = std::io::stderr().flush();
        rows.push((case.name.as_str(), measure(&program, case.build(options.gas))));
    }
    eprintln!("\r{:<60}", "");
    rows.sort_by(|(_, a), (_, b)| b.cost.steps_per_gas().total_cmp(&a.cost.steps_per_gas()));
    print(&rows, options.gas);
    ExitCode::SUCCESS
}

fn print(rows: &[(&str, Measured)], gas: u64) {
    println!(
        "Blocks of {gas} gas; a full block has {BLOCK_GAS}. At most 2^36 = {MAX_STEPS} instructions are allowed.\n"
    );
    println!(
        "| block full of | instructions a gas | full block, G | of 2^36 | witness bytes a gas | memory, MiB | MIPS | native, ms |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|--:|");
    for (name, Measured { cost, native, machine }) in rows {
        // What does not grow with gas is not extrapolated.
        let grows = cost.gas * 2 > gas;
        let full = if grows { cost.steps_per_gas() * BLOCK_GAS as f64 } else { cost.steps as f64 };
        println!(
            "| {name} | {} | {:.1} | {:.1} % | {:.2} | {:.0} | {:.0} | {:.0} |",
            if grows { format!("{:.0}", cost.steps_per_gas()) } else { "fixed".into() },
            full / 1e9,
            100.0 * full / MAX_STEPS as f64,
            cost.witness as f64 / cost.gas.max(1) as f64,
            cost.memory as f64 / f64::from(1 << 20),
            cost.steps as f64 / machine.as_secs_f64() / 1e6,
            native.as_secs_f64() * 1e3,
        );
    }
}
