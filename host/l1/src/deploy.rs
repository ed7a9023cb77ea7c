//! Creates a chain's contracts (spec/deployment.md).

use crate::client::L1Client;
use crate::contracts::{self, Inbox};
use crate::deployment::{Contracts, Deployment, Parameters};
use crate::error::L1Error;
use crate::genesis::{ProgramBoot, SettlementError, check_settlement};
use crate::send::{Call, SendLimits, SendOutcome, Sender};
use alloy_consensus::Header;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256};
use alloy_rpc_types_eth::{Filter, Log, TransactionRequest};
use alloy_signer_local::PrivateKeySigner;
use alloy_sol_types::{SolEvent, SolValue};
use annex_types::{ChainConfig, predeploys};

/// Blocks looked through at once, and how often, for record 0 of a deployment that was continued.
const SEARCH_WINDOW: u64 = 1_000;
const SEARCH_WINDOWS: u64 = 64;

/// What the deployer decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeployRequest {
    pub l2_chain_id: u64,
    /// Who may submit batches; zero: anyone.
    pub submitter: Address,
    /// Whose signature makes a promise.
    pub promise_signer: Address,
    /// What claims are disputed with.
    pub program: ProgramBoot,
    /// `l1_start_block` is ignored.
    pub parameters: Parameters,
    /// Nonce of the first contract of a deployment that was interrupted; contracts that exist are kept. None: a new deployment.
    pub resume_from: Option<u64>,
}

/// A contract of the deployment, in the order of creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contract {
    Lease,
    Inbox,
    Portal,
    L1StandardBridge,
    PreimageOracle,
    Machine,
    Tournament,
    Claims,
    ExitMarket,
    Multicall3,
}

#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// Nothing was deployed.
    #[error(transparent)]
    L1(#[from] L1Error),
    /// Contracts before this one exist. The same request with `resume_from` continues.
    #[error(
        "{contract:?} could not be deployed ({cause}); continue with first nonce {first_nonce} and genesis timestamp \
         {genesis_timestamp}"
    )]
    Interrupted {
        contract: Contract,
        first_nonce: u64,
        genesis_timestamp: u64,
        #[source]
        cause: StepError,
    },
}

/// Why one contract was not deployed.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    #[error(transparent)]
    L1(#[from] L1Error),
    #[error("L1 did not include it: {0:?}")]
    NotIncluded(Box<SendOutcome>),
    #[error("its nonce should be {expected} and is {actual}: the key is used elsewhere")]
    Nonce { expected: u64, actual: u64 },
    #[error("the code at {address} is not the contract's")]
    Code { address: Address },
    #[error("record 0 cannot be found on L1")]
    NoRecord,
    #[error(transparent)]
    Settlement(SettlementError),
}

/// Deploys a chain's contracts with a key, and Multicall3 where L1 has none. `genesis` computes the header of L2 block 0,
/// which depends on the contracts' addresses.
pub async fn deploy(
    client: &L1Client,
    signer: PrivateKeySigner,
    request: &DeployRequest,
    genesis: impl Fn(&ChainConfig) -> Header,
    limits: SendLimits,
) -> Result<Deployment, DeployError> {
    let deployer = signer.address();
    let first_nonce = match request.resume_from {
        Some(nonce) => nonce,
        None => client.nonce(deployer).await?,
    };
    let interrupted = |contract, cause| DeployError::Interrupted {
        contract,
        first_nonce,
        genesis_timestamp: request.parameters.genesis_timestamp,
        cause,
    };
    let multicall_exists = !client.code(predeploys::MULTICALL3).await?.is_empty();
    let mut deployment = Deployment {
        l1_chain_id: client.chain_id(),
        l2_chain_id: request.l2_chain_id,
        contracts: addresses(deployer, first_nonce, multicall_exists),
        parameters: request.parameters.clone(),
        genesis_hash: B256::ZERO,
    };
    let genesis = genesis(&deployment.chain_config());
    deployment.genesis_hash = genesis.hash_slow();

    let mut sender = Sender::new(client.clone(), signer, limits);
    let creations = creations(request, &deployment, &genesis, multicall_exists);
    for (nonce, creation) in (first_nonce..).zip(creations) {
        let (contract, address, _) = creation;
        let step = create(&mut sender, nonce, creation).await;
        step.map_err(|cause| interrupted(contract, cause))?;
        tracing::info!(?contract, %address, "on L1");
    }
    let checked = check_settlement(client, &deployment, &request.program, &genesis).await;
    checked.map_err(|fault| match fault {
        SettlementError::L1(error) => interrupted(Contract::Claims, error.into()),
        fault => interrupted(Contract::Claims, StepError::Settlement(fault)),
    })?;
    let start = start_block(client, deployment.contracts.inbox).await;
    deployment.parameters.l1_start_block =
        start.map_err(|cause| interrupted(Contract::Inbox, cause))?;
    Ok(deployment)
}

fn addresses(deployer: Address, first_nonce: u64, multicall_exists: bool) -> Contracts {
    let at = |offset| deployer.create(first_nonce + offset);
    let claims = at(7);
    Contracts {
        lease: at(0),
        inbox: at(1),
        portal: at(2),
        l1_standard_bridge: at(3),
        preimage_oracle: at(4),
        machine: at(5),
        tournament: at(6),
        claims,
        exit_market: at(8),
        dispute_game_factory: claims,
        anchor_state_registry: claims,
        multicall3: if multicall_exists { predeploys::MULTICALL3 } else { at(9) },
    }
}

/// Contracts in order, with their addresses and init code.
fn creations(
    request: &DeployRequest,
    deployment: &Deployment,
    genesis: &Header,
    multicall_exists: bool,
) -> Vec<(Contract, Address, Bytes)> {
    let config = deployment.chain_config();
    let at = &deployment.contracts;
    let code =
        |bytecode: &Bytes, arguments: Vec<u8>| [bytecode, arguments.as_slice()].concat().into();
    let mut creations = vec![
        (
            Contract::Lease,
            at.lease,
            code(
                &contracts::Lease::BYTECODE,
                (request.submitter, request.promise_signer).abi_encode_params(),
            ),
        ),
        (
            Contract::Inbox,
            at.inbox,
            code(
                &contracts::Inbox::BYTECODE,
                (config.to_abi(), deployment.genesis_hash).abi_encode_params(),
            ),
        ),
        (
            Contract::Portal,
            at.portal,
            code(
                &contracts::Portal::BYTECODE,
                (at.inbox, request.l2_chain_id, at.claims).abi_encode_params(),
            ),
        ),
        (
            Contract::L1StandardBridge,
            at.l1_standard_bridge,
            code(&contracts::L1StandardBridge::BYTECODE, at.portal.abi_encode()),
        ),
        (Contract::PreimageOracle, at.preimage_oracle, contracts::PreimageOracle::BYTECODE.clone()),
        (
            Contract::Machine,
            at.machine,
            code(&contracts::Machine::BYTECODE, at.preimage_oracle.abi_encode()),
        ),
    ];
    creations.extend(settlement(request, deployment, genesis));
    if !multicall_exists {
        creations.push((
            Contract::Multicall3,
            at.multicall3,
            contracts::Multicall3::BYTECODE.clone(),
        ));
    }
    creations
}

/// The contracts of spec/settlement.md.
fn settlement(
    request: &DeployRequest,
    deployment: &Deployment,
    genesis: &Header,
) -> [(Contract, Address, Bytes); 3] {
    let at = &deployment.contracts;
    let code =
        |bytecode: &Bytes, arguments: Vec<u8>| [bytecode, arguments.as_slice()].concat().into();
    let header = Bytes::from(alloy_rlp::encode(genesis));
    let settings = deployment.tournament_settings(&request.program);
    let claims = (at.inbox, at.tournament, deployment.parameters.claim_interval, header);
    let tournament = code(&contracts::Tournament::BYTECODE, settings.abi_encode());
    let claims = code(&contracts::Claims::BYTECODE, claims.abi_encode_params());
    let exit_market = code(&contracts::ExitMarket::BYTECODE, at.portal.abi_encode());
    [
        (Contract::Tournament, at.tournament, tournament),
        (Contract::Claims, at.claims, claims),
        (Contract::ExitMarket, at.exit_market, exit_market),
    ]
}

/// Creates one contract, unless it exists, and compares its code with what its init code returns.
async fn create(
    sender: &mut Sender,
    nonce: u64,
    (contract, address, code): (Contract, Address, Bytes),
) -> Result<(), StepError> {
    let client = sender.client().clone();
    if client.code(address).await?.is_empty() {
        let actual = client.nonce(sender.address()).await?;
        if actual != nonce {
            return Err(StepError::Nonce { expected: nonce, actual });
        }
        let expected = simulated(&client, sender.address(), &code).await?;
        let call = Call { to: TxKind::Create, input: code, value: U256::ZERO, sidecar: None };
        let outcome = sender.send(&call).await?;
        if !matches!(outcome, SendOutcome::Included(_)) {
            return Err(StepError::NotIncluded(Box::new(outcome)));
        }
        return expect_code(&client, address, &expected).await;
    }
    if contract == Contract::Claims {
        // Its constructor runs at its address alone. What it was given is checked with the settings.
        return expect_template(&client, address, &contracts::Claims::DEPLOYED_BYTECODE).await;
    }
    let expected = simulated(&client, sender.address(), &code).await?;
    expect_code(&client, address, &expected).await
}

/// What init code returns.
async fn simulated(client: &L1Client, from: Address, code: &Bytes) -> Result<Bytes, L1Error> {
    let request = TransactionRequest {
        from: Some(from),
        to: Some(TxKind::Create),
        input: code.clone().into(),
        ..Default::default()
    };
    client.call(request).await
}

async fn expect_code(
    client: &L1Client,
    address: Address,
    expected: &Bytes,
) -> Result<(), StepError> {
    if client.code(address).await? != *expected {
        return Err(StepError::Code { address });
    }
    Ok(())
}

/// Code with zeros where immutables are.
async fn expect_template(
    client: &L1Client,
    address: Address,
    template: &Bytes,
) -> Result<(), StepError> {
    let code = client.code(address).await?;
    let same = code.iter().zip(template).all(|(byte, expected)| byte == expected || *expected == 0);
    if code.len() != template.len() || !same {
        return Err(StepError::Code { address });
    }
    Ok(())
}

/// The L1 block of record 0, looked for backwards from the newest block.
async fn start_block(client: &L1Client, inbox: Address) -> Result<u64, StepError> {
    let mut end = client.head().await?.number;
    for _ in 0..SEARCH_WINDOWS {
        let start = end.saturating_sub(SEARCH_WINDOW - 1);
        let filter = Filter::new()
            .address(inbox)
            .event_signature(Inbox::Record::SIGNATURE_HASH)
            .topic1(U256::ZERO)
            .from_block(start)
            .to_block(end);
        let logs: Vec<Log> = client.request("eth_getLogs", (filter,)).await?;
        if let Some(number) = logs.first().and_then(|log| log.block_number) {
            return Ok(number);
        }
        if start == 0 {
            break;
        }
        end = start - 1;
    }
    Err(StepError::NoRecord)
}
