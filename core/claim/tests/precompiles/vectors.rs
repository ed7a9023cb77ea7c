//! Inputs, made from a seed and from what the precompiles themselves return.

use alloy_primitives::{B256, U256, b256, hex, keccak256};
use k256::ecdsa::SigningKey;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::chain::Chain;
use crate::curves::{BLS, BN, U384, padded, word};
use crate::{Call, native};

const SEED: u64 = 0x70_72_65;
const SECP256K1_ORDER: B256 =
    b256!("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141");
/// Of BLS12-381.
const SUBGROUP_ORDER: B256 =
    b256!("73eda753299d7d483339d80809a1d80553bda402fffe5bfeffffffff00000001");

struct Vectors<'a> {
    chain: &'a Chain,
    random: SmallRng,
    calls: Vec<Call>,
}

/// All of them; the seed is printed.
pub fn calls(chain: &Chain) -> Vec<Call> {
    println!("seed {SEED:#x}");
    let mut vectors = Vectors { chain, random: SmallRng::seed_from_u64(SEED), calls: Vec::new() };
    vectors.recover();
    vectors.hashes();
    vectors.modexp();
    vectors.bn254();
    vectors.blake2();
    vectors.kzg();
    vectors.bls12();
    vectors.p256();
    vectors.calls
}

impl Vectors<'_> {
    fn push(&mut self, address: u16, gas: u64, input: impl Into<Vec<u8>>) {
        self.calls.push(Call { address, gas, input: input.into() });
    }

    /// The input as it is; too short, too long, empty; a byte changed in the first and in the last word.
    fn push_and_spoil(&mut self, address: u16, gas: u64, input: &[u8]) {
        self.push(address, gas, input);
        self.push(address, gas, &input[..input.len() - 1]);
        self.push(address, gas, [input, &[0]].concat());
        self.push(address, gas, []);
        for at in [0, self.random.random_range(0..32), input.len() - 1] {
            let mut changed = input.to_vec();
            changed[at] ^= 1;
            self.push(address, gas, changed);
        }
        // Too little gas.
        self.push(address, 30, input);
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.random.fill(&mut bytes[..]);
        bytes
    }

    fn native(&self, address: u16, input: &[u8]) -> Vec<u8> {
        native(self.chain, address, input).expect("a valid input")
    }

    fn recover(&mut self) {
        let key = SigningKey::from_slice(&[5; 32]).unwrap();
        let input = |hash: B256, v: u8, r: &[u8], s: &[u8]| {
            let mut word = [0; 32];
            word[31] = v;
            [hash.as_slice(), &word, r, s].concat()
        };
        for _ in 0..4 {
            let hash = B256::from(self.bytes());
            let (signature, id) = key.sign_prehash_recoverable(hash.as_slice()).unwrap();
            let (r, s) = signature.split_bytes();
            let v = 27 + id.to_byte();
            self.push(1, 10_000, input(hash, v, &r, &s));
            let order = U256::from_be_bytes(SECP256K1_ORDER.0);
            let high = (order - U256::from_be_slice(&s)).to_be_bytes::<32>();
            for v in [v, 55 - v, 26, 29, 0] {
                self.push(1, 10_000, input(hash, v, &r, &high));
            }
            self.push(1, 10_000, input(SECP256K1_ORDER, v, &r, &s));
            self.push(1, 10_000, input(B256::ZERO, v, &r, &s));
            self.push_and_spoil(1, 10_000, &input(hash, v, &r, &s));
        }
        let order = U256::from_be_bytes(SECP256K1_ORDER.0);
        let edges = [U256::ZERO, U256::ONE, order - U256::ONE, order, order + U256::ONE, U256::MAX];
        for r in edges {
            for s in edges {
                let (r, s) = (r.to_be_bytes::<32>(), s.to_be_bytes::<32>());
                self.push(1, 10_000, input(B256::repeat_byte(7), 27, &r, &s));
            }
        }
        // The key is the point at infinity: s·R = z·G with R = G.
        let generator = hex!("79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798");
        let one = B256::from(U256::ONE);
        self.push(1, 10_000, input(one, 27, &generator, one.as_slice()));
        self.push(1, 10_000, input(one, 28, &generator, one.as_slice()));
    }

    fn hashes(&mut self) {
        for len in [0, 1, 31, 32, 55, 56, 63, 64, 65, 119, 120, 500] {
            let bytes = &self.bytes::<500>()[..len];
            for address in [2, 3, 4] {
                self.push(address, 10_000, bytes);
            }
        }
    }

    fn modexp(&mut self) {
        let input = |base: &[u8], exponent: &[u8], modulus: &[u8]| {
            let lengths =
                [base, exponent, modulus].map(|it| U256::from(it.len()).to_be_bytes::<32>());
            [lengths.concat(), base.to_vec(), exponent.to_vec(), modulus.to_vec()].concat()
        };
        let bytes = self.bytes::<1100>();
        let lens = [0, 1, 8, 31, 32, 33, 64, 129];
        for _ in 0..24 {
            let mut pick = || lens[self.random.random_range(0..lens.len())];
            let (base, exponent, modulus) = (pick(), pick().min(40), pick());
            let at = self.random.random_range(0..900);
            let slice = |len| &bytes[at..at + len];
            self.push(5, 100_000, input(slice(base), slice(exponent), slice(modulus)));
        }
        let mut even = bytes[..64].to_vec();
        even[40..].fill(0);
        for modulus in [&[0; 32][..], &[1], &[0, 0, 1], &[2], &even, &[0xff; 32]] {
            for exponent in [&[][..], &[0], &[1], &[0, 0, 3], &[0xff; 4]] {
                self.push(5, 100_000, input(&bytes[..33], exponent, modulus));
            }
        }
        // EIP-7823's limit.
        self.push(5, 2_000_000, input(&bytes[..1024], &[3], &bytes[..1024]));
        self.push(5, 100_000, input(&bytes[..1025], &[3], &bytes[..32]));
        self.push(5, 100_000, input(&bytes[..32], &bytes[..1025], &bytes[..32]));
        let whole = input(&bytes[..32], &bytes[..32], &bytes[..32]);
        for len in [0, 1, 95, 96, 97, 130] {
            self.push(5, 100_000, &whole[..len]);
        }
        self.push(5, 100_000, [0xff; 96]);
    }

    fn bn254(&mut self) {
        let point = |(x, y): (U384, U384)| [word(x), word(y)].concat();
        let generator = point((U384::ONE, U384::from(2)));
        let order = b256!("30644e72e131a029b85045b68181585d2833e84879b9709143e1f593f0000001");
        let order = U256::from_be_bytes(order.0);
        let mut points = vec![vec![0; 64], generator.clone()];
        for _ in 0..3 {
            let scalar: [u8; 32] = self.bytes();
            points.push(self.native(7, &[&generator[..], &scalar].concat()));
        }
        let off = [
            point((U384::ONE, U384::ONE)),
            point((BN.0, U384::ZERO)),
            point((U384::ZERO, BN.0)),
            point((BN.0 + U384::ONE, U384::from(2))),
            vec![0xff; 64],
        ];
        let negative = |point: &[u8]| {
            let y = U384::from_be_slice(&point[32..]);
            [&point[..32], &word(BN.neg(y))].concat()
        };
        for a in points.iter().chain(&off) {
            for b in points.iter().chain(&off[..2]) {
                self.push(6, 10_000, [&a[..], b].concat());
            }
            self.push(6, 10_000, [&a[..], &negative(a)].concat());
            for scalar in
                [U256::ZERO, U256::ONE, U256::from(2), order, order - U256::ONE, U256::MAX]
            {
                self.push(7, 10_000, [&a[..], &scalar.to_be_bytes::<32>()].concat());
            }
        }
        for len in [0, 31, 64, 127, 129] {
            let input = [points[2].clone(), points[3].clone(), vec![1]].concat();
            self.push(6, 10_000, &input[..len]);
            self.push(7, 10_000, &input[..len.min(97)]);
        }
        self.bn254_pairing(&points, &off, negative);
    }

    fn bn254_pairing(
        &mut self,
        points: &[Vec<u8>],
        off: &[Vec<u8>],
        neg: impl Fn(&[u8]) -> Vec<u8>,
    ) {
        // EIP-197: the imaginary part comes first.
        let generator = hex!(
            "198e9393920d483a7260bfb731fb5d25f1aa493335a9e71297e485b7aef312c2"
            "1800deef121f1e76426a00665e5c4479674322d4f75edadd46debd5cd992f6ed"
            "090689d0585ff075ec9e99ad690c3395bc4b313370b38ef355acdadcd122975b"
            "12c85ea5db8c6deb4aab71808dcb408fe3d1e7690c43d37b4ce6cc0166fa7daa"
        );
        let (x, y) = BN.point_pair(BN.bn_twist(), &mut self.random);
        let outside = [word(x.1), word(x.0), word(y.1), word(y.0)].concat();
        let mut above = generator.to_vec();
        above[..32].copy_from_slice(&word(BN.0));
        let infinity = vec![0; 128];
        let pair = |a: &[u8], b: &[u8]| [a, b].concat();
        let (p, q) = (&points[2], &points[3]);
        let valid = [pair(p, &generator), pair(&neg(p), &generator)].concat();
        self.push(8, 200_000, &*valid);
        self.push_and_spoil(8, 200_000, &valid);
        for other in [
            [pair(p, &generator), pair(q, &generator)].concat(),
            pair(p, &generator),
            pair(&points[0], &generator),
            pair(p, &infinity),
            pair(&points[0], &infinity),
            pair(p, &outside),
            pair(&points[0], &outside),
            pair(p, &above),
            pair(&off[0], &generator),
            pair(&off[1], &infinity),
            [valid.clone(), pair(p, &infinity), pair(&points[0], &generator)].concat(),
        ] {
            self.push(8, 300_000, other);
        }
    }

    fn blake2(&mut self) {
        for rounds in [0u32, 1, 10, 12, 300] {
            for last in [0u8, 1, 2, 0xff] {
                let body = self.bytes::<208>();
                self.push(9, 1_000, [&rounds.to_be_bytes()[..], &body, &[last]].concat());
            }
        }
        let input = [&12u32.to_be_bytes()[..], &self.bytes::<208>(), &[1]].concat();
        self.push_and_spoil(9, 1_000, &input);
        self.push(9, 1_000, [&u32::MAX.to_be_bytes()[..], &input[4..]].concat());
    }

    fn kzg(&mut self) {
        let settings = c_kzg::ethereum_kzg_settings(0);
        let mut blobs = [[0; c_kzg::BYTES_PER_BLOB]; 2];
        for element in blobs[0].chunks_mut(32) {
            let bytes: [u8; 31] = self.bytes();
            element[1..].copy_from_slice(&bytes);
        }
        for blob in blobs {
            let blob = c_kzg::Blob::from_bytes(&blob).unwrap();
            let commitment = settings.blob_to_kzg_commitment(&blob).unwrap().to_bytes();
            let mut z: [u8; 32] = self.bytes();
            z[0] = 0;
            let (proof, y) = settings.compute_kzg_proof(&blob, &z.into()).unwrap();
            let hash = alloy_eips::eip4844::kzg_to_versioned_hash(&commitment[..]);
            let proof = proof.to_bytes();
            let parts: [&[u8]; 5] = [&hash[..], &z, &y[..], &commitment[..], &proof[..]];
            self.push_and_spoil(10, 60_000, &parts.concat());
            let above = SUBGROUP_ORDER;
            for (at, with) in [(1, above.as_slice()), (2, above.as_slice()), (4, &commitment[..])] {
                let mut parts = parts;
                parts[at] = with;
                self.push(10, 60_000, parts.concat());
            }
            self.kzg_encodings(parts);
        }
    }

    /// Commitments and proofs that decode to no point of the subgroup.
    fn kzg_encodings(&mut self, parts: [&[u8]; 5]) {
        let (x, _) = BLS.point(U384::from(4), &mut self.random);
        let mut outside: [u8; 48] = x.to_be_bytes();
        outside[0] |= 0x80;
        let mut infinity = [0u8; 48];
        infinity[0] = 0xc0;
        let mut signed_infinity = infinity;
        signed_infinity[0] = 0xe0;
        let mut uncompressed = <[u8; 48]>::try_from(parts[4]).unwrap();
        uncompressed[0] &= 0x7f;
        let mut other_sign = <[u8; 48]>::try_from(parts[4]).unwrap();
        other_sign[0] ^= 0x20;
        for with in
            [outside, infinity, signed_infinity, uncompressed, other_sign, [0; 48], [0xff; 48]]
        {
            let hash = alloy_eips::eip4844::kzg_to_versioned_hash(&with);
            for at in [3, 4] {
                let mut parts = parts;
                parts[at] = &with;
                if at == 3 {
                    parts[0] = hash.as_slice();
                }
                self.push(10, 60_000, parts.concat());
            }
        }
    }

    fn bls12(&mut self) {
        let g1 = |point: (U384, U384)| [padded(point.0), padded(point.1)].concat();
        let (x, y) = BLS.point_pair((U384::from(4), U384::from(4)), &mut self.random);
        let outside2 = [padded(x.0), padded(x.1), padded(y.0), padded(y.1)].concat();
        let outside1 = g1(BLS.point(U384::from(4), &mut self.random));
        let (mut ones, mut twos) = (vec![vec![0; 128]], vec![vec![0; 256]]);
        let mut fields: Vec<U384> = (0..3).map(|_| BLS.random(&mut self.random)).collect();
        fields.extend([U384::ZERO, U384::ONE, BLS.0 - U384::ONE]);
        for (at, a) in fields.iter().enumerate() {
            let other = fields[(at + 1) % fields.len()];
            let pair = [padded(*a), padded(other)].concat();
            self.push_and_spoil(16, 6_000, &padded(*a));
            self.push_and_spoil(17, 25_000, &pair);
            ones.push(self.native(16, &padded(*a)));
            twos.push(self.native(17, &pair));
        }
        self.push(16, 6_000, padded(BLS.0));
        self.push(17, 25_000, [padded(U384::ONE), padded(BLS.0)].concat());
        let mut bad1 =
            vec![outside1, g1((U384::ONE, U384::ONE)), g1((BLS.0, U384::ZERO)), ones[1].clone()];
        bad1[3][3] = 1;
        let mut bad2 = vec![outside2, [&ones[1][..], &ones[2]].concat(), twos[1].clone()];
        bad2[2][70] = 1;
        for (address, gas, good, bad) in [(11, 500, &ones, &bad1), (13, 700, &twos, &bad2)] {
            self.push_and_spoil(address, gas, &[&good[1][..], &good[2]].concat());
            for a in good[..4].iter().chain(bad) {
                for b in good[..3].iter().chain(bad) {
                    self.push(address, gas, [&a[..], b].concat());
                }
                self.push(address, gas, [&a[..], &negative(a)].concat());
            }
        }
        self.bls12_msm(12, 20_000, &ones, &bad1);
        self.bls12_msm(14, 40_000, &twos, &bad2);
        self.bls12_pairing(&ones, &twos, &bad1, &bad2);
    }

    fn bls12_msm(&mut self, address: u16, gas: u64, good: &[Vec<u8>], bad: &[Vec<u8>]) {
        let order = U256::from_be_bytes(SUBGROUP_ORDER.0);
        let edges = [U256::ZERO, U256::ONE, order - U256::ONE, order, order + U256::ONE, U256::MAX];
        for scalar in edges {
            for point in &good[..3] {
                self.push(address, gas, [&point[..], &scalar.to_be_bytes::<32>()].concat());
            }
        }
        for point in bad {
            for scalar in [U256::ZERO, U256::ONE] {
                self.push(address, gas, [&point[..], &scalar.to_be_bytes::<32>()].concat());
            }
        }
        let mut sum = Vec::new();
        for point in &good[..5] {
            sum.extend([&point[..], &self.bytes::<32>()].concat());
        }
        self.push_and_spoil(address, 5 * gas, &sum);
        sum.extend([&negative(&good[1])[..], &SUBGROUP_ORDER[..]].concat());
        self.push(address, 5 * gas, sum);
    }

    fn bls12_pairing(
        &mut self,
        ones: &[Vec<u8>],
        twos: &[Vec<u8>],
        bad1: &[Vec<u8>],
        bad2: &[Vec<u8>],
    ) {
        let pair = |a: &[u8], b: &[u8]| [a, b].concat();
        let (p, q) = (&ones[1], &twos[1]);
        // e(2P, Q) · e(P, -Q) · e(P, -Q) = 1
        let double = self.native(11, &pair(p, p));
        let valid = [pair(&double, q), pair(p, &negative(q)), pair(p, &negative(q))].concat();
        self.push_and_spoil(15, 200_000, &valid);
        for other in [
            [pair(p, q), pair(&negative(p), q)].concat(),
            [pair(p, q), pair(p, &twos[2])].concat(),
            pair(&ones[0], q),
            pair(p, &twos[0]),
            pair(&ones[0], &twos[0]),
        ] {
            self.push(15, 150_000, other);
        }
        for bad in bad1 {
            self.push(15, 80_000, pair(bad, q));
            self.push(15, 80_000, pair(bad, &twos[0]));
        }
        for bad in bad2 {
            self.push(15, 80_000, pair(p, bad));
            self.push(15, 80_000, pair(&ones[0], bad));
        }
    }

    fn p256(&mut self) {
        use p256::ecdsa::signature::hazmat::PrehashSigner;
        const ORDER: B256 =
            b256!("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551");
        for round in 0..3u8 {
            let key = p256::ecdsa::SigningKey::from_slice(&[round + 1; 32]).unwrap();
            let hash = if round == 0 { B256::ZERO } else { keccak256([round]) };
            let signature: p256::ecdsa::Signature = key.sign_prehash(hash.as_slice()).unwrap();
            let (r, s) = signature.split_bytes();
            let point = key.verifying_key().to_encoded_point(false);
            let parts: [&[u8]; 4] = [hash.as_slice(), &r, &s, &point.as_bytes()[1..]];
            self.push_and_spoil(0x100, 8_000, &parts.concat());
            let order = U256::from_be_bytes(ORDER.0);
            let other = (order - U256::from_be_slice(&s)).to_be_bytes::<32>();
            let above = U256::from_be_slice(&hash[..]).wrapping_add(order).to_be_bytes::<32>();
            for (at, with) in [
                (2, &other[..]),
                (0, &above[..]),
                (1, &[0; 32][..]),
                (2, &[0; 32]),
                (1, ORDER.as_slice()),
                (2, ORDER.as_slice()),
                (3, &[0; 64]),
                (3, &[0xff; 64]),
                (3, &[1; 64]),
            ] {
                let mut parts = parts;
                parts[at] = with;
                self.push(0x100, 8_000, parts.concat());
            }
        }
    }
}

/// The opposite of a point of BLS12-381, in either group.
fn negative(point: &[u8]) -> Vec<u8> {
    let (x, y) = point.split_at(point.len() / 2);
    let coordinates = y.chunks(64).map(|it| {
        let number = U384::from_be_slice(&it[16..]);
        if number <= BLS.0 && it[..16] == [0; 16] { padded(BLS.neg(number)) } else { it.to_vec() }
    });
    [x.to_vec(), coordinates.collect::<Vec<_>>().concat()].concat()
}
