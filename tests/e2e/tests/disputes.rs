//! Every liar, on every L1, against the built binary: the truth settles, the lie loses its bond, and who defended the truth has not
//! less than before. L1's time is steered ([`Clock`]); at its own pace a dispute goes in `host/node`'s tests.

use alloy_primitives::{Address, U256, utils::format_ether};
use alloy_sol_types::SolCall;
use annex_e2e::settlement::{Settlement, Spent, honest_staked, report, staked, stranger};
use annex_e2e::{
    Anvil, Clock, Dev, DevOptions, ETHER, Folder, L1Call, Node, NodeOptions, Pace, Portal, Rpc,
    Wallet, eventually, number, run, seconds, soak,
};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::thread;
use std::time::Instant;

/// Accounts of `annex dev`.
const OPERATOR: u32 = 20;
const PROMISER: u32 = 21;
const CLAIMER: u32 = 22;
const CHALLENGER: u32 = 23;
const LIAR: u32 = 24;
/// Development accounts: who withdraws, and who defends the truth with a node of its own.
const WITHDRAWS: u32 = 6;
const OWN_CLAIMER: u32 = 4;
const OWN_CHALLENGER: u32 = 5;
/// Most gas that an honest party needs against one liar (spec/settlement.md).
const MOST_GAS: u64 = 6_500_000;
/// Most that anything may take, seconds.
const PATIENCE: u64 = 900;

/// A chain with liars.
struct Case {
    name: String,
    folder: Folder,
    clock: Clock,
    dev: Dev,
    anvil: Option<Anvil>,
    settlement: Settlement,
    honest: Vec<Address>,
    liars: Vec<Address>,
    /// What the honest and each of the liars had.
    before: (U256, Vec<U256>),
    started: Instant,
    /// L2 transaction of a withdrawal, its block, and who is paid.
    withdrawal: (String, u64, Address),
}

fn dev_account(index: u32) -> Address {
    Wallet::dev(0, index).address()
}

impl Case {
    /// A chain on the embedded L1, or on Anvil, on which one ether is being withdrawn.
    fn new(name: &str, on_anvil: bool, lie: &'static str, liars: u32) -> Self {
        let folder = Folder::new();
        let options = DevOptions { liar: Some(lie), ..DevOptions::default() };
        let (anvil, dev, clock) = if on_anvil {
            let anvil = Anvil::start(&folder, 900, &["--block-time", "1"]);
            let clock = Clock::start(&anvil.rpc, Pace::DEVELOPMENT);
            let l1 = Some(anvil.rpc.url().to_owned());
            let dev = Dev::start(&folder, "dev", &DevOptions { l1, ..options });
            (Some(anvil), dev, clock)
        } else {
            let dev = Dev::start(&folder, "dev", &options);
            let clock = Clock::start(&dev.l1, Pace::DEVELOPMENT);
            (None, dev, clock)
        };
        Self::on(name, folder, clock, dev, anvil, liars)
    }

    fn on(
        name: &str,
        folder: Folder,
        clock: Clock,
        dev: Dev,
        anvil: Option<Anvil>,
        liars: u32,
    ) -> Self {
        let settlement = Settlement {
            l1: dev.l1.another(),
            claims: dev.contract("claims"),
            tournament: dev.contract("tournament"),
        };
        let honest = vec![dev_account(CLAIMER), dev_account(CHALLENGER)];
        let liars: Vec<_> = (LIAR..LIAR + liars).map(dev_account).collect();
        let mut case = Self {
            name: name.to_owned(),
            folder,
            clock,
            dev,
            anvil,
            settlement,
            honest,
            liars,
            before: Default::default(),
            started: Instant::now(),
            withdrawal: Default::default(),
        };
        case.withdraw();
        case.remember();
        case
    }

    fn remember(&mut self) {
        let each = self.liars.iter().map(|liar| self.settlement.wealth(*liar)).collect();
        self.before = (self.wealth(), each);
    }

    fn wealth(&self) -> U256 {
        self.honest.iter().map(|account| self.settlement.wealth(*account)).sum()
    }

    /// `annex wallet …`, asking a node.
    #[track_caller]
    fn wallet(&self, node: &Rpc, arguments: &[&str]) -> String {
        let key = Wallet::dev(0, WITHDRAWS).key();
        let chains = ["--key", &key, "--rpc", node.url(), "--l1", self.settlement.l1.url()];
        let (ok, text) = run(&[&["wallet"], arguments, &chains].concat());
        assert!(ok, "{}: annex wallet {arguments:?}:\n{text}", self.name);
        text
    }

    fn withdraw(&mut self) {
        let to = stranger(&self.name);
        let withdraw = ["withdraw", "--amount", "1", "--to", &to.to_string()];
        let text = self.wallet(&self.dev.rpc, &withdraw);
        let tx = text.lines().find_map(|line| line.strip_prefix("L2 transaction "));
        let tx = tx.unwrap_or_else(|| panic!("{text}")).trim().to_owned();
        let receipt = self.dev.rpc.receipt(&tx).expect("it was sent");
        self.withdrawal = (tx, number(&receipt["blockNumber"]), to);
    }

    /// The newest report of a node that satisfies `until`.
    #[track_caller]
    fn until(&self, what: &str, node: &Rpc, until: impl Fn(&Value) -> bool) -> Value {
        eventually(&format!("{}: {what}", self.name), seconds(PATIENCE), || {
            report(node).filter(|report| until(report))
        })
    }

    /// Waits until the withdrawal's block has settled and nothing is disputed, and sees what it came to.
    #[track_caller]
    fn truth_settles(&self, node: &Rpc) -> Spent {
        let (tx, block, to) = &self.withdrawal;
        let end = self.until("the truth settles", node, |report| {
            number(&report["settled"]["block"]) >= *block && number(&report["openRanges"]) == 0
        });
        assert_eq!(end["faulted"], false);
        let took = self.started.elapsed().as_secs_f64();
        let text = self.wallet(node, &["prove", tx, "--wait"]);
        assert!(text.contains("proved against claim"), "{text}");
        let text = self.wallet(node, &["finalize", tx, "--wait"]);
        assert!(text.contains("paid: 1 ether"), "{text}");
        assert_eq!(self.settlement.balance(*to), ETHER, "{}", self.name);
        eventually(&format!("{}: no wei is stranded", self.name), seconds(PATIENCE), || {
            self.settlement.balance(self.settlement.tournament).is_zero().then_some(())
        });

        let bond = ETHER / U256::from(4);
        for (liar, before) in self.liars.iter().zip(&self.before.1) {
            let bonds = self.settlement.bonds(*liar);
            let (after, refunds) = (self.settlement.wealth(*liar), self.settlement.refunds(*liar));
            let lost = before - after.min(*before);
            assert!(bonds > 0, "{}: {liar} did not dare", self.name);
            assert!(lost + refunds >= bond, "{}: {liar} staked {bonds} and lost {lost}", self.name);
        }
        let spent = self.settlement.spent(&self.honest, 0);
        let (before, after) = (self.before.0, self.wealth());
        let tournaments = self.settlement.tournaments();
        let refunds: U256 = self.honest.iter().map(|it| self.settlement.refunds(*it)).sum();
        println!(
            "{}: {took:.0} s; tournaments {tournaments:?}; the honest sent {spent} for {} ether, were refunded {}, and own {} more",
            self.name,
            format_ether(spent.wei),
            format_ether(refunds),
            format_ether(after.saturating_sub(before)),
        );
        assert_eq!(spent.starved, 0, "{}: {spent}", self.name);
        // What the gas cost is bounded, and the bonds that they won are more.
        assert!(after + spent.wei >= before, "{}: {before} wei became {after}", self.name);
        assert!(after >= before, "{}: {before} wei became {after}", self.name);
        spent
    }

    /// Down to one instruction, at the cost of one dispute.
    #[track_caller]
    fn one_instruction(&self, spent: Spent) {
        let tournaments = self.settlement.tournaments();
        assert!(tournaments[1] > 0 && tournaments[2] > 0 && spent.proofs > 0, "{tournaments:?}");
        let disputes = tournaments[1] as u64;
        assert!(spent.gas <= disputes * MOST_GAS, "{}: {spent}", self.name);
        // Everything is simulated first; what L1 takes back or others do meanwhile may be in vain.
        assert!(spent.reverted <= 4 * disputes, "{}: {spent}", self.name);
    }
}

/// Runs cases beside each other: they mostly wait.
fn all<const N: usize>(cases: [fn(); N]) {
    thread::scope(|scope| {
        let running = cases.map(|case| scope.spawn(case));
        let failed = running.map(|case| case.join().is_err());
        assert!(!failed.contains(&true), "see above");
    });
}

/// One liar who moves at once, against the claimer and the challenger of `annex dev`.
fn duel(on_anvil: bool, lie: &'static str) {
    let name = format!("{lie} on {}", if on_anvil { "Anvil" } else { "the embedded L1" });
    let case = Case::new(&name, on_anvil, lie, 1);
    case.clock.follow(&[&case.dev.rpc]);
    if lie == "fault" {
        eventually("the node tells that the FAULT is false", seconds(PATIENCE), || {
            let (_, text) =
                run(&["claims", "--rpc", case.dev.rpc.url(), "--l1", case.dev.l1.url()]);
            let mut claims = text.lines().filter(|line| line.contains("FAULT"));
            claims.any(|line| line.contains("in a match") && line.ends_with("FALSE")).then_some(())
        });
    }
    let spent = case.truth_settles(&case.dev.rpc);
    case.one_instruction(spent);
}

/// It gets its ether when there is hardly time to stake it, and then takes all the time there is for every move.
fn late() {
    let case = Case::new("late", false, "late", 1);
    let (l1, liar) = (&case.settlement.l1, case.liars[0]);
    let funds = case.before.1[0];
    l1.get_result("anvil_setBalance", json!([liar, "0x0"]));
    let window = 60;
    case.clock.follow(&[&case.dev.rpc]);
    case.until("the truth is claimed", &case.dev.rpc, |report| honest_staked(report) == 1);
    let opened = case.settlement.opened();
    case.clock.until(opened + window - 9);
    eventually("the window is about to end", seconds(PATIENCE), || {
        (number(&l1.block("latest")["timestamp"]) >= opened + window - 9).then_some(())
    });
    assert_eq!(case.settlement.bonds(liar), 0);
    l1.get_result("anvil_setBalance", json!([liar, funds]));
    case.clock.until(u64::MAX);
    let spent = case.truth_settles(&case.dev.rpc);
    assert!(case.settlement.tournaments()[1] > 0, "it joined in time");
    assert!(spent.gas <= MOST_GAS, "{spent}");
}

fn idle() {
    let case = Case::new("idle", false, "idle", 1);
    case.clock.follow(&[&case.dev.rpc]);
    let spent = case.truth_settles(&case.dev.rpc);
    assert_eq!(case.settlement.tournaments()[1], 0, "it never moved");
    assert!(spent.gas <= MOST_GAS / 4, "{spent}");
}

fn several() {
    let (name, lie, liars) = match soak() {
        true => ("twenty at once", "several=20", 20),
        false => ("five at once", "several=5", 5),
    };
    let case = Case::new(name, false, lie, liars);
    case.clock.follow(&[&case.dev.rpc]);
    let spent = case.truth_settles(&case.dev.rpc);
    case.one_instruction(spent);
}

/// L1 takes back what was moved and staked last, at every level.
fn reorganised() {
    let case = Case::new("L1 reorganises", true, "output", 1);
    case.clock.follow(&[&case.dev.rpc]);
    for (bonds, depth) in [(1, 4), (2, 6), (3, 3)] {
        case.until("a level is reached", &case.dev.rpc, |report| staked(report, "liar") >= bonds);
        case.clock.reorganise(&case.settlement.l1, depth);
    }
    let spent = case.truth_settles(&case.dev.rpc);
    case.one_instruction(spent);
}

/// The honest of `annex dev` have no ether; others do, with a node of their own.
fn on_their_own(case: &mut Case, parties: &[(&'static str, u32)], poor: bool) -> Node {
    let l1 = case.anvil.as_ref().expect("on Anvil");
    if poor {
        for index in [CLAIMER, CHALLENGER] {
            l1.set_balance(dev_account(index), U256::ZERO);
        }
        case.honest.clear();
    }
    case.honest.extend(parties.iter().map(|(_, index)| dev_account(*index)));
    case.remember();
    own_node(case, parties)
}

fn own_node(case: &Case, parties: &[(&'static str, u32)]) -> Node {
    let options = NodeOptions { keys: parties.to_vec(), ..NodeOptions::default() };
    let l1 = case.settlement.l1.url();
    let node = Node::start(&case.folder, "own", l1, &case.dev.deployment_file(), &options);
    case.clock.follow(&[&case.dev.rpc, &node.rpc]);
    node
}

/// Wherever it stands in the dispute, and whatever it computes.
fn killed() {
    let mut case = Case::new("killed and restarted", true, "first-instruction", 1);
    let parties = [("--claimer", OWN_CLAIMER), ("--challenger", OWN_CHALLENGER)];
    let mut node = on_their_own(&mut case, &parties, true);
    let mut moments = BTreeSet::new();
    eventually("killed and restarted: the dispute is over", seconds(PATIENCE), || {
        let report = report(&node.rpc)?;
        if number(&report["settled"]["block"]) >= case.withdrawal.1 {
            return Some(());
        }
        if number(&report["openMatches"]) == 0 {
            return None;
        }
        let what = report["computing"]["what"].as_str().unwrap_or("nothing");
        let what = what.split(" from ").next().unwrap_or_default();
        let what: String = what.chars().filter(|c| !c.is_ascii_digit()).collect();
        let bonds = honest_staked(&report);
        if moments.insert((bonds, what)) {
            node.process.kill();
            node = own_node(&case, &parties);
        }
        None
    });
    println!("killed at {moments:?}");
    for bonds in 1..=3 {
        assert!(moments.iter().any(|(at, _)| *at == bonds), "{moments:?}");
    }
    let spent = case.truth_settles(&node.rpc);
    case.one_instruction(spent);
}

/// L1 takes nothing of the honest for half of their clock, from the middle of the dispute on.
fn dropped() {
    let mut case = Case::new("dropped for half a clock", true, "output", 1);
    let parties = [("--claimer", OWN_CLAIMER), ("--challenger", OWN_CHALLENGER)];
    let node = on_their_own(&mut case, &parties, true);
    case.until("the run is disputed", &node.rpc, |report| honest_staked(report) == 2);
    let now = || number(&case.settlement.l1.block("latest")["timestamp"]);
    case.clock.drop_from(&case.settlement.l1, &case.honest);
    let (begin, sent) = (now(), case.settlement.spent(&case.honest, 0).transactions);
    eventually("half a clock has passed", seconds(PATIENCE), || {
        (now() >= begin + 30).then_some(())
    });
    // What a block was being made of may be in it.
    assert!(case.settlement.spent(&case.honest, 0).transactions <= sent + 1, "nothing is taken");
    case.clock.drop_from(&case.settlement.l1, &[]);
    let spent = case.truth_settles(&node.rpc);
    case.one_instruction(spent);
}

/// Four of them, two nodes, which know nothing of each other.
fn honest_parties_get_along() {
    let mut case = Case::new("two honest nodes", true, "last-instruction", 1);
    let parties = [("--claimer", OWN_CLAIMER), ("--challenger", OWN_CHALLENGER)];
    let node = on_their_own(&mut case, &parties, false);
    let spent = case.truth_settles(&node.rpc);
    case.one_instruction(spent);
}

/// Seven days and more, as fast as one node looks at them: some minutes.
fn production() {
    let folder = Folder::new();
    let anvil = Anvil::start(&folder, 900, &["--block-time", "1"]);
    let clock = Clock::start(&anvil.rpc, Pace::PRODUCTION);
    let l1 = anvil.rpc.url();
    let file = folder.path().join("dev/deployment.json");
    let [submitter, promiser] = [OPERATOR, PROMISER].map(|index| dev_account(index).to_string());
    let key = Wallet::dev(0, 9).key();
    let deploy = ["deploy", "--l1", l1, "--key", &key, "--l2-chain-id", "901", "--submitter"];
    let signers =
        [&submitter, "--promise-signer", &promiser, "--out", file.to_str().expect("UTF-8")];
    let (ok, text) = run(&[&deploy[..], &signers].concat());
    assert!(ok, "{text}");
    for index in [OPERATOR, CLAIMER, CHALLENGER] {
        anvil.set_balance(dev_account(index), ETHER * U256::from(100));
    }
    let deployment: Value =
        serde_json::from_slice(&std::fs::read(&file).expect("written")).expect("JSON");
    let portal = deployment["contracts"]["portal"].as_str().expect("an address");
    let portal: Address = portal.parse().expect("an address");
    for index in [WITHDRAWS, 9] {
        let (to, value) = (dev_account(index), ETHER * U256::from(10));
        let call = Portal::depositTransactionCall {
            to,
            value,
            gasLimit: 100_000,
            isCreation: false,
            data: Default::default(),
        };
        let call =
            L1Call { to: portal, value, input: call.abi_encode().into(), ..L1Call::default() };
        assert_eq!(call.send(&anvil.rpc, &Wallet::dev(0, index))["status"], "0x1");
    }
    let options =
        DevOptions { l1: Some(l1.to_owned()), liar: Some("output"), ..DevOptions::default() };
    let dev = Dev::start(&folder, "dev", &options);
    let case = Case::on("parameters of production", folder, clock, dev, Some(anvil), 1);
    // A production chain's leader waits for a minute.
    eventually("the withdrawal is on L1", seconds(PATIENCE), || {
        (case.dev.rpc.block_number("safe") >= case.withdrawal.1).then_some(())
    });
    case.clock.follow(&[&case.dev.rpc]);
    let spent = case.truth_settles(&case.dev.rpc);
    case.one_instruction(spent);
}

/// With `ANNEX_SOAK` alone: as long as all others together.
#[test]
fn on_a_chain_of_production() {
    if soak() {
        production();
    }
}

#[test]
fn on_the_embedded_l1() {
    all([|| duel(false, "commitment"), || duel(false, "last-instruction"), late, idle, several]);
}

#[test]
fn on_anvil() {
    all([|| duel(true, "fault"), reorganised, killed, dropped, honest_parties_get_along]);
}
