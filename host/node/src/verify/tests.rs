use super::*;
use crate::proofs::{
    claim_start, raw_block, records, stored,
    tests::{Chain, random_chain},
    witness,
};
use alloy_primitives::{Address, U64, U256, address};
use annex_riscv::Program;
use annex_store::Snapshot;
use rand::Rng;
use std::io::Read;

/// Beneficiaries on whose blocks the faulty guest fails (apps/guest, feature `faulty`).
pub(crate) const PANICS: Address = address!("00000000000000000000000000000000000fa117");
const LOOPS: Address = address!("000000000000000000000000000000000000100b");
const HOARDS: Address = address!("00000000000000000000000000000000000f00d5");

/// What a node serves of a block.
struct Served {
    block: ServedBlock,
    witness: ExecutionWitness,
    origin: Record,
    /// Of blocks that a batch carries.
    step: Option<(ClaimStart, Vec<RecordJson>, Vec<Blob>)>,
}

fn serve(chain: &Chain, snapshot: &Snapshot, number: u64) -> Served {
    let block = decode_block(number, &raw_block(snapshot, number).unwrap()).unwrap();
    let origin = ExtraData::decode(&block.header.extra_data).unwrap().origin;
    let step = (number <= chain.posted).then(|| {
        let start = claim_start(snapshot, chain.posted, number).unwrap();
        let (first, last): (u64, u64) = (start.first_record.to(), start.record.to());
        let list = records(snapshot, first, last + 1 - first).unwrap();
        (start, list, chain.blobs.get(&last).cloned().unwrap_or_default())
    });
    let witness = witness(&chain.config, snapshot, number, usize::MAX).unwrap();
    Served { block, witness, origin: stored(snapshot, origin).unwrap(), step }
}

/// The leaf after the block's step.
fn verify(chain: &Chain, served: &Served) -> Result<Option<B256>, VerifyError> {
    let Served { block, witness, origin, step } = served;
    if step.is_none() {
        return replay(&chain.config, block, witness, origin).map(|_| None);
    }
    let (taken, _) = take(&claim_of(chain, served)?, block, witness)?;
    Ok(Some(taken.leaf.hash()))
}

/// The step of a block that a batch carries.
fn claim_of(chain: &Chain, served: &Served) -> Result<Claim, VerifyError> {
    let (start, list, blobs) = served.step.as_ref().expect("a batch carries it");
    let list = check_records(list, start.first_record.to(), start.previous)?;
    claim(&chain.config, &served.block, start, &list, blobs, &served.witness)
}

#[test]
fn every_block_of_a_random_chain_verifies() {
    let (mut steps, mut in_blobs) = (0, 0);
    for seed in 10..14 {
        println!("seed {seed}");
        let chain = random_chain(seed);
        let snapshot = chain.store.snapshot().unwrap();
        for number in 1..=snapshot.head().unwrap().number {
            let served = serve(&chain, &snapshot, number);
            let leaf = verify(&chain, &served).unwrap_or_else(|e| panic!("block {number}: {e}"));
            assert_eq!(leaf.is_some(), number <= chain.posted, "block {number}");
            steps += usize::from(leaf.is_some());
            in_blobs += usize::from(served.step.is_some_and(|(_, _, blobs)| !blobs.is_empty()));
            // Both ways agree on every block.
            let alone = Served { step: None, ..serve(&chain, &snapshot, number) };
            verify(&chain, &alone).unwrap_or_else(|e| panic!("block {number} alone: {e}"));
        }
    }
    assert!(steps > 40 && in_blobs > 10 && in_blobs + 10 < steps, "{steps}, {in_blobs} in blobs");
}

/// A byte of an entry flipped, or the entry left out; returns the hash that is missing then, and the stray one.
fn lie(chain: &mut Chain, witness: &mut ExecutionWitness) -> (B256, Option<B256>) {
    let codes = !witness.codes.is_empty() && chain.rng.random_bool(0.3);
    let list = if codes { &mut witness.codes } else { &mut witness.state };
    let at = chain.rng.random_range(0..list.len());
    let mut entry = list.remove(at).to_vec();
    let hash = keccak256(&entry);
    if chain.rng.random() {
        return (hash, None);
    }
    let byte = chain.rng.random_range(0..entry.len());
    entry[byte] ^= chain.rng.random_range(1..=255_u8);
    list.push(entry.clone().into());
    (hash, Some(keccak256(entry)))
}

#[test]
fn an_altered_or_missing_entry_is_named() {
    let mut chain = random_chain(20);
    let snapshot = chain.store.snapshot().unwrap();
    let mut codes = 0;
    for number in 1..=snapshot.head().unwrap().number {
        for _ in 0..8 {
            let mut served = serve(&chain, &snapshot, number);
            let is_code = |hash| served.witness.codes.iter().any(|code| keccak256(code) == hash);
            let mut lying = served.witness.clone();
            let (expected, stray) = lie(&mut chain, &mut lying);
            let kind = if is_code(expected) { What::Code } else { What::TrieNode };
            codes += usize::from(kind == What::Code);
            served.witness = lying;
            let error = verify(&chain, &served).unwrap_err();
            let VerifyError::Missing { what, hash, strays } = &error else {
                panic!("block {number}: {error}");
            };
            assert_eq!((*what, *hash), (kind, expected), "block {number}");
            if let Some(stray) = stray {
                assert!(strays.0.contains(&stray), "block {number}: {error}");
            }
            let text = error.to_string();
            assert!(text.contains(&expected.to_string()), "{text}");
        }
    }
    assert!(codes > 10);
}

#[test]
fn whatever_else_a_node_alters_is_named() {
    let chain = random_chain(21);
    let snapshot = chain.store.snapshot().unwrap();
    let fresh = |number| serve(&chain, &snapshot, number);
    type Change = dyn Fn(&mut ClaimStart, &mut Vec<RecordJson>, &mut Vec<Blob>);
    let error = |change: &Change| {
        let mut served = fresh(chain.posted);
        let (start, list, blobs) = served.step.as_mut().unwrap();
        change(start, list, blobs);
        verify(&chain, &served).unwrap_err()
    };
    let altered = error(&|_, list, _| list.last_mut().unwrap().timestamp += U64::ONE);
    assert!(
        matches!(altered, VerifyError::Accumulator { index, .. } if U64::from(index) == fresh(chain.posted).step.unwrap().0.record)
    );
    let left_out = error(&|_, list, _| drop(list.pop()));
    assert!(matches!(left_out, VerifyError::Records { .. }), "{left_out}");
    let gap = error(&|_, list, _| list[0].index += U64::ONE);
    assert!(matches!(gap, VerifyError::Gap { .. }), "{gap}");
    let head = error(&|start, _, _| start.head = alloy_rlp::encode(Header::default()).into());
    assert!(matches!(head, VerifyError::Head { .. }), "{head}");
    let cursor = error(&|start, _, _| start.index += U64::from(1000));
    // Beyond the payload is a derived block, where the batch leaves items to derive.
    assert!(matches!(cursor, VerifyError::NoBlock(_) | VerifyError::OtherBlock { .. }), "{cursor}");
    let record = (1..=chain.posted)
        .find(|number| !fresh(*number).step.unwrap().2.is_empty())
        .expect("some batch has blobs");
    let mut served = fresh(record);
    served.step.as_mut().unwrap().2[0][77] ^= 1;
    let blob = verify(&chain, &served).unwrap_err();
    assert!(matches!(blob, VerifyError::Missing { what: What::Blob, .. }), "{blob}");

    let head = snapshot.head().unwrap().number;
    let mut served = fresh(head);
    served.origin.accumulator = B256::ZERO;
    assert!(matches!(verify(&chain, &served), Err(VerifyError::Origin { .. })));
    let mut served = fresh(head);
    served.witness.headers.clear();
    let error = verify(&chain, &served).unwrap_err();
    assert!(matches!(error, VerifyError::Missing { what: What::Header, .. }), "{error}");
    let mut served = fresh(head);
    served.block.transactions.pop();
    let error = verify(&chain, &served).unwrap_err();
    assert!(matches!(error, VerifyError::OtherBlock { .. }), "{error}");
    let other = decode_block(head - 1, &raw_block(&snapshot, head).unwrap()).unwrap_err();
    assert!(matches!(other, VerifyError::OtherNumber { .. }));
}

/// The program of `cargo xtask guest --faulty`, kept as what it differs from the committed one in.
pub(crate) fn faulty_guest() -> Program {
    let patch: &[u8] = include_bytes!("../../../../apps/guest/annex-guest-faulty.elf.zst");
    let mut elf = Vec::new();
    let mut decoder = zstd::Decoder::with_ref_prefix(patch, annex_claim::PROGRAM).unwrap();
    decoder.read_to_end(&mut elf).expect("it is renewed with the guest: cargo xtask guest --write");
    Program::from_elf(&elf).unwrap()
}

/// A block that no program fails on, then one for each way to fail, all on L1.
#[test]
fn a_program_that_panics_loops_or_runs_out_of_memory_gives_fault() {
    let mut chain = random_chain(22);
    for beneficiary in [Address::repeat_byte(0xcc), PANICS, LOOPS, HOARDS] {
        chain.beneficiary = beneficiary;
        chain.grow(1);
    }
    chain.post();
    let (good, faulty) = (Program::from_elf(annex_claim::PROGRAM).unwrap(), faulty_guest());
    let snapshot = chain.store.snapshot().unwrap();
    let head = snapshot.head().unwrap().number;
    for (number, what) in (head - 3..).zip(["nothing", "panics", "loops", "hoards"]) {
        let served = serve(&chain, &snapshot, number);
        let native = verify(&chain, &served).unwrap().expect("a leaf");
        let claim = claim_of(&chain, &served).unwrap();
        let right = run(&good, &claim, MAX_STEPS, |_| {}).unwrap();
        assert!(right.succeeded && right.leaf == native, "{what}: {}", right.printed);

        // Long enough for the others, and more than one report of progress.
        let limit = right.steps + (1 << 25) + 12_345;
        let mut told = Vec::new();
        let wrong = run(&faulty, &claim, limit, |steps| told.push(steps)).unwrap();
        println!("{what}: {} steps, printed {:?}", wrong.steps, wrong.printed);
        assert!(told.is_sorted() && told.last() == Some(&wrong.steps));
        if what == "nothing" {
            assert!(wrong.succeeded && wrong.leaf == native, "{}", wrong.printed);
            continue;
        }
        let ClaimInput { output_root, cursor, .. } = claim.input;
        let place = [cursor.record, cursor.block, cursor.forced].map(U256::from);
        let words = place.map(|word| B256::from(word.to_be_bytes()));
        let leaf = keccak256([[output_root].as_slice(), &words].concat().concat());
        let fault = keccak256([keccak256("annex.leaf.fault.v1"), leaf].concat());
        assert!(!wrong.succeeded && wrong.leaf == fault && wrong.leaf != native, "{what}");
        assert_eq!(wrong.steps == limit, what == "loops", "{what}");
        let said = wrong.printed.as_str();
        assert!(
            match what {
                "panics" => said.contains("as the test wants it"),
                "hoards" => said.contains("memory allocation of 16777216 bytes failed"),
                _ => said.is_empty(),
            },
            "{what}: {said}"
        );
    }
}
