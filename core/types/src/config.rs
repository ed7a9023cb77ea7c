//! What differs between chains, frozen by the Inbox's constructor.

use alloy_primitives::{Address, B256, keccak256};
use alloy_sol_types::{SolValue, sol};
use serde::{Deserialize, Serialize};

sol! {
    /// `Inbox.Config` (spec/deployment.md).
    struct Config {
        uint64 l2ChainId;
        address lease;
        address portal;
        address l1StandardBridge;
        uint64 forcedDelay;
        uint64 livenessWindow;
        uint64 maxOriginLag;
        uint64 timestampDrift;
        uint64 gasTargetPerSecond;
        uint64 baseFeeScalar;
        uint64 blobBaseFeeScalar;
        uint64 genesisTimestamp;
    }
}

/// The chain's configuration: the Inbox's constructor argument, and where the contracts are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainConfig {
    pub l1_chain_id: u64,
    pub l2_chain_id: u64,
    pub inbox: Address,
    pub lease: Address,
    pub portal: Address,
    pub l1_standard_bridge: Address,
    /// Seconds after which a batch must consume a forced item.
    pub forced_delay: u64,
    /// Seconds after which anyone may post in the leader's place.
    pub liveness_window: u64,
    /// Seconds a block may be younger than the record after its origin.
    pub max_origin_lag: u64,
    /// Seconds a block's timestamp may be ahead of its batch record's.
    pub timestamp_drift: u64,
    /// Gas a second at which the base fee stays level.
    pub gas_target_per_second: u64,
    /// See spec/fees.md, "Data gas".
    pub base_fee_scalar: u64,
    /// See spec/fees.md, "Data gas".
    pub blob_base_fee_scalar: u64,
    pub genesis_timestamp: u64,
}

impl ChainConfig {
    /// `keccak(abi.encode(config))`, committed to by record 0.
    pub fn hash(&self) -> B256 {
        keccak256(self.to_abi().abi_encode())
    }

    /// The Inbox's constructor argument.
    pub fn to_abi(&self) -> Config {
        Config {
            l2ChainId: self.l2_chain_id,
            lease: self.lease,
            portal: self.portal,
            l1StandardBridge: self.l1_standard_bridge,
            forcedDelay: self.forced_delay,
            livenessWindow: self.liveness_window,
            maxOriginLag: self.max_origin_lag,
            timestampDrift: self.timestamp_drift,
            gasTargetPerSecond: self.gas_target_per_second,
            baseFeeScalar: self.base_fee_scalar,
            blobBaseFeeScalar: self.blob_base_fee_scalar,
            genesisTimestamp: self.genesis_timestamp,
        }
    }
}
