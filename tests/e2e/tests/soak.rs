//! The whole system under load while everything around it fails, in an order that a seed decides:
//! `ANNEX_SOAK_SECONDS` long, or a minute.
//!
//! ```text
//! Anvil ◀─ cable ◀─ annex dev: leader, claimer, challenger and a liar ◀─ cable ◀─ senders, and a follower that checks promises
//!   ▲──────────────────────────────────────────────── a follower that knows L1 alone
//! ```

#[path = "soak/load.rs"]
mod load;

use alloy_primitives::{Address, U256};
use alloy_sol_types::SolCall;
use annex_e2e::{
    Anvil, Dev, DevOptions, ETHER, Folder, L1Call, Node, NodeOptions, Portal, Relay, Usage, Wallet,
    eventually, number, reorganise, run, seconds, seed,
    settlement::{self, Settlement},
};
use load::{Load, Senders};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Origins are taken up this deep, so no reorganisation of L1 that is not deeper changes a promise.
const CONFIRMATIONS: u64 = 2;
const CLAIMER: u32 = 22;
const CHALLENGER: u32 = 23;
const LIAR: u32 = 24;
/// Account that withdraws.
const WITHDRAWER: u32 = 6;
/// What a party may have spent on gas for each dispute.
const GAS_PER_DISPUTE: u64 = 20_000_000_000_000_000;

/// What happens next.
#[derive(Clone, Copy, Debug)]
enum Event {
    KillLeader,
    KillFollower,
    FreezeLeader,
    CutL1,
    CutFeed,
    Reorganise,
    DropTransactions,
    Deposit,
    Burst,
    Withdraw,
}

const EVENTS: [Event; 10] = [
    Event::KillLeader,
    Event::KillFollower,
    Event::FreezeLeader,
    Event::CutL1,
    Event::CutFeed,
    Event::Reorganise,
    Event::DropTransactions,
    Event::Deposit,
    Event::Burst,
    Event::Withdraw,
];

struct System {
    folder: Folder,
    anvil: Anvil,
    l1: Relay,
    feed: Relay,
    dev: Option<Dev>,
    /// Checks promises; never killed, so that what it leaks adds up.
    checker: Node,
    /// Knows L1 alone.
    follower: Option<Node>,
    rng: SmallRng,
    seed: u64,
    counts: [u32; EVENTS.len()],
    deposits: Vec<Address>,
}

fn options(l1: &Relay) -> DevOptions {
    DevOptions { l1: Some(l1.url()), liar: Some("output"), ..DevOptions::default() }
}

impl System {
    fn start() -> Self {
        let seed = seed();
        let folder = Folder::new();
        let anvil = Anvil::start(&folder, 900, &["--block-time", "1"]);
        let l1 = Relay::to(anvil.rpc.url());
        let mut dev = Dev::start(&folder, "dev", &options(&l1));
        eventually("it is ready", seconds(60), || {
            dev.process.output().contains("Annex is ready").then_some(())
        });
        // The node's own setting: as deep as on a production chain.
        assert!(dev.process.interrupt(seconds(20)).success());
        let mut deployment = dev.deployment();
        deployment["parameters"]["l1Confirmations"] = json!(CONFIRMATIONS);
        std::fs::write(dev.deployment_file(), deployment.to_string()).expect("a file");
        let dev = Dev::start(&folder, "dev", &options(&l1));
        let feed = Relay::to(dev.rpc.url());
        let with_feed = NodeOptions { feed: Some(feed.ws_url()), ..NodeOptions::default() };
        let file = dev.deployment_file();
        let checker = Node::start(&folder, "checker", anvil.rpc.url(), &file, &with_feed);
        let mut system = Self {
            rng: SmallRng::seed_from_u64(seed),
            follower: None,
            counts: [0; EVENTS.len()],
            deposits: Vec::new(),
            dev: Some(dev),
            folder,
            anvil,
            l1,
            feed,
            checker,
            seed,
        };
        system.start_follower("follower");
        system
    }

    fn dev(&self) -> &Dev {
        self.dev.as_ref().expect("it is down only while it is restarted")
    }

    fn start_follower(&mut self, name: &str) {
        let file = self.dev().deployment_file();
        let options = NodeOptions::default();
        self.follower =
            Some(Node::start(&self.folder, name, self.anvil.rpc.url(), &file, &options));
    }

    fn pause(&mut self, milliseconds: std::ops::Range<u64>) {
        sleep(Duration::from_millis(self.rng.random_range(milliseconds)));
    }

    fn happen(&mut self, event: Event) {
        self.counts[event as usize] += 1;
        match event {
            Event::KillLeader => self.kill_leader(),
            Event::KillFollower => {
                drop(self.follower.take());
                self.pause(0..2_000);
                self.start_follower("follower");
            }
            Event::FreezeLeader => {
                self.dev().process.signal("STOP");
                self.pause(500..4_000);
                self.dev().process.signal("CONT");
            }
            // A move of a dispute has ten seconds of grace.
            Event::CutL1 => self.cut(false),
            Event::CutFeed => self.cut(true),
            Event::Reorganise => {
                let depth = self.rng.random_range(1..=CONFIRMATIONS);
                reorganise(&self.anvil.rpc, depth, json!([]));
            }
            Event::DropTransactions => {
                self.anvil.rpc.get_result("anvil_dropAllTransactions", json!([]));
            }
            Event::Deposit => self.deposit(),
            Event::Burst => load::burst(&self.feed.url(), self.seed, self.counts[event as usize]),
            Event::Withdraw => self.withdraw(),
        }
    }

    fn kill_leader(&mut self) {
        let mut dev = self.dev.take().expect("it runs");
        dev.process.kill();
        drop(dev);
        self.pause(0..1_000);
        let dev = Dev::start(&self.folder, "dev", &options(&self.l1));
        self.feed.retarget(dev.rpc.url());
        self.dev = Some(dev);
    }

    fn cut(&mut self, feed: bool) {
        let cable = |system: &Self, cut| match feed {
            true => system.feed.cut(cut),
            false => system.l1.cut(cut),
        };
        cable(self, true);
        self.pause(500..6_000);
        cable(self, false);
    }

    /// Through the Portal, to a new account: whatever happens to L1 and the leader, it arrives, or L1 forgets it.
    fn deposit(&mut self) {
        let to = Wallet::fresh(901, self.seed, 1_000 + self.deposits.len() as u64).address();
        let call = Portal::depositTransactionCall {
            to,
            value: ETHER,
            gasLimit: 100_000,
            isCreation: false,
            data: Default::default(),
        };
        let (to_portal, input) = (self.dev().contract("portal"), call.abi_encode().into());
        let call = L1Call { to: to_portal, value: ETHER, input, ..L1Call::default() };
        let receipt = call.send(&self.anvil.rpc, &Wallet::dev(0, 8));
        assert_eq!(receipt["status"], "0x1", "{receipt}");
        self.deposits.push(to);
    }

    fn withdraw(&self) {
        let key = Wallet::dev(0, WITHDRAWER).key();
        let feed = self.feed.url();
        let (ok, text) = run(&[
            "wallet",
            "withdraw",
            "--amount",
            "0.01",
            "--key",
            &key,
            "--rpc",
            &feed,
            "--l1",
            self.anvil.rpc.url(),
        ]);
        assert!(ok, "{text}");
    }

    /// Everything is as it should be once nothing fails any more.
    fn settle_down(&mut self, load: &Load) {
        let safe = self.dev().everything_safe();
        load.holds(&self.dev().rpc);
        self.checker.agrees_with(&self.dev().rpc);
        self.follower.as_ref().expect("it runs").agrees_with(&self.dev().rpc);
        // Who knows nothing but L1 comes to the same.
        self.start_follower("fresh");
        self.follower.as_ref().expect("it runs").agrees_with(&self.dev().rpc);
        let none = json!([]);
        let changed = self.dev().rpc.get_result("annex_changedPromises", json!([]));
        assert_eq!(changed, none, "promises that were not kept");
        let broken = self.checker.rpc.get_result("annex_brokenPromises", json!([]));
        assert_eq!(broken, none, "promises that the follower saw broken");
        println!("{} transactions acknowledged, all kept in {safe} blocks", load.acknowledged());
    }

    fn deposits_arrived(&self) {
        let known = |address: &Address| {
            let balance = self.dev().rpc.get_result("eth_getBalance", json!([address, "latest"]));
            balance != "0x0"
        };
        let arrived = self.deposits.iter().filter(|address| known(address)).count();
        println!("{arrived} of {} deposits arrived; L1 forgot the others", self.deposits.len());
        // A reorganisation forgets at most the deposits of its blocks.
        let reorganised = self.counts[Event::Reorganise as usize] as usize;
        assert!(arrived + reorganised >= self.deposits.len());
    }

    /// No bond is lost but the liar's, and the true state settles.
    fn disputes(&self, long: bool) {
        let l1 = self.anvil.rpc.another();
        let (tournament, claims) =
            (self.dev().contract("tournament"), self.dev().contract("claims"));
        let settlement = Settlement { l1, tournament, claims };
        let levels = settlement.tournaments();
        let report = eventually("the node has looked at L1", seconds(60), || {
            settlement::report(&self.dev().rpc)
        });
        println!("tournaments by level {levels:?}; settled {}", report["settled"]);
        assert_eq!(report["faulted"], false, "{report}");
        let bond: U256 = self.dev().deployment()["parameters"]["bond"]
            .as_str()
            .and_then(|bond| bond.parse().ok())
            .expect("a number");
        for (name, account) in [("claimer", CLAIMER), ("challenger", CHALLENGER), ("liar", LIAR)] {
            let wealth = settlement.wealth(Wallet::dev(0, account).address())
                + bond * U256::from(settlement::staked(&report, name));
            println!("{name}: {wealth} wei, staked bonds included");
            if name == "liar" {
                continue;
            }
            let spent = U256::from(GAS_PER_DISPUTE) * U256::from(1 + levels[0]);
            assert!(wealth + spent >= ETHER * U256::from(100), "the {name} lost a bond: {report}");
        }
        if long {
            assert!(number(&report["settled"]["block"]) > 0, "nothing settled: {report}");
            assert!(levels[2] > 0, "no dispute went down to an instruction: {levels:?}");
        }
    }
}

fn duration() -> Duration {
    let given = std::env::var("ANNEX_SOAK_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(given.unwrap_or(60))
}

#[test]
fn whatever_fails_no_promise_hash_or_bond_is_lost() {
    let duration = duration();
    let long = duration >= Duration::from_secs(600);
    let mut system = System::start();
    system.withdraw();
    let start = Instant::now();
    let senders = Senders::start(&system.feed.url(), system.dev(), system.seed);
    let mut early: Option<Usage> = None;
    let mut order: Vec<Event> = Vec::new();
    while start.elapsed() < duration {
        // Each event once before any a second time.
        if order.is_empty() {
            order = EVENTS.to_vec();
        }
        let next = system.rng.random_range(0..order.len());
        let event = order.swap_remove(next);
        println!("{:>6.1} s  {event:?}", start.elapsed().as_secs_f64());
        system.happen(event);
        if early.is_none() && start.elapsed() > duration / 5 {
            early = Some(Usage::of(&system.checker.process));
        }
        if long { system.pause(2_000..9_000) } else { system.pause(200..2_000) }
    }
    let load = senders.stop();
    system.settle_down(&load);
    system.deposits_arrived();
    system.disputes(long);
    let early = early.expect("a fifth of the time has passed");
    // A thread that blocks for others ends ten seconds after it had something to do.
    let start = Instant::now();
    let late = loop {
        let late = Usage::of(&system.checker.process);
        if late.threads <= early.threads + 8 || start.elapsed() > seconds(60) {
            break late;
        }
        std::thread::sleep(seconds(1));
    };
    println!("the follower that never stopped: {early:?}, then {late:?}");
    late.is_no_leak_after(&early);
    println!("{}", tally(&system.counts));
}

fn tally(counts: &[u32]) -> String {
    let counts: Vec<Value> = EVENTS
        .iter()
        .zip(counts)
        .map(|(event, count)| json!(format!("{event:?} {count}")))
        .collect();
    counts.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
}
