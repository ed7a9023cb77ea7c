//! What is true, computed when somebody asks. Runs are the same in every case that stands on the same chain, so they are kept.

use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use alloy_primitives::map::HashMap;
use alloy_primitives::{B256, Bytes};
use annex_claim::{Kind, PROGRAM, PreimageSource, Preimages, fault_leaf};
use annex_derive::Cursor;
use annex_riscv::{Host, Machine, PreimageKind, Program};
use annex_settle::{
    Book, Need, Opening, Output, Params, Preimage, Range, Reason, Run, RunJob, Step, StrideJob,
    Traffic, Tree,
};
use annex_types::{Record, RecordPayload};

use crate::chain::Chain;

/// The program that nodes embed.
pub static GUEST: LazyLock<Arc<Program>> =
    LazyLock::new(|| Arc::new(Program::from_elf(PROGRAM).expect("a committed program")));

type Key = (B256, B256, u64);

/// By program, input and stride or instruction.
#[derive(Default)]
struct Kept {
    runs: HashMap<Key, Run>,
    jobs: HashMap<Key, Arc<StrideJob>>,
    trees: HashMap<Key, Tree>,
    steps: HashMap<Key, Step>,
    computing: Duration,
}

static KEPT: LazyLock<Mutex<Kept>> = LazyLock::new(Mutex::default);

fn kept() -> MutexGuard<'static, Kept> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A step of the chain.
struct Move {
    leaf: B256,
    cursor: Cursor,
    /// RLP of the header of the head there.
    header: Bytes,
    output_root: B256,
    /// None behind the last step.
    input: Option<(B256, Arc<Preimages>)>,
}

/// Answers every need of one who is honest.
pub struct Computer {
    program: Arc<Program>,
    moves: Vec<Move>,
    /// Of batches, by record.
    traffic: Vec<(u64, Traffic)>,
    /// The program fails on this step.
    fault: Option<usize>,
}

impl Computer {
    /// Of a chain as it stands. With `fault`, the program fails on that step.
    pub fn new(chain: &Chain, program: Arc<Program>, fault: Option<usize>) -> Self {
        let count = chain.leaps.len();
        let moves = (0..=count).map(|step| {
            let (head, leaf) = match step.checked_sub(1) {
                None => (&chain.genesis, chain.first_leaf()),
                Some(before) => (&chain.leaps[before].next, chain.leaps[before].leaf),
            };
            let lies = matches!(
                chain.leaps.get(step).map(|it| it.what),
                None | Some(crate::chain::What::Lie(_))
            );
            let input = (!lies).then(|| chain.prepare(step));
            Move {
                leaf: leaf.hash(),
                cursor: leaf.cursor,
                header: alloy_rlp::encode(head).into(),
                output_root: leaf.output.hash(),
                input: input.map(|(input, preimages)| (input.hash(), preimages)),
            }
        });
        let batches =
            chain.records.iter().filter(|it| matches!(it.payload, RecordPayload::Batch(_)));
        let traffic = |it: &Record| Traffic { time: it.env.timestamp, withdrawals: true };
        let traffic = batches.map(|it| (it.index, traffic(it))).collect();
        Self { program, moves: moves.collect(), traffic, fault }
    }

    /// The steps' leaves; the first is the one that nothing led to.
    pub fn leaf(&self, step: usize) -> B256 {
        self.moves[step].leaf
    }

    /// Number of leaves, the first one included.
    pub fn steps(&self) -> usize {
        self.moves.len()
    }

    /// A step's leaf and its cursor.
    pub fn at(&self, step: usize) -> (B256, Cursor) {
        let Move { leaf, cursor, .. } = self.moves[step];
        (leaf, cursor)
    }

    /// Number of the instructions before the first one of a step that reads such a preimage, by kind and key.
    pub fn reading(&self, step: usize, is_it: &mut dyn FnMut(PreimageKind, B256) -> bool) -> u64 {
        let (input, preimages) = self.moves[step].input.as_ref().expect("a step of the chain");
        let mut machine = Machine::boot(&self.program, *input);
        let stopped = machine.run(&mut Until { preimages, is_it }, u64::MAX);
        assert!(stopped.is_err(), "there is no such instruction");
        machine.steps()
    }

    /// What records carried.
    pub fn traffic(&self) -> impl Iterator<Item = (u64, Traffic)> {
        self.traffic.iter().copied()
    }

    /// The leaf after one of them.
    pub fn after(&self, leaf: B256) -> Option<B256> {
        let step = self.find(leaf)?;
        let fails = self.fault == Some(step);
        if fails { Some(fault_leaf(leaf)) } else { self.moves.get(step + 1).map(|it| it.leaf) }
    }

    fn find(&self, leaf: B256) -> Option<usize> {
        self.moves.iter().position(|it| it.leaf == leaf)
    }

    /// What some step reads that makes such a call.
    pub fn preimages(&self, call: Preimage) -> &Preimages {
        let mut sources = self.moves.iter().filter_map(|it| Some(&*it.input.as_ref()?.1));
        let has = |source: &&Preimages| match call.kind {
            Kind::Keccak => source.keccak(call.key).is_ok(),
            Kind::Blob => source.blob(call.key).is_ok(),
        };
        sources.find(has).expect("a preimage of the chain's")
    }

    /// Puts what is needed into the book.
    pub fn answer(&self, need: Need, book: &mut Book) {
        let known = match need {
            Need::Range { start, end } => {
                self.range(start, end).map(|range| book.insert_range(start, end, range))
            }
            Need::Opening { leaf } => self.opening(leaf).map(|it| book.insert_opening(it)),
            Need::Run { leaf } => self.run(leaf).map(|run| book.insert_run(leaf, run)),
            Need::Stride { leaf, stride } => {
                self.stride(leaf, stride).map(|tree| book.insert_stride(leaf, stride, tree))
            }
            Need::Step { leaf, instruction } => {
                self.step(leaf, instruction).map(|step| book.insert_step(leaf, instruction, step))
            }
        };
        if known.is_none() {
            book.set_unknown(need, Reason::Stranger);
        }
    }

    fn range(&self, start: B256, end: u64) -> Option<Range> {
        let first = self.find(start)?;
        let ended = |it: &Move| it.cursor.record >= end;
        let last = first + self.moves[first..].iter().position(ended)?;
        let mut leaves: Vec<B256> = self.moves[first + 1..=last].iter().map(|it| it.leaf).collect();
        let head = &self.moves[last];
        let mut output = Output::Head { header: head.header.clone(), cursor: head.cursor };
        if let Some(fault) = self.fault.filter(|step| (first..last).contains(step)) {
            let of = self.moves[fault].leaf;
            leaves.truncate(fault - first);
            leaves.push(fault_leaf(of));
            output = Output::Fault { of };
        }
        if leaves.is_empty() {
            leaves.push(start);
        }
        Some(Range { tree: Tree::new(Params::HEIGHTS[0], leaves), last: output })
    }

    fn opening(&self, leaf: B256) -> Option<Opening> {
        if let Some(at) = self.moves.iter().find(|it| fault_leaf(it.leaf) == leaf) {
            return Some(Opening::FaultOf(at.leaf));
        }
        let Move { output_root, cursor, .. } = self.moves[self.find(leaf)?];
        Some(Opening::Output { output_root, cursor })
    }

    fn input(&self, leaf: B256) -> Option<&(B256, Arc<Preimages>)> {
        self.moves[self.find(leaf)?].input.as_ref()
    }

    fn key(&self, input: B256, at: u64) -> Key {
        (self.program.memory_root(), input, at)
    }

    /// The run from a leaf, if that is of the chain.
    pub fn run(&self, leaf: B256) -> Option<Run> {
        let (input, preimages) = self.input(leaf)?;
        Some(remember(
            |kept| &mut kept.runs,
            self.key(*input, 0),
            || {
                let mut job = RunJob::new(&self.program, *input);
                job.advance(preimages, u64::MAX).expect("all preimages of the step are there");
                job.finish().unwrap_or_else(|_| unreachable!("it ran to its end"))
            },
        ))
    }

    fn job(&self, leaf: B256, stride: u64) -> Option<Arc<StrideJob>> {
        let (input, preimages) = self.input(leaf)?;
        Some(remember(
            |kept| &mut kept.jobs,
            self.key(*input, stride),
            || {
                let mut job = StrideJob::new(&self.program, *input, stride);
                job.advance(preimages, u64::MAX).expect("all preimages of the step are there");
                Arc::new(job)
            },
        ))
    }

    /// The instructions of one of its strides.
    pub fn stride(&self, leaf: B256, stride: u64) -> Option<Tree> {
        let (job, (input, preimages)) = (self.job(leaf, stride)?, self.input(leaf)?);
        Some(remember(
            |kept| &mut kept.trees,
            self.key(*input, stride),
            || job.tree(preimages).expect("the machine stands at the stride"),
        ))
    }

    fn step(&self, leaf: B256, instruction: u64) -> Option<Step> {
        let job = self.job(leaf, instruction >> Params::HEIGHTS[2])?;
        let (input, preimages) = self.input(leaf)?;
        Some(remember(
            |kept| &mut kept.steps,
            self.key(*input, instruction),
            || job.step(preimages, instruction).expect("the machine stands at the stride"),
        ))
    }
}

/// Stops a machine before a preimage call.
struct Until<'a> {
    preimages: &'a Preimages,
    is_it: &'a mut dyn FnMut(PreimageKind, B256) -> bool,
}

/// It is there.
struct Found;

impl Host for Until<'_> {
    type Error = Found;

    fn preimage(
        &mut self,
        kind: PreimageKind,
        key: B256,
        offset: u32,
    ) -> Result<(B256, u64), Found> {
        if (self.is_it)(kind, key) {
            return Err(Found);
        }
        let kind = match kind {
            PreimageKind::Keccak => Kind::Keccak,
            PreimageKind::Blob => Kind::Blob,
        };
        Ok(self.preimages.word(kind, key, offset).expect("all preimages of the step are there"))
    }

    fn write(&mut self, _: u64, _: &[u8]) {}
}

/// What was computed before, or is now.
fn remember<T: Clone>(
    of: fn(&mut Kept) -> &mut HashMap<Key, T>,
    key: Key,
    compute: impl FnOnce() -> T,
) -> T {
    if let Some(known) = of(&mut kept()).get(&key) {
        return known.clone();
    }
    let begin = Instant::now();
    let made = compute();
    let mut kept = kept();
    kept.computing += begin.elapsed();
    of(&mut kept).entry(key).or_insert(made).clone()
}

/// Time spent on runs and their trees by this process.
pub fn computing() -> Duration {
    kept().computing
}
