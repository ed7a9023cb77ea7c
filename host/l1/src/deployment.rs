//! `deployment.json` (spec/deployment.md).

use crate::contracts::Tournament;
use crate::genesis::ProgramBoot;
use alloy_primitives::{Address, B256, U256};
use annex_types::ChainConfig;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A chain as its contracts were deployed: all that a node needs besides an L1 endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Deployment {
    pub l1_chain_id: u64,
    pub l2_chain_id: u64,
    pub contracts: Contracts,
    pub parameters: Parameters,
    /// Hash of L2 block 0.
    pub genesis_hash: B256,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Contracts {
    pub inbox: Address,
    pub lease: Address,
    pub portal: Address,
    pub l1_standard_bridge: Address,
    pub preimage_oracle: Address,
    pub machine: Address,
    pub tournament: Address,
    pub claims: Address,
    pub exit_market: Address,
    /// [`Contracts::claims`], by the name that tools of the OP Stack look for.
    pub dispute_game_factory: Address,
    /// [`Contracts::claims`], by the name that tools of the OP Stack look for.
    pub anchor_state_registry: Address,
    pub multicall3: Address,
}

/// What the deployer chooses. Times are in seconds; all but `l1_confirmations` is frozen in the contracts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Parameters {
    pub forced_delay: u64,
    pub liveness_window: u64,
    pub max_origin_lag: u64,
    pub timestamp_drift: u64,
    /// Gas.
    pub gas_target_per_second: u64,
    pub base_fee_scalar: u64,
    pub blob_base_fee_scalar: u64,
    pub genesis_timestamp: u64,
    /// Least time between two openings of a range (spec/settlement.md).
    pub claim_interval: u64,
    /// Time in which a range can be joined, and the clock of a commitment.
    pub challenge_window: u64,
    /// Time of each turn that a clock does not count.
    pub move_grace: u64,
    /// Wei with each commitment.
    pub bond: U256,
    /// Wei: the most that a gas of a move is refunded.
    pub refund_gas_price: u64,
    /// L1 blocks that must lie above a record before a node takes it up.
    pub l1_confirmations: u64,
    /// L1 block of record 0.
    pub l1_start_block: u64,
}

impl Parameters {
    /// The defaults of spec/deployment.md and spec/settlement.md. `l1_start_block` is for [`crate::deploy`] to fill in.
    pub fn production(genesis_timestamp: u64) -> Self {
        Self {
            forced_delay: 3_600,
            liveness_window: 21_600,
            max_origin_lag: 600,
            timestamp_drift: 12,
            gas_target_per_second: 480_000_000,
            base_fee_scalar: 200_000,
            blob_base_fee_scalar: 1_050_000,
            genesis_timestamp,
            claim_interval: 75_600,
            challenge_window: 604_800,
            move_grace: 900,
            bond: U256::from(250_000_000_000_000_000u64),
            refund_gas_price: 30_000_000_000,
            l1_confirmations: 2,
            l1_start_block: 0,
        }
    }

    /// The same for a local L1.
    pub fn development(genesis_timestamp: u64) -> Self {
        Self {
            forced_delay: 20,
            liveness_window: 60,
            timestamp_drift: 5,
            claim_interval: 10,
            challenge_window: 60,
            move_grace: 10,
            l1_confirmations: 0,
            ..Self::production(genesis_timestamp)
        }
    }
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DeploymentFileError {
    #[error("{path} cannot be read or written: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{path} is not a deployment.json: {source}")]
    Json { path: PathBuf, source: serde_json::Error },
}

impl Deployment {
    pub fn read(path: &Path) -> Result<Self, DeploymentFileError> {
        let named = || path.to_path_buf();
        let bytes =
            fs::read(path).map_err(|source| DeploymentFileError::Io { path: named(), source })?;
        serde_json::from_slice(&bytes)
            .map_err(|source| DeploymentFileError::Json { path: named(), source })
    }

    /// Writes the file as a whole or not at all, and its folder if that is missing.
    pub fn write(&self, path: &Path) -> Result<(), DeploymentFileError> {
        let mut json = serde_json::to_vec_pretty(self).expect("plain data serialises");
        json.push(b'\n');
        let write = || {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            let temporary = path.with_extension("json.tmp");
            let mut file = fs::File::create(&temporary)?;
            file.write_all(&json)?;
            file.sync_all()?;
            fs::rename(&temporary, path)
        };
        write().map_err(|source| DeploymentFileError::Io { path: path.to_path_buf(), source })
    }

    /// What the Tournament is created with.
    pub fn tournament_settings(&self, program: &ProgramBoot) -> Tournament::Settings {
        let Parameters { challenge_window, move_grace, bond, refund_gas_price, .. } =
            self.parameters;
        let Contracts { claims, inbox, machine, .. } = self.contracts;
        Tournament::Settings {
            claims,
            inbox,
            machine,
            bootMemoryRoot: program.memory_root,
            bootPc: program.pc,
            challengeWindow: challenge_window,
            moveGrace: move_grace,
            // Beyond, the constructor refuses it too.
            bond: bond.saturating_to(),
            refundGasPrice: refund_gas_price,
        }
    }

    pub fn chain_config(&self) -> ChainConfig {
        let Parameters {
            forced_delay,
            liveness_window,
            max_origin_lag,
            timestamp_drift,
            gas_target_per_second,
            base_fee_scalar,
            blob_base_fee_scalar,
            genesis_timestamp,
            ..
        } = self.parameters;
        ChainConfig {
            l1_chain_id: self.l1_chain_id,
            l2_chain_id: self.l2_chain_id,
            inbox: self.contracts.inbox,
            lease: self.contracts.lease,
            portal: self.contracts.portal,
            l1_standard_bridge: self.contracts.l1_standard_bridge,
            forced_delay,
            liveness_window,
            max_origin_lag,
            timestamp_drift,
            gas_target_per_second,
            base_fee_scalar,
            blob_base_fee_scalar,
            genesis_timestamp,
        }
    }
}

#[cfg(test)]
mod tests;
