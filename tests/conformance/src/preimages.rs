use crate::blob::{TestBlob, random_element};
use crate::contracts::Contracts;
use alloy_primitives::{B256, U256, keccak256};
use annex_riscv::{Host, PreimageKind};
use rand::Rng;
use rand::rngs::StdRng;
use std::collections::BTreeMap;

/// What a host lacks.
#[derive(Debug, PartialEq, Eq)]
pub struct Missing;

/// Preimages that both sides know, some words of each.
#[derive(Debug, Default)]
pub struct Preimages {
    /// Words by kind, key and offset.
    words: BTreeMap<(u64, B256, u32), B256>,
    lengths: BTreeMap<(u64, B256), u64>,
}

const BLOB_LENGTH: u64 = 131_072;

impl Preimages {
    /// Makes some and loads them into the contract.
    pub fn load(contracts: &mut Contracts, rng: &mut StdRng) -> Self {
        let mut preimages = Self::default();
        for length in [0, 1, 31, 32, 33, 136, 532, 65_536] {
            let mut data = vec![0; length];
            rng.fill(&mut data[..]);
            let key = keccak256(&data);
            preimages.lengths.insert((0, key), length as u64);
            let last = length as u32 / 32;
            for offset in [0, last, rng.random_range(0..=last)].map(|word| 32 * word) {
                assert_eq!(contracts.load_keccak(u64::from(offset), &data).result, Ok(()));
                let mut word = [0; 32];
                for (to, from) in word.iter_mut().zip(&data[offset as usize..]) {
                    *to = *from;
                }
                preimages.words.insert((0, key, offset), word.into());
            }
        }
        let blob = TestBlob::new(|_| random_element(rng));
        for index in [0, 1, 4_095, rng.random_range(2..4_095)] {
            let opening = blob.open(index);
            let loaded = contracts.load_blob_element(&opening.call(blob.versioned_hash));
            assert_eq!(loaded.result, Ok(()));
            let key = (1, blob.versioned_hash, 32 * index as u32);
            preimages.words.insert(key, opening.element);
        }
        preimages
    }

    /// Kind, key and offset of a word that is mostly known.
    pub fn any(&self, rng: &mut StdRng) -> (u64, B256, u64) {
        let place = rng.random_range(0..self.words.len());
        let (kind, key, offset) =
            self.words.keys().nth(place).expect("a place among them").to_owned();
        match rng.random_range(0..8) {
            0 => (kind, key, 32 * rng.random_range(0..5_000)),
            1 => (kind, key, u64::from(rng.random::<u32>()) & !31),
            2 => (rng.random_range(0..3), key, offset.into()),
            3 => (kind, B256::new(rng.random()), offset.into()),
            4 => (kind, key, u64::from(offset) + rng.random_range(0..40)),
            _ => (kind, key, offset.into()),
        }
    }

    /// What the contract should answer.
    pub fn get(&self, kind: u64, key: B256, offset: u32) -> Result<(B256, u64), Missing> {
        let length = match kind {
            1 => BLOB_LENGTH,
            _ => *self.lengths.get(&(kind, key)).ok_or(Missing)?,
        };
        if u64::from(offset) >= length {
            return Ok((B256::ZERO, length));
        }
        Ok((*self.words.get(&(kind, key, offset)).ok_or(Missing)?, length))
    }

    /// That the contract answers the same.
    pub fn check(&self, contracts: &mut Contracts, rng: &mut StdRng) {
        let (kind, key, offset) = self.any(rng);
        let Ok(offset) = u32::try_from(offset & !31) else { return };
        let expected = self.get(kind, key, offset);
        let actual = contracts.read(kind, key, offset.into()).result;
        let expected = expected.map(|(word, length)| (word, U256::from(length)));
        assert_eq!(actual.ok(), expected.ok(), "{kind} {key} {offset}");
    }
}

impl Host for &Preimages {
    type Error = Missing;

    fn preimage(
        &mut self,
        kind: PreimageKind,
        key: B256,
        offset: u32,
    ) -> Result<(B256, u64), Missing> {
        let kind = match kind {
            PreimageKind::Keccak => 0,
            PreimageKind::Blob => 1,
        };
        self.get(kind, key, offset)
    }

    fn write(&mut self, _: u64, _: &[u8]) {}
}
