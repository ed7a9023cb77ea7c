use super::{MILLION, quote::price};
use alloy_primitives::{U256, U512, uint};
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::hash::{BuildHasher, Hasher, RandomState};

const ETHER: U256 = uint!(1_000_000_000_000_000_000_U256);

#[test]
fn the_discount_grows_with_the_wait() {
    assert_eq!(price(ETHER, 20_000, 70, 70), ETHER * U256::from(98) / U256::from(100));
    assert_eq!(price(ETHER, 20_000, 35, 70), ETHER * U256::from(99) / U256::from(100));
    assert_eq!(price(ETHER, 20_000, 0, 70), ETHER);
    // A dispute may take longer than any wait that is counted on.
    assert_eq!(price(ETHER, 20_000, 71, 70), price(ETHER, 20_000, 70, 70));
    assert_eq!(price(ETHER, MILLION, 70, 70), U256::ZERO);
    assert_eq!(price(ETHER, 0, 70, 70), ETHER);
    // A part of a wei is the buyer's.
    assert_eq!(price(U256::from(3), 1, 1, 70), U256::from(2));
}

#[test]
fn no_price_is_above_the_exact_one() {
    let seed = RandomState::new().build_hasher().finish();
    let mut rng = StdRng::seed_from_u64(seed);
    for round in 0..10_000 {
        let value = U256::from(rng.random::<u128>() >> rng.random_range(0..128));
        let discount = rng.random_range(0..=MILLION);
        let longest = rng.random::<u64>() >> rng.random_range(0..64);
        let longest = longest.max(1);
        let wait = rng.random_range(0..=longest);
        let found = price(value, discount, wait, longest);
        // price * longest * million <= value * (longest * million - discount * wait), and one wei more is not.
        let wide = |n: U256| U512::from(n);
        let whole = U512::from(longest) * U512::from(MILLION);
        let exact = wide(value) * (whole - U512::from(discount) * U512::from(wait));
        let at = || format!("seed {seed}, round {round}");
        assert!(wide(found) * whole <= exact, "{}", at());
        assert!((wide(found) + U512::ONE) * whole > exact, "{}", at());
        if wait > 0 {
            assert!(found <= price(value, discount, wait - 1, longest), "{}", at());
        }
    }
}
