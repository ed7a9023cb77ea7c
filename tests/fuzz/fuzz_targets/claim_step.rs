#![no_main]
//! A step of the claim over preimages that are not what their keys say: no host could make it panic, or take forever.
use alloy_eips::eip4844::Blob;
use alloy_primitives::{B256, Bytes};
use annex_claim::{ClaimError, Kind, PreimageSource, step};
use libfuzzer_sys::fuzz_target;
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// Real steps; `cargo run --release -p annex-claim --example fuzz_steps` writes them and says how.
const STEPS: &[u8] = include_bytes!("../steps.bin");

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not there")]
struct Missing;

#[derive(Clone, Default)]
struct Preimages(BTreeMap<(Kind, B256), Bytes>);

impl PreimageSource for Preimages {
    type Error = Missing;

    fn keccak(&self, key: B256) -> Result<Bytes, Missing> {
        self.0.get(&(Kind::Keccak, key)).cloned().ok_or(Missing)
    }

    fn blob(&self, key: B256) -> Result<Box<Blob>, Missing> {
        let bytes = self.0.get(&(Kind::Blob, key)).ok_or(Missing)?;
        let mut blob = Box::new(Blob::ZERO);
        let length = bytes.len().min(blob.len());
        blob[..length].copy_from_slice(&bytes[..length]);
        Ok(blob)
    }
}

struct Steps {
    preimages: Preimages,
    /// Input and the leaf that it leads to.
    steps: Vec<(B256, B256)>,
}

static BASE: LazyLock<Steps> = LazyLock::new(|| {
    let mut rest = STEPS;
    let mut take = |length: usize| {
        let (head, tail) = rest.split_at(length);
        rest = tail;
        head
    };
    let number = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().expect("four bytes"));
    let mut preimages = Preimages::default();
    for _ in 0..number(take(4)) {
        let kind = if take(1) == [0] { Kind::Keccak } else { Kind::Blob };
        let key = B256::from_slice(take(32));
        let length = number(take(4)) as usize;
        preimages.0.insert((kind, key), Bytes::copy_from_slice(take(length)));
    }
    let pair = |pair: &[u8]| (B256::from_slice(&pair[..32]), B256::from_slice(&pair[32..]));
    let steps: Vec<_> = rest.chunks_exact(64).map(pair).collect();
    for (input, leaf) in &steps {
        let taken = step(*input, &preimages).expect("a step of a chain");
        assert_eq!(taken.leaf.hash(), *leaf, "steps.bin is of another version");
    }
    Steps { preimages, steps }
});

/// Keys that the step reads, so that changes meet them.
fn read_by(input: B256) -> Vec<(Kind, B256)> {
    struct Noting<'a>(&'a Preimages, std::cell::RefCell<Vec<(Kind, B256)>>);
    impl PreimageSource for Noting<'_> {
        type Error = Missing;
        fn keccak(&self, key: B256) -> Result<Bytes, Missing> {
            self.1.borrow_mut().push((Kind::Keccak, key));
            self.0.keccak(key)
        }
        fn blob(&self, key: B256) -> Result<Box<Blob>, Missing> {
            self.1.borrow_mut().push((Kind::Blob, key));
            self.0.blob(key)
        }
    }
    let noting = Noting(&BASE.preimages, Default::default());
    step(input, &noting).expect("a step of a chain");
    let mut keys = noting.1.into_inner();
    let mut seen = std::collections::BTreeSet::new();
    keys.retain(|key| seen.insert(*key));
    keys
}

static KEYS: LazyLock<Vec<Vec<(Kind, B256)>>> =
    LazyLock::new(|| BASE.steps.iter().map(|(input, _)| read_by(*input)).collect());

fuzz_target!(|data: &[u8]| {
    let [which, rest @ ..] = data else { return };
    let mut rest = rest;
    let which = usize::from(*which) % BASE.steps.len();
    let (input, leaf) = BASE.steps[which];
    let keys = &KEYS[which];
    let mut preimages =
        Preimages(keys.iter().map(|key| (*key, BASE.preimages.0[key].clone())).collect());
    let honest = preimages.0.clone();
    while let [entry, what, high, low, tail @ ..] = rest {
        rest = tail;
        let key = keys[usize::from(*entry) % keys.len()];
        let Some(found) = preimages.0.get(&key) else { continue };
        let mut bytes = found.to_vec();
        let at = usize::from(u16::from_be_bytes([*high, *low]));
        match what % 8 {
            0 => {
                preimages.0.remove(&key);
                continue;
            }
            1 => bytes.truncate(at),
            2 => bytes.resize((bytes.len() + at).min(65_536), *low),
            // Another preimage in its place.
            3 => bytes = honest[&keys[at % keys.len()]].to_vec(),
            // Bytes of the input, in place of as many or between.
            4 | 5 => {
                let length = usize::from(*high >> 2).min(tail.len());
                let (new, after) = tail.split_at(length);
                rest = after;
                let at = usize::from(*low).min(bytes.len());
                let replaced = if what % 8 == 4 { length.min(bytes.len() - at) } else { 0 };
                bytes.splice(at..at + replaced, new.iter().copied());
            }
            _ if !bytes.is_empty() => {
                let at = at % bytes.len();
                bytes[at] = bytes[at].wrapping_add(what >> 3 | 1);
            }
            _ => {}
        }
        preimages.0.insert(key, bytes.into());
    }
    match step(input, &preimages) {
        Ok(taken) => assert!(preimages.0 != honest || taken.leaf.hash() == leaf),
        Err(ClaimError::Source(Missing) | ClaimError::Impossible(_)) => {
            assert_ne!(preimages.0, honest);
        }
    }
});
