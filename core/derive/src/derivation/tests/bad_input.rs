//! Everything bad that L1 can carry: each has its reason, and the chain goes on as if it were not there.

use super::world::{Event, POISON, World, badly_signed, block, compress, payload, transfer};
use super::*;

const GOOD_AT: u64 = T0 + 12;

/// Appends a batch with a forced item, then a good one: checks what became of both.
fn reason_of(bad: impl FnOnce(&mut World)) -> Skip {
    let mut world = World::new(T0);
    world.force(T0 + 1, 100_000);
    bad(&mut world);
    world.follow();
    world.batch(T0 + 40, 1, &[block(T0 + 20, 1, 0, vec![transfer(0)])]);
    let (events, derivation) = world.run();
    let [
        Event::Exhausted(0),
        Event::Exhausted(1),
        Event::Applied { record: 2, block: None, forced: 1 },
        Event::Skipped(2, skip),
        Event::Exhausted(2),
        Event::Applied { record: 3, block: Some(0), forced: 0 },
        Event::Exhausted(3),
    ] = &events[..]
    else {
        panic!("{events:?}");
    };
    assert_eq!(derivation.cursor(), Cursor { record: 4, block: 0, forced: 1 });
    *skip
}

fn good_payload() -> Vec<u8> {
    let genesis = World::new(T0).genesis.hash_slow();
    payload(genesis, &[block(T0 + 5, 1, 1, vec![transfer(0)])])
}

#[test]
fn garbage_payload() {
    let garbage: Vec<u8> = (0..2000u32).map(|i| ((i * 7919) >> 3) as u8 & 0xfe).collect();
    let reason = reason_of(|world| world.data(GOOD_AT, 1, [&[0], &garbage[..]].concat()));
    assert_eq!(reason, Skip::Payload(BatchError::Compression));
    let reason = reason_of(|world| world.data(GOOD_AT, 1, compress(b"no content")));
    assert_eq!(reason, Skip::Payload(BatchError::Truncated));
}

#[test]
fn truncated_payload() {
    let good = good_payload();
    let reason = reason_of(|world| world.data(GOOD_AT, 1, good[..good.len() - 1].to_vec()));
    assert_eq!(reason, Skip::Payload(BatchError::Compression));
}

#[test]
fn truncated_blob() {
    let mut noise = Vec::new();
    while noise.len() < 200_000 {
        noise.extend_from_slice(alloy_primitives::keccak256(noise.len().to_be_bytes()).as_slice());
    }
    let mut blobs = batch::pack_blobs(&noise);
    blobs.truncate(1);
    let reason = reason_of(|world| world.blobs(GOOD_AT, 1, blobs));
    assert_eq!(reason, Skip::Payload(BatchError::BlobLength));
}

#[test]
fn blob_that_is_no_packing() {
    let reason = reason_of(|world| world.blobs(GOOD_AT, 1, vec![Blob::repeat_byte(0x11)]));
    assert_eq!(reason, Skip::Payload(BatchError::BlobElement));
}

#[test]
fn decompression_bomb() {
    let bomb = compress(&vec![0; Limits::SPEC.max_content + 1]);
    assert!(bomb.len() < 2000);
    let reason = reason_of(|world| world.data(GOOD_AT, 1, bomb));
    assert_eq!(reason, Skip::Payload(BatchError::Compression));
}

#[test]
fn wrong_version() {
    let mut data = good_payload();
    data[0] = 9;
    let reason = reason_of(|world| world.data(GOOD_AT, 1, data));
    assert_eq!(reason, Skip::Payload(BatchError::Version));
}

#[test]
fn wrong_parent_hash() {
    let named = B256::repeat_byte(0xab);
    let head = World::new(T0).genesis.hash_slow();
    let blocks = [block(T0 + 5, 1, 1, vec![transfer(0)])];
    let reason = reason_of(|world| world.batch_on(named, GOOD_AT, 1, &blocks));
    assert_eq!(reason, Skip::WrongParent { named, head });
}

#[test]
fn duplicate_batch() {
    let mut world = World::new(T0);
    let blocks = [block(T0 + 5, 0, 0, vec![transfer(0)])];
    world.batch(GOOD_AT, 0, &blocks);
    world.batch(GOOD_AT + 12, 0, &blocks);
    let named = world.genesis.hash_slow();
    let (events, derivation) = world.run();
    let head = derivation.head().hash;
    assert_eq!(
        events[1..],
        [
            Event::Applied { record: 1, block: Some(0), forced: 0 },
            Event::Exhausted(1),
            Event::Skipped(2, Skip::WrongParent { named, head }),
            Event::Exhausted(2),
        ]
    );
}

/// `forcedUpTo` of the record covers one item, the payload takes two.
#[test]
fn lying_forced_up_to() {
    let mut world = World::new(T0);
    world.force(T0 + 1, 100_000);
    world.force(T0 + 2, 100_000);
    world.batch(GOOD_AT, 1, &[block(T0 + 5, 2, 2, vec![])]);
    assert_eq!(
        world.run().0[3..],
        [
            Event::Rejected { record: 3, block: 0, reason: Rejection::ForcedBeyondBatch },
            Event::Applied { record: 3, block: None, forced: 1 },
            Event::Exhausted(3),
        ]
    );
}

#[test]
fn block_that_fails_half_way() {
    let mut world = World::new(T0);
    world.force(T0 + 1, 100_000);
    let poisoned = block(T0 + 6, 1, 1, vec![transfer(1), transfer(POISON)]);
    let blocks =
        [block(T0 + 5, 1, 0, vec![transfer(0)]), poisoned, block(T0 + 7, 1, 0, vec![transfer(2)])];
    world.batch(GOOD_AT, 1, &blocks);
    let expected = [
        Event::Applied { record: 2, block: Some(0), forced: 0 },
        Event::Failed { record: 2, block: Some(1) },
        Event::Applied { record: 2, block: None, forced: 1 },
        Event::Exhausted(2),
    ];
    assert_eq!(world.run().0[2..], expected);
    assert_eq!(world.run_restarting().0[2..], expected);
}

/// The outcome of one block in one batch, with a forced item at record 1, `T0 + 1`.
fn outcome(at: u64, bad: BatchBlock) -> Event {
    let mut world = World::new(T0);
    world.force(T0 + 1, 100_000);
    world.force(T0 + 30, 100_000);
    world.batch(at, 1, &[bad]);
    world.run().0.swap_remove(3)
}

fn rejected(reason: Rejection) -> Event {
    Event::Rejected { record: 3, block: 0, reason }
}

const APPLIED: Event = Event::Applied { record: 3, block: Some(0), forced: 0 };

fn one() -> Vec<annex_types::Transaction> {
    vec![transfer(0)]
}

#[test]
fn empty_block() {
    assert_eq!(outcome(T0 + 40, block(T0 + 5, 1, 0, vec![])), rejected(Rejection::Empty));
}

#[test]
fn origin_beyond_the_batch() {
    assert_eq!(outcome(T0 + 40, block(T0 + 35, 2, 0, one())), APPLIED);
    for origin in [3, 4, u64::MAX] {
        let bad = block(T0 + 40, origin, 0, one());
        assert_eq!(outcome(T0 + 40, bad), rejected(Rejection::OriginOutOfRange));
    }
}

#[test]
fn origin_below_the_parents() {
    let mut world = World::new(T0);
    world.force(T0 + 1, 100_000);
    world.batch(T0 + 12, 0, &[block(T0 + 5, 1, 0, one())]);
    world.follow();
    world.batch(T0 + 24, 0, &[block(T0 + 5, 0, 0, vec![transfer(1)])]);
    let expected = Event::Rejected { record: 3, block: 0, reason: Rejection::OriginOutOfRange };
    assert_eq!(world.run().0[4], expected);
}

#[test]
fn timestamp_before_the_origins() {
    assert_eq!(outcome(T0 + 40, block(T0 + 30, 2, 0, one())), APPLIED);
    let bad = block(T0 + 29, 2, 0, one());
    assert_eq!(outcome(T0 + 40, bad), rejected(Rejection::TimestampTooOld));
}

#[test]
fn timestamp_before_the_parents() {
    assert_eq!(outcome(T0 + 40, block(T0, 0, 0, one())), APPLIED);
    let bad = block(T0 - 1, 0, 0, one());
    assert_eq!(outcome(T0 + 40, bad), rejected(Rejection::TimestampTooOld));
}

/// A leader that lets no second pass gets 32 blocks and no more.
#[test]
fn frozen_timestamp() {
    let mut world = World::new(T0);
    let blocks: Vec<_> = (0..40).map(|i| block(T0 + 5, 0, 0, vec![transfer(i)])).collect();
    world.batch(T0 + 12, 0, &blocks);
    let (events, derivation) = world.run();
    let applied = events.iter().filter(|e| matches!(e, Event::Applied { .. })).count();
    assert_eq!(applied, 32);
    let reason = Rejection::TooManyBlocksInSecond;
    assert_eq!(events[33], Event::Rejected { record: 1, block: 32, reason });
    assert_eq!(derivation.head().blocks_in_second, 32);
}

/// The count goes on across batches.
#[test]
fn frozen_timestamp_over_two_batches() {
    let mut world = World::new(T0);
    let at = |from: u64, to: u64| -> Vec<_> {
        (from..to).map(|i| block(T0 + 5, 0, 0, vec![transfer(i)])).collect()
    };
    world.batch(T0 + 12, 0, &at(0, 20));
    world.follow();
    world.batch(T0 + 13, 0, &at(20, 40));
    let reason = Rejection::TooManyBlocksInSecond;
    let expected = Event::Rejected { record: 2, block: 12, reason };
    assert!(world.run().0.contains(&expected));
}

/// However bad their signatures are: none is looked at.
#[test]
fn more_transactions_than_gas() {
    let many = |count: u64| block(T0, 0, 0, (1_000..1_000 + count).map(transfer).collect());
    assert_eq!(outcome(T0 + 40, many(1_428)), APPLIED);
    let bad = many(1_429);
    assert_eq!(outcome(T0 + 40, bad), rejected(Rejection::TooManyTransactions));
}

#[test]
fn future_timestamp() {
    assert_eq!(outcome(T0 + 40, block(T0 + 45, 2, 0, one())), APPLIED);
    for timestamp in [T0 + 46, u64::MAX] {
        let bad = block(timestamp, 2, 0, one());
        assert_eq!(outcome(T0 + 40, bad), rejected(Rejection::TimestampTooNew));
    }
}

/// The record after origin 1 is at `T0 + 30`, and the lag 600.
#[test]
fn stale_origin() {
    assert_eq!(outcome(T0 + 1000, block(T0 + 630, 1, 0, one())), APPLIED);
    let bad = block(T0 + 631, 1, 0, one());
    assert_eq!(outcome(T0 + 1000, bad), rejected(Rejection::StaleOrigin));
    // The newest origin is never stale: its successor is the batch itself.
    assert_eq!(outcome(T0 + 1000, block(T0 + 1005, 2, 0, one())), APPLIED);
}

#[test]
fn forced_item_after_the_origin() {
    let bad = block(T0 + 5, 0, 1, vec![]);
    assert_eq!(outcome(T0 + 40, bad), rejected(Rejection::ForcedBeyondOrigin));
    let good = Event::Applied { record: 3, block: Some(0), forced: 1 };
    assert_eq!(outcome(T0 + 40, block(T0 + 5, 1, 1, vec![])), good);
}

#[test]
fn forced_items_that_overflow() {
    let bad = block(T0 + 5, 1, u64::MAX, vec![]);
    assert_eq!(outcome(T0 + 40, bad), rejected(Rejection::TooManyTransactions));
}

#[test]
fn bad_signature() {
    for high in [false, true] {
        let bad = block(T0 + 5, 1, 0, vec![transfer(0), badly_signed(1, high)]);
        assert_eq!(outcome(T0 + 40, bad), rejected(Rejection::Signature));
    }
}

/// Rules are checked in the order of the table.
#[test]
fn the_first_rule_names_the_reason() {
    let bad = block(u64::MAX, 9, u64::MAX, vec![badly_signed(0, true)]);
    assert_eq!(outcome(T0 + 40, bad), rejected(Rejection::TooManyTransactions));
    let bad = block(u64::MAX, 9, 1_427, vec![badly_signed(0, true)]);
    assert_eq!(outcome(T0 + 40, bad), rejected(Rejection::OriginOutOfRange));
    let bad = block(u64::MAX, 1, 1_427, vec![badly_signed(0, true)]);
    assert_eq!(outcome(T0 + 40, bad), rejected(Rejection::TimestampTooNew));
}

#[test]
fn block_that_does_not_execute() {
    let bad = block(T0 + 5, 1, 0, vec![transfer(POISON)]);
    assert_eq!(outcome(T0 + 40, bad), Event::Failed { record: 3, block: Some(0) });
}
