//! Every adversary of spec/settlement.md's list, on the real contracts.
#![allow(clippy::unwrap_used)] // A failed expectation is a failed test.

use annex_settle::Conduct;
use annex_sim::bound;
use annex_sim::chain::{Lie, What};
use annex_sim::game::{Game, Report};
use annex_sim::liar::Twist;
use annex_sim::table::Table;
use annex_sim::world::Settings;

/// Wei of gas that an honest party may be out of pocket for, of one dispute.
const GAS_BOUND: i128 = 200_000_000_000_000_000;
const CHAIN: u64 = 1;

fn table() -> Table {
    Table::new(CHAIN, Settings::default())
}

/// Plays it and checks what always holds.
fn settle(name: &str, seed: u64, table: Table, arrange: impl FnOnce(&mut Game)) -> Report {
    println!("{name}: seed {seed}");
    let leaf = table.last_leaf();
    let mut game = table.game(seed);
    arrange(&mut game);
    let params = game.world.params;
    let report = game.play(bound::settlement(&params, [64, 64, 64]));
    println!(
        "{name}: settled after {} s of {}; honest gained {:?} wei, {} wei of gas ({} gas, at most {}); {} transactions, {} honest, {} \
         reverted; tournaments {:?}, commitments {:?}, {} proofs",
        report.delay,
        bound::settlement(&params, report.most),
        report.honest,
        report.gas_wei,
        report.gas,
        report.most_gas,
        report.transactions,
        report.honest_transactions,
        report.reverted,
        report.tournaments,
        report.commitments,
        report.proofs,
    );
    assert_eq!(report.leaf, leaf, "{name}, seed {seed}");
    assert!(
        report.honest.iter().all(|gain| *gain >= -GAS_BOUND),
        "{name}, seed {seed}: {report:?}"
    );
    assert!(
        report.delay <= bound::settlement(&params, report.most),
        "{name}, seed {seed}: {report:?}"
    );
    report
}

#[test]
fn nobody_lies() {
    let mut table = table();
    for (step, leap) in table.world.truth.leaps.iter().enumerate() {
        println!("{step}: {:?} {:?}", leap.cursor, leap.what);
    }
    table.honest();
    let report = settle("nobody lies", 1, table, |_| {});
    assert_eq!(report.honest_transactions, 4, "open, claim, settle, withdraw");
}

#[test]
fn a_false_output_root() {
    let mut table = table();
    table.honest();
    let last = table.step(table.steps() - 2, |what| matches!(what, What::Block { .. }));
    let own = table.lying(last, Lie::DataPrice);
    table.liar(own, Twist::at(1, 3, 5), Conduct::AtOnce);
    let report = settle("false output root", 1, table, |_| {});
    assert_eq!(report.proofs, 1);
}
