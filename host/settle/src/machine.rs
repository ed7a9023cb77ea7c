//! What the machine of spec/machine.md has to say in a dispute: whole runs, strides, single instructions.

use crate::{Preimage, Run, Step, Tree};
use alloy_primitives::B256;
use annex_claim::{Kind, Missing, Preimages};
use annex_riscv::{Committer, Host, Machine, PreimageKind, Program, Shape, SnapshotError};

/// Memory of the machine, bytes.
pub const MAX_MEMORY: u64 = 1 << 32;

/// Answers calls from what the native step read, and notes the last one.
#[derive(Clone, Debug)]
pub struct Source<'a> {
    preimages: &'a Preimages,
    pub last: Option<Preimage>,
}

impl<'a> Source<'a> {
    pub fn new(preimages: &'a Preimages) -> Self {
        Self { preimages, last: None }
    }
}

impl Host for Source<'_> {
    type Error = Missing;

    fn preimage(
        &mut self,
        kind: PreimageKind,
        key: B256,
        offset: u32,
    ) -> Result<(B256, u64), Missing> {
        let kind = match kind {
            PreimageKind::Keccak => Kind::Keccak,
            PreimageKind::Blob => Kind::Blob,
        };
        self.last = Some(Preimage { kind, key, offset });
        self.preimages.word(kind, key, offset)
    }

    fn write(&mut self, _: u64, _: &[u8]) {}
}

/// Commits to the whole run of a step: [`Need::Run`](crate::Need::Run).
pub struct RunJob {
    committer: Committer,
}

impl RunJob {
    /// `input` is the hash of the step's [`ClaimInput`](annex_claim::ClaimInput).
    pub fn new(program: &Program, input: B256) -> Self {
        Self { committer: Committer::new(Machine::boot(program, input), Shape::RUN) }
    }

    /// Goes on for at most so many strides; true when all is known. After a missing preimage it can go on with more of them.
    pub fn advance(&mut self, preimages: &Preimages, strides: u64) -> Result<bool, Missing> {
        self.committer.advance(&mut Source::new(preimages), strides, |_| {})
    }

    /// Instructions so far.
    pub fn steps(&self) -> u64 {
        self.committer.machine().steps()
    }

    /// Appends everything to `bytes`, so that a later process can go on.
    pub fn save(&mut self, bytes: &mut Vec<u8>) {
        self.committer.save(bytes);
    }

    /// What [`RunJob::save`] wrote.
    pub fn restore(bytes: &[u8]) -> Result<Self, SnapshotError> {
        Ok(Self { committer: Committer::restore(bytes, Shape::RUN, MAX_MEMORY)? })
    }

    /// The run, if it is complete; else the job again.
    pub fn finish(self) -> Result<Run, Box<Self>> {
        match self.committer.finish() {
            Ok((commitment, mut machine)) => Ok(Run {
                tree: commitment.into_tree().into(),
                last: machine.state_words().to_vec().into(),
            }),
            Err(committer) => Err(Box::new(Self { committer: *committer })),
        }
    }
}

/// Commits to one stride: [`Need::Stride`](crate::Need::Stride), and then proves instructions of it:
/// [`Need::Step`](crate::Need::Step).
pub struct StrideJob {
    machine: Machine,
    /// Instructions before it.
    first: u64,
    /// The machine there, once it is reached.
    begin: Option<Vec<u8>>,
}

impl StrideJob {
    pub fn new(program: &Program, input: B256, stride: u64) -> Self {
        let first = stride.saturating_mul(Shape::RUN.stride());
        Self { machine: Machine::boot(program, input), first, begin: None }
    }

    /// Goes on for at most so many instructions; true when the machine stands at the stride.
    pub fn advance(&mut self, preimages: &Preimages, steps: u64) -> Result<bool, Missing> {
        if self.begin.is_some() {
            return Ok(true);
        }
        let left = self.first - self.machine.steps();
        let done = self.machine.run(&mut Source::new(preimages), left.min(steps))?;
        // Fewer than asked for: it has halted and will stand there for ever.
        if done < left.min(steps) || self.machine.steps() == self.first {
            let mut bytes = Vec::new();
            self.machine.save(&mut bytes);
            self.begin = Some(bytes);
        }
        Ok(self.begin.is_some())
    }

    /// Instructions so far.
    pub fn steps(&self) -> u64 {
        self.machine.steps()
    }

    /// The stride's tree.
    pub fn tree(&self, preimages: &Preimages) -> Result<Tree, StrideError> {
        let mut committer = Committer::new(self.at_stride()?, Shape::STRIDE);
        committer.advance(&mut Source::new(preimages), u64::MAX, |_| {})?;
        let Ok((commitment, _)) = committer.finish() else {
            unreachable!("without a limit it stops only when complete");
        };
        Ok(commitment.into_tree().into())
    }

    /// The proof of an instruction of the stride, by the number of those before it in the run.
    pub fn step(&self, preimages: &Preimages, instruction: u64) -> Result<Step, StrideError> {
        let within = instruction.checked_sub(self.first);
        let within = within.filter(|steps| *steps < Shape::STRIDE.leaves());
        let mut machine = self.at_stride()?;
        let mut source = Source::new(preimages);
        machine.run(&mut source, within.ok_or(StrideError::OtherStride)?)?;
        source.last = None;
        let proof = machine.prove_step(&mut source)?.bytes.into();
        Ok(Step { proof, call: source.last })
    }

    fn at_stride(&self) -> Result<Machine, StrideError> {
        let bytes = self.begin.as_ref().ok_or(StrideError::NotThere)?;
        Ok(Machine::restore(bytes, MAX_MEMORY)?)
    }
}

/// Why a stride gives no answer.
#[derive(Debug, thiserror::Error)]
pub enum StrideError {
    #[error(transparent)]
    Missing(#[from] Missing),
    #[error("the machine has not reached the stride yet")]
    NotThere,
    #[error("the instruction is of another stride")]
    OtherStride,
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
}
