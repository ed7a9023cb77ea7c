//! Every precompile on valid inputs, small and large: an invalid one fails early and costs all its gas.

use alloy_primitives::{Address, Bytes, U256, hex};

use crate::Case;
use crate::asm::{Code, op, until_gas};
use crate::opcodes::call;

fn precompile(number: u16) -> Address {
    let mut address = [0; 20];
    address[18..].copy_from_slice(&number.to_be_bytes());
    Address::from(address)
}

/// The input is the transaction's, copied to memory once.
fn case(name: impl Into<String>, number: u16, input: Vec<u8>, gas: u64) -> Case {
    let size = input.len() as u64;
    let setup = Code::new().push(size).push(0).push(0).op(op::CALLDATACOPY);
    let body = call(op::STATICCALL, precompile(number), size, 0);
    let body_gas = gas + 120;
    Case::call(name, until_gas(setup, &body, body_gas, 100_000.max(3 * body_gas)))
        .with_input(Bytes::from(input))
}

pub fn cases() -> Vec<Case> {
    let mut cases = vec![
        case("ECRECOVER", 1, ecrecover(), 3000),
        case("BLAKE2F, no rounds", 9, blake2f(0), 0),
        case("BLAKE2F, 100,000 rounds", 9, blake2f(100_000), 100_000),
        case("KZG point evaluation", 10, kzg(), 50_000),
        case("P256VERIFY", 0x100, hex::decode(P256).expect("a constant"), 6900),
    ];
    for size in [0usize, 64, 4096] {
        let words = size.div_ceil(32) as u64;
        cases.push(case(format!("SHA256 of {size}"), 2, vec![0xff; size], 60 + 12 * words));
        cases.push(case(format!("RIPEMD160 of {size}"), 3, vec![0xff; size], 600 + 120 * words));
        cases.push(case(format!("IDENTITY of {size}"), 4, vec![0xff; size], 15 + 3 * words));
    }
    cases.extend(modexp());
    cases.extend(bn254());
    cases.extend(bls12());
    cases
}

fn ecrecover() -> Vec<u8> {
    let key = k256::ecdsa::SigningKey::from_slice(&[7; 32]).expect("a valid key");
    let hash = [0xab; 32];
    let (signature, id) = key.sign_prehash_recoverable(&hash).expect("a valid hash");
    let mut input = hash.to_vec();
    input.extend(U256::from(27 + u64::from(id.to_byte())).to_be_bytes::<32>());
    input.extend(signature.to_bytes());
    input
}

fn blake2f(rounds: u32) -> Vec<u8> {
    [rounds.to_be_bytes().to_vec(), vec![0xff; 208], vec![1]].concat()
}

fn kzg() -> Vec<u8> {
    let settings = c_kzg::ethereum_kzg_settings(0);
    let mut blob = vec![0; c_kzg::BYTES_PER_BLOB];
    for (at, element) in blob.chunks_mut(32).enumerate() {
        element[31] = at as u8;
        element[1] = 0x5a;
    }
    let blob = c_kzg::Blob::from_bytes(&blob).expect("canonical elements");
    let z = c_kzg::Bytes32::new([0x17; 32]);
    let commitment = settings.blob_to_kzg_commitment(&blob).expect("a blob").to_bytes();
    let (proof, y) = settings.compute_kzg_proof(&blob, &z).expect("a blob");
    let hash = alloy_eips::eip4844::kzg_to_versioned_hash(commitment.as_slice());
    [
        hash.as_slice(),
        z.as_slice(),
        y.as_slice(),
        commitment.as_slice(),
        proof.to_bytes().as_slice(),
    ]
    .concat()
}

/// EIP-198: lengths, then base, exponent, modulus.
fn modexp_input(base: &[u8], exponent: &[u8], modulus: &[u8]) -> Vec<u8> {
    let length = |bytes: &[u8]| U256::from(bytes.len()).to_be_bytes::<32>().to_vec();
    [
        length(base),
        length(exponent),
        length(modulus),
        base.to_vec(),
        exponent.to_vec(),
        modulus.to_vec(),
    ]
    .concat()
}

fn modexp() -> Vec<Case> {
    let mut cases = Vec::new();
    let even = |mut bytes: Vec<u8>| {
        if let Some(last) = bytes.last_mut() {
            *last = 0xfe;
        }
        bytes
    };
    for size in [1usize, 8, 32, 33, 64, 128, 256, 1024] {
        for (exponent, of) in
            [(vec![0xff; 32], "full exponent"), (vec![0x03], "exponent 3"), (vec![], "no exponent")]
        {
            for (modulus, parity) in [(vec![0xff; size], "odd"), (even(vec![0xff; size]), "even")] {
                let input = modexp_input(&vec![0xff; size], &exponent, &modulus);
                let gas = modexp_gas(size as u64, &exponent);
                // One call must fit a transaction's gas.
                if gas < 4_000_000 {
                    cases.push(case(format!("MODEXP {size} bytes, {parity}, {of}"), 5, input, gas));
                }
            }
        }
    }
    cases
}

/// EIP-7883, for exponents of at most 32 bytes.
fn modexp_gas(size: u64, exponent: &[u8]) -> u64 {
    let words = size.div_ceil(8);
    let complexity = if size <= 32 { 16 } else { 2 * words * words };
    let bits = U256::from_be_slice(exponent).bit_len() as u64;
    (complexity * bits.saturating_sub(1).max(1)).max(500)
}

/// The point (1, 2) and its double.
const BN_G: &str = "00000000000000000000000000000000000000000000000000000000000000010000000000000000000000000000000000000000000000000000000000000002";
const BN_2G: &str = "030644e72e131a029b85045b68181585d97816a916871ca8d3c208c16d87cfd315ed738c0e0a7c92e7845f96b2ae9c0a68a6a449e3538fc7ff3ebf7a5a18a2c4";
const BN_G2: &str = "198e9393920d483a7260bfb731fb5d25f1aa493335a9e71297e485b7aef312c21800deef121f1e76426a00665e5c4479674322d4f75edadd46debd5cd992f6ed090689d0585ff075ec9e99ad690c3395bc4b313370b38ef355acdadcd122975b12c85ea5db8c6deb4aab71808dcb408fe3d1e7690c43d37b4ce6cc0166fa7daa";

fn bn254() -> Vec<Case> {
    let point = |hex: &str| hex::decode(hex).expect("a constant");
    let (g, g2) = (point(BN_G), point(BN_G2));
    let mut cases = vec![
        case("BN254 add, doubling", 6, [g.clone(), g.clone()].concat(), 150),
        case("BN254 add", 6, [g.clone(), point(BN_2G)].concat(), 150),
        case("BN254 mul", 7, [point(BN_2G), vec![0xff; 32]].concat(), 6000),
    ];
    for pairs in [1usize, 2, 8] {
        let input = [g.clone(), g2.clone()].concat().repeat(pairs);
        cases.push(case(
            format!("BN254 pairing of {pairs}"),
            8,
            input,
            45_000 + 34_000 * pairs as u64,
        ));
    }
    cases
}

/// Generators of BLS12-381 in EIP-2537's encoding.
const BLS_G1: &str = "0000000000000000000000000000000017f1d3a73197d7942695638c4fa9ac0fc3688c4f9774b905a14e3a3f171bac586c55e83ff97a1aeffb3af00adb22c6bb0000000000000000000000000000000008b3f481e3aaa0f1a09e30ed741d8ae4fcf5e095d5d00af600db18cb2c04b3edd03cc744a2888ae40caa232946c5e7e1";
const BLS_G2: &str = "00000000000000000000000000000000024aa2b2f08f0a91260805272dc51051c6e47ad4fa403b02b4510b647ae3d1770bac0326a805bbefd48056c8c121bdb80000000000000000000000000000000013e02b6052719f607dacd3a088274f65596bd0d09920b61ab5da61bbdc7f5049334cf11213945d57e5ac7d055d042b7e000000000000000000000000000000000ce5d527727d6e118cc9cdc6da2e351aadfd9baa8cbdd3a76d429a695160d12c923ac9cc3baca289e193548608b82801000000000000000000000000000000000606c4a02ea734cc32acd2b02bc28b99cb3e287e85a763af267492ab572e99ab3f370d275cec1da1aaa9075ff05f79be";

/// EIP-2537's discounts per thousand for one point and for 128.
const G1_DISCOUNT: [u64; 2] = [1000, 519];
const G2_DISCOUNT: [u64; 2] = [1000, 524];

fn bls12() -> Vec<Case> {
    let point = |hex: &str| hex::decode(hex).expect("a constant");
    let (g1, g2) = (point(BLS_G1), point(BLS_G2));
    let scaled = |point: &[u8]| [point, &[0xff; 32]].concat();
    // An element below the modulus with most bits set.
    let element = [vec![0; 16], vec![0x19; 48]].concat();
    let mut cases = vec![
        case("BLS12 G1 add", 0x0b, g1.repeat(2), 375),
        case("BLS12 G2 add", 0x0d, g2.repeat(2), 600),
        case("BLS12 map to G1", 0x10, element.clone(), 5500),
        case("BLS12 map to G2", 0x11, element.repeat(2), 23_800),
    ];
    for (points, at) in [(1usize, 0), (128, 1)] {
        let count = points as u64;
        let gas = |each: u64, discount: u64| count * each * discount / 1000;
        cases.push(case(
            format!("BLS12 G1 MSM of {points}"),
            0x0c,
            scaled(&g1).repeat(points),
            gas(12_000, G1_DISCOUNT[at]),
        ));
        cases.push(case(
            format!("BLS12 G2 MSM of {points}"),
            0x0e,
            scaled(&g2).repeat(points),
            gas(22_500, G2_DISCOUNT[at]),
        ));
    }
    for pairs in [1usize, 2, 8] {
        let input = [g1.clone(), g2.clone()].concat().repeat(pairs);
        cases.push(case(
            format!("BLS12 pairing of {pairs}"),
            0x0f,
            input,
            37_700 + 32_600 * pairs as u64,
        ));
    }
    cases
}

/// hash, r, s, x, y of a valid signature.
const P256: &str = "4cee90eb86eaa050036147a12d49004b6b9c72bd725d39d4785011fe190f0b4da73bd4903f0ce3b639bbbf6e8e80d16931ff4bcf5993d58468e8fb19086e8cac36dbcd03009df8c59286b162af3bd7fcc0450c9aa81be5d10d312af6c66b1d604aebd3099c618202fcfe16ae7770b0c49ab5eadf74b754204a3bb6060e44eff37618b065f9832de4ca6ca971a7a1adc826d0f7c00181a5fb2ddf79ae00b4e10e";
