use super::super::compute::unknown;
use super::*;
use crate::leaves::StepError;
use crate::{
    leaves::tests::random_log,
    verify::tests::{PANICS, faulty_guest},
};
use annex_settle::{Match, RangeView, RunJob, Tournament};

/// The machine fails a step that the native program takes: from there on FAULT is what this node claims.
#[test]
fn a_run_that_fails_is_the_truth() {
    let mut followed = random_log(500, 4, false);
    let before = followed.leaves.len();
    followed.chain.beneficiary = PANICS;
    followed.chain.grow(1);
    followed.post();
    let leaves = &followed.leaves;
    // The block's step is one of the last batch's.
    let block = |index: &usize| {
        let at = |index| followed.knowledge().at(index as u64).unwrap().unwrap().block;
        at(*index) < at(index + 1)
    };
    let fails = (before - 1..leaves.len() - 1).find(block).expect("a step that makes a block");

    let progress = Arc::new(Progress::default());
    let end = followed.chain.record.index + 1;
    progress.set_next_record(end);
    let mut knowledge =
        Knowledge::new(followed.chain.store.clone(), followed.knowledge(), progress);
    let accumulator = followed.chain.record.accumulator;
    let from = |start: usize| RangeView {
        start: leaves[start],
        end,
        end_accumulator: accumulator,
        ..RangeView::default()
    };
    let view = View { ranges: vec![from(0), from(fails), from(fails + 1)], ..View::default() };
    let range = |knowledge: &mut Knowledge, start: usize| {
        let need = Need::Range { start: leaves[start], end };
        knowledge.look_up(vec![need], &view).unwrap();
        match knowledge.book().range(leaves[start], end) {
            Lookup::Known(range) => range.clone(),
            Lookup::Unknown(_, reason) => panic!("{reason:?}"),
        }
    };
    let native = range(&mut knowledge, 0);
    assert_eq!(native.tree.last(), leaves[leaves.len() - 1]);

    let claim = followed.claim(fails as u64).unwrap();
    let mut job = RunJob::new(&faulty_guest(), claim.input.hash());
    while !job.advance(&claim.preimages, 1).unwrap() {}
    let run = job.finish().unwrap_or_else(|_| panic!("it is complete"));
    let (of, fault) = (leaves[fails], fault_leaf(leaves[fails]));
    assert_eq!(run.leaf_after(of), fault);
    knowledge.learn((Need::Run { leaf: of }, Ok(Answer::Run(run))));
    assert!(matches!(knowledge.book().range(leaves[0], end), Lookup::Unknown(..)));
    assert!(matches!(knowledge.book().run(of), Lookup::Known(_)));

    for start in [0, fails] {
        let truth = range(&mut knowledge, start);
        let made = leaves[start + 1..=fails].iter().chain([&fault]);
        assert!((0..).zip(made).all(|(at, leaf)| truth.tree.leaf(at) == Some(*leaf)));
        assert_eq!(truth.tree.last(), fault);
        assert_eq!(truth.last, Output::Fault { of });
    }
    // What does not contain the step is as it was.
    assert_eq!(range(&mut knowledge, fails + 1).tree.last(), leaves[leaves.len() - 1]);
    knowledge.look_up(vec![Need::Opening { leaf: fault }], &view).unwrap();
    assert_eq!(knowledge.book().opening(fault), Lookup::Known(&Opening::FaultOf(of)));
}

/// A step that cannot be put together fails at once: if it were asked for at once, too, a core would do nothing else.
#[test]
fn what_cannot_be_had_is_asked_for_again_after_a_while() {
    let followed = random_log(501, 1, false);
    let leaf = followed.leaves[0];
    let agreed = Match { agreed: leaf, ..Match::default() };
    let tournament = Tournament { matches: vec![agreed], ..Tournament::default() };
    let view = View { tournaments: vec![tournament], ..View::default() };
    let need = Need::Run { leaf };
    for error in [
        StepError::UnknownLeaf(3),
        StepError::Replaced(3),
        StepError::UnknownRecord(3),
        StepError::Store(StoreError::UnknownBlock(3)),
    ] {
        let store = followed.chain.store.clone();
        let mut knowledge = Knowledge::new(store, followed.knowledge(), Arc::default());
        let reason_of = |knowledge: &Knowledge| match knowledge.book().run(leaf) {
            Lookup::Unknown(_, reason) => reason,
            Lookup::Known(_) => panic!("nothing was put in"),
        };
        knowledge.learn((need, Err(unknown(error, 3))));
        for _ in 0..3 {
            assert!(!knowledge.is_due());
            knowledge.update(&view).unwrap();
            assert_ne!(reason_of(&knowledge), Reason::NotBegun);
        }
        knowledge.retries.insert(need, Instant::now());
        assert!(knowledge.is_due());
        knowledge.update(&view).unwrap();
        assert_eq!(reason_of(&knowledge), Reason::NotBegun);
        assert!(!knowledge.is_due());
    }
}
