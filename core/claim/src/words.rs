//! Preimages that are lists of ABI words.

use alloy_primitives::{Address, B256, Bytes, U256};

use crate::Impossible;

const WORD: usize = 32;

/// So many 32-byte words.
pub(crate) struct Words<const N: usize>(Bytes);

impl<const N: usize> Words<N> {
    pub fn new(bytes: Bytes) -> Result<Self, Impossible> {
        if bytes.len() == N * WORD { Ok(Self(bytes)) } else { Err(Impossible::Words) }
    }

    pub fn hash(&self, at: usize) -> B256 {
        B256::from_slice(&self.0[at * WORD..(at + 1) * WORD])
    }

    pub fn u256(&self, at: usize) -> U256 {
        U256::from_be_bytes(self.hash(at).0)
    }

    pub fn u64(&self, at: usize) -> Result<u64, Impossible> {
        self.u256(at).try_into().map_err(|_| Impossible::Words)
    }

    pub fn u128(&self, at: usize) -> Result<u128, Impossible> {
        self.u256(at).try_into().map_err(|_| Impossible::Words)
    }

    pub fn address(&self, at: usize) -> Result<Address, Impossible> {
        let word = self.hash(at);
        let zero = word[..12].iter().all(|byte| *byte == 0);
        if zero { Ok(Address::from_slice(&word[12..])) } else { Err(Impossible::Words) }
    }

    pub fn bool(&self, at: usize) -> Result<bool, Impossible> {
        match self.u64(at)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Impossible::Words),
        }
    }
}
