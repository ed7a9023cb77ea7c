//! Runs of the machine that a dispute asks for, one at a time, on a thread of their own.

use crate::{
    leaves::{Leaves, StepError},
    saved::SaveFile,
    verify::Claim,
};
use alloy_eips::eip4844::Blob;
use alloy_primitives::B256;
use annex_claim::{Kind, PreimageSource};
use annex_l1::L1Client;
use annex_riscv::Program;
use annex_settle::{Need, Opening, Range, Reason, Run, RunJob, Step, StrideError, StrideJob, Tree};
use std::{
    collections::{BTreeMap, VecDeque},
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};
use tokio::task::JoinHandle;

/// Instructions between two looks at whether to stop.
const SLICE: u64 = 1 << 24;
/// Binary logarithm of the instructions of a stride (spec/settlement.md, "Commitments").
const STRIDE_HEIGHT: u32 = 20;
/// Machines at strides that are kept.
const KEPT_STRIDES: usize = 4;

/// What a need is answered with.
pub(super) enum Answer {
    Range(Range),
    Opening(Opening),
    Run(Run),
    Stride(Tree),
    Step(Step),
}

/// What is being computed.
#[derive(Clone, Copy)]
pub(super) struct Running {
    pub need: Need,
    /// Instructions so far.
    pub steps: u64,
}

struct Job {
    need: Need,
    steps: Arc<AtomicU64>,
    task: JoinHandle<Result<Answer, Reason>>,
    _stop: StopOnDrop,
}

/// Threads cannot be aborted.
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

pub(super) struct Computer {
    shared: Arc<Shared>,
    job: Option<Job>,
}

struct Shared {
    client: L1Client,
    leaves: Leaves,
    program: Arc<Program>,
    /// Where unfinished and finished runs are kept for the next process.
    dir: PathBuf,
    kept: Mutex<Kept>,
}

/// By what determines it.
#[derive(Default)]
struct Kept {
    /// By leaf, on the L1 of this fork: elsewhere a leaf may step elsewhere.
    claims: BTreeMap<B256, Arc<Claim>>,
    /// How often L1 has reorganised.
    fork: u64,
    /// By input.
    runs: BTreeMap<B256, Run>,
    /// By input and stride, the oldest first.
    strides: VecDeque<((B256, u64), Arc<StrideJob>)>,
}

impl Computer {
    pub fn new(client: L1Client, leaves: Leaves, program: Arc<Program>, dir: PathBuf) -> Self {
        let shared = Shared { client, leaves, program, dir, kept: Mutex::default() };
        Self { shared: Arc::new(shared), job: None }
    }

    pub fn is_free(&self) -> bool {
        self.job.is_none()
    }

    pub fn current(&self) -> Option<Running> {
        let job = self.job.as_ref()?;
        Some(Running { need: job.need, steps: job.steps.load(Ordering::Relaxed) })
    }

    pub fn start(&mut self, need: Need) {
        let (steps, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let guard = StopOnDrop(stop.clone());
        tracing::info!(?need, "computing for a dispute");
        let task = tokio::spawn(work(self.shared.clone(), need, steps.clone(), stop));
        self.job = Some(Job { need, steps, task, _stop: guard });
    }

    /// Resolves when the computation that runs is done; never if none does.
    pub async fn done(&mut self) -> (Need, Result<Answer, Reason>) {
        let Some(job) = &mut self.job else { return std::future::pending().await };
        let need = job.need;
        let result = (&mut job.task).await.unwrap_or_else(|error| {
            tracing::error!(?need, %error, "a computation failed");
            Err(Reason::Disagrees)
        });
        self.job = None;
        (need, result)
    }

    /// A step that reads a preimage.
    pub fn claim_with(&self, kind: Kind, key: B256) -> Option<Arc<Claim>> {
        let kept = self.shared.kept();
        let has = |claim: &&Arc<Claim>| match kind {
            Kind::Keccak => claim.preimages.keccak(key).is_ok(),
            Kind::Blob => claim.preimages.blob(key).is_ok(),
        };
        kept.claims.values().find(has).cloned()
    }

    /// L1 has reorganised: forgets what leaves step to, and drops what is computed of that.
    pub fn reorganised(&mut self) {
        self.job = None;
        let mut kept = self.shared.kept();
        kept.claims.clear();
        kept.fork += 1;
    }

    /// Nothing is disputed: forgets all, files too.
    pub fn clear(&mut self) {
        let mut kept = self.shared.kept();
        if kept.claims.is_empty() && self.job.is_none() {
            return;
        }
        *kept = Kept { fork: kept.fork, ..Kept::default() };
        drop(kept);
        self.job = None;
        match fs::remove_dir_all(&self.shared.dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, "files of finished disputes could not be removed");
            }
            _ => {}
        }
    }
}

async fn work(
    shared: Arc<Shared>,
    need: Need,
    steps: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
) -> Result<Answer, Reason> {
    let leaf = match need {
        Need::Run { leaf } | Need::Stride { leaf, .. } | Need::Step { leaf, .. } => leaf,
        // These are looked up.
        Need::Range { .. } | Need::Opening { .. } => return Err(Reason::NotBegun),
    };
    let claim = Shared::claim(&shared, leaf).await?;
    let compute = move || {
        let begin = Instant::now();
        let answer = shared.compute(need, &claim, &steps, &stop)?;
        let (seconds, steps) = (begin.elapsed().as_secs_f64(), steps.load(Ordering::Relaxed));
        metrics::counter!("annex_settlement_instructions_total").increment(steps);
        tracing::info!(?need, seconds, steps, "computed for a dispute");
        Ok(answer)
    };
    tokio::task::spawn_blocking(compute).await.unwrap_or(Err(Reason::Disagrees))
}

impl Shared {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything that the step from a leaf reads.
    async fn claim(shared: &Arc<Self>, leaf: B256) -> Result<Arc<Claim>, Reason> {
        let fork = {
            let kept = shared.kept();
            if let Some(claim) = kept.claims.get(&leaf) {
                return Ok(claim.clone());
            }
            kept.fork
        };
        let leaves = shared.leaves.clone();
        let index = leaves.index_of(leaf).map_err(|error| unknown(error.into(), 0))?;
        let index = index.ok_or(Reason::Stranger)?;
        let needed = leaves.blobs_of(index).map_err(|error| unknown(error, 0))?;
        let mut blobs: Vec<Blob> = Vec::new();
        if let Some(needed) = needed {
            let found = shared.client.blobs(needed.l1_block, &needed.hashes).await;
            let found = found.map_err(|error| {
                tracing::warn!(%leaf, %error, "a dispute waits for a batch's blobs");
                metrics::counter!("annex_missing_blobs_total").increment(1);
                let key = needed.hashes.first().copied().unwrap_or_default();
                Reason::Missing(annex_claim::Missing { kind: Kind::Blob, key })
            })?;
            blobs.extend(found.into_iter().map(|blob| *blob));
        }
        let build = move || leaves.step_claim(index, &blobs);
        let built = tokio::task::spawn_blocking(build).await.map_err(|_| Reason::Disagrees)?;
        let claim = Arc::new(built.map_err(|error| unknown(error, index))?);
        let mut kept = shared.kept();
        if kept.fork == fork {
            kept.claims.insert(leaf, claim.clone());
        }
        Ok(claim)
    }

    fn compute(
        &self,
        need: Need,
        claim: &Claim,
        steps: &AtomicU64,
        stop: &AtomicBool,
    ) -> Result<Answer, Reason> {
        match need {
            Need::Run { .. } => self.run(claim, steps, stop).map(Answer::Run),
            Need::Stride { stride, .. } => {
                let job = self.stride(claim, stride, steps, stop)?;
                job.tree(&claim.preimages).map(Answer::Stride).map_err(stride_failed)
            }
            Need::Step { instruction, .. } => {
                let job = self.stride(claim, instruction >> STRIDE_HEIGHT, steps, stop)?;
                let step = job.step(&claim.preimages, instruction);
                step.map(Answer::Step).map_err(stride_failed)
            }
            Need::Range { .. } | Need::Opening { .. } => Err(Reason::NotBegun),
        }
    }

    fn run(&self, claim: &Claim, steps: &AtomicU64, stop: &AtomicBool) -> Result<Run, Reason> {
        let input = claim.input.hash();
        if let Some(run) = self.kept().runs.get(&input) {
            return Ok(run.clone());
        }
        let file = self.dir.join(format!("run-{:x}", self.program.boot_state_hash(input)));
        let mut kept = SaveFile::new(&file);
        let mut job = restore(&kept, &file).unwrap_or_else(|| RunJob::new(&self.program, input));
        loop {
            steps.store(job.steps(), Ordering::Relaxed);
            let done = job.advance(&claim.preimages, 1).map_err(Reason::Missing)?;
            let stopped = stop.load(Ordering::Acquire);
            if done || stopped || kept.is_due() {
                let mut bytes = Vec::new();
                job.save(&mut bytes);
                if let Err(error) = kept.write(&bytes) {
                    tracing::warn!(%error, "a run could not be saved");
                }
            }
            if done {
                break;
            }
            if stopped {
                return Err(Reason::NotBegun);
            }
        }
        steps.store(job.steps(), Ordering::Relaxed);
        let Ok(run) = job.finish() else { return Err(Reason::NotBegun) };
        self.kept().runs.insert(input, run.clone());
        Ok(run)
    }

    /// The machine at a stride.
    fn stride(
        &self,
        claim: &Claim,
        stride: u64,
        steps: &AtomicU64,
        stop: &AtomicBool,
    ) -> Result<Arc<StrideJob>, Reason> {
        let input = claim.input.hash();
        let of = (input, stride);
        if let Some((_, job)) = self.kept().strides.iter().find(|(kept, _)| *kept == of) {
            return Ok(job.clone());
        }
        let mut job = StrideJob::new(&self.program, input, stride);
        while !job.advance(&claim.preimages, SLICE).map_err(Reason::Missing)? {
            steps.store(job.steps(), Ordering::Relaxed);
            if stop.load(Ordering::Acquire) {
                return Err(Reason::NotBegun);
            }
        }
        let job = Arc::new(job);
        let mut kept = self.kept();
        if kept.strides.len() >= KEPT_STRIDES {
            kept.strides.pop_front();
        }
        kept.strides.push_back((of, job.clone()));
        Ok(job)
    }
}

fn stride_failed(error: StrideError) -> Reason {
    match error {
        StrideError::Missing(missing) => Reason::Missing(missing),
        StrideError::NotThere | StrideError::OtherStride | StrideError::Snapshot(_) => {
            tracing::error!(%error, "an instruction cannot be proved");
            Reason::Disagrees
        }
    }
}

/// Why a step could not be put together.
pub(super) fn unknown(error: StepError, leaf: u64) -> Reason {
    tracing::warn!(leaf, %error, "a disputed step cannot be put together");
    match error {
        StepError::UnknownRecord(record) => Reason::NoData { record },
        StepError::Pruned { block, .. } => Reason::NoState { block },
        // Never `NotBegun`: that would be asked for again at once.
        StepError::UnknownLeaf(_) | StepError::Replaced(_) | StepError::Store(_) => {
            Reason::Stranger
        }
        StepError::Differs { .. }
        | StepError::Step { .. }
        | StepError::Log(_)
        | StepError::Prepare(_)
        | StepError::Header(_) => Reason::Disagrees,
    }
}

/// What an earlier process left.
fn restore(kept: &SaveFile, file: &Path) -> Option<RunJob> {
    let bytes = kept.read().unwrap_or_else(|error| {
        tracing::warn!(file = %file.display(), %error, "a run is begun again");
        None
    })?;
    match RunJob::restore(&bytes) {
        Ok(job) => Some(job),
        Err(error) => {
            tracing::warn!(file = %file.display(), %error, "a run is begun again");
            None
        }
    }
}

#[cfg(test)]
mod tests;
