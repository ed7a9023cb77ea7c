//! Base fee per second and data gas (spec/fees.md).

use crate::{BLOCK_GAS_LIMIT, RecordEnv};
use alloy_primitives::U256;

/// Floor of the base fee: 0.01 gwei.
pub const MIN_BASE_FEE: u64 = 10_000_000;
/// `D / T`: e^(2/17) is the steepest rise in two seconds.
const UPDATE_FRACTION: u64 = 17;
/// The excess saturates at 25·D, so that the base fee fits 64 bits.
const MAX_EXPONENT: u64 = 25;
/// Smallest chargeable size, in 10^-6 bytes.
const MIN_SIZE: u64 = 100_000_000;
const SIZE_INTERCEPT: u64 = 42_585_600;
const SIZE_COEFFICIENT: u64 = 836_500;

/// Gas excess of a block from its parent's, `elapsed` seconds later.
pub fn next_excess(parent_excess: u64, parent_gas_used: u64, elapsed: u64, target: u64) -> u64 {
    let drained = target.saturating_mul(elapsed);
    let cap = UPDATE_FRACTION.saturating_mul(target).saturating_mul(MAX_EXPONENT);
    parent_excess.saturating_add(parent_gas_used).saturating_sub(drained).min(cap)
}

/// Base fee in wei for a gas excess: `fakeExponential(MIN_BASE_FEE, excess, 17·target)`.
pub fn base_fee(excess: u64, target: u64) -> u64 {
    let denominator = U256::from(UPDATE_FRACTION) * U256::from(target.max(1));
    let numerator = U256::from(excess);
    let mut output = U256::ZERO;
    let mut term = U256::from(MIN_BASE_FEE) * denominator;
    let mut i = 1u64;
    // The exponent is at most 25, so terms shrink to zero after some dozens of rounds.
    while !term.is_zero() {
        output += term;
        term = term * numerator / (denominator * U256::from(i));
        i += 1;
    }
    (output / denominator).saturating_to()
}

/// Chargeable size of an encoded transaction, in 10^-6 bytes.
pub fn data_size(encoded: &[u8]) -> u64 {
    let compressed = flz_len(encoded) as u64;
    SIZE_COEFFICIENT.saturating_mul(compressed).saturating_sub(SIZE_INTERCEPT).max(MIN_SIZE)
}

/// Price of a byte in 10^-6 wei at an origin.
pub fn byte_cost(env: &RecordEnv, base_fee_scalar: u64, blob_base_fee_scalar: u64) -> U256 {
    let exec = U256::from(base_fee_scalar).saturating_mul(env.base_fee);
    exec.saturating_add(U256::from(blob_base_fee_scalar).saturating_mul(env.blob_base_fee))
}

/// Gas charged for `size` (10^-6 bytes) at `byte_cost` (10^-6 wei) and the block's base fee.
pub fn data_gas(size: u64, byte_cost: U256, base_fee: u64) -> u64 {
    let fee = U256::from(size).saturating_mul(byte_cost).div_ceil(U256::from(10u64.pow(12)));
    let gas = fee.div_ceil(U256::from(base_fee.max(1)));
    gas.min(U256::from(1u64 << 63)).saturating_to()
}

/// Gas used by blocks of one second at most, for callers that size pools.
pub const MAX_GAS_PER_SECOND: u64 = BLOCK_GAS_LIMIT * crate::MAX_BLOCKS_PER_SECOND as u64;

/// Length of `input` compressed by FastLZ level 1, as Solady's `LibZip.flzCompress` has it.
pub fn flz_len(input: &[u8]) -> usize {
    let limit = input.len().saturating_sub(13);
    let mut table = [0u32; 8192];
    let (mut at, mut anchor, mut size) = (2usize, 0usize, 0usize);
    while at < limit {
        let mut candidate;
        loop {
            let sequence = u24(input, at);
            let bucket = &mut table[hash(sequence)];
            candidate = *bucket as usize;
            *bucket = at as u32;
            let distance = at - candidate;
            if at >= limit {
                break;
            }
            at += 1;
            if distance < 8192 && sequence == u24(input, candidate) {
                break;
            }
        }
        if at >= limit {
            break;
        }
        at -= 1;
        if at > anchor {
            size += literals(at - anchor);
        }
        let len = common_prefix(input, candidate + 3, at + 3, limit + 9);
        size += 3 * ((len - 1) / 262) + if (len - 1) % 262 >= 6 { 3 } else { 2 };
        at += len;
        for _ in 0..2 {
            table[hash(u24(input, at))] = at as u32;
            at += 1;
        }
        anchor = at;
    }
    size + literals(input.len() - anchor)
}

fn literals(count: usize) -> usize {
    let rest = count % 32;
    33 * (count / 32) + if rest == 0 { 0 } else { rest + 1 }
}

/// Counts like the reference: the byte that differs is counted, unless the end comes first.
fn common_prefix(input: &[u8], a: usize, b: usize, end: usize) -> usize {
    let span = end - b;
    (0..span).find(|i| input[a + i] != input[b + i]).map_or(span, |i| i + 1)
}

fn hash(sequence: u32) -> usize {
    ((u64::from(sequence).wrapping_mul(2_654_435_769) >> 19) & 0x1fff) as usize
}

fn u24(input: &[u8], at: usize) -> u32 {
    u32::from(input[at]) | u32::from(input[at + 1]) << 8 | u32::from(input[at + 2]) << 16
}

#[cfg(test)]
mod tests;
