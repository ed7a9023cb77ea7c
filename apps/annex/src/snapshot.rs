//! `annex snapshot`: a node's state in a file, and a node's data directory from it.

use crate::ui;
use annex_l1::{Deployment, DeploymentFileError, L1Client, L1Error};
use annex_node::{
    Base, Export, Opened, SnapshotError, SnapshotInfo, SnapshotStanding, check_snapshot, export,
};
use clap::{Args, Subcommand};
use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressStyle};
use std::{fs::File, io, io::BufReader, path::PathBuf};

#[derive(Debug, Subcommand)]
pub enum SnapshotCommand {
    /// Write the state after a block, and what a node needs to go on from there, to a file
    Export(ExportArgs),
    /// Make a node's data directory from such a file
    Import(ImportArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "Example (while no node runs on the directory):
  annex snapshot export --data-dir follower --out annex.snapshot")]
pub struct ExportArgs {
    /// Data directory of a node that is stopped
    #[arg(long)]
    data_dir: PathBuf,
    /// The file
    #[arg(long)]
    out: PathBuf,
    /// Number of a block whose state is still kept; default: the newest that L1 carries
    #[arg(long, value_name = "NUMBER")]
    block: Option<u64>,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  annex snapshot import --data-dir new --l1 http://127.0.0.1:8545 --deployment deployment.json annex.snapshot
  annex node --data-dir new …")]
pub struct ImportArgs {
    /// Where the node will keep its chain; nothing may be there yet
    #[arg(long)]
    data_dir: PathBuf,
    /// The file
    file: PathBuf,
    /// L1 execution endpoint, to compare the file with the Inbox and what has settled
    #[arg(long, requires = "deployment")]
    l1: Option<String>,
    /// deployment.json of the chain that the file must be of
    #[arg(long)]
    deployment: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub enum SnapshotCliError {
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error(transparent)]
    Deployment(#[from] DeploymentFileError),
    #[error("{0} cannot be read: {1}")]
    File(PathBuf, io::Error),
    #[error("L1: {0}")]
    L1(#[from] L1Error),
}

pub async fn run(command: SnapshotCommand) -> Result<(), SnapshotCliError> {
    match command {
        SnapshotCommand::Export(args) => run_export(&args),
        SnapshotCommand::Import(args) => run_import(args).await,
    }
}

fn bar(length: u64, template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template).expect("the template is well-formed");
    ProgressBar::new(length).with_style(style)
}

fn run_export(args: &ExportArgs) -> Result<(), SnapshotCliError> {
    let progress = bar(0, "{wide_bar} {human_pos}/{human_len} accounts");
    let request = Export { data_dir: &args.data_dir, out: &args.out, block: args.block };
    let written = export(&request, |done, all| {
        progress.set_length(all);
        progress.set_position(done);
    });
    progress.finish_and_clear();
    let info = written?;
    let size =
        std::fs::metadata(&args.out).map_err(|e| SnapshotCliError::File(args.out.clone(), e))?;
    print(&info);
    println!("wrote {} ({})", args.out.display(), HumanBytes(size.len()));
    Ok(())
}

async fn run_import(args: ImportArgs) -> Result<(), SnapshotCliError> {
    let unreadable = |error| SnapshotCliError::File(args.file.clone(), error);
    let file = File::open(&args.file).map_err(unreadable)?;
    let length = file.metadata().map_err(unreadable)?.len();
    let progress = bar(length, "{wide_bar} {bytes}/{total_bytes} {msg}");
    let opened = Opened::new(BufReader::new(progress.wrap_read(file)))?;
    let base = *opened.base();
    let mut standing = None;
    if let Some(path) = &args.deployment {
        let deployment = Deployment::read(path)?;
        opened.expect_chain(&deployment)?;
        if let Some(url) = &args.l1 {
            let client = L1Client::connect(url, &[]).await?;
            client.expect_chain(deployment.l1_chain_id)?;
            standing = Some(check_snapshot(&client, &deployment, &base).await?);
        }
    }
    let imported = opened.import(&args.data_dir, |counts| {
        progress.set_message(format!("{} accounts", HumanCount(counts.accounts)));
    });
    progress.finish_and_clear();
    print(&imported?);
    println!("{}", ui::paint(trust(standing), verdict(standing, &base)));
    Ok(())
}

fn print(info: &SnapshotInfo) {
    let counts = info.counts;
    println!(
        "block {} {}: {} accounts, {} slots, {} codes",
        info.base.block,
        info.block_hash,
        HumanCount(counts.accounts),
        HumanCount(counts.slots),
        HumanCount(counts.codes)
    );
}

fn trust(standing: Option<SnapshotStanding>) -> ui::Paint {
    match standing {
        Some(SnapshotStanding::Settled { .. }) => ui::Paint::Green,
        _ => ui::Paint::Yellow,
    }
}

fn verdict(standing: Option<SnapshotStanding>, base: &Base) -> String {
    let block = base.block;
    let word = "that this is what L1's records lead to rests on whoever gave the file";
    match standing {
        Some(SnapshotStanding::Settled { range: 0 }) => {
            "genesis: there is nothing to check".to_owned()
        }
        Some(SnapshotStanding::Settled { range }) => {
            format!("checked against settled claim {range}")
        }
        Some(SnapshotStanding::Before { block: settled }) => format!(
            "its records are L1's; no settled claim ends in block {block}: {word}, until the node has derived block {settled}, which has settled, and compared it"
        ),
        Some(SnapshotStanding::Unsettled { block: settled }) => format!(
            "its records are L1's; {word}, until a claim covers block {block} (settled so far: block {settled})"
        ),
        None => format!(
            "not compared with L1 (--l1 and --deployment do that, and the node when it starts): {word}"
        ),
    }
}
