//! Code that L2 starts with (spec/block.md, "Genesis").

use crate::contracts;
use alloy_primitives::{Address, Bytes};
use annex_types::predeploys;
use std::collections::BTreeMap;

/// Code of every account in genesis, for `annex_stf::genesis`.
pub fn predeploys() -> BTreeMap<Address, Bytes> {
    [
        (predeploys::WETH, &contracts::WETH::DEPLOYED_BYTECODE),
        (predeploys::GAS_PRICE_ORACLE, &contracts::GasPriceOracle::DEPLOYED_BYTECODE),
        (predeploys::L2_STANDARD_BRIDGE, &contracts::L2StandardBridge::DEPLOYED_BYTECODE),
        (predeploys::MINTABLE_ERC20_FACTORY, &contracts::MintableERC20Factory::DEPLOYED_BYTECODE),
        (predeploys::L1_BLOCK, &contracts::L1Block::DEPLOYED_BYTECODE),
        (predeploys::L2_TO_L1_MESSAGE_PASSER, &contracts::L2ToL1MessagePasser::DEPLOYED_BYTECODE),
        (predeploys::BLOCK_HASH_HISTORY, &contracts::BlockHashHistory::DEPLOYED_BYTECODE),
        (predeploys::MULTICALL3, &contracts::Multicall3::DEPLOYED_BYTECODE),
        (predeploys::CREATE2_DEPLOYER, &contracts::Create2Deployer::DEPLOYED_BYTECODE),
    ]
    .into_iter()
    .map(|(address, code)| (address, code.clone()))
    .collect()
}
