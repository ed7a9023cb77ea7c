use crate::{limits::LimitArgs, ordering::OrderingArgs};
use annex_node::{Dev, DevConfig, DevError, Lie, NodeError};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use std::{
    io,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  annex dev
  annex dev --data-dir ~/annex-dev --port 9545      keeps both chains; run it again to go on
  annex dev --l1 http://127.0.0.1:8545              on a running Anvil (--hardfork osaka)
  annex dev --with-liar=fault                       somebody claims that the chain has failed, and loses the bond
  annex dev --ordering priority                     the highest tip first, of what arrives within 5 ms")]
pub struct DevArgs {
    /// Port of the L2 (JSON-RPC over HTTP and WebSocket, /health, /metrics)
    #[arg(long, default_value_t = 9545)]
    port: u16,
    /// Port of the embedded L1 (JSON-RPC and Beacon API)
    #[arg(long, default_value_t = 8545)]
    l1_port: u16,
    /// Use this L1, which must fund the accounts of the mnemonic "test test … junk"
    #[arg(long)]
    l1: Option<String>,
    /// Seconds between blocks of the embedded L1
    #[arg(long, default_value_t = 2)]
    l1_block_time: u64,
    /// Gas limit of the embedded L1's blocks
    #[arg(long, default_value_t = 60_000_000)]
    l1_gas_limit: u64,
    /// Where both chains are kept and resumed; default: a folder that is removed at the end
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Have somebody claim what is false, and lose the bond: `output` (the default), `commitment` (true output, false
    /// commitment), `first-instruction`, `last-instruction`, `fault`, `late` (moves at the last moment), `idle` (never moves),
    /// `several=N` liars at once
    #[arg(long, value_name = "LIE", num_args = 0..=1, require_equals = true, default_missing_value = "output")]
    with_liar: Option<Lie>,
    #[command(flatten)]
    ordering: OrderingArgs,
    #[command(flatten)]
    limits: LimitArgs,
}

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Dev(Box<DevError>),
    #[error("{0}")]
    Node(Arc<NodeError>),
    #[error("a folder for the chains cannot be made: {0}; name one with --data-dir")]
    DataDir(io::Error),
    #[error("signals cannot be handled: {0}")]
    Signal(io::Error),
}

impl From<DevError> for RunError {
    fn from(error: DevError) -> Self {
        Self::Dev(Box::new(error))
    }
}

pub async fn run(args: DevArgs) -> Result<(), RunError> {
    let started = Instant::now();
    let temporary = match &args.data_dir {
        Some(_) => None,
        None => Some(tempfile::tempdir().map_err(RunError::DataDir)?),
    };
    let data_dir = match (&args.data_dir, &temporary) {
        (Some(dir), _) => dir.clone(),
        (None, Some(dir)) => dir.path().to_owned(),
        (None, None) => unreachable!("one of the two was just made"),
    };
    let config = DevConfig {
        port: args.port,
        l1_port: args.l1_port,
        l1: args.l1,
        l1_block_time: Duration::from_secs(args.l1_block_time.max(1)),
        l1_gas_limit: args.l1_gas_limit,
        data_dir: data_dir.clone(),
        with_liar: args.with_liar,
        ordering: args.ordering.ordering(),
        pool: args.ordering.pool(),
        limits: args.limits.limits(),
    };
    let style = ProgressStyle::with_template("{spinner} starting L1 and L2 ({elapsed})");
    let spinner = ProgressBar::new_spinner().with_style(style.expect("a fixed template"));
    spinner.enable_steady_tick(Duration::from_millis(100));
    let dev = Dev::start(config, crate::metrics()).await;
    spinner.finish_and_clear();
    let mut dev = dev?;
    print(&dev, started.elapsed(), &data_dir);
    let result = tokio::select! {
        signal = crate::interrupted() => signal.map_err(RunError::Signal),
        error = dev.node.failed() => Err(RunError::Node(error)),
    };
    println!("stopping");
    dev.stop().await;
    result
}

fn print(dev: &Dev, took: Duration, data_dir: &std::path::Path) {
    let l2 = dev.node.addr();
    let contracts = &dev.deployment.contracts;
    let verb = if dev.resumed { "resumed" } else { "ready" };
    println!("Annex is {verb} after {:.1} s", took.as_secs_f64());
    println!();
    println!("L2   http://{l2}   ws://{l2}   chain id {}", dev.deployment.l2_chain_id);
    println!("L1   {}   chain id {}", dev.l1_url, dev.deployment.l1_chain_id);
    println!("deployment   {}", data_dir.join("deployment.json").display());
    println!("portal {}   inbox {}", contracts.portal, contracts.inbox);
    println!("claims {}   tournament {}", contracts.claims, contracts.tournament);
    println!();
    println!(
        "accounts, each with 1000 ether deposited through the portal (keys known to everybody):"
    );
    for account in &dev.accounts {
        println!("  {}   {}", account.address, account.key());
    }
    let (from, to) = (&dev.accounts[0], &dev.accounts[1]);
    println!();
    println!("try:");
    println!(
        "  cast send {} --value 1ether --rpc-url http://{l2} --private-key {}",
        to.address,
        from.key()
    );
    println!("  cast balance {} --rpc-url http://{l2} --ether", to.address);
    let chains = format!("--rpc http://{l2} --l1 {}", dev.l1_url);
    println!("  annex wallet withdraw --amount 1 --key {} {chains}", from.key());
    println!("  annex claims watch {chains}");
}
