use super::*;
use proptest::prelude::*;

/// libsecp256k1.
fn reference(rs: &[u8; 64], odd_y: bool, hash: B256) -> Option<[u8; 64]> {
    use ::secp256k1::{Message, SECP256K1, ecdsa};
    let id = ecdsa::RecoveryId::from_u8_masked(u8::from(odd_y));
    let signature = ecdsa::RecoverableSignature::from_compact(rs, id).ok()?;
    let key = SECP256K1.recover_ecdsa(Message::from_digest(hash.0), &signature).ok()?;
    key.serialize_uncompressed()[1..].try_into().ok()
}

fn join(r: U256, s: U256) -> [u8; 64] {
    let mut rs = [0; 64];
    rs[..32].copy_from_slice(&r.to_be_bytes::<32>());
    rs[32..].copy_from_slice(&s.to_be_bytes::<32>());
    rs
}

/// Numbers around which carries, signs and bounds change.
fn edges() -> Vec<U256> {
    let mut edges = vec![U256::ZERO, U256::MAX, GENERATOR.0, BETA];
    for around in [ORDER, FIELD, ORDER >> 1, FIELD - ORDER, U256::from(1) << 128, U256::from(3)] {
        for distance in [0u64, 1, 2, 7] {
            edges.push(around.wrapping_sub(U256::from(distance)));
            edges.push(around.wrapping_add(U256::from(distance)));
        }
    }
    edges
}

fn number() -> impl Strategy<Value = U256> {
    let random = any::<[u8; 32]>().prop_map(U256::from_be_bytes);
    let sparse =
        (0usize..256, 0usize..256).prop_map(|(a, b)| (U256::from(1) << a) | (U256::from(1) << b));
    prop_oneof![4 => random, 1 => sparse, 1 => prop::sample::select(edges())]
}

/// Its abscissa.
fn multiple_of_generator(k: u64) -> U256 {
    let generator = Affine { x: field(GENERATOR.0), y: field(GENERATOR.1) };
    let mut point = Jacobian::of(&generator);
    for _ in 1..k {
        point = point.add(&generator).expect("finite");
    }
    U256::from_be_bytes::<32>(affine(&[point])[0].x.to_bytes().into())
}

/// Whether what was recovered together is what libsecp256k1 recovers one by one. Returns how many were left.
fn check_many(signed: &[Signed]) -> Result<usize, TestCaseError> {
    let found = recover_many(signed);
    prop_assert_eq!(found.len(), signed.len());
    for ((rs, odd, hash), found) in signed.iter().zip(&found) {
        match found {
            Recovered::Key(key) => prop_assert_eq!(Some(*key), reference(rs, *odd, *hash)),
            Recovered::Invalid => prop_assert_eq!(None, reference(rs, *odd, *hash)),
            Recovered::Left => {}
        }
    }
    Ok(found.iter().filter(|found| **found == Recovered::Left).count())
}

fn together() -> bool {
    recover_many(&[([0; 64], false, B256::ZERO); 8])[0] != Recovered::Left
}

#[test]
fn many_random_ones_agree_and_none_is_left() {
    use rand::{Rng, SeedableRng, rngs::StdRng};
    const SEED: u64 = 7;
    let mut rng = StdRng::seed_from_u64(SEED);
    for count in (3..40).chain([400]) {
        let signed: Vec<Signed> = (0..count)
            .map(|_| {
                let mut rs = [0; 64];
                rng.fill(&mut rs);
                (rs, rng.random(), B256::from(rng.random::<[u8; 32]>()))
            })
            .collect();
        let left = check_many(&signed).unwrap_or_else(|error| panic!("seed {SEED}: {error}"));
        // A rest of one or two is not worth it.
        assert!(!together() || left <= 2, "seed {SEED}: {left} of {count} left");
    }
}

#[test]
fn many_edges_agree() {
    let mut signed = Vec::new();
    for (r, s) in edges().into_iter().flat_map(|r| edges().into_iter().map(move |s| (r, s))) {
        for hash in [U256::ZERO, r, s, ORDER] {
            signed.push((join(r, s), signed.len() % 2 == 0, B256::from(hash)));
        }
    }
    for chunk in signed.chunks(11) {
        check_many(chunk).unwrap_or_else(|error| panic!("{error}"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn many_agree(signed in prop::collection::vec((number(), number(), number(), any::<bool>()), 0..20)) {
        let signed: Vec<Signed> =
            signed.into_iter().map(|(r, s, hash, odd)| (join(r, s), odd, B256::from(hash))).collect();
        check_many(&signed)?;
    }

    /// Sums that meet equal and opposite points are found out, beside others that do not.
    #[test]
    fn many_agree_where_sums_degenerate(signed in prop::collection::vec((1u64..40, 1u64..40, 0u64..1_600, any::<bool>(), any::<bool>()), 3..17)) {
        let signed: Vec<Signed> = signed
            .into_iter()
            .map(|(k, s, z, negative, odd)| {
                let z = if negative { ORDER - U256::from(z) } else { U256::from(z) };
                (join(multiple_of_generator(k), U256::from(s)), odd, B256::from(z))
            })
            .collect();
        check_many(&signed)?;
    }

    #[test]
    fn agrees_with_libsecp256k1(r in number(), s in number(), hash in number(), odd in any::<bool>()) {
        let (rs, hash) = (join(r, s), B256::from(hash));
        prop_assert_eq!(recover(&rs, odd, hash), reference(&rs, odd, hash));
    }

    /// r is the abscissa of a point whose multiple is known, so that sums meet equal and opposite points.
    #[test]
    fn agrees_where_sums_degenerate(k in 1u64..40, s in 1u64..40, z in 0u64..1_600, negative in any::<bool>(), odd in any::<bool>()) {
        let r = multiple_of_generator(k);
        let z = if negative { ORDER - U256::from(z) } else { U256::from(z) };
        let (rs, hash) = (join(r, U256::from(s)), B256::from(z));
        prop_assert_eq!(recover(&rs, odd, hash), reference(&rs, odd, hash));
    }

    #[test]
    fn a_scalar_is_the_sum_of_its_halves(k in number()) {
        const LAMBDA: U256 = uint!(0x5363AD4CC05C30E0A5261C028812645A122E22EA20816678DF02967C1B23BD72_U256);
        let k = k.reduce_mod(ORDER);
        let value = |(negative, magnitude): (bool, u128)| {
            let magnitude = U256::from(magnitude);
            if negative { ORDER - magnitude } else { magnitude }
        };
        let (a, b) = split(k);
        let sum = value(a).add_mod(value(b).mul_mod(LAMBDA, ORDER), ORDER);
        prop_assert_eq!(sum, k);
    }

    #[test]
    fn digits_sum_to_the_number(number in any::<u128>(), negative in any::<bool>(), window in 4usize..10) {
        let digits = digits((negative, number), window);
        let mut sum = U256::ZERO;
        for digit in digits.iter().rev() {
            let magnitude = U256::from(digit.unsigned_abs());
            sum = sum.wrapping_shl(1);
            sum = if *digit < 0 { sum.wrapping_sub(magnitude) } else { sum.wrapping_add(magnitude) };
            prop_assert!(*digit == 0 || digit % 2 != 0);
        }
        prop_assert_eq!(if negative { sum.wrapping_neg() } else { sum }, U256::from(number));
    }
}

#[test]
fn every_pair_of_edges_agrees_with_libsecp256k1() {
    for r in edges() {
        for s in edges() {
            for hash in [U256::ZERO, U256::from(1), r, s, ORDER, U256::MAX] {
                for odd in [false, true] {
                    let (rs, hash) = (join(r, s), B256::from(hash));
                    let (ours, theirs) = (recover(&rs, odd, hash), reference(&rs, odd, hash));
                    assert_eq!(ours, theirs, "r {r} s {s} hash {hash} odd {odd}");
                }
            }
        }
    }
}
