//! Keccak-f[1600] (FIPS 202) for few instructions on RV64IM, which has neither rotations nor and-not.
//!
//! Each round makes one row after another from one array into the other, so that what is at work fits the registers, and sums
//! the next round's columns on the way. Six lanes are kept complemented, which leaves seven complements a round
//! (Keccak implementation overview, 2.2).

const ROUND_CONSTANTS: [u64; 24] = [
    0x0000_0000_0000_0001,
    0x0000_0000_0000_8082,
    0x8000_0000_0000_808A,
    0x8000_0000_8000_8000,
    0x0000_0000_0000_808B,
    0x0000_0000_8000_0001,
    0x8000_0000_8000_8081,
    0x8000_0000_0000_8009,
    0x0000_0000_0000_008A,
    0x0000_0000_0000_0088,
    0x0000_0000_8000_8009,
    0x0000_0000_8000_000A,
    0x0000_0000_8000_808B,
    0x8000_0000_0000_008B,
    0x8000_0000_0000_8089,
    0x8000_0000_0000_8003,
    0x8000_0000_0000_8002,
    0x8000_0000_0000_0080,
    0x0000_0000_0000_800A,
    0x8000_0000_8000_000A,
    0x8000_0000_8000_8081,
    0x8000_0000_0000_8080,
    0x0000_0000_8000_0001,
    0x8000_0000_8000_8008,
];

/// Lanes kept complemented between rounds.
const COMPLEMENTED: [usize; 6] = [1, 2, 8, 12, 17, 20];

/// The permutation; lane `x + 5y`.
pub fn permute(state: &mut [u64; 25]) {
    for lane in COMPLEMENTED {
        state[lane] = !state[lane];
    }
    let mut columns = [0; 5];
    for (x, column) in columns.iter_mut().enumerate() {
        *column = state[x] ^ state[x + 5] ^ state[x + 10] ^ state[x + 15] ^ state[x + 20];
    }
    let mut other = [0; 25];
    for constants in ROUND_CONSTANTS.as_chunks::<2>().0 {
        columns = round(state, &mut other, columns, constants[0]);
        columns = round(&other, state, columns, constants[1]);
    }
    for lane in COMPLEMENTED {
        state[lane] = !state[lane];
    }
}

/// Makes `to` from `from`, whose columns' sums are `c`, and returns those of `to`.
#[inline(always)]
fn round(from: &[u64; 25], to: &mut [u64; 25], c: [u64; 5], constant: u64) -> [u64; 5] {
    let d = [
        c[4] ^ c[1].rotate_left(1),
        c[0] ^ c[2].rotate_left(1),
        c[1] ^ c[3].rotate_left(1),
        c[2] ^ c[4].rotate_left(1),
        c[3] ^ c[0].rotate_left(1),
    ];
    let lane = |at: usize, by: u32| (from[at] ^ d[at % 5]).rotate_left(by);
    let mut sums = [0; 5];
    let mut put = |row: usize, values: [u64; 5]| {
        for x in 0..5 {
            to[row * 5 + x] = values[x];
            sums[x] ^= values[x];
        }
    };
    let (a, e, i, o, u) = (lane(0, 0), lane(6, 44), lane(12, 43), lane(18, 21), lane(24, 14));
    put(0, [a ^ (e | i) ^ constant, e ^ (!i | o), i ^ (o & u), o ^ (u | a), u ^ (a & e)]);
    let (a, e, i, o, u) = (lane(3, 28), lane(9, 20), lane(10, 3), lane(16, 45), lane(22, 61));
    put(1, [a ^ (e | i), e ^ (i & o), i ^ (o | !u), o ^ (u | a), u ^ (a & e)]);
    let (a, e, i, o, u) = (lane(1, 1), lane(7, 6), lane(13, 25), lane(19, 8), lane(20, 18));
    let not_o = !o;
    put(2, [a ^ (e | i), e ^ (i & o), i ^ (not_o & u), not_o ^ (u | a), u ^ (a & e)]);
    let (a, e, i, o, u) = (lane(4, 27), lane(5, 36), lane(11, 10), lane(17, 15), lane(23, 56));
    let not_o = !o;
    put(3, [a ^ (e & i), e ^ (i | o), i ^ (not_o | u), not_o ^ (u & a), u ^ (a | e)]);
    let (a, e, i, o, u) = (lane(2, 62), lane(8, 55), lane(14, 39), lane(15, 41), lane(21, 2));
    let not_e = !e;
    put(4, [a ^ (not_e & i), not_e ^ (i | o), i ^ (o & u), o ^ (u | a), u ^ (a & e)]);
    sums
}

#[cfg(test)]
mod tests {
    use super::permute;
    use alloy_primitives::keccak256;
    use proptest::prelude::*;

    /// The sponge around the permutation, at rate 136.
    fn hash(bytes: &[u8]) -> Vec<u8> {
        let mut padded = bytes.to_vec();
        padded.push(1);
        padded.resize(padded.len().next_multiple_of(136), 0);
        *padded.last_mut().expect("at least one block") |= 0x80;
        let mut state = [0; 25];
        for block in padded.chunks(136) {
            for (lane, bytes) in state.iter_mut().zip(block.as_chunks::<8>().0) {
                *lane ^= u64::from_le_bytes(*bytes);
            }
            permute(&mut state);
        }
        state[..4].iter().flat_map(|lane| lane.to_le_bytes()).collect()
    }

    proptest! {
        #[test]
        fn is_the_keccak_of_the_library(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            prop_assert_eq!(hash(&bytes), keccak256(&bytes).to_vec());
        }
    }
}
