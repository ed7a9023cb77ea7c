//! Commitments to a run: state hashes at a stride, and the Merkle tree over them.

use alloy_primitives::B256;

use crate::Machine;
use crate::snapshot::{Reader, SnapshotError};
use crate::state::{Host, Status};
use crate::tree::{self, Tree};

/// What a commitment covers: `2^leaves` states, `2^stride` steps apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    stride: u8,
    leaves: u8,
}

/// A shape that no commitment has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("at most 2^{max_leaves} leaves over at most 2^63 steps", max_leaves = Shape::MAX_LEAVES)]
pub struct ShapeError;

impl Shape {
    /// Binary logarithm of the most leaves: their hashes are held in memory.
    pub const MAX_LEAVES: u8 = 24;
    /// Machine states of a whole run, 2^20 steps apart.
    pub const RUN: Self = Self { stride: 20, leaves: 20 };
    /// Single instructions within one stride of [`Shape::RUN`].
    pub const STRIDE: Self = Self { stride: 0, leaves: 20 };

    /// Binary logarithms of the steps between two leaves and of the number of leaves.
    pub fn new(stride: u8, leaves: u8) -> Result<Self, ShapeError> {
        if leaves > Self::MAX_LEAVES || stride > 63 - leaves {
            return Err(ShapeError);
        }
        Ok(Self { stride, leaves })
    }

    /// Steps between two leaves.
    pub fn stride(self) -> u64 {
        1 << self.stride
    }

    /// Number of leaves.
    pub fn leaves(self) -> u64 {
        1 << self.leaves
    }
}

/// How far a commitment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Leaves that are known.
    pub leaves: u64,
    /// Steps that the machine made since boot.
    pub steps: u64,
}

/// A commitment in the making.
pub struct Committer {
    shape: Shape,
    machine: Machine,
    /// The machine's steps when the commitment began.
    origin: u64,
    leaves: Vec<B256>,
}

impl Committer {
    /// Leaf 0 will be the state `2^stride` steps after the machine's present one.
    pub fn new(machine: Machine, shape: Shape) -> Self {
        let origin = machine.steps();
        Self { shape, machine, origin, leaves: Vec::new() }
    }

    /// Goes on for at most `max_leaves` leaves, and says after each how far it is. True when the
    /// commitment is complete: all leaves are known, or the machine has halted. After an error of
    /// the host it can go on.
    pub fn advance<H: Host>(
        &mut self,
        host: &mut H,
        max_leaves: u64,
        mut progress: impl FnMut(Progress),
    ) -> Result<bool, H::Error> {
        let end = (self.leaves.len() as u64).saturating_add(max_leaves);
        while !self.is_complete() && (self.leaves.len() as u64) < end {
            // Less than a stride if an earlier call stopped within it.
            let next = self.known_steps() + self.shape.stride();
            self.machine.run(host, next - self.machine.steps())?;
            self.leaves.push(self.machine.state_hash());
            progress(Progress { leaves: self.leaves.len() as u64, steps: self.machine.steps() });
        }
        Ok(self.is_complete())
    }

    /// Where the last leaf stands, if the machine got so far without halting.
    fn known_steps(&self) -> u64 {
        self.origin + self.leaves.len() as u64 * self.shape.stride()
    }

    fn is_complete(&self) -> bool {
        let halted = self.machine.status() != Status::Running && !self.leaves.is_empty();
        halted || self.leaves.len() as u64 >= self.shape.leaves()
    }

    /// The machine as it stands after the last leaf, or within the stride that failed.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// The commitment, if it is complete, and the machine; else the committer again.
    pub fn finish(self) -> Result<(Commitment, Machine), Box<Self>> {
        if !self.is_complete() {
            return Err(Box::new(self));
        }
        Ok((Commitment::new(self.shape, self.leaves), self.machine))
    }
}

const MAGIC: &[u8; 8] = b"annexrc1";

impl Committer {
    /// Appends everything to `bytes`: `"annexrc1" ‖ stride ‖ leaves ‖ origin ‖ count`, the known
    /// leaves, then the machine as [`Machine::save`] writes it. The logarithms of [`Shape`] are a
    /// byte each, origin (steps) is a big-endian uint64, count a uint32.
    pub fn save(&mut self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&[self.shape.stride, self.shape.leaves]);
        bytes.extend_from_slice(&self.origin.to_be_bytes());
        bytes.extend_from_slice(&(self.leaves.len() as u32).to_be_bytes());
        self.leaves.iter().for_each(|leaf| bytes.extend_from_slice(&leaf[..]));
        self.machine.save(bytes);
    }

    /// The committer that was saved, if it is of this shape and its machine's memory at most
    /// `max_memory` bytes. Leaves before the last one are taken as they are.
    pub fn restore(bytes: &[u8], shape: Shape, max_memory: u64) -> Result<Self, SnapshotError> {
        let mut reader = Reader(bytes);
        if &reader.take::<8>()? != MAGIC {
            return Err(SnapshotError::Version);
        }
        if reader.take::<2>()? != [shape.stride, shape.leaves] {
            return Err(SnapshotError::Shape);
        }
        let origin = u64::from_be_bytes(reader.take()?);
        let count = u32::from_be_bytes(reader.take()?);
        if u64::from(count) > shape.leaves() {
            return Err(SnapshotError::Malformed);
        }
        let leaves = (0..count).map(|_| Ok(B256::new(reader.take()?)));
        let leaves = leaves.collect::<Result<Vec<_>, SnapshotError>>()?;
        let machine = Machine::restore(reader.0, max_memory)?;
        let mut committer = Self { shape, machine, origin, leaves };
        committer.check()?;
        Ok(committer)
    }

    /// The parts of a restored committer fit together.
    fn check(&mut self) -> Result<(), SnapshotError> {
        let steps = self.machine.steps();
        let known = self.leaves.len() as u64 * self.shape.stride();
        let known = self.origin.checked_add(known).ok_or(SnapshotError::Malformed)?;
        let halted = self.machine.status() != Status::Running;
        let in_stride = steps.checked_sub(known).is_some_and(|past| past < self.shape.stride());
        let room = known.checked_add(self.shape.stride()).is_some();
        let at_its_end = halted && !self.leaves.is_empty();
        if !room || steps < self.origin || !(at_its_end || in_stride) {
            return Err(SnapshotError::Malformed);
        }
        if let Some(leaf) = self.leaves.last()
            && (halted || steps == known)
            && *leaf != self.machine.state_hash()
        {
            return Err(SnapshotError::Leaf);
        }
        Ok(())
    }
}

/// A complete commitment.
pub struct Commitment {
    shape: Shape,
    tree: Tree,
}

impl Commitment {
    fn new(shape: Shape, leaves: Vec<B256>) -> Self {
        Self { shape, tree: Tree::new(shape.leaves, leaves) }
    }

    /// The root: what is claimed.
    pub fn root(&self) -> B256 {
        self.tree.root()
    }

    /// What it covers.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Leaves before the last state repeats.
    pub fn known_leaves(&self) -> u64 {
        self.tree.known_leaves()
    }

    /// Leaf `index`; past the end of the run the last state. `None` beyond the commitment.
    pub fn leaf(&self, index: u64) -> Option<B256> {
        self.tree.node(0, index)
    }

    /// The siblings of leaf `index` from the leaf's up. `None` beyond the commitment.
    pub fn path(&self, index: u64) -> Option<Vec<B256>> {
        let sibling = |level| self.tree.node(level, index >> level ^ 1);
        (index < self.shape.leaves()).then(|| (0..self.shape.leaves).map_while(sibling).collect())
    }

    /// The root that a leaf and its path make.
    pub fn root_of(leaf: B256, index: u64, path: &[B256]) -> B256 {
        B256::new(tree::root_of(leaf.0, index, path.iter().map(|node| node.0)))
    }

    /// All its nodes.
    pub fn into_tree(self) -> Tree {
        self.tree
    }
}
