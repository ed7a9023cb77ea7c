//! The fast face: decoded instructions, straight-line runs, incremental hashing.

use alloy_primitives::B256;

use crate::elf::Program;
use crate::execute::{Flow, Registers, execute};
use crate::instruction::{Instruction, op};
use crate::memory::{Memory, PAGE, SEGMENT, SEGMENT_BITS, SEGMENTS, nothing, zeroes};
use crate::state::{Halt, Host, State, Status, Trap, WORDS};

/// Instructions of a segment.
const SLOTS: usize = SEGMENT / 4;
/// Decoded instructions of a segment by their place; zero where nothing was decoded.
type Code = Box<[u64; SLOTS]>;

/// The longest write that is shown; longer ones are cut. It bounds the work of one instruction.
const SHOWN: u64 = 1 << 20;

/// A machine that runs.
pub struct Machine {
    pub(crate) state: State,
    pub(crate) memory: Memory,
    pub(crate) steps: u64,
    pub(crate) trap: Option<Trap>,
    code: Box<[Option<Code>; SEGMENTS]>,
}

/// Why a sprint over decoded instructions ended. The machine stands before the instruction.
enum Pause {
    /// At most one step is left.
    Budget,
    /// Another segment, or no place for code at all.
    Away,
    Undecoded,
    /// A store may have changed what was decoded.
    Stale,
    /// A system call or a trap, which `State::step` handles.
    Special,
}

impl Machine {
    /// A program's first state.
    pub fn boot(program: &Program, input: B256) -> Self {
        let mut memory = Memory::new();
        for (address, bytes) in program.segments() {
            let mut at = address;
            let mut rest = bytes;
            while !rest.is_empty() {
                let length = (PAGE - at as usize % PAGE).min(rest.len());
                memory.write(at, &rest[..length]);
                rest = &rest[length..];
                at = at.wrapping_add(length as u32);
            }
        }
        Self::from_parts(State::boot(program.entry(), input), memory, 0)
    }

    pub(crate) fn from_parts(state: State, memory: Memory, steps: u64) -> Self {
        Self { state, memory, steps, trap: None, code: nothing() }
    }

    /// Runs until the machine halts, or `max_steps` are done. Returns the steps done, of which
    /// none follows a halt. After an error of the host the machine stands before the step that
    /// needed it.
    pub fn run<H: Host>(&mut self, host: &mut H, max_steps: u64) -> Result<u64, H::Error> {
        let begin = self.steps;
        let end = begin.saturating_add(max_steps);
        while self.state.status == Status::Running && self.steps < end {
            let pause = match self.sprint(end - self.steps) {
                Pause::Undecoded => {
                    self.decode();
                    continue;
                }
                Pause::Stale => {
                    self.forget_stale();
                    continue;
                }
                pause => pause,
            };
            if matches!(pause, Pause::Away) && self.state.fetchable() {
                continue;
            }
            self.single(host)?;
        }
        Ok(self.steps - begin)
    }

    /// One step by the function that the proving face uses too.
    fn single<H: Host>(&mut self, host: &mut H) -> Result<(), H::Error> {
        self.show(host);
        match self.state.step(&mut self.memory, host) {
            Ok(trap) => self.trap = trap,
            Err(Halt::Host(error)) => return Err(error),
            Err(Halt::Bus(never)) => match never {},
        }
        self.steps += 1;
        self.forget_stale();
        Ok(())
    }

    /// Hands what the next step writes to the host.
    fn show<H: Host>(&self, host: &mut H) {
        let Some(write) = self.state.pending_write() else { return };
        if !self.state.fetchable() || self.instruction().op() != op::ECALL {
            return;
        }
        let (fd, address, length) = write;
        let mut piece = [0; PAGE];
        let mut done = 0;
        while done < length.min(SHOWN) {
            let wanted = (length.min(SHOWN) - done).min(PAGE as u64) as usize;
            let copied = self.memory.read(address.saturating_add(done), &mut piece[..wanted]);
            if copied == 0 {
                return;
            }
            host.write(fd, &piece[..copied]);
            done += copied as u64;
        }
    }

    /// The instruction at `pc`, which must be fetchable.
    fn instruction(&self) -> Instruction {
        let mut word = [0; 4];
        self.memory.read(self.state.pc, &mut word);
        Instruction::decode(u32::from_le_bytes(word))
    }

    /// Decodes the instruction at `pc` into its slot.
    #[cold]
    fn decode(&mut self) {
        let instruction = self.instruction();
        let at = self.state.pc as u32;
        self.memory.mark_code(at);
        let code = self.code[(at >> SEGMENT_BITS) as usize].get_or_insert_with(|| zeroes(0));
        code[at as usize % SEGMENT / 4] = instruction.0;
    }

    /// Empties the slots that the last store may have changed.
    pub(crate) fn forget_stale(&mut self) {
        let Some((address, length)) = self.memory.take_stale() else { return };
        let Some(code) = &mut self.code[(address >> SEGMENT_BITS) as usize] else { return };
        let first = address as usize % SEGMENT / 4;
        let last = (address as usize % SEGMENT + length - 1) / 4;
        code[first..=last].fill(Instruction::UNDECODED);
    }

    /// Runs decoded instructions while that is all there is to do, at most `budget` of them.
    fn sprint(&mut self, budget: u64) -> Pause {
        if !self.state.fetchable() {
            return Pause::Away;
        }
        let segment = (self.state.pc >> SEGMENT_BITS) as usize;
        let Some(code) = &self.code[segment] else { return Pause::Undecoded };
        let base = self.state.pc & !(SEGMENT as u64 - 1);
        let start = (self.state.pc - base) as usize / 4;
        let registers = &mut self.state.registers;
        let ran = run_segment(registers, &mut self.memory, code, base, start, budget);
        self.steps += ran.steps;
        self.state.pc = ran.pc;
        ran.pause
    }

    /// Whether the machine still runs.
    pub fn status(&self) -> Status {
        self.state.status
    }

    /// The code with which the program exited; 0 unless it did.
    pub fn exit_code(&self) -> u8 {
        self.state.exit_code
    }

    /// Instructions executed since boot; what trapped counts.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// What the program gave as its output; zero until then.
    pub fn output(&self) -> B256 {
        self.state.output
    }

    /// What the machine was booted with.
    pub fn input(&self) -> B256 {
        self.state.input
    }

    /// Address of the next instruction.
    pub fn pc(&self) -> u64 {
        self.state.pc
    }

    /// Why the machine trapped, if it did since it was booted or restored.
    pub fn trap(&self) -> Option<Trap> {
        self.trap
    }

    /// Value of `x0` … `x31`; zero for other numbers.
    pub fn register(&self, number: usize) -> u64 {
        self.state.registers.get(number).copied().filter(|_| number < 32).unwrap_or_default()
    }

    /// Copies memory from `address` on and returns how many bytes there were: it ends at 2^32.
    pub fn read_memory(&self, address: u64, bytes: &mut [u8]) -> usize {
        self.memory.read(address, bytes)
    }

    /// Bytes of the 4 KiB pages that were ever written, the program's segments included.
    pub fn resident_bytes(&self) -> u64 {
        (self.memory.resident_pages().len() * PAGE) as u64
    }

    /// The Merkle root of memory. Costs hashing of what changed since it was last asked for.
    pub fn memory_root(&mut self) -> B256 {
        B256::new(self.memory.root())
    }

    /// The twelve words that [`Machine::state_hash`] hashes (spec/machine.md, "State").
    pub fn state_words(&mut self) -> [u8; WORDS] {
        let root = self.memory_root();
        self.state.words(root)
    }

    /// The state hash. Costs hashing of what changed since it was last asked for.
    pub fn state_hash(&mut self) -> B256 {
        let root = self.memory_root();
        self.state.hash(root)
    }
}

struct Ran {
    steps: u64,
    pc: u64,
    pause: Pause,
}

/// Instructions are counted by their distance from where the straight line began, so that
/// counting costs nothing until a jump.
fn run_segment(
    registers: &mut Registers,
    memory: &mut Memory,
    code: &[u64; SLOTS],
    base: u64,
    start: usize,
    budget: u64,
) -> Ran {
    // Where a line must end, leaving the last step to be made singly.
    let limit = |start: usize, left: u64| SLOTS.min(start.saturating_add(left as usize - 1));
    let mut line_start = start;
    let mut left = budget;
    let mut line = &code[..limit(start, left)];
    let mut at = start;
    let (at, pc, pause) = loop {
        let pc = base + 4 * at as u64;
        let Some(slot) = line.get(at) else {
            break (at, pc, if line.len() == SLOTS { Pause::Away } else { Pause::Budget });
        };
        let Ok(flow) = execute(Instruction(*slot), pc, registers, memory);
        match flow {
            Flow::Next => at += 1,
            Flow::Jump(target) => {
                left -= (at + 1 - line_start) as u64;
                if target.wrapping_sub(base) >= SEGMENT as u64 {
                    line_start = at + 1;
                    break (at + 1, target, Pause::Away);
                }
                at = (target - base) as usize / 4;
                line_start = at;
                line = &code[..limit(at, left)];
            }
            Flow::Stored => break (at + 1, pc + 4, Pause::Stale),
            Flow::Undecoded => break (at, pc, Pause::Undecoded),
            Flow::Call | Flow::Trap(_) => break (at, pc, Pause::Special),
        }
    };
    let steps = budget - left + (at - line_start) as u64;
    Ran { steps, pc, pause }
}
