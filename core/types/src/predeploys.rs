//! Addresses with code from genesis on (spec/block.md).

use alloy_primitives::{Address, U256, address};

pub const WETH: Address = address!("4200000000000000000000000000000000000006");
pub const GAS_PRICE_ORACLE: Address = address!("420000000000000000000000000000000000000F");
pub const L2_STANDARD_BRIDGE: Address = address!("4200000000000000000000000000000000000010");
pub const MINTABLE_ERC20_FACTORY: Address = address!("4200000000000000000000000000000000000012");
pub const L1_BLOCK: Address = address!("4200000000000000000000000000000000000015");
pub const L2_TO_L1_MESSAGE_PASSER: Address = address!("4200000000000000000000000000000000000016");
/// EIP-2935 block hash history.
pub const BLOCK_HASH_HISTORY: Address = address!("0000F90827F1C53a10cb7A02335B175320002935");
pub const MULTICALL3: Address = address!("cA11bde05977b3631167028862bE2a173976CA11");
pub const CREATE2_DEPLOYER: Address = address!("4e59b44847b379578588920cA78FbF26c0B4956C");

/// Number of slots in the EIP-2935 ring.
pub const HISTORY_SERVE_WINDOW: u64 = 8191;

/// Slot of the EIP-2935 contract that holds the hash of block `number`.
pub fn history_slot(number: u64) -> U256 {
    U256::from(number % HISTORY_SERVE_WINDOW)
}
