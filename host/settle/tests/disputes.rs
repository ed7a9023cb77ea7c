//! Players against the model: the true commitment wins.

mod model;
#[path = "model/world.rs"]
mod world;

use annex_settle::{Conduct, FalseLeaf, Forgery, Place};
use rand::Rng;
use world::{PARAMS, Weather, World};

/// `ANNEX_CASES` multiplies the cases; `ANNEX_SEED` repeats one.
fn seeds(number: u64) -> std::ops::Range<u64> {
    let given = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    match given("ANNEX_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number * given("ANNEX_CASES").unwrap_or(1),
    }
}

fn place(rng: &mut impl Rng, leaves: u64) -> Place {
    match rng.random_range(0..5) {
        0 => Place::At(0),
        1 => Place::Last,
        2 => Place::End,
        _ => Place::At(rng.random_range(0..leaves)),
    }
}

fn forgery(rng: &mut impl Rng) -> Forgery {
    let leaf = match rng.random_range(0..3) {
        0 => FalseLeaf::Output { number: rng.random_range(0..100) },
        1 => FalseLeaf::Fault,
        _ => FalseLeaf::Middle,
    };
    let at = PARAMS.heights.map(|height| place(rng, 1 << height));
    Forgery { seed: rng.random(), at, leaf }
}

fn conduct(rng: &mut impl Rng) -> Conduct {
    match rng.random_range(0..4) {
        0 => Conduct::Never,
        1 => Conduct::AtLast { seconds: rng.random_range(25..200) },
        _ => Conduct::AtOnce,
    }
}

fn add_liars(world: &mut World, number: usize, claims: bool) {
    for _ in 0..number {
        let (forgery, conduct) = (forgery(&mut world.rng), conduct(&mut world.rng));
        world.add(claims, Some(forgery));
        world.parties.last_mut().expect("just added").player.conduct = conduct;
    }
}

fn dispute(seed: u64, liars: usize, honest: &[bool], weather: Weather) -> World {
    let faulty = seed % 5 == 4;
    let mut world = World::new(seed, faulty);
    world.weather = weather;
    for claims in honest {
        world.add(*claims, None);
    }
    let claims = !honest.contains(&true);
    add_liars(&mut world, liars, claims);
    world.run();
    world.check();
    world
}

#[test]
fn without_a_liar_a_claim_settles_for_nothing() {
    for seed in seeds(10) {
        let mut world = World::new(seed, seed % 2 == 1);
        world.add(true, None);
        world.add(false, None);
        world.run();
        world.check();
        assert_eq!(world.sent, 4, "open, claim, settle, withdraw");
    }
}

#[test]
fn one_liar_loses_wherever_it_lies() {
    for (index, leaf) in [FalseLeaf::Output { number: 3 }, FalseLeaf::Fault, FalseLeaf::Middle]
        .into_iter()
        .enumerate()
    {
        let places = [Place::At(0), Place::At(7), Place::Last, Place::End];
        for (case, at) in (0..).zip(0..64usize) {
            let at = [at % 4, at / 4 % 4, at / 16].map(|at| places[at]);
            let seed = index as u64 * 1_000 + case;
            let mut world = World::new(seed, false);
            let honest = world.add(true, None);
            world.add(false, Some(Forgery { seed, at, leaf }));
            world.run();
            world.check();
            assert!(
                world.model.balances[&honest] > world::FUNDS,
                "seed {seed}: the liar paid nothing"
            );
        }
    }
}

#[test]
fn a_challenger_beats_a_claimer_that_lies() {
    for seed in seeds(40) {
        // Nobody but the challenger knows the truth, and it claims nothing unprovoked.
        let world = dispute(seed, 1, &[false], Weather::default());
        assert_eq!(world.reverts, 0);
    }
}

#[test]
fn many_liars_lose_to_one() {
    for seed in seeds(20) {
        let liars = 2 + seed as usize % 19;
        let sleeps = [0, 2, 3, 5][seed as usize % 4];
        dispute(seed, liars, &[true], Weather { sleeps, ..Weather::default() });
    }
}

#[test]
fn it_is_killed_at_every_move() {
    for seed in seeds(15) {
        let weather = Weather { kills: true, ..Weather::default() };
        dispute(seed, 1 + seed as usize % 4, &[true], weather);
    }
}

#[test]
fn transactions_are_dropped_for_half_of_the_clock() {
    for seed in seeds(30) {
        let half = PARAMS.challenge_window / 2;
        let from = seed * 37 % PARAMS.challenge_window;
        let weather = Weather { drops: Some((from, from + half)), ..Weather::default() };
        dispute(seed, 1 + seed as usize % 4, &[true], weather);
    }
}

#[test]
fn two_on_one_side_do_not_trip_over_each_other() {
    for seed in seeds(30) {
        let weather = Weather { races: true, ..Weather::default() };
        let world = dispute(seed, 1 + seed as usize % 6, &[true, false, true], weather);
        // Of three that send the same before they see each other, two do so in vain.
        let most = 2 * world.sent;
        assert!(world.reverts <= most, "seed {seed}: {} of {}", world.reverts, world.sent);
    }
}

#[test]
fn others_move_for_a_true_commitment_that_was_left() {
    for seed in seeds(20) {
        let mut world = World::new(seed, false);
        world.add(true, None);
        world.parties[0].player.conduct = Conduct::Never;
        world.add(false, None);
        add_liars(&mut world, 1 + seed as usize % 3, false);
        world.run();
        // The one who left has its bond again, too.
        world.check();
    }
}
