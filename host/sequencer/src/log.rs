//! The promise log: what was acknowledged, written before it is answered.
//!
//! Segments `promises-<first block>.log` of entries `length u32 ‖ checksum u64 ‖ body`, big-endian; the checksum is the
//! head of the body's Keccak hash. A torn entry at the end of the last segment was never acknowledged and is cut off;
//! a torn entry anywhere else is corruption. A segment that starts with transactions to be executed again replaces all
//! older ones, whether or not these could still be removed.

use alloy_primitives::{B256, Bytes, U256, keccak256};
use annex_store::Durability;
use annex_types::{BlockAttributes, ForcedItem};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

const HEADER: usize = 12;
const OPEN: u8 = 0;
const GROUP: u8 = 1;
const SEAL: u8 = 2;
const REQUEUE: u8 = 3;
const SKIP: u8 = 4;
/// A new segment starts with the block after this size.
const SEGMENT_SIZE: u64 = 8 << 20;
/// No group is larger: it holds at most a block of transactions.
const MAX_ENTRY: usize = 64 << 20;

/// How a block was opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenEntry {
    pub number: u64,
    pub attributes: BlockAttributes,
    pub forced: Vec<ForcedItem>,
    pub lease_id: U256,
    /// Sequence number of the block's first promise.
    pub sequence: u64,
    /// Digest of the promise before it.
    pub previous: B256,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    Open(Box<OpenEntry>),
    /// EIP-2718 transactions executed together and covered by one promise, with the forced items if it is the block's first.
    Group(Vec<Bytes>),
    Seal,
    /// EIP-2718 transactions of blocks that L1 replaced, to be executed again.
    Requeue(Vec<Bytes>),
    /// The next promise does not count on from the one before.
    Skip(Link),
}

/// What a promise says of the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    pub sequence: u64,
    /// Digest of the promise before.
    pub previous: B256,
}

#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("promise log {path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error(
        "promise log {path} is damaged at byte {offset}: acknowledged transactions may be missing; restore it from a backup"
    )]
    Damaged { path: PathBuf, offset: usize },
}

#[derive(Debug)]
pub struct PromiseLog {
    dir: PathBuf,
    durability: Durability,
    /// First block of each segment, oldest first; the last one is open for writing.
    segments: Vec<u64>,
    current: Option<File>,
    len: u64,
    buffer: Vec<u8>,
}

impl PromiseLog {
    /// Opens the log in `dir` and returns what it holds, oldest first.
    pub fn open(dir: &Path, durability: Durability) -> Result<(Self, Vec<Entry>), LogError> {
        fs::create_dir_all(dir).map_err(|e| io_error(dir, e))?;
        if durability == Durability::Power {
            // What is in a file is only as durable as the way to it.
            for dir in dir.ancestors().take(3) {
                sync_dir(dir)?;
            }
        }
        let mut segments = segments(dir)?;
        segments.sort_unstable();
        let mut entries = Vec::new();
        let mut current = None;
        let mut len = 0;
        for (i, first) in segments.iter().enumerate() {
            let path = segment_path(dir, *first);
            let bytes = fs::read(&path).map_err(|e| io_error(&path, e))?;
            let before = entries.len();
            let good = read_entries(&bytes, &mut entries);
            if matches!(entries.get(before), Some(Entry::Requeue(_))) {
                entries.drain(..before);
            }
            if i + 1 < segments.len() {
                if good < bytes.len() {
                    return Err(LogError::Damaged { path, offset: good });
                }
                continue;
            }
            let file =
                OpenOptions::new().append(true).open(&path).map_err(|e| io_error(&path, e))?;
            file.set_len(good as u64).map_err(|e| io_error(&path, e))?;
            len = good as u64;
            current = Some(file);
        }
        let dir = dir.to_path_buf();
        Ok((Self { dir, durability, segments, current, len, buffer: Vec::new() }, entries))
    }

    /// Starts a block. Buffered: durable with the next [`Self::commit`].
    pub fn push_open(&mut self, entry: &OpenEntry) -> Result<(), LogError> {
        if self.current.is_none() || self.len > SEGMENT_SIZE {
            self.start_segment(entry.number)?;
        }
        let body = serde_json::to_vec(entry).expect("plain data serialises");
        self.push(OPEN, &body);
        Ok(())
    }

    /// Adds a group. Buffered.
    pub fn push_group<'a>(&mut self, transactions: impl Iterator<Item = &'a [u8]>) {
        self.push_list(GROUP, transactions);
    }

    /// Notes where the chain of promises goes on. Buffered.
    pub fn push_skip(&mut self, link: &Link) {
        let body = serde_json::to_vec(link).expect("plain data serialises");
        self.push(SKIP, &body);
    }

    /// Adds transactions that wait to be executed again, to be promised from block `first` on, beside what the log holds.
    pub fn requeue<'a>(
        &mut self,
        first: u64,
        transactions: impl Iterator<Item = &'a [u8]>,
    ) -> Result<(), LogError> {
        if self.current.is_none() {
            self.start_segment(first)?;
        }
        self.push_list(REQUEUE, transactions);
        self.commit()
    }

    /// Marks the open block as sealed. Buffered: losing it loses nothing that was acknowledged.
    pub fn push_seal(&mut self) {
        self.push(SEAL, &[]);
    }

    /// Hands everything buffered to the kernel, and to the disk where durability asks for it.
    pub fn commit(&mut self) -> Result<(), LogError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let file = self.current.as_mut().expect("a block was opened before anything was pushed");
        let written = file.write_all(&self.buffer).and_then(|()| match self.durability {
            Durability::Process => Ok(()),
            Durability::Power => file.sync_data(),
        });
        written.map_err(|e| io_error(&self.dir, e))?;
        self.len += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Forgets blocks up to `number`, which the store holds durably.
    pub fn prune(&mut self, number: u64) -> Result<(), LogError> {
        while self.segments.len() > 1 && self.segments[1] <= number + 1 {
            let path = segment_path(&self.dir, self.segments.remove(0));
            fs::remove_file(&path).map_err(|e| io_error(&path, e))?;
        }
        Ok(())
    }

    /// Replaces everything by transactions that wait to be executed again from block `first` on. Old segments go only
    /// after the new one is written, so that a crash loses nothing.
    pub fn replace<'a>(
        &mut self,
        first: u64,
        transactions: impl Iterator<Item = &'a [u8]>,
    ) -> Result<(), LogError> {
        self.commit()?;
        let old = std::mem::take(&mut self.segments);
        let name = old.iter().max().map_or(first, |newest| first.max(newest + 1));
        self.start_segment(name)?;
        self.push_list(REQUEUE, transactions);
        self.commit()?;
        // What is left of them by a crash is to be a beginning.
        for first in old.into_iter().rev() {
            let path = segment_path(&self.dir, first);
            fs::remove_file(&path).map_err(|e| io_error(&path, e))?;
        }
        Ok(())
    }

    fn push_list<'a>(&mut self, tag: u8, transactions: impl Iterator<Item = &'a [u8]>) {
        let mut body = Vec::new();
        for transaction in transactions {
            body.extend_from_slice(&(transaction.len() as u32).to_be_bytes());
            body.extend_from_slice(transaction);
        }
        self.push(tag, &body);
    }

    fn push(&mut self, tag: u8, body: &[u8]) {
        let at = self.buffer.len();
        self.buffer.extend_from_slice(&(body.len() as u32 + 1).to_be_bytes());
        self.buffer.extend_from_slice(&[0; 8]);
        self.buffer.push(tag);
        self.buffer.extend_from_slice(body);
        let checksum = checksum(&self.buffer[at + HEADER..]);
        self.buffer[at + 4..at + HEADER].copy_from_slice(&checksum);
    }

    fn start_segment(&mut self, first: u64) -> Result<(), LogError> {
        self.commit()?;
        let path = segment_path(&self.dir, first);
        let file = OpenOptions::new().create(true).append(true).open(&path);
        self.current = Some(file.map_err(|e| io_error(&path, e))?);
        if self.durability == Durability::Power {
            sync_dir(&self.dir)?;
        }
        if self.segments.last() != Some(&first) {
            self.segments.push(first);
            self.len = 0;
        }
        Ok(())
    }
}

fn io_error(path: &Path, source: io::Error) -> LogError {
    LogError::Io { path: path.to_path_buf(), source }
}

/// Makes the names in a directory durable.
fn sync_dir(dir: &Path) -> Result<(), LogError> {
    // What a relative path of one part lies in.
    let path = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    File::open(path).and_then(|dir| dir.sync_all()).map_err(|e| io_error(dir, e))
}

fn checksum(body: &[u8]) -> [u8; 8] {
    keccak256(body)[..8].try_into().expect("a hash has more than eight bytes")
}

fn segment_path(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("promises-{first:020}.log"))
}

fn segments(dir: &Path) -> Result<Vec<u64>, LogError> {
    let mut out = Vec::new();
    for entry in fs::read_dir(dir).map_err(|e| io_error(dir, e))? {
        let name = entry.map_err(|e| io_error(dir, e))?.file_name();
        let name = name.to_string_lossy();
        let first = name.strip_prefix("promises-").and_then(|n| n.strip_suffix(".log"));
        out.extend(first.and_then(|n| n.parse::<u64>().ok()));
    }
    Ok(out)
}

/// Appends the good entries of `bytes` and returns where they end.
fn read_entries(bytes: &[u8], out: &mut Vec<Entry>) -> usize {
    let mut at = 0;
    while let Some((entry, end)) = read_entry(bytes, at) {
        out.push(entry);
        at = end;
    }
    at
}

fn read_entry(bytes: &[u8], at: usize) -> Option<(Entry, usize)> {
    let header = bytes.get(at..at + HEADER)?;
    let len = u32::from_be_bytes(header[..4].try_into().ok()?) as usize;
    if len > MAX_ENTRY {
        return None;
    }
    let body = bytes.get(at + HEADER..at + HEADER + len)?;
    if checksum(body) != header[4..] {
        return None;
    }
    let (tag, rest) = body.split_first()?;
    let entry = match *tag {
        OPEN => Entry::Open(serde_json::from_slice(rest).ok()?),
        GROUP => Entry::Group(split_list(rest)?),
        SEAL => Entry::Seal,
        REQUEUE => Entry::Requeue(split_list(rest)?),
        SKIP => Entry::Skip(serde_json::from_slice(rest).ok()?),
        _ => return None,
    };
    Some((entry, at + HEADER + len))
}

fn split_list(mut body: &[u8]) -> Option<Vec<Bytes>> {
    let mut out = Vec::new();
    while !body.is_empty() {
        let len = u32::from_be_bytes(body.get(..4)?.try_into().ok()?) as usize;
        out.push(Bytes::copy_from_slice(body.get(4..4 + len)?));
        body = &body[4 + len..];
    }
    Some(out)
}

#[cfg(test)]
mod tests;
