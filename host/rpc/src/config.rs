//! `eth_config` (EIP-7910): by which rules the chain goes.

use crate::api::Api;
use crate::chain::Chain;
use crate::error::RpcError;
use alloy_eips::eip2124::ForkHash;
use alloy_eips::eip7840::BlobParams;
use alloy_eips::eip7910::{EthConfig, EthForkConfig, SystemContract};
use alloy_eips::{eip2935, eip4788};
use alloy_primitives::{Address, U160};
use annex_types::predeploys::{L1_BLOCK, L2_TO_L1_MESSAGE_PASSER};

/// Osaka's precompiles, by the names of their EIPs.
const PRECOMPILES: [(&str, u16); 18] = [
    ("ECREC", 0x01),
    ("SHA256", 0x02),
    ("RIPEMD160", 0x03),
    ("ID", 0x04),
    ("MODEXP", 0x05),
    ("BN254_ADD", 0x06),
    ("BN254_MUL", 0x07),
    ("BN254_PAIRING", 0x08),
    ("BLAKE2F", 0x09),
    ("KZG_POINT_EVALUATION", 0x0a),
    ("BLS12_G1ADD", 0x0b),
    ("BLS12_G1MSM", 0x0c),
    ("BLS12_G2ADD", 0x0d),
    ("BLS12_G2MSM", 0x0e),
    ("BLS12_PAIRING_CHECK", 0x0f),
    ("BLS12_MAP_FP_TO_G1", 0x10),
    ("BLS12_MAP_FP2_TO_G2", 0x11),
    ("P256VERIFY", 0x100),
];

impl<C: Chain> Api<C> {
    /// Osaka's rules hold from genesis on, and no fork is scheduled.
    pub fn config(&self) -> Result<EthConfig, RpcError> {
        let (_, genesis) = self.header(0)?;
        let mut contracts =
            vec![(SystemContract::HistoryStorage, eip2935::HISTORY_STORAGE_ADDRESS)];
        let blob_schedule = if self.is_l2() {
            // What the protocol itself writes or reads besides, by the predeploys' names.
            let named = |name: &str| SystemContract::Other(format!("{name}_ADDRESS"));
            contracts.push((named("L1_BLOCK"), L1_BLOCK));
            contracts.push((named("L2_TO_L1_MESSAGE_PASSER"), L2_TO_L1_MESSAGE_PASSER));
            // No block has blobs.
            BlobParams { target_blob_count: 0, max_blob_count: 0, ..BlobParams::osaka() }
        } else {
            contracts.push((SystemContract::BeaconRoots, eip4788::BEACON_ROOTS_ADDRESS));
            BlobParams::osaka()
        };
        let address = |number: u16| Address::from(U160::from(number));
        let precompiles = PRECOMPILES.map(|(name, number)| (name.to_owned(), address(number)));
        let current = EthForkConfig {
            activation_time: 0,
            blob_schedule,
            chain_id: self.chain.chain_id(),
            fork_id: ForkHash::from(genesis).0.into(),
            precompiles: precompiles.into(),
            system_contracts: contracts.into_iter().collect(),
        };
        Ok(EthConfig { current, next: None, last: None })
    }
}
