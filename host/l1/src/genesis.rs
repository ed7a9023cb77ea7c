//! Code and storage that L2 starts with (spec/block.md, "Genesis").

use crate::contracts;
use alloy_primitives::{Address, Bytes, U256};
use annex_types::{ChainConfig, predeploys};

/// Slots of `L1Block` that are set in genesis.
const BASE_FEE_SCALAR_SLOT: U256 = U256::from_limbs([7, 0, 0, 0]);
const BLOB_BASE_FEE_SCALAR_SLOT: U256 = U256::from_limbs([8, 0, 0, 0]);

/// Code, and the storage slots that are not zero, of every account in genesis. Each has nonce 1.
pub fn genesis_alloc(config: &ChainConfig) -> Vec<(Address, Bytes, Vec<(U256, U256)>)> {
    let bridge = U256::from_be_bytes(config.l1_standard_bridge.into_word().0);
    let scalars = [
        (BASE_FEE_SCALAR_SLOT, U256::from(config.base_fee_scalar)),
        (BLOB_BASE_FEE_SCALAR_SLOT, U256::from(config.blob_base_fee_scalar)),
    ];
    let scalars = scalars.into_iter().filter(|(_, value)| !value.is_zero()).collect();
    [
        (predeploys::WETH, &contracts::WETH::DEPLOYED_BYTECODE, vec![]),
        (predeploys::GAS_PRICE_ORACLE, &contracts::GasPriceOracle::DEPLOYED_BYTECODE, vec![]),
        (
            predeploys::L2_STANDARD_BRIDGE,
            &contracts::L2StandardBridge::DEPLOYED_BYTECODE,
            vec![(U256::ZERO, bridge)],
        ),
        (
            predeploys::MINTABLE_ERC20_FACTORY,
            &contracts::MintableERC20Factory::DEPLOYED_BYTECODE,
            vec![],
        ),
        (predeploys::L1_BLOCK, &contracts::L1Block::DEPLOYED_BYTECODE, scalars),
        (
            predeploys::L2_TO_L1_MESSAGE_PASSER,
            &contracts::L2ToL1MessagePasser::DEPLOYED_BYTECODE,
            vec![],
        ),
        (predeploys::BLOCK_HASH_HISTORY, &contracts::BlockHashHistory::DEPLOYED_BYTECODE, vec![]),
        (predeploys::MULTICALL3, &contracts::Multicall3::DEPLOYED_BYTECODE, vec![]),
        (predeploys::CREATE2_DEPLOYER, &contracts::Create2Deployer::DEPLOYED_BYTECODE, vec![]),
    ]
    .into_iter()
    .map(|(address, code, storage)| (address, code.clone(), storage))
    .collect()
}
