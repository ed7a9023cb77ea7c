//! Withdrawals: from the event on L2 to the Portal's calls on L1 (spec/settlement.md, "Withdrawals").

use crate::client::L1Client;
use crate::contracts::L2ToL1MessagePasser::MessagePassed;
use crate::deployment::Contracts;
use crate::error::L1Error;
use crate::settlement::{self, ClaimState, ClaimStatus};
use alloy_primitives::{Address, B256, Bytes, Log, U256, keccak256};
use alloy_sol_types::{SolCall, SolEvent, SolValue, sol};
use annex_types::predeploys;

sol! {
    /// The part of the OP Stack's portal that withdrawals need: what its tools call, whatever our contract names its arguments.
    interface IPortal {
        struct WithdrawalTransaction { uint256 nonce; address sender; address target; uint256 value; uint256 gasLimit; bytes data; }
        struct OutputRootProof { bytes32 version; bytes32 stateRoot; bytes32 messagePasserStorageRoot; bytes32 latestBlockhash; }
        function proveWithdrawalTransaction(WithdrawalTransaction transaction, uint256 index, OutputRootProof output, bytes[] proof) external;
        function finalizeWithdrawalTransactionExternalProof(WithdrawalTransaction transaction, address prover) external;
        function finalizedWithdrawals(bytes32 withdrawal) external view returns (bool);
        function numProofSubmitters(bytes32 withdrawal) external view returns (uint256);
        function proofSubmitters(bytes32 withdrawal, uint256 index) external view returns (address);
        function provenWithdrawals(bytes32 withdrawal, address prover) external view returns (address game, uint64 timestamp);
    }
}

/// Proofs of one withdrawal that are looked at, newest first: anybody may prove, so their number is anybody's.
const MAX_PROOFS: u64 = 64;

/// A message from L2 that L1 shall deliver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Withdrawal {
    pub nonce: U256,
    /// Who sent it on L2.
    pub sender: Address,
    /// Whom the Portal calls.
    pub target: Address,
    /// Wei.
    pub value: U256,
    /// Least gas of that call.
    pub gas_limit: U256,
    pub data: Bytes,
}

impl Withdrawal {
    /// Of an event of the `L2ToL1MessagePasser`; none for others.
    pub fn from_log(log: &Log) -> Option<Self> {
        if log.address != predeploys::L2_TO_L1_MESSAGE_PASSER {
            return None;
        }
        let MessagePassed { nonce, sender, target, value, gasLimit, data, withdrawalHash } =
            MessagePassed::decode_log(log).ok()?.data;
        let withdrawal = Self { nonce, sender, target, value, gas_limit: gasLimit, data };
        // A node that says otherwise lies.
        (withdrawal.hash() == withdrawalHash).then_some(withdrawal)
    }

    /// `keccak(abi.encode(nonce, sender, target, value, gasLimit, data))`
    pub fn hash(&self) -> B256 {
        let Self { nonce, sender, target, value, gas_limit, data } = self;
        let fields = (*nonce, *sender, *target, *value, *gas_limit, data.clone());
        keccak256(fields.abi_encode_params())
    }

    /// Slot of `sentMessages[hash]` in the `L2ToL1MessagePasser`, which is 1 once the withdrawal is initiated.
    pub fn storage_slot(&self) -> B256 {
        storage_slot(self.hash())
    }

    fn to_abi(&self) -> IPortal::WithdrawalTransaction {
        IPortal::WithdrawalTransaction {
            nonce: self.nonce,
            sender: self.sender,
            target: self.target,
            value: self.value,
            gasLimit: self.gas_limit,
            data: self.data.clone(),
        }
    }

    /// Calldata of the Portal that proves it against a claim.
    pub fn prove_call(&self, claim: u64, output: &OutputProof, proof: Vec<Bytes>) -> Bytes {
        let call = IPortal::proveWithdrawalTransactionCall {
            transaction: self.to_abi(),
            index: U256::from(claim),
            output: IPortal::OutputRootProof {
                version: B256::ZERO,
                stateRoot: output.state_root,
                messagePasserStorageRoot: output.withdrawals_root,
                latestBlockhash: output.block_hash,
            },
            proof,
        };
        call.abi_encode().into()
    }

    /// Calldata of the Portal that finalises it by the proof that `prover` made.
    pub fn finalize_call(&self, prover: Address) -> Bytes {
        let call = IPortal::finalizeWithdrawalTransactionExternalProofCall {
            transaction: self.to_abi(),
            prover,
        };
        call.abi_encode().into()
    }
}

/// See [`Withdrawal::storage_slot`].
pub fn storage_slot(withdrawal: B256) -> B256 {
    keccak256((withdrawal, U256::ZERO).abi_encode())
}

/// What a claimed output root is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputProof {
    pub state_root: B256,
    /// Storage root of the `L2ToL1MessagePasser`.
    pub withdrawals_root: B256,
    pub block_hash: B256,
}

impl OutputProof {
    /// spec/block.md, "Output root"
    pub fn root(&self) -> B256 {
        keccak256(
            (B256::ZERO, self.state_root, self.withdrawals_root, self.block_hash).abi_encode(),
        )
    }
}

/// A proof that the Portal has accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proven {
    pub prover: Address,
    /// L1 timestamp, seconds.
    pub at: u64,
    pub claim: ClaimState,
    /// The claim is settled, or would be by finalising now.
    pub finalizable: bool,
}

impl Proven {
    fn rank(&self) -> u8 {
        match self.claim.status {
            ClaimStatus::Settled => 3,
            ClaimStatus::InProgress if self.finalizable => 2,
            ClaimStatus::InProgress => 1,
            ClaimStatus::Beaten => 0,
        }
    }
}

/// What the Portal knows about a withdrawal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortalStatus {
    Unproven,
    /// By the proof that is furthest.
    Proven(Proven),
    /// Delivered.
    Finalized,
}

/// Whether L1 has delivered a withdrawal.
pub async fn is_finalized(
    client: &L1Client,
    contracts: &Contracts,
    withdrawal: B256,
) -> Result<bool, L1Error> {
    client.read(contracts.portal, &IPortal::finalizedWithdrawalsCall { withdrawal }).await
}

/// Asks the Portal about a withdrawal.
pub async fn portal_status(
    client: &L1Client,
    contracts: &Contracts,
    withdrawal: B256,
) -> Result<PortalStatus, L1Error> {
    if is_finalized(client, contracts, withdrawal).await? {
        return Ok(PortalStatus::Finalized);
    }
    let portal = contracts.portal;
    let count = client.read(portal, &IPortal::numProofSubmittersCall { withdrawal }).await?;
    let count: u64 = count.saturating_to();
    let mut best: Option<Proven> = None;
    for index in (count.saturating_sub(MAX_PROOFS)..count).rev() {
        let call = IPortal::proofSubmittersCall { withdrawal, index: U256::from(index) };
        let prover = client.read(portal, &call).await?;
        let call = IPortal::provenWithdrawalsCall { withdrawal, prover };
        let proven = client.read(portal, &call).await?;
        let (claim, finalizable) = settlement::claim_of(client, contracts, proven.game).await?;
        let found = Proven { prover, at: proven.timestamp, claim, finalizable };
        if best.is_none_or(|best| best.rank() < found.rank()) {
            best = Some(found);
        }
    }
    Ok(best.map_or(PortalStatus::Unproven, PortalStatus::Proven))
}
