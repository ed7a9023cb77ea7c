use super::super::tests::{Chain, code_chain, random_chain};
use super::super::{raw_block, stored, witness};
use super::*;
use crate::verify::{VerifyError, WitnessPages, decode_block, replay};
use annex_types::ExtraData;

/// What a node serves page by page, and how many pages it took.
fn read(served: &ExecutionWitness, limit: usize) -> (ExecutionWitness, usize) {
    let mut pages = WitnessPages::default();
    for count in 1.. {
        let page = page(served, pages.next(), limit).unwrap();
        let entries = || page.state.iter().chain(&page.codes).chain(&page.headers);
        let bytes: usize = entries().map(|entry| entry.len()).sum();
        assert!(bytes <= limit || entries().count() == 1, "{bytes} bytes");
        assert!(json_of(&page) <= 2 * bytes + 5 * entries().count() + 100);
        if pages.add(page).unwrap() {
            return (pages.finish(), count);
        }
    }
    unreachable!("numbers do not end")
}

fn json_of(value: &impl serde::Serialize) -> usize {
    serde_json::to_string(value).unwrap().len()
}

/// Replays a block from nothing but its pages.
fn verifies(chain: &Chain, number: u64, witness: &ExecutionWitness) {
    let snapshot = chain.store.snapshot().unwrap();
    let block = decode_block(number, &raw_block(&snapshot, number).unwrap()).unwrap();
    let origin = ExtraData::decode(&block.header.extra_data).unwrap().origin;
    replay(&chain.config, &block, witness, &stored(&snapshot, origin).unwrap()).unwrap();
}

#[test]
fn pages_of_any_size_make_the_witness() {
    let chain = random_chain(30);
    let snapshot = chain.store.snapshot().unwrap();
    for number in 1..=snapshot.head().unwrap().number {
        let built = witness(&chain.config, &snapshot, number, usize::MAX).unwrap();
        let (json, computed) = (json_of(&built), json_bytes(&built));
        assert!((json..=json + 4).contains(&computed), "{json} bytes, {computed} computed");
        let entries = built.state.len() + built.codes.len() + built.headers.len();
        let bare = ExecutionWitness { keys: Vec::new(), ..built };
        for (limit, expected) in [(0, Some(entries)), (700, None), (usize::MAX, Some(1))] {
            let (read, pages) = read(&bare, limit);
            assert_eq!(read, bare, "block {number}, pages of {limit}");
            assert!(expected.is_none_or(|expected| pages == expected), "{pages} pages of {limit}");
        }
        let beyond = page(&bare, entries as u64, 1000).unwrap_err();
        assert!(matches!(beyond, ProofError::NoEntry(entry) if entry == entries as u64));
        assert!(page(&bare, u64::MAX, 1000).is_err());
    }
}

/// The smallest number of codes of which no answer holds the witness.
#[test]
fn a_block_that_reads_1400_large_codes_is_served() {
    let (chain, number) = code_chain(1_400);
    let snapshot = chain.store.snapshot().unwrap();
    let built = witness(&chain.config, &snapshot, number, usize::MAX).unwrap();
    assert!(built.codes.len() >= 1_400 && json_of(&built) > 64 << 20);
    assert!(json_bytes(&built) > ANSWER_BYTES, "no answer holds it");
    let (read, pages) = read(&built, PAGE_BYTES);
    println!("{pages} pages");
    assert!(pages > 4);
    verifies(&chain, number, &read);
}

#[test]
fn pages_that_lead_nowhere_are_refused() {
    let entry = |length: usize| vec![Bytes::from(vec![7; length])];
    let page = |state, next: Option<u64>| WitnessPage {
        state,
        next: next.map(U64::from),
        ..WitnessPage::default()
    };
    let refused = |page| WitnessPages::default().add(page).unwrap_err();
    for (page, told) in
        [(page(vec![], Some(0)), 0), (page(entry(1), Some(0)), 0), (page(entry(1), Some(2)), 2)]
    {
        let error = refused(page);
        assert!(
            matches!(error, VerifyError::Page { from: 0, next, .. } if next == told),
            "{error}"
        );
    }
    // Pages without end, of entries that are the same memory here.
    let large = entry(1 << 20);
    let mut pages = WitnessPages::default();
    let error = loop {
        let next = Some(pages.next() + 1);
        match pages.add(page(large.clone(), next)) {
            Ok(last) => assert!(!last),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, VerifyError::WitnessTooLarge), "{error}");
    assert_eq!(pages.next(), 512, "a page over 512 MiB");
}
