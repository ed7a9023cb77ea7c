//! A chain on the L1 of `annex dev`, whose leader can be killed while L1 goes on.

use crate::{
    Dev, DevOptions, ETHER, Folder, L1Call, LeaderOptions, Node, NodeOptions, Portal, Wallet,
    eventually, free_port, run, seconds,
};
use alloy_primitives::{Address, U256};
use alloy_sol_types::SolCall;
use serde_json::{Value, json};
use std::path::PathBuf;

const L2: u64 = 4242;

#[derive(Debug)]
pub struct OwnChain {
    /// Its L1 is what is used.
    pub dev: Dev,
    /// deployment.json.
    pub file: PathBuf,
    pub leader_port: u16,
    submitter: Wallet,
    promiser: Wallet,
    seed: u64,
}

impl OwnChain {
    /// Deploys it.
    pub fn deploy(folder: &Folder, seed: u64) -> Self {
        let options = DevOptions { l1_block_time: Some(1), ..DevOptions::default() };
        let dev = Dev::start(folder, "dev", &options);
        let key = |index: u64| Wallet::fresh(900, seed, 1_000 + index);
        let (deployer, submitter, promiser) = (key(0), key(1), key(2));
        for to in [&deployer, &submitter] {
            let value = ETHER * U256::from(10);
            let call = L1Call { to: to.address(), value, ..L1Call::default() };
            assert_eq!(call.send(&dev.l1, &Wallet::dev(0, 2))["status"], "0x1");
        }
        let file = folder.path().join("own").join("deployment.json");
        let (ok, text) = run(&[
            "deploy",
            "--l1",
            dev.l1.url(),
            "--key",
            &deployer.key(),
            "--l2-chain-id",
            &L2.to_string(),
            "--submitter",
            &submitter.address().to_string(),
            "--promise-signer",
            &promiser.address().to_string(),
            "--development",
            "--out",
            file.to_str().expect("UTF-8"),
        ]);
        assert!(ok, "{text}");
        Self { dev, file, leader_port: free_port(), submitter, promiser, seed }
    }

    /// How its leader is started: always on the same port, with these intervals (milliseconds, seconds) and further options.
    pub fn leader_options(&self, intervals: (u64, u64), more: &[&str]) -> NodeOptions {
        let leader = LeaderOptions {
            submitter: self.submitter.clone(),
            promiser: self.promiser.clone(),
            intervals: Some(intervals),
        };
        NodeOptions {
            leader: Some(leader),
            port: Some(self.leader_port),
            more: more.iter().map(|option| (*option).to_owned()).collect(),
            ..NodeOptions::default()
        }
    }

    /// The leader on `folder/name`.
    pub fn leader(
        &self,
        folder: &Folder,
        name: &str,
        intervals: (u64, u64),
        more: &[&str],
    ) -> Node {
        self.node(folder, name, &self.leader_options(intervals, more))
    }

    /// A follower of the leader's promises.
    pub fn follower(&self, folder: &Folder, name: &str) -> Node {
        let feed = Some(format!("ws://127.0.0.1:{}", self.leader_port));
        self.node(folder, name, &NodeOptions { feed, ..NodeOptions::default() })
    }

    pub fn node(&self, folder: &Folder, name: &str, options: &NodeOptions) -> Node {
        Node::start(folder, name, self.dev.l1.url(), &self.file, options)
    }

    /// Wallets with an ether each, deposited through the Portal.
    pub fn wallets(&self, leader: &Node, count: u64) -> Vec<Wallet> {
        let file = std::fs::read(&self.file).expect("a file");
        let deployment: Value = serde_json::from_slice(&file).expect("JSON");
        let portal: Address =
            deployment["contracts"]["portal"].as_str().expect("a string").parse().expect("one");
        let wallets: Vec<_> = (0..count).map(|index| Wallet::fresh(L2, self.seed, index)).collect();
        for wallet in &wallets {
            let call = Portal::depositTransactionCall {
                to: wallet.address(),
                value: ETHER,
                gasLimit: 21_000,
                isCreation: false,
                data: Default::default(),
            };
            let input = call.abi_encode().into();
            let call = L1Call { to: portal, value: ETHER, input, ..L1Call::default() };
            assert_eq!(call.send(&self.dev.l1, &Wallet::dev(0, 3))["status"], "0x1");
        }
        for wallet in &wallets {
            eventually("the deposit is on L2", seconds(30), || {
                let balance = json!([wallet.address(), "latest"]);
                (leader.rpc.get_result("eth_getBalance", balance) != "0x0").then_some(())
            });
        }
        wallets
    }
}
