//! The same step in the machine of spec/machine.md: run, one instruction proved, all states committed to.

use super::{Claim, VerifyError};
use alloy_primitives::{B256, Bytes, U256, keccak256};
use annex_claim::{Kind, Missing, PreimageSource, Preimages, fault_leaf};
use annex_riscv::{
    Commitment, Committer, Host, Machine, PreimageKind, Program, Progress, Shape, SnapshotError,
    Status, StepProof,
};
use c_kzg::ethereum_kzg_settings;
use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Instructions after which nobody waits any longer (spec/claim.md, "Output").
pub const MAX_STEPS: u64 = 1 << 40;
/// Instructions between two reports of progress.
const SLICE: u64 = 1 << 24;
/// Bytes of what the program prints that are kept.
const MAX_PRINTED: usize = 4_096;
/// Memory of the machine.
const MAX_MEMORY: u64 = 1 << 32;
/// Time between two saves of an unfinished commitment.
const SAVE_INTERVAL: Duration = Duration::from_secs(20);

/// A preimage call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preimage {
    pub kind: Kind,
    pub key: B256,
    pub offset: u32,
}

/// The preimages with which the native step was taken, for the machine.
struct Source<'a> {
    preimages: &'a Preimages,
    /// The last call.
    last: Option<Preimage>,
    /// Stop at the first call of this kind.
    until: Option<Kind>,
    printed: Vec<u8>,
}

/// Why the machine stands still.
enum Stop {
    Missing(Missing),
    Wanted,
}

impl<'a> Source<'a> {
    fn new(preimages: &'a Preimages) -> Self {
        Self { preimages, last: None, until: None, printed: Vec::new() }
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
        let kind = match kind {
            PreimageKind::Keccak => Kind::Keccak,
            PreimageKind::Blob => Kind::Blob,
        };
        self.last = Some(Preimage { kind, key, offset });
        if self.until == Some(kind) {
            return Err(Stop::Wanted);
        }
        self.preimages.word(kind, key, offset).map_err(Stop::Missing)
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
            source.until = Some(kind);
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
    (source.until, source.last) = (None, None);
    let pc = machine.pc();
    let mut instruction = [0; 4];
    machine.read_memory(pc, &mut instruction);
    let proof = machine.prove_step(&mut source).map_err(refused)?;
    let instruction = u32::from_le_bytes(instruction);
    Ok(ProvedStep { index, pc, instruction, proof, preimage: source.last })
}

/// What the oracle on L1 has to be told before it can answer a preimage call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Arguments of `loadKeccakPart`.
    Keccak { offset: U256, data: Bytes },
    /// Arguments of `loadBlobElement`.
    Blob { versioned_hash: B256, index: U256, element: B256, commitment: Bytes, proof: Bytes },
}

/// The part that a call reads; none where the oracle knows the answer anyway.
pub fn load_part(preimages: &Preimages, call: Preimage) -> Result<Option<Part>, PartError> {
    let Preimage { kind, key, offset } = call;
    match kind {
        Kind::Keccak => {
            let data = preimages.keccak(key)?;
            // Beyond the end any part will do: it tells the length.
            let offset = if offset as usize >= data.len() { 0 } else { offset };
            Ok(Some(Part::Keccak { offset: U256::from(offset), data }))
        }
        Kind::Blob => {
            let blob = preimages.blob(key)?;
            if offset as usize >= blob.len() {
                return Ok(None);
            }
            let index = offset / 32;
            let blob = c_kzg::Blob::from_bytes(blob.as_slice())?;
            let settings = ethereum_kzg_settings(0);
            let point = c_kzg::Bytes32::new(point_of(index).to_be_bytes());
            let commitment = settings.blob_to_kzg_commitment(&blob)?;
            let (proof, element) = settings.compute_kzg_proof(&blob, &point)?;
            Ok(Some(Part::Blob {
                versioned_hash: key,
                index: U256::from(index),
                element: B256::new(*element),
                commitment: Bytes::copy_from_slice(commitment.as_slice()),
                proof: Bytes::copy_from_slice(proof.as_slice()),
            }))
        }
    }
}

/// Why a part cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum PartError {
    #[error(transparent)]
    Missing(#[from] Missing),
    #[error("KZG: {0}")]
    Kzg(#[from] c_kzg::Error),
}

/// Where a blob's polynomial takes the value of element `index` (spec/machine.md, "PreimageOracle").
fn point_of(index: u32) -> U256 {
    /// Order of the scalar field of BLS12-381.
    const MODULUS: U256 = alloy_primitives::uint!(
        0x73eda753299d7d483339d80809a1d80553bda402fffe5bfeffffffff00000001_U256
    );
    /// EIP-4844's 4,096th root of unity.
    const ROOT: U256 = alloy_primitives::uint!(
        0x564c0a11a0f704f4fc3e8acfe0f8245f0ad1347b378fbf96e206da11a5d36306_U256
    );
    let reversed = (index << 20).reverse_bits();
    ROOT.pow_mod(U256::from(reversed), MODULUS)
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
    let mut committer = match fs::read(file) {
        Ok(bytes) => {
            let other = || CommitError::OtherRun { path: path() };
            let (found, rest) = bytes.split_first_chunk::<32>().ok_or_else(other)?;
            if *found != name {
                return Err(other());
            }
            Committer::restore(rest, shape, MAX_MEMORY)
                .map_err(|source| CommitError::Snapshot { path: path(), source })?
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Committer::new(Machine::boot(program, input), shape)
        }
        Err(source) => return Err(CommitError::File { path: path(), source }),
    };
    let failed = |source| CommitError::File { path: path(), source };
    let mut source = Source::new(&claim.preimages);
    let mut saved = Instant::now();
    loop {
        let done = committer.advance(&mut source, 1, &mut progress);
        if done.map_err(|stop| CommitError::Run(refused(stop)))? {
            break;
        }
        if saved.elapsed() > SAVE_INTERVAL {
            save(&mut committer, name, file).map_err(failed)?;
            saved = Instant::now();
        }
    }
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let Ok((commitment, _)) = committer.finish() else {
        unreachable!("advance() said that it is complete");
    };
    Ok(commitment)
}

/// Writes the file as a whole or not at all.
fn save(committer: &mut Committer, name: B256, file: &Path) -> io::Result<()> {
    let mut bytes = name.to_vec();
    committer.save(&mut bytes);
    let temporary = file.with_extension("tmp");
    fs::write(&temporary, bytes)?;
    fs::rename(temporary, file)
}
