//! The proving face: a step from nothing but its Merkle proofs, as the contract `Machine` does it.

use std::convert::Infallible;

use alloy_primitives::B256;

use crate::Machine;
use crate::execute::Bus;
use crate::memory::{CHUNK, DEPTH, Memory};
use crate::state::{Halt, Host, State, Status, WORDS};
use crate::tree::{self, Node};

/// Bytes of an access: a chunk and its siblings.
const ACCESS: usize = CHUNK * (DEPTH + 1);

/// One step and everything needed to check it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepProof {
    /// As spec/machine.md, "Proof of a step": what `Machine.step` takes.
    pub bytes: Vec<u8>,
    /// State hash before the step.
    pub before: B256,
    /// State hash after it.
    pub after: B256,
}

/// Why a proof is refused. It says nothing about the state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError<E> {
    #[error("the proof is not as long as its step needs")]
    Length,
    #[error("impossible status and exit code")]
    Status,
    #[error("memory access {0} does not lead to the memory root")]
    Access(usize),
    /// The proof may be right, but the host could not go on.
    #[error(transparent)]
    Host(E),
}

impl Machine {
    /// Makes one step and its proof. A machine that halted steps to itself, which has a proof too.
    /// After an error of the host nothing has happened. What the step writes is not shown.
    pub fn prove_step<H: Host>(&mut self, host: &mut H) -> Result<StepProof, H::Error> {
        let root = self.memory_root();
        let words = self.state.words(root);
        let before = self.state.hash(root);
        let running = self.state.status == Status::Running;
        let mut recorder = Recorder { memory: &mut self.memory, proof: words.to_vec() };
        match self.state.step(&mut recorder, host) {
            Ok(trap) => self.trap = trap.or(self.trap),
            Err(Halt::Host(error)) => return Err(error),
            Err(Halt::Bus(never)) => match never {},
        }
        let bytes = recorder.proof;
        self.steps += u64::from(running);
        self.forget_stale();
        Ok(StepProof { bytes, before, after: self.state_hash() })
    }
}

/// Checks the proof of a step and returns the state hashes before and after it.
pub fn verify_step<H: Host>(
    proof: &[u8],
    host: &mut H,
) -> Result<(B256, B256), ProofError<H::Error>> {
    let (words, accesses) = proof.split_first_chunk::<WORDS>().ok_or(ProofError::Length)?;
    let (mut state, root) = State::from_words(words).ok_or(ProofError::Status)?;
    let before = state.hash(root);
    let mut claimed = Claimed { rest: accesses, root: root.0, accesses: 0 };
    match state.step(&mut claimed, host) {
        Ok(_) => {}
        Err(Halt::Host(error)) => return Err(ProofError::Host(error)),
        Err(Halt::Bus(Refused::Length)) => return Err(ProofError::Length),
        Err(Halt::Bus(Refused::Access(index))) => return Err(ProofError::Access(index)),
    }
    if !claimed.rest.is_empty() {
        return Err(ProofError::Length);
    }
    Ok((before, state.hash(B256::new(claimed.root))))
}

/// Real memory that notes the proof of each access before it happens. The tree is up to date at
/// the first one; no step reads after it wrote.
struct Recorder<'a> {
    memory: &'a mut Memory,
    proof: Vec<u8>,
}

impl Recorder<'_> {
    fn note(&mut self, address: u32) {
        self.proof.extend_from_slice(self.memory.path(address).as_flattened());
    }
}

impl Bus for Recorder<'_> {
    type Error = Infallible;

    fn load<const N: usize>(&mut self, address: u32) -> Result<[u8; N], Infallible> {
        self.note(address);
        self.memory.load(address)
    }

    fn store<const N: usize>(&mut self, address: u32, bytes: [u8; N]) -> Result<bool, Infallible> {
        self.note(address);
        self.memory.store(address, bytes)
    }
}

enum Refused {
    Length,
    Access(usize),
}

/// Memory as a proof claims it to be: each access is checked against the root of that moment.
struct Claimed<'a> {
    rest: &'a [u8],
    root: Node,
    accesses: usize,
}

impl Claimed<'_> {
    /// The chunk and the siblings of the next access.
    fn next(&mut self, address: u32) -> Result<(Node, &[[u8; 32]]), Refused> {
        let (access, rest) = self.rest.split_at_checked(ACCESS).ok_or(Refused::Length)?;
        self.rest = rest;
        let (words, _) = access.as_chunks::<32>();
        let (chunk, siblings) = words.split_first().ok_or(Refused::Length)?;
        let index = u64::from(address) / CHUNK as u64;
        if tree::root_of(*chunk, index, siblings.iter().copied()) != self.root {
            return Err(Refused::Access(self.accesses));
        }
        self.accesses += 1;
        Ok((*chunk, siblings))
    }
}

impl Bus for Claimed<'_> {
    type Error = Refused;

    fn load<const N: usize>(&mut self, address: u32) -> Result<[u8; N], Refused> {
        let (chunk, _) = self.next(address)?;
        let offset = address as usize % CHUNK;
        let mut bytes = [0; N];
        bytes.copy_from_slice(&chunk[offset..offset + N]);
        Ok(bytes)
    }

    fn store<const N: usize>(&mut self, address: u32, bytes: [u8; N]) -> Result<bool, Refused> {
        let (mut chunk, siblings) = self.next(address)?;
        let offset = address as usize % CHUNK;
        chunk[offset..offset + N].copy_from_slice(&bytes);
        let index = u64::from(address) / CHUNK as u64;
        let root = tree::root_of(chunk, index, siblings.iter().copied());
        self.root = root;
        Ok(false)
    }
}
