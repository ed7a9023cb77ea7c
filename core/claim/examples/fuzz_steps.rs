//! Writes steps and their preimages to standard output, for the fuzz target `claim_step` (tests/fuzz).
//!
//! Layout: `count ‖ (kind ‖ key ‖ length ‖ bytes)* ‖ (input ‖ leaf)*`; count and length are little-endian uint32, kind is a byte; a
//! blob is without the zeros at its end.
#![allow(clippy::unwrap_used)] // What cannot be written fails.

#[path = "../tests/chain/mod.rs"]
mod chain;

use alloy_primitives::{B256, Bytes, U256};
use annex_claim::{Kind, PreimageSource, Preimages, step};
use annex_types::Transaction;
use chain::{Chain, ETHER, Reading, contract, deposit, predeploys, sign, transfer};
use std::collections::BTreeMap;
use std::io::Write;

fn store(nonce: u64, slot: u64, value: u64) -> Transaction {
    let words = [slot, value].into_iter().flat_map(|word| U256::from(word).to_be_bytes::<32>());
    sign(0, transfer(nonce, contract(0), words.collect()))
}

/// Deposits, blocks in calldata and in a blob, a derived block, one that breaks a rule, data that is none.
fn chain() -> Chain {
    let mut chain = Chain::new(predeploys());
    chain.force(deposit(0, 100 * ETHER));
    let first = chain.block(1, vec![]);
    let to = chain::address(1);
    let second = chain.block(0, vec![sign(0, transfer(1, to, Bytes::new())), store(2, 7, 9)]);
    chain.batch(chain.payload(vec![first, second]), 1, false);
    let call = sign(0, transfer(4, contract(1), Bytes::from_static(&[0; 64])));
    let blocks = vec![chain.block(0, vec![store(3, 7, 0), call])];
    chain.batch(chain.payload(blocks), 1, true);
    chain.batch(vec![0; 40], 1, false);
    chain.force(deposit(1, ETHER));
    let mut late = chain.block(0, vec![store(5, 3, 5)]);
    late.timestamp += 100;
    chain.batch(chain.payload(vec![late]), 2, false);
    chain
}

fn bytes(preimages: &Preimages, kind: Kind, key: B256) -> Vec<u8> {
    match kind {
        Kind::Keccak => preimages.keccak(key).unwrap().to_vec(),
        Kind::Blob => {
            let blob = preimages.blob(key).unwrap();
            let end = blob.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            blob[..end].to_vec()
        }
    }
}

fn main() {
    let chain = chain();
    let mut entries = BTreeMap::new();
    let mut steps = Vec::new();
    for leap in &chain.leaps {
        let (input, preimages) = chain.prepare(leap);
        let reading = Reading::new(&preimages);
        let taken = step(input.hash(), &reading).unwrap();
        let minimal = reading.minimal();
        entries.extend(minimal.keys().map(|(kind, key)| ((kind, key), bytes(&minimal, kind, key))));
        steps.extend([input.hash(), taken.leaf.hash()]);
    }
    let mut out = (entries.len() as u32).to_le_bytes().to_vec();
    for ((kind, key), bytes) in entries {
        out.push(kind as u8);
        out.extend(key);
        out.extend((bytes.len() as u32).to_le_bytes());
        out.extend(bytes);
    }
    out.extend(steps.iter().flatten());
    std::io::stdout().write_all(&out).unwrap();
}
