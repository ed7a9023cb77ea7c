use super::*;
use proptest::prelude::*;

const T: u64 = 480_000_000;

#[test]
fn full_load_for_two_seconds_rises_at_most_an_eighth() {
    let mut excess = 0;
    for _ in 0..200 {
        excess = next_excess(excess, MAX_GAS_PER_SECOND, 1, T);
        let later =
            next_excess(next_excess(excess, MAX_GAS_PER_SECOND, 1, T), MAX_GAS_PER_SECOND, 1, T);
        assert!(u128::from(base_fee(later, T)) * 1000 <= u128::from(base_fee(excess, T)) * 1125);
    }
    assert!(base_fee(excess, T) > 100 * MIN_BASE_FEE);
    assert_eq!(base_fee(next_excess(excess, 0, 1_000_000, T), T), MIN_BASE_FEE);
}

#[test]
fn flz_lengths_of_the_reference() {
    // From Optimism's GasPriceOracle tests: an empty transaction of 31 bytes and runs of one byte.
    assert_eq!(flz_len(&[]), 0);
    assert_eq!(flz_len(&[0u8; 1]), 2);
    assert_eq!(flz_len(&[0u8; 32]), 12);
    assert_eq!(flz_len(&[1u8; 1000]), 21);
}

proptest! {
    #[test]
    fn flz_never_panics_and_is_bounded(data in proptest::collection::vec(0u8..4, 0..4000)) {
        let len = flz_len(&data);
        prop_assert!(len <= data.len() + data.len() / 32 + 1);
    }

    #[test]
    fn base_fee_is_monotone(a in 0u64..250_000_000_000, b in 0u64..250_000_000_000) {
        let (lo, hi) = (a.min(b), a.max(b));
        prop_assert!(base_fee(lo, T) <= base_fee(hi, T));
    }

    #[test]
    fn data_gas_covers_the_fee(size in 0u64..1_000_000_000_000, cost in any::<u64>(), fee in 1u64..u64::MAX) {
        let gas = data_gas(size, U256::from(cost), fee);
        let owed = U256::from(size) * U256::from(cost) / U256::from(10u64.pow(12));
        prop_assert!(gas == 1 << 63 || U256::from(gas) * U256::from(fee) >= owed);
    }
}
