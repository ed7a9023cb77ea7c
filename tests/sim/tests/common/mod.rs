//! What every dispute is checked for.
#![allow(dead_code)] // Each test file uses its part.

use annex_sim::bound;
use annex_sim::chain::What;
use annex_sim::game::{Game, Report};
use annex_sim::table::Table;
use annex_sim::world::Settings;

/// Wei that an honest party may be out of pocket for gas in one dispute.
const GAS_BOUND: i128 = 50_000_000_000_000_000;
/// Seed of the chain that most disputes are about, so that its runs are computed once.
pub const CHAIN: u64 = 1;
/// No tournament has more commitments.
const MOST: [u64; 3] = [32, 32, 32];

pub fn table() -> Table {
    Table::new(CHAIN, Settings::default())
}

pub fn is_block(what: What) -> bool {
    matches!(
        what,
        What::Block { forced: 1.., transactions: 1.., .. }
            | What::Block { forced: 0, transactions: 2.., .. }
    )
}

/// The first seed of random cases.
pub fn seed() -> u64 {
    number("ANNEX_SEED").unwrap_or(0)
}

/// How many cases a test runs that has `few` by default.
pub fn cases(few: u64) -> u64 {
    few * number("ANNEX_CASES").unwrap_or(1)
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")))
}

/// Plays a table and checks what always holds.
pub fn settle(name: &str, seed: u64, table: Table, arrange: impl FnOnce(&mut Game)) -> Report {
    println!("{name}: seed {seed}");
    let leaf = table.last_leaf();
    let mut game = table.game(seed);
    arrange(&mut game);
    let params = game.world.params;
    let report = game.play(bound::settlement(&params, MOST));
    print(name, &report, bound::settlement(&params, report.most));
    assert_eq!(report.leaf, leaf, "{name}, seed {seed}: what is true settles");
    let survivors = report.survivors.iter().flatten();
    assert!(survivors.into_iter().all(|it| *it == leaf), "{name}, seed {seed}: {report:?}");
    let gains = report.honest.iter();
    assert!(gains.copied().all(|gain| gain >= -GAS_BOUND), "{name}, seed {seed}: {report:?}");
    // The formula wants every call within a grace; a bad network may take longer for the last ones.
    let bad = game.mempool.drops > 0.0 || game.mempool.delay > 0;
    let bound =
        bound::settlement(&params, report.most) + if bad { 10 * params.move_grace } else { 0 };
    assert!(report.delay <= bound, "{name}, seed {seed}: within {bound} s: {report:?}");
    report
}

pub fn print(name: &str, report: &Report, bound: u64) {
    let ether = |wei: i128| wei as f64 / 1e18;
    let gained: Vec<String> = report.honest.iter().map(|it| format!("{:.4}", ether(*it))).collect();
    println!(
        "{name}: {} s of at most {bound}; the honest: {} ether, {} gas in {} transactions ({} reverted), at most {} at once; all: {} \
         transactions, tournaments {:?}, commitments {:?}, {} proofs",
        report.delay,
        gained.join(" and "),
        report.gas,
        report.honest_transactions,
        report.reverted,
        report.most_gas,
        report.transactions,
        report.tournaments,
        report.commitments,
        report.proofs,
    );
}
