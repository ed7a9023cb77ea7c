//! Every adversary that spec/settlement.md has to withstand, on the real contracts. `ANNEX_SEED` repeats a random case,
//! `ANNEX_CASES` multiplies them; with `ANNEX_SOAK` they have chains of their own.
#![allow(clippy::unwrap_used)] // A failed expectation is a failed test.

mod common;

use std::sync::Arc;

use alloy_primitives::{Address, U256};
use annex_l1::contracts::Claims;
use annex_riscv::PreimageKind;
use annex_settle::{Action, Book, Conduct, Lookup, Need, RangeView};
use annex_sim::bound;
use annex_sim::chain::{Lie, What};
use annex_sim::compute::{Computer, GUEST};
use annex_sim::game::{Game, Mempool};
use annex_sim::l1::{Call, said};
use annex_sim::l2::{ETHER, address, transaction};
use annex_sim::liar::Twist;
use annex_sim::table::{Table, account};
use annex_sim::world::{Settings, World};
use common::{cases, is_block, seed, settle, table};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Seconds before its end in which a stalling liar acts.
const LAST: Conduct = Conduct::AtLast { seconds: 45 };
/// Beyond the end of every tree: its last place.
const END: u64 = u64::MAX;

/// One honest party, and one liar about a step.
fn duel(name: &str, like: impl Fn(What) -> bool, lie: Lie, twist: Twist) {
    let mut table = table();
    let step = table.step(0, like);
    table.honest();
    let own = table.lying(step, lie);
    table.liar(own, twist, Conduct::AtOnce);
    let params = table.world.params;
    let report = settle(name, twist.seed, table, |_| {});
    assert_eq!(report.proofs, 1, "{name}: down to one instruction");
    assert_eq!(report.tournaments, [1, 1, 1], "{name}");
    assert!(report.delay <= bound::one_liar(&params), "{name}: {report:?}");
    assert_eq!(report.reverted, 0, "{name}");
}

fn any(_: What) -> bool {
    true
}

#[test]
fn nobody_lies() {
    let mut table = table();
    table.honest();
    let report = settle("nobody lies", 1, table, |_| {});
    assert_eq!(report.honest_transactions, 4, "open, claim, settle, withdraw");
}

#[test]
fn a_false_output_root() {
    let last = table().steps() - 1;
    let mut table = table();
    table.honest();
    let own = table.lying(last, Lie::State);
    table.liar(own, Twist::at(1, 3, 5), Conduct::AtOnce);
    let report = settle("false output root", 1, table, |_| {});
    assert_eq!(report.proofs, 1);
}

#[test]
fn a_true_root_with_a_false_commitment() {
    duel("true root, false commitment", is_block, Lie::State, Twist::at(2, 1, 1_000));
}

#[test]
fn false_at_the_first_step_and_the_first_instruction() {
    duel("first step, first instruction", any, Lie::State, Twist::at(3, 0, 0));
}

#[test]
fn false_at_the_last_instruction() {
    duel("last instruction", is_block, Lie::State, Twist::at(4, END, END));
}

#[test]
fn false_between_two_strides() {
    duel("last of a stride", is_block, Lie::State, Twist::at(5, 2, (1 << 20) - 1));
    duel("first of a stride", is_block, Lie::State, Twist::at(6, 3, 0));
}

/// The oracle has to be told what the instruction reads, before it is proved.
#[test]
fn false_at_an_instruction_that_reads_a_preimage() {
    for (wanted, skip) in [
        (PreimageKind::Keccak, 0),
        (PreimageKind::Keccak, 40),
        (PreimageKind::Blob, 0),
        (PreimageKind::Blob, 1),
    ] {
        let mut world = World::new(&GUEST, Settings::default());
        world.deposit(1, ETHER);
        world.batch(1, Vec::new());
        let payment = transaction(1, world.nonce(1), address(2), 1, Default::default());
        let data = world.payload(vec![world.block(0, vec![payment])]);
        world.post_blobs(world.consumed(), &data);
        let mut table = Table::of(world, GUEST.clone(), None);
        table.honest();
        let step = table.step(0, |what| matches!(what, What::Block { transactions: 1, .. }));
        let mut seen = 0;
        let instruction = table.truth.reading(step, &mut |kind, _| {
            seen += u64::from(kind == wanted);
            seen > skip
        });
        let own = table.lying(step, Lie::DataPrice);
        let twist = Twist::at(1, instruction >> 20, instruction & ((1 << 20) - 1));
        table.liar(own, twist, Conduct::AtOnce);
        let report = settle(&format!("{wanted:?} preimage {skip}"), 1, table, |_| {});
        assert_eq!((report.proofs, report.loads), (1, 1));
    }
}

#[test]
fn a_lie_about_a_batch() {
    duel("skipped batch", is_block, Lie::SkippedBatch, Twist::at(7, 1, 17));
}

#[test]
fn a_lie_about_a_forced_item() {
    duel("forced item mints more", is_block, Lie::ForcedMint, Twist::at(8, 2, 18));
    duel("forced items left out", is_block, Lie::ForcedLeftOut, Twist::at(9, 2, 19));
    let derived = |what| matches!(what, What::Block { derived: true, .. });
    duel("forced items of the rules", derived, Lie::ForcedMint, Twist::at(10, 2, 20));
}

#[test]
fn a_lie_about_an_origin_and_a_data_price() {
    let with_users = |what| matches!(what, What::Block { transactions: 1.., .. });
    duel("origin", with_users, Lie::Origin, Twist::at(11, 4, 21));
    duel("data price", with_users, Lie::DataPrice, Twist::at(12, 4, 22));
}

#[test]
fn a_range_that_no_one_claims() {
    let mut table = table();
    let window = table.world.params.challenge_window;
    let from = table.world.l1.now() + window + 600;
    table.honest().from = from;
    let report = settle("nobody claims", 1, table, opened_by_an_outsider);
    assert_eq!(report.tournaments, [2, 0, 0], "closed without survivor, and opened again");
}

/// Opens a range that nobody honest claims: there is traffic, but no claimer.
fn opened_by_an_outsider(game: &mut Game) {
    let outsider = account(99);
    game.world.l1.fund(outsider, U256::from(ETHER));
    let at = game.world.at.claims;
    let outcome = game.world.l1.transact(Call::new(outsider, at, &Claims::openCall {}));
    assert!(outcome.success(), "{}", said(&outcome));
}

#[test]
fn a_false_claim_at_the_last_moment() {
    let mut table = table();
    let now = table.world.l1.now();
    table.honest().player.claims = false;
    let own = table.lying(3, Lie::State);
    table.liar(own, Twist::at(1, 0, 8), Conduct::AtOnce).from =
        now + table.world.params.challenge_window / 2 - 60;
    let report = settle("a claim at the last moment", 1, table, opened_by_an_outsider);
    assert_eq!(report.commitments, [2, 2, 2]);
}

#[test]
fn fault_claimed_falsely() {
    for (step, twist) in
        [(0, Twist::at(1, 0, 7)), (6, Twist::at(2, END, END)), (19, Twist::at(3, 2, 2))]
    {
        let mut table = table();
        table.honest();
        let own = table.faulting(Some(step));
        table.liar(own, twist, Conduct::AtOnce);
        let report = settle(&format!("false FAULT of step {step}"), 1, table, |_| {});
        assert!(!report.faulted);
        assert_eq!(report.proofs, 1);
    }
}

/// Liars of every level: about different steps, about runs of the same step for either side, about instructions of one stride.
fn crowd(table: &mut Table, conduct: impl Fn(usize) -> Conduct) {
    let fault = |table: &Table, step| table.faulting(Some(step));
    let (first, second) = (table.step(0, is_block), table.step(8, is_block));
    let last = table.steps() - 1;
    let own: Vec<Arc<Computer>> = vec![
        table.lying(0, Lie::State),
        table.lying(first, Lie::ForcedMint),
        table.lying(first, Lie::ForcedLeftOut),
        table.lying(second, Lie::SkippedBatch),
        table.lying(second, Lie::DataPrice),
        table.lying(second, Lie::Origin),
        table.lying(second + 1, Lie::State),
        table.lying(last, Lie::State),
        fault(table, 0),
        fault(table, last),
    ];
    for (number, own) in own.iter().enumerate() {
        table.liar(own.clone(), Twist::at(1, 1, 100), conduct(number));
    }
    // For the same leaves with other runs, and with other instructions of the same stride.
    for (number, at) in [(0, (0, 3)), (1, (1, 100)), (3, (2, 5)), (4, (1, 200)), (8, (1, 300))] {
        let twist = Twist::at(2 + number as u64 % 2 * 5, at.0, at.1);
        table.liar(own[number].clone(), twist, conduct(number + 1));
    }
    for (number, instruction) in [(0, 101), (3, 102)] {
        table.liar(own[number].clone(), Twist::at(1, 1, instruction), conduct(number));
    }
    // For the true leaf with false runs.
    for seed in 20..23 {
        let truth = table.truth.clone();
        let party = table.liar(truth, Twist::at(seed, seed % 3, 50), conduct(seed as usize));
        party.player.claims = false;
    }
}

#[test]
fn twenty_liars_at_once() {
    let mut table = table();
    table.honest();
    crowd(&mut table, |_| Conduct::AtOnce);
    assert_eq!(table.parties.len(), 21);
    let report = settle("twenty liars", 1, table, |_| {});
    assert!(report.commitments[0] >= 9, "{report:?}");
    assert!(report.tournaments[1] > 1 && report.tournaments[2] > 1, "{report:?}");
}

#[test]
fn twenty_liars_of_mixed_conduct_on_a_bad_network() {
    for seed in 0..cases(1) {
        let mut table = table();
        table.honest();
        crowd(&mut table, |number| match number % 3 {
            0 => LAST,
            1 => Conduct::AtOnce,
            _ => Conduct::Never,
        });
        settle("twenty liars of mixed conduct", seed, table, |game| {
            game.mempool = Mempool { drops: 0.2, delay: 2, reorders: true, censors: None };
        });
    }
}

#[test]
fn clocks_run_to_the_last_moment() {
    let mut table = table();
    table.honest();
    let step = table.step(0, is_block);
    let own = table.lying(step, Lie::ForcedMint);
    table.liar(own, Twist::at(1, 1, 3), LAST);
    let params = table.world.params;
    let report = settle("last moment", 1, table, |_| {});
    assert!(report.delay <= bound::one_liar(&params), "{report:?}");
    // Both the joining and the liar's clock are used up.
    assert!(report.delay > params.challenge_window + params.challenge_window / 2, "{report:?}");
}

/// The parameters of production, with weeks of simulated time.
#[test]
fn production_parameters() {
    let settings = Settings { claim_interval: 75_600, challenge_window: 604_800, move_grace: 900 };
    let mut table = Table::new(common::CHAIN, settings);
    table.honest();
    let step = table.step(0, is_block);
    for (seed, conduct) in [(1, Conduct::AtOnce), (2, Conduct::AtLast { seconds: 1_000 })] {
        let own = table.lying(step + seed, Lie::State);
        table.liar(own, Twist::at(seed as u64, 1, 3), conduct);
    }
    settle("production", 1, table, |_| {});
}

#[test]
fn joiners_who_never_move() {
    let mut table = table();
    table.honest();
    for step in 0..6 {
        let own = table.lying(step, Lie::State);
        table.liar(own, Twist::at(step as u64, 0, 0), Conduct::Never);
    }
    let report = settle("never moves", 1, table, |_| {});
    assert_eq!(report.proofs, 0);
}

/// Twenty liars of every level, each of whom takes what time there is.
#[test]
fn twenty_stalling_liars() {
    let mut table = table();
    let window = table.world.params.challenge_window as f64;
    table.honest();
    crowd(&mut table, |_| LAST);
    let report = settle("twenty stalling liars", 1, table, |_| {});
    println!("twenty stalling liars: {:.2} windows", report.delay as f64 / window);
}

/// The longest delay known to us: liars bring each other down to a child, where others of theirs join at once on both sides, each
/// with a whole clock, and let it run out when it is their turn. A round there takes a clock, and half of them are left.
#[test]
fn idle_joiners_of_children_delay_by_rounds() {
    let mut last = 0;
    for (runs, strides) in [(0, 0), (2, 0), (6, 0), (6, 6)] {
        let mut table = table();
        let params = table.world.params;
        let step = table.step(0, is_block);
        let liars = [table.lying(step, Lie::ForcedMint), table.lying(step, Lie::Origin)];
        for (own, seed) in liars.iter().zip([1, 2]) {
            table.liar(own.clone(), Twist::at(seed, 1, 3), Conduct::AtOnce);
        }
        table.honest();
        let other_runs = (0..runs).map(|number| (number, Twist::at(10 + number as u64, 0, 3)));
        // The run of the liar itself, with another instruction.
        let other_strides = (0..strides)
            .map(|number| (number, Twist::at(1 + number as u64 % 2, 1, 4 + number as u64)));
        for (number, twist) in other_runs.chain(other_strides) {
            let party = table.liar(liars[number % 2].clone(), twist, Conduct::AtOnce);
            party.player.claims = false;
            party.idles = true;
        }
        let name = format!("{runs} idle joiners of level 1, {strides} of level 2");
        let report = settle(&name, 1, table, |_| {});
        println!("{name}: {:.2} windows", report.delay as f64 / params.challenge_window as f64);
        assert!(report.delay > last, "more rounds take longer");
        last = report.delay;
    }
}

/// Three bonds and some gas are enough against everybody.
#[test]
fn an_honest_party_of_small_means() {
    let mut table = table();
    let bond = table.world.params.bond;
    table.honest().purse = 3 * bond + ETHER / 10;
    crowd(&mut table, |_| Conduct::AtOnce);
    let report = settle("small means", 1, table, |_| {});
    assert_eq!(report.survivors.len(), 1, "{report:?}");
}

/// What the longest delays known to us cost, against the formula.
#[test]
fn stalling_stays_within_the_formula() {
    for liars in [1, 3, 7] {
        for (how, conduct, late) in [
            ("moves at last", LAST, false),
            ("joins and moves at last", LAST, true),
            ("never moves", Conduct::Never, true),
        ] {
            let mut table = table();
            let params = table.world.params;
            table.honest();
            let begin = table.world.l1.now();
            for number in 0..liars {
                let own = table.lying(number, Lie::State);
                let party = table.liar(own, Twist::at(1, 0, number as u64), conduct);
                // The range is opened in the next block.
                party.from = if late { begin + params.challenge_window - 40 } else { begin };
            }
            let report = settle(&format!("{liars} liars, {how}"), 1, table, |_| {});
            let windows = report.delay as f64 / params.challenge_window as f64;
            println!("{liars} liars, {how}: {windows:.2} windows");
            if liars == 1 {
                assert!(report.delay <= bound::one_liar(&params), "{report:?}");
            }
        }
    }
}

#[test]
fn l1_drops_the_honest_transactions_for_half_a_clock() {
    for begin in [60, 300, 700] {
        let mut table = table();
        table.honest();
        let step = table.step(0, is_block);
        let own = table.lying(step, Lie::ForcedMint);
        table.liar(own, Twist::at(1, 1, 4), Conduct::AtOnce);
        settle(&format!("censored after {begin} s"), 1, table, |game| {
            let from = game.world.l1.now() + begin;
            let to = from + game.world.params.challenge_window / 2;
            game.mempool.censors = Some((from, to));
        });
    }
}

#[test]
fn l1_reorganises_in_mid_dispute() {
    for (at, depth) in [(6, 4), (20, 12), (50, 20), (75, 10), (80, 3)] {
        let mut table = table();
        table.honest();
        let step = table.step(0, is_block);
        let own = table.lying(step, Lie::ForcedMint);
        table.liar(own, Twist::at(1, 1, 4), Conduct::AtOnce);
        let report = settle(&format!("block {at}: {depth} are replaced"), 1, table, |game| {
            game.reorg = Some((at, depth));
        });
        assert!(report.proofs >= 1, "a proof that was taken back is given again");
    }
}

#[test]
fn two_honest_parties_on_one_side() {
    for seed in 0..cases(2) {
        let mut table = table();
        table.honest();
        table.honest();
        let step = table.step(0, is_block);
        let own = table.lying(step, Lie::ForcedMint);
        table.liar(own, Twist::at(1, 1, 5), Conduct::AtOnce);
        let report = settle("two honest parties", seed, table, |game| {
            game.mempool = Mempool { drops: 0.1, delay: 2, reorders: true, censors: None };
        });
        assert_eq!(report.commitments, [2, 2, 2], "nobody stakes on what another has staked on");
    }
}

/// Who joined with the truth first never moves; another moves for it, and stakes nothing.
#[test]
fn a_true_commitment_that_its_claimer_left() {
    let mut table = table();
    table.honest().idles = true;
    let step = table.step(0, is_block);
    let own = table.lying(step, Lie::ForcedMint);
    table.liar(own, Twist::at(1, 1, 5), Conduct::AtOnce);
    let late = table.world.l1.now() + 300;
    table.honest().from = late;
    let report = settle("left by its claimer", 1, table, |_| {});
    assert_eq!(report.commitments, [2, 2, 2]);
    assert_eq!(report.proofs, 1);
}

/// Claims what a party computed of the oldest open range.
fn claim(world: &World, computer: &Computer, from: Address) -> Call {
    let RangeView { id: range, start, end, end_accumulator, .. } = world.view().ranges[0];
    let mut book = Book::default();
    computer.answer(Need::Range { start, end }, &mut book);
    let Lookup::Known(known) = book.range(start, end) else { unreachable!("just put in") };
    let path = known.tree.path(known.tree.leaves() - 1).unwrap();
    let output = known.last.clone();
    let action = Action::Claim { range, start, end_accumulator, path, output };
    world.call(from, &action, computer)
}

/// What was sent for one branch of L1 stakes nothing on another, where the same number names a range of other records.
#[test]
fn a_claim_is_of_its_branch_alone() {
    let mut world = table().world;
    let party = account(1);
    world.l1.fund(party, U256::from(ETHER));
    let mut branches = [1, 2].map(|value| {
        let mut world = world.branch();
        let nonce = world.nonce(1);
        world.batch(0, vec![transaction(1, nonce, address(3), value, Default::default())]);
        let opened = world.l1.transact(Call::new(party, world.at.claims, &Claims::openCall {}));
        assert!(opened.success());
        let truth = Table::of(world.branch(), GUEST.clone(), None).truth;
        (claim(&world, &truth, party), world)
    });
    assert!(!branches[1].1.l1.simulate(&branches[0].0).success());
    assert!(!branches[0].1.l1.simulate(&branches[1].0).success());
    for (claim, world) in &mut branches {
        assert!(world.l1.transact(claim.clone()).success());
    }
}

/// Ranges overlap: the same lie is told in two, and both are played at once.
#[test]
fn two_ranges_at_once() {
    let mut world = table().world;
    let outsider = account(99);
    world.l1.fund(outsider, U256::from(ETHER));
    let open = |world: &mut World| {
        let call = Call::new(outsider, world.at.claims, &Claims::openCall {});
        assert!(world.l1.transact(call).success());
    };
    open(&mut world);
    world.l1.mine(world.params.claim_interval, Vec::new());
    let nonce = world.nonce(1);
    world.batch(0, vec![transaction(1, nonce, address(3), 1, Default::default())]);
    open(&mut world);
    let mut table = Table::of(world, GUEST.clone(), None);
    table.honest();
    let step = table.step(0, is_block);
    let own = table.lying(step, Lie::ForcedMint);
    let liar = table.liar(own.clone(), Twist::at(1, 1, 6), Conduct::AtOnce).player.address;
    let (ends, last) = (table.truth.clone(), table.last_leaf());
    let mut game = table.game(1);
    // Players claim the newest range of their own accord. The liar does the first one, too.
    let view = game.world.view();
    let RangeView { id: range, start, end, end_accumulator, .. } = view.ranges[0];
    let mut book = Book::default();
    own.answer(Need::Range { start, end }, &mut book);
    let Lookup::Known(lie) = book.range(start, end) else { unreachable!("just put in") };
    let path = lie.tree.path(lie.tree.leaves() - 1).unwrap();
    let output = lie.last.clone();
    let claim = Action::Claim { range, start, end_accumulator, path, output };
    let claim = game.world.call(liar, &claim, &own);
    assert!(game.world.l1.transact(claim).success());
    let bound = bound::settlement(&game.world.params, [2, 2, 2]);
    let report = game.play(bound);
    common::print("two ranges", &report, bound);
    let first = game.world.tournaments().into_iter().find(|it| it.level == 0).unwrap();
    let steps = 0..ends.steps();
    let end =
        steps.map(|step| ends.at(step)).find(|(_, cursor)| cursor.record >= first.end).unwrap().0;
    assert_eq!(report.survivors, [Some(end), Some(last)]);
    assert_eq!((report.leaf, report.tournaments), (last, [2, 2, 2]));
    assert!(report.honest[0] > 0);
}

#[test]
fn killed_and_restarted_at_every_move() {
    let mut table = table();
    table.honest().forgets = true;
    let step = table.step(0, is_block);
    let own = table.lying(step, Lie::ForcedMint);
    table.liar(own, Twist::at(1, 1, 6), Conduct::AtOnce);
    let other = table.lying(step, Lie::Origin);
    table.liar(other, Twist::at(2, 2, 6), Conduct::AtOnce);
    settle("restarted at every move", 1, table, |_| {});
}

/// Any number of liars about anything, any conduct, any network.
#[test]
fn random_disputes() {
    let (first, count) = (seed(), cases(3));
    for seed in first..first + count {
        let mut rng = StdRng::seed_from_u64(seed);
        let chain = if std::env::var_os("ANNEX_SOAK").is_some() { seed } else { common::CHAIN };
        let mut table = Table::new(chain, Settings::default());
        table.honest().forgets = rng.random_bool(0.3);
        for number in 0..rng.random_range(1..6) {
            let step = rng.random_range(0..table.steps());
            let lies = table.lies(step);
            let own = match rng.random_range(0..5) {
                0 => table.faulting(Some(step)),
                1 => table.truth.clone(),
                _ => table.lying(step, lies[rng.random_range(0..lies.len())]),
            };
            let twist =
                Twist::at(rng.random_range(0..3), rng.random_range(0..3), rng.random_range(0..9));
            let conduct = [Conduct::AtOnce, Conduct::AtOnce, LAST, Conduct::Never];
            let conduct = conduct[rng.random_range(0..conduct.len())];
            let from = table.world.l1.now() + rng.random_range(0..900);
            let party = table.liar(own, twist, conduct);
            (party.from, party.player.claims) = (from, number % 2 == 0);
        }
        let mempool = Mempool {
            drops: rng.random_range(0.0..0.3),
            delay: rng.random_range(0..3),
            reorders: rng.random(),
            censors: None,
        };
        let reorg =
            rng.random_bool(0.3).then(|| (rng.random_range(20..80), rng.random_range(1..16)));
        settle("random", seed, table, |game| {
            game.mempool = mempool;
            game.reorg = reorg;
        });
    }
}
