use std::collections::BTreeMap;
use std::sync::Arc;

use alloy_eips::eip4844::{Blob, kzg_to_versioned_hash};
use alloy_primitives::{B256, Bytes, keccak256};

use crate::{Kind, MAX_PREIMAGE, PreimageSource};

/// Preimages by hash. Entries are hashed when they are put in, so nothing false is ever found here.
#[derive(Clone, Debug, Default)]
pub struct Preimages {
    keccak: BTreeMap<B256, Bytes>,
    blobs: BTreeMap<B256, Arc<Blob>>,
}

/// A preimage that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("no preimage of {kind} {key}")]
pub struct Missing {
    pub kind: Kind,
    pub key: B256,
}

/// Why an entry is not taken.
#[derive(Debug, thiserror::Error)]
pub enum PreimageError {
    #[error("{0} bytes are more than a preimage may have")]
    TooLong(usize),
    #[error("not a blob: {0}")]
    Blob(#[from] c_kzg::Error),
}

impl Preimages {
    /// Returns the key.
    pub fn insert(&mut self, bytes: Bytes) -> Result<B256, PreimageError> {
        if bytes.len() > MAX_PREIMAGE {
            return Err(PreimageError::TooLong(bytes.len()));
        }
        let key = keccak256(&bytes);
        self.keccak.insert(key, bytes);
        Ok(key)
    }

    /// Returns the versioned hash. Takes some 50 ms.
    pub fn insert_blob(&mut self, blob: &Blob) -> Result<B256, PreimageError> {
        let kzg = c_kzg::ethereum_kzg_settings(0);
        let commitment = kzg.blob_to_kzg_commitment(&c_kzg::Blob::from_bytes(blob.as_slice())?)?;
        let key = kzg_to_versioned_hash(commitment.as_slice());
        self.blobs.insert(key, Arc::new(*blob));
        Ok(key)
    }

    /// Whether there was such an entry.
    pub fn remove(&mut self, kind: Kind, key: B256) -> bool {
        match kind {
            Kind::Keccak => self.keccak.remove(&key).is_some(),
            Kind::Blob => self.blobs.remove(&key).is_some(),
        }
    }

    /// Keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = (Kind, B256)> {
        let keccak = self.keccak.keys().map(|key| (Kind::Keccak, *key));
        keccak.chain(self.blobs.keys().map(|key| (Kind::Blob, *key)))
    }

    /// Bytes of all entries, without keys.
    pub fn size(&self) -> usize {
        let blobs: usize = self.blobs.values().map(|blob| blob.len()).sum();
        self.keccak.values().map(|bytes| bytes.len()).sum::<usize>() + blobs
    }

    /// The word at `offset`, zero beyond the end, and the whole length, as the machine reads them (spec/machine.md,
    /// "Preimage").
    pub fn word(&self, kind: Kind, key: B256, offset: u32) -> Result<(B256, u64), Missing> {
        let bytes: &[u8] = match kind {
            Kind::Keccak => self.keccak.get(&key).ok_or(Missing { kind, key })?,
            Kind::Blob => &self.blobs.get(&key).ok_or(Missing { kind, key })?[..],
        };
        let mut word = B256::ZERO;
        if let Some(rest) = bytes.get(offset as usize..) {
            let len = rest.len().min(B256::len_bytes());
            word[..len].copy_from_slice(&rest[..len]);
        }
        Ok((word, bytes.len() as u64))
    }
}

impl PreimageSource for Preimages {
    type Error = Missing;

    fn keccak(&self, key: B256) -> Result<Bytes, Missing> {
        self.keccak.get(&key).cloned().ok_or(Missing { kind: Kind::Keccak, key })
    }

    fn blob(&self, key: B256) -> Result<Box<Blob>, Missing> {
        let blob = self.blobs.get(&key).ok_or(Missing { kind: Kind::Blob, key })?;
        Ok(Box::new(**blob))
    }
}
