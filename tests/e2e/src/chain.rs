//! Chains under test.

use crate::process::{Process, annex};
use crate::rpc::{Rpc, number};
use crate::{Folder, Inbox, L1Call, Portal, Wallet, entropy, eventually, scripts_folder, seconds};
use alloy_primitives::{Address, Bytes, U256, hex};
use alloy_sol_types::SolCall;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// A port nobody listens on, below the range from which the system takes ports for clients.
pub fn free_port() -> u16 {
    static GIVEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);
    let mut given = GIVEN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let given = given.get_or_insert_default();
    loop {
        let port = 20_000 + (entropy() % 12_000) as u16;
        if !given.contains(&port) && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            given.insert(port);
            return port;
        }
    }
}

fn ready(process: &mut Process, rpc: &Rpc) {
    eventually(&format!("{} is ready", rpc.url()), seconds(60), || {
        if let Some(status) = process.exited() {
            panic!("it exited, {status}:\n{}", process.output());
        }
        matches!(rpc.get("/health"), Ok((200, _))).then_some(())
    });
}

/// How `annex dev` is started; by default on its embedded L1.
#[derive(Clone, Debug, Default)]
pub struct DevOptions {
    /// Endpoint of another L1.
    pub l1: Option<String>,
    /// Seconds.
    pub l1_block_time: Option<u32>,
    /// What somebody claims that is false; empty: whatever `--with-liar` alone means.
    pub liar: Option<&'static str>,
    /// Further options.
    pub more: &'static [&'static str],
}

/// `annex dev`.
#[derive(Debug)]
pub struct Dev {
    pub process: Process,
    pub rpc: Rpc,
    pub l1: Rpc,
    pub data_dir: PathBuf,
}

impl Dev {
    /// The command, on free ports; and the endpoints it will have.
    fn command(data_dir: &Path, options: &DevOptions) -> (Command, String, String) {
        let (port, l1_port) = (free_port(), free_port());
        let mut command = Command::new(annex());
        command.arg("dev").args(["--port", &port.to_string(), "--l1-port", &l1_port.to_string()]);
        command.arg("--data-dir").arg(data_dir).args(options.more);
        if let Some(seconds) = options.l1_block_time {
            command.args(["--l1-block-time", &seconds.to_string()]);
        }
        match options.liar {
            None => {}
            Some("") => {
                command.arg("--with-liar");
            }
            Some(lie) => {
                command.arg(format!("--with-liar={lie}"));
            }
        }
        let own_l1 = format!("http://127.0.0.1:{l1_port}");
        let l1 = options.l1.clone().unwrap_or(own_l1);
        if options.l1.is_some() {
            command.args(["--l1", &l1]);
        }
        (command, format!("http://127.0.0.1:{port}"), l1)
    }

    /// Starts it on `folder/name`, anew or where it was, and waits until it is ready.
    pub fn start(folder: &Folder, name: &str, options: &DevOptions) -> Self {
        let data_dir = folder.path().join(name);
        let (command, url, l1) = Self::command(&data_dir, options);
        let mut process = Process::spawn(command, &folder.path().join(format!("{name}.log")));
        let rpc = Rpc::new(url);
        ready(&mut process, &rpc);
        eventually("the accounts' deposits are on L2", seconds(20), || {
            let balance = json!([Wallet::dev(901, 9).address(), "latest"]);
            (rpc.get_result("eth_getBalance", balance) != "0x0").then_some(())
        });
        Self { process, rpc, l1: Rpc::new(l1), data_dir }
    }

    /// Starts a second one on the data directory of this one.
    pub fn start_twice(&self, folder: &Folder, options: &DevOptions) -> Process {
        let (command, _, _) = Self::command(&self.data_dir, options);
        Process::spawn(command, &folder.path().join("second.log"))
    }

    pub fn deployment_file(&self) -> PathBuf {
        self.data_dir.join("deployment.json")
    }

    pub fn deployment(&self) -> Value {
        let file = std::fs::read(self.deployment_file()).expect("deployment.json can be read");
        serde_json::from_slice(&file).expect("deployment.json is JSON")
    }

    pub fn contract(&self, name: &str) -> Address {
        let deployment = self.deployment();
        let address = deployment["contracts"][name].as_str();
        address.expect("the contract is in deployment.json").parse().expect("an address")
    }

    /// Sends ether on L2 from development account 0, and waits for the receipt.
    pub fn fund(&self, to: Address, wei: U256) {
        static NONCE: Mutex<()> = Mutex::new(());
        let _one_at_a_time = NONCE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let wallet = Wallet::dev(901, 0);
        let nonce = self.nonce(wallet.address());
        self.send(&wallet.transfer(nonce, to, wei));
    }

    pub fn nonce(&self, account: Address) -> u64 {
        number(&self.rpc.get_result("eth_getTransactionCount", json!([account, "pending"])))
    }

    /// Sends a transaction that must succeed, and returns its receipt.
    #[track_caller]
    pub fn send(&self, encoded: &Bytes) -> Value {
        let receipt = self.rpc.get_result("eth_sendRawTransactionSync", json!([encoded]));
        assert_eq!(receipt["status"], "0x1", "{receipt}");
        receipt
    }

    /// A new account with ten ether on L2.
    pub fn wallet(&self, seed: u64, index: u64) -> Wallet {
        let wallet = Wallet::fresh(901, seed, index);
        self.fund(wallet.address(), ETHER_10);
        wallet
    }

    /// See [`everything_safe`].
    #[track_caller]
    pub fn everything_safe(&self) -> u64 {
        everything_safe(&self.rpc)
    }

    /// Calls the Inbox on L1.
    pub fn inbox<C: SolCall>(&self, call: C) -> C::Return {
        let request = json!([{"to": self.contract("inbox"), "data": Bytes::from(call.abi_encode())}, "latest"]);
        let output = self.l1.get_result("eth_call", request);
        let output = hex::decode(output.as_str().expect("bytes")).expect("hex");
        C::abi_decode_returns(&output).expect("what the contract returns")
    }

    pub fn records(&self) -> u64 {
        self.inbox(Inbox::recordCountCall {}).to()
    }

    /// Deposits through the Portal from a development account; returns the L1 receipt.
    pub fn deposit(&self, from: u32, mint: U256, call: Portal::depositTransactionCall) -> Value {
        l1_transaction(&self.l1, from, self.contract("portal"), mint, call.abi_encode().into())
    }
}

const ETHER_10: U256 = U256::from_limbs([10_000_000_000_000_000_000, 0, 0, 0]);

/// Waits until everything a leader acknowledged is in batches on L1; returns the number of the safe head.
#[track_caller]
pub fn everything_safe(leader: &Rpc) -> u64 {
    eventually("every block is safe", seconds(60), || {
        let pending = leader.block("pending");
        let open = pending["transactions"].as_array().is_some_and(|list| !list.is_empty());
        let safe = leader.block_number("safe");
        (!open && safe == leader.block_number("latest")).then_some(safe)
    })
}

/// Sends a transaction on L1 from a development account and waits for its receipt.
#[track_caller]
pub(crate) fn l1_transaction(l1: &Rpc, from: u32, to: Address, value: U256, input: Bytes) -> Value {
    L1Call { to, value, input, ..L1Call::default() }.send(l1, &Wallet::dev(0, from))
}

/// What makes a node the leader.
#[derive(Clone, Debug)]
pub struct LeaderOptions {
    pub submitter: Wallet,
    pub promiser: Wallet,
    /// Milliseconds a block stays open, and seconds sealed blocks wait for a batch, if not the node's own.
    pub intervals: Option<(u64, u64)>,
}

impl LeaderOptions {
    fn arguments(&self) -> Vec<String> {
        let keys = ["--leader-key", &self.submitter.key(), "--promise-key", &self.promiser.key()];
        let mut arguments = keys.map(str::to_owned).to_vec();
        if let Some((block, batch)) = self.intervals {
            arguments.extend(["--block-interval".to_owned(), block.to_string()]);
            arguments.extend(["--batch-interval".to_owned(), batch.to_string()]);
        }
        arguments
    }
}

/// How `annex node` is started.
#[derive(Clone, Debug, Default)]
pub struct NodeOptions {
    /// WebSocket of the leader whose promises it follows.
    pub feed: Option<String>,
    /// Development account that carries the chain on when the leader is silent.
    pub post_when_silent: Option<u32>,
    pub leader: Option<LeaderOptions>,
    /// Where blobs come from, if not from L1's endpoint.
    pub beacons: Vec<String>,
    pub keep_witnesses: bool,
    /// Development account that buys withdrawals, and further options for that.
    pub buy_exits: Option<(u32, &'static [&'static str])>,
    /// Options that take a key, and whose: development accounts.
    pub keys: Vec<(&'static str, u32)>,
    /// Otherwise one that is free.
    pub port: Option<u16>,
    /// Further options.
    pub more: Vec<String>,
}

/// `annex node`, which knows an L1 endpoint and the deployment file.
#[derive(Debug)]
pub struct Node {
    pub process: Process,
    pub rpc: Rpc,
}

impl Node {
    /// Starts it on `folder/name`, anew or where it was, and waits until it answers.
    pub fn start(
        folder: &Folder,
        name: &str,
        l1: &str,
        deployment: &Path,
        options: &NodeOptions,
    ) -> Self {
        let (mut process, rpc) = Self::spawn(folder, name, l1, deployment, options);
        ready(&mut process, &rpc);
        Self { process, rpc }
    }

    /// Starts it and does not wait.
    pub fn spawn(
        folder: &Folder,
        name: &str,
        l1: &str,
        deployment: &Path,
        options: &NodeOptions,
    ) -> (Process, Rpc) {
        let port = options.port.unwrap_or_else(free_port);
        let mut command = Command::new(annex());
        command.args(["node", "--l1", l1, "--port", &port.to_string()]);
        let beacons =
            if options.beacons.is_empty() { &[l1.to_owned()] } else { &options.beacons[..] };
        beacons.iter().for_each(|beacon| {
            command.args(["--beacon", beacon]);
        });
        command.arg("--deployment").arg(deployment);
        command.arg("--data-dir").arg(folder.path().join(name));
        if let Some(feed) = &options.feed {
            command.args(["--feed", feed]);
        }
        if let Some(account) = options.post_when_silent {
            command.args(["--post-when-silent", &Wallet::dev(0, account).key()]);
        }
        if let Some((account, arguments)) = options.buy_exits {
            command.args(["--buy-exits", &Wallet::dev(0, account).key()]).args(arguments);
        }
        if options.keep_witnesses {
            command.arg("--keep-witnesses");
        }
        for (option, account) in &options.keys {
            command.arg(option).arg(Wallet::dev(0, *account).key());
        }
        command.args(options.leader.iter().flat_map(LeaderOptions::arguments));
        command.args(&options.more);
        let process = Process::spawn(command, &folder.path().join(format!("{name}.log")));
        (process, Rpc::new(format!("http://127.0.0.1:{port}")))
    }

    /// Waits until it answers at all, ready or not.
    #[track_caller]
    pub fn answers(&self) {
        eventually("an answer", seconds(60), || self.rpc.get("/health").ok());
    }

    /// A metric's value; zero if it was never counted.
    #[track_caller]
    pub fn metric(&self, name: &str) -> u64 {
        let (_, metrics) = self.rpc.get("/metrics").expect("an answer");
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().expect("a number"))
    }

    /// Waits until it has the leader's safe blocks, and compares every hash up to there.
    #[track_caller]
    pub fn agrees_with(&self, leader: &Rpc) -> u64 {
        let safe = leader.block_number("safe");
        eventually(&format!("the follower has block {safe}"), seconds(60), || {
            (self.rpc.block_number("safe") >= safe).then_some(())
        });
        let (ours, theirs) = (self.rpc.block_hashes(safe), leader.block_hashes(safe));
        let first = ours.iter().zip(&theirs).position(|(ours, theirs)| ours != theirs);
        assert_eq!(first, None, "the first block that differs");
        assert!(ours.iter().all(Value::is_string), "a block is missing");
        safe
    }
}

/// Foundry's Anvil with Osaka's rules.
#[derive(Debug)]
pub struct Anvil {
    pub process: Process,
    pub rpc: Rpc,
}

impl Anvil {
    pub fn start(folder: &Folder, chain_id: u64, arguments: &[&str]) -> Self {
        let binary = std::env::var_os("ANVIL")
            .map_or_else(|| scripts_folder().join("node_modules/.bin/anvil"), PathBuf::from);
        assert!(
            binary.exists(),
            "no Anvil for this platform from npm: set ANVIL to a binary of version 1.7"
        );
        let port = free_port();
        let mut command = Command::new(binary);
        command
            .args(["--hardfork", "osaka", "--enable-tx-gas-limit"])
            .args(["--port", &port.to_string(), "--chain-id", &chain_id.to_string()])
            .args(arguments);
        let mut process = Process::spawn(command, &folder.path().join("anvil.log"));
        let rpc = Rpc::new(format!("http://127.0.0.1:{port}"));
        eventually("Anvil answers", seconds(20), || {
            assert_eq!(process.exited(), None, "{}", process.output());
            rpc.call("eth_chainId", json!([])).ok()
        });
        Self { process, rpc }
    }

    /// Moves its clock and mines a block there.
    pub fn pass(&self, seconds: u64) {
        self.rpc.get_result("evm_increaseTime", json!([seconds]));
        self.rpc.get_result("evm_mine", json!([]));
    }

    pub fn set_balance(&self, account: Address, wei: U256) {
        self.rpc.get_result("anvil_setBalance", json!([account, wei]));
    }

    /// Submits a batch in calldata from a development account; returns the L1 receipt.
    pub fn submit(&self, from: u32, inbox: Address, forced_up_to: u64, data: &[u8]) -> Value {
        let call = L1Call::calldata_batch(inbox, forced_up_to, data.to_vec());
        call.send(&self.rpc, &Wallet::dev(0, from))
    }
}
