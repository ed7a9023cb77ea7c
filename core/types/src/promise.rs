//! What the leader signs before it answers (spec/promise.md).

use crate::transaction::{SignatureError, recover_signer};
use alloy_primitives::{Address, B256, Signature, keccak256};
use alloy_sol_types::{Eip712Domain, SolStruct, eip712_domain, sol};
use serde::{Deserialize, Serialize};

sol! {
    /// EIP-712 structure signed for one group of transactions.
    #[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Promise {
        uint64 l2ChainId;
        uint256 leaseId;
        uint64 sequence;
        bytes32 previous;
        uint64 blockNumber;
        uint64 timestamp;
        address beneficiary;
        uint256 baseFee;
        bytes32 origin;
        uint32 firstIndex;
        uint32 count;
        bytes32 root;
    }
}

/// A promise and its signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedPromise {
    pub promise: Promise,
    pub signature: Signature,
}

impl SignedPromise {
    /// The key that signed it.
    pub fn signer(&self, domain: &Eip712Domain) -> Result<Address, SignatureError> {
        recover_signer(&self.signature, digest(&self.promise, domain))
    }
}

/// Domain of the promises of a chain whose `Lease` is at `lease`.
pub fn domain(l1_chain_id: u64, lease: Address) -> Eip712Domain {
    eip712_domain! {
        name: "Annex",
        version: "1",
        chain_id: l1_chain_id,
        verifying_contract: lease,
    }
}

/// EIP-712 digest: what is signed, and what the next promise names as `previous`.
pub fn digest(promise: &Promise, domain: &Eip712Domain) -> B256 {
    promise.eip712_signing_hash(domain)
}

/// Leaf of [`root`]: `keccak(0x00 ‖ txHash ‖ receiptHash)`.
pub fn leaf(tx_hash: B256, receipt_hash: B256) -> B256 {
    tagged(0, tx_hash, receipt_hash)
}

/// Merkle root over leaves; inner nodes `keccak(0x01 ‖ left ‖ right)`, an odd last node moves up. Zero for no leaves.
pub fn root(leaves: &[B256]) -> B256 {
    let mut level = leaves.to_vec();
    while level.len() > 1 {
        level = level
            .chunks(2)
            .map(|pair| if let [left, right] = pair { tagged(1, *left, *right) } else { pair[0] })
            .collect();
    }
    level.first().copied().unwrap_or_default()
}

fn tagged(tag: u8, left: B256, right: B256) -> B256 {
    let mut preimage = [tag; 65];
    preimage[1..33].copy_from_slice(left.as_slice());
    preimage[33..].copy_from_slice(right.as_slice());
    keccak256(preimage)
}
