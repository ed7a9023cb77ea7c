//! Everything of a state but its memory, the state hash, and one whole step on any bus.

use crate::execute::{Bus, Flow, Registers, execute};
use crate::instruction::Instruction;
use alloy_primitives::{B256, keccak256};

/// Bytes of the twelve words that are hashed.
pub(crate) const WORDS: usize = 384;
/// Where a stack begins: what lies above reads as zero, as `argc` and the rest of a Linux stack.
pub(crate) const STACK: u64 = 0xffff_f000;

/// Whether a machine runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Running,
    /// By system call, with an exit code.
    Exited,
    Trapped,
}

/// Why a machine trapped. Not part of the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Trap {
    #[error("no instruction can lie at this address")]
    Fetch,
    #[error("illegal instruction")]
    Illegal,
    #[error("load from {0:#x}: misaligned or out of memory")]
    Load(u64),
    #[error("store to {0:#x}: misaligned or out of memory")]
    Store(u64),
    #[error("jump to {0:#x}: misaligned")]
    Jump(u64),
    #[error("unknown system call {0}")]
    Call(u64),
    #[error("system call with the pointer {0:#x}: not a multiple of 32 below 2^32")]
    Pointer(u64),
    #[error("preimage at offset {0:#x}: not a multiple of 32 below 2^32")]
    Offset(u64),
    #[error("preimage of unknown kind {0}")]
    Kind(u64),
}

/// What a preimage's key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PreimageKind {
    /// 0: keccak of a byte string of at most 65,536 bytes.
    Keccak,
    /// 1: a blob's versioned hash; its 4,096 field elements, 32 bytes big-endian each.
    Blob,
}

/// What surrounds a machine.
pub trait Host {
    /// Why the host cannot go on, for example a preimage that it lacks.
    type Error;

    /// The 32 bytes of a preimage from `offset` (a multiple of 32) on, zero beyond its end, and
    /// its whole length in bytes.
    fn preimage(
        &mut self,
        kind: PreimageKind,
        key: B256,
        offset: u32,
    ) -> Result<(B256, u64), Self::Error>;

    /// What the program prints. It has no effect on the state; long writes come in pieces.
    fn write(&mut self, fd: u64, bytes: &[u8]);
}

/// Why a step was not made: the state is as before, except what the bus itself says.
#[derive(Debug)]
pub(crate) enum Halt<B, H> {
    Bus(B),
    Host(H),
}

/// A machine without its memory.
#[derive(Debug, Clone)]
pub(crate) struct State {
    pub pc: u64,
    pub registers: Registers,
    pub status: Status,
    pub exit_code: u8,
    pub input: B256,
    pub output: B256,
}

const A0: usize = 10;
const A1: usize = 11;
const A2: usize = 12;
const A3: usize = 13;
const A7: usize = 17;

pub(crate) const CALL_WRITE: u64 = 64;
const CALL_EXIT: u64 = 93;
const CALL_EXIT_GROUP: u64 = 94;
const CALL_INPUT: u64 = 0x1000;
const CALL_PREIMAGE: u64 = 0x1001;
const CALL_OUTPUT: u64 = 0x1002;

impl State {
    pub fn boot(entry: u64, input: B256) -> Self {
        let mut registers = [0; 256];
        registers[2] = STACK;
        Self {
            pc: entry,
            registers,
            status: Status::Running,
            exit_code: 0,
            input,
            output: B256::ZERO,
        }
    }

    /// The twelve words of spec/machine.md, "State hash".
    pub fn words(&self, memory_root: B256) -> [u8; WORDS] {
        let mut words = [0; WORDS];
        words[..8].copy_from_slice(&self.pc.to_be_bytes());
        for (slot, register) in words[8..256].chunks_exact_mut(8).zip(&self.registers[1..32]) {
            slot.copy_from_slice(&register.to_be_bytes());
        }
        words[286] = match self.status {
            Status::Running => 0,
            Status::Exited => 1,
            Status::Trapped => 2,
        };
        words[287] = self.exit_code;
        words[288..320].copy_from_slice(&memory_root[..]);
        words[320..352].copy_from_slice(&self.input[..]);
        words[352..].copy_from_slice(&self.output[..]);
        words
    }

    /// The state of twelve words, and its memory root; `None` if `W_8` is impossible.
    pub fn from_words(words: &[u8; WORDS]) -> Option<(Self, B256)> {
        let word = |at: usize| B256::from_slice(&words[at..at + 32]);
        if words[256..286].iter().any(|byte| *byte != 0) {
            return None;
        }
        let status = match (words[286], words[287]) {
            (0, 0) => Status::Running,
            (1, _) => Status::Exited,
            (2, 0) => Status::Trapped,
            _ => return None,
        };
        let mut wide = words[..256].chunks_exact(8).map(|bytes| {
            u64::from_be_bytes(bytes.try_into().expect("`chunks_exact` yields eight bytes"))
        });
        let pc = wide.next().unwrap_or_default();
        let mut registers = [0; 256];
        for (register, value) in registers[1..32].iter_mut().zip(wide) {
            *register = value;
        }
        let (input, output) = (word(320), word(352));
        let state = Self { pc, registers, status, exit_code: words[287], input, output };
        Some((state, word(288)))
    }

    pub fn hash(&self, memory_root: B256) -> B256 {
        keccak256(self.words(memory_root))
    }

    /// True if an instruction can be fetched.
    pub fn fetchable(&self) -> bool {
        self.pc & 3 == 0 && self.pc >> 32 == 0
    }

    /// One step, from the fetch on. Says why, if it trapped.
    pub fn step<B: Bus, H: Host>(
        &mut self,
        bus: &mut B,
        host: &mut H,
    ) -> Result<Option<Trap>, Halt<B::Error, H::Error>> {
        if self.status != Status::Running {
            return Ok(None);
        }
        if !self.fetchable() {
            return Ok(self.trap(Trap::Fetch));
        }
        let word = u32::from_le_bytes(bus.load(self.pc as u32).map_err(Halt::Bus)?);
        let instruction = Instruction::decode(word);
        let flow = execute(instruction, self.pc, &mut self.registers, bus).map_err(Halt::Bus)?;
        let trap = match flow {
            Flow::Next | Flow::Stored => None,
            Flow::Jump(target) => {
                self.pc = target;
                return Ok(None);
            }
            Flow::Call => self.call(bus, host)?.err(),
            Flow::Trap(trap) => Some(trap),
            Flow::Undecoded => unreachable!("`decode` leaves nothing undecoded"),
        };
        if let Some(trap) = trap {
            return Ok(self.trap(trap));
        }
        if self.status == Status::Running {
            self.pc = self.pc.wrapping_add(4);
        }
        Ok(None)
    }

    fn trap(&mut self, trap: Trap) -> Option<Trap> {
        self.status = Status::Trapped;
        Some(trap)
    }

    /// A system call; the inner error is a trap.
    fn call<B: Bus, H: Host>(
        &mut self,
        bus: &mut B,
        host: &mut H,
    ) -> Result<Result<(), Trap>, Halt<B::Error, H::Error>> {
        let a0 = self.registers[A0];
        match self.registers[A7] {
            CALL_EXIT | CALL_EXIT_GROUP => {
                self.status = Status::Exited;
                self.exit_code = a0 as u8;
            }
            CALL_WRITE => self.registers[A0] = self.registers[A2],
            CALL_PREIMAGE => return self.preimage(bus, host),
            CALL_INPUT => {
                let Some(at) = pointer(a0) else { return Ok(Err(Trap::Pointer(a0))) };
                bus.store(at, self.input.0).map_err(Halt::Bus)?;
                self.registers[A0] = 32;
            }
            CALL_OUTPUT => {
                let Some(at) = pointer(a0) else { return Ok(Err(Trap::Pointer(a0))) };
                self.output = B256::new(bus.load(at).map_err(Halt::Bus)?);
                self.registers[A0] = 32;
            }
            number => return Ok(Err(Trap::Call(number))),
        }
        Ok(Ok(()))
    }

    fn preimage<B: Bus, H: Host>(
        &mut self,
        bus: &mut B,
        host: &mut H,
    ) -> Result<Result<(), Trap>, Halt<B::Error, H::Error>> {
        let [a0, a1, offset] = [A0, A1, A2].map(|register| self.registers[register]);
        let Some(destination) = pointer(a0) else { return Ok(Err(Trap::Pointer(a0))) };
        let Some(key) = pointer(a1) else { return Ok(Err(Trap::Pointer(a1))) };
        let Some(offset) = pointer(offset) else { return Ok(Err(Trap::Offset(offset))) };
        let kind = match self.registers[A3] {
            0 => PreimageKind::Keccak,
            1 => PreimageKind::Blob,
            kind => return Ok(Err(Trap::Kind(kind))),
        };
        let key = B256::new(bus.load(key).map_err(Halt::Bus)?);
        let (word, length) = host.preimage(kind, key, offset).map_err(Halt::Host)?;
        bus.store(destination, word.0).map_err(Halt::Bus)?;
        self.registers[A0] = length;
        Ok(Ok(()))
    }

    /// File descriptor, address and length, if the next instruction is ECALL and the call is `write`.
    pub fn pending_write(&self) -> Option<(u64, u64, u64)> {
        (self.registers[A7] == CALL_WRITE).then_some((
            self.registers[A0],
            self.registers[A1],
            self.registers[A2],
        ))
    }
}

/// A multiple of 32 below 2^32.
fn pointer(value: u64) -> Option<u32> {
    u32::try_from(value).ok().filter(|value| value % 32 == 0)
}
