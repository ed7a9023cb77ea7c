use alloy_primitives::B256;
use annex_riscv::{ElfError, Host, Machine, PreimageKind, Program, Status, Trap};
use clap::{Args, Subcommand};
use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

#[derive(Debug, Subcommand)]
pub enum Riscv {
    /// Run a static RV64IM program: ELF, Linux's calls write and exit
    #[command(after_help = "Ends with the program's exit code; 255 if it traps, 254 if it cannot \
run to its end here.

Example:
  annex riscv run rv64ui-p-add --stats")]
    Run(RunArgs),
}

#[derive(Debug, Args)]
pub struct RunArgs {
    /// The ELF file; its segments are loaded at their own addresses
    file: PathBuf,
    /// Give up after this many instructions
    #[arg(long)]
    limit: Option<u64>,
    /// Print instructions, speed and memory to standard error
    #[arg(long)]
    stats: bool,
}

const TRAPPED: u8 = 255;
const UNFINISHED: u8 = 254;

/// Why a program did not end by itself.
#[derive(Debug, thiserror::Error)]
enum RiscvError {
    #[error("{path}: {source}", path = .path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{path}: {source}", path = .path.display())]
    Elf { path: PathBuf, source: ElfError },
    #[error("trap at pc {pc:#x}, instruction {instruction:#010x}: {reason}")]
    Trap { pc: u64, instruction: u32, reason: Trap },
    #[error("still running after {0} instructions, as many as --limit allows")]
    Limit(u64),
    #[error("the program asks for the preimage of {0}; this command has none")]
    Preimage(B256),
    #[error("cannot pass on what the program writes: {0}")]
    Output(#[from] io::Error),
}

/// The standard streams; no preimages.
struct Console {
    stdout: io::Stdout,
    /// The first failure to write.
    failed: Option<io::Error>,
}

impl Host for Console {
    type Error = RiscvError;

    fn preimage(&mut self, _: PreimageKind, key: B256, _: u32) -> Result<(B256, u64), RiscvError> {
        Err(RiscvError::Preimage(key))
    }

    fn write(&mut self, fd: u64, bytes: &[u8]) {
        let result = match fd {
            1 => self.stdout.write_all(bytes),
            2 => self.stdout.flush().and_then(|()| io::stderr().write_all(bytes)),
            _ => Ok(()),
        };
        if let Err(error) = result {
            self.failed.get_or_insert(error);
        }
    }
}

pub fn run(riscv: Riscv) -> ExitCode {
    let Riscv::Run(args) = riscv;
    match execute(&args) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("error: {error}");
            let trapped = matches!(error, RiscvError::Trap { .. });
            ExitCode::from(if trapped { TRAPPED } else { UNFINISHED })
        }
    }
}

fn execute(args: &RunArgs) -> Result<u8, RiscvError> {
    let path = || args.file.clone();
    let file =
        std::fs::read(&args.file).map_err(|source| RiscvError::File { path: path(), source })?;
    let program =
        Program::from_elf(&file).map_err(|source| RiscvError::Elf { path: path(), source })?;
    let mut machine = Machine::boot(&program, B256::ZERO);
    let mut console = Console { stdout: io::stdout(), failed: None };
    let begin = Instant::now();
    let ended = machine.run(&mut console, args.limit.unwrap_or(u64::MAX));
    let time = begin.elapsed();
    console.stdout.flush()?;
    if args.stats {
        print_stats(&machine, time);
    }
    ended?;
    if let Some(error) = console.failed {
        return Err(error.into());
    }
    match (machine.status(), machine.trap()) {
        (Status::Exited, _) => Ok(machine.exit_code()),
        (Status::Trapped, Some(reason)) => {
            let mut instruction = [0; 4];
            machine.read_memory(machine.pc(), &mut instruction);
            let instruction = u32::from_le_bytes(instruction);
            Err(RiscvError::Trap { pc: machine.pc(), instruction, reason })
        }
        _ => Err(RiscvError::Limit(machine.steps())),
    }
}

fn print_stats(machine: &Machine, time: Duration) {
    let mips = machine.steps() as f64 / time.as_secs_f64() / 1e6;
    eprintln!(
        "{} instructions in {:.3} s, {mips:.1} MIPS, {} KiB of memory",
        machine.steps(),
        time.as_secs_f64(),
        machine.resident_bytes() / 1024,
    );
}
