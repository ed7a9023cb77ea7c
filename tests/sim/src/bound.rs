//! The longest that a range can take (spec/settlement.md, "How long, and at what cost").

use annex_settle::Params;

/// Turns of a match by level, the proof and each call that ends something included.
const TURNS: [u64; 3] = [28, 22, 23];

/// Rounds until one of so many commitments is left.
pub fn rounds(commitments: u64) -> u64 {
    u64::from(commitments.max(1).next_power_of_two().trailing_zeros())
}

/// Seconds from the opening of a tournament to its end, at most: `clock` is what its commitments begin with, `most` the most
/// commitments of one tournament by level.
fn tournament(level: usize, clock: u64, params: &Params, most: [u64; 3]) -> u64 {
    let below = |clock| match level {
        2 => 0,
        _ => tournament(level + 1, clock, params, most),
    };
    // Clocks are spent on the moves of both, or below.
    let one_match = (2 * clock + below(0)).max(below(clock)) + TURNS[level] * params.move_grace;
    params.move_grace + clock + rounds(most[level]) * one_match
}

/// Seconds from the opening of a range until it settles, at most.
pub fn settlement(params: &Params, most: [u64; 3]) -> u64 {
    tournament(0, params.challenge_window, params, most)
}

/// Seconds with one liar, who has one commitment at each level: all its clocks together are one.
pub fn one_liar(params: &Params) -> u64 {
    let graces: u64 = TURNS.iter().sum::<u64>() + 3;
    2 * params.challenge_window + graces * params.move_grace
}
