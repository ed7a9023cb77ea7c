use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use annex_state::{AccountInfo, EMPTY_ROOT, StateChanges, WitnessSource, apply_changes};
use annex_types::predeploys::{L1_BLOCK, L2_STANDARD_BRIDGE, L2_TO_L1_MESSAGE_PASSER};
use annex_types::{BLOCK_GAS_LIMIT, ChainConfig, ExtraData, Header, fees};

use crate::seal::unsealed_header;
use crate::{BlockEnv, SealedBlock};

/// Slots of `L1Block` that never change: `baseFeeScalar` and `blobBaseFeeScalar`.
const SCALAR_SLOTS: [u64; 2] = [7, 8];

/// Block 0 (`spec/block.md`, "Genesis") with the predeploys' codes.
pub fn genesis(config: &ChainConfig, predeploys: &BTreeMap<Address, Bytes>) -> SealedBlock {
    let mut changes = StateChanges::default();
    for (address, code) in predeploys {
        let code_hash = keccak256(code);
        let account = AccountInfo { nonce: 1, balance: U256::ZERO, code_hash };
        changes.accounts.insert(*address, Some(account));
        changes.codes.insert(code_hash, code.clone());
    }
    let mut set = |address: Address, slot: u64, value: U256| {
        // A chain without the contract (in a test) has no place for its storage.
        if predeploys.contains_key(&address) && !value.is_zero() {
            changes.storage.entry(address).or_default().insert(U256::from(slot), value);
        }
    };
    set(L1_BLOCK, SCALAR_SLOTS[0], U256::from(config.base_fee_scalar));
    set(L1_BLOCK, SCALAR_SLOTS[1], U256::from(config.blob_base_fee_scalar));
    set(L2_STANDARD_BRIDGE, 0, U256::from_be_bytes(config.l1_standard_bridge.into_word().0));

    let update = apply_changes(&WitnessSource::default(), EMPTY_ROOT, &changes)
        .expect("a state built from nothing reads no node");
    let passer = update.accounts.get(&L2_TO_L1_MESSAGE_PASSER).copied().flatten();
    let env = BlockEnv {
        chain_id: config.l2_chain_id,
        number: 0,
        timestamp: config.genesis_timestamp,
        beneficiary: Address::ZERO,
        gas_limit: BLOCK_GAS_LIMIT,
        base_fee: fees::MIN_BASE_FEE,
        prev_randao: B256::ZERO,
        blob_base_fee: 1,
        byte_cost: U256::ZERO,
    };
    let header = Header {
        state_root: update.root,
        withdrawals_root: Some(passer.map_or(EMPTY_ROOT, |account| account.storage_root)),
        ..unsealed_header(&env, ExtraData::default())
    };
    let hash = header.hash_slow();
    SealedBlock { header, hash, transactions: Vec::new(), receipts: Vec::new(), changes, update }
}
