//! The nodes that are measured: a leader with the delays of production on an L1 of its own, and Anvil.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::process::{capture, read, root};
use crate::{Error, Result};

const START_SECONDS: u64 = 60;
const ANVIL_PLACES: &[&str] = &["contracts", "tests/clients"];
/// Ether deposited for a load, nearly all that a development account has: it pays the price that is asked while much data
/// waits for L1.
const DEPOSIT: &str = "8900";
/// Gas of a second, in Anvil's blocks of a second as in Annex's 32 blocks of 30M.
const GAS_PER_SECOND: &str = "960000000";

/// A node we started. It ends with us, also when a measurement fails.
pub(super) struct Node {
    pub name: &'static str,
    pub url: String,
    pub log: PathBuf,
    port: u16,
    child: Child,
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended by itself, which the measurement reported.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Node {
    fn start(name: &'static str, mut command: Command, port: u16, data: &Path) -> Result<Self> {
        let log = data.join(format!("{name}.log"));
        let file =
            File::create(&log).map_err(|source| Error::File { path: log.clone(), source })?;
        let spawn_error = |source| Error::Spawn { command: name.into(), source };
        let errors = file.try_clone().map_err(spawn_error)?;
        let child = command.stdin(Stdio::null()).stdout(file).stderr(errors).spawn();
        let url = format!("http://127.0.0.1:{port}");
        let node = Self { name, url, log, port, child: child.map_err(spawn_error)? };
        node.until("eth_chainId", json!([]), START_SECONDS, |_| true)?;
        Ok(node)
    }

    pub fn anvil(name: &'static str, options: &[&str], data: &Path) -> Result<Self> {
        let port = free_port()?;
        let mut installed = ANVIL_PLACES
            .iter()
            .map(|folder| root().join(folder).join("node_modules/.bin/anvil"))
            .filter(|path| path.exists());
        let mut command = Command::new(installed.next().unwrap_or_else(|| PathBuf::from("anvil")));
        command.args(["--port", &port.to_string(), "--hardfork", "osaka", "--enable-tx-gas-limit"]);
        command.args(options);
        Self::start(name, command, port, data)
    }

    /// Anvil as it takes most: it mines at an interval.
    pub fn mining_anvil(data: &Path) -> Result<Self> {
        let options = ["--block-time", "1", "--gas-limit", GAS_PER_SECOND];
        Self::anvil("anvil-interval", &options, data)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Microseconds of processor it took so far (proc(5); Linux counts in hundredths of a second).
    pub fn cpu(&self) -> Result<u64> {
        let stat = read(Path::new(&format!("/proc/{}/stat", self.pid())))?;
        // The name in parentheses may hold anything.
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        let ticks = fields.split_whitespace().skip(11).take(2);
        Ok(ticks.filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>() * 10_000)
    }

    /// Ends it in good order.
    pub fn stop(mut self) -> Result {
        capture(Command::new("kill").arg(self.pid().to_string()))?;
        let ended = self.child.wait();
        ended.map(|_| ()).map_err(|source| Error::Spawn { command: self.name.into(), source })
    }

    /// The result of a call; none while nobody answers.
    pub fn call(&self, method: &str, params: Value) -> Option<Value> {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        Some(post(self.port, &body).ok()??["result"].take())
    }

    /// Asks until the answer is right.
    pub fn until(
        &self,
        method: &str,
        params: Value,
        seconds: u64,
        is_right: impl Fn(&Value) -> bool,
    ) -> Result {
        let begin = Instant::now();
        loop {
            if self.call(method, params.clone()).is_some_and(|result| is_right(&result)) {
                return Ok(());
            }
            if begin.elapsed() > Duration::from_secs(seconds) {
                return Err(Error::NoAnswer { what: self.name, url: self.url.clone(), seconds });
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Number of the block that a tag names.
    pub fn block(&self, tag: &str) -> u64 {
        let block = self.call("eth_getBlockByNumber", json!([tag, false])).unwrap_or_default();
        quantity(&block["number"])
    }

    pub fn hash(&self, number: u64) -> Value {
        let number = json!([format!("{number:#x}"), false]);
        self.call("eth_getBlockByNumber", number).unwrap_or_default()["hash"].take()
    }

    /// Transactions in blocks `first` to `last`.
    pub fn transactions(&self, first: u64, last: u64) -> u64 {
        let count = |number: u64| {
            let number = json!([format!("{number:#x}")]);
            self.call("eth_getBlockTransactionCountByNumber", number).unwrap_or_default()
        };
        (first..=last).map(|number| quantity(&count(number))).sum()
    }
}

/// A leader and its L1, which is that of `annex dev`: a process of its own, beside a chain that nobody uses.
pub(super) struct Chain {
    pub leader: Node,
    pub l1: Node,
    annex: PathBuf,
    data: PathBuf,
    keys: Vec<String>,
}

/// Seconds between L1 blocks while anything is measured.
pub(super) const L1_BLOCK_SECONDS: u64 = 12;

impl Chain {
    /// Deploys a chain with the delays of production and funds the first development account on it.
    pub fn start(annex: &Path, data: &Path) -> Result<Self> {
        std::fs::create_dir_all(data)
            .map_err(|source| Error::File { path: data.into(), source })?;
        let (port, l1_port) = (free_port()?, free_port()?);
        let mut command = Command::new(annex);
        let ports = ["--port", &port.to_string(), "--l1-port", &l1_port.to_string()];
        command.arg("dev").args(ports).args(["--l1-block-time", "1", "--data-dir"]);
        command.arg(data.join("dev"));
        let mut l1 = Node::start("annex-dev", command, port, data)?;
        (l1.url, l1.port) = (format!("http://127.0.0.1:{l1_port}"), l1_port);
        let (addresses, keys) = accounts(&l1.log)?;
        let deployment = data.join("deployment.json").display().to_string();
        capture(Command::new(annex).env("RUST_LOG", "error").args([
            "deploy",
            "--l1",
            &l1.url,
            "--key",
            &keys[3],
            "--submitter",
            &addresses[4],
            "--promise-signer",
            &addresses[5],
            "--out",
            &deployment,
        ]))?;
        let leader = start_leader(annex, data, &l1, &keys)?;
        capture(Command::new(annex).env("RUST_LOG", "error").args([
            "wallet",
            "deposit",
            "--amount",
            DEPOSIT,
            "--to",
            &addresses[0],
            "--key",
            &keys[6],
            "--l1",
            &l1.url,
            "--rpc",
            &leader.url,
        ]))?;
        let chain = Self { leader, l1, annex: annex.into(), data: data.into(), keys };
        chain.set_l1_interval(L1_BLOCK_SECONDS);
        Ok(chain)
    }

    pub fn set_l1_interval(&self, seconds: u64) {
        self.l1.call("evm_setIntervalMining", json!([seconds]));
    }

    /// A second node that has nothing yet, and how long it takes to have block `head`.
    pub fn follow(&self, head: u64) -> Result<(Node, Duration)> {
        let port = free_port()?;
        let command = node(&self.annex, &self.data, &self.l1, "follower", port);
        let begin = Instant::now();
        let follower = Node::start("follower", command, port, &self.data)?;
        let reached = |number: &Value| quantity(number) >= head;
        follower.until("eth_blockNumber", json!([]), 600, reached)?;
        Ok((follower, begin.elapsed()))
    }

    /// Ends the leader and starts it again; how long it takes to answer with the block it had.
    pub fn restart(self) -> Result<(Self, Duration)> {
        let Self { leader, l1, annex, data, keys } = self;
        let head = leader.block("latest");
        leader.stop()?;
        let begin = Instant::now();
        let leader = start_leader(&annex, &data, &l1, &keys)?;
        leader.until("eth_blockNumber", json!([]), 600, |number| quantity(number) >= head)?;
        Ok((Self { leader, l1, annex, data, keys }, begin.elapsed()))
    }

    /// Bytes and transactions of the batches that L1 took, of those that were worth it.
    pub fn posted(&self) -> Result<(u64, u64)> {
        let (mut bytes, mut transactions) = (0, 0);
        for line in read(&self.leader.log)?.lines().filter(|line| line.contains("batch posted")) {
            let field = |name: &str| {
                let value = line.split_once(&format!(" {name}="))?.1;
                value.split_whitespace().next()?.parse::<u64>().ok()
            };
            let (Some(first), Some(last), Some(size)) =
                (field("first"), field("last"), field("bytes"))
            else {
                continue;
            };
            let count = self.leader.transactions(first, last);
            if count >= 1000 {
                bytes += size;
                transactions += count;
            }
        }
        Ok((bytes, transactions))
    }

    /// Bytes of the leader's files.
    pub fn disk(&self) -> Result<u64> {
        let folder = self.data.join("leader").display().to_string();
        let output = capture(Command::new("du").args(["-s", "-B1", &folder]))?;
        Ok(output.split_whitespace().next().and_then(|size| size.parse().ok()).unwrap_or_default())
    }
}

fn start_leader(annex: &Path, data: &Path, l1: &Node, keys: &[String]) -> Result<Node> {
    let port = free_port()?;
    let mut command = node(annex, data, l1, "leader", port);
    command.args(["--leader-key", &keys[4], "--promise-key", &keys[5]]);
    Node::start("annex", command, port, data)
}

fn node(annex: &Path, data: &Path, l1: &Node, name: &str, port: u16) -> Command {
    let mut command = Command::new(annex);
    command.args(["node", "--l1", &l1.url, "--beacon", &l1.url, "--port", &port.to_string()]);
    command.arg("--deployment").arg(data.join("deployment.json"));
    command.arg("--data-dir").arg(data.join(name)).env("NO_COLOR", "1");
    command
}

/// Addresses and keys that `annex dev` prints.
fn accounts(log: &Path) -> Result<(Vec<String>, Vec<String>)> {
    let begin = Instant::now();
    loop {
        let text = read(log)?;
        let words = |line: &str| -> Option<(String, String)> {
            let mut words = line.split_whitespace();
            let (address, key) = (words.next()?, words.next()?);
            (address.len() == 42 && key.len() == 66).then(|| (address.into(), key.into()))
        };
        let accounts: (Vec<_>, Vec<_>) = text.lines().filter_map(words).unzip();
        if accounts.0.len() == 10 {
            return Ok(accounts);
        }
        if begin.elapsed() > Duration::from_secs(START_SECONDS) {
            return Err(Error::NoFigure { command: "annex dev".into(), field: "accounts" });
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let address = listener.and_then(|listener| listener.local_addr());
    let failed = |source| Error::Spawn { command: "listen on a free port".into(), source };
    Ok(address.map_err(failed)?.port())
}

fn post(port: u16, body: &Value) -> std::io::Result<Option<Value>> {
    let body = body.to_string();
    let request = format!(
        "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body);
    Ok(body.and_then(|body| serde_json::from_str(body).ok()))
}

fn quantity(value: &Value) -> u64 {
    let digits = value.as_str().and_then(|text| text.strip_prefix("0x"));
    digits.and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or_default()
}
