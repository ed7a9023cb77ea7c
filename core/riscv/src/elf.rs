//! Programs: the part of ELF that spec/machine.md, "Boot", allows.

use alloy_primitives::B256;

use crate::Machine;

/// Why a file is no program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ElfError {
    #[error("not an ELF file, or cut off before its tables end")]
    NotElf,
    #[error("not a 64-bit little-endian RISC-V executable (type EXEC)")]
    WrongKind,
    #[error("program header {0}: a segment outside the file or beyond 2^32")]
    Segment(u16),
    #[error("program header {0}: a segment overlaps another one, in memory or in the file")]
    Overlap(u16),
}

struct Segment {
    address: u32,
    bytes: Vec<u8>,
}

/// A program, ready to boot.
pub struct Program {
    entry: u64,
    segments: Vec<Segment>,
}

const EXECUTABLE: u16 = 2;
const RISCV: u16 = 243;
const LOAD: u32 = 1;
const HEADER: usize = 56;

impl Program {
    /// Reads an ELF file. Memory is allocated for no more bytes than the file has.
    pub fn from_elf(file: &[u8]) -> Result<Self, ElfError> {
        if file.get(..4) != Some(b"\x7fELF") {
            return Err(ElfError::NotElf);
        }
        let small = |at| number(file, at, 2).map(|value| value as u16);
        let kind = (file.get(4..6), small(16)?, small(18)?);
        if kind != (Some(&[2, 1]), EXECUTABLE, RISCV) {
            return Err(ElfError::WrongKind);
        }
        let entry = number(file, 24, 8)?;
        let (table, size, count) = (number(file, 32, 8)?, small(54)?, small(56)?);
        if count > 0 && usize::from(size) != HEADER {
            return Err(ElfError::WrongKind);
        }
        let mut segments = Vec::new();
        let mut extents = Extents::default();
        for index in 0..count {
            let at = table.saturating_add(u64::from(index) * HEADER as u64);
            let at = usize::try_from(at).map_err(|_| ElfError::NotElf)?;
            let header = file.get(at..).and_then(|rest| rest.get(..HEADER));
            let header = header.ok_or(ElfError::NotElf)?;
            if number(header, 0, 4)? != u64::from(LOAD) {
                continue;
            }
            segments.extend(segment(file, header, index, &mut extents)?);
        }
        Ok(Self { entry, segments })
    }

    /// The root of memory at boot.
    pub fn memory_root(&self) -> B256 {
        Machine::boot(self, B256::ZERO).memory_root()
    }

    /// The hash of the first state of a run on `input`.
    pub fn boot_state_hash(&self, input: B256) -> B256 {
        Machine::boot(self, input).state_hash()
    }

    pub(crate) fn entry(&self) -> u64 {
        self.entry
    }

    /// Address and bytes of each segment; what follows the bytes is zero anyway.
    pub(crate) fn segments(&self) -> impl Iterator<Item = (u32, &[u8])> {
        self.segments.iter().map(|segment| (segment.address, &segment.bytes[..]))
    }
}

/// What earlier segments take of memory and file.
#[derive(Default)]
struct Extents {
    memory: Vec<(u64, u64)>,
    file: Vec<(u64, u64)>,
}

/// Adds `[start, end)` unless it meets what is there. Empty ones meet nothing.
fn claim(extents: &mut Vec<(u64, u64)>, start: u64, end: u64) -> bool {
    if start >= end {
        return true;
    }
    let at = extents.partition_point(|other| other.0 < start);
    let before = at.checked_sub(1).is_some_and(|before| extents[before].1 > start);
    let after = extents.get(at).is_some_and(|after| after.0 < end);
    if before || after {
        return false;
    }
    extents.insert(at, (start, end));
    true
}

fn segment(
    file: &[u8],
    header: &[u8],
    index: u16,
    extents: &mut Extents,
) -> Result<Option<Segment>, ElfError> {
    let [offset, address] = [number(header, 8, 8)?, number(header, 16, 8)?];
    let [in_file, in_memory] = [number(header, 32, 8)?, number(header, 40, 8)?];
    let ends = (address.checked_add(in_memory), offset.checked_add(in_file));
    let (Some(end), Some(file_end)) = ends else { return Err(ElfError::Segment(index)) };
    if end > 1 << 32 || in_file > in_memory || file_end > file.len() as u64 {
        return Err(ElfError::Segment(index));
    }
    let fits = claim(&mut extents.memory, address, end);
    if !fits || !claim(&mut extents.file, offset, file_end) {
        return Err(ElfError::Overlap(index));
    }
    if in_file == 0 {
        return Ok(None);
    }
    // In range: both ends were compared with the file's length and with 2^32.
    let bytes = file[offset as usize..file_end as usize].to_vec();
    Ok(Some(Segment { address: address as u32, bytes }))
}

/// A little-endian number of `length` ≤ 8 bytes.
fn number(bytes: &[u8], at: usize, length: usize) -> Result<u64, ElfError> {
    let bytes = bytes.get(at..at + length).ok_or(ElfError::NotElf)?;
    Ok(bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}
