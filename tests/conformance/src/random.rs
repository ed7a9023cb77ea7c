use rand::SeedableRng;
use rand::rngs::StdRng;

/// Seed of a run that names none.
const SEED: u64 = 0x0061_6e6e_6578;

/// A generator for one test, whose seed is printed where the test fails.
pub fn rng(test: &str) -> StdRng {
    let seed = number("ANNEX_SEED").unwrap_or(SEED);
    println!("{test}: ANNEX_SEED={seed} repeats this");
    StdRng::seed_from_u64(seed)
}

/// How many cases a test runs that has `few` by default.
pub fn cases(few: u64) -> u64 {
    few * number("ANNEX_CASES").unwrap_or(1)
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")))
}
