//! The same step in the machine of spec/machine.md: run, one instruction proved, all states committed to.

use super::{Claim, VerifyError};
use crate::saved::SaveFile;
use alloy_primitives::{B256, keccak256};
use annex_claim::{Kind, Missing, Preimages, fault_leaf};
use annex_riscv::{
    Commitment, Committer, Host, Machine, PreimageKind, Program, Progress, Shape, SnapshotError,
    Status, StepProof,
};
use annex_settle::{MAX_MEMORY, Preimage};
use std::{
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Instructions after which nobody waits any longer (spec/claim.md, "Output").
pub const MAX_STEPS: u64 = 1 << 40;
/// Instructions between two reports of progress.
const SLICE: u64 = 1 << 24;
/// Bytes of what the program prints that are kept.
const MAX_PRINTED: usize = 4_096;

/// The preimages with which the native step was taken, for the machine.
struct Source<'a> {
    preimages: annex_settle::Source<'a>,
    /// Stop at the first call of this kind.
    until: Option<PreimageKind>,
    printed: Vec<u8>,
}

/// Why the machine stands still.
enum Stop {
    Missing(Missing),
    Wanted,
}

impl<'a> Source<'a> {
    fn new(preimages: &'a Preimages) -> Self {
        let preimages = annex_settle::Source::new(preimages);
        Self { preimages, until: None, printed: Vec::new() }
    }
}

impl Host for Source<'_> {
    type Error = Stop;

    fn preimage(
        &mut self,
        kind: PreimageKind,
        key: B256,
        offset: u32,
    ) -> Result<(B256, u64), Stop> {
        if self.until == Some(kind) {
            return Err(Stop::Wanted);
        }
        self.preimages.preimage(kind, key, offset).map_err(Stop::Missing)
    }

    fn write(&mut self, _: u64, bytes: &[u8]) {
        let room = MAX_PRINTED.saturating_sub(self.printed.len());
        self.printed.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

fn refused(stop: Stop) -> VerifyError {
    match stop {
        Stop::Missing(Missing { kind, key }) => VerifyError::Program { kind, key },
        Stop::Wanted => VerifyError::NoPreimageCall,
    }
}

/// What a whole run came to.
#[derive(Clone, Debug)]
pub struct MachineRun {
    pub leaf: B256,
    /// Whether the program ended as it should; else `leaf` is FAULT.
    pub succeeded: bool,
    pub steps: u64,
    pub time: Duration,
    /// Bytes of memory that were ever written.
    pub resident: u64,
    /// What the program printed.
    pub printed: String,
}

/// Runs the step to its end, or for `max_steps` instructions ([`MAX_STEPS`] is the rule). `progress` is told the instructions
/// so far.
pub fn run(
    program: &Program,
    claim: &Claim,
    max_steps: u64,
    mut progress: impl FnMut(u64),
) -> Result<MachineRun, VerifyError> {
    let mut source = Source::new(&claim.preimages);
    let begin = Instant::now();
    let mut machine = Machine::boot(program, claim.input.hash());
    while machine.status() == Status::Running && machine.steps() < max_steps {
        machine.run(&mut source, SLICE.min(max_steps - machine.steps())).map_err(refused)?;
        progress(machine.steps());
    }
    let time = begin.elapsed();
    let succeeded = machine.status() == Status::Exited && machine.exit_code() == 0;
    Ok(MachineRun {
        leaf: if succeeded { machine.output() } else { fault_leaf(claim.input.leaf()) },
        succeeded,
        steps: machine.steps(),
        time,
        resident: machine.resident_bytes(),
        printed: String::from_utf8_lossy(&source.printed).into_owned(),
    })
}

/// Which instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The one after so many others.
    At(u64),
    /// The first preimage call of a kind.
    Preimage(Kind),
}

/// An instruction with its proof.
#[derive(Clone, Debug)]
pub struct ProvedStep {
    /// Instructions before it.
    pub index: u64,
    pub pc: u64,
    pub instruction: u32,
    pub proof: StepProof,
    /// If it is a preimage call that succeeds.
    pub preimage: Option<Preimage>,
}

/// Runs up to an instruction and proves that.
pub fn prove(
    program: &Program,
    claim: &Claim,
    step: Step,
    mut progress: impl FnMut(u64),
) -> Result<ProvedStep, VerifyError> {
    let mut source = Source::new(&claim.preimages);
    let end = match step {
        Step::At(index) => index,
        Step::Preimage(kind) => {
            source.until = Some(match kind {
                Kind::Keccak => PreimageKind::Keccak,
                Kind::Blob => PreimageKind::Blob,
            });
            MAX_STEPS
        }
    };
    let mut machine = Machine::boot(program, claim.input.hash());
    while machine.status() == Status::Running && machine.steps() < end {
        match machine.run(&mut source, SLICE.min(end - machine.steps())) {
            Ok(_) => progress(machine.steps()),
            Err(Stop::Wanted) => break,
            Err(stop) => return Err(refused(stop)),
        }
    }
    let index = machine.steps();
    if machine.status() != Status::Running {
        return Err(match step {
            Step::At(asked) => VerifyError::PastEnd { asked, steps: index },
            Step::Preimage(_) => VerifyError::NoPreimageCall,
        });
    }
    (source.until, source.preimages.last) = (None, None);
    let pc = machine.pc();
    let mut instruction = [0; 4];
    machine.read_memory(pc, &mut instruction);
    let proof = machine.prove_step(&mut source).map_err(refused)?;
    let instruction = u32::from_le_bytes(instruction);
    Ok(ProvedStep { index, pc, instruction, proof, preimage: source.preimages.last })
}

/// Why there is no commitment.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    #[error(transparent)]
    Run(VerifyError),
    #[error("{path}: {source}", path = .path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{path} is of another run; remove it or choose another file", path = .path.display())]
    OtherRun { path: PathBuf },
    #[error("{path} cannot be resumed: {source}; remove it to begin again", path = .path.display())]
    Snapshot { path: PathBuf, source: SnapshotError },
}

/// Commits to the states of a run. What is done is kept in `file` and found there again after an interruption; the file is
/// removed at the end.
pub fn commit(
    program: &Program,
    claim: &Claim,
    shape: Shape,
    file: &Path,
    mut progress: impl FnMut(Progress),
) -> Result<Commitment, CommitError> {
    let path = || file.to_path_buf();
    let input = claim.input.hash();
    let name = keccak256([program.boot_state_hash(input), input].concat());
    let failed = |source| CommitError::File { path: path(), source };
    let mut kept = SaveFile::new(file);
    let mut committer = match kept.read().map_err(failed)? {
        Some(bytes) => {
            let other = || CommitError::OtherRun { path: path() };
            let (found, rest) = bytes.split_first_chunk::<32>().ok_or_else(other)?;
            if *found != name {
                return Err(other());
            }
            Committer::restore(rest, shape, MAX_MEMORY)
                .map_err(|source| CommitError::Snapshot { path: path(), source })?
        }
        None => Committer::new(Machine::boot(program, input), shape),
    };
    let mut source = Source::new(&claim.preimages);
    loop {
        let done = committer.advance(&mut source, 1, &mut progress);
        if done.map_err(|stop| CommitError::Run(refused(stop)))? {
            break;
        }
        if kept.is_due() {
            let mut bytes = name.to_vec();
            committer.save(&mut bytes);
            kept.write(&bytes).map_err(failed)?;
        }
    }
    kept.remove().map_err(failed)?;
    let Ok((commitment, _)) = committer.finish() else {
        unreachable!("advance() said that it is complete");
    };
    Ok(commitment)
}
