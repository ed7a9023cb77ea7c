//! Blobs of batches that were derived from, kept for nodes which find them nowhere else: L1 keeps blobs for some weeks only.

use alloy_eips::eip4844::{BYTES_PER_BLOB, Blob};
use alloy_primitives::B256;
use annex_types::MAX_BLOBS;
use jsonrpsee::{
    RpcModule,
    types::{ErrorObjectOwned, error::INVALID_PARAMS_CODE},
};
use std::{
    collections::{BTreeSet, HashMap},
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

/// One file for each blob, its name the record's index and the blob's versioned hash.
#[derive(Debug)]
pub(crate) struct Batches {
    dir: PathBuf,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    by_record: BTreeSet<(u64, B256)>,
    /// The newest record that a blob is of.
    records: HashMap<B256, u64>,
}

impl Kept {
    fn insert(&mut self, record: u64, hash: B256) {
        self.by_record.insert((record, hash));
        let newest = self.records.entry(hash).or_insert(record);
        *newest = record.max(*newest);
    }
}

impl Batches {
    /// What `dir` holds; it is made if absent.
    pub fn open(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let mut kept = Kept::default();
        for entry in fs::read_dir(dir)? {
            let name = entry?.file_name();
            if let Some((record, hash)) = name.to_str().and_then(parse_name) {
                kept.insert(record, hash);
            }
        }
        Ok(Self { dir: dir.to_owned(), kept: Mutex::new(kept) })
    }

    fn path(&self, record: u64, hash: B256) -> PathBuf {
        self.dir.join(format!("{record:016x}-{hash:x}"))
    }

    /// Keeps the blobs of a record, each as a whole or not at all.
    pub fn keep(&self, record: u64, hashes: &[B256], blobs: &[Blob]) -> io::Result<()> {
        for (hash, blob) in hashes.iter().zip(blobs) {
            let kept = self.kept.lock().expect("no holder panics");
            if kept.by_record.contains(&(record, *hash)) {
                continue;
            }
            drop(kept);
            let partial = self.dir.join("partial");
            // What a batch leaves of a blob is zeros.
            fs::write(&partial, zstd::bulk::compress(blob.as_slice(), 1)?)?;
            fs::rename(&partial, self.path(record, *hash))?;
            self.kept.lock().expect("no holder panics").insert(record, *hash);
        }
        Ok(())
    }

    pub fn get(&self, hash: B256) -> io::Result<Option<Box<Blob>>> {
        let record = self.kept.lock().expect("no holder panics").records.get(&hash).copied();
        let Some(record) = record else { return Ok(None) };
        let bytes = match fs::read(self.path(record, hash)) {
            Ok(bytes) => zstd::bulk::decompress(&bytes, BYTES_PER_BLOB)?,
            // Forgotten meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let blob = Blob::try_from(bytes.as_slice());
        blob.map(|blob| Some(Box::new(blob))).map_err(|_| io::ErrorKind::InvalidData.into())
    }

    /// The oldest record of which something is kept.
    pub fn oldest(&self) -> Option<u64> {
        let kept = self.kept.lock().expect("no holder panics");
        kept.by_record.first().map(|(record, _)| *record)
    }

    /// Forgets the blobs of a record.
    pub fn forget(&self, record: u64) -> io::Result<()> {
        let mut kept = self.kept.lock().expect("no holder panics");
        while let Some((found, hash)) = kept.by_record.range((record, B256::ZERO)..).next().copied()
            && found == record
        {
            match fs::remove_file(self.path(record, hash)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            kept.by_record.remove(&(record, hash));
            if kept.records.get(&hash) == Some(&record) {
                kept.records.remove(&hash);
            }
        }
        Ok(())
    }
}

fn parse_name(name: &str) -> Option<(u64, B256)> {
    let (record, hash) = name.split_once('-')?;
    Some((u64::from_str_radix(record, 16).ok()?, hash.parse().ok()?))
}

/// `annex_blobs`.
pub(crate) fn module(batches: &Arc<Batches>) -> RpcModule<impl Send + Sync + 'static> {
    let mut module = RpcModule::from_arc(batches.clone());
    let blobs = module.register_async_method("annex_blobs", |params, batches, _| async move {
        let hashes: Vec<B256> = params.one()?;
        if hashes.len() > MAX_BLOBS {
            let message = format!("more than {MAX_BLOBS} blobs");
            return Err(ErrorObjectOwned::owned(INVALID_PARAMS_CODE, message, None::<()>));
        }
        let read = move || hashes.into_iter().map(|hash| batches.get(hash)).collect();
        let read = tokio::task::spawn_blocking(read).await.map_err(crate::api::internal)?;
        let blobs: io::Result<Vec<Option<Box<Blob>>>> = read;
        blobs.map_err(crate::api::internal)
    });
    blobs.expect("the only name");
    module
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blobs_are_found_until_their_record_is_forgotten_and_after_a_restart() {
        let dir = tempfile::tempdir().expect("temp dir");
        let blob = |byte: u8| {
            let mut blob = Blob::ZERO;
            blob[5] = byte;
            blob
        };
        let hash = B256::repeat_byte;
        let batches = Batches::open(dir.path()).expect("opens");
        batches.keep(7, &[hash(1), hash(2)], &[blob(1), blob(2)]).expect("kept");
        batches.keep(9, &[hash(2)], &[blob(2)]).expect("kept");
        let found =
            |batches: &Batches, byte| batches.get(hash(byte)).expect("reads").map(|blob| blob[5]);
        drop(batches);
        fs::write(dir.path().join("partial"), [1, 2, 3]).expect("left by a crash");
        let batches = Batches::open(dir.path()).expect("opens");
        assert_eq!([1, 2, 3].map(|byte| found(&batches, byte)), [Some(1), Some(2), None]);
        assert_eq!(batches.oldest(), Some(7));
        batches.forget(7).expect("forgotten");
        assert_eq!([1, 2].map(|byte| found(&batches, byte)), [None, Some(2)]);
        batches.forget(9).expect("forgotten");
        assert_eq!((found(&batches, 2), batches.oldest()), (None, None));
        assert_eq!(fs::read_dir(dir.path()).expect("reads").count(), 1);
    }
}
