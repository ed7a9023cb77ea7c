//! The blobs of included transactions, one file each, for a number of transactions.
//!
//! File name: `<block number, 16 hex digits>-<transaction hash, 64 hex digits>`. Content, for each blob:
//! `commitment(48) ‖ uint32 length ‖ bytes`, the blob without its trailing zeros.

use crate::blobs::Sidecar;
use alloy_eips::eip4844::{BYTES_PER_BLOB, Blob, Bytes48};
use alloy_primitives::{B256, hex};
use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

/// A blob as the beacon endpoints serve it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredBlob {
    pub commitment: Bytes48,
    pub blob: Box<Blob>,
}

/// The folder of blobs.
#[derive(Debug)]
pub struct Sidecars {
    dir: PathBuf,
    retained: usize,
    present: BTreeSet<(u64, B256)>,
}

impl Sidecars {
    /// Opens the folder and makes it if absent. `retained`: transactions to keep.
    pub fn open(dir: PathBuf, retained: usize) -> io::Result<Self> {
        std::fs::create_dir_all(&dir)?;
        let mut present = BTreeSet::new();
        for entry in std::fs::read_dir(&dir)? {
            let entry = entry?;
            match entry.file_name().to_str().and_then(parse_name) {
                Some(key) => drop(present.insert(key)),
                // Half-written before a crash.
                None => std::fs::remove_file(entry.path())?,
            }
        }
        Ok(Self { dir, retained, present })
    }

    /// Keeps the sidecar of a transaction of block `number`, which may not be committed yet.
    pub fn put(&mut self, number: u64, hash: B256, sidecar: &Sidecar) -> io::Result<()> {
        let path = self.path(number, hash);
        let partial = path.with_extension("partial");
        std::fs::write(&partial, encode(sidecar))?;
        std::fs::rename(&partial, &path)?;
        self.present.insert((number, hash));
        while self.present.len() > self.retained {
            let Some(oldest) = self.present.first().copied() else { break };
            self.remove(oldest)?;
        }
        Ok(())
    }

    /// The blobs of a transaction in order; `None` if they are not kept (any more).
    pub fn get(&self, number: u64, hash: B256) -> io::Result<Option<Vec<StoredBlob>>> {
        if !self.present.contains(&(number, hash)) {
            return Ok(None);
        }
        let bytes = std::fs::read(self.path(number, hash))?;
        let blobs = decode(&bytes);
        blobs.map(Some).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "corrupt sidecar"))
    }

    /// Forgets the blobs of all blocks after `number`, which were reorganised away or never committed.
    pub fn remove_after(&mut self, number: u64) -> io::Result<()> {
        let orphans: Vec<_> = self.present.range((number + 1, B256::ZERO)..).copied().collect();
        orphans.into_iter().try_for_each(|key| self.remove(key))
    }

    fn remove(&mut self, key: (u64, B256)) -> io::Result<()> {
        self.present.remove(&key);
        std::fs::remove_file(self.path(key.0, key.1))
    }

    fn path(&self, number: u64, hash: B256) -> PathBuf {
        self.dir.join(format!("{number:016x}-{}", hex::encode(hash)))
    }
}

fn parse_name(name: &str) -> Option<(u64, B256)> {
    let (number, hash) = name.split_once('-')?;
    let number = (number.len() == 16).then(|| u64::from_str_radix(number, 16).ok()).flatten()?;
    let hash: [u8; 32] = hex::decode(hash).ok()?.try_into().ok()?;
    Some((number, B256::from(hash)))
}

fn encode(sidecar: &Sidecar) -> Vec<u8> {
    let mut out = Vec::new();
    for (blob, commitment) in sidecar.blobs.iter().zip(&sidecar.commitments) {
        let used = blob.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        out.extend_from_slice(commitment.as_slice());
        out.extend_from_slice(&(used as u32).to_be_bytes());
        out.extend_from_slice(&blob[..used]);
    }
    out
}

fn decode(mut bytes: &[u8]) -> Option<Vec<StoredBlob>> {
    let mut blobs = Vec::new();
    while !bytes.is_empty() {
        let commitment = Bytes48::from_slice(bytes.split_off(..48)?);
        let used = u32::from_be_bytes(bytes.split_off(..4)?.try_into().ok()?) as usize;
        let used = bytes.split_off(..used).filter(|used| used.len() <= BYTES_PER_BLOB)?;
        let mut blob = Box::new(Blob::ZERO);
        blob[..used.len()].copy_from_slice(used);
        blobs.push(StoredBlob { commitment, blob });
    }
    Some(blobs)
}
