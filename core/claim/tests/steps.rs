//! Leaf by leaf from preimages, natively and in the machine, against a follower of the same log.
#![allow(clippy::unwrap_used)] // A failed expectation is a failed test.

mod chain;

use alloy_eips::eip4844::Blob;
use alloy_primitives::{Address, B256, Bytes, Signature, U256, keccak256};
use annex_claim::{
    ClaimError, ClaimInput, Impossible, Kind, Leaf, MAX_PREIMAGE, Missing, OutputRoot, PROGRAM,
    PreimageError, Preimages, Transition, step,
};
use annex_derive::Cursor;
use annex_riscv::{Program, Status};
use annex_types::{BatchData, ForcedItem, Transaction};
use chain::{
    Chain, ETHER, Leap, Reading, What, address, contract, deposit, execute, payload, predeploys,
    sign, transfer,
};
use proptest::prelude::*;

/// The step from the preimages it reads alone, checked against the follower's; those preimages.
fn check(chain: &Chain, leap: &Leap) -> (ClaimInput, Preimages) {
    let (input, preimages) = chain.prepare(leap);
    assert_eq!(
        input.leaf(),
        Leaf { output: OutputRoot::of(&leap.head), cursor: leap.cursor }.hash()
    );
    let reading = Reading::new(&preimages);
    step(input.hash(), &reading).unwrap();
    let minimal = reading.minimal();
    let step = step(input.hash(), &minimal).unwrap();
    assert_eq!(step.leaf, leap.leaf, "at {:?}", leap.cursor);
    let what = match step.transition {
        Transition::Applied { block, derived } => {
            assert_eq!(OutputRoot::of(&block.header), leap.leaf.output);
            What::Applied { derived }
        }
        Transition::Rejected(reason) => What::Rejected(reason),
        Transition::Exhausted { skipped } => What::Exhausted(skipped),
    };
    // Why data yielded nothing is told when it is read: a follower remembers it over derived blocks, a step does not.
    let forgotten =
        matches!((&what, &leap.what), (What::Exhausted(None), What::Exhausted(Some(_))));
    assert!(what == leap.what || forgotten, "{what:?} instead of {:?}", leap.what);
    (input, minimal)
}

fn program() -> Program {
    Program::from_elf(PROGRAM).unwrap()
}

fn words(words: [u64; 2]) -> Bytes {
    words.iter().flat_map(|word| U256::from(*word).to_be_bytes::<32>()).collect()
}

fn store(nonce: u64, slot: u64, value: u64) -> Transaction {
    sign(0, transfer(nonce, contract(0), words([slot, value])))
}

fn unsigned(nonce: u64) -> Transaction {
    let Transaction::Eip1559(signed) = sign(0, transfer(nonce, address(1), Bytes::new())) else {
        unreachable!("signed as EIP-1559")
    };
    let invalid = Signature::new(U256::ZERO, U256::ONE, false);
    Transaction::Eip1559(alloy_consensus::Signed::new_unhashed(signed.tx().clone(), invalid))
}

/// Deposits count as nonces: user 0 begins at 1. Every kind of record, and of what a step can do with it.
fn scenario() -> Chain {
    let mut chain = Chain::new(predeploys());
    for user in 0..3 {
        chain.force(deposit(user, 100 * ETHER));
    }
    let first = chain.block(2, vec![]);
    let second = chain.block(1, vec![sign(0, transfer(1, address(1), Bytes::new()))]);
    chain.batch(chain.payload(vec![first, second]), 3, false);
    let blocks = vec![
        chain.block(0, vec![store(2, 7, 9), store(3, 8, 9)]),
        chain.block(0, vec![store(4, 7, 0), sign(1, transfer(1, contract(1), words([0, 0])))]),
    ];
    chain.batch(chain.payload(blocks), 3, true);

    // Data that yields nothing.
    chain.batch(vec![], 3, false);
    chain.batch(vec![1, 2, 3], 3, false);
    chain.batch(vec![0; 40], 3, true);
    let elsewhere = payload(B256::ZERO, vec![chain.block(0, vec![store(5, 1, 1)])]);
    chain.batch(elsewhere, 3, false);
    let mut element = Blob::ZERO;
    element[64] = 1;
    let hashes = vec![chain::versioned_hash(&element)];
    chain.batch_of(BatchData::Blobs(hashes), vec![element], 3);

    // A good block, one that cannot execute, one that is not looked at; forced items left for derived blocks.
    let huge = |data: &'static [u8]| ForcedItem {
        gas_limit: 1 << 24,
        to: contract(0),
        value: U256::ZERO,
        data: Bytes::from_static(data),
        ..deposit(1, 0)
    };
    chain.force(huge(&[0xff; 64]));
    chain.force(huge(&[0xff; 64]));
    chain.force(ForcedItem {
        is_creation: true,
        to: Address::ZERO,
        ..huge(&[0x60, 0, 0x60, 0, 0xf3])
    });
    let blocks = vec![
        chain.block(1, vec![store(5, 3, 3)]),
        chain.block(0, vec![store(99, 3, 4)]),
        chain.block(0, vec![store(6, 3, 5)]),
    ];
    chain.batch(chain.payload(blocks), 6, false);

    // Rules: a signature, a timestamp, forced items beyond the batch's.
    chain.batch(chain.payload(vec![chain.block(0, vec![unsigned(6)])]), 6, false);
    let mut late = chain.block(0, vec![store(6, 3, 5)]);
    late.timestamp += 100;
    chain.batch(chain.payload(vec![late]), 6, false);
    chain.force(deposit(2, ETHER));
    chain.force(deposit(0, ETHER));
    chain.batch(chain.payload(vec![chain.block(2, vec![])]), 7, true);
    chain.batch(chain.payload(vec![chain.block(1, vec![store(7, 3, 5)])]), 8, false);
    chain
}

#[test]
fn every_step_is_the_followers_and_needs_each_of_its_preimages() {
    let chain = scenario();
    let mut seen = [0; 5];
    for leap in &chain.leaps {
        let (input, minimal) = check(&chain, leap);
        for (kind, key) in minimal.keys() {
            let mut lacking = minimal.clone();
            assert!(lacking.remove(kind, key));
            let error = step(input.hash(), &lacking).unwrap_err();
            assert_eq!(error, ClaimError::Source(Missing { kind, key }), "at {:?}", leap.cursor);
        }
        seen[match leap.what {
            What::Applied { derived: false } => 0,
            What::Applied { derived: true } => 1,
            What::Rejected(_) => 2,
            What::Exhausted(None) => 3,
            What::Exhausted(Some(_)) => 4,
        }] += 1;
    }
    let whats: Vec<_> = chain.leaps.iter().map(|leap| (leap.cursor.record, &leap.what)).collect();
    assert_eq!(seen, [6, 3, 4, 17, 4], "the scenario is what its comments say: {whats:#?}");
}

#[test]
fn the_machine_takes_the_same_steps() {
    let (chain, program) = (scenario(), program());
    for leap in &chain.leaps {
        let (input, preimages) = check(&chain, leap);
        let (machine, printed) = execute(&program, input.hash(), &preimages);
        assert_eq!((machine.status(), machine.exit_code()), (Status::Exited, 0), "{printed}");
        assert_eq!(machine.output(), leap.leaf.hash(), "at {:?}: {printed}", leap.cursor);
    }
}

/// Forced items, and transactions: user, value, and whether a nonce is left out.
type Planned = (u64, Vec<(u8, u64, bool)>);

#[derive(Clone, Debug)]
enum Act {
    Force { user: u8, gas: u64, calls: bool },
    Batch { blocks: Vec<Planned>, covers: u64, blobs: bool, parent: bool },
    Garbage { bytes: Vec<u8>, covers: u64 },
}

fn act() -> impl Strategy<Value = Act> {
    let transaction = (0u8..3, 0u64..20, prop::bool::weighted(0.1));
    let block = (0u64..3, prop::collection::vec(transaction, 0..4));
    prop_oneof![
        3 => (0u8..3, prop_oneof![Just(100_000), Just(1 << 24), Just(20_000)], any::<bool>())
            .prop_map(|(user, gas, calls)| Act::Force { user, gas, calls }),
        4 => (prop::collection::vec(block, 1..4), 0u64..4, any::<bool>(), prop::bool::weighted(0.9))
            .prop_map(|(blocks, covers, blobs, parent)| Act::Batch { blocks, covers, blobs, parent }),
        1 => (prop::collection::vec(any::<u8>(), 0..20), 0u64..4)
            .prop_map(|(bytes, covers)| Act::Garbage { bytes, covers }),
    ]
}

fn perform(chain: &mut Chain, act: Act) {
    let up_to = |chain: &Chain, covers: u64| {
        let consumed = chain.leaps.last().map_or(0, |leap| leap.leaf.cursor.forced);
        (consumed + covers).min(chain.forced_count)
    };
    match act {
        Act::Force { user, gas, calls } => {
            let plain = deposit(user, 10 * ETHER);
            let to = if calls { contract(0) } else { plain.to };
            let data = words([gas % 7, 1]);
            chain.force(ForcedItem { gas_limit: gas, to, data, ..plain });
        }
        Act::Batch { blocks, covers, blobs, parent } => {
            let mut nonces = [0, 1, 2].map(|user| chain.nonce(user));
            let mut sealed = Vec::new();
            for (forced, transactions) in blocks {
                let mut list = Vec::new();
                for (user, value, skips) in transactions {
                    let nonce = &mut nonces[user as usize];
                    *nonce += u64::from(skips);
                    list.push(sign(
                        user,
                        transfer(*nonce, contract(0), words([value % 5, value % 3])),
                    ));
                    *nonce += 1;
                }
                sealed.push(chain.block(forced, list));
            }
            let hash = if parent { chain.head.hash_slow() } else { B256::ZERO };
            chain.batch(payload(hash, sealed), up_to(chain, covers), blobs);
        }
        Act::Garbage { bytes, covers } => chain.batch(bytes, up_to(chain, covers), false),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn random_logs_step_as_a_follower_does(acts in prop::collection::vec(act(), 1..14)) {
        let mut chain = Chain::new(predeploys());
        for user in 0..3 {
            chain.force(deposit(user, 100 * ETHER));
        }
        for act in acts {
            perform(&mut chain, act);
        }
        let mut leaf = Leaf { output: OutputRoot::of(&chain.genesis), cursor: Cursor::default() };
        for leap in &chain.leaps {
            let (input, _) = check(&chain, leap);
            prop_assert_eq!(input.leaf(), leaf.hash());
            leaf = leap.leaf;
        }
        prop_assert_eq!(leaf.output, OutputRoot::of(&chain.head));
    }
}

/// The cheapest items that the Portal takes, as many as a block holds and some more.
#[test]
fn a_queue_longer_than_a_block() {
    let mut chain = Chain::new(predeploys());
    for _ in 0..1_440 {
        chain.force(ForcedItem { gas_limit: 21_000, ..deposit(0, 1) });
    }
    chain.batch(vec![], 1_440, false);
    let blocks = chain.leaps.iter().filter(|it| it.what == What::Applied { derived: true });
    let mut consumed = Vec::new();
    for leap in blocks {
        check(&chain, leap);
        consumed.push(leap.leaf.cursor.forced);
    }
    assert_eq!(consumed, [1_428, 1_440]);
}

/// A step that executes, with its witness changed by hand.
fn with_witness(change: impl FnOnce(&mut Vec<Bytes>)) -> Result<Leaf, ClaimError<Missing>> {
    let mut chain = scenario();
    let at = chain.leaps.iter().position(|it| it.what == What::Applied { derived: false }).unwrap();
    change(&mut chain.leaps[at].witness.nodes);
    let leap = &chain.leaps[at];
    let (input, preimages) = chain.prepare(leap);
    step(input.hash(), &preimages).map(|step| {
        assert_eq!(step.leaf, leap.leaf);
        step.leaf
    })
}

#[test]
fn a_witness_may_come_in_any_order_but_not_cut_or_changed() {
    with_witness(|nodes| nodes.reverse()).unwrap();
    with_witness(|nodes| nodes.extend(nodes.clone())).unwrap();
    let spoil = |bytes: Vec<u8>, nodes: &mut Vec<Bytes>| {
        let key = keccak256(&nodes[1]);
        nodes[1] = bytes.into();
        ClaimError::Source(Missing { kind: Kind::Keccak, key })
    };
    let mut expected = None;
    let cut = with_witness(|nodes| expected = Some(spoil(nodes[1][..40].to_vec(), nodes)));
    assert_eq!(cut.err(), expected);
    let lie = with_witness(|nodes| {
        let mut bytes = nodes[1].to_vec();
        bytes[40] ^= 1;
        expected = Some(spoil(bytes, nodes));
    });
    assert_eq!(lie.err(), expected);
}

#[test]
fn preimages_are_hashed_and_bounded() {
    let mut preimages = Preimages::default();
    let bytes = Bytes::from(vec![7; MAX_PREIMAGE]);
    assert_eq!(preimages.insert(bytes.clone()).unwrap(), keccak256(&bytes));
    let long = preimages.insert(vec![7; MAX_PREIMAGE + 1].into());
    assert!(matches!(long, Err(PreimageError::TooLong(_))));
    // An element at or above the modulus is in no blob.
    let mut blob = Blob::ZERO;
    blob[..32].fill(0xff);
    assert!(matches!(preimages.insert_blob(&blob), Err(PreimageError::Blob(_))));
    let key = preimages.insert(Bytes::from(vec![1; 33])).unwrap();
    let word = |offset| preimages.word(Kind::Keccak, key, offset).unwrap();
    assert_eq!(word(0), (B256::repeat_byte(1), 33));
    assert_eq!(word(32), (B256::right_padding_from(&[1]), 33));
    assert_eq!(word(64), (B256::ZERO, 33));
    assert_eq!(word(u32::MAX - 31), (B256::ZERO, 33));
}

/// True preimages of what no chain leads to: natively an error, in the machine a panic.
#[test]
fn what_cannot_be_is_a_fault() {
    let (chain, program) = (scenario(), program());
    let leap = chain.leaps.iter().find(|leap| matches!(leap.what, What::Applied { .. })).unwrap();
    let (input, preimages) = chain.prepare(leap);
    let fault = |input: ClaimInput, preimages: &Preimages, expected: Impossible| {
        let mut preimages = preimages.clone();
        let word = preimages.insert(input.encode().into()).unwrap();
        assert_eq!(step(word, &preimages).unwrap_err(), ClaimError::Impossible(expected));
        let (machine, printed) = execute(&program, word, &preimages);
        assert_eq!((machine.status(), machine.exit_code()), (Status::Exited, 101));
        assert_eq!(machine.output(), B256::ZERO);
        assert!(printed.contains(&expected.to_string()), "{printed}");
    };
    let cursor = Cursor { forced: input.cursor.forced + 1, ..input.cursor };
    fault(ClaimInput { cursor, ..input }, &preimages, Impossible::Head);
    let cursor = Cursor { record: 0, ..input.cursor };
    fault(ClaimInput { cursor, ..input }, &preimages, Impossible::Record);
    fault(ClaimInput { config_hash: input.output_root, ..input }, &preimages, Impossible::Words);
    fault(ClaimInput { accumulator: input.config_hash, ..input }, &preimages, Impossible::Words);

    let mut more = preimages.clone();
    let mut output = OutputRoot::of(&leap.head);
    output.state_root = B256::ZERO;
    let output_root = more.insert(output.encode().into()).unwrap();
    fault(ClaimInput { output_root, ..input }, &more, Impossible::Head);

    // A state root that is no node: here the header's own hash.
    let mut head = leap.head.clone();
    head.state_root = head.hash_slow();
    let mut more = preimages.clone();
    more.insert(alloy_rlp::encode(&head).into()).unwrap();
    let output = OutputRoot::of(&head);
    let output_root = more.insert(output.encode().into()).unwrap();
    // The payload stands on another head now, so its items come in a derived block, which reads the state.
    fault(ClaimInput { output_root, ..input }, &more, Impossible::State);
}

#[test]
fn a_machine_without_a_preimage_stops_and_names_it() {
    let (chain, program) = (scenario(), program());
    let leap = chain.leaps.iter().find(|leap| matches!(leap.what, What::Applied { .. })).unwrap();
    let (input, mut preimages) = chain.prepare(leap);
    let key = leap.head.hash_slow();
    preimages.remove(Kind::Keccak, key);
    let mut machine = annex_riscv::Machine::boot(&program, input.hash());
    let mut host = chain::Served { preimages: &preimages, printed: String::new() };
    let error = machine.run(&mut host, 1 << 30).unwrap_err();
    assert_eq!(error, Missing { kind: Kind::Keccak, key });
    assert_eq!(machine.status(), Status::Running);
}
