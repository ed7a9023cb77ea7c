//! Somebody claims what is false: the dispute as `annex claims watch` tells it, and a withdrawal that does not mind. L1's time is
//! steered; at its own pace a dispute goes in `host/node`'s tests.

use alloy_primitives::U256;
use annex_e2e::{
    Anvil, Clock, Dev, DevOptions, ETHER, Folder, Pace, Process, Rpc, Wallet, annex, eventually,
    run, seconds,
};
use serde_json::json;
use std::process::Command;
use std::time::Instant;

const WALLET: u32 = 6;
/// The account of `annex dev` that lies.
const LIAR: u32 = 24;

fn credits_and_balance(l1: &Rpc, account: u32) -> U256 {
    let balance = json!([Wallet::dev(0, account).address(), "latest"]);
    let balance = l1.get_result("eth_getBalance", balance);
    balance.as_str().expect("a quantity").parse().expect("a quantity")
}

fn the_liar_loses(dev: &Dev, clock: &Clock, folder: &Folder) {
    let chains = ["--rpc", dev.rpc.url(), "--l1", dev.l1.url()];
    let before = credits_and_balance(&dev.l1, LIAR);
    let started = Instant::now();
    let mut command = Command::new(annex());
    command.args(["claims", "watch", "--until-settled"]).args(chains);
    let mut watch = Process::spawn(command, &folder.path().join("watch.log"));

    // A withdrawal is what makes a claim worth its gas.
    let key = Wallet::dev(0, WALLET).key();
    let to = "0x00000000000000000000000000000000000bEEf1";
    let with_key = |arguments: &[&str]| run(&[arguments, &["--key", &key], &chains].concat());
    let (ok, text) = with_key(&["wallet", "withdraw", "--amount", "1", "--to", to]);
    assert!(ok, "{text}");
    let line = text.lines().find_map(|line| line.strip_prefix("L2 transaction "));
    let tx = line.unwrap_or_else(|| panic!("{text}")).to_owned();

    clock.follow(&[&dev.rpc]);
    let status = eventually("a range settles", seconds(600), || watch.exited());
    let story = watch.output();
    assert!(status.success(), "{story}");
    println!("told in {:.0} s:\n{story}", started.elapsed().as_secs_f64());
    let told = [
        "opened: records below",
        "FALSE",
        "about the chain",
        "they differ first in step",
        "about a step's run",
        "they differ first in stride",
        "about a stride's instructions",
        "they differ first in instruction",
        "Machine.step executed instruction",
        "lost its bond of 0.25 ether",
        "settled with claim",
    ];
    let mut rest = story.as_str();
    for part in told {
        let Some((_, after)) = rest.split_once(part) else {
            panic!("no `{part}` in its place:\n{story}")
        };
        rest = after;
    }
    let lost = before - credits_and_balance(&dev.l1, LIAR);
    assert!(lost >= ETHER / U256::from(4), "the liar lost {lost} wei");

    // Whoever withdraws is not paid by the liar's claim, and is paid all the same.
    let (ok, text) = with_key(&["wallet", "prove", &tx, "--wait"]);
    assert!(ok, "{text}");
    let (ok, text) = run(&[&["claims"], &chains[..]].concat());
    assert!(ok && text.contains("beaten") && text.contains("FALSE"), "{text}");
    let waited = eventually("it can be finalised", seconds(600), || {
        let (ok, text) = run(&[&["wallet", "status", &tx], &chains[..]].concat());
        (ok && text.contains("\u{25cf} final")).then_some(text)
    });
    println!("{waited}");
    let (ok, text) = with_key(&["wallet", "finalize", &tx]);
    assert!(ok && text.contains("paid: 1 ether"), "{text}");
}

/// Without `=…`, as the README has it.
const LIAR_OF_THE_README: Option<&str> = Some("");

#[test]
fn on_the_embedded_l1() {
    let folder = Folder::new();
    let options = DevOptions { liar: LIAR_OF_THE_README, ..DevOptions::default() };
    let dev = Dev::start(&folder, "dev", &options);
    let clock = Clock::start(&dev.l1, Pace::DEVELOPMENT);
    the_liar_loses(&dev, &clock, &folder);
}

#[test]
fn on_anvil() {
    let folder = Folder::new();
    let anvil = Anvil::start(&folder, 900, &["--block-time", "1"]);
    let clock = Clock::start(&anvil.rpc, Pace::DEVELOPMENT);
    let l1 = Some(anvil.rpc.url().to_owned());
    let options = DevOptions { l1, liar: LIAR_OF_THE_README, ..DevOptions::default() };
    let dev = Dev::start(&folder, "dev", &options);
    the_liar_loses(&dev, &clock, &folder);
}
