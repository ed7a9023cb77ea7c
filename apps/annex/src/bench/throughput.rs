use super::{
    BenchError, Target,
    load::{Load, LoadArgs, Tally},
    process,
};
use crate::{
    machine,
    rpc_client::{RpcClient, RpcError, parse_quantity},
};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use std::{sync::atomic::Ordering::Relaxed, time::Duration};
use tokio::time::{Instant, sleep, sleep_until};

/// Seconds of a trial run, which says how much has to be signed.
const TRIAL: u64 = 3;
/// A load that need not be signed while it runs is taken faster by this at most.
const FASTER: f64 = 2.2;
/// Calls in one batch.
const CHUNK: usize = 500;
/// Blocks of which receipts are looked at.
const SAMPLED_BLOCKS: usize = 12;
/// Of each of them about so many.
const SAMPLED_RECEIPTS: usize = 50;
/// How often it is asked whether the node has refused.
const TICK: Duration = Duration::from_millis(20);
/// For everything that was accepted to be sealed.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Debug, Args)]
pub struct Throughput {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    load: LoadArgs,
    /// Length of the measurement
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Seconds of load before the measurement begins
    #[arg(long, default_value_t = 5)]
    warm_up: u64,
    /// Transactions a second, instead of as many as the node takes
    #[arg(long)]
    rate: Option<u32>,
    /// End the measurement when the node refuses; else go on at its pace and price
    #[arg(long)]
    stop_when_refused: bool,
    /// The node's process, to say what processor time and memory it takes
    #[arg(long)]
    pid: Option<u32>,
}

/// What stands at one moment of the run.
struct Mark {
    at: Instant,
    head: u64,
    accepted: u64,
    client_cpu: u64,
    node: Option<process::Usage>,
}

/// The measurement.
struct Figures {
    seconds: f64,
    sealed: u64,
    accepted: u64,
    /// With what was accepted before and after the measurement, once all of it was sealed.
    sealed_in_all: u64,
    accepted_in_all: u64,
    refused: u64,
    signed_late: u64,
    first_block: u64,
    last_block: u64,
    client_cpu: u64,
    node_cpu: Option<u64>,
    node_rss: Option<u64>,
    /// Transactions that are sealed and not safe at the end, where the node says what is safe.
    unsafe_transactions: Option<u64>,
    /// Until everything accepted was sealed.
    drain: Duration,
    /// Failed ones among the receipts looked at.
    failed: usize,
    receipts: usize,
}

pub async fn run(options: Throughput) -> Result<(), BenchError> {
    let Throughput { target, load: args, seconds, warm_up, rate, stop_when_refused, pid } = options;
    let client = RpcClient::new(&target.rpc);
    let mut load = Load::prepare(&target, &args).await?;
    let bar = progress(target.json);
    bar.set_message("trial run");
    let most = match rate {
        Some(rate) => f64::from(rate) * 1.1,
        None => trial(&mut load).await? * FASTER,
    };
    bar.set_message("signing");
    load.sign((most * (seconds + warm_up) as f64) as usize);
    bar.set_message("measuring");
    // From here on every transaction in a block is one of those counted.
    let before = quiet_head(&client).await?;
    load.tally = Default::default();
    let start = Instant::now() + Duration::from_secs(warm_up);
    let end = start + Duration::from_secs(seconds);
    let tally = load.tally.clone();
    let marks = async {
        sleep_until(start).await;
        let first = mark(&client, &tally, pid).await?;
        while Instant::now() < end && !(stop_when_refused && tally.refused.load(Relaxed) > 0) {
            sleep(TICK.min(end - Instant::now())).await;
        }
        Ok::<_, BenchError>((first, mark(&client, &tally, pid).await?))
    };
    let (sent, marks) = tokio::join!(load.run(end, rate.map(f64::from), stop_when_refused), marks);
    sent?;
    let (first, last) = marks?;
    bar.set_message("counting");
    let figures = evaluate(&client, &tally, before, first, last).await?;
    bar.finish_and_clear();
    figures.report(&target, &args);
    Ok(())
}

fn progress(hidden: bool) -> ProgressBar {
    if hidden {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{spinner} {msg} ({elapsed})");
    let bar = ProgressBar::new_spinner().with_style(style.expect("a fixed template"));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// Transactions a second while they are signed as they are sent.
async fn trial(load: &mut Load) -> Result<f64, BenchError> {
    let start = Instant::now();
    load.run(start + Duration::from_secs(TRIAL), None, false).await?;
    Ok(load.tally.accepted.load(Relaxed) as f64 / start.elapsed().as_secs_f64())
}

async fn mark(client: &RpcClient, tally: &Tally, pid: Option<u32>) -> Result<Mark, BenchError> {
    let head = client.quantity("eth_blockNumber", json!([])).await? as u64;
    Ok(Mark {
        at: Instant::now(),
        head,
        accepted: tally.accepted.load(Relaxed),
        client_cpu: process::usage(std::process::id())?.cpu,
        node: pid.map(process::usage).transpose()?,
    })
}

async fn evaluate(
    client: &RpcClient,
    tally: &Tally,
    before: u64,
    first: Mark,
    last: Mark,
) -> Result<Figures, BenchError> {
    let safe = safe_block(client).await?;
    let accepted = tally.accepted.load(Relaxed);
    let (drain, sealed_in_all) = drained(client, before, accepted).await?;
    let counts = transaction_counts(client, first.head + 1, last.head).await?;
    let (failed, receipts) = sampled_receipts(client, first.head + 1, last.head).await?;
    let unsafe_transactions = match safe {
        Some(safe) => Some(transaction_counts(client, safe + 1, last.head).await?.iter().sum()),
        None => None,
    };
    let node_cpu = first.node.zip(last.node).map(|(first, last)| last.cpu - first.cpu);
    Ok(Figures {
        seconds: (last.at - first.at).as_secs_f64(),
        sealed: counts.iter().sum(),
        accepted: last.accepted - first.accepted,
        sealed_in_all,
        accepted_in_all: accepted,
        refused: tally.refused.load(Relaxed),
        signed_late: tally.signed_late.load(Relaxed),
        first_block: first.head + 1,
        last_block: last.head,
        client_cpu: last.client_cpu - first.client_cpu,
        node_cpu,
        node_rss: last.node.map(|node| node.rss_peak),
        unsafe_transactions,
        drain,
        failed,
        receipts,
    })
}

async fn safe_block(client: &RpcClient) -> Result<Option<u64>, BenchError> {
    match client.call("eth_getBlockByNumber", json!(["safe", false])).await {
        Ok(block) => Ok(parse_quantity(&block["number"]).map(|number| number as u64)),
        Err(RpcError::Call { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The newest block, once it holds everything that was taken so far.
async fn quiet_head(client: &RpcClient) -> Result<u64, BenchError> {
    let start = Instant::now();
    loop {
        let head = client.quantity("eth_blockNumber", json!([])).await?;
        if pool_is_empty(client).await? {
            let pending = client.call("eth_getBlockByNumber", json!(["pending", false])).await?;
            let empty = pending["transactions"].as_array().is_none_or(Vec::is_empty);
            let next = parse_quantity(&pending["number"]).is_none_or(|number| number == head + 1);
            if empty && next {
                return Ok(head as u64);
            }
        }
        if start.elapsed() > PATIENCE {
            return Ok(head as u64);
        }
        sleep(TICK).await;
    }
}

/// Whether nothing waits that is not in the pending block, which costs Anvil seconds to make while its pool is full.
async fn pool_is_empty(client: &RpcClient) -> Result<bool, BenchError> {
    match client.call("txpool_status", json!([])).await {
        Ok(status) => Ok(parse_quantity(&status["pending"]).is_none_or(|pending| pending == 0)),
        Err(RpcError::Call { .. }) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// Waits until blocks after `first` hold `accepted` transactions; how long, and how many they hold.
async fn drained(
    client: &RpcClient,
    first: u64,
    accepted: u64,
) -> Result<(Duration, u64), BenchError> {
    let start = Instant::now();
    let (mut next, mut sealed) = (first + 1, 0);
    loop {
        let head = client.quantity("eth_blockNumber", json!([])).await? as u64;
        let took = start.elapsed();
        sealed += transaction_counts(client, next, head).await?.iter().sum::<u64>();
        next = next.max(head + 1);
        if sealed >= accepted || took > PATIENCE {
            return Ok((took, sealed));
        }
        sleep(TICK).await;
    }
}

/// How many transactions blocks `first` to `last` have.
async fn transaction_counts(
    client: &RpcClient,
    first: u64,
    last: u64,
) -> Result<Vec<u64>, BenchError> {
    const METHOD: &str = "eth_getBlockTransactionCountByNumber";
    let mut counts = Vec::new();
    let numbers: Vec<u64> = (first..=last).collect();
    for chunk in numbers.chunks(CHUNK) {
        let params = chunk.iter().map(|number| json!([format!("0x{number:x}")])).collect();
        for count in client.batch(METHOD, params).await? {
            counts.push(parse_quantity(&count?).unwrap_or_default() as u64);
        }
    }
    Ok(counts)
}

/// How many of the receipts looked at say failed, and how many those are: of some blocks, some transactions each. One by one, as
/// `eth_getBlockReceipts` takes Anvil minutes for a block of thousands.
async fn sampled_receipts(
    client: &RpcClient,
    first: u64,
    last: u64,
) -> Result<(usize, usize), BenchError> {
    let step = (last.saturating_sub(first) as usize / SAMPLED_BLOCKS).max(1);
    let (mut failed, mut all) = (0, 0);
    for number in (first..=last).step_by(step) {
        let number = format!("0x{number:x}");
        let block = client.call("eth_getBlockByNumber", json!([number, false])).await?;
        let hashes = block["transactions"].as_array().map_or(&[][..], Vec::as_slice);
        let apart = hashes.len().div_ceil(SAMPLED_RECEIPTS).max(1);
        let params = hashes.iter().step_by(apart).map(|hash| json!([hash])).collect();
        for receipt in client.batch("eth_getTransactionReceipt", params).await? {
            all += 1;
            failed += usize::from(receipt?["status"] != "0x1");
        }
    }
    Ok((failed, all))
}

impl Figures {
    fn rate(&self) -> f64 {
        self.sealed as f64 / self.seconds
    }

    fn json(&self) -> Value {
        json!({
            "tps": self.rate().round(),
            "seconds": self.seconds,
            "sealed": self.sealed,
            "accepted": self.accepted,
            "sealed_in_all": self.sealed_in_all,
            "accepted_in_all": self.accepted_in_all,
            "refused": self.refused,
            "signed_late": self.signed_late,
            "first_block": self.first_block,
            "last_block": self.last_block,
            "client_us": per(self.client_cpu, self.sealed),
            "node_us": self.node_cpu.map(|cpu| per(cpu, self.sealed)),
            "node_rss": self.node_rss,
            "unsafe": self.unsafe_transactions,
            "drain_ms": self.drain.as_millis() as u64,
            "failed": self.failed,
            "receipts": self.receipts,
        })
    }

    fn report(&self, target: &Target, args: &LoadArgs) {
        if target.json {
            println!("{}", self.json());
            return;
        }
        println!("{}", machine::line());
        println!("{} on {}", args.describe(), target.rpc);
        println!(
            "{:.0} a second in sealed blocks ({} in {:.1} s, blocks {} to {})",
            self.rate(),
            self.sealed,
            self.seconds,
            self.first_block,
            self.last_block
        );
        println!(
            "{} accepted, {} refused; the last was sealed {} ms after the end; {} of {} receipts looked at say failed",
            self.accepted,
            self.refused,
            self.drain.as_millis(),
            self.failed,
            self.receipts
        );
        let client = per(self.client_cpu, self.sealed);
        match self.node_cpu.zip(self.node_rss) {
            Some((cpu, rss)) => println!(
                "processor time of each: node {:.1} us, client {client:.1} us; the node's memory {} MB at most",
                per(cpu, self.sealed),
                rss >> 20
            ),
            None => println!("processor time of each: client {client:.1} us"),
        }
        if self.signed_late > 0 {
            println!("{} were signed while sending", self.signed_late);
        }
        if let Some(count) = self.unsafe_transactions.filter(|count| *count > 0) {
            println!("{count} sealed ones wait for L1");
        }
    }
}

/// Microseconds of each.
fn per(cpu: u64, count: u64) -> f64 {
    (cpu as f64 / count.max(1) as f64 * 10.0).round() / 10.0
}
