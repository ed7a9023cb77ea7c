//! A block of 1,000 transfers proved wrong, and what a dispute costs the honest party at worst.
#![allow(clippy::unwrap_used)] // A failed expectation is a failed test.

mod common;

use std::path::Path;
use std::time::{Duration, Instant};

use alloy_primitives::{Address, Bytes, keccak256};
use annex_claim::MAX_PREIMAGE;
use annex_settle::Conduct;
use annex_sim::bound;
use annex_sim::chain::{Lie, What};
use annex_sim::compute::{GUEST, computing};
use annex_sim::game::Report;
use annex_sim::l2::{ETHER, transaction};
use annex_sim::liar::Twist;
use annex_sim::table::Table;
use annex_sim::world::{Settings, World};
use common::{is_block, print, settle, table};

const TRANSFERS: u64 = 1_000;
const SENDERS: u64 = 20;
/// Of two cores, from the first claim to the verdict.
const LONGEST: Duration = Duration::from_secs(120);

#[test]
fn a_block_of_a_thousand_transfers_is_proved_wrong_in_time() {
    let mut world = World::new(&GUEST, Settings::default());
    (1..=SENDERS).for_each(|sender| world.deposit(sender, 5 * ETHER));
    world.batch(SENDERS, Vec::new());
    let others = (0..TRANSFERS).map(|it| Address::from_word(keccak256(it.to_be_bytes())));
    let transfers = (0..).zip(others).map(|(number, to)| {
        let sender = 1 + number % SENDERS;
        transaction(sender, world.nonce(sender) + number / SENDERS, to, 1, Bytes::new())
    });
    let transfers = transfers.collect();
    let data = world.payload(vec![world.block(0, transfers)]);
    world.post_blobs(world.consumed(), &data);

    let mut table = Table::of(world, GUEST.clone(), None);
    let step = table.step(0, |what| matches!(what, What::Block { transactions: 1_000, .. }));
    table.honest();
    let own = table.lying(step, Lie::DataPrice);
    table.liar(own, Twist::at(1, 40, 123_456), Conduct::AtOnce);
    let begin = Instant::now();
    let report = settle("1,000 transfers", 1, table, |_| {});
    let elapsed = begin.elapsed();
    println!(
        "1,000 transfers proved wrong in {elapsed:.1?}, {:.1?} of it on runs; {} L1 transactions, {} of the honest party",
        computing(),
        report.transactions,
        report.honest_transactions,
    );
    assert_eq!(report.proofs, 1);
    assert!(elapsed < LONGEST, "{elapsed:?}");
}

/// One liar who goes down to an instruction, in every way that turns can fall.
#[test]
fn what_a_dispute_costs_the_honest_party() {
    let mut worst: Option<Report> = None;
    for odd in 0..8u64 {
        for first in [true, false] {
            let mut table = table();
            let step = table.step((odd as usize & 1) * 8, is_block);
            if first {
                table.honest();
            }
            let own = table.lying(step, Lie::Origin);
            table.liar(own, Twist::at(1, 2 + (odd >> 1 & 1), 4 + (odd >> 2)), Conduct::AtOnce);
            if !first {
                table.honest().player.claims = true;
            }
            let report = settle("one liar", 1, table, |_| {});
            assert_eq!(report.proofs, 1);
            if worst.as_ref().is_none_or(|worst| worst.gas < report.gas) {
                worst = Some(report);
            }
        }
    }
    let worst = [worst.unwrap(), longest_preimage()].into_iter().max_by_key(|it| it.gas).unwrap();
    let params = table().world.params;
    print("worst", &worst, bound::one_liar(&params));
    compare(&worst);
}

/// The same about an instruction that reads the longest preimage there is, which the oracle has to be told as a whole.
fn longest_preimage() -> Report {
    let mut world = World::new(&GUEST, Settings::default());
    let data: Vec<u8> =
        (0..MAX_PREIMAGE as u64 / 32).flat_map(|it| keccak256(it.to_be_bytes()).0).collect();
    let key = keccak256(&data);
    world.post(0, data);
    let mut table = Table::of(world, GUEST.clone(), None);
    let step = table.step(0, |what| what == What::Exhausted { skipped: true });
    let instruction = table.truth.reading(step, &mut |_, it| it == key);
    let own = table.lying(step, Lie::State);
    let twist = Twist::at(1, instruction >> 20, instruction & ((1 << 20) - 1));
    table.liar(own, twist, Conduct::AtOnce);
    table.honest();
    let report = settle("64 KiB to load", 1, table, |_| {});
    assert_eq!((report.proofs, report.loads), (1, 1));
    report
}

/// The committed figures; `ANNEX_BLESS=1` replaces them.
fn compare(report: &Report) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("snapshots/dispute.json");
    if std::env::var_os("ANNEX_BLESS").is_some() {
        let json = serde_json::json!({
            "gas": report.gas,
            "mostGas": report.most_gas,
            "transactions": report.honest_transactions,
        });
        std::fs::write(&path, serde_json::to_string_pretty(&json).unwrap() + "\n").unwrap();
    }
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    for (name, found) in [
        ("gas", report.gas),
        ("mostGas", report.most_gas),
        ("transactions", report.honest_transactions),
    ] {
        let known = json[name].as_u64().unwrap();
        assert!(
            found.abs_diff(known) <= known / 100,
            "{name}: {known} became {found}; if that is meant: ANNEX_BLESS=1 cargo test --release -p annex-sim --test speed"
        );
    }
}
