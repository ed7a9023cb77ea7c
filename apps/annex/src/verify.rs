//! `annex verify`: asks a node and L1 for everything, believes neither where a hash can tell.

mod l1;

use crate::rpc_client::{RpcClient, RpcError, parse_quantity};
use alloy_eips::eip4844::Blob;
use alloy_primitives::{B256, Bytes, U64, keccak256};
use alloy_sol_types::SolValue;
use annex_claim::Kind;
use annex_l1::{Deployment, DeploymentFileError, L1Client, L1Error, contracts::Inbox};
use annex_node::verify::{
    Claim, CommitError, MAX_STEPS, MachineRun, PartError, ServedBlock, Step, VerifyError,
    WitnessPages, check_records, claim, commit, decode_block, disassemble, prove, replay,
    run as run_machine, take,
};
use annex_node::{ClaimStart, ExecutionWitness, RecordJson, WitnessPage};
use annex_riscv::{ElfError, Program, Shape, ShapeError};
use annex_types::{BatchData, ExtraData, Record, RecordPayload};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::{io, num::ParseIntError, path::PathBuf, str::FromStr, time::Duration};

/// The program of spec/claim.md.
const GUEST: &[u8] =
    include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../guest/annex-guest.elf"));
/// Records asked for at once.
const PAGE: u64 = 256;
/// Records that a node may make us read; a walk over more would not fit a proof's time either (spec/claim.md).
const MAX_RECORDS: u64 = 1 << 22;
/// Bytes of their payloads, of which a step reads a batch's data from the last one alone.
const MAX_PAYLOADS: usize = 1 << 30;

#[derive(Debug, Args)]
#[command(
    about = "Replay a block from its witness, natively and in the proof machine",
    after_help = "Ends with 1 if anything does not hold, and says what.

Examples:
  annex verify --block safe --l1 http://127.0.0.1:8545            the newest block that L1 carries
  annex verify --block 7 --l1 http://127.0.0.1:8545 --step 1000000   L1 executes instruction 1,000,000 of it
  annex verify --block 7 --l1 http://127.0.0.1:8545 --step preimage  … its first preimage call
  annex verify --block latest --native                            a block that is not on L1 yet
  annex verify --block 7 --l1 http://127.0.0.1:8545 --commit      commit to every 2^20th state of the run"
)]
pub struct VerifyArgs {
    /// Number, or latest, safe, finalized
    #[arg(long)]
    block: String,
    /// The node that serves the witness
    #[arg(long, default_value = "http://127.0.0.1:9545")]
    rpc: String,
    /// L1 endpoint: vouches for records, serves blobs, executes single instructions
    #[arg(long)]
    l1: Option<String>,
    /// L1 beacon endpoint, for blobs; may be repeated. Default: where --l1 is
    #[arg(long, requires = "l1")]
    beacon: Vec<String>,
    /// deployment.json of the chain; default: what the node says
    #[arg(long)]
    deployment: Option<PathBuf>,
    /// Leave the machine out
    #[arg(long, conflicts_with_all = ["step", "commit"])]
    native: bool,
    /// Have L1's Machine contract execute one instruction of the run: how many come before it, or preimage or blob for the
    /// first call that reads one
    #[arg(long, value_name = "K", value_parser = parse_step, requires = "l1")]
    step: Option<Step>,
    /// Commit to the states of the run
    #[arg(long)]
    commit: bool,
    /// Instructions between two states of the commitment, as a power of two
    #[arg(long, default_value_t = 20, requires = "commit")]
    stride_log2: u8,
    /// States in the commitment, as a power of two
    #[arg(long, default_value_t = 20, requires = "commit")]
    leaves_log2: u8,
    /// Where an unfinished commitment is kept; default: annex-commit-<block>.bin
    #[arg(long, requires = "commit")]
    file: Option<PathBuf>,
    /// Another program for the machine than the built-in one
    #[arg(long, value_name = "ELF")]
    guest: Option<PathBuf>,
}

fn parse_step(text: &str) -> core::result::Result<Step, ParseIntError> {
    match text {
        "preimage" => Ok(Step::Preimage(Kind::Keccak)),
        "blob" => Ok(Step::Preimage(Kind::Blob)),
        number => u64::from_str(&number.replace('_', "")).map(Step::At),
    }
}

#[derive(Debug, thiserror::Error)]
pub enum VerifyCliError {
    #[error(transparent)]
    Rpc(#[from] RpcError),
    #[error("{method}: {source}; is it an Annex node?")]
    Shape { method: &'static str, source: serde_json::Error },
    #[error(transparent)]
    Deployment(#[from] DeploymentFileError),
    #[error("L1: {0}")]
    L1(#[from] L1Error),
    #[error("{0} is no block number, and not latest, safe or finalized")]
    Block(String),
    #[error("records {first} to {last} have more than {MAX_PAYLOADS} bytes of payload")]
    Payloads { first: u64, last: u64 },
    #[error("the node has no block {0}")]
    UnknownBlock(String),
    #[error(transparent)]
    Verify(#[from] VerifyError),
    #[error("block {number}: {source}")]
    ExtraData { number: u64, source: annex_types::block::ExtraDataError },
    #[error("the Inbox {inbox} on L1 has another configuration than the node says")]
    Config { inbox: alloy_primitives::Address },
    #[error("record {index}: the node says accumulator {node}, the Inbox on L1 has {l1}")]
    L1Accumulator { index: u64, node: B256, l1: B256 },
    #[error("the batch of block {0} is in blobs: name an L1 that has them with --l1")]
    NeedsL1(u64),
    #[error(
        "block {0} is not on L1 yet: it has no leaf, so there is no run to commit to or to take an instruction of"
    )]
    NoLeaf(u64),
    #[error("{path}: {source}", path = .path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("not a program for the machine: {0}")]
    Elf(#[from] ElfError),
    #[error(transparent)]
    Commitment(#[from] CommitError),
    #[error("--stride-log2, --leaves-log2: {0}")]
    ShapeOfCommitment(#[from] ShapeError),
    #[error(transparent)]
    Part(#[from] PartError),
    #[error("the leaves differ: native {native}, machine {machine}")]
    Leaves { native: B256, machine: B256 },
    #[error("the Machine on L1 disagrees: {what} is {l1} there, {here} here")]
    Step { what: &'static str, l1: B256, here: B256 },
    #[error("the Machine on L1 refuses: {0}")]
    Refused(Bytes),
    #[error("a task ended unexpectedly")]
    Ended,
}

type Result<T> = core::result::Result<T, VerifyCliError>;

pub async fn run(args: VerifyArgs) -> Result<()> {
    let fetcher = Fetcher::connect(&args).await?;
    let (number, safe) = fetcher.number(&args.block).await?;
    let raw: Bytes = fetcher.get("debug_getRawBlock", json!([U64::from(number)])).await?;
    let block = decode_block(number, &raw)?;
    println!(
        "block {number}  {}\n  {} transactions, {} gas",
        block.hash,
        block.transactions.len(),
        grouped(block.header.gas_used)
    );
    let bar = spinner("the node builds the witness");
    let witness = fetcher.witness(number).await;
    bar.finish_and_clear();
    let witness = witness?;
    print_witness(&witness);
    if number > safe {
        if args.step.is_some() || args.commit {
            return Err(VerifyCliError::NoLeaf(number));
        }
        return unposted(&fetcher, &block, &witness).await;
    }
    let claim = fetcher.claim(&block, &witness).await?;
    let (taken, time) = take(&claim, &block, &witness)?;
    let leaf = taken.leaf.hash();
    println!("native   leaf {leaf}\n  in {time:.2?}");
    if args.native {
        return Ok(());
    }
    let program = program(&args)?;
    if let Some(step) = args.step {
        return l1::step(&fetcher, program, claim, step).await;
    }
    if args.commit {
        return commitment(&args, number, program, claim).await;
    }
    let machine = in_machine(program, claim).await?;
    print_run(&machine);
    if machine.leaf != leaf {
        return Err(VerifyCliError::Leaves { native: leaf, machine: machine.leaf });
    }
    println!("both leaves agree");
    Ok(())
}

async fn unposted(
    fetcher: &Fetcher,
    block: &ServedBlock,
    witness: &ExecutionWitness,
) -> Result<()> {
    let number = block.header.number;
    let extra = ExtraData::decode(&block.header.extra_data)
        .map_err(|source| VerifyCliError::ExtraData { number, source })?;
    let config = fetcher.deployment.chain_config();
    // The record before it tells the accumulator that its own is made with.
    let first = extra.origin.saturating_sub(1);
    let served = fetcher.record_page(first, extra.origin - first + 1).await?;
    let records = match served.split_first() {
        Some((before, rest)) if first < extra.origin => {
            check_records(rest, extra.origin, before.accumulator)?
        }
        _ => check_records(&served, first, B256::ZERO)?,
    };
    let origin = records.last().ok_or(VerifyError::Gap { index: extra.origin, sent: first })?;
    fetcher.check_accumulator(origin).await?;
    let time = replay(&config, block, witness, origin)?;
    println!("native   the same block\n  in {time:.2?}");
    println!("block {number} is not on L1 yet: it has no leaf");
    Ok(())
}

struct Fetcher {
    rpc: RpcClient,
    deployment: Deployment,
    l1: Option<L1Client>,
}

impl Fetcher {
    async fn connect(args: &VerifyArgs) -> Result<Self> {
        let rpc = RpcClient::new(&args.rpc);
        let deployment = match &args.deployment {
            Some(path) => Deployment::read(path)?,
            None => {
                let method = "annex_deployment";
                let answer = rpc.call(method, json!([])).await?;
                serde_json::from_value(answer)
                    .map_err(|source| VerifyCliError::Shape { method, source })?
            }
        };
        let l1 = match &args.l1 {
            Some(url) => Some(L1Client::connect(url, &args.beacon).await?),
            None => None,
        };
        let fetcher = Self { rpc, deployment, l1 };
        fetcher.check_config().await?;
        Ok(fetcher)
    }

    async fn get<T: DeserializeOwned>(&self, method: &'static str, params: Value) -> Result<T> {
        let answer = self.rpc.call(method, params).await?;
        serde_json::from_value(answer).map_err(|source| VerifyCliError::Shape { method, source })
    }

    /// The Inbox's configuration is what everything is derived with.
    async fn check_config(&self) -> Result<()> {
        let Some(l1) = &self.l1 else { return Ok(()) };
        l1.expect_chain(self.deployment.l1_chain_id)?;
        let inbox = self.deployment.contracts.inbox;
        let config = l1.read(inbox, &Inbox::configCall {}).await?;
        if keccak256(config.abi_encode()) != self.deployment.chain_config().hash() {
            return Err(VerifyCliError::Config { inbox });
        }
        Ok(())
    }

    /// Number of the block that is meant, and of the newest one that L1 carries.
    async fn number(&self, block: &str) -> Result<(u64, u64)> {
        let safe = self.tag("safe").await?;
        let number = match block {
            "safe" => safe,
            "latest" | "finalized" => self.tag(block).await?,
            number => {
                let parsed = number
                    .strip_prefix("0x")
                    .map_or_else(|| number.parse().ok(), |hex| u64::from_str_radix(hex, 16).ok());
                parsed.ok_or_else(|| VerifyCliError::Block(number.to_owned()))?
            }
        };
        Ok((number, safe))
    }

    async fn tag(&self, tag: &str) -> Result<u64> {
        let block = self.rpc.call("eth_getBlockByNumber", json!([tag, false])).await?;
        let number = parse_quantity(&block["number"]).and_then(|n| u64::try_from(n).ok());
        number.ok_or_else(|| VerifyCliError::UnknownBlock(tag.to_owned()))
    }

    async fn witness(&self, number: u64) -> Result<ExecutionWitness> {
        let mut pages = WitnessPages::default();
        loop {
            let from = json!([U64::from(number), U64::from(pages.next())]);
            let page: WitnessPage = self.get("annex_executionWitness", from).await?;
            if pages.add(page)? {
                return Ok(pages.finish());
            }
        }
    }

    /// The records of a step, each page checked before the next one is asked for: they follow each other, and are L1's.
    async fn records(&self, first: u64, last: u64, mut previous: B256) -> Result<Vec<Record>> {
        if last.checked_sub(first).is_none_or(|behind| behind > MAX_RECORDS) {
            return Err(VerifyError::Records { from: first, to: last }.into());
        }
        let (mut records, mut payloads) = (Vec::new(), 0);
        for page in (first..=last).step_by(PAGE as usize) {
            let count = PAGE.min(last + 1 - page);
            let served = self.record_page(page, count).await?;
            payloads += served.iter().map(|record| record.payload.len()).sum::<usize>();
            if payloads > MAX_PAYLOADS {
                return Err(VerifyCliError::Payloads { first, last });
            }
            let checked = check_records(&served, page, previous)?;
            let newest = checked.last().filter(|_| checked.len() as u64 == count);
            let newest = newest.ok_or(VerifyError::Records { from: page, to: page + count - 1 })?;
            self.check_accumulator(newest).await?;
            previous = newest.accumulator;
            records.extend(checked);
        }
        Ok(records)
    }

    async fn record_page(&self, first: u64, count: u64) -> Result<Vec<RecordJson>> {
        self.get("annex_records", json!([U64::from(first), U64::from(count)])).await
    }

    async fn check_accumulator(&self, record: &Record) -> Result<()> {
        let Some(l1) = &self.l1 else { return Ok(()) };
        let index = alloy_primitives::U256::from(record.index);
        let call = Inbox::accumulatorCall { index };
        let found = l1.read(self.deployment.contracts.inbox, &call).await?;
        if found != record.accumulator {
            let (index, node) = (record.index, record.accumulator);
            return Err(VerifyCliError::L1Accumulator { index, node, l1: found });
        }
        Ok(())
    }

    /// Everything that the step reads which makes the block.
    async fn claim(&self, block: &ServedBlock, witness: &ExecutionWitness) -> Result<Claim> {
        let number = block.header.number;
        let start: ClaimStart = self.get("annex_claimInput", json!([U64::from(number)])).await?;
        let (first, last): (u64, u64) = (start.first_record.to(), start.record.to());
        let records = self.records(first, last, start.previous).await?;
        let record = records.last().ok_or(VerifyError::Records { from: first, to: last })?;
        let blobs = self.blobs(number, record).await?;
        let index: u64 = start.index.to();
        let part = if index == u64::MAX {
            "after its payload".to_owned()
        } else {
            format!("block {index} of its payload")
        };
        println!(
            "record {last}, {part}\n  {} records and {} blobs read",
            records.len(),
            blobs.len()
        );
        match &self.l1 {
            Some(_) => {
                println!("  as the Inbox {} on L1 has them", self.deployment.contracts.inbox)
            }
            None => println!("  not compared with L1: no --l1 given"),
        }
        let config = self.deployment.chain_config();
        Ok(claim(&config, block, &start, &records, &blobs, witness)?)
    }

    async fn blobs(&self, number: u64, record: &Record) -> Result<Vec<Blob>> {
        let RecordPayload::Batch(batch) = &record.payload else { return Ok(Vec::new()) };
        let BatchData::Blobs(hashes) = &batch.data else { return Ok(Vec::new()) };
        let l1 = self.l1.as_ref().ok_or(VerifyCliError::NeedsL1(number))?;
        let blobs = l1.blobs(record.env.l1_block_number, hashes).await?;
        Ok(blobs.into_iter().map(|blob| *blob).collect())
    }
}

fn program(args: &VerifyArgs) -> Result<Program> {
    Ok(match &args.guest {
        None => Program::from_elf(GUEST)?,
        Some(path) => {
            let file = |source| VerifyCliError::File { path: path.clone(), source };
            Program::from_elf(&std::fs::read(path).map_err(file)?)?
        }
    })
}

/// Runs what takes long beside the runtime.
async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|_| VerifyCliError::Ended)
}

async fn in_machine(program: Program, claim: Claim) -> Result<MachineRun> {
    let bar = spinner("the machine boots");
    let shown = bar.clone();
    let done =
        beside(move || run_machine(&program, &claim, MAX_STEPS, |steps| show_steps(&shown, steps)));
    let done = done.await?;
    bar.finish_and_clear();
    Ok(done?)
}

async fn commitment(args: &VerifyArgs, number: u64, program: Program, claim: Claim) -> Result<()> {
    let shape = Shape::new(args.stride_log2, args.leaves_log2)?;
    let file =
        args.file.clone().unwrap_or_else(|| PathBuf::from(format!("annex-commit-{number}.bin")));
    println!("progress is kept in {}", file.display());
    let bar = spinner("the machine boots");
    let shown = bar.clone();
    let begin = std::time::Instant::now();
    let done = beside(move || {
        commit(&program, &claim, shape, &file, |progress| {
            show_steps(&shown, progress.steps);
        })
    });
    let done = done.await?;
    bar.finish_and_clear();
    let commitment = done?;
    println!(
        "commitment {}\n  {} states, one every {} instructions, until the run ends; in {:.2?}",
        commitment.root(),
        grouped(commitment.known_leaves()),
        grouped(shape.stride()),
        begin.elapsed()
    );
    Ok(())
}

fn print_witness(witness: &ExecutionWitness) {
    let bytes = |list: &[Bytes]| list.iter().map(|entry| entry.len()).sum::<usize>();
    println!(
        "witness  {} trie nodes, {} codes, {} bytes",
        grouped(witness.state.len() as u64),
        witness.codes.len(),
        grouped((bytes(&witness.state) + bytes(&witness.codes)) as u64)
    );
}

fn print_run(run: &MachineRun) {
    let MachineRun { leaf, succeeded, steps, time, resident, printed } = run;
    println!(
        "machine  leaf {leaf}{}\n  in {time:.2?}: {} instructions, {:.0} MIPS, {:.1} MB of memory",
        if *succeeded { "" } else { " (FAULT: the program failed)" },
        grouped(*steps),
        *steps as f64 / time.as_secs_f64() / 1e6,
        *resident as f64 / 1e6
    );
    if !printed.is_empty() {
        println!("  it printed: {}", printed.trim_end());
    }
}

fn spinner(message: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {elapsed} {msg}");
    let bar = ProgressBar::new_spinner()
        .with_style(style.expect("a fixed template"))
        .with_message(message);
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

fn show_steps(bar: &ProgressBar, steps: u64) {
    let seconds = bar.elapsed().as_secs_f64().max(0.001);
    let mips = steps as f64 / seconds / 1e6;
    bar.set_message(format!("{} instructions, {mips:.0} MIPS", grouped(steps)));
}

/// With a comma before every third digit from the right.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_grouped_and_steps_parsed() {
        let text = [0, 999, 1_000, 1_234_567].map(grouped);
        assert_eq!(text, ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(parse_step("1_000"), Ok(Step::At(1_000)));
        assert_eq!(parse_step("blob"), Ok(Step::Preimage(Kind::Blob)));
        assert!(parse_step("-1").is_err());
    }

    #[test]
    fn the_built_in_program_is_one() {
        assert!(Program::from_elf(GUEST).is_ok());
    }
}
