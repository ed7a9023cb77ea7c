//! Annex and Anvil in turns, in one run on one machine, so that the ratio means something even
//! where the absolute figures do not.

mod nodes;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::metadata::Metadata;
use crate::process::{self, capture, cargo, read, root, version};
use crate::{Error, Result};
use nodes::{Chain, L1_BLOCK_SECONDS, Node};

#[derive(clap::Subcommand)]
enum What {
    /// What every kind of block costs the proof machine (spec/proof-cost.md).
    WorstGas {
        /// Gas of each measured block.
        #[arg(long, default_value_t = 3_000_000)]
        gas: u64,
        /// Only cases whose name contains this.
        #[arg(long, default_value = "")]
        only: String,
    },
    /// A block of 1,000 transfers proved wrong, from the first claim to the verdict, and what a dispute costs the honest party.
    Dispute,
}

#[derive(clap::Args)]
pub struct Options {
    #[command(subcommand)]
    what: Option<What>,
    /// Only these parts
    #[arg(long, value_enum, value_delimiter = ',')]
    parts: Vec<Part>,
    /// How often each node is measured in turn.
    #[arg(long, default_value_t = 1)]
    rounds: u32,
    /// Transactions of one latency measurement.
    #[arg(long, default_value_t = 2000)]
    count: u32,
    /// Seconds of one throughput measurement of transfers; of other loads a third of them.
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// With `cargo bench`.
    #[arg(long)]
    criterion: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Synchronous sends on idle nodes
    Latency,
    /// Transfers among 100 accounts, and synchronous sends at half of that load
    Transfers,
    /// Token transfers, swaps and a mix
    Contracts,
    /// Transfers to somebody new each time: data on L1, disk, and a start on as many accounts
    Random,
    /// A new node that derives from L1 what was measured
    Derive,
}

const PARTS: [Part; 5] =
    [Part::Latency, Part::Transfers, Part::Contracts, Part::Random, Part::Derive];
/// What a batch of six blobs holds (spec/batch.md).
const BATCH_CAPACITY: f64 = 6.0 * 4096.0 * 31.0;
/// L1's interval while what waits is posted for [`Part::Derive`].
const HASTE_SECONDS: u64 = 1;
/// Transactions on L1 that are enough to measure derivation.
const DERIVED: u64 = 150_000;
/// How long that many may take.
const POSTING: Duration = Duration::from_secs(240);
/// A batch waits a minute for more, and for a block of L1.
const FIRST_BATCH: Duration = Duration::from_secs(90);
/// Gwei that pay the price of nearly the last unposted byte (spec/fees.md, "The leader's price").
const TIP: &str = "150";
/// Transfers a second whose data a leader bears for a minute whatever the machine.
const BORNE: &str = "25500";

/// Where programs and folders are.
struct Bench<'a> {
    annex: PathBuf,
    data: PathBuf,
    artifacts: PathBuf,
    options: &'a Options,
}

pub fn run(options: &Options) -> Result {
    if let Some(What::WorstGas { gas, only }) = &options.what {
        println!("machine: {}", machine());
        let gas = gas.to_string();
        let crate_args = ["run", "--release", "--locked", "--quiet", "-p", "annex-worst-gas", "--"];
        return process::run(cargo(&crate_args).args(["--gas", &gas, "--only", only]));
    }
    if let Some(What::Dispute) = &options.what {
        println!("machine: {}", machine());
        let test =
            ["test", "--release", "--locked", "--quiet", "-p", "annex-sim", "--test", "speed"];
        return process::run(cargo(&test).args(["--", "--nocapture", "--test-threads", "1"]));
    }
    let metadata = Metadata::load()?;
    process::run(&mut cargo(&["build", "--release", "--locked", "--bin", "annex"]))?;
    let bench = Bench {
        annex: metadata.target_directory.join("release/annex"),
        data: metadata.target_directory.join(format!("bench-{}", std::process::id())),
        artifacts: root().join("tests/clients/node_modules"),
        options,
    };
    println!("machine: {}", machine());
    let load = read(Path::new("/proc/loadavg"))?;
    println!("load before: {} (a quiet machine: below 0.2)", load.trim());
    let parts = if options.parts.is_empty() { &PARTS[..] } else { &options.parts };
    for part in parts {
        match part {
            Part::Latency => bench.latency()?,
            Part::Transfers => bench.transfers()?,
            Part::Contracts => bench.contracts()?,
            Part::Random => bench.random()?,
            Part::Derive => bench.derive()?,
        }
        bench.clean()?;
    }
    if options.criterion {
        process::run(&mut cargo(&["bench", "--workspace", "--locked"]))?;
    }
    Ok(())
}

impl Bench<'_> {
    fn chain(&self, name: &str) -> Result<Chain> {
        Chain::start(&self.annex, &self.data.join(name))
    }

    fn anvil(&self) -> Result<Node> {
        Node::mining_anvil(&self.data)
    }

    fn clean(&self) -> Result {
        std::fs::remove_dir_all(&self.data)
            .map_err(|source| Error::File { path: self.data.clone(), source })
    }

    /// Runs `annex bench` and returns what it prints.
    fn measure(&self, node: &Node, what: &[&str]) -> Result<Value> {
        let (pid, artifacts) = (node.pid().to_string(), self.artifacts.display().to_string());
        let mut args = vec!["bench", what[0], "--rpc", &node.url, "--json", "--tip", TIP];
        args.extend(["--artifacts", &artifacts]);
        args.extend(&what[1..]);
        if what[0] == "throughput" {
            args.extend(["--pid", &pid]);
        }
        let output = capture(Command::new(&self.annex).args(&args))?;
        let line = output.lines().rev().find(|line| line.starts_with('{')).unwrap_or_default();
        serde_json::from_str(line).map_err(|source| Error::Output {
            command: format!("annex {}", args.join(" ")),
            source,
        })
    }

    /// Anvil answers soonest when it mines each transaction at once.
    fn latency(&self) -> Result {
        println!("\neth_sendRawTransactionSync, one client, idle nodes");
        let chain = self.chain("latency")?;
        let anvil = Node::anvil("anvil", &[], &self.data)?;
        let count = self.options.count.to_string();
        for _ in 0..self.options.rounds {
            for node in [&chain.leader, &anvil] {
                let line = self.measure(node, &["latency", "--count", &count])?;
                println!("  {:<15} {}", node.name, times(&line)?);
            }
        }
        Ok(())
    }

    fn transfers(&self) -> Result {
        let seconds = self.options.seconds.to_string();
        println!(
            "\nsigned transfers, 100 accounts, 8 connections, batches of 50, {seconds} s, L1 blocks of {L1_BLOCK_SECONDS} s"
        );
        let what = ["throughput", "--stop-when-refused", "--seconds", &seconds];
        let (mut rate, mut refused) = (0.0, false);
        for round in 0..self.options.rounds {
            let chain = self.chain(&format!("transfers-{round}"))?;
            let line = self.measure(&chain.leader, &what)?;
            (rate, refused) = (figure(&line, "tps")?, figure(&line, "refused")? > 0.0);
            println!("  {:<15} {}", chain.leader.name, throughput(&line)?);
            self.backlog(&chain, &line)?;
            drop(chain);
            let anvil = self.anvil()?;
            println!("  {:<15} {}", anvil.name, throughput(&self.measure(&anvil, &what)?)?);
        }
        if refused {
            let chain = self.chain("borne")?;
            let what = [&what[..], &["--rate", BORNE]].concat();
            let line = self.measure(&chain.leader, &what)?;
            println!("  {:<15} {}; no more were sent", "annex", throughput(&line)?);
            self.backlog(&chain, &line)?;
        }
        let half = ((rate / 2.0) as u64).to_string();
        println!(
            "\neth_sendRawTransactionSync, one client, while others send {half} transfers a second"
        );
        let chain = self.chain("half-load")?;
        let line =
            self.measure(&chain.leader, &["latency", "--load", &half, "--count", "100000"])?;
        println!("  {:<15} {}, {} samples", chain.leader.name, times(&line)?, line["samples"]);
        Ok(())
    }

    /// What waits for L1, and what L1 takes.
    fn backlog(&self, chain: &Chain, line: &Value) -> Result {
        let begin = Instant::now();
        let mut posted = chain.posted()?;
        while posted.1 == 0 && begin.elapsed() < FIRST_BATCH {
            std::thread::sleep(Duration::from_secs(2));
            posted = chain.posted()?;
        }
        let (bytes, transactions) = posted;
        if transactions == 0 {
            println!("    no batch is on L1 yet");
            return Ok(());
        }
        let each = bytes as f64 / transactions as f64;
        let rate = BATCH_CAPACITY / each / L1_BLOCK_SECONDS as f64;
        let waits = line["unsafe"].as_f64().unwrap_or_default();
        println!(
            "    {each:.1} bytes each on L1, whose blobs alone allow {rate:.0} a second; {waits:.0} wait, {:.0} s to drain",
            waits / rate
        );
        Ok(())
    }

    fn contracts(&self) -> Result {
        let seconds = (self.options.seconds / 3).max(1).to_string();
        for kind in ["erc20", "swaps", "mix"] {
            println!("\n{kind}, 100 accounts, 8 connections, batches of 50, {seconds} s");
            let what = ["throughput", "--stop-when-refused", "--seconds", &seconds, "--kind", kind];
            let chain = self.chain(kind)?;
            println!("  {:<15} {}", "annex", throughput(&self.measure(&chain.leader, &what)?)?);
            drop(chain);
            let anvil = self.anvil()?;
            println!("  {:<15} {}", anvil.name, throughput(&self.measure(&anvil, &what)?)?);
        }
        Ok(())
    }

    fn random(&self) -> Result {
        let seconds = self.options.seconds.to_string();
        println!("\ntransfers to somebody new each time, {seconds} s");
        let chain = self.chain("random")?;
        let before = chain.disk()?;
        let what = ["throughput", "--stop-when-refused", "--seconds", &seconds];
        let line =
            self.measure(&chain.leader, &[&what[..], &["--recipients", "random"]].concat())?;
        println!("  {:<15} {}", "annex", throughput(&line)?);
        self.backlog(&chain, &line)?;
        let count = chain.leader.transactions(0, chain.leader.block("latest"));
        let grown = (chain.disk()? - before) as f64 / count.max(1) as f64;
        println!("    {grown:.0} MB of disk for a million");
        let (_chain, took) = chain.restart()?;
        println!("    a start on {count} accounts takes {:.2} s", took.as_secs_f64());
        Ok(())
    }

    fn derive(&self) -> Result {
        println!("\na new node that derives from L1");
        let chain = self.chain("derive")?;
        self.measure(&chain.leader, &["throughput", "--seconds", "10", "--rate", "15000"])?;
        chain.set_l1_interval(HASTE_SECONDS);
        let begin = Instant::now();
        let (mut safe, mut count) = (0, 0);
        while count < DERIVED && begin.elapsed() < POSTING {
            std::thread::sleep(Duration::from_secs(1));
            let before = std::mem::replace(&mut safe, chain.leader.block("safe"));
            count += chain.leader.transactions(before + 1, safe);
        }
        chain.set_l1_interval(L1_BLOCK_SECONDS);
        let (follower, took) = chain.follow(safe)?;
        let same = chain.leader.hash(safe) == follower.hash(safe);
        println!(
            "  {count} transfers in {:.1} s: {:.0} a second, {:.1} us of processor each, {}",
            took.as_secs_f64(),
            count as f64 / took.as_secs_f64(),
            follower.cpu()? as f64 / count.max(1) as f64,
            if same { "the same hashes" } else { "OTHER HASHES" }
        );
        Ok(())
    }
}

fn times(line: &Value) -> Result<String> {
    let ms = |field| figure(line, field).map(|micros| micros / 1000.0);
    Ok(format!("p50 {:.2} ms, p99 {:.2} ms", ms("p50_us")?, ms("p99_us")?))
}

fn throughput(line: &Value) -> Result<String> {
    let mut text = format!(
        "{:>6.0} a second in sealed blocks, for {:.0} s; processor of each {:.1} us node, {:.1} us client; {:.0} MB of memory",
        figure(line, "tps")?,
        figure(line, "seconds")?,
        figure(line, "node_us")?,
        figure(line, "client_us")?,
        figure(line, "node_rss")? / f64::from(1 << 20)
    );
    if figure(line, "refused")? > 0.0 {
        text.push_str("; then refused");
    }
    if figure(line, "failed")? > 0.0 {
        text.push_str(&format!("; {} of {} receipts say FAILED", line["failed"], line["receipts"]));
    }
    Ok(text)
}

fn machine() -> String {
    let field = |path: &str, name: &str| {
        let text = read(Path::new(path)).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "{}, {cores} cores, {} memory, {}",
        field("/proc/cpuinfo", "model name"),
        field("/proc/meminfo", "MemTotal"),
        version("uname", &["-sr"]).unwrap_or_default()
    )
}

fn figure(line: &Value, field: &'static str) -> Result<f64> {
    line[field]
        .as_f64()
        .ok_or_else(|| Error::NoFigure { command: "annex bench --json".into(), field })
}
