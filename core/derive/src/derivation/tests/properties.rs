//! Derivation against a reading of spec/batch.md that keeps everything and optimises nothing, on random logs.

use super::world::{
    Event, World, advance, block, child, is_poisoned, payload, transfer, without_skips,
};
use super::*;
use annex_types::{ExtraData, MAX_BLOCKS_PER_SECOND, Transaction};
use proptest::collection::vec;
use proptest::prelude::*;

/// What happens on L1, in terms of what there is at that moment.
#[derive(Clone, Debug)]
enum Op {
    Force { later: u64, gas: u64 },
    Batch { later: u64, up_to: u64, blocks: Vec<Plan>, damage: u8, as_blobs: bool },
    Noise { later: u64, up_to: u64, data: Vec<u8> },
}

/// A block relative to what would be valid.
#[derive(Clone, Debug)]
struct Plan {
    later: u64,
    origin_up: u64,
    forced: u64,
    transactions: usize,
    poisoned: bool,
}

fn op() -> impl Strategy<Value = Op> {
    let plan = (prop_oneof![3 => Just(0u64), 3 => 0u64..8, 1 => 0u64..900], 0u64..3, 0u64..3);
    let plan = (plan, 0usize..3, prop::bool::weighted(0.05)).prop_map(
        |((later, origin_up, forced), transactions, poisoned)| Plan {
            later,
            origin_up,
            forced,
            transactions,
            poisoned,
        },
    );
    let later = prop_oneof![3 => 0u64..20, 1 => 0u64..900];
    let force =
        (0u64..15, 21_000u64..=TX_GAS_LIMIT_CAP).prop_map(|(later, gas)| Op::Force { later, gas });
    let batch = (later, 0u64..4, vec(plan, 0..12), 0u8..12, any::<bool>()).prop_map(
        |(later, up_to, blocks, damage, as_blobs)| Op::Batch {
            later,
            up_to,
            blocks,
            damage,
            as_blobs,
        },
    );
    let noise = (0u64..20, 0u64..3, vec(any::<u8>(), 0..200))
        .prop_map(|(later, up_to, data)| Op::Noise { later, up_to, data });
    prop_oneof![3 => force, 4 => batch, 1 => noise]
}

/// Appends what an op means, given the head and forced count that the log so far leads to.
fn append(world: &mut World, op: Op, consumed: &mut u64) {
    let now = world.records.last().map_or(0, |record| record.env.timestamp);
    match op {
        Op::Force { later, gas } => world.force(now + later, gas),
        Op::Noise { later, up_to, data } => {
            *consumed = (*consumed + up_to).min(world.forced_count);
            world.data(now + later, *consumed, data);
        }
        Op::Batch { later, up_to, blocks, damage, as_blobs } => {
            *consumed = (*consumed + up_to).min(world.forced_count);
            let mut timestamp = world.head.timestamp;
            let mut origin = ExtraData::decode(&world.head.extra_data).expect("own header").origin;
            let blocks: Vec<BatchBlock> = blocks
                .into_iter()
                .enumerate()
                .map(|(i, plan)| {
                    timestamp += plan.later;
                    origin += plan.origin_up;
                    let nonce =
                        |j| if plan.poisoned { super::world::POISON } else { (i * 3 + j) as u64 };
                    let transactions = (0..plan.transactions).map(|j| transfer(nonce(j)));
                    block(timestamp, origin, plan.forced, transactions.collect())
                })
                .collect();
            let parent = if damage == 0 { B256::ZERO } else { world.head.hash_slow() };
            let mut data = payload(parent, &blocks);
            if damage == 1 {
                let middle = data.len() / 2;
                data[middle] ^= 0x55;
            }
            if as_blobs {
                world.blobs(now + later, *consumed, batch::pack_blobs(&data));
            } else {
                world.data(now + later, *consumed, data);
            }
        }
    }
}

/// The rules table, in numbers that cannot overflow.
fn broken_rule(
    world: &World,
    parent: &Header,
    b: &BatchBlock,
    r: usize,
    up_to: u64,
) -> Option<Rejection> {
    let wide = i128::from;
    let extra = ExtraData::decode(&parent.extra_data).expect("own header");
    let time = |i: u64| wide(world.records[i as usize].env.timestamp);
    let forced_after = wide(extra.forced_count) + wide(b.forced);
    if b.forced == 0 && b.transactions.is_empty() {
        return Some(Rejection::Empty);
    }
    if wide(b.forced) + b.transactions.len() as i128 > 1_428 {
        return Some(Rejection::TooManyTransactions);
    }
    if b.origin < extra.origin || wide(b.origin) > r as i128 - 1 {
        return Some(Rejection::OriginOutOfRange);
    }
    if b.timestamp < parent.timestamp || wide(b.timestamp) < time(b.origin) {
        return Some(Rejection::TimestampTooOld);
    }
    if wide(b.timestamp) > time(r as u64) + wide(world.config.timestamp_drift) {
        return Some(Rejection::TimestampTooNew);
    }
    if time(b.origin + 1) + wide(world.config.max_origin_lag) < wide(b.timestamp) {
        return Some(Rejection::StaleOrigin);
    }
    if forced_after > wide(up_to) {
        return Some(Rejection::ForcedBeyondBatch);
    }
    let consumed = extra.forced_count..extra.forced_count + b.forced;
    let late = world.records.iter().any(|record| match &record.payload {
        RecordPayload::Forced(item) => consumed.contains(&item.index) && record.index > b.origin,
        _ => false,
    });
    if late {
        return Some(Rejection::ForcedBeyondOrigin);
    }
    let same = b.timestamp == parent.timestamp;
    if same && extra.blocks_in_second >= MAX_BLOCKS_PER_SECOND {
        return Some(Rejection::TooManyBlocksInSecond);
    }
    let signed = |tx: &Transaction| RecoveredTransaction::recover(tx.clone()).is_ok();
    (!b.transactions.iter().all(signed)).then_some(Rejection::Signature)
}

/// The block as the state transition gets it.
fn input(world: &World, parent: &Header, b: &BatchBlock, counted: bool) -> BlockInput {
    let extra = ExtraData::decode(&parent.extra_data).expect("own header");
    let items = world.records.iter().filter_map(|record| match &record.payload {
        RecordPayload::Forced(item) => Some(item.clone()),
        _ => None,
    });
    let before = if b.timestamp == parent.timestamp { extra.blocks_in_second } else { 0 };
    let origin = &world.records[b.origin as usize];
    BlockInput {
        attributes: BlockAttributes {
            timestamp: b.timestamp,
            beneficiary: b.beneficiary,
            origin: Origin { index: b.origin, accumulator: origin.accumulator, env: origin.env },
            blocks_in_second: before + u16::from(counted),
        },
        forced: items.skip(extra.forced_count as usize).take(b.forced as usize).collect(),
        transactions: b
            .transactions
            .iter()
            .map(|tx| RecoveredTransaction::recover(tx.clone()).expect("signed"))
            .collect(),
    }
}

/// Events of the whole log and its last head.
fn reference(world: &World) -> (Vec<Event>, Header) {
    let mut events = Vec::new();
    let mut head = world.genesis.clone();
    for (r, record) in world.records.iter().enumerate() {
        let index = record.index;
        if let RecordPayload::Batch(batch) = &record.payload {
            let skipped = payload_events(world, r, batch, &mut head, &mut events);
            derived_events(world, index, batch, &mut head, &mut events);
            events.extend(skipped.map(|skip| Event::Skipped(index, skip)));
        }
        events.push(Event::Exhausted(index));
    }
    (events, head)
}

fn payload_events(
    world: &World,
    r: usize,
    batch: &BatchRecord,
    head: &mut Header,
    events: &mut Vec<Event>,
) -> Option<Skip> {
    let data = match &batch.data {
        BatchData::Calldata(data) => Ok(data.clone()),
        BatchData::Blobs(_) => batch::unpack_blobs(&world.blobs[r]),
    };
    let decoded = data.and_then(|data| batch::decode(&data, &Limits::SPEC, super::world::CHAIN));
    let payload = match decoded {
        Err(error) => return Some(Skip::Payload(error)),
        Ok(None) => return None,
        Ok(Some(payload)) => payload,
    };
    if payload.parent_hash != head.hash_slow() {
        return Some(Skip::WrongParent { named: payload.parent_hash, head: head.hash_slow() });
    }
    let record = r as u64;
    for (b, at) in payload.blocks.iter().zip(0u64..) {
        if let Some(reason) = broken_rule(world, head, b, r, batch.forced_up_to) {
            events.push(Event::Rejected { record, block: at, reason });
            break;
        }
        let input = input(world, head, b, true);
        if is_poisoned(&input) {
            events.push(Event::Failed { record, block: Some(at) });
            break;
        }
        *head = child(head, &input);
        events.push(Event::Applied { record, block: Some(at), forced: b.forced as usize });
    }
    None
}

fn derived_events(
    world: &World,
    record: u64,
    batch: &BatchRecord,
    head: &mut Header,
    events: &mut Vec<Event>,
) {
    loop {
        let done = ExtraData::decode(&head.extra_data).expect("own header").forced_count;
        if done == batch.forced_up_to {
            return;
        }
        let mut b = block(0, record - 1, 0, Vec::new());
        b.timestamp = head.timestamp.max(world.records[record as usize].env.timestamp);
        b.beneficiary = batch.submitter;
        for count in 1..=batch.forced_up_to - done {
            b.forced = count;
            let gas: u64 = input(world, head, &b, false).forced.iter().map(|f| f.gas_limit).sum();
            if gas > BLOCK_GAS_LIMIT {
                b.forced -= 1;
                break;
            }
        }
        *head = child(head, &input(world, head, &b, false));
        events.push(Event::Applied { record, block: None, forced: b.forced as usize });
    }
}

fn world_of(ops: Vec<Op>) -> World {
    let mut world = World::new(T0);
    let mut consumed = 0;
    for op in ops {
        append(&mut world, op, &mut consumed);
        world.head = reference(&world).1;
    }
    world
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn agrees_with_the_page_however_records_arrive(ops in vec(op(), 1..20)) {
        let world = world_of(ops);
        let (expected, head) = reference(&world);
        let (events, at_once) = world.run();
        prop_assert_eq!(&events, &expected);
        let (events, one_by_one) = world.run_one_by_one();
        prop_assert_eq!(&events, &expected);
        let (events, restarting) = world.run_restarting();
        prop_assert_eq!(without_skips(&events), without_skips(&expected));
        for derivation in [at_once, one_by_one, restarting] {
            prop_assert_eq!(derivation.head(), &Head::of(&head).expect("own header"));
            prop_assert_eq!(derivation.cursor().record, world.records.len() as u64);
            prop_assert_eq!(derivation.cursor().forced, derivation.head().forced_count);
        }
    }

    /// Any split: some records, some steps, some records, a restart, and so on.
    #[test]
    fn agrees_on_arbitrary_splits(ops in vec(op(), 1..20), turns in vec((0u8..3, 1usize..6), 0..40)) {
        let world = world_of(ops);
        let (expected, _) = reference(&world);
        let mut derivation = world.derivation_at_genesis();
        let (mut head, mut events) = (world.genesis.clone(), Vec::new());
        for (turn, times) in turns {
            for _ in 0..times {
                match turn {
                    0 => { world.push_one(&mut derivation); }
                    1 => events.extend(advance(&mut derivation, &mut head).into_iter().flatten()),
                    _ => {
                        let checkpoint = derivation.checkpoint();
                        derivation = Derivation::resume(world.config.clone(), &head, &checkpoint)
                            .expect("own header");
                    }
                }
            }
        }
        world.push_rest(&mut derivation);
        while let Some(more) = advance(&mut derivation, &mut head) {
            events.extend(more);
        }
        prop_assert_eq!(without_skips(&events), without_skips(&expected));
    }

    /// Whatever the data, every record is exhausted and every due forced item consumed.
    #[test]
    fn total_on_arbitrary_data(
        data in vec(vec(any::<u8>(), 0..400), 1..6), prefix in 0u8..3, forced in 0u64..4
    ) {
        let mut world = World::new(T0);
        for _ in 0..forced {
            world.force(T0 + 1, 100_000);
        }
        for bytes in data {
            let content = [world.head.hash_slow().as_slice(), &bytes].concat();
            let bytes = match prefix {
                0 => bytes,
                1 => [&[0, 0x28, 0xb5, 0x2f, 0xfd][..], &bytes].concat(),
                _ => super::world::compress(&content),
            };
            world.data(T0 + 12, forced, bytes);
        }
        let (_, derivation) = world.run();
        prop_assert_eq!(derivation.cursor(), Cursor { record: world.records.len() as u64, block: 0, forced });
    }
}
