mod bad_input;
mod properties;
mod world;

use super::*;
use crate::Head;
use alloy_primitives::Address;
use annex_types::{BLOCK_GAS_LIMIT, BatchBlock, BlockAttributes, RecoveredTransaction};
use world::{Event, World, block, transfer};

/// Genesis at second 1,000.
const T0: u64 = 1_000;

#[test]
fn blocks_of_a_batch_apply_in_order() {
    let mut world = World::new(T0);
    world.force(T0 + 5, 100_000);
    let blocks = [block(T0 + 5, 1, 1, vec![transfer(0)]), block(T0 + 6, 1, 0, vec![transfer(1)])];
    world.batch(T0 + 12, 1, &blocks);
    let (events, derivation) = world.run();
    assert_eq!(
        events,
        [
            Event::Exhausted(0),
            Event::Exhausted(1),
            Event::Applied { record: 2, block: Some(0), forced: 1 },
            Event::Applied { record: 2, block: Some(1), forced: 0 },
            Event::Exhausted(2),
        ]
    );
    assert_eq!(derivation.cursor(), Cursor { record: 3, block: 0, forced: 1 });
    assert_eq!(derivation.head().timestamp, T0 + 6);
    assert_eq!(derivation.head().origin, 1);
}

#[test]
fn an_empty_batch_is_no_failure() {
    let mut world = World::new(T0);
    world.data(T0 + 12, 0, Vec::new());
    assert_eq!(world.run().0, [Event::Exhausted(0), Event::Exhausted(1)]);
}

#[test]
fn attributes_are_the_origins() {
    let mut world = World::new(T0);
    world.force(T0 + 5, 100_000);
    world.batch(T0 + 12, 0, &[block(T0 + 7, 1, 0, vec![transfer(0)])]);
    let mut derivation = world.derivation();
    let step = world.next_block(&mut derivation);
    let record = &world.records[1];
    let origin = Origin { index: 1, accumulator: record.accumulator, env: record.env };
    assert_eq!(step.input.attributes.origin, origin);
    assert_eq!(step.input.attributes.timestamp, T0 + 7);
    assert_eq!(step.input.attributes.beneficiary, world::BENEFICIARY);
    assert_eq!(step.input.attributes.blocks_in_second, 1);
    assert_eq!(step.input.transactions[0].sender, world::sender());
}

/// Items of 12M gas: two fit 30M, three do not.
#[test]
fn what_a_batch_leaves_out_becomes_derived_blocks() {
    let mut world = World::new(T0);
    for _ in 0..5 {
        world.force(T0 + 5, 12_000_000);
    }
    world.data(T0 + 30, 5, Vec::new());
    let mut derivation = world.derivation();
    for (items, in_second) in [(2, 0), (2, 0), (1, 0)] {
        let step = world.next_block(&mut derivation);
        assert_eq!((step.record, step.block), (6, None));
        assert_eq!(step.input.forced.len(), items);
        let attributes = step.input.attributes;
        assert_eq!(attributes.timestamp, T0 + 30);
        assert_eq!(attributes.origin.index, 5);
        assert_eq!(attributes.beneficiary, world::SUBMITTER);
        assert_eq!(attributes.blocks_in_second, in_second);
        world.apply(&mut derivation, &step);
        assert_eq!(derivation.cursor().block, PAYLOAD_OVER);
    }
    assert_eq!(derivation.step(), Some(Step::Exhausted { record: 6, skipped: None }));
    assert_eq!(derivation.cursor(), Cursor { record: 7, block: 0, forced: 5 });
}

#[test]
fn derived_blocks_take_only_what_the_batch_covers() {
    let mut world = World::new(T0);
    for _ in 0..3 {
        world.force(T0 + 5, 100_000);
    }
    world.data(T0 + 30, 2, Vec::new());
    let mut derivation = world.derivation();
    assert_eq!(world.next_block(&mut derivation).input.forced.len(), 2);
}

#[test]
fn derived_blocks_do_not_count_in_their_second_and_never_go_back_in_time() {
    let mut world = World::new(T0);
    // Five seconds of drift ahead of the record.
    world.batch(T0 + 10, 0, &[block(T0 + 15, 0, 0, vec![transfer(0)])]);
    world.force(T0 + 11, 100_000);
    world.data(T0 + 12, 1, Vec::new());
    let (_, derivation) = world.run();
    assert_eq!(derivation.head().timestamp, T0 + 15);
    assert_eq!(derivation.head().blocks_in_second, 1);
    assert_eq!(derivation.head().forced_count, 1);
}

#[test]
fn a_block_is_named_again_until_it_is_reported() {
    let mut world = World::new(T0);
    world.batch(T0 + 12, 0, &[block(T0 + 7, 0, 0, vec![transfer(0)])]);
    let mut derivation = world.derivation();
    let step = world.next_block(&mut derivation);
    assert_eq!(derivation.step(), Some(Step::Block(step)));
}

/// Data names as parent the derived block that its own rejection leads to: it must not be judged a second time on that head,
/// not even by a node that was restarted in between.
#[test]
fn data_is_never_judged_on_the_head_it_made() {
    let mut world = World::new(T0);
    world.force(T0 + 5, 100_000);
    world.data(T0 + 12, 1, Vec::new());
    let (_, derivation) = world.run();
    let derived = derivation.head().hash;

    let mut world = World::new(T0);
    world.force(T0 + 5, 100_000);
    world.batch_on(derived, T0 + 12, 1, &[block(T0 + 13, 1, 0, vec![transfer(0)])]);
    let expected = [
        Event::Exhausted(0),
        Event::Exhausted(1),
        Event::Applied { record: 2, block: None, forced: 1 },
        Event::Exhausted(2),
    ];
    assert_eq!(world::without_skips(&world.run().0), expected);
    assert_eq!(world::without_skips(&world.run_restarting().0), expected);
}

#[test]
fn a_checkpoint_names_what_a_restart_needs() {
    let mut world = World::new(T0);
    world.force(T0 + 1, 100_000); // record 1, stays unconsumed
    world.force(T0 + 2, 100_000);
    world.batch(T0 + 12, 0, &[block(T0 + 7, 2, 0, vec![transfer(0)])]);
    let (_, derivation) = world.run();
    let checkpoint = derivation.checkpoint();
    assert_eq!(checkpoint.cursor, Cursor { record: 4, block: 0, forced: 0 });
    assert_eq!(checkpoint.first_record, 1, "the item, though the origin is record 2");

    // Nothing forgotten when restarted twice before the records are back.
    let resumed = Derivation::resume(world.config.clone(), &world.genesis, &checkpoint);
    let resumed = resumed.expect("genesis header");
    assert_eq!(resumed.checkpoint(), checkpoint);
    assert_eq!(resumed.next_record(), 1);
    assert!(resumed.next_is_exhausted());
}

#[test]
fn memory_is_bounded_by_the_origin() {
    let mut world = World::new(T0);
    for i in 1..200 {
        let at = T0 + 12 * i;
        world.batch(at, 0, &[block(at, i - 1, 0, vec![transfer(i)])]);
        world.follow();
    }
    let (events, derivation) = world.run();
    assert_eq!(events.len(), 1 + 2 * 199);
    assert!(derivation.records.len() <= 3, "{} records kept", derivation.records.len());
}

#[test]
fn a_log_that_no_inbox_writes_is_an_error() {
    let mut world = World::new(T0);
    world.force(T0 + 1, 100_000);
    world.data(T0 + 12, 1, Vec::new());
    let records = world.records.clone();
    let mut derivation = world.derivation_at_genesis();
    assert_eq!(
        derivation.push(records[1].clone(), &[]),
        Err(LogError::Gap { expected: 0, got: 1 })
    );
    let mut no_genesis = records[1].clone();
    no_genesis.index = 0;
    assert_eq!(derivation.push(no_genesis, &[]), Err(LogError::Genesis));
    assert_eq!(derivation.push(records[0].clone(), &[]), Ok(()));

    let forced = |change: &dyn Fn(&mut ForcedItem)| {
        let mut record = records[1].clone();
        if let RecordPayload::Forced(item) = &mut record.payload {
            change(item);
        }
        record
    };
    assert_eq!(
        derivation.push(forced(&|item| item.index = 1), &[]),
        Err(LogError::ForcedIndex { expected: 0, got: 1 })
    );
    assert_eq!(
        derivation.push(forced(&|item| item.gas_limit = TX_GAS_LIMIT_CAP + 1), &[]),
        Err(LogError::ForcedGas)
    );
    assert_eq!(derivation.push(forced(&|_| ()), &[]), Ok(()));

    let batch = |change: &dyn Fn(&mut BatchRecord)| {
        let mut record = records[2].clone();
        if let RecordPayload::Batch(batch) = &mut record.payload {
            change(batch);
        }
        record
    };
    assert_eq!(
        derivation.push(batch(&|batch| batch.forced_up_to = 2), &[]),
        Err(LogError::ForcedUpTo { from: 0, to: 1, got: 2 })
    );
    let blobs = |n: usize| batch(&|batch| batch.data = BatchData::Blobs(vec![B256::ZERO; n]));
    assert_eq!(derivation.push(blobs(2), &[]), Err(LogError::Blobs { expected: 2, got: 0 }));
    assert_eq!(derivation.push(blobs(0), &[]), Err(LogError::Blobs { expected: 1, got: 0 }));
    assert_eq!(derivation.push(records[2].clone(), &[]), Ok(()));
    let mut earlier = batch(&|batch| batch.forced_up_to = 0);
    earlier.index = 3;
    assert_eq!(derivation.push(earlier, &[]), Err(LogError::ForcedUpTo { from: 1, to: 1, got: 0 }));
}

#[test]
fn a_derived_block_cannot_be_rejected() {
    let mut world = World::new(T0);
    world.force(T0 + 1, 100_000);
    world.data(T0 + 12, 1, Vec::new());
    let mut derivation = world.derivation();
    let step = world.next_block(&mut derivation);
    assert_eq!(derivation.rejected(), Err(LogError::DerivedBlock));
    assert_eq!(derivation.step(), Some(Step::Block(step)));
}

#[test]
fn a_header_of_another_chain_is_refused() {
    let world = World::new(T0);
    assert!(Derivation::new(world.config.clone(), &Header::default()).is_err());
    assert_eq!(Head::of(&world.genesis).map(|head| head.timestamp), Ok(T0));
}
