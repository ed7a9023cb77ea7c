//! Commitments against the naive tree, resumed ones against uninterrupted ones, bad snapshots.

use alloy_primitives::{B256, keccak256};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::running::random_machine;
use super::support::*;
use crate::{Commitment, Committer, Machine, Shape, SnapshotError, Status};

const MEMORY: u64 = 1 << 24;

/// All leaves one by one, as spec/machine.md says them.
fn naive_leaves(mut machine: Machine, shape: Shape) -> Vec<B256> {
    let leaves = 0..shape.leaves();
    leaves
        .map(|_| {
            for _ in 0..shape.stride() {
                machine.run(&mut Store::default(), 1).unwrap();
            }
            machine.state_hash()
        })
        .collect()
}

fn naive_root(leaves: &[B256]) -> B256 {
    match leaves {
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(leaves.len() / 2);
            keccak256([naive_root(left), naive_root(right)].concat())
        }
    }
}

fn commit(machine: Machine, shape: Shape) -> Commitment {
    let mut committer = Committer::new(machine, shape);
    assert_eq!(committer.advance(&mut Store::default(), u64::MAX, |_| {}), Ok(true));
    committer.finish().ok().unwrap().0
}

#[test]
fn equals_the_naive_tree() {
    for seed in 0..10 {
        for (stride, leaves) in [(0, 0), (0, 4), (0, 10), (1, 9), (3, 5), (5, 7), (12, 3)] {
            let shape = Shape::new(stride, leaves).unwrap();
            let start = || {
                // Within the run, at a step that is no multiple of the stride.
                let mut machine = random_machine(seed, 80);
                machine.run(&mut Store::default(), 13).unwrap();
                machine
            };
            let expected = naive_leaves(start(), shape);
            let commitment = commit(start(), shape);
            assert_eq!(commitment.root(), naive_root(&expected), "seed {seed}, {shape:?}");
            for (index, leaf) in expected.iter().enumerate() {
                let index = index as u64;
                assert_eq!(commitment.leaf(index), Some(*leaf));
                let path = commitment.path(index).unwrap();
                assert_eq!(path.len(), usize::from(leaves));
                assert_eq!(Commitment::root_of(*leaf, index, &path), commitment.root());
            }
            assert_eq!(commitment.leaf(shape.leaves()), None);
            assert_eq!(commitment.path(shape.leaves()), None);
            assert!(commitment.known_leaves() <= shape.leaves());
        }
    }
}

#[test]
fn a_halted_machine_fills_every_leaf_at_once() {
    let mut machine = machine(&[0]);
    machine.run(&mut Store::default(), 1).unwrap();
    assert_eq!(machine.status(), Status::Trapped);
    let leaf = machine.state_hash();
    let commitment = commit(machine, Shape::RUN);
    let root = (0..20).fold(leaf, |node, _| keccak256([node, node].concat()));
    assert_eq!((commitment.root(), commitment.known_leaves()), (root, 1));
    assert_eq!(commitment.leaf((1 << 20) - 1), Some(leaf));
}

#[test]
fn resumed_equals_uninterrupted() {
    for seed in 0..20 {
        let mut rng = StdRng::seed_from_u64(seed);
        let shape = Shape::new(rng.random_range(0..6), 8).unwrap();
        let expected = commit(random_machine(seed, 100), shape).root();
        let mut committer = Committer::new(random_machine(seed, 100), shape);
        let mut seen = 0;
        loop {
            let mut bytes = vec![0xee; 3];
            committer.save(&mut bytes);
            committer = Committer::restore(&bytes[3..], shape, MEMORY).ok().unwrap();
            let more = rng.random_range(0..20);
            let done = committer
                .advance(&mut Store::default(), more, |progress| {
                    seen += 1;
                    assert_eq!(progress.leaves, seen);
                })
                .unwrap();
            if done {
                break;
            }
            committer = *committer.finish().err().unwrap();
        }
        assert_eq!(committer.finish().ok().unwrap().0.root(), expected, "seed {seed}");
    }
}

/// A stride in which the host fails is taken up where it stopped, also from a snapshot.
#[test]
fn a_failed_stride_is_finished_later() {
    let text = b"some preimage";
    let key = keccak256(text);
    let start = || {
        let mut code = vec![addi(5, 5, 1); 21];
        code.extend([ECALL, addi(5, 5, 1), addi(5, 5, 1), addi(17, 0, 93), ECALL]);
        let mut machine = machine(&code);
        poke(&mut machine, DATA, &key[..]);
        set(&mut machine, &[(17, 0x1001), (10, DATA + 32), (11, DATA), (12, 0), (13, 0)]);
        machine
    };
    let mut host = Store::default();
    host.insert(text);
    let shape = Shape::new(3, 3).unwrap();
    let mut uninterrupted = Committer::new(start(), shape);
    uninterrupted.advance(&mut host, u64::MAX, |_| {}).unwrap();
    let expected = uninterrupted.finish().ok().unwrap().0.root();
    let mut committer = Committer::new(start(), shape);
    let failed = committer.advance(&mut Store::default(), u64::MAX, |_| {});
    assert_eq!(failed, Err(Missing(key)));
    assert_eq!(committer.machine().steps(), 21);
    let mut bytes = Vec::new();
    committer.save(&mut bytes);
    let mut committer = Committer::restore(&bytes, shape, MEMORY).ok().unwrap();
    assert_eq!(committer.advance(&mut host, u64::MAX, |_| {}), Ok(true));
    assert_eq!(committer.finish().ok().unwrap().0.root(), expected);
}

#[test]
fn machines_survive_saving() {
    for seed in 0..10 {
        let mut machine = random_machine(seed, 100);
        machine.run(&mut Store::default(), 40).unwrap();
        let mut bytes = Vec::new();
        machine.save(&mut bytes);
        let mut restored = Machine::restore(&bytes, MEMORY).ok().unwrap();
        assert_eq!(restored.state_hash(), machine.state_hash());
        assert_eq!(restored.steps(), machine.steps());
        assert_eq!(restored.resident_bytes(), machine.resident_bytes());
        machine.run(&mut Store::default(), u64::MAX).unwrap();
        restored.run(&mut Store::default(), u64::MAX).unwrap();
        assert_eq!(restored.state_hash(), machine.state_hash());
        let resident = restored.resident_bytes();
        bytes.clear();
        restored.save(&mut bytes);
        let too_small = Machine::restore(&bytes, resident - 1).err();
        assert_eq!(too_small, Some(SnapshotError::TooLarge));
        assert!(Machine::restore(&bytes, resident).is_ok());
    }
}

#[test]
fn spoilt_snapshots_are_refused() {
    let shape = Shape::new(2, 8).unwrap();
    let mut committer = Committer::new(random_machine(3, 60), shape);
    committer.advance(&mut Store::default(), 5, |_| {}).unwrap();
    let mut bytes = Vec::new();
    committer.save(&mut bytes);
    assert!(Committer::restore(&bytes, shape, MEMORY).is_ok());
    let refused = |bytes: &[u8]| Committer::restore(bytes, shape, MEMORY).err();
    for length in (0..700).chain((700..bytes.len()).step_by(97)) {
        assert!(refused(&bytes[..length]).is_some(), "{length} bytes");
    }
    assert_eq!(refused(&[&bytes[..], &[0]].concat()), Some(SnapshotError::Malformed));
    let other = Shape::new(2, 9).unwrap();
    assert_eq!(Committer::restore(&bytes, other, MEMORY).err(), Some(SnapshotError::Shape));
    // Everything but the earlier leaves and the machine's step count is checked against a hash.
    let header = 8 + 2 + 8 + 4;
    let leaves = header..header + 4 * 32;
    let mut rng = StdRng::seed_from_u64(4);
    for _ in 0..600 {
        let at = match rng.random_range(0..3) {
            0 => rng.random_range(0..header + 5 * 32 + 500),
            _ => rng.random_range(0..bytes.len()),
        };
        let mut spoilt = bytes.clone();
        spoilt[at] ^= 1 << rng.random_range(0..8);
        if leaves.contains(&at) {
            continue;
        }
        if let Ok(mut committer) = Committer::restore(&spoilt, shape, MEMORY) {
            // A false step count or origin may fit; then the run goes on all the same.
            let steps = header + 5 * 32 + 8..header + 5 * 32 + 16;
            assert!(steps.contains(&at) || (10..18).contains(&at), "byte {at}");
            committer.advance(&mut Store::default(), u64::MAX, |_| {}).unwrap();
        }
    }
}

/// It is complete with its first leaf, so none can be missing that lies behind.
#[test]
fn a_halted_machine_without_leaves_is_restored_only_within_its_first_stride() {
    let shape = Shape::new(2, 8).unwrap();
    let halted = || {
        let mut machine = random_machine(3, 60);
        machine.run(&mut Store::default(), u64::MAX).unwrap();
        assert_ne!(machine.status(), Status::Running);
        machine
    };
    let expected = commit(halted(), shape).root();
    let mut bytes = Vec::new();
    Committer::new(halted(), shape).save(&mut bytes);
    let steps = halted().steps();
    for origin in [steps, steps - 1, steps - 3, steps - 4, 0, steps + 1, u64::MAX] {
        bytes[10..18].copy_from_slice(&origin.to_be_bytes());
        let restored = Committer::restore(&bytes, shape, MEMORY);
        if steps.checked_sub(origin).is_none_or(|past| past >= shape.stride()) {
            assert_eq!(restored.err(), Some(SnapshotError::Malformed), "{origin} of {steps}");
            continue;
        }
        let mut restored = *restored.ok().unwrap().finish().err().expect("a leaf is missing");
        assert_eq!(restored.advance(&mut Store::default(), u64::MAX, |_| {}), Ok(true));
        let (commitment, _) = restored.finish().ok().unwrap();
        assert_eq!((commitment.root(), commitment.known_leaves()), (expected, 1));
    }
}

#[test]
fn impossible_shapes() {
    assert!(Shape::new(0, Shape::MAX_LEAVES).is_ok());
    assert!(Shape::new(0, Shape::MAX_LEAVES + 1).is_err());
    assert!(Shape::new(43, 20).is_ok());
    assert!(Shape::new(44, 20).is_err());
    assert!(Shape::new(255, 24).is_err());
    assert_eq!(Shape::new(20, 20), Ok(Shape::RUN));
    assert_eq!(Shape::new(0, 20), Ok(Shape::STRIDE));
}
