//! Every precompile on valid, edge and malformed inputs: this computer's C libraries and the guest's Rust make the same leaf.
#![allow(clippy::unwrap_used)] // A failed expectation is a failed test.

mod chain;
#[path = "precompiles/curves.rs"]
mod curves;
#[path = "precompiles/vectors.rs"]
mod vectors;

use alloy_primitives::{Address, Bytes, U256, hex};
use annex_claim::{PROGRAM, step};
use annex_riscv::{Program, Status};
use annex_state::TrieReader;
use annex_stf::apply_block;
use annex_types::block::{BlockAttributes, Origin};
use annex_types::{BlockInput, ForcedItem, RecordEnv};
use chain::{Chain, What, deposit, execute};

const CALLER: Address = Address::with_last_byte(0xca);
/// Calls the address in the first word with the gas in the second and the rest as input; logs what comes back, with the success
/// as topic.
const CALL: [u8; 29] = hex!("6040360360405f375f5f604036035f5f35602035fa3d5f5f3e3d5fa100");

/// A call to a precompile.
pub struct Call {
    pub address: u16,
    pub gas: u64,
    pub input: Vec<u8>,
}

impl Call {
    fn item(&self) -> ForcedItem {
        let head = [U256::from(self.address), U256::from(self.gas)];
        let mut data: Vec<u8> = head.iter().flat_map(|word| word.to_be_bytes::<32>()).collect();
        data.extend(&self.input);
        // Intrinsic gas or EIP-7623's floor, what 63/64 leaves, memory and the log.
        let gas_limit = 60_000 + 60 * data.len() as u64 + self.gas * 65 / 64;
        ForcedItem { to: CALLER, gas_limit, data: data.into(), ..deposit(0, 0) }
    }
}

fn new_chain() -> Chain {
    let mut codes = chain::predeploys();
    codes.insert(CALLER, Bytes::from(CALL));
    Chain::new(codes)
}

/// What a precompile returns natively; none if it fails.
pub fn native(chain: &Chain, address: u16, input: &[u8]) -> Option<Vec<u8>> {
    let call = Call { address, gas: 2_000_000, input: input.to_vec() };
    let record = &chain.records[0];
    let origin = Origin { index: 0, accumulator: record.accumulator, env: RecordEnv::default() };
    let attributes = BlockAttributes {
        timestamp: chain.genesis.timestamp,
        beneficiary: Address::ZERO,
        origin,
        blocks_in_second: 1,
    };
    let input = BlockInput { attributes, forced: vec![call.item()], transactions: vec![] };
    let parent = (chain.genesis.number, chain.genesis.hash_slow());
    let reader = TrieReader::new(&chain.store, chain.genesis.state_root, parent);
    let block = apply_block(&chain.config, &chain.genesis, &input, reader, &chain.store);
    let block = block.unwrap().unwrap();
    let log = block.receipts[0].logs.first().expect("the caller logs in any case");
    let success = U256::from_be_bytes(log.topics()[0].0) == U256::ONE;
    success.then(|| log.data.data.to_vec())
}

#[test]
fn the_guest_computes_as_the_c_libraries_do() {
    let mut chain = new_chain();
    let calls = vectors::calls(&chain);
    let returned = calls.iter().filter(|it| native(&chain, it.address, &it.input).is_some());
    let (good, all) = (returned.count(), calls.len());
    assert!(good > all / 4 && good < all * 4 / 5, "{good} of {all} return something");

    for call in &calls {
        chain.force(call.item());
    }
    chain.batch(vec![], calls.len() as u64, false);
    let program = Program::from_elf(PROGRAM).unwrap();
    let (mut blocks, mut instructions) = (0, 0);
    for leap in chain.leaps.iter().filter(|leap| leap.what == (What::Applied { derived: true })) {
        let (input, preimages) = chain.prepare(leap);
        assert_eq!(step(input.hash(), &preimages).unwrap().leaf, leap.leaf);
        let (machine, printed) = execute(&program, input.hash(), &preimages);
        assert_eq!((machine.status(), machine.exit_code()), (Status::Exited, 0), "{printed}");
        let items = leap.cursor.forced..leap.leaf.cursor.forced;
        let addresses: Vec<_> = items.clone().map(|item| calls[item as usize].address).collect();
        assert_eq!(machine.output(), leap.leaf.hash(), "vectors {items:?} of {addresses:?}");
        blocks += 1;
        instructions += machine.steps();
    }
    println!("{all} calls, {good} of them valid, in {blocks} blocks: {instructions} instructions");
}
