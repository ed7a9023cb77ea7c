//! What L2 and its disputes start with (spec/block.md, "Genesis"; spec/deployment.md).

use crate::client::L1Client;
use crate::contracts::{self, Claims, Tournament};
use crate::deployment::Deployment;
use crate::error::L1Error;
use alloy_consensus::Header;
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_sol_types::SolValue;
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

/// How the program that L1 commits to starts (spec/machine.md, "Boot").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgramBoot {
    /// Merkle root of memory.
    pub memory_root: B256,
    /// Address of the first instruction.
    pub pc: u64,
}

/// Why a node cannot settle on these contracts.
#[derive(Debug, thiserror::Error)]
pub enum SettlementError {
    #[error(transparent)]
    L1(#[from] L1Error),
    #[error(
        "the Tournament on L1 disputes with another program (boot memory {found}, this version's is {ours}): use the version \
         of annex that the chain was deployed with"
    )]
    Program { found: B256, ours: B256 },
    #[error(
        "the Tournament at {address} has other settings than deployment.json: is the file unaltered?"
    )]
    Settings { address: Address },
    #[error("Claims at {address} has other settings than deployment.json: is the file unaltered?")]
    Claims { address: Address },
    #[error("Claims at {address} starts from leaf {found}, this chain's genesis is {ours}")]
    Genesis { address: Address, found: B256, ours: B256 },
}

/// Checks that disputes on L1 are about this chain and this program.
pub async fn check_settlement(
    client: &L1Client,
    deployment: &Deployment,
    program: &ProgramBoot,
    genesis: &Header,
) -> Result<(), SettlementError> {
    let at = &deployment.contracts;
    let found = client.read(at.tournament, &Tournament::parametersCall {}).await?;
    let ours = deployment.tournament_settings(program);
    if (found.bootMemoryRoot, found.bootPc) != (ours.bootMemoryRoot, ours.bootPc) {
        let (found, ours) = (found.bootMemoryRoot, ours.bootMemoryRoot);
        return Err(SettlementError::Program { found, ours });
    }
    if found != ours {
        return Err(SettlementError::Settings { address: at.tournament });
    }
    let address = at.claims;
    let inbox = client.read(address, &Claims::inboxCall {}).await?;
    let tournament = client.read(address, &Claims::tournamentCall {}).await?;
    let interval = client.read(address, &Claims::claimIntervalCall {}).await?;
    let ours = (at.inbox, at.tournament, deployment.parameters.claim_interval);
    if (inbox, tournament, interval) != ours {
        return Err(SettlementError::Claims { address });
    }
    // The first range starts at genesis; before there is one, genesis is what has settled.
    let first = client.read(address, &Claims::rangeCall { id: U256::from(1) }).await?.start;
    let found = match first.is_zero() {
        true => client.read(address, &Claims::settledCall {}).await?.leaf,
        false => first,
    };
    let ours = genesis_leaf(genesis);
    if found != ours {
        return Err(SettlementError::Genesis { address, found, ours });
    }
    Ok(())
}

/// The leaf of block 0 with cursor (0, 0, 0) (spec/claim.md).
fn genesis_leaf(header: &Header) -> B256 {
    let withdrawals_root = header.withdrawals_root.unwrap_or_default();
    let output = (B256::ZERO, header.state_root, withdrawals_root, header.hash_slow());
    keccak256((keccak256(output.abi_encode()), U256::ZERO, U256::ZERO, U256::ZERO).abi_encode())
}
