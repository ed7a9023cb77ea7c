//! Random logs with every kind of step, followed as the node follows them.

use super::*;
use crate::{
    follow::same_input,
    progress::{self, Derived},
    proofs::{
        ProofError, claim_start, claim_start_at, kept_rejected,
        tests::{Chain, USERS, deploying_blocks, random_transaction, signed, transfer},
    },
    verify,
};
use alloy_eips::eip4844::Blob;
use alloy_primitives::{Address, Bytes, TxKind, U256};
use annex_claim::{Transition, step};
use annex_derive::{Derivation, Step};
use annex_riscv::Program;
use annex_state::TrieReader;
use annex_stf::apply_block;
use annex_types::batch::{self, Batch, pack_blobs};
use annex_types::{BatchBlock, BatchData, BatchRecord, RecordPayload, Transaction};
use rand::Rng;
use std::collections::BTreeMap;

/// A chain whose records are worked off as they come.
pub(crate) struct Followed {
    pub chain: Chain,
    contracts: [Address; 3],
    derivation: Derivation,
    derived: Derived,
    tip: Tip,
    /// Hashes of all leaves.
    pub leaves: Vec<B256>,
    keep_rejected: bool,
}

impl Followed {
    fn new(seed: u64) -> Self {
        println!("seed {seed}");
        let chain = Chain::new(seed);
        let genesis = chain.store.snapshot().unwrap().header(0).unwrap().unwrap().0;
        let derivation = Derivation::new(chain.config.clone(), &genesis).unwrap();
        let tip = Tip::restore(&chain.store).unwrap();
        let leaves = vec![tip.stored().hash];
        let (derived, contracts) = (Derived::default(), [Address::ZERO; 3]);
        let keep_rejected = false;
        let mut followed =
            Self { chain, contracts, derivation, derived, tip, leaves, keep_rejected };
        followed.follow();
        followed.contracts = deploying_blocks(&mut followed.chain);
        followed.post();
        followed
    }

    pub fn post(&mut self) {
        self.chain.posted = self.derived.safe;
        self.chain.post();
        self.follow();
    }

    /// What [`crate::follow::FollowTask`] does, without an engine.
    fn follow(&mut self) {
        for index in self.derivation.next_record()..=self.chain.record.index {
            let snapshot = self.chain.store.snapshot().unwrap();
            let record = progress::record(&snapshot, index).unwrap().unwrap().record;
            let blobs = self.chain.blobs.get(&index).map_or(&[][..], |blobs| blobs);
            self.derivation.push(record, blobs).unwrap();
            while let Some(step) = self.derivation.step() {
                self.take(step);
            }
        }
        self.chain.posted = self.derived.safe;
    }

    fn take(&mut self, step: Step) {
        let (mut made, mut rejected) = (None, None);
        if let Step::Block(step) = step {
            let (number, before) = (self.derived.safe + 1, self.derivation.cursor());
            let block = self.chain.store.snapshot().unwrap().block(number).unwrap();
            let forced = self.derivation.head().forced_count;
            let header = match block {
                Some(block) => {
                    assert!(same_input(&block, forced, &step.input), "block {number} is as posted");
                    Some(block.header)
                }
                None => self.execute(&step.input),
            };
            match header {
                Some(header) => {
                    self.derivation.applied(&header);
                    self.tip.applied(&header, self.derivation.head().hash);
                    self.derived.safe = number;
                    made = Some((number, before));
                }
                None => {
                    self.derivation.rejected().unwrap();
                    rejected = Some(step.input);
                }
            }
        }
        self.derived.checkpoint = self.derivation.checkpoint();
        let leaf = self.tip.step(self.derived.checkpoint.cursor);
        let step = (self.tip.index, leaf);
        progress::put_step(&self.chain.store, &self.derived, made, step).unwrap();
        self.leaves.push(leaf.hash);
        if let Some(input) = rejected.filter(|_| self.keep_rejected) {
            self.knowledge().keep_rejected(self.derived.safe, &input, leaf.hash).unwrap();
        }
    }

    fn execute(&self, input: &annex_types::BlockInput) -> Option<Header> {
        let view = self.chain.store.latest().unwrap();
        let parent = view.header();
        let reader = TrieReader::new(&view, view.root(), (parent.number, view.hash()));
        let sealed = apply_block(&self.chain.config, parent, input, reader, &view).unwrap().ok()?;
        self.chain.commit(&sealed);
        Some(sealed.header)
    }

    fn batch(&mut self, data: Vec<u8>, forced_up_to: u64) {
        let data = if self.chain.rng.random() {
            BatchData::Calldata(data.into())
        } else {
            let blobs = pack_blobs(&data);
            self.blobs(blobs)
        };
        let (submitter, lease_id) = (Address::repeat_byte(0xcc), U256::ONE);
        let batch = BatchRecord { submitter, lease_id, forced_up_to, data };
        self.chain.push(RecordPayload::Batch(batch));
        self.follow();
    }

    fn blobs(&mut self, blobs: Vec<Blob>) -> BatchData {
        let hashes = blobs.iter().map(|blob| annex_l1::versioned_hash(blob).unwrap()).collect();
        self.chain.blobs.insert(self.chain.record.index + 1, blobs);
        BatchData::Blobs(hashes)
    }

    /// A block that follows the head by every rule, if its transactions do.
    fn next_block(&self, transactions: Vec<Transaction>) -> BatchBlock {
        BatchBlock {
            timestamp: self.chain.store.latest().unwrap().header().timestamp,
            beneficiary: Address::repeat_byte(0xcc),
            origin: self.chain.record.index,
            forced: 0,
            transactions,
        }
    }

    fn transfer(&mut self, ahead: u64) -> Transaction {
        let user = self.chain.rng.random_range(0..USERS);
        let nonce = self.chain.nonce(user) + ahead;
        signed(user, transfer(nonce, TxKind::Call(self.contracts[0]), 0, Bytes::new()))
    }

    /// A batch whose last block, at least, is rejected; there are blocks before and behind that.
    fn bad_batch(&mut self) {
        let mut blocks = Vec::new();
        if self.chain.rng.random() {
            let good = self.transfer(0);
            blocks.push(self.next_block(vec![good]));
        }
        let rule = self.chain.rng.random_range(0..6);
        // A nonce too high: only execution finds out.
        let ahead = if rule < 3 { 7 } else { 0 };
        let mut transactions = vec![self.transfer(ahead)];
        if rule == 3 {
            transactions.clear();
        }
        let mut bad = self.next_block(transactions);
        match rule {
            4 => bad.timestamp += 1_000_000,
            5 => bad.origin += 1,
            _ => {}
        }
        blocks.push(bad.clone());
        blocks.push(BatchBlock { transactions: vec![self.transfer(0)], ..bad });
        let parent_hash = self.chain.store.head().unwrap().unwrap().hash;
        self.send(Batch { parent_hash, blocks });
    }

    fn foreign_batch(&mut self) {
        let transfer = self.transfer(0);
        let blocks = vec![self.next_block(vec![transfer])];
        self.send(Batch { parent_hash: B256::repeat_byte(9), blocks });
    }

    fn send(&mut self, batch: Batch) {
        let content = batch::encode_content(&batch, self.chain.config.l2_chain_id);
        let data = batch::payload(&zstd::bulk::compress(&content, 3).unwrap());
        let forced_up_to = self.forced_up_to();
        self.batch(data, forced_up_to);
    }

    /// Some of the items that wait, or all.
    fn forced_up_to(&mut self) -> u64 {
        let count = self.derivation.head().forced_count;
        self.chain.rng.random_range(count..=self.chain.forced)
    }

    fn random_round(&mut self) {
        for _ in 0..self.chain.rng.random_range(0..4) {
            self.chain.random_forced();
            self.follow();
        }
        match self.chain.rng.random_range(0..7) {
            0 | 1 => {
                for _ in 0..self.chain.rng.random_range(1..4) {
                    let contracts = self.contracts;
                    let count = self.chain.rng.random_range(1..8);
                    self.chain.block(count, |rng, at, user, nonce| match at {
                        0 => signed(
                            user,
                            transfer(nonce, TxKind::Call(contracts[1]), 0, Bytes::new()),
                        ),
                        _ => random_transaction(rng, &contracts, user, nonce),
                    });
                }
                self.post();
            }
            2 | 3 => self.bad_batch(),
            4 => self.foreign_batch(),
            5 => {
                let forced_up_to = self.forced_up_to();
                self.batch(Vec::new(), forced_up_to);
            }
            _ => {
                let garbage = (0..200).map(|_| self.chain.rng.random()).collect();
                let forced_up_to = self.forced_up_to();
                self.batch(garbage, forced_up_to);
            }
        }
    }

    pub fn knowledge(&self) -> Leaves {
        Leaves::new(self.chain.config.clone(), self.chain.store.clone())
    }

    pub fn claim(&self, index: u64) -> Result<verify::Claim, StepError> {
        let leaves = self.knowledge();
        let record = leaves.at(index).unwrap().unwrap().cursor.record;
        let needed = leaves.blobs_of(index)?;
        let blobs = self.chain.blobs.get(&record).filter(|_| needed.is_some());
        leaves.step_claim(index, blobs.map_or(&[][..], |blobs| blobs))
    }
}

pub(crate) fn random_log(seed: u64, rounds: usize, keep_rejected: bool) -> Followed {
    let mut followed = Followed::new(seed);
    followed.keep_rejected = keep_rejected;
    (0..rounds).for_each(|_| followed.random_round());
    followed
}

fn kind(transition: &Transition) -> &'static str {
    match transition {
        Transition::Applied { derived: true, .. } => "derived",
        Transition::Applied { derived: false, .. } => "applied",
        Transition::Rejected(annex_claim::Rejected::Rule(_)) => "rejected by a rule",
        Transition::Rejected(annex_claim::Rejected::Execution(_)) => "rejected by execution",
        Transition::Exhausted { skipped: Some(annex_derive::Skip::Payload(_)) } => "undecodable",
        Transition::Exhausted { skipped: Some(_) } => "foreign",
        Transition::Exhausted { skipped: None } => "exhausted",
    }
}

#[test]
fn every_kind_of_step_leads_to_the_leaf_that_is_kept() {
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    let mut over = 0;
    for seed in 0..5 {
        let followed = random_log(seed, 24, false);
        let leaves = followed.knowledge();
        let last = followed.tip.index;
        assert_eq!(leaves.kept().unwrap(), 0..=last);
        for index in 0..last {
            let claim = followed.claim(index).unwrap_or_else(|e| panic!("leaf {index}: {e}"));
            assert_eq!(claim.input.leaf(), followed.leaves[index as usize]);
            let taken = step(claim.input.hash(), &claim.preimages).unwrap();
            assert_eq!(taken.leaf.hash(), followed.leaves[index as usize + 1], "leaf {index}");
            *kinds.entry(kind(&taken.transition)).or_default() += 1;
            over += usize::from(claim.input.cursor.block == annex_derive::PAYLOAD_OVER);
        }
        // It stands on a record that there is not yet.
        assert!(matches!(followed.claim(last), Err(StepError::UnknownRecord(_))));
    }
    println!("{kinds:?}, {over} behind the payload");
    assert_eq!(kinds.len(), 7);
    assert!(kinds.values().all(|count| *count >= 5) && over > 20);
}

#[test]
fn a_step_of_each_kind_in_the_machine() {
    let program = Program::from_elf(annex_claim::PROGRAM).unwrap();
    let mut seen = BTreeMap::new();
    let followed = random_log(100, 24, false);
    for index in 0..followed.tip.index {
        let claim = followed.claim(index).unwrap();
        let taken = step(claim.input.hash(), &claim.preimages).unwrap();
        let kind = kind(&taken.transition);
        if seen.contains_key(kind) {
            continue;
        }
        let run = verify::run(&program, &claim, 1 << 40, |_| {}).unwrap();
        assert!(run.succeeded, "{kind}: {}", run.printed);
        assert_eq!(run.leaf, followed.leaves[index as usize + 1], "{kind}");
        seen.insert(kind, run.steps);
    }
    println!("{seen:?}");
    assert_eq!(seen.len(), 7);
}

#[test]
fn leaves_are_found_and_committed_to() {
    let followed = random_log(200, 12, false);
    let (leaves, last) = (followed.knowledge(), followed.tip.index);
    for (index, hash) in (0..).zip(&followed.leaves) {
        assert_eq!(leaves.at(index).unwrap().unwrap().hash, *hash);
        assert_eq!(leaves.index_of(*hash).unwrap(), Some(index));
    }
    assert_eq!(leaves.index_of(B256::ZERO).unwrap(), None);
    let records = followed.chain.record.index + 1;
    for end in 1..=records {
        let reached =
            (0..=last).find(|index| leaves.at(*index).unwrap().unwrap().cursor.record >= end);
        assert_eq!(leaves.end_of(end).unwrap(), reached, "record {end}");
        let (start, reached) = (reached.unwrap() / 2, reached.unwrap());
        let tree = leaves.tree(start, end).unwrap().unwrap();
        assert_eq!(tree.known_leaves(), reached - start);
        for at in 0..reached - start {
            let expected = followed.leaves[(start + at + 1) as usize];
            assert_eq!(tree.node(0, at), Some(expected));
        }
        let end = followed.leaves[reached as usize];
        assert_eq!(tree.node(0, (1 << RANGE_HEIGHT) - 1), Some(end));
    }
    assert_eq!(leaves.end_of(records + 1).unwrap(), None);
    assert!(leaves.tree(0, records + 1).unwrap().is_none());

    leaves.prune(last / 2).unwrap();
    assert_eq!(leaves.kept().unwrap(), last / 2..=last);
    assert_eq!(leaves.index_of(followed.leaves[0]).unwrap(), None);
    assert_eq!(leaves.end_of(records).unwrap(), Some(last));
}

/// What is left after a rewind is what a node that never saw more has.
#[test]
fn a_rewind_ends_on_the_leaf_before_the_record() {
    let followed = random_log(300, 12, false);
    let snapshot = followed.chain.store.snapshot().unwrap();
    let leaves = followed.knowledge();
    for keep in 1..=followed.chain.record.index + 1 {
        let last = last_before(&snapshot, keep).unwrap();
        assert_eq!(Some(last), leaves.end_of(keep).unwrap());
        let cursor = Tip::at(&snapshot, last).unwrap().stored().cursor;
        assert_eq!((cursor.record, cursor.block), (keep, 0));
    }
    let beyond = last_before(&snapshot, followed.chain.record.index + 5).unwrap();
    assert_eq!(beyond, followed.tip.index);
}

/// It serves where the state is out of reach.
#[test]
fn a_rejected_blocks_witness_is_kept_as_it_is_built() {
    let mut rejected = 0;
    for seed in 400..404 {
        let (built, kept) = (random_log(seed, 24, false), random_log(seed, 24, true));
        assert_eq!(built.leaves, kept.leaves);
        let snapshot = kept.chain.store.snapshot().unwrap();
        for (index, leaf) in (0..).zip(&kept.leaves[1..]) {
            if kept_rejected(&snapshot, *leaf).unwrap().is_none() {
                continue;
            }
            rejected += 1;
            let (one, two) = (built.claim(index).unwrap(), kept.claim(index).unwrap());
            assert!(one.preimages.keys().eq(two.preimages.keys()), "leaf {index}");
        }
        // They go with the leaves.
        let last = kept.tip.index;
        kept.knowledge().prune(last).unwrap();
        let snapshot = kept.chain.store.snapshot().unwrap();
        let gone = &kept.leaves[..last as usize];
        assert!(gone.iter().all(|leaf| kept_rejected(&snapshot, *leaf).unwrap().is_none()));
    }
    assert!(rejected > 4, "{rejected}");
}

#[test]
fn a_step_is_found_by_its_leaf_as_by_its_block() {
    let followed = random_log(81, 6, false);
    let snapshot = followed.chain.store.snapshot().unwrap();
    let (mut made, mut other) = (0, 0);
    for (index, leaf) in followed.leaves.iter().enumerate().rev().skip(1) {
        let at = super::leaf(&snapshot, index as u64).unwrap().unwrap();
        let start = claim_start_at(&snapshot, *leaf).unwrap();
        assert_eq!(start.cursor(), at.cursor);
        let head = <Header as alloy_rlp::Decodable>::decode(&mut &start.head[..]).unwrap();
        assert_eq!(Leaf { output: OutputRoot::of(&head), cursor: at.cursor }.hash(), *leaf);
        let next = super::leaf(&snapshot, index as u64 + 1).unwrap().unwrap();
        if next.block > at.block {
            let by_block = claim_start(&snapshot, followed.chain.posted, next.block).unwrap();
            assert_eq!(start, by_block);
            made += 1;
        } else {
            other += 1;
        }
    }
    assert!(made > 8 && other > 8, "{made}, {other}");
    let unknown = claim_start_at(&snapshot, B256::repeat_byte(1));
    assert!(matches!(unknown, Err(ProofError::UnknownLeaf(_))));
}
