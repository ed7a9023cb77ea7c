//! Annex and Anvil in turns, in one run on one machine, so that the ratio means something even
//! where the absolute figures do not.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::metadata::Metadata;
use crate::process::{self, capture, cargo, read, root, version};
use crate::{Error, Result};

const START_SECONDS: u64 = 60;
const ANVIL_PLACES: &[&str] = &["contracts", "tests/clients"];

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
    /// How often each node is measured.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Transactions of one latency measurement.
    #[arg(long, default_value_t = 1000)]
    count: u32,
    /// Seconds of one throughput measurement.
    #[arg(long, default_value_t = 10)]
    seconds: u32,
    /// Leave out `cargo bench`.
    #[arg(long)]
    no_criterion: bool,
}

/// Gas of a second, in Anvil's blocks of a second as in Annex's 32 blocks of 30M.
const GAS_PER_SECOND: &str = "960000000";

/// A node we started. It ends with us, also when a measurement fails.
struct Node {
    name: &'static str,
    url: String,
    child: Child,
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended by itself, which the measurement reported.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Medians are taken over the rounds.
#[derive(Default)]
struct Figures {
    p50_us: Vec<f64>,
    p99_us: Vec<f64>,
    tps: Vec<f64>,
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
    let annex = metadata.target_directory.join("release/annex");
    let data = metadata.target_directory.join(format!("bench-{}", std::process::id()));
    std::fs::create_dir_all(&data).map_err(|source| Error::File { path: data.clone(), source })?;
    println!("machine: {}", machine());

    // Anvil answers soonest when it mines each transaction at once, and takes most when it mines at an interval.
    let interval = ["--block-time", "1", "--gas-limit", GAS_PER_SECOND];
    let chain = start_annex(&annex, &data)?;
    let (automine, mining) =
        (start_anvil("anvil", &[], &data)?, start_anvil("anvil-interval", &interval, &data)?);
    let mut figures = [Figures::default(), Figures::default()];
    for round in 1..=options.rounds {
        for ((node, loaded), figures) in
            [(&chain, &chain), (&automine, &mining)].into_iter().zip(&mut figures)
        {
            measure(&annex, node, loaded, options, figures)?;
            println!(
                "round {round} {:<6} p50 {:>8.0} us, p99 {:>8.0} us, {:>8.0} tx/s",
                node.name,
                last(&figures.p50_us),
                last(&figures.p99_us),
                last(&figures.tps)
            );
        }
    }
    drop((chain, automine, mining));
    std::fs::remove_dir_all(&data).map_err(|source| Error::File { path: data.clone(), source })?;
    compare(&figures);
    if options.no_criterion {
        return Ok(());
    }
    process::run(&mut cargo(&["bench", "--workspace", "--locked"]))
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

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let address = listener.and_then(|listener| listener.local_addr());
    let failed = |source| Error::Spawn { command: "listen on a free port".into(), source };
    Ok(address.map_err(failed)?.port())
}

fn start_annex(annex: &Path, data: &Path) -> Result<Node> {
    let (port, l1_port) = (free_port()?, free_port()?);
    let mut command = Command::new(annex);
    command
        .args(["dev", "--port", &port.to_string(), "--l1-port", &l1_port.to_string(), "--data-dir"])
        .arg(data.join("annex"));
    start("annex", command, port, data)
}

fn start_anvil(name: &'static str, options: &[&str], data: &Path) -> Result<Node> {
    let port = free_port()?;
    let mut installed = ANVIL_PLACES
        .iter()
        .map(|folder| root().join(folder).join("node_modules/.bin/anvil"))
        .filter(|path| path.exists());
    let mut command = Command::new(installed.next().unwrap_or_else(|| PathBuf::from("anvil")));
    command.args(["--port", &port.to_string(), "--hardfork", "osaka", "--enable-tx-gas-limit"]);
    command.args(options);
    start(name, command, port, data)
}

fn start(name: &'static str, mut command: Command, port: u16, data: &Path) -> Result<Node> {
    let path = data.join(format!("{name}.log"));
    let log = File::create(&path).map_err(|source| Error::File { path, source })?;
    let spawn_error = |source| Error::Spawn { command: name.into(), source };
    let errors = log.try_clone().map_err(spawn_error)?;
    let child = command.stdin(Stdio::null()).stdout(log).stderr(errors).spawn();
    let url = format!("http://127.0.0.1:{port}");
    let node = Node { name, url, child: child.map_err(spawn_error)? };
    let begin = Instant::now();
    while !answers(port) {
        if begin.elapsed() > Duration::from_secs(START_SECONDS) {
            return Err(Error::NoAnswer {
                what: name,
                url: node.url.clone(),
                seconds: START_SECONDS,
            });
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(node)
}

/// Whether a node answers `eth_chainId` there.
fn answers(port: u16) -> bool {
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":[]}"#;
    let request = format!(
        "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.contains("\"result\""))
}

fn measure(
    annex: &Path,
    node: &Node,
    loaded: &Node,
    options: &Options,
    figures: &mut Figures,
) -> Result {
    let (count, seconds) = (options.count.to_string(), options.seconds.to_string());
    let latency = ["bench", "latency", "--rpc", &node.url, "--count", &count, "--json"];
    let line = json_line(annex, &latency)?;
    figures.p50_us.push(figure(&line, "p50_us")?);
    figures.p99_us.push(figure(&line, "p99_us")?);
    let throughput = ["bench", "throughput", "--rpc", &loaded.url, "--seconds", &seconds, "--json"];
    figures.tps.push(figure(&json_line(annex, &throughput)?, "tps")?);
    Ok(())
}

fn json_line(annex: &Path, args: &[&str]) -> Result<Value> {
    let output = capture(Command::new(annex).args(args))?;
    let line = output.lines().rev().find(|line| line.starts_with('{')).unwrap_or_default();
    serde_json::from_str(line)
        .map_err(|source| Error::Output { command: format!("annex {}", args.join(" ")), source })
}

fn figure(line: &Value, field: &'static str) -> Result<f64> {
    line[field]
        .as_f64()
        .ok_or_else(|| Error::NoFigure { command: "annex bench --json".into(), field })
}

fn compare([annex, anvil]: &[Figures; 2]) {
    println!("\nmedian        annex      anvil   annex / anvil");
    let rows = [
        ("p50 us", &annex.p50_us, &anvil.p50_us),
        ("p99 us", &annex.p99_us, &anvil.p99_us),
        ("tx/s", &annex.tps, &anvil.tps),
    ];
    for (name, annex, anvil) in rows {
        let (annex, anvil) = (median(annex), median(anvil));
        println!("{name:<8} {annex:>10.0} {anvil:>10.0} {:>15.3}", annex / anvil);
    }
}

fn last(figures: &[f64]) -> f64 {
    figures.last().copied().unwrap_or(f64::NAN)
}

fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}
