//! The one binary.

mod allocator;
mod bench;
mod claims;
mod dev;
mod limits;
mod machine;
mod node;
mod ordering;
mod riscv;
mod rpc_client;
mod snapshot;
mod tx;
mod ui;
mod verify;
mod wallet;

use clap::{Parser, Subcommand};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use std::{io::IsTerminal, process::ExitCode};
use tracing_subscriber::EnvFilter;

/// An Ethereum Layer 2 that nobody stands above
#[derive(Debug, Parser)]
#[command(version, about, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// What to log, as in RUST_LOG: error, warn, info, debug, or per module
    #[arg(long, global = true, env = "RUST_LOG", default_value = "warn,annex=info")]
    log: String,
}

const EXAMPLES: &str = "Examples:
  annex dev                                       an L1 and an L2 with ten funded accounts
  annex node --l1 http://127.0.0.1:8545 --beacon http://127.0.0.1:8545 \\
             --deployment deployment.json --data-dir follower --port 9645
  annex tx 0x5c50… --rpc http://127.0.0.1:9545    how far a transaction is
  annex verify --block safe --l1 http://127.0.0.1:8545   replay a block from its witness
  annex wallet deposit --amount 1.5 --key $KEY    ether from L1 to L2
  annex wallet withdraw --amount 1 --key $KEY     … and back, in three steps
  annex claims watch                              disputes, move by move
  annex bench latency                             what a synchronous send costs";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a whole L1 and L2 for development: contracts deployed, accounts funded
    Dev(Box<dev::DevArgs>),
    /// Run a node of an existing chain
    Node(Box<node::NodeArgs>),
    /// Deploy a chain's contracts to an L1
    Deploy(node::DeployArgs),
    /// Show how far a transaction is and what that guarantees
    Tx(tx::TxArgs),
    /// Replay a block from its witness, natively and in the proof machine
    Verify(Box<verify::VerifyArgs>),
    /// Show what is claimed on L1, who made it and who disputes it
    Claims(claims::ClaimsArgs),
    /// Measure a node, this one or any other Ethereum node
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Move ether and tokens between L1 and L2
    #[command(subcommand)]
    Wallet(wallet::Wallet),
    /// A node's state in a file, and a node from it
    #[command(subcommand)]
    Snapshot(snapshot::SnapshotCommand),
    /// The machine that proofs are made with
    #[command(subcommand)]
    Riscv(riscv::Riscv),
}

/// Everything a command can end with; each says what to do.
#[derive(Debug, thiserror::Error)]
enum CliError {
    #[error(transparent)]
    Dev(#[from] dev::RunError),
    #[error(transparent)]
    Node(#[from] node::RunError),
    #[error(transparent)]
    Tx(#[from] tx::TxError),
    #[error(transparent)]
    Verify(#[from] verify::VerifyCliError),
    #[error(transparent)]
    Claims(#[from] claims::ClaimsError),
    #[error(transparent)]
    Bench(#[from] bench::BenchError),
    #[error(transparent)]
    Snapshot(#[from] snapshot::SnapshotCliError),
    #[error(transparent)]
    Wallet(#[from] wallet::WalletError),
    #[error("the runtime cannot start: {0}")]
    Runtime(#[from] std::io::Error),
}

fn main() -> ExitCode {
    allocator::configure();
    let cli = Cli::parse();
    // It needs neither log nor runtime, and ends with the program's exit code.
    if let Command::Riscv(command) = cli.command {
        return riscv::run(command);
    }
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(&cli.log))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    raise_file_limit();
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Connections and files: as many as the system lets this process have.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

fn run(command: Command) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match command {
            Command::Dev(args) => Ok(dev::run(*args).await?),
            Command::Node(args) => Ok(node::run(*args).await?),
            Command::Deploy(args) => Ok(node::deploy(args).await?),
            Command::Tx(args) => Ok(tx::run(args).await?),
            Command::Verify(args) => Ok(verify::run(*args).await?),
            Command::Claims(args) => Ok(claims::run(args).await?),
            Command::Bench(bench) => Ok(bench::run(bench).await?),
            Command::Wallet(wallet) => Ok(wallet::run(wallet).await?),
            Command::Snapshot(command) => Ok(snapshot::run(command).await?),
            Command::Riscv(_) => unreachable!("`main` has run it"),
        }
    })
}

/// Installs the recorder behind `/metrics`.
fn metrics() -> PrometheusHandle {
    PrometheusBuilder::new().install_recorder().expect("installed once, by this process")
}

/// Resolves on SIGINT or SIGTERM.
async fn interrupted() -> std::io::Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        result = tokio::signal::ctrl_c() => result,
        _ = terminate.recv() => Ok(()),
    }
}
