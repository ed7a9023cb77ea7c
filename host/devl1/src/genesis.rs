//! Block 0: the funded accounts, and the contracts that every Ethereum chain has.

use crate::block::BLOBS;
use crate::{DevL1Error, accounts};
use alloy_consensus::constants::{EMPTY_OMMER_ROOT_HASH, EMPTY_WITHDRAWALS};
use alloy_eips::{eip2935, eip4788, eip7685::EMPTY_REQUESTS_HASH};
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use annex_state::{AccountInfo, EMPTY_ROOT, KECCAK_EMPTY, Nibbles, NodeSource, StateChanges};
use annex_store::StoreError;
use annex_types::{Header, predeploys};

/// Base fee of block 0, as Anvil's: 1 gwei.
const BASE_FEE: u64 = 1_000_000_000;

const MULTICALL3: &str = include_str!("../../../contracts/artifacts/Multicall3.json");
const CREATE2_DEPLOYER: &str = include_str!("../../../contracts/artifacts/Create2Deployer.json");

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Artifact {
    deployed_bytecode: Bytes,
}

fn artifact(json: &str) -> Result<Bytes, DevL1Error> {
    serde_json::from_str::<Artifact>(json)
        .map(|artifact| artifact.deployed_bytecode)
        .map_err(DevL1Error::Artifact)
}

/// State of block 0.
pub fn state(funded: impl IntoIterator<Item = Address>) -> Result<StateChanges, DevL1Error> {
    let mut changes = StateChanges::default();
    for address in funded {
        let account =
            AccountInfo { nonce: 0, balance: accounts::balance(), code_hash: KECCAK_EMPTY };
        changes.accounts.insert(address, Some(account));
    }
    let contracts = [
        (predeploys::MULTICALL3, artifact(MULTICALL3)?),
        (predeploys::CREATE2_DEPLOYER, artifact(CREATE2_DEPLOYER)?),
        (eip2935::HISTORY_STORAGE_ADDRESS, eip2935::HISTORY_STORAGE_CODE.clone()),
        (eip4788::BEACON_ROOTS_ADDRESS, eip4788::BEACON_ROOTS_CODE.clone()),
    ];
    for (address, code) in contracts {
        let code_hash = keccak256(&code);
        let account = AccountInfo { nonce: 1, balance: U256::ZERO, code_hash };
        changes.accounts.insert(address, Some(account));
        changes.codes.insert(code_hash, code);
    }
    Ok(changes)
}

/// The source of the empty trie's nodes: there are none.
#[derive(Debug)]
pub struct NoNodes;

impl NodeSource for NoNodes {
    type Error = StoreError;

    fn node(&self, _: Option<B256>, _: &Nibbles, _: B256) -> Result<Bytes, StoreError> {
        Err(StoreError::Empty)
    }

    fn code(&self, _: B256) -> Result<Bytes, StoreError> {
        Err(StoreError::Empty)
    }
}

/// Header of block 0.
pub fn header(state_root: B256, timestamp: u64, gas_limit: u64) -> Header {
    Header {
        ommers_hash: EMPTY_OMMER_ROOT_HASH,
        state_root,
        transactions_root: EMPTY_ROOT,
        receipts_root: EMPTY_ROOT,
        gas_limit,
        timestamp,
        base_fee_per_gas: Some(BASE_FEE),
        withdrawals_root: Some(EMPTY_WITHDRAWALS),
        blob_gas_used: Some(0),
        excess_blob_gas: Some(0),
        parent_beacon_block_root: Some(B256::ZERO),
        requests_hash: Some(EMPTY_REQUESTS_HASH),
        ..Header::default()
    }
}

/// Wei for a unit of blob gas in the block with this header.
pub fn blob_base_fee(header: &Header) -> u128 {
    BLOBS.calc_blob_fee(header.excess_blob_gas.unwrap_or(0))
}
