//! A whole state in one file (spec/snapshot.md): written and read as a stream, every length bounded.
//!
//! What is read is well-formed and in order, no more: whether it is the state of some block is for the root to say.

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use annex_state::{AccountInfo, KECCAK_EMPTY};
use std::collections::BTreeSet;
use std::io::{self, BufRead, Read, Write};
use zstd::stream::{read, write};

/// How a file begins.
pub const MAGIC: [u8; 8] = *b"annexsnp";
/// Version of the format, a big-endian u32 after [`MAGIC`].
pub const VERSION: u32 = 1;
/// Bytes of the preamble at most.
pub const MAX_PREAMBLE: usize = 64 << 20;
/// Bytes of a code at most (EIP-170).
pub const MAX_CODE: usize = 24_576;
/// Bytes that each compressed byte may become, at most.
const MAX_RATIO: u64 = 1_024;
/// Memory that decompression may take: 2^23 bytes.
const WINDOW_LOG: u32 = 23;
const LEVEL: i32 = 6;

const END: u8 = 0;
const ACCOUNT: u8 = 1;
const SLOT: u8 = 2;
const CODE: u8 = 3;

/// One item of a state. Accounts come in the order of their addresses, each followed by its slots in order; then all codes
/// in the order of their hashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    Account(Address, AccountInfo),
    /// Slot and value, of the account that came last.
    Slot(U256, U256),
    Code(Bytes),
}

/// Numbers of what an archive holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub accounts: u64,
    pub slots: u64,
    pub codes: u64,
}

impl Counts {
    fn count(&mut self, entry: &Entry) {
        *match entry {
            Entry::Account(..) => &mut self.accounts,
            Entry::Slot(..) => &mut self.slots,
            Entry::Code(_) => &mut self.codes,
        } += 1;
    }
}

/// Why a file is not read, by what its owner can do.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("not a snapshot: name a file that `annex snapshot export` wrote")]
    NotAnArchive,
    #[error(
        "the snapshot has format {0}, this version reads {VERSION}: use the version that wrote it"
    )]
    Version(u32),
    #[error("the snapshot ends early: get the whole file again")]
    Truncated,
    #[error("the snapshot is damaged ({0}): get it again, or from somebody else")]
    Damaged(&'static str),
    #[error("the snapshot cannot be read: {0}")]
    Io(io::Error),
}

/// Writes an archive to `out`.
pub struct ArchiveWriter<W: Write> {
    out: write::Encoder<'static, W>,
    counts: Counts,
}

impl<W: Write> ArchiveWriter<W> {
    /// Begins a file. What the preamble means is the caller's business; it has at most [`MAX_PREAMBLE`] bytes.
    pub fn new(mut out: W, preamble: &[u8]) -> io::Result<Self> {
        if preamble.len() > MAX_PREAMBLE {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        out.write_all(&MAGIC)?;
        out.write_all(&VERSION.to_be_bytes())?;
        let mut out = write::Encoder::new(out, LEVEL)?;
        out.include_checksum(true)?;
        out.window_log(WINDOW_LOG)?;
        out.write_all(&(preamble.len() as u32).to_be_bytes())?;
        out.write_all(preamble)?;
        Ok(Self { out, counts: Counts::default() })
    }

    pub fn push(&mut self, entry: &Entry) -> io::Result<()> {
        self.counts.count(entry);
        let mut bytes = Vec::with_capacity(96);
        match entry {
            Entry::Account(address, info) => {
                bytes.push(ACCOUNT);
                bytes.extend(address);
                number(&mut bytes, U256::from(info.nonce));
                number(&mut bytes, info.balance);
                bytes.push(u8::from(info.code_hash != KECCAK_EMPTY));
                if info.code_hash != KECCAK_EMPTY {
                    bytes.extend(info.code_hash);
                }
            }
            Entry::Slot(slot, value) => {
                bytes.push(SLOT);
                number(&mut bytes, *slot);
                number(&mut bytes, *value);
            }
            Entry::Code(code) => {
                bytes.push(CODE);
                bytes.extend((code.len() as u32).to_be_bytes());
                bytes.extend(code);
            }
        }
        self.out.write_all(&bytes)
    }

    /// Ends the file and hands back what was written to.
    pub fn finish(mut self) -> io::Result<(W, Counts)> {
        let Counts { accounts, slots, codes } = self.counts;
        self.out.write_all(&[END])?;
        for count in [accounts, slots, codes] {
            self.out.write_all(&count.to_be_bytes())?;
        }
        Ok((self.out.finish()?, self.counts))
    }
}

/// Length in one byte, then big-endian bytes without leading zeros.
fn number(out: &mut Vec<u8>, value: U256) {
    let bytes = value.to_be_bytes_trimmed_vec();
    out.push(bytes.len() as u8);
    out.extend(bytes);
}

/// Reads an archive.
pub struct ArchiveReader<R: BufRead> {
    input: Bounded<R>,
    preamble: Vec<u8>,
    last: Last,
    /// Codes that accounts name and that did not come yet.
    needed: BTreeSet<B256>,
    counts: Counts,
}

/// What came last, which the next entry has to follow.
#[derive(Clone, Copy)]
enum Last {
    Nothing,
    Account(Address),
    Slot(Address, U256),
    Code(B256),
    End,
}

impl<R: BufRead> ArchiveReader<R> {
    pub fn new(mut input: R) -> Result<Self, ArchiveError> {
        let (mut magic, mut version) = ([0; 8], [0; 4]);
        let begins = input.read_exact(&mut magic).and_then(|()| input.read_exact(&mut version));
        match begins {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(ArchiveError::NotAnArchive);
            }
            result => result.map_err(ArchiveError::Io)?,
        }
        if magic != MAGIC {
            return Err(ArchiveError::NotAnArchive);
        }
        if version != VERSION.to_be_bytes() {
            return Err(ArchiveError::Version(u32::from_be_bytes(version)));
        }
        let mut input = Bounded::new(input)?;
        let length = u32::from_be_bytes(input.array()?) as usize;
        if length > MAX_PREAMBLE {
            return Err(ArchiveError::Damaged("preamble"));
        }
        let preamble = input.bytes(length)?;
        let (last, needed, counts) = (Last::Nothing, BTreeSet::new(), Counts::default());
        Ok(Self { input, preamble, last, needed, counts })
    }

    pub fn preamble(&self) -> &[u8] {
        &self.preamble
    }

    /// What was read so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The next entry; `None` at the end, where everything was as it should be.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, ArchiveError> {
        if matches!(self.last, Last::End) {
            return Ok(None);
        }
        let [tag] = self.input.array()?;
        let entry = match tag {
            ACCOUNT => self.account()?,
            SLOT => self.slot()?,
            CODE => self.code()?,
            END => {
                self.end()?;
                return Ok(None);
            }
            _ => return Err(ArchiveError::Damaged("entry")),
        };
        self.counts.count(&entry);
        Ok(Some(entry))
    }

    fn account(&mut self) -> Result<Entry, ArchiveError> {
        let address = Address::new(self.input.array()?);
        let follows = match self.last {
            Last::Nothing => true,
            Last::Account(last) | Last::Slot(last, _) => last < address,
            Last::Code(_) | Last::End => false,
        };
        let nonce = self.input.number()?.try_into();
        let nonce = nonce.map_err(|_| ArchiveError::Damaged("nonce"))?;
        let balance = self.input.number()?;
        let code_hash = match self.input.array()? {
            [0] => KECCAK_EMPTY,
            [1] => B256::new(self.input.array()?),
            _ => return Err(ArchiveError::Damaged("account")),
        };
        let info = AccountInfo { nonce, balance, code_hash };
        if !follows || info.is_empty() {
            return Err(ArchiveError::Damaged("account"));
        }
        if code_hash != KECCAK_EMPTY {
            self.needed.insert(code_hash);
        }
        self.last = Last::Account(address);
        Ok(Entry::Account(address, info))
    }

    fn slot(&mut self) -> Result<Entry, ArchiveError> {
        let (slot, value) = (self.input.number()?, self.input.number()?);
        let owner = match self.last {
            Last::Account(owner) => Some(owner),
            Last::Slot(owner, last) if last < slot => Some(owner),
            _ => None,
        };
        let owner = owner.filter(|_| !value.is_zero()).ok_or(ArchiveError::Damaged("slot"))?;
        self.last = Last::Slot(owner, slot);
        Ok(Entry::Slot(slot, value))
    }

    fn code(&mut self) -> Result<Entry, ArchiveError> {
        let length = u32::from_be_bytes(self.input.array()?) as usize;
        if length > MAX_CODE {
            return Err(ArchiveError::Damaged("code"));
        }
        let code = self.input.bytes(length)?;
        let hash = keccak256(&code);
        let follows = !matches!(self.last, Last::Code(last) if last >= hash);
        if !follows || !self.needed.remove(&hash) {
            return Err(ArchiveError::Damaged("code"));
        }
        self.last = Last::Code(hash);
        Ok(Entry::Code(code.into()))
    }

    fn end(&mut self) -> Result<(), ArchiveError> {
        let Counts { accounts, slots, codes } = self.counts;
        for count in [accounts, slots, codes] {
            if self.input.array()? != count.to_be_bytes() {
                return Err(ArchiveError::Damaged("counts"));
            }
        }
        if !self.needed.is_empty() {
            return Err(ArchiveError::Damaged("a code is missing"));
        }
        self.last = Last::End;
        self.input.end()
    }
}

/// Decompresses what comes to no more than a multiple of what went in.
struct Bounded<R: BufRead> {
    decoder: read::Decoder<'static, Counted<R>>,
    /// Bytes that came out.
    out: u64,
}

impl<R: BufRead> Bounded<R> {
    fn new(input: R) -> Result<Self, ArchiveError> {
        let input = Counted { input, count: 0 };
        let mut decoder =
            read::Decoder::with_buffer(input).map_err(ArchiveError::Io)?.single_frame();
        decoder.window_log_max(WINDOW_LOG).map_err(ArchiveError::Io)?;
        Ok(Self { decoder, out: 0 })
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), ArchiveError> {
        self.decoder.read_exact(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => ArchiveError::Truncated,
            // What zstd says of bytes that are none of its own.
            io::ErrorKind::Other | io::ErrorKind::InvalidData => ArchiveError::Damaged("zstd"),
            _ => ArchiveError::Io(error),
        })?;
        self.out += buffer.len() as u64;
        // What is buffered by zstd has been counted, so a small file is not refused for its beginning.
        match self.out > MAX_RATIO * (self.decoder.get_ref().count + 1_024) {
            true => Err(ArchiveError::Damaged("it grows without bound")),
            false => Ok(()),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ArchiveError> {
        let mut array = [0; N];
        self.fill(&mut array)?;
        Ok(array)
    }

    /// As many bytes, allocated as they come.
    fn bytes(&mut self, length: usize) -> Result<Vec<u8>, ArchiveError> {
        const PIECE: usize = 1 << 16;
        let mut bytes = Vec::new();
        while bytes.len() < length {
            let start = bytes.len();
            bytes.resize(start + PIECE.min(length - start), 0);
            self.fill(&mut bytes[start..])?;
        }
        Ok(bytes)
    }

    fn number(&mut self) -> Result<U256, ArchiveError> {
        let [length] = self.array()?;
        let mut bytes = [0; 32];
        let used = bytes.get_mut(..usize::from(length)).ok_or(ArchiveError::Damaged("number"))?;
        self.fill(used)?;
        match used.first() {
            Some(0) => Err(ArchiveError::Damaged("number")),
            _ => Ok(U256::from_be_slice(used)),
        }
    }

    /// Nothing may follow.
    fn end(&mut self) -> Result<(), ArchiveError> {
        let mut byte = [0];
        let damaged = || ArchiveError::Damaged("bytes after the end");
        let more = self.decoder.read(&mut byte).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => ArchiveError::Truncated,
            io::ErrorKind::Other | io::ErrorKind::InvalidData => ArchiveError::Damaged("checksum"),
            _ => ArchiveError::Io(error),
        })?;
        let rest = &mut self.decoder.get_mut().input;
        match more == 0 && rest.fill_buf().map_err(ArchiveError::Io)?.is_empty() {
            true => Ok(()),
            false => Err(damaged()),
        }
    }
}

/// Counts the bytes that are taken.
struct Counted<R> {
    input: R,
    count: u64,
}

impl<R: BufRead> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.count += count as u64;
        Ok(count)
    }
}

impl<R: BufRead> BufRead for Counted<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.input.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.count += count as u64;
        self.input.consume(count);
    }
}

#[cfg(test)]
mod tests;
