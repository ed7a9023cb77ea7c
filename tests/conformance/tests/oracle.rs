//! The `PreimageOracle` answers with the bytes of what was hashed or committed to, whatever anyone tries to load.

use alloy_primitives::{B256, Bytes, U256, keccak256};
use annex_conformance::{
    Contracts, ELEMENTS, Opening, Refusal, TestBlob, Verdict, cases, random_element, rng,
};
use annex_l1::contracts::PreimageOracle::{
    BadIndex, BadOffset, BadOpening, NotLoaded, PreimageOracleErrors, TooLong,
};
use rand::Rng;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use std::path::Path;

const KECCAK: u64 = 0;
const BLOB: u64 = 1;
const MAX_LENGTH: usize = 65_536;
const BLOB_LENGTH: u64 = 131_072;
/// Most gas for loading a part.
const MAX_GAS: u64 = 8_000_000;
const BAD_OPENING: PreimageOracleErrors = PreimageOracleErrors::BadOpening(BadOpening {});

fn word_at(data: &[u8], offset: usize) -> B256 {
    let mut word = [0; 32];
    for (to, from) in word.iter_mut().zip(data.iter().skip(offset)) {
        *to = *from;
    }
    word.into()
}

fn random_bytes(rng: &mut StdRng, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    rng.fill(&mut bytes[..]);
    bytes
}

fn refused<T: std::fmt::Debug>(verdict: Verdict<T>) -> PreimageOracleErrors {
    match verdict.result.expect_err("nothing to be had") {
        Refusal::Oracle(error) => error,
        Refusal::Machine(error) => panic!("not the oracle's: {error:?}"),
    }
}

fn not_loaded(kind: u64, key: B256, offset: u64) -> PreimageOracleErrors {
    let (kind, offset) = (U256::from(kind), U256::from(offset));
    PreimageOracleErrors::NotLoaded(NotLoaded { kind, key, offset })
}

#[test]
fn strings_read_as_they_were_hashed() {
    let mut rng = rng("strings_read_as_they_were_hashed");
    let ends = [0, 1, 31, 32, 33, 63, 64, 1_000, MAX_LENGTH - 1, MAX_LENGTH];
    let lengths = ends.into_iter().chain((0..cases(40)).map(|_| rng.random_range(0..2_000)));
    for length in lengths.collect::<Vec<_>>() {
        let mut contracts = Contracts::new();
        let data = random_bytes(&mut rng, length);
        let (key, rounded) = (keccak256(&data), length.next_multiple_of(32));
        let offset = if rng.random() { rounded } else { 32 * rng.random_range(0..=rounded / 32) };
        let unloaded = refused(contracts.read(KECCAK, key, offset as u64));
        assert_eq!(unloaded, not_loaded(KECCAK, key, offset as u64));

        let loaded = contracts.load_keccak(offset as u64, &data);
        assert_eq!(loaded.result, Ok(()), "{length} bytes at {offset}");
        assert!(loaded.gas <= MAX_GAS, "{} gas for {length} bytes", loaded.gas);
        for read in [0, offset, rounded, rounded + 32, 1 << 31, rng.random_range(0..=rounded)] {
            let verdict = contracts.read(KECCAK, key, read as u64);
            if read == offset || read >= length {
                let expected = (word_at(&data, read), U256::from(length));
                assert_eq!(verdict.result, Ok(expected), "{length} bytes at {read}");
            } else {
                assert_eq!(refused(verdict), not_loaded(KECCAK, key, read as u64));
            }
        }
    }
}

#[test]
fn offsets_and_lengths_beyond_the_limits_are_refused() {
    let mut rng = rng("offsets_and_lengths_beyond_the_limits_are_refused");
    let mut contracts = Contracts::new();
    let data = random_bytes(&mut rng, MAX_LENGTH + 1);
    let long = PreimageOracleErrors::TooLong(TooLong { length: U256::from(data.len()) });
    assert_eq!(refused(contracts.load_keccak(0, &data)), long);
    for length in [0usize, 1, 32, 33, 500] {
        let rounded = length.next_multiple_of(32) as u64;
        for offset in [1, 31, rounded + 1, rounded + 32, 1 << 32, u64::MAX] {
            let bad = PreimageOracleErrors::BadOffset(BadOffset { offset: U256::from(offset) });
            assert_eq!(refused(contracts.load_keccak(offset, &data[..length])), bad);
        }
        let key = keccak256(&data[..length]);
        assert_eq!(refused(contracts.read(KECCAK, key, 0)), not_loaded(KECCAK, key, 0));
    }
}

#[test]
fn elements_read_as_they_were_committed() {
    let mut rng = rng("elements_read_as_they_were_committed");
    let mut contracts = Contracts::new();
    let blob = TestBlob::new(|_| random_element(&mut rng));
    let key = blob.versioned_hash;
    let indices = [0, 1, 2, 2_047, 2_048, ELEMENTS - 1];
    let more: Vec<_> = (0..cases(4)).map(|_| rng.random_range(3..2_000)).collect();
    for index in indices.into_iter().chain(more) {
        let opening = blob.open(index);
        let offset = 32 * index as u64;
        let wrong = wrong_openings(&opening, &mut rng);
        for call in wrong.iter().map(|opening| opening.call(key)) {
            assert_eq!(refused(contracts.load_blob_element(&call)), BAD_OPENING, "{call:?}");
        }
        let mut other = key;
        other.0[rng.random_range(0..32)] ^= 1 << rng.random_range(0..8);
        let bad = contracts.load_blob_element(&opening.call(other));
        assert_eq!(refused(bad), BAD_OPENING);

        let loaded = contracts.load_blob_element(&opening.call(key));
        assert_eq!(loaded.result, Ok(()), "element {index}");
        assert!(loaded.gas <= MAX_GAS, "{} gas", loaded.gas);
        let read = contracts.read(BLOB, key, offset);
        assert_eq!(read.result, Ok((blob.element(index), U256::from(BLOB_LENGTH))));
    }
    for offset in [BLOB_LENGTH, BLOB_LENGTH + 32, (1 << 32) - 32] {
        let read = contracts.read(BLOB, B256::repeat_byte(9), offset);
        assert_eq!(read.result, Ok((B256::ZERO, U256::from(BLOB_LENGTH))));
    }
    for offset in [1, 33, 32 * 2_500, BLOB_LENGTH - 32 - 1] {
        assert_eq!(refused(contracts.read(BLOB, key, offset)), not_loaded(BLOB, key, offset));
    }
    let mut call = blob.open(0).call(key);
    for index in [U256::from(ELEMENTS), U256::from(1) << 64, U256::MAX] {
        call.index = index;
        let bad = PreimageOracleErrors::BadIndex(BadIndex { index });
        assert_eq!(refused(contracts.load_blob_element(&call)), bad);
    }
}

/// The opening with each part changed, moved or cut.
fn wrong_openings(opening: &Opening, rng: &mut StdRng) -> Vec<Opening> {
    let flipped = |bytes: &Bytes, rng: &mut StdRng| {
        let mut bytes = bytes.to_vec();
        let at = rng.random_range(0..bytes.len());
        bytes[at] ^= 1 << rng.random_range(0..8);
        bytes.into()
    };
    let modulus = "73eda753299d7d483339d80809a1d80553bda402fffe5bfeffffffff00000001";
    let modulus = U256::from_str_radix(modulus, 16).expect("a number");
    let element = U256::from_be_bytes(opening.element.0);
    let joined = [&opening.commitment[..], &opening.proof].concat();
    vec![
        Opening { element: B256::from(element ^ U256::from(1)), ..opening.clone() },
        // The same element, not canonical.
        Opening { element: B256::from(element + modulus), ..opening.clone() },
        Opening { index: opening.index ^ 1, ..opening.clone() },
        Opening { index: opening.index ^ 2_048, ..opening.clone() },
        Opening { commitment: flipped(&opening.commitment, rng), ..opening.clone() },
        Opening { proof: flipped(&opening.proof, rng), ..opening.clone() },
        Opening { proof: Bytes::new(), ..opening.clone() },
        Opening { proof: [&opening.proof[..], &[0]].concat().into(), ..opening.clone() },
        Opening { commitment: joined.into(), ..opening.clone() },
    ]
}

#[test]
fn kinds_without_meaning_hold_nothing() {
    let mut contracts = Contracts::new();
    assert_eq!(contracts.load_keccak(0, b"").result, Ok(()));
    assert_eq!(contracts.read(KECCAK, keccak256(b""), 0).result, Ok((B256::ZERO, U256::ZERO)));
    for kind in [2, 3, u64::MAX] {
        let key = keccak256(b"");
        assert_eq!(refused(contracts.read(kind, key, 0)), not_loaded(kind, key, 0));
    }
}

/// `spec/vectors/blob-elements.json`, which the contracts' own tests read; with `ANNEX_WRITE_VECTORS` it is written.
#[test]
fn committed_openings_are_those_of_the_ceremony() {
    let largest = "0x73eda753299d7d483339d80809a1d80553bda402fffe5bfeffffffff00000000";
    let largest: B256 = largest.parse().expect("a word");
    let hashed = |index: usize| {
        let mut element = keccak256(index.to_be_bytes());
        element.0[0] = 0;
        element
    };
    let blobs = [
        TestBlob::new(|index| if index == 7 { largest } else { hashed(index) }),
        TestBlob::new(|_| B256::ZERO),
        TestBlob::new(|_| B256::with_last_byte(1)),
    ];
    let openings = |blob: &TestBlob| -> Vec<Value> {
        [0, 1, 2, 7, 1_365, 2_048, 4_095]
            .map(|index| blob.open(index))
            .iter()
            .map(|it| json!({"index": it.index, "element": it.element, "proof": it.proof}))
            .collect()
    };
    let blobs: Vec<_> = blobs
        .iter()
        .map(|blob| {
            json!({
                "versionedHash": blob.versioned_hash,
                "commitment": Bytes::copy_from_slice(blob.commitment.as_slice()),
                "elements": openings(blob),
            })
        })
        .collect();
    let text = format!("{:#}\n", json!({ "blobs": blobs }));
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../spec/vectors");
    let path = Path::new(folder).join("blob-elements.json");
    if std::env::var_os("ANNEX_WRITE_VECTORS").is_some() {
        std::fs::write(&path, &text).expect("writes");
    }
    assert_eq!(std::fs::read_to_string(&path).expect("reads"), text);
}
