//! The guest: `annex-derive` and `annex-stf`, the same crates the node runs, compiled for the
//! RV64IM machine. `cargo xtask guest` builds it.
//!
//! The program applies one known block to a known genesis, from a witness, and prints the hash.
//! It must print the same on every target: that is what `cargo xtask guest` compares.
#![cfg_attr(target_os = "zkvm", no_main)]

#[cfg(target_os = "zkvm")]
mod runtime;

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, Bytes, U256, address, b256, bytes};
use annex_derive as _;
use annex_state::{TrieReader, Witness, WitnessSource};
use annex_stf::{SealedBlock, apply_block, genesis};
use annex_types::block::{BlockAttributes, Origin};
use annex_types::{BlockInput, ChainConfig, ForcedItem, RecordEnv};

const CODED: Address = address!("4200000000000000000000000000000000000015");
/// EIP-2935: every block stores its parent's hash there.
const HISTORY: Address = address!("0000F90827F1C53a10cb7A02335B175320002935");
const SENDER: Address = address!("00000000000000000000000000000000000000aa");
const ACCUMULATOR: B256 = b256!("0101010101010101010101010101010101010101010101010101010101010101");

fn config() -> ChainConfig {
    ChainConfig {
        l1_chain_id: 900,
        l2_chain_id: 901,
        inbox: Address::repeat_byte(1),
        lease: Address::repeat_byte(2),
        portal: Address::repeat_byte(3),
        l1_standard_bridge: Address::repeat_byte(4),
        forced_delay: 20,
        liveness_window: 60,
        max_origin_lag: 600,
        timestamp_drift: 5,
        gas_target_per_second: 480_000_000,
        base_fee_scalar: 200_000,
        blob_base_fee_scalar: 1_050_000,
        genesis_timestamp: 1_760_000_000,
    }
}

/// A deposit that calls a contract, which stores the hash of its input.
fn input() -> BlockInput {
    let env = RecordEnv {
        l1_block_number: 7,
        timestamp: 1_760_000_001,
        base_fee: U256::from(7),
        blob_base_fee: U256::from(1),
        l1_parent_hash: ACCUMULATOR,
    };
    let origin = Origin { index: 1, accumulator: ACCUMULATOR, env };
    let attributes = BlockAttributes {
        timestamp: 1_760_000_002,
        beneficiary: SENDER,
        origin,
        blocks_in_second: 1,
    };
    let call = ForcedItem {
        index: 0,
        from: SENDER,
        to: CODED,
        mint: 1_000_000_000_000_000_000,
        value: U256::from(3),
        gas_limit: 200_000,
        is_creation: false,
        data: bytes!("c0ffee"),
    };
    BlockInput { attributes, forced: vec![call], transactions: Vec::new() }
}

/// PUSH0 calldatacopy to 0, keccak256 of 32 bytes, sstore at slot 64.
fn predeploys() -> BTreeMap<Address, Bytes> {
    BTreeMap::from([(CODED, bytes!("60205f5f3760205f20604055")), (HISTORY, bytes!("00"))])
}

fn block() -> SealedBlock {
    let predeploys = predeploys();
    let start = genesis(&config(), &predeploys);
    let nodes = start.update.nodes.iter().filter_map(|change| change.node.clone()).collect();
    let codes = predeploys.into_values().collect();
    let source = WitnessSource::new(Witness { nodes, codes });
    let parent = (start.header.number, start.hash);
    let reader = TrieReader::new(&source, start.header.state_root, parent);
    apply_block(&config(), &start.header, &input(), reader, &source)
        .expect("the witness is the whole state")
        .expect("the block is valid")
}

fn print_hash() {
    println!("{}", block().hash);
}

#[cfg(target_os = "zkvm")]
#[allow(unsafe_code)]
#[unsafe(no_mangle)]
extern "C" fn main() {
    print_hash();
}

#[cfg(not(target_os = "zkvm"))]
fn main() {
    print_hash();
}
