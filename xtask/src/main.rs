//! `cargo xtask`: every check and chore of the project, so that a machine and a person run the
//! same commands. Each check is a function from the tree to a list of findings; none has a
//! switch that turns it off.

mod bench;
mod deps;
mod doctor;
mod guest;
mod licence;
mod metadata;
mod pipeline;
mod process;
mod programs;
mod tidy;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "Every check and chore of the project",
    after_help = "Examples:\n  \
        cargo xtask doctor            which tools are missing, and the command that installs each\n  \
        cargo xtask test              everything, in order, stopping at the first failure\n  \
        cargo xtask test --from build skip the stages before `build`\n  \
        cargo xtask soak              half an hour of load and failures, the tests with larger counts, fuzzing\n  \
        cargo xtask deps --write      refresh the dependency table in ARCHITECTURE.md\n  \
        cargo xtask guest --write     rebuild the program that L1 commits to\n  \
        cargo xtask bench             Annex and Anvil alternately, with ratios\n  \
        cargo xtask bench worst-gas   what every kind of block costs the proof machine\n  \
        cargo xtask bench dispute     how long a block of 1,000 transfers takes to be proved wrong"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run everything: checks, contracts, Rust, clients, guest.
    Test {
        /// Begin at this stage (names as printed).
        #[arg(long, value_name = "STAGE")]
        from: Option<String>,
    },
    /// Run half an hour of load, failures and disputes, beside it the tests with larger counts, and then the fuzz targets.
    Soak {
        /// Begin at this stage (names as printed).
        #[arg(long, value_name = "STAGE")]
        from: Option<String>,
        /// Small counts, to see that every part works. Takes minutes.
        #[arg(long)]
        rehearse: bool,
    },
    /// What `.ci/run` runs once the machine has its packages.
    Ci,
    /// Compile the contracts and write their artifacts.
    Bindings {
        /// Write nothing; fail if the committed artifacts differ.
        #[arg(long)]
        check: bool,
    },
    /// Check sizes, links, leftovers and the crate map.
    Tidy,
    /// Check crate arrows against ARCHITECTURE.md, licences and duplicate crates.
    Deps {
        /// Rewrite the table in ARCHITECTURE.md first.
        #[arg(long)]
        write: bool,
    },
    /// Measure Annex and Anvil alternately and print ratios, then run the criterion benches.
    Bench(bench::Options),
    /// Name missing tools and the command that installs each.
    Doctor,
    /// Build the guest program for RV64IM and compare it with the committed one.
    Guest {
        /// Commit to the program as it is built now.
        #[arg(long)]
        write: bool,
        /// Only build one that fails on demand, for tests of FAULT, and print its path.
        #[arg(long, conflicts_with = "write")]
        faulty: bool,
    },
}

/// What stops a command. `Findings` is a check that did its work and found something.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{path}: {source}")]
    File { path: PathBuf, source: std::io::Error },
    #[error("cannot run `{command}`: {source}; `cargo xtask doctor` names missing tools")]
    Spawn { command: String, source: std::io::Error },
    #[error("`{command}` failed ({status})")]
    Command { command: String, status: std::process::ExitStatus },
    #[error("`{command}` printed something else than expected: {source}")]
    Output { command: String, source: serde_json::Error },
    #[error("{check}: {} finding(s)\n{}", findings.len(), findings.join("\n"))]
    Findings { check: &'static str, findings: Vec<String> },
    #[error("no stage is called `{name}`; stages: {known}")]
    UnknownStage { name: String, known: String },
    #[error("missing: {}", tools.join("; "))]
    Missing { tools: Vec<String> },
    #[error("`{what}` did not answer on {url} within {seconds} s")]
    NoAnswer { what: &'static str, url: String, seconds: u64 },
    #[error("`{command}` printed no line with `{field}`")]
    NoFigure { command: String, field: &'static str },
}

type Result<T = ()> = std::result::Result<T, Error>;

/// Turns a check's findings into its result.
fn conclude(check: &'static str, findings: Vec<String>) -> Result {
    if findings.is_empty() { Ok(()) } else { Err(Error::Findings { check, findings }) }
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Test { from } => pipeline::test(from.as_deref()),
        Command::Ci => pipeline::test(None),
        Command::Soak { from, rehearse } => pipeline::soak(from.as_deref(), rehearse),
        Command::Bindings { check } => pipeline::bindings(check),
        Command::Tidy => tidy::run(),
        Command::Deps { write } => deps::run(write),
        Command::Bench(options) => bench::run(&options),
        Command::Doctor => doctor::run(),
        Command::Guest { faulty: true, .. } => guest::faulty().map(|_| ()),
        Command::Guest { write, .. } => guest::run(write),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
